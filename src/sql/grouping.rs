//! GROUP BY: keys, aggregate functions, HAVING.
//!
//! In: a plan, bound keys and items (and a HAVING condition). Out: windows lifted below, an aggregation, a filter for
//! HAVING, and a projection that computes the items of keys and aggregates. With a session window among the keys the
//! aggregation is a [`SessionAggregate`].

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

use super::binder::{any_part, filter};
use super::expression::Item;
use super::names::column_at;
use super::selection::{lift_keys, map_items, project, replace};
use crate::functions::generator::is_generator;
use crate::plan::nodes::{SessionAggregate, SessionWindow, extension};
use crate::{Error, Result};

/// What to group by and what to compute.
pub struct Grouping {
    /// Grouping expressions, with their names.
    keys: Vec<Item>,
    /// Which keys form the sets of ROLLUP, CUBE and GROUPING SETS, as indexes of keys.
    sets: Option<Vec<Vec<usize>>>,
    /// The output: expressions over keys and aggregates.
    items: Vec<Item>,
    /// The condition on groups.
    having: Option<Expr>,
}

impl Grouping {
    /// The keys, then `items`, as `groupBy(keys).agg(items)` gives them.
    pub fn new(keys: Vec<Item>, items: Vec<Item>) -> Self {
        let items = keys.iter().cloned().chain(items).collect();
        Self { keys, sets: None, items, having: None }
    }

    /// One group of all rows.
    pub fn of_all(items: Vec<Item>) -> Self {
        Self::select(Vec::new(), items)
    }

    /// Just the items, as SQL's SELECT gives them.
    pub fn select(keys: Vec<Item>, items: Vec<Item>) -> Self {
        Self { keys, sets: None, items, having: None }
    }

    /// Groups by several sets of keys.
    pub fn with_sets(self, sets: Option<Vec<Vec<usize>>>) -> Self {
        Self { sets, ..self }
    }

    /// Keeps only groups that satisfy a condition.
    pub fn having(self, having: Option<Expr>) -> Self {
        Self { having, ..self }
    }

    /// The plan of this grouping over `plan`.
    ///
    /// # Errors
    /// `MISSING_AGGREGATION`, `MISSING_GROUP_BY`, `GROUP_BY_AGGREGATE`, `NESTED_AGGREGATE_FUNCTION`.
    pub fn build(self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let Self { keys, sets, items, having } = self;
        let (key_count, item_count) = (keys.len(), items.len());
        let having = having.map(|expr| Item { expr, aliases: Vec::new(), default_name: String::new() });
        let all = keys.into_iter().chain(items).chain(having).collect();
        let (plan, mut keys, _) = lift_keys(plan, all)?;
        let mut items = keys.split_off(key_count);
        let having = (items.len() > item_count).then(|| items.pop()).flatten().map(|item| item.expr);
        let keys: Vec<Expr> = keys.into_iter().map(|key| key.expr).collect();
        check_keys(&keys)?;
        let aggregates = find_aggregate_exprs(items.iter().map(|item| &item.expr).chain(&having));
        check_aggregates(&aggregates)?;
        if sets.is_none() && aggregates.iter().any(is_grouping) {
            return Err(grouping_without_sets());
        }
        if keys.is_empty() && aggregates.is_empty() {
            return Err(nothing_grouped());
        }
        let grouped = Grouped::new(plan, keys, sets, aggregates)?;
        let plan = match having {
            Some(condition) => filter(grouped.plan.clone(), grouped.over(condition)?)?,
            None => grouped.plan.clone(),
        };
        project(plan, map_items(items, |expr| grouped.over(expr))?)
    }
}

/// True for a call of `grouping` or `grouping_id`.
fn is_grouping(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(call) if call.func.name() == "grouping")
}

fn grouping_without_sets() -> Error {
    let message = "grouping() and grouping_id() can only be used with GROUPING SETS, CUBE or ROLLUP";
    Error::query("UNSUPPORTED_GROUPING_EXPRESSION", message)
}

fn nothing_grouped() -> Error {
    let message = "the query has HAVING, but neither a GROUP BY clause nor an aggregate function";
    Error::query("MISSING_GROUP_BY", message).hint("Use WHERE, or add GROUP BY.")
}

fn check_keys(keys: &[Expr]) -> Result<()> {
    if let Some(key) = keys.iter().find(|key| any_part(key, is_generator)) {
        return Err(Error::query(
            "UNSUPPORTED_EXPR_FOR_OPERATOR",
            format!("rows cannot be grouped by the generator '{key}'"),
        )
        .hint("Use the generator in a select before it."));
    }
    match find_aggregate_exprs(keys).first() {
        Some(call) => Err(Error::query(
            "GROUP_BY_AGGREGATE",
            format!("aggregate functions are not allowed in GROUP BY, but found '{call}'"),
        )),
        None => Ok(()),
    }
}

fn check_aggregates(aggregates: &[Expr]) -> Result<()> {
    for aggregate in aggregates {
        let mut nested = false;
        aggregate.apply_children(|part| {
            nested |= any_part(part, |part| matches!(part, Expr::AggregateFunction(_)));
            Ok(TreeNodeRecursion::Continue)
        })?;
        if nested {
            let message =
                format!("it is not allowed to use an aggregate function in the argument of another one: '{aggregate}'");
            return Err(Error::query("NESTED_AGGREGATE_FUNCTION", message)
                .hint("Use the inner aggregate function in a subquery."));
        }
    }
    Ok(())
}

/// An aggregation and where its output holds each key and each aggregate.
struct Grouped {
    plan: LogicalPlan,
    keys: Vec<(Expr, Expr)>,
    aggregates: Vec<(Expr, Expr)>,
}

impl Grouped {
    fn new(plan: LogicalPlan, keys: Vec<Expr>, sets: Option<Vec<Vec<usize>>>, aggregates: Vec<Expr>) -> Result<Self> {
        let mut distinct: Vec<Expr> = Vec::new();
        for key in &keys {
            if !distinct.contains(key) {
                distinct.push(key.clone());
            }
        }
        match session_of(&plan, &distinct) {
            Some(session) => Self::sessions(plan, distinct, session, aggregates),
            None => Self::groups(plan, distinct, sets.map(|sets| as_sets(&keys, sets)), aggregates),
        }
    }

    fn groups(plan: LogicalPlan, keys: Vec<Expr>, sets: Option<Vec<Vec<Expr>>>, aggregates: Vec<Expr>) -> Result<Self> {
        let is_set = sets.is_some();
        let groups = match sets {
            Some(sets) => vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))],
            None => keys.clone(),
        };
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), groups, aggregates.clone())?);
        let schema = Arc::clone(plan.schema());
        let first = schema.fields().len() - aggregates.len();
        let at = |(index, expr)| (expr, column_at(&schema, index));
        let keys = match is_set {
            true => keys.into_iter().map(|key| (key.clone(), named_like(&key))).collect(),
            false => keys.into_iter().enumerate().map(at).collect(),
        };
        let aggregates = aggregates.into_iter().enumerate().map(|(index, expr)| at((first + index, expr))).collect();
        Ok(Self { plan, keys, aggregates })
    }

    fn sessions(plan: LogicalPlan, keys: Vec<Expr>, session: Column, aggregates: Vec<Expr>) -> Result<Self> {
        let window = Expr::Column(session.clone());
        let others: Vec<Expr> = keys.into_iter().filter(|key| *key != window).collect();
        let node = SessionAggregate::try_new(Arc::new(plan), others.clone(), session, aggregates.clone())?;
        let plan = extension(node);
        let schema = Arc::clone(plan.schema());
        let at = |(index, expr)| (expr, column_at(&schema, index));
        let first = others.len() + 1;
        let keys = others.into_iter().chain([window]).enumerate().map(at).collect();
        let aggregates = aggregates.into_iter().enumerate().map(|(index, expr)| at((first + index, expr))).collect();
        Ok(Self { plan, keys, aggregates })
    }

    /// An expression over the input as one over the aggregation's output.
    fn over(&self, expr: Expr) -> Result<Expr> {
        let known = |part: &Expr| {
            let mut all = self.aggregates.iter().chain(&self.keys);
            all.find(|(before, _)| before == part).map(|(_, column)| column.clone())
        };
        let replaced = replace(expr, &known)?;
        self.check_grouped(&replaced)?;
        Ok(replaced)
    }

    /// Whatever column is left is neither grouped nor aggregated.
    fn check_grouped(&self, expr: &Expr) -> Result<()> {
        let mut left = None;
        expr.apply(|part| {
            if let Expr::Column(column) = part
                && (!self.plan.schema().has_column(column) || self.is_input_only(part))
            {
                left = Some(column.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match left {
            Some(column) => Err(missing_aggregation(&column, self.keys.is_empty())),
            None => Ok(()),
        }
    }

    fn is_input_only(&self, column: &Expr) -> bool {
        !self.keys.iter().chain(&self.aggregates).any(|(_, output)| output == column)
    }
}

fn missing_aggregation(column: &Column, no_keys: bool) -> Error {
    let name = &column.name;
    if no_keys {
        let message = format!("the query has no GROUP BY clause but uses column '{name}' beside aggregate functions");
        return Error::query("MISSING_GROUP_BY", message)
            .hint("Add GROUP BY, or put OVER behind the aggregate functions.");
    }
    let message = format!("column '{name}' is neither grouped by nor inside of an aggregate function");
    Error::query("MISSING_AGGREGATION", message)
        .hint(format!("Add it to GROUP BY, or use any_value({name}) if it does not matter which value you get."))
}

/// The session column among the keys.
fn session_of(plan: &LogicalPlan, keys: &[Expr]) -> Option<Column> {
    let LogicalPlan::Extension(node) = plan else { return None };
    let window = node.node.as_any().downcast_ref::<SessionWindow>()?;
    let column = Column::new(window.qualifier.clone(), window.field.name());
    keys.contains(&Expr::Column(column.clone())).then_some(column)
}

fn as_sets(keys: &[Expr], sets: Vec<Vec<usize>>) -> Vec<Vec<Expr>> {
    sets.into_iter().map(|set| set.into_iter().filter_map(|index| keys.get(index).cloned()).collect()).collect()
}

/// The output column of a key in an aggregation by sets.
fn named_like(key: &Expr) -> Expr {
    let (qualifier, name) = key.qualified_name();
    Expr::Column(Column::new(qualifier, name))
}

/// True if the items need a grouping although there is no GROUP BY.
pub fn is_global(items: &[Item], having: Option<&Expr>) -> bool {
    let outside_of_windows = |expr: &Expr| {
        let mut found = false;
        let visited = expr.apply(|part| {
            found |= matches!(part, Expr::AggregateFunction(_));
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        found && visited.is_ok()
    };
    having.is_some() || items.iter().any(|item| outside_of_windows(&item.expr))
}
