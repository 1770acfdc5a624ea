//! Sources: what a query reads, batch and stream alike. One file each, one line each in [`ALL`].
//!
//! ```text
//!  query driver                    source                         ingest thread            worker
//!  ── latest(from, limit) ───────► newest offset within the limit
//!  ── read(from, to) ────────────► one Reader a partition ──────► next() … next() ──────► decoder, rows
//!  ── commit(offset) ────────────► forget what lies before
//! ```
//!
//! Under the micro-batch driver each batch is one bounded `read`; under the continuous driver there is one unbounded `read`
//! (`to: None`) whose readers hand over data the moment it arrives. A batch query is one bounded read.

#[cfg(feature = "cassandra")]
pub mod cassandra;
#[cfg(test)]
mod conformance;
pub mod file;
pub mod items;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub(crate) mod pause;
pub mod predicate;
pub mod rate;
pub mod rate_micro_batch;
pub mod socket;
pub mod statestore;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::formats::{Decoder, Frames, Part};
use crate::options::{OptionSpec, Options, nearest, option};
use crate::sources::predicate::Predicate;
use crate::store::Folder;
use crate::{Error, Result};

/// A place in a source, as JSON in Spark's own form (`{"logOffset":3}`, `{"topic":{"0":17}}`, `42`). Equal texts are equal places.
pub type Offset = serde_json::Value;

/// What the user asked to read.
#[derive(Debug, Clone, Default)]
pub struct SourceSpec {
    /// The format's name as given, e.g. `csv`, `socket`, `kafka`.
    pub format: String,
    /// The schema the user gave, if any.
    pub schema: Option<SchemaRef>,
    /// Options; `path` is one of them.
    pub options: Options,
    /// More than one path (batch `load(paths)`); empty otherwise.
    pub paths: Vec<String>,
    /// True for `read_stream`.
    pub streaming: bool,
    /// What the program shares with the source ([`memory::MemoryStream`]), taken by the source of that name.
    pub handle: Option<Arc<dyn Any + Send + Sync>>,
}

/// Wakes the query's driver: there may be something new to read. Cheap, callable from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What a source gets when a query starts.
#[derive(Clone)]
pub struct SourceContext {
    /// Which columns of the source's schema to deliver, as rising indexes.
    pub projection: Vec<usize>,
    /// Conditions that all rows which the query wants fulfil; the source may leave out others, and need not. Only if
    /// [`SourceProvider::uses_filters`] says so.
    pub filters: Vec<Predicate>,
    /// Session settings as fixed for this query.
    pub conf: Conf,
    /// `sources/N` in the query's checkpoint: bookkeeping of this source. `None` for batch reads and in-memory checkpoints.
    pub log: Option<Folder>,
    /// The clocks.
    pub clock: SharedClock,
    /// Tells the driver of new data (a source that cannot tell is polled).
    pub wake: Wake,
}

/// How much one batch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// What the source's options say (`maxFilesPerTrigger`, ...).
    Options,
    /// Everything there is (trigger once).
    Everything,
}

/// One kind of source: checks options, tells the schema, connects.
pub trait SourceProvider: Send + Sync {
    /// Names in `format(...)`, lower case; the first is the canonical one.
    fn names(&self) -> &'static [&'static str];
    /// The options it understands.
    fn options(&self) -> Vec<&'static [OptionSpec]>;
    /// The full schema of its rows; checks all options before anything runs.
    fn schema(&self, spec: &SourceSpec, conf: &Conf) -> Result<SchemaRef>;
    /// Connects for one query. `schema` is what [`SourceProvider::schema`] said.
    fn connect(&self, spec: &SourceSpec, schema: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>>;
    /// True if a read (of a stream, or a batch) does less when it knows the query's conditions ([`SourceContext::filters`]).
    fn uses_filters(&self) -> bool {
        false
    }
    /// True if it can be read by a batch query.
    fn batch(&self) -> bool {
        true
    }
}

/// A connected source of one query. Lives on the query's driver thread.
///
/// # Restart
/// After a restart `read` is called with offsets from the checkpoint; a source that can't repeat them (socket) says so in its docs.
pub trait Source: Send {
    /// What it is, as progress reports show it, e.g. `FileStreamSource[file:/data/in]`. No secrets.
    fn description(&self) -> String;

    /// The newest offset a batch that starts after `from` may read to; `None` if there is nothing after `from`.
    fn latest(&mut self, from: Option<&Offset>, limit: Limit) -> Result<Option<Offset>>;

    /// How many readers an unbounded [`Source::read`] after `from` will give.
    fn partitions(&mut self, _from: Option<&Offset>) -> Result<usize> {
        Ok(1)
    }

    /// Readers of the rows after `from` up to and including `to`; for ever without `to`. Each reader is one partition and
    /// runs on a thread of its own. Partition numbers are stable during a run.
    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>>;

    /// A decoder for what its readers give as [`Read::Frames`]; each worker has one. `None` if readers give rows.
    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>>;

    /// True when nothing will be added to the source any more: the query ends when it has worked off what is there.
    fn ended(&self) -> bool {
        false
    }

    /// From now on [`Source::latest`] offers only what exists now, in batches of the usual size, and then `None` (trigger
    /// available now).
    fn freeze(&mut self) -> Result<()>;

    /// Nothing up to `offset` will be read again.
    fn commit(&mut self, _offset: &Offset) -> Result<()> {
        Ok(())
    }

    /// Somebody waits for all that is there now: from now on a reader that has not come so far says that it is
    /// [behind](Reader::behind).
    fn mark(&mut self) -> Result<()> {
        Ok(())
    }

    /// Joins the partitions' offsets of a continuous read (in the order of [`Source::read`]) to one offset.
    fn join_offsets(&self, mut parts: Vec<Offset>) -> Result<Offset> {
        Ok(parts.pop().unwrap_or_default())
    }

    /// For how long what it reads from has not answered, while it goes on trying; `None` if it is there. The query's status says so.
    fn away(&self) -> Option<Duration> {
        None
    }

    /// What a progress report says about the source when an epoch has ended at `end`.
    fn report(&mut self, _end: Option<&Offset>) -> SourceReport {
        SourceReport::default()
    }

    /// How often the driver should ask for news when the source never wakes it; `None` if it always wakes it.
    fn poll_interval(&self) -> Option<Duration> {
        None
    }
}

/// What a source tells progress reports about itself.
#[derive(Debug, Clone, Default)]
pub struct SourceReport {
    /// The newest offset known; by default where the epoch ended.
    pub latest: Option<Offset>,
    /// Figures by name, as Spark's text (`"maxOffsetsBehindLatest": "3"`).
    pub metrics: serde_json::Map<String, serde_json::Value>,
}

/// What a reader has next.
#[derive(Debug)]
pub enum Read {
    /// Records for the decoder.
    Frames(Frames),
    /// Rows, decoded by the reader (columnar files, generated rows).
    Rows(RecordBatch),
    /// The same, where rows that the query does not want have been left out.
    Part(Part),
    /// Nothing arrived within the wait.
    Idle,
    /// The range has been read (or the peer closed).
    End,
}

/// Whether a reader that has nothing could have had something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It could, up to now.
    Sure,
    /// Nothing is known since it was last sure.
    Open,
    /// There may be rows that cannot be read.
    Lost,
}

/// One running partition.
pub trait Reader: Send {
    /// Waits at most `wait` for more. Hands over what is there and never waits for a fuller chunk (at most 8192 rows or 1 MiB).
    fn next(&mut self, wait: Duration) -> Result<Read>;

    /// The place after what was handed over so far.
    fn offset(&self) -> Offset;

    /// True if it knows of more, although it had nothing to hand over just now: it is on its way.
    fn behind(&self) -> bool {
        false
    }

    /// Asked after `next` found nothing: whether it would have found what there is. Time without rows makes a partition idle, so that
    /// watermarks do not wait for it, only as far as that is sure.
    fn reach(&mut self) -> Reach {
        Reach::Sure
    }

    /// True if `next` costs little and waits on nothing but new rows: the worker may call it between its steps, which saves
    /// waking the worker for each record. Otherwise the reader gets a thread of its own, so that reading and computing overlap.
    fn is_light(&self) -> bool {
        false
    }

    /// Something another thread can call, any time and often, to end one `next` that waits (when an epoch closes, at the
    /// query's stop). Nothing is lost by it.
    fn interrupt(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        None
    }
}

/// Every kind of source. A new one is one file and one line here.
#[rustfmt::skip]
pub static ALL: &[&dyn SourceProvider] = &[
    &file::TEXT,
    &file::JSON,
    &file::CSV,
    &file::PARQUET,
    &file::ORC,
    &socket::Socket,
    &rate::Rate,
    &rate_micro_batch::RateMicroBatch,
    &memory::Memory,
    &statestore::STATE_STORE,
    &statestore::STATE_METADATA,
    #[cfg(feature = "kafka")]
    &kafka::Kafka,
    #[cfg(feature = "cassandra")]
    &cassandra::Cassandra,
];

/// The source of this name, in any case.
///
/// # Errors
/// `DATA_SOURCE_NOT_FOUND`, with the nearest name as a hint.
pub fn lookup(name: &str) -> Result<&'static dyn SourceProvider> {
    #[cfg(test)]
    if name == crate::query::simulation::NAME {
        return Ok(&crate::query::simulation::SimulatedSource);
    }
    let named = |provider: &&&dyn SourceProvider| provider.names().iter().any(|known| known.eq_ignore_ascii_case(name));
    ALL.iter().find(named).copied().ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Error {
    let error = Error::query("DATA_SOURCE_NOT_FOUND", format!("failed to find the data source '{name}'"));
    if name.eq_ignore_ascii_case("kafka") {
        return error.hint("This build has no Kafka: build with the Cargo feature 'kafka'.");
    }
    if is_cassandra(name) {
        return error.hint(NO_CASSANDRA);
    }
    match nearest(name, ALL.iter().flat_map(|provider| provider.names().iter().copied())) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

/// True for the names of Cassandra's source and sink, whether they are there or not.
pub(crate) fn is_cassandra(name: &str) -> bool {
    ["cassandra", "org.apache.spark.sql.cassandra"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What to do about it when Cassandra is not there.
pub(crate) const NO_CASSANDRA: &str = "This build has no Cassandra: build with the Cargo feature 'cassandra'.";

/// The option that says after which time without rows a partition holds watermarks back no more.
pub(crate) const IDLE_TIMEOUT: &str = "idleTimeout";
/// The option that says how far ahead a row may be and still move a watermark.
pub(crate) const MAX_FUTURE_SKEW: &str = "maxFutureSkew";

/// Options that every source accepts because the query reads them.
pub const QUERY_OPTIONS: &[OptionSpec] = &[
    option(
        IDLE_TIMEOUT,
        "1 minute",
        "continuous trigger: a partition without rows for so long holds no watermark back; or off",
    ),
    option(
        MAX_FUTURE_SKEW,
        "1 hour",
        "a row further ahead, of the others and of the clock, moves no watermark; or off",
    ),
];

/// Refuses options that the source does not have.
pub(crate) fn check_options(provider: &dyn SourceProvider, spec: &SourceSpec) -> Result<()> {
    let what = format!("source '{}'", provider.names().first().copied().unwrap_or_default());
    let mut known = provider.options();
    known.push(QUERY_OPTIONS);
    spec.options.check(&what, &known)
}

/// Refuses a schema given by the user where the source has its own.
pub(crate) fn refuse_schema(spec: &SourceSpec) -> Result<()> {
    match spec.schema {
        None => Ok(()),
        Some(_) => Err(Error::query(
            "_LEGACY_ERROR_TEMP_1242",
            format!("source '{}' does not support a schema given by the user", spec.format),
        )
        .hint("Leave out .schema(...).")),
    }
}

/// A whole number kept in an offset.
pub(crate) fn whole_number(offset: &Offset) -> Result<u64> {
    let text = || offset.as_str().and_then(|text| text.parse().ok());
    offset.as_u64().or_else(text).ok_or_else(|| wrong_offset(offset))
}

/// The error for an offset that is not one of this source.
pub(crate) fn wrong_offset(offset: &Offset) -> Error {
    Error::invalid(format!("'{offset}' is no offset of this source"))
        .hint("The checkpoint belongs to another source or is damaged.")
}
