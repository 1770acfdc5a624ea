//! Casts to and from intervals of given fields: `CAST(7 AS INTERVAL DAY)`, `CAST(INTERVAL 2 YEARS AS INT)`.
//!
//! In: numbers and decimals, which count the smallest field; texts with or without `INTERVAL '...' FIELDS` around them;
//! intervals of the same family, which are cut to the smallest field. Out: intervals whose field metadata names the fields, or
//! numbers. What does not fit is an error under ANSI, else null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::*;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;

use super::{Mode, decimal, number, overflow, rules};
use crate::conf::Conf;
use crate::functions::coerce::{is_ansi_interval, is_decimal, is_integral, is_string};
use crate::functions::interval::{interval_field, known_fields};
use crate::functions::kernel::{self, Kernel};
use crate::functions::numbers::each;
use crate::sql::interval::{Field as Unit, parse_fields};
use crate::{Error, Result};

/// `expr` as an interval from the largest to the smallest of `fields`.
///
/// # Errors
/// As [`super::cast`]; of texts `INVALID_INTERVAL_FORMAT.*`.
pub fn to_fields(expr: Expr, fields: (Unit, Unit), mode: Mode, schema: &DFSchema, conf: &Conf) -> Result<Expr> {
    let to = family(fields.1);
    let from = kernel::type_of(&expr, schema)?;
    rules::check(&from, &to, mode)?;
    if from == DataType::Null || !(is_string(&from) || is_integral(&from) || is_decimal(&from) || from == to) {
        return super::cast(expr, &to, mode, schema, conf);
    }
    let target = to.clone();
    let run = move |args: &[ArrayRef]| match args[0].data_type() {
        DataType::Utf8 => texts(args[0].as_string::<i32>(), fields, mode),
        from if is_ansi_interval(from) => cut(&args[0], fields.1),
        _ => numbers(&args[0], &target, fields.1, mode),
    };
    let kernel = Kernel::arrays("cast_interval", to.clone(), run).field(interval_field(to, places(fields)));
    Ok(kernel.key(format!("{mode} {fields:?}")).fallible_if(mode == Mode::Ansi).call(vec![expr]))
}

/// An interval as a number of its smallest field.
///
/// # Errors
/// Only what typing the expression gives; when run `CAST_OVERFLOW`.
pub(super) fn to_number(expr: Expr, to: &DataType, mode: Mode, schema: &DFSchema) -> Result<Expr> {
    let (_, smallest) = known_fields(&expr, schema)?;
    let unit = UNITS[smallest];
    let target = to.clone();
    let run = move |args: &[ArrayRef]| counted(&args[0], &target, unit, mode);
    let kernel = Kernel::arrays("cast_interval_to_number", to.clone(), run);
    Ok(kernel.key(format!("{mode} {unit:?} {to}")).fallible_if(mode == Mode::Ansi).call(vec![expr]))
}

/// The units in the order in which field metadata counts them.
const UNITS: [Unit; 6] = [Unit::Year, Unit::Month, Unit::Day, Unit::Hour, Unit::Minute, Unit::Second];

fn places((from, to): (Unit, Unit)) -> (usize, usize) {
    let place = |unit: Unit| UNITS.iter().position(|other| *other == unit).unwrap_or_default();
    (place(from), place(to))
}

fn family(unit: Unit) -> DataType {
    if unit.is_year_month() {
        DataType::Interval(IntervalUnit::YearMonth)
    } else {
        DataType::Duration(TimeUnit::Microsecond)
    }
}

/// Months or microseconds of a unit.
fn length(unit: Unit) -> i64 {
    match unit {
        Unit::Year => 12,
        Unit::Month => 1,
        unit => unit.micros(),
    }
}

fn numbers(array: &ArrayRef, to: &DataType, unit: Unit, mode: Mode) -> Result<ArrayRef> {
    let scale = match array.data_type() {
        DataType::Decimal128(_, scale) => u32::try_from(*scale).unwrap_or(0),
        _ => 0,
    };
    let exact = match array.data_type() {
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().clone(),
        _ => arrow::compute::cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().unary(i128::from),
    };
    let fit = |value: Option<i128>| value.filter(|value| in_range(*value, to));
    let lengths = |value: i128| {
        let product = value.checked_mul(i128::from(length(unit)));
        match fit(product.map(|product| decimal::divide(product, 10i128.pow(scale.min(38))))) {
            None if mode == Mode::Ansi => Err(overflow(&value.to_string(), array.data_type(), to)),
            length => Ok(length),
        }
    };
    intervals(exact.iter().map(|value| value.map(lengths).transpose().map(Option::flatten)), to)
}

fn in_range(length: i128, to: &DataType) -> bool {
    if matches!(to, DataType::Duration(_)) { i64::try_from(length).is_ok() } else { i32::try_from(length).is_ok() }
}

/// A column of lengths, which are known to fit.
fn intervals(lengths: impl Iterator<Item = Result<Option<i128>>>, to: &DataType) -> Result<ArrayRef> {
    if matches!(to, DataType::Duration(_)) {
        let micros = lengths.map(|length| Ok(length?.map(|length| length as i64)));
        return Ok(Arc::new(micros.collect::<Result<PrimitiveArray<DurationMicrosecondType>>>()?));
    }
    let months = lengths.map(|length| Ok(length?.map(|length| length as i32)));
    Ok(Arc::new(months.collect::<Result<PrimitiveArray<IntervalYearMonthType>>>()?))
}

fn texts(texts: &StringArray, fields: (Unit, Unit), mode: Mode) -> Result<ArrayRef> {
    let one = |text: &str| match read(text, fields) {
        Some(length) => Ok(Some(length)),
        None if mode == Mode::Ansi => Err(malformed(text, fields)),
        None => Ok(None),
    };
    intervals(texts.iter().map(|text| text.map(one).transpose().map(Option::flatten)), &family(fields.1))
}

/// `1-2`, or `INTERVAL '1-2' YEAR TO MONTH`, also with a sign before the quotes.
pub(super) fn read(text: &str, (from, to): (Unit, Unit)) -> Option<i128> {
    let text = text.trim();
    let wanted = if from == to { from.name().to_owned() } else { format!("{} to {}", from.name(), to.name()) };
    let (negative, body, fields) = unquoted(text).unwrap_or_else(|| (false, text, wanted.clone()));
    if fields != wanted {
        return None;
    }
    let length = parse_fields(body, from, to).ok()?;
    let length = if from.is_year_month() { i128::from(length.months) } else { i128::from(length.micros) };
    Some(if negative { -length } else { length })
}

/// The sign before the quotes, what stands between them, and the fields behind them in lower case.
fn unquoted(text: &str) -> Option<(bool, &str, String)> {
    let word = text.get(..8).filter(|word| word.eq_ignore_ascii_case("interval"))?;
    let rest = text[word.len()..].trim_start();
    let negative = rest.starts_with('-');
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start().strip_prefix('\'')?;
    let (body, fields) = rest.split_once('\'')?;
    let fields = fields.split_whitespace().map(str::to_ascii_lowercase).collect::<Vec<_>>().join(" ");
    Some((negative, body, fields))
}

fn malformed(text: &str, (from, to): (Unit, Unit)) -> Error {
    let condition = if from.is_year_month() {
        "INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING"
    } else {
        "INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING_WITH_NOTICE"
    };
    Error::data(condition, format!("'{text}' is no interval {} to {}", from.name(), to.name()))
        .hint("Use try_cast to get null instead.")
}

fn cut(array: &ArrayRef, unit: Unit) -> Result<ArrayRef> {
    let whole = length(unit);
    Ok(match array.data_type() {
        DataType::Duration(_) if unit != Unit::Second => {
            let cut = |micros: i64| Ok(Some(micros - micros % whole));
            Arc::new(each::<DurationMicrosecondType, DurationMicrosecondType>(array, cut)?)
        }
        DataType::Interval(_) if unit == Unit::Year => {
            let cut = |months: i32| Ok(Some(months - months % 12));
            Arc::new(each::<IntervalYearMonthType, IntervalYearMonthType>(array, cut)?)
        }
        _ => Arc::clone(array),
    })
}

fn counted(array: &ArrayRef, to: &DataType, unit: Unit, mode: Mode) -> Result<ArrayRef> {
    let whole = length(unit);
    if !matches!(array.data_type(), DataType::Duration(_)) {
        let count = |months: i32| Ok(Some(i64::from(months) / whole));
        let counts: ArrayRef = Arc::new(each::<IntervalYearMonthType, Int64Type>(array, count)?);
        return if *to == DataType::Int64 { Ok(counts) } else { number::numbers(&counts, to, mode) };
    }
    let digits = |micros: i64| Ok(Some(decimal::divide(i128::from(micros) * 1_000_000, i128::from(whole))));
    let exact = each::<DurationMicrosecondType, Decimal128Type>(array, digits)?.with_precision_and_scale(38, 6)?;
    number::numbers(&(Arc::new(exact) as ArrayRef), to, mode)
}
