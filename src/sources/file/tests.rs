//! Folders of small files; times are set, never waited for.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type};
use tempfile::TempDir;

use super::super::conformance::{context, spec};
use super::super::{Read, lookup};
use super::*;

/// Writes a file whose time is this many seconds after 2001.
pub(in crate::sources) fn write(path: &Path, content: &[u8], seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    touch(path, seconds);
}

/// Sets a file's time to this many seconds after 2001.
pub(in crate::sources) fn touch(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A folder and the options under test.
struct Case {
    dir: TempDir,
    log: TempDir,
    spec: SourceSpec,
}

fn case(format: &str, options: &[(&str, &str)]) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(format, options);
    if spec.options.get("path").is_none() {
        spec.options.set("path", dir.path().to_str().unwrap());
    }
    Case { dir, log: tempfile::tempdir().unwrap(), spec }
}

impl Case {
    fn write(&self, name: &str, content: &str, seconds: u64) {
        write(&self.dir.path().join(name), content.as_bytes(), seconds);
    }

    fn schema(&self) -> Result<SchemaRef> {
        lookup(&self.spec.format).unwrap().schema(&self.spec, &Conf::default())
    }

    /// A run of a query: state is in the log folder.
    fn connect(&self) -> Box<dyn Source> {
        let schema = self.schema().unwrap();
        let log = Some(crate::store::Folder::local(self.log.path(), true));
        let mut context = SourceContext { log, ..context(schema.fields().len()) };
        context.conf.set("spark.sql.streaming.fileSource.cleaner.numThreads", 0);
        lookup(&self.spec.format).unwrap().connect(&self.spec, schema, context).unwrap()
    }
}

fn rows(source: &mut dyn Source, from: Option<&Offset>, to: Option<&Offset>) -> Result<Option<RecordBatch>> {
    let mut decoder = source.decoder()?;
    let mut found = Vec::new();
    for mut reader in source.read(from, to)? {
        loop {
            match reader.next(Duration::ZERO)? {
                Read::Rows(rows) => found.push(rows),
                Read::Part(part) => found.push(part.rows),
                Read::Frames(frames) => found.push(decoder.as_mut().unwrap().decode(&frames)?),
                Read::Idle if to.is_none() => break,
                Read::Idle => {}
                Read::End => break,
            }
        }
    }
    Ok(found.first().map(|first| concat_batches(&first.schema(), &found).unwrap()))
}

/// The first column as texts.
fn texts(source: &mut dyn Source, from: Option<&Offset>, to: Option<&Offset>) -> Vec<String> {
    let Some(rows) = rows(source, from, to).unwrap() else { return Vec::new() };
    rows.column(0).as_string::<i32>().iter().map(|text| text.unwrap_or("null").to_owned()).collect()
}

/// All batches until there is nothing new.
fn batches(source: &mut dyn Source, mut from: Option<Offset>) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    while let Some(to) = source.latest(from.as_ref(), Limit::Options).unwrap() {
        all.push(texts(source, from.as_ref(), Some(&to)));
        source.commit(&to).unwrap();
        from = Some(to);
    }
    all
}

fn offset(batch: i64) -> Offset {
    serde_json::json!({ "logOffset": batch })
}

#[test]
fn new_files_make_batches_and_none_is_read_twice() {
    let case = case("text", &[]);
    let mut source = case.connect();
    assert_eq!(source.latest(None, Limit::Options).unwrap(), None);
    case.write("a", "1\n2\n", 1);
    assert_eq!(source.latest(None, Limit::Options).unwrap(), Some(offset(0)));
    case.write("a", "changed\n", 2);
    assert_eq!(source.latest(Some(&offset(0)), Limit::Options).unwrap(), None);
    case.write("b", "3", 3);
    assert_eq!(source.latest(Some(&offset(0)), Limit::Options).unwrap(), Some(offset(1)));
    assert_eq!(texts(source.as_mut(), Some(&offset(0)), Some(&offset(1))), ["3"]);
}

#[test]
fn d13_files_come_in_the_order_of_time_then_path() {
    let case = case("text", &[("maxFilesPerTrigger", "1")]);
    for (name, seconds) in [("z", 1), ("b", 5), ("a", 5), ("future", 4_000_000_000)] {
        case.write(name, name, seconds);
    }
    assert_eq!(batches(case.connect().as_mut(), None).concat(), ["z", "a", "b", "future"]);
}

#[test]
fn the_latest_come_first_if_asked() {
    let case = case("text", &[("maxFilesPerTrigger", "1"), ("latestFirst", "true")]);
    (0..3).for_each(|n| case.write(&n.to_string(), &n.to_string(), n * 86400 * 30));
    assert_eq!(batches(case.connect().as_mut(), None).concat(), ["2", "1", "0"]);
}

#[test]
fn old_files_are_ignored_once_newer_ones_were_seen() {
    let case = case("text", &[("maxFileAge", "10s")]);
    case.write("first", "first", 0);
    case.write("second", "second", 100);
    let mut source = case.connect();
    assert_eq!(batches(source.as_mut(), None), [["first", "second"]]);
    case.write("late", "late", 89);
    case.write("in time", "in time", 90);
    assert_eq!(batches(source.as_mut(), Some(offset(0))), [["in time"]]);
}

#[test]
fn bytes_limit_a_batch_to_at_least_one_file() {
    let case = case("text", &[("maxBytesPerTrigger", "5")]);
    for (name, content) in [("a", "123"), ("b", "12"), ("c", "1234567"), ("d", "1")] {
        case.write(name, content, 0);
    }
    let found = batches(case.connect().as_mut(), None);
    assert_eq!(found, [vec!["123", "12"], vec!["1234567"], vec!["1"]]);
}

#[test]
fn both_limits_are_refused() {
    let case = case("text", &[("maxFilesPerTrigger", "1"), ("maxBytesPerTrigger", "1")]);
    assert!(case.schema().is_err());
}

#[test]
fn a_restart_reads_exactly_the_files_of_a_planned_batch() {
    let case = case("text", &[]);
    case.write("a", "a", 1);
    assert_eq!(case.connect().latest(None, Limit::Options).unwrap(), Some(offset(0)));
    case.write("b", "b", 2);
    let log = fs::read_to_string(case.log.path().join("0")).unwrap();
    let path = filepath::to_uri(&case.dir.path().join("a"));
    let entry = format!(r#"{{"path":"{path}","timestamp":1000000001000,"batchId":0,"size":1}}"#);
    assert_eq!(log, format!("v1\n{entry}"));
    let mut again = case.connect();
    assert_eq!(texts(again.as_mut(), None, Some(&offset(0))), ["a"]);
    assert_eq!(batches(again.as_mut(), Some(offset(0))), [["b"]]);
}

#[test]
fn a_batch_that_was_logged_but_never_planned_comes_first_after_a_restart() {
    let case = case("text", &[]);
    case.write("a", "a", 1);
    case.connect().latest(None, Limit::Options).unwrap();
    case.write("b", "b", 2);
    assert_eq!(batches(case.connect().as_mut(), None), [["a"], ["b"]]);
}

#[test]
fn the_log_is_compacted_and_still_knows_all_files() {
    let case = case("text", &[("maxFilesPerTrigger", "1")]);
    (0..25).for_each(|n| case.write(&format!("{n:02}"), &n.to_string(), n));
    batches(case.connect().as_mut(), None);
    assert!(case.log.path().join("9.compact").exists() && case.log.path().join("19.compact").exists());
    let mut again = case.connect();
    assert_eq!(again.latest(Some(&offset(24)), Limit::Options).unwrap(), None);
    assert_eq!(texts(again.as_mut(), Some(&offset(3)), Some(&offset(4))), ["4"]);
    assert_eq!(texts(again.as_mut(), Some(&offset(18)), Some(&offset(20))), ["19", "20"]);
}

#[test]
fn freezing_leaves_out_later_files() {
    let case = case("text", &[("maxFilesPerTrigger", "1")]);
    ["a", "b"].iter().for_each(|name| case.write(name, name, 1));
    let mut source = case.connect();
    source.freeze().unwrap();
    case.write("c", "c", 2);
    assert_eq!(batches(source.as_mut(), None), [["a"], ["b"]]);
}

#[test]
fn d11_what_is_appended_after_the_listing_is_not_read() {
    let case = case("text", &[]);
    case.write("a", "1\n2\n", 1);
    let mut source = case.connect();
    source.latest(None, Limit::Options).unwrap();
    case.write("a", "1\n2\n3\n", 2);
    assert_eq!(texts(source.as_mut(), None, Some(&offset(0))), ["1", "2"]);
    assert_eq!(texts(case.connect().as_mut(), None, Some(&offset(0))), ["1", "2"]);
}

#[test]
fn d11_a_deleted_file_fails_unless_that_is_allowed() {
    for allowed in [false, true] {
        let case = case("text", &[("ignoreMissingFiles", if allowed { "true" } else { "false" })]);
        case.write("a", "a", 1);
        case.write("b", "b", 2);
        let mut source = case.connect();
        source.latest(None, Limit::Options).unwrap();
        fs::remove_file(case.dir.path().join("a")).unwrap();
        let found = rows(source.as_mut(), None, Some(&offset(0)));
        match allowed {
            true => assert_eq!(found.unwrap().unwrap().num_rows(), 1),
            false => {
                let error = found.unwrap_err();
                assert_eq!(error.condition(), Some("FAILED_READ_FILE.FILE_NOT_EXIST"));
                assert!(error.place().unwrap().ends_with("/a"), "{error}");
            }
        }
    }
}

#[test]
fn d09_a_damaged_compressed_file_fails_or_is_skipped() {
    for ignore in ["false", "true"] {
        let case = case("text", &[("ignoreCorruptFiles", ignore)]);
        case.write("a.gz", "this is no gzip", 1);
        case.write("b", "b", 2);
        let mut source = case.connect();
        source.latest(None, Limit::Options).unwrap();
        let found = rows(source.as_mut(), None, Some(&offset(0)));
        assert_eq!(found.is_ok(), ignore == "true");
        assert_eq!(found.ok().flatten().map(|rows| rows.num_rows()), (ignore == "true").then_some(1));
    }
}

#[test]
fn d12_files_that_wait_are_not_listed_again() {
    let case = case("text", &[("maxFilesPerTrigger", "10"), ("maxCachedFiles", "100")]);
    (0..1000).for_each(|n| case.write(&format!("{n:04}"), &n.to_string(), n));
    let mut source = case.connect();
    let first = source.latest(None, Limit::Options).unwrap();
    case.write("older", "older", 0);
    let mut from = first;
    for batch in 1..11 {
        from = source.latest(from.as_ref(), Limit::Options).unwrap();
        assert_eq!(from, Some(offset(batch)));
        let found = texts(source.as_mut(), Some(&offset(batch - 1)), from.as_ref());
        assert!(!found.contains(&"older".to_owned()), "batch {batch} comes from those that wait");
    }
    from = source.latest(from.as_ref(), Limit::Options).unwrap();
    assert_eq!(texts(source.as_mut(), Some(&offset(10)), from.as_ref())[0], "older", "listed again");
}

#[test]
fn d14_any_file_name_is_read() {
    let case = case("text", &[("recursiveFileLookup", "true")]);
    let odd = OsString::from_vec(b"not \xff utf8".to_vec());
    for name in [OsString::from("a b%20c"), OsString::from("line\nend"), OsString::from("..x"), odd] {
        write(&case.dir.path().join("sub").join(&name), b"x", 1);
    }
    case.connect().latest(None, Limit::Options).unwrap();
    assert_eq!(texts(case.connect().as_mut(), None, Some(&offset(0))), ["x"; 3], "all but the hidden one");
}

#[test]
fn d14_a_link_to_a_folder_above_is_not_followed_for_ever() {
    let case = case("text", &[("recursiveFileLookup", "true")]);
    case.write("sub/a", "a", 1);
    std::os::unix::fs::symlink(case.dir.path(), case.dir.path().join("sub/loop")).unwrap();
    assert_eq!(batches(case.connect().as_mut(), None), [["a"]]);
}

#[test]
fn d15_empty_files_and_folders_named_like_files_do_no_harm() {
    let case = case("text", &[]);
    case.write("empty", "", 1);
    case.write("folder.txt/inside", "inside", 1);
    case.write("_hidden", "hidden", 1);
    case.write("a", "a\n\n", 2);
    assert_eq!(batches(case.connect().as_mut(), None), [["a", ""]]);
    case.write("another empty", "", 3);
    assert_eq!(batches(case.connect().as_mut(), Some(offset(0))), [Vec::<String>::new()], "still input");
}

#[test]
fn patterns_choose_folders_and_names() {
    let mut case = case("text", &[("pathGlobFilter", "*.log")]);
    for name in ["x1/a.log", "x2/b.log", "x2/c.txt", "y/d.log"] {
        case.write(name, name, 1);
    }
    case.spec.options.set("path", format!("{}/{{x?,z}}", case.dir.path().display()));
    assert_eq!(batches(case.connect().as_mut(), None), [["x1/a.log", "x2/b.log"]]);
}

#[test]
fn files_that_a_pattern_names_are_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let case = case("text", &[("path", &format!("{}/*.log", dir.path().display()))]);
    let mut source = case.connect();
    write(&dir.path().join("a.log"), b"1", 1);
    write(&dir.path().join("b.txt"), b"2", 2);
    assert_eq!(batches(source.as_mut(), None), [["1"]]);
    write(&dir.path().join("c.log"), b"3", 3);
    assert_eq!(batches(source.as_mut(), Some(offset(0))), [["3"]]);
}

#[test]
fn folders_give_partition_columns() {
    let case = case("text", &[]);
    case.write("year=2024/name=a%20b/f", "one", 1);
    case.write("year=2025/name=__HIVE_DEFAULT_PARTITION__/f", "two", 2);
    let schema = case.schema().unwrap();
    let types: Vec<(&str, &DataType)> = schema.fields().iter().map(|f| (f.name().as_str(), f.data_type())).collect();
    assert_eq!(types, [("value", &DataType::Utf8), ("year", &DataType::Int32), ("name", &DataType::Utf8)]);
    let mut source = case.connect();
    let to = source.latest(None, Limit::Options).unwrap();
    let rows = rows(source.as_mut(), None, to.as_ref()).unwrap().unwrap();
    assert_eq!(rows.column(1).as_primitive::<Int32Type>().values(), &[2024, 2025]);
    assert_eq!(rows.column(2).as_string::<i32>().value(0), "a b");
    assert!(rows.column(2).is_null(1));
}

#[test]
fn folders_that_disagree_are_refused() {
    let case = case("text", &[]);
    case.write("year=2024/f", "one", 1);
    case.write("month=2/f", "two", 2);
    assert_eq!(case.schema().unwrap_err().condition(), Some("CONFLICTING_PARTITION_COLUMN_NAMES"));
}

#[test]
fn files_of_one_name_are_one_file_if_asked() {
    let case = case("text", &[("fileNameOnly", "true"), ("recursiveFileLookup", "true")]);
    case.write("x/a", "first", 1);
    let mut source = case.connect();
    assert_eq!(batches(source.as_mut(), None), [["first"]]);
    case.write("y/a", "second", 2);
    assert_eq!(source.latest(Some(&offset(0)), Limit::Options).unwrap(), None);
}

#[test]
fn read_files_are_deleted_or_archived_after_the_commit() {
    let archive = tempfile::tempdir().unwrap();
    let to = archive.path().to_str().unwrap();
    for options in [vec![("cleanSource", "delete")], vec![("cleanSource", "archive"), ("sourceArchiveDir", to)]] {
        let case = case("text", &options);
        case.write("a", "a", 1);
        batches(case.connect().as_mut(), None);
        let path = case.dir.path().join("a");
        assert!(!path.exists());
        let archived = archive.path().join(path.strip_prefix("/").unwrap());
        assert_eq!(archived.exists(), options.len() == 2);
    }
}

#[test]
fn an_archive_inside_the_source_is_refused() {
    let mut case = case("text", &[("cleanSource", "archive")]);
    assert!(case.schema().unwrap_err().message().contains("sourceArchiveDir"));
    case.spec.options.set("sourceArchiveDir", format!("{}/archive", case.dir.path().display()));
    assert!(case.schema().unwrap_err().message().contains("outside"));
}

#[test]
fn a_continuous_read_can_be_continued_at_any_record() {
    let case = case("text", &[]);
    let lines = |name: &str| (0..30_000).map(|n| format!("{name} {n}\n")).collect::<String>();
    case.write("a", &lines("a"), 1);
    case.write("b", &lines("b"), 2);
    let whole = texts(case.connect().as_mut(), None, None);
    assert_eq!(whole.len(), 60_000);
    let mut from: Option<Offset> = None;
    let mut found = Vec::new();
    while found.len() < whole.len() {
        let mut source = case.connect();
        let mut decoder = source.decoder().unwrap().unwrap();
        let mut reader = source.read(from.as_ref(), None).unwrap().remove(0);
        let Read::Frames(frames) = reader.next(Duration::ZERO).unwrap() else { panic!("records") };
        assert_eq!(frames.first_line % 30_000, (found.len() as u64 + 1) % 30_000);
        let rows = decoder.decode(&frames).unwrap();
        let before = from.replace(reader.offset());
        found.extend(rows.column(0).as_string::<i32>().iter().map(|text| text.unwrap().to_owned()));
        assert_eq!(texts(source.as_mut(), before.as_ref(), from.as_ref()).len(), rows.num_rows(), "as a bounded range");
    }
    assert_eq!(found, whole);
}

/// Pages that the query does not want lie before, among and behind what is read; places count them.
#[test]
fn a_file_of_which_pages_are_left_out_can_be_continued_behind_any_part() {
    let mut case = case("parquet", &[]);
    let schema = crate::types::parse_ddl("n INT").unwrap();
    case.spec.schema = Some(schema.clone());
    let column = Arc::new(arrow::array::Int32Array::from_iter_values(0..50_000));
    let rows = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_data_page_row_count_limit(1_000)
        .set_write_batch_size(1_000)
        .build();
    let file = fs::File::create(case.dir.path().join("a")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let wanted = [3_500, 20_000, 40_999];
    let values = Arc::new(arrow::array::Int32Array::from(wanted.to_vec()));
    let filter = crate::sources::predicate::Predicate { column: 0, test: crate::sources::predicate::Test::In, values };
    let connect = |filtered: bool| {
        let schema = case.schema().unwrap();
        let log = Some(crate::store::Folder::local(case.log.path(), true));
        let filters = if filtered { vec![filter.clone()] } else { Vec::new() };
        let context = SourceContext { log, filters, ..context(1) };
        lookup("parquet").unwrap().connect(&case.spec, schema, context).unwrap()
    };
    let numbers = |rows: &RecordBatch| rows.column(0).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec();
    let mut places: Vec<Option<Offset>> = vec![None];
    let (mut reached, mut found) = (0, Vec::new());
    while reached < 50_000 {
        let mut source = connect(true);
        let mut reader = source.read(places[places.len() - 1].as_ref(), None).unwrap().remove(0);
        let Read::Part(part) = reader.next(Duration::ZERO).unwrap() else { panic!("a part") };
        reached += part.reach;
        found.extend(numbers(&part.rows));
        places.push(Some(reader.offset()));
    }
    assert!(places.len() > 2 && found.len() == 3_000, "{} of {}", found.len(), places.len());
    assert!(wanted.iter().all(|number| found.contains(number)));
    // The places mean the same to a query that wants all rows.
    let spans = places.windows(2).flat_map(|pair| {
        let rows = rows_between(connect(false).as_mut(), &pair[0], &pair[1]);
        numbers(&rows)
    });
    assert!(spans.eq(0..50_000));
}

fn rows_between(source: &mut dyn Source, from: &Option<Offset>, to: &Option<Offset>) -> RecordBatch {
    rows(source, from.as_ref(), to.as_ref()).unwrap().unwrap()
}

#[test]
fn a_missing_folder_and_a_missing_schema_are_refused() {
    let text = case("text", &[("path", "/no/such/folder")]);
    assert_eq!(text.schema().unwrap_err().condition(), Some("PATH_NOT_FOUND"));
    assert_eq!(case("json", &[]).schema().unwrap_err().condition(), Some("_LEGACY_ERROR_TEMP_2048"));
    assert!(case("text", &[("modifiedBefore", "2024-01-01T00:00:00")]).schema().is_err());
}
