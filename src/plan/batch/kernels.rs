//! Kernels of the nodes without state, for batch and stream alike: rows in, rows out.
//!
//! In: a node of [`crate::plan::nodes`]. Out: a kernel over its input's columns by index. A kernel keeps nothing between
//! calls, so one serves any number of threads.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;

use super::generators::GenerateKernel;
use super::windows::{SessionWindowKernel, TimeWindowKernel};
use crate::Result;
use crate::functions::call;
use crate::plan::nodes::{Generate, ItemFunction, MapItems, SessionWindow, TimeWindow};

/// A stateless kernel that may change the number of rows.
pub trait Expand: Send + Sync {
    /// One line for `explain`.
    fn describe(&self) -> String;
    /// Rows in, rows out.
    ///
    /// # Errors
    /// What evaluating the node's expressions gives.
    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch>;

    /// The same kernel where only these columns of its output are read; the rest may be null. `None`: it makes no difference.
    fn reading(&self, _columns: &[usize]) -> Option<Arc<dyn Expand>> {
        None
    }
}

/// The kernel of a generator.
///
/// # Errors
/// If the node's expression is no call of a known generator.
pub fn generate(node: &Generate) -> Result<Arc<dyn Expand>> {
    Ok(Arc::new(GenerateKernel::try_new(node)?))
}

/// The kernel of a time window.
///
/// # Errors
/// If the time has no physical expression.
pub fn time_window(node: &TimeWindow) -> Result<Arc<dyn Expand>> {
    let time = physical(&node.time, &node.input)?;
    let schema = Arc::clone(UserDefinedLogicalNode::schema(node).inner());
    Ok(Arc::new(TimeWindowKernel { time, windows: node.windows(), schema }))
}

/// The kernel of a session window.
///
/// # Errors
/// If the time or the gap has no physical expression.
pub fn session_window(node: &SessionWindow) -> Result<Arc<dyn Expand>> {
    let (time, gap) = (physical(&node.time, &node.input)?, physical(&node.gap, &node.input)?);
    let schema = Arc::clone(UserDefinedLogicalNode::schema(node).inner());
    Ok(Arc::new(SessionWindowKernel { time, gap, schema }))
}

/// The kernel of a function of the program.
pub fn map_items(node: &MapItems) -> Arc<dyn Expand> {
    Arc::new(MapItemsKernel(Arc::clone(&node.function)))
}

struct MapItemsKernel(Arc<ItemFunction>);

impl Expand for MapItemsKernel {
    fn describe(&self) -> String {
        self.0.name.clone()
    }

    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        (self.0.run)(rows)
    }
}

/// An expression over the columns of `input`, by index.
pub(super) fn physical(expr: &Expr, input: &LogicalPlan) -> Result<Arc<dyn PhysicalExpr>> {
    call::physical(expr, input.schema())
}
