//! Format `text`: each line (or each whole file) is one row with a STRING column `value`.
//!
//! In: frames. Out: their texts; an empty line is a row. Writing takes exactly one STRING column and ends each row with
//! the line separator; a null writes an empty line.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::columns::Column;
use super::{DecodeContext, Decoder, Encoder, FileWriter, Format, Frames, Framing, Parts, frames, not_columnar};
use crate::conf::Conf;
use crate::options::{OptionSpec, Options, option};
use crate::types::{field, simple_name};
use crate::{Error, Result};

/// The format.
pub struct Text;

const OPTIONS: &[OptionSpec] = &[
    option("wholetext", "false", "true: each file is one row"),
    option("lineSep", "", "what ends a line; by default \\n, \\r\\n or \\r when reading, \\n when writing"),
    option("encoding", "UTF-8", "character encoding of the files"),
    option("charset", "UTF-8", "the same as encoding"),
    option("maxRecordBytes", "16777216", "longer lines are cut off"),
    option("compression", "none", "how written files are compressed: none, gzip, zstd, bzip2, deflate"),
];

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn framing(&self, options: &Options) -> Result<Framing> {
        Ok(if options.flag("wholetext", false)? { Framing::Whole } else { Framing::Lines })
    }

    fn infer_schema(&self, _files: &[PathBuf], _options: &Options, _conf: &Conf) -> Result<SchemaRef> {
        Ok(Arc::new(Schema::new(vec![field("value", DataType::Utf8)])))
    }

    fn decoder(&self, context: DecodeContext) -> Result<Box<dyn Decoder>> {
        check_schema(&context.schema)?;
        frames::Splitter::new(self, &context.options, "")?;
        let column = if context.projection.is_empty() { None } else { Some(Column::new(&DataType::Utf8)?) };
        Ok(Box::new(TextDecoder { schema: context.output_schema(), column }))
    }

    fn open_file(&self, _path: &Path, _context: DecodeContext, _rows: Range<u64>) -> Result<Parts> {
        Err(not_columnar(self))
    }

    fn encoder(&self, schema: SchemaRef, options: &Options, _conf: &Conf) -> Result<Box<dyn Encoder>> {
        check_schema(&schema)?;
        Ok(Box::new(TextEncoder { line_end: options.get("lineSep").unwrap_or("\n").into() }))
    }

    fn file_writer(&self, _file: std::fs::File, _schema: SchemaRef, _options: &Options) -> Result<Box<dyn FileWriter>> {
        Err(not_columnar(self))
    }
}

/// Text has exactly one column, and it is a STRING.
fn check_schema(schema: &Schema) -> Result<()> {
    match schema.fields().as_ref() {
        [only] if *only.data_type() == DataType::Utf8 => Ok(()),
        [only] => Err(Error::query(
            "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
            format!("text supports only STRING, but column '{}' is {}", only.name(), simple_name(only.data_type())),
        )),
        columns => Err(Error::invalid(format!("text supports only a single column, but there are {}", columns.len()))
            .hint("Make one STRING of the columns first, for example with concat_ws or to_json.")),
    }
}

/// The records as texts, by a column that may be kept for the next ones; what is not UTF-8 becomes U+FFFD, as in Spark. Records that were
/// cut off are told of.
///
/// # Errors
/// None that input could cause.
pub(crate) fn texts(frames: &Frames, column: &mut Column) -> Result<ArrayRef> {
    frames.tell_of_cut_ones();
    (0..frames.len()).for_each(|i| column.push_bytes(frames.record(i)));
    column.finish()
}

struct TextDecoder {
    schema: SchemaRef,
    /// None if the query does not want the text, only the number of rows.
    column: Option<Column>,
}

impl Decoder for TextDecoder {
    fn decode(&mut self, frames: &Frames) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::new();
        match &mut self.column {
            Some(column) => arrays.push(texts(frames, column)?),
            None => frames.tell_of_cut_ones(),
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(frames.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &rows)?)
    }
}

struct TextEncoder {
    line_end: Box<str>,
}

impl Encoder for TextEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        check_schema(&rows.schema())?;
        let values = rows.column(0).as_string::<i32>();
        out.reserve(values.value_data().len() + rows.num_rows() * self.line_end.len());
        for i in 0..values.len() {
            if values.is_valid(i) {
                out.extend_from_slice(values.value(i).as_bytes());
            }
            out.extend_from_slice(self.line_end.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn frames(text: &str) -> Frames {
        let mut splitter = frames::Splitter::lines("test");
        let mut frames = splitter.push(text.as_bytes());
        let rest = splitter.finish();
        assert!(rest.is_empty());
        frames.place = rest.place;
        frames
    }

    fn context(projection: &[usize]) -> DecodeContext {
        let schema = Text.infer_schema(&[], &Options::default(), &Conf::default()).unwrap();
        DecodeContext {
            schema,
            projection: projection.into(),
            options: Options::default(),
            conf: Conf::default(),
            filters: Vec::new(),
        }
    }

    #[test]
    fn every_line_is_a_row() {
        let mut decoder = Text.decoder(context(&[0])).unwrap();
        let rows = decoder.decode(&frames("a b\n\n  c\t\nünïcode ✓\n")).unwrap();
        assert_eq!(rows.column(0).as_string::<i32>(), &StringArray::from(vec!["a b", "", "  c\t", "ünïcode ✓"]));
    }

    #[test]
    fn only_the_number_of_rows_when_nothing_is_wanted() {
        let rows = Text.decoder(context(&[])).unwrap().decode(&frames("a\nb\n")).unwrap();
        assert_eq!((rows.num_rows(), rows.num_columns()), (2, 0));
    }

    #[test]
    fn writing_ends_each_row_with_the_line_separator() {
        let schema = context(&[0]).schema;
        let column = StringArray::from(vec![Some("a"), None, Some("b")]);
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(column)]).unwrap();
        let mut out = Vec::new();
        let mut encoder = Text.encoder(schema, &Options::default(), &Conf::default()).unwrap();
        encoder.encode(&rows, &mut out).unwrap();
        assert_eq!(out, b"a\n\nb\n");
    }

    #[test]
    fn other_schemas_are_refused() {
        let two = crate::types::parse_ddl("a STRING, b STRING").unwrap();
        assert!(Text.encoder(two, &Options::default(), &Conf::default()).is_err());
        let number = crate::types::parse_ddl("a INT").unwrap();
        let error = Text.encoder(number, &Options::default(), &Conf::default()).err().unwrap();
        assert_eq!(error.condition(), Some("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE"));
    }
}
