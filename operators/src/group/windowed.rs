//! Aggregation over tumbling and sliding windows that the operator computes itself.
//!
//! In append mode of overlapping windows there is one table per slice (greatest common divisor of length and slide): a row
//! is aggregated once, and the slices of a window are merged when it closes. Otherwise there is one table per window.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StructArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Fields, TimestampMicrosecondType};

use super::table::{Table, buckets};
use super::{GroupSpec, Mode, emit, emit_changes};
use crate::driver::{Logic, StateMetrics};
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Result};

/// Windows over a timestamp column; all times in microseconds. Invariant: `0 < slide <= length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    /// The timestamp column of the input. Rows without a time are in no window.
    pub column: usize,
    /// Length of a window.
    pub length: i64,
    /// Distance from one window's start to the next.
    pub slide: i64,
    /// Offset of the windows from 1970-01-01 UTC.
    pub start: i64,
    /// Where the window stands among the output's key columns.
    pub position: usize,
}

impl WindowSpec {
    /// Start of the last window that contains `time`.
    pub fn last_start(&self, time: i64) -> i64 {
        time.saturating_sub(time.wrapping_sub(self.start).rem_euclid(self.slide))
    }

    /// Start of the first window after `time` (that starts later than it).
    fn first_after(&self, time: i64) -> i64 {
        self.last_start(time).saturating_add(self.slide)
    }

    /// Start of the first window that contains `time`.
    fn first_start(&self, time: i64) -> i64 {
        self.first_after(time.saturating_sub(self.length))
    }

    /// End of the window (or slice of `length`) that starts at `start`.
    fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.length)
    }

    /// Number of windows a time can lie in.
    fn overlap(&self) -> i64 {
        (self.length + self.slide - 1) / self.slide
    }

    /// Length of the windows or slices under which [`Windowed`] keeps its state: each begins at what a snapshot has as bucket.
    pub fn cell_length(&self, mode: Mode) -> i64 {
        if mode == Mode::Append { self.slices().length } else { self.length }
    }

    /// The tumbling windows whose tables are kept in append mode.
    fn slices(&self) -> WindowSpec {
        let slice = greatest_common_divisor(self.length, self.slide);
        WindowSpec { length: slice, slide: slice, ..*self }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Grouped aggregation over windows; see the module.
pub struct Windowed {
    spec: GroupSpec,
    window: WindowSpec,
    /// What the tables stand for: the windows themselves, or their slices.
    cells: WindowSpec,
    /// Start of the window or slice → its groups.
    tables: BTreeMap<i64, Table>,
    watermark: i64,
    groups: Vec<u32>,
    starts: Vec<i64>,
    /// Whether changes are remembered, and what a checkpoint may have and is no longer there.
    tracks: bool,
    gone: Vec<RecordBatch>,
    metrics: StateMetrics,
}

impl Windowed {
    /// Aggregates into the windows of `window`.
    pub fn new(spec: GroupSpec, window: WindowSpec) -> Self {
        let cells = if spec.mode == Mode::Append { window.slices() } else { window };
        Windowed {
            spec,
            window,
            cells,
            tables: BTreeMap::new(),
            watermark: NO_WATERMARK,
            groups: Vec::new(),
            starts: Vec::new(),
            tracks: false,
            gone: Vec::new(),
            metrics: StateMetrics::default(),
        }
    }

    fn sliced(&self) -> bool {
        self.cells != self.window
    }

    /// Adds each row to the `back`-th cell before its last one.
    fn add(&mut self, rows: &RecordBatch, back: i64, out: &mut Output) -> Result<()> {
        let times = times(rows, self.window.column)?;
        let late = if self.spec.mode.closes() { self.watermark } else { i64::MIN };
        let cells = self.cells;
        let window = self.window;
        let mut starts = std::mem::take(&mut self.starts);
        starts.clear();
        starts.extend(times.values().iter().map(|&time| cells.last_start(time).saturating_sub(back * cells.slide)));
        // In a row's own last window it is late only if that is closed; slices belong to that window too.
        let fits = |row: usize| {
            let time = times.value(row);
            let end = if window == cells { window.end(starts[row]) } else { window.end(window.last_start(time)) };
            times.is_valid(row) && time < cells.end(starts[row]) && end > late
        };
        let cells_of_rows = partition(&starts, rows.num_rows(), fits);
        let added: usize = cells_of_rows.iter().map(|(_, picked)| picked.len()).sum();
        self.starts = starts;
        let late_rows = rows.num_rows() - times.null_count() - added;
        if back == 0 && late_rows > 0 {
            self.metrics.rows_dropped += late_rows as u64;
            self.hand_over_late(rows, times, out)?;
        }
        cells_of_rows.into_iter().try_for_each(|(start, picked)| self.update(start, rows, picked))
    }

    /// A row is late when the last of its windows is closed.
    fn hand_over_late(&self, rows: &RecordBatch, times: &TimestampMicrosecondArray, out: &mut Output) -> Result<()> {
        if !out.wants_late() {
            return Ok(());
        }
        let end = |row| self.window.end(self.window.last_start(times.value(row)));
        let late = |row| times.is_valid(row) && end(row) <= self.watermark;
        let late = BooleanArray::new(BooleanBuffer::collect_bool(rows.num_rows(), late), None);
        out.late(0, filter_record_batch(rows, &late)?, self.watermark);
        Ok(())
    }

    fn update(&mut self, start: i64, rows: &RecordBatch, picked: Vec<u32>) -> Result<()> {
        let whole = picked.len() == rows.num_rows();
        let rows = if whole { rows.clone() } else { take_record_batch(rows, &UInt32Array::from(picked))? };
        let table = match self.tables.entry(start) {
            Entry::Occupied(table) => table.into_mut(),
            Entry::Vacant(place) => {
                let table = place.insert(Table::new(&self.spec)?);
                if self.tracks {
                    table.track();
                }
                table
            }
        };
        table.update(&self.spec, &rows, &mut self.groups)
    }

    /// Update mode: emits what received a row since the last flush.
    fn flush(&mut self, out: &mut Output) -> Result<()> {
        if self.spec.mode.is_changelog() {
            return self.flush_changes(out);
        }
        for (&start, table) in &mut self.tables {
            let touched = table.take_touched();
            self.metrics.rows_updated += touched.len() as u64;
            if self.spec.mode == Mode::Update {
                emit_window(&self.spec, &self.window, start, table, &touched, out)?;
            }
        }
        Ok(())
    }

    fn flush_changes(&mut self, out: &mut Output) -> Result<()> {
        for (&start, table) in &mut self.tables {
            let (changes, touched) = table.take_changes()?;
            self.metrics.rows_updated += touched as u64;
            let Some(mut changes) = changes else { continue };
            let rows = changes.first().map_or(0, |column| column.len());
            changes.insert(self.window.position, window_of(&self.spec, &self.window, start, rows)?);
            emit_changes(&self.spec, changes, out)?;
        }
        Ok(())
    }

    /// Drops the windows that are complete; in append mode they are emitted first.
    fn close(&mut self, before: i64, out: &mut Output) -> Result<()> {
        if self.sliced() { self.close_sliced(before, out) } else { self.close_whole(out) }
    }

    fn close_whole(&mut self, out: &mut Output) -> Result<()> {
        while let Some(first) = self.tables.first_entry() {
            if self.window.end(*first.key()) > self.watermark {
                break;
            }
            let (start, table) = first.remove_entry();
            self.metrics.rows_removed += table.len() as u64;
            if self.spec.mode == Mode::Append {
                emit_window(&self.spec, &self.window, start, &table, &table.groups(), out)?;
            }
            self.note_gone(start, &table)?;
        }
        Ok(())
    }

    /// A table has been dropped: a checkpoint's rows of it go by their window alone.
    fn note_gone(&mut self, start: i64, table: &Table) -> Result<()> {
        if self.tracks {
            let gone = table.all_gone(start)?;
            self.gone.extend(Some(gone).filter(|gone| gone.num_rows() > 0));
        }
        Ok(())
    }

    /// Merges the slices of each window that ends in `(before, watermark]`, then drops the slices no open window needs.
    fn close_sliced(&mut self, before: i64, out: &mut Output) -> Result<()> {
        let mut start = self.window.first_after(before.saturating_sub(self.window.length));
        while let Some((&slice, _)) = self.tables.range(start..).next() {
            start = start.max(self.window.first_start(slice));
            if self.window.end(start) > self.watermark {
                break;
            }
            self.emit_merged(start, out)?;
            start = start.saturating_add(self.window.slide);
        }
        while let Some(first) = self.tables.first_entry() {
            if self.window.end(self.window.last_start(*first.key())) > self.watermark {
                break;
            }
            let (start, slice) = first.remove_entry();
            self.metrics.rows_removed += slice.len() as u64;
            self.note_gone(start, &slice)?;
        }
        Ok(())
    }

    fn emit_merged(&self, start: i64, out: &mut Output) -> Result<()> {
        let mut whole = Table::new(&self.spec)?;
        for (_, slice) in self.tables.range(start..self.window.end(start)) {
            whole.absorb(slice)?;
        }
        emit_window(&self.spec, &self.window, start, &whole, &whole.groups(), out)
    }
}

fn times(rows: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| Error::Internal("a window's time is not a microsecond timestamp".into()))
}

/// Row numbers per start, of the rows that `fits`; in order of their first row.
fn partition(starts: &[i64], rows: usize, fits: impl Fn(usize) -> bool) -> Vec<(i64, Vec<u32>)> {
    let mut cells: Vec<(i64, Vec<u32>)> = Vec::new();
    let mut last = 0;
    for row in (0..rows).filter(|&row| fits(row)) {
        let start = starts[row];
        if cells.get(last).is_none_or(|(known, _)| *known != start) {
            last = cells.iter().position(|(known, _)| *known == start).unwrap_or(cells.len());
        }
        if last == cells.len() {
            cells.push((start, Vec::with_capacity(rows)));
        }
        cells[last].1.push(row as u32);
    }
    cells
}

/// Emits groups of the window that starts at `start`.
fn emit_window(
    spec: &GroupSpec,
    window: &WindowSpec,
    start: i64,
    table: &Table,
    groups: &[u32],
    out: &mut Output,
) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut columns = table.rows(groups)?;
    columns.insert(window.position, window_of(spec, window, start, groups.len())?);
    emit(spec, columns, out)
}

/// The window that starts at `start`, as a column.
fn window_of(spec: &GroupSpec, window: &WindowSpec, start: i64, rows: usize) -> Result<ArrayRef> {
    let DataType::Struct(fields) = spec.output.field(window.position).data_type() else {
        return Err(Error::Internal("a window column is not a struct".into()));
    };
    window_column(fields, start, window.end(start), rows)
}

fn window_column(fields: &Fields, start: i64, end: i64, rows: usize) -> Result<ArrayRef> {
    let bound = |micros: i64, field: usize| -> Result<ArrayRef> {
        let array = TimestampMicrosecondArray::from_value(micros, rows);
        Ok(arrow::compute::cast(&array, fields[field].data_type())?)
    };
    Ok(Arc::new(StructArray::try_new(fields.clone(), vec![bound(start, 0)?, bound(end, 1)?], None)?))
}

impl Logic for Windowed {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        for back in 0..self.cells.overlap() {
            self.add(&rows, back, out)?;
        }
        if out.eager() && self.spec.mode.emits_changes() {
            self.flush(out)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()> {
        if !self.spec.mode.closes() {
            self.watermark = watermarks[0];
            return Ok(());
        }
        self.flush(out)?;
        let before = std::mem::replace(&mut self.watermark, watermarks[0]);
        self.close(before, out)
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        self.flush(out)?;
        if self.spec.mode == Mode::Complete {
            for (&start, table) in &self.tables {
                emit_window(&self.spec, &self.window, start, table, &table.groups(), out)?;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let one = |(start, table): (&i64, &Table)| {
            let groups = table.groups();
            table.snapshot(&groups, Int64Array::from_value(*start, groups.len()))
        };
        self.tables.iter().map(one).collect()
    }

    fn tracks_changes(&mut self) -> bool {
        self.tracks = true;
        self.tables.values_mut().for_each(Table::track);
        true
    }

    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changes = std::mem::take(&mut self.gone);
        for (start, table) in &mut self.tables {
            let dirty = table.take_dirty();
            if !dirty.is_empty() {
                changes.push(table.changes(&dirty, Int64Array::from_value(*start, dirty.len()))?);
            }
        }
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for rows in state {
            let all: Vec<i64> = buckets(&rows).values().to_vec();
            for (start, picked) in partition(&all, rows.num_rows(), |_| true) {
                let part = take_record_batch(&rows, &UInt32Array::from(picked))?;
                let mut table = match self.tables.remove(&start) {
                    Some(table) => table,
                    None => Table::new(&self.spec)?,
                };
                table.restore(&self.spec, &part)?;
                self.tables.insert(start, table);
            }
        }
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        self.metrics.rows_total = self.tables.values().map(|table| table.len() as u64).sum();
        self.metrics.memory_bytes = self.tables.values().map(|table| table.size_bytes() as u64).sum();
        std::mem::take(&mut self.metrics)
    }
}
