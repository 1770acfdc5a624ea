//! The table of `docs/modes.md`: which kind of query runs in which output mode, and what it gives there.
//!
//! Each test is a row of the table. What runs, runs under both drivers over streams, and gives the answer of the same query over
//! tables; what is marked is refused when Spark's check is switched on; what does not run is refused before anything runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::Value;
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;

use crate::compare::json_rows;
use crate::replay::{Delivered, unless_stuck};
use Verdict::{Marked, No, Yes};

/// Whether a query runs in an output mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As in Spark.
    Yes,
    /// Unless Spark's check is switched on.
    Marked,
    No,
}

/// Appended, updated, complete.
const MODES: [&str; 3] = ["append", "update", "complete"];

/// A query over `events` and `others` (k, v, ts), and the table `names` (k, name).
type Query = fn(&Session) -> Result<DataFrame>;

/// Whether the streams carry a watermark, 2 seconds behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watermark {
    With,
    Without,
}
use Watermark::{With, Without};

#[test]
fn stateless_steps() {
    let query: Query = |s| s.sql("SELECT k, v * 2 AS d FROM events WHERE v > 1");
    check(query, Without, [Yes, Yes, Marked]);
    check(query, With, [Yes, Yes, Marked]);
    check(|s| s.sql("SELECT k, explode(array(v, v + 1)) AS d FROM events"), Without, [Yes, Yes, Marked]);
}

#[test]
fn aggregation_without_event_time() {
    check(|s| s.sql("SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k"), Without, [No, Yes, Yes]);
    check(|s| s.sql("SELECT count(*) AS n, max(v) AS m FROM events"), With, [No, Yes, Yes]);
}

#[test]
fn aggregation_by_event_time() {
    let tumbling: Query =
        |s| s.sql("SELECT window.start AS w, k, count(*) AS n FROM events GROUP BY window(ts, '5 seconds'), k");
    check(tumbling, With, [Yes, Yes, Yes]);
    check(tumbling, Without, [No, Yes, Yes]);
    let sliding: Query =
        |s| s.sql("SELECT window.start AS w, sum(v) AS s FROM events GROUP BY window(ts, '6 seconds', '2 seconds')");
    check(sliding, With, [Yes, Yes, Yes]);
    check(|s| s.sql("SELECT ts, count(*) AS n FROM events GROUP BY ts"), With, [Yes, Yes, Yes]);
}

#[test]
fn session_windows() {
    let by_key: Query = |s| {
        s.sql("SELECT session_window.start AS b, k, count(*) AS n FROM events GROUP BY session_window(ts, '2 seconds'), k")
    };
    check(by_key, With, [Yes, Marked, Yes]);
    check(by_key, Without, [No, Marked, Yes]);
    let alone: Query = |s| {
        s.sql("SELECT session_window.start AS b, count(*) AS n FROM events GROUP BY session_window(ts, '2 seconds')")
    };
    check(alone, With, [Marked, Marked, Marked]);
    check(alone, Without, [No, Marked, Marked]);
    let over_windows: Query = |s| {
        s.sql(
            "SELECT session_window.start AS b, k, sum(n) AS n FROM \
             (SELECT window_time(window) AS t, k, count(*) AS n FROM events GROUP BY window(ts, '1 second'), k) \
             GROUP BY session_window(t, '2 seconds'), k",
        )
    };
    check(over_windows, With, [Yes, No, No]);
}

#[test]
fn distinct_aggregates() {
    check(|s| s.sql("SELECT k, count(DISTINCT v) AS d FROM events GROUP BY k"), Without, [No, Marked, Marked]);
    let windowed: Query =
        |s| s.sql("SELECT window.end AS e, count(DISTINCT v) AS d FROM events GROUP BY window(ts, '5 seconds')");
    check(windowed, With, [Marked, Marked, Marked]);
}

#[test]
fn grouping_sets() {
    check(|s| s.sql("SELECT k, v, count(*) AS n FROM events GROUP BY CUBE (k, v)"), Without, [No, Yes, Yes]);
    let windowed: Query = |s| {
        s.sql(
            "SELECT window.end AS e, k, count(*) AS n FROM events \
             GROUP BY GROUPING SETS ((window(ts, '5 seconds'), k), (window(ts, '5 seconds')))",
        )
    };
    check(windowed, With, [Yes, Yes, Yes]);
    let distinct: Query = |s| s.sql("SELECT k, count(DISTINCT v) AS d FROM events GROUP BY ROLLUP (k)");
    check(distinct, Without, [No, Marked, Marked]);
}

#[test]
fn drop_duplicates() {
    let by_key: Query = |s| s.table("events")?.drop_duplicates(&["k", "v"])?.select(["k", "v"]);
    check(by_key, Without, [Yes, Yes, Marked]);
    check(|s| s.table("events")?.drop_duplicates(&["k", "v", "ts"]), With, [Yes, Yes, Marked]);
    let counted: Query =
        |s| s.table("events")?.drop_duplicates(&["k", "v"])?.group_by(["k"]).agg([count("*").alias("n")]);
    check(counted, Without, [No, Yes, Yes]);
}

#[test]
fn drop_duplicates_within_watermark() {
    // It exists on streams only; over a table it means the same as without watermark.
    let rows: Query = |s| match s.table("events")? {
        events if events.is_streaming() => events.drop_duplicates_within_watermark(&["k", "v", "ts"]),
        events => events.drop_duplicates(&["k", "v", "ts"]),
    };
    check(rows, With, [Yes, Yes, Marked]);
    check(rows, Without, [No, No, No]);
}

#[test]
fn select_distinct() {
    check(|s| s.sql("SELECT DISTINCT k, v FROM events"), Without, [No, Yes, Yes]);
    check(|s| s.sql("SELECT DISTINCT k, ts FROM events"), With, [Yes, Yes, Yes]);
}

#[test]
fn set_operations() {
    check(|s| s.sql("SELECT k, v FROM events EXCEPT SELECT k, v FROM others"), Without, [No, Marked, Marked]);
    check(|s| s.sql("SELECT k, v FROM events INTERSECT SELECT k, v FROM others"), Without, [No, Marked, Marked]);
}

#[test]
fn joins_with_a_table() {
    for kind in ["JOIN", "LEFT JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"] {
        let query: Query = match kind {
            "JOIN" => |s| s.sql("SELECT e.k, v, name FROM events e JOIN names n ON e.k = n.k"),
            "LEFT JOIN" => |s| s.sql("SELECT e.k, v, name FROM events e LEFT JOIN names n ON e.k = n.k"),
            "LEFT SEMI JOIN" => |s| s.sql("SELECT e.k, v FROM events e LEFT SEMI JOIN names n ON e.k = n.k"),
            _ => |s| s.sql("SELECT e.k, v FROM events e LEFT ANTI JOIN names n ON e.k = n.k"),
        };
        check(query, Without, [Yes, Yes, Marked]);
    }
    check(|s| s.sql("SELECT name, v FROM names n RIGHT JOIN events e ON e.k = n.k"), Without, [Yes, Yes, Marked]);
    check(
        |s| s.sql("SELECT name, count(*) AS c FROM events e JOIN names n ON e.k = n.k GROUP BY name"),
        Without,
        [No, Yes, Yes],
    );
}

#[test]
fn joins_that_preserve_a_table() {
    check(|s| s.sql("SELECT name, v FROM names n LEFT JOIN events e ON e.k = n.k"), Without, [No, No, No]);
    check(|s| s.sql("SELECT name, v FROM names n FULL JOIN events e ON e.k = n.k"), Without, [No, No, No]);
}

#[test]
fn inner_joins_of_streams() {
    let keyed: Query = |s| s.sql("SELECT e.k, e.v, o.v AS w FROM events e JOIN others o ON e.k = o.k AND e.v = o.v");
    check(keyed, Without, [Yes, Yes, Marked]);
    let ranged: Query = |s| {
        s.sql(
            "SELECT e.k, e.ts, o.ts AS us FROM events e JOIN others o ON e.k = o.k AND o.ts >= e.ts \
             AND o.ts <= e.ts + INTERVAL 2 SECONDS",
        )
    };
    check(ranged, With, [Yes, Yes, Marked]);
    check(|s| s.sql("SELECT e.k, o.v FROM events e JOIN others o ON e.v < o.v"), Without, [No, Marked, Marked]);
}

#[test]
fn joins_of_aggregated_streams() {
    let tables: Query = |s| {
        s.sql(
            "SELECT a.k, n, m FROM (SELECT k, count(*) AS n FROM events GROUP BY k) a \
             LEFT JOIN (SELECT k, sum(v) AS m FROM others GROUP BY k) b ON a.k = b.k",
        )
    };
    check(tables, Without, [No, Marked, Marked]);
    let windows: Query = |s| {
        s.sql(
            "SELECT a.w.start AS b, n, m FROM (SELECT window(ts, '5 seconds') AS w, count(*) AS n FROM events GROUP BY 1) a \
             JOIN (SELECT window(ts, '5 seconds') AS w, sum(v) AS m FROM others GROUP BY 1) b ON a.w = b.w",
        )
    };
    check(windows, With, [Yes, Marked, Marked]);
}

#[test]
fn anti_joins_of_streams() {
    check(
        |s| s.sql("SELECT e.k, e.v FROM events e LEFT ANTI JOIN others o ON e.v = o.v"),
        Without,
        [No, Marked, Marked],
    );
    check(
        |s| s.sql("SELECT k, v FROM events e WHERE NOT EXISTS (SELECT 1 FROM others o WHERE o.v = e.v)"),
        Without,
        [No, Marked, Marked],
    );
}

#[test]
fn semi_joins_of_streams() {
    let ranged: Query = |s| {
        s.sql(
            "SELECT e.k, e.v, e.ts FROM events e LEFT SEMI JOIN others o ON e.k = o.k AND o.ts >= e.ts \
             AND o.ts <= e.ts + INTERVAL 2 SECONDS",
        )
    };
    check(ranged, With, [Yes, Yes, Marked]);
    check(
        |s| s.sql("SELECT e.k, e.v FROM events e LEFT SEMI JOIN others o ON e.v = o.v"),
        Without,
        [No, Marked, Marked],
    );
}

#[test]
fn outer_joins_of_streams() {
    let ranged: Query = |s| {
        s.sql(
            "SELECT e.k, e.ts, o.ts AS us FROM events e LEFT JOIN others o ON e.k = o.k AND o.ts >= e.ts \
             AND o.ts <= e.ts + INTERVAL 2 SECONDS",
        )
    };
    check(ranged, With, [Yes, Marked, Marked]);
    let full: Query = |s| s.sql("SELECT e.v, o.v AS w FROM events e FULL JOIN others o ON e.k = o.k AND e.v = o.v");
    check(full, Without, [No, Marked, Marked]);
    check(
        |s| {
            s.sql(
                "SELECT e.k, count(o.v) AS n FROM events e LEFT JOIN others o ON e.k = o.k AND e.v = o.v GROUP BY e.k",
            )
        },
        Without,
        [No, Marked, Marked],
    );
}

#[test]
fn aggregations_over_aggregations() {
    check(
        |s| s.sql("SELECT n, count(*) AS c FROM (SELECT k, count(*) AS n FROM events GROUP BY k) GROUP BY n"),
        Without,
        [No, Marked, Marked],
    );
    let windows: Query = |s| {
        s.sql(
            "SELECT window.start AS b, sum(n) AS n FROM (SELECT window(window_time(window), '10 seconds') AS window, n FROM \
             (SELECT window, k, count(*) AS n FROM events GROUP BY window(ts, '5 seconds'), k)) GROUP BY window",
        )
    };
    check(windows, With, [Yes, Marked, Marked]);
}

#[test]
fn unions() {
    check(|s| s.sql("SELECT k, v FROM events UNION ALL SELECT k, v FROM others"), Without, [Yes, Yes, Marked]);
    check(|s| s.sql("SELECT k FROM events UNION ALL SELECT k FROM names"), Without, [No, No, No]);
}

#[test]
fn order_and_limit() {
    check(|s| s.sql("SELECT k, v FROM events ORDER BY v, k"), Without, [No, No, Marked]);
    check(|s| s.sql("SELECT k, count(*) AS n FROM events GROUP BY k ORDER BY n"), Without, [No, No, Yes]);
    check(|s| s.sql("SELECT k, v FROM events ORDER BY v DESC, k, ts LIMIT 3"), Without, [No, Marked, Marked]);
    check(|s| s.sql("SELECT v FROM (SELECT 1 AS v FROM events) LIMIT 7"), Without, [Yes, Marked, Marked]);
}

#[test]
fn ranks() {
    let rank: Query = |s| s.sql("SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, ts) AS n FROM events");
    check(rank, Without, [No, Marked, Marked]);
    check(|s| s.sql("SELECT k, sum(v) OVER (PARTITION BY k) AS s FROM events"), Without, [No, No, No]);
}

/// The query in all three modes, under both drivers.
fn check(query: Query, watermark: Watermark, verdicts: [Verdict; 3]) {
    let mut failures = Vec::new();
    for (mode, verdict) in MODES.into_iter().zip(verdicts) {
        let strict = starts(query, watermark, mode, true);
        let lenient = starts(query, watermark, mode, false);
        let wanted = (verdict == Yes, verdict != No);
        if (strict.is_ok(), lenient.is_ok()) != wanted {
            failures.push(format!("{mode} should be {verdict:?}: with Spark's check {strict:?}, without {lenient:?}"));
        } else if verdict != No {
            failures.extend(difference(query, watermark, mode).map(|why| format!("{mode}: {why}")));
        }
    }
    let text = plan(query, watermark);
    assert!(failures.is_empty(), "{watermark:?} a watermark, {text}\n{}", failures.join("\n"));
}

fn plan(query: Query, watermark: Watermark) -> String {
    let session = session(false, Input::Streams(&mut Vec::new()), watermark);
    session.and_then(|session| Ok(query(&session)?.explain_string())).unwrap_or_else(|error| error.to_string())
}

/// Whether a query starts, on streams that stay empty.
fn starts(query: Query, watermark: Watermark, mode: &str, strict: bool) -> Result<()> {
    let session = session(strict, Input::Streams(&mut Vec::new()), watermark)?;
    let query = query(&session)?.write_stream().format("noop").output_mode(mode).start()?;
    query.stop()
}

/// Where streaming and static answers differ.
fn difference(query: Query, watermark: Watermark, mode: &'static str) -> Option<String> {
    let wanted = session(false, Input::Tables, watermark).and_then(|session| json_rows(&query(&session)?.collect()?));
    let wanted = counted(wanted.unwrap_or_else(|error| panic!("over tables: {error}")), 1);
    let every = Trigger::Continuous(Duration::from_millis(20));
    [Trigger::default(), every].into_iter().find_map(|trigger| {
        let got = unless_stuck(move || play(query, watermark, mode, trigger));
        match got {
            Ok(got) if got == wanted => None,
            Ok(got) => Some(format!("{trigger:?}:\n  {got:?}\n  not {wanted:?}")),
            Err(error) => Some(format!("{trigger:?}: {error}")),
        }
    })
}

/// The result over streams: all rows appended, the sum of all changes, or the last table.
fn play(query: Query, watermark: Watermark, mode: &'static str, trigger: Trigger) -> Result<BTreeMap<String, i64>> {
    let mut streams = Vec::new();
    let session = session(false, Input::Streams(&mut streams), watermark)?;
    let delivered = Delivered::default();
    let into = delivered.clone();
    let writer = query(&session)?.write_stream().output_mode(mode).trigger(trigger);
    let writer = if mode == "update" { writer.option("changelog", true) } else { writer };
    let query = writer
        .foreach_rows(move |rows, _, epoch| {
            into.lock().expect("no holder panics").push((epoch, rows));
            Ok(())
        })
        .start()?;
    for part in [0..20, 20..33, 33..60] {
        for (stream, rows) in &streams {
            stream.push(rows.slice(part.start, part.len()))?;
        }
        query.process_all_available()?;
    }
    if mode == "append" {
        // A row far ahead makes final what there is.
        streams.iter().try_for_each(|(stream, _)| stream.push(batch(vec![(Some("far ahead"), -999, 86_400)])))?;
        query.process_all_available()?;
    }
    query.stop()?;
    let epochs = std::mem::take(&mut *delivered.lock().expect("no holder panics"));
    let mut epochs = epochs.iter().map(|(_, rows)| json_rows(rows)).collect::<Result<Vec<_>>>()?;
    Ok(match mode {
        "append" => counted(epochs.into_iter().flatten().filter(|row| !is_far_ahead(row)), 1),
        "update" => changed(epochs.into_iter().flatten()),
        _ => counted(epochs.pop().unwrap_or_default(), 1),
    })
}

fn is_far_ahead(row: &Value) -> bool {
    let text = row.to_string();
    ["far ahead", "-999"].iter().any(|mark| text.contains(mark))
}

fn counted(rows: impl IntoIterator<Item = Value>, sign: i64) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    rows.into_iter().for_each(|row| *counts.entry(row.to_string()).or_default() += sign);
    counts
}

fn changed(rows: impl Iterator<Item = Value>) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in rows {
        let Value::Array(mut row) = row else { panic!("a row is a list") };
        let sign = row.pop().and_then(|sign| sign.as_i64()).expect("the last column is the sign");
        *counts.entry(Value::Array(row).to_string()).or_default() += sign;
    }
    counts.retain(|_, count| *count != 0);
    counts
}

enum Input<'a> {
    Tables,
    /// Takes the streams and the rows to push.
    Streams(&'a mut Vec<(MemoryStream, RecordBatch)>),
}

fn session(strict: bool, input: Input<'_>, watermark: Watermark) -> Result<Session> {
    let session = Session::builder().config("thalweg.workers", 2).create();
    if strict {
        session.set_conf("spark.sql.streaming.unsupportedOperationCheck", true);
    }
    session
        .sql("SELECT * FROM VALUES ('a', 'A'), ('b', 'B'), ('b', 'BB') AS t(k, name)")?
        .create_or_replace_temp_view("names")?;
    let mut streams = Vec::new();
    for (name, seed) in [("events", 3), ("others", 5)] {
        let rows = rows(seed);
        let frame = match input {
            Input::Tables => session.create_data_frame(rows.schema(), vec![rows])?,
            Input::Streams(_) => {
                let stream = MemoryStream::new(rows.schema());
                let frame = session.read_stream().memory(&stream)?;
                streams.push((stream, rows));
                frame
            }
        };
        let frame = if watermark == With { frame.with_watermark("ts", "2 seconds")? } else { frame };
        frame.create_or_replace_temp_view(name)?;
    }
    if let Input::Streams(into) = input {
        *into = streams;
    }
    Ok(session)
}

/// 2024-01-01 12:00 UTC.
const NOON: i64 = 1_704_110_400_000_000;

/// 60 rows in order of time.
fn rows(seed: i64) -> RecordBatch {
    let row = |n: i64| {
        let mixed = (n * seed * 7919 + n * n) % 101;
        ([Some("a"), Some("b"), Some("c"), None][(mixed % 4) as usize], mixed % 6, n / 2 + n / 7)
    };
    batch((0..60).map(row).collect())
}

fn batch(rows: Vec<(Option<&str>, i64, i64)>) -> RecordBatch {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("ts", time, true),
    ];
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| NOON + row.2 * 1_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(times.with_timezone("UTC")),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}
