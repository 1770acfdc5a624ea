//! Aggregation over tumbling and sliding windows that the operator computes itself.
//!
//! In append mode of overlapping windows there is one table per slice (greatest common divisor of length and slide): a row
//! is aggregated once, and the slices of a window are merged when it closes. Otherwise there is one table per window, because
//! each is shown as it changes; where rows of a chunk share groups they are aggregated once per slice, too, and the chunk's partials
//! merged into the windows. What always holds: aggregates that depend on the order of rows see it, so they are never sliced.

mod cold;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StructArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Fields, TimeUnit, TimestampMicrosecondType};
use hashbrown::HashMap;

use super::table::{PART_OF_CHANGES, Table, buckets};
use super::{GroupSpec, Mode, emit, emit_changes};
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, in_pieces};
use crate::driver::{Logic, StateMetrics};
use crate::keys::Hashing;
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

    /// Starts of the windows that end after `time`, from the one that starts at `last` backwards.
    fn ending_after(self, time: i64, last: i64) -> impl Iterator<Item = i64> {
        let starts = (0..self.overlap()).map(move |back| last.saturating_sub(back.saturating_mul(self.slide)));
        starts.take_while(move |start| self.end(*start) > time)
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
    /// An empty table that has grown already, for the next window. There is none while groups lie in a store.
    spare: Option<Table>,
    /// The tables that received rows since the last flush, each once.
    touched: Vec<i64>,
    partials: Partials,
    /// Whether an aggregate depends on the order of rows.
    ordered: bool,
    watermark: i64,
    groups: Vec<u32>,
    /// Whether changes are remembered, and what a checkpoint may have and is no longer there.
    tracks: bool,
    gone: Vec<RecordBatch>,
    hashing: Hashing,
    /// The groups for which there is no memory.
    cold: Option<ColdRows>,
    metrics: StateMetrics,
}

impl Windowed {
    /// Aggregates into the windows of `window`.
    pub fn new(spec: GroupSpec, window: WindowSpec) -> Self {
        let ordered = spec.aggregates.iter().any(|call| call.function.depends_on_order());
        let cells = if spec.mode == Mode::Append && !ordered { window.slices() } else { window };
        let partials = if ordered || window.overlap() == 1 { Partials::Never } else { Partials::After(0) };
        Windowed {
            spec,
            window,
            cells,
            tables: BTreeMap::new(),
            spare: None,
            touched: Vec::new(),
            partials,
            ordered,
            watermark: NO_WATERMARK,
            groups: Vec::new(),
            tracks: false,
            gone: Vec::new(),
            hashing: Hashing::default(),
            cold: None,
            metrics: StateMetrics::default(),
        }
    }

    /// Windows that end up to here are closed.
    fn late_until(&self) -> i64 {
        if self.spec.mode.closes() { self.watermark } else { i64::MIN }
    }

    fn sliced(&self) -> bool {
        self.cells != self.window
    }

    /// Adds each row to the `back`-th cell before its last one.
    fn add(&mut self, rows: &RecordBatch, back: i64, out: &mut Output) -> Result<()> {
        let times = times(rows, self.window.column)?;
        let late = self.late_until();
        let (window, cells) = (self.window, self.cells);
        let place = |time: i64| {
            let start = cells.last_start(time).saturating_sub(back * cells.slide);
            // In a row's own last window it is late only if that is closed; slices belong to that window too.
            let end = if window == cells { window.end(start) } else { window.end(window.last_start(time)) };
            (time < cells.end(start) && end > late).then_some(start)
        };
        let cells_of_rows = partition(placed(times, place), rows.num_rows());
        let added: usize = cells_of_rows.iter().map(|(_, picked)| picked.len()).sum();
        if back == 0 {
            self.count_late(rows, times, added, out)?;
        }
        cells_of_rows.into_iter().try_for_each(|(start, picked)| self.update(start, rows, picked))
    }

    /// Adds each row to all its windows, so that every window sees its rows in the order in which they came.
    fn add_in_order(&mut self, rows: &RecordBatch, out: &mut Output) -> Result<()> {
        let times = times(rows, self.window.column)?;
        let late = self.late_until();
        let window = self.window;
        let is_open = |row: &usize| times.is_valid(*row) && window.end(window.last_start(times.value(*row))) > late;
        let added = (0..rows.num_rows()).filter(is_open).count();
        self.count_late(rows, times, added, out)?;
        let windows = (0..rows.num_rows()).filter(|row| times.is_valid(*row)).flat_map(|row| {
            let (time, last) = (times.value(row), window.last_start(times.value(row)));
            window.ending_after(time.max(late), last).map(move |start| (row as u32, start))
        });
        let parts = partition(windows, rows.num_rows());
        parts.into_iter().try_for_each(|(start, picked)| self.update(start, rows, picked))
    }

    /// Counts the rows that were not added though they have a time, and hands them over if somebody wants them.
    fn count_late(
        &mut self,
        rows: &RecordBatch,
        times: &TimestampMicrosecondArray,
        added: usize,
        out: &mut Output,
    ) -> Result<()> {
        let late = rows.num_rows() - times.null_count() - added;
        self.metrics.rows_dropped += late as u64;
        if late > 0 { self.hand_over_late(rows, times, out) } else { Ok(()) }
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
        let rows = pick(rows, picked)?;
        if self.cold.is_some() {
            self.warm(start, &self.spec.key_columns(&rows), rows.num_rows())?;
        }
        self.on_table(start, |table, spec, groups| table.update(spec, &rows, None, groups))
    }

    /// Changes the table of a window or slice, which is made if there is none.
    fn on_table(
        &mut self,
        start: i64,
        change: impl FnOnce(&mut Table, &GroupSpec, &mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        let table = match self.tables.entry(start) {
            Entry::Occupied(table) => table.into_mut(),
            Entry::Vacant(place) => {
                let table = place.insert(fresh(&mut self.spare, &self.spec)?);
                if self.tracks {
                    table.track();
                }
                if self.cold.is_some() {
                    table.watch();
                }
                table
            }
        };
        if !table.is_touched() {
            self.touched.push(start);
        }
        change(table, &self.spec, &mut self.groups)
    }

    /// Adds rows to all windows they lie in: each to its slice's partial, which is merged into the windows over the slice.
    /// False, with nothing done, if too few rows share a slice for that to be less work.
    fn add_by_slices(&mut self, rows: &RecordBatch, out: &mut Output) -> Result<bool> {
        let times = times(rows, self.window.column)?;
        let (window, slices) = (self.window, self.window.slices());
        let late = self.late_until();
        let place = |time: i64| {
            let slice = slices.last_start(time);
            (window.end(window.last_start(slice)) > late).then_some(slice)
        };
        let parts = partition(placed(times, place), rows.num_rows());
        if parts.len() * Partials::ROWS_A_SLICE > rows.num_rows() {
            return Ok(false);
        }
        let added: usize = parts.iter().map(|(_, picked)| picked.len()).sum();
        self.count_late(rows, times, added, out)?;
        let mut groups = 0;
        for (slice, picked) in parts {
            groups += self.add_slice(slice, &pick(rows, picked)?, late)?;
        }
        self.partials = self.partials.next(groups, added);
        Ok(true)
    }

    /// Adds the rows of one slice; how many groups they are of.
    fn add_slice(&mut self, slice: i64, rows: &RecordBatch, late: i64) -> Result<usize> {
        let mut partial = fresh(&mut self.spare, &self.spec)?;
        partial.collect(&self.spec, rows, &mut self.groups)?;
        let last = self.window.last_start(slice);
        let keys = if self.cold.is_some() { partial.keys.keys(&partial.groups())? } else { Vec::new() };
        for start in self.window.ending_after(slice.max(late), last) {
            if self.cold.is_some() {
                self.warm(start, &keys, partial.len())?;
            }
            self.on_table(start, |table, spec, groups| table.merge_in(spec, &partial, groups))?;
        }
        let groups = partial.len();
        self.done_with(partial)?;
        Ok(groups)
    }

    /// Keeps a table that is needed no more for the next one.
    fn done_with(&mut self, mut table: Table) -> Result<()> {
        if self.cold.is_none() {
            table.clear(&self.spec)?;
            self.spare = Some(table);
        }
        Ok(())
    }

    /// Update mode: emits what received a row since the last flush.
    fn flush(&mut self, out: &mut Output) -> Result<()> {
        if self.spec.mode.is_changelog() {
            return self.flush_changes(out);
        }
        for start in self.take_touched() {
            let Some(table) = self.tables.get_mut(&start) else { continue };
            let touched = table.take_touched();
            self.metrics.rows_updated += touched.len() as u64;
            if self.spec.mode == Mode::Update {
                emit_window(&self.spec, &self.window, start, table, &touched, out)?;
            }
        }
        self.flush_cold(out)
    }

    /// The windows that received rows since the last flush, in order of time.
    fn take_touched(&mut self) -> Vec<i64> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched
    }

    fn flush_changes(&mut self, out: &mut Output) -> Result<()> {
        for start in self.take_touched() {
            let Some(table) = self.tables.get_mut(&start) else { continue };
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
            self.close_cold(start, &table, Some(&mut *out).filter(|_| self.spec.mode == Mode::Append))?;
            self.note_gone(start, &table)?;
            self.done_with(table)?;
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
            self.close_cold(start, &slice, None)?;
            self.note_gone(start, &slice)?;
            self.done_with(slice)?;
        }
        Ok(())
    }

    fn emit_merged(&mut self, start: i64, out: &mut Output) -> Result<()> {
        if self.emit_merged_cold(start, out)? {
            return Ok(());
        }
        let mut whole = fresh(&mut self.spare, &self.spec)?;
        for (_, slice) in self.tables.range(start..self.window.end(start)) {
            whole.absorb(slice)?;
        }
        emit_window(&self.spec, &self.window, start, &whole, &whole.groups(), out)?;
        self.done_with(whole)
    }
}

/// A table without groups: the spare one if there is one.
fn fresh(spare: &mut Option<Table>, spec: &GroupSpec) -> Result<Table> {
    spare.take().map_or_else(|| Table::new(spec), Ok)
}

fn times(rows: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| Error::Internal("a window's time is not a microsecond timestamp".into()))
}

/// Whether rows are aggregated per slice before they go into the windows.
#[derive(Clone, Copy)]
enum Partials {
    /// Windows do not overlap, or an aggregate depends on the order of rows.
    Never,
    /// After so many more chunks; 0: now.
    After(u32),
}

impl Partials {
    /// Below so many rows a slice, a partial of its own costs more than it saves.
    const ROWS_A_SLICE: usize = 16;
    /// So many chunks are not tried after one whose rows were nearly all of different groups.
    const PAUSE: u32 = 32;

    fn now(self) -> bool {
        matches!(self, Partials::After(0))
    }

    fn count_down(&mut self) {
        if let Partials::After(chunks) = self {
            *chunks = chunks.saturating_sub(1);
        }
    }

    /// What holds for the next chunk, after `rows` rows that were of `groups` groups.
    fn next(self, groups: usize, rows: usize) -> Self {
        if groups * 2 > rows { Partials::After(Self::PAUSE) } else { self }
    }
}

/// The rows with these numbers, which rise.
fn pick(rows: &RecordBatch, picked: Vec<u32>) -> Result<RecordBatch> {
    match picked.len() == rows.num_rows() {
        true => Ok(rows.clone()),
        false => Ok(take_record_batch(rows, &UInt32Array::from(picked))?),
    }
}

/// The rows that have a time and a place, with their places.
fn placed(times: &TimestampMicrosecondArray, place: impl Fn(i64) -> Option<i64>) -> impl Iterator<Item = (u32, i64)> {
    let valid = (0..times.len()).filter(|row| times.is_valid(*row));
    valid.filter_map(move |row| Some((row as u32, place(times.value(row))?)))
}

/// So many cells of a chunk are looked through one by one.
const FEW_CELLS: usize = 8;

/// Row numbers per start; in order of their first row. Costs a constant per row, however many starts there are.
fn partition(placed: impl Iterator<Item = (u32, i64)>, rows: usize) -> Vec<(i64, Vec<u32>)> {
    let mut cells: Vec<(i64, Vec<u32>)> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    let mut last = 0;
    for (row, start) in placed {
        if cells.get(last).is_none_or(|(known, _)| *known != start) {
            let found = match cells.len() > FEW_CELLS {
                true => places.get(&start).copied(),
                false => cells.iter().position(|(known, _)| *known == start),
            };
            last = found.unwrap_or(cells.len());
        }
        if last == cells.len() {
            // Most chunks lie in one cell.
            cells.push((start, Vec::with_capacity(if last == 0 { rows } else { 0 })));
            match cells.len() {
                ..=FEW_CELLS => {}
                count if count == FEW_CELLS + 1 => {
                    places.extend(cells.iter().enumerate().map(|(place, (start, _))| (*start, place)));
                }
                _ => {
                    places.insert(start, last);
                }
            }
        }
        cells[last].1.push(row);
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
    emit(spec, table, groups, out, |columns, rows| {
        columns.insert(window.position, window_of(spec, window, start, rows)?);
        Ok(())
    })
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
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = fields[field].data_type() else {
            return Err(Error::Internal("a window's bounds are not microsecond timestamps".into()));
        };
        // The zone is a label: the number is the same instant with and without it.
        Ok(Arc::new(TimestampMicrosecondArray::from(vec![micros; rows]).with_timezone_opt(zone.clone())))
    };
    Ok(Arc::new(StructArray::try_new(fields.clone(), vec![bound(start, 0)?, bound(end, 1)?], None)?))
}

impl Logic for Windowed {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        self.partials.count_down();
        let many = rows.num_rows() >= Partials::ROWS_A_SLICE && self.partials.now() && !self.sliced();
        if self.ordered && self.cells.overlap() > 1 {
            self.add_in_order(&rows, out)?;
        } else if !many || !self.add_by_slices(&rows, out)? {
            (0..self.cells.overlap()).try_for_each(|back| self.add(&rows, back, out))?;
        }
        if out.eager() && self.spec.mode.emits_changes() {
            self.flush(out)?;
        }
        self.relieve(rows.num_rows(), Some(out))
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
            self.emit_cold(out)?;
        }
        Ok(())
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.hashing = hashing;
    }

    fn goes_cold(&mut self, cold: Cold) -> Result<bool> {
        self.set_cold(cold)
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let one = |(start, table): (&i64, &Table)| {
            let groups = table.groups();
            table.snapshot(self.hashing, &groups, Int64Array::from_value(*start, groups.len()))
        };
        let mut state = self.tables.iter().map(one).collect::<Result<Vec<_>>>()?;
        state.extend(self.snapshot_cold()?);
        Ok(state)
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
            // All rows of a table are of one bucket: the column is made once, for the rows of a part.
            let buckets = Int64Array::from_value(*start, dirty.len().min(PART_OF_CHANGES));
            for part in dirty.chunks(PART_OF_CHANGES) {
                changes.push(table.changes(self.hashing, part, buckets.slice(0, part.len()))?);
            }
        }
        changes.extend(self.changes_cold()?);
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for rows in in_pieces(state, self.cold.as_ref()) {
            let all: Vec<i64> = buckets(&rows).values().to_vec();
            let placed = all.iter().enumerate().map(|(row, start)| (row as u32, *start));
            for (start, picked) in partition(placed, rows.num_rows()) {
                let part = take_record_batch(&rows, &UInt32Array::from(picked))?;
                let mut table = match self.tables.remove(&start) {
                    Some(table) => table,
                    None => Table::new(&self.spec)?,
                };
                if self.cold.is_some() {
                    table.watch();
                }
                table.restore(&self.spec, &part)?;
                self.tables.insert(start, table);
            }
            self.relieve(rows.num_rows(), None)?;
        }
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        self.metrics.rows_total = self.tables.values().map(|table| table.len() as u64).sum();
        self.metrics.memory_bytes =
            self.tables.values().chain(&self.spare).map(|table| table.size_bytes() as u64).sum();
        self.cold.iter().for_each(|cold| cold.report(&mut self.metrics));
        std::mem::take(&mut self.metrics)
    }
}
