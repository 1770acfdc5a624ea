//! Calls of kernels as physical expressions.
//!
//! In: a logical expression. Out: the physical one as DataFusion plans it, but each call of a [`Kernel`] is a [`KernelCall`]: DataFusion's
//! own call makes a description of each argument's field for every batch, which costs as much as a small batch does. So does making
//! an array of a comparison's constant ([`ConstantComparison`]). Calls with lambdas see no columns but their own ([`enclosed`]). What always
//! holds: values, errors and the texts of plans are the same.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, create_physical_expr};

use super::access::GET_ITEM;
use super::constant_comparison::ConstantComparison;
use super::enclosed::enclosed;
use super::kernel::{Arguments, Kernel};
use super::single::Single;
use crate::{Error, Result};

/// `expr` over columns of `schema`, by index.
///
/// # Errors
/// What DataFusion says of an expression that does not fit the schema.
pub fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let planned = create_physical_expr(expr, schema, &ExecutionProps::new(), &Default::default())?;
    let ours = |part: Arc<dyn PhysicalExpr>| {
        Ok(ours(&part, schema.as_arrow()).map_or(Transformed::no(part), Transformed::yes))
    };
    Ok(enclosed(planned.transform_up(ours)?.data, schema.as_arrow())?)
}

/// The values of an expression, one a row.
///
/// # Errors
/// The expression's.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?)
}

/// What stands for a node of DataFusion's because it costs less with few rows, if anything does.
fn ours(part: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Arc<dyn PhysicalExpr>> {
    if let Some(call) = part.downcast_ref::<ScalarFunctionExpr>().and_then(KernelCall::of) {
        return Some(Arc::new(call));
    }
    Some(Arc::new(ConstantComparison::of(part.downcast_ref::<BinaryExpr>()?, schema)?))
}

/// Whether an expression is a call of a kernel that may be computed once for all who need it, also for rows that need it not: nothing
/// in it fails, and equal arguments give equal results.
pub fn is_shareable(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let harmless = |part: &Arc<dyn PhysicalExpr>| match part.downcast_ref::<KernelCall>() {
        Some(call) => call.kernel.is_harmless(),
        None => part.downcast_ref::<Column>().is_some() || part.downcast_ref::<Literal>().is_some(),
    };
    expr.downcast_ref::<KernelCall>().is_some() && !expr.exists(|part| Ok(!harmless(part))).unwrap_or(true)
}

/// What takes one element out of a list, without the list, if `expr` takes a constant element out of one that a function makes which knows
/// how to make one alone. `list` says what a column stands for.
pub fn element<'a>(
    expr: &'a Arc<dyn PhysicalExpr>,
    list: impl Fn(&'a Arc<dyn PhysicalExpr>) -> Option<&'a Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let taking = expr.downcast_ref::<KernelCall>().filter(|call| call.kernel.function_name() == GET_ITEM)?;
    let [made, place] = taking.arguments.as_slice() else { return None };
    let made = list(made).unwrap_or(made).downcast_ref::<KernelCall>()?;
    let ScalarValue::Int32(Some(place)) = place.downcast_ref::<Literal>()?.value() else { return None };
    let must_be = taking.kernel.parameters() == "true";
    let kernel = made.kernel.element(usize::try_from(*place).ok()?, must_be)?;
    let result = kernel.result_field().clone();
    Some(Arc::new(KernelCall::new(kernel, made.arguments.clone(), result)))
}

/// The form for single values of the kernel that an expression calls, if it is a call; its arguments are the expression's children.
pub(super) fn single(expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<Single>> {
    expr.downcast_ref::<KernelCall>()?.kernel.single().cloned()
}

/// DataFusion's form of an operator with two operands.
pub(super) fn as_binary(expr: &Arc<dyn PhysicalExpr>) -> Option<&BinaryExpr> {
    expr.downcast_ref::<BinaryExpr>()
        .or_else(|| expr.downcast_ref::<ConstantComparison>().map(ConstantComparison::binary))
}

/// A call of a kernel.
#[derive(Debug, Clone)]
struct KernelCall {
    kernel: Kernel,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// Arguments that are constants, made once.
    constants: Vec<Option<ArrayRef>>,
    result: FieldRef,
}

impl KernelCall {
    fn of(call: &ScalarFunctionExpr) -> Option<Self> {
        let kernel = (call.fun().inner().as_ref() as &dyn std::any::Any).downcast_ref::<Kernel>()?.clone();
        let result = call.return_field(&Schema::empty()).ok()?;
        Some(KernelCall::new(kernel, call.args().to_vec(), result))
    }

    fn new(kernel: Kernel, arguments: Vec<Arc<dyn PhysicalExpr>>, result: FieldRef) -> Self {
        let constant = |argument: &Arc<dyn PhysicalExpr>| {
            let literal = argument.downcast_ref::<Literal>()?;
            literal.value().to_array().ok()
        };
        let constants = arguments.iter().map(constant).collect();
        KernelCall { kernel, arguments, constants, result }
    }

    fn value(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        let mut arguments = Arguments::default();
        for (argument, constant) in self.arguments.iter().zip(&self.constants) {
            match constant {
                Some(constant) => arguments.push_constant(constant.clone()),
                None => arguments.push(argument.evaluate(batch)?)?,
            }
        }
        self.kernel.run(&arguments, batch.num_rows())
    }

    fn written(
        &self,
        f: &mut fmt::Formatter<'_>,
        argument: impl Fn(&dyn PhysicalExpr, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write!(f, "{}(", self.kernel.function_name())?;
        for (i, part) in self.arguments.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            argument(part.as_ref(), f)?;
        }
        f.write_str(")")
    }

    /// What a kernel gives has a row for each of its rows.
    fn fitting(&self, value: ColumnarValue, rows: usize) -> PlanResult<ColumnarValue> {
        match value {
            ColumnarValue::Array(array) if array.len() != rows => {
                let (name, given) = (self.kernel.function_name(), array.len());
                Err(Error::internal(format!("function {name} gave {given} rows for {rows}")).into())
            }
            value => Ok(value),
        }
    }
}

impl PhysicalExpr for KernelCall {
    fn return_field(&self, _: &Schema) -> PlanResult<FieldRef> {
        Ok(self.result.clone())
    }

    fn evaluate(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        self.fitting(self.value(batch)?, batch.num_rows())
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.arguments.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, arguments: Vec<Arc<dyn PhysicalExpr>>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(KernelCall::new(self.kernel.clone(), arguments, self.result.clone())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written(f, |argument, f| argument.fmt_sql(f))
    }

    fn is_volatile_node(&self) -> bool {
        self.kernel.is_volatile()
    }
}

impl fmt::Display for KernelCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written(f, |argument, f| write!(f, "{argument}"))
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
