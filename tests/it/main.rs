//! Integration tests: the whole engine through its public interface.
//!
//! One binary, so that DataFusion is linked once. `case` reads the conformance corpus and builds its queries; `batch`
//! replays the cases' static answers, `replay` and `stream` their streaming answers.

mod batch;
mod case;
mod command;
mod compare;
#[path = "../../src/conformance.rs"]
#[allow(dead_code, reason = "shared with the crate's own tests, which use all of it")]
mod conformance;

mod plans;
mod replay;
mod sql;
mod stream;

use thalweg::{Error, Result, functions, types};
