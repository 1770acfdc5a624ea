//! `thalweg bench recovery`: from the restart of a query with much state to its first new row.
//!
//! In: how much state. Out: a row per run: bytes of the state's files and keys in them, the time until the query has started, and
//! the time until the row that its first new record changed has come out. The state is counts and sums by a text key; it is written
//! by a first run of the query, in several epochs, so that a restart finds a snapshot and changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use clap::Args;
use serde_json::json;
use thalweg::clock::{SharedClock, SystemClock};
use thalweg::query::{DataStreamWriter, Trigger};
use thalweg::session::Session;
use thalweg::sinks::OutputMode;
use thalweg::sinks::channel::{Delivery, ResultReceiver};
use thalweg::sources::memory::MemoryStream;
use thalweg::{Error, Result};

use super::report::{self, Row, row};

/// Bytes that a key takes in a file of state, about.
const BYTES_A_KEY: u64 = 100;
/// Rows of a batch that is pushed.
const BATCH: u64 = 65_536;
/// Epochs in which the state is written.
const EPOCHS: u64 = 5;
/// The first new row takes no longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Arguments of `bench recovery`.
#[derive(Debug, Args)]
pub(in super::super) struct RecoveryArguments {
    /// Size of the state in MiB, about.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// How often the query is restarted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,
    /// Where the checkpoint lies; the system's temporary folder by default.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Writes the state, then restarts the query.
///
/// # Errors
/// A query's error, or a folder that can't be written.
pub(super) fn run(arguments: &RecoveryArguments) -> Result<()> {
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let checkpoint = folder.path().join("checkpoint");
    let keys = (arguments.mib << 20) / BYTES_A_KEY;
    let stream = MemoryStream::builder(schema()).capacity(u64::MAX).build();
    fill(&stream, &checkpoint, keys)?;
    let clock = SystemClock::shared();
    let rows: Result<Vec<Row>> = (0..arguments.runs).map(|run| restart(&stream, &checkpoint, run, &clock)).collect();
    report::show("recovery", &rows?, arguments.json)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, true), Field::new("val", DataType::Int64, true)]))
}

/// The query: counts and sums by key.
fn query(stream: &MemoryStream, checkpoint: &Path) -> Result<DataStreamWriter> {
    let session = Session::builder().create();
    let rows = session.read_stream().memory(stream)?;
    rows.create_or_replace_temp_view("rows")?;
    let counts = session.sql("SELECT key, count(*) AS n, sum(val) AS total FROM STREAM rows GROUP BY key")?;
    let writer = counts.write_stream().output_mode(OutputMode::Update);
    Ok(writer.option("checkpointLocation", checkpoint.display()))
}

/// Writes the state of so many keys.
fn fill(stream: &MemoryStream, checkpoint: &Path, keys: u64) -> Result<()> {
    let query = query(stream, checkpoint)?.format("noop").start()?;
    for epoch in 0..EPOCHS {
        let mut first = keys * epoch / EPOCHS;
        let end = keys * (epoch + 1) / EPOCHS;
        while first < end {
            let last = end.min(first + BATCH);
            stream.push(batch(first..last)?)?;
            first = last;
        }
        query.process_all_available()?;
    }
    query.stop()?;
    query.exception().map_or(Ok(()), Err)
}

fn batch(keys: std::ops::Range<u64>) -> Result<RecordBatch> {
    let texts = StringArray::from_iter_values(keys.clone().map(|key| format!("{key:064x}")));
    let values = Int64Array::from_iter_values(keys.map(|key| (key % 1000) as i64));
    Ok(RecordBatch::try_new(schema(), vec![Arc::new(texts) as ArrayRef, Arc::new(values)])?)
}

/// Restarts the query and waits for its first new row.
fn restart(stream: &MemoryStream, checkpoint: &Path, run: u64, clock: &SharedClock) -> Result<Row> {
    let report = thalweg::checkpoint::show(&checkpoint.display().to_string())?;
    let bytes = report.epochs.last().and_then(|epoch| epoch.state_bytes);
    stream.push(batch(run..run + 1)?)?;
    let began = clock.nanos();
    let writer = query(stream, checkpoint)?.trigger(Trigger::continuous("1 second")?);
    let (query, results) = writer.start_channel(1024)?;
    let started = clock.nanos();
    wait_for_row(&results)?;
    let answered = clock.nanos();
    query.stop()?;
    drop(results);
    let keys = query.last_progress().and_then(|progress| Some(progress.state_operators.first()?.num_rows_total));
    let millis = |until: u64| json!((until - began) / 1_000_000);
    let figures = [
        ("run", json!(run + 1)),
        ("state_bytes", json!(bytes)),
        ("keys", json!(keys)),
        ("started_ms", millis(started)),
        ("first_row_ms", millis(answered)),
    ];
    query.exception().map_or(Ok(row(figures)), Err)
}

fn wait_for_row(results: &ResultReceiver) -> Result<()> {
    loop {
        match results.recv_timeout(PATIENCE) {
            Ok(Delivery::Rows(rows)) if rows.num_rows() > 0 => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(Error::internal("no row came after the restart")),
        }
    }
}
