//! SQL text to DataFusion expressions and plans, by Spark's grammar, names and rules.
//!
//! Text → tokens → syntax tree ([`parse`], with [`dialect`]) → bound expressions ([`expression`]) of exactly Spark's
//! types. The syntax tree is sqlparser's own; what it cannot say is expressed with what it has (`dialect` tells how).
//! Nothing here looks at data.

mod aliases;
pub mod binder;
mod call_name;
mod calls;
mod chain;
mod default_name;
pub mod dialect;
pub mod expression;
mod group_by;
pub mod grouping;
pub(crate) mod insert;
pub mod interval;
mod item;
pub mod join;
pub mod literal;
pub mod names;
pub mod over;
pub mod parameters;
pub mod parse;
mod pipe;
pub mod pivot;
mod query;
pub mod relation;
mod resolve;
mod selection;
pub(crate) mod set_operation;
pub(crate) mod statement;
mod stream_clauses;
mod subquery;
mod variant_path;
mod watermark;

pub use datafusion::sql::sqlparser::ast;
pub use default_name::default_name;
pub use expression::{Item, Scope, bind_expression, bind_item};
pub use parse::{parse_expression, parse_select_item, parse_statements};
pub use resolve::unresolved;
pub use statement::TEXT;
