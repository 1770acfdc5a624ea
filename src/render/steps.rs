//! Stateless steps: physical expressions and kernels as functions from rows to rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use thalweg_operators::Error as OperatorError;
use thalweg_operators::stateless::Step;

use crate::functions::single::Expression;
use crate::plan::dataflow;
use crate::{Error, Result};

/// The running form of steps.
pub(super) fn all(steps: &[dataflow::Step]) -> Result<Vec<Step>> {
    steps.iter().map(step).collect()
}

/// The running form of a step.
fn step(step: &dataflow::Step) -> Result<Step> {
    Ok(match step {
        dataflow::Step::Filter(condition) => outside(filter(condition.clone())),
        dataflow::Step::Project(exprs, schema) => outside(project(exprs.clone(), schema.clone())),
        dataflow::Step::Expand(kernel) => {
            let kernel = kernel.clone();
            outside(move |rows| kernel.expand(&rows))
        }
    })
}

fn outside(mut step: impl FnMut(RecordBatch) -> Result<RecordBatch> + 'static) -> Step {
    Box::new(move |rows| step(rows).map_err(OperatorError::outside))
}

fn filter(condition: Arc<dyn PhysicalExpr>) -> impl FnMut(RecordBatch) -> Result<RecordBatch> {
    let condition = Expression::new(condition);
    move |rows| match condition.holds(&rows) {
        Some(true) => Ok(rows),
        Some(false) => Ok(rows.slice(0, 0)),
        None => filter_arrays(&condition, rows),
    }
}

fn filter_arrays(condition: &Expression, rows: RecordBatch) -> Result<RecordBatch> {
    let keep = condition.evaluate(&rows)?;
    let keep = keep.as_boolean_opt().ok_or_else(|| Error::internal("a filter is not boolean"))?;
    match keep.true_count() {
        0 => Ok(rows.slice(0, 0)),
        all if all == rows.num_rows() => Ok(rows),
        _ => Ok(filter_record_batch(&rows, keep)?),
    }
}

fn project(exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> impl FnMut(RecordBatch) -> Result<RecordBatch> {
    let exprs: Vec<Expression> = exprs.into_iter().map(Expression::new).collect();
    move |rows| {
        let mut columns = Vec::with_capacity(exprs.len());
        for expr in &exprs {
            columns.push(expr.evaluate(&rows)?);
        }
        conform(columns, &schema, rows.num_rows())
    }
}

/// Columns as rows of `schema`. Types that differ in nothing but names of nested fields, nullability or string layout are
/// brought to the schema's.
pub(crate) fn conform(columns: Vec<ArrayRef>, schema: &SchemaRef, rows: usize) -> Result<RecordBatch> {
    let same =
        |(column, field): (ArrayRef, &Arc<arrow::datatypes::Field>)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => Ok(cast(&column, field.data_type())?),
        };
    let columns = columns.into_iter().zip(schema.fields()).map(same).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
