//! Integration tests: the whole engine through its public interface.
//!
//! One binary, so that DataFusion is linked once. `case` reads the conformance corpus and builds its queries; `batch`
//! replays the cases' static answers, `replay` and `stream` their streaming answers, `restarts` these with restarts. `embedded` and `queries` are about
//! the library's own doors, `workers` about large chunks on several workers.

mod arbitrary;
mod bank;
mod batch;
mod best_rows;
mod case;
#[cfg(feature = "cassandra")]
mod cassandra;
mod changelog;
mod command;
mod compare;
#[path = "../../src/conformance.rs"]
#[allow(dead_code, reason = "shared with the crate's own tests, which use all of it")]
mod conformance;

mod continuous;
mod embedded;
mod faults_checkpoint;
mod faults_data;
mod faults_process;
mod faults_time;
#[cfg(feature = "kafka")]
mod kafka;
mod keys;
mod late;
mod metrics;
mod modes;
mod plans;
mod processes;
mod queries;
mod refused_by_spark;
mod replay;
mod restarts;
mod sql;
mod state;
mod state_store;
mod statics;
mod stream;
mod tidy;
mod upgrades;
mod workers;

use thalweg::{Error, Result, functions, types};
