//! Time inside a region: the epoch, refined by a tick. A total order, epoch first.
//!
//! Event time does not pass: a region's result has no watermark. What must hold: a time's outer time is its epoch with no
//! watermark, so that no operator behind a region closes anything.

use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::PartialOrder;
use timely::order::TotalOrder;
use timely::progress::timestamp::{PathSummary, Refines, Timestamp};

use crate::Time;
use crate::time::{NO_WATERMARK, Unchanged};

/// A moment of an epoch.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fine {
    /// What is committed together.
    pub epoch: u64,
    /// The moment; rises over epochs, too. 0: before the run.
    pub tick: u64,
}

impl Fine {
    /// A moment of an epoch.
    pub fn new(epoch: u64, tick: u64) -> Self {
        Fine { epoch, tick }
    }
}

impl PartialOrder for Fine {
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }

    fn less_than(&self, other: &Self) -> bool {
        self < other
    }
}

impl TotalOrder for Fine {}

impl Lattice for Fine {
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }

    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}

impl PathSummary<Fine> for Unchanged {
    fn results_in(&self, time: &Fine) -> Option<Fine> {
        Some(*time)
    }

    fn followed_by(&self, _: &Self) -> Option<Self> {
        Some(Unchanged)
    }
}

impl Timestamp for Fine {
    type Summary = Unchanged;

    fn minimum() -> Self {
        Fine::default()
    }
}

impl Refines<Time> for Fine {
    fn to_inner(time: Time) -> Self {
        Fine::new(time.epoch, 0)
    }

    fn to_outer(self) -> Time {
        Time::new(self.epoch, NO_WATERMARK)
    }

    fn summarize(summary: Unchanged) -> Unchanged {
        summary
    }
}
