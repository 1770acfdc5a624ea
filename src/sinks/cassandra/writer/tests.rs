//! What is sent for a chunk: its batches, its timestamps, its deletions.

use arrow::array::{ArrayRef, Int8Array, Int32Array, StringArray};
use arrow::datatypes::Schema;

use super::*;
use crate::cassandra::options::TableName;
use crate::cassandra::table::{Table, TableColumn};
use crate::cassandra::types::CqlType;
use crate::clock::ManualClock;
use crate::conf::Conf;
use crate::sinks::SinkSpec;

/// `(p text, c int), v int`
fn table() -> Table {
    let column = |name: &str, cql| TableColumn { name: name.into(), cql };
    let columns = vec![column("p", CqlType::Text), column("c", CqlType::Int), column("v", CqlType::Int)];
    Table { name: TableName { keyspace: "ks".into(), table: "t".into() }, columns, partition_key: 1, clustering: 1 }
}

type Given<'a> = (Option<&'a str>, i32, Option<i32>, i8);

fn rows(given: &[Given<'_>], changelog: bool) -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("p", Arc::new(given.iter().map(|row| row.0).collect::<StringArray>())),
        ("c", Arc::new(given.iter().map(|row| row.1).collect::<Int32Array>())),
        ("v", Arc::new(given.iter().map(|row| row.2).collect::<Int32Array>())),
    ];
    if changelog {
        columns.push(("_change", Arc::new(given.iter().map(|row| row.3).collect::<Int8Array>())));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

struct Bench {
    layout: Layout,
    grouping: Grouping,
    stamps: Stamps,
    clock: Arc<ManualClock>,
}

fn bench(schema: &Schema, options: &[(&str, &str)]) -> Bench {
    let mut spec = SinkSpec::default();
    spec.options.set("table", "t");
    spec.options.set("keyspace", "ks");
    options.iter().for_each(|(name, value)| spec.options.set(format!("spark.cassandra.output.{name}"), *value));
    let settings = Settings::of(&spec, &Conf::default()).unwrap();
    let clock = ManualClock::at(1_000_000);
    Bench {
        layout: Layout::of(&Arc::new(schema.clone()), &table(), &settings).unwrap(),
        grouping: Grouping::of(&settings),
        stamps: Stamps { clock: clock.clone(), next: None, last: 0 },
        clock,
    }
}

/// Per parcel, per row: partition, timestamp, whether it is written.
type Sent = Vec<Vec<(String, i64, bool)>>;

fn sent(bench: &mut Bench, rows: &RecordBatch) -> Sent {
    let chunk = Chunk::of(&bench.layout, rows).unwrap();
    let bound = chunk.bind(&bench.layout, &mut bench.stamps, bench.grouping.ignore_nulls);
    let parcels = bound.parcels(&bench.grouping);
    parcels.iter().map(|parcel| parcel.rows.iter().map(|(row, kept)| shown(row, *kept)).collect()).collect()
}

fn shown(row: &Row, kept: bool) -> (String, i64, bool) {
    let bytes = row.rows.row(row.row);
    let stamp = if kept { &bytes[bytes.len() - 8..] } else { &bytes[4..12] };
    let partition = String::from_utf8(row.key()[4..].to_vec()).unwrap();
    (partition, i64::from_be_bytes(stamp.try_into().unwrap()), kept)
}

#[test]
fn rows_of_a_partition_go_together_with_rising_timestamps() {
    let batch = rows(&[(Some("b"), 1, Some(1), 1), (Some("a"), 1, None, 1), (Some("b"), 1, Some(2), 1)], false);
    let mut bench = bench(&batch.schema(), &[]);
    let written = |name: &str, stamp| (name.to_owned(), stamp, true);
    let expected = vec![vec![written("a", 1_000_001)], vec![written("b", 1_000_000), written("b", 1_000_002)]];
    assert_eq!(sent(&mut bench, &batch), expected);
}

#[test]
fn an_epoch_begins_at_the_clock_but_never_before_the_last_row() {
    let batch = rows(&[(Some("a"), 1, None, 1), (Some("a"), 2, None, 1)], false);
    let mut bench = bench(&batch.schema(), &[]);
    let first = |sent: Sent| sent[0][0].1;
    assert_eq!(first(sent(&mut bench, &batch)), 1_000_000);
    bench.stamps.next = None;
    assert_eq!(first(sent(&mut bench, &batch)), 1_000_002);
    bench.clock.advance(std::time::Duration::from_secs(1));
    bench.stamps.next = None;
    assert_eq!(first(sent(&mut bench, &batch)), 2_000_000);
}

#[test]
fn batches_are_bounded() {
    let many: Vec<Given<'_>> = (0..10).map(|n| (Some("a"), n, Some(n), 1)).collect();
    let batch = rows(&many, false);
    let sizes = |options: &[(&str, &str)]| {
        let sent = sent(&mut bench(&batch.schema(), options), &batch);
        sent.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&[]), [10]);
    assert_eq!(sizes(&[("batch.size.rows", "4")]), [4, 4, 2]);
    // A row is 5 + 8 + 8 + 12 bytes.
    assert_eq!(sizes(&[("batch.size.bytes", "100")]), [3, 3, 3, 1]);
    assert_eq!(sizes(&[("batch.grouping.key", "none")]), [1; 10]);
}

#[test]
fn what_is_taken_back_is_deleted_unless_it_is_written_anew() {
    let batch = rows(&[(Some("a"), 1, Some(1), -1), (Some("b"), 1, Some(1), -1), (Some("a"), 1, Some(2), 1)], true);
    let mut bench = bench(&batch.schema(), &[]);
    let expected = vec![vec![("a".to_owned(), 1_000_001, true)], vec![("b".to_owned(), 1_000_000, false)]];
    assert_eq!(sent(&mut bench, &batch), expected);
}

#[test]
fn o02_a_null_in_the_key_is_an_error_that_names_it() {
    let batch = rows(&[(None, 1, Some(1), 1)], false);
    let bench = bench(&batch.schema(), &[]);
    let error = Chunk::of(&bench.layout, &batch).err().unwrap();
    assert!(error.condition() == Some("NOT_NULL_CONSTRAINT_VIOLATION") && error.message().contains("'p'"), "{error}");
}

#[test]
fn nulls_delete_or_leave_what_is_there() {
    let batch = rows(&[(Some("a"), 1, None, 1)], false);
    let cell = |options: &[(&str, &str)]| {
        let mut bench = bench(&batch.schema(), options);
        let chunk = Chunk::of(&bench.layout, &batch).unwrap();
        let bound = chunk.bind(&bench.layout, &mut bench.stamps, bench.grouping.ignore_nulls);
        i32::from_be_bytes(bound.written.row(0)[13..17].try_into().unwrap())
    };
    assert_eq!((cell(&[]), cell(&[("ignoreNulls", "true")])), (-1, -2));
}
