//! `channel`: a query's rows in the program that runs it, over a bounded channel; the way to use a query as a library.
//!
//! In: rows. Out: [`Delivery`]s at a [`Receiver`](ResultReceiver): rows the moment the query gives them out, and a mark when an
//! epoch is committed. The channel is bounded: a slow receiver slows the query down. A dropped receiver ends the query
//! cleanly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::{Guarantee, OutputMode, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::options::OptionSpec;
use crate::{Error, Result};

/// How often a blocked writer looks whether the query has ended.
const PATIENCE: Duration = Duration::from_millis(20);

/// What comes out of the channel.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Rows.
    Rows(RecordBatch),
    /// All rows of the epoch have come, and they will not come again after a restart.
    Committed(u64),
}

/// The query's end of the channel; what [`SinkSpec::function`] carries.
#[derive(Debug, Clone)]
pub struct ResultSender {
    // Dropped before `arrival`, so that who is woken finds the channel ended.
    sender: Sender<Delivery>,
    arrival: Arrival,
}

/// Wakes the tasks that wait for a delivery, or for the end.
#[derive(Debug, Clone, Default)]
struct Arrival(Arc<Notify>);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// The program's end of the channel. Dropping it ends the query.
#[derive(Debug, Clone)]
pub struct ResultReceiver {
    deliveries: Receiver<Delivery>,
    arrival: Arc<Notify>,
}

/// A channel that holds up to `capacity` deliveries (chunks of rows) before the query waits.
pub fn channel(capacity: usize) -> (ResultSender, ResultReceiver) {
    let (sender, deliveries) = bounded(capacity.max(1));
    let arrival = Arrival::default();
    let receiver = ResultReceiver { deliveries, arrival: Arc::clone(&arrival.0) };
    (ResultSender { sender, arrival }, receiver)
}

impl ResultSender {
    /// What `write_stream` needs to write into this channel.
    pub fn spec(self) -> SinkSpec {
        SinkSpec { format: "channel".into(), function: Some(Arc::new(self)), ..SinkSpec::default() }
    }
}

impl ResultReceiver {
    /// The next delivery; waits for it. `None` when the query has ended.
    pub fn recv(&self) -> Option<Delivery> {
        self.deliveries.recv().ok()
    }

    /// The next delivery; other tasks run until it comes. `None` when the query has ended. Works in any async runtime.
    pub async fn recv_async(&self) -> Option<Delivery> {
        loop {
            let arrival = self.arrival.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            match self.deliveries.try_recv() {
                Ok(delivery) => return Some(delivery),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => arrival.await,
            }
        }
    }

    /// The next delivery, if it comes within `wait`.
    ///
    /// # Errors
    /// Says whether nothing came in time or the query has ended.
    pub fn recv_timeout(&self, wait: Duration) -> std::result::Result<Delivery, RecvTimeoutError> {
        self.deliveries.recv_timeout(wait)
    }

    /// The channel itself, for `select!`.
    pub fn inner(&self) -> &Receiver<Delivery> {
        &self.deliveries
    }

    /// The rows as serde structs, one each; field names are column names. Ends with the query.
    pub fn items<T: DeserializeOwned + 'static>(&self) -> impl Iterator<Item = Result<T>> + '_ {
        self.batches().flat_map(|rows| match items_of(&rows) {
            Ok(items) => items.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    /// The rows, chunk by chunk. Ends with the query.
    pub fn batches(&self) -> impl Iterator<Item = RecordBatch> + '_ {
        self.deliveries.iter().filter_map(|delivery| match delivery {
            Delivery::Rows(rows) => Some(rows),
            Delivery::Committed(_) => None,
        })
    }
}

/// Rows as serde structs.
///
/// # Errors
/// Columns that don't fit the struct.
pub fn items_of<T: DeserializeOwned>(rows: &RecordBatch) -> Result<Vec<T>> {
    serde_arrow::from_record_batch(rows)
        .map_err(|cause| Error::invalid(format!("rows do not fit the struct: {cause}")).caused_by(cause))
}

/// The provider of `format("channel")`.
#[derive(Debug)]
pub struct Channel;

impl SinkProvider for Channel {
    fn names(&self) -> &'static [&'static str] {
        &["channel"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        Vec::new()
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn connect(&self, spec: &SinkSpec, _context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        let sender = super::function::<ResultSender>(spec, "channel")?.as_ref().clone();
        Ok(Box::new(ChannelSink { sender, ended: Arc::default() }))
    }
}

struct ChannelSink {
    sender: ResultSender,
    ended: Arc<AtomicBool>,
}

impl Sink for ChannelSink {
    fn description(&self) -> String {
        "ChannelSink".into()
    }

    fn writer(&mut self, _worker: usize) -> Result<Box<dyn Writer>> {
        Ok(Box::new(ChannelWriter { sender: self.sender.clone(), ended: Arc::clone(&self.ended), rows: 0 }))
    }

    fn commit(&mut self, epoch: u64, _prepared: Vec<Prepared>) -> Result<()> {
        send(&self.sender, Delivery::Committed(epoch), &self.ended)
    }

    fn close(&mut self, _error: Option<&Error>) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Drop for ChannelSink {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Waits until there is room; gives up when the query has ended.
fn send(to: &ResultSender, mut delivery: Delivery, ended: &AtomicBool) -> Result<()> {
    loop {
        delivery = match to.sender.send_timeout(delivery, PATIENCE) {
            Ok(()) => {
                to.arrival.0.notify_waiters();
                return Ok(());
            }
            Err(SendTimeoutError::Disconnected(_)) => return Err(super::closed("the channel")),
            Err(SendTimeoutError::Timeout(_)) if ended.load(Ordering::Acquire) => return Ok(()),
            Err(SendTimeoutError::Timeout(delivery)) => delivery,
        };
    }
}

struct ChannelWriter {
    sender: ResultSender,
    ended: Arc<AtomicBool>,
    rows: u64,
}

impl Writer for ChannelWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        send(&self.sender, Delivery::Rows(rows.clone()), &self.ended)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        Ok(Prepared { rows: std::mem::take(&mut self.rows), ..Prepared::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{context, rows, run};
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Row {
        n: i64,
        value: Option<String>,
    }

    #[test]
    fn rows_come_as_structs_and_end_with_the_query() {
        let (sender, receiver) = channel(8);
        let mut sink = Channel.connect(&sender.spec(), context(OutputMode::Append)).unwrap();
        run(sink.as_mut(), 0, &[rows(0..2)]).unwrap();
        drop(sink);
        let found: Vec<Row> = receiver.items().collect::<Result<_>>().unwrap();
        assert_eq!(found, [Row { n: 0, value: Some("row 0".into()) }, Row { n: 1, value: Some("row 1".into()) }]);
    }

    #[test]
    fn a_dropped_receiver_ends_the_query_cleanly() {
        let (sender, receiver) = channel(8);
        let mut sink = Channel.connect(&sender.spec(), context(OutputMode::Append)).unwrap();
        drop(receiver);
        assert_eq!(run(sink.as_mut(), 0, &[rows(0..2)]).unwrap_err().condition(), Some(super::super::CLOSED));
    }
}
