//! Dates and timestamps: fields, shifts, truncation, construction, texts, zones.
//!
//! Arguments are cast to DATE or TIMESTAMP by Spark's rules; a TIMESTAMP is read on the session's local clock, a
//! TIMESTAMP_NTZ on its own. Patterns, units and zones that are constants are compiled when the query is bound.

pub mod fields;
pub mod make;
pub mod now;
pub mod shift;
pub mod text;
pub mod truncate;
pub mod zones;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::Call;
use super::kernel::Kernel;
use super::numbers;
use crate::conf::Conf;
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// Nanoseconds are not kept: the unit of every instant here.
pub(super) type Micros = TimestampMicrosecondType;

/// The session's time zone.
pub(super) fn session_zone(conf: &Conf) -> Result<Zone> {
    Zone::parse(conf.time_zone())
}

/// `expr` as DATE.
pub(super) fn date(call: &Call<'_>, expr: Expr) -> Result<Expr> {
    call.implicit(expr, &DataType::Date32)
}

/// `expr` as a timestamp, and the zone on whose clock it is read: TIMESTAMP_NTZ stays and is read as it is.
pub(super) fn timestamp(call: &Call<'_>, expr: Expr) -> Result<(Expr, Zone)> {
    if call.type_of(&expr)? == types::timestamp_ntz() {
        return Ok((expr, Zone::utc()));
    }
    Ok((call.implicit(expr, &types::timestamp())?, session_zone(call.conf)?))
}

/// The text of a string constant; `Some(None)` is a null constant, `None` is no constant.
pub(super) fn constant_text(expr: &Expr) -> Option<Option<&str>> {
    match expr {
        Expr::Alias(alias) => constant_text(&alias.expr),
        Expr::Literal(ScalarValue::Utf8(text), _) => Some(text.as_deref()),
        Expr::Literal(value, _) if value.is_null() => Some(None),
        _ => None,
    }
}

/// The argument at `at` as its primitive type.
pub(super) fn primitive<T: ArrowPrimitiveType>(args: &[ArrayRef], at: usize) -> Result<&PrimitiveArray<T>> {
    args.get(at).and_then(|array| array.as_primitive_opt::<T>()).ok_or_else(|| wrong_array(args, at))
}

/// The argument at `at` as strings.
pub(super) fn strings(args: &[ArrayRef], at: usize) -> Result<&StringArray> {
    args.get(at).and_then(|array| array.as_string_opt::<i32>()).ok_or_else(|| wrong_array(args, at))
}

fn wrong_array(args: &[ArrayRef], at: usize) -> Error {
    let found = args.get(at).map(|array| array.data_type().to_string()).unwrap_or_else(|| "nothing".to_owned());
    Error::internal(format!("argument {at} of a datetime function is {found}"))
}

/// A function of one primitive value that may fail; null in, null out; `None` is null.
pub(super) fn unary<I, O>(
    name: &'static str,
    result: DataType,
    run: impl Fn(I::Native) -> Result<Option<O::Native>> + Send + Sync + 'static,
) -> Kernel
where
    I: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let made = result.clone();
    Kernel::arrays(name, result, move |args| {
        let input = primitive::<I>(args, 0)?;
        collect::<O>(&made, input.len(), input.iter().map(|value| value.map_or(Ok(None), &run)))
    })
    .fallible()
}

/// A function of two primitive values that may fail; null if either is; `None` is null.
pub(super) fn binary<A, B, O>(
    name: &'static str,
    result: DataType,
    run: impl Fn(A::Native, B::Native) -> Result<Option<O::Native>> + Send + Sync + 'static,
) -> Kernel
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let made = result.clone();
    Kernel::arrays(name, result, move |args| {
        let (left, right) = (primitive::<A>(args, 0)?, primitive::<B>(args, 1)?);
        let values = left.iter().zip(right).map(|pair| match pair {
            (Some(left), Some(right)) => run(left, right),
            _ => Ok(None),
        });
        collect::<O>(&made, left.len(), values)
    })
    .fallible()
}

/// Values as an array of type `result`.
pub(super) fn collect<O: ArrowPrimitiveType>(
    result: &DataType,
    length: usize,
    values: impl Iterator<Item = Result<Option<O::Native>>>,
) -> Result<ArrayRef> {
    Ok(Arc::new(numbers::collect::<O>(length, values)?.with_data_type(result.clone())))
}

/// `DATETIME_OVERFLOW`.
pub(super) fn overflow(what: &str) -> Error {
    Error::data("DATETIME_OVERFLOW", format!("{what} leaves the range of dates and timestamps"))
}

/// A number of days as a DATE.
pub(super) fn to_date(days: i64) -> Result<i32> {
    i32::try_from(days).map_err(|_| overflow("a date"))
}
