//! Is this legal on a stream in this output mode? Refuses, before anything runs, what Spark refuses, with Spark's condition
//! and a hint. Rules as in Spark's `UnsupportedOperationChecker` (see the conformance corpus, area `errors`).
//!
//! In: an analysed logical plan, an output mode, and [`Rules`]: what Spark refuses though it has a meaning in update or complete
//! mode runs here, unless the session asks for Spark's rules.

mod arbitrary;
mod event_times;
mod join;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, Limit, LogicalPlan, SkipType, Sort};

pub use event_times::check_optimized;

use super::grouping_sets::event_time_key;
use super::nodes::{ArbitraryState, Deduplicate, PIVOT, SessionAggregate, event_time_index, watermark_delay_millis};
use super::scan::is_streaming;
use crate::conf::Conf;
use crate::functions::aggregate::as_stream_aggregate;
use crate::sinks::OutputMode;
use crate::{Error, Result};

/// What a query is checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// What has a meaning runs; in append mode nothing that is not final.
    Meaning,
    /// Exactly what Spark refuses is refused.
    Spark,
}

impl Rules {
    /// `spark.sql.streaming.unsupportedOperationCheck`: Spark's rules if it is set to true; unset, what has a meaning runs.
    ///
    /// # Errors
    /// A value that is no boolean.
    pub fn of(conf: &Conf) -> Result<Self> {
        let strict = conf.flag("spark.sql.streaming.unsupportedOperationCheck", false)?;
        Ok(if strict { Rules::Spark } else { Rules::Meaning })
    }

    /// Whether Spark refuses in this mode what we run.
    fn lenient(self, mode: OutputMode) -> bool {
        self == Rules::Meaning && mode != OutputMode::Append
    }
}

/// Checks a streaming query.
///
/// # Errors
/// The first thing that is not allowed.
pub fn check(plan: &LogicalPlan, mode: OutputMode, rules: Rules) -> Result<()> {
    if !is_streaming(plan) {
        return Err(Error::query(
            "WRITE_STREAM_NOT_ALLOWED",
            "write_stream() can be called only on a streaming DataFrame",
        )
        .hint("Use read_stream() for its source, or write() for a static result."));
    }
    let nodes = streaming_nodes(plan);
    let aggregations = nodes.iter().filter(|node| is_aggregation(node)).count();
    let lenient = rules.lenient(mode);
    if mode == OutputMode::Complete && aggregations == 0 && !lenient {
        return Err(mode_error(mode, "a query without aggregation").hint("Use append or update mode, or aggregate."));
    }
    if aggregations > 1 && mode != OutputMode::Append && chained(plan) && !lenient {
        return Err(refused(format!("several chained aggregations in output mode '{mode:?}'"))
            .hint("Use append mode with a watermark."));
    }
    if rules == Rules::Spark && mode != OutputMode::Append && nodes.iter().any(|node| is_pivot(node)) {
        return Err(refused("PIVOT"));
    }
    if mode == OutputMode::Append {
        nodes.iter().try_for_each(|node| check_final(node))?;
    }
    nodes.iter().try_for_each(|node| check_node(node, mode, rules))?;
    arbitrary::check_all(plan, mode)
}

/// What append mode asks of aggregations, before anything else is looked at.
fn check_final(node: &LogicalPlan) -> Result<()> {
    match node {
        LogicalPlan::Aggregate(aggregate) if event_time_key(aggregate)?.is_none() => Err(without_watermark()),
        LogicalPlan::Join(join) if is_except(join) => Err(Error::query(
            "UNSUPPORTED_STREAMING_OPERATOR_WITHOUT_WATERMARK",
            "output mode 'Append' is not supported for EXCEPT, which aggregates, on a stream without watermark",
        )
        .hint("Use update mode.")),
        LogicalPlan::Distinct(distinct) => check_distinct(distinct, OutputMode::Append),
        _ => Ok(()),
    }
}

fn is_pivot(node: &LogicalPlan) -> bool {
    node.schema().metadata().contains_key(PIVOT)
}

/// EXCEPT is planned as an anti join in which nulls are equal.
fn is_except(join: &Join) -> bool {
    join.join_type == JoinType::LeftAnti
        && join.null_equality == NullEquality::NullEqualsNull
        && is_streaming(&join.left)
        && !is_streaming(&join.right)
        && event_time_index(join.left.schema()).is_none()
}

/// INTERSECT is planned as a semi join in which nulls are equal.
fn is_intersect(join: &Join) -> bool {
    join.join_type == JoinType::LeftSemi
        && join.null_equality == NullEquality::NullEqualsNull
        && is_streaming(&join.left) != is_streaming(&join.right)
}

fn check_node(node: &LogicalPlan, mode: OutputMode, rules: Rules) -> Result<()> {
    let lenient = rules.lenient(mode);
    match node {
        LogicalPlan::Aggregate(aggregate) => check_aggregate(aggregate, mode, rules),
        LogicalPlan::Distinct(distinct) => check_distinct(distinct, mode),
        LogicalPlan::Window(_) if lenient => Ok(()),
        LogicalPlan::Window(_) => Err(Error::query(
            "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING",
            "window functions over anything but time are not supported on a stream",
        )
        .hint("Group by window(...) instead.")),
        LogicalPlan::Sort(sort) => check_sort(sort, mode, rules),
        LogicalPlan::Limit(_) if mode == OutputMode::Update && !lenient => {
            Err(refused("limit in update mode").hint("Use append or complete mode."))
        }
        LogicalPlan::Limit(limit) if rules == Rules::Spark && skips(limit) => Err(refused("OFFSET")),
        LogicalPlan::Join(join) if rules == Rules::Spark && is_intersect(join) => {
            Err(refused("INTERSECT of a stream and a table"))
        }
        LogicalPlan::Join(join) => join::check(join, mode, rules),
        LogicalPlan::Union(union) if !union.inputs.iter().all(|input| is_streaming(input)) => {
            Err(refused("union of a stream with a static table"))
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any() {
            any if any.is::<SessionAggregate>() => check_session(any.downcast_ref(), mode, rules),
            any if any.is::<Deduplicate>() => check_deduplicate(any.downcast_ref()),
            any if any.is::<ArbitraryState>() => arbitrary::check(any.downcast_ref()),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn skips(limit: &Limit) -> bool {
    !matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
}

fn check_aggregate(aggregate: &Aggregate, mode: OutputMode, rules: Rules) -> Result<()> {
    if rules == Rules::Spark && aggregate.aggr_expr.iter().any(is_distinct) {
        return Err(refused("distinct aggregations").hint("Use approx_count_distinct() instead."));
    }
    if mode == OutputMode::Append && event_time_key(aggregate)?.is_none() {
        return Err(without_watermark());
    }
    let after_outer = || streaming_nodes(&aggregate.input).iter().any(|node| is_outer_join(node));
    if mode != OutputMode::Append && !rules.lenient(mode) && after_outer() {
        return Err(refused(format!("aggregation after an outer join of streams in output mode '{mode:?}'"))
            .hint("Use append mode."));
    }
    Ok(())
}

fn without_watermark() -> Error {
    mode_error(OutputMode::Append, "streaming aggregations without watermark")
        .hint("Call with_watermark() and group by the event time or a window of it, or use update or complete mode.")
}

/// SQL's `SELECT DISTINCT` is an aggregation over all columns.
fn check_distinct(distinct: &Distinct, mode: OutputMode) -> Result<()> {
    match mode {
        OutputMode::Append if event_time_index(distinct.input().schema()).is_none() => Err(without_watermark()),
        _ => Ok(()),
    }
}

fn check_sort(sort: &Sort, mode: OutputMode, rules: Rules) -> Result<()> {
    let aggregated = || streaming_nodes(&sort.input).iter().any(|node| is_aggregation(node));
    match mode {
        OutputMode::Complete if rules.lenient(mode) || aggregated() => Ok(()),
        // In update mode the order says which rows there are, under a LIMIT; without one lowering refuses.
        OutputMode::Update if rules.lenient(mode) => Ok(()),
        _ => Err(refused("sorting, unless it is in complete mode after an aggregation")),
    }
}

fn check_session(session: Option<&SessionAggregate>, mode: OutputMode, rules: Rules) -> Result<()> {
    let Some(session) = session else { return Ok(()) };
    if rules == Rules::Spark {
        check_session_as_spark(session, mode)?;
    }
    let field = session.input.schema().field(session.session_index()?);
    if mode == OutputMode::Append && watermark_delay_millis(field).is_none() {
        return Err(without_watermark());
    }
    if rules == Rules::Spark { check_session_keys(session) } else { Ok(()) }
}

/// What Spark refuses though it has a meaning.
fn check_session_as_spark(session: &SessionAggregate, mode: OutputMode) -> Result<()> {
    if mode == OutputMode::Update {
        return Err(mode_error(mode, "session windows").hint("Use append or complete mode."));
    }
    if session.aggregates.iter().any(is_distinct) {
        return Err(refused("distinct aggregations").hint("Use approx_count_distinct() instead."));
    }
    Ok(())
}

/// Spark finds out when it plans the query, after all that the output mode refuses.
fn check_session_keys(session: &SessionAggregate) -> Result<()> {
    let keys_vary = session.keys.iter().any(|key| !matches!(key.clone().unalias(), Expr::Literal(..)));
    if !keys_vary {
        return Err(Error::query(
            "_LEGACY_ERROR_TEMP_3068",
            "a session window without another grouping key is not supported on a stream",
        )
        .hint("Add a key that is not constant to the groupBy."));
    }
    Ok(())
}

fn check_deduplicate(deduplicate: Option<&Deduplicate>) -> Result<()> {
    let Some(deduplicate) = deduplicate else { return Ok(()) };
    if deduplicate.within_watermark && event_time_index(deduplicate.input.schema()).is_none() {
        return Err(
            refused("dropDuplicatesWithinWatermark without a watermark").hint("Call with_watermark() before it.")
        );
    }
    Ok(())
}

/// The nodes of a plan that stand over a stream, the plan itself first.
pub(in crate::plan) fn streaming_nodes(plan: &LogicalPlan) -> Vec<&LogicalPlan> {
    let mut nodes = Vec::new();
    let visited = plan.apply(|node| {
        if !is_streaming(node) {
            return Ok(TreeNodeRecursion::Jump);
        }
        nodes.push(node);
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    nodes
}

pub(in crate::plan) fn is_aggregation(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::Extension(extension) => extension.node.as_any().is::<SessionAggregate>(),
        _ => false,
    }
}

/// True if the operator of this node keeps state.
fn is_stateful(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Join(join) => is_streaming(&join.left) && is_streaming(&join.right),
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Extension(extension) => {
            let any = extension.node.as_any();
            any.is::<Deduplicate>() || any.is::<ArbitraryState>() || is_aggregation(node)
        }
        _ => is_aggregation(node),
    }
}

fn is_outer_join(node: &LogicalPlan) -> bool {
    use datafusion::common::JoinType::{Full, Left, Right};
    let LogicalPlan::Join(join) = node else { return false };
    let both = is_streaming(&join.left) && is_streaming(&join.right);
    both && matches!(join.join_type, Left | Right | Full)
}

/// True if one aggregation stands over another.
fn chained(plan: &LogicalPlan) -> bool {
    let over = |node: &&LogicalPlan| {
        is_aggregation(node) && streaming_nodes(node).iter().skip(1).any(|below| is_aggregation(below))
    };
    streaming_nodes(plan).iter().any(over)
}

fn is_distinct(expr: &Expr) -> bool {
    let mut distinct = false;
    let visited = expr.apply(|e| {
        distinct |= matches!(e, Expr::AggregateFunction(_)) && as_stream_aggregate(e).is_some_and(|call| call.distinct);
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    distinct
}

/// Spark's `AnalysisException` without a condition of its own.
pub(in crate::plan) fn refused(what: impl std::fmt::Display) -> Error {
    Error::query("_LEGACY_ERROR_TEMP_3102", format!("{what} is not supported on a stream"))
}

pub(super) fn mode_error(mode: OutputMode, what: &str) -> Error {
    Error::query(
        "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
        format!("output mode '{mode:?}' is not supported for {what}"),
    )
}
