//! Faults of checkpoints (ids as in `docs/faults.md`) through the public door and the command: damaged, missing and foreign
//! files, two runs on one checkpoint, stopping in every state, and the process killed at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use serde_json::{Value, json};
use thalweg::checkpoint;
use thalweg::prelude::*;

const LONG: Duration = Duration::from_secs(120);

/// Folders of a query that counts lines.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let stage = Stage { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(stage.path("in")).unwrap();
        (0..4).for_each(|n| stage.add(n));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn location(&self) -> String {
        self.path("ck").display().to_string()
    }

    fn add(&self, n: u64) {
        let hidden = self.path("in").join(format!(".{n}"));
        fs::write(&hidden, format!("a\nb\nline {n}\n")).unwrap();
        fs::rename(hidden, self.path("in").join(format!("{n}.txt"))).unwrap();
    }

    fn query(&self, keys: &str, trigger: Trigger) -> Result<StreamingQuery> {
        let session = Session::builder().create();
        let reader = session.read_stream().format("text").option("maxFilesPerTrigger", 1);
        let frame = reader.load_path(self.path("in").to_str().unwrap())?;
        let frame = frame.group_by([expr(keys).alias("key")]).agg([expr("count(*)").alias("n")])?;
        let writer = frame.write_stream().output_mode("update").trigger(trigger);
        writer.option("checkpointLocation", self.location()).foreach_rows(|_, _, _| Ok(())).start()
    }

    fn run(&self) -> Result<()> {
        let query = self.query("value", Trigger::AvailableNow)?;
        assert!(query.await_termination_timeout(LONG)?, "the query is stuck");
        Ok(())
    }

    /// A checkpoint with the epochs 0 to 3.
    fn ran() -> Stage {
        let stage = Stage::new();
        stage.run().unwrap();
        stage
    }

    fn damage(&self, file: &str) {
        let path = self.path("ck").join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
}

fn condition(result: Result<()>) -> String {
    result.unwrap_err().condition().unwrap_or_default().to_owned()
}

#[test]
fn c03_a_changed_offsets_file_is_named_and_repaired() {
    for file in ["offsets/3", "commits/3"] {
        let stage = Stage::ran();
        stage.damage(file);
        let error = stage.run().unwrap_err();
        assert!(error.to_string().contains(file) && error.to_string().contains("checkpoint repair"), "{error}");
        assert!(checkpoint::verify(&stage.location()).unwrap().iter().any(|found| found.error));
        let removal = checkpoint::repair(&stage.location()).unwrap();
        assert!(removal.files.contains(&file.to_owned()) && !removal.consequences.is_empty(), "{removal:?}");
        removal.apply().unwrap();
        stage.run().unwrap();
        assert!(checkpoint::verify(&stage.location()).unwrap().iter().all(|found| !found.error));
    }
}

#[test]
fn c03_damaged_state_goes_back_one_epoch() {
    let stage = Stage::ran();
    let mut folders = fs::read_dir(stage.path("ck/state")).unwrap().map(|entry| entry.unwrap().path());
    let newest = folders.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("3-")).unwrap();
    for file in fs::read_dir(newest).unwrap() {
        fs::write(file.unwrap().path(), "junk").unwrap();
    }
    assert!(stage.run().is_err());
    let removal = checkpoint::repair(&stage.location()).unwrap();
    assert_eq!(removal.files, ["commits/3"]);
    removal.apply().unwrap();
    stage.run().unwrap();
}

#[test]
fn c04_offsets_without_metadata_are_refused() {
    let stage = Stage::ran();
    fs::remove_file(stage.path("ck/metadata")).unwrap();
    assert_eq!(condition(stage.run()), "STREAMING_CHECKPOINT_MISSING_METADATA_FILE");
}

#[test]
fn c05_gaps_and_commits_ahead_are_refused() {
    let stage = Stage::ran();
    fs::remove_file(stage.path("ck/offsets/1")).unwrap();
    assert_eq!(condition(stage.run()), "STREAMING_CHECKPOINT_EPOCHS_MISSING");
    let stage = Stage::ran();
    fs::copy(stage.path("ck/commits/3"), stage.path("ck/commits/4")).unwrap();
    assert_eq!(condition(stage.run()), "STREAMING_CHECKPOINT_EPOCHS_MISSING");
    let removal = checkpoint::repair(&stage.location()).unwrap();
    assert_eq!(removal.files, ["commits/4"]);
    removal.apply().unwrap();
    stage.run().unwrap();
}

#[test]
fn c06_a_newer_version_is_refused() {
    let stage = Stage::ran();
    fs::write(stage.path("ck/commits/3"), "v2\n{}").unwrap();
    fs::remove_file(stage.path("ck/commits/.3.crc")).unwrap();
    let error = stage.run().unwrap_err();
    assert!(error.message().contains("'v2'"), "{error}");
}

#[test]
fn c07_a_query_with_other_keys_is_refused_and_a_moved_one_goes_on() {
    let stage = Stage::ran();
    let changed = |keys| stage.query(keys, Trigger::AvailableNow).map(|query| query.await_termination().unwrap());
    assert_eq!(condition(changed("length(value)")), "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE");
    changed("upper(value)").unwrap();
    stage.run().unwrap();
}

#[test]
fn c08_a_new_run_stops_the_old_one_or_is_refused() {
    let stage = Stage::new();
    let first = stage.query("value", Trigger::AsSoonAsPossible).unwrap();
    first.process_all_available().unwrap();
    let second = stage.query("value", Trigger::AsSoonAsPossible).unwrap();
    assert!(!first.is_active() && first.exception().is_none());
    assert_eq!(first.id(), second.id());
    second.stop().unwrap();
}

#[test]
fn c08_another_process_is_refused() {
    let stage = Stage::new();
    let query = stage.query("value", Trigger::AsSoonAsPossible).unwrap();
    query.process_all_available().unwrap();
    let location = stage.location();
    let ran = thalweg(&["checkpoint", "rewind", &location, "--epoch", "2", "--yes"]);
    let errors = text(&ran.stderr);
    assert!(!ran.status.success() && errors.contains("CONCURRENT_STREAM_LOG_UPDATE"), "{errors}");
    assert!(errors.contains(&format!("process {}", std::process::id())), "{errors}");
    query.stop().unwrap();
    assert!(thalweg(&["checkpoint", "rewind", &location, "--epoch", "2", "--yes"]).status.success());
    stage.run().unwrap();
}

#[test]
fn c08_a_run_that_was_replaced_cannot_commit() {
    let stage = Stage::new();
    let query = stage.query("value", Trigger::AsSoonAsPossible).unwrap();
    query.process_all_available().unwrap();
    let lease: Value = serde_json::from_slice(&fs::read(stage.path("ck/leases/0")).unwrap()).unwrap();
    let mut heir = lease.clone();
    heir["runId"] = json!("heir");
    fs::write(stage.path("ck/leases/1"), heir.to_string()).unwrap();
    let commits = || fs::read_dir(stage.path("ck/commits")).unwrap().count();
    let before = commits();
    stage.add(9);
    let error = query.process_all_available().unwrap_err();
    assert_eq!(error.condition(), Some("CONCURRENT_STREAM_LOG_UPDATE"));
    assert!(error.message().contains("heir"), "{error}");
    assert_eq!(commits(), before);
}

#[test]
fn c09_a_checkpoint_that_is_removed_ends_its_query() {
    let stage = Stage::new();
    let query = stage.query("value", Trigger::AsSoonAsPossible).unwrap();
    query.process_all_available().unwrap();
    fs::remove_dir_all(stage.path("ck")).unwrap();
    stage.add(9);
    assert!(query.process_all_available().is_err());
    assert!(!query.is_active());
}

#[test]
fn c13_the_newest_two_epochs_are_enough() {
    let stage = Stage::ran();
    for epoch in 0..2 {
        fs::remove_file(stage.path("ck/offsets").join(epoch.to_string())).unwrap();
        fs::remove_file(stage.path("ck/commits").join(epoch.to_string())).unwrap();
    }
    stage.add(9);
    stage.run().unwrap();
}

#[test]
fn p05_stop_twice_drop_and_stop_at_the_start() {
    for trigger in [Trigger::AsSoonAsPossible, Trigger::continuous("50 milliseconds").unwrap()] {
        let stage = Stage::new();
        let query = stage.query("value", trigger).unwrap();
        query.stop().unwrap();
        query.stop().unwrap();
        drop(query);
        let kept = stage.query("value", trigger).unwrap();
        drop(kept.clone());
        kept.process_all_available().unwrap();
        assert!(kept.is_active(), "dropping a handle stops nothing");
        let (other, again) = (kept.clone(), kept.clone());
        let stopping = std::thread::spawn(move || other.stop());
        again.stop().unwrap();
        stopping.join().unwrap().unwrap();
        assert!(!kept.is_active() && kept.exception().is_none());
    }
}

#[test]
fn p05_a_sink_that_hangs_does_not_hold_up_the_stop() {
    let stage = Stage::new();
    let session = Session::builder().config("spark.sql.streaming.stopTimeout", 300).create();
    let frame = session.read_stream().format("text").load_path(stage.path("in").to_str().unwrap()).unwrap();
    let (arrived, arrives) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (arrived, released) = (std::sync::Mutex::new(arrived), std::sync::Mutex::new(released));
    let writer = frame.write_stream().option("checkpointLocation", stage.location());
    let query = writer.foreach_rows(move |_, _, _| {
        arrived.lock().unwrap().send(()).unwrap();
        // Ends when the test lets go of its end.
        let _ = released.lock().unwrap().recv();
        Ok(())
    });
    let query = query.start().unwrap();
    arrives.recv_timeout(LONG).unwrap();
    let error = query.stop().unwrap_err();
    assert!(error.message().contains("stopTimeout"), "{error}");
    drop(release);
    query.stop().unwrap();
}

#[test]
fn a_checkpoint_in_an_object_store_restarts() {
    let stage = Stage::new();
    let session = Session::builder().create();
    let rows = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for (run, expected) in [(0, 12), (1, 15)] {
        let frame = session.read_stream().format("text").load_path(stage.path("in").to_str().unwrap()).unwrap();
        let count = rows.clone();
        let writer = frame.write_stream().trigger(Trigger::AvailableNow);
        let writer = writer.option("checkpointLocation", format!("memory:{}", stage.location()));
        let query = writer.foreach_rows(move |batches, _, _| {
            let more = batches.iter().map(|batch| batch.num_rows()).sum();
            count.fetch_add(more, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        });
        query.start().unwrap().await_termination().unwrap();
        assert_eq!(rows.load(std::sync::atomic::Ordering::SeqCst), expected, "run {run}");
        stage.add(7);
    }
}

/// Runs the command.
fn thalweg(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg")).stdin(Stdio::null()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_shows_verifies_and_goes_back() {
    let stage = Stage::ran();
    let location = stage.location();
    let shown = text(&thalweg(&["checkpoint", "show", &location]).stdout);
    assert!(shown.contains("aggregate-") && shown.contains("{\"logOffset\":3}"), "{shown}");
    let report: Value = serde_json::from_slice(&thalweg(&["checkpoint", "show", &location, "--json"]).stdout).unwrap();
    assert_eq!(report["epochs"].as_array().unwrap().len(), 4);
    assert_eq!(report["inUse"], false);
    assert!(thalweg(&["checkpoint", "verify", &location]).status.success());
    let planned = text(&thalweg(&["checkpoint", "rewind", &location, "--epoch", "2"]).stdout);
    assert!(planned.contains("would remove commits/3") && planned.contains("--yes"), "{planned}");
    assert!(stage.path("ck/commits/3").exists());
    stage.damage("commits/3");
    let verified = thalweg(&["checkpoint", "verify", &location]);
    assert!(!verified.status.success() && text(&verified.stdout).contains("commits/3"));
    let missing = thalweg(&["checkpoint", "show", "/does/not/exist"]);
    assert!(text(&missing.stderr).contains("there is no checkpoint"));
}

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The job that is killed: windows over files, into files, exactly once.
fn job(folder: &Path) -> PathBuf {
    let at = |name: &str| folder.join(name).display().to_string();
    let sql = format!(
        "CREATE TABLE events (key STRING, time TIMESTAMP) USING json OPTIONS (path '{}');\n\
         CREATE TABLE counts USING json OPTIONS (path '{}', checkpointLocation '{}', trigger 'continuous 20 milliseconds');\n\
         INSERT INTO counts SELECT window.start AS start, key, count(*) AS n FROM STREAM events \
         WATERMARK time DELAY OF INTERVAL 1 SECONDS GROUP BY window(time, '10 seconds'), key;\n",
        at("in"),
        at("out"),
        at("ck")
    );
    let file = folder.join("job.sql");
    fs::write(&file, sql).unwrap();
    file
}

/// Ends the process, whatever happens to the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes file `n`: seconds `5n` to `5n+4` of event time, four keys.
fn events(folder: &Path, n: u64) {
    let line = |second: u64| {
        let time = format!("2024-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
        format!("{{\"key\":\"k{}\",\"time\":\"{time}\"}}\n", second % 4)
    };
    let hidden = folder.join(".arriving");
    fs::write(&hidden, (n * 5..n * 5 + 5).map(line).collect::<String>()).unwrap();
    fs::rename(hidden, folder.join("in").join(format!("{n:06}.json"))).unwrap();
}

fn counted(folder: &Path) -> BTreeMap<(String, String), Vec<i64>> {
    let mut counts: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    if !folder.join("out/_spark_metadata").exists() {
        return counts;
    }
    let reader = Session::builder().create().read().format("json").schema("start STRING, key STRING, n BIGINT");
    let rows = reader.load_path(folder.join("out").to_str().unwrap()).unwrap();
    for rows in rows.collect().unwrap() {
        let (start, key) = (rows.column(0).as_string::<i32>(), rows.column(1).as_string::<i32>());
        let n = rows.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..n.len() {
            counts.entry((start.value(row).into(), key.value(row).into())).or_default().push(n.value(row));
        }
    }
    counts
}

/// `THALWEG_KILLS` times (20), at moments drawn from `THALWEG_SEED`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a real process is killed at a real time")]
fn killed_at_any_moment_nothing_is_lost_and_nothing_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in")).unwrap();
    let file = job(dir.path());
    let (kills, seed) = (number("THALWEG_KILLS", 20), number("THALWEG_SEED", 7));
    let mut random = Random(seed);
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        let command = command.arg("run").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Killed(command.spawn().unwrap())
    };
    let mut files = 0;
    for _ in 0..kills {
        let running = start();
        let end = Instant::now() + Duration::from_millis(200 + random.below(600));
        while Instant::now() < end {
            events(dir.path(), files);
            files += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(running);
    }
    events(dir.path(), files + 100);
    let mut expected: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    (0..files * 5).for_each(|second| *expected.entry((second / 10, second % 4)).or_default() += 1);
    let running = start();
    let deadline = Instant::now() + LONG;
    let mut found = counted(dir.path());
    while found.len() < expected.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        found = counted(dir.path());
    }
    drop(running);
    let twice: Vec<_> = found.iter().filter(|(_, counts)| counts.len() != 1).collect();
    assert!(twice.is_empty(), "seed {seed}: came twice: {twice:?}");
    let found: Vec<i64> = found.values().map(|counts| counts[0]).collect();
    assert_eq!(found, expected.values().copied().collect::<Vec<_>>(), "seed {seed}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real process gets a real signal")]
fn p04_signals_stop_the_job_after_its_epoch_and_the_second_ends_it() {
    for (signal, code) in [("-TERM", 0), ("-INT", 0)] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("in")).unwrap();
        events(dir.path(), 0);
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        let command = command.arg("run").arg(job(dir.path())).stdin(Stdio::null()).stdout(Stdio::null());
        let mut running = Killed(command.stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + LONG;
        while !dir.path().join("ck/commits/1").exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(Command::new("kill").arg(signal).arg(running.0.id().to_string()).status().unwrap().success());
        let ended = loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the job did not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(ended.code(), Some(code));
        let found = checkpoint::verify(&dir.path().join("ck").display().to_string()).unwrap();
        assert!(found.iter().all(|found| !found.error), "{found:?}");
    }
}
