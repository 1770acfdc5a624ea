//! Kafka through the public door, against real brokers.
//!
//! Most tests share the broker at `KAFKA_BOOTSTRAP_SERVERS`, each with topics of its own; those that stop brokers start their own by
//! `tests/services/kafka`, one after the other. All are ignored unless asked for (`--include-ignored`), and fail without a broker:
//! `tests/services/kafka up` starts one.

#![allow(clippy::disallowed_methods, reason = "what is outside has its own time")]

mod copies;
#[cfg(feature = "kafka-tls")]
mod encrypted;
mod faults;
mod kills;
mod outages;
mod reading;
mod secrets;
mod writing;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg::io::DataStreamReader;
use thalweg::prelude::*;
use thalweg::query::DataStreamWriter;

const LONG: Duration = Duration::from_secs(120);

/// A cluster to talk to.
struct Cluster {
    servers: String,
}

/// The broker that all tests may use, but not stop.
fn shared() -> Cluster {
    let servers =
        std::env::var("KAFKA_BOOTSTRAP_SERVERS").expect("KAFKA_BOOTSTRAP_SERVERS names a broker; see tests/services");
    Cluster { servers }
}

impl Cluster {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("group.id", "tests");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// A new topic, named after the test.
    fn topic(&self, name: &str, partitions: i32) -> String {
        self.make(NewTopic::new(&unique(name), partitions, TopicReplication::Fixed(1)))
    }

    /// Makes a topic and waits until it is known.
    fn make(&self, new: NewTopic<'_>) -> String {
        let made = futures::executor::block_on(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
        // The client asks again when a broker's answer was lost; the names are nobody else's.
        let is_there =
            |made: &TopicResult| !matches!(made, Err((_, code)) if *code != RDKafkaErrorCode::TopicAlreadyExists);
        assert!(made.iter().all(is_there), "{made:?}");
        let consumer: BaseConsumer = self.config().create().unwrap();
        wait_for("the topic", || {
            let found = consumer.fetch_metadata(Some(new.name), LONG).unwrap();
            found.topics()[0].partitions().iter().filter(|partition| partition.leader() >= 0).count() > 0
        });
        new.name.to_owned()
    }

    /// Writes values to a partition; they are there when it returns.
    fn send(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
        let producer: BaseProducer = self.config().set("enable.idempotence", "true").create().unwrap();
        for value in values {
            let record = BaseRecord::to(topic).partition(partition).key("key").payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.poll(Duration::ZERO);
        }
        producer.flush(LONG).unwrap();
    }

    /// Values of a topic's records, up to its end now, as a reader at `read_committed` sees them.
    fn committed(&self, topic: &str, partitions: i32) -> Vec<String> {
        let consumer: BaseConsumer = self
            .config()
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut start = TopicPartitionList::new();
        (0..partitions).for_each(|p| start.add_partition_offset(topic, p, Offset::Beginning).unwrap());
        consumer.assign(&start).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match consumer.poll(LONG).expect("something comes") {
                Ok(message) => found.push(String::from_utf8(message.payload().unwrap_or_default().to_vec()).unwrap()),
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                // A broker is away, or all of them for a moment; the client goes on.
                Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                )) => {}
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    /// A reader of a stream, from the start of the topics.
    fn stream(&self, session: &Session, topics: &str) -> DataStreamReader {
        let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", &self.servers);
        reader.option("subscribe", topics).option("startingOffsets", "earliest")
    }

    /// A writer of a stream's rows to a topic.
    fn writer(&self, rows: &DataFrame, topic: &str) -> DataStreamWriter {
        rows.write_stream().format("kafka").option("kafka.bootstrap.servers", &self.servers).option("topic", topic)
    }
}

/// A cluster that one test has to itself and may stop.
struct Own {
    cluster: Cluster,
    brokers: &'static str,
    extra: String,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Own {
    /// Starts one broker or three; `extra` are lines of the brokers' configuration.
    fn start(brokers: &'static str, extra: &str) -> Own {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own =
            Own { cluster: Cluster { servers: String::new() }, brokers, extra: extra.to_owned(), _alone: alone };
        own.script(&["wipe"]);
        let told = own.script(&["up"]);
        let servers = told.lines().find_map(|line| line.strip_prefix("KAFKA_BOOTSTRAP_SERVERS="));
        own.cluster.servers = servers.expect("the script names the servers").to_owned();
        own
    }

    /// The port of the first broker.
    fn port() -> u16 {
        std::env::var("KAFKA_OWN_PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(19692)
    }

    /// Runs `tests/services/kafka` for this cluster.
    fn script(&self, arguments: &[&str]) -> String {
        let ran = self.ran(arguments);
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    fn ran(&self, arguments: &[&str]) -> Output {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/kafka"))
            .args(arguments)
            .env("THALWEG_INSTANCE", format!("own-{}", Own::port()))
            .env("KAFKA_PORT", Own::port().to_string())
            .env("KAFKA_BROKERS", self.brokers)
            .env("KAFKA_HEAP", "256m")
            .env("KAFKA_EXTRA_CONFIG", &self.extra)
            .output()
            .unwrap()
    }

    /// `kill -9` of a broker.
    fn kill(&self, broker: &str) {
        self.script(&["kill", broker]);
    }

    /// Starts a broker that was killed, and waits until it is ready.
    fn revive(&self, broker: &str) {
        self.script(&["start", broker]);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Not asserted: a second panic would hide the first one.
        self.ran(&["wipe"]);
    }
}

fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4())
}

fn numbers(range: std::ops::Range<i64>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort_by_key(|value| value.parse::<i64>().unwrap_or(-1));
    values
}

fn continuous() -> Trigger {
    Trigger::Continuous(Duration::from_millis(100))
}

/// Waits for so many values in a topic of one partition that a query writes.
fn wait_for_copies(what: &str, cluster: &Cluster, topic: &str, query: &StreamingQuery, count: usize) {
    wait_or_tell(what, || {
        let begun = Instant::now();
        let found = cluster.committed(topic, 1).len();
        let state = || {
            let (read, alive, progress) = (begun.elapsed(), query.is_active(), query.last_progress());
            format!("{found} of {count}, read in {read:?}; active: {alive}, {:?}, {progress:?}", query.exception())
        };
        (found >= count).then_some(()).ok_or_else(state)
    });
}

/// Both drivers.
fn drivers() -> [Trigger; 2] {
    [Trigger::ProcessingTime(Duration::ZERO), continuous()]
}

/// Waits for something outside, with a limit.
fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    wait_or_tell(what, || if there() { Ok(()) } else { Err(String::new()) });
}

/// The same; what is not there yet tells how things are, for the one who reads why a test failed.
fn wait_or_tell(what: &str, mut there: impl FnMut() -> std::result::Result<(), String>) {
    let begun = Instant::now();
    while let Err(state) = there() {
        assert!(begun.elapsed() < LONG, "{what} did not come: {state}");
        pause(Duration::from_millis(20));
    }
}

/// Lets time pass for what is outside.
fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// Until a query has failed; its error.
fn failure(query: &StreamingQuery) -> Error {
    wait_for("the end of the query", || !query.is_active());
    query.exception().expect("the query failed")
}

fn count(session: &Session, table: &str) -> usize {
    session.table(table).unwrap().collect().unwrap().iter().map(|rows| rows.num_rows()).sum()
}

/// The command `thalweg run FILE`.
fn command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(["run", &file.to_string_lossy()]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a job in a process of its own; what it says goes to a file.
fn run(file: &Path, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    command(file).stderr(log).spawn().unwrap()
}
