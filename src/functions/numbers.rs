//! Columns of numbers, dates and times that are computed value by value.
//!
//! In: columns of primitive types and a function of one value or two. Out: a column, null where an input is or the function gives none.
//! What always holds: the result's values lie in one vector and there is no null buffer without a null, so a column of one row costs
//! two allocations and one of many rows is filled without a check for room.

use arrow::array::{Array, ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::NullBuffer;

use super::kernel::downcast;
use crate::Result;

/// These values; about `rows` of them.
///
/// # Errors
/// The first error among them.
pub fn collect<T: ArrowPrimitiveType>(
    rows: usize,
    values: impl Iterator<Item = Result<Option<T::Native>>>,
) -> Result<PrimitiveArray<T>> {
    let (mut numbers, mut nulls) = (Vec::with_capacity(rows), NullBufferBuilder::new(rows));
    for value in values {
        let value = value?;
        nulls.append(value.is_some());
        numbers.push(value.unwrap_or_default());
    }
    Ok(PrimitiveArray::try_new(numbers.into(), nulls.finish())?)
}

/// Applies `operation` to the pairs of values that are both present; null where it gives none.
///
/// # Errors
/// The first error of `operation`.
pub fn zip<L, R, O>(
    left: &dyn Array,
    right: &dyn Array,
    operation: impl Fn(L::Native, R::Native) -> Result<Option<O::Native>>,
) -> Result<PrimitiveArray<O>>
where
    L: ArrowPrimitiveType,
    R: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let (left, right) = (downcast::<PrimitiveArray<L>>(left)?, downcast::<PrimitiveArray<R>>(right)?);
    let nulls = NullBuffer::union(left.nulls(), right.nulls());
    let pairs = left.values().iter().zip(right.values()).enumerate();
    let present = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    collect(left.len(), pairs.map(|(row, (a, b))| if present(row) { operation(*a, *b) } else { Ok(None) }))
}

/// Applies `operation` to the values that are present; null where it gives none.
///
/// # Errors
/// The first error of `operation`.
pub fn each<I, O>(
    array: &dyn Array,
    operation: impl Fn(I::Native) -> Result<Option<O::Native>>,
) -> Result<PrimitiveArray<O>>
where
    I: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let array = downcast::<PrimitiveArray<I>>(array)?;
    let values = array.values().iter().enumerate();
    collect(array.len(), values.map(|(row, value)| if array.is_valid(row) { operation(*value) } else { Ok(None) }))
}
