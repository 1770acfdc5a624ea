//! The reader of planned ranges: exactly the records of a batch, the same again when the batch runs again.
//!
//! In: partitions with the offsets from which and up to which to read. Out: rows, partition after partition. A range ends with its
//! last record; where the last offsets hold no records (control records of transactions, compaction) it ends when the next
//! record lies behind the range, or when the client, placed anew behind the last record, finds the end of the partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::cluster::{Cluster, Slot};
use super::offsets::{Partition, name};
use super::rows::Rows;
use super::witness::Witness;
use crate::kafka::errors::{self, Verdict};
use crate::sources::{Offset, Read, Reader};
use crate::{Error, Result};

/// After the end of a partition was reported, how long to wait for more before the report is checked.
const SETTLE: u64 = 50_000_000;

/// One partition's range.
pub(super) struct Range {
    cluster: Arc<Cluster>,
    partition: Partition,
    /// `None` once it has been given back.
    slot: Option<Slot>,
    next: i64,
    to: i64,
    /// The record taken last.
    last: Option<Witness>,
    /// When something last came (nanoseconds).
    alive: u64,
    /// When the end of the partition was last reported.
    end_seen: Option<u64>,
    /// The queue was placed anew; the next report of the end is true.
    confirming: bool,
}

enum Filled {
    /// The range has been read.
    Done,
    /// The batch is full.
    Full,
    /// Nothing more just now.
    Waiting,
}

impl Range {
    /// Places the partition's queue at `from`, if it is not there.
    pub(super) fn open(cluster: &Arc<Cluster>, partition: Partition, from: i64, to: i64) -> Result<Range> {
        let mut slot = cluster.take(&partition)?;
        if slot.next != Some(from) {
            cluster.place(&partition, &mut slot, from)?;
        }
        let alive = cluster.clock.nanos();
        let cluster = Arc::clone(cluster);
        Ok(Range {
            cluster,
            partition,
            slot: Some(slot),
            next: from,
            to,
            last: None,
            alive,
            end_seen: None,
            confirming: false,
        })
    }

    fn fill(&mut self, rows: &mut Rows, wait: Duration) -> Result<Filled> {
        let filled = self.fill_rows(rows, wait);
        if let Some(slot) = &self.slot {
            slot.marks.keep(&mut self.last);
        }
        filled
    }

    fn fill_rows(&mut self, rows: &mut Rows, wait: Duration) -> Result<Filled> {
        self.take_held(rows);
        loop {
            if self.next >= self.to {
                return Ok(Filled::Done);
            }
            if rows.is_full() {
                return Ok(Filled::Full);
            }
            let wait = if rows.is_empty() { wait.min(Duration::from_millis(20)) } else { Duration::ZERO };
            if !self.poll(rows, wait)? {
                self.look_after()?;
                return Ok(Filled::Waiting);
            }
        }
    }

    fn take_held(&mut self, rows: &mut Rows) {
        let Some(slot) = &mut self.slot else { return };
        if let Some(held) = slot.held.take() {
            if held.offset() < self.to {
                rows.push(&held);
                self.last = Witness::of(&held).or(self.last);
                self.next = held.offset() + 1;
            } else {
                self.next = self.to;
                slot.held = Some(held);
            }
        }
    }

    /// Takes one thing from the queue; false if there was nothing.
    fn poll(&mut self, rows: &mut Rows, wait: Duration) -> Result<bool> {
        let Some(slot) = &mut self.slot else { return Ok(false) };
        let trouble = match slot.queue.poll(wait) {
            None => return Ok(false),
            Some(Ok(message)) if message.offset() < self.next => return Ok(true),
            Some(Ok(message)) if message.offset() < self.to => {
                rows.push(&message);
                self.last = Witness::of(&message).or(self.last);
                self.next = message.offset() + 1;
                if let Some(millis) = message.timestamp().to_millis() {
                    slot.marks.newest.store(millis, Ordering::Relaxed);
                }
                None
            }
            Some(Ok(message)) => {
                self.next = self.to;
                slot.held = Some(message.detach());
                None
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.end_seen = Some(self.cluster.clock.nanos());
                if self.confirming {
                    self.next = self.to;
                }
                None
            }
            Some(Err(cause)) => Some(cause),
        };
        match trouble {
            Some(cause) => self.trouble(cause)?,
            None => self.arrived(),
        }
        Ok(true)
    }

    fn arrived(&mut self) {
        self.alive = self.cluster.clock.nanos();
        self.cluster.health.up();
    }

    fn trouble(&mut self, cause: KafkaError) -> Result<()> {
        match errors::judge(&cause) {
            Verdict::Wait => {
                self.cluster.health.note(&cause, "");
                Ok(())
            }
            Verdict::OutOfRange => self.go_on_after_loss(),
            Verdict::Unknown => {
                if self.cluster.check_gone(&self.partition, self.next)? {
                    self.next = self.to;
                }
                Ok(())
            }
            _ => Err(errors::error("reading from Kafka", cause).at(self.position())),
        }
    }

    fn go_on_after_loss(&mut self) -> Result<()> {
        let next = self.cluster.after_loss(&self.partition, self.next, Some(self.to))?;
        self.next = next.min(self.to).max(self.next);
        self.place_anew()
    }

    fn place_anew(&mut self) -> Result<()> {
        let Some(slot) = &mut self.slot else { return Ok(()) };
        self.cluster.place(&self.partition, slot, self.next)
    }

    /// Nothing came: is the range at its end, is the cluster there, has it taken too long?
    fn look_after(&mut self) -> Result<()> {
        self.cluster.check()?;
        let now = self.cluster.clock.nanos();
        if !self.confirming && self.end_seen.is_some_and(|seen| now.saturating_sub(seen) >= SETTLE) {
            self.confirming = true;
            return self.place_anew();
        }
        let waited = u128::from(now.saturating_sub(self.alive));
        if self.cluster.health.away().is_none() && waited >= self.cluster.settings.poll_timeout.as_nanos() {
            let millis = self.cluster.settings.poll_timeout.as_millis();
            return Err(Error::outside(format!(
                "cannot fetch record for offset {} in {millis} milliseconds",
                self.next
            ))
            .at(self.position())
            .hint("Option 'kafkaConsumer.pollTimeoutMs' says how long to wait."));
        }
        Ok(())
    }

    fn position(&self) -> String {
        format!("Kafka partition {}, offset {}", name(&self.partition), self.next)
    }
}

impl Drop for Range {
    /// What has been fetched ahead serves the next batch.
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            slot.next = slot.next.map(|_| self.next);
            self.cluster.give(self.partition.clone(), slot);
        }
    }
}

/// Reads several ranges, one after the other.
pub(super) struct RangeReader {
    ranges: VecDeque<Range>,
    rows: Rows,
}

impl RangeReader {
    /// Reads the ranges in this order.
    pub(super) fn new(ranges: VecDeque<Range>, rows: Rows) -> RangeReader {
        RangeReader { ranges, rows }
    }
}

impl Reader for RangeReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        while let Some(range) = self.ranges.front_mut() {
            match range.fill(&mut self.rows, wait)? {
                Filled::Done => drop(self.ranges.pop_front()),
                Filled::Full => break,
                Filled::Waiting if self.rows.is_empty() => return Ok(Read::Idle),
                Filled::Waiting => break,
            }
        }
        if self.rows.is_empty() {
            return Ok(Read::End);
        }
        Ok(Read::Rows(self.rows.take()?))
    }

    /// A planned range has its end in the plan.
    fn offset(&self) -> Offset {
        Offset::Null
    }
}
