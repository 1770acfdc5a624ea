//! Records of Kafka → rows: `key, value, topic, partition, offset, timestamp, timestampType` and, if asked for, `headers`.
//!
//! In: messages as the client holds them. Out: a batch of the columns that the query needs, at most 8192 rows or (a little over)
//! 1 MiB. Null keys, null values (tombstones) and empty ones are kept apart.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryArray, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch,
    RecordBatchOptions, StringBuilder, StructBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use rdkafka::message::{Headers, Message, Timestamp};
use thalweg_operators::chunk::MAX_ROWS;

use crate::Result;
use crate::types::{field, timestamp};

const MAX_BYTES: usize = 1 << 20;

/// All columns of the source.
pub(super) fn schema(headers: bool) -> SchemaRef {
    let mut fields = vec![
        field("key", DataType::Binary),
        field("value", DataType::Binary),
        field("topic", DataType::Utf8),
        field("partition", DataType::Int32),
        field("offset", DataType::Int64),
        field("timestamp", timestamp()),
        field("timestampType", DataType::Int32),
    ];
    if headers {
        fields.push(field("headers", crate::types::list(DataType::Struct(header_fields()))));
    }
    Arc::new(Schema::new(fields))
}

fn header_fields() -> Fields {
    vec![field("key", DataType::Utf8), field("value", DataType::Binary)].into()
}

type HeadersBuilder = ListBuilder<StructBuilder>;

/// The columns under construction.
#[derive(Default)]
struct Columns {
    key: Option<BinaryBuilder>,
    value: Option<BinaryBuilder>,
    topic: Option<StringBuilder>,
    partition: Option<Int32Builder>,
    offset: Option<Int64Builder>,
    time: Option<TimestampMicrosecondBuilder>,
    time_type: Option<Int32Builder>,
    headers: Option<HeadersBuilder>,
}

/// Collects records into a batch.
pub(super) struct Rows {
    schema: SchemaRef,
    projection: Arc<[usize]>,
    columns: Columns,
    rows: usize,
    bytes: usize,
}

impl Rows {
    /// Builds the columns `projection` of `schema`.
    pub(super) fn new(schema: &SchemaRef, projection: Arc<[usize]>) -> Result<Rows> {
        let needs = |column: usize| projection.contains(&column);
        let columns = Columns {
            key: needs(0).then(BinaryBuilder::new),
            value: needs(1).then(BinaryBuilder::new),
            topic: needs(2).then(StringBuilder::new),
            partition: needs(3).then(Int32Builder::new),
            offset: needs(4).then(Int64Builder::new),
            time: needs(5).then(|| TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            time_type: needs(6).then(Int32Builder::new),
            headers: needs(7).then(headers_builder),
        };
        Ok(Rows { schema: Arc::new(schema.project(&projection)?), projection, columns, rows: 0, bytes: 0 })
    }

    /// True without rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// True when the batch should leave.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    /// Adds a record.
    pub(super) fn push(&mut self, message: &impl Message) {
        let (key, value) = (message.key(), message.payload());
        self.rows += 1;
        self.bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let columns = &mut self.columns;
        if let Some(column) = &mut columns.key {
            column.append_option(key);
        }
        if let Some(column) = &mut columns.value {
            column.append_option(value);
        }
        if let Some(column) = &mut columns.headers {
            push_headers(column, message);
        }
        columns.push_place(message);
    }

    /// The rows collected; the next batch is empty.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let columns = &mut self.columns;
        let finished = |column: &usize| columns.finish(*column);
        let arrays: Vec<ArrayRef> = self.projection.iter().filter_map(finished).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

impl Columns {
    fn push_place(&mut self, message: &impl Message) {
        if let Some(column) = &mut self.topic {
            column.append_value(message.topic());
        }
        if let Some(column) = &mut self.partition {
            column.append_value(message.partition());
        }
        if let Some(column) = &mut self.offset {
            column.append_value(message.offset());
        }
        let (millis, kind) = time_of(message.timestamp());
        if let Some(column) = &mut self.time {
            column.append_value(millis.saturating_mul(1000));
        }
        if let Some(column) = &mut self.time_type {
            column.append_value(kind);
        }
    }

    fn finish(&mut self, column: usize) -> Option<ArrayRef> {
        Some(match column {
            0 => Arc::new(hand_over(self.key.as_mut()?)),
            1 => Arc::new(hand_over(self.value.as_mut()?)),
            2 => Arc::new(self.topic.as_mut()?.finish()),
            3 => Arc::new(self.partition.as_mut()?.finish()),
            4 => Arc::new(self.offset.as_mut()?.finish()),
            5 => Arc::new(self.time.as_mut()?.finish()),
            6 => Arc::new(self.time_type.as_mut()?.finish()),
            _ => Arc::new(self.headers.as_mut()?.finish()),
        })
    }
}

/// The values; in their place a builder with room for as many, since batches are of similar sizes.
fn hand_over(values: &mut BinaryBuilder) -> BinaryArray {
    let room = BinaryBuilder::with_capacity(values.len(), values.values_slice().len());
    std::mem::replace(values, room).finish()
}

/// Milliseconds, and Kafka's number of the kind: -1 none, 0 when it was made, 1 when the broker took it.
fn time_of(timestamp: Timestamp) -> (i64, i32) {
    match timestamp {
        Timestamp::NotAvailable => (-1, -1),
        Timestamp::CreateTime(millis) => (millis, 0),
        Timestamp::LogAppendTime(millis) => (millis, 1),
    }
}

fn headers_builder() -> HeadersBuilder {
    let fields = header_fields();
    let item = crate::types::list_item(DataType::Struct(fields.clone()));
    let children: Vec<Box<dyn ArrayBuilder>> = vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    ListBuilder::new(StructBuilder::new(fields, children)).with_field(item)
}

/// A record without headers has null, as in Spark.
fn push_headers(column: &mut HeadersBuilder, message: &impl Message) {
    let headers = message.headers().filter(|headers| headers.count() > 0);
    let Some(headers) = headers else { return column.append(false) };
    for header in headers.iter() {
        let entry = column.values();
        if let Some(keys) = entry.field_builder::<StringBuilder>(0) {
            keys.append_value(header.key);
        }
        if let Some(values) = entry.field_builder::<BinaryBuilder>(1) {
            values.append_option(header.value);
        }
        entry.append(true);
    }
    column.append(true);
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    fn message(key: Option<&[u8]>, value: Option<&[u8]>, headers: Option<OwnedHeaders>) -> OwnedMessage {
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        OwnedMessage::new(value, key, "t".into(), Timestamp::CreateTime(7), 3, 11, headers)
    }

    #[test]
    fn d16_d17_null_keys_and_tombstones_are_kept() {
        let schema = schema(true);
        let mut rows = Rows::new(&schema, (0..8).collect()).unwrap();
        rows.push(&message(None, Some(b"v"), None));
        let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
        let headers = headers.insert(Header { key: "h", value: None::<&str> });
        rows.push(&message(Some(b""), None, Some(headers)));
        let batch = rows.take().unwrap();
        assert_eq!(batch.schema(), schema);
        assert!(batch.column(0).is_null(0) && !batch.column(0).is_null(1) && batch.column(1).is_null(1));
        assert_eq!(batch.column(5).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(0), 7000);
        let headers = batch.column(7).as_list::<i32>();
        assert!(headers.is_null(0));
        let second = headers.value(1);
        assert_eq!(second.as_struct().column(1).null_count(), 1);
        assert!(rows.is_empty());
    }

    #[test]
    fn only_the_columns_that_are_needed_are_built() {
        let mut rows = Rows::new(&schema(false), [].into()).unwrap();
        rows.push(&message(None, None, None));
        let batch = rows.take().unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (1, 0));
    }
}
