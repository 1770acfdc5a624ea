//! Rows of a join that have left memory: those of both sides lie under their key and their number, and come and go together.
//!
//! In: keys that are about to be used, and those of which a row can match nothing any more. Out: their rows, back in memory. What always
//! holds: a key's rows, of both sides, are all in memory or all in the store; what matches or leaves does so in memory. The sides are
//! the buckets of the store.

use std::iter::once;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, UInt64Type};

use super::{Join, LEFT, NO_WATERMARK, RIGHT, nullable};
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Cursor, NEVER, Part};
use crate::expiry::Expiry;
use crate::join::store::Kept;
use crate::keys::{ABSENT, RowCodec, pick};
use crate::marks::{DIRTY, Marks};
use crate::{Error, Result, snapshot};

/// Where rows are for which there is no memory.
pub(super) struct ColdSides {
    pub rows: ColdRows,
    /// What keys of rows begin with: the keys of the join.
    prefix: RowCodec,
    /// Which keys in memory are in use.
    uses: Marks,
}

impl ColdSides {
    /// These keys are in use.
    pub fn note(&mut self, groups: &[u32]) {
        self.uses.note(groups.iter().copied().filter(|group| *group != ABSENT), 0);
    }
}

fn foreign() -> Error {
    Error::Internal("a row of a join in the store lacks columns".into())
}

impl Join {
    pub(super) fn set_cold(&mut self, cold: Cold) -> Result<bool> {
        if self.index.types().is_empty() {
            return Ok(false);
        }
        let keys: Vec<DataType> = self.index.types().iter().cloned().chain(once(DataType::UInt64)).collect();
        let side = |port: usize| DataType::Struct(nullable(&self.sides[port].input.schema).fields().clone());
        let is_timed = self.sides.iter().any(|side| side.input.evict.is_some());
        let rows = ColdRows::new(cold, &keys, &[DataType::Boolean, side(LEFT), side(RIGHT)], is_timed)?;
        let mut uses = Marks::default();
        uses.watch();
        self.cold = Some(ColdSides { rows, prefix: RowCodec::new(self.index.types())?, uses });
        Ok(true)
    }

    /// Brings back what is known of the keys of these rows.
    pub(super) fn warm(&mut self, port: usize, rows: &RecordBatch) -> Result<()> {
        if self.cold.as_ref().is_none_or(|cold| cold.rows.is_empty()) {
            return Ok(());
        }
        let keys = &self.sides[port].keys;
        let mut groups = Vec::new();
        keys.lookup(&self.index, rows, &mut groups)?;
        let matchable = keys.matchable(rows);
        let can_match = |row: usize| matchable.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let unknown = (0..rows.num_rows()).filter(|row| groups[*row] == ABSENT && can_match(*row));
        let unknown = UInt32Array::from_iter_values(unknown.map(|row| row as u32));
        let columns = pick(&keys.columns(rows), &unknown)?;
        self.bring_back(&columns)
    }

    /// Brings back some keys of which a row of this side can match nothing any more; false if there are none.
    pub(super) fn warm_due(&mut self, port: usize, threshold: i64) -> Result<bool> {
        let width = self.index.types().len();
        let Some(cold) = self.cold.as_mut().filter(|_| threshold != NO_WATERMARK) else { return Ok(false) };
        let Some(keys) = cold.rows.due_keys(port as i64, threshold)? else { return Ok(false) };
        self.bring_back(&keys[..width])?;
        Ok(true)
    }

    fn bring_back(&mut self, keys: &[ArrayRef]) -> Result<()> {
        for port in [LEFT, RIGHT] {
            let Some(cold) = &mut self.cold else { return Ok(()) };
            if let Some(part) = cold.rows.take_under(port as i64, &cold.prefix.encode(keys)?)? {
                self.put_back(port, &part)?;
            }
        }
        Ok(())
    }

    fn put_back(&mut self, port: usize, part: &Part) -> Result<()> {
        let (ids, keys) = part.keys.split_last().ok_or_else(foreign)?;
        let [matched, sides @ ..] = part.values.as_slice() else { return Err(foreign()) };
        let ids = ids.as_primitive_opt::<UInt64Type>().ok_or_else(foreign)?;
        let matched = matched.as_boolean_opt().ok_or_else(foreign)?;
        let rows = sides.get(port).and_then(|side| side.as_struct_opt()).ok_or_else(foreign)?;
        let saved = snapshot::groups(self.hashing, keys, part.len())?;
        let kept = (0..part.len()).map(|row| Kept {
            id: ids.value(row),
            matched: matched.value(row),
            saved: saved.value(row),
            marks: part.marks[row],
        });
        let side = &mut self.sides[port];
        let rows = RecordBatch::try_new(side.input.schema.clone(), rows.columns().to_vec())?;
        let mut groups = Vec::new();
        side.keys.insert(&mut self.index, &rows, &mut groups)?;
        let times = side.input.evict.as_ref().map(|evict| (evict.value)(&rows)).transpose()?;
        side.store.put_back(rows, &groups, kept, &mut self.slots)?;
        let all: Vec<u32> = (0..part.len() as u32).collect();
        side.note(&self.slots, &all, &vec![false; all.len()], times.as_ref());
        Ok(())
    }

    /// Sends the rows of half of the keys to the store, of those that have not been in use for longer, if those in memory are too
    /// many after `rows` more rows. Rows without key, which only wait to be printed, all go.
    pub(super) fn relieve(&mut self, rows: usize) -> Result<()> {
        let live = self.sides[LEFT].store.len() + self.sides[RIGHT].store.len();
        let looks = self.cold.as_mut().is_some_and(|cold| cold.rows.wants_look(rows, live));
        if !looks || !self.cold.as_ref().is_some_and(|cold| cold.rows.is_exceeded(self.size_bytes())) {
            return Ok(());
        }
        let Join { cold: Some(cold), index, .. } = self else { return Ok(()) };
        let leaving = cold.uses.coldest(index.len().div_ceil(2), index.group_count(), |group| index.is_live(group));
        let mut leaves = vec![false; index.group_count()];
        leaving.iter().for_each(|group| leaves[*group as usize] = true);
        let leaves = |group: u32| leaves.get(group as usize).copied().unwrap_or(true);
        let mut staying = Vec::new();
        for port in [LEFT, RIGHT] {
            staying.push(self.send_cold(port, &leaves)?);
        }
        self.clear()?;
        for (port, parts) in staying.iter().enumerate() {
            parts.iter().try_for_each(|part| self.put_back(port, part))?;
        }
        Ok(())
    }

    /// Sends the rows of a side whose groups leave to the store; gives the others.
    fn send_cold(&mut self, port: usize, leaves: &dyn Fn(u32) -> bool) -> Result<Vec<Part>> {
        let store = &self.sides[port].store;
        let (leaving, staying): (Vec<u32>, Vec<u32>) =
            store.live_slots().into_iter().partition(|slot| leaves(store.group(*slot)));
        let piece = self.cold.as_ref().map_or(1, |cold| cold.rows.piece());
        for slots in leaving.chunks(piece) {
            let part = self.part(port, slots)?;
            self.cold.as_mut().map_or(Ok(()), |cold| cold.rows.put(&part))?;
        }
        staying.chunks(piece).map(|slots| self.part(port, slots)).collect()
    }

    /// No rows, and no memory for them.
    fn clear(&mut self) -> Result<()> {
        self.index = self.sides[LEFT].keys.table(&self.sides[LEFT].input.schema)?;
        for side in &mut self.sides {
            side.store = side.store.emptied();
            side.expiry = Expiry::default();
        }
        self.cold.iter_mut().for_each(|cold| cold.uses = cold.uses.renewed());
        Ok(())
    }

    /// Rows as they may lie elsewhere.
    fn part(&mut self, port: usize, slots: &[u32]) -> Result<Part> {
        let side = &mut self.sides[port];
        let rows = side.store.gather(slots)?;
        let (about, marks) = (side.store.about(slots), slots.iter().map(|slot| side.store.marks_of(*slot)).collect());
        let times = side.input.evict.as_ref().map(|evict| (evict.value)(&rows)).transpose()?;
        let due =
            |row: usize| times.as_ref().filter(|times| times.is_valid(row)).map_or(NEVER, |times| times.value(row));
        let mut keys = side.keys.columns(&rows);
        keys.push(Arc::new(about.ids));
        let values = once(Arc::new(about.matched) as ArrayRef).chain(self.structs(port, &rows)?).collect();
        Ok(Part { bucket: port as i64, keys, values, marks, dues: (0..slots.len()).map(due).collect() })
    }

    /// What is not in memory, as a snapshot has it.
    pub(super) fn whole_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let (mut cursor, mut state) = (Cursor::all(), Vec::new());
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.rows.next(&mut cursor))? {
            state.push(self.state_of_part(&part)?);
        }
        Ok(state)
    }

    /// What has changed and has left memory since.
    pub(super) fn changes_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changes = Vec::new();
        let mut cursor = Cursor::all();
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.rows.next_marked(DIRTY, &mut cursor))? {
            changes.push(snapshot::changed(&self.state_of_part(&part)?, &super::state::CELL)?);
        }
        self.cold.iter_mut().for_each(|cold| cold.rows.end_marked(DIRTY));
        Ok(changes)
    }

    fn state_of_part(&self, part: &Part) -> Result<RecordBatch> {
        let (ids, keys) = part.keys.split_last().ok_or_else(foreign)?;
        let [matched, sides @ ..] = part.values.as_slice() else { return Err(foreign()) };
        self.state_of_columns(keys, ids.clone(), matched.clone(), sides.to_vec())
    }
}
