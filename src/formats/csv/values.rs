//! CSV fields to values: Java's parsing rules for each type.
//!
//! In: a field's bytes, none if the field is missing. Out: one value appended to a column, or false and nothing appended.

use arrow::datatypes::DataType;

use super::options::Texts;
use crate::formats::columns::{Column, Values};
use crate::types::number_text::{parse_decimal, parse_floating, parse_integer};
use crate::types::simple_name;
use crate::{Error, Result};

/// Refuses types that CSV does not have.
///
/// # Errors
/// `UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE`, naming the column.
pub(crate) fn check_type(name: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => {}
        DataType::Duration(_) | DataType::Interval(_) | DataType::Time64(_) => {}
        _ => return Ok(()),
    }
    Err(Error::query(
        "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
        format!("csv does not support the type {} of column '{name}'", simple_name(data_type)),
    ))
}

/// Appends the value of a field; false if the text does not fit the type.
pub(crate) fn append(column: &mut Column, field: Option<&[u8]>, texts: &Texts) -> bool {
    let Some(text) = field.filter(|text| **text != *texts.null) else {
        column.push_null();
        return true;
    };
    let fits = fill(column, text, texts).is_some();
    if fits {
        column.accept();
    }
    fits
}

fn fill(column: &mut Column, text: &[u8], texts: &Texts) -> Option<()> {
    let (data_type, values) = column.parts();
    match values {
        Values::Boolean(values) => values.append(boolean(text)?),
        Values::Int8(values) => values.push(parse_integer(text)?),
        Values::Int16(values) => values.push(parse_integer(text)?),
        Values::Int32(values) if *data_type == DataType::Date32 => {
            values.push(texts.times.read_date(std::str::from_utf8(text).ok()?)?);
        }
        Values::Int32(values) => values.push(parse_integer(text)?),
        Values::Int64(values) => values.push(int64(data_type, text, texts)?),
        Values::Float32(values) => values.push(floating(text, texts)?),
        Values::Float64(values) => values.push(floating(text, texts)?),
        Values::Decimal(values) => values.push(decimal(data_type, text)?),
        Values::Bytes(values) => values.bytes.extend_from_slice(text),
        Values::Null | Values::Struct(..) | Values::List(..) | Values::Map(..) => return None,
    }
    Some(())
}

fn boolean(text: &[u8]) -> Option<bool> {
    let is_true = text.eq_ignore_ascii_case(b"true");
    (is_true || text.eq_ignore_ascii_case(b"false")).then_some(is_true)
}

fn int64(data_type: &DataType, text: &[u8], texts: &Texts) -> Option<i64> {
    match data_type {
        DataType::Timestamp(_, Some(_)) => texts.times.read_timestamp(std::str::from_utf8(text).ok()?),
        DataType::Timestamp(_, None) => texts.times.read_timestamp_ntz(std::str::from_utf8(text).ok()?),
        _ => parse_integer(text),
    }
}

fn floating<T: std::str::FromStr>(text: &[u8], texts: &Texts) -> Option<T> {
    let special = if *text == *texts.nan {
        "NaN"
    } else if *text == *texts.negative_infinity {
        "-inf"
    } else if *text == *texts.positive_infinity {
        "inf"
    } else {
        return parse_floating(text);
    };
    special.parse().ok()
}

/// Commas between digits are dropped, as Spark does for the US locale.
fn decimal(data_type: &DataType, text: &[u8]) -> Option<i128> {
    let DataType::Decimal128(precision, scale) = *data_type else { return None };
    if !text.contains(&b',') {
        return parse_decimal(text, precision, scale);
    }
    let without_commas: Vec<u8> = text.iter().copied().filter(|byte| *byte != b',').collect();
    parse_decimal(&without_commas, precision, scale)
}
