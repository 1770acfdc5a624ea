//! Steps that follow one another, made fewer.
//!
//! In: the steps behind a node, and one that is to follow. Out: steps that give the same rows with less work. Projections that only pick
//! columns become one with their neighbour, a generator hears which of its columns are read, an element of a list is made alone where
//! nothing else of the list is read, and what a filter computes is kept for the projection behind it: the optimizer moves filters below
//! projections and so has both compute it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use super::super::dataflow::Step;
use crate::functions::call::{element, is_shareable};

type Exprs = Vec<Arc<dyn PhysicalExpr>>;

/// Adds a step. `source`: the rows that the first of the steps gets.
pub(super) fn append(steps: &mut Vec<Step>, next: Step, source: &SchemaRef) {
    let (exprs, schema) = match next {
        Step::Project(exprs, schema) => (exprs.iter().map(without_lists).collect::<Exprs>(), schema),
        Step::Filter(condition) => return steps.push(Step::Filter(without_lists(&condition))),
        Step::Expand(_) => return steps.push(next),
    };
    match steps.pop() {
        Some(Step::Expand(kernel)) => {
            let read: Vec<usize> = exprs.iter().flat_map(collect_columns).map(|column| column.index()).collect();
            let kernel = kernel.reading(&read).unwrap_or(kernel);
            steps.extend([Step::Expand(kernel), Step::Project(exprs, schema)]);
        }
        Some(Step::Project(first, between)) => {
            let rows = rows_behind(steps, source);
            let composed = composed(&first, &between, &exprs, &schema, rows)
                .or_else(|| past_lists(&first, &between, &exprs, rows?));
            match composed {
                Some(exprs) => append(steps, Step::Project(exprs, schema), source),
                None => steps.extend([Step::Project(first, between), Step::Project(exprs, schema)]),
            }
        }
        Some(Step::Filter(condition)) => {
            let shared = rows_behind(steps, source).and_then(|rows| Shared::of(&condition, &exprs, rows));
            match shared {
                Some(Shared { before, condition, behind }) => {
                    append(steps, before, source);
                    steps.extend([Step::Filter(condition), Step::Project(behind, schema)]);
                }
                None => steps.extend([Step::Filter(condition), Step::Project(exprs, schema)]),
            }
        }
        None => steps.push(Step::Project(exprs, schema)),
    }
}

/// What comes out of the steps, if they say so.
fn rows_behind<'a>(steps: &'a [Step], source: &'a SchemaRef) -> Option<&'a SchemaRef> {
    let last = steps.iter().rev().find(|step| !matches!(step, Step::Filter(_)));
    match last {
        None => Some(source),
        Some(Step::Project(_, schema)) => Some(schema),
        Some(_) => None,
    }
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    expr.downcast_ref::<Column>()
}

/// Two projections as one, if one of them picks columns as they are.
fn composed(
    first: &[Arc<dyn PhysicalExpr>],
    between: &SchemaRef,
    second: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
    rows: Option<&SchemaRef>,
) -> Option<Exprs> {
    if rows.is_some_and(|rows| picks(first, between, rows)) {
        return second.iter().map(|expr| over(expr, first)).collect();
    }
    if !picks(second, schema, between) {
        return None;
    }
    let places: Vec<usize> = second.iter().filter_map(column).map(Column::index).collect();
    let computed: Vec<usize> = places.iter().copied().filter(|at| column(&first[*at]).is_none()).collect();
    let once = computed.iter().collect::<BTreeSet<_>>().len() == computed.len();
    once.then(|| places.iter().map(|at| first[*at].clone()).collect())
}

/// Whether these are nothing but columns of `rows`, as they are.
fn picks(exprs: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef, rows: &SchemaRef) -> bool {
    let same = |at: usize, to: &Field| rows.fields().get(at).is_some_and(|from| from.data_type() == to.data_type());
    exprs.iter().zip(schema.fields()).all(|(expr, to)| column(expr).is_some_and(|column| same(column.index(), to)))
}

/// The expression, but elements of lists that are made for nothing else are made alone.
fn without_lists(expr: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let alone = expr
        .clone()
        .transform_down(|part| Ok(element(&part, |_| None).map_or(Transformed::no(part), Transformed::yes)));
    alone.map_or_else(|_| expr.clone(), |alone| alone.data)
}

/// The second projection over what the first one reads, if it reads nothing of it but columns that pass as they are and elements of lists
/// that can be made alone.
fn past_lists(
    first: &[Arc<dyn PhysicalExpr>],
    between: &SchemaRef,
    second: &[Arc<dyn PhysicalExpr>],
    rows: &SchemaRef,
) -> Option<Exprs> {
    let passes = |at: usize| {
        let below = first.get(at).filter(|below| column(below).is_some())?;
        picks(std::slice::from_ref(below), &Arc::new(between.project(&[at]).ok()?), rows).then(|| below.clone())
    };
    second.iter().map(|expr| past_list(expr, first, &passes)).collect()
}

/// `passes` gives what a column of the first projection is that passes it as it is.
fn past_list(
    expr: &Arc<dyn PhysicalExpr>,
    first: &[Arc<dyn PhysicalExpr>],
    passes: &dyn Fn(usize) -> Option<Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    if let Some(alone) = element(expr, |list| first.get(column(list)?.index())) {
        return Some(alone);
    }
    if let Some(read) = column(expr) {
        return passes(read.index());
    }
    over_children(expr, |child| past_list(child, first, passes))
}

/// The expression with what becomes of its children.
fn over_children(
    expr: &Arc<dyn PhysicalExpr>,
    moved: impl FnMut(&Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let children = expr.children();
    if children.is_empty() {
        return Some(expr.clone());
    }
    let children = children.into_iter().map(moved).collect::<Option<_>>()?;
    expr.clone().with_new_children(children).ok()
}

/// The expression over these columns' own columns.
fn over(expr: &Arc<dyn PhysicalExpr>, columns: &[Arc<dyn PhysicalExpr>]) -> Option<Arc<dyn PhysicalExpr>> {
    let moved = expr.clone().transform_up(|part| match column(&part).and_then(|column| columns.get(column.index())) {
        Some(below) => Ok(Transformed::yes(below.clone())),
        None => Ok(Transformed::no(part)),
    });
    moved.ok().map(|moved| moved.data)
}

/// A filter and the projection behind it, with a projection before them that computes what both need.
struct Shared {
    before: Step,
    condition: Arc<dyn PhysicalExpr>,
    behind: Exprs,
}

impl Shared {
    /// `None` if they share nothing but columns, or only what may not be computed once for both.
    fn of(condition: &Arc<dyn PhysicalExpr>, exprs: &[Arc<dyn PhysicalExpr>], rows: &SchemaRef) -> Option<Shared> {
        let common = common(condition, exprs);
        if common.is_empty() {
            return None;
        }
        let mut needed = BTreeSet::new();
        exprs.iter().chain([condition]).for_each(|expr| columns_beside(expr, &common, &mut needed));
        let places = Places { needed: needed.into_iter().collect(), common };
        let condition = places.moved(condition)?;
        let behind = exprs.iter().map(|expr| places.moved(expr)).collect::<Option<_>>()?;
        Some(Shared { before: places.step(rows)?, condition, behind })
    }
}

/// The largest parts of the expressions that the condition has, too.
fn common(condition: &Arc<dyn PhysicalExpr>, exprs: &[Arc<dyn PhysicalExpr>]) -> Exprs {
    let mut common: Exprs = Vec::new();
    for expr in exprs {
        let visited = expr.apply(|part| {
            if !is_shareable(part) || !condition.exists(|other| Ok(other == part))? {
                return Ok(TreeNodeRecursion::Continue);
            }
            if !common.contains(part) {
                common.push(part.clone());
            }
            Ok(TreeNodeRecursion::Jump)
        });
        if visited.is_err() {
            return Vec::new();
        }
    }
    common
}

fn columns_beside(expr: &Arc<dyn PhysicalExpr>, common: &Exprs, found: &mut BTreeSet<usize>) {
    if common.contains(expr) {
        return;
    }
    found.extend(column(expr).map(Column::index));
    expr.children().into_iter().for_each(|child| columns_beside(child, common, found));
}

/// The columns between the two projections.
struct Places {
    /// Columns of the rows that pass as they are.
    needed: Vec<usize>,
    /// What is computed, behind them.
    common: Exprs,
}

impl Places {
    /// The expression over these columns.
    fn moved(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        if let Some(at) = self.common.iter().position(|other| other == expr) {
            return Some(Arc::new(Column::new(&shared_name(at), self.needed.len() + at)));
        }
        if let Some(column) = column(expr) {
            let at = self.needed.iter().position(|needed| *needed == column.index())?;
            return Some(Arc::new(Column::new(column.name(), at)));
        }
        over_children(expr, |child| self.moved(child))
    }

    /// The projection that makes them of rows of this schema.
    fn step(&self, rows: &SchemaRef) -> Option<Step> {
        let (mut exprs, mut fields): (Exprs, Vec<_>) = (Vec::new(), Vec::new());
        for at in &self.needed {
            let field = rows.fields().get(*at)?;
            exprs.push(Arc::new(Column::new(field.name(), *at)));
            fields.push(field.clone());
        }
        for (at, expr) in self.common.iter().enumerate() {
            let field = expr.return_field(rows).ok()?.as_ref().clone().with_name(shared_name(at)).with_nullable(true);
            exprs.push(expr.clone());
            fields.push(Arc::new(field));
        }
        Some(Step::Project(exprs, Arc::new(Schema::new(fields))))
    }
}

fn shared_name(at: usize) -> String {
    format!("_shared_{at}")
}
