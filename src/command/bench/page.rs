//! `thalweg bench page`: the benches in one run, as a page with pictures.
//!
//! In: sizes. Out: one HTML file that needs nothing else: throughput of both drivers, how latency is distributed next to a plain TCP
//! echo, and memory over time. The figures stand below each picture, too.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use thalweg::Result;
use thalweg::clock::SystemClock;

use super::super::output::print;
use super::chart::{self, Axes, Bars, Line, escaped};
use super::latency::{self, Curve};
use super::measure::{Cost, Driver};
use super::memory::{self, Sample};
use super::report::{Row, cell};
use super::throughput;
use super::workload::Workload;

/// Arguments of `bench page`.
#[derive(Debug, Args)]
pub(in super::super) struct PageArguments {
    /// The file to write.
    #[arg(long, default_value = "bench.html")]
    out: PathBuf,
    /// Events of each throughput bench.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    events: u64,
    /// Seconds of each rate of the latency bench.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Threads that run the queries.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
}

const RATES: [u64; 3] = [1_000, 10_000, 100_000];

/// Runs the benches and writes the page.
///
/// # Errors
/// A query's, or of writing the file.
pub(super) fn run(arguments: &PageArguments) -> Result<()> {
    let mut page = head(arguments);
    throughput_part(&mut page, arguments)?;
    latency_part(&mut page, arguments)?;
    page.push_str("</body></html>\n");
    std::fs::write(&arguments.out, page)?;
    print(&format!("{}\n", arguments.out.display()))
}

fn head(arguments: &PageArguments) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let build = if cfg!(debug_assertions) { "a debug build, whose figures mean little" } else { "a release build" };
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>thalweg bench</title><style>{STYLE}</style></head>\
         <body><h1>thalweg {version}</h1><p>{} events a bench, {} worker(s), {} processor(s); {build}.</p>",
        arguments.events,
        arguments.workers,
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    )
}

const STYLE: &str = ":root{color-scheme:light dark}body{font-family:sans-serif;max-width:760px;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse;font-size:13px}td,th{padding:2px 10px;text-align:right}td:first-child,th:first-child{text-align:left}";

/// A query's runs.
struct Measured {
    name: &'static str,
    events: u64,
    runs: Vec<Run>,
}

/// What a run cost, and the memory while it ran.
struct Run {
    driver: Driver,
    cost: Cost,
    memory: Vec<Sample>,
}

fn throughput_part(page: &mut String, arguments: &PageArguments) -> Result<()> {
    let mut all = Vec::new();
    for (name, workload) in Workload::PLAIN {
        all.push(measured(name, workload, arguments)?);
    }
    let groups: Vec<Bars> = all.iter().map(rates).collect();
    section(page, "Throughput", "Events per second of CPU time, from JSON files (words: from text files).");
    page.push_str(&chart::bars(&Driver::ALL.map(Driver::name), &groups, "/s"));
    table(page, &all.iter().flat_map(cost_rows).collect::<Vec<_>>());
    section(page, "Memory", "Bytes of this process while the windowed count runs.");
    if let Some(windows) = all.iter().find(|measured| measured.name == "window") {
        page.push_str(&memory_picture(windows));
    }
    Ok(())
}

fn measured(name: &'static str, workload: Workload, arguments: &PageArguments) -> Result<Measured> {
    let clock = SystemClock::shared();
    let input = throughput::Input::make(workload, arguments.events)?;
    let run = |driver| {
        let (cost, memory) = memory::watched(&clock, || input.run(driver, arguments.workers));
        Ok(Run { driver, cost: cost?, memory })
    };
    Ok(Measured { name, events: input.events, runs: Driver::ALL.into_iter().map(run).collect::<Result<_>>()? })
}

fn rates(measured: &Measured) -> Bars {
    let rate = |run: &Run| run.cost.cpu.map(|seconds| measured.events as f64 / seconds.max(0.01));
    Bars { label: measured.name.to_owned(), values: measured.runs.iter().map(rate).collect() }
}

fn cost_rows(measured: &Measured) -> Vec<Row> {
    let one = |run: &Run| throughput::cost_row(measured.name, run.driver, measured.events, &run.cost);
    measured.runs.iter().map(one).collect()
}

fn memory_picture(measured: &Measured) -> String {
    let line = |run: &Run| Line {
        label: run.driver.name().to_owned(),
        points: run.memory.iter().map(|(seconds, bytes)| (*seconds, *bytes as f64)).collect(),
    };
    let lines: Vec<Line> = measured.runs.iter().map(line).collect();
    let end = lines.iter().flat_map(|line| line.points.last()).map(|point| point.0).fold(0.0, f64::max);
    let marks: Vec<(f64, String)> =
        (0..=4).map(|n| end * f64::from(n) / 4.0).map(|at| (at, format!("{at:.1} s"))).collect();
    chart::lines(&lines, &Axes { marks: &marks, unit: "B", logarithmic: false })
}

fn latency_part(page: &mut String, arguments: &PageArguments) -> Result<()> {
    for rate in RATES {
        let curves = latency::curves(rate, 1, arguments.seconds)?;
        let title = format!("Latency at {} records a second", chart::short(rate as f64));
        section(
            page,
            &title,
            "TCP in, filter, count by key in update mode, results out: from the time a record was due to its result.",
        );
        page.push_str(&latency_picture(&curves));
        table(page, &curves.iter().map(|curve| curve.row.clone()).collect::<Vec<_>>());
    }
    Ok(())
}

/// Quantiles, spread so that each further nine has the same width.
fn latency_picture(curves: &[Curve]) -> String {
    let place = |quantile: f64| -(1.0 - quantile).log10();
    let marks: Vec<(f64, String)> = [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")]
        .map(|(q, t)| (place(q), t.to_owned()))
        .into();
    let line = |curve: &Curve| Line {
        label: curve.engine.to_owned(),
        points: curve.quantiles.iter().map(|(quantile, micros)| (place(*quantile), *micros as f64)).collect(),
    };
    let lines: Vec<Line> = curves.iter().map(line).collect();
    chart::lines(&lines, &Axes { marks: &marks, unit: "us", logarithmic: true })
}

fn section(page: &mut String, title: &str, text: &str) {
    let _ = write!(page, "<h2>{}</h2><p>{}</p>", escaped(title), escaped(text));
}

fn table(page: &mut String, rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let cells = |tag: &str, texts: Vec<String>| {
        let cells: String = texts.iter().map(|text| format!("<{tag}>{}</{tag}>", escaped(text))).collect();
        format!("<tr>{cells}</tr>")
    };
    page.push_str("<table>");
    page.push_str(&cells("th", first.keys().map(|name| name.replace('_', " ")).collect()));
    for row in rows {
        page.push_str(&cells("td", row.values().map(cell).collect()));
    }
    page.push_str("</table>");
}
