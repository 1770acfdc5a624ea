//! Format `parquet`: columnar files, read and written with the Parquet crate.
//!
//! Reading takes only the wanted columns, matched by name, with casts that lose nothing, and leaves out row groups and pages whose
//! statistics say that the query wants none of their rows. Writing gives files that Spark reads: standard names inside lists and maps,
//! snappy by default. A damaged file is an error with its name.

mod prune;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::WriterProperties;

use self::prune::Rows;
use super::adapt::{find, spark_schema};
use super::columnar::{BATCH_ROWS, adapted, guarded, infer_schema, open, sifted, unreadable};
use super::{DecodeContext, Decoder, Encoder, FileWriter, Format, Framing, Parts, not_text};
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
        infer_schema(self, files, options, conf, |path| Ok(spark_schema(metadata(&open(path)?, path, false)?.schema())))
    }

    fn decoder(&self, _context: DecodeContext) -> Result<Box<dyn Decoder>> {
        Err(not_text(self))
    }

    fn uses_filters(&self) -> bool {
        true
    }

    fn open_file(&self, path: &Path, context: DecodeContext, rows: Rows) -> Result<Parts> {
        let schema = context.output_schema();
        let (batches, wanted, rows) = guarded(path, || {
            let file = open(path)?;
            let metadata = metadata(&file, path, !context.filters.is_empty())?;
            let rows = rows.start..rows.end.min(prune::row_count(&metadata));
            let wanted = prune::wanted(&metadata, &context, &rows);
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let batches = read(reader, &schema, &wanted).map_err(|cause| unreadable(path, cause))?;
            Ok((batches, wanted, rows))
        })?;
        Ok(sifted(adapted(batches, schema.clone(), path.to_owned()), schema, wanted, rows))
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

/// What stands in the file's footer, and where its pages are, if that is asked for and can be read there.
fn metadata(file: &File, path: &Path, pages: bool) -> Result<ArrowReaderMetadata> {
    let load = |policy| {
        let options = ArrowReaderOptions::new().with_page_index_policy(policy);
        guarded(path, || ArrowReaderMetadata::load(file, options).map_err(|cause| unreadable(path, cause)))
    };
    if pages && let Ok(metadata) = load(PageIndexPolicy::Optional) {
        return Ok(metadata);
    }
    load(PageIndexPolicy::Skip)
}

/// The columns of the schema, of these rows.
fn read(
    reader: ParquetRecordBatchReaderBuilder<File>,
    schema: &SchemaRef,
    rows: &[Rows],
) -> parquet::errors::Result<ParquetRecordBatchReader> {
    let columns: Vec<_> =
        schema.fields().iter().filter_map(|field| find(reader.schema().fields(), field.name())).collect();
    let mask = ProjectionMask::roots(reader.parquet_schema(), columns);
    let (groups, selection) = selected(&reader, rows);
    reader
        .with_projection(mask)
        .with_row_groups(groups)
        .with_row_selection(selection)
        .with_batch_size(BATCH_ROWS)
        .build()
}

/// The row groups that have some of these rows, and which of their rows those are.
fn selected(reader: &ParquetRecordBatchReaderBuilder<File>, rows: &[Rows]) -> (Vec<usize>, RowSelection) {
    let (mut groups, mut ranges) = (Vec::new(), Vec::new());
    let (mut start, mut before) = (0, 0);
    for (number, group) in reader.metadata().row_groups().iter().enumerate() {
        let count = prune::rows_of(group);
        let all = start..start + count;
        let inside: Vec<Rows> = rows.iter().filter_map(|rows| prune::overlap(rows, &all)).collect();
        if !inside.is_empty() {
            let place = |row: u64| (row - start + before) as usize;
            ranges.extend(inside.into_iter().map(|rows| place(rows.start)..place(rows.end)));
            groups.push(number);
            before += count;
        }
        start = all.end;
    }
    (groups, RowSelection::from_consecutive_ranges(ranges.into_iter(), before as usize))
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
