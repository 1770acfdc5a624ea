//! The command as a whole process: killed at any moment, stopped by signals, given statements of any size.
//!
//! The job that is killed counts in windows of event time under the continuous driver, from files to files. What its output folder
//! holds in the end is compared by content with what was written to its input: nothing lost, nothing twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use thalweg::checkpoint;
use thalweg::prelude::*;

const LONG: Duration = Duration::from_secs(120);

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

/// The job: windows over files, into files, exactly once. Files arrive in the order of their rows, so the watermark need not wait: a file
/// that were read after its successor would be lost.
fn job(folder: &Path, workers: u64) -> PathBuf {
    let at = |name: &str| folder.join(name).display().to_string();
    let sql = format!(
        "SET thalweg.workers = {workers};\n\
         CREATE TABLE events (key STRING, time TIMESTAMP) USING json OPTIONS (path '{}');\n\
         CREATE TABLE counts USING json OPTIONS (path '{}', checkpointLocation '{}', trigger 'continuous 20 milliseconds');\n\
         INSERT INTO counts SELECT window.start AS start, key, count(*) AS n FROM STREAM events \
         WATERMARK time DELAY OF INTERVAL 0 SECONDS GROUP BY window(time, '10 seconds'), key;\n",
        at("in"),
        at("out"),
        at("ck")
    );
    let file = folder.join("job.sql");
    fs::write(&file, sql).unwrap();
    file
}

/// A running process that ends whatever happens to the test.
struct Killed(Child);

impl Killed {
    fn run(file: &Path) -> Killed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        let command = command.arg("run").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Killed(command.spawn().unwrap())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes file `n`: seconds `5n` to `5n+4` of event time, four keys.
fn events(folder: &Path, n: u64) {
    let line = |second: u64| {
        let (day, second_of_day) = (1 + second / 86_400, second % 86_400);
        let (hour, minute, rest) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        format!("{{\"key\":\"k{}\",\"time\":\"2024-01-{day:02}T{hour:02}:{minute:02}:{rest:02}Z\"}}\n", second % 4)
    };
    let hidden = folder.join(".arriving");
    fs::write(&hidden, (n * 5..n * 5 + 5).map(line).collect::<String>()).unwrap();
    fs::rename(hidden, folder.join("in").join(format!("{n:06}.json"))).unwrap();
}

/// What the output folder holds: the counts by window and key.
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

/// The newest epoch that is committed.
fn newest_commit(folder: &Path) -> Option<u64> {
    let entries = fs::read_dir(folder.join("ck/commits")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max()
}

/// `THALWEG_KILLS` times (20), at moments drawn from `THALWEG_SEED`, on one and two workers in turn.
#[test]
#[expect(clippy::disallowed_methods, reason = "a real process is killed at a real time")]
fn killed_at_any_moment_nothing_is_lost_and_nothing_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in")).unwrap();
    let (kills, seed) = (number("THALWEG_KILLS", 20), number("THALWEG_SEED", 7));
    let mut random = Random(seed);
    let (mut files, mut at_work, mut committed) = (0, 0, None);
    for kill in 0..kills {
        let running = Killed::run(&job(dir.path(), 1 + kill % 2));
        let begun = Instant::now();
        // Half of the moments count from the start, half from the first commit of this run.
        let mut end = (random.below(2) == 0).then(|| begun + Duration::from_millis(random.below(500)));
        let after_commit = Duration::from_millis(random.below(300));
        while end.is_none_or(|end| Instant::now() < end) && begun.elapsed() < LONG {
            events(dir.path(), files);
            files += 1;
            std::thread::sleep(Duration::from_millis(10));
            if end.is_none() && newest_commit(dir.path()) > committed {
                end = Some(Instant::now() + after_commit);
            }
        }
        drop(running);
        let newest = newest_commit(dir.path());
        at_work += u64::from(newest > committed);
        committed = newest;
    }
    println!("seed {seed}: {kills} kills, {at_work} of them after new commits, {files} files, epochs to {committed:?}");
    assert!(at_work * 3 >= kills, "most runs were killed before they did anything");
    check_all_counted(dir.path(), files, seed);
}

/// Lets the job finish; each window and key has its count, once.
#[expect(clippy::disallowed_methods, reason = "waits for another process")]
fn check_all_counted(folder: &Path, files: u64, seed: u64) {
    // Closes all windows before it.
    events(folder, files + 100);
    let mut expected: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    (0..files * 5).for_each(|second| *expected.entry((second / 10, second % 4)).or_default() += 1);
    let running = Killed::run(&job(folder, 1));
    let deadline = Instant::now() + LONG;
    let mut found = counted(folder);
    while found.len() < expected.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        found = counted(folder);
    }
    drop(running);
    let (windows, expected_windows) = (found.len(), expected.len());
    let twice: Vec<_> = found.iter().filter(|(_, counts)| counts.len() != 1).collect();
    assert!(twice.is_empty(), "seed {seed}: came twice: {twice:?}");
    let found = found.into_iter().map(|(window, counts)| (window, counts[0]));
    let wrong: Vec<_> = found.zip(expected).filter(|((_, found), (_, expected))| found != expected).collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    assert_eq!(windows, expected_windows, "seed {seed}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real process gets a real signal")]
fn p04_signals_stop_the_job_after_its_epoch_and_the_second_ends_it() {
    for (signal, code) in [("-TERM", 0), ("-INT", 0)] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("in")).unwrap();
        events(dir.path(), 0);
        let mut running = Killed::run(&job(dir.path(), 1));
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

/// Runs a script of SQL to its end; exit code and standard error. A signal (a crash) has no exit code.
fn run_script(folder: &Path, sql: &str) -> (Option<i32>, String) {
    let file = folder.join("script.sql");
    fs::write(&file, sql).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    let ran = command.arg("run").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
    (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
}

/// Statements that are too much for a recursive parser or planner must be done or refused, never end the process.
#[test]
fn p03_long_and_nested_statements_are_done_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let many = |count: usize, separator: &str, part: &dyn Fn(usize) -> String| {
        (0..count).map(part).collect::<Vec<_>>().join(separator)
    };
    let long = format!("SELECT '{}' AS text", "x".repeat(1 << 20));
    let in_list = format!("SELECT * FROM range(10) WHERE id IN ({})", many(5_000, ", ", &|n| n.to_string()));
    let unions = many(500, " UNION ALL ", &|n| format!("SELECT {n} AS n"));
    let brackets = format!("SELECT {}1{} AS n", "(".repeat(10_000), ")".repeat(10_000));
    let nots = format!("SELECT {}true AS yes", "NOT ".repeat(10_000));
    let calls = format!("SELECT {}1{} AS n", "abs(".repeat(3_000), ")".repeat(3_000));
    let nested = format!("SELECT * FROM {}SELECT 1 AS n{}", "(".repeat(300), ")".repeat(300));
    let chain = |count: usize, separator: &str| many(count, separator, &|n| format!("id = {n}"));
    let ors = format!("SELECT * FROM range(10) WHERE {}", chain(5_000, " OR "));
    let ands = format!("SELECT {} AS yes FROM range(10)", chain(5_000, " AND "));
    let guarded = many(30, " OR ", &|n| format!("id / (id - {n}) > 5"));
    let guarded = format!("SELECT id IS NULL OR id >= 0 OR {guarded} AS yes FROM range(10)");
    let sum = format!("SELECT {} AS n", many(250, " + ", &|n| n.to_string()));
    let long_sum = format!("SELECT {} AS n", many(5_000, " + ", &|n| n.to_string()));
    let texts = format!("SELECT {} AS n", many(5_000, " || ", &|n| format!("'{n}'")));
    let cases = [
        ("ors", ors),
        ("ands", ands),
        ("guarded", guarded),
        ("sum", sum),
        ("long sum", long_sum),
        ("texts", texts),
        ("long", long),
        ("in", in_list),
        ("unions", unions),
        ("brackets", brackets),
        ("nots", nots),
        ("calls", calls),
        ("nested", nested),
    ];
    let failed = cases.iter().filter_map(|(name, sql)| {
        let (code, errors) = run_script(dir.path(), &format!("{sql};\n"));
        let fine = code == Some(0) || (code.is_some_and(|code| code != 101) && errors.to_lowercase().contains("error"));
        (!fine).then(|| format!("{name}: {code:?} {}", errors.chars().take(300).collect::<String>()))
    });
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// With any number of descriptors a job runs or ends with an error that says so.
#[test]
fn p06_without_descriptors_a_job_ends_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in")).unwrap();
    events(dir.path(), 0);
    let file = job(dir.path(), 2);
    let sql = fs::read_to_string(&file).unwrap().replace("continuous 20 milliseconds", "availableNow");
    fs::write(&file, sql).unwrap();
    let limited = |descriptors: u32| {
        // Whatever the test itself was started with does not count.
        let script =
            format!("exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n {descriptors} && exec \"$0\" run \"$1\"");
        let mut command = Command::new("bash");
        let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_thalweg")]).arg(&file).stdin(Stdio::null());
        let ran = command.output().unwrap();
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    for descriptors in (4..24).chain([40]) {
        let (code, errors) = limited(descriptors);
        let told = errors.contains("Too many open files") || errors.contains("too many open files");
        assert!(code == Some(0) || (code.is_some() && told), "{descriptors}: {code:?} {errors}");
        assert!(!errors.contains("panicked"), "{descriptors}: {errors}");
    }
    assert_eq!(limited(200).0, Some(0));
}
