//! Plans: what DataFusion's `LogicalPlan` lacks for streams, and what is made of a logical plan.
//!
//! In: logical plans from `frame` and `sql`. Out: a dataflow plan (streams) or rows (batch). No timely and no I/O here,
//! but for [`batch`], which hands a static plan to DataFusion.

pub mod batch;
mod best_rows;
pub mod check;
pub mod dataflow;
pub mod explain;
mod grouping_sets;
mod inferred;
pub mod late;
pub mod lower;
pub mod nodes;
pub mod optimize;
pub(crate) mod pushdown;
pub mod scan;
pub(crate) mod subqueries;
pub mod time_range;
