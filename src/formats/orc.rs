//! Format `orc`: columnar files, read and written with the ORC crate.
//!
//! Reading takes only the wanted columns, matched by name, with casts that lose nothing. Writing takes plain columns only:
//! the crate writes neither decimals nor nested types yet, so those are refused before a file is made. Timestamps within
//! the last second before 1970 have no place in the format and fail when written.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use orc_rust::compression::CompressionType;
use orc_rust::projection::ProjectionMask;
use orc_rust::{ArrowReaderBuilder, ArrowWriterBuilder, TimestampPrecision};

use super::adapt::{find, spark_schema};
use super::columnar::{BATCH_ROWS, adapted, guarded, infer_schema, open, unreadable, within};
use super::{DecodeContext, Decoder, Encoder, FileWriter, Format, Framing, Parts, not_text};
use crate::conf::Conf;
use crate::options::{OptionSpec, Options, option};
use crate::types::simple_name;
use crate::{Error, Result};

/// The format.
pub struct Orc;

const OPTIONS: &[OptionSpec] = &[
    option("mergeSchema", "false", "inference: merge the schemas of all files"),
    option("compression", "zstd", "how written files are compressed: none, snappy, zlib, zstd, lz4"),
];

impl Format for Orc {
    fn name(&self) -> &'static str {
        "orc"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn framing(&self, _options: &Options) -> Result<Framing> {
        Ok(Framing::Columnar)
    }

    fn infer_schema(&self, files: &[PathBuf], options: &Options, conf: &Conf) -> Result<SchemaRef> {
        infer_schema(self, files, options, conf, |path| Ok(spark_schema(&reader(path)?.schema())))
    }

    fn decoder(&self, _context: DecodeContext) -> Result<Box<dyn Decoder>> {
        Err(not_text(self))
    }

    fn open_file(&self, path: &Path, context: DecodeContext, rows: Range<u64>) -> Result<Parts> {
        let schema = context.output_schema();
        let batches = guarded(path, || {
            let reader = reader(path)?;
            let mask = wanted(&reader, &schema);
            Ok(reader.with_projection(mask).with_batch_size(BATCH_ROWS).build())
        })?;
        Ok(within(adapted(batches, schema, path.to_owned()), rows))
    }

    fn encoder(&self, _schema: SchemaRef, _options: &Options, _conf: &Conf) -> Result<Box<dyn Encoder>> {
        Err(not_text(self))
    }

    fn file_writer(&self, file: File, schema: SchemaRef, options: &Options) -> Result<Box<dyn FileWriter>> {
        schema.fields().iter().try_for_each(|field| check_type(field))?;
        OrcWriter::start(file, schema, compression(options)?)
    }
}

fn reader(path: &Path) -> Result<ArrowReaderBuilder<File>> {
    let file = open(path)?;
    guarded(path, || {
        let reader = ArrowReaderBuilder::try_new(file).map_err(|cause| unreadable(path, cause))?;
        Ok(reader.with_timestamp_precision(TimestampPrecision::Microsecond))
    })
}

/// The columns of the file that the schema wants. Without any, all are read: the crate counts rows by its columns.
fn wanted(reader: &ArrowReaderBuilder<File>, schema: &SchemaRef) -> ProjectionMask {
    let columns = reader.schema();
    let found = schema.fields().iter().filter_map(|field| find(columns.fields(), field.name()));
    let names: Vec<&str> = found.map(|at| columns.field(at).name().as_str()).collect();
    if names.is_empty() {
        return ProjectionMask::all();
    }
    ProjectionMask::named_roots(reader.file_metadata().root_data_type(), &names)
}

fn compression(options: &Options) -> Result<Option<CompressionType>> {
    let name = options.get("compression").or(options.get("orc.compress")).unwrap_or("zstd");
    Ok(Some(match name.to_ascii_lowercase().as_str() {
        "none" | "uncompressed" => return Ok(None),
        "snappy" => CompressionType::Snappy,
        "zlib" => CompressionType::Zlib,
        "zstd" => CompressionType::Zstd,
        "lz4" => CompressionType::Lz4,
        _ => {
            return Err(Error::query(
                "CODEC_NOT_AVAILABLE.WITH_AVAILABLE_CODECS_SUGGESTION",
                format!("orc compression '{name}' is not available"),
            )
            .hint("Use none, snappy, zlib, zstd or lz4."));
        }
    }))
}

fn check_type(field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::Boolean | DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(()),
        DataType::Float32 | DataType::Float64 | DataType::Utf8 | DataType::Binary | DataType::Date32 => Ok(()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok(()),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => Ok(()),
        other => Err(Error::unsupported(format!(
            "orc cannot write the type {} of column '{}'",
            simple_name(other),
            field.name()
        ))
        .hint("Write parquet, or select plain columns.")),
    }
}

fn unwritable(cause: impl std::fmt::Display) -> Error {
    Error::outside(format!("the orc file cannot be written: {cause}"))
}

/// A writer on a thread of its own, because the crate's writer may not change threads. At most one batch waits for it.
struct OrcWriter {
    batches: Option<SyncSender<RecordBatch>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl OrcWriter {
    fn start(file: File, schema: SchemaRef, codec: Option<CompressionType>) -> Result<Box<dyn FileWriter>> {
        let (batches, received) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("orc-writer".to_owned())
            .spawn(move || write_all(file, schema, codec, &received))
            .map_err(unwritable)?;
        Ok(Box::new(OrcWriter { batches: Some(batches), thread: Some(thread) }))
    }
}

/// Writes all batches that come, then the footer.
fn write_all(
    file: File,
    schema: SchemaRef,
    codec: Option<CompressionType>,
    received: &Receiver<RecordBatch>,
) -> Result<()> {
    let mut builder = ArrowWriterBuilder::new(file, schema);
    if let Some(codec) = codec {
        builder = builder.with_compression(codec);
    }
    let mut writer = builder.try_build().map_err(unwritable)?;
    while let Ok(rows) = received.recv() {
        writer.write(&rows).map_err(unwritable)?;
    }
    writer.close().map_err(unwritable)
}

impl OrcWriter {
    /// Waits for the thread's end and what it has to say.
    fn join(&mut self) -> Result<()> {
        self.batches = None;
        let Some(thread) = self.thread.take() else { return Err(unwritable("its writer has failed before")) };
        thread.join().unwrap_or_else(|_| Err(unwritable("its writer panicked")))
    }
}

impl FileWriter for OrcWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match &self.batches {
            Some(batches) if batches.send(rows.clone()).is_ok() => Ok(()),
            _ => self.join(),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.join()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::columnar_tests::{DDL, check_damaged, check_round_trip};

    #[test]
    fn what_is_written_reads_back() {
        for codec in ["zstd", "none", "snappy", "zlib", "lz4"] {
            check_round_trip(&Orc, DDL, codec);
        }
    }

    #[test]
    fn d10_damaged_files_and_unknown_codecs_fail() {
        check_damaged(&Orc);
        let mut options = Options::default();
        options.set("compression", "lzo");
        let file = tempfile::tempfile().unwrap();
        assert!(Orc.file_writer(file, crate::types::parse_ddl("a INT").unwrap(), &options).is_err());
    }

    #[test]
    fn types_that_cannot_be_written_are_refused_at_once() {
        for ddl in ["a DECIMAL(5,2)", "a ARRAY<INT>", "a STRUCT<x: INT>", "a VOID"] {
            let file = tempfile::tempfile().unwrap();
            assert!(
                Orc.file_writer(file, crate::types::parse_ddl(ddl).unwrap(), &Options::default()).is_err(),
                "{ddl}"
            );
        }
    }
}
