//! Keys of one fixed-width column (integers, dates, timestamps, floats): the value's bits are the key.
//!
//! In: one column of 1, 2, 4 or 8 bytes a value. What always holds: a key is the value's bits widened to 64, floats
//! normalised first, so comparing keys is comparing numbers.

use std::mem::size_of;

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::ABSENT;
use super::normalize::normalize_floats;
use super::slots::Slots;
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
    null: Option<u32>,
    data_type: DataType,
    width: usize,
}

impl FixedKeys {
    pub fn new(data_type: &DataType) -> Result<Self> {
        let width = width(data_type).ok_or_else(|| Error::Internal(format!("{data_type} is not fixed-width")))?;
        Ok(FixedKeys { slots: Slots::default(), values: Vec::new(), null: None, data_type: data_type.clone(), width })
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    pub fn lookup_or_insert(&mut self, column: &ArrayRef, groups: &mut Vec<u32>) -> Result<()> {
        let data = normalize_floats(column)?.to_data();
        match self.width {
            1 => self.insert_all::<u8>(&data, groups),
            2 => self.insert_all::<u16>(&data, groups),
            4 => self.insert_all::<u32>(&data, groups),
            _ => self.insert_all::<u64>(&data, groups),
        }
        Ok(())
    }

    pub fn lookup(&self, column: &ArrayRef, groups: &mut Vec<u32>) -> Result<()> {
        let data = normalize_floats(column)?.to_data();
        match self.width {
            1 => self.find_all::<u8>(&data, groups),
            2 => self.find_all::<u16>(&data, groups),
            4 => self.find_all::<u32>(&data, groups),
            _ => self.find_all::<u64>(&data, groups),
        }
        Ok(())
    }

    fn insert_all<T: Bits>(&mut self, data: &ArrayData, groups: &mut Vec<u32>) {
        let values = &data.buffer::<T>(0)[..data.len()];
        match data.nulls() {
            None => groups.extend(values.iter().map(|value| self.insert(value.widen()))),
            Some(nulls) => groups.extend(
                values.iter().zip(nulls).map(
                    |(value, valid)| {
                        if valid { self.insert(value.widen()) } else { self.insert_null() }
                    },
                ),
            ),
        }
    }

    fn find_all<T: Bits>(&self, data: &ArrayData, groups: &mut Vec<u32>) {
        let values = &data.buffer::<T>(0)[..data.len()];
        let find = |value: &T| self.find(value.widen()).unwrap_or(ABSENT);
        match data.nulls() {
            None => groups.extend(values.iter().map(find)),
            Some(nulls) => groups.extend(
                values.iter().zip(nulls).map(
                    |(value, valid)| {
                        if valid { find(value) } else { self.null.unwrap_or(ABSENT) }
                    },
                ),
            ),
        }
    }

    #[inline]
    fn find(&self, value: u64) -> Option<u32> {
        self.slots.find(self.slots.hash(value), |group| self.values[group as usize] == value)
    }

    #[inline]
    fn insert(&mut self, value: u64) -> u32 {
        let hash = self.slots.hash(value);
        if let Some(group) = self.slots.find(hash, |group| self.values[group as usize] == value) {
            return group;
        }
        let group = self.take(value);
        self.slots.index(group, hash);
        group
    }

    fn insert_null(&mut self) -> u32 {
        if let Some(group) = self.null {
            return group;
        }
        let group = self.take(0);
        self.null = Some(group);
        group
    }

    fn take(&mut self, value: u64) -> u32 {
        let group = self.slots.take();
        self.values.resize(self.slots.group_count(), 0);
        self.values[group as usize] = value;
        group
    }

    pub fn remove(&mut self, group: u32) {
        if self.null == Some(group) {
            self.null = None;
        }
        self.slots.release(group);
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.values.clear();
        self.null = None;
    }

    /// The values of live groups as a column of the original type.
    pub fn column(&self, groups: &[u32]) -> Result<ArrayRef> {
        let buffer = match self.width {
            1 => self.buffer::<u8>(groups),
            2 => self.buffer::<u16>(groups),
            4 => self.buffer::<u32>(groups),
            _ => self.buffer::<u64>(groups),
        };
        let nulls = self.null.map(|null| groups.iter().map(|&group| group != null).collect::<NullBuffer>());
        let data = ArrayData::builder(self.data_type.clone()).len(groups.len()).add_buffer(buffer).nulls(nulls);
        Ok(make_array(data.build()?))
    }

    fn buffer<T: Bits>(&self, groups: &[u32]) -> Buffer {
        groups.iter().map(|&group| T::narrow(self.values[group as usize])).collect::<Vec<T>>().into()
    }

    pub fn size_bytes(&self) -> usize {
        self.slots.size_bytes() + self.values.capacity() * size_of::<u64>()
    }
}

/// The bits of a value, widened without loss.
trait Bits: ArrowNativeType {
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
