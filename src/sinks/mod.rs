//! Sinks: where a query's rows go. One file each, one line each in [`ALL`].
//!
//! ```text
//!  worker                              query driver
//!  Writer::write(rows) …               (continuous: rows leave at once; micro-batch: when the sink likes)
//!  Writer::prepare(epoch) ───────────► all workers prepared → state durable → commits/N written
//!                                      Sink::commit(epoch, prepared) … finish, idempotent: may be repeated after a crash
//! ```

#[cfg(feature = "cassandra")]
pub mod cassandra;
pub mod channel;
#[cfg(test)]
mod conformance;
pub mod console;
pub mod file;
pub mod foreach;
pub mod foreach_batch;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod noop;

use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::io::SaveMode;
use crate::options::{OptionSpec, Options, nearest, option};
use crate::{Error, Result};

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
    /// True for a batch write: one epoch, after which nothing follows.
    pub batch: bool,
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
    /// The id of the query's checkpoint, the same over all runs; `None` without a checkpoint.
    pub checkpoint: Option<String>,
    /// How often an epoch ends, if the trigger says so.
    pub interval: Option<std::time::Duration>,
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
    /// Whether a query without a checkpoint is refused: the sink counts epochs over all runs, and would take those of a new one for
    /// epochs that it has.
    fn needs_checkpoint(&self) -> bool {
        false
    }
    /// Makes room for a batch write as its mode says; false if nothing is to be written. `None` if what is there already lies in
    /// a path, or nothing is ever in the way: the writer sees to paths.
    fn settle(&self, _spec: &SinkSpec, _mode: SaveMode, _conf: &Conf) -> Result<Option<bool>> {
        Ok(None)
    }
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

    /// True if the sink's own record, [`Sink::last_committed`], says whether an epoch is committed: then it is committed after the
    /// state is durable and before `commits/N`, never twice, and a restart believes the record.
    fn decides(&self) -> bool {
        false
    }

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
/// `begin` (`write`* `prepare`)*; each `prepare` closes an epoch, also without rows.
pub trait Writer: Send {
    /// The rows that follow belong to this epoch. Called once, before the first rows of a run; the epochs after it follow
    /// without gaps, each closed by [`Writer::prepare`].
    fn begin(&mut self, _epoch: u64) -> Result<()> {
        Ok(())
    }

    /// Takes rows of the epoch in progress. Under [`Pace::Eager`] they leave before this returns, where the sink can do so.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Makes the epoch's rows ready to be committed.
    fn prepare(&mut self, epoch: u64) -> Result<Prepared>;
}

/// Every kind of sink. A new one is one file and one line here.
#[rustfmt::skip]
pub static ALL: &[&dyn SinkProvider] = &[
    &console::Console,
    &memory::Memory,
    &file::TEXT,
    &file::JSON,
    &file::CSV,
    &file::PARQUET,
    &file::ORC,
    &foreach::Foreach,
    &foreach_batch::ForeachBatch,
    &noop::Noop,
    &channel::Channel,
    #[cfg(feature = "kafka")]
    &kafka::Kafka,
    #[cfg(feature = "cassandra")]
    &cassandra::Cassandra,
];

/// The sink of this name, in any case.
///
/// # Errors
/// `DATA_SOURCE_NOT_FOUND`, with the nearest name as a hint.
pub fn lookup(name: &str) -> Result<&'static dyn SinkProvider> {
    #[cfg(test)]
    if name == crate::query::simulation::NAME {
        return Ok(&crate::query::simulation::SimulatedSink);
    }
    let named = |provider: &&&dyn SinkProvider| provider.names().iter().any(|known| known.eq_ignore_ascii_case(name));
    ALL.iter().find(named).copied().ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Error {
    let error = Error::query("DATA_SOURCE_NOT_FOUND", format!("failed to find the data source '{name}'"));
    if name.eq_ignore_ascii_case("kafka") {
        return error.hint("This build has no Kafka: build with the Cargo feature 'kafka'.");
    }
    if crate::sources::is_cassandra(name) {
        return error.hint(crate::sources::NO_CASSANDRA);
    }
    match nearest(name, ALL.iter().flat_map(|provider| provider.names().iter().copied())) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

/// Options that every sink accepts because the query reads them.
pub const QUERY_OPTIONS: &[OptionSpec] = &[option("checkpointLocation", "", "the folder of the query's checkpoint")];

/// Refuses options that the sink does not have.
pub(crate) fn check_options(provider: &dyn SinkProvider, spec: &SinkSpec) -> Result<()> {
    let what = format!("sink '{}'", provider.names().first().copied().unwrap_or_default());
    let mut known = provider.options();
    known.push(QUERY_OPTIONS);
    spec.options.check(&what, &known)
}

/// The condition of an error that ends a query cleanly: whoever reads the rows has gone (a closed pipe, a dropped receiver).
pub const CLOSED: &str = "SINK_CLOSED";

/// The error that ends the query cleanly because nobody reads its rows any more.
pub(crate) fn closed(who: &str) -> Error {
    Error::outside(format!("{who} was closed by its reader")).with_condition(CLOSED)
}

/// The function of a sink that calls one, of type `T`.
pub(crate) fn function<T: Any + Send + Sync>(spec: &SinkSpec, name: &str) -> Result<Arc<T>> {
    let found = spec.function.clone().and_then(|function| function.downcast::<T>().ok());
    found.ok_or_else(|| {
        Error::invalid(format!("sink '{name}' needs a function")).hint(format!("Start it with .{name}(...)."))
    })
}

/// Runs a user's function; a panic becomes an error that says where, which is put into words only then.
pub(crate) fn guarded<T>(condition: &str, place: impl Display, call: impl FnOnce() -> Result<T>) -> Result<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| match error.condition() {
            Some(_) => error.at(place.to_string()),
            None => error.with_condition(condition).at(place.to_string()),
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(Error::data(condition, format!("the user's function panicked: {text}")).at(place.to_string()))
        }
    }
}

/// The rows that writers collected for an epoch, in the order of the workers.
pub(crate) fn collected(prepared: Vec<Prepared>) -> Vec<RecordBatch> {
    let payloads = prepared.into_iter().filter_map(|prepared| prepared.payload);
    payloads.filter_map(|payload| payload.downcast::<Vec<RecordBatch>>().ok()).flat_map(|rows| *rows).collect()
}

/// A writer that collects an epoch's rows as its payload, for [`collected`].
#[derive(Default)]
pub(crate) struct Collecting {
    rows: Vec<RecordBatch>,
}

impl Writer for Collecting {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows.push(rows.clone());
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        let rows = std::mem::take(&mut self.rows);
        let count = rows.iter().map(|rows| rows.num_rows() as u64).sum();
        Ok(Prepared { rows: count, payload: Some(Box::new(rows)), ..Prepared::default() })
    }
}
