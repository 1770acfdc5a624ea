//! The timely timestamp: two independent clocks, the epoch and the watermark.
//!
//! `epoch` counts what is committed together; `watermark` is event time promised complete, in microseconds since 1970.
//! A frontier's smallest epoch and smallest watermark are the epoch in progress and the event-time watermark at that place,
//! over all workers, sources and paths. `Product` does not refine `()`, so it can't be a dataflow's own time; this can.

use serde::{Deserialize, Serialize};
use timely::PartialOrder;
use timely::progress::timestamp::{PathSummary, Refines, Timestamp};

/// A watermark that promises nothing: the path has no event time.
pub const NO_WATERMARK: i64 = i64::MIN;

/// The product of epoch and watermark, ordered by both at once.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    /// What is committed together.
    pub epoch: u64,
    /// Event time promised complete, in microseconds since 1970-01-01 UTC; [`NO_WATERMARK`] if nothing is promised.
    pub watermark: i64,
}

impl Time {
    /// A time of these two parts.
    pub fn new(epoch: u64, watermark: i64) -> Self {
        Time { epoch, watermark }
    }
}

impl Default for Time {
    fn default() -> Self {
        Time::new(0, NO_WATERMARK)
    }
}

impl PartialOrder for Time {
    fn less_equal(&self, other: &Self) -> bool {
        self.epoch <= other.epoch && self.watermark <= other.watermark
    }
}

/// The only path summary: time stays as it is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unchanged;

impl PartialOrder for Unchanged {
    fn less_equal(&self, _: &Self) -> bool {
        true
    }
}

impl PathSummary<Time> for Unchanged {
    fn results_in(&self, time: &Time) -> Option<Time> {
        Some(*time)
    }

    fn followed_by(&self, _: &Self) -> Option<Self> {
        Some(Unchanged)
    }
}

impl Timestamp for Time {
    type Summary = Unchanged;

    fn minimum() -> Self {
        Time::default()
    }
}

impl Refines<()> for Time {
    fn to_inner(_: ()) -> Self {
        Time::default()
    }

    fn to_outer(self) {}

    fn summarize(_: Unchanged) {}
}
