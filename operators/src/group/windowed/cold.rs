//! Windows whose groups are not all in memory: each window or slice is a bucket of the store, with its groups in order of their keys.
//!
//! In: what arrives, closes or is to be shown, as in the module above. Out: the same results. What always holds: a bucket with rows has
//! a table, which may be empty; slices are merged in order of their keys, a piece at a time, so a window that closes needs no more
//! memory than one that is open.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use super::super::table::Table;
use super::super::{GroupSpec, Mode};
use super::{Output, Result, WindowSpec, Windowed, emit_window};
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Cursor, NEVER, Part};
use crate::marks::{DIRTY, TOUCHED};

/// Groups of a window are not due by themselves.
fn never(_: u32) -> i64 {
    NEVER
}

impl Windowed {
    pub(super) fn set_cold(&mut self, cold: Cold) -> Result<bool> {
        if !self.spec.keys.is_empty() {
            self.cold = Some(Table::new(&self.spec)?.go_cold(cold, false)?);
        }
        Ok(self.cold.is_some())
    }

    /// Brings back from the store what is known of these keys in a window or slice.
    pub(super) fn warm(&mut self, start: i64, keys: &[ArrayRef], rows: usize) -> Result<()> {
        if let (Some(cold), Some(table)) = (&mut self.cold, self.tables.get_mut(&start)) {
            table.warm(keys, rows, start, cold)?;
        }
        Ok(())
    }

    /// Sends groups to the store if those in memory are too many, after `rows` more rows.
    pub(super) fn relieve(&mut self, rows: usize, out: Option<&mut Output>) -> Result<()> {
        let live = self.tables.values().map(Table::len).sum();
        let looks = self.cold.as_mut().is_some_and(|cold| cold.wants_look(rows, live));
        if !looks {
            return Ok(());
        }
        let size = self.tables.values().map(Table::size_bytes).sum();
        if !self.cold.as_ref().is_some_and(|cold| cold.is_exceeded(size)) {
            return Ok(());
        }
        // The row that a changelog has to take back is known to the table only.
        if let Some(out) = out.filter(|_| self.spec.mode.is_changelog()) {
            self.flush(out)?;
        }
        self.send_cold(size)
    }

    /// The oldest windows leave, of the newest the half that has not been in use for longer, until half of the memory is free.
    fn send_cold(&mut self, mut size: usize) -> Result<()> {
        let Windowed { cold: Some(cold), tables, spec, .. } = self else { return Ok(()) };
        let newest = tables.keys().next_back().copied();
        for (start, table) in tables.iter_mut().filter(|(_, table)| table.len() > 0) {
            if size <= cold.budget() / 2 {
                break;
            }
            let before = table.size_bytes();
            let leaving = if Some(*start) == newest { table.colder_half() } else { table.groups() };
            table.send_cold(spec, &leaving, *start, &never, cold)?;
            size = (size + table.size_bytes()).saturating_sub(before);
        }
        Ok(())
    }

    /// Update mode: emits what has been touched and has left memory since.
    pub(super) fn flush_cold(&mut self, out: &mut Output) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut cursor = Cursor::all();
        while let Some(part) = cold.next_marked(TOUCHED, &mut cursor)? {
            self.metrics.rows_updated += part.len() as u64;
            if self.spec.mode == Mode::Update {
                emit_part(&self.spec, &self.window, &part, out)?;
            }
        }
        cold.end_marked(TOUCHED);
        Ok(())
    }

    /// Takes the groups of a window or slice that is closed out of the store, and emits them if there is an output for that.
    pub(super) fn close_cold(&mut self, start: i64, table: &Table, mut out: Option<&mut Output>) -> Result<()> {
        let Some(cold) = self.cold.as_mut().filter(|_| table.is_cold) else { return Ok(()) };
        while let Some(part) = cold.take_bucket(start)? {
            self.metrics.rows_removed += part.len() as u64;
            if let Some(out) = &mut out {
                emit_part(&self.spec, &self.window, &part, out)?;
            }
        }
        Ok(())
    }

    /// Emits a window whose slices are not all in memory. False, with nothing done, if they are.
    pub(super) fn emit_merged_cold(&mut self, start: i64, out: &mut Output) -> Result<bool> {
        let Windowed { cold: Some(cold), tables, spec, window, .. } = self else { return Ok(false) };
        if cold.is_empty() || !tables.range(start..window.end(start)).any(|(_, slice)| slice.is_cold) {
            return Ok(false);
        }
        let mut cursors = Vec::new();
        for (slice, table) in tables.range_mut(start..window.end(start)) {
            table.send_cold(spec, &table.groups(), *slice, &never, cold)?;
            cursors.push(Cursor::of(*slice));
        }
        while merge_piece((spec, window, start), cold, &mut cursors, out)? {}
        Ok(true)
    }

    /// Complete mode: emits what is not in memory.
    pub(super) fn emit_cold(&mut self, out: &mut Output) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut cursor = Cursor::all();
        while let Some(part) = cold.next(&mut cursor)? {
            emit_part(&self.spec, &self.window, &part, out)?;
        }
        Ok(())
    }

    /// What is not in memory, as a snapshot has it.
    pub(super) fn snapshot_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(cold) = &mut self.cold else { return Ok(Vec::new()) };
        let (mut cursor, mut state) = (Cursor::all(), Vec::new());
        while let Some(part) = cold.next(&mut cursor)? {
            let (table, groups) = Table::of(&self.spec, &part)?;
            state.push(table.snapshot(self.hashing, &groups, Int64Array::from_value(part.bucket, groups.len()))?);
        }
        Ok(state)
    }

    /// What has changed and has left memory since.
    pub(super) fn changes_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(cold) = &mut self.cold else { return Ok(Vec::new()) };
        let (mut cursor, mut changes) = (Cursor::all(), Vec::new());
        while let Some(part) = cold.next_marked(DIRTY, &mut cursor)? {
            let (mut table, groups) = Table::of(&self.spec, &part)?;
            let rows = table.changes(self.hashing, &groups, Int64Array::from_value(part.bucket, groups.len()))?;
            if let Some(table) = self.tables.get_mut(&part.bucket) {
                table.note_saved(&rows);
            }
            changes.push(rows);
        }
        cold.end_marked(DIRTY);
        Ok(changes)
    }
}

/// Emits the groups of a window up to a key that no slice has many rows before; whether there may be more.
fn merge_piece(
    (spec, window, start): (&GroupSpec, &WindowSpec, i64),
    cold: &mut ColdRows,
    cursors: &mut [Cursor],
    out: &mut Output,
) -> Result<bool> {
    let mut last: Option<Vec<u8>> = None;
    for cursor in cursors.iter() {
        if let Some(key) = cold.nth(cursor, cold.piece())?
            && last.as_ref().is_none_or(|last| key < *last)
        {
            last = Some(key);
        }
    }
    let mut whole = Table::new(spec)?;
    for cursor in cursors {
        if let Some(part) = cold.next_until(cursor, last.as_deref())? {
            whole.absorb(&Table::of(spec, &part)?.0)?;
        }
    }
    emit_window(spec, window, start, &whole, &whole.groups(), out)?;
    Ok(last.is_some())
}

/// Emits groups that are not in memory.
fn emit_part(spec: &GroupSpec, window: &WindowSpec, part: &Part, out: &mut Output) -> Result<()> {
    let (table, groups) = Table::of(spec, part)?;
    emit_window(spec, window, part.bucket, &table, &groups, out)
}
