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

#[test]
fn event_time_timers_fire_when_the_watermark_passes_them() {
    for (trigger, workers) in triggers().into_iter().flat_map(|trigger| [(trigger.clone(), 1), (trigger, 3)]) {
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
        assert!(items.next().is_none(), "the late row of a is dropped");
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
