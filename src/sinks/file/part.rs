//! One part file while it is written.
//!
//! In: rows of the data columns. Out: a durable file under its final name, or nothing: until [`Part::finish`] it has a hidden
//! temporary name, and it is removed when the part is dropped unfinished.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::conf::Conf;
use crate::filelog::{SinkFile, at};
use crate::formats::compression::Codec;
use crate::formats::{Encoder, FileWriter, Format, Framing};
use crate::options::Options;
use crate::{Error, Result, filepath};

/// Bytes that are encoded before they are written.
const BLOCK: usize = 1 << 20;
/// What Spark writes for the local file system.
const BLOCK_SIZE: u64 = 32 << 20;

/// How files are written.
pub(super) struct Shape {
    format: &'static dyn Format,
    columnar: bool,
    schema: SchemaRef,
    options: Options,
    conf: Conf,
    codec: Codec,
    suffix: String,
}

impl Shape {
    /// Checks options and types by making one encoder that writes nowhere.
    pub(super) fn new(format: &'static dyn Format, schema: SchemaRef, options: Options, conf: Conf) -> Result<Shape> {
        let columnar = format.framing(&options)? == Framing::Columnar;
        let compression = options.get("compression").or_else(|| options.get("codec"));
        let codec = if columnar { Codec::Plain } else { Codec::parse(compression.unwrap_or_default())? };
        let suffix = suffix(format.name(), compression, codec);
        let shape = Shape { format, columnar, schema, options, conf, codec, suffix };
        shape.output(File::options().write(true).open("/dev/null")?)?;
        Ok(shape)
    }

    fn output(&self, file: File) -> Result<Output> {
        if self.columnar {
            return Ok(Output::Columnar(self.format.file_writer(file, self.schema.clone(), &self.options)?));
        }
        let mut encoder = self.format.encoder(self.schema.clone(), &self.options, &self.conf)?;
        let buffer = encoder.header()?;
        Ok(Output::Records(RecordsFile { file, encoder, buffer, codec: self.codec }))
    }
}

/// The end of the files' names: `.csv.gz`, `.snappy.parquet`.
fn suffix(format: &str, compression: Option<&str>, codec: Codec) -> String {
    let kind = |default: &str| match compression.unwrap_or(default).to_ascii_lowercase().as_str() {
        "none" | "uncompressed" => String::new(),
        name => format!(".{name}"),
    };
    match format {
        "text" => format!(".txt{}", codec.suffix()),
        "parquet" => format!("{}.parquet", kind("snappy")),
        "orc" => format!("{}.orc", kind("zstd")),
        other => format!(".{other}{}", codec.suffix()),
    }
}

enum Output {
    Records(RecordsFile),
    Columnar(Box<dyn FileWriter>),
}

/// A file of a text-like format.
struct RecordsFile {
    file: File,
    encoder: Box<dyn Encoder>,
    /// Encoded but not written.
    buffer: Vec<u8>,
    codec: Codec,
}

impl RecordsFile {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.encoder.encode(rows, &mut self.buffer)?;
        // A deflate file can't be put together from several streams; the others can.
        if self.buffer.len() >= BLOCK && self.codec != Codec::Deflate { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        let bytes = if self.codec == Codec::Plain { bytes } else { self.codec.compress(bytes)? };
        self.file.write_all(&bytes)?;
        Ok(())
    }
}

/// An open part file.
pub(super) struct Part {
    temporary: PathBuf,
    target: PathBuf,
    /// `None` once it is finished.
    output: Option<Output>,
}

impl Part {
    /// Begins `folder/name` with the format's suffix.
    pub(super) fn create(shape: &Shape, folder: &Path, name: &str) -> Result<Part> {
        std::fs::create_dir_all(folder).map_err(|cause| at(cause, folder))?;
        let name = format!("{name}{}", shape.suffix);
        let (temporary, target) = (folder.join(format!(".{name}.tmp")), folder.join(name));
        let file = File::create_new(&temporary).map_err(|cause| at(cause, &temporary))?;
        let mut part = Part { temporary, target, output: None };
        part.output = Some(shape.output(file)?);
        Ok(part)
    }

    /// Adds rows.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let written = match &mut self.output {
            Some(Output::Records(records)) => records.write(rows),
            Some(Output::Columnar(writer)) => writer.write(rows),
            None => Err(Error::internal("a part file is written after its end")),
        };
        written.map_err(|error| error.at(self.target.display().to_string()))
    }

    /// Completes the file, makes its bytes durable and gives it its name; the folder is still to be synced.
    pub(super) fn finish(mut self) -> Result<SinkFile> {
        match self.output.take() {
            Some(Output::Records(mut records)) => records.flush(),
            Some(Output::Columnar(writer)) => writer.finish(),
            None => Ok(()),
        }
        .map_err(|error| error.at(self.target.display().to_string()))?;
        let place = |cause| at(cause, &self.target);
        let file = File::open(&self.temporary).map_err(place)?;
        file.sync_all().map_err(place)?;
        std::fs::rename(&self.temporary, &self.target).map_err(place)?;
        let about = file.metadata().map_err(place)?;
        let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(SinkFile {
            path: filepath::to_uri(&self.target),
            size: about.len(),
            is_dir: false,
            modification_time: i64::try_from(modified.as_millis()).unwrap_or(i64::MAX),
            block_replication: 1,
            block_size: BLOCK_SIZE,
            action: "add".into(),
        })
    }
}

impl Drop for Part {
    /// After a rename there is nothing under the temporary name any more.
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.temporary));
    }
}
