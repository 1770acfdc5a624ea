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
use super::arguments::{constant, not_foldable};
use super::cast::decimal::{self, power};
use super::cast::{Mode, cast_array};
use super::coerce::{self, is_decimal, is_floating, is_integral};
use super::decimals::within;
use super::kernel::Kernel;
use super::numbers::each;
use crate::types::zone::Zone;
use crate::{Error, Result};

/// Which of two neighbours a number goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
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

/// The value and the scale, if one was given.
fn arguments(call: &mut Call<'_>) -> Result<(Expr, Option<Expr>)> {
    let mut values = call.values(1..=2)?.into_iter();
    let value = values.next().ok_or_else(|| Error::internal("the number of arguments was checked"))?;
    Ok((value, values.next()))
}

/// The scale of `round`: any constant that passes for INT; `None` for null.
fn cast_scale(call: &Call<'_>, scale: Expr) -> Result<Option<i32>> {
    match constant(&call.implicit(scale, &DataType::Int32)?)? {
        Some(ScalarValue::Int32(scale)) => Ok(scale),
        _ => Err(not_foldable(call, "scale")),
    }
}

/// The scale of `ceil` and `floor`: a constant INT.
fn exact_scale(call: &Call<'_>, scale: &Expr) -> Result<i32> {
    match constant(scale)? {
        Some(ScalarValue::Int32(Some(scale))) => Ok(scale),
        _ => {
            let message = format!("the scale of function '{}' must be a constant INT", call.name);
            Err(Error::query("NON_FOLDABLE_ARGUMENT", message))
        }
    }
}

fn to_scale(mut call: Call<'_>, name: &'static str, direction: Direction) -> Result<Expr> {
    let (value, scale) = arguments(&mut call)?;
    let value = coerce::implicit_number(value, call.schema, call.conf)?;
    let given = scale.map(|scale| cast_scale(&call, scale)).transpose()?;
    let scale = given.flatten().unwrap_or(0);
    let rounded = match call.type_of(&value)? {
        DataType::Decimal128(precision, old) => {
            decimals(name, value, (precision, old), scale, direction, Mode::of(call.conf))
        }
        data_type if is_floating(&data_type) => doubles(name, value, data_type, scale, direction),
        data_type => whole(name, value, data_type, scale, direction, Mode::of(call.conf)),
    };
    match given {
        Some(None) => Ok(Expr::Literal(ScalarValue::try_from(&call.type_of(&rounded)?)?, None)),
        _ => Ok(rounded),
    }
}

/// Precision and scale of a rounded decimal: one digit more before the point, for the carry.
fn rounded_type((precision, old): (u8, i8), scale: i32) -> (u8, i8) {
    let before = i32::from(precision) - i32::from(old) + 1;
    let (precision, scale) = if scale < 0 {
        (before.max(1_i32.saturating_sub(scale)), 0)
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

/// Digits at scale `from` as digits at scale `to`, or unchanged if they have no more; `None` if they do not fit.
pub(super) fn directed(value: i128, from: i32, to: i32, direction: Direction) -> Option<i128> {
    if to >= from {
        return Some(value);
    }
    let Some(divisor) = power(from.saturating_sub(to)) else {
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
        Some(digits) => format!("{digits}e{}", -i64::from(scale)).parse().unwrap_or(value),
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
        cast_array(&rounded, &data_type, mode, &Zone::utc()).map_err(|cause| {
            Error::data("ARITHMETIC_OVERFLOW", "the rounded number does not fit its type").caused_by(cause)
        })
    };
    Kernel::arrays(name, result, run).key(format!("{scale} {mode}")).fallible_if(mode == Mode::Ansi).call(vec![value])
}

fn to_bound(mut call: Call<'_>, name: &'static str, direction: Direction) -> Result<Expr> {
    let (value, scale) = arguments(&mut call)?;
    let scale = scale.map(|scale| exact_scale(&call, &scale)).transpose()?;
    let given = call.type_of(&value)?;
    let mut value = coerce::implicit_number(value, call.schema, call.conf)?;
    let mut data_type = call.type_of(&value)?;
    if scale.is_some() && !is_decimal(&data_type) {
        // With a scale Spark computes in decimals; a text is one of the default precision.
        data_type = if coerce::is_numeric(&given) { wide_decimal(&data_type) } else { DataType::Decimal128(38, 18) };
        value = call.cast(value, &data_type)?;
    }
    match data_type {
        DataType::Decimal128(precision, old) => {
            Ok(decimals(name, value, (precision, old), scale.unwrap_or(0), direction, Mode::of(call.conf)))
        }
        data_type if is_integral(&data_type) => call.cast(value, &DataType::Int64),
        _ => Ok(bound_of_double(name, call.cast(value, &DataType::Float64)?, direction, Mode::of(call.conf))),
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

/// A BIGINT; of NaN it is 0. Without ANSI it stops at its limits.
fn bound_of_double(name: &'static str, value: Expr, direction: Direction, mode: Mode) -> Expr {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let run = move |args: &[ArrayRef]| {
        let apply = |value: f64| {
            let bound = if direction == Direction::Up { value.ceil() } else { value.floor() };
            let fits = bound.is_nan() || (-LIMIT..LIMIT).contains(&bound);
            if mode == Mode::Ansi && !fits {
                return Err(Error::data("ARITHMETIC_OVERFLOW", format!("{bound} does not fit BIGINT")));
            }
            Ok(Some(bound as i64))
        };
        Ok(Arc::new(each::<Float64Type, Int64Type>(&args[0], apply)?) as ArrayRef)
    };
    Kernel::arrays(name, DataType::Int64, run).key(mode).fallible_if(mode == Mode::Ansi).call(vec![value])
}
