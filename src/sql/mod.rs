//! SQL text to DataFusion expressions and plans, by Spark's grammar, names and rules.
//!
//! Text → tokens → syntax tree ([`parse`], with [`dialect`]) → bound expressions of exactly Spark's types. The syntax
//! tree is sqlparser's own; what it cannot say is expressed with what it has (`dialect` tells how). Nothing here looks
//! at data.

pub mod dialect;
pub mod names;
pub mod parse;

pub use datafusion::sql::sqlparser::ast;
pub use parse::{parse_expression, parse_select_item, parse_statements};
