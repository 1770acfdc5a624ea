//! Large chunks over several workers: what idle workers make ready for others changes no result.
//!
//! In: one folder of JSON lines, large enough that chunks are full and lanes have a backlog. Out: the same rows under both drivers with
//! one, two and four workers as of the same query in batch.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use thalweg::prelude::*;

use crate::compare::json_rows;
use crate::continuous::last_of_each_key;

const ROWS: u64 = 40_000;

/// Rows in order of their ids and times; few keys, and values of both signs.
fn write_rows(folder: &Path) {
    for file in 0..2 {
        let mut text = String::new();
        for id in file * ROWS / 2..(file + 1) * ROWS / 2 {
            let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            let (key, value) = (mixed % 97, i64::try_from(mixed % 1000).unwrap() - 500);
            let (minute, second) = (id / 600 % 60, id / 10 % 60);
            let hour = id / 36_000;
            let time = format!("2024-03-01T{hour:02}:{minute:02}:{second:02}Z");
            writeln!(text, r#"{{"id":{id},"k":"key {key}","v":{value},"ts":"{time}"}}"#).unwrap();
        }
        fs::write(folder.join(format!("{file}.json")), text).unwrap();
    }
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

struct Run<'a> {
    folder: &'a Path,
    sql: &'a str,
}

impl Run<'_> {
    const SCHEMA: &'static str = "id BIGINT, k STRING, v INT, ts TIMESTAMP";

    fn folder(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    fn batch(&self) -> Vec<Value> {
        let session = Session::builder().create();
        let rows = session.read().schema(Self::SCHEMA).json(self.folder()).unwrap();
        rows.create_or_replace_temp_view("events").unwrap();
        sorted(json_rows(&session.sql(self.sql).unwrap().collect().unwrap()).unwrap())
    }

    /// The rows in the order in which the sink got them.
    fn stream(&self, mode: &str, trigger: Trigger, workers: usize) -> Vec<Vec<Value>> {
        let session = Session::builder().config("thalweg.workers", workers).create();
        let rows = session.read_stream().schema(Self::SCHEMA).json(self.folder()).unwrap();
        // Without a watermark, and if nothing depends on their order, rows of a file are spread over all workers.
        let is_timed = self.sql.contains("window(");
        let rows = if is_timed { rows.with_watermark("ts", "10 seconds").unwrap() } else { rows };
        rows.create_or_replace_temp_view("events").unwrap();
        let pieces = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&pieces);
        let writer = session.sql(self.sql).unwrap().write_stream().output_mode(mode).trigger(trigger);
        let query = writer.foreach_rows(move |rows, _, epoch| {
            into.lock().unwrap().push((epoch, json_rows(&rows)?));
            Ok(())
        });
        let query = query.start().unwrap();
        if matches!(trigger, Trigger::Continuous(_)) {
            query.process_all_available().unwrap();
            query.stop().unwrap();
        }
        assert!(query.await_termination_timeout(Duration::from_secs(120)).unwrap(), "the query is stuck");
        let mut pieces = std::mem::take(&mut *pieces.lock().unwrap());
        let last = pieces.iter().map(|(epoch, _)| *epoch).max();
        // Each epoch has the whole table.
        pieces.retain(|(epoch, _)| mode != "complete" || Some(*epoch) == last);
        pieces.into_iter().map(|(_, rows)| rows).collect()
    }
}

/// Both drivers with several numbers of workers against batch, in both modes that show changes; `keys`: how many columns of the result name a row.
fn check(sql: &str, keys: usize) {
    let folder = tempfile::tempdir().unwrap();
    write_rows(folder.path());
    let run = Run { folder: folder.path(), sql };
    let names: Vec<usize> = (0..keys).collect();
    let wanted = run.batch();
    assert!(!wanted.is_empty());
    let (batches, flow) = (Trigger::AvailableNow, Trigger::Continuous(Duration::from_millis(20)));
    for workers in [1, 2, 4] {
        for (mode, trigger) in [("update", batches), ("complete", batches), ("update", flow), ("complete", flow)] {
            let last = last_of_each_key(run.stream(mode, trigger, workers), Some(&names));
            assert_eq!(sorted(last), wanted, "{workers} workers, {mode}, {trigger:?}: {sql}");
        }
    }
}

#[test]
fn aggregates_of_all_kinds_are_those_of_batch() {
    check(
        "SELECT k, count(*), count(v), sum(v), sum(v) FILTER (WHERE v % 3 = 0), min(v), max(k), bit_or(v), \
         avg(CAST(v AS DECIMAL(10,2))), sum(CAST(v AS DECIMAL(10,2))), count_if(v > 0) FROM events GROUP BY k",
        1,
    );
}

#[test]
fn aggregates_in_two_halves_are_those_of_batch() {
    check(
        "SELECT v % 7, count(*), count(CASE WHEN v > 0 THEN v END), sum(v) FILTER (WHERE v % 3 = 0), min(id), max(ts), \
         avg(CAST(v AS DECIMAL(10,2))), bit_xor(v), bool_or(v > 490), count_if(v > 0) FROM events GROUP BY v % 7",
        1,
    );
}

/// Two workers add up what they have before they exchange it: an error in that is the first half's.
#[test]
fn the_first_half_of_an_aggregation_runs_where_the_rows_are() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(folder.path());
    let fails = |workers: usize| {
        let session = Session::builder().config("thalweg.workers", workers).create();
        let rows = session.read_stream().schema(Run::SCHEMA).json(folder.path().to_str().unwrap()).unwrap();
        let sums = rows.group_by(["k"]).agg([expr("sum(9223372036854775807 + id * 0)")]).unwrap();
        let query = sums.write_stream().output_mode("complete").trigger(Trigger::AvailableNow).format("noop");
        let error = query.start().unwrap().await_termination().unwrap_err();
        assert_eq!(error.condition(), Some("ARITHMETIC_OVERFLOW"), "{error}");
        error.to_string()
    };
    let (alone, shared) = (fails(1), fails(2));
    assert!(!alone.contains("-partial") && shared.contains("-partial"), "{alone}\n{shared}");
}

#[test]
fn one_group_of_all_rows_is_that_of_batch() {
    check("SELECT count(*), sum(v), min(ts), max(id) FROM events", 0);
}

#[test]
fn keys_that_are_all_different_are_those_of_batch() {
    check("SELECT id, k, count(*), max(v) FROM events GROUP BY id, k", 2);
}

#[test]
fn rows_of_a_partition_stay_in_order_whoever_decodes_them() {
    check("SELECT k, first(id), last(id), collect_list(v)[5], count(*) FROM events GROUP BY k", 1);
}

#[test]
fn watermarks_follow_the_order_of_rows_whoever_decodes_them() {
    // No row is behind another: one that was dropped as late would be missing.
    check("SELECT window.start, k, count(*), sum(v) FROM events GROUP BY window(ts, '30 seconds'), k", 2);
}
