//! Rows joined with the greatest or least value of their own group: `rows JOIN (SELECT k, max(v) FROM rows GROUP BY k) ON ... k AND ... v`.
//!
//! In: a plan whose results are final (append mode), before filters are inferred. Out: the same plan, but such a join of a stream with an
//! aggregation of itself is one aggregation that keeps the best rows of each group and no others. The stream is read once, and what would wait
//! in the join for its group's value is never kept. What always holds: the rows, and the epoch that gives them, are those of the join: a group
//! closes when its aggregation would, a row whose key or value is null matches nothing, and rows that are equally good are all given. Only
//! stateless steps stand above, which no watermark has to reach.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result as PlanResult, TableReference};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, Filter, Join, LogicalPlan, Projection, TableScan};
use thalweg_operators::aggregate::best_rows;
use thalweg_operators::keys::contains_floats;

use super::nodes::{Generate, MapItems, TimeWindow, Watermark, Windows, extension, watermark_delay_millis};
use super::scan::scanned;
use crate::Result;
use crate::formats::mode::Mode;
use crate::functions::aggregate::{as_stream_aggregate, internal_call};
use crate::functions::generator;
use crate::functions::kernel::Kernel;

/// The plan with such joins as aggregations.
///
/// # Errors
/// If the new nodes cannot be built, which would be a bug.
pub(crate) fn aggregated(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(below_stateless(plan)?.data)
}

fn below_stateless(plan: LogicalPlan) -> PlanResult<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Union(_) => {
            plan.map_children(below_stateless)
        }
        LogicalPlan::Extension(node) if node.node.as_any().is::<Generate>() || node.node.as_any().is::<MapItems>() => {
            plan.map_children(below_stateless)
        }
        LogicalPlan::Join(join) => match best(join)? {
            Some(aggregated) => Ok(Transformed::yes(aggregated)),
            None => Ok(Transformed::no(plan)),
        },
        _ => Ok(Transformed::no(plan)),
    }
}

fn best(join: &Join) -> PlanResult<Option<LogicalPlan>> {
    match BestRows::find(join).filter(|best| best.keeps_times(join)) {
        Some(best) => best.plan(join),
        None => Ok(None),
    }
}

/// What a join of this kind is made of. Expressions are over the columns of `rows`.
struct BestRows<'a> {
    rows: &'a LogicalPlan,
    keys: Vec<Expr>,
    value: Expr,
    largest: bool,
    /// What else the join's columns need of a row.
    others: Vec<Expr>,
    /// Where each of the join's columns comes from.
    columns: Vec<Place>,
}

/// Where a column is, once the best rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Key(usize),
    /// A column of the rows; the value that is compared is the first.
    OfRow(usize),
}

impl<'a> BestRows<'a> {
    fn find(join: &'a Join) -> Option<Self> {
        let nulls = join.null_equality == NullEquality::NullEqualsNull || join.null_aware;
        if join.join_type != JoinType::Inner || join.filter.is_some() || nulls {
            return None;
        }
        let (left, right) = (join.left.as_ref(), join.right.as_ref());
        let pairs: Vec<(&Expr, &Expr)> = join.on.iter().map(|(left, right)| (left, right)).collect();
        let swapped: Vec<(&Expr, &Expr)> = join.on.iter().map(|(left, right)| (right, left)).collect();
        Self::of_sides(left, right, &pairs, true).or_else(|| Self::of_sides(right, left, &swapped, false))
    }

    /// For rows and their extremes; `pairs`: which must be equal. The join's columns are those of the rows first, or last.
    fn of_sides(rows: &'a LogicalPlan, tops: &'a LogicalPlan, pairs: &[(&Expr, &Expr)], first: bool) -> Option<Self> {
        let tops = Tops::of(tops).filter(|tops| same_rows(rows, tops, pairs).unwrap_or_default())?;
        let (core, outputs) = uncovered(rows)?;
        let mut keys = tops.keys(rows, &outputs, pairs)?;
        let is_plain = |n: usize| !keys[..n].contains(&keys[n]) && !has_floats(&keys[n], core.schema());
        if !(0..keys.len()).all(is_plain) {
            return None;
        }
        let (value, largest) = (keys.pop()?, tops.largest);
        let mut best = BestRows { rows: core, keys, value, largest, others: Vec::new(), columns: Vec::new() };
        let of_rows: Vec<Place> = outputs.iter().map(|output| best.place(output)).collect();
        let of_tops = tops.outputs.iter().map(|output| best.place_of_top(*output)).collect();
        best.columns = if first { [of_rows, of_tops] } else { [of_tops, of_rows] }.concat();
        best.others.iter().all(|other| cannot_fail(other, core)).then_some(best)
    }

    fn place(&mut self, expr: &Expr) -> Place {
        if let Some(key) = self.keys.iter().position(|key| key == expr) {
            return Place::Key(key);
        }
        if *expr == self.value {
            return Place::OfRow(0);
        }
        let place = self.others.iter().position(|other| other == expr).unwrap_or_else(|| {
            self.others.push(expr.clone());
            self.others.len() - 1
        });
        Place::OfRow(1 + place)
    }

    fn place_of_top(&self, output: usize) -> Place {
        if output < self.keys.len() { Place::Key(output) } else { Place::OfRow(0) }
    }

    /// The aggregation, its rows one by one, and the join's columns of them; none if not just one key closes the groups.
    fn plan(&self, join: &Join) -> PlanResult<Option<LogicalPlan>> {
        let args: Vec<Expr> = std::iter::once(&self.value).chain(&self.others).cloned().collect();
        let fields = self.fields(&args)?;
        let call = internal_call(best_rows(self.largest), args, self.rows.schema())?;
        let aggregate = Aggregate::try_new(Arc::new(self.matching()?), self.keys.clone(), vec![call])?;
        if aggregate.schema.fields().iter().filter(|field| is_time(field)).count() != 1 {
            return Ok(None);
        }
        // The array of rows stands behind the keys.
        let mut columns = aggregate.schema.columns();
        let list = columns.split_off(self.keys.len()).into_iter().map(Expr::Column).next().unwrap_or_default();
        let each = generator::inline(&fields.iter().cloned().collect(), list, false);
        columns.extend(fields.iter().map(|field| Column::new(Some(TableReference::bare(BEST)), field.name())));
        let aggregate = Arc::new(LogicalPlan::Aggregate(aggregate));
        let rows = Generate::try_new(aggregate, each, false, Some(TableReference::bare(BEST)), fields)?;
        self.columns_of(join, &columns, extension(rows)).map(Some)
    }

    /// The join's columns of the keys and then what else is known of the best rows.
    fn columns_of(&self, join: &Join, columns: &[Column], rows: LogicalPlan) -> PlanResult<LogicalPlan> {
        let column = |place: &Place| match place {
            Place::Key(key) => columns[*key].clone(),
            Place::OfRow(field) => columns[self.keys.len() + field].clone(),
        };
        let named = |((qualifier, field), place): ((Option<&TableReference>, &FieldRef), &Place)| {
            Expr::Column(column(place)).alias_qualified(qualifier.cloned(), field.name())
        };
        let named = join.schema.iter().zip(&self.columns).map(named).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(rows))?))
    }

    /// The rows but for those that match nothing as a key of theirs is null; a window never is. As in the join, such rows move no watermark.
    fn matching(&self) -> PlanResult<LogicalPlan> {
        let conditions = self.keys.iter().filter(|key| !is_window(key, self.rows)).map(|key| key.clone().is_not_null());
        let rows = Arc::new(self.rows.clone());
        match conditions.reduce(Expr::and) {
            Some(condition) => Ok(LogicalPlan::Filter(Filter::try_new(condition, rows)?)),
            None => Ok(Arc::unwrap_or_clone(rows)),
        }
    }

    /// What the columns of a row are called in the array of best rows, with all that is known of them.
    fn fields(&self, args: &[Expr]) -> PlanResult<Vec<FieldRef>> {
        let field = |(number, arg): (usize, &Expr)| {
            let field = arg.to_field(self.rows.schema())?.1;
            Ok(Arc::new(field.as_ref().clone().with_name(format!("{BEST}_{number}")).with_nullable(true)))
        };
        args.iter().enumerate().map(field).collect()
    }

    /// Whether a time by which operators above could close stays one: as a key it does.
    fn keeps_times(&self, join: &Join) -> bool {
        let mut columns = join.schema.fields().iter().zip(&self.columns);
        columns.all(|(field, place)| !is_time(field) || matches!(place, Place::Key(_)))
    }
}

fn is_time(field: &FieldRef) -> bool {
    watermark_delay_millis(field).is_some()
}

/// What the columns of the best rows are qualified with, and begin with: no name of a user's.
const BEST: &str = "__best";
/// What windows are qualified with, as columns that a scan does not have.
const WINDOW: &str = "window";

/// An aggregation by keys that computes one `max` or `min`, and which of its columns a plan gives.
struct Tops<'a> {
    plan: &'a LogicalPlan,
    aggregate: &'a Aggregate,
    outputs: Vec<usize>,
    value: Expr,
    largest: bool,
}

impl<'a> Tops<'a> {
    fn of(plan: &'a LogicalPlan) -> Option<Self> {
        let (aggregate, outputs) = aggregate_below(plan)?;
        let ([call], false) = (aggregate.aggr_expr.as_slice(), aggregate.group_expr.is_empty()) else { return None };
        let call = as_stream_aggregate(call).filter(|call| call.filter.is_none() && !call.function.is_user())?;
        let largest = match call.function.name() {
            "max" => true,
            "min" => false,
            _ => return None,
        };
        let grouped = !aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
        let value = call.args.into_iter().next().filter(|_| grouped)?;
        Some(Tops { plan, aggregate, outputs, value, largest })
    }

    /// Which of the aggregation's columns this expression over the plan's is.
    fn place(&self, expr: &Expr) -> Option<usize> {
        let Expr::Column(column) = expr else { return None };
        Some(self.outputs[self.plan.schema().index_of_column(column).ok()?])
    }

    /// What is compared of a row with each of the aggregation's columns, over what lies below the rows. Each is, and is a column of the rows: by
    /// those a join drops rows that match nothing.
    fn keys(&self, rows: &LogicalPlan, outputs: &[Expr], pairs: &[(&Expr, &Expr)]) -> Option<Vec<Expr>> {
        let mut keys: Vec<Option<Expr>> = vec![None; self.aggregate.group_expr.len() + 1];
        for (of_row, of_top) in pairs {
            let Expr::Column(column) = of_row else { return None };
            keys[self.place(of_top)?] = Some(outputs[rows.schema().index_of_column(column).ok()?].clone());
        }
        keys.into_iter().collect()
    }

    /// The aggregation's column as an expression over the rows that it takes.
    fn over_input(&self, place: usize) -> &Expr {
        self.aggregate.group_expr.get(place).unwrap_or(&self.value)
    }
}

/// The aggregation that a plan only picks columns of, and which of them.
fn aggregate_below(plan: &LogicalPlan) -> Option<(&Aggregate, Vec<usize>)> {
    let (LogicalPlan::Aggregate(aggregate), outputs) = uncovered(plan)? else { return None };
    let pick = |output: &Expr| match output {
        Expr::Column(column) => aggregate.schema.index_of_column(column).ok(),
        _ => None,
    };
    Some((aggregate, outputs.iter().map(pick).collect::<Option<_>>()?))
}

/// Whether an expression has a value for all rows of a plan. In the join it is computed of fewer.
fn cannot_fail(expr: &Expr, plan: &LogicalPlan) -> bool {
    let whole = Lineage::of(plan).and_then(|lineage| lineage.over_scan(expr, plan.schema()));
    whole.is_some_and(|expr| !Kernel::may_fail(&expr))
}

/// Floats that are equal may differ: zeros have signs.
fn has_floats(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| contains_floats(&data_type))
}

/// Whether an expression is the window that a plan adds.
fn is_window(expr: &Expr, plan: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(node) = plan else { return false };
    let window = node.node.as_any().downcast_ref::<TimeWindow>();
    window.is_some_and(|window| *expr == Expr::Column(window.column()))
}

/// What lies below names and projections, and the plan's columns as expressions over it.
fn uncovered(plan: &LogicalPlan) -> Option<(&LogicalPlan, Vec<Expr>)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => uncovered(&alias.input),
        LogicalPlan::Projection(projection) => {
            let (core, below) = uncovered(&projection.input)?;
            let over = |expr| substituted(expr, projection.input.schema(), &below);
            Some((core, projection.expr.iter().map(over).collect::<Option<_>>()?))
        }
        core => Some((core, core.schema().columns().into_iter().map(Expr::Column).collect())),
    }
}

/// An expression over columns that are expressions themselves; none if it may have another value each time it is asked.
fn substituted(expr: &Expr, schema: &DFSchema, columns: &[Expr]) -> Option<Expr> {
    let plain = expr.clone().unalias_nested().data;
    if plain.is_volatile() || plain.contains_outer() {
        return None;
    }
    let of_column = |expr: Expr| match &expr {
        Expr::Column(column) => Ok(Transformed::yes(columns[schema.index_of_column(column)?].clone())),
        _ => Ok(Transformed::no(expr)),
    };
    plain.transform_up(of_column).ok().map(|expr| expr.data)
}

/// Whether the rows are those that the aggregation takes, and what must be equal of each row is the same expression of both.
fn same_rows(rows: &LogicalPlan, tops: &Tops<'_>, pairs: &[(&Expr, &Expr)]) -> Option<bool> {
    let (of_rows, of_tops) = (Lineage::of(rows)?, Lineage::of(&tops.aggregate.input)?);
    for (of_row, of_top) in pairs {
        let taken = tops.over_input(tops.place(of_top)?);
        if of_rows.over_scan(of_row, rows.schema())? != of_tops.over_scan(taken, tops.aggregate.input.schema())? {
            return Some(false);
        }
    }
    let is_scan_same = Arc::ptr_eq(&of_rows.scan.source, &of_tops.scan.source) && !drops_malformed(of_rows.scan);
    Some(is_scan_same && of_rows.steps == of_tops.steps)
}

/// Whether the columns that are read decide which rows there are.
fn drops_malformed(scan: &TableScan) -> bool {
    scanned(scan).is_some_and(|table| Mode::of(&table.source.options) == Mode::DropMalformed)
}

/// Where the rows of a plan come from: a scan, what leaves rows out or tells times on the way, and the plan's columns over those of the scan.
struct Lineage<'a> {
    scan: &'a TableScan,
    steps: Vec<Step>,
    columns: Vec<Expr>,
}

/// A step on the way. Expressions are over the columns of the scan, and windows (see [`Lineage::next_window`]).
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Keep(Expr),
    Watermark(u64, Expr),
    Window(Expr, Windows),
}

impl<'a> Lineage<'a> {
    fn of(plan: &'a LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => Some(Self::scan(scan)),
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input),
            LogicalPlan::Projection(projection) => {
                let below = Self::of(&projection.input)?;
                let over = |expr| below.over_scan(expr, projection.input.schema());
                let columns = projection.expr.iter().map(over).collect::<Option<_>>()?;
                Some(Lineage { columns, ..below })
            }
            LogicalPlan::Filter(filter) => {
                let mut below = Self::of(&filter.input)?;
                for condition in split_conjunction(&filter.predicate) {
                    let condition = below.over_scan(condition, filter.input.schema())?;
                    below.steps.push(Step::Keep(condition));
                }
                Some(below)
            }
            LogicalPlan::Extension(node) => Self::extension(node.node.as_any()),
            _ => None,
        }
    }

    fn scan(scan: &'a TableScan) -> Self {
        let columns = scan.projected_schema.fields().iter().map(|field| Expr::Column(Column::from_name(field.name())));
        Lineage { scan, steps: Vec::new(), columns: columns.collect() }
    }

    fn extension(node: &'a dyn std::any::Any) -> Option<Self> {
        if let Some(node) = node.downcast_ref::<Watermark>() {
            let mut below = Self::of(&node.input)?;
            let column = below.columns[node.index().ok()?].clone();
            below.steps.push(Step::Watermark(node.call, column));
            return Some(below);
        }
        let node = node.downcast_ref::<TimeWindow>()?;
        let mut below = Self::of(&node.input)?;
        let time = below.over_scan(&node.time, node.input.schema())?;
        below.columns.push(below.next_window());
        below.steps.push(Step::Window(time, node.windows()));
        Some(below)
    }

    /// The window of the next step that makes one, by a qualifier that no column of a scan has.
    fn next_window(&self) -> Expr {
        let number = self.steps.iter().filter(|step| matches!(step, Step::Window(..))).count();
        Expr::Column(Column::new(Some(TableReference::bare(WINDOW)), number.to_string()))
    }

    fn over_scan(&self, expr: &Expr, schema: &DFSchema) -> Option<Expr> {
        substituted(expr, schema, &self.columns)
    }
}
