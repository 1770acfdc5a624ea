//! Grouped aggregation over a changelog.
//!
//! In: rows with keys and arguments, with signs. Out: a row a group, with signs. Counts, and sums and averages of whole numbers and
//! decimals, are kept as differences of the group's key ([`sums`]): a change costs what it changes. Any other function makes
//! the group be computed again from its rows ([`again`]), in the order of the rows' values. What always holds: the result is
//! that of the same functions over the rows that the changelog describes; without keys there is one row even if there are none.

mod again;
mod sums;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use differential_dataflow::{AsCollection, Data};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::updates::{ColumnBytes, Updates};
use super::{Fine, FineStream, Place};
use crate::Result;
use crate::aggregate::Accumulator;
use crate::change::batch;
use crate::change::rows::RowBytes;
use crate::change::short::Bytes;
use crate::group::AggregateCall;
use sums::Sums;

/// What to compute.
#[derive(Clone)]
pub struct Aggregation {
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// The aggregates, in output order.
    pub aggregates: Vec<AggregateCall>,
    /// Schema of the input, without sign.
    pub input: SchemaRef,
    /// Schema of the output, without sign: keys, then aggregates.
    pub output: SchemaRef,
}

impl Aggregation {
    /// Whether a change costs what it changes; else its group is computed again.
    pub fn is_incremental(&self) -> bool {
        Sums::new(self).is_some()
    }
}

/// Aggregates the rows of `stream`.
///
/// # Errors
/// Keys that have no equality.
pub fn aggregate<'scope>(stream: FineStream<'scope>, place: &Place, spec: &Aggregation) -> Result<FineStream<'scope>> {
    match Sums::new(spec) {
        Some(sums) => sums::aggregate(stream, place, spec, sums),
        None => again::aggregate(stream, place, spec),
    }
}

/// Computes rows of groups with one accumulator an aggregate, which are used again and again.
struct Finish {
    keys: ColumnBytes,
    output: RowBytes,
    states: Vec<Box<dyn Accumulator>>,
}

impl Finish {
    fn new(spec: &Aggregation) -> Result<Self> {
        let states = spec.aggregates.iter().map(|call| call.function.accumulator()).collect::<Result<_>>()?;
        Ok(Finish {
            keys: ColumnBytes::new(&spec.input, &spec.keys)?,
            output: RowBytes::new(spec.output.clone())?,
            states,
        })
    }

    /// The rows of the groups of these keys; `fill` puts what belongs to the first into the accumulators as group 0, and so on.
    fn rows<'a>(
        &mut self,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        fill: impl FnOnce(&mut [Box<dyn Accumulator>], &[u32]) -> Result<()>,
    ) -> Result<RecordBatch> {
        let groups: Vec<u32> = (0..keys.len() as u32).collect();
        let mut columns = self.keys.bytes().decode(keys)?.columns().to_vec();
        fill(&mut self.states, &groups)?;
        for state in &mut self.states {
            columns.push(state.evaluate(&groups)?);
            state.clear(&groups);
        }
        batch(self.output.schema().clone(), self.typed(columns)?, groups.len())
    }

    /// The row of one group, as bytes.
    fn row(&mut self, key: &Bytes, fill: impl FnOnce(&mut [Box<dyn Accumulator>]) -> Result<()>) -> Result<Bytes> {
        let row = self.rows(std::iter::once(&**key), |states, _| fill(states))?;
        Ok(self.output.encode(&row)?.row(0).data().into())
    }

    /// The columns in the types of the output, which differ in no more than names of nested fields.
    fn typed(&self, columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
        let fields = self.output.schema().fields().iter();
        let typed =
            columns.into_iter().zip(fields).map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(column),
                false => Ok(arrow::compute::cast(&column, field.data_type())?),
            });
        typed.collect()
    }
}

/// Sends updates of keys.
type Sender<R> = OutputBuilder<Fine, CapacityContainerBuilder<Vec<(Bytes, Fine, R)>>>;

/// One datum that is there from the start, on the first worker: it makes the group of an aggregation without keys.
fn seed<'scope, R: Data>(scope: Scope<'scope, Fine>, place: &Place, key: Bytes, one: R) -> Updates<'scope, Bytes, R> {
    let time = Fine::new(place.epoch, place.first_tick());
    let mut given = (scope.index() == 0).then_some((key, time, one));
    let mut builder = OperatorBuilder::new("Seed".to_owned(), scope);
    let (output, stream) = builder.new_output::<Vec<(Bytes, Fine, R)>>();
    let mut output: Sender<R> = OutputBuilder::from(output);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        move |_| {
            if let (Some(capability), Some(datum)) = (capability.take(), given.take()) {
                let capability = capability.delayed(&time);
                output.activate().session(&capability).give(datum);
            }
        }
    });
    stream.as_collection()
}

/// The key of rows without keys.
fn no_key(spec: &Aggregation) -> Result<Bytes> {
    let schema = Arc::new(spec.input.project(&spec.keys)?);
    let rows = batch(schema.clone(), Vec::new(), 1)?;
    Ok(RowBytes::new(schema)?.encode(&rows)?.row(0).data().into())
}

/// The columns of a call's arguments.
fn arguments(call: &AggregateCall, rows: &RecordBatch) -> Vec<ArrayRef> {
    call.args.iter().map(|arg| rows.column(*arg).clone()).collect()
}
