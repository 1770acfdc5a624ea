//! `withWatermark`: event times become the watermark part of the frontier.
//!
//! Under [`Pace::Epoch`] the driver of the query fixes the watermark of each epoch ([`EventClock::assign`]) from the event
//! times of the epochs before; under [`Pace::Eager`] it moves with the data: per source partition the largest event time minus
//! the delay, minimum over the partitions that are not idle. Either way it never falls. Null event times do not move it.
//!
//! The watermark has millisecond precision, as Spark's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{max, min, sum};

use crate::driver::Logic;
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Pace, Result};

/// What all workers' `withWatermark` operators of one place in the plan share with the query's driver.
#[derive(Debug)]
pub struct EventClock {
    max: AtomicI64,
    min: AtomicI64,
    sum: AtomicI64,
    count: AtomicI64,
    assigned: AtomicI64,
}

/// Event times seen, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimes {
    /// The largest.
    pub max: i64,
    /// The smallest.
    pub min: i64,
    /// Their mean, rounded towards the smaller.
    pub avg: i64,
}

impl Default for EventClock {
    fn default() -> Self {
        EventClock {
            max: AtomicI64::new(i64::MIN),
            min: AtomicI64::new(i64::MAX),
            sum: AtomicI64::new(0),
            count: AtomicI64::new(0),
            assigned: AtomicI64::new(NO_WATERMARK),
        }
    }
}

impl EventClock {
    /// Fixes the watermark for the next epoch (only used under [`Pace::Epoch`]).
    pub fn assign(&self, watermark: i64) {
        self.assigned.store(watermark, Ordering::Release);
    }

    /// The watermark last assigned.
    pub fn assigned(&self) -> i64 {
        self.assigned.load(Ordering::Acquire)
    }

    /// Takes the event times seen since the last call; `None` without a row.
    pub fn take(&self) -> Option<EventTimes> {
        let count = self.count.swap(0, Ordering::AcqRel);
        let sum = self.sum.swap(0, Ordering::AcqRel);
        let times = EventTimes {
            max: self.max.swap(i64::MIN, Ordering::AcqRel),
            min: self.min.swap(i64::MAX, Ordering::AcqRel),
            avg: if count == 0 { 0 } else { sum.div_euclid(count).saturating_mul(1000) },
        };
        (count > 0).then_some(times)
    }

    /// Sums are kept in milliseconds, so that they do not overflow.
    fn note(&self, times: &TimestampMicrosecondArray) -> Option<i64> {
        let largest = max(times)?;
        self.max.fetch_max(largest, Ordering::AcqRel);
        self.min.fetch_min(min(times)?, Ordering::AcqRel);
        let millis = times.unary::<_, arrow::datatypes::Int64Type>(|micros| micros.div_euclid(1000));
        self.sum.fetch_add(sum(&millis)?, Ordering::AcqRel);
        self.count.fetch_add((times.len() - times.null_count()) as i64, Ordering::AcqRel);
        Some(largest)
    }
}

/// The operator behind `withWatermark`.
pub struct Watermark {
    column: usize,
    delay: i64,
    pace: Pace,
    clock: Arc<EventClock>,
    /// Largest event time per source partition of this worker.
    partitions: BTreeMap<u32, i64>,
}

impl Watermark {
    /// A watermark on timestamp column `column`, `delay` microseconds behind the largest event time. `partitions` are the
    /// source partitions this worker reads; a partition without rows yet holds the watermark back.
    pub fn new(column: usize, delay: i64, pace: Pace, clock: Arc<EventClock>, partitions: &[u32]) -> Self {
        let partitions = partitions.iter().map(|&partition| (partition, i64::MIN)).collect();
        Watermark { column, delay, pace, clock, partitions }
    }

    fn note(&mut self, chunk: &Chunk) -> Result<()> {
        let Some(rows) = chunk.rows() else { return Ok(()) };
        let times = rows.column(self.column).as_any().downcast_ref::<TimestampMicrosecondArray>();
        let times = times.ok_or_else(|| Error::Internal("event time is not a microsecond timestamp".into()))?;
        if let Some(largest) = self.clock.note(times) {
            let known = self.partitions.entry(chunk.partition).or_insert(i64::MIN);
            *known = largest.max(*known);
        }
        Ok(())
    }
}

/// The watermark for a largest event time: whole milliseconds, `delay` behind.
pub fn watermark_for(max: i64, delay: i64) -> i64 {
    match max {
        i64::MIN => NO_WATERMARK,
        max => max.div_euclid(1000).saturating_mul(1000).saturating_sub(delay),
    }
}

impl Logic for Watermark {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        self.note(&chunk)?;
        out.chunk(chunk);
        Ok(())
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn output_watermark(&self, _: &[i64]) -> i64 {
        match self.pace {
            Pace::Epoch => self.clock.assigned(),
            Pace::Eager => {
                self.partitions.values().map(|max| watermark_for(*max, self.delay)).min().unwrap_or(i64::MAX)
            }
        }
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
