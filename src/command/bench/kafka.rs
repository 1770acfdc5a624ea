//! `thalweg bench kafka`: from Kafka to Kafka, next to what a plain loop over the client library does.
//!
//! In: a cluster, how many records, a rate. Out: two tables. *Throughput*: JSON records that a query parses and filters (nine in ten
//! pass) next to a loop that copies all of them; seconds of CPU are those of this process, with the client's threads and
//! without the broker. *Latency*: records sent at fixed times, from when each was due until the copy is read back; beside it the
//! *pulse*, single records that a client sends to itself through the same cluster in the same seconds.
//!
//! ```text
//!  sender ──► topic ──► consumer, producer (a loop)        ──► topic ──► reader: answers
//!  sender ──► topic ──► source → filter → sink (the query) ──► topic ──► reader: answers
//! ```

mod background;
mod cluster;
mod pulse;

use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use thalweg::clock::{SharedClock, SystemClock};
use thalweg::query::{DataStreamWriter, StreamingQuery};
use thalweg::session::Session;
use thalweg::{Error, Result};

use self::cluster::Cluster;
use super::latency::answers::Answers;
use super::latency::sender::{Schedule, Sender};
use super::measure::{self, Cost, Driver};
use super::report::{self, Row, rate, row, seconds};

/// From making topics to the first record.
const LEAD: u64 = 500_000_000;
/// No answer for so long after the last record was sent: the others will not come.
const PATIENCE: Duration = Duration::from_secs(3);
/// What the throughput query keeps: nine records in ten.
const FILTER: &str =
    "from_json(CAST(value AS STRING), 'id BIGINT, amount_cents BIGINT, country STRING').amount_cents >= 1000";

/// Arguments of `bench kafka`.
#[derive(Debug, Args)]
pub(in super::super) struct KafkaArguments {
    /// Brokers of a cluster; topics are made in it and removed again [default: $KAFKA_BOOTSTRAP_SERVERS, or localhost:9092]
    #[arg(long)]
    bootstrap_servers: Option<String>,
    /// Records of the throughput runs; 0 leaves them out.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Partitions of the input.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    partitions: u16,
    /// Runs of each way, of which the cheapest counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Threads that run the query.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Records per second of the latency runs; 0 leaves them out.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    rate: u64,
    /// How long latency is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds before that which are not counted.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm: u64,
    /// Let the echo run in the same seconds as each query, at the same rate, instead of before them: what holds up the brokers then
    /// holds up both.
    #[arg(long)]
    beside: bool,
    /// Between checkpoints of the continuous driver.
    #[arg(long, default_value = "1 second")]
    interval: String,
    /// Print JSON objects instead of tables.
    #[arg(long)]
    json: bool,
}

/// Measures throughput, then latency.
///
/// # Errors
/// A cluster that is not there, or a query's error.
pub(super) fn run(arguments: &KafkaArguments) -> Result<()> {
    let of_environment = || std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok();
    let servers = arguments.bootstrap_servers.clone().or_else(of_environment);
    let cluster = Cluster::connect(&servers.unwrap_or_else(|| "localhost:9092".to_owned()))?;
    if arguments.records > 0 {
        report::show("kafka throughput", &throughput(arguments, &cluster)?, arguments.json)?;
    }
    if arguments.rate > 0 {
        let rows = if arguments.beside { beside(arguments, &cluster)? } else { latencies(arguments, &cluster)? };
        report::show("kafka latency", &rows, arguments.json)?;
    }
    Ok(())
}

fn throughput(arguments: &KafkaArguments, cluster: &Cluster) -> Result<Vec<Row>> {
    let input = cluster.topic(i32::from(arguments.partitions))?;
    input.fill(arguments.records)?;
    let (mut loops, mut queries) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..arguments.repeat {
        let output = cluster.topic(1)?;
        loops.push(measured(arguments.records, || input.copy_to(&output, arguments.records)));
        for (driver, costs) in Driver::ALL.into_iter().zip(&mut queries) {
            let output = cluster.topic(1)?;
            costs.push(measure::run(query(arguments, cluster, &input.name, &output.name, FILTER)?, driver));
        }
    }
    let copy = measure::best(loops)?;
    let mut rows = vec![throughput_row("librdkafka copy", arguments.records, &copy, &copy)];
    for (driver, costs) in Driver::ALL.into_iter().zip(queries) {
        rows.push(throughput_row(driver.name(), arguments.records, &measure::best(costs)?, &copy));
    }
    Ok(rows)
}

/// What a piece of work over so many records costs.
fn measured(records: u64, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let clock = SystemClock::shared();
    let (began, cpu) = (clock.nanos(), measure::cpu_seconds());
    work()?;
    let wall = clock.nanos().saturating_sub(began) as f64 / 1e9;
    let cpu = cpu.and_then(|before| Some(measure::cpu_seconds()? - before));
    Ok(Cost { wall, cpu, rows_in: records, rows_out: records })
}

fn throughput_row(engine: &str, records: u64, cost: &Cost, copy: &Cost) -> Row {
    let share = cost.cpu.zip(copy.cpu).map(|(own, plain)| (plain / own * 100.0).round());
    row([
        ("engine", json!(engine)),
        ("records", json!(records)),
        ("rows_out", json!(cost.rows_out)),
        ("wall_s", seconds(cost.wall)),
        ("cpu_s", json!(cost.cpu)),
        ("records_per_wall_s", rate(records, Some(cost.wall))),
        ("records_per_cpu_s", rate(records, cost.cpu)),
        ("percent_of_copy", json!(share)),
    ])
}

/// Values of `input` that pass `filter`, to `output`.
fn query(
    arguments: &KafkaArguments,
    cluster: &Cluster,
    input: &str,
    output: &str,
    filter: &str,
) -> Result<DataStreamWriter> {
    let servers = &cluster.servers;
    let session = Session::builder()
        .config("thalweg.workers", arguments.workers)
        .config("spark.sql.streaming.numRecentProgressUpdates", 100_000)
        .create();
    let records = session.read_stream().format("kafka").option("kafka.bootstrap.servers", servers);
    let records = records.option("subscribe", input).option("startingOffsets", "earliest").load()?;
    let kept = records.filter(filter)?.select(["value"])?;
    let writer = kept.write_stream().format("kafka").option("kafka.bootstrap.servers", servers);
    Ok(writer.option("topic", output))
}

fn latencies(arguments: &KafkaArguments, cluster: &Cluster) -> Result<Vec<Row>> {
    let schedule = Schedule::new(arguments.rate, arguments.warm, arguments.seconds);
    let mut rows = Vec::new();
    let (input, output) = (cluster.topic(1)?, cluster.topic(1)?);
    let echo = input.echo_to(&output)?;
    rows.push(latency_row("librdkafka echo", arguments.rate, &answers(schedule, cluster, &input, &output)?));
    echo.stop()?;
    for driver in Driver::ALL {
        let (input, output) = (cluster.topic(1)?, cluster.topic(1)?);
        let running = start(arguments, cluster, driver, &input, &output)?;
        let answers = answers(schedule, cluster, &input, &output)?;
        stop(&running)?;
        rows.push(latency_row(driver.name(), arguments.rate, &answers));
    }
    Ok(rows)
}

/// The query of the latency runs: all records of one topic, to another.
fn start(
    arguments: &KafkaArguments,
    cluster: &Cluster,
    driver: Driver,
    input: &cluster::Topic,
    output: &cluster::Topic,
) -> Result<StreamingQuery> {
    let trigger = driver.trigger(&arguments.interval)?;
    query(arguments, cluster, &input.name, &output.name, "length(value) > 0")?.trigger(trigger).start()
}

/// Ends it; an error if it failed before.
fn stop(running: &StreamingQuery) -> Result<()> {
    running.stop()?;
    running.exception().map_or(Ok(()), Err)
}

/// Each driver with an echo in the same seconds.
fn beside(arguments: &KafkaArguments, cluster: &Cluster) -> Result<Vec<Row>> {
    let schedule = Schedule::new(arguments.rate, arguments.warm, arguments.seconds);
    let mut rows = Vec::new();
    for driver in Driver::ALL {
        let (input, output) = (cluster.topic(1)?, cluster.topic(1)?);
        let (own_input, own_output) = (cluster.topic(1)?, cluster.topic(1)?);
        let echo = own_input.echo_to(&own_output)?;
        let running = start(arguments, cluster, driver, &input, &output)?;
        let pulse = pulse::start(cluster)?;
        let (echoed, answered) = std::thread::scope(|scope| {
            let echoed = scope.spawn(|| numbers_back(schedule, &own_input, &own_output));
            let answered = numbers_back(schedule, &input, &output);
            (echoed.join().map_err(|_| Error::internal("the echo's reader panicked")), answered)
        });
        let pulse = pulse.stop()?;
        echo.stop()?;
        stop(&running)?;
        let name = format!("librdkafka echo beside {}", driver.name());
        rows.push(latency_row(&name, arguments.rate, &(echoed??, pulse.clone())));
        rows.push(latency_row(driver.name(), arguments.rate, &(answered?, pulse)));
    }
    Ok(rows)
}

fn latency_row(engine: &str, rate: u64, (answers, pulse): &(Answers, Histogram<u64>)) -> Row {
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
        ("pulse_p50_us", json!(pulse.value_at_quantile(0.5))),
        ("pulse_p99_us", json!(pulse.value_at_quantile(0.99))),
        ("pulse_max_us", json!(pulse.max())),
    ])
}

/// Sends numbers at their times and reads them back; also how the cluster fared meanwhile.
fn answers(
    schedule: Schedule,
    cluster: &Cluster,
    input: &cluster::Topic,
    output: &cluster::Topic,
) -> Result<(Answers, Histogram<u64>)> {
    let pulse = pulse::start(cluster)?;
    let answers = numbers_back(schedule, input, output);
    let pulse = pulse.stop()?;
    Ok((answers?, pulse))
}

/// Sends numbers at their times and reads them back.
fn numbers_back(schedule: Schedule, input: &cluster::Topic, output: &cluster::Topic) -> Result<Answers> {
    let (sending, reading) = (input.producer()?, output.consumer()?);
    let clock: SharedClock = SystemClock::shared();
    let start = clock.nanos() + LEAD;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| Sender::new(schedule, start, &clock).pace(|due| sending.numbers(due).is_ok()));
        let mut answers = Answers::new(schedule, start, |_| true);
        let mut last = start;
        while !answers.complete() {
            match reading.number(Duration::from_millis(50))? {
                Some(number) => {
                    last = clock.nanos();
                    answers.answer(number, last);
                }
                None if sender.is_finished() && clock.nanos().saturating_sub(last) > PATIENCE.as_nanos() as u64 => {
                    break;
                }
                None => {}
            }
        }
        answers.sent = sender.join().map_err(|_| Error::internal("the sender panicked"))?;
        Ok(answers)
    })
}
