//! Rows to JSON text as Spark's generator writes it.
//!
//! In: arrays, downcast once per batch into [`Cells`]. Out: text appended to one buffer. Null fields are left out unless
//! `ignoreNullFields` is false; numbers that JSON cannot hold (NaN, infinities) are strings; names and strings are
//! escaped as Jackson does.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{self as types, DataType, Schema, TimeUnit};

use super::pretty::push_pretty;
use crate::Result;
use crate::conf::Conf;
use crate::formats::Encoder;
use crate::formats::columns::unsupported;
use crate::formats::times::Times;
use crate::options::Options;
use crate::types::is_variant;
use crate::types::number_text::{push_decimal_scientific, push_double, push_float};
use crate::variant::{Variants, json_text};

/// How to write JSON.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    ignore_null_fields: bool,
    pretty: bool,
    times: Times,
}

impl WriteOptions {
    /// The writing options.
    ///
    /// # Errors
    /// A value that does not fit its option.
    pub(crate) fn of(options: &Options, conf: &Conf) -> Result<WriteOptions> {
        let default = conf.flag("spark.sql.jsonGenerator.ignoreNullFields", true)?;
        Ok(WriteOptions {
            ignore_null_fields: options.flag("ignoreNullFields", default)?,
            pretty: options.flag("pretty", false)?,
            times: Times::for_writing(options, conf)?,
        })
    }
}

/// The encoder of format `json`: one object a line.
pub(crate) struct JsonEncoder {
    options: WriteOptions,
    line_end: Box<str>,
    text: String,
}

impl JsonEncoder {
    /// An encoder of rows of `schema`.
    ///
    /// # Errors
    /// A type that JSON cannot hold; a wrong option.
    pub(crate) fn new(schema: &Schema, options: &Options, conf: &Conf) -> Result<JsonEncoder> {
        Cells::new(&arrow::array::new_empty_array(&DataType::Struct(schema.fields().clone())))?;
        Ok(JsonEncoder {
            options: WriteOptions::of(options, conf)?,
            line_end: options.get("lineSep").unwrap_or("\n").into(),
            text: String::new(),
        })
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let structs: ArrayRef = Arc::new(StructArray::from(rows.clone()));
        let cells = Cells::new(&structs)?;
        self.text.clear();
        for row in 0..rows.num_rows() {
            cells.write_root(row, &self.options, &mut self.text);
            self.text.push_str(&self.line_end);
        }
        out.extend_from_slice(self.text.as_bytes());
        Ok(())
    }
}

/// An array that is ready to be written value by value.
pub(crate) struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<types::Int8Type>),
    Int16(&'a PrimitiveArray<types::Int16Type>),
    Int32(&'a PrimitiveArray<types::Int32Type>),
    Int64(&'a PrimitiveArray<types::Int64Type>),
    Float32(&'a PrimitiveArray<types::Float32Type>),
    Float64(&'a PrimitiveArray<types::Float64Type>),
    Decimal(&'a PrimitiveArray<types::Decimal128Type>, i8),
    Date(&'a PrimitiveArray<types::Date32Type>),
    Timestamp(&'a PrimitiveArray<types::TimestampMicrosecondType>),
    TimestampNtz(&'a PrimitiveArray<types::TimestampMicrosecondType>),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    /// Anything else, written as the string that Arrow shows.
    Shown(ArrayRef),
    /// Each field with its name as it is written, quotes and colon included.
    Struct(Vec<(String, Cells<'a>)>),
    Variant(Variants<'a>),
    List(&'a OffsetBuffer<i32>, Box<Cells<'a>>),
    Map(&'a OffsetBuffer<i32>, Box<Cells<'a>>, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    /// Prepares an array.
    ///
    /// # Errors
    /// `UNSUPPORTED_DATATYPE` for types that JSON cannot hold.
    pub(crate) fn new(array: &'a ArrayRef) -> Result<Cells<'a>> {
        Ok(Cells { nulls: array.nulls(), values: Values::new(array)? })
    }

    /// Appends the value of a row, laid out for reading if that is asked for.
    pub(crate) fn write_root(&self, row: usize, options: &WriteOptions, out: &mut String) {
        if !options.pretty {
            return self.write(row, options, out);
        }
        let mut compact = String::new();
        self.write(row, options, &mut compact);
        push_pretty(&compact, out);
    }

    /// Appends the value of a row.
    pub(crate) fn write(&self, row: usize, options: &WriteOptions, out: &mut String) {
        if self.is_null(row) {
            return out.push_str("null");
        }
        match &self.values {
            Values::Null => out.push_str("null"),
            Values::Boolean(values) => out.push_str(if values.value(row) { "true" } else { "false" }),
            Values::Int8(values) => push_number(values.value(row).into(), out),
            Values::Int16(values) => push_number(values.value(row).into(), out),
            Values::Int32(values) => push_number(values.value(row).into(), out),
            Values::Int64(values) => push_number(values.value(row), out),
            Values::Float32(values) => push_json_float(values.value(row), out),
            Values::Float64(values) => push_json_double(values.value(row), out),
            Values::Decimal(values, scale) => push_decimal_scientific(values.value(row), *scale, out),
            Values::Text(values) => push_string(values.value(row), out),
            Values::Binary(values) => push_base64(values.value(row), out),
            Values::Shown(array) => push_string(&shown(array, row), out),
            Values::Variant(variants) => {
                let written = variants.get(row).and_then(|value| json_text(&value, options.times.zone(), out));
                written.unwrap_or_default();
            }
            Values::Struct(fields) => write_struct(fields, row, options, out),
            Values::List(offsets, item) => write_list(offsets, item, row, options, out),
            Values::Map(offsets, keys, values) => write_map(offsets, keys, values, row, options, out),
            Values::Date(_) | Values::Timestamp(_) | Values::TimestampNtz(_) => {
                out.push('"');
                self.write_time(row, &options.times, out);
                out.push('"');
            }
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row)) || matches!(self.values, Values::Null)
    }

    fn write_time(&self, row: usize, times: &Times, out: &mut String) {
        match &self.values {
            Values::Date(values) => times.write_date(values.value(row), out),
            Values::Timestamp(values) => times.write_timestamp(values.value(row), out),
            Values::TimestampNtz(values) => times.write_timestamp_ntz(values.value(row), out),
            _ => {}
        }
    }

    /// Appends a map's key: the value's text in quotes.
    fn write_key(&self, row: usize, options: &WriteOptions, out: &mut String) {
        let start = out.len();
        self.write(row, options, out);
        if out.as_bytes().get(start) != Some(&b'"') {
            out.insert(start, '"');
            out.push('"');
        }
    }
}

impl<'a> Values<'a> {
    fn new(array: &'a ArrayRef) -> Result<Values<'a>> {
        Ok(match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::Int8(array.as_primitive()),
            DataType::Int16 => Values::Int16(array.as_primitive()),
            DataType::Int32 => Values::Int32(array.as_primitive()),
            DataType::Int64 => Values::Int64(array.as_primitive()),
            DataType::Float32 => Values::Float32(array.as_primitive()),
            DataType::Float64 => Values::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive(), *scale),
            DataType::Date32 => Values::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Values::Timestamp(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Values::TimestampNtz(array.as_primitive()),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::Duration(_) | DataType::Interval(_) | DataType::Time64(_) => Values::Shown(array.clone()),
            _ => return Values::nested(array),
        })
    }

    fn nested(array: &'a ArrayRef) -> Result<Values<'a>> {
        match array.data_type() {
            data_type if is_variant(data_type) => Ok(Values::Variant(Variants::of(array)?)),
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let fields: Result<Vec<_>> =
                    columns.map(|(field, column)| Ok((written_name(field.name()), Cells::new(column)?))).collect();
                Ok(Values::Struct(fields?))
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Ok(Values::List(list.offsets(), Box::new(Cells::new(list.values())?)))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (keys, values) = (Cells::new(map.keys())?, Cells::new(map.values())?);
                Ok(Values::Map(map.offsets(), Box::new(keys), Box::new(values)))
            }
            other => Err(unsupported(other)),
        }
    }
}

fn written_name(name: &str) -> String {
    let mut written = String::new();
    push_string(name, &mut written);
    written.push(':');
    written
}

fn write_struct(fields: &[(String, Cells<'_>)], row: usize, options: &WriteOptions, out: &mut String) {
    out.push('{');
    let mut first = true;
    for (name, cells) in fields {
        if options.ignore_null_fields && cells.is_null(row) {
            continue;
        }
        push_comma(&mut first, out);
        out.push_str(name);
        cells.write(row, options, out);
    }
    out.push('}');
}

fn write_list(offsets: &OffsetBuffer<i32>, item: &Cells<'_>, row: usize, options: &WriteOptions, out: &mut String) {
    out.push('[');
    let mut first = true;
    for element in range(offsets, row) {
        push_comma(&mut first, out);
        item.write(element, options, out);
    }
    out.push(']');
}

fn write_map(
    offsets: &OffsetBuffer<i32>,
    keys: &Cells<'_>,
    values: &Cells<'_>,
    row: usize,
    options: &WriteOptions,
    out: &mut String,
) {
    out.push('{');
    let mut first = true;
    for entry in range(offsets, row) {
        push_comma(&mut first, out);
        keys.write_key(entry, options, out);
        out.push(':');
        values.write(entry, options, out);
    }
    out.push('}');
}

fn push_comma(first: &mut bool, out: &mut String) {
    if !std::mem::replace(first, false) {
        out.push(',');
    }
}

fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Appends a whole number.
pub(crate) fn push_number(number: i64, out: &mut String) {
    if number < 0 {
        out.push('-');
    }
    crate::types::datetime_text::push_padded(number.unsigned_abs(), 1, out);
}

fn push_json_double(value: f64, out: &mut String) {
    if value.is_finite() {
        return push_double(value, out);
    }
    out.push('"');
    push_double(value, out);
    out.push('"');
}

fn push_json_float(value: f32, out: &mut String) {
    if value.is_finite() {
        return push_float(value, out);
    }
    out.push('"');
    push_float(value, out);
    out.push('"');
}

/// The text that Arrow shows of intervals and times of day.
fn shown(array: &ArrayRef, row: usize) -> String {
    arrow::util::display::array_value_to_string(array, row).unwrap_or_default()
}

pub(crate) fn push_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.push_str(&rest[..at]);
        push_escape(rest.as_bytes()[at], out);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        b'"' | b'\\' => char::from(byte),
        0x08 => 'b',
        0x0c => 'f',
        b'\n' => 'n',
        b'\r' => 'r',
        b'\t' => 't',
        _ => {
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            return out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    };
    out.push('\\');
    out.push(short);
}

fn push_base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push('"');
    for group in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(three);
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit > group.len() { '=' } else { char::from(DIGITS[six as usize]) });
        }
    }
    out.push('"');
}
