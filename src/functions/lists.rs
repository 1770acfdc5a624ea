//! What the functions of arrays and maps share: reading lists row by row, and building lists by picking elements.
//!
//! A result list is rarely computed; it consists of elements of the arguments in another order or number. So a function
//! says for each row *which* elements of a pool it wants ([`Picks`]) and one `take` builds them all, whatever their type.
//! Elements are compared by their row encoding ([`keys`]), in which NaN equals NaN and 0.0 equals -0.0.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, NullBufferBuilder, UInt32Builder};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::{Call, coerce};
use crate::{Error, Result, types};

/// The argument at `at`.
pub(super) fn array(args: &[ArrayRef], at: usize) -> Result<&ArrayRef> {
    args.get(at).ok_or_else(|| Error::internal(format!("argument {at} of a function is missing")))
}

/// The argument at `at` as a list.
pub(super) fn list(args: &[ArrayRef], at: usize) -> Result<&ListArray> {
    as_list(array(args, at)?)
}

/// An array as a list.
pub(super) fn as_list(array: &ArrayRef) -> Result<&ListArray> {
    let wrong = || Error::internal(format!("a function of arrays got {}", array.data_type()));
    array.as_list_opt::<i32>().ok_or_else(wrong)
}

/// Whether an element is null; an array of VOID has no other.
pub(super) fn is_null(values: &ArrayRef, at: usize) -> bool {
    *values.data_type() == DataType::Null || values.is_null(at)
}

/// Where the elements of a row are in the list's values; `None` for a null row.
pub(super) fn range(list: &ListArray, row: usize) -> Option<Range<usize>> {
    if list.is_null(row) {
        return None;
    }
    let offsets = list.value_offsets();
    Some(*offsets.get(row)? as usize..*offsets.get(row + 1)? as usize)
}

/// The values of several arrays behind each other, and where each begins.
pub(super) fn pool(arrays: &[&ArrayRef]) -> Result<(ArrayRef, Vec<usize>)> {
    let mut starts = Vec::with_capacity(arrays.len());
    let mut length = 0;
    for array in arrays {
        starts.push(length);
        length += array.len();
    }
    let parts: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    Ok((concat(&parts)?, starts))
}

/// Comparable forms of all elements: equal, and ordered as Spark orders, exactly if the elements are (null comes first).
pub(super) fn keys(values: &ArrayRef) -> Result<Rows> {
    let values = without_negative_zero(values);
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())]);
    Ok(converter?.convert_columns(&[values])?)
}

fn without_negative_zero(values: &ArrayRef) -> ArrayRef {
    if let Some(floats) = values.as_primitive_opt::<Float64Type>() {
        let plain = |value: f64| {
            if value == 0.0 {
                0.0
            } else if value.is_nan() {
                f64::NAN
            } else {
                value
            }
        };
        return Arc::new(floats.unary::<_, Float64Type>(plain));
    }
    if let Some(floats) = values.as_primitive_opt::<Float32Type>() {
        let plain = |value: f32| {
            if value == 0.0 {
                0.0
            } else if value.is_nan() {
                f32::NAN
            } else {
                value
            }
        };
        return Arc::new(floats.unary::<_, Float32Type>(plain));
    }
    Arc::clone(values)
}

/// Lists under construction.
pub(super) struct Picks {
    elements: UInt32Builder,
    offsets: Vec<i32>,
    rows: NullBufferBuilder,
    length: usize,
}

impl Picks {
    /// For about this many rows.
    pub(super) fn with_capacity(rows: usize) -> Picks {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Picks { elements: UInt32Builder::new(), offsets, rows: NullBufferBuilder::new(rows), length: 0 }
    }

    /// Adds the pool's element at `at` to the row.
    pub(super) fn pick(&mut self, at: usize) {
        self.elements.append_value(at as u32);
        self.length += 1;
    }

    /// Adds the pool's elements of a range.
    pub(super) fn pick_all(&mut self, range: Range<usize>) {
        self.length += range.len();
        self.elements.extend(range.map(|at| Some(at as u32)));
    }

    /// Adds nulls to the row.
    pub(super) fn nulls(&mut self, count: usize) {
        self.elements.append_nulls(count);
        self.length += count;
    }

    /// Ends the row.
    ///
    /// # Errors
    /// `COLLECTION_SIZE_LIMIT_EXCEEDED` if the column would hold more elements than fit.
    pub(super) fn end(&mut self) -> Result<()> {
        self.offsets.push(i32::try_from(self.length).map_err(|_| too_many())?);
        self.rows.append_non_null();
        Ok(())
    }

    /// Adds a row that is null.
    pub(super) fn null_row(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.rows.append_null();
    }

    /// The lists, with elements from `pool`.
    pub(super) fn finish(mut self, pool: &ArrayRef, item: FieldRef) -> Result<ArrayRef> {
        let values = take(pool, &self.elements.finish(), None)?;
        let offsets = OffsetBuffer::new(self.offsets.into());
        Ok(Arc::new(ListArray::try_new(item, offsets, values, self.rows.finish())?))
    }
}

/// `COLLECTION_SIZE_LIMIT_EXCEEDED`.
pub(super) fn too_many() -> Error {
    Error::data("COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION", "an array would have too many elements")
}

/// The field of the elements of lists of this type.
pub(super) fn item_of(list: &DataType) -> Result<FieldRef> {
    match list {
        DataType::List(item) => Ok(Arc::clone(item)),
        other => Err(Error::internal(format!("an array was expected, not {other}"))),
    }
}

/// `expr` as an array and its elements' type; an untyped null is an array of VOID.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` if it is no array.
pub(super) fn array_argument(call: &Call<'_>, expr: Expr) -> Result<(Expr, DataType)> {
    match call.type_of(&expr)? {
        DataType::List(item) => Ok((expr, item.data_type().clone())),
        DataType::Null => {
            let nothing = ScalarValue::try_from(&types::list(DataType::Null))?;
            Ok((Expr::Literal(nothing, None), DataType::Null))
        }
        other => Err(coerce::unexpected(&expr, &other, "\"ARRAY\"")),
    }
}

/// An array and a value brought to a common element type.
///
/// # Errors
/// `DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES` if there is none, or the first is no array.
pub(super) fn array_and_value(call: &Call<'_>, list: Expr, value: Expr) -> Result<(Expr, Expr, DataType)> {
    let given = call.type_of(&value)?;
    let common = match call.type_of(&list)? {
        DataType::List(item) => coerce::exact_common(item.data_type(), &given),
        DataType::Null => Some(given),
        other if !matches!(call.name.to_ascii_lowercase().as_str(), "array_remove" | "array_insert") => {
            return Err(coerce::unexpected(&list, &other, "\"ARRAY\""));
        }
        _ => None,
    };
    let common = common.ok_or_else(|| different(&list, "ARRAY_FUNCTION_DIFF_TYPES"))?;
    let (list, _) = array_argument(call, list)?;
    Ok((call.cast(list, &types::list(common.clone()))?, call.cast(value, &common)?, common))
}

/// Two arrays brought to a common element type.
///
/// # Errors
/// `DATATYPE_MISMATCH.BINARY_ARRAY_DIFF_TYPES` if there is none, or one is no array.
pub(super) fn arrays_alike(call: &Call<'_>, lists: Vec<Expr>) -> Result<(Vec<Expr>, DataType)> {
    let mut common = DataType::Null;
    for list in &lists {
        let met = match call.type_of(list)? {
            DataType::List(item) => coerce::exact_common(&common, item.data_type()),
            _ => None,
        };
        common = met.ok_or_else(|| different(list, "BINARY_ARRAY_DIFF_TYPES"))?;
    }
    let result = types::list(common.clone());
    let lists = lists.into_iter().map(|list| call.cast(list, &result)).collect::<Result<Vec<_>>>()?;
    Ok((lists, common))
}

fn different(list: &Expr, condition: &str) -> Error {
    let message = format!("the elements of '{}' and the other arguments differ in type", list.human_display());
    Error::query(format!("DATATYPE_MISMATCH.{condition}"), message)
}
