//! The sink against librdkafka's mock cluster.

use std::any::Any;
use std::time::Duration;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Schema};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::*;
use crate::sinks::conformance::{context, run};
use crate::types::field;

type Mock = MockCluster<'static, DefaultProducerContext>;
const TOPIC: &str = "out";

fn mock() -> Mock {
    let mock = Mock::new(1).unwrap();
    mock.create_topic(TOPIC, 1, 1).unwrap();
    mock
}

fn spec(mock: &Mock, options: &[(&str, &str)]) -> SinkSpec {
    let mut spec = SinkSpec { format: "kafka".into(), ..SinkSpec::default() };
    spec.options.set("kafka.bootstrap.servers", mock.bootstrap_servers());
    spec.options.set("topic", TOPIC);
    options.iter().for_each(|(name, value)| spec.options.set(*name, *value));
    spec
}

/// For the tests of all sinks.
pub(in crate::sinks) fn fixture() -> (SinkSpec, Box<dyn Any>) {
    let mock = mock();
    (spec(&mock, &[]), Box::new(mock))
}

fn rows(values: &[Option<&str>]) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![field("n", DataType::Int64), field("value", DataType::Utf8)]));
    let numbers = Int64Array::from_iter_values(0..values.len() as i64);
    RecordBatch::try_new(schema, vec![Arc::new(numbers), Arc::new(StringArray::from(values.to_vec()))]).unwrap()
}

/// The values in the topic.
fn written(mock: &Mock, count: usize) -> Vec<Option<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", mock.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let message = consumer.poll(Duration::from_secs(10)).expect("a record comes").unwrap();
        found.push(message.payload().map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
    }
    found
}

#[test]
fn rows_are_there_when_an_epoch_is_committed() {
    let mock = mock();
    let batch = rows(&[Some("a"), None, Some("")]);
    let context = SinkContext { schema: batch.schema(), ..context(OutputMode::Append) };
    let mut sink = Kafka.connect(&spec(&mock, &[]), context).unwrap();
    run(sink.as_mut(), 0, &[batch]).unwrap();
    assert_eq!(written(&mock, 3), [Some("a".to_owned()), None, Some(String::new())]);
}

#[test]
fn exactly_once_needs_a_checkpoint_and_room_in_time() {
    let mock = mock();
    let connect = |options: &[(&str, &str)], context: SinkContext| {
        let mut all = vec![("deliveryGuarantee", "exactly-once")];
        all.extend(options);
        Kafka.connect(&spec(&mock, &all), context).err().expect("refused").to_string()
    };
    let context = SinkContext { schema: rows(&[]).schema(), checkpoint: None, ..context(OutputMode::Append) };
    assert!(connect(&[], context.clone()).contains("checkpointLocation"));
    let slow = SinkContext { checkpoint: Some("id".into()), interval: Some(Duration::from_secs(60)), ..context };
    let refused = connect(&[("kafka.transaction.timeout.ms", "60000")], slow);
    assert!(refused.contains("would expire"), "{refused}");
}
