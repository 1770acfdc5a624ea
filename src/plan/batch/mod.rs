//! Batch queries: a static plan runs on DataFusion, from beginning to end, in the caller's order of rows.
//!
//! In: a logical plan without streaming scans. Out: record batches. One partition, so that rows keep the order of files
//! and lines where Spark's do. The nodes of [`super::nodes`] become steps over record batches.

mod arbitrary;
mod deduplicate;
pub(crate) mod generators;
mod in_order;
pub mod kernels;
mod planner;
pub(crate) mod scan;
mod step;
mod windows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

use crate::conf::Conf;
use crate::plan::scan::is_streaming;
use crate::plan::subqueries;
use crate::{Error, Result};

/// A DataFusion context for one query under these settings.
pub fn context(conf: &Conf) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(1).with_extension(Arc::new(conf.clone()));
    config.options_mut().execution.time_zone = Some(conf.time_zone().to_string());
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(crate::plan::optimize::batch_rules())
        .with_physical_optimizer_rules(physical_rules())
        .with_query_planner(Arc::new(planner::Planner))
        .build();
    SessionContext::new_with_state(state)
}

/// DataFusion's rules for physical plans but one: what pushes projections into tables of rows forgets the variables of lambdas, and the
/// logical plan has done that work already.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != ProjectionPushdown::new().name());
    rules
}

/// Runs a static plan; rows come as they are made.
///
/// # Errors
/// If the plan reads a stream, cannot be planned, or its first step fails; later failures come in the stream.
pub async fn stream(plan: LogicalPlan, conf: &Conf) -> Result<SendableRecordBatchStream> {
    if is_streaming(&plan) {
        let error = Error::query("_LEGACY_ERROR_TEMP_3102", "queries with streaming sources must be started");
        return Err(error.hint("Use write_stream() and start()."));
    }
    let plan = subqueries::settle(plan, conf).await?;
    let context = context(conf);
    let (_, physical) = planned(plan, &context).await?;
    execute(physical, &context)
}

/// The optimized and the physical plan.
async fn planned(plan: LogicalPlan, context: &SessionContext) -> Result<(LogicalPlan, Arc<dyn ExecutionPlan>)> {
    let (state, plan) = (context.state(), planner::prepare(plan)?);
    let optimized = subqueries::attached(&plan, state.optimize(&plan))?;
    let physical = state.query_planner().create_physical_plan(&optimized, &state).await?;
    Ok((optimized, physical))
}

fn execute(physical: Arc<dyn ExecutionPlan>, context: &SessionContext) -> Result<SendableRecordBatchStream> {
    let single = physical.output_partitioning().partition_count() == 1;
    let whole = if single { physical } else { Arc::new(in_order::InOrderExec::new(physical)) };
    Ok(whole.execute(0, context.task_ctx())?)
}

/// Runs a static plan and keeps all its rows.
///
/// # Errors
/// As [`stream`], and whatever fails while it runs.
pub async fn collect(plan: LogicalPlan, conf: &Conf) -> Result<Vec<RecordBatch>> {
    let mut rows = stream(plan, conf).await?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// As [`collect`], for callers that may block.
///
/// # Errors
/// As [`collect`].
pub fn collect_blocking(plan: LogicalPlan, conf: &Conf) -> Result<Vec<RecordBatch>> {
    crate::blocking::block_on(collect(plan, conf))
}

/// The optimized and the physical plan of a static query as text.
///
/// # Errors
/// If the plan cannot be planned.
pub fn explain_blocking(plan: LogicalPlan, conf: &Conf) -> Result<String> {
    crate::blocking::block_on(async move {
        let (optimized, physical) = planned(plan, &context(conf)).await?;
        let shown = datafusion::physical_plan::displayable(physical.as_ref()).indent(false).to_string();
        Ok(format!("== Optimized Plan ==\n{}\n\n== Physical Plan ==\n{shown}", optimized.display_indent()))
    })
}
