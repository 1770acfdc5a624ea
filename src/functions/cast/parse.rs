//! Texts to values of every type, by Spark's rules.
//!
//! Blanks around numbers, booleans, dates and times do not count. What is no value is an error under ANSI, else null;
//! legacy mode reads `12.7` as the INT 12.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, StringArray};
use arrow::datatypes::*;

use super::{Caster, Mode, decimal, invalid_input, overflow};
use crate::functions::coerce::is_integral;
use crate::functions::numbers;
use crate::functions::single::{Single, Value, fitting};
use crate::sql::interval::{Field, parse_fields, parse_interval};
use crate::types::datetime_text::{parse_date_text, parse_timestamp_ntz_text, parse_timestamp_text};
use crate::{Error, Result};

/// Casts strings to `to`.
pub(super) fn texts(array: &ArrayRef, to: &DataType, caster: &Caster) -> Result<ArrayRef> {
    let texts = array.as_string::<i32>();
    let mode = caster.mode;
    let legacy = mode == Mode::Legacy;
    match to {
        DataType::Boolean => booleans(texts, to, mode),
        DataType::Int8 => read::<Int8Type>(texts, to, mode, |text| narrow(whole(text, legacy)?)),
        DataType::Int16 => read::<Int16Type>(texts, to, mode, |text| narrow(whole(text, legacy)?)),
        DataType::Int32 => read::<Int32Type>(texts, to, mode, |text| narrow(whole(text, legacy)?)),
        DataType::Int64 => read::<Int64Type>(texts, to, mode, |text| whole(text, legacy)),
        DataType::Float32 => read::<Float32Type>(texts, to, mode, |text| float(text).map(|value| value as f32)),
        DataType::Float64 => read::<Float64Type>(texts, to, mode, float),
        DataType::Decimal128(precision, scale) => decimals(texts, *precision, *scale, mode),
        DataType::Binary => Ok(Arc::new(texts.iter().map(|text| text.map(str::as_bytes)).collect::<BinaryArray>())),
        _ => times(texts, to, caster),
    }
}

/// Casts a single text to `to`.
pub(super) fn single(to: &DataType, caster: &Caster) -> Option<Arc<Single>> {
    let legacy = caster.mode == Mode::Legacy;
    let zone = caster.zone.clone();
    Some(match to {
        to if is_integral(to) => {
            let to = to.clone();
            Arc::new(move |values| fitting(whole(text(values)?, legacy)?, &to))
        }
        DataType::Float64 => Arc::new(|values| float(text(values)?).map(Value::Double)),
        DataType::Boolean => Arc::new(|values| boolean(trim(text(values)?)).map(Value::Boolean)),
        DataType::Date32 => Arc::new(|values| parse_date_text(text(values)?).map(|days| Value::Whole(days.into()))),
        DataType::Timestamp(_, Some(_)) => {
            Arc::new(move |values| parse_timestamp_text(text(values)?, &zone).map(Value::Whole))
        }
        _ => return None,
    })
}

fn text<'a>(values: &[Value<'a>]) -> Option<&'a str> {
    if let [Value::Text(text)] = values { Some(text) } else { None }
}

fn times(texts: &StringArray, to: &DataType, caster: &Caster) -> Result<ArrayRef> {
    let mode = caster.mode;
    match to {
        DataType::Date32 => read::<Date32Type>(texts, to, mode, parse_date_text),
        DataType::Timestamp(_, Some(_)) => {
            read::<TimestampMicrosecondType>(texts, to, mode, |text| parse_timestamp_text(text, &caster.zone))
        }
        DataType::Timestamp(_, None) => read::<TimestampMicrosecondType>(texts, to, mode, parse_timestamp_ntz_text),
        DataType::Duration(_) => read::<DurationMicrosecondType>(texts, to, mode, day_time),
        DataType::Interval(IntervalUnit::YearMonth) => read::<IntervalYearMonthType>(texts, to, mode, year_month),
        DataType::Interval(_) => read::<IntervalMonthDayNanoType>(texts, to, Mode::Try, calendar),
        other => Err(Error::unsupported(format!("strings cannot be cast to {other}"))),
    }
}

fn read<T: ArrowPrimitiveType>(
    texts: &StringArray,
    to: &DataType,
    mode: Mode,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let one = |text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => match parse(text) {
            None if mode == Mode::Ansi => Err(invalid_input(text, &DataType::Utf8, to)),
            value => Ok(value),
        },
    };
    Ok(Arc::new(numbers::collect::<T>(texts.len(), texts.iter().map(one))?.with_data_type(to.clone())))
}

/// The text without blanks and control characters around it.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

/// A whole number; with a fraction, which is cut off, only if `fraction`.
fn whole(text: &str, fraction: bool) -> Option<i64> {
    let text = trim(text);
    let (digits, rest) = if fraction { text.split_once('.').unwrap_or((text, "")) } else { (text, "") };
    if !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match digits {
        "" | "+" | "-" if text.contains('.') && !rest.is_empty() => Some(0),
        digits => digits.parse().ok(),
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Option<T> {
    T::try_from(value).ok()
}

/// A floating-point number as Java reads it: `1.5`, `1e3`, `NaN`, `-Infinity`, `1.5d`.
fn float(text: &str) -> Option<f64> {
    let text = trim(text);
    let is_number = text.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let digits =
        text.strip_suffix(['d', 'D', 'f', 'F']).filter(|rest| rest.ends_with(|c: char| c.is_ascii_digit() || c == '.'));
    match digits {
        Some(digits) => digits.parse().ok(),
        None if is_number || is_special(text) => text.parse().ok(),
        None => None,
    }
}

fn is_special(text: &str) -> bool {
    let name = text.strip_prefix(['+', '-']).unwrap_or(text);
    ["nan", "inf", "infinity"].iter().any(|special| special.eq_ignore_ascii_case(name))
}

fn booleans(texts: &StringArray, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let one = |text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => match boolean(trim(text)) {
            None if mode == Mode::Ansi => Err(invalid_input(text, &DataType::Utf8, to)),
            value => Ok(value),
        },
    };
    Ok(Arc::new(texts.iter().map(one).collect::<Result<BooleanArray>>()?))
}

fn boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: [&str; 5]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_one_of(["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is_one_of(["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

fn decimals(texts: &StringArray, precision: u8, scale: i8, mode: Mode) -> Result<ArrayRef> {
    let to = DataType::Decimal128(precision, scale);
    let one = |text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        let number = match decimal::parse(trim(text)) {
            None if mode == Mode::Ansi => return Err(invalid_input(text, &DataType::Utf8, &to)),
            None => return Ok(None),
            Some(number) => number,
        };
        match number.rescaled(scale, precision) {
            None if mode == Mode::Ansi => Err(overflow(text, &DataType::Utf8, &to)),
            value => Ok(value),
        }
    };
    let values = numbers::collect::<Decimal128Type>(texts.len(), texts.iter().map(one))?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// `INTERVAL '1 02:03:04' DAY TO SECOND`, `1 02:03:04`, or `1 day 2 hours`.
fn day_time(text: &str) -> Option<i64> {
    let quoted = text.split('\'').nth(1).unwrap_or(text);
    let fields = || parse_fields(quoted, Field::Day, Field::Second).ok();
    parse_interval(quoted).ok().or_else(fields)?.exact_micros()
}

fn year_month(text: &str) -> Option<i32> {
    let quoted = text.split('\'').nth(1).unwrap_or(text);
    let fields = || parse_fields(quoted, Field::Year, Field::Month).ok();
    let length = parse_interval(quoted).ok().or_else(fields)?;
    (length.days == 0 && length.micros == 0).then_some(length.months)
}

fn calendar(text: &str) -> Option<IntervalMonthDayNano> {
    let length = parse_interval(text).ok()?;
    Some(IntervalMonthDayNano::new(length.months, length.days, length.micros.checked_mul(1000)?))
}
