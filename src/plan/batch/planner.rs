//! From a logical plan with nodes of ours to DataFusion's physical plan.
//!
//! In: a static logical plan. Out: an `ExecutionPlan`. Watermarks disappear (a static plan has none that matter) and a
//! session aggregation becomes two halves: merging sessions, then DataFusion's own aggregation.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as PlanResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::arbitrary::ArbitraryStep;
use super::deduplicate::DeduplicateStep;
use super::in_order::in_order;
use super::kernels::{self, Expand};
use super::step::{MakeStep, Step, StepExec};
use super::windows::MergeSessionsStep;
use crate::functions::datetime::now;
use crate::plan::nodes::{ArbitraryState, Deduplicate, MergeSessions, SessionAggregate, Watermark, extension};
use crate::{Error, Result};

/// Rewrites the nodes that exist for streams only, and puts the time in.
pub(super) fn prepare(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(now::fix(plan, &now::this_instant())?
        .transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Extension(Extension { node: ours }) => Ok(match rewritten(ours.as_ref())? {
                Some(plan) => Transformed::yes(plan),
                None => Transformed::no(node),
            }),
            _ => Ok(Transformed::no(node)),
        })?
        .data)
}

fn rewritten(node: &dyn UserDefinedLogicalNode) -> PlanResult<Option<LogicalPlan>> {
    if let Some(watermark) = node.as_any().downcast_ref::<Watermark>() {
        return Ok(Some(watermark.input.as_ref().clone()));
    }
    match node.as_any().downcast_ref::<SessionAggregate>() {
        Some(aggregate) => Ok(Some(merged(aggregate)?)),
        None => Ok(None),
    }
}

/// Merging sessions and aggregating over the merged ones.
fn merged(node: &SessionAggregate) -> PlanResult<LogicalPlan> {
    let SessionAggregate { input, keys, session, aggregates, .. } = node.clone();
    let groups = keys.iter().cloned().chain([Expr::Column(session.clone())]).collect();
    let merged = extension(MergeSessions { input, keys, session });
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(merged), groups, aggregates)?))
}

/// DataFusion's planner with ours for the nodes it does not know.
#[derive(Debug)]
pub(super) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(NodePlanner)]);
        in_order(planner.create_physical_plan(plan, session).await?)
    }
}

/// Plans the nodes of [`crate::plan::nodes`].
struct NodePlanner;

/// What is at hand while a node is planned.
struct Planning<'a> {
    planner: &'a dyn PhysicalPlanner,
    schema: &'a DFSchema,
    session: &'a dyn Session,
    context: &'a PhysicalPlanningContext,
}

impl Planning<'_> {
    fn expr(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(self.planner.create_physical_expr(expr, self.schema, self.session, self.context)?)
    }
}

#[async_trait]
impl ExtensionPlanner for NodePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        if node.as_any().downcast_ref::<ArbitraryState>().is_some_and(|node| node.initial.is_some()) {
            return Err(Error::unsupported("an initial state in a query over static data").into());
        }
        let ([logical], [physical]) = (logical_inputs, physical_inputs) else {
            return Ok(None);
        };
        let planning = Planning { planner, schema: logical.schema().as_ref(), session, context };
        let schema = Arc::clone(node.schema().inner());
        let Some((name, make)) = step_of(node, &planning)? else { return Ok(None) };
        Ok(Some(Arc::new(StepExec::new(name, Arc::clone(physical), schema, make))))
    }
}

/// The step of each kind of node.
fn step_of(node: &dyn UserDefinedLogicalNode, planning: &Planning<'_>) -> Result<Option<(&'static str, MakeStep)>> {
    let node = node.as_any();
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("DeduplicateExec", deduplicate(node)?)));
    }
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("ArbitraryStateExec", arbitrary_state(node)?)));
    }
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("TimeWindowExec", expanding(kernels::time_window(node)?))));
    }
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("SessionWindowExec", expanding(kernels::session_window(node)?))));
    }
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("GenerateExec", expanding(kernels::generate(node)?))));
    }
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("MapItemsExec", expanding(kernels::map_items(node)))));
    }
    if let Some(node) = node.downcast_ref() {
        return Ok(Some(("MergeSessionsExec", merge_sessions(node, planning)?)));
    }
    Ok(None)
}

fn boxed<S: Step + 'static>(make: impl Fn() -> Result<S> + Send + Sync + 'static) -> MakeStep {
    Arc::new(move || Ok(Box::new(make()?)))
}

fn deduplicate(node: &Deduplicate) -> Result<MakeStep> {
    if node.within_watermark {
        let error =
            Error::query("_LEGACY_ERROR_TEMP_3102", "dropDuplicatesWithinWatermark needs a streaming DataFrame");
        return Err(error.hint("Use drop_duplicates()."));
    }
    let (columns, input) = (node.indexes()?, Arc::clone(node.input.schema()));
    Ok(boxed(move || {
        let types = columns.iter().map(|column| input.field(*column).data_type().clone()).collect();
        DeduplicateStep::try_new(columns.clone(), types)
    }))
}

fn arbitrary_state(node: &ArbitraryState) -> Result<MakeStep> {
    let node = node.clone();
    Ok(boxed(move || ArbitraryStep::try_new(&node)))
}

/// A stateless kernel as a step.
struct ExpandStep(Arc<dyn Expand>);

impl Step for ExpandStep {
    fn push(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        self.0.expand(&rows)
    }
}

fn expanding(kernel: Arc<dyn Expand>) -> MakeStep {
    boxed(move || Ok(ExpandStep(Arc::clone(&kernel))))
}

fn merge_sessions(node: &MergeSessions, planning: &Planning<'_>) -> Result<MakeStep> {
    let keys = node.keys.iter().map(|key| planning.expr(key)).collect::<Result<Vec<_>>>()?;
    let session = node.input.schema().index_of_column(&node.session)?;
    let schema = Arc::clone(node.input.schema().inner());
    Ok(boxed(move || {
        let (keys, schema) = (keys.clone(), Arc::clone(&schema));
        Ok(MergeSessionsStep { keys, session, schema, kept: Vec::new() })
    }))
}
