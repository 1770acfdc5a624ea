//! `window(time, length, slide, start)`: assigns each row to the windows of fixed length that its time lies in.
//!
//! In: rows. Out: per row and window, the input's columns and a struct `start`, `end` behind. A row whose time is null
//! vanishes; with `slide` shorter than `length` a row comes several times, latest window first. Windows are aligned to
//! 1970-01-01T00:00Z plus the offset.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{Column, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{extended, passing, single, without_order};

/// Adds a window column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimeWindow {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The time, a TIMESTAMP or TIMESTAMP_NTZ.
    pub time: Expr,
    /// Length of a window in microseconds, more than 0.
    pub length: i64,
    /// Distance of the windows' starts in microseconds, more than 0 and at most `length`.
    pub slide: i64,
    /// Offset of the windows' starts in microseconds, its absolute value less than `slide`.
    pub start: i64,
    /// Qualifier of the new column.
    pub qualifier: Option<TableReference>,
    /// The new column: a struct of two times; it carries the watermark's mark if `time` does.
    pub field: FieldRef,
    schema: DFSchemaRef,
}

/// What a [`TimeWindow`] does, apart from its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Length in microseconds.
    pub length: i64,
    /// Slide in microseconds.
    pub slide: i64,
    /// Offset in microseconds.
    pub start: i64,
}

impl TimeWindow {
    /// Adds the column `field` with the windows of `time`.
    ///
    /// # Errors
    /// If the new column has the qualified name of one of the input's.
    pub fn try_new(
        input: Arc<LogicalPlan>,
        time: Expr,
        windows: Windows,
        qualifier: Option<TableReference>,
        field: FieldRef,
    ) -> Result<Self> {
        let schema = extended(&input, vec![(qualifier.clone(), Arc::clone(&field))])?;
        let Windows { length, slide, start } = windows;
        Ok(Self { input, time, length, slide, start, qualifier, field, schema })
    }

    /// The new column.
    pub fn column(&self) -> Column {
        Column::new(self.qualifier.clone(), self.field.name())
    }

    /// Length, slide and offset.
    pub fn windows(&self) -> Windows {
        Windows { length: self.length, slide: self.slide, start: self.start }
    }
}

without_order!(TimeWindow);

impl UserDefinedLogicalNodeCore for TimeWindow {
    fn name(&self) -> &str {
        "TimeWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.field.name().clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TimeWindow: {} AS {}, length={} us", self.time, self.field.name(), self.length)?;
        write!(f, ", slide={} us, start={} us", self.slide, self.start)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([time]) = <[Expr; 1]>::try_from(exprs) else {
            return internal_err!("a time window node has one expression");
        };
        Self::try_new(single(inputs)?, time, self.windows(), self.qualifier.clone(), Arc::clone(&self.field))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        passing(output_columns, self.input.schema().fields().len())
    }
}
