//! What most programs need: `use thalweg::prelude::*;`.

pub use crate::frame::functions::*;
pub use crate::frame::{Column, DataFrame};
pub use crate::query::{StreamingQuery, Trigger};
pub use crate::session::Session;
pub use crate::sinks::OutputMode;
pub use crate::{Error, Result};
