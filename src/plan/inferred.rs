//! What operators above a watermark say about its rows: a key that is null joins nothing, an empty list explodes to nothing.
//!
//! In: an optimized plan of streams. Out: the same plan with these conditions as filters, where rows that they drop can give
//! no result. It matters because filters move below the watermark, and a row that is gone by then does not move it, as in Spark.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, lit};

use super::nodes::{Generate, Watermark, extension};
use crate::Result;
use crate::conf::Conf;
use crate::functions::generator::{Kind, as_generator};
use crate::functions::{self, Arg, Call};

/// The plan with inferred filters; none if there is no watermark.
///
/// # Errors
/// If a filter cannot be built, which would be a bug.
pub(super) fn with_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_watermark(&plan) {
        return Ok(plan);
    }
    let filtered = plan.transform_down(|node| match node {
        LogicalPlan::Join(join) => Ok(Transformed::yes(LogicalPlan::Join(joined(join)?))),
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Generate>() {
            Some(generate) => Ok(Transformed::yes(generated(generate)?)),
            None => Ok(Transformed::no(LogicalPlan::Extension(extension))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(filtered.data)
}

fn has_watermark(plan: &LogicalPlan) -> bool {
    plan.exists(|node| match node {
        LogicalPlan::Extension(extension) => Ok(extension.node.as_any().is::<Watermark>()),
        _ => Ok(false),
    })
    .unwrap_or(false)
}

/// The join over sides without rows that match nothing and are not kept either.
fn joined(join: Join) -> Result<Join> {
    let (left, right) = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi => (true, true),
        JoinType::Left | JoinType::LeftAnti => (false, true),
        JoinType::Right => (true, false),
        _ => (false, false),
    };
    let needed = needed(&join);
    let (left, right) = (side(&join.left, left, &needed)?, side(&join.right, right, &needed)?);
    Ok(Join { left, right, ..join })
}

/// The columns that are not null in rows that match.
fn needed(join: &Join) -> Vec<Column> {
    let pairs = match join.null_equality {
        NullEquality::NullEqualsNothing => join.on.as_slice(),
        NullEquality::NullEqualsNull => &[],
    };
    let keys = pairs.iter().flat_map(|(left, right)| [left, right]);
    let conditions = join.filter.iter().flat_map(split_conjunction).flat_map(operands);
    keys.chain(conditions).flat_map(strict_columns).collect()
}

/// The sides of a comparison that is never true for null.
fn operands(condition: &Expr) -> Vec<&Expr> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Eq | NotEq | Lt | LtEq | Gt | GtEq, right }) => vec![left, right],
        _ => Vec::new(),
    }
}

/// Functions that are null if one of their arguments is.
const STRICT: [&str; 16] = [
    "cast",
    "upper",
    "lower",
    "btrim",
    "ltrim",
    "rtrim",
    "substring",
    "substr",
    "checked_arithmetic",
    "decimal_arithmetic",
    "remainder",
    "abs",
    "negate",
    "character_length",
    "length",
    "date_trunc",
];

/// The columns without each of which the expression is null.
fn strict_columns(expr: &Expr) -> Vec<Column> {
    match expr {
        Expr::Column(column) => vec![column.clone()],
        Expr::Cast(cast) => strict_columns(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_arithmetic(op) => {
            [strict_columns(left), strict_columns(right)].concat()
        }
        Expr::ScalarFunction(call) if STRICT.contains(&call.func.name()) => {
            call.args.iter().flat_map(strict_columns).collect()
        }
        _ => Vec::new(),
    }
}

fn is_arithmetic(operator: &Operator) -> bool {
    matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply)
}

fn side(plan: &Arc<LogicalPlan>, filtered: bool, needed: &[Column]) -> Result<Arc<LogicalPlan>> {
    if !filtered || !has_watermark(plan) {
        return Ok(Arc::clone(plan));
    }
    let mut columns: Vec<&Column> = needed.iter().filter(|column| plan.schema().has_column(column)).collect();
    columns.dedup();
    let condition = columns.into_iter().map(|column| Expr::Column(column.clone()).is_not_null()).reduce(Expr::and);
    match condition {
        Some(condition) => Ok(Arc::new(LogicalPlan::Filter(Filter::try_new(condition, Arc::clone(plan))?))),
        None => Ok(Arc::clone(plan)),
    }
}

/// The generator over rows of which it makes something.
fn generated(generate: &Generate) -> datafusion::common::Result<LogicalPlan> {
    let list = match as_generator(&generate.generator) {
        Some(made) if !generate.outer && !made.outer && made.kind != Kind::Stack => made.args.into_iter().next(),
        _ => None,
    };
    let Some(list) = list.filter(|list| !list.column_refs().is_empty() && has_watermark(&generate.input)) else {
        return Ok(extension(generate.clone()));
    };
    let (schema, conf) = (generate.input.schema(), Conf::default());
    let Some(size) = functions::lookup("size") else { return Ok(extension(generate.clone())) };
    let size = (size.bind)(Call { name: "size", args: vec![Arg::Value(list)], schema, conf: &conf })?;
    let input = LogicalPlan::Filter(Filter::try_new(size.gt(lit(0)), Arc::clone(&generate.input))?);
    let (generator, outer, qualifier) = (generate.generator.clone(), generate.outer, generate.qualifier.clone());
    Ok(extension(Generate::try_new(Arc::new(input), generator, outer, qualifier, generate.fields.clone())?))
}
