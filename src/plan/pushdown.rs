//! Conditions of a query → [`Predicate`]s for sources.
//!
//! In: an expression that a filter above a scan needs to be true. Out: the condition it puts on a single column, if it is of
//! that kind: a comparison with a constant, IN, or comparisons of one column for equality with OR between.

use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::sources::predicate::{Predicate, Test};

/// The condition that this expression is, on a column of the schema.
pub(crate) fn predicate(expr: &Expr, schema: &Schema) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            either(predicate(left, schema)?, predicate(right, schema)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compared(&column.name, test(*op)?, [value], schema),
            (Expr::Literal(value, _), Expr::Column(column)) => {
                compared(&column.name, test(op.swap()?)?, [value], schema)
            }
            _ => None,
        },
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let values: Vec<&ScalarValue> = list.list.iter().map(literal).collect::<Option<_>>()?;
            compared(&column.name, Test::In, values, schema)
        }
        _ => None,
    }
}

fn test(operator: Operator) -> Option<Test> {
    match operator {
        Operator::Eq => Some(Test::In),
        Operator::Lt => Some(Test::Less),
        Operator::LtEq => Some(Test::LessOrEqual),
        Operator::Gt => Some(Test::Greater),
        Operator::GtEq => Some(Test::GreaterOrEqual),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    if let Expr::Literal(value, _) = expr { Some(value) } else { None }
}

fn compared<'a>(
    name: &str,
    test: Test,
    values: impl IntoIterator<Item = &'a ScalarValue>,
    schema: &Schema,
) -> Option<Predicate> {
    let (column, field) = schema.column_with_name(name)?;
    let values: Vec<ScalarValue> = values.into_iter().cloned().collect();
    let usable = |value: &ScalarValue| !value.is_null() && value.data_type() == *field.data_type();
    if values.is_empty() || !values.iter().all(usable) {
        return None;
    }
    Some(Predicate { column, test, values: ScalarValue::iter_to_array(values).ok()? })
}

/// One of two lists of values of one column.
fn either(left: Predicate, right: Predicate) -> Option<Predicate> {
    if left.column != right.column || left.test != Test::In || right.test != Test::In {
        return None;
    }
    let values = arrow::compute::concat(&[left.values.as_ref(), right.values.as_ref()]).ok()?;
    Some(Predicate { values, ..left })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::types::field;

    fn of(expr: Expr) -> Option<(usize, Test, usize)> {
        let schema = Schema::new(vec![field("k", DataType::Int32), field("t", DataType::Utf8)]);
        predicate(&expr, &schema).map(|found| (found.column, found.test, found.values.len()))
    }

    #[test]
    fn comparisons_with_constants_are_conditions() {
        assert_eq!(of(col("k").eq(lit(1))), Some((0, Test::In, 1)));
        assert_eq!(of(lit(1).lt(col("k"))), Some((0, Test::Greater, 1)));
        assert_eq!(of(col("t").lt_eq(lit("x"))), Some((1, Test::LessOrEqual, 1)));
        assert_eq!(of(col("k").in_list(vec![lit(1), lit(2)], false)), Some((0, Test::In, 2)));
        assert_eq!(of(col("k").eq(lit(1)).or(col("k").eq(lit(2)))), Some((0, Test::In, 2)));
    }

    #[test]
    fn others_are_not() {
        assert_eq!(of(col("k").eq(lit(1i64))), None);
        assert_eq!(of(col("k").not_eq(lit(1))), None);
        assert_eq!(of(col("k").eq(col("t"))), None);
        assert_eq!(of(col("k").in_list(vec![lit(1)], true)), None);
        assert_eq!(of(col("k").eq(lit(1)).or(col("t").eq(lit("x")))), None);
        assert_eq!(of(col("k").eq(lit(ScalarValue::Int32(None)))), None);
    }
}
