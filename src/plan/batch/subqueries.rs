//! Subqueries over static tables that do not depend on the row around them: computed once, before the query.
//!
//! In: a plan. Out: the same plan with constants in place of such scalar subqueries, and, outside of WHERE, of `EXISTS` and `IN`.
//! What is left are conditions and subqueries that refer to the query around them; the optimizer makes joins of both.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery, lit};

use crate::conf::Conf;
use crate::plan::scan::is_streaming;
use crate::{Error, Result};

/// Computes the subqueries of a plan.
///
/// # Errors
/// `SCALAR_SUBQUERY_TOO_MANY_ROWS`, and whatever a subquery fails with.
pub async fn settle(plan: LogicalPlan, conf: &Conf) -> Result<LogicalPlan> {
    let mut known = Vec::new();
    for part in independent(&plan)? {
        let value = constant(&part, conf).await?;
        known.push((part, value));
    }
    if known.is_empty() { Ok(plan) } else { replace(plan, &known) }
}

/// As [`settle`], for callers that may block.
///
/// # Errors
/// As [`settle`].
pub fn settle_blocking(plan: LogicalPlan, conf: &Conf) -> Result<LogicalPlan> {
    if independent(&plan)?.is_empty() { Ok(plan) } else { crate::blocking::block_on(settle(plan, conf)) }
}

/// The expressions whose subqueries can be computed on their own.
fn independent(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    let mut found: Vec<Expr> = Vec::new();
    plan.apply(|node| {
        let is_condition = matches!(node, LogicalPlan::Filter(_));
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if is_settled_here(part, is_condition) && !found.contains(part) {
                    found.push(part.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn is_settled_here(part: &Expr, is_condition: bool) -> bool {
    match part {
        Expr::ScalarSubquery(subquery) => is_independent(subquery),
        Expr::Exists(exists) => !is_condition && is_independent(&exists.subquery),
        Expr::InSubquery(within) => !is_condition && is_independent(&within.subquery),
        _ => false,
    }
}

fn is_independent(subquery: &Subquery) -> bool {
    subquery.outer_ref_columns.is_empty() && !is_streaming(&subquery.subquery)
}

/// What stands in an expression's place.
async fn constant(part: &Expr, conf: &Conf) -> Result<Expr> {
    match part {
        Expr::ScalarSubquery(subquery) => value(subquery, conf).await,
        Expr::Exists(exists) => {
            let any = rows(&exists.subquery, conf).await?.iter().any(|batch| batch.num_rows() > 0);
            Ok(lit(any != exists.negated))
        }
        Expr::InSubquery(within) => {
            let values = column(&rows(&within.subquery, conf).await?)?;
            Ok(match values.is_empty() {
                true => lit(within.negated),
                false => Expr::InList(InList::new(within.expr.clone(), values, within.negated)),
            })
        }
        other => Err(Error::internal(format!("'{other}' is no subquery"))),
    }
}

async fn rows(subquery: &Subquery, conf: &Conf) -> Result<Vec<RecordBatch>> {
    Box::pin(super::collect(subquery.subquery.as_ref().clone(), conf)).await
}

/// The values of the first column.
fn column(batches: &[RecordBatch]) -> Result<Vec<Expr>> {
    let all = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    all.map(|(batch, row)| Ok(Expr::Literal(ScalarValue::try_from_array(batch.column(0), row)?, None))).collect()
}

/// The value of the only row, null if there is none.
async fn value(subquery: &Subquery, conf: &Conf) -> Result<Expr> {
    let data_type = subquery.subquery.schema().field(0).data_type().clone();
    let mut values = column(&rows(subquery, conf).await?)?;
    match (values.len(), values.pop()) {
        (1, Some(value)) => Ok(value),
        (0, _) => Ok(Expr::Literal(ScalarValue::try_from(&data_type)?, None)),
        (rows, _) => Err(Error::data(
            "SCALAR_SUBQUERY_TOO_MANY_ROWS",
            format!("a subquery that stands for a value must give at most one row but gives {rows}"),
        )),
    }
}

fn replace(plan: LogicalPlan, known: &[(Expr, Expr)]) -> Result<LogicalPlan> {
    let constant = |part: Expr| match known.iter().find(|(known, _)| *known == part) {
        Some((_, value)) => Ok(Transformed::new(value.clone(), true, TreeNodeRecursion::Jump)),
        None => Ok(Transformed::no(part)),
    };
    let replaced = plan.transform_up(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            expr.transform_down(constant).map(|expr| expr.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(replaced.data)
}
