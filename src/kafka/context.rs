//! What a Kafka client tells us on the side: log lines, errors that belong to no partition, statistics.
//!
//! In: callbacks from the client's own threads or from whoever polls it. Out: tracing events, and [`Health`], which readers and
//! the query's driver look at: is the cluster there, and if not, since when; has it refused us.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;

use super::errors::{self, Verdict};
use crate::Error;
use crate::clock::SharedClock;

/// Whether the cluster answers. Shared by a client's context and those who wait for it.
pub(crate) struct Health {
    clock: SharedClock,
    /// Since when no broker answers (nanoseconds of the clock), 0 if one does.
    down_since: AtomicU64,
    /// Why the cluster won't talk to us.
    refused: Mutex<Option<Error>>,
}

impl Health {
    /// Nothing known against the cluster.
    pub(crate) fn new(clock: SharedClock) -> Arc<Health> {
        Arc::new(Health { clock, down_since: AtomicU64::new(0), refused: Mutex::default() })
    }

    /// The cluster has answered.
    pub(crate) fn up(&self) {
        if self.down_since.load(Ordering::Relaxed) != 0 && self.down_since.swap(0, Ordering::AcqRel) != 0 {
            tracing::info!("the Kafka cluster is reachable again");
        }
    }

    /// The cluster has not answered.
    pub(crate) fn down(&self) {
        let now = self.clock.nanos();
        if self.down_since.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::warn!("no Kafka broker is reachable; reconnecting");
        }
    }

    /// For how many nanoseconds it has been away; `None` if it is there.
    pub(crate) fn away(&self) -> Option<u64> {
        match self.down_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(self.clock.nanos().saturating_sub(since)),
        }
    }

    /// The error with which the cluster refuses us, if it does.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, error: Error) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// Takes note of an error.
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        match errors::judge(error) {
            Verdict::Refused | Verdict::Fenced => {
                let text = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
                self.refuse(errors::error("talking to the Kafka cluster", error.clone()).at(text));
            }
            Verdict::Wait if errors::code(error) == Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown) => {
                self.down();
            }
            _ => tracing::debug!("Kafka: {error}: {reason}"),
        }
    }
}

/// What statistics say of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PartitionFigures {
    /// The place up to which everything has been fetched, control records included; -1 if unknown.
    pub next: i64,
    /// Records fetched and not taken yet.
    pub queued: i64,
    /// The end of what may be read; -1 if unknown.
    pub end: i64,
}

/// By topic and partition.
pub(crate) type Figures = HashMap<(String, i32), PartitionFigures>;

/// The context of a consumer.
pub(crate) struct Reading {
    /// Whether the cluster answers.
    pub health: Arc<Health>,
    figures: Mutex<Figures>,
}

impl Reading {
    /// A context that keeps `health`.
    pub(crate) fn new(health: Arc<Health>) -> Reading {
        Reading { health, figures: Mutex::default() }
    }

    /// The newest statistics.
    pub(crate) fn figures(&self) -> Figures {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Reading {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(figures) = parse_figures(statistics) {
            *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
        }
    }
}

impl ConsumerContext for Reading {}

fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "thalweg::kafka", "{facility}: {message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "thalweg::kafka", "{facility}: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "thalweg::kafka", "{facility}: {message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "thalweg::kafka", "{facility}: {message}"),
    }
}

fn parse_figures(statistics: &[u8]) -> Option<Figures> {
    let all: serde_json::Value = serde_json::from_slice(statistics).ok()?;
    let mut figures = Figures::new();
    for (topic, value) in all.get("topics")?.as_object()? {
        for (partition, value) in value.get("partitions")?.as_object()? {
            let Ok(partition) = partition.parse::<i32>() else { continue };
            let number = |name: &str| value.get(name).and_then(serde_json::Value::as_i64).unwrap_or(-1);
            let end = if number("ls_offset") >= 0 { number("ls_offset") } else { number("hi_offset") };
            let of_partition = PartitionFigures { next: number("next_offset"), queued: number("fetchq_cnt"), end };
            figures.insert((topic.clone(), partition), of_partition);
        }
    }
    Some(figures)
}

/// How many epochs' deliveries are told apart: the one that is being committed and the one that already flows, with room.
const SLOTS: usize = 4;

/// What became of the records of an epoch.
#[derive(Default)]
struct Slot {
    sent: AtomicU64,
    done: AtomicU64,
}

/// The context of a producer: counts deliveries by epoch and keeps the first failure.
pub(crate) struct Writing {
    /// Whether the cluster answers.
    pub health: Arc<Health>,
    slots: [Slot; SLOTS],
    failed: Mutex<Option<Error>>,
}

impl Writing {
    /// A context that keeps `health`.
    pub(crate) fn new(health: Arc<Health>) -> Writing {
        Writing { health, slots: Default::default(), failed: Mutex::default() }
    }

    /// What a record of `epoch` carries so that its delivery is counted there.
    pub(crate) fn mark(epoch: u64) -> usize {
        epoch as usize % SLOTS
    }

    /// Records of `epoch` have been handed over.
    pub(crate) fn sent(&self, epoch: u64, records: u64) {
        self.slots[Self::mark(epoch)].sent.fetch_add(records, Ordering::AcqRel);
    }

    /// True once everything of `epoch` that was handed over has been delivered or has failed.
    pub(crate) fn delivered(&self, epoch: u64) -> bool {
        let slot = &self.slots[Self::mark(epoch)];
        slot.done.load(Ordering::Acquire) >= slot.sent.load(Ordering::Acquire)
    }

    /// The first failed delivery, if there was one.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, error: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl ClientContext for Writing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
        if errors::code(&error) == Some(rdkafka::types::RDKafkaErrorCode::Fatal) {
            self.fail(Error::outside(format!("the Kafka producer failed for good: {reason}")));
        }
    }
}

impl ProducerContext for Writing {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, slot: usize) {
        if let Err((error, message)) = delivery {
            // What is purged when a transaction is aborted has not failed by itself.
            if errors::code(error) != Some(rdkafka::types::RDKafkaErrorCode::PurgeQueue)
                && errors::code(error) != Some(rdkafka::types::RDKafkaErrorCode::PurgeInflight)
            {
                let place = format!("topic '{}', partition {}", message.topic(), message.partition());
                self.fail(errors::error("writing a record to Kafka", error.clone()).at(place));
            }
        } else {
            self.health.up();
        }
        if let Some(slot) = self.slots.get(slot) {
            slot.done.fetch_add(1, Ordering::AcqRel);
        }
    }
}
