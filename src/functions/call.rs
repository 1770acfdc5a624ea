//! Calls of kernels as physical expressions.
//!
//! In: a logical expression. Out: the physical one as DataFusion plans it, but each call of a [`Kernel`] is a [`KernelCall`]: DataFusion's
//! own call makes a description of each argument's field for every batch, which costs as much as a small batch does. What always
//! holds: values, errors and the texts of plans are the same.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, create_physical_expr};

use super::kernel::Kernel;
use crate::{Error, Result};

/// `expr` over columns of `schema`, by index.
///
/// # Errors
/// What DataFusion says of an expression that does not fit the schema.
pub fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let planned = create_physical_expr(expr, schema, &ExecutionProps::new(), &Default::default())?;
    let made =
        planned.transform_up(|part| match part.downcast_ref::<ScalarFunctionExpr>().and_then(KernelCall::of) {
            Some(call) => Ok(Transformed::yes(Arc::new(call) as Arc<dyn PhysicalExpr>)),
            None => Ok(Transformed::no(part)),
        })?;
    Ok(made.data)
}

/// A call of a kernel.
#[derive(Debug, Clone)]
struct KernelCall {
    kernel: Kernel,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    result: FieldRef,
}

impl KernelCall {
    fn of(call: &ScalarFunctionExpr) -> Option<Self> {
        let kernel = (call.fun().inner().as_ref() as &dyn std::any::Any).downcast_ref::<Kernel>()?.clone();
        let result = call.return_field(&Schema::empty()).ok()?;
        Some(KernelCall { kernel, arguments: call.args().to_vec(), result })
    }

    /// A function of constants may give one row for all.
    fn fitting(&self, value: ColumnarValue, rows: usize, constant: bool) -> PlanResult<ColumnarValue> {
        match value {
            ColumnarValue::Array(array) if array.len() == rows => Ok(ColumnarValue::Array(array)),
            ColumnarValue::Array(array) if array.len() == 1 && constant => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            ColumnarValue::Array(array) => {
                let (name, given) = (self.kernel.function_name(), array.len());
                Err(Error::internal(format!("function {name} gave {given} rows for {rows}")).into())
            }
            scalar => Ok(scalar),
        }
    }
}

impl PhysicalExpr for KernelCall {
    fn data_type(&self, _: &Schema) -> PlanResult<DataType> {
        Ok(self.result.data_type().clone())
    }

    fn nullable(&self, _: &Schema) -> PlanResult<bool> {
        Ok(self.result.is_nullable())
    }

    fn return_field(&self, _: &Schema) -> PlanResult<FieldRef> {
        Ok(self.result.clone())
    }

    fn evaluate(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        let values = self.arguments.iter().map(|argument| argument.evaluate(batch)).collect::<PlanResult<Vec<_>>>()?;
        let constant = !values.is_empty() && values.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let value = self.kernel.run(&values, batch.num_rows())?;
        self.fitting(value, batch.num_rows(), constant)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.arguments.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, arguments: Vec<Arc<dyn PhysicalExpr>>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(KernelCall { kernel: self.kernel.clone(), arguments, result: self.result.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.kernel.function_name())?;
        for (i, argument) in self.arguments.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            argument.fmt_sql(f)?;
        }
        f.write_str(")")
    }

    fn is_volatile_node(&self) -> bool {
        self.kernel.is_volatile()
    }
}

impl fmt::Display for KernelCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.kernel.function_name())?;
        for (i, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}

impl PartialEq for KernelCall {
    fn eq(&self, other: &Self) -> bool {
        self.kernel == other.kernel && self.arguments == other.arguments && self.result == other.result
    }
}

impl Eq for KernelCall {}

impl Hash for KernelCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kernel.hash(state);
        self.arguments.hash(state);
    }
}
