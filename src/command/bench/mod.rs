//! `thalweg bench`: what the engine does on this machine, under both drivers side by side.
//!
//! In: sizes. Out: one table (or one JSON object) per bench. Inputs are generated from a seed in a folder that is removed
//! afterwards. Figures of a debug build say little: a note on standard error tells so.

mod chart;
mod data;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
mod live;
mod measure;
mod memory;
mod nexmark;
mod nexmark_data;
mod page;
mod peer;
mod recovery;
mod report;
mod soak;
mod throughput;
mod workload;

use clap::Subcommand;

use super::output::Failure;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Count words of text files: words per second of wall and of CPU time.
    Wordcount(throughput::WordcountArguments),
    /// From the time a line was due to be sent to the result it changed, next to a plain TCP echo.
    Latency(latency::LatencyArguments),
    /// Count events in 10 s windows by key.
    Window(throughput::EventArguments),
    /// Average readings in 10 min windows every 5 min.
    Sliding(throughput::EventArguments),
    /// Drop repeated ids within the watermark.
    Dedup(throughput::EventArguments),
    /// Join impressions with their clicks within 10 s.
    Join(throughput::EventArguments),
    /// From Kafka to Kafka: records per second of CPU and latency, next to a plain loop over the client library.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaArguments),
    /// Nexmark's queries over an auction house: persons, auctions, bids.
    Nexmark(throughput::NexmarkArguments),
    /// The benches in one run, as a page with pictures.
    Page(page::PageArguments),
    /// From the restart of a query with much state to its first new row.
    Recovery(recovery::RecoveryArguments),
    /// How memory grows while state is bounded.
    Soak(soak::SoakArguments),
    /// Run one workload of a comparison with other engines, between @@START and @@END.
    Peer(peer::PeerArguments),
    /// Run one workload of a comparison that is measured while it runs: latency over TCP, or the time to the first row.
    Live(live::LiveArguments),
}

/// Runs a bench and prints its report.
///
/// # Errors
/// What a query of the bench fails with.
pub(super) fn run(bench: &Bench) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        tracing::warn!("this is a debug build: build with --release for figures that mean something");
    }
    match bench {
        Bench::Wordcount(arguments) => throughput::wordcount(arguments)?,
        Bench::Latency(arguments) => latency::run(arguments)?,
        Bench::Window(arguments) => throughput::events("window", workload::Workload::Tumbling, arguments)?,
        Bench::Sliding(arguments) => throughput::events("sliding", workload::Workload::Sliding, arguments)?,
        Bench::Dedup(arguments) => throughput::events("dedup", workload::Workload::Dedup, arguments)?,
        Bench::Join(arguments) => throughput::events("join", workload::Workload::Join, arguments)?,
        #[cfg(feature = "kafka")]
        Bench::Kafka(arguments) => kafka::run(arguments)?,
        Bench::Nexmark(arguments) => throughput::nexmark(arguments)?,
        Bench::Page(arguments) => page::run(arguments)?,
        Bench::Recovery(arguments) => recovery::run(arguments)?,
        Bench::Soak(arguments) => soak::run(arguments)?,
        Bench::Peer(arguments) => peer::run(arguments)?,
        Bench::Live(arguments) => live::run(arguments)?,
    }
    Ok(())
}
