//! One physical operator for all nodes that DataFusion lacks: it feeds record batches through a [`Step`].
//!
//! In: the rows of one partition. Out: what the step makes of them, in order. A step sees each batch once and is told
//! when the input ends; it is made anew for each run.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{Distribution, EquivalenceProperties};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;

use crate::Result;

/// What one node does to rows. Kept state lives in the step.
pub(super) trait Step: Send {
    /// Takes a batch; gives the rows that can be given now.
    fn push(&mut self, rows: RecordBatch) -> Result<RecordBatch>;

    /// The input ended; gives what is left.
    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        Ok(None)
    }
}

/// Makes a fresh step for a run.
pub(super) type MakeStep = Arc<dyn Fn() -> Result<Box<dyn Step>> + Send + Sync>;

/// Runs a [`Step`] over its one input.
pub(super) struct StepExec {
    name: &'static str,
    input: Arc<dyn ExecutionPlan>,
    make: MakeStep,
    properties: Arc<PlanProperties>,
}

impl StepExec {
    /// A step called `name` that makes rows of `schema`.
    pub(super) fn new(name: &'static str, input: Arc<dyn ExecutionPlan>, schema: SchemaRef, make: MakeStep) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { name, input, make, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for StepExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.name, self.input)
    }
}

impl DisplayAs for StepExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl ExecutionPlan for StepExec {
    fn name(&self) -> &str {
        self.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(self.name, input, self.schema(), Arc::clone(&self.make))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let running = Running { input, step: (self.make)()?, ended: false };
        let rows =
            futures::stream::unfold(
                running,
                |mut running| async move { running.next().await.map(|rows| (rows, running)) },
            );
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// A run of a step.
struct Running {
    input: SendableRecordBatchStream,
    step: Box<dyn Step>,
    ended: bool,
}

impl Running {
    async fn next(&mut self) -> Option<PlanResult<RecordBatch>> {
        while !self.ended {
            let made = match self.input.next().await {
                Some(Ok(rows)) => self.step.push(rows).map(Some),
                Some(Err(error)) => return self.fail(error),
                None => {
                    self.ended = true;
                    self.step.finish()
                }
            };
            match made {
                Ok(Some(rows)) if rows.num_rows() > 0 => return Some(Ok(rows)),
                Ok(_) => {}
                Err(error) => return self.fail(error.into()),
            }
        }
        None
    }

    fn fail(&mut self, error: DataFusionError) -> Option<PlanResult<RecordBatch>> {
        self.ended = true;
        Some(Err(error))
    }
}
