//! Aggregation with one table of groups, some of which may carry an event time among their keys.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::TimestampMicrosecondType;

use super::table::{Table, buckets};
use super::{GroupSpec, Mode, emit, emit_changes, keep_rows};
use crate::driver::{Logic, StateMetrics};
use crate::expiry::Expiry;
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
    metrics: StateMetrics,
}

impl Keyed {
    /// `time`: column with each row's closing time, if an event time is among the keys.
    /// `owns_global`: this worker owns the group of an aggregation without keys.
    pub fn new(spec: GroupSpec, time: Option<usize>, owns_global: bool) -> Result<Self> {
        let mut table = Table::new(&spec)?;
        let owns_global = owns_global && spec.keys.is_empty();
        if owns_global {
            table.ensure_global(&spec)?;
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
            emit(&self.spec, self.table.rows(&touched)?, out)?;
        }
        Ok(())
    }

    fn close(&mut self, watermark: i64, out: &mut Output) -> Result<()> {
        let mut closed = Vec::new();
        self.closing.expire(watermark, &mut closed);
        if self.spec.mode == Mode::Append {
            emit(&self.spec, self.table.rows(&closed)?, out)?;
        }
        self.metrics.rows_removed += closed.len() as u64;
        if self.table.tracks() && !closed.is_empty() {
            self.gone.push(self.table.gone(&closed, self.buckets_of(&closed))?);
        }
        closed.iter().for_each(|&group| self.closes[group as usize] = None);
        self.table.remove(&closed);
        Ok(())
    }
}

impl Keyed {
    /// Closing times of these groups, as a snapshot has them.
    fn buckets_of(&self, groups: &[u32]) -> Int64Array {
        groups.iter().map(|&group| self.closes.get(group as usize).copied().flatten()).collect()
    }
}

fn micros(rows: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| Error::Internal("closing time is not a microsecond timestamp".into()))
}

impl Logic for Keyed {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        let rows = self.drop_late(rows, out)?;
        self.table.update(&self.spec, &rows, &mut self.groups)?;
        self.file(&rows)?;
        if out.eager() && self.spec.mode.emits_changes() {
            self.flush(out)?;
        }
        Ok(())
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
            emit(&self.spec, self.table.rows(&self.table.groups())?, out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let groups = self.table.groups();
        Ok(vec![self.table.snapshot(&groups, self.buckets_of(&groups))?])
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
        let dirty = self.table.take_dirty();
        if !dirty.is_empty() {
            let buckets = self.buckets_of(&dirty);
            changes.push(self.table.changes(&dirty, buckets)?);
        }
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for rows in state {
            let groups = self.table.restore(&self.spec, &rows)?;
            self.closes.resize(self.table.keys.group_count(), None);
            for (group, close) in groups.into_iter().zip(buckets(&rows)) {
                self.closes[group as usize] = close;
                if let Some(close) = close {
                    self.closing.extend([(close, group)]);
                }
            }
        }
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        self.metrics.rows_total = self.table.len() as u64;
        self.metrics.memory_bytes =
            (self.table.size_bytes() + 16 * self.closes.capacity() + self.closing.size_bytes()) as u64;
        let metrics = self.metrics;
        self.metrics = StateMetrics::default();
        metrics
    }
}
