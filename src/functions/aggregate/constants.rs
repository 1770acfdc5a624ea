//! Arguments that must be constants: taken out of a call's arguments and read as plain values.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use thalweg_operators::aggregate::Constant;

use super::super::arguments::constant;
use crate::{Error, Result};

/// Takes the arguments at `positions` out, as far as there are so many.
///
/// # Errors
/// `DATATYPE_MISMATCH.NON_FOLDABLE_INPUT` if one is not constant.
pub(super) fn take(args: &mut Vec<Expr>, positions: &[usize], name: &str) -> Result<Vec<Constant>> {
    let given = positions.iter().filter(|position| **position < args.len());
    let constants = given.clone().map(|&position| read(&args[position], name)).collect::<Result<Vec<_>>>()?;
    given.copied().collect::<Vec<_>>().into_iter().rev().for_each(|position| drop(args.remove(position)));
    Ok(constants)
}

fn read(arg: &Expr, name: &str) -> Result<Constant> {
    let Some(value) = constant(arg)? else {
        return Err(Error::query(
            "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
            format!("'{}' of function '{name}' must be a constant", arg.human_display()),
        ));
    };
    match value {
        value if value.is_null() => Ok(Constant::Null),
        ScalarValue::Boolean(Some(flag)) => Ok(Constant::Boolean(flag)),
        ScalarValue::Utf8(Some(text)) => Ok(Constant::Text(text)),
        ScalarValue::Binary(Some(bytes)) => Ok(Constant::Bytes(bytes)),
        ScalarValue::List(list) => doubles(&list.value(0)),
        value if value.data_type().is_integer() => match value.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(number)) => Ok(Constant::Long(number)),
            _ => Ok(Constant::Null),
        },
        value => match value.cast_to(&DataType::Float64)? {
            ScalarValue::Float64(Some(number)) => Ok(Constant::Double(number)),
            _ => Ok(Constant::Null),
        },
    }
}

fn doubles(values: &dyn Array) -> Result<Constant> {
    let values = cast(values, &DataType::Float64)?;
    if values.null_count() > 0 {
        return Ok(Constant::Null);
    }
    Ok(Constant::Doubles(values.as_primitive::<Float64Type>().values().to_vec()))
}
