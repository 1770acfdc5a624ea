//! The memory of this process while something runs.
//!
//! In: a piece of work. Out: what it gave, and how many bytes were resident at which time, a sample every 50 ms. On systems that do
//! not tell, there are no samples.

use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use thalweg::clock::SharedClock;

/// Between samples.
const STEP: Duration = Duration::from_millis(50);

/// Seconds since the start, and bytes resident then.
pub(super) type Sample = (f64, u64);

/// Runs `work` and watches.
pub(super) fn watched<T>(clock: &SharedClock, work: impl FnOnce() -> T) -> (T, Vec<Sample>) {
    let (done, ends) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let (start, mut samples) = (clock.nanos(), Vec::new());
            loop {
                let seconds = clock.nanos().saturating_sub(start) as f64 / 1e9;
                samples.extend(resident().map(|bytes| (seconds, bytes)));
                if ends.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
                    return samples;
                }
            }
        });
        let value = work();
        drop(done);
        (value, watcher.join().unwrap_or_default())
    })
}

/// Bytes of this process that are in memory now.
pub(super) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
