//! The shape of snapshots: batches whose first column says which key group a row of state belongs to.
//!
//! In: state as columns. Out: the same with [`GROUP`] in front; and the part of a snapshot that one of several workers owns; and, of
//! snapshots and changes since, what they come to ([`merged`]).
//! What always holds: a key's group is the one by which [`crate::exchange`] routes its rows.

mod changes;
mod sums;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt8Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt8Type};

use crate::{Error, Result, keys};

pub use changes::{changed, coalesced, gone, merged, summed};

/// Name of the first column.
pub const GROUP: &str = "_group";

/// State of `keys`: the key group of each row, then `columns`.
///
/// # Errors
/// Columns of different lengths, or keys that cannot be hashed.
pub fn keyed(keys: &[ArrayRef], rows: usize, columns: Vec<(FieldRef, ArrayRef)>) -> Result<RecordBatch> {
    with_groups(groups(keys, rows)?, columns)
}

/// The key group of each row of `keys`.
///
/// # Errors
/// Keys that cannot be hashed.
pub fn groups(keys: &[ArrayRef], rows: usize) -> Result<UInt8Array> {
    let mut hashes = Vec::with_capacity(rows);
    keys::route(keys, rows, &mut hashes)?;
    Ok(UInt8Array::from_iter_values(hashes.iter().map(|hash| keys::key_group(*hash) as u8)))
}

/// The column [`GROUP`].
pub fn group_column(groups: UInt8Array) -> (FieldRef, ArrayRef) {
    (Arc::new(Field::new(GROUP, DataType::UInt8, false)), Arc::new(groups))
}

/// State that is not keyed and lives on the first worker.
///
/// # Errors
/// Columns of different lengths.
pub fn single(rows: usize, columns: Vec<(FieldRef, ArrayRef)>) -> Result<RecordBatch> {
    with_groups(UInt8Array::from(vec![0; rows]), columns)
}

fn with_groups(groups: UInt8Array, columns: Vec<(FieldRef, ArrayRef)>) -> Result<RecordBatch> {
    let (fields, columns): (Vec<_>, Vec<_>) = std::iter::once(group_column(groups)).chain(columns).unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The columns behind the key group.
///
/// # Errors
/// A batch that is none of a snapshot's.
pub fn columns(state: &RecordBatch) -> Result<&[ArrayRef]> {
    match state.columns().split_first() {
        Some((groups, rest)) if groups.data_type() == &DataType::UInt8 => Ok(rest),
        _ => Err(Error::Internal("state without key groups".into())),
    }
}

/// The part of a snapshot whose key groups worker `worker` of `workers` owns.
///
/// # Errors
/// A batch that is none of a snapshot's.
pub fn owned(state: &[RecordBatch], worker: usize, workers: usize) -> Result<Vec<RecordBatch>> {
    let mut owned = Vec::new();
    for batch in state {
        columns(batch)?;
        let groups = batch.column(0).as_primitive::<UInt8Type>();
        let mine = |row| groups.value(row) as usize % workers == worker;
        let mine = BooleanArray::new(BooleanBuffer::collect_bool(groups.len(), mine), None);
        owned.push(filter_record_batch(batch, &mine)?);
    }
    owned.retain(|batch| batch.num_rows() > 0);
    Ok(owned)
}
