//! Keys of keyed state: rows of key columns become dense group ids, and stable hashes that say which worker owns a key.
//!
//! In: key columns of any Arrow types, a chunk at a time. Out: one `u32` per row, the row's *group id*, by which all
//! state of an operator is indexed; or one `u64` per row, the same in every process ([`Hashing`], [`route()`]).
//!
//! What always holds: equal keys have equal ids, where null equals null, NaN equals NaN and -0.0 equals 0.0 (Spark's
//! grouping). Ids are below [`KeyTable::group_count`] and stay put until the group is removed; a removed id is given out
//! again. Hashes of the table are seeded at random per process (nobody can craft colliding keys), the others
//! are fixed.

mod arena;
mod fixed;
mod groups;
mod normalize;
mod route;
mod rows;
mod slots;
#[cfg(test)]
mod tests;
mod words;

use std::mem::size_of;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};

use crate::{Error, Result};
use arena::ByteKeys;
use fixed::FixedKeys;
use rows::RowKeys;
use slots::Keys as _;
use words::WordKeys;

pub use groups::{Hashing, KEY_GROUPS, key_group, owner};
pub use normalize::{contains_floats, normalize_floats};
pub use route::{SPARK_SEED, route, xxhash64_bytes, xxhash64_int, xxhash64_long};
pub use rows::RowCodec;

/// The id that stands for "no such group".
pub const ABSENT: u32 = u32::MAX;

/// Rows `rows` of the columns.
pub(crate) fn pick(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| Ok(take(column, rows, None)?)).collect()
}

/// Maps rows of key columns to dense group ids.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, StringArray};
/// use arrow::datatypes::{DataType, Field};
/// use thalweg_operators::keys::KeyTable;
///
/// let mut table = KeyTable::new(&[Arc::new(Field::new("k", DataType::Utf8, true))]).unwrap();
/// let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a")]));
/// let mut groups = Vec::new();
/// table.lookup_or_insert(&[column], 3, &mut groups).unwrap();
/// assert_eq!(groups, [0, 1, 0]);
/// ```
pub struct KeyTable {
    store: Store,
    types: Vec<DataType>,
}

/// One way to keep keys for each shape of them.
enum Store {
    /// No key column: one group for everything.
    Global {
        present: bool,
    },
    Fixed(FixedKeys),
    Bytes(ByteKeys),
    Words(WordKeys),
    Rows(RowKeys),
}

impl KeyTable {
    /// An empty table for keys of these columns' types; no columns means one group for all rows.
    ///
    /// # Errors
    /// A type that has no equality, such as a union of unsupported types.
    pub fn new(fields: &[FieldRef]) -> Result<Self> {
        let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        let store = match types.as_slice() {
            [] => Store::Global { present: false },
            [single] if fixed::width(single).is_some() => Store::Fixed(FixedKeys::new(single)?),
            [single] if arena::holds(single) => Store::Bytes(ByteKeys::new(single)),
            several if words::holds(several) => Store::Words(WordKeys::new(several)),
            _ => Store::Rows(RowKeys::new(&types)?),
        };
        Ok(KeyTable { store, types })
    }

    /// Makes room for so many keys more, of which it is known that they are new: they are then inserted without moving others.
    pub fn reserve(&mut self, more: usize) {
        match &mut self.store {
            Store::Global { .. } => {}
            Store::Fixed(keys) => keys.reserve(more),
            Store::Bytes(keys) => keys.reserve(more),
            Store::Words(keys) => keys.reserve(more),
            Store::Rows(keys) => keys.reserve(more),
        }
    }

    /// Sets `groups` to the group id of each of the `rows` rows of `columns`; unknown keys get a new id.
    ///
    /// # Errors
    /// Columns that are not of the types given to [`KeyTable::new`], or of another length.
    pub fn lookup_or_insert(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        self.check(columns, rows)?;
        groups.clear();
        groups.reserve(rows);
        match &mut self.store {
            Store::Global { present } => {
                *present |= rows > 0;
                groups.resize(rows, 0);
                Ok(())
            }
            Store::Fixed(keys) => keys.lookup_or_insert(&columns[0], groups),
            Store::Bytes(keys) => {
                keys.lookup_or_insert(&columns[0], 0..rows, groups);
                Ok(())
            }
            Store::Words(keys) => keys.lookup_or_insert(columns, rows, groups),
            Store::Rows(keys) => keys.lookup_or_insert(columns, groups),
        }
    }

    /// As [`KeyTable::lookup_or_insert`], of those of the rows that have these numbers. Keys of one text or binary column are not copied for it.
    ///
    /// # Errors
    /// As [`KeyTable::lookup_or_insert`].
    pub(crate) fn lookup_or_insert_some(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        picks: &UInt32Array,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        self.check(columns, rows)?;
        let Store::Bytes(keys) = &mut self.store else {
            return self.lookup_or_insert(&pick(columns, picks)?, picks.len(), groups);
        };
        groups.clear();
        groups.reserve(picks.len());
        keys.lookup_or_insert(&columns[0], picks.values().iter().map(|row| *row as usize), groups);
        Ok(())
    }

    /// Sets `groups` to the group id of each row, [`ABSENT`] where the key is unknown.
    ///
    /// # Errors
    /// As [`KeyTable::lookup_or_insert`].
    pub fn lookup(&self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        self.check(columns, rows)?;
        groups.clear();
        groups.reserve(rows);
        match &self.store {
            Store::Global { present } => {
                groups.resize(rows, if *present { 0 } else { ABSENT });
                Ok(())
            }
            Store::Fixed(keys) => keys.lookup(&columns[0], groups),
            Store::Bytes(keys) => {
                keys.lookup(&columns[0], groups);
                Ok(())
            }
            Store::Words(keys) => keys.lookup(columns, rows, groups),
            Store::Rows(keys) => keys.lookup(columns, groups),
        }
    }

    /// Sets `groups` as [`KeyTable::lookup`] does; the columns of the rows whose key is unknown, if there are any.
    ///
    /// # Errors
    /// As [`KeyTable::lookup`].
    pub(crate) fn unknown(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<Option<Vec<ArrayRef>>> {
        self.lookup(columns, rows, groups)?;
        let unknown = (0..).zip(groups.iter()).filter(|(_, group)| **group == ABSENT);
        let unknown = UInt32Array::from_iter_values(unknown.map(|(row, _)| row));
        if unknown.is_empty() { Ok(None) } else { pick(columns, &unknown).map(Some) }
    }

    /// The key columns of these groups, in their original types. Every id must be live.
    ///
    /// # Errors
    /// An id that was never given out or was removed.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        if let Some(dead) = groups.iter().find(|&&group| !self.is_live(group)) {
            return Err(Error::Internal(format!("group {dead} has no key")));
        }
        match &self.store {
            Store::Global { .. } => Ok(Vec::new()),
            Store::Fixed(keys) => Ok(vec![keys.column(groups)?]),
            Store::Bytes(keys) => Ok(vec![keys.column(groups)?]),
            Store::Words(keys) => keys.columns(groups),
            Store::Rows(keys) => keys.columns(groups),
        }
    }

    /// Forgets these groups; ids that are not live are ignored. The ids are reused, so state indexed by them must be
    /// reset before the next insertion.
    pub fn remove(&mut self, groups: &[u32]) {
        match &mut self.store {
            Store::Global { present } => *present &= !groups.contains(&0),
            Store::Fixed(keys) => keys.remove(groups),
            Store::Bytes(keys) => keys.remove(groups),
            Store::Words(keys) => keys.remove(groups),
            Store::Rows(keys) => keys.remove(groups),
        }
    }

    /// Forgets the groups for which `keep` is false and returns their ids, for the state that hangs on them.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) -> Vec<u32> {
        let evicted: Vec<u32> = self.groups().filter(|&group| !keep(group)).collect();
        self.remove(&evicted);
        evicted
    }

    /// Forgets every group.
    pub fn clear(&mut self) {
        match &mut self.store {
            Store::Global { present } => *present = false,
            Store::Fixed(keys) => keys.clear(),
            Store::Bytes(keys) => keys.clear(),
            Store::Words(keys) => keys.clear(),
            Store::Rows(keys) => keys.clear(),
        }
    }

    /// The number of live groups.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Global { present } => usize::from(*present),
            store => store.slots().map_or(0, slots::Slots::len),
        }
    }

    /// Whether no group is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids given out so far are below this; state indexed by group needs this many places.
    pub fn group_count(&self) -> usize {
        match &self.store {
            Store::Global { .. } => 1,
            store => store.slots().map_or(0, slots::Slots::group_count),
        }
    }

    /// Whether this id stands for a key.
    pub fn is_live(&self, group: u32) -> bool {
        match &self.store {
            Store::Global { present } => *present && group == 0,
            store => store.slots().is_some_and(|slots| slots.is_live(group)),
        }
    }

    /// The live ids in ascending order.
    pub fn groups(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.group_count() as u32).filter(|&group| self.is_live(group))
    }

    /// The key columns' types.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Memory held, in bytes.
    pub fn size_bytes(&self) -> usize {
        let store = match &self.store {
            Store::Global { .. } => 0,
            Store::Fixed(keys) => keys.size_bytes(),
            Store::Bytes(keys) => keys.size_bytes(),
            Store::Words(keys) => keys.size_bytes(),
            Store::Rows(keys) => keys.size_bytes(),
        };
        size_of::<Self>() + store
    }

    fn check(&self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        if columns.len() != self.types.len() || columns.iter().any(|column| column.len() != rows) {
            return Err(Error::Internal(format!("key columns are not {} of {rows} rows", self.types.len())));
        }
        match columns.iter().zip(&self.types).find(|(column, expected)| !column.data_type().equals_datatype(expected)) {
            None => Ok(()),
            Some((column, expected)) => {
                Err(Error::Internal(format!("a key column is {} instead of {expected}", column.data_type())))
            }
        }
    }
}

impl Store {
    fn slots(&self) -> Option<&slots::Slots> {
        match self {
            Store::Global { .. } => None,
            Store::Fixed(keys) => Some(keys.slots()),
            Store::Bytes(keys) => Some(keys.slots()),
            Store::Words(keys) => Some(keys.slots()),
            Store::Rows(keys) => Some(keys.slots()),
        }
    }
}
