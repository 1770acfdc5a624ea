//! A query's rows as values of a type of the program.
//!
//! In: the deliveries of a channel sink. Out: one value a row, blocking, polled or async. What always holds: if the query
//! fails, its error is the last thing that comes; after that, and after a clean end, nothing comes any more.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};
use futures::Stream;
use serde::de::DeserializeOwned;

use super::handle::StreamingQuery;
use crate::items::Decoder;
use crate::sinks::channel::{Delivery, ResultReceiver};
use crate::{Error, Result};

/// The rows of a running query as values of type `T`; made by [`super::DataStreamWriter::start_items`].
///
/// Dropping it ends the query. As an iterator it waits for rows and ends with the query.
pub struct Items<T> {
    receiver: ResultReceiver,
    decoder: Decoder<T>,
    query: StreamingQuery,
    waiting: VecDeque<T>,
    ended: bool,
}

impl<T: DeserializeOwned> Items<T> {
    pub(super) fn new(receiver: ResultReceiver, decoder: Decoder<T>, query: StreamingQuery) -> Self {
        Items { receiver, decoder, query, waiting: VecDeque::new(), ended: false }
    }

    /// The next value, if one has come. `None` says that none has come yet or that the query has ended
    /// ([`Items::has_ended`]).
    pub fn try_next(&mut self) -> Option<Result<T>> {
        while self.waiting.is_empty() && !self.ended {
            let taken = match self.receiver.inner().try_recv() {
                Ok(delivery) => self.take(Some(delivery)),
                Err(TryRecvError::Disconnected) => self.take(None),
                Err(TryRecvError::Empty) => return None,
            };
            if let Err(error) = taken {
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }

    /// The next value, if a chunk with one comes within `wait`; otherwise as [`Items::try_next`].
    pub fn next_timeout(&mut self, wait: Duration) -> Option<Result<T>> {
        while self.waiting.is_empty() && !self.ended {
            let taken = match self.receiver.recv_timeout(wait) {
                Ok(delivery) => self.take(Some(delivery)),
                Err(RecvTimeoutError::Disconnected) => self.take(None),
                Err(RecvTimeoutError::Timeout) => return None,
            };
            if let Err(error) = taken {
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }

    /// The next value; other tasks run until it comes. `None` when the query has ended. Works in any async runtime.
    pub async fn next_async(&mut self) -> Option<Result<T>> {
        while self.waiting.is_empty() && !self.ended {
            let delivery = self.receiver.recv_async().await;
            if let Err(error) = self.take(delivery) {
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }

    /// The values as a stream of the `futures` crate.
    pub fn into_stream(self) -> impl Stream<Item = Result<T>> {
        futures::stream::unfold(self, |mut items| async move { items.next_async().await.map(|item| (item, items)) })
    }

    /// True when all that the query gave has been taken and no more will come.
    pub fn has_ended(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    /// Why the query failed, if it did.
    pub fn error(&self) -> Option<Error> {
        self.query.exception()
    }

    /// Takes a delivery; without one the query has ended.
    fn take(&mut self, delivery: Option<Delivery>) -> Result<()> {
        match delivery {
            Some(Delivery::Rows(rows)) => match self.decoder.items(&rows) {
                Ok(items) => self.waiting.extend(items),
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            },
            Some(Delivery::Committed(_)) => {}
            None => {
                self.ended = true;
                // The channel ends after the query has: this does not wait.
                self.query.await_termination()?;
            }
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Items<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        while self.waiting.is_empty() && !self.ended {
            let delivery = self.receiver.recv();
            if let Err(error) = self.take(delivery) {
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

impl<T> std::fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Items<{}> of {:?}", crate::items::short_name::<T>(), self.query)
    }
}
