//! Arrow chunks on timely dataflow: the operators of Thalweg.
//!
//! One operator is one file: a pure function of chunks, time and state. Absent on purpose: plans, SQL, I/O, async
//! runtimes, the wall clock. What the outside gives (expressions, decoders, sinks) comes in as boxed closures and traits.
//!
//! Where to start: [`Chunk`] (what moves), [`Time`] (the two clocks), [`driver`] (the one place that touches
//! capabilities and frontiers), then any [`driver::Logic`], e.g. [`group`].

pub mod aggregate;
pub mod arbitrary;
pub mod change;
pub mod chunk;
pub mod cold;
pub mod dedup;
pub mod driver;
pub mod error;
pub mod event_time;
pub mod exchange;
pub mod expiry;
pub mod group;
pub mod harness;
pub mod join;
pub mod keys;
pub mod lane;
pub mod limit;
mod marks;
pub mod session;
pub mod snapshot;
pub mod sort;
pub mod source;
pub mod stateless;
pub mod time;
pub mod watermark;

pub use chunk::Chunk;
pub use driver::{Logic, Output, Pace};
pub use error::{Error, Result};
pub use time::Time;

/// A stream of chunks in a dataflow scope.
pub type ChunkStream<'scope> = timely::dataflow::Stream<'scope, Time, Chunk>;
