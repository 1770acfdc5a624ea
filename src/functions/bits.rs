//! Bits of whole numbers: `bit_count`, `bit_get`.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Int8Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::coerce::{is_integral, unexpected};
use super::kernel::{Kernel, each, zip};
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
