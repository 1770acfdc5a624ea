//! How the cluster itself fares while something is measured: a record goes through it, then the next.
//!
//! In: a cluster. Out: how long those records took there and back. A cluster that stands still for a while does so for all
//! that is measured on it; this tells such a time from an engine's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use thalweg::clock::SystemClock;
use thalweg::{Error, Result};

use super::background::Background;
use super::cluster::{Cluster, Topic};

/// Between an answer and the next record.
const REST: Duration = Duration::from_millis(10);
/// No answer for so long: it will not come.
const LONGEST: Duration = Duration::from_secs(60);

/// Begins with a topic of its own; ends with the times of all records in microseconds.
pub(super) fn start(cluster: &Cluster) -> Result<Background<Histogram<u64>>> {
    let topic = cluster.topic(1)?;
    Background::start("pulse", move |stop| beat(&topic, stop))
}

fn beat(topic: &Topic, stop: &AtomicBool) -> Result<Histogram<u64>> {
    let (sending, reading, clock) = (topic.producer()?, topic.consumer()?, SystemClock::shared());
    let mut times = Histogram::new(3).map_err(|cause| Error::internal(cause.to_string()))?;
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let begun = clock.nanos();
        let passed = || clock.nanos().saturating_sub(begun);
        sending.numbers(number..number + 1)?;
        while reading.number(REST)? != Some(number) {
            if u128::from(passed()) > LONGEST.as_nanos() {
                return Err(
                    Error::outside("the cluster does not give back what was written").hint("Check the brokers' logs.")
                );
            }
        }
        // The first one also pays for the connections.
        if number > 0 {
            // It grows as needed, and refuses nothing from 1 on.
            let _ = times.record((passed() / 1000).max(1));
        }
        std::thread::park_timeout(REST);
    }
    Ok(times)
}
