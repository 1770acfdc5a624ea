//! One bit pattern for every float that counts as equal: NaN is NaN, -0.0 is 0.0.
//!
//! In: a column of any type. Out: the same column where every float, also inside structs, lists and maps, has its
//! canonical bits. Columns without floats are returned as they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use crate::Result;

/// Whether a value of this type holds a float somewhere.
pub fn contains_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            contains_floats(item.data_type())
        }
        DataType::Map(entries, _) => contains_floats(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| contains_floats(field.data_type())),
        DataType::Dictionary(_, values) => contains_floats(values),
        _ => false,
    }
}

/// `column` with canonical floats.
///
/// # Errors
/// None that input could cause: rebuilding a nested column of valid parts.
pub fn normalize_floats(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Float32 => Ok(Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(canonical_f32))),
        DataType::Float64 => Ok(Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical_f64))),
        nested if contains_floats(nested) => normalize_children(column),
        _ => Ok(Arc::clone(column)),
    }
}

fn normalize_children(column: &ArrayRef) -> Result<ArrayRef> {
    let data = column.to_data();
    let children = data.child_data().iter().map(|child| normalize_floats(&make_array(child.clone())));
    let children = children.map(|child| child.map(|child| child.to_data())).collect::<Result<Vec<_>>>()?;
    Ok(make_array(data.into_builder().child_data(children).build()?))
}

pub(crate) fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

pub(crate) fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}
