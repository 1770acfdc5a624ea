//! State of the program's own, through the public doors: both drivers, one and several workers, timers, restarts, refusals.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg::clock::ManualClock;
use thalweg::prelude::*;
use thalweg::query::Items;
use thalweg::sources::memory::MemoryStream;
use thalweg::stateful::*;

/// Long enough for any machine; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(120);
const SCHEMA: &str = "k STRING, ts TIMESTAMP, v BIGINT";

/// Time is in microseconds, as in a TIMESTAMP column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Event {
    k: String,
    ts: i64,
    v: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Said {
    k: String,
    what: String,
    n: i64,
}

fn said(k: &str, what: &str, n: i64) -> Said {
    Said { k: k.into(), what: what.into(), n }
}

/// A stream of events that a test pushes.
struct Source {
    stream: MemoryStream,
}

impl Source {
    fn new() -> Self {
        Source { stream: MemoryStream::new(thalweg::types::parse_ddl(SCHEMA).unwrap()) }
    }

    /// Key, second, value.
    fn push(&self, events: &[(&str, i64, i64)]) {
        let values = events.iter().map(|(k, second, v)| format!("('{k}', timestamp_seconds({second}), {v}L)"));
        let text = format!("SELECT * FROM VALUES {} AS t(k, ts, v)", values.collect::<Vec<_>>().join(", "));
        for rows in Session::builder().create().sql(&text).unwrap().collect().unwrap() {
            let schema = thalweg::types::parse_ddl(SCHEMA).unwrap();
            let columns = rows.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap());
            let rows = arrow::array::RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
            self.stream.push(rows).unwrap();
        }
    }

    fn frame(&self, workers: usize) -> DataFrame {
        let session = Session::builder().config("thalweg.workers", workers).create();
        session.read_stream().memory(&self.stream).unwrap()
    }
}

fn triggers() -> [Trigger; 2] {
    [Trigger::default(), Trigger::continuous("1 hour").unwrap()]
}

/// Sums by key; says when a sum was not added to for ten seconds of the time mode.
#[derive(Clone, Default)]
struct Sums {
    sum: ValueState<i64>,
    values: ListState<i64>,
}

impl Sums {
    fn later(&self, context: &Context<'_>, events: &[Event]) -> i64 {
        let latest = events.iter().map(|event| event.ts / 1000).max().unwrap_or(0);
        let mode = context.current_processing_time_ms();
        if latest > 0 { latest + 10_000 } else { mode + 10_000 }
    }
}

impl StatefulProcessor for Sums {
    type Key = String;
    type Input = Event;
    type Output = Said;

    fn init(&mut self, handle: &mut StateHandle) -> Result<()> {
        self.sum = handle.value_state("sum", TtlConfig::NONE)?;
        self.values = handle.list_state("values", TtlConfig::NONE)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        key: &String,
        rows: Rows<'_, Event>,
        context: &mut Context<'_>,
        out: &mut Collector<Said>,
    ) -> Result<()> {
        let events: Vec<Event> = rows.collect();
        let sum = self.sum.get(context)?.unwrap_or(0) + events.iter().map(|event| event.v).sum::<i64>();
        self.sum.update(context, &sum)?;
        self.values.append_list(context, &events.iter().map(|event| event.v).collect::<Vec<_>>())?;
        for timer in context.list_timers()? {
            context.delete_timer(timer)?;
        }
        let at = self.later(context, &events);
        context.register_timer(at)?;
        out.collect(said(key, "sum", sum));
        Ok(())
    }

    fn handle_expired_timer(
        &mut self,
        key: &String,
        _: i64,
        context: &mut Context<'_>,
        out: &mut Collector<Said>,
    ) -> Result<()> {
        out.collect(said(key, "quiet", self.values.get(context)?.len() as i64));
        self.sum.clear(context)?;
        self.values.clear(context)
    }
}

fn started(frame: &DataFrame, trigger: Trigger, clock: &Arc<ManualClock>) -> (StreamingQuery, Items<Said>) {
    let writer = frame.write_stream().output_mode("update").trigger(trigger).clock(clock.clone());
    writer.start_items::<Said>(1000).unwrap()
}

/// What comes until nothing is left to do, sorted.
fn all(query: &StreamingQuery, items: &mut Items<Said>, count: usize) -> Vec<Said> {
    query.process_all_available().unwrap();
    let mut found: Vec<Said> = (0..count).map(|_| items.next_timeout(LONG).expect("a row comes").unwrap()).collect();
    found.sort();
    found
}

/// What came besides.
fn rest(items: &mut Items<Said>) -> Vec<Said> {
    items.collect::<Result<_>>().unwrap()
}

#[test]
fn event_time_timers_fire_when_the_watermark_passes_them() {
    for (trigger, workers) in triggers().into_iter().flat_map(|trigger| [(trigger, 1), (trigger, 3)]) {
        let source = Source::new();
        let frame = source.frame(workers).with_watermark("ts", "0 seconds").unwrap();
        let frame = frame.group_by(["k"]).transform_with_state(Sums::default(), TimeMode::EventTime, "update").unwrap();
        let (query, mut items) = started(&frame, trigger, &ManualClock::at(0));
        source.push(&[("a", 100, 1), ("b", 101, 2)]);
        assert_eq!(all(&query, &mut items, 2), [said("a", "sum", 1), said("b", "sum", 2)]);
        source.push(&[("a", 105, 4)]);
        assert_eq!(all(&query, &mut items, 1), [said("a", "sum", 5)]);
        // b is quiet at 111, a at 115.
        source.push(&[("c", 112, 7)]);
        assert_eq!(all(&query, &mut items, 2), [said("b", "quiet", 1), said("c", "sum", 7)]);
        source.push(&[("c", 120, 1), ("a", 90, 9)]);
        let last = all(&query, &mut items, 2);
        assert!(last.contains(&said("a", "quiet", 2)) && last.contains(&said("c", "sum", 8)), "{last:?}");
        query.stop().unwrap();
        // The late row of a is dropped.
        assert_eq!(rest(&mut items), []);
    }
}

#[test]
fn processing_time_timers_fire_without_rows() {
    for trigger in triggers() {
        let source = Source::new();
        let frame = source.frame(1).group_by(["k"]);
        let frame = frame.transform_with_state(Sums::default(), TimeMode::ProcessingTime, "update").unwrap();
        let clock = ManualClock::at(5_000_000);
        let (query, mut items) = started(&frame, trigger, &clock);
        source.push(&[("a", 0, 1)]);
        assert_eq!(all(&query, &mut items, 1), [said("a", "sum", 1)]);
        clock.advance(Duration::from_secs(9));
        source.push(&[("b", 0, 2)]);
        assert_eq!(all(&query, &mut items, 1), [said("b", "sum", 2)]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(all(&query, &mut items, 1), [said("a", "quiet", 1)]);
        query.stop().unwrap();
    }
}

#[test]
fn a_timer_wakes_the_continuous_driver_without_rows_or_epochs() {
    let source = Source::new();
    let soon = |key: &String, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
        if state.has_timed_out() {
            return Ok(Some(said(key, "over", state.get().copied().unwrap_or(0))));
        }
        state.update(rows.map(|event| event.v).sum());
        state.set_timeout_duration(Duration::from_millis(20))?;
        Ok(None)
    };
    let grouped = source.frame(1).group_by(["k"]);
    let frame = grouped.flat_map_groups_with_state("update", GroupStateTimeout::ProcessingTimeTimeout, soon).unwrap();
    let writer = frame.write_stream().output_mode("update").trigger(Trigger::continuous("1 hour").unwrap());
    let (query, mut items) = writer.start_items::<Said>(10).unwrap();
    source.push(&[("a", 0, 3)]);
    assert_eq!(items.next_timeout(LONG).unwrap().unwrap(), said("a", "over", 3));
    query.stop().unwrap();
}

/// Counts rows; times out when the watermark is beyond the latest event.
fn counting(frame: &DataFrame) -> Result<DataFrame> {
    frame.with_watermark("ts", "0 seconds")?.group_by(["k"]).flat_map_groups_with_state(
        "append",
        GroupStateTimeout::EventTimeTimeout,
        |key: &String, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
            if state.has_timed_out() {
                let count = state.get().copied().unwrap_or(0);
                state.remove();
                return Ok(Some(said(key, "done", count)));
            }
            let events: Vec<Event> = rows.collect();
            let latest = events.iter().map(|event| event.ts / 1000).max().unwrap_or(0);
            state.update(state.get().copied().unwrap_or(0) + events.len() as i64);
            state.set_timeout_timestamp(latest.max(state.get_current_watermark_ms()?) + 5_000)?;
            Ok(None)
        },
    )
}

#[test]
fn groups_time_out_in_event_time() {
    for trigger in triggers() {
        let source = Source::new();
        let frame = counting(&source.frame(2)).unwrap();
        let writer = frame.write_stream().output_mode("append").trigger(trigger).clock(ManualClock::at(0));
        let (query, mut items) = writer.start_items::<Said>(100).unwrap();
        source.push(&[("a", 10, 1), ("a", 11, 1), ("b", 12, 1)]);
        query.process_all_available().unwrap();
        source.push(&[("c", 16, 1)]);
        query.process_all_available().unwrap();
        // The timeout of a is at 16: the watermark has to be beyond it.
        source.push(&[("c", 17, 1)]);
        assert_eq!(all(&query, &mut items, 1), [said("a", "done", 2)]);
        query.stop().unwrap();
        assert_eq!(rest(&mut items), []);
    }
}

#[test]
fn a_group_is_called_once_a_batch_with_all_its_rows() {
    let source = Source::new();
    let counts = |key: &String, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
        let calls = state.get().copied().unwrap_or(0) + 1;
        state.update(calls);
        Ok(said(key, &format!("call {calls}"), rows.count() as i64))
    };
    let frame = source.frame(3).group_by(["k"]).map_groups_with_state(GroupStateTimeout::NoTimeout, counts).unwrap();
    source.push(&[("a", 0, 1), ("b", 0, 1)]);
    source.push(&[("a", 0, 1)]);
    let (query, mut items) = started(&frame, Trigger::default(), &ManualClock::at(0));
    assert_eq!(all(&query, &mut items, 2), [said("a", "call 1", 2), said("b", "call 1", 1)]);
    source.push(&[("a", 0, 1)]);
    assert_eq!(all(&query, &mut items, 1), [said("a", "call 2", 1)]);
    let state = query.last_progress().unwrap().state_operators.remove(0);
    assert_eq!(state.operator_name, "flatMapGroupsWithState");
    assert_eq!((state.num_rows_total, state.num_rows_updated), (2, 1));
    query.stop().unwrap();
}

#[test]
fn the_same_closure_runs_in_batch_with_no_state_before() {
    let session = Session::builder().create();
    let text = "SELECT k, timestamp_seconds(0) AS ts, v FROM VALUES ('a', 1L), ('b', 2L), ('a', 3L) AS t(k, v)";
    let grouped = session.sql(text).unwrap().group_by([col("k"), col("v").gt(10).alias("large")]);
    #[derive(Deserialize)]
    struct Key {
        k: String,
        large: bool,
    }
    let sums = grouped.flat_map_groups_with_state(
        "append",
        GroupStateTimeout::ProcessingTimeTimeout,
        |key: &Key, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
            assert!(!state.exists() && !key.large);
            state.set_timeout_duration(Duration::from_secs(1))?;
            state.update(1);
            Ok([said(&key.k, "sum", rows.map(|event| event.v).sum())])
        },
    );
    let mut found = sums.unwrap().collect_as::<Said>().unwrap();
    found.sort();
    assert_eq!(found, [said("a", "sum", 4), said("b", "sum", 2)]);
}

/// Each value lives for ten seconds.
#[derive(Clone, Default)]
struct Recent {
    values: ListState<i64>,
    by_value: MapState<i64, String>,
}

impl StatefulProcessor for Recent {
    type Key = String;
    type Input = Event;
    type Output = Said;

    fn init(&mut self, handle: &mut StateHandle) -> Result<()> {
        let ttl = TtlConfig::new(Duration::from_secs(10));
        self.values = handle.list_state("values", ttl)?;
        self.by_value = handle.map_state("by_value", ttl)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        key: &String,
        rows: Rows<'_, Event>,
        context: &mut Context<'_>,
        out: &mut Collector<Said>,
    ) -> Result<()> {
        for event in rows {
            self.values.append_value(context, &event.v)?;
            self.by_value.update_value(context, &event.v, &event.k)?;
        }
        out.collect(said(key, "list", self.values.get(context)?.len() as i64));
        out.collect(said(key, "map", self.by_value.entries(context)?.len() as i64));
        Ok(())
    }
}

#[test]
fn what_was_written_is_gone_after_its_time_to_live() {
    for trigger in triggers() {
        let source = Source::new();
        let frame = source.frame(1).group_by(["k"]);
        let frame = frame.transform_with_state(Recent::default(), TimeMode::ProcessingTime, "update").unwrap();
        let clock = ManualClock::at(0);
        let (query, mut items) = started(&frame, trigger, &clock);
        source.push(&[("a", 0, 1)]);
        assert_eq!(all(&query, &mut items, 2), [said("a", "list", 1), said("a", "map", 1)]);
        clock.advance(Duration::from_secs(6));
        source.push(&[("a", 0, 1)]);
        assert_eq!(all(&query, &mut items, 2), [said("a", "list", 2), said("a", "map", 1)]);
        clock.advance(Duration::from_secs(6));
        source.push(&[("a", 0, 2)]);
        assert_eq!(all(&query, &mut items, 2), [said("a", "list", 2), said("a", "map", 2)]);
        query.stop().unwrap();
    }
}

fn kept(frame: &DataFrame, trigger: &Trigger, folder: &std::path::Path) -> Result<(StreamingQuery, Items<Said>)> {
    let writer = frame.write_stream().output_mode("update").trigger(*trigger).clock(ManualClock::at(1_000_000));
    writer.option("checkpointLocation", folder.display()).start_items::<Said>(100)
}

#[test]
fn state_and_timers_outlive_a_restart_with_other_workers() {
    for trigger in triggers() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::new();
        let sums = |workers| {
            let frame = source.frame(workers).with_watermark("ts", "0 seconds").unwrap();
            frame.group_by(["k"]).transform_with_state(Sums::default(), TimeMode::EventTime, "update").unwrap()
        };
        let (query, mut items) = kept(&sums(3), &trigger, folder.path()).unwrap();
        source.push(&[("a", 100, 1), ("b", 101, 2), ("c", 102, 3)]);
        all(&query, &mut items, 3);
        query.stop().unwrap();
        let (query, mut items) = kept(&sums(1), &trigger, folder.path()).unwrap();
        source.push(&[("a", 104, 4)]);
        assert_eq!(all(&query, &mut items, 1), [said("a", "sum", 5)]);
        query.stop().unwrap();
        let (query, mut items) = kept(&sums(2), &trigger, folder.path()).unwrap();
        source.push(&[("d", 113, 1)]);
        let found = all(&query, &mut items, 3);
        assert_eq!(found, [said("b", "quiet", 1), said("c", "quiet", 1), said("d", "sum", 1)]);
        query.stop().unwrap();
    }
}

#[test]
fn a_type_that_changed_since_the_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new();
    let grouped = source.frame(1).group_by(["k"]);
    let none = GroupStateTimeout::NoTimeout;
    let sums =
        grouped.map_groups_with_state(none, |key: &String, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
            state.update(rows.count() as i64);
            Ok(said(key, "sum", 0))
        });
    let (query, mut items) = kept(&sums.unwrap(), &Trigger::default(), folder.path()).unwrap();
    source.push(&[("a", 0, 1)]);
    all(&query, &mut items, 1);
    query.stop().unwrap();
    let texts =
        grouped.map_groups_with_state(none, |key: &String, _: Rows<'_, Event>, state: &mut GroupState<String>| {
            state.update("text".into());
            Ok(said(key, "text", 0))
        });
    let ended = kept(&texts.unwrap(), &Trigger::default(), folder.path()).and_then(|(query, _items)| {
        source.push(&[("a", 0, 1)]);
        query.process_all_available()
    });
    assert_eq!(ended.unwrap_err().condition(), Some("STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE"));
}

#[test]
fn state_can_come_from_a_table() {
    let session = Session::builder().create();
    let before = session.sql("SELECT * FROM VALUES ('a', 10L), ('b', 20L) AS t(k, value)").unwrap();
    for (trigger, workers) in [(Trigger::default(), 3), (Trigger::continuous("1 hour").unwrap(), 1)] {
        let source = Source::new();
        let add = |key: &String, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
            let sum = state.get().copied().unwrap_or(0) + rows.map(|event| event.v).sum::<i64>();
            state.update(sum);
            Ok([said(key, "sum", sum)])
        };
        let grouped = source.frame(workers).group_by(["k"]);
        let none = GroupStateTimeout::NoTimeout;
        let frame = grouped.flat_map_groups_with_initial_state("update", none, &before.group_by(["k"]), add).unwrap();
        let (query, mut items) = started(&frame, trigger, &ManualClock::at(0));
        source.push(&[("a", 0, 1), ("c", 0, 1)]);
        assert_eq!(all(&query, &mut items, 2), [said("a", "sum", 11), said("c", "sum", 1)]);
        query.stop().unwrap();
    }
}

#[test]
fn a_panic_and_an_error_end_the_query_and_name_the_call() {
    for trigger in triggers() {
        let source = Source::new();
        let panics = |_: &String, mut rows: Rows<'_, Event>, _: &mut GroupState<i64>| {
            let first = rows.next().map_or(0, |event| event.v);
            Ok([10 / (first - 3)])
        };
        let grouped = source.frame(1).group_by(["k"]);
        let none = GroupStateTimeout::NoTimeout;
        let frame = grouped.flat_map_groups_with_state("update", none, panics).unwrap();
        let writer = frame.write_stream().output_mode("update").trigger(trigger);
        let (_query, mut items) = writer.start_items::<i64>(10).unwrap();
        source.push(&[("a", 0, 3)]);
        let error = items.next_timeout(LONG).unwrap().unwrap_err();
        assert_eq!(error.condition(), Some("FAILED_EXECUTE_UDF"));
        assert_eq!(error.place(), Some("flat_map_groups_with_state(Event -> i64), handle_input_rows"));
        assert!(error.message().contains("divide by zero"), "{error}");
    }
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let source = Source::new();
    let frame = source.frame(1);
    let grouped = frame.group_by(["k"]);
    let condition = |error: Error| error.condition().unwrap_or_default().to_owned();
    let ttl = grouped.transform_with_state(Recent::default(), TimeMode::EventTime, "update").unwrap_err();
    assert_eq!(condition(ttl), "STATEFUL_PROCESSOR_INCORRECT_TIME_MODE_TO_ASSIGN_TTL");
    #[derive(Debug, Deserialize)]
    struct Other {
        #[allow(dead_code, reason = "it is never read")]
        w: i64,
    }
    let none = GroupStateTimeout::NoTimeout;
    let field = grouped.map_groups_with_state(none, |_: &String, _: Rows<'_, Other>, _: &mut GroupState<i64>| Ok(1i64));
    assert_eq!(condition(field.unwrap_err()), "UNRESOLVED_COLUMN.WITH_SUGGESTION");
    let start = |frame: &DataFrame, mode: &str| {
        frame.write_stream().format("noop").output_mode(mode).start().map(|query| query.stop()).map(drop)
    };
    let timers = grouped.transform_with_state(Sums::default(), TimeMode::EventTime, "update").unwrap();
    assert_eq!(condition(start(&timers, "update").unwrap_err()), "_LEGACY_ERROR_TEMP_3102");
    let map = grouped.map_groups_with_state(none, |_: &String, _: Rows<'_, Event>, _: &mut GroupState<i64>| Ok(1i64));
    let map = map.unwrap();
    start(&map, "update").unwrap();
    assert_eq!(condition(start(&map, "append").unwrap_err()), "_LEGACY_ERROR_TEMP_3102");
    let counts = counting(&frame).unwrap();
    start(&counts, "append").unwrap();
    assert_eq!(condition(start(&counts, "update").unwrap_err()), "_LEGACY_ERROR_TEMP_3102");
    let distinct = counts.drop_duplicates(&["k"]).unwrap();
    assert_eq!(condition(start(&distinct, "append").unwrap_err()), "_LEGACY_ERROR_TEMP_3102");
}

/// Says each event again, a second later.
#[derive(Clone, Default)]
struct Echo;

impl StatefulProcessor for Echo {
    type Key = String;
    type Input = Event;
    type Output = Event;

    fn init(&mut self, _: &mut StateHandle) -> Result<()> {
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        _: &String,
        rows: Rows<'_, Event>,
        _: &mut Context<'_>,
        out: &mut Collector<Event>,
    ) -> Result<()> {
        out.extend(rows.map(|event| Event { ts: event.ts + 1_000_000, ..event }));
        Ok(())
    }
}

#[test]
fn windows_close_behind_a_processor_whose_output_has_event_time() {
    let source = Source::new();
    let grouped = source.frame(2).with_watermark("ts", "0 seconds").unwrap().group_by(["k"]);
    let echo = grouped.transform_with_state_as(SCHEMA, Some("ts"), Echo, TimeMode::EventTime, "append").unwrap();
    let windows = echo.group_by([window("ts", "10 seconds")]).agg([sum("v").alias("n")]).unwrap();
    let sums = windows.select_expr(["'' AS k", "date_format(window.start, 'ss') AS what", "n"]).unwrap();
    let writer = sums.write_stream().output_mode("append");
    let (query, mut items) = writer.start_items::<Said>(10).unwrap();
    source.push(&[("a", 8, 1), ("b", 9, 2)]);
    query.process_all_available().unwrap();
    source.push(&[("a", 25, 4)]);
    assert_eq!(all(&query, &mut items, 2), [said("", "00", 1), said("", "10", 2)]);
    query.stop().unwrap();
}
