//! The source against librdkafka's mock cluster: no broker, no network beyond the loopback.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::sources::conformance::{Fixture, context, spec};

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A cluster with one topic, and a producer.
struct Broker {
    mock: Mock,
    producer: BaseProducer,
}

const TOPIC: &str = "topic";

impl Broker {
    fn new(partitions: i32) -> Broker {
        let mock = Mock::new(1).unwrap();
        mock.create_topic(TOPIC, partitions, 1).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", mock.bootstrap_servers()).create().unwrap();
        Broker { mock, producer }
    }

    fn spec(&self, options: &[(&str, &str)]) -> SourceSpec {
        let servers = self.mock.bootstrap_servers();
        let mut all = vec![("kafka.bootstrap.servers", servers.as_str())];
        if !options.iter().any(|(name, _)| ["subscribe", "assign"].contains(name)) {
            all.push(("subscribe", TOPIC));
        }
        all.extend(options);
        spec("kafka", &all)
    }

    fn send(&self, partition: i32, values: std::ops::Range<i64>) {
        for value in values {
            let text = value.to_string();
            let time = 1_700_000_000_000 + value;
            let record = BaseRecord::to(TOPIC).partition(partition).timestamp(time).key("k").payload(&text);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn source(&self, options: &[(&str, &str)]) -> Box<dyn Source> {
        self.source_in(None, options)
    }

    /// A source that keeps its notes in a folder.
    fn source_in(&self, folder: Option<&std::path::Path>, options: &[(&str, &str)]) -> Box<dyn Source> {
        let spec = self.spec(options);
        let schema = Kafka.schema(&spec, &Conf::default()).unwrap();
        let log = folder.map(|folder| Folder::local(folder, true));
        let context = SourceContext { log, clock: SystemClock::shared(), ..context(schema.fields().len()) };
        Kafka.connect(&spec, schema, context).unwrap()
    }
}

/// For the tests of all sources: one partition, so that rows have one order.
pub(in crate::sources) fn fixture() -> Fixture {
    let mut next = 0;
    let broker = Broker::new(1);
    let spec = broker.spec(&[("startingOffsets", "earliest")]);
    let produce = move |_: &ManualClock| {
        broker.send(0, next..next + 3);
        next += 3;
    };
    Fixture { spec, produce: Box::new(produce), _keep: Box::new(()) }
}

fn positions(text: &str) -> Offset {
    serde_json::from_str(text).unwrap()
}

/// Offsets of the rows of a range, partition after partition.
fn read(source: &mut dyn Source, from: Option<&Offset>, to: &Offset) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for mut reader in source.read(from, Some(to))? {
        loop {
            match reader.next(Duration::from_millis(100))? {
                super::super::Read::Rows(rows) => found.extend(rows.column(4).as_primitive::<Int64Type>().values()),
                super::super::Read::End => break,
                _ => {}
            }
        }
    }
    Ok(found)
}

#[test]
fn ranges_are_read_exactly_and_again() {
    let broker = Broker::new(2);
    broker.send(0, 0..10);
    broker.send(1, 0..5);
    let mut source = broker.source(&[("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "6")]);
    let first = source.latest(None, Limit::Options).unwrap().unwrap();
    assert_eq!(first, positions(r#"{"topic":{"0":4,"1":2}}"#));
    assert_eq!(read(source.as_mut(), None, &first).unwrap(), [0, 1, 2, 3, 0, 1]);
    let all = source.latest(Some(&first), Limit::Everything).unwrap().unwrap();
    assert_eq!(read(source.as_mut(), Some(&first), &all).unwrap(), [4, 5, 6, 7, 8, 9, 2, 3, 4]);
    assert_eq!(read(source.as_mut(), None, &first).unwrap(), [0, 1, 2, 3, 0, 1]);
    assert_eq!(source.latest(Some(&all), Limit::Options).unwrap(), None);
}

#[test]
fn latest_begins_with_what_comes_next() {
    let broker = Broker::new(1);
    broker.send(0, 0..3);
    let mut source = broker.source(&[]);
    let first = source.latest(None, Limit::Options).unwrap().unwrap();
    assert_eq!(first, positions(r#"{"topic":{"0":3}}"#));
    broker.send(0, 3..4);
    let next = source.latest(Some(&first), Limit::Options).unwrap().unwrap();
    assert_eq!(read(source.as_mut(), Some(&first), &next).unwrap(), [3]);
}

#[test]
fn n04_offsets_that_went_back_are_a_loss() {
    let broker = Broker::new(1);
    broker.send(0, 0..3);
    let from = positions(r#"{"topic":{"0":50}}"#);
    let error = broker.source(&[]).latest(Some(&from), Limit::Options).err().unwrap();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED"), "{error}");
    let gone = positions(r#"{"topic":{"0":1,"1":4}}"#);
    let error = broker.source(&[]).latest(Some(&gone), Limit::Options).err().unwrap();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITIONS_DELETED"), "{error}");
    assert!(broker.source(&[("failOnDataLoss", "false")]).latest(Some(&from), Limit::Options).is_ok());
}

/// Reads ten records of a topic; the offset behind them.
fn read_ten(folder: &std::path::Path) -> Offset {
    let broker = Broker::new(1);
    broker.send(0, 0..10);
    let mut source = broker.source_in(Some(folder), &[("startingOffsets", "earliest")]);
    let end = source.latest(None, Limit::Options).unwrap().unwrap();
    assert_eq!(read(source.as_mut(), None, &end).unwrap(), (0..10).collect::<Vec<_>>());
    source.commit(&end).unwrap();
    end
}

#[test]
fn n04_a_longer_log_of_the_same_name_is_not_taken_for_the_one_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let end = read_ten(folder.path());
    let anew = Broker::new(1);
    anew.send(0, 100..120);
    let error = anew.source_in(Some(folder.path()), &[]).latest(Some(&end), Limit::Options).err().unwrap();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED"), "{error}");
    assert!(error.message().contains("topic-0") && error.message().contains("up to offset 10"), "{error}");
    // Limited so that a batch would end where the query had been: that must not look like no news.
    let options = [("failOnDataLoss", "false"), ("maxOffsetsPerTrigger", "10")];
    let mut source = anew.source_in(Some(folder.path()), &options);
    let next = source.latest(Some(&end), Limit::Options).unwrap().unwrap();
    assert_eq!(next, positions(r#"{"topic":{"0":9}}"#));
    assert_eq!(read(source.as_mut(), Some(&end), &next).unwrap(), (0..9).collect::<Vec<_>>());
    drop(source);
    // Not committed: begun anew once more.
    let mut source = anew.source_in(Some(folder.path()), &options);
    assert_eq!(read(source.as_mut(), Some(&end), &next).unwrap(), (0..9).collect::<Vec<_>>());
    source.commit(&next).unwrap();
    let all = source.latest(Some(&next), Limit::Everything).unwrap().unwrap();
    assert_eq!(read(source.as_mut(), Some(&next), &all).unwrap(), (9..20).collect::<Vec<_>>());
    source.commit(&all).unwrap();
    drop(source);
    let mut source = anew.source_in(Some(folder.path()), &[]);
    assert_eq!(source.latest(Some(&all), Limit::Options).unwrap(), None, "it is the log that was read");
}

#[test]
fn n04_the_same_log_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let end = read_ten(folder.path());
    let same = Broker::new(1);
    same.send(0, 0..15);
    let mut source = same.source_in(Some(folder.path()), &[]);
    let next = source.latest(Some(&end), Limit::Options).unwrap().unwrap();
    assert_eq!(read(source.as_mut(), Some(&end), &next).unwrap(), (10..15).collect::<Vec<_>>());
    // What begins further on, as after a rewind of the checkpoint, is the same log, too.
    let before = positions(r#"{"topic":{"0":3}}"#);
    let mut source = same.source_in(Some(folder.path()), &[]);
    assert_eq!(read(source.as_mut(), Some(&before), &next).unwrap(), (3..15).collect::<Vec<_>>());
}

#[test]
fn n04_a_topic_that_is_gone_is_a_loss_or_has_no_partitions() {
    let broker = Broker::new(1);
    broker.send(0, 0..3);
    let from = positions(r#"{"gone":{"0":4},"topic":{"0":1}}"#);
    let ways = [("subscribe", "gone,topic"), ("assign", r#"{"gone":[0],"topic":[0]}"#)];
    for way in ways {
        let error = broker.source(&[way]).latest(Some(&from), Limit::Options).err().unwrap();
        assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITIONS_DELETED"), "{error}");
        let mut source = broker.source(&[way, ("failOnDataLoss", "false")]);
        let next = source.latest(Some(&from), Limit::Options).unwrap().unwrap();
        assert_eq!(next, positions(r#"{"topic":{"0":3}}"#));
        assert_eq!(read(source.as_mut(), Some(&from), &next).unwrap(), [1, 2]);
        assert_eq!(source.latest(Some(&next), Limit::Options).unwrap(), None, "still gone");
    }
    let never = broker.source(&[ways[0]]).latest(Some(&positions(r#"{"topic":{"0":1}}"#)), Limit::Options);
    assert_eq!(never.err().unwrap().condition(), Some("UNKNOWN_TOPIC_OR_PARTITION"));
}

#[test]
fn many_partitions_are_read_by_a_client_that_was_made_for_them() {
    let broker = Broker::new(40);
    (0..40).for_each(|partition| broker.send(partition, 0..2));
    let mut source = broker.source(&[("startingOffsets", "earliest")]);
    let end = source.latest(None, Limit::Options).unwrap().unwrap();
    assert_eq!(read(source.as_mut(), None, &end).unwrap().len(), 80);
}

#[test]
fn n03_a_range_that_is_gone_is_named() {
    let broker = Broker::new(1);
    broker.send(0, 0..3);
    let (from, to) = (positions(r#"{"topic":{"0":7}}"#), positions(r#"{"topic":{"0":9}}"#));
    let mut source = broker.source(&[]);
    let error = read(source.as_mut(), Some(&from), &to).err().unwrap();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.COULD_NOT_READ_OFFSET_RANGE"), "{error}");
    assert!(error.message().contains("offsets 7 to 8 of topic-0"), "{error}");
}

#[test]
fn offsets_in_options_must_name_what_is_read() {
    let broker = Broker::new(2);
    let mut source = broker.source(&[("startingOffsets", r#"{"topic":{"0":0}}"#)]);
    let error = source.latest(None, Limit::Options).err().unwrap();
    assert!(error.message().contains("topic-0, topic-1"), "{error}");
}

#[test]
fn n01_a_cluster_that_is_not_there_is_an_error_at_the_start() {
    let spec = spec(
        "kafka",
        &[("kafka.bootstrap.servers", "127.0.0.1:1"), ("subscribe", "t"), ("kafka.default.api.timeout.ms", "300")],
    );
    let schema = Kafka.schema(&spec, &Conf::default()).unwrap();
    let context = SourceContext { clock: SystemClock::shared(), ..context(schema.fields().len()) };
    let mut source = Kafka.connect(&spec, schema, context).unwrap();
    let error = source.latest(None, Limit::Options).err().unwrap();
    assert!(error.to_string().contains("bootstrap.servers"), "{error}");
}

#[test]
fn a_lag_counts_what_has_not_been_read() {
    let broker = Broker::new(2);
    broker.send(0, 0..10);
    let mut source = broker.source(&[("startingOffsets", "earliest"), ("maxOffsetsPerTrigger", "4")]);
    let first = source.latest(None, Limit::Options).unwrap().unwrap();
    let report = source.report(Some(&first));
    assert_eq!(report.metrics["maxOffsetsBehindLatest"], "6");
    assert_eq!(report.metrics["avgOffsetsBehindLatest"], "3.0");
    assert_eq!(report.latest, Some(positions(r#"{"topic":{"0":10,"1":0}}"#)));
}
