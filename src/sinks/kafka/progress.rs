//! The progress topic: which epochs of which query are committed, written in the same transaction as the epoch's rows.
//!
//! ```text
//!  key: the query's id (that of its checkpoint)     value: {"epoch":17}      compacted, read at read_committed
//! ```
//!
//! After a crash the topic says whether the last epoch's transaction was committed; nobody has to guess. Other programs may read it.
//! Readers at `read_committed` do not see past a transaction that is still open, be it another query's: each query has its
//! partition by its id, and the topic is read only once nothing open lies before its end.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::Value;

use super::settings::Settings;
use crate::clock::SharedClock;
use crate::kafka::context::{Health, Reading};
use crate::kafka::errors;
use crate::sources::pause::Pause;
use crate::{Error, Result};

/// Partitions of a new topic. Of one that has more, the first so many are used.
const PARTITIONS: i32 = 16;
/// How often an open transaction is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long the first question may take, and the later ones: whether the cluster refuses us is looked at between two.
const TRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Who asks the cluster at the start.
pub(super) struct Asking<'a> {
    /// How to reach it.
    pub config: ClientConfig,
    pub clock: &'a SharedClock,
    /// What it says of us.
    pub health: &'a Arc<Health>,
}

impl Asking<'_> {
    /// Asks again for as long as the answer is one that waiting may change: a broker that has just gone or is about to come. The
    /// question is told how long it may take.
    pub(super) fn patiently<T>(
        &self,
        limit: Duration,
        mut ask: impl FnMut(Duration) -> std::result::Result<T, KafkaError>,
    ) -> std::result::Result<T, KafkaError> {
        let (begun, pause) = (self.clock.nanos(), Pause::default());
        let mut wait = TRIES.0;
        loop {
            let answer = ask(wait.min(limit));
            let may_change = answer
                .as_ref()
                .is_err_and(|cause| errors::judge(cause) == errors::Verdict::Wait || errors::is_retriable(cause));
            let over = u128::from(self.clock.nanos().saturating_sub(begun)) > limit.as_nanos();
            if !may_change || over || self.health.refusal().is_some() {
                return answer;
            }
            wait = (wait * 2).min(TRIES.1);
            pause.sleep(LOOK_AGAIN);
        }
    }

    /// A consumer that is configured with `more`.
    fn consumer(&self, more: &[(&str, &str)]) -> std::result::Result<BaseConsumer<Reading>, KafkaError> {
        let mut config = self.config.clone();
        for (name, value) in more {
            config.set(*name, *value);
        }
        config.create_with_context(Reading::new(Arc::clone(self.health)))
    }

    /// Why the cluster refuses us, or what failed.
    fn failed(&self, doing: &str, topic: &str, cause: KafkaError) -> Error {
        self.health.refusal().unwrap_or_else(|| failed(doing, topic, cause))
    }
}

/// Where a query keeps its progress.
pub(super) struct ProgressTopic {
    /// The topic.
    pub name: String,
    /// The query's partition of it.
    pub partition: i32,
    /// The query's id, the key of its records.
    pub query: String,
    timeout: Duration,
    max_retry_time: Duration,
}

/// The text of a progress record.
pub(super) fn record(epoch: u64) -> String {
    serde_json::json!({ "epoch": epoch }).to_string()
}

impl ProgressTopic {
    /// Finds the topic, making it if it is not there.
    pub(super) fn open(asking: &Asking<'_>, settings: &Settings, query: String) -> Result<ProgressTopic> {
        let (name, timeout) = (settings.progress_topic.clone(), settings.api_timeout);
        let looking = |cause| asking.failed("looking at", &name, cause);
        let consumer = asking.consumer(&[("group.id", "thalweg-progress")]).map_err(looking)?;
        let found = asking.patiently(timeout, |wait| partitions(&consumer, &name, wait)).map_err(looking)?;
        let count = match found {
            0 => {
                let made = asking.patiently(timeout, |wait| create(asking, &name, wait));
                made.map_err(|cause| asking.failed("creating", &name, cause))?;
                asking.patiently(timeout, |wait| new_partitions(&consumer, &name, wait)).map_err(looking)?
            }
            count => count,
        };
        let hash = twox_hash::XxHash64::oneshot(0, query.as_bytes());
        let partition = (hash % u64::from(count.clamp(1, PARTITIONS).unsigned_abs())) as i32;
        Ok(ProgressTopic { name, partition, query, timeout, max_retry_time: settings.max_retry_time })
    }

    /// The last epoch of the query that the topic names. Waits for transactions that are open there.
    pub(super) fn last_epoch(&self, asking: &Asking<'_>) -> Result<Option<u64>> {
        let reading = |cause| asking.failed("reading", &self.name, cause);
        let end = self.end(&self.consumer(asking, "read_uncommitted")?, asking).map_err(reading)?;
        let consumer = self.consumer(asking, "read_committed")?;
        self.wait_until_stable(&consumer, end, asking)?;
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&self.name, self.partition, Offset::Beginning).map_err(reading)?;
        consumer.assign(&start).map_err(reading)?;
        self.newest(&consumer, asking)
    }

    fn consumer(&self, asking: &Asking<'_>, isolation: &str) -> Result<BaseConsumer<Reading>> {
        let made = asking.consumer(&[
            ("group.id", &format!("thalweg-progress-{}", self.query)),
            ("isolation.level", isolation),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
        ]);
        made.map_err(|cause| failed("reading", &self.name, cause))
    }

    /// Where the partition ends, for a reader at this consumer's isolation level.
    fn end(&self, consumer: &BaseConsumer<Reading>, asking: &Asking<'_>) -> std::result::Result<i64, KafkaError> {
        let ask = |wait| consumer.fetch_watermarks(&self.name, self.partition, wait);
        asking.patiently(self.timeout, ask).map(|(_, end)| end)
    }

    /// Until nothing before `end` belongs to a transaction that may still be committed or aborted.
    fn wait_until_stable(&self, consumer: &BaseConsumer<Reading>, end: i64, asking: &Asking<'_>) -> Result<()> {
        let (begun, pause, clock) = (asking.clock.nanos(), Pause::default(), asking.clock);
        let mut told = false;
        while self.end(consumer, asking).map_err(|cause| asking.failed("reading", &self.name, cause))? < end {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!("waiting for another query's transaction on the progress topic '{}' to end", self.name);
            }
            if u128::from(clock.nanos().saturating_sub(begun)) > self.max_retry_time.as_nanos() {
                return Err(Error::outside(format!(
                    "a transaction on the progress topic '{}' does not end",
                    self.name
                ))
                .hint("It is another query's. Find it with kafka-transactions.sh, or set option 'progressTopic'."));
            }
            pause.sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn newest(&self, consumer: &BaseConsumer<Reading>, asking: &Asking<'_>) -> Result<Option<u64>> {
        let (begun, mut last, clock) = (asking.clock.nanos(), None, asking.clock);
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.key() == Some(self.query.as_bytes()) => {
                    last = Some(parse(message.payload(), &self.name)?);
                }
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
                Some(Err(cause)) if errors::judge(&cause) != errors::Verdict::Wait => {
                    return Err(failed("reading", &self.name, cause));
                }
                Some(Err(_)) | None => {}
            }
            if u128::from(clock.nanos().saturating_sub(begun)) > self.timeout.as_nanos() {
                let cause = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
                return Err(failed("reading", &self.name, cause));
            }
        }
    }
}

fn failed(doing: &str, topic: &str, cause: KafkaError) -> Error {
    errors::error(&format!("{doing} the progress topic '{topic}'"), cause)
}

fn create(asking: &Asking<'_>, topic: &str, timeout: Duration) -> std::result::Result<(), KafkaError> {
    let admin: AdminClient<Reading> = asking.config.create_with_context(Reading::new(Arc::clone(asking.health)))?;
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "3600000")
        .set("segment.bytes", "16777216");
    let options = AdminOptions::new().operation_timeout(Some(timeout)).request_timeout(Some(timeout));
    let made = futures::executor::block_on(admin.create_topics([&new], &options))?;
    match made.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
    }
}

/// How many partitions a topic has; 0 if there is none.
fn partitions(consumer: &BaseConsumer<Reading>, topic: &str, wait: Duration) -> std::result::Result<i32, KafkaError> {
    // A consumer hears what is said on the side, that the cluster refuses us for one, when it is polled.
    let asked = consumer.fetch_metadata(Some(topic), wait).inspect_err(|_| drop(consumer.poll(LOOK_AGAIN)));
    let found = asked?;
    let count = found.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// The same of a topic that was just made: it takes a moment to be known everywhere.
fn new_partitions(
    consumer: &BaseConsumer<Reading>,
    topic: &str,
    wait: Duration,
) -> std::result::Result<i32, KafkaError> {
    let pause = Pause::default();
    for _ in 0..50 {
        match partitions(consumer, topic, wait)? {
            0 => pause.sleep(LOOK_AGAIN),
            count => return Ok(count),
        }
    }
    Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
}

fn parse(value: Option<&[u8]>, topic: &str) -> Result<u64> {
    let parsed: Option<Value> = value.and_then(|bytes| serde_json::from_slice(bytes).ok());
    parsed.and_then(|value| value.get("epoch")?.as_u64()).ok_or_else(|| {
        Error::outside(format!("the progress topic '{topic}' holds something that is no progress record"))
            .hint("Set option 'progressTopic' to a topic that only sinks write to.")
    })
}
