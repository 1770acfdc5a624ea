//! `EXISTS` as a value: in a SELECT list, in CASE, in the arguments of an aggregate.
//!
//! In: a plan in which it stands for TRUE or FALSE outside of WHERE. Out: an equal plan in which each is a column that a mark join adds: the
//! row of the left side, and whether it has a match. DataFusion does the same in a WHERE, unless a semi or an anti join will do there.

use std::sync::Arc;

use datafusion::common::Result as PlanResult;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::Error;

/// Makes columns of `EXISTS` outside of WHERE.
#[derive(Debug)]
pub(in crate::plan) struct MarkJoins;

impl OptimizerRule for MarkJoins {
    fn name(&self) -> &str {
        "mark_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(_) => Ok(Transformed::no(plan)),
            plan if plan.inputs().len() == 1 && plan.expressions().iter().any(holds_one) => marked(plan, config),
            plan => Ok(Transformed::no(plan)),
        }
    }
}

fn holds_one(expr: &Expr) -> bool {
    expr.exists(|part| Ok(matches!(part, Expr::Exists(_)))).unwrap_or(false)
}

/// A node with a column in place of each `EXISTS` of its expressions.
fn marked(plan: LogicalPlan, config: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
    let mut input = plan.inputs()[0].clone();
    let mut known: Vec<(Expr, Expr)> = Vec::new();
    let named = NamePreserver::new(&plan);
    let mut exprs = Vec::new();
    for expr in plan.expressions() {
        let name = named.save(&expr);
        let expr = expr.transform_down(|part| match part {
            Expr::Exists(_) => {
                let column = mark(part, &mut input, &mut known, config)?;
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            }
            part => Ok(Transformed::no(part)),
        })?;
        exprs.push(name.restore(expr.data));
    }
    Ok(Transformed::yes(plan.with_new_exprs(exprs, vec![input])?))
}

/// The column that says whether `exists` holds; `input` gets it by a mark join, once for equal subqueries.
fn mark(
    exists: Expr,
    input: &mut LogicalPlan,
    known: &mut Vec<(Expr, Expr)>,
    config: &dyn OptimizerConfig,
) -> PlanResult<Expr> {
    if let Some((_, column)) = known.iter().find(|(subquery, _)| *subquery == exists) {
        return Ok(column.clone());
    }
    // DataFusion makes a mark join of what stands inside of a larger condition. Its projection hides the mark again.
    let inside = exists.clone().is_not_null();
    let filter = LogicalPlan::Filter(Filter::try_new(inside, Arc::new(input.clone()))?);
    let joined = DecorrelatePredicateSubquery::new().rewrite(filter, config)?.data;
    let (plan, column) = shown(joined).ok_or_else(|| cannot_be_joined(&exists))?;
    *input = plan;
    known.push((exists, column.clone()));
    Ok(column)
}

/// The join below the projection and the filter, and what the filter asks about.
fn shown(plan: LogicalPlan) -> Option<(LogicalPlan, Expr)> {
    let LogicalPlan::Projection(Projection { input, .. }) = plan else { return None };
    let LogicalPlan::Filter(Filter { predicate: Expr::IsNotNull(column), input, .. }) = Arc::unwrap_or_clone(input)
    else {
        return None;
    };
    Some((Arc::unwrap_or_clone(input), *column)).filter(|(_, column)| !holds_one(column))
}

fn cannot_be_joined(exists: &Expr) -> datafusion::error::DataFusionError {
    let error = Error::query(
        "UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.UNSUPPORTED_CORRELATED_REFERENCE",
        format!("what '{exists}' takes of the query around it stands where it cannot be made the condition of a join"),
    );
    error.hint("Refer to the outer query in WHERE only, not below an aggregation, UNION, ORDER BY or LIMIT.").into()
}
