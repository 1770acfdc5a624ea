//! `thalweg bench soak`: whether memory grows while state is bounded.
//!
//! In: a time and a rate. Out: how memory grew per minute after the warm-up, by least squares over the least of each quarter of a
//! minute: windows that close and files that are written make memory go up and down within seconds, growth is what stays. The
//! queries run at once, with checkpoints: windows and a join of two streams under the continuous driver, deduplication in
//! micro-batches. Their state is bounded by their watermarks, so memory must not grow.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::clock::SystemClock;
use thalweg::frame::{DataFrame, expr};
use thalweg::query::{StreamingQuery, Trigger};
use thalweg::session::Session;
use thalweg::{Error, Result};

use super::memory::resident;
use super::report::{self, Row, row};

const MIB: f64 = 1024.0 * 1024.0;
/// Seconds of which the least counts.
const SPAN: f64 = 15.0;

/// Arguments of `bench soak`.
#[derive(Debug, Args)]
pub(in super::super) struct SoakArguments {
    /// How long memory is watched, after the warm-up.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// How long nothing is counted at first: the reports that a query keeps, a hundred, are complete after 100 seconds.
    #[arg(long, default_value_t = 3.0)]
    warm_minutes: f64,
    /// Rows per second of each stream.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// Threads that run each query.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Fail if memory grows faster than so many MiB per minute.
    #[arg(long)]
    limit: Option<f64>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Watches memory.
///
/// # Errors
/// A query's error, a system that does not tell its memory, or growth beyond the limit.
pub(super) fn run(arguments: &SoakArguments) -> Result<()> {
    let folder = TempDir::with_prefix("thalweg-soak-")?;
    let session = Session::builder().config("thalweg.workers", arguments.workers).create();
    let queries = start(&session, arguments.rate, &folder)?;
    watch(&queries, arguments.warm_minutes)?;
    let samples = watch(&queries, arguments.minutes)?;
    let rows: Vec<Row> = queries.iter().map(|(name, query)| line(name, query)).collect();
    queries.iter().try_for_each(|(_, query)| query.stop())?;
    let slope = slope(&floor(&samples));
    let memory = |sample: Option<&(f64, f64)>| json!(sample.map(|(_, bytes)| (bytes / MIB).round()));
    let total = row([
        ("query", json!("all")),
        ("rows_in_per_s", Value::Null),
        ("state_rows", Value::Null),
        ("state_mib", Value::Null),
        ("memory_mib_first", memory(samples.first())),
        ("memory_mib_last", memory(samples.last())),
        ("mib_per_minute", json!((slope / MIB * 1e3).round() / 1e3)),
    ]);
    report::show("soak", &rows.into_iter().chain([total]).collect::<Vec<_>>(), arguments.json)?;
    match arguments.limit {
        Some(limit) if slope / MIB > limit => {
            Err(Error::outside(format!("memory grows by {:.2} MiB per minute, over the limit of {limit}", slope / MIB)))
        }
        _ => Ok(()),
    }
}

fn start(session: &Session, rate: u64, folder: &TempDir) -> Result<Vec<(&'static str, StreamingQuery)>> {
    let (continuous, batches) = (Trigger::continuous("1 second")?, Trigger::processing_time("1 second")?);
    let all = [
        ("windows", windows(&stream(session, rate)?)?, continuous),
        ("join", join(&stream(session, rate)?, &stream(session, rate)?)?, continuous),
        ("dedup", dedup(&stream(session, rate)?)?, batches),
    ];
    let begin = |(name, frame, trigger): (&'static str, DataFrame, Trigger)| {
        let checkpoint = folder.path().join(name).display().to_string();
        let writer = frame.write_stream().format("noop").trigger(trigger).query_name(name);
        Ok((name, writer.option("checkpointLocation", checkpoint).start()?))
    };
    all.into_iter().map(begin).collect()
}

fn stream(session: &Session, rate: u64) -> Result<DataFrame> {
    let rows = session.read_stream().format("rate").option("rowsPerSecond", rate).load()?;
    rows.with_watermark("timestamp", "1 second")
}

fn windows(rows: &DataFrame) -> Result<DataFrame> {
    let grouped = rows.group_by([expr("window(timestamp, '5 seconds')"), expr("value % 1000").alias("key")]);
    grouped.agg([expr("count(*)").alias("n"), expr("avg(value)").alias("average")])
}

fn dedup(rows: &DataFrame) -> Result<DataFrame> {
    let rows = rows.select_expr(["timestamp", "concat('key ', value div 2) AS id"])?;
    rows.drop_duplicates_within_watermark(&["id"])
}

fn join(left: &DataFrame, right: &DataFrame) -> Result<DataFrame> {
    let right = right.select_expr(["timestamp AS at", "value AS other"])?;
    let near = "value = other AND at >= timestamp - INTERVAL 2 SECONDS AND at <= timestamp + INTERVAL 2 SECONDS";
    left.join(&right, expr(near), "inner")
}

/// Seconds and bytes of memory, once a second for so many minutes.
fn watch(queries: &[(&str, StreamingQuery)], minutes: f64) -> Result<Vec<(f64, f64)>> {
    let clock = SystemClock::shared();
    let begun = clock.nanos();
    let mut samples = Vec::new();
    loop {
        let passed = clock.nanos().saturating_sub(begun) as f64 / 1e9;
        samples.push((passed, memory()?));
        if passed >= minutes * 60.0 {
            return Ok(samples);
        }
        // The first query's end is an error; else a second has passed.
        if let Some((_, first)) = queries.first() {
            first.await_termination_timeout(Duration::from_secs(1))?;
        }
        queries.iter().find_map(|(_, query)| query.exception()).map_or(Ok(()), Err)?;
    }
}

fn memory() -> Result<f64> {
    let bytes = resident().map(|bytes| bytes as f64);
    bytes.ok_or_else(|| Error::outside("the system does not tell how much memory is used"))
}

/// The least of each span, at its time.
fn floor(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let spans = samples.chunk_by(|a, b| (a.0 / SPAN).floor() == (b.0 / SPAN).floor());
    spans.filter_map(|span| span.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))).collect()
}

/// Bytes a minute.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| samples.iter().map(part).sum::<f64>() / count;
    let (time, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let covariance: f64 = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - bytes)).sum();
    let variance: f64 = samples.iter().map(|sample| (sample.0 - time).powi(2)).sum();
    if variance > 0.0 { covariance / variance * 60.0 } else { 0.0 }
}

fn line(name: &str, query: &StreamingQuery) -> Row {
    let last = query.last_progress();
    let states = last.iter().flat_map(|progress| &progress.state_operators);
    let (rows, bytes) =
        states.fold((0, 0), |(rows, bytes), state| (rows + state.num_rows_total, bytes + state.memory_used_bytes));
    row([
        ("query", json!(name)),
        ("rows_in_per_s", json!(last.as_ref().map(|progress| progress.processed_rows_per_second.round()))),
        ("state_rows", json!(rows)),
        ("state_mib", json!((bytes as f64 / MIB * 10.0).round() / 10.0)),
        ("memory_mib_first", Value::Null),
        ("memory_mib_last", Value::Null),
        ("mib_per_minute", Value::Null),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_up_and_down_does_not_grow() {
        let wave = |second: u32| 100.0 + f64::from(second % 7) * 20.0;
        let samples: Vec<(f64, f64)> = (0..600).map(|second| (f64::from(second), wave(second))).collect();
        let floor = floor(&samples);
        assert_eq!((floor.len(), slope(&floor)), (40, 0.0));
    }

    #[test]
    fn the_slope_is_per_minute() {
        let samples: Vec<(f64, f64)> =
            (0..90).map(|second| (f64::from(second), f64::from(second) * 10.0 + 7.0)).collect();
        assert!((slope(&samples) - 600.0).abs() < 1e-6);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
    }
}
