//! `thalweg bench live`: workloads of a comparison that are measured from outside while they run.
//!
//! In: for `l1`, the two ports of a generator on this machine: it sends lines `ms,key,val` over the first and takes lines
//! `window_start_ms,key,count` over the second; for `s1`, a folder of text files. Out: for `l1`, a line for each update, the moment it is
//! known; for `s1`, the rows of a word count, with `@@FIRST` behind the first ones.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use tempfile::TempDir;
use thalweg::frame::DataFrame;
use thalweg::query::Trigger;
use thalweg::session::Session;
use thalweg::sinks::OutputMode;
use thalweg::sinks::foreach::{ForeachFunction, ForeachWriter, Row};
use thalweg::{Error, Result};

use super::super::output::print;
use super::measure::Driver;
use super::workload::word_counts;

/// Arguments of `bench live`.
#[derive(Debug, Args)]
pub(in super::super) struct LiveArguments {
    #[command(subcommand)]
    workload: LiveWorkload,
}

#[derive(Debug, Subcommand)]
enum LiveWorkload {
    /// Count by 10 s window and key, from TCP to TCP, until it is stopped.
    L1(Stream),
    /// Count words of the text files in a folder.
    S1 {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Stream {
    /// The port that lines come from.
    from: u16,
    /// The port that updates go to.
    to: u16,
    /// Who closes epochs.
    #[arg(long, value_enum, default_value = "continuous")]
    driver: Driver,
    /// Between epochs of the continuous driver.
    #[arg(long, default_value = "1 second")]
    interval: String,
    /// Keep a durable checkpoint.
    #[arg(long)]
    checkpoint: bool,
}

/// Runs the workload.
///
/// # Errors
/// The query's.
pub(super) fn run(arguments: &LiveArguments) -> Result<()> {
    match &arguments.workload {
        LiveWorkload::L1(stream) => updates(stream),
        LiveWorkload::S1 { folder } => first_row(folder),
    }
}

fn updates(arguments: &Stream) -> Result<()> {
    let session = Session::builder().create();
    let output = TcpStream::connect((Ipv4Addr::LOCALHOST, arguments.to))?;
    output.set_nodelay(true)?;
    let lines = Lines { output: Arc::new(output), text: String::new() };
    let trigger = arguments.driver.trigger(&arguments.interval)?;
    let mut writer = counts(&session, arguments.from)?.write_stream().output_mode(OutputMode::Update).trigger(trigger);
    let checkpoint = TempDir::with_prefix("thalweg-live-")?;
    if arguments.checkpoint {
        writer = writer.option("checkpointLocation", checkpoint.path().display());
    }
    writer.foreach(ForeachFunction::new(move || lines.clone())).start()?.await_termination()
}

fn counts(session: &Session, port: u16) -> Result<DataFrame> {
    let lines = session.read_stream().format("socket").option("host", "127.0.0.1").option("port", port).load()?;
    let fields = lines.select_expr(["split(value, ',') AS field"])?.select_expr([
        "timestamp_millis(CAST(field[0] AS BIGINT)) AS et",
        "CAST(field[1] AS BIGINT) AS key",
        "CAST(field[2] AS BIGINT) AS val",
    ])?;
    fields.filter("val % 10 <> 0")?.create_or_replace_temp_view("records")?;
    session.sql(
        "SELECT unix_millis(window.start) AS window_start, key, count(*) AS cnt \
         FROM records GROUP BY window(et, '10 seconds'), key",
    )
}

/// Sends rows as lines over one connection, those that came together in one piece.
#[derive(Clone)]
struct Lines {
    output: Arc<TcpStream>,
    text: String,
}

impl ForeachWriter for Lines {
    fn process(&mut self, row: &Row<'_>) -> Result<()> {
        let (window, key, count): (i64, i64, i64) = (row.get("window_start")?, row.get("key")?, row.get("cnt")?);
        writeln!(self.text, "{window},{key},{count}").map_err(|_| Error::internal("a text took no more"))
    }

    fn flush(&mut self) -> Result<()> {
        self.output.as_ref().write_all(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }
}

fn first_row(folder: &Path) -> Result<()> {
    let session = Session::builder().create();
    let lines = session.read_stream().text(&folder.to_string_lossy())?;
    let printed =
        word_counts(&lines)?.write_stream().output_mode(OutputMode::Update).foreach(ForeachFunction::new(|| Printed));
    printed.trigger(Trigger::AvailableNow).start()?.await_termination()
}

/// Prints rows; a mark follows those that came together.
struct Printed;

impl ForeachWriter for Printed {
    fn process(&mut self, row: &Row<'_>) -> Result<()> {
        print(&format!("{} {}\n", row.get::<&str>("word")?, row.get::<i64>("count")?))
    }

    fn flush(&mut self) -> Result<()> {
        print("@@FIRST\n")
    }
}
