//! Runs a query to the end of its input and says what it cost.
//!
//! In: a writer and a driver. Out: wall time, CPU time of the whole process, rows. The clock starts before the query does and
//! stops when it has ended, so planning and start-up are counted.

use std::time::Duration;

use serde::Serialize;
use thalweg::clock::SystemClock;
use thalweg::query::{DataStreamWriter, Trigger};
use thalweg::{Error, Result};

/// Between checkpoints of the continuous driver.
const INTERVAL: Duration = Duration::from_secs(1);
/// Ticks of the process's CPU times in a second, as Linux reports them.
const TICKS: f64 = 100.0;

/// Who closes epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Driver {
    /// Each record the moment it arrives.
    Continuous,
    /// Spark's batches.
    MicroBatch,
}

impl Driver {
    /// Both, in the order of reports.
    pub(super) const ALL: [Driver; 2] = [Driver::Continuous, Driver::MicroBatch];

    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Driver::Continuous => "continuous",
            Driver::MicroBatch => "micro-batch",
        }
    }

    /// The trigger of a query that runs until it is stopped; `interval`: between epochs of the continuous driver.
    ///
    /// # Errors
    /// An interval that is none.
    pub(super) fn trigger(self, interval: &str) -> Result<Trigger> {
        match self {
            Driver::Continuous => Trigger::continuous(interval),
            Driver::MicroBatch => Ok(Trigger::default()),
        }
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Seconds by the clock.
    pub wall: f64,
    /// Seconds of CPU, if the system tells.
    pub cpu: Option<f64>,
    /// Rows that were read.
    pub rows_in: u64,
    /// Rows that came out.
    pub rows_out: u64,
}

/// Runs a query until it has read all there is.
///
/// # Errors
/// The query's.
pub(super) fn run(writer: DataStreamWriter, driver: Driver) -> Result<Cost> {
    let clock = SystemClock::shared();
    let (began, cpu) = (clock.nanos(), cpu_seconds());
    let trigger = match driver {
        Driver::Continuous => Trigger::Continuous(INTERVAL),
        Driver::MicroBatch => Trigger::AvailableNow,
    };
    let query = writer.trigger(trigger).start()?;
    if driver == Driver::Continuous {
        query.process_all_available()?;
        // An epoch more: what the watermark of the last rows has closed comes out in it.
        query.process_all_available()?;
        query.stop()?;
    }
    query.await_termination()?;
    Ok(Cost {
        wall: clock.nanos().saturating_sub(began) as f64 / 1e9,
        cpu: cpu.and_then(|before| Some(cpu_seconds()? - before)),
        rows_in: query.recent_progress().iter().map(|progress| progress.num_input_rows).sum(),
        rows_out: query.recent_progress().iter().map(|progress| progress.sink.num_output_rows).sum(),
    })
}

/// The cheapest of several runs.
///
/// # Errors
/// The query's.
pub(super) fn best(runs: impl IntoIterator<Item = Result<Cost>>) -> Result<Cost> {
    let price = |cost: &Cost| cost.cpu.unwrap_or(cost.wall);
    let mut best: Option<Cost> = None;
    for run in runs {
        let cost = run?;
        best = Some(best.filter(|best| price(best) <= price(&cost)).unwrap_or(cost));
    }
    best.ok_or_else(|| Error::invalid("a bench needs at least one run"))
}

/// User and system time of this process and all its threads.
pub(super) fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(ticks / TICKS)
}
