//! Sinks: where a query's rows go. One file each, one line each in [`ALL`].
//!
//! ```text
//!  worker                              query driver
//!  Writer::write(rows) …               (continuous: rows leave at once; micro-batch: when the sink likes)
//!  Writer::prepare(epoch) ───────────► all workers prepared → state durable → commits/N written
//!                                      Sink::commit(epoch, prepared) … finish, idempotent: may be repeated after a crash
//! ```

use std::any::Any;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::Result;
use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::options::{OptionSpec, Options};

pub use thalweg_operators::Pace;

/// Which rows of a result are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputMode {
    /// Rows that can no longer change.
    Append,
    /// Rows that changed.
    Update,
    /// The whole result, each epoch.
    Complete,
}

/// What a sink guarantees end to end, given a replayable source and a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Rows of an epoch appear once, whatever crashes.
    ExactlyOnce,
    /// Rows may be written again, with the same result (upsert by key).
    Idempotent,
    /// Rows of the last epoch may appear again after a crash.
    AtLeastOnce,
}

/// What the user asked to write to.
#[derive(Clone, Default)]
pub struct SinkSpec {
    /// The format's name as given.
    pub format: String,
    /// Options; `path` is one of them.
    pub options: Options,
    /// Columns whose values name sub-directories.
    pub partition_by: Vec<String>,
    /// A user's function (`foreach`, `foreach_batch`), carried as `Arc<T>` and taken by the sink of that name.
    pub function: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a sink gets when a query starts.
#[derive(Clone)]
pub struct SinkContext {
    /// Columns of the rows.
    pub schema: SchemaRef,
    /// Which rows come.
    pub mode: OutputMode,
    /// Whether rows come the moment they exist (continuous) or when the epoch closes.
    pub pace: Pace,
    /// Number of workers, each with one writer.
    pub workers: usize,
    /// The query's name, or its id.
    pub query: String,
    /// Distinguishes this run's files from those of a crashed run.
    pub run_id: String,
    /// Session settings as fixed for this query.
    pub conf: Conf,
    /// The session, for sinks that show results as tables.
    pub session: crate::session::Session,
    /// The clocks.
    pub clock: SharedClock,
}

/// One kind of sink.
pub trait SinkProvider: Send + Sync {
    /// Names in `format(...)`, lower case; the first is the canonical one.
    fn names(&self) -> &'static [&'static str];
    /// The options it understands.
    fn options(&self) -> Vec<&'static [OptionSpec]>;
    /// The output modes it takes.
    fn modes(&self) -> &'static [OutputMode];
    /// What it guarantees.
    fn guarantee(&self) -> Guarantee;
    /// Connects for one query; checks options before anything runs.
    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>>;
}

/// A connected sink of one query. Lives on the query's driver thread.
pub trait Sink: Send {
    /// What it is, as progress reports show it, e.g. `FileSink[file:/data/out]`. No secrets.
    fn description(&self) -> String;

    /// The writer of one worker.
    fn writer(&mut self, worker: usize) -> Result<Box<dyn Writer>>;

    /// Makes a prepared epoch visible. Called again after a crash if it is unknown whether it finished: must not double rows
    /// (then with `prepared` rebuilt from [`Prepared::note`], without payload).
    fn commit(&mut self, epoch: u64, prepared: Vec<Prepared>) -> Result<()>;

    /// The last epoch that this sink knows to be committed, if it keeps such a record.
    fn last_committed(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The query ended (`error`: why, if it failed).
    fn close(&mut self, _error: Option<&crate::Error>) {}
}

/// What one worker's writer has ready for an epoch.
#[derive(Default)]
pub struct Prepared {
    /// Rows written in this epoch by this writer.
    pub rows: u64,
    /// What is needed to finish the commit after a crash (e.g. staged file names); kept in `commits/N`.
    pub note: serde_json::Value,
    /// Rows or handles that need no crash safety.
    pub payload: Option<Box<dyn Any + Send>>,
}

/// One worker's end of a sink.
///
/// # Order of calls
/// (`write`* `prepare`)*; each `prepare` closes an epoch, also without rows.
pub trait Writer: Send {
    /// Takes rows of the epoch in progress. Under [`Pace::Eager`] they leave before this returns, where the sink can do so.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Makes the epoch's rows ready to be committed.
    fn prepare(&mut self, epoch: u64) -> Result<Prepared>;
}

/// Every kind of sink. A new one is one file and one line here.
pub static ALL: &[&dyn SinkProvider] = &[];
