//! Functions of the program over state: the operator, its function made for a worker, its part of the initial state.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;
use thalweg_operators::arbitrary::{self, Initial, Spec};
use thalweg_operators::snapshot;

use super::stateful::{Context, Made, input, route};
use crate::plan::dataflow::{Arbitrary, InitialState, Node};
use crate::stateful::Request;
use crate::{Error, Result};

pub(super) fn arbitrary(node: &Node, state: &Arbitrary, context: &Context<'_>) -> Result<Made> {
    let (shared, input) = (context.shared, input(node)?);
    let initial = state.initial.as_ref().map(|initial| own_initial(initial, context)).transpose()?;
    let request = Request {
        batch: false,
        keys: Arc::new(input.project(&state.keys)?),
        watermark: state.event_time.is_some(),
        initial: initial.as_ref().map(|initial| initial.rows.schema()),
        input: input.clone(),
    };
    let program = (state.function.make)(&request)?;
    let spec = Spec {
        input,
        keys: state.keys.clone(),
        time: state.function.time,
        late_by: state.event_time.filter(|_| state.function.time == arbitrary::TimeMode::EventTime),
        emits_time: state.emits_time,
        variables: program.variables,
        deleted: program.deleted,
        initial: initial.filter(|_| shared.epoch == 0),
        now: Box::new(shared.processing_time()),
    };
    Ok((Box::new(arbitrary::Arbitrary::new(spec, program.processor)?), vec![route(&state.keys)]))
}

/// The rows of the initial state whose keys this worker owns.
fn own_initial(initial: &InitialState, context: &Context<'_>) -> Result<Initial> {
    let table =
        context.shared.statics.get(initial.table).ok_or_else(|| Error::internal("an initial state is missing"))?;
    let all = table.rows();
    let schema = all.schema();
    let keys: Vec<_> = initial.keys.iter().map(|key| all.column(*key).clone()).collect();
    let columns = schema.fields().iter().cloned().zip(all.columns().iter().cloned()).collect();
    let grouped = snapshot::keyed(context.shared.hashing, &keys, all.num_rows(), columns)?;
    let own = snapshot::owned(&[grouped], context.index, context.peers)?;
    Ok(Initial { rows: without_groups(own, &schema)?, keys: initial.keys.clone() })
}

fn without_groups(own: Vec<RecordBatch>, schema: &SchemaRef) -> Result<RecordBatch> {
    let bare = Arc::new(Schema::new(schema.fields().clone()));
    match own.first() {
        None => Ok(RecordBatch::new_empty(bare)),
        Some(rows) => Ok(RecordBatch::try_new(bare, snapshot::columns(rows)?.to_vec())?),
    }
}
