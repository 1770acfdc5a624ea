//! From a query as it was written to the dataflow that runs it.
//!
//! In: a start's request, and its branch for late rows. Out: a [`Planned`]. What always holds: a query that can go on with the state that its
//! checkpoint has does: where this version would run a join as something else, and the checkpoint was begun with the join, it stays one.

use datafusion::logical_expr::LogicalPlan;

use super::fingerprint::stateful_operators;
use super::late::LateBranch;
use super::start::StartRequest;
use crate::functions::datetime::now::{self, BatchTime};
use crate::plan::check::{self, Rules};
use crate::plan::dataflow::DataflowPlan;
use crate::plan::lower::{self, Wanted};
use crate::plan::optimize::{self, Joins};
use crate::plan::subqueries::settle_blocking;
use crate::{Result, checkpoint};

/// A query, checked and planned.
pub(super) struct Planned {
    /// For `explain()`.
    pub optimized: LogicalPlan,
    pub plan: DataflowPlan,
}

impl Planned {
    /// The kinds of its operators with state, in order.
    fn kinds(&self) -> Vec<String> {
        stateful_operators(&self.plan).into_iter().map(|operator| operator.kind).collect()
    }
}

/// What a query is planned from.
pub(super) struct Planner<'a> {
    pub request: &'a StartRequest,
    pub late: Option<&'a LateBranch>,
    pub rules: Rules,
    pub time: &'a BatchTime,
}

impl Planner<'_> {
    /// The plan for a query that begins, or goes on with what this checkpoint has.
    ///
    /// # Errors
    /// Whatever is wrong with the query; a checkpoint that cannot be read.
    pub fn plan(&self, checkpoint: Option<&str>) -> Result<Planned> {
        let whole = self.late.map_or(&self.request.plan, |late| &late.plan).clone();
        let whole = settle_blocking(whole, &self.request.conf)?;
        let planned = self.with(&whole, self.rules.into())?;
        let before = checkpoint.map(checkpoint::kinds_of_operators).transpose()?.flatten();
        let Some(before) = before.filter(|before| *before != planned.kinds()) else { return Ok(planned) };
        let as_written = self.with(&whole, Joins::AsWritten)?;
        Ok(if before == as_written.kinds() { as_written } else { planned })
    }

    fn with(&self, whole: &LogicalPlan, joins: Joins) -> Result<Planned> {
        let Planner { request, late, rules, time } = *self;
        let optimized = optimize::optimize(whole.clone(), request.mode, joins)?;
        check::check_optimized(&optimized, request.mode, rules)?;
        let fixed = now::fix(optimized.clone(), time)?;
        let wanted = Wanted { mode: request.mode, changelog: request.changelog, as_spark: rules == Rules::Spark };
        let plan = match late {
            Some(late) => late.lower(&fixed, wanted, time)?,
            None => lower::lower(&fixed, wanted)?,
        };
        Ok(Planned { optimized, plan })
    }
}
