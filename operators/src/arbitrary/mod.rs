//! Arbitrary state: code from outside is called for each key with its rows, and again when its timers are due; what it
//! keeps for a key are bytes under names.
//!
//! ```text
//!  rows ─► late? dropped ─► by key ─► Processor::on_rows ⇄ States      Pace::Eager: each chunk; Pace::Epoch: once an epoch
//!  a watermark, the clock ─────────► Processor::on_timers ⇄ States     after the rows
//! ```
//!
//! In: rows routed by their keys. Out: what the processor makes. What always holds: within a call the state is that of the
//! call's key; a timer fires once, at or after its time; timers that are registered while timers fire wait for the next
//! round; a key without variables and timers costs nothing; what an operator keeps is in its snapshot, wherever it lies ([`cold`]).
//!
//! Absent on purpose: types. Whoever calls this turns bytes into values.

mod cold;
mod persist;
mod states;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave_record_batch, min, take_record_batch};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use crate::chunk::MAX_ROWS;
use crate::cold::Cold;
use crate::driver::{Logic, StateMetrics, Wake};
use crate::event_time::{EventTime, column, times};
use crate::keys::{Hashing, KeyTable};
use crate::marks::{DIRTY, Marks};
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Result, snapshot};

pub use states::{Layout, States, TimeMode, Variable};

/// One call of a processor: a key and how many of the rows are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The key's id, for [`States::enter`].
    pub group: u32,
    /// The number of its rows.
    pub rows: usize,
}

/// Gives the rows of a round of calls, in the order of the calls and in batches of any size; `None` at the end.
pub type Feed<'a> = dyn FnMut() -> Result<Option<RecordBatch>> + 'a;

/// The code that is called for each key; lives on one worker. It enters each key before it touches its state.
pub trait Processor: Send + 'static {
    /// Rows came: one call for each row of `keys`.
    fn on_rows(&mut self, keys: &RecordBatch, calls: &[Call], rows: &mut Feed<'_>, states: &mut States) -> Result<()>;

    /// The query starts for the first time, with this initial state: one call for each row of `keys`.
    fn on_initial(
        &mut self,
        keys: &RecordBatch,
        calls: &[Call],
        rows: &mut Feed<'_>,
        states: &mut States,
    ) -> Result<()>;

    /// Timers are due: for each row of `keys` its id and the timer's time. A timer that an earlier call has deleted
    /// ([`States::has_timer`]) is skipped; each is deleted behind its call.
    fn on_timers(&mut self, keys: &RecordBatch, timers: &[(u32, i64)], states: &mut States) -> Result<()>;

    /// Takes the rows made since the last call.
    fn take(&mut self) -> Result<Vec<RecordBatch>>;
}

/// Rows that are there before the first row comes.
pub struct Initial {
    /// The rows of this worker's keys.
    pub rows: RecordBatch,
    /// Their key columns, of the types of the input's.
    pub keys: Vec<usize>,
}

/// What [`Arbitrary`] does.
pub struct Spec {
    /// Schema of the input.
    pub input: SchemaRef,
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// Which time timers are about.
    pub time: TimeMode,
    /// The event-time column by which late rows are dropped; `None` keeps them.
    pub late_by: Option<usize>,
    /// The event-time column of the output, whose values may not be behind the watermark.
    pub emits_time: Option<usize>,
    /// The variables, in the order in which the processor counts them.
    pub variables: Vec<Variable>,
    /// Variables of former runs that are to be forgotten.
    pub deleted: Vec<String>,
    /// State to begin with.
    pub initial: Option<Initial>,
    /// Processing time: microseconds since 1970.
    pub now: Box<dyn Fn() -> i64 + Send>,
}

/// The operator behind `transformWithState` and `flatMapGroupsWithState`.
pub struct Arbitrary {
    spec: Spec,
    late_by: Option<EventTime>,
    processor: Box<dyn Processor>,
    keys: KeyTable,
    key_schema: SchemaRef,
    states: States,
    /// Rows of the epoch in progress ([`crate::Pace::Epoch`]).
    pending: Vec<RecordBatch>,
    watermark: i64,
    /// Keys that a checkpoint does not have as they are, and those that it may have and are gone.
    marks: Marks,
    gone: Vec<RecordBatch>,
    hashing: Hashing,
    /// The program deletes variables by name: all that is kept has changed since the checkpoint.
    forgets: bool,
    cold: Option<cold::ColdKeys>,
    metrics: StateMetrics,
}

impl Arbitrary {
    /// Calls `processor` for the keys of the input.
    ///
    /// # Errors
    /// Key columns that have no equality.
    pub fn new(spec: Spec, processor: Box<dyn Processor>) -> Result<Self> {
        let fields: Vec<FieldRef> = spec.keys.iter().filter_map(|key| spec.input.fields().get(*key).cloned()).collect();
        Ok(Arbitrary {
            late_by: spec.late_by.map(column),
            keys: KeyTable::new(&fields)?,
            key_schema: Arc::new(Schema::new(fields)),
            states: States::new(spec.variables.clone()),
            pending: Vec::new(),
            watermark: NO_WATERMARK,
            marks: Marks::default(),
            gone: Vec::new(),
            hashing: Hashing::default(),
            forgets: false,
            cold: None,
            metrics: StateMetrics::default(),
            processor,
            spec,
        })
    }

    fn in_time(&mut self, rows: RecordBatch, out: &mut Output) -> Result<RecordBatch> {
        let Some(event_time) = &self.late_by else { return Ok(rows) };
        let (rows, dropped) = out.drop_late(0, rows, event_time, self.watermark)?;
        self.metrics.rows_dropped += dropped;
        Ok(rows)
    }

    /// Calls for rows, then for timers; then lets go of what is not needed any more.
    fn round(&mut self, rows: Vec<RecordBatch>) -> Result<()> {
        let millis = |micros: i64| micros.div_euclid(1000);
        let watermark = (self.watermark != NO_WATERMARK).then(|| millis(self.watermark));
        self.states.set_time(millis((self.spec.now)()), watermark);
        self.begin()?;
        let keys = self.spec.keys.clone();
        self.calls(&rows, &keys, false)?;
        self.fire()?;
        self.warm_expired()?;
        self.sweep()?;
        self.relieve(rows.iter().map(RecordBatch::num_rows).sum())
    }

    /// Hands over the initial state, once.
    fn begin(&mut self) -> Result<()> {
        match self.spec.initial.take() {
            Some(initial) => self.calls(&[initial.rows], &initial.keys, true),
            None => Ok(()),
        }
    }

    fn calls(&mut self, batches: &[RecordBatch], keys: &[usize], initial: bool) -> Result<()> {
        let columns: Vec<Vec<ArrayRef>> = batches.iter().map(|batch| key_columns(batch, keys)).collect();
        for (batch, columns) in batches.iter().zip(&columns) {
            self.warm(columns, batch.num_rows())?;
        }
        let sorted = Sorted::new(batches, &columns, &mut self.keys)?;
        let mut start = 0;
        for calls in sorted.calls().chunks(MAX_ROWS) {
            let keys = self.key_rows(calls.iter().map(|call| call.group))?;
            let end = start + calls.iter().map(|call| call.rows).sum::<usize>();
            let mut feed = sorted.feed(start..end);
            match initial {
                true => self.processor.on_initial(&keys, calls, &mut feed, &mut self.states)?,
                false => self.processor.on_rows(&keys, calls, &mut feed, &mut self.states)?,
            }
            start = end;
        }
        Ok(())
    }

    fn key_rows(&self, groups: impl Iterator<Item = u32>) -> Result<RecordBatch> {
        let groups: Vec<u32> = groups.collect();
        let count = RecordBatchOptions::new().with_row_count(Some(groups.len()));
        Ok(RecordBatch::try_new_with_options(self.key_schema.clone(), self.keys.keys(&groups)?, &count)?)
    }

    fn fire(&mut self) -> Result<()> {
        let limit = match self.spec.time {
            TimeMode::None => None,
            TimeMode::ProcessingTime => Some(self.states.now()),
            TimeMode::EventTime => self.states.watermark(),
        };
        let Some(limit) = limit else { return Ok(()) };
        self.warm_timers(limit)?;
        if self.states.first_timer().is_none_or(|first| first > limit) {
            return Ok(());
        }
        for timers in self.states.due(limit).chunks(MAX_ROWS) {
            let keys = self.key_rows(timers.iter().map(|(group, _)| *group))?;
            self.processor.on_timers(&keys, timers, &mut self.states)?;
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        let swept = self.states.sweep();
        if self.marks.tracks() {
            self.note_gone(&swept.emptied)?;
        }
        self.marks.note(swept.held, DIRTY);
        self.metrics.rows_updated += swept.updated;
        self.metrics.rows_removed += swept.removed;
        self.keys.remove(&swept.gone);
        Ok(())
    }

    /// A checkpoint may have these keys, which have nothing any more.
    fn note_gone(&mut self, groups: &[u32]) -> Result<()> {
        if !groups.is_empty() {
            self.gone.push(persist::gone(groups, &self.keys, self.key_schema.fields(), self.hashing)?);
        }
        Ok(())
    }

    /// The rows made since the last call, none of them behind the watermark.
    fn made(&mut self) -> Result<Vec<RecordBatch>> {
        let rows = self.processor.take()?;
        if let Some(event_time) = self.spec.emits_time.filter(|_| self.watermark != NO_WATERMARK) {
            rows.iter().try_for_each(|rows| check_emitted(rows, event_time, self.watermark))?;
        }
        Ok(rows)
    }

    fn emit(&mut self, out: &mut Output) -> Result<()> {
        self.made()?.into_iter().for_each(|rows| out.rows(rows));
        Ok(())
    }
}

/// Rows behind the watermark would be late for whatever follows.
fn check_emitted(rows: &RecordBatch, event_time: usize, watermark: i64) -> Result<()> {
    let Some(column) = rows.columns().get(event_time) else { return Ok(()) };
    let earliest = min(&times(column)?);
    match earliest.filter(|earliest| *earliest < watermark) {
        None => Ok(()),
        Some(earliest) => {
            let message =
                format!("a row of event time {earliest} was made while the watermark was {watermark} already");
            Err(Error::data("EMITTING_ROWS_OLDER_THAN_WATERMARK_NOT_ALLOWED", message))
        }
    }
}

fn key_columns(rows: &RecordBatch, keys: &[usize]) -> Vec<ArrayRef> {
    keys.iter().map(|key| rows.column(*key).clone()).collect()
}

/// Rows of several batches in the order of their keys.
struct Sorted<'a> {
    batches: Vec<&'a RecordBatch>,
    /// Key, batch, row.
    places: Vec<(u32, usize, usize)>,
}

impl<'a> Sorted<'a> {
    /// `keys`: the key columns of each batch.
    fn new(batches: &'a [RecordBatch], keys: &[Vec<ArrayRef>], table: &mut KeyTable) -> Result<Self> {
        let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        let mut groups = Vec::new();
        for (number, (batch, columns)) in batches.iter().zip(keys).enumerate() {
            table.lookup_or_insert(columns, batch.num_rows(), &mut groups)?;
            places.extend(groups.iter().enumerate().map(|(row, group)| (*group, number, row)));
        }
        // Rows of a key stay in the order in which they came.
        places.sort_by_key(|(group, _, _)| *group);
        Ok(Sorted { batches: batches.iter().collect(), places })
    }

    fn calls(&self) -> Vec<Call> {
        let runs = self.places.chunk_by(|a, b| a.0 == b.0);
        runs.map(|run| Call { group: run[0].0, rows: run.len() }).collect()
    }

    /// The rows at these places, a chunk at a time.
    fn feed(&self, range: std::ops::Range<usize>) -> impl FnMut() -> Result<Option<RecordBatch>> {
        let mut windows = self.places[range].chunks(MAX_ROWS);
        move || windows.next().map(|window| self.rows(window)).transpose()
    }

    fn rows(&self, places: &[(u32, usize, usize)]) -> Result<RecordBatch> {
        if let [only] = self.batches.as_slice() {
            let rows = UInt32Array::from_iter_values(places.iter().map(|(_, _, row)| *row as u32));
            return Ok(take_record_batch(only, &rows)?);
        }
        let places: Vec<(usize, usize)> = places.iter().map(|(_, batch, row)| (*batch, *row)).collect();
        Ok(interleave_record_batch(&self.batches, &places)?)
    }
}

impl Logic for Arbitrary {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let (ingest, partition) = (chunk.ingest, chunk.partition);
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        let rows = self.in_time(rows, out)?;
        if !out.eager() {
            self.pending.push(rows);
            return Ok(());
        }
        self.round(vec![rows])?;
        self.made()?.into_iter().for_each(|rows| out.chunk(Chunk::new(rows, ingest, partition)));
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()> {
        self.watermark = watermarks.first().copied().unwrap_or(NO_WATERMARK);
        if !out.eager() || self.spec.time != TimeMode::EventTime {
            return Ok(());
        }
        self.round(Vec::new())?;
        self.emit(out)
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        let rows = std::mem::take(&mut self.pending);
        self.round(rows)?;
        self.emit(out)
    }

    fn wake(&self) -> Option<Wake> {
        let cold = self.cold.as_ref().and_then(|cold| cold.first_timer);
        let first = self.states.first_timer().into_iter().chain(cold).min();
        let at = first.filter(|_| self.spec.time == TimeMode::ProcessingTime)?;
        let at = at.saturating_mul(1000);
        let left = at.saturating_sub((self.spec.now)());
        Some(Wake { at, after: Duration::from_micros(u64::try_from(left).unwrap_or(0)) })
    }

    fn on_wake(&mut self, out: &mut Output) -> Result<()> {
        self.round(Vec::new())?;
        self.emit(out)
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.hashing = hashing;
    }

    fn goes_cold(&mut self, cold: Cold) -> Result<bool> {
        self.set_cold(cold)
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let all = self.states.live_groups();
        let mut state =
            persist::save(&self.states, all, &self.keys, self.key_schema.fields(), self.spec.time, self.hashing)?;
        state.extend(self.snapshot_cold()?);
        Ok(state)
    }

    fn tracks_changes(&mut self) -> bool {
        self.marks.track();
        // What the program has deleted by name is to go from all keys.
        self.forgets = !self.spec.deleted.is_empty();
        true
    }

    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changes = std::mem::take(&mut self.gone);
        let mut dirty = self.marks.take_dirty();
        dirty.retain(|group| self.keys.is_live(*group) && self.states.is_live(*group));
        let fields = self.key_schema.fields().clone();
        let mut changed = match self.forgets {
            true => self.snapshot()?,
            false => persist::save(&self.states, dirty.into_iter(), &self.keys, &fields, self.spec.time, self.hashing)?,
        };
        // Also in that case: what has changed there has been shown then.
        let cold = self.changes_cold()?;
        if !std::mem::take(&mut self.forgets) {
            changed.extend(cold);
        }
        for rows in changed {
            changes.push(snapshot::changed(&rows, &persist::cell(&fields))?);
        }
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        self.restore_pieces(state)?;
        self.metrics = StateMetrics::default();
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        let memory_bytes = self.size_bytes() as u64;
        let wakes_at = self.wake().map(|wake| wake.at);
        let mut held = StateMetrics { rows_total: self.states.live(), memory_bytes, wakes_at, ..self.metrics };
        self.report_cold(&mut held);
        self.metrics = StateMetrics::default();
        held
    }
}
