//! Makes a progress report of an epoch.

use serde_json::{Map, Value, json};
use thalweg_operators::time::NO_WATERMARK;
use thalweg_operators::watermark::EventTimes;

use super::execution::{Batch, Closed, Execution};
use super::progress::{Latency, Progress, SinkProgress, SourceProgress, iso_millis};
use super::results::EpochResult;
use crate::clock::SharedClock;

/// When the phases of an epoch ended.
#[derive(Clone, Default)]
pub(crate) struct Phases {
    begun: u64,
    before: u64,
    last: u64,
    wall: i64,
    phases: Vec<(&'static str, u64)>,
}

impl Phases {
    /// An epoch begins.
    pub fn begin(&mut self, clock: &SharedClock) {
        self.begun = clock.nanos();
        self.last = self.begun;
        self.wall = clock.wall_micros();
        self.phases.clear();
    }

    /// A phase ends.
    pub fn mark(&mut self, phase: &'static str, clock: &SharedClock) {
        let now = clock.nanos();
        self.phases.push((phase, now.saturating_sub(self.last)));
        self.last = now;
    }

    fn durations(&self, now: u64) -> Map<String, Value> {
        let mut all: Vec<(&str, u64)> = self.phases.iter().map(|(name, nanos)| (*name, nanos / 1_000_000)).collect();
        all.push(("commitOffsets", now.saturating_sub(self.last) / 1_000_000));
        all.push(("triggerExecution", now.saturating_sub(self.begun) / 1_000_000));
        all.sort_unstable();
        all.into_iter().map(|(name, millis)| (name.to_owned(), json!(millis))).collect()
    }
}

/// The report of a finished epoch.
pub(crate) fn progress(execution: &mut Execution, closed: &Closed) -> Progress {
    let Closed { batch, result, event_times, times, .. } = closed;
    let now = execution.setup.clock.nanos();
    let seconds = |nanos: u64| (nanos as f64 / 1e9).max(1e-9);
    let processing = seconds(now.saturating_sub(times.begun));
    let between = seconds(now.saturating_sub(std::mem::replace(&mut execution.times.before, now)));
    let sources = sources(execution, closed, processing, between);
    let rows: u64 = sources.iter().map(|source| source.num_input_rows).sum();
    let watermarks = super::event_time::report(execution);
    let setup = &execution.setup;
    Progress {
        id: setup.id.clone(),
        run_id: setup.run_id.clone(),
        name: setup.name.clone(),
        timestamp: iso_millis(times.wall),
        batch_id: batch.epoch,
        batch_duration: now.saturating_sub(times.begun) / 1_000_000,
        num_input_rows: rows,
        input_rows_per_second: rows as f64 / between,
        processed_rows_per_second: rows as f64 / processing,
        duration_ms: times.durations(now),
        event_time: event_time(batch, *event_times),
        watermarks,
        state_operators: setup.state_operators.report(&result.metrics),
        sources,
        sink: sink(execution, result, 0).unwrap_or_default(),
        late_sink: sink(execution, result, 1),
        observed_metrics: Map::new(),
        latency: latency(result),
    }
}

fn sources(execution: &mut Execution, closed: &Closed, processing: f64, between: f64) -> Vec<SourceProgress> {
    let Closed { batch, before, .. } = closed;
    let offset = |offset: &Option<Value>| offset.clone().unwrap_or(Value::Null);
    let count = execution.sources.len();
    let one = |scan: usize| {
        let told = execution.sources[scan].report(batch.ends[scan].as_ref());
        let rows = execution.graph.gauges[scan].take();
        SourceProgress {
            description: execution.sources[scan].description(),
            start_offset: offset(&before[scan]),
            end_offset: offset(&batch.ends[scan]),
            latest_offset: offset(&told.latest.or_else(|| batch.ends[scan].clone())),
            num_input_rows: rows,
            input_rows_per_second: rows as f64 / between,
            processed_rows_per_second: rows as f64 / processing,
            metrics: told.metrics,
        }
    };
    (0..count).map(one).collect()
}

fn sink(execution: &Execution, result: &EpochResult, number: usize) -> Option<SinkProgress> {
    Some(SinkProgress {
        description: execution.sinks.get(number)?.description(),
        num_output_rows: result.rows.get(&number).copied().unwrap_or_default(),
        metrics: Map::new(),
    })
}

fn event_time(batch: &Batch, seen: Option<EventTimes>) -> Map<String, Value> {
    let mut map = Map::new();
    if let Some(times) = seen {
        map.insert("avg".into(), json!(iso_millis(times.avg)));
        map.insert("max".into(), json!(iso_millis(times.max)));
        map.insert("min".into(), json!(iso_millis(times.min)));
    }
    if batch.watermark != NO_WATERMARK {
        map.insert("watermark".into(), json!(iso_millis(batch.watermark)));
    }
    map
}

fn latency(result: &EpochResult) -> Latency {
    let Some(histogram) = result.latency.as_ref().filter(|histogram| !histogram.is_empty()) else {
        return Latency::default();
    };
    let micros = |quantile: f64| histogram.value_at_quantile(quantile) / 1000;
    Latency { p50_micros: micros(0.5), p99_micros: micros(0.99), p999_micros: micros(0.999) }
}
