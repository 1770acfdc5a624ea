//! What a Kafka client tells us on the side: log lines, errors that belong to no partition, statistics.
//!
//! In: callbacks from the client's own threads or from whoever polls it. Out: tracing events, and [`Health`], which readers and
//! the query's driver look at: is the cluster there, and if not, since when; has it refused us.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
        match errors::judge_connection(error, reason) {
            verdict @ (Verdict::Refused | Verdict::Fenced) => {
                let text = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
                self.refuse(errors::told("talking to the Kafka cluster", verdict, error.clone()).at(text));
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
    /// Whether its leader is known and connected.
    pub reachable: bool,
}

/// By topic and partition.
pub(crate) type Figures = HashMap<(String, i32), PartitionFigures>;

/// The context of a consumer.
pub(crate) struct Reading {
    /// Whether the cluster answers.
    pub health: Arc<Health>,
    figures: Mutex<Figures>,
    /// Whether some partition is not reachable.
    holes: AtomicBool,
    /// How often statistics have come.
    news: AtomicU64,
}

impl Reading {
    /// A context that keeps `health`.
    pub(crate) fn new(health: Arc<Health>) -> Reading {
        Reading { health, figures: Mutex::default(), holes: AtomicBool::new(false), news: AtomicU64::new(0) }
    }

    /// How often there were statistics.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// The newest statistics.
    pub(crate) fn figures(&self) -> Figures {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Up to where a partition has been fetched; `None` while its queue holds records, or if that is not known.
    pub(crate) fn fetched(&self, topic: &str, partition: i32) -> Option<i64> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let figure = figures.get(&(topic.to_owned(), partition))?;
        (figure.queued == 0).then_some(figure.next)
    }

    /// False while a partition may hold records that cannot be read: its leader is away or not known.
    pub(crate) fn reachable(&self, topic: &str, partition: i32) -> bool {
        if !self.holes.load(Ordering::Relaxed) {
            return true;
        }
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.get(&(topic.to_owned(), partition)).is_none_or(|figure| figure.reachable)
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
        if let Some((figures, connected)) = parse_figures(statistics) {
            if connected {
                self.health.up();
            }
            self.holes.store(figures.values().any(|figure| !figure.reachable), Ordering::Relaxed);
            *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
            self.news.fetch_add(1, Ordering::Release);
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

/// The partitions' figures, and whether any broker is connected.
fn parse_figures(statistics: &[u8]) -> Option<(Figures, bool)> {
    let all: serde_json::Value = serde_json::from_slice(statistics).ok()?;
    let connected = connected(&all);
    let mut figures = Figures::new();
    for (topic, value) in all.get("topics")?.as_object()? {
        for (partition, value) in value.get("partitions")?.as_object()? {
            // The client keeps records without a partition under -1.
            let Some(partition) = partition.parse::<i32>().ok().filter(|partition| *partition >= 0) else { continue };
            let number = |name: &str| value.get(name).and_then(serde_json::Value::as_i64).unwrap_or(-1);
            let end = if number("ls_offset") >= 0 { number("ls_offset") } else { number("hi_offset") };
            let reachable = connected.contains(&number("leader"));
            let (next, queued) = (number("next_offset"), number("fetchq_cnt"));
            let of_partition = PartitionFigures { next, queued, end, reachable };
            figures.insert((topic.clone(), partition), of_partition);
        }
    }
    Some((figures, !connected.is_empty()))
}

/// Numbers of the brokers that are connected.
fn connected(statistics: &serde_json::Value) -> HashSet<i64> {
    let brokers = statistics.get("brokers").and_then(serde_json::Value::as_object);
    let up = brokers
        .into_iter()
        .flat_map(|brokers| brokers.values())
        .filter(|broker| broker.get("state").and_then(serde_json::Value::as_str).is_some_and(|state| state == "UP"));
    up.filter_map(|broker| broker.get("nodeid")?.as_i64()).filter(|number| *number >= 0).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn statistics(state: &str) -> String {
        format!(
            r#"{{"brokers":{{"a:1/1":{{"nodeid":1,"state":"{state}"}},"b:1/2":{{"nodeid":2,"state":"UP"}},"boot":{{"nodeid":-1,"state":"UP"}}}},
                "topics":{{"t":{{"partitions":{{"0":{{"leader":1,"next_offset":5,"fetchq_cnt":0,"hi_offset":9,"ls_offset":7}},
                                             "1":{{"leader":2}},"-1":{{"leader":-1}}}}}}}}}}"#
        )
    }

    #[test]
    fn n06_a_partition_without_its_leader_is_known() {
        let clock = ManualClock::at(0);
        let reading = Reading::new(Health::new(clock));
        reading.health.down();
        reading.stats_raw(statistics("UP").as_bytes());
        assert!(reading.health.away().is_none(), "a broker is connected");
        assert!(reading.reachable("t", 0) && reading.reachable("t", 1) && reading.reachable("other", 0));
        assert_eq!(reading.figures()[&("t".to_owned(), 0)].end, 7);
        reading.stats_raw(statistics("TRY_CONNECT").as_bytes());
        assert!(!reading.reachable("t", 0) && reading.reachable("t", 1));
    }
}
