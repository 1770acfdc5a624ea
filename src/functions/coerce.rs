//! Implicit casts: which type two types meet in, and which types pass for another.
//!
//! Two sets of rules, chosen by `spark.sql.ansi.enabled`: under ANSI a string gives way to the other side, without it
//! the other side becomes a string. No casts are made here that the user could not have written; the casts themselves
//! are in `cast`.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;

use super::cast::{self, Mode};
use super::kernel;
use crate::conf::Conf;
use crate::{Error, Result, types};

/// True for TINYINT to BIGINT.
pub fn is_integral(data_type: &DataType) -> bool {
    integral_rank(data_type).is_some()
}

/// True for whole numbers, decimals, FLOAT and DOUBLE.
pub fn is_numeric(data_type: &DataType) -> bool {
    is_integral(data_type) || is_decimal(data_type) || is_floating(data_type)
}

/// True for DECIMAL.
pub fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..))
}

/// True for FLOAT and DOUBLE.
pub fn is_floating(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

/// True for STRING.
pub fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8)
}

/// True for DATE, TIMESTAMP and TIMESTAMP_NTZ.
pub fn is_datetime(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

/// True for day-time and year-month intervals (not for calendar intervals).
pub fn is_ansi_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(IntervalUnit::YearMonth))
}

/// True for types without parts.
fn is_atomic(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::List(_)
            | DataType::Map(..)
            | DataType::Struct(_)
            | DataType::Null
            | DataType::Interval(IntervalUnit::MonthDayNano)
    )
}

fn integral_rank(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(0),
        DataType::Int16 => Some(1),
        DataType::Int32 => Some(2),
        DataType::Int64 => Some(3),
        _ => None,
    }
}

/// The decimal that holds every value of a whole-number type (or the decimal itself).
pub fn decimal_for(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((20, 0)),
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// A decimal type cut to 38 digits in favour of the digits before the point.
fn bounded(precision: i32, scale: i32) -> DataType {
    let over = (precision - i32::from(DECIMAL128_MAX_PRECISION)).max(0);
    DataType::Decimal128((precision - over) as u8, (scale - over).max(0) as i8)
}

/// The decimal that holds the values of both.
pub fn wider_decimal((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let scale = i32::from(s1.max(s2));
    let range = (i32::from(p1) - i32::from(s1)).max(i32::from(p2) - i32::from(s2));
    bounded(range + scale, scale)
}

/// The types of two operands after a string among them has given way to the other one, as under ANSI.
pub fn promoted(left: &DataType, right: &DataType) -> (DataType, DataType) {
    let met = match (left, right) {
        (DataType::Utf8, DataType::Null) | (DataType::Null, DataType::Utf8) => Some(DataType::Utf8),
        _ => with_string(left, right, true),
    };
    met.map_or_else(|| (left.clone(), right.clone()), |met| (met.clone(), met))
}

/// The type that holds both without losing anything, strings aside.
pub fn tightest(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    if left == right || *right == DataType::Null {
        return Some(left.clone());
    }
    if *left == DataType::Null {
        return Some(right.clone());
    }
    numbers(left, right, ansi).or_else(|| datetimes(left, right)).or_else(|| intervals(left, right))
}

fn numbers(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    if let (Some(a), Some(b)) = (integral_rank(left), integral_rank(right)) {
        return Some(if a > b { left.clone() } else { right.clone() });
    }
    if !is_numeric(left) || !is_numeric(right) {
        return None;
    }
    match (left, right) {
        (DataType::Float64, _) | (_, DataType::Float64) => Some(DataType::Float64),
        (DataType::Float32, other) | (other, DataType::Float32) if is_decimal(other) || ansi => Some(DataType::Float64),
        (DataType::Float32, _) | (_, DataType::Float32) => Some(DataType::Float32),
        _ => Some(wider_decimal(decimal_for(left)?, decimal_for(right)?)),
    }
}

/// The type that holds both as they are, by the rules without ANSI: what functions of arrays and maps bring elements to.
pub fn exact_common(left: &DataType, right: &DataType) -> Option<DataType> {
    if left == right || *right == DataType::Null {
        return Some(left.clone());
    }
    if *left == DataType::Null {
        return Some(right.clone());
    }
    let holds = |decimal: &DataType, whole: &DataType| match (decimal_for(decimal), decimal_for(whole)) {
        (Some((p, s)), Some((digits, _))) => i32::from(p) - i32::from(s) >= i32::from(digits),
        _ => false,
    };
    match (left, right) {
        (decimal, whole) if is_decimal(decimal) && is_integral(whole) => holds(decimal, whole).then(|| left.clone()),
        (whole, decimal) if is_decimal(decimal) && is_integral(whole) => holds(decimal, whole).then(|| right.clone()),
        (a, b) if is_decimal(a) || is_decimal(b) => None,
        _ => numbers(left, right, false)
            .or_else(|| datetimes(left, right))
            .or_else(|| intervals(left, right))
            .or_else(|| nested(left, right, &exact_common)),
    }
}

fn datetimes(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Date32, DataType::Timestamp(..)) => Some(right.clone()),
        (DataType::Timestamp(..), DataType::Date32) => Some(left.clone()),
        (DataType::Timestamp(..), DataType::Timestamp(..)) => Some(types::timestamp()),
        _ => None,
    }
}

fn intervals(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Duration(_), DataType::Duration(_)) => Some(DataType::Duration(TimeUnit::Microsecond)),
        _ => None,
    }
}

/// The type in which a string and another type meet.
fn with_string(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    let other = match (is_string(left), is_string(right)) {
        (true, false) => right,
        (false, true) => left,
        _ => return None,
    };
    if !ansi {
        let promotes = is_atomic(other) && !matches!(other, DataType::Binary | DataType::Boolean);
        return promotes.then_some(DataType::Utf8);
    }
    match other {
        other if is_integral(other) => Some(DataType::Int64),
        other if is_numeric(other) => Some(DataType::Float64),
        other if is_ansi_interval(other) || !is_atomic(other) => None,
        other => Some(other.clone()),
    }
}

/// The type in which values of both types meet, if there is one.
pub fn wider(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    tightest(left, right, ansi)
        .or_else(|| with_string(left, right, ansi))
        .or_else(|| nested(left, right, &|a, b| wider(a, b, ansi)))
}

/// As [`wider`], but a string meets only strings (`greatest`, `least`).
pub fn wider_without_strings(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    tightest(left, right, ansi).or_else(|| nested(left, right, &|a, b| wider_without_strings(a, b, ansi)))
}

type Meet<'a> = &'a dyn Fn(&DataType, &DataType) -> Option<DataType>;

fn nested(left: &DataType, right: &DataType, meet: Meet<'_>) -> Option<DataType> {
    match (left, right) {
        (DataType::List(a), DataType::List(b)) => Some(DataType::List(part(a, b, meet)?)),
        (DataType::Map(a, _), DataType::Map(b, _)) => {
            Some(DataType::Map(part(a, b, &|a, b| nested(a, b, meet))?, false))
        }
        (DataType::Struct(a), DataType::Struct(b)) if same_names(a, b) => {
            let fields: Option<Vec<_>> = a.iter().zip(b).map(|(a, b)| part(a, b, meet)).collect();
            Some(DataType::Struct(Fields::from(fields?)))
        }
        _ => None,
    }
}

fn part(left: &Arc<Field>, right: &Arc<Field>, meet: Meet<'_>) -> Option<Arc<Field>> {
    let met = if left.data_type() == right.data_type() {
        left.data_type().clone()
    } else {
        meet(left.data_type(), right.data_type())?
    };
    Some(Arc::new(left.as_ref().clone().with_data_type(met).with_nullable(left.is_nullable() || right.is_nullable())))
}

/// Whether structs have fields of the same names in the same order, in any case.
pub fn same_names(left: &Fields, right: &Fields) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.name().eq_ignore_ascii_case(b.name()))
}

/// The type in which values of all these types meet. No types at all meet in VOID.
///
/// # Errors
/// `DATATYPE_MISMATCH.DATA_DIFF_TYPES` if there is none.
pub fn common_type(all: &[DataType], conf: &Conf) -> Result<DataType> {
    fold(all, &|a, b| wider(a, b, conf.ansi()))
}

/// As [`common_type`], but a string meets only strings.
pub fn common_type_without_strings(all: &[DataType], conf: &Conf) -> Result<DataType> {
    fold(all, &|a, b| wider_without_strings(a, b, conf.ansi()))
}

fn fold(all: &[DataType], meet: Meet<'_>) -> Result<DataType> {
    // Strings first, so that the result does not depend on the order (a string meets a date and a number differently).
    let (strings, others): (Vec<_>, Vec<_>) = all.iter().partition(|data_type| is_string(data_type));
    let mut met = DataType::Null;
    for data_type in strings.into_iter().chain(others) {
        met = meet(&met, data_type).ok_or_else(|| different(all))?;
    }
    Ok(met)
}

fn different(all: &[DataType]) -> Error {
    let names: Vec<String> = all.iter().map(type_name).collect();
    Error::query(
        "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
        format!("input should all be the same type, but is [{}]", names.join(", ")),
    )
}

/// A type as Spark's messages print it: `"BIGINT"`.
pub fn type_name(data_type: &DataType) -> String {
    format!("\"{}\"", types::simple_name(data_type).to_uppercase())
}

/// Casts all expressions to their common type.
///
/// # Errors
/// `DATATYPE_MISMATCH.DATA_DIFF_TYPES` if there is none.
pub fn to_common(exprs: Vec<Expr>, schema: &DFSchema, conf: &Conf) -> Result<(Vec<Expr>, DataType)> {
    let all = exprs.iter().map(|expr| kernel::type_of(expr, schema)).collect::<Result<Vec<_>>>()?;
    let common = common_type(&all, conf)?;
    let exprs =
        exprs.into_iter().map(|expr| cast::cast(expr, &common, Mode::of(conf), schema, conf)).collect::<Result<_>>()?;
    Ok((exprs, common))
}

/// True if a value of type `from` may stand where `to` is expected, with a cast.
pub fn passes(from: &DataType, to: &DataType, ansi: bool) -> bool {
    match (from, to) {
        _ if from == to || *from == DataType::Null => true,
        (from, to) if is_numeric(from) && is_numeric(to) => true,
        (from, to) if is_datetime(from) && is_datetime(to) => true,
        (from, DataType::Utf8) => {
            is_atomic(from) || types::is_variant(from) || (ansi && matches!(from, DataType::Interval(_)))
        }
        (DataType::Utf8, to) if ansi => is_atomic(to),
        (DataType::Utf8, to) => is_atomic(to) && !matches!(to, DataType::Boolean),
        (DataType::Duration(_), DataType::Duration(_)) => true,
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            passes(a.data_type(), b.data_type(), ansi)
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| passes(a.data_type(), b.data_type(), ansi))
        }
        _ => false,
    }
}

/// `expr` as a value of type `to`, by Spark's implicit cast of function arguments.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` if its type does not pass for `to`.
pub fn implicit(expr: Expr, to: &DataType, schema: &DFSchema, conf: &Conf) -> Result<Expr> {
    let from = kernel::type_of(&expr, schema)?;
    if !passes(&from, to, conf.ansi()) {
        return Err(unexpected(&expr, &from, &type_name(to)));
    }
    cast::cast(expr, to, Mode::of(conf), schema, conf)
}

/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`: `expr` is of type `from` where `required` (in words) is due.
pub fn unexpected(expr: &Expr, from: &DataType, required: &str) -> Error {
    Error::query(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("'{}' is of type {} but {required} is required", expr.human_display(), type_name(from)),
    )
}

/// `expr` as a number: numbers and nulls stay, a string becomes a DOUBLE.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` for anything else.
pub fn implicit_number(expr: Expr, schema: &DFSchema, conf: &Conf) -> Result<Expr> {
    match kernel::type_of(&expr, schema)? {
        from if is_numeric(&from) => Ok(expr),
        DataType::Utf8 | DataType::Null => cast::cast(expr, &DataType::Float64, Mode::of(conf), schema, conf),
        from => Err(unexpected(&expr, &from, "\"NUMERIC\"")),
    }
}
