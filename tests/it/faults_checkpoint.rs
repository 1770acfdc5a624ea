//! Faults of checkpoints (ids as in `docs/faults.md`) through the public door and the command: damaged, missing and foreign
//! files, two runs on one checkpoint, stopping in every state, attacks. Whole processes are the business of `processes`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

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
        self.query_at(&self.location(), keys, trigger)
    }

    fn query_at(&self, location: &str, keys: &str, trigger: Trigger) -> Result<StreamingQuery> {
        let session = Session::builder().create();
        let reader = session.read_stream().format("text").option("maxFilesPerTrigger", 1);
        let frame = reader.load_path(self.path("in").to_str().unwrap())?;
        let frame = frame.group_by([expr(keys).alias("key")]).agg([expr("count(*)").alias("n")])?;
        let writer = frame.write_stream().output_mode("update").trigger(trigger);
        writer.option("checkpointLocation", location).foreach_rows(|_, _, _| Ok(())).start()
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

    fn damage_state(&self, epoch: u64) {
        let mut folders = fs::read_dir(self.path("ck/state")).unwrap().map(|entry| entry.unwrap().path());
        let of_epoch = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{epoch}-"));
        for file in fs::read_dir(folders.find(of_epoch).unwrap()).unwrap() {
            fs::write(file.unwrap().path(), "junk").unwrap();
        }
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
    stage.damage_state(3);
    assert!(stage.run().is_err());
    let removal = checkpoint::repair(&stage.location()).unwrap();
    assert_eq!(removal.files, ["commits/3"]);
    removal.apply().unwrap();
    stage.run().unwrap();
}

/// The state after epoch 3 is that of epoch 0 and what epochs 1 to 3 changed: without epoch 1 only epoch 0 is left.
#[test]
fn c03_a_damaged_older_file_of_a_chain_is_named_and_the_query_can_go_back_before_it() {
    let stage = Stage::ran();
    stage.damage_state(1);
    let error = stage.run().unwrap_err().to_string();
    assert!(error.contains("/state/1-") && error.contains("checkpoint repair"), "{error}");
    assert!(checkpoint::verify(&stage.location()).unwrap().iter().any(|found| found.error));
    let removal = checkpoint::repair(&stage.location()).unwrap();
    assert!(removal.consequences[0].contains("from the end of epoch 0"), "{removal:?}");
    removal.apply().unwrap();
    stage.run().unwrap();
    let table = Session::builder().create().read().format("statestore").load_path(&stage.location()).unwrap();
    let counts = table.select_expr(["value"]).unwrap().collect().unwrap();
    assert_eq!(counts.iter().map(|rows| rows.num_rows()).sum::<usize>(), 6);
    assert!(checkpoint::verify(&stage.location()).unwrap().iter().all(|found| !found.error));
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
    fs::remove_file(stage.path("ck/offsets/2")).unwrap();
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
    // As long as it takes: the machine may be busy.
    assert!(query.await_termination_timeout(LONG).unwrap());
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

/// All files and folders below a folder.
fn everything(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let below = entries.iter().filter(|path| path.is_dir()).flat_map(|path| everything(path)).collect::<Vec<_>>();
    entries.into_iter().chain(below).collect()
}

#[test]
fn c10_a_folder_has_one_name_however_it_is_written() {
    let stage = Stage::new();
    stage.run().unwrap();
    std::os::unix::fs::symlink(stage.path("ck"), stage.path("link")).unwrap();
    fs::create_dir(stage.path("other")).unwrap();
    let plain = stage.location();
    let dotted = stage.path("other/../ck").display().to_string();
    let linked = stage.path("link").display().to_string();
    for location in [format!("file://{plain}"), format!("{plain}/"), dotted, linked] {
        let report = checkpoint::show(&location).unwrap();
        assert_eq!(report.epochs.len(), 4, "{location}");
        let first = stage.query_at(&plain, "value", Trigger::AsSoonAsPossible).unwrap();
        let second = stage.query_at(&location, "value", Trigger::AvailableNow).unwrap();
        assert!(!first.is_active() && first.id() == second.id(), "{location} is the same checkpoint");
        second.await_termination().unwrap();
    }
}

#[test]
fn c10_relative_and_impossible_names() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let here = std::env::current_dir().unwrap();
    let stage = Stage::new();
    if let Ok(relative) = dir.path().strip_prefix(here) {
        let query = stage.query_at(&relative.join("ck").display().to_string(), "value", Trigger::AvailableNow).unwrap();
        query.await_termination().unwrap();
        assert!(dir.path().join("ck/commits/3").exists());
    }
    for name in ["n".repeat(300), "long/".repeat(1000)] {
        let error = stage.query_at(&stage.path(&name).display().to_string(), "value", Trigger::AvailableNow);
        let error = error.expect_err("no such folder can be made").to_string();
        assert!(error.contains("too long"), "{error}");
    }
    fs::write(stage.path("file"), "").unwrap();
    let error = stage.query_at(&stage.path("file/ck").display().to_string(), "value", Trigger::AvailableNow);
    assert!(error.err().unwrap().to_string().contains("Not a directory"));
}

#[test]
fn x05_no_secret_is_in_a_checkpoint_an_explanation_or_a_report() {
    const SECRET: &str = "Planted-Secret-0123";
    let stage = Stage::new();
    let session = Session::builder().config("spark.hadoop.fs.s3a.secret.key", SECRET).config("my.password", SECRET);
    let session = session.config("spark.sql.streaming.numRecentProgressUpdates", 50).create();
    let frame = session.read_stream().format("text").load_path(stage.path("in").to_str().unwrap()).unwrap();
    let frame = frame.group_by([expr("value")]).agg([expr("count(*) AS n")]).unwrap();
    let writer = frame.write_stream().output_mode("update").trigger(Trigger::AvailableNow);
    let writer = writer.option("checkpointLocation", stage.location()).foreach_rows(|_, _, _| Ok(()));
    let query = writer.start().unwrap();
    query.await_termination().unwrap();
    let shown = format!("{} {:?}", query.explain(), query.recent_progress());
    assert!(!shown.contains(SECRET), "{shown}");
    let files = everything(&stage.path("ck")).into_iter().filter(|path| path.is_file());
    let holds = |path: &PathBuf| fs::read(path).unwrap().windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert_eq!(files.filter(holds).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn x13_all_of_a_checkpoint_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::ran();
    let mut all = everything(&stage.path("ck"));
    all.push(stage.path("ck"));
    assert!(all.len() > 20, "{all:?}");
    for path in all {
        let about = fs::metadata(&path).unwrap();
        let wanted = if about.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(about.permissions().mode() & 0o777, wanted, "{}", path.display());
    }
}

/// Whatever somebody writes into a checkpoint: the query starts, or it is refused with a reason. It never panics.
#[test]
fn x11_changed_files_of_a_checkpoint_do_no_harm() {
    let seed = std::env::var("THALWEG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
    for trial in seed..seed + 10 {
        let mut state = trial.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let stage = Stage::ran();
        let mut files = everything(&stage.path("ck"));
        files.retain(|path| path.is_file() && !path.to_string_lossy().ends_with(".crc"));
        files.sort();
        let path = &files[below(files.len())];
        // Whoever attacks writes the checksums, too.
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let _ = fs::remove_file(path.with_file_name(format!(".{name}.crc")));
        let mut bytes = fs::read(path).unwrap();
        match below(5) {
            0 => bytes.truncate(below(bytes.len() + 1)),
            1 => bytes.extend_from_slice(b"\n{\"more\": 1e999}"),
            2 => bytes = (0..below(200)).map(|_| below(256) as u8).collect(),
            3 => bytes = String::from_utf8_lossy(&bytes).replace(['0', '1', '3'], "99999999999999999999").into_bytes(),
            _ => (0..=below(3)).for_each(|_| {
                let at = below(bytes.len().max(1));
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << below(8));
            }),
        }
        fs::write(path, &bytes).unwrap();
        stage.add(9);
        if let Err(error) = stage.run() {
            let internal = error.fault() == thalweg::error::Fault::Internal;
            assert!(!internal, "trial {trial}, {}: {error}", path.display());
        }
        // The tools get along with it, too.
        let _ = (checkpoint::show(&stage.location()), checkpoint::verify(&stage.location()));
        let _ = checkpoint::repair(&stage.location()).and_then(|removal| removal.apply());
    }
}
