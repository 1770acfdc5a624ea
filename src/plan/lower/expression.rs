//! Logical expressions → physical expressions over an operator's input columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use crate::Result;
pub(super) use crate::functions::call::physical;

/// Several expressions.
pub(super) fn physical_all(exprs: &[Expr], schema: &DFSchema) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    exprs.iter().map(|expr| physical(expr, schema)).collect()
}

/// The columns `range` of `schema` as they are.
pub(super) fn columns(schema: &Schema, range: Range<usize>) -> Vec<Arc<dyn PhysicalExpr>> {
    range.map(|i| Arc::new(Column::new(schema.field(i).name(), i)) as Arc<dyn PhysicalExpr>).collect()
}
