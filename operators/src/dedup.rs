//! `dropDuplicates`, `distinct` and `dropDuplicatesWithinWatermark`: the first row of each key leaves, at once.
//!
//! In: rows routed by their key columns. Out: those whose key is not known. What always holds: of rows with equal keys (null
//! equals null, NaN equals NaN) the first to arrive wins; rows whose event time is at or below the watermark are dropped and
//! counted; forgetting keys costs in proportion to the keys forgotten.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};

use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Cursor, Part, in_pieces};
use crate::driver::{Logic, StateMetrics};
use crate::event_time::{EventTime, column};
use crate::expiry::Expiry;
use crate::keys::{Hashing, KeyTable};
use crate::marks::{DIRTY, Marks};
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Result, snapshot};

/// A group that has no key (any more).
const UNSEEN: i64 = i64::MIN;
/// A key that is never forgotten.
const NEVER: i64 = i64::MAX;

/// How long a key is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// For ever; there is no watermark.
    Forever,
    /// For ever, but late rows are dropped.
    ForeverInTime {
        /// Column of the event time.
        event_time: usize,
    },
    /// Until the watermark reaches the event time, which is one of the key columns.
    EventTimeKey {
        /// Column of the event time (a timestamp or a window).
        event_time: usize,
    },
    /// Until the watermark reaches the event time of the key's first row plus `delay` (microseconds); later duplicates do
    /// not extend this. A null event time counts as 1970, as in Spark.
    Within {
        /// Column of the event time.
        event_time: usize,
        /// The watermark's delay.
        delay: i64,
    },
}

/// The operator behind `dropDuplicates`.
pub struct Dedup {
    columns: Vec<usize>,
    fields: Vec<FieldRef>,
    retention: Retention,
    event_time: Option<EventTime>,
    table: KeyTable,
    /// When each group's key is forgotten.
    expires: Vec<i64>,
    expiry: Expiry,
    watermark: i64,
    groups: Vec<u32>,
    /// Keys that a checkpoint does not have yet, and those that it may have and are forgotten.
    marks: Marks,
    gone: Vec<RecordBatch>,
    hashing: Hashing,
    /// The keys for which there is no memory.
    cold: Option<ColdRows>,
    metrics: StateMetrics,
}

/// The one bucket of cold keys.
const BUCKET: i64 = 0;

/// Columns with their fields.
type Columns = Vec<(FieldRef, ArrayRef)>;

impl Dedup {
    /// Keeps the first row of each combination of the columns `keys` of `schema`.
    ///
    /// # Errors
    /// Key columns that have no equality.
    pub fn new(schema: &SchemaRef, keys: Vec<usize>, retention: Retention) -> Result<Self> {
        let fields: Vec<FieldRef> = keys.iter().filter_map(|key| schema.fields().get(*key).cloned()).collect();
        Ok(Dedup {
            table: KeyTable::new(&fields)?,
            columns: keys,
            fields,
            retention,
            event_time: retention.event_time().map(column),
            expires: Vec::new(),
            expiry: Expiry::default(),
            watermark: NO_WATERMARK,
            groups: Vec::new(),
            marks: Marks::default(),
            gone: Vec::new(),
            hashing: Hashing::default(),
            cold: None,
            metrics: StateMetrics::default(),
        })
    }

    fn in_time(&mut self, rows: RecordBatch, out: &mut Output) -> Result<RecordBatch> {
        let Some(event_time) = &self.event_time else { return Ok(rows) };
        let (rows, dropped) = out.drop_late(0, rows, event_time, self.watermark)?;
        self.metrics.rows_dropped += dropped;
        Ok(rows)
    }

    /// Marks the rows whose key is new, and remembers the keys.
    fn note(&mut self, rows: &RecordBatch) -> Result<BooleanBuffer> {
        let keys: Vec<ArrayRef> = self.columns.iter().map(|key| rows.column(*key).clone()).collect();
        self.warm(&keys, rows.num_rows())?;
        self.table.lookup_or_insert(&keys, rows.num_rows(), &mut self.groups)?;
        self.expires.resize(self.table.group_count(), UNSEEN);
        let until = self.until(rows)?;
        let first = BooleanBuffer::collect_bool(rows.num_rows(), |row| {
            let expires = &mut self.expires[self.groups[row] as usize];
            let first = *expires == UNSEEN;
            if first {
                *expires = until.as_ref().map_or(NEVER, |until| until.value(row));
            }
            first
        });
        self.marks.note(first.set_indices().map(|row| self.groups[row]), DIRTY);
        if self.cold.is_some() {
            self.marks.note_all(&self.groups, 0);
        }
        if let Some(until) = until {
            let due = first.set_indices().map(|row| (until.value(row), self.groups[row]));
            self.expiry.extend(due.filter(|(time, _)| *time != NEVER));
        }
        Ok(first)
    }

    /// Forgets the keys that the watermark has reached, also those that came after it had.
    fn evict(&mut self) -> Result<()> {
        let mut gone = Vec::new();
        self.expiry.expire(self.watermark, &mut gone);
        if self.marks.tracks() && !gone.is_empty() {
            let (columns, cell) = self.identity(&gone)?;
            self.gone.push(snapshot::gone(columns, &cell)?);
        }
        self.table.remove(&gone);
        gone.iter().for_each(|group| self.expires[*group as usize] = UNSEEN);
        self.metrics.rows_removed += gone.len() as u64;
        while let Some(part) = self.take_due()? {
            self.metrics.rows_removed += part.len() as u64;
            if self.marks.tracks() {
                let (columns, cell) = self.identity_of(part.keys)?;
                self.gone.push(snapshot::gone(columns, &cell)?);
            }
        }
        Ok(())
    }

    /// Key group and keys of these live groups, and their positions in a snapshot.
    fn identity(&self, groups: &[u32]) -> Result<(Columns, Vec<usize>)> {
        self.identity_of(self.table.keys(groups)?)
    }

    fn identity_of(&self, keys: Vec<ArrayRef>) -> Result<(Columns, Vec<usize>)> {
        let rows = keys.first().map_or(0, |column| column.len());
        let first = snapshot::group_column(snapshot::groups(self.hashing, &keys, rows)?);
        let columns: Columns = std::iter::once(first).chain(self.fields.iter().cloned().zip(keys)).collect();
        let cell = (0..columns.len()).collect();
        Ok((columns, cell))
    }

    /// These live groups as rows of a snapshot.
    fn rows(&self, groups: &[u32]) -> Result<RecordBatch> {
        self.rows_of(self.table.keys(groups)?, groups.iter().map(|group| self.expires[*group as usize]))
    }

    /// Keys as rows of a snapshot, with the times at which they are forgotten.
    fn rows_of(&self, keys: Vec<ArrayRef>, expires: impl Iterator<Item = i64>) -> Result<RecordBatch> {
        let (mut columns, _) = self.identity_of(keys)?;
        let expires = Int64Array::from_iter_values(expires);
        columns.push((Arc::new(Field::new("_expires", DataType::Int64, false)), Arc::new(expires)));
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Brings back from the store what is known of these keys.
    fn warm(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        let Some(cold) = self.cold.as_mut().filter(|cold| !cold.is_empty()) else { return Ok(()) };
        let Some(unknown) = self.table.unknown(keys, rows, &mut self.groups)? else { return Ok(()) };
        match cold.take(BUCKET, &unknown)? {
            Some(part) => self.admit(&part),
            None => Ok(()),
        }
    }

    /// Takes keys out of the store that the watermark has reached.
    fn take_due(&mut self) -> Result<Option<Part>> {
        self.cold.as_mut().map_or(Ok(None), |cold| cold.take_due(BUCKET, self.watermark))
    }

    /// Adds keys that are not here.
    fn admit(&mut self, part: &Part) -> Result<()> {
        self.put_back(&part.keys, &part.dues)?;
        self.groups.iter().zip(&part.marks).for_each(|(group, marks)| self.marks.put_back(*group, *marks));
        Ok(())
    }

    /// Adds keys that are not here, with the times at which they are forgotten; `groups` is left with their ids.
    fn put_back(&mut self, keys: &[ArrayRef], expires: &[i64]) -> Result<()> {
        self.table.reserve(expires.len());
        self.table.lookup_or_insert(keys, expires.len(), &mut self.groups)?;
        self.expires.resize(self.table.group_count(), UNSEEN);
        let entries = || expires.iter().copied().zip(self.groups.iter().copied());
        entries().for_each(|(time, group)| self.expires[group as usize] = time);
        self.expiry.extend(entries().filter(|(time, _)| *time != NEVER));
        Ok(())
    }

    /// Sends keys to the store if those in memory are too many, after `rows` more rows: half of them, which have not been in use for
    /// longer.
    fn relieve(&mut self, rows: usize) -> Result<()> {
        let live = self.table.len();
        let looks = self.cold.as_mut().is_some_and(|cold| cold.wants_look(rows, live));
        if !looks || !self.cold.as_ref().is_some_and(|cold| cold.is_exceeded(self.size_bytes())) {
            return Ok(());
        }
        let Dedup { cold: Some(cold), table, marks, .. } = self else { return Ok(()) };
        let piece = cold.piece();
        let leaving = marks.coldest(live.div_ceil(2), table.group_count(), |group| table.is_live(group));
        for leaving in leaving.chunks(piece) {
            let part = self.part(leaving)?;
            self.cold.as_mut().map_or(Ok(()), |cold| cold.put(&part))?;
        }
        self.table.remove(&leaving);
        let staying = self.part(&self.table.groups().collect::<Vec<_>>())?;
        self.table = KeyTable::new(&self.fields)?;
        (self.expires, self.expiry, self.marks) = (Vec::new(), Expiry::default(), self.marks.renewed());
        self.admit(&staying)
    }

    fn part(&self, groups: &[u32]) -> Result<Part> {
        Ok(Part {
            bucket: BUCKET,
            keys: self.table.keys(groups)?,
            values: Vec::new(),
            marks: groups.iter().map(|group| self.marks.of(*group)).collect(),
            dues: groups.iter().map(|group| self.expires[*group as usize]).collect(),
        })
    }

    fn size_bytes(&self) -> usize {
        let times = self.expires.capacity() * size_of::<i64>() + self.expiry.size_bytes();
        self.table.size_bytes() + times + self.marks.size_bytes()
    }

    /// When each row's key would be forgotten; `None` for never.
    fn until(&self, rows: &RecordBatch) -> Result<Option<Int64Array>> {
        let Some(event_time) = &self.event_time else { return Ok(None) };
        let (null, delay) = match self.retention {
            Retention::Forever | Retention::ForeverInTime { .. } => return Ok(None),
            Retention::EventTimeKey { .. } => (NEVER, 0),
            Retention::Within { delay, .. } => (delay, delay),
        };
        let times = event_time(rows)?;
        let until = |time: Option<i64>| time.map_or(null, |time| time.saturating_add(delay)).max(UNSEEN + 1);
        Ok(Some(Int64Array::from_iter_values(times.iter().map(until))))
    }
}

impl Retention {
    fn event_time(self) -> Option<usize> {
        match self {
            Retention::Forever => None,
            Retention::ForeverInTime { event_time }
            | Retention::EventTimeKey { event_time }
            | Retention::Within { event_time, .. } => Some(event_time),
        }
    }
}

impl Logic for Dedup {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let (ingest, partition) = (chunk.ingest, chunk.partition);
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        let rows = self.in_time(rows, out)?;
        let first = self.note(&rows)?;
        self.relieve(rows.num_rows())?;
        let count = first.count_set_bits();
        self.metrics.rows_updated += count as u64;
        let kept = match count {
            0 => return Ok(()),
            all if all == rows.num_rows() => rows,
            _ => filter_record_batch(&rows, &BooleanArray::new(first, None))?,
        };
        out.chunk(Chunk::new(kept, ingest, partition));
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &[i64], _: &mut Output) -> Result<()> {
        self.watermark = watermarks.first().copied().unwrap_or(NO_WATERMARK);
        self.evict()
    }

    fn on_complete(&mut self, _: u64, _: &mut Output) -> Result<()> {
        self.evict()
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.hashing = hashing;
    }

    fn goes_cold(&mut self, cold: Cold) -> Result<bool> {
        if !self.columns.is_empty() {
            self.marks.watch();
            self.cold = Some(ColdRows::new(cold, self.table.types(), &[], self.event_time.is_some())?);
        }
        Ok(self.cold.is_some())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        let groups: Vec<u32> = self.table.groups().collect();
        let mut state = Vec::new();
        if !groups.is_empty() {
            state.push(self.rows(&groups)?);
        }
        let mut cursor = Cursor::all();
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.next(&mut cursor))? {
            state.push(self.rows_of(part.keys, part.dues.into_iter())?);
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
        dirty.retain(|group| self.table.is_live(*group));
        let cell: Vec<usize> = (0..=self.fields.len()).collect();
        if !dirty.is_empty() {
            changes.push(snapshot::changed(&self.rows(&dirty)?, &cell)?);
        }
        let mut cursor = Cursor::all();
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.next_marked(DIRTY, &mut cursor))? {
            changes.push(snapshot::changed(&self.rows_of(part.keys, part.dues.into_iter())?, &cell)?);
        }
        self.cold.iter_mut().for_each(|cold| cold.end_marked(DIRTY));
        Ok(changes)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for batch in in_pieces(state, self.cold.as_ref()) {
            let Some((expires, keys)) = snapshot::columns(&batch)?.split_last() else { continue };
            let expires = expires.as_primitive_opt::<Int64Type>();
            let expires = expires.ok_or_else(|| Error::Internal("the state of a deduplication has no times".into()))?;
            self.put_back(keys, expires.values())?;
            self.relieve(batch.num_rows())?;
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

#[cfg(test)]
mod tests;
