//! Joins of streams with streams and with static tables.

use datafusion::common::JoinType;
use datafusion::logical_expr::Join;

use super::{Rules, is_aggregation, mode_error, refused, streaming_nodes};
use crate::plan::scan::is_streaming;
use crate::plan::time_range::JoinTimes;
use crate::sinks::OutputMode;
use crate::{Error, Result};

pub(super) fn check(join: &Join, mode: OutputMode, rules: Rules) -> Result<()> {
    match (is_streaming(&join.left), is_streaming(&join.right)) {
        (true, true) => stream_stream(join, mode, rules),
        (stream_left, _) => stream_static(join.join_type, stream_left),
    }
}

/// What is known only when subqueries have become joins: `NOT EXISTS` over a stream is an anti join.
///
/// # Errors
/// As for a join that was written as one.
pub(super) fn check_decorrelated(join: &Join, mode: OutputMode, rules: Rules) -> Result<()> {
    use JoinType::{Inner, LeftAnti, LeftMark, RightAnti, RightMark};
    match join.join_type {
        // `FROM a, b WHERE a.k = b.k`: only now the condition is one of the join.
        Inner if is_streaming(&join.left) && is_streaming(&join.right) => check_keyed(join, mode, rules),
        LeftAnti | LeftMark | RightAnti | RightMark => check(join, mode, rules),
        _ => Ok(()),
    }
}

fn aggregates(plan: &datafusion::logical_expr::LogicalPlan) -> bool {
    streaming_nodes(plan).iter().any(|node| is_aggregation(node))
}

fn stream_static(kind: JoinType, stream_left: bool) -> Result<()> {
    use JoinType::{Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    let legal = match kind {
        Inner => true,
        Left | LeftSemi | LeftAnti | LeftMark => stream_left,
        Right | RightSemi | RightAnti | RightMark => !stream_left,
        JoinType::Full => false,
    };
    if legal {
        return Ok(());
    }
    let side = if stream_left { "left" } else { "right" };
    Err(refused(format!("a {kind} join with a stream on the {side} and a static table on the other side"))
        .hint("The stream has to be the side that is preserved."))
}

fn stream_stream(join: &Join, mode: OutputMode, rules: Rules) -> Result<()> {
    if mode == OutputMode::Complete && !rules.lenient(mode) {
        return Err(mode_error(mode, "a join of two streams").hint("Use append mode."));
    }
    let aggregated = || [&join.left, &join.right].iter().any(|side| aggregates(side));
    if mode == OutputMode::Update && rules == Rules::Spark && aggregated() {
        return Err(refused("a join of streams over an aggregation in update mode").hint("Use append mode."));
    }
    match join.join_type {
        JoinType::Inner => {}
        JoinType::LeftAnti | JoinType::RightAnti | JoinType::RightSemi if rules.lenient(mode) => {}
        JoinType::Left | JoinType::Right | JoinType::Full | JoinType::LeftSemi => check_bounded(join, mode, rules)?,
        kind => return Err(refused(format!("a {kind} join of two streams"))),
    }
    match join.join_type {
        JoinType::Inner => Ok(()),
        _ => check_keyed(join, mode, rules),
    }
}

/// Something has to be equal on both sides.
fn check_keyed(join: &Join, mode: OutputMode, rules: Rules) -> Result<()> {
    if join.on.is_empty() && JoinTimes::equalities(join) == 0 && !rules.lenient(mode) {
        return Err(Error::query(
            "_LEGACY_ERROR_TEMP_1181",
            "a join of two streams without an equality predicate is not supported",
        )
        .hint("Add a condition of the form left.column = right.column."));
    }
    Ok(())
}

/// Where rows without match may be taken back, nothing has to bound the wait for one.
fn check_bounded(join: &Join, mode: OutputMode, rules: Rules) -> Result<()> {
    if rules.lenient(mode) {
        return Ok(());
    }
    let kind = join.join_type;
    if kind != JoinType::LeftSemi && mode != OutputMode::Append {
        return Err(
            refused(format!("a {kind} outer join of two streams in output mode '{mode:?}'")).hint("Use append mode.")
        );
    }
    let times = JoinTimes::of(join, rules == Rules::Spark)?;
    let bounded = match kind {
        JoinType::Left | JoinType::LeftSemi => times.bounds_matches_of_left(),
        JoinType::Right => times.bounds_matches_of_right(),
        _ => times.bounds_matches_of_left() || times.bounds_matches_of_right(),
    };
    if bounded {
        return Ok(());
    }
    Err(refused(format!("a {kind} outer join of two streams without a watermark in the join keys, or a watermark on the other side and a range condition"))
        .hint("Call with_watermark() on both sides and limit the times, e.g. right.time BETWEEN left.time AND left.time + INTERVAL 1 HOUR."))
}
