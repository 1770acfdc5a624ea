//! Rows → records of Kafka: columns `key`, `value`, `headers`, `topic` and `partition`; others are not written.
//!
//! In: batches of the query's schema. Out: a view of each row as a record. Types are checked when the query starts, with Spark's
//! words; a null topic is found when it comes.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use rdkafka::message::{Header, OwnedHeaders};

use crate::{Error, Result};

/// Which column is what.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    key: Option<usize>,
    value: usize,
    headers: Option<usize>,
    topic: Option<usize>,
    partition: Option<usize>,
    /// The topic of all rows.
    fixed: Option<String>,
}

impl Layout {
    /// Finds and checks the columns.
    pub(super) fn of(schema: &SchemaRef, topic: Option<&str>) -> Result<Layout> {
        let find = |name: &str| schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
        let typed = |name: &str, fits: fn(&DataType) -> bool, what: &str| match find(name) {
            Some(column) if !fits(schema.field(column).data_type()) => Err(wrong_type(name, what)),
            found => Ok(found),
        };
        let value = typed("value", is_bytes, "a string or binary")?
            .ok_or_else(|| Error::invalid("required attribute 'value' not found").hint("Name a column 'value'."))?;
        let layout = Layout {
            key: typed("key", is_bytes, "a string or binary")?,
            value,
            headers: typed("headers", is_headers, "array<struct<key:string,value:binary>>")?,
            topic: typed("topic", is_text, "a string")?,
            partition: typed("partition", |data_type| *data_type == DataType::Int32, "an int")?,
            fixed: topic.map(str::to_owned),
        };
        if layout.fixed.is_none() && layout.topic.is_none() {
            return Err(Error::invalid("topic option required when no 'topic' attribute is present")
                .hint("Use the topic option for setting a topic."));
        }
        Ok(layout)
    }

    /// The records of a batch.
    pub(super) fn records<'a>(&'a self, rows: &RecordBatch) -> Result<Records<'a>> {
        let column = |index: Option<usize>, wanted: &DataType| -> Result<Option<ArrayRef>> {
            Ok(index.map(|index| cast(rows.column(index), wanted)).transpose()?)
        };
        let binary =
            |index| Ok::<_, Error>(column(index, &DataType::Binary)?.map(|array| array.as_binary::<i32>().clone()));
        let topics = if self.fixed.is_some() { None } else { column(self.topic, &DataType::Utf8)? };
        Ok(Records {
            fixed: self.fixed.as_deref(),
            keys: binary(self.key)?,
            values: binary(Some(self.value))?,
            topics: topics.map(|array| array.as_string::<i32>().clone()),
            partitions: self.partition.map(|index| rows.column(index).as_primitive::<Int32Type>().clone()),
            headers: self.headers.and_then(|index| rows.column(index).as_list_opt::<i32>().cloned()),
            count: rows.num_rows(),
        })
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    is_text(data_type) || matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_headers(data_type: &DataType) -> bool {
    let DataType::List(item) = data_type else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    matches!(&fields[..], [key, value] if key.name() == "key" && *key.data_type() == DataType::Utf8
        && value.name() == "value" && *value.data_type() == DataType::Binary)
}

fn wrong_type(name: &str, what: &str) -> Error {
    Error::invalid(format!("{name} attribute type must be {what}"))
        .hint("Cast it, or use to_json(struct(...)) for several columns.")
}

/// The rows of a batch as records.
pub(super) struct Records<'a> {
    fixed: Option<&'a str>,
    keys: Option<BinaryArray>,
    values: Option<BinaryArray>,
    topics: Option<StringArray>,
    partitions: Option<Int32Array>,
    headers: Option<ListArray>,
    /// How many there are.
    pub count: usize,
}

impl Records<'_> {
    /// The topic of a record.
    ///
    /// # Errors
    /// A null topic.
    pub(super) fn topic(&self, row: usize) -> Result<&str> {
        let of_row = || self.topics.as_ref().filter(|topics| topics.is_valid(row)).map(|topics| topics.value(row));
        self.fixed.or_else(of_row).ok_or_else(|| {
            Error::data("NULL_TOPIC", "null topic present in the data")
                .hint("Use the topic option for setting a topic.")
        })
    }

    /// The key, if it has one.
    pub(super) fn key(&self, row: usize) -> Option<&[u8]> {
        self.keys.as_ref().filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row))
    }

    /// The value; none is a tombstone.
    pub(super) fn value(&self, row: usize) -> Option<&[u8]> {
        self.values.as_ref().filter(|values| values.is_valid(row)).map(|values| values.value(row))
    }

    /// The partition, if the row chooses it.
    pub(super) fn partition(&self, row: usize) -> Option<i32> {
        self.partitions.as_ref().filter(|all| all.is_valid(row)).map(|all| all.value(row))
    }

    /// The headers, if it has some.
    pub(super) fn headers(&self, row: usize) -> Option<OwnedHeaders> {
        let entries = self.headers.as_ref().filter(|all| all.is_valid(row))?.value(row);
        let entries = entries.as_struct();
        let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary::<i32>());
        let mut headers = OwnedHeaders::new_with_capacity(entries.len());
        for entry in 0..entries.len() {
            let value = values.is_valid(entry).then(|| values.value(entry));
            headers = headers.insert(Header { key: keys.value(entry), value });
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::types::field;

    fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(columns.iter().map(|(name, t)| field(*name, t.clone())).collect::<Vec<_>>()))
    }

    fn error(columns: &[(&str, DataType)], topic: Option<&str>) -> String {
        Layout::of(&schema(columns), topic).expect_err("refused").to_string()
    }

    #[test]
    fn columns_are_checked_as_spark_does() {
        let value = ("value", DataType::Utf8);
        assert!(error(&[("x", DataType::Utf8)], Some("t")).contains("required attribute 'value' not found"));
        assert!(error(std::slice::from_ref(&value), None).contains("topic option required"));
        assert!(
            error(&[("value", DataType::Int64)], Some("t")).contains("value attribute type must be a string or binary")
        );
        assert!(error(&[value.clone(), ("partition", DataType::Int64)], Some("t")).contains("must be an int"));
        assert!(error(&[value.clone(), ("headers", DataType::Utf8)], Some("t")).contains("array<struct<"));
        assert!(Layout::of(&schema(&[value, ("topic", DataType::Utf8)]), None).is_ok());
    }

    #[test]
    fn d17_null_values_are_tombstones_and_null_topics_are_errors() {
        let schema = schema(&[("value", DataType::Utf8), ("topic", DataType::Utf8)]);
        let values: ArrayRef = Arc::new(StringArray::from(vec![None, Some("v")]));
        let topics: ArrayRef = Arc::new(StringArray::from(vec![Some("t"), None]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![values, topics]).unwrap();
        let layout = Layout::of(&schema, None).unwrap();
        let records = layout.records(&rows).unwrap();
        assert_eq!((records.topic(0).unwrap(), records.value(0), records.key(0)), ("t", None, None));
        assert_eq!(records.value(1), Some(&b"v"[..]));
        assert!(records.topic(1).err().unwrap().message().contains("null topic"));
    }
}
