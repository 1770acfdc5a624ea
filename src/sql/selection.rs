//! SELECT without grouping: windows, generators and window functions become plan nodes below a projection.
//!
//! In: a plan and bound expressions with their names, some of which hold *markers* (calls of `window`, `session_window`,
//! generators). Out: a projection over nodes in which no marker is left.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::find_window_exprs;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};

use super::binder::any_part;
use super::expression::Item;
use super::names::{self, column_at, free_name};
use crate::functions::generator::{as_generator, is_generator};
use crate::functions::window::{SESSION_WINDOW, WINDOW, Window, as_window};
use crate::plan::nodes::{Generate, SessionWindow, TimeWindow, WATERMARK_DELAY, Windows, extension};
use crate::{Error, Result};

/// Projects `items`, with nodes below for the markers in them.
///
/// # Errors
/// `UNSUPPORTED_GENERATOR.*` for generators inside of expressions.
pub fn project(plan: LogicalPlan, items: Vec<Item>) -> Result<LogicalPlan> {
    let (plan, items) = lift_windows(plan, items)?;
    let (plan, items) = lift_generators(plan, items)?;
    let (plan, items) = lift_window_functions(plan, items)?;
    names::project(plan, items.into_iter().map(Item::into_expr).collect())
}

/// Changes the expressions of items; their names stay.
pub(super) fn map_items(items: Vec<Item>, change: impl Fn(Expr) -> Result<Expr>) -> Result<Vec<Item>> {
    items.into_iter().map(|item| Ok(Item { expr: change(item.expr)?, ..item })).collect()
}

/// A window's call and the column that took its place.
#[derive(Default)]
pub(super) struct Lifted(Option<(Expr, Expr)>);

impl Lifted {
    /// An expression with the column in the call's place.
    pub(super) fn expr(&self, expr: Expr) -> Result<Expr> {
        match &self.0 {
            Some((call, column)) => replace(expr, &|part| (part == call).then(|| column.clone())),
            None => Ok(expr),
        }
    }

    /// Items with the column in the call's place.
    pub(super) fn items(&self, items: Vec<Item>) -> Result<Vec<Item>> {
        map_items(items, |expr| self.expr(expr))
    }
}

/// Replaces the calls of `window` and `session_window` by a column of a node.
///
/// # Errors
/// If the calls are not all the same.
fn lift_windows(plan: LogicalPlan, items: Vec<Item>) -> Result<(LogicalPlan, Vec<Item>)> {
    let (plan, items, _) = lift_keys(plan, items)?;
    Ok((plan, items))
}

/// As [`lift_windows`] for grouping keys; other clauses may use the column or repeat the call.
pub(super) fn lift_keys(plan: LogicalPlan, keys: Vec<Item>) -> Result<(LogicalPlan, Vec<Item>, Lifted)> {
    let Some((call, marker)) = one_window(&keys)? else { return Ok((plan, keys, Lifted::default())) };
    let plan = window_node(plan, &call, marker)?;
    let lifted = Lifted(Some((call, column_at(plan.schema(), plan.schema().fields().len() - 1))));
    let keys = lifted.items(keys)?;
    Ok((plan, keys, lifted))
}

/// The plan with all its columns, and behind them the keys that are none of these; and which columns the keys are.
pub(super) fn keyed(plan: LogicalPlan, keys: Vec<Item>) -> Result<(LogicalPlan, Vec<Column>)> {
    let mut exprs = names::all_columns(plan.schema());
    let mut columns = Vec::new();
    for key in keys {
        match key.into_expr() {
            Expr::Column(column) => columns.push(column),
            other => {
                let name = free_name(plan.schema(), &other.schema_name().to_string());
                columns.push(Column::new_unqualified(&name));
                exprs.push(other.unalias().alias(name));
            }
        }
    }
    match exprs.len() == plan.schema().fields().len() {
        true => Ok((plan, columns)),
        false => Ok((names::project(plan, exprs)?, columns)),
    }
}

/// The one window that the expressions call.
fn one_window(items: &[Item]) -> Result<Option<(Expr, Window)>> {
    let mut found: Option<(Expr, Window)> = None;
    for item in items {
        item.expr.apply(|part| {
            let Some(marker) = as_window(part) else { return Ok(TreeNodeRecursion::Continue) };
            match &found {
                Some((call, _)) if call != part => return Err(several_windows().into()),
                _ => found = Some((part.clone(), marker)),
            }
            Ok(TreeNodeRecursion::Jump)
        })?;
    }
    Ok(found)
}

fn several_windows() -> Error {
    Error::query(
        "_LEGACY_ERROR_TEMP_1039",
        "multiple time/session window expressions would result in a cartesian product of rows, therefore they are \
         currently not supported",
    )
}

/// The node that adds a window's column, which is event time if the window's time is.
fn window_node(plan: LogicalPlan, call: &Expr, window: Window) -> Result<LogicalPlan> {
    let data_type = call.get_type(plan.schema())?;
    let field = |name: &str, time: &Expr| {
        let mark = names::mark_of(time, plan.schema()).map(|delay| (WATERMARK_DELAY.to_string(), delay));
        let name = free_name(plan.schema(), name);
        Arc::new(Field::new(name, data_type.clone(), true).with_metadata(mark.into_iter().collect()))
    };
    match window {
        Window::Time { time, length, slide, start } => {
            let field = field(WINDOW, &time);
            let windows = Windows { length, slide, start };
            Ok(extension(TimeWindow::try_new(Arc::new(plan), time, windows, None, field)?))
        }
        Window::Session { time, gap } => {
            let field = field(SESSION_WINDOW, &time);
            Ok(extension(SessionWindow::try_new(Arc::new(plan), time, gap, None, field)?))
        }
    }
}

/// Replaces the parts for which `with` has something, outermost first.
pub(super) fn replace(expr: Expr, with: &dyn Fn(&Expr) -> Option<Expr>) -> Result<Expr> {
    let replaced = expr.transform_down(|part| match with(&part) {
        Some(other) => Ok(Transformed::new(other, true, TreeNodeRecursion::Jump)),
        None => Ok(Transformed::no(part)),
    })?;
    Ok(replaced.data)
}

/// Puts a node below for each generator among the items, the first one lowest, and its columns in its place.
fn lift_generators(mut plan: LogicalPlan, mut items: Vec<Item>) -> Result<(LogicalPlan, Vec<Item>)> {
    while let Some(place) = items.iter().position(|item| any_part(&item.expr, is_generator)) {
        (plan, items) = lift_generator(plan, items, place)?;
    }
    Ok((plan, items))
}

fn lift_generator(plan: LogicalPlan, mut items: Vec<Item>, place: usize) -> Result<(LogicalPlan, Vec<Item>)> {
    let item = items[place].clone();
    if !is_generator(&item.expr) {
        return Err(nested_generator(&item.default_name));
    }
    let width = plan.schema().fields().len();
    let names: Vec<String> =
        generated_fields(&item.expr, &item.aliases)?.iter().map(|field| field.name().clone()).collect();
    let free: Vec<String> = names.iter().map(|name| free_name(plan.schema(), name)).collect();
    let plan = generate(plan, item.expr, false, None, &free)?;
    let column = |(index, name): (usize, String)| Item {
        expr: column_at(plan.schema(), index),
        aliases: vec![name.clone()],
        default_name: name,
    };
    let made: Vec<_> = (width..).zip(names).map(column).collect();
    items.splice(place..=place, made);
    Ok((plan, items))
}

fn nested_generator(item: &str) -> Error {
    let message = format!("generators are not supported inside of expressions, but '{item}' holds one");
    Error::query("UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS", message)
        .hint("Give the generator a column of its own and use it in a second select.")
}

/// A node that applies `generator`; its columns are called `names`, or as the generator says if there are none.
///
/// # Errors
/// `UDTF_ALIAS_NUMBER_MISMATCH` if the number of names does not fit.
pub(super) fn generate(
    plan: LogicalPlan,
    generator: Expr,
    outer: bool,
    qualifier: Option<datafusion::common::TableReference>,
    names: &[String],
) -> Result<LogicalPlan> {
    let fields = generated_fields(&generator, names)?;
    Ok(extension(Generate::try_new(Arc::new(plan), generator, outer, qualifier, fields)?))
}

fn generated_fields(generator: &Expr, names: &[String]) -> Result<Vec<FieldRef>> {
    let made = as_generator(generator).ok_or_else(|| Error::internal(format!("'{generator}' is no generator")))?;
    if names.is_empty() {
        return Ok(made.fields.into_iter().map(Arc::new).collect());
    }
    if names.len() != made.fields.len() {
        let (columns, count) = (made.fields.len(), names.len());
        let message = format!("the generator makes {columns} columns but has {count} names: {}", names.join(", "));
        return Err(Error::query("UDTF_ALIAS_NUMBER_MISMATCH", message));
    }
    Ok(made.fields.into_iter().zip(names).map(|(field, name)| Arc::new(field.with_name(name))).collect())
}

/// Puts a node below for calls with OVER, and its columns in their place.
fn lift_window_functions(plan: LogicalPlan, items: Vec<Item>) -> Result<(LogicalPlan, Vec<Item>)> {
    let calls = find_window_exprs(items.iter().map(|item| &item.expr));
    if calls.is_empty() {
        return Ok((plan, items));
    }
    let width = plan.schema().fields().len();
    let plan = LogicalPlanBuilder::window_plan(plan, calls.clone())?;
    let added: Vec<_> = (width..plan.schema().fields().len()).map(|index| column_at(plan.schema(), index)).collect();
    let column_of = |part: &Expr| {
        let name = calls.contains(part).then(|| part.schema_name().to_string())?;
        added.iter().find(|column| matches!(column, Expr::Column(column) if column.name == name)).cloned()
    };
    let items = map_items(items, |expr| replace(expr, &column_of))?;
    Ok((plan, items))
}
