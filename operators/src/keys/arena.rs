//! Keys of bytes: one string or binary column, or the encoded rows of many columns.
//!
//! In: byte strings. Out: group ids. What always holds: a key of up to 12 bytes lies in its group's view, a longer one at a place in
//! the arena that the view names and nothing else points to; bytes of removed groups are given back when they outweigh the
//! live ones.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, BinaryType, ByteArrayType, DataType, LargeBinaryType, LargeUtf8Type, Utf8Type,
};

use super::ABSENT;
use super::slots::{Keys, Slots};
use crate::{Error, Result};

/// Whether a single column of this type is kept as its bytes.
pub(super) fn holds(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary)
}

/// Keys up to this length are compared without a look at the arena.
const INLINE: usize = 12;
/// Where a view has the key's length.
const LENGTH: u32 = 96;

/// A key's length in the upper 32 bits; below it the key itself, padded with zeros, or if it is longer its first four
/// bytes and below them where it starts in the arena.
type View = u128;

/// A key that is looked for. The view of a long one names no place.
#[derive(Clone, Copy, Default)]
pub(super) struct ByteKey<'a> {
    view: View,
    bytes: &'a [u8],
}

impl<'a> ByteKey<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        let head = if bytes.len() <= INLINE { short(bytes) } else { u128::from(word(bytes)) << 64 };
        ByteKey { view: (bytes.len() as u128) << LENGTH | head, bytes }
    }

    /// The key that lies here in a column's bytes. A short one is cut out of the 16 bytes that begin with it, whatever its length.
    #[inline]
    fn within(column: &'a [u8], start: usize, end: usize) -> Self {
        let bytes = &column[start..end];
        match column[start..].first_chunk::<16>() {
            Some(block) if bytes.len() <= INLINE => {
                let head = u128::from_le_bytes(*block) & ((1 << (8 * bytes.len())) - 1);
                ByteKey { view: (bytes.len() as u128) << LENGTH | head, bytes }
            }
            _ => ByteKey::new(bytes),
        }
    }

    fn is_long(&self) -> bool {
        self.bytes.len() > INLINE
    }
}

/// The first four bytes of at least four.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |first| u32::from_le_bytes(*first))
}

/// Up to 12 bytes as a number, the first the lowest. Two loads that may overlap cover all lengths from 4 on.
#[inline]
fn short(bytes: &[u8]) -> u128 {
    let length = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<4>()) {
        let rest = u64::from(u32::from_le_bytes(*last)) >> (8 * (INLINE - length));
        return u128::from(u64::from_le_bytes(*first)) | u128::from(rest) << 64;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let rest = u64::from(u32::from_le_bytes(*last)) >> (8 * (8 - length));
        return u128::from(u64::from(u32::from_le_bytes(*first)) | rest << 32);
    }
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn length(view: View) -> usize {
    (view >> LENGTH) as usize
}

/// Byte strings by group id.
#[derive(Default)]
pub(super) struct Arena {
    slots: Slots,
    views: Vec<View>,
    /// The keys that do not fit in a view.
    bytes: Vec<u8>,
    dead: usize,
}

/// The arena is compacted only when at least this many bytes are dead, and they are the majority.
const COMPACT_FROM: usize = 64 * 1024;

impl Arena {
    /// The bytes of a view that is too long to hold them.
    #[inline]
    fn far(&self, view: View) -> &[u8] {
        let start = view as u64 as usize;
        &self.bytes[start..start + length(view)]
    }

    fn append_to(&self, group: u32, out: &mut Vec<u8>) {
        let view = self.views[group as usize];
        match view.to_le_bytes().get(..length(view)).filter(|near| near.len() <= INLINE) {
            Some(near) => out.extend_from_slice(near),
            None => out.extend_from_slice(self.far(view)),
        }
    }

    /// The keys of live groups one behind the other, and where each ends.
    pub fn gather(&self, groups: &[u32]) -> (Vec<u8>, Vec<usize>) {
        let total = groups.iter().map(|&group| length(self.views[group as usize])).sum();
        let (mut bytes, mut ends) = (Vec::with_capacity(total), Vec::with_capacity(groups.len()));
        for &group in groups {
            self.append_to(group, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    /// Makes room for so many keys more.
    pub fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
        self.views.reserve(more);
    }

    pub fn remove(&mut self, groups: &[u32]) {
        self.release_each(groups, |arena, group| {
            let length = length(std::mem::take(&mut arena.views[group as usize]));
            arena.dead += if length > INLINE { length } else { 0 };
        });
        if self.dead > COMPACT_FROM && self.dead > self.bytes.len() / 2 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut kept = Vec::with_capacity(self.bytes.len() - self.dead);
        for view in self.views.iter_mut().filter(|view| length(**view) > INLINE) {
            let (start, length) = (*view as u64 as usize, length(*view));
            *view = *view >> 64 << 64 | kept.len() as u128;
            kept.extend_from_slice(&self.bytes[start..start + length]);
        }
        self.bytes = kept;
        self.dead = 0;
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.views.clear();
        self.bytes.clear();
        self.dead = 0;
    }

    pub fn size_bytes(&self) -> usize {
        self.slots.size_bytes() + self.bytes.capacity() + self.views.capacity() * size_of::<View>()
    }
}

impl Keys for Arena {
    type Key<'a> = ByteKey<'a>;

    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    #[inline]
    fn hash(&self, key: &ByteKey<'_>) -> u64 {
        if key.is_long() { self.slots.hash(key.bytes) } else { self.slots.hash(key.view) }
    }

    #[inline]
    fn same(&self, group: u32, key: &ByteKey<'_>) -> bool {
        let view = self.views[group as usize];
        if key.is_long() { (view ^ key.view) >> 64 == 0 && self.far(view) == key.bytes } else { view == key.view }
    }

    fn hash_of(&self, group: u32) -> u64 {
        let view = self.views[group as usize];
        if length(view) <= INLINE { self.slots.hash(view) } else { self.slots.hash(self.far(view)) }
    }

    fn take(&mut self, key: Option<&ByteKey<'_>>) -> u32 {
        let key = key.copied().unwrap_or_default();
        let start = self.bytes.len();
        let view = if key.is_long() { key.view | start as u128 } else { key.view };
        self.bytes.extend_from_slice(if key.is_long() { key.bytes } else { &[] });
        let group = self.slots.take();
        self.views.resize(self.slots.group_count(), 0);
        self.views[group as usize] = view;
        group
    }
}

/// Keys of one string or binary column.
pub(super) struct ByteKeys {
    arena: Arena,
    data_type: DataType,
}

impl ByteKeys {
    pub fn new(data_type: &DataType) -> Self {
        ByteKeys { arena: Arena::default(), data_type: data_type.clone() }
    }

    pub fn slots(&self) -> &Slots {
        self.arena.slots()
    }

    /// The groups of the column's values in these rows.
    pub fn lookup_or_insert(
        &mut self,
        column: &ArrayRef,
        rows: impl ExactSizeIterator<Item = usize>,
        groups: &mut Vec<u32>,
    ) {
        let arena = &mut self.arena;
        match self.data_type {
            DataType::Utf8 => arena.insert_each(keys(column.as_bytes::<Utf8Type>(), rows), groups),
            DataType::LargeUtf8 => arena.insert_each(keys(column.as_bytes::<LargeUtf8Type>(), rows), groups),
            DataType::Binary => arena.insert_each(keys(column.as_bytes::<BinaryType>(), rows), groups),
            _ => arena.insert_each(keys(column.as_bytes::<LargeBinaryType>(), rows), groups),
        }
    }

    pub fn lookup(&self, column: &ArrayRef, groups: &mut Vec<u32>) {
        let (arena, rows) = (&self.arena, 0..column.len());
        match self.data_type {
            DataType::Utf8 => arena.find_each(keys(column.as_bytes::<Utf8Type>(), rows), ABSENT, groups),
            DataType::LargeUtf8 => arena.find_each(keys(column.as_bytes::<LargeUtf8Type>(), rows), ABSENT, groups),
            DataType::Binary => arena.find_each(keys(column.as_bytes::<BinaryType>(), rows), ABSENT, groups),
            _ => arena.find_each(keys(column.as_bytes::<LargeBinaryType>(), rows), ABSENT, groups),
        }
    }

    pub fn reserve(&mut self, more: usize) {
        self.arena.reserve(more);
    }

    pub fn remove(&mut self, groups: &[u32]) {
        self.arena.remove(groups);
    }

    pub fn clear(&mut self) {
        self.arena.clear();
    }

    /// The values of live groups as a column of the original type.
    pub fn column(&self, groups: &[u32]) -> Result<ArrayRef> {
        match self.data_type {
            DataType::Utf8 => self.typed::<Utf8Type>(groups),
            DataType::LargeUtf8 => self.typed::<LargeUtf8Type>(groups),
            DataType::Binary => self.typed::<BinaryType>(groups),
            _ => self.typed::<LargeBinaryType>(groups),
        }
    }

    fn typed<T: ByteArrayType>(&self, groups: &[u32]) -> Result<ArrayRef> {
        let (bytes, ends) = self.arena.gather(groups);
        let end = |end: &usize| {
            T::Offset::from_usize(*end).ok_or_else(|| Error::Internal(format!("keys of {end} bytes in one column")))
        };
        let offsets =
            std::iter::once(Ok(T::Offset::default())).chain(ends.iter().map(end)).collect::<Result<Vec<_>>>()?;
        let nulls = self.arena.slots.validity(groups);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(GenericByteArray::<T>::try_new(offsets, bytes.into(), nulls)?))
    }

    pub fn size_bytes(&self) -> usize {
        self.arena.size_bytes()
    }
}

/// The values of a column in these rows.
fn keys<T: ByteArrayType>(
    column: &GenericByteArray<T>,
    rows: impl ExactSizeIterator<Item = usize>,
) -> impl ExactSizeIterator<Item = Option<ByteKey<'_>>> {
    let (values, offsets, nulls) = (column.value_data(), column.value_offsets(), column.nulls());
    rows.map(move |row| {
        let is_valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
        is_valid.then(|| ByteKey::within(values, offsets[row].as_usize(), offsets[row + 1].as_usize()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_hold_keys_of_all_lengths() {
        let text = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut arena = Arena::default();
        let mut groups = Vec::new();
        arena.insert_each((0..text.len() + 1).map(|length| Some(ByteKey::new(&text[..length]))), &mut groups);
        // Wherever a key lies in its column, it is the same one.
        for (start, end) in (0..text.len()).flat_map(|start| (start..=text.len()).map(move |end| (start, end))) {
            let (within, alone) = (ByteKey::within(text, start, end), ByteKey::new(&text[start..end]));
            assert_eq!((within.view, within.bytes), (alone.view, alone.bytes));
        }
        let (bytes, ends) = arena.gather(&groups);
        let mut start = 0;
        for (length, end) in ends.into_iter().enumerate() {
            assert_eq!(&bytes[start..end], &text[..length]);
            start = end;
        }
        // Zeros at the end count.
        assert!(!arena.same(groups[3], &ByteKey::new(b"abc\0")));
        assert!(!arena.same(groups[13], &ByteKey::new(b"abcdefghijklM")));
    }
}
