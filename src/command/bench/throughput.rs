//! The benches that read files to their end: words, windows, dedup, join.
//!
//! In: a number of records. Out: a row per driver with what the cheapest of the runs cost. Runs of the drivers alternate, so
//! that a disturbance of the machine meets both.

use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::Result;
use thalweg::session::Session;

use super::data::{self, Format};
use super::measure::{self, Cost, Driver};
use super::report::{self, Row, rate, row, seconds};
use super::workload::{Inputs, Workload};

/// Arguments of `bench wordcount`.
#[derive(Debug, Args)]
pub(in super::super) struct WordcountArguments {
    /// How many words to count.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    words: u64,
    #[command(flatten)]
    runs: Runs,
}

/// Arguments of the benches over events.
#[derive(Debug, Args)]
pub(in super::super) struct EventArguments {
    /// How many events to generate (impressions, for the join).
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// How the input files are written.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    #[command(flatten)]
    runs: Runs,
}

/// How often and where to run.
#[derive(Debug, Args)]
struct Runs {
    /// Threads that run the query.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Runs of each driver, of which the cheapest counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Counts words under both drivers.
///
/// # Errors
/// The query's, or of writing the input.
pub(super) fn wordcount(arguments: &WordcountArguments) -> Result<()> {
    let folder = TempDir::with_prefix("thalweg-bench-")?;
    let count = data::words(&folder.path().join("text"), arguments.words)?;
    let costs = arguments.runs.costs(Workload::Words, &folder, "text")?;
    report::show("wordcount", &rows("words", count, &costs), arguments.runs.json)
}

/// Runs a workload over events under both drivers.
///
/// # Errors
/// The query's, or of writing the input.
pub(super) fn events(workload: Workload, arguments: &EventArguments) -> Result<()> {
    let folder = TempDir::with_prefix("thalweg-bench-")?;
    let (path, format) = (folder.path().join(arguments.format.name()), arguments.format);
    let (name, count) = match workload {
        Workload::Sliding => ("sliding", data::readings(&path, arguments.events, format)?),
        Workload::Dedup => ("dedup", data::repeated(&path, arguments.events, format)?),
        Workload::Join => ("join", data::clicks(folder.path(), arguments.events, format)?),
        _ => ("window", data::keyed(&path, arguments.events, 1000, format)?),
    };
    let costs = arguments.runs.costs(workload, &folder, format.name())?;
    report::show(name, &rows("events", count, &costs), arguments.runs.json)
}

impl Runs {
    /// The cheapest run of each driver.
    fn costs(&self, workload: Workload, folder: &TempDir, format: &str) -> Result<Vec<(Driver, Cost)>> {
        let mut all: Vec<(Driver, Vec<Cost>)> = Driver::ALL.map(|driver| (driver, Vec::new())).into();
        for _ in 0..self.repeat {
            for (driver, costs) in &mut all {
                costs.push(self.once(workload, folder, format, *driver)?);
            }
        }
        all.into_iter().map(|(driver, costs)| Ok((driver, measure::best(costs.into_iter().map(Ok))?))).collect()
    }

    fn once(&self, workload: Workload, folder: &TempDir, format: &str, driver: Driver) -> Result<Cost> {
        let session = Session::builder()
            .config("thalweg.workers", self.workers)
            .config("spark.sql.streaming.numRecentProgressUpdates", 100_000)
            .create();
        let query = workload.query(&Inputs { session: &session, folder: folder.path(), format })?;
        measure::run(query.write_stream().format("noop").output_mode(workload.mode()), driver)
    }
}

/// `words`: what an event is called.
fn rows(noun: &str, count: u64, costs: &[(Driver, Cost)]) -> Vec<Row> {
    let one = |(driver, cost): &(Driver, Cost)| {
        let mut found = row([("driver", json!(driver.name()))]);
        let values = [
            (noun.to_owned(), json!(count)),
            ("rows_in".to_owned(), json!(cost.rows_in)),
            ("rows_out".to_owned(), json!(cost.rows_out)),
            ("wall_s".to_owned(), seconds(cost.wall)),
            ("cpu_s".to_owned(), cost.cpu.map_or(Value::Null, seconds)),
            (format!("{noun}_per_wall_s"), rate(count, Some(cost.wall))),
            (format!("{noun}_per_cpu_s"), rate(count, cost.cpu)),
        ];
        found.extend(values);
        found
    };
    costs.iter().map(one).collect()
}
