//! First half of a session aggregation in batch: replaces each row's own session by the merged one of its key.
//!
//! In: all rows, with a session column. Out: the same rows in any order; only the session column changes. Made from
//! [`super::SessionAggregate`] when a static query runs; streams merge sessions in their operator.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{single, without_order};

/// Merges the sessions of each key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MergeSessions {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// What sessions are merged by.
    pub keys: Vec<Expr>,
    /// The session column.
    pub session: Column,
}

without_order!(MergeSessions);

impl UserDefinedLogicalNodeCore for MergeSessions {
    fn name(&self) -> &str {
        "MergeSessions"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    /// The keys and the session column.
    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().cloned().chain([Expr::Column(self.session.clone())]).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "MergeSessions: keys=[{}], session={}", keys.join(", "), self.session)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match exprs.pop() {
            Some(Expr::Column(session)) => Ok(Self { input: single(inputs)?, keys: exprs, session }),
            _ => internal_err!("the session column became something else"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        super::passing(output_columns, self.input.schema().fields().len())
    }
}
