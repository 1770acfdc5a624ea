//! What Spark refuses and has a meaning: results that later rows correct. Aggregations over aggregations, joins of changing tables,
//! top-k, ranks, set operations, anti joins, each as SQL over streams.
//!
//! In: random rows of two streams `a` and `b` with columns `k` and `v`. Each query runs in update mode as a changelog, under both
//! drivers, with several workers, in chunks of random sizes, and once with a restart in the middle. The changes, summed up, must
//! be the answer of the same SQL over the same rows as tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use serde_json::Value;
use thalweg::prelude::*;
use thalweg::query::DataStreamWriter;
use thalweg::sources::memory::MemoryStream;

use crate::compare::json_rows;
use crate::replay::{Delivered, unless_stuck};

/// Queries in update mode, each with a name.
const QUERIES: &[(&str, &str)] = &[
    ("count of counts", "SELECT n, count(*) AS keys FROM (SELECT k, count(*) AS n FROM a GROUP BY k) GROUP BY n"),
    ("totals", "SELECT count(*) AS c, sum(n) AS s, max(n) AS m FROM (SELECT k, count(*) AS n FROM a GROUP BY k)"),
    (
        "again",
        "SELECT n % 2 AS p, min(k) AS f, max(s) AS m, avg(s) AS g FROM (SELECT k, count(*) AS n, sum(v) AS s FROM a GROUP BY k) GROUP BY n % 2",
    ),
    (
        "three levels",
        "SELECT max(c) AS m FROM (SELECT n, count(*) AS c FROM (SELECT k, v, count(*) AS n FROM a GROUP BY k, v) GROUP BY n)",
    ),
    (
        "last three of each",
        "SELECT p, aggregate(slice(l, 1, 3), 0L, (s, x) -> s + x) AS s, exists(l, x -> x > p) AS e \
         FROM (SELECT k % 2 AS p, sort_array(collect_list(n), false) AS l \
         FROM (SELECT k, count(*) AS n FROM a GROUP BY k) GROUP BY k % 2)",
    ),
    (
        "where a lambda says so",
        "SELECT k, n FROM (SELECT k, count(*) AS n, max(v) AS m FROM a GROUP BY k) WHERE exists(array(n, m), x -> x % 2 = 0)",
    ),
    ("having", "SELECT k, count(*) AS n FROM a GROUP BY k HAVING count(*) % 2 = 1"),
    (
        "top of each key",
        "SELECT k, v, n FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM a) WHERE n <= 2",
    ),
    (
        "ranks",
        "SELECT k, v, rank() OVER (PARTITION BY k ORDER BY v) AS r, dense_rank() OVER (PARTITION BY k ORDER BY v) AS d FROM a",
    ),
    (
        "rank of counts",
        "SELECT k, n, rank() OVER (ORDER BY n DESC) AS r FROM (SELECT k, count(*) AS n FROM a GROUP BY k)",
    ),
    ("top", "SELECT v, k FROM a ORDER BY v DESC, k LIMIT 3"),
    ("top counts", "SELECT k, count(*) AS n FROM a GROUP BY k ORDER BY n DESC, k LIMIT 2"),
    ("except", "SELECT k, v FROM a EXCEPT SELECT k, v FROM b"),
    ("intersect", "SELECT k, v FROM a INTERSECT SELECT k, v FROM b"),
    ("except all", "SELECT k, v FROM a EXCEPT ALL SELECT k, v FROM b"),
    ("intersect all", "SELECT k, v FROM a INTERSECT ALL SELECT k, v FROM b"),
    (
        "rollup over counts",
        "SELECT k % 2 AS p, n, count(*) AS c FROM (SELECT k, count(*) AS n FROM a GROUP BY k) GROUP BY ROLLUP (k % 2, n)",
    ),
    ("outer join counted", "SELECT count(*) AS c, count(b.v) AS d FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v"),
    ("distinct values", "SELECT k, count(DISTINCT v) AS d FROM a GROUP BY k"),
    (
        "distinct over counts",
        "SELECT count(DISTINCT n) AS d, sum(n) AS s FROM (SELECT k, count(*) AS n FROM a GROUP BY k)",
    ),
    ("limit of counts", "SELECT count(*) AS c FROM (SELECT k, count(*) AS n FROM a GROUP BY k LIMIT 2)"),
    ("sum of a top", "SELECT sum(v) AS s FROM (SELECT v, k FROM a ORDER BY v DESC, k LIMIT 3)"),
    ("sum of what was sorted", "SELECT sum(n) AS s FROM (SELECT k, count(*) AS n FROM a GROUP BY k ORDER BY n)"),
    ("distinct", "SELECT count(*) AS c FROM (SELECT DISTINCT k, v FROM a)"),
    (
        "join of counts",
        "SELECT x.k, x.n, y.m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) x JOIN (SELECT k, sum(v) AS m FROM b GROUP BY k) y ON x.k = y.k",
    ),
    (
        "full join of counts",
        "SELECT x.k AS xk, x.n, y.k AS yk, y.m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) x FULL JOIN (SELECT k, sum(v) AS m FROM b GROUP BY k) y ON x.k = y.k AND x.n < y.m",
    ),
    (
        "rows above the mean",
        "SELECT a.k, a.v, x.m FROM a JOIN (SELECT k, max(v) AS m FROM b GROUP BY k) x ON a.k = x.k AND a.v < x.m",
    ),
    ("anti join", "SELECT a.k, a.v FROM a LEFT ANTI JOIN b ON a.k = b.k AND a.v < b.v"),
    ("anti join by key", "SELECT a.k, a.v FROM a LEFT ANTI JOIN b ON a.k = b.k"),
    ("not exists", "SELECT count(*) AS c FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)"),
    (
        "union of counts",
        "SELECT sum(n) AS s FROM (SELECT k, count(*) AS n FROM a GROUP BY k UNION ALL SELECT k, v AS n FROM b)",
    ),
    (
        "counts by static",
        "SELECT t.name, sum(x.n) AS s FROM (SELECT k, count(*) AS n FROM a GROUP BY k) x JOIN t ON x.k = t.k GROUP BY t.name",
    ),
];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Int64, true)]))
}

fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
    ];
    RecordBatch::try_new(schema(), columns.to_vec()).unwrap()
}

/// Numbers that look random.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn rows(&mut self, count: usize) -> Vec<(i64, i64)> {
        (0..count).map(|_| (self.below(5) as i64, self.below(7) as i64)).collect()
    }
}

fn session(workers: usize) -> Session {
    let session = Session::builder().create();
    session.set_conf("thalweg.workers", workers);
    let names = "SELECT * FROM VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'one') AS t(k, name)";
    session.sql(names).unwrap().create_or_replace_temp_view("t").unwrap();
    session
}

/// The answer over tables, as sorted texts of rows.
fn answer(sql: &str, a: &[(i64, i64)], b: &[(i64, i64)]) -> Vec<String> {
    let session = session(1);
    for (name, rows) in [("a", a), ("b", b)] {
        let frame = session.create_data_frame(schema(), vec![batch(rows)]).unwrap();
        frame.create_or_replace_temp_view(name).unwrap();
    }
    texts(&session.sql(sql).unwrap().collect().unwrap())
}

fn texts(rows: &[RecordBatch]) -> Vec<String> {
    let mut texts: Vec<String> = json_rows(rows).unwrap().iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

/// A table kept by a changelog: how often each row is there, as JSON.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<String, i64>);

impl Table {
    pub fn apply(&mut self, rows: &[RecordBatch]) {
        for rows in rows {
            let width = rows.num_columns() - 1;
            assert_eq!(rows.schema().field(width).name(), "_change");
            let signs = rows.column(width).as_primitive::<Int8Type>();
            let bare = rows.project(&(0..width).collect::<Vec<_>>()).unwrap();
            for (row, sign) in json_rows(&[bare]).unwrap().iter().zip(signs.values()) {
                *self.0.entry(row.to_string()).or_default() += i64::from(*sign);
            }
        }
        self.0.retain(|_, count| *count != 0);
    }

    pub fn rows(&self) -> Vec<String> {
        assert!(self.0.values().all(|count| *count > 0), "taken back, but not there: {:?}", self.0);
        let rows = self.0.iter().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count as usize));
        rows.collect()
    }
}

fn collecting(writer: DataStreamWriter, into: &Delivered) -> DataStreamWriter {
    let into = into.clone();
    writer.foreach_rows(move |rows, _, epoch| {
        into.lock().expect("no holder panics").push((epoch, rows));
        Ok(())
    })
}

fn summed(delivered: &Delivered) -> Vec<String> {
    let mut epochs = std::mem::take(&mut *delivered.lock().unwrap());
    epochs.sort_by_key(|(epoch, _)| *epoch);
    // At least once: an epoch that came again counts once.
    epochs.dedup_by_key(|(epoch, _)| *epoch);
    let mut table = Table::default();
    epochs.iter().for_each(|(_, rows)| table.apply(rows));
    table.rows()
}

/// Runs over memory streams that get rows in chunks of random sizes.
fn streamed(sql: &str, trigger: Trigger, workers: usize, seed: u64) -> Result<(Vec<String>, Vec<String>)> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (a, b) = (random.rows(60), random.rows(40));
    let session = session(workers);
    let mut streams = Vec::new();
    for (name, rows) in [("a", &a), ("b", &b)] {
        let stream = MemoryStream::new(schema());
        session.read_stream().memory(&stream)?.create_or_replace_temp_view(name)?;
        streams.push((stream, rows.clone()));
    }
    let delivered = Delivered::default();
    let writer = session.sql(sql)?.write_stream().output_mode("update").option("changelog", "true");
    let query = collecting(writer, &delivered).trigger(trigger).start()?;
    while streams.iter().any(|(_, rows)| !rows.is_empty()) {
        for (stream, rows) in &mut streams {
            let size = (random.below(9) as usize).min(rows.len());
            let now: Vec<_> = rows.drain(..size).collect();
            stream.push(batch(&now))?;
        }
        if random.below(4) == 0 {
            query.process_all_available()?;
        }
    }
    query.process_all_available()?;
    query.stop()?;
    Ok((summed(&delivered), answer(sql, &a, &b)))
}

fn every() -> Trigger {
    Trigger::Continuous(Duration::from_millis(30))
}

fn check(run: impl Fn(&'static str, u64) -> Result<(Vec<String>, Vec<String>)> + Clone + Send + 'static) {
    let mut failures = Vec::new();
    for (seed, (name, sql)) in (1..).zip(QUERIES) {
        let run = run.clone();
        match unless_stuck(move || run(sql, seed)) {
            Ok((got, wanted)) if got == wanted => {}
            Ok((got, wanted)) => failures.push(format!("{name}:\n  {got:?}\n  not {wanted:?}")),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{} queries differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn micro_batches_sum_up_to_the_answer() {
    check(|sql, seed| streamed(sql, Trigger::default(), 1, seed));
    check(|sql, seed| streamed(sql, Trigger::default(), 3, seed + 100));
}

#[test]
fn continuous_changes_sum_up_to_the_answer() {
    check(|sql, seed| streamed(sql, every(), 1, seed + 200));
}

#[test]
fn continuous_changes_of_several_workers_sum_up_to_the_answer() {
    check(|sql, seed| streamed(sql, every(), 2 + seed as usize % 3, seed + 300));
}

fn write_file(folder: &Path, number: usize, rows: &[(i64, i64)]) -> Result<()> {
    let lines: String = rows.iter().map(|(k, v)| format!("{{\"k\":{k},\"v\":{v}}}\n")).collect();
    let hidden = folder.join(format!(".{number}"));
    std::fs::write(&hidden, lines)?;
    std::fs::rename(hidden, folder.join(format!("{number}.json")))?;
    Ok(())
}

/// Runs over folders that get files, on one checkpoint, starting again after each few files with another number of workers.
fn restarted(sql: &str, trigger: Trigger, seed: u64) -> Result<(Vec<String>, Vec<String>)> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let folder = tempfile::tempdir()?;
    let (mut all, delivered) = ([Vec::new(), Vec::new()], Delivered::default());
    for (run, workers) in [1, 3, 2].into_iter().enumerate() {
        let session = session(workers);
        for (name, all) in ["a", "b"].into_iter().zip(&mut all) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path)?;
            let rows = random.rows(12);
            write_file(&path, run, &rows)?;
            all.extend(rows);
            let reader = session.read_stream().format("json").schema("k BIGINT, v BIGINT");
            reader.load_path(&path.to_string_lossy())?.create_or_replace_temp_view(name)?;
        }
        let writer = session.sql(sql)?.write_stream().output_mode("update").option("changelog", "true");
        let writer = writer.option("checkpointLocation", folder.path().join("checkpoint").display());
        let query = collecting(writer, &delivered).trigger(trigger).start()?;
        query.process_all_available()?;
        query.stop()?;
    }
    Ok((summed(&delivered), answer(sql, &all[0], &all[1])))
}

#[test]
fn a_restart_changes_nothing() {
    check(|sql, seed| restarted(sql, Trigger::default(), seed + 400));
    check(|sql, seed| restarted(sql, every(), seed + 500));
}

#[test]
fn complete_mode_gives_the_whole_answer() {
    check(|sql, seed| {
        let rows = Random(seed | 1).rows(30);
        let session = session(2);
        let streams = ["a", "b"].map(|name| (name, MemoryStream::new(schema())));
        for (name, stream) in &streams {
            session.read_stream().memory(stream)?.create_or_replace_temp_view(name)?;
        }
        let delivered = Delivered::default();
        let writer = session.sql(sql)?.write_stream().output_mode("complete");
        let query = collecting(writer, &delivered).start()?;
        for part in rows.chunks(10) {
            streams.iter().try_for_each(|(_, stream)| stream.push(batch(part)))?;
            query.process_all_available()?;
        }
        query.stop()?;
        let last = delivered.lock().unwrap().pop().map(|(_, rows)| texts(&rows)).unwrap_or_default();
        Ok((last, answer(sql, &rows, &rows)))
    });
}

#[test]
fn an_upsert_shows_the_new_row_alone() {
    let (sql, rows) = (QUERIES[1].1, Random(7).rows(20));
    let session = session(1);
    let stream = MemoryStream::new(schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("a").unwrap();
    let delivered = Delivered::default();
    let writer = session.sql(sql).unwrap().write_stream().output_mode("update");
    let query = collecting(writer, &delivered).start().unwrap();
    for part in rows.chunks(5) {
        stream.push(batch(part)).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    let delivered = delivered.lock().unwrap();
    assert!(delivered.iter().all(|(_, rows)| rows.iter().map(RecordBatch::num_rows).sum::<usize>() <= 1));
    let last = delivered.iter().rev().find(|(_, rows)| rows.iter().any(|rows| rows.num_rows() > 0));
    assert_eq!(texts(&last.unwrap().1), answer(sql, &rows, &[]));
}

#[test]
fn with_sparks_check_what_spark_refuses_is_refused() {
    let refused =
        ["count of counts", "totals", "three levels", "top of each key", "ranks", "top", "top counts", "anti join"];
    for (name, sql) in QUERIES.iter().filter(|(name, _)| refused.contains(name)) {
        let session = session(1);
        session.set_conf("spark.sql.streaming.unsupportedOperationCheck", "true");
        for name in ["a", "b"] {
            let stream = MemoryStream::new(schema());
            session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view(name).unwrap();
        }
        let started = session.sql(sql).unwrap().write_stream().format("noop").output_mode("update").start();
        assert!(started.is_err(), "{name} is not refused");
    }
}

#[test]
fn append_mode_refuses_what_is_not_final() {
    let session = session(1);
    let stream = MemoryStream::new(schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("a").unwrap();
    for sql in [QUERIES[0].1, QUERIES[5].1, QUERIES[8].1] {
        let error = session.sql(sql).unwrap().write_stream().format("noop").start().err();
        assert!(error.and_then(|error| error.condition().map(str::to_owned)).is_some(), "{sql}");
    }
}

#[test]
fn explain_tells_lane_edge_and_bound() {
    let session = session(1);
    let stream = MemoryStream::new(schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("a").unwrap();
    let query = session.sql(QUERIES[0].1).unwrap().write_stream().format("noop").output_mode("update").start().unwrap();
    let text = query.explain();
    query.stop().unwrap();
    for part in ["lane=differential", "lane=hash", "-> changelog", "-> append-only", "state unbounded because"] {
        assert!(text.contains(part), "'{part}' is not in\n{text}");
    }
}
