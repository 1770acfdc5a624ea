//! Makes a progress report of an epoch.

use serde_json::{Map, Value, json};
use thalweg_operators::driver::StateMetrics;
use thalweg_operators::time::NO_WATERMARK;
use thalweg_operators::watermark::EventTimes;

use super::execution::{Batch, Closed, Execution};
use super::graph::EpochResult;
use super::progress::{Latency, Progress, SinkProgress, SourceProgress, StateOperator, iso_millis};
use crate::clock::SharedClock;
use crate::plan::dataflow::{DataflowPlan, Kind, Node};
use crate::render::entrance;
use crate::stateful::Style;

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
        state_operators: state_operators(&setup.plan, result, setup.workers as u64),
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

/// What each operator with state keeps; the one nearest to the output first, as Spark lists them, then those of the late rows.
fn state_operators(plan: &DataflowPlan, result: &EpochResult, workers: u64) -> Vec<StateOperator> {
    let mut operators = Vec::new();
    let roots = [&plan.root].into_iter().chain(plan.late.as_ref().map(|late| &late.root));
    roots.for_each(|root| list_operators(root, result, workers, &mut operators));
    operators
}

fn list_operators(node: &Node, result: &EpochResult, workers: u64, operators: &mut Vec<StateOperator>) {
    if let Some(name) = operator_name(node) {
        // Those of the differential lane keep their state at the entrances of their region.
        let entrances = (0..node.inputs.len()).map(|port| entrance(node, port));
        let metrics = std::iter::once(node.id.clone()).chain(entrances).filter_map(|id| result.metrics.get(&id));
        operators.extend(metrics.map(|metrics| state_operator(name, *metrics, workers)));
    }
    node.inputs.iter().for_each(|input| list_operators(input, result, workers, operators));
}

/// Spark's name of an operator, where it has such a one.
fn operator_name(node: &Node) -> Option<&'static str> {
    Some(match &node.kind {
        Kind::Group(_) => "stateStoreSave",
        Kind::Session(_) => "sessionWindowStateStoreSaveExec",
        Kind::Dedup(dedup) if dedup.within.is_some() => "dedupeWithinWatermark",
        Kind::Dedup(_) => "dedupe",
        Kind::Join(_) => "symmetricHashJoin",
        Kind::Limit(_) => "globalLimit",
        Kind::Arbitrary(state) if state.function.style == Style::Transform => "transformWithStateExec",
        Kind::Arbitrary(_) => "flatMapGroupsWithState",
        Kind::Table => "completeTable",
        Kind::Reduce(_) => "differentialAggregate",
        Kind::TableJoin(_) => "differentialJoin",
        Kind::Rank(_) => "differentialRank",
        Kind::Scan(_) | Kind::Late | Kind::Map(_) | Kind::Watermark { .. } | Kind::Union => return None,
        Kind::Sort(_) | Kind::Net(_) | Kind::StaticJoin(_) => return None,
    })
}

fn state_operator(name: &str, metrics: StateMetrics, workers: u64) -> StateOperator {
    StateOperator {
        operator_name: name.to_owned(),
        num_rows_total: metrics.rows_total,
        num_rows_updated: metrics.rows_updated,
        all_updates_time_ms: 0,
        num_rows_removed: metrics.rows_removed,
        all_removals_time_ms: 0,
        commit_time_ms: 0,
        memory_used_bytes: metrics.memory_bytes,
        num_rows_dropped_by_watermark: metrics.rows_dropped,
        num_shuffle_partitions: workers,
        num_state_store_instances: workers,
        custom_metrics: Map::new(),
    }
}

fn latency(result: &EpochResult) -> Latency {
    let Some(histogram) = result.latency.as_ref().filter(|histogram| !histogram.is_empty()) else {
        return Latency::default();
    };
    let micros = |quantile: f64| histogram.value_at_quantile(quantile) / 1000;
    Latency { p50_micros: micros(0.5), p99_micros: micros(0.99), p999_micros: micros(0.999) }
}
