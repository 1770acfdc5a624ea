//! The progress topic: which epochs of which query are committed, written in the same transaction as the epoch's rows.
//!
//! ```text
//!  key: the query's id (that of its checkpoint)     value: {"epoch":17}      one partition, compacted, read at read_committed
//! ```
//!
//! After a crash the topic says whether the last epoch's transaction was committed; nobody has to guess. Other programs may read it.

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

use crate::clock::SharedClock;
use crate::kafka::errors;
use crate::{Error, Result};

/// The text of a progress record.
pub(super) fn record(epoch: u64) -> String {
    serde_json::json!({ "epoch": epoch }).to_string()
}

/// Makes the topic if it is not there.
pub(super) fn create_topic(config: &ClientConfig, topic: &str, timeout: Duration) -> Result<()> {
    let failed = |cause| errors::error(&format!("creating the progress topic '{topic}'"), cause);
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(failed)?;
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "3600000")
        .set("segment.bytes", "16777216");
    let options = AdminOptions::new().operation_timeout(Some(timeout)).request_timeout(Some(timeout));
    let made = futures::executor::block_on(admin.create_topics([&new], &options)).map_err(failed)?;
    match made.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
    }
}

/// The last epoch of `query` that the topic names.
pub(super) fn last_epoch(
    config: &ClientConfig,
    topic: &str,
    query: &str,
    timeout: Duration,
    clock: &SharedClock,
) -> Result<Option<u64>> {
    let failed = |cause| errors::error(&format!("reading the progress topic '{topic}'"), cause);
    let mut config = config.clone();
    config
        .set("group.id", format!("thalweg-progress-{query}"))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    consumer.assign(&start).map_err(failed)?;
    let begun = clock.nanos();
    let mut last = None;
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.key() == Some(query.as_bytes()) => {
                last = Some(parse(message.payload(), topic)?);
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(cause)) if errors::judge(&cause) != errors::Verdict::Wait => return Err(failed(cause)),
            Some(Err(_)) | None => {}
        }
        if u128::from(clock.nanos().saturating_sub(begun)) > timeout.as_nanos() {
            return Err(failed(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)));
        }
    }
}

fn parse(value: Option<&[u8]>, topic: &str) -> Result<u64> {
    let parsed: Option<Value> = value.and_then(|bytes| serde_json::from_slice(bytes).ok());
    parsed.and_then(|value| value.get("epoch")?.as_u64()).ok_or_else(|| {
        Error::outside(format!("the progress topic '{topic}' holds something that is no progress record"))
            .hint("Set option 'progressTopic' to a topic that only sinks write to.")
    })
}
