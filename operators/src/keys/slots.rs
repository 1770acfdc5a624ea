//! Group ids and the hash index over them: what all stores of keys share.
//!
//! The keys themselves lie in the store, by group id; here is the index from hashes to ids, which ids are live and which are free.
//! What always holds: the index holds exactly the live ids that have a hash (the null key of a store has none); an id
//! lies between its home, which the top bits of its hash say, and the next empty place.
//!
//! The index is a table with linear probing and deletion by shifting back (Knuth, The Art of Computer Programming 3, 6.4). A place
//! holds half of the hash beside the id: few keys are compared in vain, and the table grows without looking at keys. Keys
//! are looked up a block at a time, so that the memory of many of them is on its way at once.

use std::hash::{BuildHasher, Hash};
use std::mem::size_of;

use arrow::buffer::NullBuffer;
use hashbrown::DefaultHashBuilder;

/// A store of keys by group id, as the index sees it.
pub(super) trait Keys {
    /// A key that is looked for.
    type Key<'a>: Copy;

    fn slots(&self) -> &Slots;
    fn slots_mut(&mut self) -> &mut Slots;
    fn hash(&self, key: &Self::Key<'_>) -> u64;
    /// Whether the group has this key.
    fn same(&self, group: u32, key: &Self::Key<'_>) -> bool;
    /// The hash of the key that a live group has.
    fn hash_of(&self, group: u32) -> u64;
    /// A new id that has this key, or the null key, and is not in the index yet.
    fn take(&mut self, key: Option<&Self::Key<'_>>) -> u32;

    /// Appends the ids of these keys; unknown keys get a new one.
    fn insert_each<'a>(
        &mut self,
        mut keys: impl ExactSizeIterator<Item = Option<Self::Key<'a>>>,
        groups: &mut Vec<u32>,
    ) {
        while keys.len() > 0 {
            let block = Block::<Self::Key<'a>>::read(self, &mut keys);
            groups.extend((0..block.rows).map(|row| match &block.keys[row] {
                None => self.insert_null(),
                Some(key) => block.hit(self, row, key).unwrap_or_else(|| self.insert(key, block.hashes[row])),
            }));
        }
    }

    /// Appends the ids of these keys, `absent` for unknown ones.
    fn find_each<'a>(
        &self,
        mut keys: impl ExactSizeIterator<Item = Option<Self::Key<'a>>>,
        absent: u32,
        groups: &mut Vec<u32>,
    ) {
        while keys.len() > 0 {
            let block = Block::<Self::Key<'a>>::read(self, &mut keys);
            groups.extend((0..block.rows).map(|row| {
                let found = match &block.keys[row] {
                    None => self.slots().null,
                    Some(key) => block.hit(self, row, key).or_else(|| self.find(key, block.hashes[row])),
                };
                found.unwrap_or(absent)
            }));
        }
    }

    fn find(&self, key: &Self::Key<'_>, hash: u64) -> Option<u32> {
        self.slots().find(hash, |group| self.same(group, key))
    }

    fn insert(&mut self, key: &Self::Key<'_>, hash: u64) -> u32 {
        if let Some(group) = self.find(key, hash) {
            return group;
        }
        let group = self.take(Some(key));
        self.slots_mut().index(group, hash);
        group
    }

    fn insert_null(&mut self) -> u32 {
        if let Some(group) = self.slots().null {
            return group;
        }
        let group = self.take(None);
        self.slots_mut().null = Some(group);
        group
    }

    /// Frees ids, those that are live, and tells each that it has freed. If most go, the index is made anew of those that stay.
    fn release_each(&mut self, groups: &[u32], mut freed: impl FnMut(&mut Self, u32)) {
        let most = self.slots().is_most(groups.len());
        for &group in groups {
            if self.slots().is_live(group) {
                let hash = (!most && self.slots().null != Some(group)).then(|| self.hash_of(group));
                self.slots_mut().release(group, hash);
                freed(self, group);
            }
        }
        if most {
            self.index_anew();
        }
    }

    fn index_anew(&mut self) {
        self.slots_mut().places.fill(0);
        for group in 0..self.slots().group_count() as u32 {
            if self.slots().is_indexed(group) {
                let hash = self.hash_of(group);
                self.slots_mut().put(place_of(group, hash));
            }
        }
    }
}

/// Keys that are looked up together.
const BLOCK: usize = 64;

/// Some keys, their hashes, and what stands at their homes.
struct Block<K> {
    keys: [Option<K>; BLOCK],
    hashes: [u64; BLOCK],
    homes: [u64; BLOCK],
    rows: usize,
}

impl<K: Copy> Block<K> {
    /// The next keys.
    #[inline]
    fn read<'a, S>(store: &S, keys: &mut impl Iterator<Item = Option<K>>) -> Self
    where
        S: Keys<Key<'a> = K> + ?Sized,
    {
        let mut block = Block { keys: [None; BLOCK], hashes: [0; BLOCK], homes: [0; BLOCK], rows: 0 };
        for key in keys.take(BLOCK) {
            block.hashes[block.rows] = key.as_ref().map_or(0, |key| store.hash(key));
            block.keys[block.rows] = key;
            block.rows += 1;
        }
        let slots = store.slots();
        for (home, hash) in block.homes.iter_mut().zip(&block.hashes).take(block.rows) {
            *home = slots.at_home(*hash);
        }
        block
    }

    /// The group at the key's home, if it has the key. What has come since the block was read has moved no id to another key.
    #[inline]
    fn hit<'a, S: Keys<Key<'a> = K> + ?Sized>(&self, store: &S, row: usize, key: &K) -> Option<u32> {
        let group = group_of(self.homes[row], self.hashes[row])?;
        store.same(group, key).then_some(group)
    }
}

/// The half of a place that is the hash's.
const HASH: u64 = 0xffff_ffff_0000_0000;

/// The id in a place, if the place has this hash.
#[inline]
fn group_of(place: u64, hash: u64) -> Option<u32> {
    // The lower half is the id and one: zero is an empty place.
    if (place ^ hash) & HASH == 0 { (place as u32).checked_sub(1) } else { None }
}

fn place_of(group: u32, hash: u64) -> u64 {
    hash & HASH | (u64::from(group) + 1)
}

/// Ids, the index over them, the free ones.
pub(super) struct Slots {
    /// A power of two of places, or none; at most three in four are taken.
    places: Vec<u64>,
    /// A hash's home is what is left of it when shifted by this.
    shift: u32,
    indexed: usize,
    /// The id of the null key, which is not in the index.
    null: Option<u32>,
    live: Vec<bool>,
    free: Vec<u32>,
    seed: DefaultHashBuilder,
}

/// Places of the smallest index.
const FEWEST: usize = 16;

/// An index of so many places for each id is not kept for others.
const WASTE: usize = 16;

impl Default for Slots {
    fn default() -> Self {
        Slots {
            places: Vec::new(),
            shift: 63,
            indexed: 0,
            null: None,
            live: Vec::new(),
            free: Vec::new(),
            seed: <_>::default(),
        }
    }
}

impl Slots {
    /// A hash with this table's random seed.
    #[inline]
    pub fn hash<T: Hash>(&self, key: T) -> u64 {
        self.seed.hash_one(key)
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// What stands at the home of a hash.
    #[inline]
    fn at_home(&self, hash: u64) -> u64 {
        self.places.get(self.home(hash)).copied().unwrap_or(0)
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    /// The live id with this hash for which `same` holds.
    #[inline]
    fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let place = *self.places.get(at)?;
            if place == 0 {
                return None;
            }
            if let Some(group) = group_of(place, hash)
                && same(group)
            {
                return Some(group);
            }
            at = self.next(at);
        }
    }

    /// The mask of a column of these groups' keys: none if no key is null.
    pub fn validity(&self, groups: &[u32]) -> Option<NullBuffer> {
        let null = self.null?;
        Some(groups.iter().map(|&group| group != null).collect())
    }

    /// Makes `group`, taken by [`Slots::take`], findable.
    fn index(&mut self, group: u32, hash: u64) {
        if (self.indexed + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.indexed += 1;
        self.put(place_of(group, hash));
    }

    fn put(&mut self, place: u64) {
        let mut at = self.home(place);
        while self.places[at] != 0 {
            at = self.next(at);
        }
        self.places[at] = place;
    }

    /// Twice as many places. Those in order of their homes stay in that order.
    fn grow(&mut self) {
        self.resize((self.places.len() * 2).max(FEWEST));
    }

    /// Makes room for so many ids more.
    pub fn reserve(&mut self, more: usize) {
        self.live.reserve(more);
        let size = ((self.indexed + more) * 4 / 3 + 1).next_power_of_two().max(FEWEST);
        if size > self.places.len() {
            self.resize(size);
        }
    }

    /// `size` is a power of two, greater than before.
    fn resize(&mut self, size: usize) {
        let before = std::mem::replace(&mut self.places, vec![0; size]);
        self.shift = 64 - size.trailing_zeros();
        before.into_iter().filter(|place| *place != 0).for_each(|place| self.put(place));
    }

    /// A new or reused id, live from now on.
    pub fn take(&mut self) -> u32 {
        if let Some(group) = self.free.pop() {
            self.live[group as usize] = true;
            return group;
        }
        let group = u32::try_from(self.live.len()).expect("a table's memory ends before four billion groups");
        self.live.push(true);
        group
    }

    /// Whether so many ids are so many that it costs less to index the others anew than to take these out of the index.
    fn is_most(&self, ids: usize) -> bool {
        ids * 4 >= self.places.len() && ids >= 2 * self.len().saturating_sub(ids)
    }

    /// Whether an id is live and not the null key's.
    fn is_indexed(&self, group: u32) -> bool {
        self.is_live(group) && self.null != Some(group)
    }

    /// Frees a live id and takes it out of the index, where it is under this hash; without one the index is made anew later.
    fn release(&mut self, group: u32, hash: Option<u64>) {
        if let Some(at) = hash.and_then(|hash| self.place(place_of(group, hash))) {
            self.empty(at);
        }
        match self.null == Some(group) {
            true => self.null = None,
            false => self.indexed -= 1,
        }
        self.live[group as usize] = false;
        self.free.push(group);
    }

    fn place(&self, wanted: u64) -> Option<usize> {
        let mut at = self.home(wanted);
        loop {
            match *self.places.get(at)? {
                0 => return None,
                place if place == wanted => return Some(at),
                _ => at = self.next(at),
            }
        }
    }

    /// Empties a place: those behind it that would rather stand there move up.
    fn empty(&mut self, mut hole: usize) {
        let mask = self.places.len() - 1;
        let mut at = self.next(hole);
        while self.places[at] != 0 {
            let from_home = at.wrapping_sub(self.home(self.places[at])) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.places[hole] = 0;
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

    /// Forgets all ids; the memory stays, unless most of it was not needed.
    pub fn clear(&mut self) {
        if self.places.len() > FEWEST && self.indexed * WASTE < self.places.len() {
            *self = Slots { seed: self.seed.clone(), ..Slots::default() };
            return;
        }
        self.places.fill(0);
        self.live.clear();
        self.free.clear();
        (self.indexed, self.null) = (0, None);
    }

    pub fn size_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u64>() + self.live.capacity() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes that share homes, and homes at the end of the table.
        #[test]
        fn the_index_is_a_map(steps in proptest::collection::vec((0u64..48, any::<bool>()), 1..200)) {
            let hash_of = |key: u64| ((key % 6) << 61) | ((key % 2) << 40) | (0xf000_0000_0000_0000 * (key % 3 / 2));
            let (mut slots, mut map) = (Slots::default(), BTreeMap::<u64, u32>::new());
            for (key, insert) in steps {
                let hash = hash_of(key);
                let keys: BTreeMap<u32, u64> = map.iter().map(|(key, group)| (*group, *key)).collect();
                prop_assert_eq!(slots.find(hash, |group| keys[&group] == key), map.get(&key).copied());
                match map.get(&key) {
                    None if insert => {
                        let group = slots.take();
                        slots.index(group, hash);
                        map.insert(key, group);
                    }
                    Some(&group) if !insert => {
                        slots.release(group, Some(hash));
                        map.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!((slots.len(), slots.indexed), (map.len(), map.len()));
            }
        }
    }
}
