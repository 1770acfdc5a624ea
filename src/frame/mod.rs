//! DataFrames and columns: the programming interface, which only builds plans.
//!
//! In: calls with Spark's names. Out: logical plans, and rows where a call asks for them. Names in columns are resolved
//! when a column meets a DataFrame; from there on a mistake is an error at once, before anything runs.

mod column;
mod dataframe;
pub mod functions;
mod grouped;
mod row;
mod show;
mod window_spec;

pub use column::{CaseColumn, Column, IntoOperand, call_function, col, expr, lit, when};
pub(crate) use column::{call, split_name};
pub use dataframe::{Condition, DataFrame, JoinOn};
pub use grouped::GroupedData;
pub use row::Row;
pub use window_spec::{Window, WindowSpec};
