//! Rows to CSV text as Spark's writer gives it.
//!
//! In: arrays. Out: lines. A field is quoted if it holds the separator, a line end or (with `escapeQuotes`) a quote, or begins
//! with a quote or, in the first column, with the comment character. Blanks around values are dropped by default. Null is
//! `nullValue`, an empty string `emptyValue`.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{self as types, DataType, Schema, SchemaRef};

use super::options::{character, delimiter};
use super::values::check_type;
use crate::Result;
use crate::conf::Conf;
use crate::formats::Encoder;
use crate::formats::times::Times;
use crate::options::Options;
use crate::types::datetime_text::push_padded;
use crate::types::number_text::{push_decimal_scientific, push_double, push_float};

/// How to write CSV.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    delimiter: String,
    quote: Option<char>,
    escape: Option<char>,
    escape_escape: Option<char>,
    comment: char,
    quote_all: bool,
    escape_quotes: bool,
    trim_leading: bool,
    trim_trailing: bool,
    null: String,
    empty: String,
    times: Times,
}

impl WriteOptions {
    /// The writing options.
    ///
    /// # Errors
    /// A value that does not fit its option.
    pub(crate) fn of(options: &Options, conf: &Conf) -> Result<WriteOptions> {
        let one = |name: &str, default| Ok::<_, crate::Error>(character(options, name, default)?.map(char::from));
        let (quote, escape) = (one("quote", Some(b'"'))?, one("escape", Some(b'\\'))?);
        let escape_escape = match one("charToEscapeQuoteEscaping", None)? {
            None => escape.filter(|_| escape != quote),
            given => given,
        };
        Ok(WriteOptions {
            delimiter: delimiter(options)?,
            quote,
            escape,
            escape_escape,
            comment: one("comment", None)?.unwrap_or('#'),
            quote_all: options.flag("quoteAll", false)?,
            escape_quotes: options.flag("escapeQuotes", true)?,
            trim_leading: options.flag("ignoreLeadingWhiteSpace", true)?,
            trim_trailing: options.flag("ignoreTrailingWhiteSpace", true)?,
            null: options.get("nullValue").unwrap_or("").to_owned(),
            empty: options.get("emptyValue").unwrap_or("\"\"").to_owned(),
            times: Times::for_writing(options, conf)?,
        })
    }

    /// Appends one field; `None` is null.
    fn push_field(&self, column: usize, text: Option<&str>, out: &mut String) {
        let value = match text {
            None => &self.null,
            Some("") => return self.push_empty(out),
            Some(text) => self.trimmed(text),
        };
        match self.quote.filter(|quote| self.quote_all || self.needs_quotes(column, value, *quote)) {
            Some(quote) => self.push_quoted(value, quote, out),
            None if value.is_empty() => out.push_str(&self.null),
            None => out.push_str(value),
        }
    }

    /// An empty string; if everything is quoted anyway, a pair of quotes.
    fn push_empty(&self, out: &mut String) {
        match self.quote.filter(|_| self.quote_all && self.empty == "\"\"") {
            Some(quote) => out.extend([quote, quote]),
            None => out.push_str(&self.empty),
        }
    }

    fn trimmed<'a>(&self, text: &'a str) -> &'a str {
        let blank = |c: char| c <= ' ';
        let text = if self.trim_leading { text.trim_start_matches(blank) } else { text };
        if self.trim_trailing { text.trim_end_matches(blank) } else { text }
    }

    fn needs_quotes(&self, column: usize, value: &str, quote: char) -> bool {
        value.starts_with(quote)
            || (column == 0 && value.starts_with(self.comment))
            || value.contains(['\n', '\r'])
            || value.contains(&self.delimiter)
            || (self.escape_quotes && value.contains(quote))
    }

    fn push_quoted(&self, value: &str, quote: char, out: &mut String) {
        out.push(quote);
        for c in value.chars() {
            if c == quote {
                out.extend(self.escape);
            } else if Some(c) == self.escape {
                out.extend(self.escape_escape);
            }
            out.push(c);
        }
        out.push(quote);
    }
}

/// The encoder of format `csv`.
pub(crate) struct CsvEncoder {
    options: WriteOptions,
    schema: SchemaRef,
    header: bool,
    line_end: Box<str>,
    line: String,
    value: String,
}

impl CsvEncoder {
    /// An encoder of rows of `schema`.
    ///
    /// # Errors
    /// A type that CSV does not have; a wrong option.
    pub(crate) fn new(schema: SchemaRef, options: &Options, conf: &Conf) -> Result<CsvEncoder> {
        check_types(&schema)?;
        Ok(CsvEncoder {
            options: WriteOptions::of(options, conf)?,
            schema,
            header: options.flag("header", false)?,
            line_end: options.get("lineSep").unwrap_or("\n").into(),
            line: String::new(),
            value: String::new(),
        })
    }
}

/// Refuses schemas with types that CSV does not have.
pub(crate) fn check_types(schema: &Schema) -> Result<()> {
    schema.fields().iter().try_for_each(|field| check_type(field.name(), field.data_type()))
}

impl Encoder for CsvEncoder {
    fn header(&mut self) -> Result<Vec<u8>> {
        let mut line = String::new();
        if self.header && !self.schema.fields().is_empty() {
            for (column, field) in self.schema.fields().iter().enumerate() {
                if column > 0 {
                    line.push_str(&self.options.delimiter);
                }
                self.options.push_field(column, Some(field.name()), &mut line);
            }
            line.push_str(&self.line_end);
        }
        Ok(line.into_bytes())
    }

    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        for row in 0..rows.num_rows() {
            self.line.clear();
            push_row(rows.columns(), row, &self.options, &mut self.value, &mut self.line);
            out.extend_from_slice(self.line.as_bytes());
            out.extend_from_slice(self.line_end.as_bytes());
        }
        Ok(())
    }
}

/// Appends the fields of a row; `value` is room for one field's text.
pub(crate) fn push_row(
    columns: &[ArrayRef],
    row: usize,
    options: &WriteOptions,
    value: &mut String,
    line: &mut String,
) {
    for (column, array) in columns.iter().enumerate() {
        if column > 0 {
            line.push_str(&options.delimiter);
        }
        if array.is_null(row) || *array.data_type() == DataType::Null {
            options.push_field(column, None, line);
        } else if *array.data_type() == DataType::Utf8 {
            options.push_field(column, Some(array.as_string::<i32>().value(row)), line);
        } else {
            value.clear();
            push_value(array, row, &options.times, value);
            options.push_field(column, Some(value), line);
        }
    }
}

fn push_value(array: &ArrayRef, row: usize, times: &Times, out: &mut String) {
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => push_number(array.as_primitive::<types::Int8Type>().value(row).into(), out),
        DataType::Int16 => push_number(array.as_primitive::<types::Int16Type>().value(row).into(), out),
        DataType::Int32 => push_number(array.as_primitive::<types::Int32Type>().value(row).into(), out),
        DataType::Int64 => push_number(array.as_primitive::<types::Int64Type>().value(row), out),
        DataType::Float32 => push_float(array.as_primitive::<types::Float32Type>().value(row), out),
        DataType::Float64 => push_double(array.as_primitive::<types::Float64Type>().value(row), out),
        DataType::Decimal128(_, scale) => {
            push_decimal_scientific(array.as_primitive::<types::Decimal128Type>().value(row), *scale, out);
        }
        DataType::Date32 => times.write_date(array.as_primitive::<types::Date32Type>().value(row), out),
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<types::TimestampMicrosecondType>().value(row);
            if zone.is_some() { times.write_timestamp(micros, out) } else { times.write_timestamp_ntz(micros, out) }
        }
        DataType::Binary => out.push_str(&String::from_utf8_lossy(array.as_binary::<i32>().value(row))),
        _ => out.push_str(&arrow::util::display::array_value_to_string(array, row).unwrap_or_default()),
    }
}

fn push_number(number: i64, out: &mut String) {
    if number < 0 {
        out.push('-');
    }
    push_padded(number.unsigned_abs(), 1, out);
}
