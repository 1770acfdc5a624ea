//! What the bench does with the client library itself: topics, records to begin with, the plain loops.
//!
//! In: brokers. Out: topics that are removed when they are dropped. The loops use the client as its documentation shows it, in
//! batches for throughput and without waiting for latency.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg::{Error, Result};

use super::super::data::Random;
use super::background::Background;

/// How long the cluster may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How often, and how much later each time, it is asked whether a topic is there.
const LOOKS: usize = 300;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

fn failed(doing: &str) -> impl Fn(KafkaError) -> Error + '_ {
    move |cause| Error::outside(format!("{doing} failed: {cause}")).hint("Check --bootstrap-servers.")
}

/// A cluster.
pub(super) struct Cluster {
    /// Its brokers.
    pub servers: String,
    admin: Arc<AdminClient<DefaultClientContext>>,
}

impl Cluster {
    /// Connects.
    pub(super) fn connect(servers: &str) -> Result<Cluster> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(failed("connecting"))?;
        admin.inner().fetch_metadata(None, ANSWER).map_err(failed("connecting"))?;
        Ok(Cluster { servers: servers.to_owned(), admin: Arc::new(admin) })
    }

    /// A new topic.
    pub(super) fn topic(&self, partitions: i32) -> Result<Topic> {
        let name = format!("thalweg-bench-{}", uuid::Uuid::new_v4());
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let made = futures::executor::block_on(self.admin.create_topics([&new], &AdminOptions::new()));
        let refused = |(_, code)| failed("making a topic")(KafkaError::AdminOp(code));
        made.map_err(failed("making a topic"))?.into_iter().try_for_each(|made| made.map(drop).map_err(refused))?;
        self.wait_for(&name, partitions)?;
        Ok(Topic { name, partitions, servers: self.servers.clone(), admin: Arc::clone(&self.admin) })
    }
}

impl Cluster {
    /// Waits until the brokers know a topic: that it is made is answered before that.
    fn wait_for(&self, topic: &str, partitions: i32) -> Result<()> {
        for _ in 0..LOOKS {
            let known = self.admin.inner().fetch_metadata(Some(topic), ANSWER).map_err(failed("asking for a topic"))?;
            let led = known.topics().iter().flat_map(|topic| topic.partitions()).filter(|part| part.leader() >= 0);
            if led.count() as i64 >= i64::from(partitions) {
                return Ok(());
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Err(Error::outside(format!("topic '{topic}' was made but does not appear")).hint("Check the brokers' logs."))
    }
}

/// A topic of this bench.
pub(super) struct Topic {
    /// Its name.
    pub name: String,
    partitions: i32,
    servers: String,
    admin: Arc<AdminClient<DefaultClientContext>>,
}

impl Drop for Topic {
    fn drop(&mut self) {
        let deleted = futures::executor::block_on(self.admin.delete_topics(&[&self.name], &AdminOptions::new()));
        if let Err(error) = deleted {
            tracing::warn!("topic '{}' was not removed: {error}", self.name);
        }
    }
}

impl Topic {
    fn producing(&self, linger: &str) -> Result<ThreadedProducer<DefaultProducerContext>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("enable.idempotence", "true").set("linger.ms", linger);
        config.create().map_err(failed("making a producer"))
    }

    /// Something that writes numbers, each at once.
    pub(super) fn producer(&self) -> Result<Numbers<'_>> {
        Ok(Numbers { producer: self.producing("0")?, topic: &self.name })
    }

    /// Reads the topic from its start.
    pub(super) fn consumer(&self) -> Result<Reading> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("group.id", "thalweg-bench");
        config.set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create().map_err(failed("making a consumer"))?;
        let mut start = TopicPartitionList::new();
        for partition in 0..self.partitions {
            start.add_partition_offset(&self.name, partition, Offset::Beginning).map_err(failed("assigning"))?;
        }
        consumer.assign(&start).map_err(failed("assigning"))?;
        Ok(Reading(consumer))
    }

    /// Writes JSON records, the same each time, to the partitions in turn.
    pub(super) fn fill(&self, records: u64) -> Result<()> {
        let (producer, mut random, mut text) = (self.producing("5")?, Random::new(1006), String::new());
        for number in 0..records {
            push_record(number, &mut random, &mut text);
            let partition = (number % u64::from(self.partitions.unsigned_abs()).max(1)) as i32;
            send(&producer, &self.name, Some(partition), text.as_bytes())?;
        }
        producer.flush(ANSWER).map_err(failed("writing"))
    }

    /// Copies so many records: the plain loop.
    pub(super) fn copy_to(&self, output: &Topic, records: u64) -> Result<()> {
        let (reading, producer) = (self.consumer()?, output.producing("5")?);
        let mut left = records;
        while left > 0 {
            if let Some(message) = reading.0.poll(ANSWER).transpose().map_err(failed("reading"))? {
                send(&producer, &output.name, None, message.payload().unwrap_or_default())?;
                left -= 1;
            }
        }
        producer.flush(ANSWER).map_err(failed("writing"))
    }

    /// Copies each record the moment it comes, until it is stopped.
    pub(super) fn echo_to(&self, output: &Topic) -> Result<Background<()>> {
        let (reading, producer, target) = (self.consumer()?, output.producing("0")?, output.name.clone());
        Background::start("echo", move |stop| {
            while !stop.load(Ordering::Acquire) {
                if let Some(message) =
                    reading.0.poll(Duration::from_millis(50)).transpose().map_err(failed("reading"))?
                {
                    send(&producer, &target, None, message.payload().unwrap_or_default())?;
                }
            }
            producer.flush(ANSWER).map_err(failed("writing"))
        })
    }
}

/// Hands a record to the client; waits while its buffer is full.
fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    partition: Option<i32>,
    payload: &[u8],
) -> Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(payload);
    record.partition = partition;
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
            Err((cause, _)) => return Err(failed("writing")(cause)),
        };
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn push_record(number: u64, random: &mut Random, text: &mut String) {
    use std::fmt::Write as _;
    const COUNTRIES: [&str; 5] = ["US", "DE", "FR", "JP", "BR"];
    let country = COUNTRIES.get(random.below(5) as usize).copied().unwrap_or_default();
    let (user, amount) = (random.below(100_000), random.below(10_000));
    text.clear();
    let _ = write!(
        text,
        "{{\"id\":{number},\"ts\":\"2025-03-01T00:00:00.{:03}Z\",\"user\":{{\"id\":{user},\"name\":\"user-{user}\"}},\
         \"country\":\"{country}\",\"action\":\"purchase\",\"amount_cents\":{amount},\"url\":\"/shop/item/{}\"}}",
        number % 1000,
        random.below(5000)
    );
}

/// Writes numbers as text.
pub(super) struct Numbers<'a> {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: &'a str,
}

impl Numbers<'_> {
    /// Writes these.
    pub(super) fn numbers(&self, numbers: Range<u64>) -> Result<()> {
        numbers.into_iter().try_for_each(|n| send(&self.producer, self.topic, None, n.to_string().as_bytes()))
    }
}

/// A consumer of one topic.
pub(super) struct Reading(BaseConsumer);

impl Reading {
    /// The next record's number; none if nothing came within the wait.
    pub(super) fn number(&self, wait: Duration) -> Result<Option<u64>> {
        let message = self.0.poll(wait).transpose().map_err(failed("reading"))?;
        let text = message.as_ref().and_then(|message| std::str::from_utf8(message.payload()?).ok());
        Ok(text.and_then(|text| text.parse().ok()))
    }
}
