//! Subqueries in expressions: `EXISTS`, `IN (SELECT ...)`, and those that stand for a value.
//!
//! In: a plan whose expressions hold subqueries. Out: one in which they are constants ([`constants`]), conditions of joins, columns of mark joins
//! ([`marks`]) or calls ([`calls`]). What always holds: a subquery over static tables that does not depend on the row around it runs
//! once; one that does becomes a join if DataFusion can make one of it, and a call for each different row around it if not.

mod calls;
mod constants;
mod joinable;
mod marks;
mod spelled;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result as PlanResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

use crate::conf::Conf;
use crate::plan::scan::is_streaming;
use crate::{Error, Result};

pub(super) use marks::MarkJoins;

/// Replaces the subqueries of a plan of which the optimizer makes no joins.
///
/// # Errors
/// `SCALAR_SUBQUERY_TOO_MANY_ROWS`, and whatever a subquery fails with that does not depend on the row around it.
pub async fn settle(plan: LogicalPlan, conf: &Conf) -> Result<LogicalPlan> {
    if !any(&plan)? {
        return Ok(plan);
    }
    let plan = spelled::without_not(plan)?;
    let mut known = Vec::new();
    for part in found(&plan, constants::is_one)? {
        let value = constants::value(&part, conf).await?;
        known.push((part, value));
    }
    let plan = spelled::out(replace(plan, &known)?)?;
    let mut known = Vec::new();
    for part in found(&plan, |part, _| calls::is_one(part))? {
        let call = calls::call(&part, conf).await?;
        known.push((part, call));
    }
    replace(plan, &known)
}

/// As [`settle`], for callers that may block.
///
/// # Errors
/// As [`settle`].
pub(crate) fn settle_blocking(plan: LogicalPlan, conf: &Conf) -> Result<LogicalPlan> {
    if any(&plan)? { crate::blocking::block_on(settle(plan, conf)) } else { Ok(plan) }
}

/// An optimized plan, if nothing in it still refers to a query around it; `before` is the plan that was optimized.
///
/// # Errors
/// A LATERAL subquery of which no join could be made, by the column it refers to; whatever optimizing failed with.
pub(super) fn attached(before: &LogicalPlan, optimized: PlanResult<LogicalPlan>) -> Result<LogicalPlan> {
    let left = match &optimized {
        Ok(plan) => outer_column(plan)?,
        Err(cause) if matches!(cause.find_root(), DataFusionError::SchemaError(..)) => outer_column(before)?,
        Err(_) => None,
    };
    let Some(column) = left else { return Ok(optimized?) };
    let message =
        format!("a LATERAL subquery refers to '{column}' of the tables before it where only equality can be used");
    Err(Error::unsupported(message).hint("Compare it with = there, or join the tables and aggregate the result."))
}

/// The first column of a query around it that some part of a plan refers to.
fn outer_column(plan: &LogicalPlan) -> Result<Option<Column>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::OuterReferenceColumn(_, column) = part {
                    found.get_or_insert_with(|| column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))
}

fn holds_subquery(expr: &Expr) -> bool {
    expr.exists(|part| Ok(is_subquery(part))).unwrap_or(true)
}

fn any(plan: &LogicalPlan) -> Result<bool> {
    Ok(plan.exists(|node| Ok(node.expressions().iter().any(holds_subquery)))?)
}

/// Whether all rows around a subquery see the same.
fn is_independent(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty() && !is_streaming(&subquery.subquery)
}

/// The subqueries that `wanted` wants, each once, also those inside of others; it is told whether one stands in a WHERE.
fn found(plan: &LogicalPlan, wanted: impl Fn(&Expr, bool) -> bool) -> Result<Vec<Expr>> {
    let mut found: Vec<Expr> = Vec::new();
    plan.apply_with_subqueries(|node| {
        let is_condition = matches!(node, LogicalPlan::Filter(_));
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if is_subquery(part) && wanted(part, is_condition) && !found.contains(part) {
                    found.push(part.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The plan with other expressions in the place of known ones.
fn replace(plan: LogicalPlan, known: &[(Expr, Expr)]) -> Result<LogicalPlan> {
    if known.is_empty() {
        return Ok(plan);
    }
    let other = |part: Expr| match known.iter().find(|(known, _)| *known == part) {
        Some((_, other)) => Ok(Transformed::new(other.clone(), true, TreeNodeRecursion::Jump)),
        None => Ok(Transformed::no(part)),
    };
    // From above, so that one is found before those inside of it are replaced.
    let replaced = plan.transform_down_with_subqueries(|node| with_names(node, |expr| expr.transform_down(other)))?;
    Ok(replaced.data)
}

/// A node with other expressions, under the names of those that it had.
fn with_names(
    node: LogicalPlan,
    mut other: impl FnMut(Expr) -> PlanResult<Transformed<Expr>>,
) -> PlanResult<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        other(expr).map(|expr| expr.update_data(|expr| name.restore(expr)))
    })
}
