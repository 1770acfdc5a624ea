//! Thalweg: a continuous, record-at-a-time streaming engine with Spark Structured Streaming's programming model.
//!
//! A query is written once (DataFrame API or SQL), compiles to one timely dataflow graph, and runs under two drivers:
//! *continuous* (each record flows through the moment it arrives) and *micro-batch* (epochs are Spark's batches).

pub(crate) mod blocking;
#[cfg(feature = "cassandra")]
mod cassandra;
pub mod catalog;
pub mod checkpoint;
pub mod clock;
pub(crate) mod cold;
pub mod conf;
#[cfg(test)]
pub(crate) mod conformance;
pub mod error;
pub(crate) mod filelog;
pub mod filepath;
pub mod formats;
pub mod frame;
pub mod functions;
pub mod io;
pub mod items;
#[cfg(feature = "kafka")]
mod kafka;
pub(crate) mod kill;
pub mod options;
pub mod plan;
pub mod prelude;
pub mod query;
pub(crate) mod render;
pub mod session;
pub mod show;
pub mod sinks;
pub mod sources;
pub mod sql;
pub mod stateful;
pub mod store;
pub(crate) mod threads;
pub mod types;
mod variant;

pub use error::{Error, Result};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
