//! The rows one side of a stream-stream join keeps, found by key group.
//!
//! ```text
//!  group ─► head ─► slot ⇄ slot ⇄ slot          a chain per key
//!                    │
//!                    └► (block, row)             rows stay in columns, in the blocks they came in
//! ```
//!
//! In: batches with a group per row. Out: the slots of a group, and rows of any slots as a batch. What always holds: appending
//! and removing cost a constant per row, amortised: small blocks are merged like the digits of a binary counter (a stream of
//! one-row chunks does not end in one-row blocks), and blocks that are mostly dead are rewritten.

use std::mem::size_of;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::chunk::MAX_ROWS;
use crate::keys::ABSENT;
use crate::marks::{DIRTY, Marks};
use crate::{Error, Result};

/// A row's book-keeping. 32 bytes a row.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The row's name in checkpoints, of which none is ever used for two rows of one key group.
    id: u64,
    /// [`ABSENT`] once the row is gone.
    block: u32,
    row: u32,
    group: u32,
    next: u32,
    previous: u32,
    matched: bool,
    /// Listed in an expiry queue, which frees it; the number must not be reused before.
    queued: bool,
    /// The key group under which a checkpoint may have the row.
    saved: Option<u8>,
}

/// What checkpoints keep of rows besides their columns.
pub(super) struct About {
    /// Their names.
    pub ids: UInt64Array,
    /// Whether they have matched.
    pub matched: BooleanArray,
}

/// A row's book-keeping while it is elsewhere.
pub(super) struct Kept {
    /// Its name in checkpoints.
    pub id: u64,
    /// Whether it has matched.
    pub matched: bool,
    /// The key group under which a checkpoint may have it.
    pub saved: u8,
    /// Whether a checkpoint has it as it is.
    pub marks: u8,
}

struct Block {
    rows: RecordBatch,
    /// The slot of each row; [`ABSENT`] once it is gone.
    slots: Vec<u32>,
    live: usize,
    bytes: usize,
}

/// Rows of one side.
pub(super) struct Store {
    schema: SchemaRef,
    blocks: Vec<Option<Block>>,
    free_blocks: Vec<u32>,
    /// Blocks that still grow by merging, larger ones first.
    small: Vec<u32>,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    heads: Vec<u32>,
    /// The next id; ids of the two sides of a join are odd and even.
    next_id: u64,
    /// Rows that a checkpoint does not have as they are.
    marks: Marks,
    /// Whether it matters that a row has matched.
    keeps_matches: bool,
    /// Key group and id of rows that a checkpoint may have and are gone.
    gone: Vec<(u8, u64)>,
    live: usize,
    bytes: usize,
    /// Where each block stands in the batch being gathered.
    local: Vec<u32>,
}

impl Store {
    /// No rows. Their ids will be `side`, `side` + 2, ...; `keeps_matches`: whether it matters that a row has matched.
    pub(super) fn new(schema: SchemaRef, side: usize, keeps_matches: bool) -> Self {
        Store {
            schema,
            blocks: Vec::new(),
            free_blocks: Vec::new(),
            small: Vec::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            heads: Vec::new(),
            next_id: side as u64,
            marks: Marks::default(),
            keeps_matches,
            gone: Vec::new(),
            live: 0,
            bytes: 0,
            local: Vec::new(),
        }
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn size_bytes(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Slot>() + self.heads.capacity() * size_of::<u32>();
        self.bytes + slots + self.marks.size_bytes()
    }

    /// Adds rows; sets `slots` to where they are.
    pub(super) fn append(&mut self, rows: RecordBatch, groups: &[u32], slots: &mut Vec<u32>) -> Result<()> {
        slots.clear();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        slots.extend(groups.iter().map(|group| self.link(*group)));
        self.marks.note_all(slots, DIRTY);
        self.hold(rows, slots)
    }

    /// Adds rows that were here before, with what is `kept` of each; sets `slots` to where they are.
    pub(super) fn put_back(
        &mut self,
        rows: RecordBatch,
        groups: &[u32],
        kept: impl Iterator<Item = Kept>,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        slots.clear();
        let next_id = self.next_id;
        slots.extend(groups.iter().map(|group| self.link(*group)));
        self.next_id = next_id;
        for (slot, Kept { id, matched, saved, marks }) in slots.iter().zip(kept) {
            let held = &mut self.slots[*slot as usize];
            (held.id, held.matched, held.saved) = (id, matched, Some(saved));
            self.marks.put_back(*slot, marks);
        }
        self.hold(rows, slots)
    }

    /// Rows whose slots are known are here from now on.
    fn hold(&mut self, rows: RecordBatch, slots: &[u32]) -> Result<()> {
        self.live += slots.len();
        let block = self.put(rows, slots.to_vec());
        self.small.push(block);
        self.merge()
    }

    /// A store without rows that goes on where this one is.
    pub(super) fn emptied(&mut self) -> Store {
        Store {
            next_id: self.next_id,
            marks: self.marks.renewed(),
            keeps_matches: self.keeps_matches,
            gone: std::mem::take(&mut self.gone),
            ..Store::new(self.schema.clone(), 0, false)
        }
    }

    /// The slots of all rows, older ones first.
    pub(super) fn live_slots(&self) -> Vec<u32> {
        let mut live: Vec<u32> = (0..self.slots.len() as u32).filter(|slot| self.is_live(*slot)).collect();
        live.sort_unstable_by_key(|slot| self.slots[*slot as usize].id);
        live
    }

    /// What checkpoints do not have of a row.
    pub(super) fn marks_of(&self, slot: u32) -> u8 {
        self.marks.of(slot)
    }

    /// A slot at the head of its group's chain.
    fn link(&mut self, group: u32) -> u32 {
        let slot = self.free_slots.pop().unwrap_or(self.slots.len() as u32);
        let new = Slot {
            id: self.next_id,
            block: ABSENT,
            row: 0,
            group,
            next: ABSENT,
            previous: ABSENT,
            matched: false,
            queued: false,
            saved: None,
        };
        self.next_id += 2;
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = new,
            None => self.slots.push(new),
        }
        self.put_first(slot);
        slot
    }

    /// Puts a slot that is in no chain at the head of its group's.
    fn put_first(&mut self, slot: u32) {
        let group = self.slots[slot as usize].group;
        if group == ABSENT {
            return;
        }
        if self.heads.len() <= group as usize {
            self.heads.resize(group as usize + 1, ABSENT);
        }
        let next = std::mem::replace(&mut self.heads[group as usize], slot);
        self.slots[slot as usize].next = next;
        if next != ABSENT {
            self.slots[next as usize].previous = slot;
        }
    }

    /// Makes all chains anew.
    fn link_anew(&mut self) {
        self.heads.clear();
        for slot in self.live_slots() {
            let held = &mut self.slots[slot as usize];
            (held.next, held.previous) = (ABSENT, ABSENT);
            self.put_first(slot);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { group, next, previous, .. } = self.slots[slot as usize];
        if next != ABSENT {
            self.slots[next as usize].previous = previous;
        }
        if previous != ABSENT {
            self.slots[previous as usize].next = next;
        } else if group != ABSENT {
            self.heads[group as usize] = next;
        }
    }

    /// A block of these rows; their slots learn where they are.
    fn put(&mut self, rows: RecordBatch, slots: Vec<u32>) -> u32 {
        let id = self.free_blocks.pop().unwrap_or(self.blocks.len() as u32);
        for (row, slot) in slots.iter().enumerate() {
            let slot = &mut self.slots[*slot as usize];
            (slot.block, slot.row) = (id, row as u32);
        }
        let bytes = rows.get_array_memory_size() + slots.capacity() * size_of::<u32>();
        self.bytes += bytes;
        let block = Some(Block { rows, live: slots.len(), slots, bytes });
        match self.blocks.get_mut(id as usize) {
            Some(free) => *free = block,
            None => self.blocks.push(block),
        }
        id
    }

    /// Takes a block out.
    fn lift(&mut self, id: u32) -> Option<Block> {
        let block = self.blocks.get_mut(id as usize)?.take()?;
        self.free_blocks.push(id);
        self.bytes -= block.bytes;
        Some(block)
    }

    /// Merges the last small blocks while they are of similar size.
    fn merge(&mut self) -> Result<()> {
        while let [.., before, last] = self.small[..] {
            let (size, other) = (self.block_len(last), self.block_len(before));
            if size * 2 < other || size + other > MAX_ROWS {
                break;
            }
            self.small.truncate(self.small.len() - 2);
            let merged = [self.lift(before), self.lift(last)].into_iter().flatten();
            let parts = merged.map(Block::compacted).collect::<Result<Vec<_>>>()?;
            let rows = concat_batches(&self.schema, parts.iter().map(|(rows, _)| rows))?;
            let slots: Vec<u32> = parts.into_iter().flat_map(|(_, slots)| slots).collect();
            let block = self.put(rows, slots);
            self.small.push(block);
        }
        // What is large enough needs no more merging; what is left stays ordered by size.
        let blocks = &self.blocks;
        let len = |id: &u32| blocks.get(*id as usize).and_then(Option::as_ref).map_or(0, |block| block.slots.len());
        self.small.retain(|id| len(id) < MAX_ROWS / 2);
        Ok(())
    }

    fn block_len(&self, id: u32) -> usize {
        self.blocks.get(id as usize).and_then(Option::as_ref).map_or(0, |block| block.slots.len())
    }

    /// The first slot of a group's chain, or [`ABSENT`].
    pub(super) fn head(&self, group: u32) -> u32 {
        self.heads.get(group as usize).copied().unwrap_or(ABSENT)
    }

    /// The slot after this one in its chain, or [`ABSENT`].
    pub(super) fn next(&self, slot: u32) -> u32 {
        self.slots[slot as usize].next
    }

    pub(super) fn group(&self, slot: u32) -> u32 {
        self.slots[slot as usize].group
    }

    pub(super) fn is_matched(&self, slot: u32) -> bool {
        self.slots[slot as usize].matched
    }

    pub(super) fn set_matched(&mut self, slot: u32) {
        if self.keeps_matches && !std::mem::replace(&mut self.slots[slot as usize].matched, true) {
            self.marks.note([slot], DIRTY);
        }
    }

    /// Remembers changes from now on.
    pub(super) fn track(&mut self) {
        self.marks.track();
    }

    /// A row just appended is one that a checkpoint has, under this key group and id.
    pub(super) fn set_saved(&mut self, slot: u32, group: u8, id: u64) {
        self.next_id = self.next_id.max(id.saturating_add(2));
        let slot = &mut self.slots[slot as usize];
        (slot.id, slot.saved) = (id, Some(group));
    }

    /// The live rows that have changed since the last call: their slots.
    pub(super) fn take_dirty(&mut self) -> Vec<u32> {
        let mut dirty = self.marks.take_dirty();
        dirty.retain(|slot| self.is_live(*slot));
        dirty
    }

    /// Key group and id of the rows that a checkpoint may have and that have gone since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<(u8, u64)> {
        std::mem::take(&mut self.gone)
    }

    /// A checkpoint may have these rows from now on, under these key groups.
    pub(super) fn note_saved(&mut self, slots: &[u32], groups: &[u8]) {
        slots.iter().zip(groups).for_each(|(slot, group)| self.slots[*slot as usize].saved = Some(*group));
    }

    /// What checkpoints keep besides the row: its id, and whether it has matched.
    pub(super) fn about(&self, slots: &[u32]) -> About {
        let of = |slot: &u32| &self.slots[*slot as usize];
        About {
            ids: UInt64Array::from_iter_values(slots.iter().map(|slot| of(slot).id)),
            matched: slots.iter().map(|slot| Some(of(slot).matched)).collect(),
        }
    }

    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.slots[slot as usize].block != ABSENT
    }

    /// Says that an expiry queue lists this slot: only [`Store::free_each`] makes its number free again.
    pub(super) fn set_queued(&mut self, slot: u32) {
        self.slots[slot as usize].queued = true;
    }

    /// Forgets the rows of these live slots.
    pub(super) fn remove_each(&mut self, slots: &[u32]) -> Result<()> {
        slots.iter().try_for_each(|slot| self.remove(*slot))
    }

    /// The expiry queue has let go of these slots: their rows, if they are still here, are forgotten, and their numbers are free.
    pub(super) fn free_each(&mut self, slots: &[u32]) -> Result<()> {
        if !self.is_most(slots.iter().filter(|slot| self.is_live(**slot)).count()) {
            return slots.iter().try_for_each(|slot| self.free(*slot));
        }
        for slot in slots {
            if self.is_live(*slot) {
                self.bury(*slot);
            }
            self.free_slots.push(*slot);
        }
        self.link_anew();
        (0..self.blocks.len() as u32).try_for_each(|block| self.tidy(block))
    }

    /// Whether so many rows are so many that it costs less to chain the others anew than to take these out of their chains.
    fn is_most(&self, rows: usize) -> bool {
        rows >= 3 * self.live.saturating_sub(rows) && rows * 4 >= self.slots.len().max(self.heads.len())
    }

    fn remove(&mut self, slot: u32) -> Result<()> {
        self.unlink(slot);
        let block = self.bury(slot);
        if !self.slots[slot as usize].queued {
            self.free_slots.push(slot);
        }
        self.tidy(block)
    }

    /// The row of a live slot is dead, wherever it is still chained; says in which block.
    fn bury(&mut self, slot: u32) -> u32 {
        let held = &mut self.slots[slot as usize];
        let (block, row) = (std::mem::replace(&mut held.block, ABSENT), held.row);
        self.gone.extend(held.saved.filter(|_| self.marks.tracks()).map(|group| (group, held.id)));
        self.live -= 1;
        if let Some(held) = self.blocks.get_mut(block as usize).and_then(Option::as_mut) {
            held.slots[row as usize] = ABSENT;
            held.live -= 1;
        }
        block
    }

    /// Drops a block without live rows, and the dead rows of one that has few.
    fn tidy(&mut self, id: u32) -> Result<()> {
        let Some(block) = self.blocks.get(id as usize).and_then(Option::as_ref) else { return Ok(()) };
        match (block.live, block.slots.len()) {
            (0, _) => {
                self.small.retain(|small| *small != id);
                self.lift(id);
                Ok(())
            }
            (live, len) if live * 4 < len => self.rewrite(id),
            _ => Ok(()),
        }
    }

    fn free(&mut self, slot: u32) -> Result<()> {
        if self.is_live(slot) {
            self.slots[slot as usize].queued = false;
            return self.remove(slot);
        }
        self.free_slots.push(slot);
        Ok(())
    }

    /// Drops a block's dead rows.
    fn rewrite(&mut self, id: u32) -> Result<()> {
        let Some(block) = self.lift(id) else { return Ok(()) };
        let (rows, slots) = block.compacted()?;
        // The number just given back is the next to be taken, so `small` needs no change.
        self.put(rows, slots);
        Ok(())
    }

    /// The rows of these live slots, in this order.
    pub(super) fn gather(&mut self, slots: &[u32]) -> Result<RecordBatch> {
        self.local.resize(self.blocks.len(), ABSENT);
        let mut used: Vec<u32> = Vec::new();
        let mut places = Vec::with_capacity(slots.len());
        for slot in slots {
            let Slot { block, row, .. } = self.slots[*slot as usize];
            let local = self.local.get_mut(block as usize).ok_or_else(gone)?;
            if *local == ABSENT {
                *local = used.len() as u32;
                used.push(block);
            }
            places.push((*local as usize, row as usize));
        }
        used.iter().for_each(|block| self.local[*block as usize] = ABSENT);
        let rows = |id: &u32| self.blocks[*id as usize].as_ref().map(|block| &block.rows);
        let blocks: Vec<&RecordBatch> = used.iter().map(rows).collect::<Option<_>>().ok_or_else(gone)?;
        match blocks.as_slice() {
            [] => Ok(RecordBatch::new_empty(self.schema.clone())),
            [single] => {
                let rows = UInt32Array::from_iter_values(places.iter().map(|(_, row)| *row as u32));
                Ok(take_record_batch(single, &rows)?)
            }
            several => Ok(interleave_record_batch(several, &places)?),
        }
    }

    /// All rows, block by block.
    pub(super) fn all(&self) -> Result<Vec<(RecordBatch, About)>> {
        let blocks = self.blocks.iter().flatten().filter(|block| block.live > 0);
        blocks
            .map(|block| {
                let live = BooleanBuffer::collect_bool(block.slots.len(), |row| block.slots[row] != ABSENT);
                let slots: Vec<u32> = block.slots.iter().copied().filter(|slot| *slot != ABSENT).collect();
                Ok((filter_record_batch(&block.rows, &BooleanArray::new(live, None))?, self.about(&slots)))
            })
            .collect()
    }
}

impl Block {
    /// The live rows and their slots.
    fn compacted(self) -> Result<(RecordBatch, Vec<u32>)> {
        if self.live == self.slots.len() {
            return Ok((self.rows, self.slots));
        }
        let live = BooleanBuffer::collect_bool(self.slots.len(), |row| self.slots[row] != ABSENT);
        let rows = filter_record_batch(&self.rows, &BooleanArray::new(live, None))?;
        Ok((rows, self.slots.into_iter().filter(|slot| *slot != ABSENT).collect()))
    }
}

fn gone() -> Error {
    Error::Internal("a stored row is gone".into())
}
