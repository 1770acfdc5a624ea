//! Aggregation over session windows: per key, events closer together than a gap belong to one session.
//!
//! ```text
//!  row (key, start, end, arguments) ─► late? dropped ─► meets sessions of its key?
//!                                                         none: a new one    one: it grows    more: they merge, with their
//!                                                                                             aggregates
//! ```
//!
//! In: rows with keys, their own session's start (the event time) and end (start plus gap), and arguments. Out: keys and
//! session, aggregates. Append mode emits a session when the watermark reaches its end; complete mode emits all when the
//! epoch closes and ignores watermarks; a changelog emits what a session has become and takes back what it was, also those that
//! went into it, but not what the watermark ends. What always holds: the sessions of a key neither overlap nor touch; the result does
//! not depend on the order of rows, but for `first`, `last` and lists, which take those of a chunk by their time.
//!
//! Rules (Spark's): sessions that touch merge; a row is late when its own session's end is at or below the watermark, also if
//! an open session would take it; rows whose session has no length (a gap of zero or less, a null time) vanish.

mod changes;
mod cold;
mod spans;
mod states;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StructArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, SchemaRef, TimeUnit};

use crate::change::rows::net;
use crate::change::{inserted, retracted, without_change};
use crate::chunk::MAX_ROWS;
use crate::cold::Cold;
use crate::cold::rows::in_pieces;
use crate::driver::{Logic, StateMetrics};
use crate::event_time::times;
use crate::expiry::Expiry;
use crate::group::{AggregateCall, Mode};
use crate::keys::{Hashing, KeyTable};
use crate::marks::{DIRTY, Marks};
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Result, snapshot};
use changes::Shown;
use cold::ColdSessions;
use spans::{Place, Spans};
use states::States;

/// What [`Sessions`] computes.
#[derive(Clone)]
pub struct SessionSpec {
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// Columns with the start and the end of each row's own session.
    pub bounds: (usize, usize),
    /// The aggregates, in output order.
    pub aggregates: Vec<AggregateCall>,
    /// Where the session stands among the output columns: after this many keys.
    pub position: usize,
    /// Any but [`Mode::Update`], which would have to take back sessions that merge: [`Mode::Changelog`] does.
    pub mode: Mode,
    /// Schema of the input.
    pub input: SchemaRef,
    /// Schema of the output: keys with the session among them, then aggregates (and the sign, for a changelog).
    pub output: SchemaRef,
}

/// The operator behind `groupBy(session_window(...), ...)`.
pub struct Sessions {
    spec: SessionSpec,
    /// The session's two fields: start and end.
    bounds: [FieldRef; 2],
    keys: KeyTable,
    spans: Spans,
    states: States,
    expiry: Expiry,
    shown: Shown,
    /// The output's schema without sign.
    rows: SchemaRef,
    watermark: i64,
    groups: Vec<u32>,
    /// Keys whose sessions a checkpoint does not have as they are, and those that it may have and have no session any more.
    marks: Marks,
    gone: Vec<RecordBatch>,
    hashing: Hashing,
    /// The keys for whose sessions there is no memory.
    cold: Option<ColdSessions>,
    metrics: StateMetrics,
}

impl Sessions {
    /// An operator whose input is routed by the keys.
    ///
    /// # Errors
    /// Update mode, or an output without session.
    pub fn new(spec: SessionSpec) -> Result<Self> {
        if spec.mode == Mode::Update {
            return Err(Error::Internal("session windows have no update mode".into()));
        }
        let fields: Vec<FieldRef> = spec.keys.iter().map(|key| spec.input.fields()[*key].clone()).collect();
        let rows = if spec.mode.is_changelog() { without_change(&spec.output) } else { spec.output.clone() };
        Ok(Sessions {
            rows,
            bounds: bounds(&spec)?,
            keys: KeyTable::new(&fields)?,
            spans: Spans::default(),
            states: States::new(&spec.aggregates)?,
            expiry: Expiry::default(),
            shown: Shown::default(),
            watermark: NO_WATERMARK,
            groups: Vec::new(),
            marks: Marks::default(),
            gone: Vec::new(),
            hashing: Hashing::default(),
            cold: None,
            metrics: StateMetrics::default(),
            spec,
        })
    }

    /// The rows by event time, as Spark takes them, if an aggregate tells in which order they came.
    fn in_time_order(&self, rows: RecordBatch) -> Result<RecordBatch> {
        if !self.spec.aggregates.iter().any(|call| call.function.depends_on_order()) {
            return Ok(rows);
        }
        let starts = times(rows.column(self.spec.bounds.0))?;
        if starts.values().is_sorted() {
            return Ok(rows);
        }
        let mut order: Vec<u32> = (0..).take(rows.num_rows()).collect();
        order.sort_by_key(|row| starts.values()[*row as usize]);
        Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
    }

    /// Rows that count, with the starts and ends of their sessions.
    fn admit(
        &mut self,
        rows: RecordBatch,
        out: &mut Output,
    ) -> Result<(RecordBatch, TimestampMicrosecondArray, TimestampMicrosecondArray)> {
        let (start, end) = self.spec.bounds;
        let (starts, ends) = (times(rows.column(start))?, times(rows.column(end))?);
        let late_below = if self.spec.mode.closes() { self.watermark } else { NO_WATERMARK };
        let exists = |row| starts.is_valid(row) && ends.is_valid(row) && ends.value(row) > starts.value(row);
        let exists = BooleanBuffer::collect_bool(rows.num_rows(), exists);
        let in_time = BooleanBuffer::collect_bool(rows.num_rows(), |row| ends.value(row) > late_below);
        let keep = if late_below == NO_WATERMARK { exists.clone() } else { &exists & &in_time };
        let kept = keep.count_set_bits();
        self.metrics.rows_dropped += (exists.count_set_bits() - kept) as u64;
        if kept == rows.num_rows() {
            return Ok((rows, starts, ends));
        }
        if out.wants_late() {
            let late = BooleanArray::new(&exists & &!&keep, None);
            out.late(0, filter_record_batch(&rows, &late)?, late_below);
        }
        let rows = filter_record_batch(&rows, &BooleanArray::new(keep, None))?;
        let (starts, ends) = (times(rows.column(start))?, times(rows.column(end))?);
        Ok((rows, starts, ends))
    }

    fn absorb(&mut self, rows: &RecordBatch, starts: &[i64], ends: &[i64]) -> Result<()> {
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|key| rows.column(*key).clone()).collect();
        self.warm(&keys, rows.num_rows())?;
        self.keys.lookup_or_insert(&keys, rows.num_rows(), &mut self.groups)?;
        self.marks.note_all(&self.groups, DIRTY);
        let assigned = self.assign(starts, ends);
        self.remember(&assigned)?;
        self.states.update(&assigned.ids, self.spans.id_count(), rows)?;
        self.states.merge(&assigned.merged, self.spans.id_count())?;
        self.metrics.rows_updated += assigned.new.len() as u64;
        self.finish(assigned);
        Ok(())
    }

    /// For a changelog: what rows are about to change is kept as it was shown.
    fn remember(&mut self, assigned: &spans::Assigned) -> Result<()> {
        if !self.spec.mode.is_changelog() {
            return Ok(());
        }
        let changed = assigned.ids.iter().copied().chain(assigned.merged.iter().map(|(from, _)| *from));
        let (ids, places) = self.shown.touch(changed, self.spans.id_count());
        if !ids.is_empty() {
            let rows = retracted(&self.batch(&ids, &places)?)?;
            self.shown.retract(rows);
        }
        Ok(())
    }

    /// For a changelog: the net change since the last flush.
    fn flush(&mut self, out: &mut Output) -> Result<()> {
        if !self.spec.mode.is_changelog() {
            return Ok(());
        }
        let (touched, mut changes) = self.shown.take();
        if touched.is_empty() {
            return Ok(());
        }
        let (ids, places) = self.spans.places(&touched);
        changes.push(inserted(&self.batch(&ids, &places)?)?);
        self.shown.show(&ids, &places, self.spans.id_count());
        let changes = net(&concat_batches(&self.spec.output, &changes)?)?;
        if changes.num_rows() > 0 {
            out.rows(changes);
        }
        Ok(())
    }

    fn assign(&mut self, starts: &[i64], ends: &[i64]) -> spans::Assigned {
        let mut assigned = spans::Assigned::default();
        for (row, group) in self.groups.iter().enumerate() {
            self.spans.add(*group, starts[row], ends[row], &mut assigned);
        }
        assigned
    }

    /// Files new sessions for expiry, and lets go of those that went into others.
    fn finish(&mut self, assigned: spans::Assigned) {
        if self.spec.mode.closes() {
            self.expiry.extend(assigned.new.iter().map(|(id, end)| (*end, *id)));
        } else {
            assigned.merged.iter().for_each(|(from, _)| self.spans.free(*from));
        }
    }

    /// Sessions that the watermark has reached leave.
    fn close(&mut self, out: &mut Output) -> Result<()> {
        if !self.spec.mode.closes() || self.watermark == NO_WATERMARK {
            return Ok(());
        }
        self.close_hot(out)?;
        while self.warm_due()? {
            let closed = self.metrics.rows_removed;
            self.close_hot(out)?;
            self.relieve((self.metrics.rows_removed - closed) as usize, None)?;
        }
        Ok(())
    }

    fn close_hot(&mut self, out: &mut Output) -> Result<()> {
        let (mut due, mut closed, mut grown) = (Vec::new(), Vec::new(), Vec::new());
        self.expiry.expire(self.watermark, &mut due);
        for id in due {
            match self.spans.end(id) {
                None => self.spans.free(id),
                Some(end) if end <= self.watermark => closed.push(id),
                Some(end) => grown.push((end, id)),
            }
        }
        self.expiry.extend(grown);
        if self.spec.mode == Mode::Append {
            self.emit(&closed, out)?;
        }
        self.forget(&closed)
    }

    fn forget(&mut self, closed: &[u32]) -> Result<()> {
        let mut empty = Vec::new();
        self.marks.note(closed.iter().filter_map(|id| Some(self.spans.place(*id)?.group)), DIRTY);
        for id in closed {
            empty.extend(self.spans.remove(*id));
            self.spans.free(*id);
        }
        self.states.clear(closed);
        self.shown.forget(closed);
        if self.marks.tracks() && !empty.is_empty() {
            self.gone.push(self.keys_gone(&empty)?);
        }
        self.keys.remove(&empty);
        self.metrics.rows_removed += closed.len() as u64;
        Ok(())
    }

    /// These keys as having no session.
    fn keys_gone(&self, groups: &[u32]) -> Result<RecordBatch> {
        let keys = self.keys.keys(groups)?;
        let first = snapshot::group_column(snapshot::groups(self.hashing, &keys, groups.len())?);
        let named = keys.into_iter().enumerate().map(|(at, key)| state_column(at + 2, key));
        snapshot::gone(std::iter::once(first).chain(named).collect(), &self.cell())
    }

    /// Positions of key group and keys in a snapshot.
    fn cell(&self) -> Vec<usize> {
        std::iter::once(0).chain(3..3 + self.spec.keys.len()).collect()
    }

    /// Live sessions as rows of a snapshot.
    fn state_of(&self, ids: &[u32]) -> Result<RecordBatch> {
        let (ids, places) = self.spans.places(ids);
        let keys = self.key_columns(&places)?;
        let starts = Int64Array::from_iter_values(places.iter().map(|place| place.start));
        let ends = Int64Array::from_iter_values(places.iter().map(|place| place.end));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts), Arc::new(ends)];
        columns.extend(keys.iter().cloned());
        columns.extend(self.states.state(&ids)?);
        let named = columns.into_iter().enumerate().map(|(at, column)| state_column(at, column));
        snapshot::keyed(self.hashing, &keys, ids.len(), named.collect())
    }

    fn emit(&self, ids: &[u32], out: &mut Output) -> Result<()> {
        for ids in ids.chunks(MAX_ROWS) {
            let (ids, places) = self.spans.places(ids);
            out.rows(self.batch(&ids, &places)?);
        }
        Ok(())
    }

    /// Sessions as rows, without sign.
    fn batch(&self, ids: &[u32], places: &[Place]) -> Result<RecordBatch> {
        let mut columns = self.key_columns(places)?;
        columns.insert(self.spec.position.min(columns.len()), self.session_column(places)?);
        columns.extend(self.states.evaluate(ids)?);
        Ok(RecordBatch::try_new(self.rows.clone(), columns)?)
    }

    fn key_columns(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        let groups: Vec<u32> = places.iter().map(|place| place.group).collect();
        self.keys.keys(&groups)
    }

    fn session_column(&self, places: &[Place]) -> Result<ArrayRef> {
        let starts = places.iter().map(|place| place.start);
        let ends = places.iter().map(|place| place.end);
        let [start, end] = &self.bounds;
        let columns = vec![timestamps(starts, start)?, timestamps(ends, end)?];
        Ok(Arc::new(StructArray::try_new(vec![start.clone(), end.clone()].into(), columns, None)?))
    }
}

impl Sessions {
    /// Adds sessions of keys that have none here; all of them have been shown. `groups` is left with the key group of each.
    fn take_back(
        &mut self,
        keys: &[ArrayRef],
        starts: &Int64Array,
        ends: &Int64Array,
        states: &[ArrayRef],
    ) -> Result<()> {
        self.keys.reserve(starts.len());
        self.keys.lookup_or_insert(keys, starts.len(), &mut self.groups)?;
        let assigned = self.assign(starts.values(), ends.values());
        self.states.restore(&assigned.ids, self.spans.id_count(), states)?;
        let (ids, places) = self.spans.places(&assigned.ids);
        self.shown.show(&ids, &places, self.spans.id_count());
        self.finish(assigned);
        Ok(())
    }

    /// State to restore; the sessions of a key may lie in several pieces.
    fn pieces(&self, state: Vec<RecordBatch>) -> impl Iterator<Item = RecordBatch> + use<> {
        in_pieces(state, self.cold.as_ref().map(|cold| &cold.rows))
    }

    fn size_bytes(&self) -> usize {
        let tables = self.keys.size_bytes() + self.spans.size_bytes() + self.expiry.size_bytes();
        tables + self.shown.size_bytes() + self.states.size_bytes() + self.marks.size_bytes()
    }
}

/// A column of a snapshot, `at` of those behind the key group.
fn state_column(at: usize, column: ArrayRef) -> (FieldRef, ArrayRef) {
    let name = ["_start", "_end"].get(at).map_or_else(|| format!("c{at}"), |name| (*name).to_owned());
    (Arc::new(Field::new(name, column.data_type().clone(), true)), column)
}

/// The two fields of the session column.
fn bounds(spec: &SessionSpec) -> Result<[FieldRef; 2]> {
    let none = || Error::Internal("the output has no session column".into());
    match spec.output.fields().get(spec.position).ok_or_else(none)?.data_type() {
        DataType::Struct(fields) => match fields.iter().as_slice() {
            [start, end] => Ok([start.clone(), end.clone()]),
            _ => Err(none()),
        },
        _ => Err(none()),
    }
}

fn timestamps(values: impl Iterator<Item = i64>, field: &Field) -> Result<ArrayRef> {
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = field.data_type() else {
        return Err(Error::Internal("a session's bounds are no timestamps".into()));
    };
    Ok(Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone_opt(zone.clone())))
}

impl Logic for Sessions {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        let (rows, starts, ends) = self.admit(self.in_time_order(rows)?, out)?;
        self.absorb(&rows, starts.values(), ends.values())?;
        if out.eager() {
            self.flush(out)?;
        }
        self.relieve(rows.num_rows(), Some(out))
    }

    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()> {
        self.watermark = watermarks.first().copied().unwrap_or(NO_WATERMARK);
        self.flush(out)?;
        self.close(out)
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        match self.spec.mode {
            Mode::Complete => {
                self.emit(&self.spans.ids(), out)?;
                self.emit_cold(out)
            }
            Mode::Append | Mode::Update | Mode::Changelog { .. } => {
                self.flush(out)?;
                self.close(out)
            }
        }
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.hashing = hashing;
    }

    fn goes_cold(&mut self, cold: Cold) -> Result<bool> {
        self.set_cold(cold)
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let ids = self.spans.ids();
        let mut state = self.snapshot_cold()?;
        if !ids.is_empty() {
            state.push(self.state_of(&ids)?);
        }
        Ok(state)
    }

    fn tracks_changes(&mut self) -> bool {
        self.marks.track();
        true
    }

    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changes = std::mem::take(&mut self.gone);
        let mut dirty = self.marks.take_dirty();
        dirty.retain(|group| self.keys.is_live(*group));
        let ids: Vec<u32> = dirty.iter().flat_map(|group| self.spans.of_group(*group)).collect();
        if !ids.is_empty() {
            changes.push(snapshot::changed(&self.state_of(&ids)?, &self.cell())?);
        }
        changes.extend(self.changes_cold()?);
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for batch in self.pieces(state) {
            let foreign = || Error::Internal("the state is not of session windows".into());
            let [starts, ends, rest @ ..] = snapshot::columns(&batch)? else { return Err(foreign()) };
            let (keys, states) = rest.split_at_checked(self.spec.keys.len()).ok_or_else(foreign)?;
            let starts = starts.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?;
            let ends = ends.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?;
            self.warm(keys, batch.num_rows())?;
            self.take_back(keys, starts, ends, states)?;
            self.relieve(batch.num_rows(), None)?;
        }
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        self.metrics.rows_total = self.spans.len() as u64;
        self.metrics.memory_bytes = self.size_bytes() as u64;
        self.cold.iter().for_each(|cold| cold.rows.report(&mut self.metrics));
        std::mem::take(&mut self.metrics)
    }
}
