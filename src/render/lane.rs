//! Lanes: how data gets from an ingest thread into a worker's graph.
//!
//! ```text
//!  ingest thread ── LaneSender ──► bounded channel ──► Lane (a Feed: decodes on the worker) ──► source operator
//!                        └── wakes the worker
//! ```
//!
//! Invariants: the channel is bounded, so a slow graph slows its source down; a lane carries its epochs in order; decoding
//! happens on the worker, building only the columns that the query needs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TryRecvError, bounded};
use thalweg_operators::source::{Fed, Feed};
use thalweg_operators::{Chunk, Error as OperatorError};
use timely::scheduling::SyncActivator;

use crate::formats::{Decoder, Frames};
use crate::sources::Read;
use crate::{Error, Result, threads};

/// Messages that may wait in a lane. A message is at most about 1 MiB, of a file 128 KiB: what waits should still be in the cache when the
/// worker comes to it.
const DEPTH: usize = 4;

/// What travels through a lane.
pub(crate) enum Message {
    /// Something read, and when it was (nanoseconds of the query's clock).
    Data(Read, u64),
    /// The partition has been idle for so long that watermarks need not wait for it.
    Quiet,
    /// Everything before this epoch has been sent.
    Epoch(u64),
    /// Nothing will follow.
    End,
}

/// Rows that a scan has delivered, counted where they are decoded.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    rows: AtomicU64,
}

impl Gauge {
    /// Rows since the last call.
    pub fn take(&self) -> u64 {
        self.rows.swap(0, Ordering::AcqRel)
    }
}

/// The worker's end of a lane.
pub(crate) struct Lane {
    number: u32,
    messages: Option<Receiver<Message>>,
    activator: Arc<OnceLock<Mutex<SyncActivator>>>,
    decoder: Option<Box<dyn Decoder>>,
    gauge: Arc<Gauge>,
}

/// The ingest thread's end of a lane.
///
/// Dropping it leaves the lane silent, not ended, and wakes the worker so that it notices if it should end.
pub(crate) struct LaneSender {
    /// `None` only while it is dropped.
    messages: Option<Sender<Message>>,
    activator: Arc<OnceLock<Mutex<SyncActivator>>>,
}

/// A lane with this number; frames that travel on it are decoded by `decoder`.
pub(crate) fn lane(number: u32, decoder: Option<Box<dyn Decoder>>, gauge: Arc<Gauge>) -> (LaneSender, Lane) {
    let (sender, receiver) = bounded(DEPTH);
    let activator = Arc::new(OnceLock::new());
    let lane = Lane { number, messages: Some(receiver), activator: activator.clone(), decoder, gauge };
    (LaneSender { messages: Some(sender), activator }, lane)
}

impl LaneSender {
    /// Sends and wakes the worker. Waits while the lane is full; gives up, returning false, once `stopped` says so or the
    /// worker is gone.
    pub fn send(&self, mut message: Message, stopped: &dyn Fn() -> bool) -> bool {
        let Some(messages) = &self.messages else { return false };
        loop {
            match threads::send(messages, message, Some(Duration::from_millis(50))) {
                Ok(()) => {
                    self.wake();
                    threads::chance();
                    return true;
                }
                Err(SendTimeoutError::Disconnected(_)) => return false,
                Err(SendTimeoutError::Timeout(_)) if stopped() => return false,
                Err(SendTimeoutError::Timeout(back)) => message = back,
            }
        }
    }

    fn wake(&self) {
        if let Some(activator) = self.activator.get() {
            // A worker that is gone needs no waking.
            let _ = activator.lock().unwrap_or_else(std::sync::PoisonError::into_inner).activate();
        }
    }
}

impl Drop for LaneSender {
    fn drop(&mut self) {
        self.messages = None;
        self.wake();
    }
}

impl Lane {
    /// The lane as the workers see it on which it is not alive.
    pub fn absent() -> Self {
        Lane { number: 0, messages: None, activator: Arc::default(), decoder: None, gauge: Arc::default() }
    }

    /// Becomes the feed of a source operator.
    pub fn open(self, activator: SyncActivator) -> Box<dyn Feed> {
        // What was sent before the operator existed is found by its first poll.
        let _ = self.activator.set(Mutex::new(activator));
        Box::new(self)
    }

    fn chunk(&mut self, read: Read, ingest: u64) -> Result<Option<Chunk>> {
        let rows = match read {
            Read::Frames(frames) => self.decode(&frames)?,
            Read::Rows(rows) => rows,
            Read::Idle | Read::End => return Ok(None),
        };
        self.gauge.rows.fetch_add(rows.num_rows() as u64, Ordering::AcqRel);
        Ok((rows.num_rows() > 0).then(|| Chunk::new(rows, ingest, self.number)))
    }

    fn decode(&mut self, frames: &Frames) -> Result<arrow::array::RecordBatch> {
        match &mut self.decoder {
            Some(decoder) => decoder.decode(frames),
            None => Err(Error::internal("a source gave frames but no decoder")),
        }
    }
}

impl Feed for Lane {
    fn next(&mut self) -> thalweg_operators::Result<Fed> {
        loop {
            let Some(messages) = &self.messages else { return Ok(Fed::End) };
            match messages.try_recv() {
                Ok(Message::Data(read, ingest)) => {
                    if let Some(chunk) = self.chunk(read, ingest).map_err(OperatorError::outside)? {
                        return Ok(Fed::Rows(chunk));
                    }
                }
                Ok(Message::Quiet) => return Ok(Fed::Rows(Chunk::quiet(self.number))),
                Ok(Message::Epoch(epoch)) => return Ok(Fed::Epoch(epoch)),
                Ok(Message::End) => return Ok(Fed::End),
                // A reader that has gone has not said that nothing follows: windows must not close because a query stops.
                Err(TryRecvError::Disconnected | TryRecvError::Empty) => return Ok(Fed::Idle),
            }
        }
    }
}
