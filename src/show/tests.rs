//! The look of tables.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Schema};

use super::*;
use crate::types::{field, timestamp};

fn options(rows: usize, truncate: usize) -> ShowOptions {
    ShowOptions { rows, truncate, zone: Zone::utc() }
}

fn texts(values: &[Option<&str>]) -> (SchemaRef, RecordBatch) {
    let schema = Arc::new(Schema::new(vec![field("n", DataType::Int64), field("text", DataType::Utf8)]));
    let numbers = Int64Array::from_iter_values(0..values.len() as i64);
    let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(numbers), Arc::new(StringArray::from(values.to_vec()))];
    (schema.clone(), RecordBatch::try_new(schema, columns).unwrap())
}

#[test]
fn looks_as_in_spark() {
    let (schema, rows) = texts(&[Some("a"), None, Some("a text of more than twenty characters")]);
    let expected = "\
+---+--------------------+
|  n|                text|
+---+--------------------+
|  0|                   a|
|  1|                NULL|
|  2|a text of more th...|
+---+--------------------+
";
    assert_eq!(table(&schema, &[rows], &options(20, 20)).unwrap(), expected);
}

#[test]
fn says_when_there_are_more_rows_and_aligns_left_without_truncation() {
    let (schema, rows) = texts(&[Some("a"), Some("b")]);
    let expected = "\
+---+----+
|n  |text|
+---+----+
|0  |a   |
+---+----+
only showing top 1 row
";
    assert_eq!(table(&schema, &[rows], &options(1, 0)).unwrap(), expected);
}

#[test]
fn an_empty_table_has_a_header() {
    let (schema, _) = texts(&[]);
    assert_eq!(table(&schema, &[], &options(20, 20)).unwrap(), "+---+----+\n|  n|text|\n+---+----+\n+---+----+\n");
}

#[test]
fn d22_control_characters_are_symbols() {
    let (schema, rows) = texts(&[Some("\u{1b}[2J\n\u{7f}\u{202e}")]);
    let text = table(&schema, &[rows], &options(20, 20)).unwrap();
    assert!(text.contains("␛[2J\\n␡\u{fffd}"), "{text}");
}

#[test]
fn timestamps_and_nested_values() {
    let time: arrow::array::ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC"));
    let window = arrow::array::StructArray::from(vec![
        (Arc::new(field("start", timestamp())), Arc::clone(&time)),
        (Arc::new(field("end", timestamp())), time),
    ]);
    let schema = Arc::new(Schema::new(vec![field("window", window.data_type().clone())]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(window)]).unwrap();
    let text = table(&schema, &[rows], &options(20, 0)).unwrap();
    assert!(text.contains("|{1970-01-01 00:00:01.5, 1970-01-01 00:00:01.5}|"), "{text}");
}
