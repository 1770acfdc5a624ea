//! The commit protocol under kill -9: for each step a query that reads files, keeps state and writes files is stopped there as if
//! its process had been killed, and started again. What the output folder then holds must be the batch answer: each value once.
//!
//! Names of points: the store's folder and the file within it, then the step (see [`crate::kill`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arrow::array::{Array, AsArray};

use crate::kill;
use crate::prelude::*;
use crate::query::DataStreamWriter;

const FILES: u64 = 5;
const LONG: Duration = Duration::from_secs(60);

/// A query's folders.
struct Stage {
    dir: tempfile::TempDir,
    continuous: bool,
}

impl Stage {
    fn new(continuous: bool) -> Stage {
        let stage = Stage { dir: tempfile::tempdir().unwrap(), continuous };
        fs::create_dir_all(stage.path("in")).unwrap();
        (0..FILES).for_each(|file| stage.add(file));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Files share values, so that the state matters.
    fn add(&self, file: u64) {
        let path = self.path("in").join(format!("{file}.txt"));
        let lines: String = (file * 10..file * 10 + 20).map(|value| format!("{value}\n")).collect();
        fs::write(&path, lines).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + file);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    fn writer(&self) -> Result<DataStreamWriter> {
        let session = Session::builder()
            .config("spark.sql.streaming.minBatchesToRetain", 2)
            .config("spark.sql.streaming.stateStore.minDeltasForSnapshot", 2)
            .create();
        let reader = session.read_stream().format("text").option("maxFilesPerTrigger", 1);
        let frame = reader.load_path(self.path("in").to_str().unwrap())?.drop_duplicates(&["value"])?;
        // Continuous epochs end when the test asks: the first one has all rows, so that it has state to write.
        let trigger = if self.continuous { Trigger::continuous("1 hour")? } else { Trigger::AvailableNow };
        Ok(frame.write_stream().trigger(trigger).option("checkpointLocation", self.path("ck").display()))
    }

    /// Runs until all is read; an error is how the run died.
    fn run(&self) -> Result<()> {
        self.drive(self.writer()?.format("text").option("path", self.path("out").display()))
    }

    fn drive(&self, writer: DataStreamWriter) -> Result<()> {
        let query = writer.start()?;
        if self.continuous {
            query.process_all_available()?;
            // What has been read is in the epoch that ends now; the next one commits what it says.
            query.process_all_available()?;
            query.stop()?;
            return query.exception().map_or(Ok(()), Err);
        }
        assert!(query.await_termination_timeout(LONG)?, "the query is stuck");
        Ok(())
    }

    /// The first run dies at the point; false if it never came there.
    fn killed(&self, at: &str) -> bool {
        kill::arm(self.dir.path(), at, 0);
        let died = self.run();
        let reached = kill::revive(self.dir.path());
        assert_eq!(died.is_err(), reached, "at '{at}': {died:?}");
        reached
    }

    /// How often each value is in the output.
    fn output(&self) -> BTreeMap<String, usize> {
        let session = Session::builder().create();
        let frame = session.read().format("text").load_path(self.path("out").to_str().unwrap()).unwrap();
        let mut counts = BTreeMap::new();
        for rows in frame.collect().unwrap() {
            let values = rows.column(0).as_string::<i32>();
            (0..values.len()).for_each(|row| *counts.entry(values.value(row).to_owned()).or_default() += 1);
        }
        counts
    }

    fn check(&self, what: &str) {
        let expected = (0..FILES * 10 + 10).map(|value| (value.to_string(), 1)).collect();
        assert_eq!(self.output(), expected, "{what}, continuous: {}", self.continuous);
    }
}

/// Kills both drivers at the points and starts them again.
fn survives(micro_batch: &str, continuous: &str) {
    for (at, is_continuous) in [(micro_batch, false), (continuous, true)] {
        let stage = Stage::new(is_continuous);
        assert!(stage.killed(at), "'{at}' was not reached, continuous: {is_continuous}");
        stage.run().unwrap();
        stage.check(at);
    }
}

#[test]
fn k01_before_the_offsets_are_written() {
    survives("ck/offsets/2 begin", "ck/offsets/0 begin");
}

#[test]
fn k02_offsets_half_written() {
    survives("ck/offsets/2 torn", "ck/offsets/0 torn");
    let stage = Stage::new(false);
    assert!(stage.killed("ck/offsets/2 torn"));
    assert_eq!(fs::read_dir(stage.path("ck/.temporary")).unwrap().count(), 1, "the torn file is there");
    stage.run().unwrap();
    let left = fs::read_dir(stage.path("ck/.temporary")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the next run has removed it");
}

#[test]
fn k03_offsets_written_but_not_named() {
    survives("ck/offsets/2 written", "ck/offsets/0 written");
}

#[test]
fn k04_offsets_named_but_their_folder_not_synced() {
    survives("ck/offsets/2 renamed", "ck/offsets/0 renamed");
}

#[test]
fn k05_offsets_durable_and_nothing_processed() {
    survives("ck/offsets/2 durable", "ck/offsets/0 durable");
    survives("ck/offsets/.2.crc begin", "ck/offsets/.0.crc begin");
}

#[test]
fn k06_rows_are_at_a_sink_that_takes_them_at_least_once() {
    for (at, is_continuous) in [("ck/commits/2 begin", false), ("ck/commits/0 begin", true)] {
        let stage = Stage::new(is_continuous);
        let seen: Arc<Mutex<Vec<(u64, usize)>>> = Arc::default();
        let writer = || {
            let seen = Arc::clone(&seen);
            stage.writer().unwrap().foreach_rows(move |rows, _, epoch| {
                let count = rows.iter().map(|rows| rows.num_rows()).sum();
                seen.lock().unwrap().push((epoch, count));
                Ok(())
            })
        };
        kill::arm(stage.dir.path(), at, 0);
        assert!(stage.drive(writer()).is_err());
        assert!(kill::revive(stage.dir.path()));
        stage.drive(writer()).unwrap();
        let mut seen = seen.lock().unwrap().clone();
        let total: usize = seen.iter().map(|(_, rows)| rows).sum();
        seen.sort_unstable();
        let all = seen.len();
        seen.dedup();
        assert_eq!(all - seen.len(), 1, "one epoch came twice, with the same rows: {seen:?}");
        let distinct: usize = seen.iter().map(|(_, rows)| rows).sum();
        assert_eq!(distinct, (FILES * 10 + 10) as usize, "of {total}");
    }
}

#[test]
fn k07_state_half_written() {
    survives("ck/state/2-* torn", "ck/state/0-* torn");
}

#[test]
fn k08_state_complete_but_not_referenced() {
    survives("ck/state/2-* durable", "ck/state/0-* durable");
}

#[test]
fn k09_sink_prepared() {
    survives("ck/state/2-* begin", "ck/state/0-* begin");
}

#[test]
fn k10_all_prepared_and_the_commit_not_written() {
    survives("ck/commits/2 begin", "ck/commits/0 begin");
}

#[test]
fn k11_commit_written_but_not_named() {
    survives("ck/commits/2 torn", "ck/commits/0 torn");
    survives("ck/commits/2 written", "ck/commits/0 written");
}

#[test]
fn k12_committed_and_the_sink_not() {
    survives("ck/commits/2 durable", "ck/commits/0 durable");
    let stage = Stage::new(false);
    assert!(stage.killed("ck/commits/2 durable"));
    let before = staged(&stage.path("out"));
    stage.run().unwrap();
    stage.check("finished from the notes");
    assert_eq!(staged(&stage.path("out")), before + 2, "epoch 2 was finished, not run again");
}

/// Part files, listed or not.
fn staged(out: &Path) -> usize {
    let names = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("part-")).count()
}

#[test]
fn k13_the_sinks_commit_half_done() {
    survives("_spark_metadata/2 torn", "_spark_metadata/* torn");
    survives("_spark_metadata/2 written", "_spark_metadata/* written");
}

#[test]
fn k14_the_sink_committed_and_nobody_heard() {
    survives("_spark_metadata/2 durable", "_spark_metadata/* durable");
}

#[test]
fn k15_during_the_removal_of_old_epochs() {
    for at in ["ck/commits/1 delete", "ck/offsets/1 delete", "ck/offsets/.1.crc delete", "ck/state/1-* delete"] {
        let stage = Stage::new(false);
        assert!(stage.killed(at), "'{at}' was not reached");
        stage.run().unwrap();
        stage.check(at);
    }
}

#[test]
fn k17_killed_twice_during_recovery() {
    let stage = Stage::new(false);
    assert!(stage.killed("ck/commits/2 durable"));
    assert!(stage.killed("_spark_metadata/2 begin"));
    assert!(stage.killed("_spark_metadata/2 durable"));
    stage.run().unwrap();
    stage.check("the sink's commit was finished at the third try");
    let stage = Stage::new(false);
    assert!(stage.killed("ck/commits/2 begin"));
    assert!(stage.killed("ck/state/2-* torn"));
    assert!(stage.killed("ck/commits/2 written"));
    stage.run().unwrap();
    stage.check("the epoch ran at the fourth try");
}

#[test]
fn k18_a_commit_deleted_by_hand_runs_its_epoch_again() {
    let stage = Stage::new(false);
    stage.run().unwrap();
    let files = staged(&stage.path("out"));
    fs::remove_file(stage.path("ck/commits").join((FILES - 1).to_string())).unwrap();
    stage.run().unwrap();
    stage.check("the sink knew the epoch");
    assert_eq!(staged(&stage.path("out")), files, "files of the second run are removed");
}

#[test]
fn c14_what_is_kept_is_bounded() {
    let stage = Stage::new(false);
    stage.run().unwrap();
    let numbers = |folder: &str| {
        let entries = fs::read_dir(stage.path("ck").join(folder)).unwrap();
        entries.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
    };
    assert_eq!([numbers("offsets"), numbers("commits"), numbers("state")], [3, 3, 3]);
}
