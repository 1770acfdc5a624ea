//! Functions of the program over state, in batch: one call a group with all its rows; no state before, no timers after.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::UserDefinedLogicalNodeCore;
use thalweg_operators::arbitrary::{Arbitrary, Spec, TimeMode};
use thalweg_operators::{Chunk, Logic, Output, Pace};

use super::step::Step;
use crate::clock::SystemClock;
use crate::plan::nodes::{ArbitraryState, event_time_index};
use crate::stateful::Request;
use crate::{Error, Result};

/// The streaming operator over one epoch.
pub(super) struct ArbitraryStep {
    logic: Arbitrary,
    schema: SchemaRef,
}

impl ArbitraryStep {
    pub(super) fn try_new(node: &ArbitraryState) -> Result<Self> {
        let input = Arc::clone(node.input.schema().inner());
        let keys = node.key_indexes()?;
        let request = Request {
            batch: true,
            keys: Arc::new(input.project(&keys)?),
            watermark: event_time_index(node.input.schema()).is_some(),
            initial: None,
            input: input.clone(),
        };
        let program = (node.function.make)(&request)?;
        let clock = SystemClock::shared();
        let spec = Spec {
            input,
            keys,
            time: TimeMode::None,
            late_by: None,
            emits_time: None,
            variables: program.variables,
            deleted: program.deleted,
            initial: None,
            now: Box::new(move || clock.wall_micros()),
        };
        let logic = Arbitrary::new(spec, program.processor)?;
        Ok(ArbitraryStep { logic, schema: Arc::clone(UserDefinedLogicalNodeCore::schema(node).inner()) })
    }
}

impl Step for ArbitraryStep {
    fn push(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        self.logic.on_rows(0, Chunk::new(rows, 0, 0), &mut Output::new(Pace::Epoch)).map_err(Error::from)?;
        Ok(RecordBatch::new_empty(self.schema.clone()))
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let mut out = Output::new(Pace::Epoch);
        self.logic.on_complete(0, &mut out).map_err(Error::from)?;
        let rows = out.take().into_iter().filter_map(Chunk::into_rows);
        let rows = rows.map(|rows| Ok(RecordBatch::try_new(self.schema.clone(), rows.columns().to_vec())?));
        Ok(Some(concat_batches(&self.schema, &rows.collect::<Result<Vec<_>>>()?)?))
    }
}
