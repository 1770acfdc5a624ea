//! What time can do to a query: rows from the future and from before 1970, idle partitions, clocks that jump, other delays after
//! a restart, zones with summer time, numbers at the limits.
//!
//! Each test carries the number of its fault. Clocks are moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thalweg::clock::ManualClock;
use thalweg::prelude::*;
use thalweg::query::progress::{Progress, WatermarkProgress};
use thalweg::sources::memory::MemoryStream;

use crate::compare::json_rows;
use crate::late::{readings, session};

/// 2024-01-01 12:00 UTC.
const NOON: i64 = 1_704_110_400_000_000;

fn continuous() -> Trigger {
    Trigger::continuous("50 milliseconds").unwrap()
}

fn table(session: &Session, name: &str) -> Vec<Value> {
    let rows = session.table(name).unwrap().collect().unwrap();
    let mut rows = json_rows(&rows).unwrap();
    rows.sort_by_key(Value::to_string);
    rows
}

fn watermark(progress: &Progress) -> WatermarkProgress {
    progress.watermarks[0].clone()
}

fn dropped(query: &StreamingQuery) -> u64 {
    let of = |p: Progress| p.state_operators.iter().map(|s| s.num_rows_dropped_by_watermark).sum::<u64>();
    query.recent_progress().into_iter().map(of).sum()
}

/// Counts of ten minutes, from a stream with these partitions, into the memory table `t`.
struct Counted {
    session: Session,
    stream: MemoryStream,
    query: StreamingQuery,
    clock: Arc<ManualClock>,
}

impl Counted {
    fn start(partitions: usize, workers: usize, trigger: Trigger, options: &[(&str, &str)]) -> Counted {
        let session = session();
        session.set_conf("thalweg.workers", workers);
        options.iter().for_each(|(name, value)| session.set_conf(&format!("thalweg.{name}"), value));
        let schema = readings(&session, &[("a", "00:00:00", 0)]).schema();
        let stream = MemoryStream::builder(schema).partitions(partitions).build();
        let clock = ManualClock::at(NOON);
        let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "1 minute").unwrap();
        let counts = frame.group_by([window("time", "10 minutes")]).agg([count("*").alias("n")]).unwrap();
        let counts = counts.select_expr(["date_format(window.start, 'HH:mm') AS start", "n"]).unwrap();
        let writer = counts.write_stream().format("memory").query_name("t").trigger(trigger).clock(clock.clone());
        Counted { query: writer.start().unwrap(), session, stream, clock }
    }

    fn push(&self, partition: usize, rows: &[(&str, &str, i64)]) {
        self.stream.push_to(partition, readings(&self.session, rows)).unwrap();
        self.settle();
    }

    /// Closes epochs until what was pushed is in a report.
    fn settle(&self) {
        self.clock.advance(Duration::from_millis(60));
        self.query.process_all_available().unwrap();
        self.query.process_all_available().unwrap();
    }

    /// Time passes in which the source could be read: each step is seen by the readers.
    fn rest(&self, steps: usize, step: Duration) {
        for _ in 0..steps {
            self.clock.advance(step);
            self.query.process_all_available().unwrap();
        }
    }

    fn standing(&self) -> WatermarkProgress {
        watermark(&self.query.last_progress().unwrap())
    }

    fn reached(&self) -> String {
        self.standing().watermark.unwrap_or_default()
    }
}

#[test]
fn t01_a_row_from_the_future_moves_no_watermark() {
    let counted = Counted::start(1, 1, continuous(), &[]);
    counted.push(0, &[("a", "11:00:00", 1)]);
    let far = "SELECT 'x' AS device, TIMESTAMP '9999-12-31 23:59:59' AS time, 2 AS value";
    let far = counted.session.sql(far).unwrap().collect().unwrap().remove(0);
    let far = arrow::array::RecordBatch::try_new(counted.stream.schema(), far.columns().to_vec()).unwrap();
    counted.stream.push(far).unwrap();
    counted.settle();
    assert_eq!(counted.reached(), "2024-01-01T10:59:00.000Z");
    let stands = counted.standing();
    assert_eq!((stands.num_rows_ahead, stands.first_row_ahead.as_deref()), (1, Some("9999-12-31T23:59:59.000Z")));
    // The others are still in time, and close their windows.
    counted.push(0, &[("a", "11:05:00", 3), ("a", "11:30:00", 4)]);
    assert_eq!(table(&counted.session, "t"), [json!(["11:00", 2])]);
    assert_eq!(dropped(&counted.query), 0);
}

#[test]
fn t01_micro_batches_keep_sparks_rule_unless_a_skew_is_set() {
    for (options, reached) in
        [(&[][..], "2024-01-01T22:59:00.000Z"), (&[("maxFutureSkew", "1 hour")], "2024-01-01T10:59:00.000Z")]
    {
        let counted = Counted::start(1, 1, Trigger::default(), options);
        counted.push(0, &[("a", "11:00:00", 1)]);
        counted.push(0, &[("a", "23:00:00", 1)]);
        assert_eq!(counted.reached(), reached);
    }
}

#[test]
fn t02_null_and_negative_event_times() {
    let session = session();
    let text = "SELECT device, CAST(time AS TIMESTAMP) AS time, CAST(1 AS INT) AS value FROM VALUES \
                ('a', '1969-12-31 23:59:59.999999'), ('a', NULL), ('a', '1970-01-01 00:00:00') AS t(device, time)";
    let rows = session.sql(text).unwrap();
    let stream = MemoryStream::new(rows.schema());
    let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "1 minute").unwrap();
    let counts = frame.group_by([window("time", "10 minutes")]).agg([count("*").alias("n")]).unwrap();
    let counts = counts.select_expr(["CAST(window.start AS STRING) AS start", "n"]).unwrap();
    let writer = counts.write_stream().format("memory").query_name("t").output_mode("complete");
    let query = writer.start().unwrap();
    for rows in rows.collect().unwrap() {
        stream.push(arrow::array::RecordBatch::try_new(stream.schema(), rows.columns().to_vec()).unwrap()).unwrap();
    }
    query.process_all_available().unwrap();
    query.stop().unwrap();
    assert_eq!(table(&session, "t"), [json!(["1969-12-31 23:50:00", 1]), json!(["1970-01-01 00:00:00", 1])]);
}

#[test]
fn t03_time_of_batches_never_goes_back_and_triggers_follow_the_monotonic_clock() {
    for trigger in [Trigger::processing_time("10 seconds").unwrap(), continuous()] {
        let session = session();
        let stream = MemoryStream::new(readings(&session, &[("a", "00:00:00", 0)]).schema());
        let clock = ManualClock::at(NOON);
        let frame = session.read_stream().memory(&stream).unwrap();
        let hours =
            frame.select_expr(["date_format(date_trunc('HOUR', current_timestamp()), 'dd HH') AS hour"]).unwrap();
        let counts = hours.group_by(["hour"]).agg([count("*").alias("n")]).unwrap();
        let writer = counts.write_stream().format("memory").query_name("t").output_mode("complete");
        let query = writer.trigger(trigger).clock(clock.clone()).start().unwrap();
        // An hour back, a day on.
        for (wall, rows) in [NOON + 1_000_000, NOON - 3_600_000_000, NOON + 86_400_000_000].into_iter().zip(1..) {
            clock.set_wall(wall);
            stream.push(readings(&session, &[("a", "11:00:00", 1)])).unwrap();
            // The trigger waits for its interval by the clock that is moved here, in steps so small that it never gets an hour ahead.
            let counted = || table(&session, "t").iter().filter_map(|row| row[1].as_u64()).sum::<u64>();
            while counted() < rows {
                clock.advance(Duration::from_millis(50));
                std::thread::yield_now();
            }
        }
        query.stop().unwrap();
        assert_eq!(table(&session, "t"), [json!(["01 12", 2]), json!(["02 12", 1])], "{trigger:?}");
    }
}

#[test]
fn t08_latency_is_measured_by_the_monotonic_clock() {
    let counted = Counted::start(1, 1, continuous(), &[]);
    counted.push(0, &[("a", "11:00:00", 1)]);
    counted.clock.set_wall(NOON + 86_400_000_000);
    counted.push(0, &[("a", "11:30:00", 1)]);
    counted.clock.set_wall(NOON - 86_400_000_000);
    counted.push(0, &[("a", "11:59:00", 1)]);
    let slowest = counted.query.recent_progress().iter().map(|p| p.latency.p999_micros).max();
    assert!(slowest < Some(10_000_000), "{slowest:?}");
}

#[test]
fn t05_an_idle_partition_is_released_and_its_old_rows_are_late() {
    for workers in [1, 3] {
        let counted = Counted::start(2, workers, continuous(), &[("idleTimeout", "40 seconds")]);
        counted.push(0, &[("a", "11:00:00", 1)]);
        assert_eq!(counted.reached(), "", "a partition without rows holds it");
        counted.push(1, &[("b", "10:00:00", 1)]);
        assert_eq!(counted.reached(), "2024-01-01T09:59:00.000Z");
        assert!(counted.standing().held_by.unwrap().ends_with("[1]"));
        // Only partition 1 rests: the other has a row each ten seconds.
        for second in 0..6 {
            counted.clock.advance(Duration::from_secs(10));
            counted.push(0, &[("a", &format!("11:30:0{second}"), 1)]);
        }
        assert_eq!(counted.reached(), "2024-01-01T11:29:05.000Z", "{:?}", counted.standing());
        assert_eq!(counted.standing().idle_partitions.len(), 1);
        assert_eq!(table(&counted.session, "t"), [json!(["10:00", 1]), json!(["11:00", 1])]);
        // Back with old rows: late, and it holds the watermark again.
        counted.push(1, &[("b", "10:01:00", 1)]);
        assert_eq!(dropped(&counted.query), 1);
        counted.push(0, &[("a", "11:59:00", 1)]);
        assert_eq!(counted.reached(), "2024-01-01T11:29:05.000Z");
        counted.push(1, &[("b", "11:58:00", 1)]);
        assert_eq!(counted.reached(), "2024-01-01T11:57:00.000Z");
    }
}

#[test]
fn t05_a_source_that_is_silent_as_a_whole_holds_no_union_back() {
    for workers in [1, 2] {
        let session = session();
        session.set_conf("thalweg.workers", workers);
        session.set_conf("thalweg.idleTimeout", "40 seconds");
        let schema = readings(&session, &[("a", "00:00:00", 0)]).schema();
        let [busy, silent] = [MemoryStream::new(schema.clone()), MemoryStream::new(schema)];
        let marked = |stream| session.read_stream().memory(stream).unwrap().with_watermark("time", "1 minute").unwrap();
        let both = marked(&busy).union(&marked(&silent)).unwrap();
        let counts = both.group_by([window("time", "10 minutes")]).agg([count("*").alias("n")]).unwrap();
        let counts = counts.select_expr(["date_format(window.start, 'HH:mm') AS start", "n"]).unwrap();
        let clock = ManualClock::at(NOON);
        let writer = counts.write_stream().format("memory").query_name("t").trigger(continuous());
        let query = writer.clock(clock.clone()).start().unwrap();
        silent.push(readings(&session, &[("b", "10:00:00", 1)])).unwrap();
        for second in 0..8 {
            clock.advance(Duration::from_secs(10));
            busy.push(readings(&session, &[("a", &format!("11:30:0{second}"), 1)])).unwrap();
            (0..2).for_each(|_| query.process_all_available().unwrap());
        }
        assert_eq!(table(&session, "t"), [json!(["10:00", 1])], "{workers} workers");
        query.stop().unwrap();
    }
}

#[test]
fn t05_when_all_partitions_are_idle_the_furthest_counts() {
    let counted = Counted::start(2, 2, continuous(), &[("idleTimeout", "40 seconds")]);
    counted.push(0, &[("a", "11:00:00", 1)]);
    counted.push(1, &[("b", "10:00:00", 1)]);
    counted.rest(8, Duration::from_secs(10));
    counted.settle();
    assert_eq!(counted.reached(), "2024-01-01T10:59:00.000Z");
    assert_eq!(table(&counted.session, "t"), [json!(["10:00", 1])]);
}

#[test]
fn t06_a_process_that_slept_makes_no_partition_idle() {
    let counted = Counted::start(2, 1, continuous(), &[("idleTimeout", "40 seconds")]);
    counted.push(0, &[("a", "11:00:00", 1)]);
    counted.push(1, &[("b", "10:00:00", 1)]);
    // A jump of an hour is one look without rows.
    counted.clock.advance(Duration::from_secs(3_600));
    counted.push(0, &[("a", "11:40:00", 1)]);
    assert_eq!(counted.reached(), "2024-01-01T09:59:00.000Z");
    assert_eq!(counted.standing().idle_partitions, Vec::<String>::new());
    counted.push(1, &[("b", "10:05:00", 1)]);
    assert_eq!(dropped(&counted.query), 0);
}

#[test]
fn t07_after_a_restart_another_delay_holds_and_the_watermark_does_not_fall() {
    let root = tempfile::tempdir().unwrap();
    let input = root.path().join("in");
    std::fs::create_dir(&input).unwrap();
    let session = session();
    let mut reached = Vec::new();
    for (file, (delay, time)) in
        [("1 minute", "11:00:00"), ("1 hour", "11:01:00"), ("1 minute", "11:02:00")].iter().enumerate()
    {
        let line = format!("{{\"time\":\"2024-01-01T{time}Z\"}}\n");
        std::fs::write(input.join(format!("{file}.json")), line).unwrap();
        let frame = session.read_stream().schema("time TIMESTAMP").json(input.to_str().unwrap()).unwrap();
        let frame = frame.with_watermark("time", delay).unwrap();
        let counts = frame.group_by([window("time", "1 second")]).agg([count("*").alias("n")]).unwrap();
        let writer = counts.write_stream().format("noop").trigger(Trigger::AvailableNow);
        let query = writer.option("checkpointLocation", root.path().join("checkpoint").display()).start().unwrap();
        query.await_termination().unwrap();
        reached.extend(query.recent_progress().iter().filter_map(|p| Some(p.event_time.get("watermark")?.to_string())));
    }
    assert!(reached.is_sorted(), "{reached:?}");
    assert_eq!(reached.last().map(String::as_str), Some("\"2024-01-01T11:01:00.000Z\""), "{reached:?}");
}

/// The window behind a join sees a watermark that the join's range holds back; so it does after a restart.
#[test]
fn t07_a_watermark_that_is_held_back_is_held_back_after_a_restart() {
    for trigger in [Trigger::default(), continuous()] {
        let session = session();
        let schema = readings(&session, &[("a", "00:00:00", 0)]).schema();
        let [shown, clicked] = ["shown", "clicked"].map(|name| {
            let stream = MemoryStream::new(schema.clone());
            let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "1 minute").unwrap();
            frame.create_or_replace_temp_view(name).unwrap();
            stream
        });
        let folder = tempfile::tempdir().unwrap();
        let delivered = crate::replay::Delivered::default();
        let mut dropped_rows = 0;
        let both = |s: &[(&str, &str, i64)], c: &[(&str, &str, i64)]| {
            shown.push(readings(&session, s)).unwrap();
            clicked.push(readings(&session, c)).unwrap();
        };
        for run in 0..2 {
            let text = "SELECT date_format(window.start, 'HH:mm') AS start, count(*) AS n FROM \
                        (SELECT s.time AS time FROM shown s JOIN clicked c ON s.device = c.device AND c.time >= s.time \
                         AND c.time <= s.time + INTERVAL 10 MINUTES) GROUP BY window(time, '5 minutes')";
            let into = delivered.clone();
            let writer = session.sql(text).unwrap().write_stream().foreach_rows(move |rows, _, epoch| {
                into.lock().expect("no holder panics").push((epoch, rows));
                Ok(())
            });
            let writer = writer.option("checkpointLocation", folder.path().display()).trigger(trigger);
            let query = writer.start().unwrap();
            if run == 0 {
                both(&[("a", "10:00:00", 1)], &[("a", "10:01:00", 1)]);
                query.process_all_available().unwrap();
                both(&[("b", "10:08:00", 1)], &[("z", "10:08:00", 1)]);
            } else {
                // Both watermarks stand at 10:07; behind the join it is 09:57.
                both(&[("b", "10:08:01", 1)], &[("a", "10:07:30", 2)]);
                query.process_all_available().unwrap();
                both(&[("y", "23:00:00", 1)], &[("x", "23:00:00", 1)]);
            }
            query.process_all_available().unwrap();
            query.stop().unwrap();
            dropped_rows += dropped(&query);
        }
        let epochs = std::mem::take(&mut *delivered.lock().unwrap());
        let rows: Vec<Value> = epochs.iter().flat_map(|(_, rows)| json_rows(rows).unwrap()).collect();
        assert_eq!((rows, dropped_rows), (vec![json!(["10:00", 2])], 0), "{trigger:?}");
    }
}

#[test]
fn t04_daily_windows_are_in_utc_and_shift_by_their_start() {
    let session = session();
    session.set_conf("spark.sql.session.timeZone", "Europe/Berlin");
    // The night to summer time: 31 March 2024, 02:00 to 03:00.
    let text = "SELECT CAST(w.start AS STRING) AS start, count(*) AS n FROM (SELECT window(t, '1 day', '1 day', '23 hours') AS w \
                FROM VALUES (TIMESTAMP '2024-03-31 00:30:00'), (TIMESTAMP '2024-03-31 23:30:00'), \
                (TIMESTAMP '2024-04-01 00:30:00'), (TIMESTAMP '2024-04-01 01:30:00') AS v(t)) GROUP BY w.start ORDER BY start";
    let rows = json_rows(&session.sql(text).unwrap().collect().unwrap()).unwrap();
    assert_eq!(rows, [json!(["2024-03-31 00:00:00", 3]), json!(["2024-04-01 01:00:00", 1])]);
}

#[test]
fn d18_ids_that_come_twice_and_a_day_late_are_known_or_counted() {
    let session = session();
    let schema = readings(&session, &[("a", "00:00:00", 0)]).schema();
    let stream = MemoryStream::new(schema);
    let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "2 hours").unwrap();
    let once = frame.drop_duplicates(&["device", "time"]).unwrap().select(["device"]).unwrap();
    let query = once.write_stream().format("memory").query_name("t").start().unwrap();
    for rows in [
        [("a", "20:00:00", 1), ("a", "20:00:00", 2)],
        [("b", "19:00:00", 3), ("a", "20:00:00", 4)],
        [("c", "01:00:00", 5), ("b", "19:00:00", 6)],
    ] {
        stream.push(readings(&session, &rows)).unwrap();
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    assert_eq!(table(&session, "t"), [json!(["a"]), json!(["b"])]);
    assert_eq!(dropped(&query), 1);
}

#[test]
fn d21_windows_at_the_limits_of_time_keep_the_engine_alive() {
    for trigger in [Trigger::default(), continuous()] {
        let session = session();
        let stream = MemoryStream::new(readings(&session, &[("a", "00:00:00", 0)]).schema());
        let frame = session.read_stream().memory(&stream).unwrap().with_watermark("time", "1 minute").unwrap();
        let counts =
            frame.group_by([sliding_window("time", "10 minutes", "5 minutes")]).agg([count("*").alias("n")]).unwrap();
        let writer =
            counts.select(["n"]).unwrap().write_stream().format("memory").query_name("t").output_mode("update");
        let query = writer.trigger(trigger).start().unwrap();
        let limits = [i64::MAX, i64::MAX - 1, 253_402_300_799_999_999, NOON].map(Some);
        let times = arrow::array::TimestampMicrosecondArray::from(limits.to_vec()).with_timezone("UTC");
        let rows = readings(&session, &[("a", "00:00:00", 0); 4]);
        let columns = vec![rows.column(0).clone(), Arc::new(times) as arrow::array::ArrayRef, rows.column(2).clone()];
        stream.push(arrow::array::RecordBatch::try_new(stream.schema(), columns).unwrap()).unwrap();
        query.process_all_available().unwrap();
        stream.push(readings(&session, &[("a", "12:01:00", 1)])).unwrap();
        query.process_all_available().unwrap();
        assert!(query.is_active(), "{:?}", query.exception());
        query.stop().unwrap();
    }
}

/// The rows of several partitions in time order, in small chunks to partitions in turn; counts per window.
fn counts(partitions: usize, workers: usize) -> BTreeMap<String, i64> {
    let counted = Counted::start(partitions, workers, continuous(), &[]);
    for minute in 0..60 {
        let times: Vec<String> = (0..6).map(|n| format!("11:{minute:02}:{:02}", n * 10)).collect();
        let rows: Vec<(&str, &str, i64)> = times.iter().map(|time| ("a", time.as_str(), 1)).collect();
        counted.stream.push_to(minute % partitions, readings(&counted.session, &rows)).unwrap();
    }
    (0..partitions).for_each(|partition| counted.push(partition, &[("z", "12:30:00", 1)]));
    counted.query.stop().unwrap();
    assert_eq!(counted.query.exception().map(|e| e.to_string()), None);
    let rows = table(&counted.session, "t").into_iter();
    rows.map(|row| (row[0].as_str().unwrap_or_default().to_owned(), row[1].as_i64().unwrap_or_default())).collect()
}

#[test]
fn partitions_are_spread_over_workers_with_the_same_result() {
    let expected: BTreeMap<String, i64> = (0..6).map(|n| (format!("11:{n}0"), 60)).collect();
    for (partitions, workers) in [(1, 1), (1, 3), (4, 1), (4, 2), (4, 4), (3, 4)] {
        assert_eq!(counts(partitions, workers), expected, "{partitions} partitions, {workers} workers");
    }
}
