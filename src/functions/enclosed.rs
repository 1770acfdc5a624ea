//! An expression with lambdas, over the columns that it uses and no others.
//!
//! In: a call of a function that takes lambdas, as DataFusion plans it. Out: the same, evaluated over a batch of its own. In DataFusion a
//! lambda's parameters are columns behind those that were planned, and a lambda takes what stands there: over a batch with more columns (the
//! sign of a change, or what steps that were joined leave out) it would take a column for a parameter. What always holds: inside, columns
//! are counted from 0, and parameters stand behind them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{HigherOrderFunctionExpr, PhysicalExpr};

/// A call and the values of its columns.
#[derive(Debug, Clone)]
struct Enclosed {
    /// Over columns of its own.
    call: Arc<dyn PhysicalExpr>,
    /// What its columns are, outside.
    columns: Vec<Arc<dyn PhysicalExpr>>,
    /// As it was planned, for texts.
    result: FieldRef,
}

/// The expression with each call that takes lambdas enclosed; those within another stay as they are.
///
/// # Errors
/// What DataFusion says of a call that cannot be made anew.
pub(super) fn enclosed(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> PlanResult<Arc<dyn PhysicalExpr>> {
    let enclose = |part: Arc<dyn PhysicalExpr>| {
        if part.downcast_ref::<HigherOrderFunctionExpr>().is_none() {
            return Ok(Transformed::no(part));
        }
        let enclosed: Arc<dyn PhysicalExpr> = Arc::new(Enclosed::new(part, schema)?);
        Ok(Transformed::new(enclosed, true, TreeNodeRecursion::Jump))
    };
    Ok(expr.transform_down(enclose)?.data)
}

impl Enclosed {
    fn new(call: Arc<dyn PhysicalExpr>, schema: &Schema) -> PlanResult<Self> {
        let result = call.return_field(schema)?;
        let mut columns: Vec<Column> = Vec::new();
        let call = call
            .transform_up(|part| {
                let Some(column) = part.downcast_ref::<Column>() else { return Ok(Transformed::no(part)) };
                let known = columns.iter().position(|known| known == column);
                let place = known.unwrap_or(columns.len());
                if known.is_none() {
                    columns.push(column.clone());
                }
                let own: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), place));
                Ok(Transformed::yes(own))
            })?
            .data;
        let columns = columns.into_iter().map(|column| Arc::new(column) as Arc<dyn PhysicalExpr>).collect();
        Ok(Enclosed { call, columns, result })
    }

    /// The batch that the call sees.
    fn own(&self, batch: &RecordBatch) -> PlanResult<RecordBatch> {
        let (mut fields, mut arrays) = (Vec::with_capacity(self.columns.len()), Vec::with_capacity(self.columns.len()));
        for column in &self.columns {
            fields.push(column.return_field(batch.schema_ref())?);
            arrays.push(column.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }
}

impl PhysicalExpr for Enclosed {
    fn return_field(&self, _: &Schema) -> PlanResult<FieldRef> {
        Ok(self.result.clone())
    }

    fn evaluate(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        self.call.evaluate(&self.own(batch)?)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.columns.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, columns: Vec<Arc<dyn PhysicalExpr>>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Enclosed { call: self.call.clone(), columns, result: self.result.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt_sql(f)
    }

    fn is_volatile_node(&self) -> bool {
        self.call.exists(|part| Ok(part.is_volatile_node())).unwrap_or(true)
    }
}

impl fmt::Display for Enclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl PartialEq for Enclosed {
    fn eq(&self, other: &Self) -> bool {
        self.call.eq(&other.call) && self.columns == other.columns && self.result == other.result
    }
}

impl Eq for Enclosed {}

impl Hash for Enclosed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.call.hash(state);
        self.columns.hash(state);
    }
}
