//! The shape of snapshots: batches whose first column says which key group a row of state belongs to.
//!
//! In: state as columns. Out: the same with [`GROUP`] in front; and the part of a snapshot that one of several workers owns; and, of
//! snapshots and changes since, what they come to ([`merged`]).
//! What always holds: a key's group is the one by which [`crate::exchange`] routes its rows, both by one [`Hashing`].

mod changes;
mod sums;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt8Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, UInt8Type};

use crate::keys::{self, Hashing};
use crate::{Error, Result};

pub use changes::{Merge, adds_up, changed, coalesced, gone, merged, summed};

/// Name of the first column.
pub const GROUP: &str = "_group";

/// State of `keys`: the key group of each row, then `columns`.
///
/// # Errors
/// Columns of different lengths, or keys that cannot be hashed.
pub fn keyed(
    hashing: Hashing,
    keys: &[ArrayRef],
    rows: usize,
    columns: Vec<(FieldRef, ArrayRef)>,
) -> Result<RecordBatch> {
    with_groups(groups(hashing, keys, rows)?, columns)
}

/// The key group of each row of `keys`.
///
/// # Errors
/// Keys that cannot be hashed.
pub fn groups(hashing: Hashing, keys: &[ArrayRef], rows: usize) -> Result<UInt8Array> {
    let mut hashes = Vec::with_capacity(rows);
    hashing.hash(keys, rows, &mut hashes)?;
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
        owned.push(of_groups(batch, |group| keys::owner(usize::from(group), workers) == worker)?);
    }
    owned.retain(|batch| batch.num_rows() > 0);
    Ok(owned)
}

/// The rows of a snapshot, or of changes, that are of key groups for which `keep` holds; all of them if it has no key groups.
///
/// # Errors
/// None that input could cause.
pub fn of_groups(batch: &RecordBatch, keep: impl Fn(u8) -> bool) -> Result<RecordBatch> {
    let groups = batch.columns().first().and_then(|groups| groups.as_primitive_opt::<UInt8Type>());
    let Some(groups) = groups else { return Ok(batch.clone()) };
    let keep = BooleanBuffer::collect_bool(groups.len(), |row| keep(groups.value(row)));
    Ok(filter_record_batch(batch, &BooleanArray::new(keep, None))?)
}
