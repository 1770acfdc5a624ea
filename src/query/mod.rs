//! Streaming queries: from a logical plan and a writer's settings to a running graph and its handle.
//!
//! ```text
//!  DataStreamWriter::start ─► start::start: check → optimize → lower → connect ─► driver thread ─► Execution::run
//!                                                                                   │ micro_batch | continuous
//!  StreamingQuery ◄── QueryState (status, progress, end) ◄──────────────────────────┘
//! ```
//!
//! One graph serves all triggers; a trigger only decides when an epoch closes. Where to start reading: [`execution`].

mod active;
mod cgroup;
mod continuous;
mod event_time;
mod execution;
mod fingerprint;
mod graph;
mod handle;
mod ingest;
mod items;
#[cfg(test)]
mod kills;
mod late;
mod listener;
mod live;
mod manager;
mod micro_batch;
mod planning;
pub mod progress;
mod recorded;
mod report;
mod restart;
mod results;
#[cfg(test)]
pub(crate) mod simulation;
mod start;
mod state;
mod state_limit;
mod state_operators;
mod state_tables;
mod statics;
mod trigger;
pub(crate) mod writer;

pub use handle::StreamingQuery;
pub use items::Items;
pub use late::LateWriter;
pub use listener::{ListenerId, QueryIdle, QueryStarted, QueryTerminated, StreamingQueryListener};
pub(crate) use live::Live;
pub use manager::StreamingQueryManager;
pub use start::StartRequest;
pub use state::Status;
pub use trigger::Trigger;
pub use writer::{DataStreamWriter, IntoOutputMode};
