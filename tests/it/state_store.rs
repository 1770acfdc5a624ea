//! State larger than memory, through the public door: a budget of nothing changes no result, under both drivers, with any number of
//! workers, with restarts that switch between stores.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;
use thalweg::stateful::*;

use crate::changelog::Random;
use crate::compare::json_rows;

/// Queries with state of each kind that goes to files, and their modes; without SQL it is a deduplication or a program's own.
const QUERIES: [(&str, &str, &str); 14] = [
    ("sums", "SELECT k, sum(n) AS s, collect_list(n) AS l FROM t GROUP BY k", "update"),
    ("table", "SELECT k, d, count(*) AS c, max(w) AS w FROM t GROUP BY k, d", "complete"),
    (
        "windows",
        "SELECT window(time, '30 seconds') AS t, k, sum(n) AS s FROM t GROUP BY window(time, '30 seconds'), k",
        "append",
    ),
    (
        "slices",
        "SELECT window(time, '30 seconds', '10 seconds') AS t, k, sum(n) AS s FROM t GROUP BY window(time, '30 seconds', '10 seconds'), k",
        "append",
    ),
    (
        "window updates",
        "SELECT window(time, '30 seconds', '10 seconds') AS t, k, first(n) AS f FROM t GROUP BY window(time, '30 seconds', '10 seconds'), k",
        "update",
    ),
    ("times", "SELECT time, k, count(*) AS c FROM t GROUP BY time, k", "append"),
    (
        "sessions",
        "SELECT session_window(time, '2 seconds') AS t, k, sum(n) AS s FROM t GROUP BY session_window(time, '2 seconds'), k",
        "append",
    ),
    (
        "join",
        "SELECT t.k, t.n, u.n AS m, t.time FROM t JOIN u ON t.k = u.k AND t.time >= u.time AND t.time <= u.time + INTERVAL 4 SECONDS",
        "append",
    ),
    (
        "outer join",
        "SELECT t.k, t.n, u.n AS m, t.time FROM t LEFT JOIN u ON t.k = u.k AND t.n = u.n AND t.time >= u.time AND t.time <= u.time + INTERVAL 2 SECONDS",
        "append",
    ),
    (
        "semi join",
        "SELECT t.k, t.n, t.time FROM t LEFT SEMI JOIN u ON t.k = u.k AND t.n = u.n AND t.time >= u.time AND t.time <= u.time + INTERVAL 2 SECONDS",
        "append",
    ),
    ("dedup", "k n", "append"),
    ("dedup within the watermark", "k n within", "append"),
    ("program", "program", "update"),
    ("changelog", "SELECT s, count(*) AS c FROM (SELECT k, sum(n) AS s FROM t GROUP BY k) GROUP BY s", "complete"),
];

fn rows(random: &mut Random, count: usize, second: u64) -> RecordBatch {
    let mut longs = |limit: u64| (0..count).map(|_| random.below(limit) as i64).collect::<Vec<_>>();
    let (keys, numbers, times) = (longs(40), longs(6), longs(30));
    let words = keys.iter().map(|key| (*key != 7).then(|| format!("a longer text {key}")));
    let times = times.iter().map(|time| (time + second as i64) * 1_000_000);
    let columns: [(&str, ArrayRef); 5] = [
        ("k", Arc::new(StringArray::from_iter(words))),
        ("d", Arc::new(arrow::array::Float64Array::from_iter_values(numbers.iter().map(|n| -(*n as f64) / 2.0)))),
        ("n", Arc::new(Int64Array::from(numbers.clone()))),
        ("w", Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| format!("w{n}"))))),
        ("time", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

#[derive(Deserialize)]
struct Event {
    n: i64,
    time: i64,
}

#[derive(Serialize, Deserialize)]
struct List {
    k: Option<String>,
    l: Vec<i64>,
}

/// All numbers of each key so far; a key is forgotten when the watermark is five seconds beyond its last row.
fn lists(frame: &DataFrame) -> Result<DataFrame> {
    let list = |key: &Option<String>, rows: Rows<'_, Event>, state: &mut GroupState<(Vec<i64>, i64)>| {
        let (mut l, mut latest) = state.get().cloned().unwrap_or_default();
        if state.has_timed_out() {
            state.remove();
            return Ok(None);
        }
        for event in rows {
            l.push(event.n);
            latest = latest.max(event.time / 1000);
        }
        state.update((l.clone(), latest));
        state.set_timeout_timestamp(latest.max(state.get_current_watermark_ms()?) + 5_000)?;
        Ok(Some(List { k: key.clone(), l }))
    };
    frame.group_by(["k"]).flat_map_groups_with_state("update", GroupStateTimeout::EventTimeTimeout, list)
}

/// What is the same over all runs of a query.
struct Stage {
    dir: tempfile::TempDir,
    stream: MemoryStream,
    sql: &'static str,
    mode: &'static str,
    delivered: Arc<Mutex<BTreeMap<u64, Vec<String>>>>,
    /// The most rows that lay in files at once.
    cold: u64,
}

impl Stage {
    fn new(sql: &'static str, mode: &'static str) -> Stage {
        let schema = rows(&mut Random(1), 0, 0).schema();
        let (dir, delivered) = (tempfile::tempdir().unwrap(), Arc::default());
        Stage { dir, stream: MemoryStream::new(schema), sql, mode, delivered, cold: 0 }
    }

    fn session(&self, workers: usize, store: &str) -> Session {
        let path = self.dir.path().join("files");
        Session::builder()
            .config("thalweg.workers", workers)
            .config("thalweg.stateStore", store)
            .config("thalweg.stateStore.memory", "0")
            .config("thalweg.stateStore.path", path.display())
            .create()
    }

    fn start(&self, session: &Session, trigger: Trigger) -> StreamingQuery {
        let frame = session.read_stream().memory(&self.stream).unwrap();
        let frame = frame.with_watermark("time", "10 seconds").unwrap();
        frame.create_or_replace_temp_view("t").unwrap();
        let other = session.read_stream().memory(&self.stream).unwrap().filter("n < 3").unwrap();
        other.with_watermark("time", "10 seconds").unwrap().create_or_replace_temp_view("u").unwrap();
        let delivered = Arc::clone(&self.delivered);
        let frame = match self.sql {
            "k n" => frame.drop_duplicates(&["k", "n"]),
            "k n within" => frame.drop_duplicates_within_watermark(&["k", "n"]),
            "program" => lists(&frame),
            sql => session.sql(sql),
        };
        let writer = frame.unwrap().write_stream().output_mode(self.mode).trigger(trigger);
        let writer = writer.option("checkpointLocation", self.dir.path().join("ck").display());
        let writer = writer.foreach_rows(move |rows, _, epoch| {
            let mut delivered = delivered.lock().unwrap();
            let all: &mut Vec<String> = delivered.entry(epoch).or_default();
            all.extend(json_rows(&rows).unwrap().iter().map(ToString::to_string));
            all.sort();
            Ok(())
        });
        writer.start().unwrap()
    }

    /// Runs a leg over some batches of rows, then the query ends.
    fn leg(&mut self, batches: &[RecordBatch], trigger: Trigger, workers: usize, store: &str) {
        let query = self.start(&self.session(workers, store), trigger);
        // A batch that is about to be put together while rows come could have them on one side of a join only.
        query.process_all_available().unwrap();
        for rows in batches {
            self.stream.push(rows.clone()).unwrap();
            query.process_all_available().unwrap();
        }
        let figure = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
        for progress in query.recent_progress() {
            let operators = progress.state_operators.iter();
            let cold = operators.filter_map(|operator| operator.custom_metrics.get("sledNumRows").map(figure));
            self.cold = self.cold.max(cold.sum());
        }
        query.stop().unwrap();
    }

    fn folders(&self) -> usize {
        fs::read_dir(self.dir.path().join("files")).map_or(0, |folders| folders.count())
    }
}

#[test]
fn p01_micro_batches_are_the_same_with_state_in_files() {
    for (seed, (name, sql, mode)) in (1..).zip(QUERIES) {
        let mut random = Random(seed * 77);
        let batches: Vec<_> = (0..12).map(|at| rows(&mut random, 60, at * 8)).collect();
        let (mut hot, mut cold) = (Stage::new(sql, mode), Stage::new(sql, mode));
        for (leg, batches) in batches.chunks(3).enumerate() {
            hot.leg(batches, Trigger::default(), 1, "memory");
            // The last leg goes on in memory with what lay in files.
            cold.leg(batches, Trigger::default(), 1 + leg, if leg == 3 { "memory" } else { "sled" });
        }
        assert_eq!(*cold.delivered.lock().unwrap(), *hot.delivered.lock().unwrap(), "{name}");
        assert!(cold.cold > 0 && hot.cold == 0, "{name}: nothing lay in files");
        assert_eq!(cold.folders(), 0, "{name}: files are left");
    }
}

#[test]
fn p01_continuous_queries_come_to_the_same_with_state_in_files() {
    for (seed, (name, sql, mode)) in (1..).zip(QUERIES).filter(|(_, (_, _, mode))| *mode != "complete") {
        let mut random = Random(seed * 99);
        let batches: Vec<_> = (0..6).map(|at| rows(&mut random, 60, at * 10)).collect();
        let every = || Trigger::Continuous(Duration::from_millis(40));
        let (mut hot, mut cold) = (Stage::new(sql, mode), Stage::new(sql, mode));
        for (leg, batches) in batches.chunks(3).enumerate() {
            hot.leg(batches, every(), 1, "memory");
            cold.leg(batches, every(), 1 + leg, "sled");
        }
        let last = |stage: &Stage| {
            let delivered = stage.delivered.lock().unwrap();
            let all = delivered.values().flatten().cloned().collect::<Vec<_>>();
            let mut all = if mode == "update" { newest(&all) } else { all };
            all.sort();
            all
        };
        assert_eq!(last(&cold), last(&hot), "{name}");
        assert!(cold.cold > 0, "{name}: nothing lay in files");
    }
}

/// Of the rows of each group the one with the longest list, which is the last that was shown.
fn newest(rows: &[String]) -> Vec<String> {
    let mut newest: BTreeMap<String, &String> = BTreeMap::new();
    for row in rows {
        let parsed: serde_json::Value = serde_json::from_str(row).unwrap();
        let last = newest.entry(format!("{} {}", parsed["k"], parsed["t"])).or_insert(row);
        *last = if row.len() > last.len() { row } else { last };
    }
    newest.into_values().cloned().collect()
}

#[test]
fn files_of_a_query_that_dies_are_not_needed() {
    let (_, sql, mode) = QUERIES[0];
    let mut random = Random(5);
    let batches: Vec<_> = (0..6).map(|at| rows(&mut random, 80, at)).collect();
    let (mut whole, mut torn) = (Stage::new(sql, mode), Stage::new(sql, mode));
    whole.leg(&batches, Trigger::default(), 1, "memory");
    torn.leg(&batches[..3], Trigger::default(), 2, "sled");
    // What a killed process leaves behind.
    let left = torn.dir.path().join("files/thalweg-state-dead");
    fs::create_dir_all(left.join("sled")).unwrap();
    fs::write(left.join("lock"), "").unwrap();
    torn.leg(&batches[3..], Trigger::default(), 1, "sled");
    assert_eq!(*torn.delivered.lock().unwrap(), *whole.delivered.lock().unwrap());
    assert!(!Path::new(&left).exists());
}

#[test]
fn explain_says_where_state_lies_and_wrong_settings_are_refused() {
    let stage = Stage::new("SELECT k, count(*) AS c FROM t GROUP BY k", "update");
    let query = stage.start(&stage.session(1, "sled"), Trigger::default());
    let text = query.explain().to_owned();
    assert!(text.contains("== State Store ==") && text.contains("aggregate-") && text.contains(": sled"), "{text}");
    query.stop().unwrap();
    let session = stage.session(1, "slod");
    let frame = session.read_stream().memory(&stage.stream).unwrap();
    let error =
        frame.group_by(["k"]).count().unwrap().write_stream().output_mode("update").format("noop").start().unwrap_err();
    assert!(error.to_string().contains("'sled'"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_before_anything_runs() {
    let stage = Stage::new("SELECT k, count(*) AS c FROM t GROUP BY k", "update");
    let file = stage.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let session = stage.session(1, "sled");
    session.set_conf("thalweg.stateStore.path", file.display());
    let frame = session.read_stream().memory(&stage.stream).unwrap();
    let error =
        frame.group_by(["k"]).count().unwrap().write_stream().output_mode("update").format("noop").start().unwrap_err();
    assert!(error.message().contains("state cannot be kept below"), "{error}");
}
