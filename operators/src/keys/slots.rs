//! Group ids and the hash index over them: what all stores of keys share.
//!
//! The keys themselves lie in the store, by group id; here are their hashes, which ids are live and which are free.
//! What always holds: the index holds exactly the live ids that have a hash (the null key of a store has none).

use std::hash::BuildHasher;
use std::mem::size_of;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Ids, their hashes, the free ones.
#[derive(Default)]
pub(super) struct Slots {
    index: HashTable<u32>,
    hashes: Vec<u64>,
    live: Vec<bool>,
    free: Vec<u32>,
    seed: DefaultHashBuilder,
}

impl Slots {
    /// A hash with this table's random seed.
    #[inline]
    pub fn hash<T: std::hash::Hash>(&self, key: T) -> u64 {
        self.seed.hash_one(key)
    }

    /// The live id with this hash for which `same` holds.
    #[inline]
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.index.find(hash, |&group| self.hashes[group as usize] == hash && same(group)).copied()
    }

    /// Makes `group`, taken by [`Slots::take`], findable.
    pub fn index(&mut self, group: u32, hash: u64) {
        self.hashes[group as usize] = hash;
        let hashes = &self.hashes;
        self.index.insert_unique(hash, group, |&other| hashes[other as usize]);
    }

    /// A new or reused id, live from now on.
    pub fn take(&mut self) -> u32 {
        if let Some(group) = self.free.pop() {
            self.live[group as usize] = true;
            return group;
        }
        let group = u32::try_from(self.live.len()).expect("a table's memory ends before four billion groups");
        self.live.push(true);
        self.hashes.push(0);
        group
    }

    /// Frees a live id; false if it was not live.
    pub fn release(&mut self, group: u32) -> bool {
        if !self.is_live(group) {
            return false;
        }
        if let Ok(entry) = self.index.find_entry(self.hashes[group as usize], |&other| other == group) {
            entry.remove();
        }
        self.live[group as usize] = false;
        self.free.push(group);
        true
    }

    pub fn is_live(&self, group: u32) -> bool {
        self.live.get(group as usize).copied().unwrap_or(false)
    }

    pub fn len(&self) -> usize {
        self.live.len() - self.free.len()
    }

    pub fn group_count(&self) -> usize {
        self.live.len()
    }

    pub fn clear(&mut self) {
        self.index.clear();
        self.hashes.clear();
        self.live.clear();
        self.free.clear();
    }

    pub fn size_bytes(&self) -> usize {
        self.index.allocation_size()
            + self.hashes.capacity() * size_of::<u64>()
            + self.live.capacity()
            + self.free.capacity() * size_of::<u32>()
    }
}
