//! Joins: ON, USING, NATURAL and none, of every kind.
//!
//! In: two plans, a kind and a constraint. Out: a join whose equalities are pairs of keys, the rest a filter; columns of
//! one name on both sides are told apart by hidden qualifiers. With USING, the shared columns come once and first.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, JoinConstraint, JoinType, NullEquality};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_valid_equijoin_key_pair};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, Operator, when};

use super::ast;
use super::binder::Binder;
use super::names::{self, column_at};
use crate::functions::cast::{self, Mode};
use crate::functions::{coerce, conditional};
use crate::{Error, Result};

/// What rows of both sides belong together.
#[derive(Debug, Clone)]
pub enum On {
    /// A condition over the columns of both sides.
    Condition(Box<ast::Expr>),
    /// Columns of the same name are equal.
    Using(Vec<String>),
    /// All columns of the same name are equal.
    Natural,
    /// All rows.
    Nothing,
}

/// A kind of join by any of Spark's spellings (`left_outer`, `leftOuter`, `LEFT OUTER`, ...).
///
/// # Errors
/// `UNSUPPORTED_JOIN_TYPE` for an unknown name.
pub fn join_type(name: &str) -> Result<JoinType> {
    let plain: String = name.to_ascii_lowercase().chars().filter(char::is_ascii_alphabetic).collect();
    Ok(match plain.as_str() {
        "" | "inner" | "cross" => JoinType::Inner,
        "outer" | "full" | "fullouter" => JoinType::Full,
        "left" | "leftouter" => JoinType::Left,
        "right" | "rightouter" => JoinType::Right,
        "leftsemi" | "semi" => JoinType::LeftSemi,
        "leftanti" | "anti" => JoinType::LeftAnti,
        _ => {
            let error = Error::query("UNSUPPORTED_JOIN_TYPE", format!("unsupported join type '{name}'"));
            return Err(
                error.hint("Use inner, cross, outer, full, left, right, semi or anti (and their longer names).")
            );
        }
    })
}

impl Binder<'_> {
    /// Joins two plans.
    ///
    /// # Errors
    /// Those of the condition; `UNRESOLVED_USING_COLUMN_FOR_JOIN`.
    pub fn join(&self, left: LogicalPlan, right: LogicalPlan, kind: JoinType, on: On) -> Result<LogicalPlan> {
        let right = names::beside(left.schema(), right)?;
        let left = names::qualify_clashing(left, right.schema())?;
        match on {
            On::Condition(condition) => {
                let both = left.schema().join(right.schema())?;
                let condition = self.over(&condition, &both)?;
                check_condition(&condition, &both)?;
                joined(left, right, kind, Some(condition))
            }
            On::Using(columns) => self.join_using(left, right, kind, &columns),
            On::Natural => {
                let shared = shared_names(left.schema(), right.schema());
                self.join_using(left, right, kind, &shared)
            }
            On::Nothing => joined(left, right, kind, None),
        }
    }

    fn join_using(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        kind: JoinType,
        columns: &[String],
    ) -> Result<LogicalPlan> {
        let places = columns
            .iter()
            .map(|name| Ok((using(left.schema(), name, "left")?, using(right.schema(), name, "right")?)))
            .collect::<Result<Vec<_>>>()?;
        let pairs = places.iter().map(|(l, r)| self.key_pair(&left, *l, &right, *r)).collect::<Result<Vec<_>>>()?;
        let (left_schema, right_schema) = (Arc::clone(left.schema()), Arc::clone(right.schema()));
        let join = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            pairs.clone(),
            None,
            kind,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        let output = using_output(&left_schema, &right_schema, kind, &places, pairs)?;
        names::project(LogicalPlan::Join(join), output)
    }

    /// Two columns as values of one type.
    fn key_pair(&self, left: &LogicalPlan, l: usize, right: &LogicalPlan, r: usize) -> Result<(Expr, Expr)> {
        let kind = |plan: &LogicalPlan, index: usize| plan.schema().field(index).data_type().clone();
        let (left_type, right_type) = (kind(left, l), kind(right, r));
        let common = coerce::common_type(&[left_type, right_type], self.conf)?;
        let key = |plan: &LogicalPlan, index| {
            cast::cast(column_at(plan.schema(), index), &common, Mode::of(self.conf), plan.schema(), self.conf)
        };
        Ok((key(left, l)?, key(right, r)?))
    }
}

fn check_condition(condition: &Expr, schema: &DFSchema) -> Result<()> {
    if let Some(call) = find_aggregate_exprs(std::iter::once(condition)).first() {
        let message = format!("a join's condition judges pairs of rows, so it cannot contain '{call}'");
        return Err(
            Error::query("UNSUPPORTED_EXPR_FOR_OPERATOR", message).hint("Aggregate in a subquery before the join.")
        );
    }
    let data_type = condition.get_type(schema)?;
    match data_type {
        DataType::Boolean | DataType::Null => Ok(()),
        other => Err(Error::query(
            "JOIN_CONDITION_IS_NOT_BOOLEAN_TYPE",
            format!("the join condition '{condition}' has type {} but a boolean is needed", coerce::type_name(&other)),
        )),
    }
}

/// A join whose equalities between the sides are keys.
fn joined(left: LogicalPlan, right: LogicalPlan, kind: JoinType, condition: Option<Expr>) -> Result<LogicalPlan> {
    let (mut keys, mut rest) = (Vec::new(), Vec::new());
    for part in condition.into_iter().flat_map(conditional::conjuncts) {
        match equality(&part, left.schema(), right.schema())? {
            Some(pair) => keys.push(pair),
            None => rest.push(part),
        }
    }
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        keys,
        conditional::all_of(rest),
        kind,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// The two keys of `left = right`, each over its own side.
fn equality(part: &Expr, left: &DFSchema, right: &DFSchema) -> Result<Option<(Expr, Expr)>> {
    match part {
        Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Eq, right: b }) => {
            Ok(find_valid_equijoin_key_pair(a, b, left, right)?)
        }
        _ => Ok(None),
    }
}

/// Names that both sides have, in the order of the left one.
fn shared_names(left: &DFSchema, right: &DFSchema) -> Vec<String> {
    let has = |name: &str| right.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name));
    left.fields().iter().map(|field| field.name().clone()).filter(|name| has(name)).collect()
}

/// The place of a USING column.
fn using(schema: &DFSchema, name: &str, side: &str) -> Result<usize> {
    let mut found = (0..schema.fields().len()).filter(|index| schema.field(*index).name().eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => Err(Error::query(
            "AMBIGUOUS_REFERENCE",
            format!("reference `{name}` on the {side} side of the join is ambiguous"),
        )),
        (None, _) => {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let message = format!("USING column `{name}` cannot be resolved on the {side} side of the join");
            Err(Error::query("UNRESOLVED_USING_COLUMN_FOR_JOIN", message)
                .hint(format!("The {side} side has: [{}].", names.join(", "))))
        }
    }
}

/// The shared columns, then the others of the left and of the right side.
fn using_output(
    left: &DFSchema,
    right: &DFSchema,
    kind: JoinType,
    places: &[(usize, usize)],
    keys: Vec<(Expr, Expr)>,
) -> Result<Vec<Expr>> {
    let shared = places.iter().zip(keys).map(|((l, r), (left_key, right_key))| match kind {
        JoinType::Right => Ok(column_at(right, *r)),
        JoinType::Full => {
            let first = when(left_key.clone().is_not_null(), left_key).otherwise(right_key)?;
            Ok(first.alias(left.field(*l).name()))
        }
        _ => Ok(column_at(left, *l)),
    });
    let mut output = shared.collect::<Result<Vec<_>>>()?;
    let others = |schema: &DFSchema, skip: &dyn Fn(usize) -> bool| {
        (0..schema.fields().len())
            .filter(|index| !skip(*index))
            .map(|index| column_at(schema, index))
            .collect::<Vec<_>>()
    };
    output.extend(others(left, &|index| places.iter().any(|(l, _)| *l == index)));
    if !matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti) {
        output.extend(others(right, &|index| places.iter().any(|(_, r)| *r == index)));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_in_all_spellings() {
        assert_eq!(join_type("leftOuter").unwrap(), JoinType::Left);
        assert_eq!(join_type("left_anti").unwrap(), JoinType::LeftAnti);
        assert_eq!(join_type("FULL OUTER").unwrap(), JoinType::Full);
        assert_eq!(join_type("sideways").unwrap_err().condition(), Some("UNSUPPORTED_JOIN_TYPE"));
    }
}
