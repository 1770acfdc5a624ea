//! Rounding: `round` (half up), `bround` (half to even), `ceil`, `floor`, of decimals, whole numbers and doubles.
//!
//! In comes a call with an optional constant scale, out goes a number of Spark's result type. Doubles are rounded by way of
//! their decimal text, so that `round(2.345D, 2)` is 2.35.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::Call;
use super::cast::decimal::{self, power};
use super::cast::{Mode, cast_array};
use super::coerce::{self, is_decimal, is_floating, is_integral};
use super::decimals::within;
use super::kernel::{Kernel, each};
use crate::types::zone::Zone;
use crate::{Error, Result};

/// Which of two neighbours a number goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    HalfUp,
    HalfEven,
    Up,
    Down,
}

/// `round(value[, scale])`.
pub(super) fn round(call: Call<'_>) -> Result<Expr> {
    to_scale(call, "round", Direction::HalfUp)
}

/// `bround(value[, scale])`.
pub(super) fn bround(call: Call<'_>) -> Result<Expr> {
    to_scale(call, "bround", Direction::HalfEven)
}

/// `ceil(value[, scale])`.
pub(super) fn ceil(call: Call<'_>) -> Result<Expr> {
    to_bound(call, "ceil", Direction::Up)
}

/// `floor(value[, scale])`.
pub(super) fn floor(call: Call<'_>) -> Result<Expr> {
    to_bound(call, "floor", Direction::Down)
}

/// The number and the constant scale, if one was given.
fn arguments(call: &mut Call<'_>) -> Result<(Expr, Option<i32>)> {
    let mut values = call.values(1..=2)?.into_iter();
    let value = values.next().ok_or_else(|| Error::internal("the number of arguments was checked"))?;
    let value = coerce::implicit_number(value, call.schema, call.conf)?;
    let scale = values.next().map(|scale| constant_scale(&scale)).transpose()?;
    Ok((value, scale))
}

fn constant_scale(scale: &Expr) -> Result<i32> {
    match scale {
        Expr::Literal(ScalarValue::Int32(Some(scale)), _) => Ok(*scale),
        _ => Err(Error::query("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the scale must be a constant INT")),
    }
}

fn to_scale(mut call: Call<'_>, name: &'static str, direction: Direction) -> Result<Expr> {
    let (value, scale) = arguments(&mut call)?;
    let scale = scale.unwrap_or(0);
    let data_type = call.type_of(&value)?;
    match data_type {
        DataType::Decimal128(precision, old) => {
            Ok(decimals(name, value, (precision, old), scale, direction, Mode::of(call.conf)))
        }
        data_type if is_floating(&data_type) => Ok(doubles(name, value, data_type, scale, direction)),
        data_type => Ok(whole(name, value, data_type, scale, direction, Mode::of(call.conf))),
    }
}

/// Precision and scale of a rounded decimal: one digit more before the point, for the carry.
fn rounded_type((precision, old): (u8, i8), scale: i32) -> (u8, i8) {
    let before = i32::from(precision) - i32::from(old) + 1;
    let (precision, scale) = if scale < 0 {
        (before.max(1 - scale), 0)
    } else {
        let scale = scale.min(i32::from(old));
        (before + scale, scale)
    };
    (precision.min(38) as u8, scale as i8)
}

fn decimals(name: &'static str, value: Expr, old: (u8, i8), scale: i32, direction: Direction, mode: Mode) -> Expr {
    let (precision, new) = rounded_type(old, scale);
    let from = i32::from(old.1);
    let apply = move |value: i128| {
        let rounded = directed(value, from, scale, direction)
            .and_then(|value| decimal::rescale(value, scale.min(from), i32::from(new)));
        within(rounded, precision, new, mode)
    };
    let run = move |args: &[ArrayRef]| {
        let rounded = each::<Decimal128Type, Decimal128Type>(&args[0], apply)?;
        Ok(Arc::new(rounded.with_precision_and_scale(precision, new)?) as ArrayRef)
    };
    let key = format!("{scale} {mode}");
    Kernel::arrays(name, DataType::Decimal128(precision, new), run)
        .key(key)
        .fallible_if(mode == Mode::Ansi)
        .call(vec![value])
}

/// Digits at scale `from` as digits at scale `to`, or unchanged if they have no more.
fn directed(value: i128, from: i32, to: i32, direction: Direction) -> Option<i128> {
    if to >= from {
        return Some(value);
    }
    let Some(divisor) = power(from - to) else {
        return Some(match direction {
            Direction::Up => i128::from(value > 0),
            Direction::Down => -i128::from(value < 0),
            _ => 0,
        });
    };
    let down = value.div_euclid(divisor);
    let rest = value.rem_euclid(divisor);
    Some(match direction {
        Direction::HalfUp => decimal::divide(value, divisor),
        Direction::Up => down + i128::from(rest > 0),
        Direction::Down => down,
        Direction::HalfEven => {
            let twice = rest * 2;
            down + i128::from(twice > divisor || (twice == divisor && down % 2 != 0))
        }
    })
}

fn doubles(name: &'static str, value: Expr, data_type: DataType, scale: i32, direction: Direction) -> Expr {
    let single = data_type == DataType::Float32;
    let result = data_type.clone();
    let run = move |args: &[ArrayRef]| {
        let wide = arrow_cast(&args[0], &DataType::Float64)?;
        let rounded = wide
            .as_primitive::<Float64Type>()
            .unary::<_, Float64Type>(|value| rounded_double(value, single, scale, direction));
        Ok(arrow_cast(&rounded, &data_type)?)
    };
    Kernel::arrays(name, result, run).key(scale).call(vec![value])
}

/// By way of the shortest decimal text; numbers with no digits to lose stay as they are.
fn rounded_double(value: f64, single: bool, scale: i32, direction: Direction) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let text = if single { format!("{:e}", value as f32) } else { format!("{value:e}") };
    let Some(number) = decimal::parse(&text).filter(|number| number.scale > scale) else { return value };
    match directed(number.unscaled, number.scale, scale, direction) {
        Some(digits) => format!("{digits}e{}", -scale).parse().unwrap_or(value),
        None => value,
    }
}

fn whole(name: &'static str, value: Expr, data_type: DataType, scale: i32, direction: Direction, mode: Mode) -> Expr {
    if scale >= 0 {
        return value;
    }
    let result = data_type.clone();
    let run = move |args: &[ArrayRef]| {
        let wide = arrow_cast(&args[0], &DataType::Int64)?;
        let apply = |value: i64| {
            let digits = directed(i128::from(value), 0, scale, direction);
            let rounded = digits.and_then(|digits| decimal::rescale(digits, scale, 0));
            match rounded.and_then(|rounded| i64::try_from(rounded).ok()) {
                None if mode == Mode::Ansi => {
                    Err(Error::data("ARITHMETIC_OVERFLOW", "the rounded number does not fit its type"))
                }
                rounded => Ok(rounded),
            }
        };
        let rounded: ArrayRef = Arc::new(each::<Int64Type, Int64Type>(&wide, apply)?);
        cast_array(&rounded, &data_type, mode, &Zone::utc())
    };
    Kernel::arrays(name, result, run).key(format!("{scale} {mode}")).fallible_if(mode == Mode::Ansi).call(vec![value])
}

fn to_bound(mut call: Call<'_>, name: &'static str, direction: Direction) -> Result<Expr> {
    let (mut value, scale) = arguments(&mut call)?;
    let mut data_type = call.type_of(&value)?;
    if scale.is_some() && !is_decimal(&data_type) {
        // With a scale Spark computes in decimals.
        data_type = wide_decimal(&data_type);
        value = call.cast(value, &data_type)?;
    }
    match data_type {
        DataType::Decimal128(precision, old) => {
            Ok(decimals(name, value, (precision, old), scale.unwrap_or(0), direction, Mode::of(call.conf)))
        }
        data_type if is_integral(&data_type) => call.cast(value, &DataType::Int64),
        _ => Ok(bound_of_double(name, call.cast(value, &DataType::Float64)?, direction)),
    }
}

fn wide_decimal(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Float32 => DataType::Decimal128(14, 7),
        DataType::Float64 => DataType::Decimal128(30, 15),
        whole => coerce::decimal_for(whole)
            .map_or(DataType::Decimal128(38, 0), |(precision, scale)| DataType::Decimal128(precision, scale)),
    }
}

/// A BIGINT, which stops at its limits.
fn bound_of_double(name: &'static str, value: Expr, direction: Direction) -> Expr {
    let run = move |args: &[ArrayRef]| {
        let apply = |value: f64| if direction == Direction::Up { value.ceil() as i64 } else { value.floor() as i64 };
        Ok(Arc::new(args[0].as_primitive::<Float64Type>().unary::<_, Int64Type>(apply)) as ArrayRef)
    };
    Kernel::arrays(name, DataType::Int64, run).call(vec![value])
}
