//! Faults in the data: duplicates, one key for all rows, many keys, values at the limits of their types.
//!
//! In: rows pushed into streams. Each test is named after the fault; what is expected is the right answer, or an error with
//! Spark's condition that ends its own query and no other.

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;
use thalweg::sources::items::StreamSender;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    key: i64,
    at: String,
    value: i64,
}

fn session(workers: usize) -> Session {
    Session::builder().config("thalweg.workers", workers).create()
}

fn readings(session: &Session, capacity: u64) -> (StreamSender<Reading>, DataFrame) {
    let (sender, frame) = session.read_stream().items::<Reading>(capacity).unwrap();
    (sender, frame.with_column("at", expr("to_timestamp(at)")).unwrap())
}

fn reading(key: i64, at: &str) -> Reading {
    Reading { key, at: at.to_owned(), value: 1 }
}

/// The single value of a query over a memory table.
fn number(session: &Session, query: &str) -> i64 {
    let rows = session.sql(query).unwrap().collect().unwrap();
    let column = rows[0].column(0);
    arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(column).value(0)
}

fn start(frame: &DataFrame, name: &str, mode: &str) -> StreamingQuery {
    frame.write_stream().format("memory").query_name(name).output_mode(mode).start().unwrap()
}

#[test]
fn d18_duplicates_are_dropped_and_rows_a_day_late_are_counted() {
    let session = session(2);
    let (sender, rows) = readings(&session, 1000);
    let once = rows.with_watermark("at", "1 hour").unwrap().drop_duplicates(&["key", "at"]).unwrap();
    let query = start(&once, "once", "append");
    let today = [reading(1, "2024-03-02T12:00:00Z"), reading(1, "2024-03-02T12:00:00Z")];
    sender.send_many(&today).unwrap();
    query.process_all_available().unwrap();
    sender.send_many(&[reading(1, "2024-03-02T12:00:00Z"), reading(1, "2024-03-01T12:00:00Z")]).unwrap();
    query.process_all_available().unwrap();
    assert_eq!(number(&session, "SELECT count(*) FROM once"), 1);
    let reports = query.recent_progress();
    let late: u64 = reports
        .iter()
        .flat_map(|report| &report.state_operators)
        .map(|state| state.num_rows_dropped_by_watermark)
        .sum();
    assert_eq!(late, 1);
    query.stop().unwrap();
}

#[test]
fn d19_one_key_for_all_rows_and_a_key_for_each_row() {
    let session = session(4);
    let (sender, rows) = readings(&session, 200_000);
    let (one, many) = (rows.with_column("key", lit(7i64)).unwrap(), rows.clone());
    let count = |frame: &DataFrame| frame.group_by(["key"]).agg([count("*").alias("n")]).unwrap();
    let queries = [start(&count(&one), "hot", "complete"), start(&count(&many), "wide", "complete")];
    let keys = 60_000;
    let all: Vec<Reading> = (0..keys).map(|key| reading(key, "2024-03-02T12:00:00Z")).collect();
    all.chunks(8192).for_each(|chunk| sender.send_many(chunk).unwrap());
    queries.iter().for_each(|query| query.process_all_available().unwrap());
    assert_eq!(number(&session, "SELECT max(n) FROM hot"), keys);
    assert_eq!(number(&session, "SELECT count(*) FROM wide WHERE n = 1"), keys);
    queries.iter().for_each(|query| query.stop().unwrap());
}

#[test]
fn d20_keys_chosen_to_collide_still_group_right() {
    let session = session(4);
    let (sender, rows) = readings(&session, 100_000);
    let counted = rows.group_by(["key"]).agg([sum("value").alias("n")]).unwrap();
    let query = start(&counted, "flooded", "complete");
    // Equal in their low bits, which a plain table would take its places from.
    let keys: Vec<Reading> = (0..8192).map(|n| reading(n << 40, "2024-03-02T12:00:00Z")).collect();
    sender.send_many(&keys).unwrap();
    sender.send_many(&keys).unwrap();
    query.process_all_available().unwrap();
    assert_eq!(number(&session, "SELECT count(*) FROM flooded WHERE n = 2"), 8192);
    query.stop().unwrap();
}

/// The condition of the error that a row ends a query with; another query of the session goes on.
fn ends_with(expression: &str) -> Option<String> {
    let session = session(1);
    let (sender, rows) = readings(&session, 100);
    let failing = rows.select([expr(expression).alias("x")]).unwrap().write_stream().format("noop").start().unwrap();
    let going = start(&rows.select(["key"]).unwrap(), "going", "append");
    sender.send(&Reading { value: i64::MAX, ..reading(1, "9999-12-31T23:59:59Z") }).unwrap();
    let error = failing.await_termination().unwrap_err();
    going.process_all_available().unwrap();
    assert_eq!(number(&session, "SELECT count(*) FROM going"), 1);
    going.stop().unwrap();
    error.condition().map(str::to_owned)
}

#[test]
fn d21_values_at_the_limits_of_their_types_end_one_query_and_no_other() {
    assert_eq!(ends_with("value + key").as_deref(), Some("ARITHMETIC_OVERFLOW"));
    assert_eq!(ends_with("cast(value AS INT)").as_deref(), Some("CAST_OVERFLOW"));
    assert_eq!(
        ends_with("cast(value AS DECIMAL(10,2))").as_deref(),
        Some("NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION")
    );
    assert_eq!(ends_with("make_dt_interval(value)").as_deref(), Some("CAST_OVERFLOW"));
}

#[test]
fn d21_windows_at_the_ends_of_time_are_kept() {
    let session = session(2);
    let (sender, rows) = readings(&session, 100);
    let counted = rows.group_by([window("at", "7 days")]).agg([count("*").alias("n")]).unwrap();
    let query = start(&counted, "ends", "complete");
    sender.send_many(&[reading(1, "9999-12-31T23:59:59Z"), reading(1, "0001-01-01T00:00:00Z")]).unwrap();
    query.process_all_available().unwrap();
    assert_eq!(number(&session, "SELECT count(*) FROM ends WHERE n = 1"), 2);
    query.stop().unwrap();
}
