//! Keys of one fixed-width column (integers, dates, timestamps, floats): the value's bits are the key.
//!
//! In: one column of 1, 2, 4 or 8 bytes a value. What always holds: a key is the value's bits widened to 64, floats
//! normalised first, so comparing keys is comparing numbers.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, downcast_primitive, downcast_primitive_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::ABSENT;
use super::normalize::normalize_floats;
use super::slots::{Keys, Slots};
use crate::{Error, Result};

/// Bytes of a value of this type, if this store can hold it.
pub(super) fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => None,
        other => other.primitive_width().filter(|width| *width <= 8 && other.is_primitive()),
    }
}

/// See the module.
pub(super) struct FixedKeys {
    slots: Slots,
    values: Vec<u64>,
    data_type: DataType,
    width: usize,
}

impl FixedKeys {
    pub fn new(data_type: &DataType) -> Result<Self> {
        let width = width(data_type).ok_or_else(|| not_fixed(data_type))?;
        Ok(FixedKeys { slots: Slots::default(), values: Vec::new(), data_type: data_type.clone(), width })
    }

    pub fn lookup_or_insert(&mut self, column: &ArrayRef, groups: &mut Vec<u32>) -> Result<()> {
        let column = normalize_floats(column)?;
        let (values, nulls) = parts(&column)?;
        match self.width {
            1 => self.insert_each(bits::<u8>(values, nulls), groups),
            2 => self.insert_each(bits::<u16>(values, nulls), groups),
            4 => self.insert_each(bits::<u32>(values, nulls), groups),
            _ => self.insert_each(bits::<u64>(values, nulls), groups),
        }
        Ok(())
    }

    pub fn lookup(&self, column: &ArrayRef, groups: &mut Vec<u32>) -> Result<()> {
        let column = normalize_floats(column)?;
        let (values, nulls) = parts(&column)?;
        match self.width {
            1 => self.find_each(bits::<u8>(values, nulls), ABSENT, groups),
            2 => self.find_each(bits::<u16>(values, nulls), ABSENT, groups),
            4 => self.find_each(bits::<u32>(values, nulls), ABSENT, groups),
            _ => self.find_each(bits::<u64>(values, nulls), ABSENT, groups),
        }
        Ok(())
    }

    pub fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
        self.values.reserve(more);
    }

    pub fn remove(&mut self, groups: &[u32]) {
        self.release_each(groups, |_, _| ());
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.values.clear();
    }

    /// The values of live groups as a column of the original type.
    pub fn column(&self, groups: &[u32]) -> Result<ArrayRef> {
        let bits = groups.iter().map(|&group| self.values[group as usize]);
        of_bits(&self.data_type, bits, self.slots.validity(groups))
    }

    pub fn size_bytes(&self) -> usize {
        self.slots.size_bytes() + self.values.capacity() * size_of::<u64>()
    }
}

impl Keys for FixedKeys {
    type Key<'a> = u64;

    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    #[inline]
    fn hash(&self, key: &u64) -> u64 {
        self.slots.hash(*key)
    }

    #[inline]
    fn same(&self, group: u32, key: &u64) -> bool {
        self.values[group as usize] == *key
    }

    fn hash_of(&self, group: u32) -> u64 {
        self.slots.hash(self.values[group as usize])
    }

    fn take(&mut self, key: Option<&u64>) -> u32 {
        let group = self.slots.take();
        self.values.resize(self.slots.group_count(), 0);
        self.values[group as usize] = key.copied().unwrap_or(0);
        group
    }
}

/// A column's values as they lie in memory, and which are null.
pub(super) fn parts(column: &ArrayRef) -> Result<(&Buffer, Option<&NullBuffer>)> {
    downcast_primitive_array!(
        column => Ok((column.values().inner(), column.nulls())),
        other => Err(not_fixed(other))
    )
}

/// The column of this type whose values have these bits.
///
/// # Errors
/// A type that is not fixed-width.
pub(super) fn of_bits(
    data_type: &DataType,
    bits: impl Iterator<Item = u64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let buffer = match width(data_type) {
        Some(1) => buffer::<u8>(bits),
        Some(2) => buffer::<u16>(bits),
        Some(4) => buffer::<u32>(bits),
        _ => buffer::<u64>(bits),
    };
    macro_rules! of_type {
        ($primitive:ty) => {
            of_parts::<$primitive>(buffer, nulls, data_type)
        };
    }
    downcast_primitive!(data_type => (of_type), _ => Err(not_fixed(data_type)))
}

fn buffer<T: Bits>(bits: impl Iterator<Item = u64>) -> Buffer {
    bits.map(T::narrow).collect::<Vec<T>>().into()
}

/// The column of these values.
fn of_parts<T: ArrowPrimitiveType>(
    values: Buffer,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let array = PrimitiveArray::<T>::try_new(values.into(), nulls)?;
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

fn not_fixed(data_type: &DataType) -> Error {
    Error::Internal(format!("{data_type} is not fixed-width"))
}

/// The values of a column.
fn bits<T: Bits>(values: &Buffer, nulls: Option<&NullBuffer>) -> impl ExactSizeIterator<Item = Option<u64>> {
    let values = widened::<T>(values).enumerate();
    values.map(move |(row, value)| nulls.is_none_or(|nulls| nulls.is_valid(row)).then_some(value))
}

/// The bits of values, those of nulls too.
pub(super) fn widened<T: Bits>(values: &Buffer) -> impl ExactSizeIterator<Item = u64> {
    values.typed_data::<T>().iter().map(|value| value.widen())
}

/// The bits of a value, widened without loss.
pub(super) trait Bits: ArrowNativeType {
    fn widen(self) -> u64;
    fn narrow(bits: u64) -> Self;
}

macro_rules! bits {
    ($($native:ty),*) => {$(
        impl Bits for $native {
            #[inline]
            fn widen(self) -> u64 {
                u64::from(self)
            }
            #[inline]
            fn narrow(bits: u64) -> Self {
                bits as $native
            }
        }
    )*};
}

bits!(u8, u16, u32, u64);
