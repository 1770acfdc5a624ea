//! Expressions over single values: what a few rows cost when no array is made for what lies between a column and the result.
//!
//! In: a physical expression, and rows. Out: its values of these rows; or nothing, and then the expression itself has to be asked: a value
//! is null or does not fit, a part of it has no form for single values ([`Kernel::singly`](super::kernel::Kernel::singly)), or there are too
//! many rows. What always holds: where there are values, they are those that the expression gives, if it gives any: AND and OR look at
//! their second side row by row, arrays a batch at a time. Builds with assertions check each.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr};

use super::call;

/// Of more rows arrays are made: they cost more for each batch and less for each row.
pub const FEW: usize = 8;

/// How many arguments a function may have.
const ARGUMENTS: usize = 4;

/// How deep calls may be nested.
const DEEPEST: usize = 32;

/// A value that is not null.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A BOOLEAN.
    Boolean(bool),
    /// A whole number of any width, a date (days) or a time (microseconds).
    Whole(i64),
    /// A DOUBLE.
    Double(f64),
    /// A STRING.
    Text(&'a str),
    /// A struct or a list: where it lies.
    Nested(&'a dyn Array, usize),
}

/// What a function gives for values none of which is null; nothing if that is null or an error, or if only its form for arrays can tell.
pub type Single = dyn for<'a> Fn(&[Value<'a>]) -> Option<Value<'a>> + Send + Sync;

/// The value that lies there, unless it is null or of another kind.
pub fn read(array: &dyn Array, row: usize) -> Option<Value<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        DataType::Int64 => Value::Whole(array.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Whole(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Int32 => Value::Whole(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Date32 => Value::Whole(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Int16 => Value::Whole(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int8 => Value::Whole(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Struct(_) | DataType::List(_) => Value::Nested(array, row),
        _ => return None,
    })
}

/// The only argument, if it is a whole number.
pub fn whole_number(arguments: &[Value<'_>]) -> Option<i64> {
    if let [Value::Whole(number)] = arguments { Some(*number) } else { None }
}

/// A whole number, if it fits this type of whole numbers.
pub fn fitting<'a>(number: i64, data_type: &DataType) -> Option<Value<'a>> {
    let fits = match data_type {
        DataType::Int8 => i8::try_from(number).is_ok(),
        DataType::Int16 => i16::try_from(number).is_ok(),
        DataType::Int32 => i32::try_from(number).is_ok(),
        DataType::Int64 => true,
        _ => false,
    };
    fits.then_some(Value::Whole(number))
}

/// An expression and its form for single values, if all its parts have one.
pub struct Expression {
    whole: Arc<dyn PhysicalExpr>,
    single: Option<Node>,
    /// The type of its values.
    result: OnceCell<Option<DataType>>,
}

impl Expression {
    /// Of this expression.
    pub fn new(whole: Arc<dyn PhysicalExpr>) -> Self {
        // A column and a constant are there already.
        let single =
            node(&whole, 0).filter(|node| !matches!(node, Node::Column(_) | Node::Constant(_) | Node::Text(_)));
        Expression { whole, single, result: OnceCell::new() }
    }

    /// Its values, one a row, in any number of rows.
    ///
    /// # Errors
    /// The expression's.
    pub fn evaluate(&self, rows: &RecordBatch) -> crate::Result<ArrayRef> {
        if let Some(values) = self.of_few(rows) {
            debug_assert!(self.as_arrays(rows).map_or(true, |arrays| *arrays == *values), "{}", self.whole);
            return Ok(values);
        }
        self.as_arrays(rows)
    }

    fn as_arrays(&self, rows: &RecordBatch) -> crate::Result<ArrayRef> {
        call::evaluate(&self.whole, rows)
    }

    fn of_few(&self, rows: &RecordBatch) -> Option<ArrayRef> {
        let few = self.few(rows)?;
        let result = self.result.get_or_init(|| self.whole.data_type(&rows.schema()).ok());
        few.column(result.as_ref()?)
    }

    /// Whether all of a few rows fulfil it, or none; nothing if that takes arrays to tell.
    pub fn holds(&self, rows: &RecordBatch) -> Option<bool> {
        let few = self.few(rows)?;
        let mut all = None;
        for row in 0..rows.num_rows() {
            let holds = boolean(few.value(row)?)?;
            if *all.get_or_insert(holds) != holds {
                return None;
            }
        }
        debug_assert!(
            self.as_arrays(rows).map_or(true, |keep| keep.as_boolean().iter().all(|keep| keep == all)),
            "{}",
            self.whole
        );
        all
    }

    fn few<'a>(&'a self, rows: &'a RecordBatch) -> Option<Few<'a>> {
        let node = self.single.as_ref().filter(|_| rows.num_rows() <= FEW)?;
        Some(Few { node, rows })
    }
}

/// A form for single values over a few rows.
struct Few<'a> {
    node: &'a Node,
    rows: &'a RecordBatch,
}

impl<'a> Few<'a> {
    fn value(&self, row: usize) -> Option<Value<'a>> {
        self.node.value(self.rows, row)
    }

    /// The values as a column of this type.
    fn column(&self, result: &DataType) -> Option<ArrayRef> {
        Some(match result {
            DataType::Boolean => Arc::new(BooleanArray::from(self.values(boolean)?)),
            DataType::Utf8 => Arc::new(StringArray::from(self.values(text)?)),
            DataType::Float64 => self.primitive::<Float64Type>(result, double)?,
            DataType::Int64 => self.primitive::<Int64Type>(result, whole)?,
            DataType::Int32 => self.primitive::<Int32Type>(result, whole)?,
            DataType::Int16 => self.primitive::<Int16Type>(result, whole)?,
            DataType::Int8 => self.primitive::<Int8Type>(result, whole)?,
            DataType::Date32 => self.primitive::<Date32Type>(result, whole)?,
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.primitive::<TimestampMicrosecondType>(result, whole)?
            }
            _ => return None,
        })
    }

    fn values<T>(&self, one: impl Fn(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::with_capacity(self.rows.num_rows());
        for row in 0..self.rows.num_rows() {
            all.push(one(self.value(row)?)?);
        }
        Some(all)
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        result: &DataType,
        one: impl Fn(Value<'a>) -> Option<T::Native>,
    ) -> Option<ArrayRef> {
        let column = PrimitiveArray::<T>::new(self.values(one)?.into(), None);
        Some(match result {
            DataType::Timestamp(_, Some(_)) => Arc::new(column.with_data_type(result.clone())),
            _ => Arc::new(column),
        })
    }
}

fn boolean(value: Value<'_>) -> Option<bool> {
    if let Value::Boolean(value) = value { Some(value) } else { None }
}

fn whole<T: TryFrom<i64>>(value: Value<'_>) -> Option<T> {
    if let Value::Whole(value) = value { T::try_from(value).ok() } else { None }
}

fn double(value: Value<'_>) -> Option<f64> {
    if let Value::Double(value) = value { Some(value) } else { None }
}

fn text(value: Value<'_>) -> Option<&str> {
    if let Value::Text(value) = value { Some(value) } else { None }
}

/// An expression by its parts.
enum Node {
    Column(usize),
    Constant(Value<'static>),
    Text(String),
    Call(Arc<Single>, Vec<Node>),
    /// Whether the order of both is one of those wanted.
    Compare(fn(Ordering) -> bool, Box<[Node; 2]>),
    /// Both, or one of both.
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Not(Box<Node>),
    /// Whether there is a value, which there is, or nothing is told.
    IsNull(Box<Node>, bool),
}

fn node(expr: &Arc<dyn PhysicalExpr>, depth: usize) -> Option<Node> {
    if depth > DEEPEST {
        return None;
    }
    let inner = |expr: &Arc<dyn PhysicalExpr>| node(expr, depth + 1);
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(Node::Column(column.index()));
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return constant(literal.value());
    }
    if let Some(single) = call::single(expr).filter(|_| expr.children().len() <= ARGUMENTS) {
        return Some(Node::Call(single, expr.children().into_iter().map(inner).collect::<Option<_>>()?));
    }
    if let Some(binary) = call::as_binary(expr) {
        return of_two(binary, inner);
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Some(Node::Not(Box::new(inner(not.arg())?)));
    }
    if let Some(test) = expr.downcast_ref::<IsNullExpr>() {
        return Some(Node::IsNull(Box::new(inner(test.arg())?), true));
    }
    let test = expr.downcast_ref::<IsNotNullExpr>()?;
    Some(Node::IsNull(Box::new(inner(test.arg())?), false))
}

fn constant(value: &ScalarValue) -> Option<Node> {
    Some(match read(value.to_array().ok()?.as_ref(), 0)? {
        Value::Text(text) => Node::Text(text.to_owned()),
        Value::Boolean(value) => Node::Constant(Value::Boolean(value)),
        Value::Whole(value) => Node::Constant(Value::Whole(value)),
        Value::Double(value) => Node::Constant(Value::Double(value)),
        Value::Nested(..) => return None,
    })
}

fn of_two(binary: &BinaryExpr, inner: impl Fn(&Arc<dyn PhysicalExpr>) -> Option<Node>) -> Option<Node> {
    let both = Box::new([inner(binary.left())?, inner(binary.right())?]);
    Some(match binary.op() {
        Operator::And => Node::And(both),
        Operator::Or => Node::Or(both),
        operator => Node::Compare(fulfilled(*operator)?, both),
    })
}

impl Node {
    fn value<'a>(&'a self, rows: &'a RecordBatch, row: usize) -> Option<Value<'a>> {
        match self {
            Node::Column(column) => read(rows.columns().get(*column)?.as_ref(), row),
            Node::Constant(value) => Some(*value),
            Node::Text(text) => Some(Value::Text(text)),
            Node::Call(single, arguments) => {
                let mut values = [Value::Boolean(false); ARGUMENTS];
                for (value, argument) in values.iter_mut().zip(arguments) {
                    *value = argument.value(rows, row)?;
                }
                single(&values[..arguments.len()])
            }
            Node::Compare(fulfilled, both) => compare(both[0].value(rows, row)?, both[1].value(rows, row)?)
                .map(|order| Value::Boolean(fulfilled(order))),
            Node::And(both) => decided(both, rows, row, false),
            Node::Or(both) => decided(both, rows, row, true),
            Node::Not(inner) => boolean(inner.value(rows, row)?).map(|value| Value::Boolean(!value)),
            Node::IsNull(inner, is_null) => inner.value(rows, row).map(|_| Value::Boolean(!is_null)),
        }
    }
}

/// The result of AND and OR: `decisive`, which one value is enough for, or what the second value says.
fn decided<'a>(both: &'a [Node; 2], rows: &'a RecordBatch, row: usize, decisive: bool) -> Option<Value<'a>> {
    match boolean(both[0].value(rows, row)?)? {
        first if first == decisive => Some(Value::Boolean(decisive)),
        _ => boolean(both[1].value(rows, row)?).map(Value::Boolean),
    }
}

/// As DataFusion compares; doubles by their total order, in which both zeros are one.
fn compare(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    Some(match (left, right) {
        (Value::Whole(left), Value::Whole(right)) => left.cmp(&right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(&right),
        (Value::Double(left), Value::Double(right)) => one_zero(left).total_cmp(&one_zero(right)),
        _ => return None,
    })
}

fn one_zero(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

/// By which orders a comparison is fulfilled.
fn fulfilled(operator: Operator) -> Option<fn(Ordering) -> bool> {
    Some(match operator {
        Operator::Eq => Ordering::is_eq,
        Operator::NotEq => Ordering::is_ne,
        Operator::Lt => Ordering::is_lt,
        Operator::LtEq => Ordering::is_le,
        Operator::Gt => Ordering::is_gt,
        Operator::GtEq => Ordering::is_ge,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;
    use datafusion::common::DFSchema;
    use datafusion::logical_expr::{Expr, binary_expr, col, lit};

    use super::*;

    const OPERATORS: [Operator; 6] =
        [Operator::Eq, Operator::NotEq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];

    /// Every pair of these, a batch each.
    fn pairs() -> impl Iterator<Item = RecordBatch> {
        let values = [-0.0, 0.0, 1.5, -1.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let column = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        values.into_iter().flat_map(move |x| {
            values.map(|y| RecordBatch::try_from_iter([("x", column(x)), ("y", column(y))]).unwrap())
        })
    }

    #[test]
    fn doubles_compare_as_in_arrays() {
        let constants = [-0.0, 0.0, 1.5, f64::NAN].map(lit);
        for (rows, operator) in pairs().flat_map(|rows| OPERATORS.map(|operator| (rows.clone(), operator))) {
            let schema = DFSchema::try_from(rows.schema().as_ref().clone()).unwrap();
            for other in constants.iter().cloned().chain([col("y")]) {
                let expr: Expr = binary_expr(col("x"), operator, other);
                let expression = Expression::new(call::physical(&expr, &schema).unwrap());
                let arrays = expression.as_arrays(&rows).unwrap();
                assert_eq!(expression.of_few(&rows).as_ref(), Some(&arrays), "{expr} of {rows:?}");
                assert_eq!(expression.holds(&rows), Some(arrays.as_boolean().value(0)), "{expr} of {rows:?}");
            }
        }
    }

    #[test]
    fn both_zeros_are_one() {
        let rows = pairs().next().unwrap();
        let schema = DFSchema::try_from(rows.schema().as_ref().clone()).unwrap();
        for zero in [0.0, -0.0] {
            let expr = binary_expr(col("x"), Operator::Eq, lit(zero));
            let expression = Expression::new(call::physical(&expr, &schema).unwrap());
            assert_eq!(expression.holds(&rows), Some(true), "{expr}");
        }
    }
}
