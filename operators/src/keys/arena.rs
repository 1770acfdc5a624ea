//! Keys of bytes: one string or binary column, or the encoded rows of many columns, in one arena.
//!
//! In: byte strings. Out: group ids. What always holds: the bytes of a live group are `arena[start..start + length]`
//! and nothing else points there; bytes of removed groups are given back when they outweigh the live ones.

use std::mem::size_of;

use arrow::array::{ArrayRef, AsArray, GenericByteArray, GenericByteBuilder};
use arrow::compute::cast;
use arrow::datatypes::{BinaryType, ByteArrayType, DataType, LargeBinaryType, LargeUtf8Type, Utf8Type};

use super::ABSENT;
use super::slots::Slots;
use crate::Result;

/// Whether a single column of this type is kept as its bytes.
pub(super) fn holds(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary)
}

/// Byte strings by group id.
#[derive(Default)]
pub(super) struct Arena {
    slots: Slots,
    bytes: Vec<u8>,
    /// Where each group's bytes start, and how many they are.
    spans: Vec<(usize, u32)>,
    dead: usize,
}

/// The arena is compacted only when at least this many bytes are dead, and they are the majority.
const COMPACT_FROM: usize = 64 * 1024;

impl Arena {
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    pub fn get(&self, group: u32) -> &[u8] {
        let (start, length) = self.spans[group as usize];
        &self.bytes[start..start + length as usize]
    }

    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.slots.find(self.slots.hash(key), |group| self.get(group) == key)
    }

    #[inline]
    pub fn insert(&mut self, key: &[u8]) -> u32 {
        let hash = self.slots.hash(key);
        if let Some(group) = self.slots.find(hash, |group| self.get(group) == key) {
            return group;
        }
        let group = self.take(key);
        self.slots.index(group, hash);
        group
    }

    /// A new id that holds `key` but cannot be found by it.
    pub fn take(&mut self, key: &[u8]) -> u32 {
        let group = self.slots.take();
        self.spans.resize(self.slots.group_count(), (0, 0));
        self.spans[group as usize] = (self.bytes.len(), key.len() as u32);
        self.bytes.extend_from_slice(key);
        group
    }

    pub fn remove(&mut self, group: u32) {
        if self.slots.release(group) {
            self.dead += self.spans[group as usize].1 as usize;
            self.spans[group as usize] = (0, 0);
            if self.dead > COMPACT_FROM && self.dead > self.bytes.len() / 2 {
                self.compact();
            }
        }
    }

    fn compact(&mut self) {
        let mut kept = Vec::with_capacity(self.bytes.len() - self.dead);
        for span in &mut self.spans {
            let start = kept.len();
            kept.extend_from_slice(&self.bytes[span.0..span.0 + span.1 as usize]);
            span.0 = start;
        }
        self.bytes = kept;
        self.dead = 0;
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.bytes.clear();
        self.spans.clear();
        self.dead = 0;
    }

    pub fn size_bytes(&self) -> usize {
        self.slots.size_bytes() + self.bytes.capacity() + self.spans.capacity() * size_of::<(usize, u32)>()
    }
}

/// Keys of one string or binary column.
pub(super) struct ByteKeys {
    arena: Arena,
    null: Option<u32>,
    data_type: DataType,
}

impl ByteKeys {
    pub fn new(data_type: &DataType) -> Self {
        ByteKeys { arena: Arena::default(), null: None, data_type: data_type.clone() }
    }

    pub fn slots(&self) -> &Slots {
        self.arena.slots()
    }

    pub fn lookup_or_insert(&mut self, column: &ArrayRef, groups: &mut Vec<u32>) -> Result<()> {
        match self.data_type {
            DataType::Utf8 => self.insert_all(column.as_bytes::<Utf8Type>(), groups),
            DataType::LargeUtf8 => self.insert_all(column.as_bytes::<LargeUtf8Type>(), groups),
            DataType::Binary => self.insert_all(column.as_bytes::<BinaryType>(), groups),
            _ => self.insert_all(column.as_bytes::<LargeBinaryType>(), groups),
        }
        Ok(())
    }

    pub fn lookup(&self, column: &ArrayRef, groups: &mut Vec<u32>) -> Result<()> {
        match self.data_type {
            DataType::Utf8 => self.find_all(column.as_bytes::<Utf8Type>(), groups),
            DataType::LargeUtf8 => self.find_all(column.as_bytes::<LargeUtf8Type>(), groups),
            DataType::Binary => self.find_all(column.as_bytes::<BinaryType>(), groups),
            _ => self.find_all(column.as_bytes::<LargeBinaryType>(), groups),
        }
        Ok(())
    }

    fn insert_all<T: ByteArrayType>(&mut self, column: &GenericByteArray<T>, groups: &mut Vec<u32>) {
        groups.extend(column.iter().map(|value| match value {
            Some(value) => self.arena.insert(value.as_ref()),
            None => self.insert_null(),
        }));
    }

    fn find_all<T: ByteArrayType>(&self, column: &GenericByteArray<T>, groups: &mut Vec<u32>) {
        groups.extend(column.iter().map(|value| match value {
            Some(value) => self.arena.find(value.as_ref()).unwrap_or(ABSENT),
            None => self.null.unwrap_or(ABSENT),
        }));
    }

    fn insert_null(&mut self) -> u32 {
        let arena = &mut self.arena;
        *self.null.get_or_insert_with(|| arena.take(&[]))
    }

    pub fn remove(&mut self, group: u32) {
        if self.null == Some(group) {
            self.null = None;
        }
        self.arena.remove(group);
    }

    pub fn clear(&mut self) {
        self.arena.clear();
        self.null = None;
    }

    /// The values of live groups as a column of the original type.
    pub fn column(&self, groups: &[u32]) -> Result<ArrayRef> {
        let total = groups.iter().map(|&group| self.arena.get(group).len()).sum();
        let mut builder = GenericByteBuilder::<LargeBinaryType>::with_capacity(groups.len(), total);
        for &group in groups {
            builder.append_option((self.null != Some(group)).then(|| self.arena.get(group)));
        }
        Ok(cast(&builder.finish(), &self.data_type)?)
    }

    pub fn size_bytes(&self) -> usize {
        self.arena.size_bytes()
    }
}
