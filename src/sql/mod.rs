//! SQL text to DataFusion expressions and plans, by Spark's grammar, names and rules.
//!
//! Text → tokens → syntax tree ([`parse`], with [`dialect`]) → bound expressions ([`expression`]) of exactly Spark's
//! types. The syntax tree is sqlparser's own; what it cannot say is expressed with what it has (`dialect` tells how).
//! Nothing here looks at data.

mod calls;
mod default_name;
pub mod dialect;
pub mod expression;
pub mod interval;
mod item;
pub mod literal;
pub mod names;
pub mod over;
pub mod parse;
mod resolve;

pub use datafusion::sql::sqlparser::ast;
pub use default_name::default_name;
pub use expression::{Item, Scope, bind_expression, bind_item};
pub use parse::{parse_expression, parse_select_item, parse_statements};
pub use resolve::unresolved;
