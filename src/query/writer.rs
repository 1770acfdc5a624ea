//! `write_stream()`: what a streaming query writes to, when, and under what name.
//!
//! In: a DataFrame and settings. Out: a running [`StreamingQuery`]. Everything that can be wrong is told by `start`.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use serde::de::DeserializeOwned;

use super::handle::StreamingQuery;
use super::items::Items;
use super::late::{LateWriter, belongs_to_the_query};
use super::start::{StartRequest, start};
use super::trigger::Trigger;
use crate::clock::SharedClock;
use crate::frame::DataFrame;
use crate::items::Decoder;
use crate::options::nearest;
use crate::sinks::channel::{ResultReceiver, channel};
use crate::sinks::foreach::ForeachFunction;
use crate::sinks::foreach_batch::ForeachBatchFunction;
use crate::sinks::{OutputMode, SinkSpec};
use crate::{Error, Result};

/// Options of the query itself, which the sink never sees.
pub(crate) const QUERY_OPTIONS: [&str; 6] =
    ["checkpointLocation", "queryName", "outputMode", "changelog", "trigger", "lateRows"];

/// Collects how a streaming DataFrame is written.
#[derive(Clone)]
pub struct DataStreamWriter {
    frame: DataFrame,
    sink: SinkSpec,
    mode: Result<OutputMode>,
    changelog: Result<bool>,
    trigger: Result<Trigger>,
    name: Option<String>,
    checkpoint: Option<PathBuf>,
    clock: Option<SharedClock>,
    late: Option<LateWriter>,
}

/// What a writer of late rows says.
pub(super) struct LateParts {
    pub plan: LogicalPlan,
    pub sink: SinkSpec,
    pub mode: OutputMode,
    pub name: Option<String>,
}

impl DataStreamWriter {
    /// A writer of `frame`: append mode, as soon as possible, no sink yet.
    pub fn new(frame: DataFrame) -> Self {
        let (mode, trigger) = (Ok(OutputMode::Append), Ok(Trigger::default()));
        let (changelog, late) = (Ok(false), None);
        let sink = SinkSpec::default();
        DataStreamWriter { frame, sink, mode, changelog, trigger, name: None, checkpoint: None, clock: None, late }
    }

    /// The sink: `console`, `memory`, `csv`, `parquet`, `noop`, ...
    #[must_use]
    pub fn format(mut self, format: &str) -> Self {
        self.sink.format = format.to_owned();
        self
    }

    /// An option of the query (`checkpointLocation`, `queryName`, `outputMode`, `changelog`, `trigger`, `lateRows`) or of the
    /// sink.
    ///
    /// `changelog` = `true` gives the sink the changelog of the result instead of the rows that changed: a last column `_change`
    /// (TINYINT) is 1 for a row that is now part of the result and -1 for one that no longer is.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        match QUERY_OPTIONS.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            Some(0) => self.checkpoint = Some(PathBuf::from(value)),
            Some(1) => self.name = Some(value),
            Some(2) => self.mode = parse_mode(&value),
            Some(3) => self.changelog = parse_flag(name, &value),
            Some(4) => self.trigger = Trigger::parse(&value),
            Some(_) => return self.late_rows(move |late| late.write_stream().writing_to(&value)),
            None => self.sink.options.set(name, value),
        }
        self
    }

    /// Several options.
    #[must_use]
    pub fn options<K: AsRef<str>, V: ToString>(self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        options.into_iter().fold(self, |writer, (name, value)| writer.option(name.as_ref(), value))
    }

    /// `append`, `update` or `complete` (in any case), or an [`OutputMode`].
    #[must_use]
    pub fn output_mode(mut self, mode: impl IntoOutputMode) -> Self {
        self.mode = mode.into_output_mode();
        self
    }

    /// When epochs close.
    #[must_use]
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = Ok(trigger);
        self
    }

    /// The query's name: unique among the active queries of the session; names the memory sink's table.
    #[must_use]
    pub fn query_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Columns whose values name sub-directories of a file sink.
    #[must_use]
    pub fn partition_by(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sink.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Writes the rows that operators drop because the watermark has passed them, too: `write` gets them as a streaming
    /// DataFrame and says, by a writer that is not started, what becomes of them. They have all columns of the operator's
    /// input (of several operators: by name), then `_operator`, its name in [`StreamingQuery::explain`], and `_watermark`, which
    /// had passed them. They belong to the same query: to its epochs, its checkpoint, its life. A row is late at most once
    /// for each operator: one of sliding windows drops it when its last window is closed.
    ///
    /// ```no_run
    /// # fn f(windows: thalweg::frame::DataFrame) -> thalweg::Result<()> {
    /// let writer = windows.write_stream().format("console");
    /// let query = writer.late_rows(|late| Ok(late.write_stream().format("json").option("path", "late"))).start()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// In a job, the option `lateRows` of a sink table names the sink table of late rows.
    #[must_use]
    pub fn late_rows(mut self, write: impl Fn(DataFrame) -> Result<DataStreamWriter> + Send + Sync + 'static) -> Self {
        self.late = Some(LateWriter::new(write));
        self
    }

    /// What it says as a writer of late rows.
    ///
    /// # Errors
    /// Settings that belong to the query.
    pub(super) fn late_parts(self) -> Result<LateParts> {
        require_sink(&self.sink)?;
        let foreign = [
            (self.checkpoint.is_some(), "a checkpoint"),
            (self.trigger? != Trigger::default(), "a trigger"),
            (self.clock.is_some(), "a clock"),
            (self.late.is_some(), "late rows of its own"),
            (self.changelog?, "a changelog"),
        ];
        if let Some((_, setting)) = foreign.iter().find(|(set, _)| *set) {
            return Err(belongs_to_the_query(setting));
        }
        Ok(LateParts { plan: self.frame.plan().clone(), sink: self.sink, mode: self.mode?, name: self.name })
    }

    /// Other clocks than the machine's, for tests.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Calls `function` with the rows of each epoch as a static DataFrame, and the epoch's number. At least once: after a
    /// crash the last epoch may come again, under the same number.
    #[must_use]
    pub fn foreach_batch(self, function: impl Fn(DataFrame, u64) -> Result<()> + Send + Sync + 'static) -> Self {
        let session = self.frame.session().clone();
        self.foreach_rows(move |batches, schema, epoch| function(session.create_data_frame(schema, batches)?, epoch))
    }

    /// As [`DataStreamWriter::foreach_batch`], with the bare record batches and their schema.
    #[must_use]
    pub fn foreach_rows(
        mut self,
        function: impl Fn(Vec<RecordBatch>, SchemaRef, u64) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.sink = ForeachBatchFunction::new(function).spec();
        self
    }

    /// Calls a user's writer, or a function, for each row ([`ForeachFunction`]). At least once: after a crash the last epoch
    /// may come again, under the same number.
    #[must_use]
    pub fn foreach(mut self, function: ForeachFunction) -> Self {
        self.sink = function.spec();
        self
    }

    /// Another sink than a named one: its description, with what it carries.
    #[must_use]
    pub fn sink(mut self, sink: SinkSpec) -> Self {
        self.sink = sink;
        self
    }

    /// Starts the query in the background.
    ///
    /// # Errors
    /// Whatever is wrong with the query, its options, its checkpoint, or the systems it connects to.
    pub fn start(self) -> Result<StreamingQuery> {
        let session = self.frame.session().clone();
        require_sink(&self.sink)?;
        start(StartRequest {
            plan: self.frame.plan().clone(),
            conf: session.conf(),
            manager: session.streams().clone(),
            session,
            mode: self.mode?,
            changelog: self.changelog?,
            trigger: self.trigger?,
            name: self.name,
            sink: self.sink,
            late: self.late,
            checkpoint: self.checkpoint,
            clock: self.clock,
        })
    }

    /// Starts the query with `path` as the sink's path.
    ///
    /// # Errors
    /// As [`DataStreamWriter::start`].
    pub fn start_path(self, path: &str) -> Result<StreamingQuery> {
        self.option("path", path).start()
    }

    /// Starts the query; its rows come out of the receiver, which holds at most `capacity` batches: a slow reader slows the
    /// query down.
    ///
    /// # Errors
    /// As [`DataStreamWriter::start`].
    pub fn start_channel(mut self, capacity: usize) -> Result<(StreamingQuery, ResultReceiver)> {
        let (sender, receiver) = channel(capacity);
        self.sink = sender.spec();
        Ok((self.start()?, receiver))
    }

    /// Starts the query; its rows come out as values of type `T`, whose fields are columns. At most `capacity` chunks of rows
    /// wait to be taken: a slow reader slows the query down.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN.WITH_SUGGESTION` for a field without a column, or as [`DataStreamWriter::start`].
    pub fn start_items<T: DeserializeOwned>(self, capacity: usize) -> Result<(StreamingQuery, Items<T>)> {
        let decoder = Decoder::new(&self.frame.schema())?;
        let (query, receiver) = self.start_channel(capacity)?;
        Ok((query.clone(), Items::new(receiver, decoder, query)))
    }

    /// Starts the query writing to a table made with `CREATE TABLE ... USING`.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`, or as [`DataStreamWriter::start`].
    pub fn to_table(self, name: &str) -> Result<StreamingQuery> {
        self.writing_to(name)?.start()
    }

    /// The same writer, with the sink of a table.
    fn writing_to(self, name: &str) -> Result<Self> {
        let table = self.frame.session().sink_table(name)?;
        let writer = self.format(&table.format).partition_by(table.partition_by);
        // The rows of a query that writes into memory are found under the query's name: by default, the table's.
        let named = table.format.eq_ignore_ascii_case("memory") && writer.name.is_none();
        let writer = if named { writer.query_name(name) } else { writer };
        Ok(writer.options(table.options.iter()))
    }
}

fn require_sink(sink: &SinkSpec) -> Result<()> {
    if !sink.format.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("the stream has no sink").hint("Choose one with .format(\"console\"), for example."))
}

/// What [`DataStreamWriter::output_mode`] takes.
pub trait IntoOutputMode {
    /// The mode.
    ///
    /// # Errors
    /// `STREAMING_OUTPUT_MODE.INVALID`, naming the nearest.
    fn into_output_mode(self) -> Result<OutputMode>;
}

impl IntoOutputMode for OutputMode {
    fn into_output_mode(self) -> Result<OutputMode> {
        Ok(self)
    }
}

impl IntoOutputMode for &str {
    fn into_output_mode(self) -> Result<OutputMode> {
        parse_mode(self)
    }
}

fn parse_flag(name: &str, text: &str) -> Result<bool> {
    let wrong = || Error::invalid(format!("option '{name}' should be 'true' or 'false' but is '{text}'"));
    text.to_ascii_lowercase().parse().map_err(|_| wrong())
}

fn parse_mode(text: &str) -> Result<OutputMode> {
    match text.to_ascii_lowercase().as_str() {
        "append" => Ok(OutputMode::Append),
        "update" => Ok(OutputMode::Update),
        "complete" => Ok(OutputMode::Complete),
        _ => {
            let error = Error::query("STREAMING_OUTPUT_MODE.INVALID", format!("unknown output mode '{text}'"));
            Err(match nearest(text, ["append", "update", "complete"].into_iter()) {
                Some(near) => error.hint(format!("Did you mean '{near}'?")),
                None => error.hint("Known are append, update and complete."),
            })
        }
    }
}
