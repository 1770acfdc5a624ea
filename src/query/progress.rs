//! Progress reports: Spark's JSON, field for field and in its order (maps without entries are left out, as there), plus
//! end-to-end latency.

use serde::Serialize;
use serde_json::{Map, Value};

/// What happened in one epoch. Times are ISO 8601 UTC with milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The query's id: the same over all runs on one checkpoint.
    pub id: String,
    /// This run's id.
    pub run_id: String,
    /// The query's name.
    pub name: Option<String>,
    /// When the epoch began.
    pub timestamp: String,
    /// The epoch's number.
    pub batch_id: u64,
    /// Milliseconds it took.
    pub batch_duration: u64,
    /// Rows read from all sources.
    pub num_input_rows: u64,
    /// Rows that arrived per second since the last epoch.
    pub input_rows_per_second: f64,
    /// Rows processed per second of this epoch.
    pub processed_rows_per_second: f64,
    /// Milliseconds by phase.
    pub duration_ms: Map<String, Value>,
    /// Largest, smallest and mean event time, and the watermark that held in this epoch; empty without event time.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub event_time: Map<String, Value>,
    /// How each watermark stands, and what holds it there. Not in Spark.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watermarks: Vec<WatermarkProgress>,
    /// What each stateful operator keeps.
    pub state_operators: Vec<StateOperator>,
    /// What was read from each source.
    pub sources: Vec<SourceProgress>,
    /// What was written.
    pub sink: SinkProgress,
    /// Late rows that were written, if they have a sink of their own. Not in Spark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_sink: Option<SinkProgress>,
    /// Metrics of `observe()`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub observed_metrics: Map<String, Value>,
    /// End-to-end latency, from a record's entry into the engine to the sink. Not in Spark.
    pub latency: Latency,
}

/// How a watermark stands after an epoch. Times are ISO 8601 UTC with milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatermarkProgress {
    /// The event-time column.
    pub column: String,
    /// The delay of `withWatermark`, in milliseconds.
    pub delay_ms: i64,
    /// What it has reached; none while a partition has no rows yet.
    pub watermark: Option<String>,
    /// Since when it has been there (wall clock, as far as epochs tell).
    pub since: String,
    /// Continuous driver: the source partition that is furthest behind of those that are not idle.
    pub held_by: Option<String>,
    /// Continuous driver: partitions that have been idle for longer than `idleTimeout`, so that it does not wait for them.
    pub idle_partitions: Vec<String>,
    /// Rows so far that were too far ahead to move it (`maxFutureSkew`); they are processed as any other.
    pub num_rows_ahead: u64,
    /// Event time of the first of them.
    pub first_row_ahead: Option<String>,
    /// The delay, in milliseconds, with which 99 % of the rows so far would not have been late.
    pub delay_ms_for_99_percent: Option<u64>,
}

/// End-to-end latency of an epoch's rows, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Half of the rows were faster.
    pub p50_micros: u64,
    /// 99 of 100 rows were faster.
    pub p99_micros: u64,
    /// 999 of 1000 rows were faster.
    pub p999_micros: u64,
}

/// What a stateful operator keeps.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperator {
    /// The operator.
    pub operator_name: String,
    /// Keys (rows, for joins) held.
    pub num_rows_total: u64,
    /// Keys touched in this epoch.
    pub num_rows_updated: u64,
    /// Time spent updating; not measured apart, always 0.
    pub all_updates_time_ms: u64,
    /// Keys evicted in this epoch.
    pub num_rows_removed: u64,
    /// Time spent removing; not measured apart, always 0.
    pub all_removals_time_ms: u64,
    /// Time to write the state.
    pub commit_time_ms: u64,
    /// Memory held.
    pub memory_used_bytes: u64,
    /// Rows dropped as late.
    pub num_rows_dropped_by_watermark: u64,
    /// Workers that share the operator.
    pub num_shuffle_partitions: u64,
    /// The same.
    pub num_state_store_instances: u64,
    /// More figures.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_metrics: Map<String, Value>,
}

/// What was read from a source.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The source.
    pub description: String,
    /// Where the epoch began.
    pub start_offset: Value,
    /// Where it ended.
    pub end_offset: Value,
    /// The newest offset known.
    pub latest_offset: Value,
    /// Rows read.
    pub num_input_rows: u64,
    /// Rows that arrived per second.
    pub input_rows_per_second: f64,
    /// Rows processed per second.
    pub processed_rows_per_second: f64,
    /// More figures.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metrics: Map<String, Value>,
}

/// What was written.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The sink.
    pub description: String,
    /// Rows written.
    pub num_output_rows: u64,
    /// More figures.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metrics: Map<String, Value>,
}

impl Progress {
    /// Compact JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Indented JSON.
    pub fn pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// ISO 8601 UTC with milliseconds, as Spark prints times in progress reports.
pub fn iso_millis(micros: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(micros) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        None => micros.to_string(),
    }
}
