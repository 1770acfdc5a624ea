//! `dropDuplicates`, `dropDuplicatesWithinWatermark` and `distinct`: the first row of each key passes.
//!
//! In: rows. Out: the rows whose key was not seen before, unchanged and in order. Null equals null, NaN equals NaN and
//! -0.0 equals 0.0.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{event_time_index, passing, single, watermark_delay_millis, without_order};

/// Keeps the first row of each key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deduplicate {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The key: columns of the input.
    pub columns: Vec<Column>,
    /// True for `dropDuplicatesWithinWatermark`: a key is forgotten once the watermark passed its first time + delay.
    pub within_watermark: bool,
}

impl Deduplicate {
    /// Where the key columns are among the input's columns.
    ///
    /// # Errors
    /// If a rewrite lost a column, which would be a bug.
    pub fn indexes(&self) -> Result<Vec<usize>> {
        self.columns.iter().map(|column| self.input.schema().index_of_column(column)).collect()
    }
}

without_order!(Deduplicate);

impl UserDefinedLogicalNodeCore for Deduplicate {
    fn name(&self) -> &str {
        "Deduplicate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns.iter().cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<_> = self.columns.iter().map(ToString::to_string).collect();
        let within = if self.within_watermark { ", within watermark" } else { "" };
        write!(f, "Deduplicate: [{}]{within}", keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("a deduplication key became '{other}'"),
        });
        Ok(Self {
            input: single(inputs)?,
            columns: columns.collect::<Result<_>>()?,
            within_watermark: self.within_watermark,
        })
    }

    /// An event time is needed too, to judge which rows are late.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed = passing(output_columns, schema.fields().len())?;
        let keys = self.indexes().ok()?;
        let is_event_time = |index: &usize| watermark_delay_millis(schema.field(*index)).is_some();
        if !needed[0].iter().chain(&keys).any(is_event_time) {
            needed[0].extend(event_time_index(schema));
        }
        Some(needed)
    }
}
