//! `withWatermark`: marks a column as event time and says how late rows may come.
//!
//! In: rows. Out: the same rows. The output schema is the input's with [`super::WATERMARK_DELAY`] in the column's
//! metadata; renaming the column keeps it, an expression over it does not. The node exists on streams only.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{WATERMARK_DELAY, passing, qualified_fields, single, without_order};

/// Marks `column` of `input` as event time with a delay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The TIMESTAMP column that holds the event time.
    pub column: Column,
    /// How far the watermark stays behind the newest event time, in microseconds, zero or more.
    pub delay_micros: i64,
    /// Which call of `withWatermark` it is. A view that is used twice brings the same one to two places, which then have one
    /// watermark together.
    pub call: u64,
    schema: DFSchemaRef,
}

/// The next number of a call.
static CALLS: AtomicU64 = AtomicU64::new(0);

impl Watermark {
    /// Marks a column.
    ///
    /// # Errors
    /// If the input has no such column.
    pub fn try_new(input: Arc<LogicalPlan>, column: Column, delay_micros: i64) -> Result<Self> {
        Self::of_call(input, column, delay_micros, CALLS.fetch_add(1, Ordering::Relaxed))
    }

    fn of_call(input: Arc<LogicalPlan>, column: Column, delay_micros: i64, call: u64) -> Result<Self> {
        let marked = input.schema().index_of_column(&column)?;
        let mut fields = qualified_fields(input.schema());
        for (index, (_, field)) in fields.iter_mut().enumerate() {
            let mut metadata = field.metadata().clone();
            // The event time of before is none any more.
            metadata.remove(WATERMARK_DELAY);
            if index == marked {
                metadata.insert(WATERMARK_DELAY.to_string(), (delay_micros / 1000).to_string());
            }
            *field = Arc::new(field.as_ref().clone().with_metadata(metadata));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, column, delay_micros, call, schema })
    }

    /// Where the event-time column is among the input's (and the output's) columns.
    ///
    /// # Errors
    /// If a rewrite lost the column, which would be a bug.
    pub fn index(&self) -> Result<usize> {
        self.schema.index_of_column(&self.column)
    }
}

without_order!(Watermark);

impl UserDefinedLogicalNodeCore for Watermark {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.column.clone())]
    }

    /// As in Spark, a filter that does not look at the event time moves below: rows that it drops do not move the watermark.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.column.name.clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Watermark: {}, delay={} ms", self.column, self.delay_micros / 1000)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match exprs.as_slice() {
            [Expr::Column(column)] => Self::of_call(single(inputs)?, column.clone(), self.delay_micros, self.call),
            _ => internal_err!("the watermark's column became something else"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        passing(output_columns, self.schema.fields().len())
    }
}
