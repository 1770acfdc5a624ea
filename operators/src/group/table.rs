//! One table of groups: keys, one accumulator per aggregate, and which groups received a row since the last flush.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, UInt8Array, UInt32Array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, UInt8Type};

use super::{AggregateCall, GroupSpec};
use crate::aggregate::Accumulator;
use crate::change::{INSERT, RETRACT};
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Part};
use crate::keys::{Hashing, KeyTable};
use crate::marks::{DIRTY, Marks, TOUCHED};
use crate::{Error, Result, snapshot};

/// Columns of rows of which not all may be meant; each is taken once.
struct Picked<'a> {
    rows: &'a RecordBatch,
    picks: Option<&'a UInt32Array>,
    taken: Vec<(usize, ArrayRef)>,
}

impl Picked<'_> {
    fn column(&mut self, at: usize) -> Result<ArrayRef> {
        let Some(picks) = self.picks else { return Ok(self.rows.column(at).clone()) };
        if let Some((_, column)) = self.taken.iter().find(|(taken, _)| *taken == at) {
            return Ok(column.clone());
        }
        let column = take(self.rows.column(at), picks, None)?;
        self.taken.push((at, column.clone()));
        Ok(column)
    }

    /// Adds to the groups what the call wants of their rows; `merges`: those are states.
    fn add(
        &mut self,
        call: &AggregateCall,
        merges: bool,
        groups: &[u32],
        count: usize,
        state: &mut dyn Accumulator,
    ) -> Result<()> {
        let args = call.args.iter().map(|&arg| self.column(arg)).collect::<Result<Vec<_>>>()?;
        if merges {
            return state.merge(groups, count, &args);
        }
        let filter = call.filter.map(|filter| self.column(filter)).transpose()?;
        state.update(groups, count, &args, filter.as_ref().map(boolean).transpose()?)
    }
}

/// Keys and states of rows of which each is a group of its own.
pub(super) fn each_alone(spec: &GroupSpec, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let groups: Vec<u32> = (0..rows.num_rows() as u32).collect();
    let mut columns = Picked { rows, picks: None, taken: Vec::new() };
    let mut all = spec.key_columns(rows);
    for call in &spec.aggregates {
        let mut state = call.function.accumulator()?;
        columns.add(call, spec.merges, &groups, groups.len(), state.as_mut())?;
        all.extend(state.state(&groups)?);
    }
    Ok(all)
}

/// Groups with their aggregate states.
pub(super) struct Table {
    pub keys: KeyTable,
    states: Vec<Box<dyn Accumulator>>,
    /// Groups that received a row, and groups whose state a checkpoint does not have yet.
    marks: Marks,
    /// For a changelog: whether a group's row has been emitted and not been taken back.
    is_shown: Vec<bool>,
    /// For a changelog: the rows that touched groups had when they were last emitted.
    before: Vec<Vec<ArrayRef>>,
    /// The key groups (a bit each) of which a checkpoint may have rows of this table.
    saved: [u64; 4],
    /// Whether groups of this table may lie in a store.
    pub is_cold: bool,
}

impl Table {
    pub fn new(spec: &GroupSpec) -> Result<Self> {
        let states = spec.aggregates.iter().map(|call| call.function.accumulator());
        Ok(Table {
            keys: KeyTable::new(&key_fields(spec))?,
            states: states.collect::<Result<_>>()?,
            marks: Marks::default(),
            is_shown: Vec::new(),
            before: Vec::new(),
            saved: [0; 4],
            is_cold: false,
        })
    }

    /// Forgets all groups, so that the table can be used for another window; what it has grown to stays.
    pub fn clear(&mut self, spec: &GroupSpec) -> Result<()> {
        self.keys.clear();
        self.marks.clear();
        self.is_shown.clear();
        self.before.clear();
        self.saved = [0; 4];
        for (state, call) in self.states.iter_mut().zip(&spec.aggregates) {
            if !state.reset() {
                *state = call.function.accumulator()?;
            }
        }
        Ok(())
    }

    /// Adds rows, all or those of these numbers; `groups` is left with the group of each, and those groups are touched.
    pub fn update(
        &mut self,
        spec: &GroupSpec,
        rows: &RecordBatch,
        picks: Option<&UInt32Array>,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let keys = spec.key_columns(rows);
        match picks {
            None => self.keys.lookup_or_insert(&keys, rows.num_rows(), groups)?,
            Some(picks) => self.keys.lookup_or_insert_some(&keys, rows.num_rows(), picks, groups)?,
        }
        self.change(spec, groups)?;
        self.aggregate(spec, rows, picks, groups)
    }

    /// Adds rows to a table that is never shown, only merged into others.
    pub fn collect(&mut self, spec: &GroupSpec, rows: &RecordBatch, groups: &mut Vec<u32>) -> Result<()> {
        self.keys.lookup_or_insert(&spec.key_columns(rows), rows.num_rows(), groups)?;
        self.aggregate(spec, rows, None, groups)
    }

    /// Merges another table's groups into this one, which are touched.
    pub fn merge_in(&mut self, spec: &GroupSpec, other: &Table, groups: &mut Vec<u32>) -> Result<()> {
        let theirs = other.groups();
        self.keys.lookup_or_insert(&other.keys.keys(&theirs)?, theirs.len(), groups)?;
        self.change(spec, groups)?;
        self.merge_states(other, &theirs, groups)
    }

    /// These groups are about to change.
    fn change(&mut self, spec: &GroupSpec, groups: &[u32]) -> Result<()> {
        let touched_before = self.marks.touched().len();
        self.marks.note_all(groups, TOUCHED | DIRTY);
        if spec.mode.is_changelog() { self.remember(touched_before) } else { Ok(()) }
    }

    /// Whether a group received a row since the last call of [`Table::take_touched`].
    pub fn is_touched(&self) -> bool {
        !self.marks.touched().is_empty()
    }

    fn aggregate(
        &mut self,
        spec: &GroupSpec,
        rows: &RecordBatch,
        picks: Option<&UInt32Array>,
        groups: &[u32],
    ) -> Result<()> {
        let count = self.keys.group_count();
        let mut columns = Picked { rows, picks, taken: Vec::new() };
        let mut calls = self.states.iter_mut().zip(&spec.aggregates);
        calls.try_for_each(|(state, call)| columns.add(call, spec.merges, groups, count, state.as_mut()))
    }

    /// The one group of a global aggregate counts as touched.
    pub fn touch_global(&mut self, spec: &GroupSpec) -> Result<()> {
        let touched_before = self.marks.touched().len();
        self.marks.note([0], TOUCHED);
        if spec.mode.is_changelog() { self.remember(touched_before) } else { Ok(()) }
    }

    /// Keeps the rows of groups touched from `from` on as they were emitted, before they change.
    fn remember(&mut self, from: usize) -> Result<()> {
        self.is_shown.resize(self.keys.group_count(), false);
        let shown = self.marks.touched()[from..].iter().copied().filter(|group| self.is_shown[*group as usize]);
        let shown: Vec<u32> = shown.collect();
        if !shown.is_empty() {
            self.before.push(self.rows(&shown)?);
        }
        Ok(())
    }

    /// What has changed since the last call, as columns of old rows and then new ones, the sign last; and how many groups were
    /// touched.
    pub fn take_changes(&mut self) -> Result<(Option<Vec<ArrayRef>>, usize)> {
        let touched = self.take_touched();
        let before = std::mem::take(&mut self.before);
        if touched.is_empty() {
            return Ok((None, 0));
        }
        self.is_shown.resize(self.keys.group_count(), false);
        touched.iter().for_each(|group| self.is_shown[*group as usize] = true);
        let parts: Vec<Vec<ArrayRef>> = before.into_iter().chain([self.rows(&touched)?]).collect();
        let total: usize = parts.iter().filter_map(|part| part.first()).map(|column| column.len()).sum();
        let mut columns = stack(&parts)?;
        let sign = |row: usize| if row + touched.len() < total { RETRACT } else { INSERT };
        columns.push(Arc::new(Int8Array::from_iter_values((0..total).map(sign))));
        Ok((Some(columns), touched.len()))
    }

    /// The groups that received a row since the last call.
    pub fn take_touched(&mut self) -> Vec<u32> {
        self.marks.take_touched()
    }

    /// The one group of a global aggregate exists also without rows.
    pub fn ensure_global(&mut self) -> Result<()> {
        let mut groups = Vec::new();
        self.keys.lookup_or_insert(&[], 1, &mut groups)?;
        self.states.iter_mut().try_for_each(|state| {
            let empty: Vec<ArrayRef> = state.state_types().iter().map(arrow::array::new_empty_array).collect();
            state.merge(&[], 1, &empty)
        })
    }

    /// All groups.
    pub fn groups(&self) -> Vec<u32> {
        self.keys.groups().collect()
    }

    /// Key columns and aggregate values of these groups.
    pub fn rows(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.keys(groups)?;
        for state in &self.states {
            columns.push(state.evaluate(groups)?);
        }
        Ok(columns)
    }

    /// Keys and states of these groups.
    pub fn states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.keys(groups)?;
        columns.extend(self.values(groups)?);
        Ok(columns)
    }

    /// States of these groups.
    fn values(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        for state in &self.states {
            columns.extend(state.state(groups)?);
        }
        Ok(columns)
    }

    /// Merges another table's groups into this one.
    pub fn absorb(&mut self, other: &Table) -> Result<()> {
        let theirs = other.groups();
        let mut ours = Vec::new();
        self.keys.lookup_or_insert(&other.keys.keys(&theirs)?, theirs.len(), &mut ours)?;
        self.merge_states(other, &theirs, &ours)
    }

    /// Merges the states of `theirs` into those of `ours`, one by one.
    fn merge_states(&mut self, other: &Table, theirs: &[u32], ours: &[u32]) -> Result<()> {
        let count = self.keys.group_count();
        for (state, other) in self.states.iter_mut().zip(&other.states) {
            state.merge(ours, count, &other.state(theirs)?)?;
        }
        Ok(())
    }

    /// Forgets groups.
    pub fn remove(&mut self, groups: &[u32]) {
        self.keys.remove(groups);
        self.states.iter_mut().for_each(|state| state.clear(groups));
        for &group in groups {
            if let Some(shown) = self.is_shown.get_mut(group as usize) {
                *shown = false;
            }
        }
    }

    /// The store for groups of this table's kind. From now on it is noted which groups are in use.
    pub fn go_cold(&mut self, cold: Cold, is_timed: bool) -> Result<ColdRows> {
        self.watch();
        let values: Vec<DataType> = self.states.iter().flat_map(|state| state.state_types()).collect();
        ColdRows::new(cold, self.keys.types(), &values, is_timed)
    }

    /// It is noted which groups are in use, so that those that are not can leave.
    pub fn watch(&mut self) {
        self.marks.watch();
    }

    /// Brings the groups of these keys back from a bucket of the store, as far as they are there; those that came, and when they are
    /// due.
    pub fn warm(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        bucket: i64,
        cold: &mut ColdRows,
    ) -> Result<(Vec<u32>, Vec<i64>)> {
        if !self.is_cold || cold.is_empty() {
            return Ok(<_>::default());
        }
        let mut groups = Vec::new();
        let Some(unknown) = self.keys.unknown(keys, rows, &mut groups)? else { return Ok(<_>::default()) };
        match cold.take(bucket, &unknown)? {
            Some(part) => Ok((self.admit(&part)?, part.dues)),
            None => Ok(<_>::default()),
        }
    }

    /// Adds groups that are not here, with their marks; their ids.
    pub fn admit(&mut self, part: &Part) -> Result<Vec<u32>> {
        let groups = self.put_back(&part.keys, part.len(), &part.values)?;
        groups.iter().zip(&part.marks).for_each(|(group, marks)| self.marks.put_back(*group, *marks));
        Ok(groups)
    }

    /// These groups as they may lie elsewhere.
    fn part(&self, groups: &[u32], bucket: i64, due: &dyn Fn(u32) -> i64) -> Result<Part> {
        Ok(Part {
            bucket,
            keys: self.keys.keys(groups)?,
            values: self.values(groups)?,
            marks: groups.iter().map(|group| self.marks.of(*group)).collect(),
            dues: groups.iter().map(|group| due(*group)).collect(),
        })
    }

    /// Moves groups to a bucket of the store and gives back the memory that they needed. The others get new ids, which are returned
    /// with the times at which they are due.
    pub fn send_cold(
        &mut self,
        spec: &GroupSpec,
        leaving: &[u32],
        bucket: i64,
        due: &dyn Fn(u32) -> i64,
        cold: &mut ColdRows,
    ) -> Result<(Vec<u32>, Vec<i64>)> {
        for leaving in leaving.chunks(cold.piece()) {
            cold.put(&self.part(leaving, bucket, due)?)?;
        }
        self.keys.remove(leaving);
        let staying = self.part(&self.groups(), bucket, due)?;
        *self = Table { marks: self.marks.renewed(), saved: self.saved, is_cold: true, ..Table::new(spec)? };
        Ok((self.admit(&staying)?, staying.dues))
    }

    /// The half of the groups that has not been in use for longer.
    pub fn colder_half(&self) -> Vec<u32> {
        let Table { keys, marks, .. } = self;
        marks.coldest(keys.len().div_ceil(2), keys.group_count(), |group| keys.is_live(group))
    }

    /// A table with just these groups, to look at.
    pub fn of(spec: &GroupSpec, part: &Part) -> Result<(Table, Vec<u32>)> {
        let mut table = Table::new(spec)?;
        let groups = table.admit(part)?;
        Ok((table, groups))
    }

    /// Live groups.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let states: usize = self.states.iter().map(|state| state.size_bytes()).sum();
        let shown: usize = self.before.iter().flatten().map(|column| column.get_array_memory_size()).sum();
        self.keys.size_bytes() + states + self.marks.size_bytes() + self.is_shown.capacity() + shown
    }

    /// Remembers from now on which groups change.
    pub fn track(&mut self) {
        self.marks.track();
    }

    /// The one group of a global aggregate, which exists without rows, has changed.
    pub fn note_global(&mut self) {
        self.marks.note([0], DIRTY);
    }

    /// Whether changes are remembered.
    pub fn tracks(&self) -> bool {
        self.marks.tracks()
    }

    /// The live groups that have changed since the last call.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        let mut dirty = self.marks.take_dirty();
        dirty.retain(|group| self.keys.is_live(*group));
        dirty
    }

    /// These groups as changes of a snapshot.
    pub fn changes(&mut self, hashing: Hashing, groups: &[u32], buckets: Int64Array) -> Result<RecordBatch> {
        let rows = self.snapshot(hashing, groups, buckets)?;
        self.note_saved(&rows);
        let cell: Vec<usize> = (0..2 + self.keys.types().len()).collect();
        snapshot::changed(&rows, &cell)
    }

    /// These live groups as gone.
    pub fn gone(&self, hashing: Hashing, groups: &[u32], buckets: Int64Array) -> Result<RecordBatch> {
        let columns = self.identity(hashing, groups, buckets)?;
        let cell: Vec<usize> = (0..columns.len()).collect();
        let fields = snapshot_schema(&columns).fields().clone();
        snapshot::gone(fields.iter().cloned().zip(columns).collect(), &cell)
    }

    /// All that a checkpoint may have of this table under `bucket`, as gone: a row per key group.
    pub fn all_gone(&self, bucket: i64) -> Result<RecordBatch> {
        let saved = |group: &u8| self.saved[usize::from(*group) / 64] >> (group % 64) & 1 == 1;
        let groups = UInt8Array::from_iter_values((0..=u8::MAX).filter(saved));
        let buckets = Int64Array::from_value(bucket, groups.len());
        let columns: Vec<ArrayRef> = vec![Arc::new(groups), Arc::new(buckets)];
        let fields = snapshot_schema(&columns).fields().clone();
        snapshot::gone(fields.iter().cloned().zip(columns).collect(), &[0, 1])
    }

    /// A checkpoint may have these rows of a snapshot.
    pub fn note_saved(&mut self, rows: &RecordBatch) {
        for group in rows.column(0).as_primitive::<UInt8Type>().values() {
            self.saved[usize::from(*group) / 64] |= 1 << (group % 64);
        }
    }

    /// `_group`, `_bucket` and keys of these groups.
    fn identity(&self, hashing: Hashing, groups: &[u32], buckets: Int64Array) -> Result<Vec<ArrayRef>> {
        let keys = self.keys.keys(groups)?;
        let key_groups = snapshot::groups(hashing, &keys, groups.len())?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(key_groups), Arc::new(buckets)];
        columns.extend(keys);
        Ok(columns)
    }

    /// `_group`, `_bucket`, keys, states of these groups.
    pub fn snapshot(&self, hashing: Hashing, groups: &[u32], buckets: Int64Array) -> Result<RecordBatch> {
        let mut columns = self.identity(hashing, groups, buckets)?;
        columns.extend(self.values(groups)?);
        Ok(RecordBatch::try_new(snapshot_schema(&columns), columns)?)
    }

    /// Takes rows of a snapshot back; returns each row's group.
    pub fn restore(&mut self, spec: &GroupSpec, rows: &RecordBatch) -> Result<Vec<u32>> {
        self.note_saved(rows);
        let (keys, states) = rows.columns()[2..].split_at(spec.keys.len());
        self.put_back(keys, rows.num_rows(), states)
    }

    /// Adds groups that are not here, with their states.
    fn put_back(&mut self, keys: &[ArrayRef], rows: usize, states: &[ArrayRef]) -> Result<Vec<u32>> {
        let mut groups = Vec::new();
        self.keys.reserve(rows);
        self.keys.lookup_or_insert(keys, rows, &mut groups)?;
        let (mut at, count) = (0, self.keys.group_count());
        for state in &mut self.states {
            let width = state.state_types().len();
            state.merge(&groups, count, &states[at..at + width])?;
            at += width;
        }
        // State is of a closed epoch: all its rows have been emitted.
        self.is_shown.resize(count, false);
        groups.iter().for_each(|group| self.is_shown[*group as usize] = true);
        Ok(groups)
    }
}

/// How many rows of changes are one batch, at most: each is let go as soon as it is written.
pub(super) const PART_OF_CHANGES: usize = 1 << 14;

/// Columns one below the other.
fn stack(parts: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let width = parts.first().map_or(0, Vec::len);
    let column = |at: usize| -> Result<ArrayRef> {
        let pieces: Vec<&dyn Array> = parts.iter().map(|part| part[at].as_ref()).collect();
        Ok(concat(&pieces)?)
    };
    (0..width).map(column).collect()
}

/// The `_bucket` column of a snapshot.
pub(super) fn buckets(rows: &RecordBatch) -> &Int64Array {
    rows.column(1).as_primitive::<Int64Type>()
}

fn boolean(column: &ArrayRef) -> Result<&BooleanArray> {
    column.as_boolean_opt().ok_or_else(|| Error::Internal("an aggregate's filter is not boolean".into()))
}

fn key_fields(spec: &GroupSpec) -> Vec<FieldRef> {
    spec.keys.iter().map(|&key| spec.input.fields()[key].clone()).collect()
}

fn snapshot_schema(columns: &[ArrayRef]) -> SchemaRef {
    let name = |i: usize| match i {
        0 => "_group".to_owned(),
        1 => "_bucket".to_owned(),
        i => format!("c{i}"),
    };
    let field = |(i, column): (usize, &ArrayRef)| Field::new(name(i), column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    debug_assert_eq!(fields[0].data_type(), &DataType::UInt8);
    Arc::new(Schema::new(fields))
}
