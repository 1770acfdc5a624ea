//! The pipe syntax: `FROM t |> WHERE c |> AGGREGATE sum(v) GROUP BY k |> SELECT ...`.
//!
//! In: a plan and the operators behind it, in their order. Out: the plan with them on top. Each operator sees the columns, and their
//! qualifiers, that the one before it gives.

use datafusion::common::JoinType;
use datafusion::logical_expr::LogicalPlan;

use super::ast::{
    Assignment, AssignmentTarget, Expr as Tree, ExprWithAliasAndOrderBy, Ident, PipeOperator, Query, SelectItem,
    SetOperator, SetQuantifier, TableFactor, TableSample, TableSampleQuantity, TableSampleUnit,
    WildcardAdditionalOptions,
};
use super::binder::Binder;
use super::names::{self, column_at};
use super::pivot::Pivot;
use super::query::bounded;
use super::relation::{as_aggregate, kind_of, on, parts_of, qualified};
use super::{grouping, parse_expression, selection};
use crate::plan::scan::is_streaming;
use crate::{Error, Result};

impl Binder<'_> {
    /// One operator over a plan.
    ///
    /// # Errors
    /// Spark's analysis errors.
    pub(super) fn pipe(&self, plan: LogicalPlan, operator: &PipeOperator) -> Result<LogicalPlan> {
        match operator {
            PipeOperator::Where { expr } => self.filter(plan, expr),
            PipeOperator::Select { exprs } => self.pipe_select(plan, exprs),
            PipeOperator::Extend { exprs } => self.pipe_select(plan, &[&[star()], exprs.as_slice()].concat()),
            PipeOperator::Set { assignments } => {
                assignments.iter().try_fold(plan, |plan, set| self.pipe_set(plan, set))
            }
            PipeOperator::Drop { columns } => without(plan, columns),
            PipeOperator::As { alias } => qualified(plan, &alias.value),
            PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
                self.pipe_aggregate(plan, full_table_exprs, group_by_expr)
            }
            PipeOperator::OrderBy { exprs } => self.order_by(plan, exprs),
            PipeOperator::Limit { expr, offset } => bounded(plan, offset.as_ref(), Some(expr)),
            PipeOperator::Union { set_quantifier, queries } => {
                self.pipe_set_operation(plan, SetOperator::Union, set_quantifier, queries)
            }
            PipeOperator::Intersect { set_quantifier, queries } => {
                self.pipe_set_operation(plan, SetOperator::Intersect, set_quantifier, queries)
            }
            PipeOperator::Except { set_quantifier, queries } => {
                self.pipe_set_operation(plan, SetOperator::Except, set_quantifier, queries)
            }
            PipeOperator::Join(join) => {
                let (kind, constraint) = kind_of(&join.join_operator)?;
                self.join_factor(plan, &join.relation, kind, on(constraint))
            }
            PipeOperator::TableSample { sample } => self.sampled(plan, sample),
            PipeOperator::Pivot { aggregate_functions, value_column, value_source, alias } => {
                let column = Tree::CompoundIdentifier(value_column.clone());
                let pivot = Pivot::of(&[column], value_source)?;
                let aggregates: Vec<SelectItem> = aggregate_functions.iter().map(as_aggregate).collect();
                under(self.pivot(plan, None, &aggregates, &pivot)?, alias.as_ref())
            }
            other => Err(Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{other}'"))),
        }
    }

    /// Items of a list without aggregate functions.
    fn pipe_select(&self, plan: LogicalPlan, items: &[SelectItem]) -> Result<LogicalPlan> {
        let items = self.items(items, &plan)?;
        if grouping::is_global(&items, None) {
            let message = "aggregate functions belong into the AGGREGATE operator";
            return Err(Error::query("PIPE_OPERATOR_CONTAINS_AGGREGATE_FUNCTION", message));
        }
        selection::project(plan, items)
    }

    /// `SET column = value`: the column keeps its place.
    fn pipe_set(&self, plan: LogicalPlan, assignment: &Assignment) -> Result<LogicalPlan> {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(Error::query("PARSE_SYNTAX_ERROR", "SET takes one column at a time"));
        };
        let place = place_of(&plan, &parts_of(name).pop().unwrap_or_default())?;
        let value = self.expression(&assignment.value, &plan)?.unalias().alias(plan.schema().field(place).name());
        let exprs = (0..plan.schema().fields().len()).map(|at| match at == place {
            true => value.clone(),
            false => column_at(plan.schema(), at),
        });
        let exprs = exprs.collect();
        names::project(plan, exprs)
    }

    fn pipe_aggregate(
        &self,
        plan: LogicalPlan,
        aggregates: &[ExprWithAliasAndOrderBy],
        keys: &[ExprWithAliasAndOrderBy],
    ) -> Result<LogicalPlan> {
        let item = |item: &ExprWithAliasAndOrderBy| as_aggregate(&item.expr);
        let (keys, items): (Vec<_>, Vec<_>) = (keys.iter().map(item).collect(), aggregates.iter().map(item).collect());
        let bound = self.items(&items, &plan)?;
        if let Some(plain) = bound.iter().find(|item| !grouping::is_global(std::slice::from_ref(item), None)) {
            let message = format!("'{}' is no aggregate function", plain.default_name);
            return Err(Error::query("PIPE_OPERATOR_AGGREGATE_EXPRESSION_CONTAINS_NO_AGGREGATE_FUNCTION", message));
        }
        if keys.is_empty() { self.select(plan, &items) } else { self.aggregate(plan, &keys, &items) }
    }

    fn pipe_set_operation(
        &self,
        plan: LogicalPlan,
        operator: SetOperator,
        quantifier: &SetQuantifier,
        queries: &[Query],
    ) -> Result<LogicalPlan> {
        queries.iter().try_fold(plan, |plan, query| self.combined(plan, self.query(query)?, operator, quantifier))
    }

    /// `TABLESAMPLE (n PERCENT | n ROWS | BUCKET x OUT OF y) [REPEATABLE (seed)]`.
    ///
    /// # Errors
    /// A stream; `INVALID_LIMIT_LIKE_EXPRESSION.*` for a number of rows; `PARSE_SYNTAX_ERROR` for a share that is not between 0 and 1.
    pub(super) fn sampled(&self, plan: LogicalPlan, sample: &TableSample) -> Result<LogicalPlan> {
        if is_streaming(&plan) {
            return Err(Error::query("_LEGACY_ERROR_TEMP_3102", "sampling is not supported on a stream")
                .hint("Filter by a column, or by rand()."));
        }
        let share = match (&sample.quantity, &sample.bucket) {
            (Some(TableSampleQuantity { value, unit: Some(TableSampleUnit::Rows), .. }), _) => {
                return bounded(plan, None, Some(value));
            }
            (Some(TableSampleQuantity { value, unit: Some(TableSampleUnit::Percent), .. }), _) => {
                number(&value.to_string())? / 100.0
            }
            (None, Some(bucket)) => number(&bucket.bucket.to_string())? / number(&bucket.total.to_string())?,
            _ => return Err(Error::query("PARSE_SYNTAX_ERROR", "TABLESAMPLE needs PERCENT, ROWS or BUCKET")),
        };
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::query(
                "PARSE_SYNTAX_ERROR",
                format!("a sample should be between 0 and 1 but is {share}"),
            ));
        }
        let seed = sample.seed.as_ref().map(|seed| seed.value.to_string()).unwrap_or_default();
        self.filter(plan, &parse_expression(&format!("rand({seed}) < {share}D"))?)
    }

    /// A join with a relation, which sees the columns of `left` if it is a LATERAL subquery.
    ///
    /// # Errors
    /// Spark's analysis errors.
    pub(super) fn join_factor(
        &self,
        left: LogicalPlan,
        right: &TableFactor,
        kind: JoinType,
        on: super::join::On,
    ) -> Result<LogicalPlan> {
        let right = match right {
            TableFactor::Derived { subquery, alias, lateral: true, .. } => {
                self.lateral_subquery(&left, subquery, alias.as_ref())?
            }
            other => self.factor(other)?,
        };
        self.join(left, right, kind, on)
    }
}

fn star() -> SelectItem {
    SelectItem::Wildcard(WildcardAdditionalOptions::default())
}

fn number(text: &str) -> Result<f64> {
    let wrong = |_| Error::query("PARSE_SYNTAX_ERROR", format!("TABLESAMPLE needs a number, not '{text}'"));
    text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().map_err(wrong)
}

fn under(plan: LogicalPlan, alias: Option<&Ident>) -> Result<LogicalPlan> {
    match alias {
        Some(alias) => qualified(plan, &alias.value),
        None => Ok(plan),
    }
}

/// Where the column of this name is.
fn place_of(plan: &LogicalPlan, name: &str) -> Result<usize> {
    let place = plan.schema().fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
    place.ok_or_else(|| super::unresolved(&[name], plan.schema()))
}

/// The plan without these columns.
fn without(plan: LogicalPlan, columns: &[Ident]) -> Result<LogicalPlan> {
    let dropped = columns.iter().map(|column| place_of(&plan, &column.value)).collect::<Result<Vec<_>>>()?;
    let kept = (0..plan.schema().fields().len()).filter(|at| !dropped.contains(at));
    let exprs = kept.map(|at| column_at(plan.schema(), at)).collect();
    names::project(plan, exprs)
}
