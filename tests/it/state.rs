//! State through the public door: what checkpoints keep of it, epoch by epoch; read as tables; limited in size.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use thalweg::prelude::*;

const LONG: Duration = Duration::from_secs(120);

/// A query's folders: text files in, a checkpoint.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let stage = Stage { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(stage.path("in")).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn checkpoint(&self) -> String {
        self.path("ck").display().to_string()
    }

    fn add(&self, number: usize, lines: &[String]) {
        // Whole at once: a file that is read while it is written is read as far as it is written.
        let hidden = self.path("in").join(format!(".{number:04}"));
        fs::write(&hidden, lines.join("\n") + "\n").unwrap();
        fs::rename(hidden, self.path("in").join(format!("{number:04}.csv"))).unwrap();
    }

    fn read(&self, session: &Session) -> DataFrame {
        let reader =
            session.read_stream().schema("key STRING, n BIGINT, time TIMESTAMP").option("maxFilesPerTrigger", 1);
        reader.csv(self.path("in").to_str().unwrap()).unwrap()
    }

    fn run(&self, frame: DataFrame, mode: &str) -> Result<()> {
        let writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow);
        let query = writer.option("checkpointLocation", self.checkpoint()).format("noop").start()?;
        assert!(query.await_termination_timeout(LONG)?, "the query is stuck");
        Ok(())
    }

    fn table(&self, format: &str, options: &[(&str, &str)]) -> Result<Vec<RecordBatch>> {
        let reader = Session::builder().create().read().format(format);
        reader.options(options.iter().copied()).load_path(&self.checkpoint())?.collect()
    }

    /// Rows of a select over the state.
    fn select(&self, options: &[(&str, &str)], columns: &[&str]) -> Vec<String> {
        let reader = Session::builder().create().read().format("statestore").options(options.iter().copied());
        let frame = reader.load_path(&self.checkpoint()).unwrap().select_expr(columns.iter().copied()).unwrap();
        texts(&frame.collect().unwrap())
    }
}

/// Rows as sorted texts.
fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
            rows.push(batch.columns().iter().map(value).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// A line of the input: key, number, second.
fn line(key: &str, n: i64, second: u64) -> String {
    format!("{key},{n},2024-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
}

#[test]
fn counts_are_read_as_a_table_after_each_kept_epoch() {
    let stage = Stage::new();
    stage.add(0, &[line("a", 1, 0), line("b", 2, 0)]);
    stage.add(1, &[line("a", 3, 0)]);
    let session = Session::builder().create();
    let counts = stage.read(&session).group_by(["key"]).agg([expr("count(*)"), expr("sum(n)")]).unwrap();
    stage.run(counts, "update").unwrap();
    let columns = ["key.key", "value.count", "value.sum_1"];
    assert_eq!(stage.select(&[], &columns), ["a|2|4", "b|1|2"]);
    assert_eq!(stage.select(&[("batchId", "0")], &columns), ["a|1|1", "b|1|2"]);
    let rows = stage.table("statestore", &[]).unwrap();
    let partitions = rows.iter().flat_map(|rows| rows.column(2).as_primitive::<Int32Type>().values().to_vec());
    assert!(partitions.into_iter().all(|partition| (0..256).contains(&partition)));
    let operators = stage.table("state-metadata", &[]).unwrap();
    assert_eq!(texts(&operators), ["0|stateStoreSave|default|256|0|1"]);
}

#[test]
fn windows_sessions_and_both_sides_of_a_join_are_tables() {
    let stage = Stage::new();
    stage.add(0, &[line("a", 1, 0), line("a", 2, 3), line("b", 2, 61)]);
    let session = Session::builder().create();
    let timed = stage.read(&session).with_watermark("time", "10 minutes").unwrap();
    let windows = timed.group_by([expr("window(time, '1 minute')"), expr("key")]).count().unwrap();
    stage.run(windows, "append").unwrap();
    let columns = ["unix_seconds(key.window.end) - unix_seconds(key.window.start) AS s", "key.key", "value.count"];
    assert_eq!(stage.select(&[], &columns), ["60|a|2", "60|b|1"]);

    let stage = Stage::new();
    stage.add(0, &[line("a", 1, 0), line("a", 2, 3), line("b", 2, 61)]);
    let timed = stage.read(&session).with_watermark("time", "10 minutes").unwrap();
    let sessions = timed.group_by([expr("session_window(time, '10 seconds')"), expr("key")]).count().unwrap();
    stage.run(sessions, "append").unwrap();
    let length = "unix_seconds(value.session_window.end) - unix_seconds(key.sessionStartTime) AS s";
    assert_eq!(stage.select(&[], &["key.key", length, "value.count"]), ["a|13|2", "b|10|1"]);

    let stage = Stage::new();
    stage.add(0, &[line("a", 1, 0), line("b", 2, 1)]);
    stage.read(&session).with_watermark("time", "10 minutes").unwrap().create_or_replace_temp_view("l").unwrap();
    let right = stage.read(&session).filter("n = 1").unwrap().with_watermark("time", "10 minutes").unwrap();
    right.create_or_replace_temp_view("r").unwrap();
    let joined = "SELECT l.key, l.n, r.n AS m FROM STREAM l JOIN STREAM r ON l.key = r.key AND l.time = r.time";
    stage.run(session.sql(joined).unwrap(), "append").unwrap();
    assert_eq!(stage.select(&[("joinSide", "left")], &["key.key", "value.n"]), ["a|1", "b|2"]);
    assert_eq!(stage.select(&[("joinSide", "right")], &["key.key", "value.n"]), ["a|1"]);
    assert_eq!(stage.table("state-metadata", &[]).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

#[test]
fn what_cannot_be_read_is_said() {
    let stage = Stage::new();
    stage.add(0, &[line("a", 1, 0)]);
    let session = Session::builder().create();
    stage.run(stage.read(&session).drop_duplicates(&["key"]).unwrap(), "append").unwrap();
    let condition = |options: &[(&str, &str)]| {
        stage.table("statestore", options).unwrap_err().condition().unwrap_or_default().to_owned()
    };
    assert_eq!(condition(&[("operatorId", "3")]), "STDS_INVALID_OPTION_VALUE");
    assert_eq!(condition(&[("operatorId", "-1")]), "STDS_INVALID_OPTION_VALUE.IS_NEGATIVE");
    assert_eq!(condition(&[("batchId", "7")]), "STDS_INVALID_OPTION_VALUE");
    assert_eq!(condition(&[("joinSide", "left")]), "STDS_INVALID_OPTION_VALUE");
    assert_eq!(condition(&[("joinSide", "left"), ("storeName", "right")]), "STDS_CONFLICT_OPTIONS");
    let missing = session.read().format("statestore").load_path(stage.path("none").to_str().unwrap());
    assert!(missing.unwrap_err().message().contains("there is no checkpoint"));
    assert!(session.read_stream().format("state-metadata").load_path(&stage.checkpoint()).is_err());
}

#[test]
fn the_state_of_a_running_query_is_read() {
    let stage = Stage::new();
    let session = Session::builder().create();
    let counts = stage.read(&session).group_by(["key"]).count().unwrap();
    let writer = counts.write_stream().output_mode("update").trigger(Trigger::continuous("20 milliseconds").unwrap());
    let query = writer.option("checkpointLocation", stage.checkpoint()).format("noop").start().unwrap();
    for number in 0..5 {
        stage.add(number, &[line("a", 1, 0), line(&format!("k{number}"), 1, 0)]);
        query.process_all_available().unwrap();
        query.process_all_available().unwrap();
        let a = format!("a|{}", number + 1);
        let rows = stage.select(&[], &["key.key", "value.count"]);
        assert!(rows.len() == number + 2 && rows.contains(&a), "{rows:?}");
    }
    query.stop().unwrap();
}

#[test]
fn p01_too_much_state_ends_the_query_and_it_goes_on_with_a_higher_limit() {
    let stage = Stage::new();
    let keys = |from: i64| (from..from + 5000).map(|n| line(&format!("a long key {n}"), n, 0)).collect::<Vec<_>>();
    stage.add(0, &keys(0)[..10]);
    stage.add(1, &keys(0));
    let run = |limit: &str| {
        let session = Session::builder().config("thalweg.state.maxBytes", limit).create();
        stage.run(stage.read(&session).group_by(["key"]).count().unwrap(), "update")
    };
    let error = run("100k").unwrap_err();
    assert_eq!(error.condition(), Some("STATE_SIZE_LIMIT_EXCEEDED"));
    assert!(error.message().contains("aggregate-") && error.message().contains("5000 rows"), "{error}");
    assert_eq!(stage.select(&[], &["count(*)"]), ["10"], "the epoch below the limit is committed");
    run("100m").unwrap();
    assert_eq!(stage.select(&[], &["count(*)"]), ["5000"]);
}

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The queries that are restarted: one of each kind of state.
fn queries(frame: &DataFrame) -> Vec<(&'static str, DataFrame, &'static str)> {
    let timed = frame.with_watermark("time", "20 seconds").unwrap();
    let window = || timed.group_by([expr("window(time, '30 seconds', '10 seconds')"), expr("key")]);
    let counts = frame.group_by(["key"]).agg([expr("count(*)").alias("c")]).unwrap();
    let session = timed.group_by([expr("session_window(time, '5 seconds')"), expr("key")]);
    vec![
        (
            "counts",
            frame.group_by(["key"]).agg([expr("count(*)"), expr("sort_array(collect_set(n))")]).unwrap(),
            "complete",
        ),
        ("windows", window().agg([expr("sum(n)"), expr("avg(n)")]).unwrap(), "append"),
        ("window updates", window().count().unwrap(), "update"),
        ("sessions", session.agg([expr("count(*)"), expr("max(n)")]).unwrap(), "append"),
        ("dedup", timed.drop_duplicates(&["key", "n", "time"]).unwrap(), "append"),
        ("changelog", counts.group_by(["c"]).count().unwrap(), "complete"),
    ]
}

/// Runs a query until all is read; `rows` gets what each epoch gave.
fn play(stage: &Stage, which: usize, workers: usize, changes: usize, rows: &Arc<Mutex<BTreeMap<u64, Vec<String>>>>) {
    let session = Session::builder()
        .config("thalweg.workers", workers)
        .config("spark.sql.streaming.stateStore.minDeltasForSnapshot", changes)
        .config("spark.sql.streaming.noDataMicroBatches.enabled", false)
        .create();
    let (name, frame, mode) = queries(&stage.read(&session)).swap_remove(which);
    let writer = frame.write_stream().output_mode(mode).trigger(Trigger::AvailableNow);
    let (rows, location) = (Arc::clone(rows), stage.path(name));
    let writer = writer.option("checkpointLocation", location.display()).foreach_batch(move |frame, epoch| {
        rows.lock().unwrap().insert(epoch, texts(&frame.collect()?));
        Ok(())
    });
    assert!(writer.start().unwrap().await_termination_timeout(LONG).unwrap(), "{name} is stuck");
}

/// The rows of each epoch.
type Epochs = BTreeMap<u64, Vec<String>>;
/// The same for several queries.
type Found = Vec<Arc<Mutex<Epochs>>>;

#[test]
fn restarts_anywhere_with_any_number_of_workers_change_nothing() {
    let mut random = Random(std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7));
    let seed = random.0;
    let (whole, cut) = (Stage::new(), Stage::new());
    let kinds = queries(&whole.read(&Session::builder().create())).len();
    let found = || (0..kinds).map(|_| Arc::default()).collect();
    let (of_cut, of_whole): (Found, Found) = (found(), found());
    for number in 0..14 {
        let at = number as u64 * 6;
        let lines: Vec<String> = (0..1 + random.below(12))
            .map(|_| line(&format!("k{}", random.below(4)), random.below(5) as i64, at + random.below(30)))
            .collect();
        whole.add(number, &lines);
        cut.add(number, &lines);
        if random.below(3) == 0 || number == 13 {
            for (which, of_cut) in of_cut.iter().enumerate() {
                play(&cut, which, 1 + random.below(3) as usize, 1 + random.below(4) as usize, of_cut);
            }
        }
    }
    for (which, (of_cut, of_whole)) in of_cut.iter().zip(&of_whole).enumerate() {
        play(&whole, which, 1, 10, of_whole);
        let (cut, whole) = (of_cut.lock().unwrap().clone(), of_whole.lock().unwrap().clone());
        assert_eq!(cut.len(), 14);
        assert_eq!(cut, whole, "query {which}, seed {seed}");
    }
}

#[test]
fn only_what_changes_is_written() {
    let stage = Stage::new();
    stage.add(0, &(0..20_000).map(|n| line(&format!("key {n}"), n, 0)).collect::<Vec<_>>());
    (1..6).for_each(|number| stage.add(number, &[line("key 7", 1, 0)]));
    let session = Session::builder().create();
    stage.run(stage.read(&session).group_by(["key"]).count().unwrap(), "update").unwrap();
    let mut sizes: Vec<u64> = Vec::new();
    for folder in fs::read_dir(stage.path("ck/state")).unwrap() {
        let files = fs::read_dir(folder.unwrap().path()).unwrap();
        sizes.push(files.map(|file| file.unwrap().metadata().unwrap().len()).sum());
    }
    sizes.sort_unstable();
    assert!(sizes.len() == 6 && sizes[4] * 50 < sizes[5], "{sizes:?}");
    let rows = stage.select(&[], &["count(*)", "sum(value.count)"]);
    assert_eq!(rows, ["20000|20005"]);
    let values = stage.table("statestore", &[("batchId", "5")]).unwrap();
    let counts = values.iter().map(|rows| rows.column(1).as_struct().column(0).as_primitive::<Int64Type>().clone());
    assert_eq!(counts.flat_map(|counts| counts.values().to_vec()).max(), Some(6));
}
