//! Reading a static source: one bounded read through the same source that a stream would use.
//!
//! In: a [`ScanTable`] and the columns wanted. Out: their rows, partition after partition. Reading and decoding block, so
//! they run on a thread of tokio's blocking pool, a few batches ahead of the query.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as PlanResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};

use crate::clock::SystemClock;
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::plan::scan::ScanTable;
use crate::sources::predicate::Predicate;
use crate::sources::{self, Limit, Read, Reader, SourceContext};
use crate::{Error, Result};

/// Batches read ahead of the query.
const AHEAD: usize = 2;
/// How long a reader may wait before it says that it is idle.
const WAIT: Duration = Duration::from_millis(100);

/// Plans the read of `projection` (all columns without one).
pub(crate) fn plan_scan(
    table: &ScanTable,
    state: &dyn Session,
    projection: Option<&Vec<usize>>,
    filters: &[Expr],
) -> PlanResult<Arc<dyn ExecutionPlan>> {
    let wanted = projection.cloned().unwrap_or_else(|| (0..table.schema.fields().len()).collect());
    let conf = state.config().get_extension::<Conf>().map(|conf| conf.as_ref().clone()).unwrap_or_default();
    Ok(Arc::new(ScanExec::new(table.clone(), wanted, filters, conf)?))
}

/// The bounded read of one static source.
#[derive(Debug)]
struct ScanExec {
    table: ScanTable,
    wanted: Vec<usize>,
    /// Conditions that the source may use, and their text.
    filters: Vec<Predicate>,
    pushed: String,
    conf: Conf,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    fn new(table: ScanTable, wanted: Vec<usize>, filters: &[Expr], conf: Conf) -> PlanResult<Self> {
        let schema = Arc::new(table.schema.project(&wanted)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let pushed = filters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let filters = table.predicates(filters);
        Ok(Self { table, wanted, filters, pushed, conf, properties: Arc::new(properties) })
    }

    /// The columns to read, rising and without repetition, and how to make the wanted ones of them.
    fn reading(&self) -> (Vec<usize>, Vec<usize>) {
        let mut read = self.wanted.clone();
        read.sort_unstable();
        read.dedup();
        let order = self.wanted.iter().filter_map(|column| read.binary_search(column).ok()).collect();
        (read, order)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ScanExec: {}, format={}, columns={:?}", self.table.name, self.table.source.format, self.wanted)?;
        if self.pushed.is_empty() { Ok(()) } else { write!(f, ", filters=[{}]", self.pushed) }
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let mut rows = RecordBatchReceiverStream::builder(self.schema(), AHEAD);
        let (read, order) = self.reading();
        let (table, conf, filters, send) = (self.table.clone(), self.conf.clone(), self.filters.clone(), rows.tx());
        rows.spawn_blocking(move || {
            let deliver = |batch: RecordBatch| match batch.num_rows() {
                0 => Ok(!send.is_closed()),
                _ => Ok(send.blocking_send(Ok(batch.project(&order)?)).is_ok()),
            };
            Ok(read_all(&table, read, filters, conf, deliver)?)
        });
        Ok(rows.build())
    }
}

/// Reads all rows; `deliver`, which is asked also where a decoder left out all rows, says false if nobody wants more.
fn read_all(
    table: &ScanTable,
    projection: Vec<usize>,
    filters: Vec<Predicate>,
    conf: Conf,
    mut deliver: impl FnMut(RecordBatch) -> Result<bool>,
) -> Result<()> {
    let provider = sources::lookup(&table.source.format)?;
    let (clock, wake) = (SystemClock::shared(), Arc::new(|| ()));
    let context = SourceContext { projection, filters, conf, log: None, clock, wake };
    let mut source = provider.connect(&table.source, Arc::clone(&table.schema), context)?;
    let Some(end) = source.latest(None, Limit::Everything)? else { return Ok(()) };
    let mut decoder = source.decoder()?;
    for mut reader in source.read(None, Some(&end))? {
        if !drain(reader.as_mut(), decoder.as_deref_mut(), &mut deliver)? {
            break;
        }
    }
    Ok(())
}

/// Reads one partition to its end; false if nobody wants more.
fn drain(
    reader: &mut dyn Reader,
    mut decoder: Option<&mut (dyn Decoder + '_)>,
    deliver: &mut impl FnMut(RecordBatch) -> Result<bool>,
) -> Result<bool> {
    loop {
        let rows = match reader.next(WAIT)? {
            Read::Rows(rows) => rows,
            Read::Part(part) => part.rows,
            Read::Frames(frames) => match &mut decoder {
                Some(decoder) => decoder.decode(&frames)?,
                None => return Err(Error::internal("a source without a decoder gave undecoded records")),
            },
            Read::Idle => continue,
            Read::End => return Ok(true),
        };
        if !deliver(rows)? {
            return Ok(false);
        }
    }
}
