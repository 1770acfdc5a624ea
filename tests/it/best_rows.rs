//! Rows joined with the best value of their own group. Which queries run as one aggregation stands in `plans`, what Spark gives in the corpus
//! (`stream_join/best_rows_*`); here, that large inputs come to what batch gives, and that a checkpoint decides between the two.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use thalweg::prelude::*;

use crate::compare::json_rows;

const SCHEMA: &str = "ts TIMESTAMP, k INT, v INT";
/// The keys are compared, so that the aggregation is by keys too.
const BY_KEY: &str = "SELECT own.start AS start, r.k, r.v, n
    FROM (SELECT k, v, concat('v', v) AS n, window(ts, '10 seconds') AS own FROM bid) r
    JOIN (SELECT window, k, max(v) AS most FROM bid GROUP BY window(ts, '10 seconds'), k) t
    ON own = window AND r.k = t.k AND v = most";
/// The window is not the aggregation's own, as its start is taken before.
const BY_TIME: &str = "SELECT own.start AS start, since, r.k, r.v
    FROM (SELECT k, v, w AS own, w.start AS since FROM (SELECT *, window(ts, '5 seconds') AS w FROM bid)) r
    JOIN (SELECT w, k, min(v) AS least FROM (SELECT *, window(ts, '5 seconds') AS w FROM bid) GROUP BY w, k) t
    ON own = t.w AND r.k = t.k AND v = least";

/// Rows in the order of their times, with ties, nulls and many groups.
fn write(folder: &Path, file: u64, rows: std::ops::Range<u64>) {
    let mut text = String::new();
    for id in rows {
        let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let (minute, second) = (id / 120_000 % 60, id / 2000 % 60);
        let value = if mixed % 13 == 0 { "null".to_string() } else { (mixed / 64 % 7).to_string() };
        let key = if mixed % 17 == 0 { "null".to_string() } else { (mixed % 20_000).to_string() };
        writeln!(text, r#"{{"ts":"2024-03-01T12:{minute:02}:{second:02}Z","k":{key},"v":{value}}}"#).unwrap();
    }
    fs::write(folder.join(format!("{file}.json")), text).unwrap();
}

/// Closes all windows before it, and has no key.
fn close(folder: &Path, file: u64) {
    fs::write(folder.join(format!("{file}.json")), "{\"ts\":\"2024-03-01T13:30:00Z\",\"k\":1,\"v\":null}\n").unwrap();
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

fn batch(folder: &Path, sql: &str) -> Vec<Value> {
    let session = Session::builder().create();
    let rows = session.read().schema(SCHEMA).json(folder.to_str().unwrap()).unwrap();
    rows.create_or_replace_temp_view("bid").unwrap();
    sorted(json_rows(&session.sql(sql).unwrap().collect().unwrap()).unwrap())
}

/// The rows of a run until all is read, and what ran.
fn stream(folder: &Path, sql: &str, settings: &[(&str, &str)], checkpoint: Option<&Path>) -> (Vec<Value>, String) {
    let session =
        settings.iter().fold(Session::builder(), |builder, (key, value)| builder.config(key, *value)).create();
    let reader = session.read_stream().schema(SCHEMA).option("maxFilesPerTrigger", 1);
    let rows = reader.json(folder.to_str().unwrap()).unwrap().with_watermark("ts", "1 second").unwrap();
    rows.create_or_replace_temp_view("bid").unwrap();
    let mut writer = session.sql(sql).unwrap().write_stream().output_mode("append").trigger(Trigger::AvailableNow);
    if let Some(checkpoint) = checkpoint {
        writer = writer.option("checkpointLocation", checkpoint.to_str().unwrap());
    }
    let found = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&found);
    let query = writer.foreach_rows(move |rows, _, _| {
        into.lock().unwrap().extend(json_rows(&rows)?);
        Ok(())
    });
    let query = query.start().unwrap();
    assert!(query.await_termination_timeout(Duration::from_secs(120)).unwrap(), "the query is stuck");
    (sorted(std::mem::take(&mut found.lock().unwrap())), query.explain().to_string())
}

#[test]
fn the_best_rows_of_many_groups_are_those_of_batch() {
    let folder = tempfile::tempdir().unwrap();
    (0..4).for_each(|file| write(folder.path(), file, file * 15_000..(file + 1) * 15_000));
    close(folder.path(), 4);
    for sql in [BY_KEY, BY_TIME] {
        let wanted = batch(folder.path(), sql);
        assert!(wanted.len() > 10_000);
        for settings in [[("thalweg.workers", "1"); 2], [("thalweg.workers", "2"), ("thalweg.stateStore", "sled")]] {
            let (rows, plan) = stream(folder.path(), sql, &settings, None);
            assert!(plan.contains("rows_with_m") && !plan.contains("join-"), "{plan}");
            assert!(rows == wanted, "{} rows instead of {}, {settings:?}: {sql}", rows.len(), wanted.len());
        }
    }
}

#[test]
fn the_best_rows_go_on_from_a_checkpoint() {
    const JOIN: (&str, &str) = ("spark.sql.streaming.unsupportedOperationCheck", "true");
    const OURS: (&str, &str) = ("spark.sql.streaming.unsupportedOperationCheck", "false");
    for (sql, first, store) in [(BY_KEY, OURS, "memory"), (BY_TIME, OURS, "sled"), (BY_KEY, JOIN, "memory")] {
        let (folder, checkpoint) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = |rules| [rules, ("thalweg.stateStore", store), ("thalweg.workers", "1")];
        // The window that is open in between has more groups than are restored at once.
        write(folder.path(), 0, 0..38_000);
        let (mut rows, plan) = stream(folder.path(), sql, &settings(first), Some(checkpoint.path()));
        assert_eq!(plan.contains("join-"), first == JOIN, "{plan}");
        write(folder.path(), 1, 38_000..80_000);
        close(folder.path(), 2);
        let (rest, again) = stream(folder.path(), sql, &settings(OURS), Some(checkpoint.path()));
        assert_eq!(again.contains("join-"), first == JOIN, "what the checkpoint has state of goes on: {again}");
        rows.extend(rest);
        assert!(sorted(rows) == batch(folder.path(), sql), "{sql}");
    }
}
