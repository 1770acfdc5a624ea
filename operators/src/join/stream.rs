//! Stream × stream: each side keeps its rows until the watermark proves that they can match nothing any more.
//!
//! ```text
//!  rows of a side ─► late? dropped ─► pre-filter ─► probe the other side's store ─► stored on their own side
//!                                       │ fails: unmatched at once      │ matches leave at once
//!  watermark ─► rows whose eviction time has passed leave the store; unmatched ones of an outer side are printed
//! ```
//!
//! In: rows of two inputs, routed by their keys. Out: joined rows (left columns first); for a left semi join the left rows.
//! As a changelog, an outer join prints rows without match at once and takes them back when their first match comes; what the
//! watermark evicts stays printed. What always holds: a pair is joined exactly once, when its later row arrives; so the order in which the rows of an epoch
//! arrive does not matter. Evicting costs in proportion to the rows evicted.
//!
//! Spark's semi join does depend on order, and we follow it: the rows of an epoch are processed when the epoch closes, the
//! right ones first, and right rows that the new watermark has already passed do not meet left rows of the same epoch.

use std::cell::RefCell;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int8Array, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};

use super::keys::SideKeys;
use super::spec::{LEFT, RIGHT};
use super::store::Store;
use super::{Condition, holds, joined, nullable, with_nulls};
use crate::change::{INSERT, RETRACT, append};
use crate::chunk::MAX_ROWS;
use crate::cold::Cold;
use crate::cold::rows::in_pieces;
use crate::driver::{Logic, StateMetrics};
use crate::expiry::Expiry;
use crate::keys::{ABSENT, Hashing, KeyTable, pick};
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Result};

mod cold;
mod state;

pub use super::spec::{Evict, JoinKind, JoinSide, StreamJoin};

/// The operator that joins two streams.
pub struct Join {
    kind: JoinKind,
    condition: Option<Condition>,
    joined: SchemaRef,
    changelog: bool,
    holdback: i64,
    index: KeyTable,
    sides: [Side; 2],
    watermarks: [i64; 2],
    hashing: Hashing,
    /// Rows of a semi join's epoch in progress.
    waiting: [Vec<RecordBatch>; 2],
    /// The keys for whose rows there is no memory.
    cold: Option<cold::ColdSides>,
    metrics: StateMetrics,
    groups: Vec<u32>,
    slots: Vec<u32>,
}

struct Side {
    input: JoinSide,
    keys: SideKeys,
    store: Store,
    expiry: Expiry,
    /// Rows of this side that are null, as state has them beside those of the other; as many as were asked for so far.
    absent: RefCell<Option<ArrayRef>>,
}

impl Join {
    /// An operator with two inputs, left and right, routed by the columns of `on`.
    ///
    /// # Errors
    /// Keys that have no equality, are no columns, or are of different types on both sides.
    pub fn new(join: StreamJoin) -> Result<Self> {
        let null_safe: Vec<bool> = join.on.iter().map(|on| on.null_safe).collect();
        let left = SideKeys::new(join.on.iter().map(|on| on.left).collect(), null_safe.clone());
        let right = SideKeys::new(join.on.iter().map(|on| on.right).collect(), null_safe);
        let index = left.table(&join.sides[LEFT].schema)?;
        if index.types() != right.table(&join.sides[RIGHT].schema)?.types() {
            return Err(Error::Internal("join keys are of different types on both sides".into()));
        }
        let [left_input, right_input] = join.sides;
        Ok(Join {
            kind: join.kind,
            condition: join.condition,
            joined: nullable(&join.joined),
            changelog: join.changelog,
            holdback: join.holdback,
            index,
            sides: [Side::new(left_input, left, LEFT, join.kind), Side::new(right_input, right, RIGHT, join.kind)],
            watermarks: [NO_WATERMARK; 2],
            hashing: Hashing::default(),
            waiting: [Vec::new(), Vec::new()],
            cold: None,
            metrics: StateMetrics::default(),
            groups: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// Drops late rows, and sorts out those that fail their side's own condition.
    fn admit(&mut self, port: usize, rows: RecordBatch, out: &mut Output, origin: Origin) -> Result<RecordBatch> {
        let input = &self.sides[port].input;
        let rows = match &input.event_time {
            None => rows,
            Some(event_time) => {
                let (rows, dropped) = out.drop_late(port, rows, event_time, self.watermarks[port])?;
                self.metrics.rows_dropped += dropped;
                rows
            }
        };
        let Some(prefilter) = &input.prefilter else { return Ok(rows) };
        let pass = holds(prefilter, &rows)?;
        if pass.true_count() == pass.len() {
            return Ok(rows);
        }
        if self.kind.preserves(port) {
            let fail = BooleanArray::new(!pass.values(), None);
            let alone = filter_record_batch(&rows, &fail)?;
            out.chunk(origin.chunk(self.alone(&alone, port, INSERT)?));
        }
        Ok(filter_record_batch(&rows, &pass)?)
    }

    /// Joins admitted rows with the other side's, and stores those that may still match.
    fn absorb(&mut self, port: usize, rows: RecordBatch, keep: Keep, emit: &mut Emit<'_>) -> Result<()> {
        let rows = self.without_unmatchable(port, rows)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.warm(port, &rows)?;
        let mut groups = std::mem::take(&mut self.groups);
        self.sides[port].keys.insert(&mut self.index, &rows, &mut groups)?;
        self.cold.iter_mut().for_each(|cold| cold.note(&groups));
        let matched = self.probe(port, &rows, &groups, emit)?;
        if self.changelog && self.kind.preserves(port) && matched.contains(&false) {
            let unmatched = BooleanArray::from(matched.iter().map(|matched| !matched).collect::<Vec<_>>());
            emit.rows(self.alone(&filter_record_batch(&rows, &unmatched)?, port, INSERT)?);
        }
        self.store(port, rows, &groups, &matched, keep)?;
        self.groups = groups;
        Ok(())
    }

    /// Result rows as they leave: with their sign, if the result is a changelog.
    fn signed(&self, rows: RecordBatch, sign: i8) -> Result<RecordBatch> {
        match self.changelog {
            true => append(&rows, Int8Array::from_value(sign, rows.num_rows())),
            false => Ok(rows),
        }
    }

    /// Rows of a side without match.
    fn alone(&self, rows: &RecordBatch, port: usize, sign: i8) -> Result<RecordBatch> {
        self.signed(with_nulls(&self.joined, rows, port == LEFT)?, sign)
    }

    /// Rows with null keys match nothing; only an outer side keeps them, to print them.
    fn without_unmatchable(&self, port: usize, rows: RecordBatch) -> Result<RecordBatch> {
        match self.sides[port].keys.matchable(&rows) {
            Some(matchable) if !self.kind.preserves(port) => {
                Ok(filter_record_batch(&rows, &BooleanArray::new(matchable.into_inner(), None))?)
            }
            _ => Ok(rows),
        }
    }

    /// Prints the matches of new rows with stored rows of the other side; says which of the new rows matched.
    fn probe(&mut self, port: usize, rows: &RecordBatch, groups: &[u32], emit: &mut Emit<'_>) -> Result<Vec<bool>> {
        // A left row of a semi join is printed once.
        let once = self.kind == JoinKind::LeftSemi && port == RIGHT;
        let mut probe = Probe { port, rows, new: Vec::new(), stored: Vec::new(), matched: vec![false; groups.len()] };
        let mut used = Vec::new();
        for (row, group) in groups.iter().enumerate().filter(|(_, group)| **group != ABSENT) {
            let mut slot = self.sides[1 - port].store.head(*group);
            while slot != ABSENT {
                if !(once && self.sides[1 - port].store.is_matched(slot)) {
                    probe.new.push(row as u32);
                    probe.stored.push(slot);
                }
                slot = self.sides[1 - port].store.next(slot);
                if probe.new.len() >= MAX_ROWS {
                    self.flush(&mut probe, &mut used, emit)?;
                }
            }
        }
        self.flush(&mut probe, &mut used, emit)?;
        self.finish_semi(&probe, used, emit)?;
        Ok(probe.matched)
    }

    /// Joins the candidate pairs collected so far, prints those that match and marks their rows.
    fn flush(&mut self, probe: &mut Probe<'_>, used: &mut Vec<u32>, emit: &mut Emit<'_>) -> Result<()> {
        if probe.new.is_empty() {
            return Ok(());
        }
        let semi = self.kind == JoinKind::LeftSemi;
        let (new, stored) = (std::mem::take(&mut probe.new), std::mem::take(&mut probe.stored));
        let mut hits = BooleanBuffer::new_set(new.len());
        if self.condition.is_some() || !semi {
            let picked = pick(probe.rows.columns(), &UInt32Array::from(new.clone()))?;
            let other = self.sides[1 - probe.port].store.gather(&stored)?;
            let mut pairs = joined(&self.joined, picked, other.columns().to_vec(), probe.port == LEFT)?;
            if let Some(condition) = &self.condition {
                let mask = holds(condition, &pairs)?;
                hits = mask.values().clone();
                pairs = if semi { pairs } else { filter_record_batch(&pairs, &mask)? };
            }
            if !semi {
                emit.rows(self.signed(pairs, INSERT)?);
            }
        }
        let mut first_matches = Vec::new();
        let take_back = self.changelog && self.kind.preserves(1 - probe.port);
        let other = &mut self.sides[1 - probe.port].store;
        for pair in hits.set_indices() {
            probe.matched[new[pair] as usize] = true;
            let slot = stored[pair];
            if semi && probe.port == RIGHT && !other.is_matched(slot) {
                used.push(slot);
            }
            if take_back && !other.is_matched(slot) {
                first_matches.push(slot);
            }
            if !semi || probe.port == RIGHT {
                other.set_matched(slot);
            }
        }
        self.take_back(1 - probe.port, &first_matches, emit)
    }

    /// Stored rows that were printed without match have found one.
    fn take_back(&mut self, side: usize, slots: &[u32], emit: &mut Emit<'_>) -> Result<()> {
        for part in slots.chunks(MAX_ROWS) {
            let rows = self.sides[side].store.gather(part)?;
            emit.rows(self.alone(&rows, side, RETRACT)?);
        }
        Ok(())
    }

    /// A semi join prints left rows: new ones that matched, or stored ones, which are then no longer needed.
    fn finish_semi(&mut self, probe: &Probe<'_>, used: Vec<u32>, emit: &mut Emit<'_>) -> Result<()> {
        if self.kind != JoinKind::LeftSemi {
            return Ok(());
        }
        if probe.port == LEFT {
            emit.rows(filter_record_batch(probe.rows, &BooleanArray::from(probe.matched.clone()))?);
            return Ok(());
        }
        for part in used.chunks(MAX_ROWS) {
            emit.rows(self.sides[LEFT].store.gather(part)?);
        }
        // Their keys stay: the new rows have them too.
        self.forget(LEFT, &used, Store::remove_each)?;
        Ok(())
    }

    /// Stores new rows that may still match something, and forgets the keys of the others if nobody has them.
    fn store(&mut self, port: usize, rows: RecordBatch, groups: &[u32], matched: &[bool], keep: Keep) -> Result<()> {
        // A changelog has printed rows whose keys are null; nothing will take them back.
        let settled = |row: usize| self.changelog && groups[row] == ABSENT;
        let used = |row: usize| self.kind == JoinKind::LeftSemi && port == LEFT && matched[row] || settled(row);
        let times = self.sides[port].input.evict.as_ref().map(|evict| (evict.value)(&rows)).transpose()?;
        let too_old = |row: usize| match (keep, &times) {
            (Keep::After(threshold), Some(times)) => times.is_valid(row) && times.value(row) <= threshold,
            _ => false,
        };
        let (kept, left_out): (Vec<u32>, Vec<u32>) =
            (0..groups.len() as u32).partition(|row| !used(*row as usize) && !too_old(*row as usize));
        let rows = if left_out.is_empty() { rows } else { take_record_batch(&rows, &UInt32Array::from(kept.clone()))? };
        let side = &mut self.sides[port];
        let stored: Vec<u32> = kept.iter().map(|row| groups[*row as usize]).collect();
        side.store.append(rows, &stored, &mut self.slots)?;
        side.note(&self.slots, &kept, matched, times.as_ref());
        self.metrics.rows_updated += kept.len() as u64;
        self.forget_keys(left_out.iter().map(|row| groups[*row as usize]).collect());
        Ok(())
    }

    /// Takes the inputs' watermarks. Where all is judged by what was fixed for the epoch, both sides are by the earlier of
    /// their event times', as in Spark: behind another join one is held back.
    fn set_watermarks(&mut self, watermarks: &[i64], eager: bool) {
        for (known, new) in self.watermarks.iter_mut().zip(watermarks) {
            *known = *new;
        }
        let timed = [LEFT, RIGHT].into_iter().filter(|side| self.sides[*side].input.event_time.is_some());
        if let (false, Some(least)) = (eager, timed.map(|side| self.watermarks[side]).min()) {
            self.watermarks = [least; 2];
        }
    }

    /// The eviction time at or below which a side's rows can match nothing any more.
    fn threshold(&self, side: usize) -> i64 {
        let Some(evict) = &self.sides[side].input.evict else { return NO_WATERMARK };
        let judge = if self.sides[1 - side].input.event_time.is_some() { 1 - side } else { side };
        behind(self.watermarks[judge], evict.delay)
    }

    /// Works off a semi join's epoch: right rows first.
    fn settle(&mut self, out: &mut Output) -> Result<()> {
        let mut emit = Emit { out, origin: None };
        for port in [RIGHT, LEFT] {
            let keep = if port == RIGHT { Keep::After(self.threshold(RIGHT)) } else { Keep::All };
            for rows in std::mem::take(&mut self.waiting[port]) {
                let count = rows.num_rows();
                self.absorb(port, rows, keep, &mut emit)?;
                self.relieve(count)?;
            }
        }
        Ok(())
    }

    /// Rows that can match nothing any more leave; unmatched ones of an outer side are printed.
    fn evict(&mut self, port: usize, out: &mut Output) -> Result<()> {
        let threshold = self.threshold(port);
        if threshold == NO_WATERMARK {
            return Ok(());
        }
        self.evict_hot(port, threshold, out)?;
        while self.warm_due(port, threshold)? {
            let before = self.metrics.rows_removed;
            self.evict_hot(port, threshold, out)?;
            self.relieve((self.metrics.rows_removed - before) as usize)?;
        }
        Ok(())
    }

    fn evict_hot(&mut self, port: usize, threshold: i64, out: &mut Output) -> Result<()> {
        let mut expired = Vec::new();
        self.sides[port].expiry.expire(threshold, &mut expired);
        if self.kind.preserves(port) && !self.changelog {
            let store = &mut self.sides[port].store;
            let alone = expired.iter().copied().filter(|slot| store.is_live(*slot) && !store.is_matched(*slot));
            let alone: Vec<u32> = alone.collect();
            for part in alone.chunks(MAX_ROWS) {
                out.rows(with_nulls(&self.joined, &store.gather(part)?, port == LEFT)?);
            }
        }
        let groups = self.forget(port, &expired, Store::free_each)?;
        self.forget_keys(groups);
        Ok(())
    }

    /// Removes rows, and says which groups they were of.
    fn forget(
        &mut self,
        side: usize,
        slots: &[u32],
        remove: impl FnOnce(&mut Store, &[u32]) -> Result<()>,
    ) -> Result<Vec<u32>> {
        let store = &mut self.sides[side].store;
        let before = store.len();
        let groups = slots.iter().map(|slot| store.group(*slot)).collect();
        remove(store, slots)?;
        self.metrics.rows_removed += (before - store.len()) as u64;
        Ok(groups)
    }

    /// Forgets keys of which neither side has a row left.
    fn forget_keys(&mut self, mut groups: Vec<u32>) {
        let [left, right] = &self.sides;
        groups.retain(|group| {
            *group != ABSENT && left.store.head(*group) == ABSENT && right.store.head(*group) == ABSENT
        });
        self.index.remove(&groups);
    }

    fn size_bytes(&self) -> usize {
        let [left, right] = &self.sides;
        let stores = left.store.size_bytes() + right.store.size_bytes();
        stores + self.index.size_bytes() + left.expiry.size_bytes() + right.expiry.size_bytes()
    }

    fn sweep(&mut self, out: &mut Output) -> Result<()> {
        self.settle(out)?;
        self.evict(LEFT, out)?;
        self.evict(RIGHT, out)
    }
}

/// Which new rows are stored.
#[derive(Clone, Copy)]
enum Keep {
    All,
    /// Those whose eviction time is above this.
    After(i64),
}

/// New rows of one side that look for matches on the other.
struct Probe<'a> {
    port: usize,
    rows: &'a RecordBatch,
    /// Candidate pairs: a new row, and the slot of a stored one.
    new: Vec<u32>,
    stored: Vec<u32>,
    /// Which of the new rows matched.
    matched: Vec<bool>,
}

/// Where results go: with the origin of the chunk that caused them, if there is one.
struct Emit<'a> {
    out: &'a mut Output,
    origin: Option<Origin>,
}

/// What results share with the chunk that caused them.
#[derive(Clone, Copy)]
struct Origin {
    ingest: u64,
    partition: u32,
}

impl Origin {
    fn chunk(self, rows: RecordBatch) -> Chunk {
        Chunk::new(rows, self.ingest, self.partition)
    }
}

impl Emit<'_> {
    fn rows(&mut self, rows: RecordBatch) {
        match self.origin {
            Some(origin) => self.out.chunk(origin.chunk(rows)),
            None => self.out.rows(rows),
        }
    }
}

impl Side {
    fn new(input: JoinSide, keys: SideKeys, side: usize, kind: JoinKind) -> Self {
        let keeps_matches = kind.preserves(side) || (kind == JoinKind::LeftSemi && side == LEFT);
        let store = Store::new(input.schema.clone(), side, keeps_matches);
        Side { store, input, keys, expiry: Expiry::default(), absent: RefCell::default() }
    }

    /// So many rows that are null. Those of all batches share their memory.
    fn absent(&self, rows: usize) -> ArrayRef {
        let make = |rows| new_null_array(&DataType::Struct(nullable(&self.input.schema).fields().clone()), rows);
        if rows > MAX_ROWS {
            return make(rows);
        }
        let mut kept = self.absent.borrow_mut();
        let enough = kept.take().filter(|absent| absent.len() >= rows);
        kept.insert(enough.unwrap_or_else(|| make(rows.next_power_of_two().min(MAX_ROWS)))).slice(0, rows)
    }

    /// Notes of rows just stored, whose numbers in their batch are `rows`, whether they matched and when they expire.
    fn note(&mut self, slots: &[u32], rows: &[u32], matched: &[bool], times: Option<&TimestampMicrosecondArray>) {
        let matched = slots.iter().zip(rows).filter(|(_, row)| matched[**row as usize]);
        matched.for_each(|(slot, _)| self.store.set_matched(*slot));
        let Some(times) = times else { return };
        let due = slots.iter().zip(rows).filter(|(_, row)| times.is_valid(**row as usize));
        let store = &mut self.store;
        self.expiry.extend(due.map(|(slot, row)| {
            store.set_queued(*slot);
            (times.value(*row as usize), *slot)
        }));
    }
}

/// A watermark held back; no watermark stays none, the end of time stays the end.
fn behind(watermark: i64, delay: i64) -> i64 {
    match watermark {
        NO_WATERMARK | i64::MAX => watermark,
        watermark => watermark.saturating_sub(delay),
    }
}

impl Logic for Join {
    fn on_rows(&mut self, port: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let origin = Origin { ingest: chunk.ingest, partition: chunk.partition };
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        let rows = self.admit(port, rows, out, origin)?;
        if self.kind == JoinKind::LeftSemi && !out.eager() {
            self.waiting[port].push(rows);
            return Ok(());
        }
        let count = rows.num_rows();
        self.absorb(port, rows, Keep::All, &mut Emit { out, origin: Some(origin) })?;
        self.relieve(count)
    }

    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()> {
        self.set_watermarks(watermarks, out.eager());
        self.sweep(out)
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        self.sweep(out)
    }

    fn output_watermark(&self, watermarks: &[i64]) -> i64 {
        let timed = watermarks.iter().zip(&self.sides).filter(|(_, side)| side.input.event_time.is_some());
        timed.map(|(watermark, _)| behind(*watermark, self.holdback)).min().unwrap_or(NO_WATERMARK)
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.hashing = hashing;
    }

    fn goes_cold(&mut self, cold: Cold) -> Result<bool> {
        self.set_cold(cold)
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let mut state = self.whole()?;
        state.extend(self.whole_cold()?);
        Ok(state)
    }

    fn tracks_changes(&mut self) -> bool {
        self.sides.iter_mut().for_each(|side| side.store.track());
        true
    }

    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changes = self.changes_of(LEFT)?;
        changes.extend(self.changes_of(RIGHT)?);
        changes.extend(self.changes_cold()?);
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for batch in in_pieces(state, self.cold.as_ref().map(|cold| &cold.rows)) {
            self.take_back_state(&batch)?;
            self.relieve(batch.num_rows())?;
        }
        self.metrics = StateMetrics::default();
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        let [left, right] = &self.sides;
        self.metrics.rows_total = (left.store.len() + right.store.len()) as u64;
        self.metrics.memory_bytes = self.size_bytes() as u64;
        self.cold.iter().for_each(|cold| cold.rows.report(&mut self.metrics));
        std::mem::take(&mut self.metrics)
    }
}

#[cfg(test)]
mod tests;
