//! What can be told only of an optimized plan: subqueries that became joins of streams, and rows with more than one event time.
//!
//! In: an optimized plan; columns that nobody uses are gone, and do not count. Spark refuses several event times where an operator would
//! have to choose by which it closes; by our rules the first counts.

use datafusion::common::DFSchema;
use datafusion::logical_expr::LogicalPlan;

use super::{Rules, join, streaming_nodes};
use crate::plan::nodes::{Deduplicate, watermark_delay_millis};
use crate::plan::scan::is_streaming;
use crate::sinks::OutputMode;
use crate::{Error, Result};

/// Checks an optimized plan.
///
/// # Errors
/// `MULTIPLE_EVENT_TIME_COLUMNS`, and those of joins.
pub fn check_optimized(plan: &LogicalPlan, mode: OutputMode, rules: Rules) -> Result<()> {
    for node in streaming_nodes(plan) {
        if let LogicalPlan::Join(join) = node {
            join::check_decorrelated(join, mode, rules)?;
        }
    }
    if rules != Rules::Spark {
        return Ok(());
    }
    streaming_nodes(plan).into_iter().try_for_each(|node| match node {
        LogicalPlan::Aggregate(aggregate) if mode != OutputMode::Complete => {
            one_of(&aggregate.schema, aggregate.group_expr.len())
        }
        LogicalPlan::Join(join) if is_streaming(&join.left) && is_streaming(&join.right) => {
            one_of(join.left.schema(), usize::MAX)?;
            one_of(join.right.schema(), usize::MAX)
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<Deduplicate>() {
            Some(deduplicate) => one_of(deduplicate.input.schema(), usize::MAX),
            None => Ok(()),
        },
        _ => Ok(()),
    })
}

/// At most one of the first `count` columns has a watermark.
fn one_of(schema: &DFSchema, count: usize) -> Result<()> {
    let times = schema.fields().iter().take(count).filter(|field| watermark_delay_millis(field).is_some());
    let names: Vec<&str> = times.map(|field| field.name().as_str()).collect();
    match names.as_slice() {
        [] | [_] => Ok(()),
        names => Err(Error::query(
            "MULTIPLE_EVENT_TIME_COLUMNS",
            format!("there is more than one event time: {}", names.join(", ")),
        )
        .hint("Leave out all but one before this step.")),
    }
}
