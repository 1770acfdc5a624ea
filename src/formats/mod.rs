//! Formats: bytes ↔ Arrow rows, with Spark's rules; no transport and no directory listing here.
//!
//! A format is one file with its options, decoder and encoder, and one line in [`ALL`]. Text-like formats work on
//! *frames* (records cut out of a byte stream by the source, with their places), so that decoding happens in the worker
//! and builds only the columns the query needs. Columnar formats open whole files.

mod adapt;
mod columnar;
#[cfg(test)]
mod columnar_tests;
pub(crate) mod columns;
pub mod compression;
mod condition;
pub mod csv;
pub mod encoding;
pub mod frames;
pub mod json;
pub(crate) mod mode;
pub mod orc;
pub mod parquet;
mod rows;
mod sample;
pub mod text;
mod times;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::conf::Conf;
use crate::options::{OptionSpec, Options, nearest};
use crate::sources::predicate::Predicate;
use crate::{Error, Result};

/// Records cut from a byte stream: `bytes[spans[i].0..spans[i].1]` is record `i`, without its line end.
///
/// Invariant: spans rise, do not overlap and lie within `bytes`.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    /// The bytes of all records and their line ends.
    pub bytes: Vec<u8>,
    /// `(start, end)` of each record in `bytes`.
    pub spans: Vec<(u32, u32)>,
    /// Where the records come from, for error messages: a file path, `socket host:port`, ...
    pub place: Arc<str>,
    /// Number of the first record within its place, from 1 (a line number for files).
    pub first_line: u64,
    /// Which records were longer than `maxRecordBytes` and lost their end; rising.
    pub cut: Vec<u32>,
}

impl Frames {
    /// Says in the log how many records were cut off, and where: of a text nothing else shows it.
    pub(crate) fn tell_of_cut_ones(&self) {
        if !self.cut.is_empty() {
            tracing::warn!(
                records = self.cut.len(),
                place = &*self.place,
                "records longer than 'maxRecordBytes' (16 MiB) were cut off"
            );
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of record `i`.
    pub fn record(&self, i: usize) -> &[u8] {
        let (start, end) = self.spans[i];
        &self.bytes[start as usize..end as usize]
    }

    /// True if record `i` was longer than allowed and lost its end.
    pub fn is_cut(&self, i: usize) -> bool {
        !self.cut.is_empty() && self.cut.binary_search(&(i as u32)).is_ok()
    }

    /// `file:line` of record `i`, for error messages.
    pub fn position(&self, i: usize) -> String {
        format!("{}:{}", self.place, self.first_line + i as u64)
    }
}

/// What a decoder is to build.
#[derive(Debug, Clone)]
pub struct DecodeContext {
    /// The declared columns of the data (with the corrupt-record column, if declared), in order.
    pub schema: SchemaRef,
    /// Which of them to build, as rising indexes into `schema`. May be empty: then only the number of rows counts.
    pub projection: Vec<usize>,
    /// The format's options.
    pub options: Options,
    /// Session settings (time zone, ANSI).
    pub conf: Conf,
    /// Conditions on columns of `schema` that all rows which the query wants fulfil. A decoder may leave out others, and need not.
    pub filters: Vec<Predicate>,
}

impl DecodeContext {
    /// The schema of what is built: `schema` projected.
    pub fn output_schema(&self) -> SchemaRef {
        Arc::new(self.schema.project(&self.projection).expect("projection indexes lie within the schema"))
    }
}

/// Turns frames into rows. One decoder serves one reader; it keeps nothing between calls but reusable buffers and, for
/// CSV, in which file the header has not come yet.
pub trait Decoder: Send {
    /// Decodes all records. A record may give no row (DROPMALFORMED, blank JSON line) or several (a JSON array).
    ///
    /// # Errors
    /// FAILFAST on a malformed record, naming `frames.position(i)`.
    fn decode(&mut self, frames: &Frames) -> Result<RecordBatch>;

    /// How many rows it has left out since it was last asked, because the query does not want them ([`DecodeContext::filters`]).
    fn left_out(&mut self) -> usize {
        0
    }
}

/// Turns rows into records, each followed by its line end.
pub trait Encoder: Send {
    /// Bytes that open a file (a CSV header); empty for most.
    fn header(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Appends all rows to `out`.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;
}

/// Some of the rows of a file or a stream, one behind the other.
#[derive(Debug)]
pub struct Part {
    /// The rows, at most as many as a chunk may have; perhaps none.
    pub rows: RecordBatch,
    /// Over how many rows it reaches: those, and others that the query does not want ([`DecodeContext::filters`]).
    pub reach: u64,
}

impl Part {
    /// Rows among which none are left out.
    pub fn of(rows: RecordBatch) -> Part {
        Part { reach: rows.num_rows() as u64, rows }
    }
}

/// Rows of one file, part by part.
pub type Parts = Box<dyn Iterator<Item = Result<Part>> + Send>;

/// Writes one whole file of a columnar format.
pub trait FileWriter: Send {
    /// Adds rows.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Writes the footer; nothing of the file counts before this returns.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// How a format's files are cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Records end with a line end (`\n`, `\r\n`, `\r`, or option `lineSep`).
    Lines,
    /// The whole file is one record (`wholetext`, `multiLine`).
    Whole,
    /// Columnar: [`Format::open_file`] reads the file itself.
    Columnar,
}

/// One file format: its name, options, decoder and encoder.
pub trait Format: Send + Sync {
    /// Spark's short name, lower case.
    fn name(&self) -> &'static str;
    /// The options it understands, besides those of the source or sink around it.
    fn options(&self) -> &'static [OptionSpec];
    /// How files are cut into records under these options.
    fn framing(&self, options: &Options) -> Result<Framing>;
    /// The schema when the user gives none (text has one; others infer from sample files in batch mode only).
    ///
    /// # Errors
    /// When nothing can be inferred: Spark's `UNABLE_TO_INFER_SCHEMA`.
    fn infer_schema(&self, files: &[std::path::PathBuf], options: &Options, conf: &Conf) -> Result<SchemaRef>;
    /// A decoder for [`Framing::Lines`] and [`Framing::Whole`]. Checks the options' values.
    fn decoder(&self, context: DecodeContext) -> Result<Box<dyn Decoder>>;
    /// Whether it may leave out rows ([`DecodeContext::filters`]).
    fn uses_filters(&self) -> bool {
        false
    }
    /// Opens a file of a [`Framing::Columnar`] format, to read the rows that have these numbers in it, from 0 on.
    fn open_file(&self, path: &Path, context: DecodeContext, rows: Range<u64>) -> Result<Parts>;
    /// An encoder of rows of `schema` (text-like formats).
    fn encoder(&self, schema: SchemaRef, options: &Options, conf: &Conf) -> Result<Box<dyn Encoder>>;
    /// A writer of a whole file (columnar formats).
    fn file_writer(&self, file: std::fs::File, schema: SchemaRef, options: &Options) -> Result<Box<dyn FileWriter>>;
}

/// All formats. A new format is one line here.
pub static ALL: &[&dyn Format] = &[&text::Text, &json::Json, &csv::Csv, &parquet::Parquet, &orc::Orc];

/// The format of this name, in any case.
///
/// # Errors
/// `DATA_SOURCE_NOT_FOUND`, with the nearest name as a hint.
pub fn lookup(name: &str) -> Result<&'static dyn Format> {
    let found = ALL.iter().find(|format| format.name().eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Error {
    let error = Error::query("DATA_SOURCE_NOT_FOUND", format!("failed to find the data source '{name}'"));
    match nearest(name, ALL.iter().map(|format| format.name())) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

/// The error of a text-like format that is asked to read or write whole files itself.
fn not_columnar(format: &dyn Format) -> Error {
    Error::internal(format!("format '{}' works on records, not on whole files", format.name()))
}

/// The error of a columnar format that is asked for records.
fn not_text(format: &dyn Format) -> Error {
    Error::internal(format!("format '{}' works on whole files, not on records", format.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_name() {
        for format in ALL {
            assert_eq!(lookup(&format.name().to_uppercase()).unwrap().name(), format.name());
        }
        let error = lookup("parket").err().unwrap();
        assert_eq!(error.condition(), Some("DATA_SOURCE_NOT_FOUND"));
        assert!(error.to_string().contains("'parquet'"), "{error}");
    }

    #[test]
    fn every_option_is_listed_once_and_explained() {
        for format in ALL {
            let mut names: Vec<_> = format.options().iter().map(|option| option.name.to_lowercase()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), format.options().len(), "{}", format.name());
            assert!(format.options().iter().all(|option| !option.help.is_empty()));
        }
    }
}
