//! What the command prints: results on standard output, failures on standard error.
//!
//! In: DataFrames and errors. Out: tables as Spark prints them, or one JSON object per row. A table is printed whole, up to
//! [`MOST_ROWS`] rows; JSON lines have no limit.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Schema};
use serde_json::json;
use thalweg::conf::Conf;
use thalweg::formats::json::ToJson;
use thalweg::frame::DataFrame;
use thalweg::options::Options;
use thalweg::sql::TEXT;
use thalweg::{Error, Result};

/// A table has at most so many rows; who wants more asks for JSON or writes into a sink.
const MOST_ROWS: usize = 1000;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Tables for people.
    Table,
    /// JSON lines for programs.
    Json,
}

/// An error, and where in which text it came up.
#[derive(Debug)]
pub(super) struct Failure {
    /// What went wrong.
    pub error: Error,
    /// `job.sql:3:8`, if it belongs to a statement.
    pub place: Option<String>,
    /// As text or as JSON.
    pub style: Style,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, place: None, style: Style::Table }
    }
}

impl From<std::io::Error> for Failure {
    fn from(cause: std::io::Error) -> Self {
        Failure::from(Error::from(cause))
    }
}

impl Failure {
    /// True if nobody reads standard output any more (`thalweg run job.sql | head`): a reason to end, not an error.
    pub(super) fn is_closed_pipe(&self) -> bool {
        let cause = std::error::Error::source(&self.error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Prints it on standard error.
    pub(super) fn print(&self) {
        let text = match self.style {
            Style::Table => self.text(),
            Style::Json => self.json(),
        };
        // When standard error is closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// `job.sql:3:8: error: [CONDITION] message`, and the hint on a line of its own.
    fn text(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let condition = self.error.condition().map(|condition| format!("[{condition}] ")).unwrap_or_default();
        let inner = self.inner_place().map(|place| format!(" (at {place})")).unwrap_or_default();
        let hint = self.error.advice().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        format!("{place}error: {condition}{}{inner}{hint}", self.error.message())
    }

    /// The place an error itself tells, unless it is the one in the text that `place` has already.
    fn inner_place(&self) -> Option<&str> {
        self.error.place().filter(|place| self.place.is_none() || super::script::line_and_column(place).is_none())
    }

    fn json(&self) -> String {
        let error = json!({
            "condition": self.error.condition(),
            "message": self.error.message(),
            "place": self.place.as_deref().or(self.error.place()),
            "hint": self.error.advice(),
        });
        json!({ "error": error }).to_string()
    }
}

/// Prints a text on standard output, at once.
pub(super) fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

/// Prints the rows of a static query. What shows nothing (a CREATE, for example) prints nothing.
pub(super) fn show(frame: &DataFrame, style: Style) -> Result<()> {
    if frame.columns().is_empty() {
        return Ok(());
    }
    if frame.is_streaming() {
        return Err(endless());
    }
    match style {
        Style::Table if is_text(frame) => print(&text(frame)?),
        Style::Table => print(&frame.show_string(MOST_ROWS, 0)?),
        Style::Json => frame.collect()?.iter().try_for_each(|rows| print(&json_lines(rows, &frame.session().conf())?)),
    }
}

/// What EXPLAIN shows: a text of many lines, not a cell of a table.
fn is_text(frame: &DataFrame) -> bool {
    frame.schema().fields().iter().all(|field| field.metadata().contains_key(TEXT))
}

fn text(frame: &DataFrame) -> Result<String> {
    let rows = frame.collect()?;
    let lines =
        rows.iter().filter_map(|rows| rows.column(0).as_string_opt::<i32>()).flat_map(|lines| lines.iter().flatten());
    Ok(lines.flat_map(|line| [line.trim_end(), "\n"]).collect())
}

fn endless() -> Error {
    Error::invalid("the query reads a stream, and nothing takes its rows").hint(
        "Make a table to write into, e.g. CREATE TABLE out USING console; then start the query with INSERT INTO out SELECT ...",
    )
}

/// One object per row, with all columns, also null ones.
pub(super) fn json_lines(rows: &RecordBatch, conf: &Conf) -> Result<String> {
    let mut options = Options::default();
    options.set("ignoreNullFields", "false");
    let schema: Arc<Schema> = rows.schema();
    let writer = ToJson::new(&DataType::Struct(schema.fields().clone()), &options, conf)?;
    let objects: ArrayRef = Arc::new(StructArray::from(rows.clone()));
    let texts = writer.convert(&objects)?;
    Ok(texts.iter().flatten().flat_map(|line| [line, "\n"]).collect())
}
