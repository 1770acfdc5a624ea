//! `IN (SELECT ...)` in terms of `EXISTS`, where no semi or anti join can stand for it.
//!
//! In: a plan. Out: an equal plan in which `IN` is left only alone in a WHERE, with one column, and joinable. What always holds: as in Spark,
//! where nulls leave open whether a row is equal, both `IN` and `NOT IN` are FALSE, and not NULL, wherever they stand.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, Join, LogicalPlan, LogicalPlanBuilder, Subquery, lit};

use super::joinable::is_joinable;
use super::{holds_subquery, with_names};
use crate::Result;
use crate::functions::access;

/// `NOT (x IN ...)` as `x NOT IN ...`: Spark knows only one of them.
///
/// # Errors
/// What DataFusion says of the plan.
pub(super) fn without_not(plan: LogicalPlan) -> Result<LogicalPlan> {
    let negated = |part: Expr| match part {
        Expr::Not(inner) => Ok(match *inner {
            Expr::InSubquery(within) => {
                Transformed::yes(Expr::InSubquery(InSubquery { negated: !within.negated, ..within }))
            }
            other => Transformed::no(Expr::Not(Box::new(other))),
        }),
        part => Ok(Transformed::no(part)),
    };
    let plan = plan.transform_up_with_subqueries(|node| with_names(node, |expr| expr.transform_up(negated)))?;
    Ok(plan.data)
}

/// Spells out what has to be.
///
/// # Errors
/// A subquery that does not fit the query around it.
pub(super) fn out(plan: LogicalPlan) -> Result<LogicalPlan> {
    let spelled = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) => condition(filter),
        LogicalPlan::Join(join) => behind(join)?.transform_data(|node| match node {
            LogicalPlan::Filter(filter) => condition(filter),
            node => Ok(Transformed::no(node)),
        }),
        node if node.inputs().len() == 1 => {
            let schema = node.inputs()[0].schema().clone();
            with_names(node, |expr| existing(expr, &schema))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(spelled.data)
}

/// Subqueries in the condition of an inner join as conditions on its rows.
fn behind(join: Join) -> PlanResult<Transformed<LogicalPlan>> {
    let filter = join.filter.clone().filter(|filter| join.join_type == JoinType::Inner && holds_subquery(filter));
    let Some(filter) = filter else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    let (asking, plain): (Vec<_>, Vec<_>) = split_conjunction_owned(filter).into_iter().partition(holds_subquery);
    let join = LogicalPlan::Join(Join { filter: conjunction(plain), ..join });
    let predicate = conjunction(asking).unwrap_or_else(|| lit(true));
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(join))?)))
}

fn condition(filter: Filter) -> PlanResult<Transformed<LogicalPlan>> {
    let schema = filter.input.schema().clone();
    let mut parts = Transformed::no(Vec::new());
    for part in split_conjunction_owned(filter.predicate) {
        let part = if is_for_a_join(&part) { Transformed::no(part) } else { existing(part, &schema)? };
        parts.transformed |= part.transformed;
        parts.data.push(part.data);
    }
    parts.map_data(|parts| {
        let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
        Ok(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?))
    })
}

/// A condition that becomes a semi or an anti join.
fn is_for_a_join(part: &Expr) -> bool {
    let Expr::InSubquery(within) = part else { return false };
    let subquery = &within.subquery;
    let single = subquery.subquery.schema().fields().len() == 1;
    single && (subquery.outer_ref_columns.is_empty() || is_joinable(part))
}

fn existing(expr: Expr, schema: &DFSchema) -> PlanResult<Transformed<Expr>> {
    expr.transform_down(|part| match part {
        Expr::InSubquery(within) => {
            let spelled = in_terms_of_exists(within, schema)?;
            Ok(Transformed::new(spelled, true, TreeNodeRecursion::Jump))
        }
        part => Ok(Transformed::no(part)),
    })
}

/// `IN`: a row is equal. `NOT IN`: no row is equal or, for a null, might be.
fn in_terms_of_exists(within: InSubquery, schema: &DFSchema) -> PlanResult<Expr> {
    let InSubquery { expr, subquery, negated } = within;
    if matches!(expr.as_ref(), Expr::Literal(value, _) if value.is_null()) {
        return Ok(lit(ScalarValue::Boolean(None)));
    }
    let conditions = pairs(*expr, &subquery, schema)?.into_iter().map(|(found, value)| {
        let equal = found.clone().eq(value.clone());
        if negated { equal.or(found.is_null()).or(value.is_null()) } else { equal }
    });
    exists(&subquery, conjunction(conditions).unwrap_or_else(|| lit(true)), negated)
}

/// The columns of the subquery, each with the value it is compared with.
fn pairs(value: Expr, subquery: &Subquery, schema: &DFSchema) -> PlanResult<Vec<(Expr, Expr)>> {
    let found = subquery.subquery.schema();
    let columns = found.iter().map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name())));
    let data_type = value.get_type(schema)?;
    let value = as_outer(value, schema)?;
    Ok(match data_type {
        DataType::Struct(fields) if fields.len() > 1 && found.fields().len() == fields.len() => {
            columns.enumerate().map(|(i, column)| (column, access::nth_field(value.clone(), &fields, i))).collect()
        }
        _ => columns.map(|column| (column, value.clone())).collect(),
    })
}

/// Whether the subquery has a row that meets the condition, or the contrary.
fn exists(subquery: &Subquery, condition: Expr, negated: bool) -> PlanResult<Expr> {
    let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone()).filter(condition)?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans.clone() };
    Ok(Expr::Exists(Exists { subquery, negated }))
}

/// An expression of the query around a subquery, as the subquery says it.
fn as_outer(expr: Expr, schema: &DFSchema) -> PlanResult<Expr> {
    let outer = expr.transform(|part| match part {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        part => Ok(Transformed::no(part)),
    })?;
    Ok(outer.data)
}
