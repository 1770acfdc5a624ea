//! Aggregation by computing a changed group again from all its rows.
//!
//! In: rows with signs. Out: a row a group. Cost: a change costs as much as its group has rows.

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use timely::dataflow::operators::Concat;

use super::{Aggregation, Finish, arguments, no_key, seed};
use crate::aggregate::Accumulator;
use crate::change::rows::RowBytes;
use crate::change::short::Bytes;
use crate::group::AggregateCall;
use crate::lane::updates::{chunks, keyed};
use crate::lane::{Fine, FineStream, Place};
use crate::{Error, Result};
use differential_dataflow::AsCollection;

/// Aggregates the rows of `stream`.
pub(super) fn aggregate<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    spec: &Aggregation,
) -> Result<FineStream<'scope>> {
    let scope = stream.scope();
    let mut rows = keyed(stream, place, &spec.input, &spec.keys, Vec::new())?;
    if spec.keys.is_empty() {
        // The row without bytes is none.
        let seed = seed(scope, place, no_key(spec)?, 1i64).map(|key| (key, Bytes::default()));
        rows = rows.inner.concat(seed.inner).as_collection();
    }
    let mut finish = Finish::new(spec)?;
    let input = RowBytes::new(spec.input.clone())?;
    let (calls, checked) = (spec.aggregates.clone(), place.clone());
    let logic = move |key: &Bytes, values: &[(&Bytes, i64)], output: &mut Vec<(Bytes, i64)>| {
        let row = group(&input, values).and_then(|rows| finish.row(key, |states| fill(states, &calls, &rows)));
        output.extend(checked.check(row).map(|row| (row, 1)));
    };
    let groups = rows
        .arrange_by_key_named("Arrange: aggregate")
        .reduce_abelian::<_, ValBuilder<Bytes, Bytes, Fine, i64>, ValSpine<Bytes, Bytes, Fine, i64>, _, _>(
            "Aggregate",
            logic,
            |vec, key, upds| {
                vec.clear();
                vec.extend(upds.drain(..).map(|(v, t, r)| ((key.clone(), v), t, r)));
            },
        );
    let output = RowBytes::new(spec.output.clone())?;
    let rows = groups.as_collection(|_, row: &Bytes| row.clone());
    Ok(chunks(rows, place, move |rows| output.decode(rows.iter().map(|row| &***row))))
}

/// The rows of a group, each as often as it is there.
fn group(input: &RowBytes, values: &[(&Bytes, i64)]) -> Result<RecordBatch> {
    let values: Vec<_> = values.iter().filter(|(row, count)| !row.is_empty() && *count > 0).collect();
    let rows = input.decode(values.iter().map(|(row, _)| &***row))?;
    if values.iter().all(|(_, count)| *count == 1) {
        return Ok(rows);
    }
    let repeated = values
        .iter()
        .enumerate()
        .flat_map(|(row, (_, count))| std::iter::repeat_n(row as u32, usize::try_from(*count).unwrap_or(usize::MAX)));
    let repeated = UInt32Array::from_iter_values(repeated);
    match rows.num_columns() {
        0 => crate::change::batch(rows.schema(), Vec::new(), repeated.len()),
        _ => Ok(take_record_batch(&rows, &repeated)?),
    }
}

fn fill(states: &mut [Box<dyn Accumulator>], calls: &[AggregateCall], rows: &RecordBatch) -> Result<()> {
    let groups = vec![0; rows.num_rows()];
    for (state, call) in states.iter_mut().zip(calls) {
        let boolean = |filter: usize| rows.column(filter).as_boolean_opt();
        let no_filter = || Error::Internal("an aggregate's filter is not boolean".into());
        let filter = call.filter.map(|filter| boolean(filter).ok_or_else(no_filter)).transpose()?;
        state.update(&groups, 1, &arguments(call, rows), filter)?;
    }
    Ok(())
}
