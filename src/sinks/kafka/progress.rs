//! The progress topic: which epochs of which query are committed, written in the same transaction as the epoch's rows.
//!
//! ```text
//!  key: the query's id (that of its checkpoint)     value: {"epoch":17}      compacted, read at read_committed
//! ```
//!
//! After a crash the topic says whether the last epoch's transaction was committed; nobody has to guess. Other programs may read it.
//! Readers at `read_committed` do not see past a transaction that is still open, be it another query's: each query has its
//! partition by its id, and the topic is read only once nothing open lies before its end.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::Value;

use super::settings::Settings;
use crate::clock::SharedClock;
use crate::kafka::errors;
use crate::sources::pause::Pause;
use crate::{Error, Result};

/// Partitions of a new topic. Of one that has more, the first so many are used.
const PARTITIONS: i32 = 16;
/// How often an open transaction is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

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
    pub(super) fn open(
        config: &ClientConfig,
        settings: &Settings,
        query: String,
        clock: &SharedClock,
    ) -> Result<ProgressTopic> {
        let (name, timeout) = (settings.progress_topic.clone(), settings.api_timeout);
        let made = patiently(timeout, clock, || create(config, &name, timeout));
        made.map_err(|cause| failed("creating", &name, cause))?;
        let found = patiently(timeout, clock, || partitions(config, &name, timeout));
        let count = found.map_err(|cause| failed("looking at", &name, cause))?;
        let hash = twox_hash::XxHash64::oneshot(0, query.as_bytes());
        let partition = (hash % u64::from(count.clamp(1, PARTITIONS).unsigned_abs())) as i32;
        Ok(ProgressTopic { name, partition, query, timeout, max_retry_time: settings.max_retry_time })
    }

    /// The last epoch of the query that the topic names. Waits for transactions that are open there.
    pub(super) fn last_epoch(&self, config: &ClientConfig, clock: &SharedClock) -> Result<Option<u64>> {
        let reading = |cause| failed("reading", &self.name, cause);
        let end = self.end(&self.consumer(config, "read_uncommitted")?, clock).map_err(reading)?;
        let consumer = self.consumer(config, "read_committed")?;
        self.wait_until_stable(&consumer, end, clock)?;
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&self.name, self.partition, Offset::Beginning).map_err(reading)?;
        consumer.assign(&start).map_err(reading)?;
        self.newest(&consumer, clock)
    }

    fn consumer(&self, config: &ClientConfig, isolation: &str) -> Result<BaseConsumer> {
        let mut config = config.clone();
        config
            .set("group.id", format!("thalweg-progress-{}", self.query))
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        config.create().map_err(|cause| failed("reading", &self.name, cause))
    }

    /// Where the partition ends, for a reader at this consumer's isolation level.
    fn end(&self, consumer: &BaseConsumer, clock: &SharedClock) -> std::result::Result<i64, KafkaError> {
        let ask = || consumer.fetch_watermarks(&self.name, self.partition, self.timeout);
        patiently(self.timeout, clock, ask).map(|(_, end)| end)
    }

    /// Until nothing before `end` belongs to a transaction that may still be committed or aborted.
    fn wait_until_stable(&self, consumer: &BaseConsumer, end: i64, clock: &SharedClock) -> Result<()> {
        let (begun, pause) = (clock.nanos(), Pause::default());
        let mut told = false;
        while self.end(consumer, clock).map_err(|cause| failed("reading", &self.name, cause))? < end {
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

    fn newest(&self, consumer: &BaseConsumer, clock: &SharedClock) -> Result<Option<u64>> {
        let (begun, mut last) = (clock.nanos(), None);
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

/// Asks again for as long as the answer is one that waiting may change: a broker that has just gone or is about to come.
fn patiently<T>(
    limit: Duration,
    clock: &SharedClock,
    mut ask: impl FnMut() -> std::result::Result<T, KafkaError>,
) -> std::result::Result<T, KafkaError> {
    let (begun, pause) = (clock.nanos(), Pause::default());
    loop {
        let answer = ask();
        let may_change = answer.as_ref().is_err_and(|cause| errors::judge(cause) == errors::Verdict::Wait);
        if !may_change || u128::from(clock.nanos().saturating_sub(begun)) > limit.as_nanos() {
            return answer;
        }
        pause.sleep(LOOK_AGAIN);
    }
}

fn create(config: &ClientConfig, topic: &str, timeout: Duration) -> std::result::Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
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

fn partitions(config: &ClientConfig, topic: &str, timeout: Duration) -> std::result::Result<i32, KafkaError> {
    let consumer: BaseConsumer = config.clone().set("group.id", "thalweg-progress").create()?;
    let pause = Pause::default();
    // A topic that was just made takes a moment to be known everywhere.
    for _ in 0..50 {
        let found = consumer.fetch_metadata(Some(topic), timeout)?;
        let count =
            found.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
        if count > 0 {
            return Ok(i32::try_from(count).unwrap_or(i32::MAX));
        }
        pause.sleep(LOOK_AGAIN);
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
