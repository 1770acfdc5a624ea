//! `session_window(time, gap)`: gives each row the session it would make alone, from its time to its time plus the gap.
//!
//! In: rows. Out: the input's columns and a struct `start`, `end` behind. A row whose time or gap is null, or whose gap
//! is not positive, vanishes. Sessions are merged by the [`super::SessionAggregate`] above.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{extended, passing, single, without_order};

/// Adds a column with each row's own session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionWindow {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The time, a TIMESTAMP or TIMESTAMP_NTZ.
    pub time: Expr,
    /// The gap, an interval without months: `Duration(Microsecond)` or `Interval(MonthDayNano)`.
    pub gap: Expr,
    /// Qualifier of the new column.
    pub qualifier: Option<TableReference>,
    /// The new column: a struct of two times; it carries the watermark's mark if `time` does.
    pub field: FieldRef,
    schema: DFSchemaRef,
}

impl SessionWindow {
    /// Adds the column `field`.
    ///
    /// # Errors
    /// If the new column has the qualified name of one of the input's.
    pub fn try_new(
        input: Arc<LogicalPlan>,
        time: Expr,
        gap: Expr,
        qualifier: Option<TableReference>,
        field: FieldRef,
    ) -> Result<Self> {
        let schema = extended(&input, vec![(qualifier.clone(), Arc::clone(&field))])?;
        Ok(Self { input, time, gap, qualifier, field, schema })
    }
}

without_order!(SessionWindow);

impl UserDefinedLogicalNodeCore for SessionWindow {
    fn name(&self) -> &str {
        "SessionWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone(), self.gap.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.field.name().clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SessionWindow: {} AS {}, gap={}", self.time, self.field.name(), self.gap)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([time, gap]) = <[Expr; 2]>::try_from(exprs) else {
            return internal_err!("a session window node has two expressions");
        };
        Self::try_new(single(inputs)?, time, gap, self.qualifier.clone(), Arc::clone(&self.field))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        passing(output_columns, self.input.schema().fields().len())
    }
}
