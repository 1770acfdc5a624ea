//! Keys of several fixed-width values: columns of numbers, dates, times and booleans, and structs of them, such as windows.
//!
//! In: columns whose leaves are of at most 8 bytes a value. Out: group ids. What always holds: a key is a row of 64-bit words, the same
//! number for all keys: the first says what is null, a bit for each column, struct and field; each leaf has one of the others, with its
//! value's bits (floats normalised first), or zero where it or a struct around it is null. So comparing keys is comparing words.

use std::hash::{Hash, Hasher};
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::ABSENT;
use super::fixed;
use super::normalize::normalize_floats;
use super::slots::{Keys, Slots};
use crate::Result;

/// Leaves of the widest key that is kept so. Bits of nulls fit in a word, too.
const WIDEST: usize = 8;

/// Whether keys of these columns are kept so.
pub(super) fn holds(types: &[DataType]) -> bool {
    all_leaves(types).is_some_and(|leaves| (1..=WIDEST).contains(&leaves))
        && types.iter().map(nodes).sum::<usize>() <= u64::BITS as usize
}

/// The leaves of columns of these types; none if one is not fixed-width.
fn all_leaves(types: &[DataType]) -> Option<usize> {
    types.iter().map(leaves).sum()
}

fn leaves(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::Struct(fields) if fields.is_empty() => None,
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        other => fixed::width(other).map(|_| 1),
    }
}

/// A column and all that is in it.
fn nodes(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => 1 + fields.iter().map(|field| nodes(field.data_type())).sum::<usize>(),
        _ => 1,
    }
}

/// See the module.
pub(super) struct WordKeys {
    slots: Slots,
    /// The keys by group id, one behind the other.
    words: Vec<u64>,
    /// Words of a key.
    stride: usize,
    types: Vec<DataType>,
    /// The keys of a chunk; reused from chunk to chunk.
    chunk: Vec<u64>,
}

/// A key that is looked for.
#[derive(Clone, Copy)]
pub(super) struct WordKey<'a>(&'a [u64]);

impl Hash for WordKey<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|word| state.write_u64(*word));
    }
}

impl WordKeys {
    /// An empty store for keys of these types, which it [`holds`].
    pub fn new(types: &[DataType]) -> Self {
        let stride = 1 + all_leaves(types).unwrap_or(0);
        WordKeys { slots: Slots::default(), words: Vec::new(), stride, types: types.to_vec(), chunk: Vec::new() }
    }

    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    pub fn lookup_or_insert(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.read(columns, rows, &mut chunk)?;
        self.insert_each(chunk.chunks_exact(self.stride).map(|key| Some(WordKey(key))), groups);
        self.chunk = chunk;
        Ok(())
    }

    pub fn lookup(&self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        let mut chunk = Vec::new();
        self.read(columns, rows, &mut chunk)?;
        self.find_each(chunk.chunks_exact(self.stride).map(|key| Some(WordKey(key))), ABSENT, groups);
        Ok(())
    }

    /// Sets `chunk` to the keys of the rows.
    fn read(&self, columns: &[ArrayRef], rows: usize, chunk: &mut Vec<u64>) -> Result<()> {
        chunk.clear();
        chunk.resize(rows * self.stride, 0);
        let mut writing = Writing { words: chunk, stride: self.stride, word: 0, bit: 0 };
        columns.iter().try_for_each(|column| writing.column(&normalize_floats(column)?, None))
    }

    pub fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
        self.words.reserve(more * self.stride);
    }

    pub fn remove(&mut self, groups: &[u32]) {
        self.release_each(groups, |_, _| ());
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.words.clear();
    }

    /// The values of live groups as columns of the original types.
    pub fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut reading = Reading { words: &self.words, stride: self.stride, groups, word: 0, bit: 0 };
        self.types.iter().map(|data_type| reading.column(data_type)).collect()
    }

    pub fn size_bytes(&self) -> usize {
        self.slots.size_bytes() + (self.words.capacity() + self.chunk.capacity()) * size_of::<u64>()
    }

    #[inline]
    fn key(&self, group: u32) -> WordKey<'_> {
        let start = group as usize * self.stride;
        WordKey(&self.words[start..start + self.stride])
    }
}

impl Keys for WordKeys {
    type Key<'a> = WordKey<'a>;

    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    #[inline]
    fn hash(&self, key: &WordKey<'_>) -> u64 {
        self.slots.hash(key)
    }

    #[inline]
    fn same(&self, group: u32, key: &WordKey<'_>) -> bool {
        // Word by word: there are too few for a call that compares memory.
        self.key(group).0.iter().zip(key.0).all(|(known, wanted)| known == wanted)
    }

    fn hash_of(&self, group: u32) -> u64 {
        self.slots.hash(self.key(group))
    }

    fn take(&mut self, key: Option<&WordKey<'_>>) -> u32 {
        let group = self.slots.take();
        self.words.resize(self.slots.group_count() * self.stride, 0);
        let start = group as usize * self.stride;
        if let Some(key) = key {
            self.words[start..start + self.stride].copy_from_slice(key.0);
        }
        group
    }
}

/// Columns on their way into keys, leaf by leaf.
struct Writing<'a> {
    /// The keys, zero where nothing is written yet.
    words: &'a mut [u64],
    stride: usize,
    /// The word written last.
    word: usize,
    /// The next bit of nulls.
    bit: u32,
}

impl Writing<'_> {
    /// Writes a column whose floats are normal; where a struct around it is null, by `outside`, its values do not count.
    fn column(&mut self, column: &ArrayRef, outside: Option<&NullBuffer>) -> Result<()> {
        let nulls = NullBuffer::union(outside, column.nulls());
        self.nulls(nulls.as_ref());
        match column.data_type() {
            DataType::Struct(_) => {
                column.as_struct().columns().iter().try_for_each(|field| self.column(field, nulls.as_ref()))?;
            }
            DataType::Boolean => self.values(nulls.as_ref(), column.as_boolean().values().iter().map(u64::from)),
            fixed_width => {
                let (values, nulls) = (fixed::parts(column)?.0, nulls.as_ref());
                match fixed::width(fixed_width) {
                    Some(1) => self.values(nulls, fixed::widened::<u8>(values)),
                    Some(2) => self.values(nulls, fixed::widened::<u16>(values)),
                    Some(4) => self.values(nulls, fixed::widened::<u32>(values)),
                    _ => self.values(nulls, fixed::widened::<u64>(values)),
                }
            }
        }
        Ok(())
    }

    fn nulls(&mut self, nulls: Option<&NullBuffer>) {
        let (bit, keys) = (1 << self.bit, self.words.chunks_exact_mut(self.stride));
        self.bit += 1;
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return };
        keys.zip(nulls).filter(|(_, valid)| !valid).for_each(|(key, _)| key[0] |= bit);
    }

    fn values(&mut self, nulls: Option<&NullBuffer>, values: impl Iterator<Item = u64>) {
        self.word += 1;
        let (word, keys) = (self.word, self.words.chunks_exact_mut(self.stride));
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => keys.zip(values).for_each(|(key, value)| key[word] = value),
            Some(nulls) => keys.zip(values).zip(nulls).for_each(|((key, value), valid)| {
                key[word] = if valid { value } else { 0 };
            }),
        }
    }
}

/// Keys on their way back into columns, leaf by leaf.
struct Reading<'a> {
    words: &'a [u64],
    stride: usize,
    groups: &'a [u32],
    /// The word read last.
    word: usize,
    /// The next bit of nulls.
    bit: u32,
}

impl<'a> Reading<'a> {
    fn column(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        let nulls = self.nulls();
        match data_type {
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| self.column(field.data_type())).collect::<Result<Vec<_>>>()?;
                Ok(Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?))
            }
            DataType::Boolean => {
                let values = self.leaf().map(|word| word != 0).collect::<Vec<_>>();
                Ok(Arc::new(BooleanArray::new(values.into(), nulls)))
            }
            fixed_width => fixed::of_bits(fixed_width, self.leaf(), nulls),
        }
    }

    fn nulls(&mut self) -> Option<NullBuffer> {
        let bit = 1 << self.bit;
        self.bit += 1;
        let valid = |word: u64| word & bit == 0;
        let any = self.at(0).any(|word| !valid(word));
        any.then(|| self.at(0).map(valid).collect())
    }

    fn leaf(&mut self) -> impl Iterator<Item = u64> + use<'a> {
        self.word += 1;
        self.at(self.word)
    }

    /// This word of each key.
    fn at(&self, word: usize) -> impl Iterator<Item = u64> + use<'a> {
        let (words, stride) = (self.words, self.stride);
        self.groups.iter().map(move |&group| words[group as usize * stride + word])
    }
}
