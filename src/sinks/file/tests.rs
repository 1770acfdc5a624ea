//! Files are read back by the file source, which honours the list.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use super::super::conformance::{context, prepare, rows, run};
use super::*;
use crate::conf::Conf;
use crate::sources::{self, Limit, Read, SourceContext, SourceSpec};

/// All rows that a batch query sees in a folder.
fn read(format: &str, path: &Path, schema: Option<SchemaRef>) -> Vec<RecordBatch> {
    let mut spec = SourceSpec { format: format.into(), schema, ..SourceSpec::default() };
    spec.options.set("path", path.to_str().unwrap());
    let provider = sources::lookup(format).unwrap();
    let schema = provider.schema(&spec, &Conf::default()).unwrap();
    let context = SourceContext {
        projection: (0..schema.fields().len()).collect(),
        filters: Vec::new(),
        conf: Conf::default(),
        log: None,
        clock: crate::clock::ManualClock::at(0),
        wake: Arc::new(|| ()),
    };
    let mut source = provider.connect(&spec, schema, context).unwrap();
    let Some(end) = source.latest(None, Limit::Everything).unwrap() else { return Vec::new() };
    let mut decoder = source.decoder().unwrap();
    let mut found = Vec::new();
    for mut reader in source.read(None, Some(&end)).unwrap() {
        loop {
            match reader.next(Duration::ZERO).unwrap() {
                Read::Rows(rows) => found.push(rows),
                Read::Part(part) => found.push(part.rows),
                Read::Frames(frames) => found.push(decoder.as_mut().unwrap().decode(&frames).unwrap()),
                Read::Idle => {}
                Read::End => break,
            }
        }
    }
    found
}

/// The values of `n` in a folder written by the conformance test, in order.
pub(in crate::sinks) fn numbers(format: &str, path: &Path) -> Vec<i64> {
    let schema = (format != "text").then(|| rows(0..0).schema());
    let mut found = Vec::new();
    for batch in read(format, path, schema) {
        let (index, _) = batch.schema().column_with_name("n").map(|(index, field)| (index, field.clone())).unwrap();
        let column = arrow::compute::cast(batch.column(index), &arrow::datatypes::DataType::Int64).unwrap();
        found.extend(column.as_primitive::<Int64Type>().values().iter().copied());
    }
    found.sort_unstable();
    found
}

fn spec(dir: &Path, format: &str, options: &[(&str, &str)]) -> SinkSpec {
    let mut spec = SinkSpec { format: format.into(), ..SinkSpec::default() };
    spec.options.set("path", dir.to_str().unwrap());
    options.iter().for_each(|(name, value)| spec.options.set(*name, *value));
    spec
}

fn connect(spec: &SinkSpec) -> Result<Box<dyn Sink>> {
    super::super::lookup(&spec.format)?.connect(spec, context(OutputMode::Append))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_list_has_sparks_form() {
    let dir = tempfile::tempdir().unwrap();
    run(connect(&spec(dir.path(), "csv", &[])).unwrap().as_mut(), 0, &[rows(0..2)]).unwrap();
    let part = names(dir.path()).pop().unwrap();
    assert!(part.starts_with("part-00000-") && part.ends_with("-c000.csv"), "{part}");
    assert_eq!(fs::read_to_string(dir.path().join(&part)).unwrap(), "0,row 0\n1,row 1\n");
    let list = fs::read_to_string(dir.path().join("_spark_metadata/0")).unwrap();
    let (version, entry) = list.split_once('\n').unwrap();
    assert_eq!(version, "v1");
    let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    let keys: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["path", "size", "isDir", "modificationTime", "blockReplication", "blockSize", "action"];
    assert_eq!(keys, expected);
    assert_eq!((entry["size"].as_u64(), entry["action"].as_str()), (Some(16), Some("add")));
}

#[test]
fn c12_files_of_a_crashed_attempt_are_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), "json", &[]);
    prepare(connect(&spec).unwrap().as_mut(), 0, &[rows(0..3)]).unwrap();
    assert_eq!(names(dir.path()).len(), 1, "a part file that nobody lists");
    run(connect(&spec).unwrap().as_mut(), 0, &[rows(0..3)]).unwrap();
    assert_eq!(numbers("json", dir.path()), [0, 1, 2]);
}

#[test]
fn k18_an_epoch_that_runs_again_after_its_commit_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), "parquet", &[]);
    run(connect(&spec).unwrap().as_mut(), 0, &[rows(0..3)]).unwrap();
    let before = names(dir.path());
    run(connect(&spec).unwrap().as_mut(), 0, &[rows(0..3)]).unwrap();
    assert_eq!(numbers("parquet", dir.path()), [0, 1, 2]);
    assert_eq!(names(dir.path()), before, "the files of the second run are removed");
}

#[test]
fn c01_an_unfinished_file_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = connect(&spec(dir.path(), "csv", &[])).unwrap();
    let mut writer = sink.writer(0).unwrap();
    writer.write(&rows(0..3)).unwrap();
    assert!(names(dir.path())[0].ends_with(".tmp"));
    drop(writer);
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn partition_columns_become_folders() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "csv", &[]);
    spec.partition_by = vec!["value".into()];
    let schema = rows(0..0).schema();
    let texts = arrow::array::StringArray::from(vec![Some("a/b"), None, Some("a/b")]);
    let numbers = arrow::array::Int64Array::from(vec![1, 2, 3]);
    let batch = RecordBatch::try_new(schema, vec![Arc::new(numbers), Arc::new(texts)]).unwrap();
    run(connect(&spec).unwrap().as_mut(), 0, &[batch]).unwrap();
    assert_eq!(names(dir.path()), ["_spark_metadata", "value=__HIVE_DEFAULT_PARTITION__", "value=a%2Fb"]);
    let found = read("csv", dir.path(), Some(rows(0..0).schema()));
    let found: Vec<(i64, bool)> = found
        .iter()
        .flat_map(|batch| {
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            let texts = batch.column(1).as_string::<i32>();
            numbers.values().iter().copied().zip(texts.iter().map(|text| text == Some("a/b"))).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found.len(), 3);
    assert!(found.contains(&(1, true)) && found.contains(&(3, true)) && found.contains(&(2, false)), "{found:?}");
}

#[test]
fn compressed_files_say_so_in_their_names() {
    for (format, compression, suffix) in [
        ("csv", "gzip", "-c000.csv.gz"),
        ("json", "zstd", "-c000.json.zst"),
        ("csv", "deflate", "-c000.csv.deflate"),
        ("parquet", "zstd", "-c000.zstd.parquet"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path(), format, &[("compression", compression)]);
        run(connect(&spec).unwrap().as_mut(), 0, &[rows(0..200)]).unwrap();
        assert!(names(dir.path()).pop().unwrap().ends_with(suffix), "{format} {compression}");
        assert_eq!(numbers(format, dir.path()).len(), 200, "{format} {compression}");
    }
}

#[test]
fn the_list_is_compacted_and_forgets_what_retention_says() {
    for (retention, expected) in [(None, 12), (Some("1ms"), 2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path(), "csv", &[]);
        retention.iter().for_each(|time| spec.options.set("retention", time));
        let mut context = context(OutputMode::Append);
        context.clock = crate::clock::ManualClock::at(i64::MAX / 2);
        let mut sink = CSV.connect(&spec, context).unwrap();
        (0..12).for_each(|epoch| run(sink.as_mut(), epoch, &[rows(epoch as i64..epoch as i64 + 1)]).unwrap());
        assert!(dir.path().join("_spark_metadata/9.compact").exists());
        assert_eq!(numbers("csv", dir.path()).len(), expected, "retention {retention:?}");
    }
}

#[test]
fn batch_writes_add_up_without_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let spec = SinkSpec { batch: true, ..spec(dir.path(), "json", &[]) };
    run(connect(&spec).unwrap().as_mut(), 0, &[rows(0..2)]).unwrap();
    run(connect(&spec).unwrap().as_mut(), 0, &[rows(2..3)]).unwrap();
    assert_eq!(numbers("json", dir.path()), [0, 1, 2]);
    assert_eq!(names(dir.path())[0], "_SUCCESS");
    assert!(!dir.path().join("_spark_metadata").exists());
}

#[test]
fn what_is_wrong_is_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut missing = spec(dir.path(), "csv", &[]);
    missing.partition_by = vec!["nothing".into()];
    assert!(connect(&missing).err().unwrap().message().contains("nothing"));
    assert!(connect(&spec(dir.path(), "text", &[])).is_err(), "text has one column");
    assert!(connect(&spec(dir.path(), "csv", &[("compression", "zip")])).is_err());
    assert!(connect(&SinkSpec { format: "csv".into(), ..SinkSpec::default() }).is_err(), "no path");
}
