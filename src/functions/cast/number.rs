//! Numbers and booleans to each other.
//!
//! Under ANSI and TRY, what does not fit is an error or null; in legacy mode whole numbers wrap around and floats stop at
//! the limits, as in Java.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::*;

use super::decimal::{self, Number};
use super::{Mode, overflow, show};
use crate::functions::coerce::{is_decimal, is_floating, is_integral};
use crate::functions::numbers::each;
use crate::functions::single::{Single, Value, fitting, whole_number};
use crate::{Error, Result};

/// Casts numbers and booleans to numbers and booleans.
pub(super) fn numbers(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let from = array.data_type();
    match (from, to) {
        (DataType::Boolean, to) if is_decimal(to) => numbers(&cast(array, &DataType::Int32)?, to, mode),
        (DataType::Boolean, to) => Ok(cast(array, to)?),
        (from, DataType::Boolean) if is_decimal(from) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            Ok(Arc::new(decimals.iter().map(|value| value.map(|value| value != 0)).collect::<BooleanArray>()))
        }
        (_, DataType::Boolean) => Ok(cast(array, to)?),
        (from, DataType::Decimal128(..)) if is_floating(from) => floats_to_decimals(array, to, mode),
        (from, to) if is_decimal(from) && is_floating(to) => decimals_to_floats(array, to),
        (_, to) if is_floating(to) => Ok(cast(array, to)?),
        (from, DataType::Decimal128(precision, scale)) if is_decimal(from) => rescaled(array, *precision, *scale, mode),
        (from, to) if mode == Mode::Legacy && is_integral(to) && !is_decimal(from) => wrapped(array, to),
        (from, to) if is_decimal(from) => whole(array, to, mode),
        _ => fitting_array(array, to, mode),
    }
}

/// Casts a single whole number to `to`.
pub(super) fn single(to: &DataType) -> Option<Arc<Single>> {
    let to = to.clone();
    match to {
        DataType::Float64 => Some(Arc::new(|values| whole_number(values).map(|number| Value::Double(number as f64)))),
        _ if is_integral(&to) => Some(Arc::new(move |values| fitting(whole_number(values)?, &to))),
        _ => None,
    }
}

/// Lets Arrow cast what fits; the rest is null or an error.
fn fitting_array(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let result = cast_with_options(array, to, &CastOptions { safe: true, ..Default::default() })?;
    if mode == Mode::Ansi && result.null_count() > array.null_count() {
        return Err(first_lost(array, &result));
    }
    Ok(result)
}

/// The error for the first value that became null.
fn first_lost(array: &ArrayRef, result: &ArrayRef) -> Error {
    let row = (0..array.len()).find(|row| array.is_valid(*row) && result.is_null(*row));
    let value = row.map(|row| show::value_text(array, row)).unwrap_or_default();
    overflow(&value, array.data_type(), result.data_type())
}

/// Whole numbers keep their lowest bits, floats stop at the limits (of INT for the small types, whose bits are then cut).
fn wrapped(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if is_floating(array.data_type()) {
        let values = cast(array, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        return Ok(match to {
            DataType::Int8 => Arc::new(values.unary::<_, Int8Type>(|value| value as i32 as i8)),
            DataType::Int16 => Arc::new(values.unary::<_, Int16Type>(|value| value as i32 as i16)),
            DataType::Int32 => Arc::new(values.unary::<_, Int32Type>(|value| value as i32)),
            _ => Arc::new(values.unary::<_, Int64Type>(|value| value as i64)),
        });
    }
    let values = cast(array, &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>();
    Ok(match to {
        DataType::Int8 => Arc::new(values.unary::<_, Int8Type>(|value| value as i8)),
        DataType::Int16 => Arc::new(values.unary::<_, Int16Type>(|value| value as i16)),
        DataType::Int32 => Arc::new(values.unary::<_, Int32Type>(|value| value as i32)),
        _ => Arc::new(values.clone()),
    })
}

/// Decimals to whole numbers: digits behind the point are cut off.
fn whole(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    match to {
        DataType::Int8 => whole_of::<Int8Type>(array, to, mode, |value| value as i8),
        DataType::Int16 => whole_of::<Int16Type>(array, to, mode, |value| value as i16),
        DataType::Int32 => whole_of::<Int32Type>(array, to, mode, |value| value as i32),
        _ => whole_of::<Int64Type>(array, to, mode, |value| value as i64),
    }
}

fn whole_of<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    to: &DataType,
    mode: Mode,
    wrap: fn(i128) -> T::Native,
) -> Result<ArrayRef>
where
    T::Native: TryFrom<i128>,
{
    let scale = scale_of(array)?;
    let power = decimal::power(i32::from(scale)).unwrap_or(i128::MAX);
    let cut = |value: i128| match T::Native::try_from(value / power) {
        Ok(whole) => Ok(Some(whole)),
        Err(_) if mode == Mode::Legacy => Ok(Some(wrap(value / power))),
        Err(_) if mode == Mode::Try => Ok(None),
        Err(_) => {
            let mut text = String::new();
            decimal::print(value, scale, &mut text);
            Err(overflow(&text, array.data_type(), to))
        }
    };
    Ok(Arc::new(each::<Decimal128Type, T>(array, cut)?))
}

fn scale_of(array: &ArrayRef) -> Result<i8> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => Ok(*scale),
        other => Err(Error::internal(format!("{other} is no decimal"))),
    }
}

fn rescaled(array: &ArrayRef, precision: u8, scale: i8, mode: Mode) -> Result<ArrayRef> {
    let from = scale_of(array)?;
    let to = DataType::Decimal128(precision, scale);
    let apply = |value: i128| {
        let fitting = Number { unscaled: value, scale: i32::from(from) }.rescaled(scale, precision);
        match fitting {
            None if mode == Mode::Ansi => {
                let mut text = String::new();
                decimal::print(value, from, &mut text);
                Err(overflow(&text, array.data_type(), &to))
            }
            fitting => Ok(fitting),
        }
    };
    let result = each::<Decimal128Type, Decimal128Type>(array, apply)?;
    Ok(Arc::new(result.with_precision_and_scale(precision, scale)?))
}

/// By way of the shortest text of the number, as Spark does.
fn floats_to_decimals(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = to else { return Err(Error::internal("the target is a decimal")) };
    let wide = cast(array, &DataType::Float64)?;
    let single = *array.data_type() == DataType::Float32;
    let apply = |value: f64| {
        if !value.is_finite() {
            return Ok(None);
        }
        let text = if single { format!("{:e}", value as f32) } else { format!("{value:e}") };
        match decimal::parse(&text).and_then(|number| number.rescaled(*scale, *precision)) {
            None if mode == Mode::Ansi => Err(overflow(&text, array.data_type(), to)),
            fitting => Ok(fitting),
        }
    };
    let result = each::<Float64Type, Decimal128Type>(&wide, apply)?;
    Ok(Arc::new(result.with_precision_and_scale(*precision, *scale)?))
}

/// The nearest float: a quotient of two exact floats is, and so is what the parser makes of the digits.
fn decimals_to_floats(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    const EXACT: u128 = 1 << 53;
    let scale = scale_of(array)?;
    let power = 10f64.powi(i32::from(scale));
    let convert = |value: i128| {
        if value.unsigned_abs() < EXACT && scale <= 22 {
            return Ok(Some(value as f64 / power));
        }
        let mut text = String::new();
        decimal::print(value, scale, &mut text);
        Ok(text.parse().ok())
    };
    let doubles: PrimitiveArray<Float64Type> = each::<Decimal128Type, Float64Type>(array, convert)?;
    Ok(cast(&(Arc::new(doubles) as ArrayRef), to)?)
}
