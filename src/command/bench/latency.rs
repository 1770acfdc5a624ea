//! `thalweg bench latency`: from the time a line was due to be sent to the result it changed.
//!
//! In: rates. Out: a row per rate and engine: a plain TCP echo (the floor of the method), the continuous driver within one process
//! ([`in_process`]; asleep while nothing comes, and polling), and both drivers over TCP, without and with a durable checkpoint. Lines
//! `key,val` are sent over TCP at fixed times, never skipped: a line that is sent late because the engine pushed back counts from the time it
//! was due. The query drops one line in ten and counts the others by key in update mode; an update with count c answers the lines of its key
//! up to the c-th.
//!
//! ```text
//!  sender thread ──TCP──► socket source → filter → count by key ──channel──► this thread: answers
//!  sender thread ──TCP──► echo thread ──TCP──► this thread: answers
//! ```

pub(super) mod answers;
mod in_process;
pub(super) mod sender;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use clap::Args;
use serde_json::json;
use thalweg::clock::{SharedClock, SystemClock};
use thalweg::session::Session;
use thalweg::sinks::OutputMode;
use thalweg::sinks::channel::{Delivery, ResultReceiver};
use thalweg::{Error, Result};

use self::answers::Answers;
use self::sender::{Schedule, Sender};
use super::measure::Driver;
use super::report::{self, Row, row};

/// Deliveries that may wait for this thread.
const CAPACITY: usize = 1024;
/// No answer for so long after the last line was sent: the others will not come.
const PATIENCE: Duration = Duration::from_secs(2);
/// From connecting to the first line.
const LEAD: u64 = 20_000_000;

/// Arguments of `bench latency`.
#[derive(Debug, Args)]
pub(in super::super) struct LatencyArguments {
    /// Lines per second, several rates with commas between.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rates: Vec<u64>,
    /// How long each rate is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds before that which are not counted.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm: u64,
    /// Between checkpoints of the continuous driver, e.g. 1 second.
    #[arg(long, default_value = "1 second")]
    interval: String,
    /// Where the checkpoint of the run with one lies; the system's temporary folder by default.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Measures all rates with all engines.
///
/// # Errors
/// A query's error, or a network that does not work.
pub(super) fn run(arguments: &LatencyArguments) -> Result<()> {
    let mut rows = Vec::new();
    for rate in &arguments.rates {
        let schedule = Schedule::new(*rate, arguments.warm, arguments.seconds);
        rows.push(line(*rate, "tcp echo", &echo(schedule)?));
        rows.push(line(*rate, "in process", &in_process::run(schedule, "0")?));
        rows.push(line(*rate, "in process, polls", &in_process::run(schedule, "1ms")?));
        for driver in Driver::ALL {
            rows.push(line(*rate, driver.name(), &query(schedule, driver, &arguments.interval, None)?));
            let name = format!("{}, checkpoint", driver.name());
            rows.push(line(*rate, &name, &checkpointed(schedule, driver, arguments)?));
        }
    }
    report::show("latency", &rows, arguments.json)
}

/// How the latencies of one engine at one rate are distributed.
pub(super) struct Curve {
    /// Its name.
    pub engine: &'static str,
    /// Quantiles with their microseconds.
    pub quantiles: Vec<(f64, u64)>,
    /// The same line as in the table of the bench.
    pub row: Row,
}

impl Curve {
    fn of(rate: u64, engine: &'static str, answers: &Answers) -> Self {
        // Steps of equal width where each further nine is as wide as the one before, up to 99.95 %.
        let steps = (0..=66).map(|step| 1.0 - 10_f64.powf(f64::from(step) * -0.05));
        let quantiles = steps.filter_map(|quantile| Some((quantile, answers.micros(quantile)?))).collect();
        Curve { engine, quantiles, row: line(rate, engine, answers) }
    }
}

/// All engines at one rate.
///
/// # Errors
/// As [`run`].
pub(super) fn curves(rate: u64, warm: u64, seconds: u64) -> Result<Vec<Curve>> {
    let schedule = Schedule::new(rate, warm, seconds);
    let mut all = vec![Curve::of(rate, "tcp echo", &echo(schedule)?)];
    for driver in Driver::ALL {
        all.push(Curve::of(rate, driver.name(), &query(schedule, driver, "1 second", None)?));
    }
    Ok(all)
}

fn line(rate: u64, engine: &str, answers: &Answers) -> Row {
    row([
        ("engine", json!(engine)),
        ("rate", json!(rate)),
        ("p50_us", json!(answers.micros(0.5))),
        ("p99_us", json!(answers.micros(0.99))),
        ("p999_us", json!(answers.micros(0.999))),
        ("max_us", json!(answers.micros(1.0))),
        ("sent_per_s", json!(answers.sent_per_second())),
        ("due", json!(answers.due())),
        ("answered", json!(answers.answered())),
    ])
}

fn listen() -> Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Lines that come back as they are.
fn echo(schedule: Schedule) -> Result<Answers> {
    let (listener, port) = listen()?;
    let other_end = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    other_end.set_nodelay(true)?;
    let (stream, clock) = (accept(&listener)?, SystemClock::shared());
    let start = clock.nanos() + LEAD;
    std::thread::scope(|scope| {
        scope.spawn(|| send_back(other_end));
        let mut answers = Answers::new(schedule, start, |_| true);
        let back = stream.try_clone()?;
        let sending = scope.spawn(|| {
            let sent = Sender::new(schedule, start, &clock).send(&stream);
            // The echo ends when it has sent back what came before this.
            stream.shutdown(std::net::Shutdown::Write).map(|()| sent)
        });
        count_lines(back, &clock, &mut answers)?;
        answers.sent = sending.join().map_err(|_| Error::internal("the sender panicked"))??;
        Ok(answers)
    })
}

fn send_back(mut stream: TcpStream) {
    let mut block = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut block) {
        if stream.write_all(block.get(..length).unwrap_or_default()).is_err() {
            return;
        }
    }
}

fn count_lines(mut stream: TcpStream, clock: &SharedClock, answers: &mut Answers) -> Result<()> {
    let (mut block, mut number) = (vec![0; 64 << 10], 0);
    loop {
        let length = stream.read(&mut block)?;
        if length == 0 {
            return Ok(());
        }
        let now = clock.nanos();
        for _ in block.iter().take(length).filter(|byte| **byte == b'\n') {
            answers.answer(number, now);
            number += 1;
        }
    }
}

/// Lines through a query with a durable checkpoint.
fn checkpointed(schedule: Schedule, driver: Driver, arguments: &LatencyArguments) -> Result<Answers> {
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    query(schedule, driver, &arguments.interval, Some(&folder.path().join("checkpoint")))
}

/// Lines through a query.
fn query(schedule: Schedule, driver: Driver, interval: &str, checkpoint: Option<&Path>) -> Result<Answers> {
    let (listener, port) = listen()?;
    let session = Session::builder().create();
    let lines = session.read_stream().format("socket").option("host", "127.0.0.1").option("port", port).load()?;
    let fields = lines.select_expr([
        "CAST(split_part(value, ',', 1) AS BIGINT) AS key",
        "CAST(split_part(value, ',', 2) AS BIGINT) AS val",
    ])?;
    let counts = fields.filter("val % 10 <> 0")?.group_by(["key"]).count()?;
    let mut writer = counts.write_stream().output_mode(OutputMode::Update).trigger(driver.trigger(interval)?);
    if let Some(checkpoint) = checkpoint {
        writer = writer.option("checkpointLocation", checkpoint.display());
    }
    let (query, results) = writer.start_channel(CAPACITY)?;
    let (stream, clock) = (accept(&listener)?, SystemClock::shared());
    let start = clock.nanos() + LEAD;
    let answers = std::thread::scope(|scope| {
        let sending = scope.spawn(|| Sender::new(schedule, start, &clock).send(&stream));
        let mut answers = Answers::new(schedule, start, |number| !Schedule::record(number).1.is_multiple_of(10));
        receive(&results, &clock, &mut answers, || sending.is_finished())?;
        drop(results);
        answers.sent = sending.join().map_err(|_| Error::internal("the sender panicked"))?;
        Ok::<_, Error>(answers)
    })?;
    query.stop()?;
    query.exception().map_or(Ok(answers), Err)
}

/// Takes answers until all have come, or no more come.
fn receive(
    results: &ResultReceiver,
    clock: &SharedClock,
    answers: &mut Answers,
    all_sent: impl Fn() -> bool,
) -> Result<()> {
    let mut last = clock.nanos();
    while !answers.complete() {
        match results.recv_timeout(Duration::from_millis(50)) {
            Ok(Delivery::Rows(rows)) => {
                last = clock.nanos();
                take(&rows, last, answers)?;
            }
            Ok(Delivery::Committed(_)) => {}
            Err(error) if error.is_disconnected() => return Ok(()),
            Err(_) if all_sent() && clock.nanos() - last > PATIENCE.as_nanos() as u64 => return Ok(()),
            Err(_) => {}
        }
    }
    Ok(())
}

fn take(rows: &RecordBatch, now: u64, answers: &mut Answers) -> Result<()> {
    let column = |number: usize| rows.columns().get(number).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(keys), Some(counts)) = (column(0), column(1)) else {
        return Err(Error::internal("the result of the bench has other columns than key and count"));
    };
    for (key, count) in keys.values().iter().zip(counts.values()) {
        answers.answer_key(*key, *count, now);
    }
    Ok(())
}
