//! The optimizer of streaming plans: those of DataFusion's rules that keep a stream's meaning.
//!
//! In: a checked logical plan. Out: an equal plan with filters close to the sources and only the columns that are used. Rules
//! that count on finite inputs (limits pushed into unions, empty relations) are left out on purpose.

use std::sync::Arc;

use datafusion::common::Result as PlanResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};

use crate::Result;
use crate::functions::{access, conditional};
use crate::plan::scan::is_streaming;
use crate::plan::subqueries::MarkJoins;
use crate::plan::{best_rows, check, inferred};
use crate::sinks::OutputMode;

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;

/// Whether a join may be run as something else than a join, which keeps other state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joins {
    /// As the query says.
    AsWritten,
    /// As is cheapest.
    Cheapest,
}

impl From<check::Rules> for Joins {
    /// By Spark's rules no other operators run than Spark's.
    fn from(rules: check::Rules) -> Self {
        if rules == check::Rules::Spark { Joins::AsWritten } else { Joins::Cheapest }
    }
}

/// Optimizes a streaming plan whose results are put out in `mode`.
///
/// # Errors
/// What a constant expression fails with (e.g. `CAST_INVALID_INPUT`), or a bug.
pub fn optimize(plan: LogicalPlan, mode: OutputMode, joins: Joins) -> Result<LogicalPlan> {
    // `grouping(k)` becomes a bit of the grouping set's number.
    let plan = ResolveGroupingFunction::new().analyze(plan, &ConfigOptions::default())?;
    let context = OptimizerContext::new().with_max_passes(3);
    let plan = Optimizer::with_rules(rules()).optimize(plan, &context, |_, _| {})?;
    let plan = match (mode, joins) {
        (OutputMode::Append, Joins::Cheapest) => best_rows::aggregated(plan)?,
        _ => plan,
    };
    let plan = inferred::with_filters(plan)?;
    let last: [Arc<dyn OptimizerRule + Send + Sync>; 2] =
        [Arc::new(PushDownFilterInOrder::new()), Arc::new(OptimizeProjections::new())];
    Ok(Optimizer::with_rules(last.to_vec()).optimize(plan, &context, |_, _| {})?)
}

/// Replaces a function whose result is a struct by one that computes only the field that is taken of it, if there is such a
/// function ([`Kernel::part`]). Stands behind the push-down of filters, as in Spark, so that a filter on one field reads that
/// field.
#[derive(Debug)]
struct PartsOfStructs;

impl OptimizerRule for PartsOfStructs {
    fn name(&self) -> &str {
        "parts_of_structs"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
        let named = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = named.save(&expr);
            expr.transform_up(|expr| Ok(part(expr))).map(|expr| expr.update_data(|expr| name.restore(expr)))
        })
    }
}

/// DataFusion's push-down of filters, but of filters that meet the lower one is evaluated first, as in Spark: what it refuses
/// never comes to the upper one, which may fail on it.
#[derive(Debug)]
struct PushDownFilterInOrder(PushDownFilter);

impl PushDownFilterInOrder {
    fn new() -> Self {
        PushDownFilterInOrder(PushDownFilter::new())
    }
}

impl OptimizerRule for PushDownFilterInOrder {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
        self.0.rewrite(merged(plan)?, config)
    }
}

/// Filters over filters as one, the lowest condition first.
fn merged(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = plan else { return Ok(plan) };
    match merged(Arc::unwrap_or_clone(input))? {
        LogicalPlan::Filter(below) => {
            Ok(LogicalPlan::Filter(Filter::try_new(below.predicate.and(predicate), below.input)?))
        }
        input => Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)),
    }
}

/// Conditions joined by AND are evaluated in their order: one that may fail only where those before it do not decide.
#[derive(Debug)]
struct FiltersInOrder;

impl OptimizerRule for FiltersInOrder {
    fn name(&self) -> &str {
        "filters_in_order"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(Filter { predicate, input, .. }) = plan else { return Ok(Transformed::no(plan)) };
        let ordered = conditional::in_order(predicate.clone());
        let changed = ordered != predicate;
        Ok(Transformed::new_transformed(LogicalPlan::Filter(Filter::try_new(ordered, input)?), changed))
    }
}

/// `NOT IN` a table: a row goes on if no row of the table has the same value, and neither value is null. The joins of streams
/// know no null that equals everything, so the condition says it.
#[derive(Debug)]
struct NotInTable;

impl OptimizerRule for NotInTable {
    fn name(&self) -> &str {
        "not_in_table"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        if !join.null_aware || is_streaming(&join.right) {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let Join { left, right, on, filter, join_type, join_constraint, schema, null_equality, .. } = join;
        // The comparison that IN makes stands first, conditions of a correlated subquery behind it.
        let mut parts = on
            .into_iter()
            .map(|(left, right)| left.eq(right))
            .chain(filter.into_iter().flat_map(split_conjunction_owned));
        let compared = parts.next().map(or_null);
        let filter = compared.into_iter().chain(parts).reduce(Expr::and);
        let (on, null_aware) = (Vec::new(), false);
        let join = Join { left, right, on, filter, join_type, join_constraint, schema, null_equality, null_aware };
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }
}

/// An equality that also holds where a side is null.
fn or_null(equality: Expr) -> Expr {
    match equality {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (left, right) = (*left, *right);
            let nulls = left.clone().is_null().or(right.clone().is_null());
            left.eq(right).or(nulls)
        }
        other => other,
    }
}

fn part(expr: Expr) -> Transformed<Expr> {
    match access::narrowed(&expr) {
        Some(narrowed) => Transformed::yes(narrowed),
        None => Transformed::no(expr),
    }
}

/// DataFusion's rules for finite inputs, and ours.
pub fn batch_rules() -> Rules {
    let mut rules = Optimizer::new().rules;
    let in_order = PushDownFilterInOrder::new();
    if let Some(rule) = rules.iter_mut().find(|rule| rule.name() == in_order.name()) {
        *rule = Arc::new(in_order);
    }
    insert(&mut rules, CommonSubexprEliminate::new().name(), Arc::new(PartsOfStructs));
    insert(&mut rules, DecorrelatePredicateSubquery::new().name(), Arc::new(MarkJoins));
    rules.push(Arc::new(FiltersInOrder));
    rules
}

/// Puts a rule before the one of this name.
fn insert(rules: &mut Rules, before: &str, rule: Arc<dyn OptimizerRule + Send + Sync>) {
    let place = rules.iter().position(|rule| rule.name() == before).unwrap_or(rules.len());
    rules.insert(place, rule);
}

fn rules() -> Rules {
    vec![
        Arc::new(SimplifyExpressions::new()),
        // An outer join whose padded rows are filtered out again is an inner one; its filters can then go below watermarks.
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(MarkJoins),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(NotInTable),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PushDownFilterInOrder::new()),
        Arc::new(PartsOfStructs),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}
