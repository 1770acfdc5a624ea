//! What progress reports say of operators with state: names and order as in Spark, rows kept, touched, evicted and dropped, memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;
use thalweg::query::progress::StateOperator;
use thalweg::sources::memory::MemoryStream;

use crate::late::{readings, session};

/// The operators after three batches, of which the second moves the watermark to 10:29 and the third has a late row; and the rows
/// that each dropped in all batches.
fn operators(
    trigger: Trigger,
    mode: &str,
    query: impl Fn(DataFrame) -> Result<DataFrame>,
) -> (Vec<StateOperator>, Vec<u64>) {
    let session = session();
    let stream = MemoryStream::new(readings(&session, &[("a", "00:00:00", 0)]).schema());
    let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "1 minute").unwrap();
    let query = query(frame).unwrap().write_stream().format("noop").output_mode(mode).trigger(trigger).start().unwrap();
    for rows in [
        &[("a", "10:00:00", 1), ("b", "10:01:00", 2), ("a", "10:00:00", 1)][..],
        &[("a", "10:30:00", 3)],
        &[("b", "10:00:30", 4), ("c", "10:31:00", 5)],
    ] {
        stream.push(readings(&session, rows)).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    let reports = query.recent_progress();
    let last = reports.last().unwrap().state_operators.clone();
    let dropped = |n: usize| reports.iter().map(|report| report.state_operators[n].num_rows_dropped_by_watermark).sum();
    let dropped = (0..last.len()).map(dropped).collect();
    (last, dropped)
}

fn triggers() -> [Trigger; 2] {
    [Trigger::default(), Trigger::continuous("50 milliseconds").unwrap()]
}

fn names(operators: &[StateOperator]) -> Vec<&str> {
    operators.iter().map(|operator| operator.operator_name.as_str()).collect()
}

#[test]
fn operators_report_what_they_keep() {
    for trigger in triggers() {
        let (operators, dropped) = operators(trigger, "append", |frame| {
            let once = frame.drop_duplicates_within_watermark(&["device", "value"])?;
            once.group_by([window("time", "10 minutes"), col("device")]).agg([count("*").alias("n")])
        });
        // The one nearest to the output first, as Spark lists them.
        assert_eq!(names(&operators), ["stateStoreSave", "dedupeWithinWatermark"], "{trigger:?}");
        // Windows from 10:30 on; keys whose time plus a minute is after 10:30.
        assert_eq!([operators[0].num_rows_total, operators[1].num_rows_total], [2, 2], "{trigger:?}");
        assert_eq!(dropped, [0, 1], "{trigger:?}");
        assert!(operators.iter().all(|operator| operator.memory_used_bytes > 0));
    }
}

#[test]
fn sessions_and_joins_have_sparks_names() {
    let (sessions, _) = operators(Trigger::default(), "append", |frame| {
        frame.group_by([session_window("time", "5 minutes"), col("device")]).agg([count("*").alias("n")])
    });
    assert_eq!(names(&sessions), ["sessionWindowStateStoreSaveExec"]);
    let (joined, _) = operators(Trigger::default(), "append", |frame| {
        let other = frame.select_expr(["device AS d", "value AS w"])?;
        frame.join(&other, expr("device = d"), "inner")?.drop_duplicates(&["device"])
    });
    assert_eq!(names(&joined), ["dedupe", "symmetricHashJoin"]);
}

#[test]
fn of_several_ranges_of_time_the_tightest_bounds_a_joins_state() {
    let session = session();
    let streams = [(); 2].map(|()| MemoryStream::new(readings(&session, &[("a", "00:00:00", 0)]).schema()));
    let [left, right] = streams.each_ref().map(|stream| session.read_stream().memory(stream).unwrap());
    let left = left.with_watermark("time", "0 seconds").unwrap();
    let right = right.select_expr(["device AS d", "time AS t"]).unwrap().with_watermark("t", "0 seconds").unwrap();
    // Numbers are seconds, also those with a point.
    let within = "device = d AND t BETWEEN time - INTERVAL 10 DAYS AND time + INTERVAL 10 DAYS \
                  AND CAST(t AS DOUBLE) <= CAST(time AS DOUBLE) + 60 AND t >= time - INTERVAL 1 MINUTE";
    let joined = left.join(&right, expr(within), "inner").unwrap();
    let query = joined.write_stream().format("noop").start().unwrap();
    for minute in 10..40 {
        let rows = readings(&session, &[("a", &format!("10:{minute}:00"), 1)]);
        streams.iter().for_each(|stream| stream.push(rows.clone()).unwrap());
        query.process_all_available().unwrap();
    }
    let kept = query.last_progress().unwrap().state_operators[0].num_rows_total;
    query.stop().unwrap();
    assert!(kept <= 8, "{kept} rows are kept, of 60");
}

#[test]
fn the_differential_lane_reports_its_state() {
    let (operators, _) = operators(Trigger::default(), "complete", |frame| {
        frame.group_by(["device"]).agg([count("*").alias("n")])?.group_by(["n"]).agg([count("*").alias("devices")])
    });
    assert_eq!(names(&operators), ["completeTable", "differentialAggregate", "stateStoreSave"]);
    assert_eq!(operators.iter().map(|operator| operator.num_rows_total).collect::<Vec<_>>(), [3, 3, 3]);
    assert!(operators.iter().all(|operator| operator.memory_used_bytes > 0));
}

#[derive(Serialize, Deserialize)]
struct Reading {
    device: String,
}

#[derive(Deserialize)]
struct Count {
    n: i64,
}

#[test]
fn figures_are_there_in_the_midst_of_an_epoch() {
    for workers in [1, 2] {
        let session = Session::builder().config("thalweg.workers", workers).create();
        let (sender, readings) = session.read_stream().items::<Reading>(16).unwrap();
        let counts = readings.group_by(["device"]).agg([count("*").alias("n")]).unwrap();
        let writer = counts.write_stream().output_mode("update").trigger(Trigger::continuous("1 hour").unwrap());
        let (query, mut items) = writer.start_items::<Count>(16).unwrap();
        let mut send = |device: &str| {
            sender.send(&Reading { device: device.into() }).unwrap();
            items.next_timeout(Duration::from_secs(120)).expect("a count comes").unwrap().n
        };
        assert_eq!([send("a"), send("b"), send("a")], [1, 1, 2]);
        let kept = query.state_operators();
        assert_eq!(names(&kept), ["stateStoreSave"]);
        assert_eq!((kept[0].num_rows_total, kept[0].num_rows_updated), (2, 3), "{workers} workers");
        assert!(kept[0].memory_used_bytes > 0 && query.last_progress().is_none(), "no epoch has closed");
        assert_eq!(send("c"), 1);
        assert_eq!(query.state_operators()[0].num_rows_updated, 4);
        query.stop().unwrap();
        // To ask takes nothing away from the report.
        let reports = query.recent_progress();
        assert_eq!(reports.iter().map(|report| report.state_operators[0].num_rows_updated).sum::<u64>(), 4);
        assert!(query.state_operators().is_empty(), "the query has ended");
    }
}
