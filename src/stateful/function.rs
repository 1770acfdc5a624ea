//! A stateful function as the plan carries it: names, columns and how to make it for a worker, without its types.

use std::fmt;

use arrow::datatypes::SchemaRef;
use thalweg_operators::arbitrary::{Processor, TimeMode, Variable};

use crate::Result;
use crate::sinks::OutputMode;

/// Which of Spark's doors it came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `transformWithState`.
    Transform,
    /// `flatMapGroupsWithState`.
    FlatMapGroups,
    /// `mapGroupsWithState`.
    MapGroups,
}

/// A stateful function of the program.
pub(crate) struct StateFunction {
    /// What `explain` prints, e.g. `transform_with_state(Fraud)`.
    pub name: String,
    /// Which door it came through.
    pub style: Style,
    /// The columns of its input that it reads, if they are known.
    pub reads: Option<Vec<String>>,
    /// The columns it makes.
    pub makes: SchemaRef,
    /// Which time its timers are about.
    pub time: TimeMode,
    /// In which mode it says it makes rows.
    pub mode: OutputMode,
    /// Makes one for a worker.
    pub make: Box<Make>,
}

type Make = dyn Fn(&Request) -> Result<StateProgram> + Send + Sync;

/// For what a function is made.
pub(crate) struct Request {
    /// A query over static data.
    pub batch: bool,
    /// The columns of its input.
    pub input: SchemaRef,
    /// The key columns.
    pub keys: SchemaRef,
    /// Whether the input has an event time with a watermark.
    pub watermark: bool,
    /// The columns of the initial state, if there is one.
    pub initial: Option<SchemaRef>,
}

/// A function that is ready to be called.
pub(crate) struct StateProgram {
    /// Its state variables.
    pub variables: Vec<Variable>,
    /// Variables of former runs that are to be forgotten.
    pub deleted: Vec<String>,
    /// What is called.
    pub processor: Box<dyn Processor>,
}

impl fmt::Debug for StateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
