//! A comparison with a constant as a physical expression.
//!
//! In: DataFusion's `value op constant`, both of one primitive or string type. Out: the same over the constant's array, made once: with a
//! row or two a batch, making it anew each time costs more than the comparison. What always holds: values are those of Arrow's comparison
//! kernels, which DataFusion's own expression calls too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Datum, RecordBatch, Scalar};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};

type Compare = fn(&dyn Datum, &dyn Datum) -> Result<BooleanArray, ArrowError>;

/// `value op constant`.
#[derive(Debug)]
pub(super) struct ConstantComparison {
    value: Arc<dyn PhysicalExpr>,
    operator: Operator,
    constant: Arc<dyn PhysicalExpr>,
    compare: Compare,
    array: Scalar<ArrayRef>,
}

impl ConstantComparison {
    /// The comparison, if it is one of a value with a constant of the value's type that is not null.
    pub fn of(binary: &BinaryExpr, schema: &Schema) -> Option<Self> {
        let compare = comparison(*binary.op())?;
        let constant = binary.right().downcast_ref::<Literal>()?.value();
        let kind = binary.left().data_type(schema).ok()?;
        if constant.is_null() || constant.data_type() != kind || !(kind.is_primitive() || kind == DataType::Utf8) {
            return None;
        }
        let array = Scalar::new(constant.to_array().ok()?);
        let (value, constant) = (binary.left().clone(), binary.right().clone());
        Some(ConstantComparison { value, operator: *binary.op(), constant, compare, array })
    }
}

fn comparison(operator: Operator) -> Option<Compare> {
    Some(match operator {
        Operator::Eq => cmp::eq,
        Operator::NotEq => cmp::neq,
        Operator::Lt => cmp::lt,
        Operator::LtEq => cmp::lt_eq,
        Operator::Gt => cmp::gt,
        Operator::GtEq => cmp::gt_eq,
        _ => return None,
    })
}

impl PhysicalExpr for ConstantComparison {
    fn data_type(&self, _: &Schema) -> PlanResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> PlanResult<bool> {
        self.value.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        Ok(match self.value.evaluate(batch)? {
            ColumnarValue::Array(values) => ColumnarValue::Array(Arc::new((self.compare)(&values, &self.array)?)),
            ColumnarValue::Scalar(value) => {
                let one = (self.compare)(&value.to_array()?, &self.array)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?)
            }
        })
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.value, &self.constant]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        let [left, right] = <[_; 2]>::try_from(children).map_err(|children| {
            datafusion::error::DataFusionError::Internal(format!("a comparison of {} values", children.len()))
        })?;
        if !right.eq(&self.constant) {
            return Ok(Arc::new(BinaryExpr::new(left, self.operator, right)));
        }
        // What takes a child's place is of the child's type.
        let (operator, compare, array) = (self.operator, self.compare, self.array.clone());
        Ok(Arc::new(ConstantComparison { value: left, operator, constant: right, compare, array }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.binary().fmt_sql(f)
    }
}

impl ConstantComparison {
    /// DataFusion's form of it.
    fn binary(&self) -> BinaryExpr {
        BinaryExpr::new(self.value.clone(), self.operator, self.constant.clone())
    }
}

impl fmt::Display for ConstantComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.binary().fmt(f)
    }
}

impl PartialEq for ConstantComparison {
    fn eq(&self, other: &Self) -> bool {
        self.operator == other.operator && self.value.eq(&other.value) && self.constant.eq(&other.constant)
    }
}

impl Eq for ConstantComparison {}

impl Hash for ConstantComparison {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operator.hash(state);
        self.value.hash(state);
        self.constant.hash(state);
    }
}
