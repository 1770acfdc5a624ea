//! Kafka through the public door, against a real broker at `KAFKA_BOOTSTRAP_SERVERS`.
//!
//! Each test makes topics of its own. They are ignored unless asked for (`--include-ignored`), and fail without a broker:
//! `tests/services/kafka up` starts one.

#![allow(clippy::disallowed_methods, reason = "what is outside has its own time")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg::prelude::*;

const LONG: Duration = Duration::from_secs(120);

fn servers() -> String {
    std::env::var("KAFKA_BOOTSTRAP_SERVERS").expect("KAFKA_BOOTSTRAP_SERVERS names a broker; see tests/services")
}

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers());
    config
}

fn admin() -> AdminClient<DefaultClientContext> {
    config().create().unwrap()
}

/// A new topic, named after the test.
fn topic(name: &str, partitions: i32) -> String {
    let name = format!("{name}-{}", uuid::Uuid::new_v4());
    let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let made = futures::executor::block_on(admin().create_topics([&new], &AdminOptions::new())).unwrap();
    made.into_iter().for_each(|made| drop(made.unwrap()));
    name
}

fn send(topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    let producer: BaseProducer = config().create().unwrap();
    for value in values {
        let record = BaseRecord::to(topic).partition(partition).key("key").payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(LONG).unwrap();
}

/// Values of a topic's records by partition, up to its end now, as a reader at `read_committed` sees them.
fn committed(topic: &str, partitions: i32) -> Vec<String> {
    let consumer: BaseConsumer = config()
        .set("group.id", "checker")
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
            Err(error) => panic!("{error}"),
        }
    }
    found
}

fn stream(session: &Session, topic: &str) -> DataFrame {
    let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", servers());
    reader.option("subscribe", topic).option("startingOffsets", "earliest").load().unwrap()
}

fn numbers(range: std::ops::Range<i64>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort_by_key(|value| value.parse::<i64>().unwrap_or(-1));
    values
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_batch_reads_everything_once_and_writes_it() {
    let (from, to) = (topic("batch-in", 3), topic("batch-out", 2));
    (0..3).for_each(|p| send(&from, p, numbers(i64::from(p) * 100..i64::from(p) * 100 + 50)));
    let session = Session::builder().create();
    let reader = session.read().format("kafka").option("kafka.bootstrap.servers", servers());
    let rows = reader.option("subscribe", &from).load().unwrap();
    let writer = rows.select(["key", "value"]).unwrap().write().format("kafka").mode("append");
    writer.option("kafka.bootstrap.servers", servers()).option("topic", &to).save().unwrap();
    let expected: Vec<String> = numbers(0..50).chain(numbers(100..150)).chain(numbers(200..250)).collect();
    assert_eq!(sorted(committed(&to, 2)), expected);
}

fn copies(trigger: Trigger, guarantee: &str, workers: &str) {
    let (from, to) = (topic("copy-in", 3), topic("copy-out", 2));
    (0..3).for_each(|p| send(&from, p, numbers(i64::from(p) * 1000..i64::from(p) * 1000 + 100)));
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().config("thalweg.workers", workers).create();
    let start = || {
        let rows = stream(&session, &from).select_expr(["key", "value"]).unwrap();
        let writer =
            rows.write_stream().format("kafka").option("kafka.bootstrap.servers", servers()).option("topic", &to);
        let writer = writer.option("deliveryGuarantee", guarantee).trigger(trigger);
        writer.option("checkpointLocation", folder.path().to_string_lossy()).start().unwrap()
    };
    let query = start();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    (0..3).for_each(|p| send(&from, p, numbers(i64::from(p) * 1000 + 100..i64::from(p) * 1000 + 150)));
    let query = start();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let expected: Vec<String> = (0..3).flat_map(|p| numbers(p * 1000..p * 1000 + 150)).collect();
    assert_eq!(sorted(committed(&to, 2)), expected);
}

#[test]
#[ignore = "needs a Kafka broker"]
fn micro_batches_copy_and_go_on_after_a_restart() {
    copies(Trigger::ProcessingTime(Duration::ZERO), "at-least-once", "2");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_continuous_query_copies_and_goes_on_after_a_restart() {
    copies(Trigger::Continuous(Duration::from_millis(200)), "at-least-once", "2");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn transactions_copy_under_both_drivers() {
    copies(Trigger::ProcessingTime(Duration::ZERO), "exactly-once", "2");
    copies(Trigger::Continuous(Duration::from_millis(200)), "exactly-once", "3");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn d17_aborted_records_are_not_read_and_trailing_markers_end_a_range() {
    let name = topic("aborted", 1);
    let producer: BaseProducer = config().set("transactional.id", &name).create().unwrap();
    producer.init_transactions(LONG).unwrap();
    for (value, commit) in [("1", true), ("2", false), ("3", true), ("4", false)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&name).payload(value)).map_err(|(error, _)| error).unwrap();
        producer.flush(LONG).unwrap();
        if commit { producer.commit_transaction(LONG) } else { producer.abort_transaction(LONG) }.unwrap();
    }
    let session = Session::builder().create();
    for trigger in [Trigger::AvailableNow, Trigger::Continuous(Duration::from_millis(100))] {
        let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", servers());
        let reader = reader.option("subscribe", &name).option("startingOffsets", "earliest");
        let rows = reader.option("kafka.isolation.level", "read_committed").load().unwrap();
        let writer = rows.select_expr(["CAST(value AS STRING) AS value"]).unwrap().write_stream().format("memory");
        let query = writer.query_name("aborted").trigger(trigger).start().unwrap();
        if trigger == Trigger::AvailableNow {
            query.await_termination().unwrap();
        } else {
            query.process_all_available().unwrap();
            query.stop().unwrap();
        }
        let rows: usize = session.table("aborted").unwrap().collect().unwrap().iter().map(|rows| rows.num_rows()).sum();
        assert_eq!(rows, 2, "{trigger:?}");
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n5_a_partition_added_while_running_is_read_from_its_start() {
    let (from, to) = (topic("grown-in", 1), topic("grown-out", 1));
    send(&from, 0, numbers(0..10));
    let session = Session::builder().create();
    let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", servers());
    let reader = reader.option("subscribe", &from).option("startingOffsets", "earliest");
    let rows = reader.option("partitionDiscoveryInterval", "200ms").load().unwrap().select(["value"]).unwrap();
    let writer = rows.write_stream().format("kafka").option("kafka.bootstrap.servers", servers()).option("topic", &to);
    let query = writer.trigger(Trigger::Continuous(Duration::from_millis(100))).start().unwrap();
    query.process_all_available().unwrap();
    let more = NewPartitions::new(&from, 2);
    futures::executor::block_on(admin().create_partitions([&more], &AdminOptions::new())).unwrap();
    send(&from, 1, numbers(10..20));
    let begun = Instant::now();
    while committed(&to, 1).len() < 20 && begun.elapsed() < LONG {
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    assert_eq!(sorted(committed(&to, 1)), numbers(0..20).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n4_a_topic_recreated_with_lower_offsets_is_not_read_as_if_it_were_the_old_one() {
    let name = topic("recreated", 1);
    send(&name, 0, numbers(0..100));
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().create();
    let start = || {
        let writer = stream(&session, &name).select(["value"]).unwrap().write_stream().format("noop");
        let writer = writer.option("checkpointLocation", folder.path().to_string_lossy());
        writer.trigger(Trigger::AvailableNow).start().and_then(|query| query.await_termination())
    };
    start().unwrap();
    let admin = admin();
    futures::executor::block_on(admin.delete_topics(&[&name], &AdminOptions::new())).unwrap();
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    let begun = Instant::now();
    loop {
        let made = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
        if made.into_iter().all(|made| made.is_ok()) || begun.elapsed() > LONG {
            break;
        }
    }
    send(&name, 0, numbers(0..10));
    let error = start().unwrap_err();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED"), "{error}");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn lag_is_in_the_progress_and_in_the_group() {
    let name = topic("lag", 1);
    send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let group = format!("{name}-group");
    let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", servers());
    let reader =
        reader.option("subscribe", &name).option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", 4);
    let rows = reader.option("commitOffsetsToGroup", &group).load().unwrap();
    let query = rows.write_stream().format("noop").trigger(Trigger::AvailableNow).start().unwrap();
    query.await_termination().unwrap();
    let lags: Vec<_> =
        query.recent_progress().iter().map(|p| p.sources[0].metrics["maxOffsetsBehindLatest"].clone()).collect();
    assert_eq!(lags, ["6", "2", "0"]);
    let consumer: BaseConsumer = config().set("group.id", &group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&name, 0);
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        let told = consumer.committed_offsets(asked.clone(), LONG).unwrap();
        if told.elements()[0].offset() == Offset::Offset(10) {
            return;
        }
    }
    panic!("the group never saw offset 10");
}

/// A continuous windowed aggregation, Kafka to Kafka, exactly once, as the command runs it.
fn job(from: &str, to: &str, checkpoint: &Path, file: &Path) {
    let servers = servers();
    let checkpoint = checkpoint.display();
    let text = format!(
        "CREATE TABLE source USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest');
         CREATE TABLE sink USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', deliveryGuarantee 'exactly-once',
             outputMode 'append', trigger 'continuous 100 milliseconds', queryName 'job', checkpointLocation '{checkpoint}');
         INSERT INTO sink
         SELECT concat(CAST(unix_seconds(window.start) AS STRING), '=', CAST(count(*) AS STRING), '/', CAST(sum(n) AS STRING)) AS value
         FROM (SELECT CAST(CAST(value AS STRING) AS BIGINT) AS n,
                      timestamp_seconds(CAST(CAST(value AS STRING) AS BIGINT)) AS ts FROM STREAM source)
         WATERMARK ts DELAY OF INTERVAL 0 SECONDS
         GROUP BY window(ts, '10 seconds');"
    );
    std::fs::write(file, text).unwrap();
}

fn run(file: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(["run", &file.to_string_lossy()]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "needs a Kafka broker"]
fn k12_k14_killed_ten_times_every_window_comes_once() {
    let (from, to) = (topic("killed-in", 1), topic("killed-out", 1));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.sql");
    job(&from, &to, &folder.path().join("checkpoint"), &file);
    let rounds: i64 = std::env::var("THALWEG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    for round in 0..rounds {
        let mut child = run(&file);
        // Records come in pieces while the engine runs; it dies at a different moment of an epoch each time.
        for piece in 0..20 {
            let first = (round * 20 + piece) * 50;
            send(&from, 0, numbers(first..first + 50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(child.try_wait().unwrap().is_some());
    }
    let last = rounds * 1000;
    send(&from, 0, numbers(last..last + 1));
    let mut child = run(&file);
    let expected: BTreeMap<i64, String> = (0..last / 10)
        .map(|w| (w * 10, format!("{}=10/{}", w * 10, (0..10).map(|i| w * 10 + i).sum::<i64>())))
        .collect();
    let begun = Instant::now();
    while committed(&to, 1).len() < expected.len() && begun.elapsed() < LONG {
        assert!(child.try_wait().unwrap().is_none(), "the job ended");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut found = committed(&to, 1);
    found.sort_by_key(|value| value.split('=').next().and_then(|start| start.parse::<i64>().ok()));
    assert_eq!(found, expected.into_values().collect::<Vec<_>>());
}
