//! Aggregation with one table of groups, some of which may carry an event time among their keys.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::TimestampMicrosecondType;

use super::table::{PART_OF_CHANGES, Table, buckets};
use super::{GroupSpec, Mode, emit_all, emit_changes, keep_rows};
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Cursor, NEVER, Part, in_pieces};
use crate::driver::{Logic, StateMetrics};
use crate::expiry::Expiry;
use crate::keys::Hashing;
use crate::marks::{DIRTY, TOUCHED};
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Result};

/// Grouped aggregation without windows of its own; see the module.
pub struct Keyed {
    spec: GroupSpec,
    /// Column of the input with each row's closing time (the event-time key, or its window's end).
    time: Option<usize>,
    table: Table,
    /// Groups by their closing times.
    closing: Expiry,
    /// Closing time of each group; `None` for groups that never close and ids not in use.
    closes: Vec<Option<i64>>,
    watermark: i64,
    owns_global: bool,
    /// Whether the one group of an aggregation without keys has been emitted in this epoch.
    global_shown: bool,
    groups: Vec<u32>,
    /// What a checkpoint may have and is no longer there.
    gone: Vec<RecordBatch>,
    hashing: Hashing,
    /// The groups for which there is no memory.
    cold: Option<ColdRows>,
    metrics: StateMetrics,
}

/// The one bucket of cold groups.
const BUCKET: i64 = 0;

impl Keyed {
    /// `time`: column with each row's closing time, if an event time is among the keys.
    /// `owns_global`: this worker owns the group of an aggregation without keys.
    pub fn new(spec: GroupSpec, time: Option<usize>, owns_global: bool) -> Result<Self> {
        let mut table = Table::new(&spec)?;
        let owns_global = owns_global && spec.keys.is_empty();
        if owns_global {
            table.ensure_global()?;
        }
        Ok(Keyed {
            spec,
            time,
            table,
            closing: Expiry::default(),
            closes: Vec::new(),
            watermark: NO_WATERMARK,
            owns_global,
            global_shown: false,
            groups: Vec::new(),
            gone: Vec::new(),
            hashing: Hashing::default(),
            cold: None,
            metrics: StateMetrics::default(),
        })
    }

    fn drop_late(&mut self, rows: RecordBatch, out: &mut Output) -> Result<RecordBatch> {
        let (Some(time), true) = (self.time, self.spec.mode.closes()) else { return Ok(rows) };
        if self.watermark == NO_WATERMARK {
            return Ok(rows);
        }
        let times = micros(&rows, time)?;
        let keep: BooleanArray = times.iter().map(|at| Some(at.is_none_or(|at| at > self.watermark))).collect();
        if out.wants_late() && keep.false_count() > 0 {
            out.late(0, filter_record_batch(&rows, &not(&keep)?)?, self.watermark);
        }
        let (rows, dropped) = keep_rows(rows, &keep)?;
        self.metrics.rows_dropped += dropped;
        Ok(rows)
    }

    /// Files new groups under their closing times.
    fn file(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(time) = self.time else { return Ok(()) };
        self.closes.resize(self.table.keys.group_count(), None);
        let times = micros(rows, time)?;
        for (row, &group) in self.groups.iter().enumerate() {
            let known = &mut self.closes[group as usize];
            if known.is_none() && times.is_valid(row) {
                *known = Some(times.value(row));
                self.closing.extend([(times.value(row), group)]);
            }
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Output) -> Result<()> {
        if self.spec.mode.is_changelog() {
            let (changes, touched) = self.table.take_changes()?;
            self.metrics.rows_updated += touched as u64;
            return changes.map_or(Ok(()), |changes| emit_changes(&self.spec, changes, out));
        }
        let touched = self.table.take_touched();
        self.global_shown |= !touched.is_empty();
        self.metrics.rows_updated += touched.len() as u64;
        if self.spec.mode == Mode::Update {
            emit_all(&self.spec, &self.table, &touched, out)?;
        }
        self.flush_cold(out)
    }

    /// As [`Keyed::flush`], of what has left the table since it was touched. A changelog has no such groups.
    fn flush_cold(&mut self, out: &mut Output) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut cursor = Cursor::all();
        while let Some(part) = cold.next_marked(TOUCHED, &mut cursor)? {
            self.metrics.rows_updated += part.len() as u64;
            if self.spec.mode == Mode::Update {
                emit_part(&self.spec, &part, out)?;
            }
        }
        cold.end_marked(TOUCHED);
        Ok(())
    }

    fn close(&mut self, watermark: i64, out: &mut Output) -> Result<()> {
        let mut closed = Vec::new();
        self.closing.expire(watermark, &mut closed);
        if self.spec.mode == Mode::Append {
            emit_all(&self.spec, &self.table, &closed, out)?;
        }
        self.metrics.rows_removed += closed.len() as u64;
        if self.table.tracks() && !closed.is_empty() {
            self.gone.push(self.table.gone(self.hashing, &closed, self.buckets_of(&closed))?);
        }
        closed.iter().for_each(|&group| self.closes[group as usize] = None);
        self.table.remove(&closed);
        self.close_cold(watermark, out)
    }

    fn close_cold(&mut self, watermark: i64, out: &mut Output) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        while let Some(part) = cold.take_due(BUCKET, watermark)? {
            if self.spec.mode == Mode::Append {
                emit_part(&self.spec, &part, out)?;
            }
            self.metrics.rows_removed += part.len() as u64;
            if self.table.tracks() {
                let (table, groups) = Table::of(&self.spec, &part)?;
                self.gone.push(table.gone(self.hashing, &groups, times_of(&part))?);
            }
        }
        Ok(())
    }
}

impl Keyed {
    /// Brings back from the store what the rows are about.
    fn warm(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let keys = self.spec.key_columns(rows);
        let (groups, dues) = self.table.warm(&keys, rows.num_rows(), BUCKET, cold)?;
        self.file_again(&groups, &dues);
        Ok(())
    }

    /// Files groups that were here before under their closing times.
    fn file_again(&mut self, groups: &[u32], dues: &[i64]) {
        if self.time.is_none() {
            return;
        }
        self.closes.resize(self.table.keys.group_count(), None);
        for (&group, &due) in groups.iter().zip(dues).filter(|(_, due)| **due != NEVER) {
            self.closes[group as usize] = Some(due);
            self.closing.extend([(due, group)]);
        }
    }

    /// Whether the groups in memory are more than there should be, after so many more rows.
    fn is_pressed(&mut self, rows: usize) -> bool {
        let live = self.table.len();
        let looks = self.cold.as_mut().is_some_and(|cold| cold.wants_look(rows, live));
        looks && self.cold.as_ref().is_some_and(|cold| cold.is_exceeded(self.size_bytes()))
    }

    /// Sends half of the groups to the store: those that have not been in use for longer.
    fn relieve(&mut self) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let leaving = self.table.colder_half();
        let closes = std::mem::take(&mut self.closes);
        let due = |group: u32| closes.get(group as usize).copied().flatten().unwrap_or(NEVER);
        let (groups, dues) = self.table.send_cold(&self.spec, &leaving, BUCKET, &due, cold)?;
        self.closing = Expiry::default();
        self.file_again(&groups, &dues);
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        self.table.size_bytes() + 16 * self.closes.capacity() + self.closing.size_bytes()
    }

    /// Closing times of these groups, as a snapshot has them.
    fn buckets_of(&self, groups: &[u32]) -> Int64Array {
        groups.iter().map(|&group| self.closes.get(group as usize).copied().flatten()).collect()
    }
}

/// Closing times of cold groups, as a snapshot has them.
fn times_of(part: &Part) -> Int64Array {
    part.dues.iter().map(|due| Some(*due).filter(|due| *due != NEVER)).collect()
}

/// Emits cold groups.
fn emit_part(spec: &GroupSpec, part: &Part, out: &mut Output) -> Result<()> {
    let (table, groups) = Table::of(spec, part)?;
    emit_all(spec, &table, &groups, out)
}

fn micros(rows: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| Error::Internal("closing time is not a microsecond timestamp".into()))
}

impl Logic for Keyed {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some((rows, picks)) = chunk.into_picks() else { return Ok(()) };
        debug_assert!(picks.is_none() || self.takes_picks(), "the steps below look at all rows");
        let rows = self.drop_late(rows, out)?;
        self.warm(&rows)?;
        self.table.update(&self.spec, &rows, picks.as_ref(), &mut self.groups)?;
        self.file(&rows)?;
        if out.eager() && self.spec.mode.emits_changes() {
            self.flush(out)?;
        }
        if self.is_pressed(rows.num_rows()) {
            // The row that a changelog has to take back is known to the table only.
            if self.spec.mode.is_changelog() {
                self.flush(out)?;
            }
            self.relieve()?;
        }
        Ok(())
    }

    /// Not where late rows are sorted out, closing times filed or groups brought back from a store: that is done for all rows of a chunk.
    fn takes_picks(&self) -> bool {
        self.time.is_none() && self.cold.is_none()
    }

    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()> {
        self.watermark = watermarks[0];
        if !self.spec.mode.closes() {
            return Ok(());
        }
        self.flush(out)?;
        self.close(self.watermark, out)
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        let shown = std::mem::take(&mut self.global_shown);
        if self.owns_global && ((!out.eager() && !shown) || self.spec.mode.is_changelog()) {
            self.table.touch_global(&self.spec)?;
        }
        self.flush(out)?;
        self.global_shown = false;
        if self.spec.mode == Mode::Complete {
            emit_all(&self.spec, &self.table, &self.table.groups(), out)?;
            let mut cursor = Cursor::all();
            while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.next(&mut cursor))? {
                emit_part(&self.spec, &part, out)?;
            }
        }
        Ok(())
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.hashing = hashing;
    }

    fn goes_cold(&mut self, cold: Cold) -> Result<bool> {
        if !self.spec.keys.is_empty() {
            self.cold = Some(self.table.go_cold(cold, self.time.is_some())?);
        }
        Ok(self.cold.is_some())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let groups = self.table.groups();
        let mut state = vec![self.table.snapshot(self.hashing, &groups, self.buckets_of(&groups))?];
        let mut cursor = Cursor::all();
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.next(&mut cursor))? {
            let (table, groups) = Table::of(&self.spec, &part)?;
            state.push(table.snapshot(self.hashing, &groups, times_of(&part))?);
        }
        Ok(state)
    }

    fn tracks_changes(&mut self) -> bool {
        self.table.track();
        if self.owns_global {
            self.table.note_global();
        }
        true
    }

    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changes = std::mem::take(&mut self.gone);
        for part in self.table.take_dirty().chunks(PART_OF_CHANGES) {
            let buckets = self.buckets_of(part);
            changes.push(self.table.changes(self.hashing, part, buckets)?);
        }
        let Some(cold) = &mut self.cold else { return Ok(changes) };
        let mut cursor = Cursor::all();
        while let Some(part) = cold.next_marked(DIRTY, &mut cursor)? {
            let (mut table, groups) = Table::of(&self.spec, &part)?;
            changes.push(table.changes(self.hashing, &groups, times_of(&part))?);
        }
        cold.end_marked(DIRTY);
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for rows in in_pieces(state, self.cold.as_ref()) {
            let groups = self.table.restore(&self.spec, &rows)?;
            let dues: Vec<i64> = buckets(&rows).iter().map(|close| close.unwrap_or(NEVER)).collect();
            self.file_again(&groups, &dues);
            if self.is_pressed(rows.num_rows()) {
                self.relieve()?;
            }
        }
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        self.metrics.rows_total = self.table.len() as u64;
        self.metrics.memory_bytes = self.size_bytes() as u64;
        self.cold.iter().for_each(|cold| cold.report(&mut self.metrics));
        std::mem::take(&mut self.metrics)
    }
}
