//! What is written reads back; what the statistics leave out, the query would drop.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int32Array, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int32Type;
use parquet::file::properties::EnabledStatistics;
use proptest::prelude::*;

use super::*;
use crate::formats::Part;
use crate::formats::columnar_tests::{DDL, check_damaged, check_round_trip};
use crate::formats::condition::tests::{Wanted, wanted};
use crate::sources::predicate::{Predicate, Test};
use crate::types::parse_ddl;

#[test]
fn what_is_written_reads_back() {
    for codec in ["snappy", "none", "gzip", "zstd", "lz4"] {
        check_round_trip(&Parquet, DDL, codec);
    }
    check_round_trip(&Parquet, "d DECIMAL(10,2), l ARRAY<STRUCT<x: INT>>, m MAP<STRING, ARRAY<INT>>", "snappy");
}

#[test]
fn d09_damaged_files_fail_with_their_name() {
    check_damaged(&Parquet);
}

#[test]
fn unknown_codecs_and_types_are_refused() {
    let mut options = Options::default();
    options.set("compression", "lzma");
    let file = tempfile::tempfile().unwrap();
    let schema = crate::types::parse_ddl("a INT").unwrap();
    assert!(Parquet.file_writer(file, schema, &options).is_err());
    let file = tempfile::tempfile().unwrap();
    assert!(Parquet.file_writer(file, crate::types::parse_ddl("a VOID").unwrap(), &Options::default()).is_err());
}

type Row = (Option<i32>, Option<String>);

/// A file of these rows, in small row groups and pages.
fn file_of(rows: &[Row], group: usize, page: usize, statistics: EnabledStatistics) -> tempfile::NamedTempFile {
    let (a, b): (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
    let columns = vec![Arc::new(Int32Array::from(a)) as _, Arc::new(StringArray::from(b)) as _];
    let batch = RecordBatch::try_new(parse_ddl("a INT, b STRING").unwrap(), columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_data_page_row_count_limit(page)
        .set_write_batch_size(page)
        .set_statistics_enabled(statistics);
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

/// The parts of a file as these columns, under conditions.
fn parts(file: &tempfile::NamedTempFile, ddl: &str, filters: Vec<Predicate>, rows: Rows) -> Vec<Part> {
    let schema = parse_ddl(ddl).unwrap();
    let context = DecodeContext {
        projection: (0..schema.fields().len()).collect(),
        schema,
        options: Options::default(),
        conf: Conf::default(),
        filters,
    };
    Parquet.open_file(file.path(), context, rows).unwrap().map(Result::unwrap).collect()
}

/// Those of the rows that fulfil a condition.
fn that_fulfil((_, holds): &Wanted, rows: &RecordBatch) -> RecordBatch {
    let keep: BooleanArray = (0..rows.num_rows()).map(|row| Some(holds(rows, row))).collect();
    filter_record_batch(rows, &keep).unwrap()
}

fn joined(parts: &[Part]) -> RecordBatch {
    let rows: Vec<RecordBatch> = parts.iter().map(|part| part.rows.clone()).collect();
    concat_batches(&parse_ddl("a INT, b STRING").unwrap(), &rows).unwrap()
}

fn row() -> impl Strategy<Value = Row> {
    let text = prop_oneof![Just("x"), Just("5"), Just("\u{e9}"), Just("y"), Just("")].prop_map(str::to_owned);
    (prop::option::weighted(0.9, -6i32..10), prop::option::weighted(0.9, text))
}

proptest! {
    #[test]
    fn only_rows_that_the_query_drops_are_left_out(
        mut rows in prop::collection::vec(row(), 0..60),
        (group, page) in (1usize..20, 1usize..8),
        (is_sorted, pages) in any::<(bool, bool)>(),
        (which, from, count) in (0..wanted().len(), 0u64..60, 0u64..60),
        also in prop::option::of(0..wanted().len()),
    ) {
        if is_sorted {
            rows.sort();
        }
        let level = if pages { EnabledStatistics::Page } else { EnabledStatistics::Chunk };
        let file = file_of(&rows, group, page, level);
        let conditions: Vec<Wanted> = [which].into_iter().chain(also).map(|which| wanted().remove(which)).collect();
        let filters: Vec<Predicate> = conditions.iter().map(|condition| condition.0.clone()).collect();
        let sifted = parts(&file, "a INT, b STRING", filters, from..from + count);
        let all = parts(&file, "a INT, b STRING", Vec::new(), from..from + count);
        let reach = |parts: &[Part]| parts.iter().map(|part| part.reach).sum::<u64>();
        prop_assert_eq!(reach(&sifted), (rows.len() as u64).min(from + count).saturating_sub(from));
        prop_assert_eq!(reach(&all), reach(&sifted));
        let kept = |rows| conditions.iter().fold(rows, |rows, condition| that_fulfil(condition, &rows));
        prop_assert_eq!(kept(joined(&sifted)), kept(joined(&all)));
        // A part reaches from where the last one ended to behind its own last row.
        let mut at = 0;
        for part in &sifted {
            let reached = joined(&all).slice(at, part.reach as usize);
            at += part.reach as usize;
            prop_assert_eq!(kept(part.rows.clone()), kept(reached));
        }
    }
}

#[test]
fn row_groups_and_pages_without_wanted_rows_are_not_read() {
    let rows: Vec<Row> = (0..100).map(|n| (Some(n), Some(format!("{n:03}")))).collect();
    let count = |level, ddl, filter: Predicate| {
        let file = file_of(&rows, 40, 10, level);
        joined_count(&parts(&file, ddl, vec![filter], 0..u64::MAX))
    };
    let whole =
        |test, values: &[i32]| Predicate { column: 0, test, values: Arc::new(Int32Array::from(values.to_vec())) };
    let (page, chunk) = (EnabledStatistics::Page, EnabledStatistics::Chunk);
    assert_eq!(count(page, "a INT, b STRING", whole(Test::In, &[57])), (10, 100));
    assert_eq!(count(chunk, "a INT, b STRING", whole(Test::In, &[57])), (40, 100));
    assert_eq!(count(EnabledStatistics::None, "a INT, b STRING", whole(Test::In, &[57])), (100, 100));
    assert_eq!(count(page, "a INT, b STRING", whole(Test::Less, &[10])), (10, 100));
    assert_eq!(count(page, "a INT, b STRING", whole(Test::GreaterOrEqual, &[89])), (20, 100));
    assert_eq!(count(page, "a INT, b STRING", whole(Test::Greater, &[99])), (0, 100));
    // Of many values only the span counts.
    let many: Vec<i32> = (0..11).map(|n| n * 2 + 15).collect();
    assert_eq!(count(page, "a INT, b STRING", whole(Test::In, &many)), (30, 100));
    // A wider type than the file's, another case, another column, one that the file lacks.
    let wide = Predicate { column: 0, test: Test::In, values: Arc::new(arrow::array::Int64Array::from(vec![57])) };
    assert_eq!(count(page, "A BIGINT", wide.clone()), (10, 100));
    let text = Predicate { column: 1, test: Test::In, values: Arc::new(StringArray::from(vec!["057"])) };
    assert_eq!(count(page, "a INT, b STRING", text), (10, 100));
    assert_eq!(count(page, "c BIGINT", wide), (100, 100));
}

/// Rows read, and rows reached over.
fn joined_count(parts: &[Part]) -> (usize, u64) {
    (parts.iter().map(|part| part.rows.num_rows()).sum(), parts.iter().map(|part| part.reach).sum())
}

#[test]
fn a_range_of_rows_is_read() {
    let rows: Vec<Row> = (0..100).map(|n| (Some(n), None)).collect();
    let file = file_of(&rows, 30, 10, EnabledStatistics::Page);
    let found = joined(&parts(&file, "a INT, b STRING", Vec::new(), 25..95));
    assert!(found.column(0).as_primitive::<Int32Type>().values().iter().copied().eq(25..95));
    assert_eq!(joined_count(&parts(&file, "a INT, b STRING", Vec::new(), 100..120)), (0, 0));
}

/// Pages of as many rows as files have them, and batches that reach over several.
#[test]
fn pages_far_apart_come_in_parts_that_reach_over_what_lies_between() {
    let rows: Vec<Row> = (0..50_000).map(|n| (Some(n), Some(format!("text {n}")))).collect();
    let file = file_of(&rows, 20_000, 1_000, EnabledStatistics::Page);
    let values = [1_234, 1_900, 19_999, 30_000, 49_000];
    let filter = || Predicate { column: 0, test: Test::In, values: Arc::new(Int32Array::from(values.to_vec())) };
    for range in [0..u64::MAX, 1_500..30_001, 19_990..20_010, 49_999..50_000] {
        let sifted = parts(&file, "a INT, b STRING", vec![filter()], range.clone());
        let all = joined(&parts(&file, "a INT, b STRING", Vec::new(), range.clone()));
        let mut at = range.start;
        for part in &sifted {
            let numbers = part.rows.column(0).as_primitive::<Int32Type>().values();
            let inside = at..at + part.reach;
            assert!(numbers.iter().all(|number| inside.contains(&u64::from(number.unsigned_abs()))));
            at = inside.end;
        }
        assert_eq!(at, range.end.min(50_000));
        let found = joined(&sifted);
        let wanted = |rows: &RecordBatch| {
            let numbers = rows.column(0).as_primitive::<Int32Type>().values().clone();
            let keep: BooleanArray = numbers.iter().map(|number| Some(values.contains(number))).collect();
            filter_record_batch(rows, &keep).unwrap()
        };
        assert_eq!(wanted(&found), wanted(&all));
        assert!(found.num_rows() <= 5_000, "{}", found.num_rows());
    }
}

#[test]
fn a_page_index_that_cannot_be_read_leaves_out_nothing() {
    let rows: Vec<Row> = (0..100).map(|n| (Some(n), None)).collect();
    let file = file_of(&rows, 100, 10, EnabledStatistics::Page);
    let filter = || Predicate { column: 0, test: Test::In, values: Arc::new(Int32Array::from(vec![57])) };
    assert_eq!(joined_count(&parts(&file, "a INT, b STRING", vec![filter()], 0..u64::MAX)), (10, 100));
    let metadata = metadata(file.as_file(), file.path(), false).unwrap();
    let column = metadata.metadata().row_group(0).column(0);
    let (offset, length) = (column.column_index_offset().unwrap(), column.column_index_length().unwrap());
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes[offset as usize..][..length as usize].fill(0xff);
    std::fs::write(file.path(), bytes).unwrap();
    assert_eq!(joined_count(&parts(&file, "a INT, b STRING", vec![filter()], 0..u64::MAX)), (100, 100));
}
