//! The reader of the continuous trigger: records are handed over the moment the client has them.
//!
//! In: partitions (one, unless more appear while it runs) with the offsets to begin at. Out: rows, as many as are there. The
//! client wakes it; so does the query's driver when an epoch closes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::cluster::{Cluster, Slot};
use super::offsets::{self, Partition, Positions, name};
use super::rows::Rows;
use super::witness::Witness;
use crate::kafka::errors::{self, Verdict};
use crate::sources::pause::Pause;
use crate::sources::{Offset, Reach, Read, Reader};
use crate::{Error, Result};

/// Partitions that were found while a reader runs, with the offsets to begin at.
#[derive(Default)]
pub(super) struct Inbox {
    filled: AtomicBool,
    found: Mutex<Vec<(Partition, i64)>>,
}

impl Inbox {
    /// Hands a partition over.
    pub(super) fn put(&self, partition: Partition, from: i64) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push((partition, from));
        self.filled.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<(Partition, i64)> {
        if !self.filled.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Tail {
    partition: Partition,
    slot: Slot,
    next: i64,
    /// The record taken last.
    last: Option<Witness>,
}

/// Reads partitions for ever.
pub(super) struct TailReader {
    cluster: Arc<Cluster>,
    tails: Vec<Tail>,
    /// Which partition is looked at first.
    turn: usize,
    rows: Rows,
    pause: Pause,
    inbox: Arc<Inbox>,
    /// The last news of the partitions' leaders that was looked at.
    news: u64,
}

impl TailReader {
    /// Begins at `starts`.
    pub(super) fn open(
        cluster: &Arc<Cluster>,
        starts: Vec<(Partition, i64)>,
        rows: Rows,
        inbox: Arc<Inbox>,
    ) -> Result<Self> {
        let pause = Pause::default();
        let mut reader =
            TailReader { cluster: Arc::clone(cluster), tails: Vec::new(), turn: 0, rows, pause, inbox, news: 0 };
        starts.into_iter().try_for_each(|(partition, from)| reader.adopt(partition, from))?;
        Ok(reader)
    }

    fn adopt(&mut self, partition: Partition, from: i64) -> Result<()> {
        let mut slot = self.cluster.take(&partition)?;
        let wake = self.pause.interrupter();
        slot.queue.set_nonempty_callback(move || wake());
        self.cluster.place(&partition, &mut slot, from)?;
        self.tails.push(Tail { partition, slot, next: from, last: None });
        Ok(())
    }

    /// Takes what is there.
    fn gather(&mut self) -> Result<()> {
        let count = self.tails.len();
        for i in 0..count {
            let tail = &mut self.tails[(self.turn + i) % count];
            while !self.rows.is_full() && tail.poll(&self.cluster, &mut self.rows)? {}
            tail.slot.marks.keep(&mut tail.last);
        }
        self.turn = (self.turn + 1) % count.max(1);
        Ok(())
    }
}

impl Tail {
    /// Takes one thing from the queue; false if there was nothing.
    fn poll(&mut self, cluster: &Cluster, rows: &mut Rows) -> Result<bool> {
        let cause = match self.slot.queue.poll(Duration::ZERO) {
            None => return Ok(false),
            Some(Ok(message)) => {
                if message.offset() >= self.next {
                    rows.push(&message);
                    self.last = Witness::of(&message).or(self.last);
                    self.next = message.offset() + 1;
                    let millis = message.timestamp().to_millis().unwrap_or(i64::MIN);
                    self.slot.marks.newest.store(millis, Ordering::Relaxed);
                }
                cluster.health.up();
                return Ok(true);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                cluster.health.up();
                return Ok(true);
            }
            Some(Err(cause)) => cause,
        };
        self.trouble(cluster, cause).map(|()| true)
    }

    /// True if somebody waits for records that have not come yet. What is on its way to a broker that is away is not waited for.
    fn behind(&self, cluster: &Cluster) -> bool {
        let goal = self.slot.marks.goal.load(Ordering::Acquire);
        goal > self.next
            && cluster.fetched(&self.partition).is_none_or(|fetched| goal > fetched)
            && cluster.health.away().is_none()
            && cluster.reachable(&self.partition)
    }

    fn trouble(&mut self, cluster: &Cluster, cause: KafkaError) -> Result<()> {
        match errors::judge(&cause) {
            Verdict::Wait => {
                cluster.health.note(&cause, "");
                Ok(())
            }
            Verdict::OutOfRange => {
                self.next = cluster.after_loss(&self.partition, self.next, None)?;
                cluster.place(&self.partition, &mut self.slot, self.next)
            }
            Verdict::Unknown => cluster.check_gone(&self.partition, self.next).map(drop),
            _ => Err(self.at(errors::error("reading from Kafka", cause))),
        }
    }

    fn at(&self, error: Error) -> Error {
        error.at(format!("Kafka partition {}, offset {}", name(&self.partition), self.next))
    }
}

impl Reader for TailReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        for (partition, from) in self.inbox.take() {
            self.adopt(partition, from)?;
        }
        self.gather()?;
        if self.rows.is_empty() {
            self.pause.sleep(wait);
            self.gather()?;
        }
        if self.rows.is_empty() {
            self.cluster.check()?;
            return Ok(Read::Idle);
        }
        Ok(Read::Rows(self.rows.take()?))
    }

    fn is_light(&self) -> bool {
        true
    }

    fn offset(&self) -> Offset {
        let positions: Positions = self.tails.iter().map(|tail| (tail.partition.clone(), tail.next)).collect();
        offsets::to_offset(&positions)
    }

    fn behind(&self) -> bool {
        self.tails.iter().any(|tail| tail.behind(&self.cluster))
    }

    fn reach(&mut self) -> Reach {
        let lost = self.cluster.health.away().is_some()
            || self.tails.iter().any(|tail| !self.cluster.reachable(&tail.partition));
        let news = self.cluster.news();
        match (lost, std::mem::replace(&mut self.news, news) == news) {
            (true, _) => Reach::Lost,
            (false, true) => Reach::Open,
            (false, false) => Reach::Sure,
        }
    }

    fn interrupt(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        Some(self.pause.interrupter())
    }
}
