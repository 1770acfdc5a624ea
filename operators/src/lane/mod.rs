//! The differential lane: operators over changelogs, on differential dataflow.
//!
//! ```text
//!  stream ─► Entrance ─►│ gate ─► reduce │ join │ rank ... ─► exit │─► stream
//!            (driver)   │ region: a nested scope in which time is (epoch, tick)  │
//! ```
//!
//! Connected operators over changelogs make one *region*. Before each of its inputs stands an [`entrance::Entrance`]: an ordinary
//! [`Logic`](crate::Logic) that keeps the consolidated rows of the input and is what is snapshotted. Inside, rows are
//! differential collections of byte strings; the operators are differential's own, with our aggregates and conditions. The
//! [`exit`] gives the net change of each moment as chunks with signs.
//!
//! Time inside is [`Fine`]: the epoch refined by a *tick*. A differential operator answers when a time is over; the
//! [`gate`] ends a tick after each handful of rows under the continuous driver, so that answers come at once, and only with the
//! epoch under the micro-batch driver. Ticks are agreed on by all workers.
//!
//! What always holds: the rows that leave at one tick are the difference between the results before and after what entered at
//! that tick, over all workers; what entered before a restart enters again at tick 0, and what leaves at tick 0 is dropped.

pub mod aggregate;
pub mod entrance;
mod exit;
mod gate;
pub mod join;
pub mod rank;
mod region;
#[cfg(test)]
mod tests;
mod time;
mod updates;

use std::cell::Cell;
use std::rc::Rc;

use timely::dataflow::Stream;

use crate::driver::Observer;
use crate::keys::Hashing;
use crate::{Chunk, Error, Pace};

pub use region::{Input, region};
pub use time::Fine;

/// A stream of chunks with signs inside a region.
pub type FineStream<'scope> = Stream<'scope, Fine, Chunk>;

/// How a region is put into the graph. Cheap to clone.
#[derive(Clone)]
pub struct Place {
    /// Unique within the query; names the region in errors.
    pub name: String,
    /// When results leave.
    pub pace: Pace,
    /// The epoch that rows start with.
    pub epoch: u64,
    /// How keys are hashed, for the exchange and in state.
    pub hashing: Hashing,
    /// Listens to failures and snapshots.
    pub observer: Rc<dyn Observer>,
    failed: Rc<Cell<bool>>,
}

impl Place {
    /// A place of this name.
    pub fn new(name: &str, pace: Pace, epoch: u64, hashing: Hashing, observer: Rc<dyn Observer>) -> Self {
        Place { name: name.to_owned(), pace, epoch, hashing, observer, failed: Rc::default() }
    }

    /// Reports a failure, once for the whole region.
    fn fail(&self, error: Error) {
        if !self.failed.replace(true) {
            self.observer.failed(&self.name, error);
        }
    }

    /// The value, or a report.
    fn check<T>(&self, result: crate::Result<T>) -> Option<T> {
        if self.failed.get() {
            return None;
        }
        result.map_err(|error| self.fail(error)).ok()
    }

    /// The tick at which what does not depend on any row enters: as if before a restart, or with the first rows.
    fn first_tick(&self) -> u64 {
        u64::from(self.epoch == 0)
    }
}
