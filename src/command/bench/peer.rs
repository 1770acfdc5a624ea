//! `thalweg bench peer`: one workload of a comparison, measured from outside.
//!
//! In: a workload's name, its inputs and a folder for the result. Out: CSV files without a header (JSON lines for w2), and
//! `@@START` and `@@END` around each run of the query. With `PEER_ACK` in the environment a line of standard input is
//! awaited after each mark, so that clocks are read while the process stands still.

use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;
use thalweg::frame::DataFrame;
use thalweg::query::DataStreamWriter;
use thalweg::session::Session;
use thalweg::sinks::OutputMode;
use thalweg::{Error, Result};

use super::super::output::print;
use super::measure::{self, Driver};
use super::workload::{Inputs, Workload};

/// Arguments of `bench peer`, in the order of the comparison's command lines.
#[derive(Debug, Args)]
pub(in super::super) struct PeerArguments {
    /// w1, w2, w3-1k-json, w4-csv, w6-parquet, ...
    workload: String,
    /// The folder of the workload's inputs.
    data: PathBuf,
    /// The folder of the result; emptied before each run.
    out: PathBuf,
    /// Threads that run the query.
    #[arg(default_value_t = 1)]
    cores: u16,
    /// Whether the result is written.
    #[arg(default_value = "file")]
    sink: Target,
    /// How often to run in this process.
    #[arg(default_value_t = 1)]
    inner: u16,
    /// The scale of the inputs; the folder says it already.
    #[arg(default_value = "full")]
    scale: String,
    /// Who closes epochs.
    #[arg(long, value_enum, default_value = "micro-batch")]
    driver: Driver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    File,
    None,
}

/// Runs the workload.
///
/// # Errors
/// An unknown workload; the query's error.
pub(super) fn run(arguments: &PeerArguments) -> Result<()> {
    let name = &arguments.workload;
    let workload = Workload::named(name).ok_or_else(|| {
        Error::invalid(format!("unknown workload '{name}'"))
            .hint("Known are w1, w2, w3-1k-FORMAT to w6-FORMAT, q0-FORMAT to q8-FORMAT.")
    })?;
    tracing::info!(%name, scale = %arguments.scale, "peer");
    (0..arguments.inner.max(1)).try_for_each(|_| once(arguments, workload))
}

fn once(arguments: &PeerArguments, workload: Workload) -> Result<()> {
    empty(&arguments.out)?;
    let checkpoint = TempDir::with_prefix("thalweg-peer-")?;
    let session = Session::builder()
        .config("thalweg.workers", arguments.cores)
        .config("spark.sql.streaming.numRecentProgressUpdates", 100_000)
        .create();
    mark("@@START")?;
    let format = format_of(workload, &arguments.workload);
    let query = workload.query(&Inputs { session: &session, folder: &arguments.data, format })?;
    let writer = query.write_stream().option("checkpointLocation", checkpoint.path().display());
    let cost = measure::run(target(writer, arguments, workload), arguments.driver)?;
    mark("@@END")?;
    print(&format!("@@rows {}\n", cost.rows_out))
}

/// The format of the inputs: the end of the workload's name.
fn format_of(workload: Workload, name: &str) -> &str {
    match workload {
        Workload::Words => "text",
        Workload::Filter => "json",
        _ => name.rsplit('-').next().unwrap_or("json"),
    }
}

fn target(writer: DataStreamWriter, arguments: &PeerArguments, workload: Workload) -> DataStreamWriter {
    let out = arguments.out.clone();
    match (arguments.sink, workload) {
        (Target::None, _) => writer.format("noop").output_mode(mode(workload)),
        (Target::File, _) if mode(workload) == OutputMode::Complete => {
            writer.output_mode(OutputMode::Complete).foreach_batch(move |rows, _| replace(&rows, &out))
        }
        (Target::File, Workload::Filter) => writer.format("json").option("path", out.display()),
        (Target::File, _) => writer.format("csv").option("path", out.display()),
    }
}

/// Which rows are written: of words the whole result, as the comparison has it of the other engines.
fn mode(workload: Workload) -> OutputMode {
    if workload == Workload::Words { OutputMode::Complete } else { workload.mode() }
}

/// The whole result, in place of the one before.
fn replace(rows: &DataFrame, out: &Path) -> Result<()> {
    rows.write().mode("overwrite").csv(&out.join("result").to_string_lossy())
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(std::fs::create_dir_all(folder)?)
}

/// Prints a mark; waits for a line if the comparison asks for it.
fn mark(text: &str) -> Result<()> {
    print(&format!("{text}\n"))?;
    if std::env::var_os("PEER_ACK").is_some() {
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}
