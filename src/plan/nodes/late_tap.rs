//! Marks the input of an operator whose late rows somebody wants: every column stays, used by the query or not.
//!
//! In: rows. Out: the same rows, for the operator right above. The node exists only in queries that ask for late rows.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{single, without_order};

/// Keeps all columns of its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LateTap {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// So many leading columns are handed over with late rows; a window that was computed behind them is not.
    pub width: usize,
}

without_order!(LateTap);

impl UserDefinedLogicalNodeCore for LateTap {
    fn name(&self) -> &str {
        "LateTap"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A filter moves below: rows that it drops do not reach the operator.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "LateTap: {} columns", self.width)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(LateTap { input: single(inputs)?, width: self.width })
    }

    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}
