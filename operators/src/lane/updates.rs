//! Between chunks and differential's collections: rows with signs become updates of byte strings, and updates become chunks.
//!
//! In and out as the functions say. What always holds: a chunk's rows are all of the time that the chunk carries; a row's bytes are
//! those of [`RowBytes`], so equal rows are equal bytes.

use arrow::array::{Array, ArrayRef, Int8Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{AsCollection, Data, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::{Fine, FineStream, Place};
use crate::change::rows::RowBytes;
use crate::change::short::Bytes;
use crate::change::{append, split};
use crate::chunk::MAX_ROWS;
use crate::{Chunk, Result};

/// A changing multiset.
pub(super) type Updates<'scope, D, R = i64> = VecCollection<'scope, Fine, D, R>;

/// Makes updates of each chunk's rows and signs.
pub(super) fn updates<'scope, D: Data, R: Data>(
    stream: FineStream<'scope>,
    place: &Place,
    name: &str,
    mut make: impl FnMut(&RecordBatch, &Int8Array, &mut dyn FnMut(D, R)) -> Result<()> + 'static,
) -> Stream<'scope, Fine, Vec<(D, Fine, R)>> {
    let place = place.clone();
    stream.unary::<CapacityContainerBuilder<Vec<(D, Fine, R)>>, _, _, _>(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, chunk| {
                let Some(rows) = std::mem::take(chunk).into_rows() else { return };
                let time = *capability.time();
                let mut session = output.session(&capability);
                let made = split(&rows).and_then(|(rows, signs)| {
                    make(&rows, &signs, &mut |data, difference| session.give((data, time, difference)))
                });
                place.check(made);
            });
        }
    })
}

/// Encodes the columns `columns` of rows.
pub(super) struct ColumnBytes {
    columns: Vec<usize>,
    bytes: RowBytes,
}

impl ColumnBytes {
    pub fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let bytes = RowBytes::new(schema.project(columns)?.into())?;
        Ok(ColumnBytes { columns: columns.to_vec(), bytes })
    }

    pub fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        self.bytes.encode_columns(&self.of(rows), rows.num_rows())
    }

    /// The columns of these rows.
    pub fn of(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.columns.iter().map(|column| rows.column(*column).clone()).collect()
    }

    pub fn bytes(&self) -> &RowBytes {
        &self.bytes
    }
}

/// Each row under its key; rows with a null among the columns `solid` are left out, for they match nothing.
pub(super) fn keyed<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    schema: &SchemaRef,
    keys: &[usize],
    solid: Vec<usize>,
) -> Result<Updates<'scope, (Bytes, Bytes)>> {
    let key = ColumnBytes::new(schema, keys)?;
    let whole = RowBytes::new(schema.clone())?;
    let make = move |rows: &RecordBatch, signs: &Int8Array, give: &mut dyn FnMut((Bytes, Bytes), i64)| {
        let (keys, values) = (key.encode(rows)?, whole.encode(rows)?);
        for row in 0..rows.num_rows() {
            if solid.iter().all(|column| rows.column(*column).is_valid(row)) {
                give((keys.row(row).data().into(), values.row(row).data().into()), i64::from(signs.value(row)));
            }
        }
        Ok(())
    };
    Ok(updates(stream, place, "Keyed", make).as_collection())
}

/// Each row whole.
pub(super) fn whole<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    schema: &SchemaRef,
) -> Result<Updates<'scope, Bytes>> {
    let whole = RowBytes::new(schema.clone())?;
    let make = move |rows: &RecordBatch, signs: &Int8Array, give: &mut dyn FnMut(Bytes, i64)| {
        let values = whole.encode(rows)?;
        (0..rows.num_rows()).for_each(|row| give(values.row(row).data().into(), i64::from(signs.value(row))));
        Ok(())
    };
    Ok(updates(stream, place, "Whole", make).as_collection())
}

/// Makes chunks of updates: `decode` gives rows for data, one each and in order.
pub(super) fn chunks<'scope, D: Data>(
    updates: Updates<'scope, D>,
    place: &Place,
    mut decode: impl FnMut(&[&D]) -> Result<RecordBatch> + 'static,
) -> FineStream<'scope> {
    let place = place.clone();
    updates.inner.unary::<CapacityContainerBuilder<Chunk>, _, _, _>(Pipeline, "Chunks", move |_, _| {
        move |input, output| {
            input.for_each(|capability, updates| {
                for (time, changes) in by_time(updates) {
                    let at = capability.delayed(&time, 0);
                    for part in changes.chunks(MAX_ROWS) {
                        let Some(rows) = place.check(signed(part, &mut decode)) else { return };
                        output.session(&at).give_container(&mut Chunk::new(rows, 0, 0));
                    }
                }
            });
        }
    })
}

/// The net changes of each time, rising.
fn by_time<D: Data>(updates: &mut Vec<(D, Fine, i64)>) -> Vec<(Fine, Vec<(D, i64)>)> {
    let mut times: Vec<(Fine, Vec<(D, i64)>)> = Vec::new();
    updates.sort_by_key(|(_, time, _)| *time);
    for (data, time, count) in updates.drain(..) {
        match times.last_mut().filter(|(last, _)| *last == time) {
            Some((_, changes)) => changes.push((data, count)),
            None => times.push((time, vec![(data, count)])),
        }
    }
    times.iter_mut().for_each(|(_, changes)| consolidate(changes));
    times.retain(|(_, changes)| !changes.is_empty());
    times
}

/// Changes as rows with signs, each as often as its count says.
fn signed<D>(changes: &[(D, i64)], decode: &mut impl FnMut(&[&D]) -> Result<RecordBatch>) -> Result<RecordBatch> {
    let (mut rows, mut signs) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
    for (data, count) in changes {
        let times = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        rows.extend(std::iter::repeat_n(data, times));
        signs.extend(std::iter::repeat_n(count.signum() as i8, times));
    }
    append(&decode(&rows)?, Int8Array::from(signs))
}
