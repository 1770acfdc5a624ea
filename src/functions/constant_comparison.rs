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
    binary: BinaryExpr,
    compare: Compare,
    constant: Scalar<ArrayRef>,
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
        // For DataFusion both zeros are one; Arrow's kernels tell them apart.
        let is_zero = match constant {
            ScalarValue::Float64(Some(value)) => *value == 0.0,
            ScalarValue::Float32(Some(value)) => *value == 0.0,
            _ => false,
        };
        if is_zero {
            return None;
        }
        let constant = Scalar::new(constant.to_array().ok()?);
        Some(ConstantComparison { binary: binary.clone(), compare, constant })
    }

    /// DataFusion's form of it.
    pub fn binary(&self) -> &BinaryExpr {
        &self.binary
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
        self.binary.left().nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> PlanResult<ColumnarValue> {
        Ok(match self.binary.left().evaluate(batch)? {
            ColumnarValue::Array(values) => ColumnarValue::Array(Arc::new((self.compare)(&values, &self.constant)?)),
            ColumnarValue::Scalar(value) => {
                let one = (self.compare)(&value.to_array()?, &self.constant)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?)
            }
        })
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![self.binary.left(), self.binary.right()]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> PlanResult<Arc<dyn PhysicalExpr>> {
        let [left, right] = <[_; 2]>::try_from(children).map_err(|children| {
            datafusion::error::DataFusionError::Internal(format!("a comparison of {} values", children.len()))
        })?;
        let same = right.eq(self.binary.right());
        let binary = BinaryExpr::new(left, *self.binary.op(), right);
        if !same {
            return Ok(Arc::new(binary));
        }
        // What takes a child's place is of the child's type.
        Ok(Arc::new(ConstantComparison { binary, compare: self.compare, constant: self.constant.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.binary.fmt_sql(f)
    }
}

impl fmt::Display for ConstantComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.binary.fmt(f)
    }
}

impl PartialEq for ConstantComparison {
    fn eq(&self, other: &Self) -> bool {
        self.binary == other.binary
    }
}

impl Eq for ConstantComparison {}

impl Hash for ConstantComparison {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.binary.hash(state);
    }
}
