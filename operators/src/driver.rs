//! The operator driver: the one place that touches capabilities and frontiers.
//!
//! Around each stateful [`Logic`] stands one driver. It steps with the *frontier*, not with the rows at hand, so that a
//! worker without rows still completes and snapshots an epoch. Logics in a row that nothing separates are one operator of timely's
//! ([`Chain`]).
//!
//! ```text
//!  rows of the epoch in progress ──► on_rows          rows of later epochs wait in `deferred`
//!  the frontier's watermark rose ──► on_watermark     at once (Pace::Eager) or when the epoch closes (Pace::Epoch)
//!  the frontier passed the epoch ──► on_complete, then changes or snapshot, then the next epoch's deferred rows
//!  the clock reached `wake` ───────► on_wake          Pace::Eager alone; otherwise the query's driver opens an epoch
//! ```
//!
//! The operator's output has no connection to its inputs (an empty summary): the driver holds one capability per output and
//! raises it to `(epoch in progress, output_watermark)`. So an operator whose rows may be older than its input's watermark
//! (a join with a time range, `withWatermark` itself) just says so, and timely holds the next operator's watermark back.
//!
//! Rows that a logic judges late leave through a second output, which exists only where somebody asked for them
//! ([`Chain::build_with_late`]); it carries epochs but no watermark.
//!
//! No watermark is ahead of the epoch in progress: rows of a later epoch move it only once all operators are through with this one
//! ([`crate::watermark`]). So rows that wait in `deferred` are not passed, and what was delivered at an epoch's end is the same on all
//! workers.
//!
//! Invariants: epochs are absorbed in order; `on_watermark` only rises; nothing is sent below the own capability; after an
//! error the capability stays where it is, so that no epoch with missing rows can complete anywhere downstream.

mod chain;
mod metrics;
mod stepper;

use std::rc::Rc;
use std::time::Duration;

use arrow::array::RecordBatch;
use timely::scheduling::SyncActivator;

use crate::cold::Cold;
use crate::event_time::{EventTime, drop_late, split_late};
use crate::exchange::Route;
use crate::keys::Hashing;
use crate::time::NO_WATERMARK;
use crate::{Chunk, ChunkStream, Error, Result};

pub use chain::Chain;
pub use metrics::StateMetrics;

/// When results of an epoch in progress may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once, and watermarks act as they move (continuous driver).
    Eager,
    /// When the epoch closes, with the watermark that was fixed for it (micro-batch driver).
    Epoch,
}

/// When an operator wants to be called though nothing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// The processing time it waits for: microseconds since 1970.
    pub at: i64,
    /// How long that is from now; zero once it has come.
    pub after: Duration,
}

/// A stateful operator: a pure function of rows, event time and epochs. Knows no capabilities.
///
/// # Order of calls
/// `goes_cold`?, `on_watermark` with the recovered watermark, `restore`*, `tracks_changes`?, after a restart `on_watermark` once more, then per
/// epoch: `on_rows`*, (`on_watermark` `on_rows`*)*, `on_complete`, `changes`? or `snapshot`?
pub trait Logic: 'static {
    /// Rows of the epoch in progress arrived at input `port`.
    fn on_rows(&mut self, port: usize, chunk: Chunk, out: &mut Output) -> Result<()>;

    /// Whether [`Logic::on_rows`] takes chunks of which not all rows are meant ([`Chunk::into_picks`]); others get whole ones.
    fn takes_picks(&self) -> bool {
        false
    }

    /// Event time is complete up to `watermarks[port]` on each input (microseconds; [`NO_WATERMARK`] if unknown). Rows that
    /// arrive later are judged by this. Never falls.
    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()>;

    /// Every row of `epoch` has been absorbed, and `on_watermark` was called with what holds now.
    fn on_complete(&mut self, epoch: u64, out: &mut Output) -> Result<()>;

    /// When it wants to be called again though nothing comes; asked under [`Pace::Eager`] after whatever else was called.
    fn wake(&self) -> Option<Wake> {
        None
    }

    /// The processing time that [`Logic::wake`] spoke of has come.
    fn on_wake(&mut self, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// The event time below which no row will be sent any more, given the inputs' watermarks as last delivered.
    fn output_watermark(&self, watermarks: &[i64]) -> i64 {
        watermarks.iter().copied().min().unwrap_or(NO_WATERMARK)
    }

    /// State as batches whose first column is the key group (`_group: UInt8`), after `on_complete`.
    fn snapshot(&mut self) -> Result<Vec<RecordBatch>>;

    /// Told before everything else: how keys are hashed to the key groups that stand in its state. Until told, and where nothing is keyed,
    /// it is [`Hashing::default`].
    fn hash_by(&mut self, _hashing: Hashing) {}

    /// Asked once, where state is kept: true if from now on changes are remembered for [`Logic::changes`]. All instances of an
    /// operator give the same answer.
    fn tracks_changes(&mut self) -> bool {
        false
    }

    /// What has changed since the last call (at first: since the call of [`Logic::tracks_changes`]), as batches of
    /// [`crate::snapshot::changed`] and [`crate::snapshot::gone`] over rows of `snapshot`, after `on_complete`. Costs in proportion
    /// to the change.
    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        Err(Error::Internal("the operator does not track changes".into()))
    }

    /// Asked before everything else, where state may exceed memory: true if from now on state beyond the budget goes there; false if
    /// this operator keeps all of it in memory.
    ///
    /// # Errors
    /// State that cannot be written as bytes.
    fn goes_cold(&mut self, _cold: Cold) -> Result<bool> {
        Ok(false)
    }

    /// Takes back what `snapshot` gave (several workers' snapshots, filtered to this worker's key groups).
    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()>;

    /// What is kept, since the last call.
    fn metrics(&mut self) -> StateMetrics {
        StateMetrics::default()
    }

    /// Hears once, before everything else, how another thread can have this operator look at its promises again
    /// ([`Logic::output_watermark`]) although no rows came.
    fn wakes_by(&mut self, _activator: SyncActivator) {}
}

/// Rows that came too late at an operator.
#[derive(Debug, Clone)]
pub struct Late {
    /// The input they came by.
    pub port: usize,
    /// The rows, with all columns of the input.
    pub rows: RecordBatch,
    /// The watermark that had passed them.
    pub watermark: i64,
}

/// Collects what a [`Logic`] emits; the driver sends it.
pub struct Output {
    pace: Pace,
    ready: Vec<Chunk>,
    /// Ingest instant for rows that no single input chunk caused: the oldest chunk since the last emission.
    ingest: u64,
    /// Late rows, if somebody wants them.
    late: Option<Vec<Late>>,
}

impl Output {
    /// An output of this pace; [`crate::harness`] and the driver make one per operator.
    pub fn new(pace: Pace) -> Self {
        Output { pace, ready: Vec::new(), ingest: 0, late: None }
    }

    /// The same output, which also collects late rows.
    #[must_use]
    pub fn with_late(self) -> Self {
        Output { late: Some(Vec::new()), ..self }
    }

    /// Whether changed results should leave at once.
    pub fn eager(&self) -> bool {
        self.pace == Pace::Eager
    }

    /// Emits a chunk.
    pub fn chunk(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.ready.push(chunk);
        }
    }

    /// Emits rows caused by the epoch so far.
    pub fn rows(&mut self, rows: RecordBatch) {
        self.chunk(Chunk::new(rows, self.ingest, 0));
    }

    /// True if late rows should be handed to [`Output::late`]; otherwise counting them is enough.
    pub fn wants_late(&self) -> bool {
        self.late.is_some()
    }

    /// Hands over rows of input `port` that came after `watermark` had passed them; forgotten unless somebody wants them.
    pub fn late(&mut self, port: usize, rows: RecordBatch, watermark: i64) {
        if let Some(late) = self.late.as_mut().filter(|_| rows.num_rows() > 0) {
            late.push(Late { port, rows, watermark });
        }
    }

    /// The rows of input `port` that are not late, and how many were; those are handed over if somebody wants them.
    ///
    /// # Errors
    /// Whatever `time` fails with.
    pub fn drop_late(
        &mut self,
        port: usize,
        rows: RecordBatch,
        time: &EventTime,
        watermark: i64,
    ) -> Result<(RecordBatch, u64)> {
        if !self.wants_late() {
            return drop_late(rows, time, watermark);
        }
        let (kept, late) = split_late(rows, time, watermark)?;
        let dropped = late.as_ref().map_or(0, RecordBatch::num_rows) as u64;
        late.into_iter().for_each(|late| self.late(port, late, watermark));
        Ok((kept, dropped))
    }

    /// Takes the late rows.
    pub fn take_late(&mut self) -> Vec<Late> {
        self.late.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what was emitted.
    pub fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    fn note(&mut self, ingest: u64) {
        if ingest != 0 && (self.ingest == 0 || self.pace == Pace::Eager || ingest < self.ingest) {
            self.ingest = ingest;
        }
    }
}

/// What the outside hears from an operator, and asks of it, on the worker's thread.
pub trait Observer {
    /// The operator failed; the query should end.
    fn failed(&self, operator: &str, error: Error);

    /// True if a snapshot is wanted for this epoch.
    fn wants_snapshot(&self, epoch: u64) -> bool;

    /// State of operator `operator` on this worker after `epoch`.
    fn snapshot(&self, operator: &str, epoch: u64, state: State);

    /// Told once how another thread can have an operator see that [`Observer::asked`] has risen.
    fn listens(&self, _operator: &str, _activator: SyncActivator) {}

    /// The number of the newest request for figures in the midst of an epoch.
    fn asked(&self) -> u64 {
        0
    }

    /// The answer to request `asked`: an operator's figures now; those of changes count since the last [`State`].
    fn figures(&self, _operator: &str, _asked: u64, _metrics: StateMetrics) {}
}

/// An operator after an epoch, on one worker.
pub struct State {
    /// What it keeps, as [`Logic::snapshot`] or [`Logic::changes`] gave it; empty if no snapshot was wanted.
    pub batches: Vec<RecordBatch>,
    /// Whether these are the changes since the epoch before.
    pub changes: bool,
    /// The watermark of each input as last delivered: with the same ones it starts again ([`Place::watermarks`]).
    pub watermarks: Vec<i64>,
    /// Figures for reports.
    pub metrics: StateMetrics,
}

/// Gives late rows the columns that their receiver expects.
pub type LateShape = Box<dyn FnMut(Late) -> Result<RecordBatch>>;

/// How an operator is put into the graph.
pub struct Place {
    /// Unique within the query; names the state in checkpoints.
    pub name: String,
    /// When results leave.
    pub pace: Pace,
    /// The epoch that rows start with.
    pub epoch: u64,
    /// The watermark of each input taken as delivered before the first row (after a restart: the recovered ones). Inputs
    /// without an entry start with [`NO_WATERMARK`].
    pub watermarks: Vec<i64>,
    /// How keys are hashed, for the exchange.
    pub hashing: Hashing,
    /// Listens to failures and snapshots.
    pub observer: Rc<dyn Observer>,
}

/// Puts `logic` behind its inputs, each with its route (`None`: rows stay on their worker), as an operator of its own.
pub fn drive<'scope, L: Logic>(
    place: Place,
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    logic: L,
) -> ChunkStream<'scope> {
    let inputs = inputs.into_iter().map(|(stream, route)| (Chain::from(stream), route)).collect();
    Chain::behind(inputs, place, Box::new(logic)).build()
}
