//! Places in Kafka: topic, partition and offset, in Spark's JSON form `{"topic":{"0":23,"1":-2}}`.
//!
//! In: JSON of options, checkpoints and reports. Out: [`Positions`], in the order of topics and partitions. An offset is that of
//! the next record to read; in options -2 is the earliest and -1 the latest.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::sources::{Offset, wrong_offset};
use crate::{Error, Result};

/// The earliest offset, in options and in requests.
pub(super) const EARLIEST: i64 = -2;
/// The latest offset, in options and in requests.
pub(super) const LATEST: i64 = -1;

/// A topic and one of its partitions.
pub(super) type Partition = (Arc<str>, i32);

/// An offset (or a timestamp) a partition.
pub(super) type Positions = BTreeMap<Partition, i64>;

/// Positions out of an offset of the checkpoint.
pub(super) fn from_offset(offset: &Offset) -> Result<Positions> {
    parse(offset).filter(|positions| positions.values().all(|place| *place >= 0)).ok_or_else(|| wrong_offset(offset))
}

/// Positions out of an option.
pub(super) fn from_option(name: &str, text: &str, least: i64) -> Result<Positions> {
    let parsed = serde_json::from_str(text).ok().as_ref().and_then(parse);
    parsed.filter(|positions| positions.values().all(|place| *place >= least)).ok_or_else(|| {
        Error::invalid(format!(
            "option '{name}' should be like {{\"topicA\":{{\"0\":23,\"1\":-1}},\"topicB\":{{\"0\":-2}}}} but is '{text}'"
        ))
    })
}

/// Partitions out of option `assign`: `{"topicA":[0,1],"topicB":[2]}`.
pub(super) fn assignment(text: &str) -> Result<Vec<Partition>> {
    let parsed: Option<BTreeMap<String, Vec<i32>>> = serde_json::from_str(text).ok();
    let mut partitions: Vec<Partition> = Vec::new();
    for (topic, numbers) in parsed.iter().flatten() {
        let topic: Arc<str> = topic.as_str().into();
        partitions.extend(numbers.iter().map(|number| (Arc::clone(&topic), *number)));
    }
    partitions.sort();
    partitions.dedup();
    if partitions.is_empty() || partitions.iter().any(|(_, number)| *number < 0) {
        return Err(Error::invalid(format!(
            "option 'assign' should be like {{\"topicA\":[0,1],\"topicB\":[2,4]}} but is '{text}'"
        )));
    }
    Ok(partitions)
}

fn parse(value: &Value) -> Option<Positions> {
    let mut positions = Positions::new();
    for (topic, partitions) in value.as_object()? {
        let topic: Arc<str> = topic.as_str().into();
        for (number, place) in partitions.as_object()? {
            positions.insert((Arc::clone(&topic), number.parse().ok().filter(|n: &i32| *n >= 0)?), place.as_i64()?);
        }
    }
    Some(positions)
}

/// The JSON of positions.
pub(super) fn to_offset(positions: &Positions) -> Offset {
    let mut topics: Map<String, Value> = Map::new();
    for ((topic, partition), place) in positions {
        let entry = topics.entry(topic.to_string()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(partitions) = entry {
            partitions.insert(partition.to_string(), Value::from(*place));
        }
    }
    Value::Object(topics)
}

/// A partition as people write it.
pub(super) fn name(partition: &Partition) -> String {
    format!("{}-{}", partition.0, partition.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_written_as_spark_does() {
        let text = r#"{"a":{"0":23,"2":0,"10":7},"b":{"0":1}}"#;
        let positions = from_offset(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(to_offset(&positions).to_string(), text);
        assert!(from_offset(&serde_json::from_str(r#"{"a":{"0":-1}}"#).unwrap()).is_err());
        assert!(from_offset(&Value::from(3)).is_err());
    }

    #[test]
    fn options_may_name_ends() {
        let positions = from_option("startingOffsets", r#"{"a":{"0":-2,"1":-1}}"#, EARLIEST).unwrap();
        assert_eq!(positions.into_values().collect::<Vec<_>>(), [EARLIEST, LATEST]);
        for wrong in ["", "{", "[]", r#"{"a":3}"#, r#"{"a":{"x":1}}"#, r#"{"a":{"0":-3}}"#, r#"{"a":{"-1":0}}"#] {
            assert!(from_option("startingOffsets", wrong, EARLIEST).is_err(), "{wrong}");
        }
    }

    #[test]
    fn assignments_name_partitions() {
        let found = assignment(r#"{"b":[1],"a":[3,0,3]}"#).unwrap();
        assert_eq!(found.iter().map(name).collect::<Vec<_>>(), ["a-0", "a-3", "b-1"]);
        for wrong in ["", "{}", r#"{"a":[]}"#, r#"{"a":[-1]}"#, r#"{"a":"0"}"#] {
            assert!(assignment(wrong).is_err(), "{wrong}");
        }
    }
}
