//! Bits of whole numbers (`bit_count`, `bit_get`) and of bitmaps (`bitmap_bit_position`, `bitmap_bucket_number`, `bitmap_count`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int8Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::coerce::{is_integral, unexpected};
use super::kernel::Kernel;
use super::numbers::{each, zip};
use super::{Call, conditional};
use crate::sql::literal;
use crate::{Error, Result};

fn constant(value: i32) -> Expr {
    literal::constant(ScalarValue::Int32(Some(value)))
}

/// `bit_count(value)`: how many bits are set, negative numbers being 64 bits long; a BOOLEAN counts as 0 or 1.
pub(super) fn count(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    match call.type_of(&value)? {
        DataType::Boolean => conditional::case(
            vec![(value.clone(), constant(1)), (Expr::Not(Box::new(value)), constant(0))],
            None,
            call.context(),
        ),
        data_type if is_integral(&data_type) || data_type == DataType::Null => {
            let value = call.cast(value, &DataType::Int64)?;
            let run = |args: &[ArrayRef]| {
                Ok(Arc::new(each::<Int64Type, Int32Type>(&args[0], |value| Ok(Some(value.count_ones() as i32)))?)
                    as ArrayRef)
            };
            Ok(Kernel::arrays("bit_count", DataType::Int32, run).call(vec![value]))
        }
        other => Err(unexpected(&value, &other, "(\"INTEGRAL\" or \"BOOLEAN\")")),
    }
}

/// `bit_get(value, position)`: the bit at a position, the lowest being 0.
pub(super) fn get(mut call: Call<'_>) -> Result<Expr> {
    let [value, position] = call.exactly()?;
    let data_type = call.type_of(&value)?;
    let size = match &data_type {
        data_type if is_integral(data_type) => data_type.primitive_width().unwrap_or(8) as i32 * 8,
        DataType::Null => 64,
        other => return Err(unexpected(&value, other, "\"INTEGRAL\"")),
    };
    let args = vec![call.cast(value, &DataType::Int64)?, call.implicit(position, &DataType::Int32)?];
    let bit = move |value: i64, position: i32| {
        if (0..size).contains(&position) {
            return Ok(Some((value >> position & 1) as i8));
        }
        Err(Error::data(
            "INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE",
            format!("the bit position must be from 0 to {} but is {position}", size - 1),
        ))
    };
    let run = move |args: &[ArrayRef]| {
        Ok(Arc::new(zip::<Int64Type, Int32Type, Int8Type>(&args[0], &args[1], bit)?) as ArrayRef)
    };
    Ok(Kernel::arrays("bit_get", DataType::Int8, run).key(size).fallible().call(args))
}

/// Bits of a bitmap.
const BITMAP_BITS: i64 = 32_768;

/// `bitmap_bit_position(value)`: where in its bitmap the bit of a value lies.
pub(super) fn position(call: Call<'_>) -> Result<Expr> {
    let place = |value: i64| if value > 0 { (value - 1) % BITMAP_BITS } else { -(value % BITMAP_BITS) };
    of_value(call, "bitmap_bit_position", place)
}

/// `bitmap_bucket_number(value)`: which bitmap holds the bit of a value.
pub(super) fn bucket(call: Call<'_>) -> Result<Expr> {
    let number = |value: i64| if value > 0 { 1 + (value - 1) / BITMAP_BITS } else { value / BITMAP_BITS };
    of_value(call, "bitmap_bucket_number", number)
}

fn of_value(mut call: Call<'_>, name: &'static str, compute: fn(i64) -> i64) -> Result<Expr> {
    let [value] = call.exactly()?;
    let value = call.implicit(value, &DataType::Int64)?;
    let run = move |args: &[ArrayRef]| {
        Ok(Arc::new(each::<Int64Type, Int64Type>(&args[0], |value| Ok(Some(compute(value))))?) as ArrayRef)
    };
    Ok(Kernel::arrays(name, DataType::Int64, run).call(vec![value]))
}

/// `bitmap_count(bitmap)`: how many bits of a BINARY are set.
pub(super) fn bitmap_count(mut call: Call<'_>) -> Result<Expr> {
    let [bitmap] = call.exactly()?;
    let bitmap = match call.type_of(&bitmap)? {
        DataType::Binary => bitmap,
        DataType::Null => call.cast(bitmap, &DataType::Binary)?,
        other => return Err(unexpected(&bitmap, &other, "\"BINARY\"")),
    };
    let set = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.count_ones())).sum::<i64>();
    let run = move |args: &[ArrayRef]| {
        let bitmaps = args[0].as_binary::<i32>();
        Ok(Arc::new(bitmaps.iter().map(|bytes| bytes.map(set)).collect::<Int64Array>()) as ArrayRef)
    };
    Ok(Kernel::arrays("bitmap_count", DataType::Int64, run).call(vec![bitmap]))
}
