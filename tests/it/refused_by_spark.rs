//! What Spark refuses on a stream though it has a meaning: distinct aggregates, grouping sets, session windows and outer joins in
//! update mode, limits.
//!
//! Each query runs on streams, in chunks of random sizes, with a restart in the middle, under both drivers and with 1 and 3
//! workers. Its changelog, applied, must be the answer of the same query over all rows as a table; so must the last row of each key
//! that update mode shows, and the last table of complete mode. With Spark's check switched on each is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::Value;
use thalweg::Result;
use thalweg::frame::DataFrame;
use thalweg::query::Trigger;
use thalweg::session::Session;
use thalweg::sources::memory::MemoryStream;

use crate::compare::json_rows;
use crate::replay::{Delivered, unless_stuck};

/// A query over `events` and `others`; both have k, v and ts.
struct Query {
    sql: &'static str,
    /// Its first so many columns are keys, if it groups.
    keys: Option<usize>,
    /// Whether complete mode can give its table.
    complete: bool,
}

const DISTINCT: &[Query] = &[
    Query {
        sql: "SELECT k, count(DISTINCT v) AS d, sum(DISTINCT v) AS s, count(*) AS n, \
              count(DISTINCT v) FILTER (WHERE v > 2) AS f FROM events GROUP BY k",
        keys: Some(1),
        complete: true,
    },
    Query { sql: "SELECT count(DISTINCT k, v) AS d FROM events", keys: Some(0), complete: true },
];

const GROUPING_SETS: &[Query] = &[
    Query {
        sql: "SELECT k, v, grouping(k) AS gk, grouping(v) AS gv, count(*) AS n FROM events GROUP BY ROLLUP (k, v)",
        keys: Some(4),
        complete: true,
    },
    Query {
        sql: "SELECT k, v % 2 AS odd, grouping(k) AS gk, grouping(v % 2) AS go, sum(v) AS s, count(DISTINCT v) AS d \
              FROM events GROUP BY CUBE (k, v % 2)",
        keys: Some(4),
        complete: true,
    },
    Query {
        sql: "SELECT k, v, sum(v) AS s FROM events GROUP BY GROUPING SETS ((k), (v), (k), ())",
        keys: None,
        complete: true,
    },
];

const SESSIONS: &[Query] = &[
    Query {
        sql: "SELECT k, session_window.start AS s, session_window.end AS e, count(*) AS n, sum(v) AS t FROM events \
              GROUP BY session_window(ts, '8 seconds'), k",
        keys: None,
        complete: true,
    },
    Query {
        sql: "SELECT session_window.start AS s, session_window.end AS e, count(DISTINCT k) AS n FROM events \
              GROUP BY session_window(ts, '3 seconds')",
        keys: None,
        complete: true,
    },
];

const JOINS: &[Query] = &[
    joined("SELECT e.k AS k, e.v AS v, o.v AS w FROM events e LEFT JOIN others o ON e.k = o.k AND e.v = o.v"),
    joined(
        "SELECT e.k AS k, e.v AS v, o.k AS l, o.v AS w FROM events e RIGHT JOIN others o ON e.k = o.k AND e.v < o.v",
    ),
    joined("SELECT e.k AS k, e.v AS v, o.k AS l, o.v AS w FROM events e FULL JOIN others o ON e.v = o.v AND o.k = 'a'"),
    joined(
        "SELECT e.k AS k, e.ts AS ts, o.ts AS us FROM events e LEFT JOIN others o ON e.k = o.k AND o.ts >= e.ts \
         AND o.ts <= e.ts + INTERVAL 5 SECONDS",
    ),
    joined("SELECT e.k AS k, e.v AS v FROM events e LEFT SEMI JOIN others o ON e.k = o.k AND e.v = o.v"),
];

const LIMITS: &[Query] = &[
    Query { sql: "SELECT k, v FROM events LIMIT 17", keys: None, complete: false },
    Query { sql: "SELECT k, v FROM events WHERE v > 1 LIMIT 1000", keys: None, complete: false },
];

const fn joined(sql: &'static str) -> Query {
    Query { sql, keys: None, complete: false }
}

#[test]
fn distinct_aggregates() {
    check(DISTINCT);
}

#[test]
fn grouping_sets() {
    check_answers(GROUPING_SETS);
}

#[test]
fn sessions_in_update_mode() {
    check(SESSIONS);
}

#[test]
fn outer_joins_in_update_mode() {
    check(JOINS);
}

#[test]
fn limits_in_update_mode() {
    check(LIMITS);
}

/// In append mode what is final comes when the watermark, 2 seconds behind, has passed it.
#[test]
fn append_mode_gives_what_is_final() {
    let queries = [
        "SELECT window.end AS e, count(DISTINCT v) AS d FROM events GROUP BY window(ts, '10 seconds')",
        "SELECT window.end AS e, count(DISTINCT k) AS d FROM events GROUP BY window(ts, '10 seconds', '5 seconds')",
        "SELECT window.end AS e, k, count(*) AS n FROM events \
         GROUP BY GROUPING SETS ((window(ts, '10 seconds'), k), (window(ts, '10 seconds')))",
        "SELECT session_window.end AS e, count(*) AS n FROM events GROUP BY session_window(ts, '3 seconds')",
    ];
    for (seed, sql) in (1..).zip(queries) {
        let inputs = Inputs::random(seed);
        let last = inputs.of("events").times.last().copied().unwrap_or_default();
        let final_until = format!("SELECT * FROM ({sql}) WHERE e <= timestamp_micros({})", last - 2_000_000);
        let wanted = inputs.answer(&final_until);
        assert!(!wanted.is_empty(), "nothing is final in {sql}");
        for run in RUNS {
            let rows = inputs.play(sql, Shown::Rows("append"), run).into_values().flatten().collect();
            assert_eq!(counted(rows), counted(wanted.clone()), "{sql} ({run:?})");
        }
    }
}

#[test]
fn what_is_not_final_is_refused_in_append_mode() {
    let session = Session::builder().create();
    Inputs::random(1).register(&session, true);
    for sql in ["SELECT k, count(DISTINCT v) FROM events GROUP BY k", GROUPING_SETS[0].sql, JOINS[0].sql] {
        let writer = session.sql(sql).and_then(|frame| frame.write_stream().format("noop").start());
        assert!(writer.is_err(), "{sql}");
    }
}

fn check(queries: &'static [Query]) {
    queries.iter().for_each(refused_where_spark_checks);
    check_answers(queries);
}

fn check_answers(queries: &'static [Query]) {
    for (seed, query) in (7..).zip(queries) {
        let inputs = Inputs::random(seed);
        let wanted = counted(inputs.answer(query.sql));
        for run in RUNS {
            let changes = inputs.play(query.sql, Shown::Changelog, run);
            assert_eq!(applied(changes.into_values().flatten()), wanted, "the changelog of {} ({run:?})", query.sql);
            if let Some(keys) = query.keys {
                let rows = inputs.play(query.sql, Shown::Rows("update"), run);
                let last = last_of_each_key(rows.into_values().flatten(), keys);
                assert_eq!(counted(last), wanted, "the upserts of {} ({run:?})", query.sql);
            }
            if query.complete {
                let last = inputs.play(query.sql, Shown::Rows("complete"), run).into_values().next_back();
                assert_eq!(counted(last.unwrap_or_default()), wanted, "the table of {} ({run:?})", query.sql);
            }
        }
    }
}

/// What Spark runs after all is not asked: a left semi join needs a watermark there, a limit append mode; grouping sets run there
/// without DISTINCT, in update and complete mode.
fn refused_where_spark_checks(query: &Query) {
    let sets = ["ROLLUP", "CUBE", "GROUPING SETS"].iter().any(|word| query.sql.contains(word));
    if sets && !query.sql.contains("DISTINCT") {
        return;
    }
    let session = Session::builder().create();
    session.set_conf("spark.sql.streaming.unsupportedOperationCheck", true);
    Inputs::random(1).register(&session, false);
    let started =
        session.sql(query.sql).and_then(|frame| frame.write_stream().format("noop").output_mode("update").start());
    assert!(started.is_err(), "{} is not refused", query.sql);
}

/// Driver and number of workers.
#[derive(Debug, Clone, Copy)]
struct Run {
    continuous: bool,
    workers: usize,
}

const RUNS: [Run; 4] = [
    Run { continuous: false, workers: 1 },
    Run { continuous: false, workers: 3 },
    Run { continuous: true, workers: 1 },
    Run { continuous: true, workers: 3 },
];

/// What the sink is to see.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Changelog,
    Rows(&'static str),
}

/// Rows by epoch.
type Epochs = BTreeMap<u64, Vec<Value>>;

/// Rows of one input, in order of time.
#[derive(Clone)]
struct Rows {
    name: &'static str,
    keys: Vec<Option<&'static str>>,
    values: Vec<Option<i64>>,
    times: Vec<i64>,
}

impl Rows {
    fn batch(&self) -> RecordBatch {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("v", DataType::Int64, true),
            Field::new("ts", time, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.keys.clone())),
            Arc::new(Int64Array::from(self.values.clone())),
            Arc::new(TimestampMicrosecondArray::from(self.times.clone()).with_timezone("UTC")),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }
}

#[derive(Clone)]
struct Inputs {
    rows: [Rows; 2],
    random: Random,
}

impl Inputs {
    fn random(seed: u64) -> Inputs {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut rows = |name| {
            let (mut made, mut time) = (Rows { name, keys: vec![], values: vec![], times: vec![] }, 0);
            for _ in 0..70 {
                made.keys.push([Some("a"), Some("b"), Some("c"), None][random.below(4)]);
                made.values.push(Some(random.below(7) as i64).filter(|value| *value < 6));
                time += 1_000_000 * [0, 0, 1, 1, 2, 5][random.below(6)];
                made.times.push(time);
            }
            made
        };
        let rows = [rows("events"), rows("others")];
        Inputs { rows, random }
    }

    fn of(&self, name: &str) -> &Rows {
        self.rows.iter().find(|rows| rows.name == name).expect("both inputs have names")
    }

    /// The answer over tables of all rows.
    fn answer(&self, sql: &str) -> Vec<Value> {
        let session = Session::builder().create();
        for rows in &self.rows {
            let frame = session.create_data_frame(rows.batch().schema(), vec![rows.batch()]).unwrap();
            frame.create_or_replace_temp_view(rows.name).unwrap();
        }
        json_rows(&session.sql(sql).unwrap().collect().unwrap()).unwrap()
    }

    /// Empty streams under the inputs' names.
    fn register(&self, session: &Session, watermark: bool) -> Vec<MemoryStream> {
        let streams = self.rows.iter().map(|rows| {
            let stream = MemoryStream::new(rows.batch().schema());
            view(session, &stream, rows.name, watermark).unwrap();
            stream
        });
        streams.collect()
    }

    /// Runs a query over streams, stops it half-way, and goes on where it left off.
    fn play(&self, sql: &'static str, shown: Shown, run: Run) -> Epochs {
        let inputs = self.clone();
        unless_stuck(move || inputs.play_here(sql, shown, run))
            .unwrap_or_else(|error| panic!("{sql} ({run:?}): {error}"))
    }

    fn play_here(mut self, sql: &str, shown: Shown, run: Run) -> Result<Epochs> {
        let session = Session::builder().create();
        session.set_conf("thalweg.workers", run.workers);
        let streams = self.register(&session, matches!(shown, Shown::Rows("append")));
        let folder = tempfile::tempdir()?;
        let delivered = Delivered::default();
        let mut left: Vec<(MemoryStream, RecordBatch)> =
            streams.into_iter().zip(self.rows.iter().map(Rows::batch)).collect();
        for half in [35 * 2, usize::MAX] {
            let query = start(&session, sql, shown, run, folder.path(), &delivered)?;
            self.random.feed(&mut left, half, || query.process_all_available())?;
            query.process_all_available()?;
            query.stop()?;
            query.await_termination()?;
        }
        let epochs = std::mem::take(&mut *delivered.lock().expect("no holder panics"));
        epochs.iter().map(|(epoch, rows)| Ok((*epoch, json_rows(rows)?))).collect()
    }
}

fn view(session: &Session, stream: &MemoryStream, name: &str, watermark: bool) -> Result<()> {
    let frame = session.read_stream().memory(stream)?;
    let frame: DataFrame = if watermark { frame.with_watermark("ts", "2 seconds")? } else { frame };
    frame.create_or_replace_temp_view(name)
}

fn start(
    session: &Session,
    sql: &str,
    shown: Shown,
    run: Run,
    checkpoint: &std::path::Path,
    delivered: &Delivered,
) -> Result<thalweg::query::StreamingQuery> {
    let delivered = Arc::clone(delivered);
    let writer = session.sql(sql)?.write_stream().option("checkpointLocation", checkpoint.display());
    let writer = match shown {
        Shown::Changelog => writer.output_mode("update").option("changelog", true),
        Shown::Rows(mode) => writer.output_mode(mode),
    };
    let trigger = if run.continuous { Trigger::Continuous(Duration::from_millis(30)) } else { Trigger::default() };
    let writer = writer.foreach_rows(move |rows, _, epoch| {
        delivered.lock().expect("no holder panics").push((epoch, rows));
        Ok(())
    });
    writer.trigger(trigger).start()
}

#[derive(Clone)]
struct Random(u64);

impl Random {
    /// The next random number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    /// Pushes up to `count` rows in chunks of random sizes from the streams in random order; sometimes waits for them.
    fn feed(
        &mut self,
        left: &mut Vec<(MemoryStream, RecordBatch)>,
        mut count: usize,
        wait: impl Fn() -> Result<()>,
    ) -> Result<()> {
        while count > 0 && !left.is_empty() {
            let place = self.below(left.len());
            let (stream, rows) = &left[place];
            let size = (1 + self.below(9)).min(rows.num_rows()).min(count);
            stream.push(rows.slice(0, size))?;
            count -= size;
            left[place].1 = rows.slice(size, rows.num_rows() - size);
            left.retain(|(_, rows)| rows.num_rows() > 0);
            if self.below(6) == 0 {
                wait()?;
            }
        }
        Ok(())
    }
}

/// How often each row is there.
fn counted(rows: Vec<Value>) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row.to_string()).or_default() += 1);
    counts
}

/// The table that changes build up; their last column is the sign.
fn applied(changes: impl Iterator<Item = Value>) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for change in changes {
        let Value::Array(mut row) = change else { panic!("a row is a list") };
        let sign = row.pop().and_then(|sign| sign.as_i64().or_else(|| sign.as_str()?.parse().ok()));
        *counts.entry(Value::Array(row).to_string()).or_default() += sign.expect("the last column is the sign");
    }
    counts.retain(|_, count| *count != 0);
    counts
}

fn last_of_each_key(rows: impl Iterator<Item = Value>, keys: usize) -> Vec<Value> {
    let mut last = BTreeMap::new();
    for row in rows {
        let key: Vec<String> = (0..keys).map(|key| row[key].to_string()).collect();
        last.insert(key, row);
    }
    last.into_values().collect()
}
