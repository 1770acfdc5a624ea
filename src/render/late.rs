//! Late rows: collected from all operators that drop them, in the columns of the plan's branch for them.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{Field, SchemaRef};
use thalweg_operators::driver::{Late, LateShape};
use thalweg_operators::{ChunkStream, Error as OperatorError, Time};
use timely::dataflow::Scope;
use timely::dataflow::operators::Concatenate;

use super::steps::conform;
use crate::plan::dataflow::LatePlan;
use crate::plan::late::{OPERATOR, WATERMARK};

/// The late rows of the operators built so far.
#[derive(Default)]
pub(super) struct LateStreams<'scope> {
    streams: Vec<ChunkStream<'scope>>,
}

impl<'scope> LateStreams<'scope> {
    /// Adds those of one operator.
    pub fn add(&mut self, stream: Option<ChunkStream<'scope>>) {
        self.streams.extend(stream);
    }

    /// All of them as one stream.
    pub fn take(&mut self, scope: Scope<'scope, Time>) -> ChunkStream<'scope> {
        scope.concatenate(std::mem::take(&mut self.streams))
    }
}

/// What brings late rows of an operator into the columns of all late rows; none if nobody wants them.
pub(super) fn shape(plan: &LatePlan, operator: &str) -> Option<LateShape> {
    let (ports, schema) = (plan.taps.get(operator)?.clone(), plan.schema.clone());
    let operator = operator.to_owned();
    Some(Box::new(move |late| {
        let places = ports.get(late.port).map_or(&[][..], Vec::as_slice);
        let columns = columns(&late, places, &schema, &operator);
        conform(columns, &schema, late.rows.num_rows()).map_err(OperatorError::outside)
    }))
}

fn columns(late: &Late, places: &[Option<usize>], schema: &SchemaRef, operator: &str) -> Vec<ArrayRef> {
    let rows = late.rows.num_rows();
    let column = |(n, field): (usize, &Arc<Field>)| -> ArrayRef {
        match (field.name().as_str(), places.get(n).copied().flatten().and_then(|i| late.rows.columns().get(i))) {
            (_, Some(column)) => Arc::clone(column),
            (OPERATOR, None) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(operator, rows))),
            (WATERMARK, None) => Arc::new(TimestampMicrosecondArray::from_value(late.watermark, rows)),
            (_, None) => new_null_array(field.data_type(), rows),
        }
    };
    schema.fields().iter().enumerate().map(column).collect()
}
