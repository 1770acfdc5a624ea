//! Changelogs: rows with a sign, for results that later rows may correct.
//!
//! An edge of the graph is *append-only* (its rows stand for ever) or a *changelog*: then the last column of its rows is
//! [`CHANGE`], +1 for a row that is now part of the result and -1 for one that no longer is. In: rows and signs. Out: rows with
//! the sign behind them. What always holds: over everything that has passed an edge no row has been taken back more often than it
//! has been given, and `Int8` signs are +1 or -1, never anything else.

pub mod net;
pub mod rows;
pub mod short;
pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int8Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int8Type, Schema, SchemaRef};

use crate::{Error, Result};

/// Name of the last column of a changelog.
pub const CHANGE: &str = "_change";

/// The sign of a row that is now part of the result.
pub const INSERT: i8 = 1;

/// The sign of a row that no longer is.
pub const RETRACT: i8 = -1;

/// The sign's field.
pub fn field() -> FieldRef {
    Arc::new(Field::new(CHANGE, DataType::Int8, false))
}

/// The schema of a changelog of such rows.
pub fn with_change(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().cloned().chain([field()]).collect();
    Arc::new(Schema::new(fields))
}

/// The schema of a changelog's rows, without the sign.
pub fn without_change(schema: &Schema) -> SchemaRef {
    let width = schema.fields().len().saturating_sub(1);
    Arc::new(Schema::new(schema.fields().iter().take(width).cloned().collect::<Vec<_>>()))
}

/// The rows without their signs, and the signs.
///
/// # Errors
/// Rows that are no changelog's.
pub fn split(rows: &RecordBatch) -> Result<(RecordBatch, Int8Array)> {
    let signs = signs(rows)?.clone();
    let schema = without_change(rows.schema_ref());
    let columns = rows.columns()[..schema.fields().len()].to_vec();
    Ok((batch(schema, columns, rows.num_rows())?, signs))
}

/// The signs of a changelog's rows.
///
/// # Errors
/// Rows that are no changelog's.
pub fn signs(rows: &RecordBatch) -> Result<&Int8Array> {
    let last = rows.columns().last().and_then(|column| column.as_primitive_opt::<Int8Type>());
    last.ok_or_else(|| Error::Internal("the rows of a changelog have no signs".into()))
}

/// The rows with these signs behind them.
///
/// # Errors
/// Another number of signs than rows.
pub fn append(rows: &RecordBatch, signs: Int8Array) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(signs) as ArrayRef);
    batch(with_change(rows.schema_ref()), columns, rows.num_rows())
}

/// The rows as insertions.
///
/// # Errors
/// None that input could cause.
pub fn inserted(rows: &RecordBatch) -> Result<RecordBatch> {
    append(rows, Int8Array::from_value(INSERT, rows.num_rows()))
}

/// The rows as retractions.
///
/// # Errors
/// None that input could cause.
pub fn retracted(rows: &RecordBatch) -> Result<RecordBatch> {
    append(rows, Int8Array::from_value(RETRACT, rows.num_rows()))
}

/// The opposite of a changelog: what was given is taken back.
///
/// # Errors
/// Rows that are no changelog's.
pub fn negate(rows: &RecordBatch) -> Result<RecordBatch> {
    let (rows, signs) = split(rows)?;
    append(&rows, signs.unary(|sign| -sign))
}

/// The rows of one sign, without it.
///
/// # Errors
/// Rows that are no changelog's.
pub fn of_sign(rows: &RecordBatch, wanted: i8) -> Result<RecordBatch> {
    let (rows, signs) = split(rows)?;
    if signs.values().iter().all(|sign| *sign == wanted) {
        return Ok(rows);
    }
    let keep: BooleanArray = signs.values().iter().map(|sign| Some(*sign == wanted)).collect();
    Ok(filter_record_batch(&rows, &keep)?)
}

/// Columns as rows, also where there is none.
pub(crate) fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}
