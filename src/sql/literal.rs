//! Literals: a token's text to a constant of Spark's type.
//!
//! `1` is INT (BIGINT, then DECIMAL if too large), `1.5` DECIMAL(2,1), `1e3` DOUBLE; suffixes `L S Y D F BD`; `DATE '...'`,
//! `TIMESTAMP '...'`, `X'1F'`, INTERVAL in all spellings. An interval's fields (`minute`, `day to hour`) travel as field
//! metadata under [`INTERVAL_FIELDS`], since Arrow's types do not tell them.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;

use super::interval::{CalendarInterval, Field, parse_fields, parse_units};
use crate::conf::Conf;
use crate::functions::cast::decimal;
use crate::functions::datetime::now::named_time;
use crate::functions::interval::INTERVAL_FIELDS;
use crate::types::datetime_text::{parse_date_text, parse_timestamp_ntz_text, parse_timestamp_text};
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// A constant.
pub fn constant(value: ScalarValue) -> Expr {
    Expr::Literal(value, None)
}

/// A constant string.
pub fn string(text: impl Into<String>) -> Expr {
    constant(ScalarValue::Utf8(Some(text.into())))
}

/// The constant of a literal.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR`, `INVALID_NUMERIC_LITERAL_RANGE`, `DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION`.
pub fn bind_value(value: &ast::Value) -> Result<Expr> {
    match value {
        ast::Value::Number(text, _) => number(text),
        ast::Value::SingleQuotedString(text)
        | ast::Value::DoubleQuotedString(text)
        | ast::Value::NationalStringLiteral(text) => Ok(string(text.as_str())),
        ast::Value::HexStringLiteral(text) => binary(text),
        ast::Value::Boolean(value) => Ok(constant(ScalarValue::Boolean(Some(*value)))),
        ast::Value::Null => Ok(constant(ScalarValue::Null)),
        other => Err(Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{other}'"))),
    }
}

/// The constant of a number with its suffix; a sign may come first.
///
/// # Errors
/// `INVALID_NUMERIC_LITERAL_RANGE` if it does not fit the type of its suffix.
pub fn number(text: &str) -> Result<Expr> {
    let (digits, suffix) = split_suffix(text);
    let value = match suffix {
        "L" => ScalarValue::Int64(Some(ranged(digits, text)?)),
        "S" => ScalarValue::Int16(Some(ranged(digits, text)?)),
        "Y" => ScalarValue::Int8(Some(ranged(digits, text)?)),
        "F" => ScalarValue::Float32(Some(ranged(digits, text)?)),
        "D" => ScalarValue::Float64(Some(finite(digits, text)?)),
        "BD" => exact(digits)?,
        _ if digits.contains(['e', 'E']) => ScalarValue::Float64(Some(finite(digits, text)?)),
        _ if digits.contains('.') => exact(digits)?,
        _ => whole(digits)?,
    };
    Ok(constant(value))
}

fn split_suffix(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E').unwrap_or(text.len());
    text.split_at(at)
}

fn finite(digits: &str, text: &str) -> Result<f64> {
    match ranged::<f64>(digits, text)? {
        value if value.is_finite() => Ok(value),
        _ => Err(out_of_range(text)),
    }
}

fn out_of_range(text: &str) -> Error {
    Error::query("INVALID_NUMERIC_LITERAL_RANGE", format!("number '{text}' is out of range"))
}

fn ranged<T: std::str::FromStr>(digits: &str, text: &str) -> Result<T> {
    digits.parse().map_err(|_| out_of_range(text))
}

fn whole(digits: &str) -> Result<ScalarValue> {
    if let Ok(value) = digits.parse::<i32>() {
        return Ok(ScalarValue::Int32(Some(value)));
    }
    match digits.parse::<i64>() {
        Ok(value) => Ok(ScalarValue::Int64(Some(value))),
        Err(_) => exact(digits),
    }
}

fn exact(text: &str) -> Result<ScalarValue> {
    let syntax = || Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{text}'"));
    let number = decimal::parse(text).ok_or_else(syntax)?;
    let (precision, scale) = number.precision_and_scale();
    match number.rescaled(scale, precision) {
        Some(value) => Ok(ScalarValue::Decimal128(Some(value), precision, scale)),
        None => Err(Error::query(
            "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
            format!("number '{text}' has more digits than the largest precision 38"),
        )),
    }
}

fn binary(hex: &str) -> Result<Expr> {
    let padded = if hex.len() % 2 == 1 { format!("0{hex}") } else { hex.to_owned() };
    let bytes: Option<Vec<u8>> = padded
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let bytes = bytes.ok_or_else(|| invalid_typed("X", hex))?;
    Ok(constant(ScalarValue::Binary(Some(bytes))))
}

fn invalid_typed(name: &str, text: &str) -> Error {
    Error::query("INVALID_TYPED_LITERAL", format!("the value of the typed literal \"{name}\" is invalid: '{text}'"))
}

/// The constant of `DATE '...'`, `TIMESTAMP '...'` and so on.
///
/// # Errors
/// `INVALID_TYPED_LITERAL` if the text is none.
pub fn typed_string(name: &str, value: &str, conf: &Conf) -> Result<Expr> {
    let special = match name {
        "DATE" => named_time(value, &DataType::Date32, conf)?,
        "TIMESTAMP" | "TIMESTAMP_LTZ" => named_time(value, &types::timestamp(), conf)?,
        "TIMESTAMP_NTZ" => named_time(value, &types::timestamp_ntz(), conf)?,
        _ => None,
    };
    if let Some(special) = special {
        return Ok(special);
    }
    let parsed = match name {
        "DATE" => parse_date_text(value).map(|days| ScalarValue::Date32(Some(days))),
        "TIMESTAMP" | "TIMESTAMP_LTZ" => {
            let micros = parse_timestamp_text(value, &Zone::parse(conf.time_zone())?);
            micros.map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
        }
        "TIMESTAMP_NTZ" => {
            parse_timestamp_ntz_text(value).map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), None))
        }
        _ => None,
    };
    parsed.map(constant).ok_or_else(|| invalid_typed(name, value))
}

/// The constant of an INTERVAL literal: a day-time interval, or a year-month one, never both.
///
/// # Errors
/// `CANNOT_PARSE_INTERVAL`, `INVALID_INTERVAL_FORMAT.*`.
pub fn interval(interval: &ast::Interval) -> Result<Expr> {
    let ast::Expr::Value(value) = interval.value.as_ref() else {
        return Err(Error::query("PARSE_SYNTAX_ERROR", "an interval needs a constant"));
    };
    let text = value.value.clone().into_string().unwrap_or_default();
    let field = |field: &Option<ast::DateTimeField>| field.as_ref().map(ToString::to_string);
    match (field(&interval.leading_field), field(&interval.last_field)) {
        (Some(from), Some(to)) => between(&text, &from, &to),
        (Some(unit), None) => units(&format!("{text} {unit}")),
        _ => units(&text),
    }
}

fn between(text: &str, from: &str, to: &str) -> Result<Expr> {
    let (Some(from), Some(to)) = (Field::named(from), Field::named(to)) else {
        return Err(Error::query("PARSE_SYNTAX_ERROR", format!("there is no interval from {from} to {to}")));
    };
    of_fields(parse_fields(text, from, to)?, (from, to))
}

fn units(text: &str) -> Result<Expr> {
    let written = parse_units(text)?;
    of_fields(written.length, written.fields)
}

fn of_fields(length: CalendarInterval, (from, to): (Field, Field)) -> Result<Expr> {
    let value = if to.is_year_month() {
        ScalarValue::IntervalYearMonth(Some(length.months))
    } else if from.is_year_month() {
        return Err(Error::query(
            "INVALID_INTERVAL_FORMAT.INVALID_UNIT",
            "years and months cannot be mixed with days and times in one interval",
        )
        .hint("Use make_interval, or add two intervals one after the other."));
    } else {
        let micros = length.exact_micros();
        ScalarValue::DurationMicrosecond(Some(
            micros.ok_or_else(|| Error::query("INTERVAL_ARITHMETIC_OVERFLOW", "the interval is too long"))?,
        ))
    };
    Ok(Expr::Literal(value, Some(fields_metadata(from, to))))
}

/// Field metadata that tells the fields of an interval.
pub fn fields_metadata(from: Field, to: Field) -> FieldMetadata {
    let name = if from == to { from.name().to_owned() } else { format!("{} to {}", from.name(), to.name()) };
    FieldMetadata::from(HashMap::from([(INTERVAL_FIELDS.to_owned(), name)]))
}

/// The text of a constant string; none for anything else.
pub fn constant_string(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        Expr::Alias(alias) => constant_string(&alias.expr),
        _ => None,
    }
}

/// A column of `data_type` that holds nothing but null.
pub fn null_of(data_type: &DataType) -> Result<Expr> {
    Ok(constant(ScalarValue::try_from(data_type)?))
}

/// The constant of a typed string.
///
/// # Errors
/// As [`typed_string`].
pub fn bind_typed(text: &ast::TypedString, conf: &Conf) -> Result<Expr> {
    typed_string(&text.data_type.to_string().to_ascii_uppercase(), &text_of(&text.value.value)?, conf)
}

/// The text of a string literal.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` if it is none.
pub fn text_of(value: &ast::Value) -> Result<String> {
    let text = value.clone().into_string();
    text.ok_or_else(|| {
        Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{value}': expected a string"))
    })
}
