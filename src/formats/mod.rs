//! Formats: bytes ↔ Arrow rows, with Spark's rules; no transport and no directory listing here.
//!
//! A format is one file with its options, decoder and encoder, and one line in [`ALL`]. Text-like formats work on
//! *frames* (records cut out of a byte stream by the source, with their places), so that decoding happens in the worker
//! and builds only the columns the query needs. Columnar formats open whole files.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::Result;
use crate::conf::Conf;
use crate::options::{OptionSpec, Options};

/// Records cut from a byte stream: `bytes[ends[i-1]..ends[i]]` is record `i`, without its line end.
///
/// Invariant: `ends` rises and its last value is at most `bytes.len()`; `skips[i]` bytes before record `i` belong to the previous line end.
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
}

impl Frames {
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
}

impl DecodeContext {
    /// The schema of what is built: `schema` projected.
    pub fn output_schema(&self) -> SchemaRef {
        Arc::new(self.schema.project(&self.projection).expect("projection indexes lie within the schema"))
    }
}

/// Turns frames into rows. One decoder serves one reader; it keeps nothing between calls but reusable buffers.
pub trait Decoder: Send {
    /// Decodes all records. A record may give no row (DROPMALFORMED, blank JSON line) or several (a JSON array).
    ///
    /// # Errors
    /// FAILFAST on a malformed record, naming `frames.position(i)`.
    fn decode(&mut self, frames: &Frames) -> Result<RecordBatch>;
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

/// Rows of one whole file, a batch at a time.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Writes one whole file of a columnar format.
pub trait FileWriter: Send {
    /// Adds rows.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Writes the footer; returns the file's bytes or an empty vector if they already went to the file.
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
    /// Opens a file of a [`Framing::Columnar`] format.
    fn open_file(&self, path: &Path, context: DecodeContext) -> Result<Batches>;
    /// An encoder of rows of `schema` (text-like formats).
    fn encoder(&self, schema: SchemaRef, options: &Options, conf: &Conf) -> Result<Box<dyn Encoder>>;
    /// A writer of a whole file (columnar formats).
    fn file_writer(&self, file: std::fs::File, schema: SchemaRef, options: &Options) -> Result<Box<dyn FileWriter>>;
}
