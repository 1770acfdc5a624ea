//! Format `parquet`: columnar files, read and written with the Parquet crate.
//!
//! Reading takes only the wanted columns, matched by name, with casts that lose nothing. Writing gives files that Spark
//! reads: standard names inside lists and maps, snappy by default. A damaged file is an error with its name.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::adapt::{find, spark_schema};
use super::columnar::{BATCH_ROWS, adapted, guarded, infer_schema, open, unreadable};
use super::{Batches, DecodeContext, Decoder, Encoder, FileWriter, Format, Framing, not_text};
use crate::conf::Conf;
use crate::options::{OptionSpec, Options, option};
use crate::types::simple_name;
use crate::{Error, Result};

/// The format.
pub struct Parquet;

const OPTIONS: &[OptionSpec] = &[
    option("mergeSchema", "false", "inference: merge the schemas of all files"),
    option("compression", "snappy", "how written files are compressed: none, snappy, gzip, zstd, lz4"),
];

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn framing(&self, _options: &Options) -> Result<Framing> {
        Ok(Framing::Columnar)
    }

    fn infer_schema(&self, files: &[PathBuf], options: &Options, conf: &Conf) -> Result<SchemaRef> {
        infer_schema(self, files, options, conf, |path| Ok(spark_schema(reader(path)?.schema())))
    }

    fn decoder(&self, _context: DecodeContext) -> Result<Box<dyn Decoder>> {
        Err(not_text(self))
    }

    fn open_file(&self, path: &Path, context: DecodeContext) -> Result<Batches> {
        let schema = context.output_schema();
        let batches = guarded(path, || {
            let reader = reader(path)?;
            let wanted: Vec<_> =
                schema.fields().iter().filter_map(|field| find(reader.schema().fields(), field.name())).collect();
            let mask = ProjectionMask::roots(reader.parquet_schema(), wanted);
            let reader = reader.with_projection(mask).with_batch_size(BATCH_ROWS).build();
            reader.map_err(|cause| unreadable(path, cause))
        })?;
        Ok(adapted(batches, schema, path.to_owned()))
    }

    fn encoder(&self, _schema: SchemaRef, _options: &Options, _conf: &Conf) -> Result<Box<dyn Encoder>> {
        Err(not_text(self))
    }

    fn file_writer(&self, file: File, schema: SchemaRef, options: &Options) -> Result<Box<dyn FileWriter>> {
        schema.fields().iter().try_for_each(|field| check_type(field))?;
        let properties = WriterProperties::builder()
            .set_compression(compression(options)?)
            .set_coerce_types(true)
            .set_created_by(concat!("thalweg ", env!("CARGO_PKG_VERSION")).to_owned());
        let writer = ArrowWriter::try_new(file, schema, Some(properties.build())).map_err(unwritable)?;
        Ok(Box::new(ParquetWriter(writer)))
    }
}

fn reader(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = open(path)?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file).map_err(|cause| unreadable(path, cause)))
}

fn compression(options: &Options) -> Result<Compression> {
    let name = options.get("compression").unwrap_or("snappy");
    Ok(match name.to_ascii_lowercase().as_str() {
        "none" | "uncompressed" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        "gzip" => Compression::GZIP(GzipLevel::default()),
        "zstd" => Compression::ZSTD(ZstdLevel::default()),
        "lz4" | "lz4_raw" | "lz4raw" => Compression::LZ4_RAW,
        _ => {
            return Err(Error::query(
                "CODEC_NOT_AVAILABLE.WITH_AVAILABLE_CODECS_SUGGESTION",
                format!("parquet compression '{name}' is not available"),
            )
            .hint("Use none, snappy, gzip, zstd or lz4."));
        }
    })
}

fn check_type(field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::Null | DataType::Interval(_) => Err(Error::query(
            "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
            format!(
                "parquet does not support the type {} of column '{}'",
                simple_name(field.data_type()),
                field.name()
            ),
        )),
        _ => Ok(()),
    }
}

fn unwritable(cause: parquet::errors::ParquetError) -> Error {
    Error::outside(format!("the parquet file cannot be written: {cause}")).caused_by(cause)
}

struct ParquetWriter(ArrowWriter<File>);

impl FileWriter for ParquetWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.0.write(rows).map_err(unwritable)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.close().map(drop).map_err(unwritable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::columnar_tests::{DDL, check_damaged, check_round_trip};

    #[test]
    fn what_is_written_reads_back() {
        for codec in ["snappy", "none", "gzip", "zstd", "lz4"] {
            check_round_trip(&Parquet, DDL, codec);
        }
        check_round_trip(&Parquet, "d DECIMAL(10,2), l ARRAY<STRUCT<x: INT>>, m MAP<STRING, ARRAY<INT>>", "snappy");
    }

    #[test]
    fn d09_damaged_files_fail_with_their_name() {
        check_damaged(&Parquet);
    }

    #[test]
    fn unknown_codecs_and_types_are_refused() {
        let mut options = Options::default();
        options.set("compression", "lzma");
        let file = tempfile::tempfile().unwrap();
        let schema = crate::types::parse_ddl("a INT").unwrap();
        assert!(Parquet.file_writer(file, schema, &options).is_err());
        let file = tempfile::tempfile().unwrap();
        assert!(Parquet.file_writer(file, crate::types::parse_ddl("a VOID").unwrap(), &Options::default()).is_err());
    }
}
