//! Checkpoints of earlier versions: what lies in `tests/checkpoints/VERSION` was written by that version, and this one must go on
//! from it, with any number of workers. A version that changes what it writes adds a folder (`0.1.0-xxhash64` is of a build that hashed keys to
//! key groups by that): `THALWEG_WRITE_CHECKPOINT=1 cargo test --test it upgrades`.
//!
//! The query counts in windows what comes twice in files that overlap. All windows are open where the recorded run ended, so state that
//! is lost or read wrongly shows in the counts. (That a newer version's checkpoint is refused is tested as `c06_...`.)

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use thalweg::prelude::*;

const LONG: Duration = Duration::from_secs(120);
/// Stands for the folder in which the query runs.
const FOLDER: &str = "@FOLDER@";
/// Of the folders of a checkpoint, those that must be kept.
const KEPT: [&str; 5] = ["offsets", "commits", "state", "sources", "operators"];

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints")
}

/// Adds a file of rows with these ids; the id is also the second of event time.
fn add(folder: &Path, file: u32, ids: impl Iterator<Item = u32>) {
    let line = |id: u32| {
        let time = format!("2024-01-01T{:02}:{:02}:{:02}Z", id / 3600, id / 60 % 60, id % 60);
        format!("{{\"id\":{id},\"time\":\"{time}\",\"name\":\"name {}\"}}\n", id % 3)
    };
    let hidden = folder.join(format!(".{file}"));
    fs::write(&hidden, ids.map(line).collect::<String>()).unwrap();
    fs::rename(hidden, folder.join("in").join(format!("{file}.json"))).unwrap();
}

/// The files that the recorded run read.
fn begin(folder: &Path) {
    fs::create_dir_all(folder.join("in")).unwrap();
    (0..3).for_each(|file| add(folder, file, 4 * file..4 * file + 6));
}

/// Runs the query until it has read all files; the rows of its windows.
fn run(folder: &Path, workers: usize) -> Result<Vec<String>> {
    let session = Session::builder().config("thalweg.workers", workers).create();
    let reader = session.read_stream().format("json").schema("id BIGINT, time TIMESTAMP, name STRING");
    let frame = reader.option("maxFilesPerTrigger", 1).load_path(&folder.join("in").display().to_string())?;
    let frame = frame.with_watermark("time", "10 seconds")?.drop_duplicates(&["id", "time"])?;
    let counts = ["count(*) AS n", "sum(id) AS s", "avg(id) AS a", "max(name) AS m"].map(expr);
    let frame = frame.group_by([expr("window(time, '10 seconds')").alias("w")]).agg(counts)?;
    let frame = frame.select_expr(["unix_seconds(w.start) % 86400 AS start", "n", "s", "a", "m"])?;
    let (seen, checkpoint) = (Arc::new(Mutex::new(Vec::new())), folder.join("ck").display().to_string());
    let into = Arc::clone(&seen);
    let writer = frame.write_stream().trigger(Trigger::AvailableNow).option("checkpointLocation", checkpoint);
    let query = writer.foreach_rows(move |rows, _, _| {
        into.lock().unwrap().extend(rows.iter().flat_map(texts));
        Ok(())
    });
    assert!(query.start()?.await_termination_timeout(LONG)?, "the query is stuck");
    let mut rows = std::mem::take(&mut *seen.lock().unwrap());
    rows.sort();
    Ok(rows)
}

fn texts(rows: &RecordBatch) -> Vec<String> {
    let cell = |column, row| arrow::util::display::array_value_to_string(column, row).unwrap();
    let line = |row| rows.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

/// All files below a folder, by their paths within it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let name = PathBuf::from(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path()).into_iter().map(|below| name.join(below))),
            false => found.push(name),
        }
    }
    found
}

/// Copies a checkpoint, with another text in place of one where files of sources are named.
fn copy(from: &Path, to: &Path, old: &str, new: &str) {
    for file in files(from) {
        let bytes = fs::read(from.join(&file)).unwrap();
        let of_source = file.starts_with("sources");
        if of_source && file.extension().is_some_and(|extension| extension == "crc") {
            continue;
        }
        fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        let bytes = match String::from_utf8(bytes) {
            Ok(text) if of_source => text.replace(old, new).into_bytes(),
            Ok(text) => text.into_bytes(),
            Err(error) => error.into_bytes(),
        };
        fs::write(to.join(&file), bytes).unwrap();
    }
}

/// Records what this version writes.
fn record() {
    let dir = tempfile::tempdir().unwrap();
    begin(dir.path());
    assert!(run(dir.path(), 2).unwrap().is_empty(), "a window was closed");
    let target = recorded().join(env!("CARGO_PKG_VERSION"));
    copy(&dir.path().join("ck"), &target, dir.path().to_str().unwrap(), FOLDER);
    for entry in fs::read_dir(&target).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() && !KEPT.contains(&name.as_str()) {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

#[test]
fn p09_a_checkpoint_of_each_version_is_gone_on_from() {
    if std::env::var("THALWEG_WRITE_CHECKPOINT").is_ok() {
        record();
    }
    let versions: Vec<PathBuf> = fs::read_dir(recorded()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!versions.is_empty());
    for (version, workers) in versions.iter().flat_map(|version| [1, 2, 3].map(|workers| (version, workers))) {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path());
        copy(version, &dir.path().join("ck"), FOLDER, dir.path().to_str().unwrap());
        add(dir.path(), 3, 12..18);
        add(dir.path(), 4, std::iter::once(3600));
        let rows = run(dir.path(), workers).unwrap_or_else(|error| panic!("{}: {error}", version.display()));
        assert_eq!(rows, ["0|10|45|4.5|name 2", "10|8|108|13.5|name 2"], "{}, {workers} workers", version.display());
    }
}
