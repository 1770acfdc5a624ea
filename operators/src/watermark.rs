//! `withWatermark`: event times become the watermark part of the frontier.
//!
//! Under [`Pace::Epoch`] the driver of the query fixes the watermark of each epoch ([`EventClock::assign`]) from the event
//! times of the epochs before; under [`Pace::Eager`] it moves with the data: per source partition the largest event time minus
//! the delay, minimum over the partitions that are not idle; when all are idle, their maximum. Each worker promises the
//! minimum of its own partitions and the frontier joins the workers' promises; a worker whose partitions are all idle promises
//! what the others have reached, and a place in the plan whose partitions are all idle what the query's other places have. Either way a watermark never falls, and null event times do not move it.
//!
//! What has moved it belongs to an epoch: rows of the next one, which come while an epoch is being completed, move it only when the
//! query's driver says that all workers are through ([`EventClock::open`]). So every operator on every worker completes an epoch
//! with the same watermark, that of the epoch's own rows, and a run that starts behind the epoch finds nothing closed by rows that it
//! reads again, and closes nothing twice.
//!
//! A row that is further ahead than the allowed skew, of the others and of the wall clock, goes on but moves nothing.
//!
//! The watermark has millisecond precision, as Spark's.

mod clock;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::max;
use timely::scheduling::SyncActivator;

pub use clock::{ClockReport, EventClock, EventTimes};

use crate::driver::Logic;
use crate::time::NO_WATERMARK;
use crate::{Chunk, Error, Output, Pace, Result};

/// What a [`Watermark`] does.
pub struct WatermarkSpec {
    /// The timestamp column with the event time.
    pub column: usize,
    /// Microseconds the watermark stays behind the largest event time.
    pub delay: i64,
    /// Whether the watermark moves with the data.
    pub pace: Pace,
    /// The source partitions that this worker reads; one without rows yet holds the watermark back.
    pub partitions: Vec<u32>,
    /// How far, in microseconds, a row may be ahead of the others and of the wall clock and still move the watermark.
    pub skew: Option<i64>,
    /// The wall clock in microseconds since 1970; asked only for rows that are far ahead of the others.
    pub now: Box<dyn Fn() -> i64>,
}

/// The operator behind `withWatermark`.
pub struct Watermark {
    spec: WatermarkSpec,
    clock: Arc<EventClock>,
    /// This worker's partitions.
    partitions: BTreeMap<u32, Partition>,
    /// True while all of them are idle, and other workers' rows decide.
    follows: bool,
    promised: i64,
    /// The epoch in progress, and what was promised when it began.
    held: Option<(u64, i64)>,
}

#[derive(Clone, Copy)]
struct Partition {
    /// Largest event time.
    max: i64,
    idle: bool,
}

impl Default for Partition {
    fn default() -> Self {
        Partition { max: i64::MIN, idle: false }
    }
}

impl Watermark {
    /// One worker's operator; `clock` is shared by those of all workers.
    pub fn new(spec: WatermarkSpec, clock: Arc<EventClock>) -> Self {
        let partitions = spec.partitions.iter().map(|partition| (*partition, Partition::default())).collect();
        Watermark { spec, clock, partitions, follows: false, promised: NO_WATERMARK, held: None }
    }

    fn note(&mut self, chunk: &Chunk) -> Result<()> {
        let Some(rows) = chunk.rows() else { return Ok(()) };
        let times = times(rows, self.spec.column)?;
        let Some(largest) = max(times) else { return Ok(()) };
        let known = self.partitions.entry(chunk.partition).or_default();
        known.idle = false;
        let reached = match self.spec.skew {
            Some(skew) if self.clock.is_ahead(largest, skew) => {
                self.clock.note_plausible(times, skew, (self.spec.now)(), known.max)
            }
            _ => self.clock.note(times, known.max),
        };
        known.max = known.max.max(reached.unwrap_or(i64::MIN));
        self.clock.set_partition(chunk.partition, known.max, false);
        Ok(())
    }

    fn rest(&mut self, partition: u32) {
        let known = self.partitions.entry(partition).or_default();
        known.idle = true;
        self.clock.set_partition(partition, known.max, true);
    }

    /// The minimum over this worker's partitions that are not idle.
    fn own(&self) -> Option<i64> {
        let active = self.partitions.values().filter(|partition| !partition.idle);
        active.map(|partition| watermark_for(partition.max, self.spec.delay)).min()
    }

    /// What the rows so far promise; those of an epoch that is not open yet promise nothing new.
    fn promise(&self) -> i64 {
        match self.held {
            Some((epoch, promise)) if !self.clock.is_open(epoch) => promise,
            _ => self.reached(),
        }
    }

    fn reached(&self) -> i64 {
        match self.own() {
            Some(own) => own,
            None if self.partitions.is_empty() => i64::MAX,
            None => self.clock.reached(self.spec.delay),
        }
    }

    /// Lets workers that follow this one know what has changed here.
    fn tell(&mut self) {
        let follows = !self.partitions.is_empty() && self.own().is_none();
        if follows != self.follows {
            self.follows = follows;
            self.clock.follow(follows);
        }
        let promise = self.promise();
        if promise != self.promised || follows {
            self.promised = promise;
            self.clock.wake_followers();
        }
    }
}

/// Rows without event time that go by the watermark of what they are united with: promises the end of time.
pub struct Untimed;

impl Logic for Untimed {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
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
        i64::MAX
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

fn times(rows: &RecordBatch, column: usize) -> Result<&TimestampMicrosecondArray> {
    let times = rows.columns().get(column).and_then(|c| c.as_any().downcast_ref::<TimestampMicrosecondArray>());
    times.ok_or_else(|| Error::Internal("event time is not a microsecond timestamp".into()))
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
        if chunk.quiet {
            self.rest(chunk.partition);
        } else {
            self.note(&chunk)?;
        }
        if self.spec.pace == Pace::Eager {
            self.tell();
        }
        out.chunk(chunk);
        Ok(())
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, epoch: u64, _: &mut Output) -> Result<()> {
        self.held = Some((epoch + 1, self.promise()));
        self.partitions.iter().for_each(|(number, known)| self.clock.close_partition(*number, known.max, known.idle));
        Ok(())
    }

    fn output_watermark(&self, _: &[i64]) -> i64 {
        match self.spec.pace {
            Pace::Epoch => self.clock.assigned(),
            Pace::Eager => self.promise(),
        }
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }

    fn wakes_by(&mut self, activator: SyncActivator) {
        self.clock.add_waker(activator);
    }
}

#[cfg(test)]
mod tests;
