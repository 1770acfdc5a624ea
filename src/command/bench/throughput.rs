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
use super::nexmark::Query;
use super::nexmark_data;
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

/// Arguments of `bench nexmark`.
#[derive(Debug, Args)]
pub(in super::super) struct NexmarkArguments {
    /// Which queries, e.g. `q0 q5`; all of them by default.
    #[arg(value_parser = query)]
    queries: Vec<Query>,
    /// How many events to generate: of 50, 46 are bids, three auctions, one a person.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(50..))]
    events: u64,
    /// How the input files are written.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    #[command(flatten)]
    runs: Runs,
}

fn query(name: &str) -> std::result::Result<Query, String> {
    let all = || Query::ALL.map(Query::name).join(", ");
    Query::named(name).ok_or_else(|| format!("known queries are {}", all()))
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

/// The generated input of a bench, removed with it.
pub(super) struct Input {
    folder: TempDir,
    workload: Workload,
    format: Format,
    /// What it has, in events (words for the word count).
    pub events: u64,
}

impl Input {
    /// Generates an input of about so many events, as JSON where it is not text.
    ///
    /// # Errors
    /// Of writing it.
    pub(super) fn make(workload: Workload, events: u64) -> Result<Self> {
        Input::of(workload, events, Format::Json)
    }

    fn of(workload: Workload, events: u64, format: Format) -> Result<Self> {
        let folder = TempDir::with_prefix("thalweg-bench-")?;
        let path = folder.path().join(format.name());
        let events = match workload {
            Workload::Words => data::words(&folder.path().join("text"), events)?,
            Workload::Sliding => data::readings(&path, events, format)?,
            Workload::Dedup => data::repeated(&path, events, format)?,
            Workload::Join => data::clicks(folder.path(), events, format)?,
            Workload::Nexmark(query) => {
                nexmark_data::write(folder.path(), events, format)?;
                query.tables().iter().map(|table| events * table.share() / 50).sum()
            }
            Workload::Tumbling | Workload::Filter => data::keyed(&path, events, 1000, format)?,
        };
        Ok(Input { folder, workload, format, events })
    }

    /// Runs the query over it.
    ///
    /// # Errors
    /// The query's.
    pub(super) fn run(&self, driver: Driver, workers: u16) -> Result<Cost> {
        let session = Session::builder()
            .config("thalweg.workers", workers)
            .config("spark.sql.streaming.numRecentProgressUpdates", 100_000)
            .create();
        let inputs = Inputs { session: &session, folder: self.folder.path(), format: self.format.name() };
        let query = self.workload.query(&inputs)?;
        measure::run(query.write_stream().format("noop").output_mode(self.workload.mode()), driver)
    }
}

/// Counts words under both drivers.
///
/// # Errors
/// The query's, or of writing the input.
pub(super) fn wordcount(arguments: &WordcountArguments) -> Result<()> {
    let input = Input::make(Workload::Words, arguments.words)?;
    let costs = arguments.runs.costs(&input)?;
    report::show("wordcount", &rows("words", input.events, &costs), arguments.runs.json)
}

/// Runs a workload over events under both drivers.
///
/// # Errors
/// The query's, or of writing the input.
pub(super) fn events(name: &str, workload: Workload, arguments: &EventArguments) -> Result<()> {
    let input = Input::of(workload, arguments.events, arguments.format)?;
    let costs = arguments.runs.costs(&input)?;
    report::show(name, &rows("events", input.events, &costs), arguments.runs.json)
}

/// Runs queries of Nexmark under both drivers. Events are those of the tables that a query reads.
///
/// # Errors
/// A query's, or of writing the input.
pub(super) fn nexmark(arguments: &NexmarkArguments) -> Result<()> {
    let wanted = if arguments.queries.is_empty() { &Query::ALL[..] } else { &arguments.queries };
    let mut all = Vec::new();
    for query in wanted {
        let input = Input::of(Workload::Nexmark(*query), arguments.events, arguments.format)?;
        let costs = arguments.runs.costs(&input)?;
        all.extend(costs.iter().map(|(driver, cost)| cost_row(query.name(), *driver, input.events, cost)));
    }
    report::show("nexmark", &all, arguments.runs.json)
}

impl Runs {
    /// The cheapest run of each driver.
    fn costs(&self, input: &Input) -> Result<Vec<(Driver, Cost)>> {
        let mut all: Vec<(Driver, Vec<Cost>)> = Driver::ALL.map(|driver| (driver, Vec::new())).into();
        for _ in 0..self.repeat {
            for (driver, costs) in &mut all {
                costs.push(input.run(*driver, self.workers)?);
            }
        }
        all.into_iter().map(|(driver, costs)| Ok((driver, measure::best(costs.into_iter().map(Ok))?))).collect()
    }
}

/// `words`: what an event is called.
fn rows(noun: &str, count: u64, costs: &[(Driver, Cost)]) -> Vec<Row> {
    let one = |(driver, cost): &(Driver, Cost)| {
        let mut found = row([("driver", json!(driver.name()))]);
        found.extend(values(noun, count, cost));
        found
    };
    costs.iter().map(one).collect()
}

/// What a query cost under a driver.
pub(super) fn cost_row(query: &str, driver: Driver, count: u64, cost: &Cost) -> Row {
    let mut found = row([("query", json!(query)), ("driver", json!(driver.name()))]);
    found.extend(values("events", count, cost));
    found
}

fn values(noun: &str, count: u64, cost: &Cost) -> [(String, Value); 7] {
    [
        (noun.to_owned(), json!(count)),
        ("rows_in".to_owned(), json!(cost.rows_in)),
        ("rows_out".to_owned(), json!(cost.rows_out)),
        ("wall_s".to_owned(), seconds(cost.wall)),
        ("cpu_s".to_owned(), cost.cpu.map_or(Value::Null, seconds)),
        (format!("{noun}_per_wall_s"), rate(count, Some(cost.wall))),
        (format!("{noun}_per_cpu_s"), rate(count, cost.cpu)),
    ]
}
