//! Which subqueries that depend on the row around them DataFusion makes joins of.
//!
//! In: a subquery. Out: yes or no, by trying. What always holds: a subquery for which the answer is yes means the same as a join.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

/// Whether the conditions of a subquery on the row around it can be those of a join.
pub(super) fn is_joinable(part: &Expr) -> bool {
    let pull = PullUpCorrelatedExpr::new();
    match part {
        Expr::Exists(exists) => comes_up(&exists.subquery.subquery, pull.with_exists_sub_query(true)),
        Expr::InSubquery(within) => comes_up(&within.subquery.subquery, pull.with_in_predicate_opt(Some(lit(true)))),
        Expr::ScalarSubquery(scalar) => {
            is_one_row(&scalar.subquery) && comes_up(&scalar.subquery, pull.with_need_handle_count_bug(true))
        }
        _ => false,
    }
}

fn comes_up(plan: &LogicalPlan, mut pull: PullUpCorrelatedExpr) -> bool {
    // A condition cannot leave the rows that a window function looks at.
    let has_window = plan.exists(|node| Ok(matches!(node, LogicalPlan::Window(_)))).unwrap_or(true);
    !has_window
        && plan
            .clone()
            .rewrite(&mut pull)
            .is_ok_and(|pulled| pull.can_pull_up && !pulled.data.contains_outer_reference())
}

/// Whether a plan gives one row, whatever its tables hold: an aggregation without keys.
fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => is_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        _ => false,
    }
}
