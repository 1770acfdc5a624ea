//! `from_csv`, `to_csv` and `schema_of_csv` over columns of strings: the format's own decoder and encoder.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Schema};

use super::decode::Record;
use super::encode::{WriteOptions, check_types, push_row};
use super::infer::Inference;
use super::options::ReadOptions;
use super::split::Unreadable;
use crate::conf::Conf;
use crate::formats::DecodeContext;
use crate::formats::mode::{Mode, malformed};
use crate::options::Options;
use crate::types::sql_name;
use crate::{Error, Result};

/// `from_csv`: reads strings as structs.
#[derive(Debug, Clone)]
pub struct FromCsv {
    context: DecodeContext,
    options: ReadOptions,
}

impl FromCsv {
    /// Reads structs of type `data_type` under the options of format `csv`.
    ///
    /// # Errors
    /// Another type than a struct of plain types; a parse mode other than PERMISSIVE and FAILFAST; a wrong option.
    pub fn new(data_type: &DataType, options: &Options, conf: &Conf) -> Result<FromCsv> {
        let DataType::Struct(fields) = data_type else { return Err(invalid_schema(data_type)) };
        let mut conf = conf.clone();
        conf.set("spark.sql.csv.parser.columnPruning.enabled", "false");
        let read = ReadOptions::of(options, &conf)?;
        if read.mode == Mode::DropMalformed {
            return Err(Error::query(
                "PARSE_MODE_UNSUPPORTED",
                "the function `from_csv` doesn't support the DROPMALFORMED mode",
            )
            .hint("Use PERMISSIVE or FAILFAST."));
        }
        let schema = Schema::new(fields.clone()).into();
        let projection = (0..fields.len()).collect();
        let context = DecodeContext { schema, projection, options: options.clone(), conf, filters: Vec::new() };
        Record::new(&context, &read)?;
        Ok(FromCsv { context, options: read })
    }

    /// The type of the result.
    pub fn data_type(&self) -> DataType {
        DataType::Struct(self.context.schema.fields().clone())
    }

    /// Reads each text; null gives null.
    ///
    /// # Errors
    /// A malformed text under FAILFAST.
    pub fn convert(&self, texts: &StringArray) -> Result<ArrayRef> {
        let mut record = Record::new(&self.context, &self.options)?;
        for text in texts.iter() {
            match text {
                Some(text) => self.append(&mut record, text.as_bytes())?,
                None => {
                    let first = record.rows.len();
                    record.rows.push_nulls();
                    record.rows.end_record(first, None);
                }
            }
        }
        let rows = record.rows.finish()?;
        let nulls = texts.nulls().cloned().map(|nulls| NullBuffer::new(nulls.into_inner()));
        let (fields, columns) = (self.context.schema.fields().clone(), rows.columns().to_vec());
        Ok(std::sync::Arc::new(StructArray::try_new_with_length(fields, columns, nulls, texts.len())?))
    }

    fn append(&self, record: &mut Record, text: &[u8]) -> Result<()> {
        let first = record.rows.len();
        let reason = match record.append_text(text, &self.options) {
            Ok(Some(true)) => {
                record.rows.end_record(first, None);
                return Ok(());
            }
            Ok(Some(false)) => "the fields do not fit the schema",
            Ok(None) => "there are no fields",
            Err(Unreadable(reason)) => return Err(Error::data("MALFORMED_CSV_RECORD", reason)),
        };
        if self.options.mode == Mode::FailFast {
            return Err(malformed(text, "from_csv".into(), reason));
        }
        if record.rows.len() == first {
            record.rows.push_nulls();
        }
        record.rows.end_record(first, Some(text));
        Ok(())
    }
}

fn invalid_schema(data_type: &DataType) -> Error {
    Error::query(
        "DATATYPE_MISMATCH.NON_STRUCT_TYPE",
        format!("CSV needs a STRUCT but the type is \"{}\"", sql_name(data_type)),
    )
}

/// `to_csv`: writes structs as strings.
#[derive(Debug, Clone)]
pub struct ToCsv {
    options: WriteOptions,
}

impl ToCsv {
    /// Writes structs of type `data_type` under the options of format `csv`.
    ///
    /// # Errors
    /// Another type than a struct of plain types; a wrong option.
    pub fn new(data_type: &DataType, options: &Options, conf: &Conf) -> Result<ToCsv> {
        let DataType::Struct(fields) = data_type else { return Err(invalid_schema(data_type)) };
        check_types(&Schema::new(fields.clone()))?;
        Ok(ToCsv { options: WriteOptions::of(options, conf)? })
    }

    /// Writes each struct as one line without its end; null stays null.
    pub fn convert(&self, structs: &ArrayRef) -> Result<StringArray> {
        let columns = structs.as_struct().columns();
        let mut lines = StringBuilder::with_capacity(structs.len(), 16 * structs.len());
        let (mut value, mut line) = (String::new(), String::new());
        for row in 0..structs.len() {
            line.clear();
            push_row(columns, row, &self.options, &mut value, &mut line);
            // Nothing at all is null, as in Spark.
            lines.append_option((structs.is_valid(row) && !line.is_empty()).then_some(line.as_str()));
        }
        Ok(lines.finish())
    }
}

/// The type that `schema_of_csv` tells of one text.
///
/// # Errors
/// A text without fields; a wrong option.
pub fn schema_of_csv(text: &str, options: &Options, conf: &Conf) -> Result<DataType> {
    let mut inference = Inference::new(options, conf)?.by_value();
    inference.add(text.as_bytes()).map_err(|Unreadable(reason)| Error::data("MALFORMED_CSV_RECORD", reason))?;
    let schema = inference.schema().ok_or_else(|| Error::invalid("there are no fields to infer a schema from"))?;
    Ok(DataType::Struct(schema.fields().clone()))
}
