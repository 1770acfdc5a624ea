//! Late rows as a stream of their own: from every operator that drops rows, under both drivers, over restarts.
//!
//! In: readings in memory streams, in a first epoch that moves the watermark and a second one with rows behind it. What
//! always holds: the late rows written are as many as the operators count.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use serde_json::{Value, json};
use thalweg::prelude::*;
use thalweg::query::DataStreamWriter;
use thalweg::sources::memory::MemoryStream;
use thalweg::stateful::{GroupState, GroupStateTimeout, Rows};

use crate::compare::json_rows;

pub(crate) fn session() -> Session {
    Session::builder().config("spark.sql.session.timeZone", "UTC").create()
}

/// Readings `(device, time in 2024-01-01, value)`.
pub(crate) fn readings(session: &Session, rows: &[(&str, &str, i64)]) -> RecordBatch {
    let row =
        |(device, time, value): &(&str, &str, i64)| format!("('{device}', TIMESTAMP '2024-01-01 {time}', {value})");
    let rows: Vec<String> = rows.iter().map(row).collect();
    let text = format!("SELECT * FROM VALUES {} AS t(device, time, value)", rows.join(", "));
    let rows = session.sql(&text).unwrap();
    concat_batches(&rows.schema(), &rows.collect().unwrap()).unwrap()
}

fn triggers() -> [Trigger; 2] {
    [Trigger::default(), Trigger::continuous("50 milliseconds").unwrap()]
}

fn table(session: &Session, name: &str) -> Vec<Value> {
    let mut rows = json_rows(&session.table(name).unwrap().collect().unwrap()).unwrap();
    rows.sort_by_key(Value::to_string);
    rows
}

/// Runs a query over three epochs; results and late rows go to memory tables of this name.
fn run(session: &Session, stream: &MemoryStream, writer: DataStreamWriter, name: &str, trigger: Trigger) -> u64 {
    let late = format!("{name}_late");
    let writer = writer.format("memory").query_name(name).trigger(trigger);
    let writer = writer.late_rows(move |rows| {
        let rows = rows.select_expr(["device", "value", "split(_operator, '-')[0] AS operator", "_watermark"])?;
        Ok(rows.write_stream().format("memory").query_name(&late))
    });
    let query = writer.start().unwrap();
    for rows in [
        &[("a", "10:00:00", 1), ("b", "10:20:00", 2)][..],
        &[("a", "10:01:00", 3), ("b", "10:19:30", 4), ("a", "10:02:00", 5), ("c", "10:40:00", 6)],
        &[("c", "10:21:00", 7)],
    ] {
        stream.push(readings(session, rows)).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    let dropped = |p: &thalweg::query::progress::Progress| -> u64 {
        p.state_operators.iter().map(|s| s.num_rows_dropped_by_watermark).sum()
    };
    query.recent_progress().iter().map(dropped).sum()
}

fn stream(session: &Session) -> (MemoryStream, DataFrame) {
    let stream = MemoryStream::new(readings(session, &[("a", "00:00:00", 0)]).schema());
    let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "1 minute").unwrap();
    (stream, frame)
}

fn late_row(device: &str, value: i64, operator: &str, watermark: &str) -> Value {
    json!([device, value, operator, format!("2024-01-01T{watermark}Z")])
}

fn without_times(rows: Vec<Value>) -> Vec<(Value, Value, Value)> {
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone(), row[2].clone())).collect()
}

/// The late rows of a query by `write`, under both drivers, without their watermarks.
fn late_of(write: impl Fn(DataFrame) -> Result<DataFrame>) -> Vec<(Value, Value, Value)> {
    let found = triggers().map(|trigger| {
        let session = session();
        let (stream, frame) = stream(&session);
        let writer = write(frame).unwrap().write_stream();
        let counted = run(&session, &stream, writer, "t", trigger);
        let rows = table(&session, "t_late");
        assert_eq!(rows.len() as u64, counted, "{rows:?}");
        without_times(rows)
    });
    let [micro_batch, continuous] = found;
    assert_eq!(micro_batch, continuous);
    micro_batch
}

fn rows(expected: &[(&str, i64, &str)]) -> Vec<(Value, Value, Value)> {
    expected.iter().map(|(device, value, operator)| (json!(device), json!(value), json!(operator))).collect()
}

#[test]
fn late_rows_of_windows_have_all_columns_and_the_watermark() {
    for trigger in triggers() {
        let session = session();
        let (stream, frame) = stream(&session);
        // `value` is in none of the query's columns.
        let counts =
            frame.group_by([window("time", "10 minutes"), col("device")]).agg([count("*").alias("n")]).unwrap();
        let dropped = run(&session, &stream, counts.write_stream(), "t", trigger);
        let late = table(&session, "t_late");
        let expected =
            [("a", 3, "10:19:00"), ("a", 5, "10:19:00")].map(|(d, v, w)| late_row(d, v, "aggregate", w)).to_vec();
        assert_eq!(late[..2], expected[..], "{trigger:?}");
        assert_eq!(late[2..], [late_row("c", 7, "aggregate", "10:39:00")]);
        assert_eq!(dropped, 3);
        let closed = table(&session, "t");
        let closed: Vec<_> = closed.iter().map(|row| (row[0]["start"].as_str().unwrap(), &row[1], &row[2])).collect();
        let window = |minute| format!("2024-01-01T10:{minute}:00Z");
        let (first, second, third) = (window("00"), window("10"), window("20"));
        let (a, b, one) = (json!("a"), json!("b"), json!(1));
        assert_eq!(closed, [(first.as_str(), &a, &one), (&second, &b, &one), (&third, &b, &one)]);
    }
}

#[test]
fn every_operator_hands_over_what_it_drops() {
    let sliding = |frame: DataFrame| {
        let windows = [sliding_window("time", "10 minutes", "5 minutes")];
        frame.group_by(windows).agg([sum("value").alias("s"), max("time").alias("m")])
    };
    let expected = rows(&[("a", 3, "aggregate"), ("a", 5, "aggregate"), ("c", 7, "aggregate")]);
    assert_eq!(late_of(sliding), expected);
    let expected = rows(&[("a", 3, "dedup"), ("a", 5, "dedup"), ("c", 7, "dedup")]);
    assert_eq!(late_of(|frame| frame.drop_duplicates(&["device", "time"])), expected);
    let by_time = |frame: DataFrame| frame.group_by(["time", "device"]).agg([count("*").alias("n")]);
    assert_eq!(late_of(by_time), rows(&[("a", 3, "aggregate"), ("a", 5, "aggregate"), ("c", 7, "aggregate")]));
    let sessions = |frame: DataFrame| {
        frame.group_by([session_window("time", "5 minutes"), col("device")]).agg([count("*").alias("n")])
    };
    assert_eq!(late_of(sessions), rows(&[("a", 3, "session"), ("a", 5, "session"), ("c", 7, "session")]));
}

#[test]
fn state_of_the_programs_own_hands_over_what_it_drops() {
    #[derive(serde::Deserialize)]
    struct Reading {
        value: i32,
    }
    let sums = |frame: DataFrame| {
        frame.group_by(["device"]).flat_map_groups_with_state(
            "append",
            GroupStateTimeout::EventTimeTimeout,
            |_: &String, rows: Rows<'_, Reading>, _: &mut GroupState<i64>| {
                Ok(Some(rows.map(|reading| i64::from(reading.value)).sum::<i64>()))
            },
        )
    };
    assert_eq!(late_of(sums), rows(&[("a", 3, "groups"), ("a", 5, "groups"), ("c", 7, "groups")]));
}

#[test]
fn both_sides_of_a_join_hand_over_by_name() {
    let session = session();
    let (left, frame) = stream(&session);
    let right = MemoryStream::new(left.schema());
    let other = session.read_stream().memory(&right).unwrap();
    let other = other.select_expr(["device AS machine", "time AS seen", "value * 10 AS tenfold"]).unwrap();
    let other = other.with_watermark("seen", "1 minute").unwrap();
    let within = "device = machine AND seen BETWEEN time - INTERVAL 5 MINUTES AND time";
    // Only these columns are needed by the query.
    let joined = frame.join(&other, expr(within), "inner").unwrap().select(["device", "seen"]).unwrap();
    let writer = joined.write_stream().format("noop").late_rows(|late| {
        let names = late.columns();
        assert_eq!(names, ["device", "time", "value", "machine", "seen", "tenfold", "_operator", "_watermark"]);
        let late = late.select(["device", "value", "machine", "tenfold"])?;
        Ok(late.write_stream().format("memory").query_name("late"))
    });
    let query = writer.start().unwrap();
    for time in ["10:00:00", "11:00:00", "10:30:00"] {
        left.push(readings(&session, &[("a", time, 1)])).unwrap();
        right.push(readings(&session, &[("b", time, 2)])).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    assert_eq!(table(&session, "late"), [json!(["a", 1, null, null]), json!([null, null, "b", 20])]);
}

fn folder_rows(session: &Session, folder: &Path) -> Vec<Value> {
    let frame = session.read().schema("device STRING, value BIGINT").json(folder.to_str().unwrap()).unwrap();
    let mut rows = json_rows(&frame.collect().unwrap()).unwrap();
    rows.sort_by_key(Value::to_string);
    rows
}

#[test]
fn both_sinks_are_committed_together_over_restarts() {
    let session = session();
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir(path("in")).unwrap();
    let lines =
        [["10:00:00", "11:00:00"], ["10:10:00", "12:00:00"], ["10:20:00", "11:30:00"], ["13:00:00", "11:00:00"]];
    for (file, times) in lines.iter().enumerate() {
        let line = |time: &&str| format!("{{\"device\":\"d\",\"time\":\"2024-01-01T{time}Z\",\"value\":{file}}}\n");
        std::fs::write(path("in").join(format!("{file}.json")), times.iter().map(line).collect::<String>()).unwrap();
        let source = session.read_stream().schema("device STRING, time TIMESTAMP, value BIGINT");
        let frame = source.json(path("in").to_str().unwrap()).unwrap().with_watermark("time", "0 seconds").unwrap();
        let counts = frame.group_by([window("time", "1 minute"), col("device")]).agg([sum("value").alias("value")]);
        let counts = counts.unwrap().select(["device", "value"]).unwrap();
        let writer = counts.write_stream().format("json").option("path", path("out").display());
        let late = path("late").display().to_string();
        let writer = writer.late_rows(move |rows| {
            Ok(rows.select(["device", "value"])?.write_stream().format("json").option("path", &late))
        });
        let writer = writer.option("checkpointLocation", path("checkpoint").display());
        writer.trigger(Trigger::AvailableNow).start().unwrap().await_termination().unwrap();
    }
    let of = |values: &[i64]| values.iter().map(|value| json!(["d", value])).collect::<Vec<_>>();
    assert_eq!(folder_rows(&session, &path("late")), of(&[1, 2, 2, 3]));
    assert_eq!(folder_rows(&session, &path("out")), of(&[0, 0, 1]));
}

#[test]
fn a_job_names_a_table_for_late_rows() {
    let session = session();
    let (stream, frame) = stream(&session);
    frame.create_or_replace_temp_view("readings").unwrap();
    session.sql("CREATE TABLE late_ones USING memory OPTIONS (queryName 'late_out')").unwrap();
    session.sql("CREATE TABLE counts USING memory OPTIONS (queryName 'counts_out', lateRows 'late_ones')").unwrap();
    let insert = "INSERT INTO counts SELECT window(time, '10 minutes') AS w, count(*) AS n FROM readings GROUP BY w";
    session.sql(insert).unwrap();
    let query = session.streams().active().remove(0);
    for rows in [[("a", "10:00:00", 1), ("b", "10:20:00", 2)], [("a", "10:01:00", 3), ("b", "10:19:30", 4)]] {
        stream.push(readings(&session, &rows)).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    let late = table(&session, "late_out");
    assert_eq!((late.len(), &late[0][0], &late[0][2]), (1, &json!("a"), &json!(3)));
}

#[test]
fn late_rows_that_cannot_be_are_refused() {
    let session = session();
    let (_stream, frame) = stream(&session);
    let counts = frame.group_by([window("time", "1 minute")]).agg([count("*")]).unwrap();
    assert!(told(&frame, |late| late.format("noop")).contains("no operator that drops"));
    assert!(told(&counts, |late| late.format("noop").trigger(Trigger::Once)).contains("a trigger"));
    assert!(told(&counts, |late| late).contains("has no sink"));
    let twice = frame.with_column("Value", col("value")).unwrap().select_expr(["time", "value", "value AS v"]).unwrap();
    let counts = twice.select_expr(["time", "value", "v AS value"]).unwrap();
    let counts = counts.group_by([window("time", "1 minute")]).agg([count("*")]).unwrap();
    assert!(told(&counts, |late| late.format("noop")).contains("stands twice"));
}

/// Why a query with this writer of late rows does not start.
fn told(frame: &DataFrame, late: impl Fn(DataStreamWriter) -> DataStreamWriter + Send + Sync + 'static) -> String {
    let writer = frame.write_stream().format("noop").late_rows(move |rows| Ok(late(rows.write_stream())));
    writer.start().map(|_| ()).unwrap_err().to_string()
}
