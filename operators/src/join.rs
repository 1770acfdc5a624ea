//! Joins: of a stream with a static table, and of two streams.
//!
//! ```text
//!  stream × table   join::table    stateless: the table is indexed once, each chunk probes it
//!  stream × stream  join::stream   each side stores its rows, each chunk probes the other side's store
//! ```
//!
//! In: rows with equal-key columns, and the rest of the condition as a closure over the joined row. Out: joined rows, the
//! columns of the left side first. What always holds: rows are a multiset (n × m duplicates join to n·m rows), the result does
//! not depend on chunking, and null keys match nothing unless the key is null-safe (`<=>`).

pub mod stream;
pub mod table;

mod keys;
mod spec;
mod store;

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{Fields, Schema, SchemaRef};

use crate::{Error, Result};

/// The part of a join's condition that is no equality of columns; null counts as false.
pub type Condition = Rc<dyn Fn(&RecordBatch) -> Result<BooleanArray>>;

/// A pair of columns that must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct On {
    /// Column of the left side.
    pub left: usize,
    /// Column of the right side, of the same type.
    pub right: usize,
    /// Null equals null (`<=>`).
    pub null_safe: bool,
}

/// The schema with nulls allowed everywhere: an outer join makes them where its inputs have none.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone()))
}

/// Which rows of a batch satisfy a condition; null counts as false.
pub(crate) fn holds(condition: &Condition, rows: &RecordBatch) -> Result<BooleanArray> {
    let mask = condition(rows)?;
    if mask.len() != rows.num_rows() {
        return Err(Error::Internal("a join condition gave another number of rows".into()));
    }
    Ok(match mask.null_count() {
        0 => mask,
        _ => prep_null_mask_filter(&mask),
    })
}

/// Joined rows of one side's columns and the other's; `first_left` says whose come first.
fn joined(schema: &SchemaRef, first: Vec<ArrayRef>, second: Vec<ArrayRef>, first_left: bool) -> Result<RecordBatch> {
    let (left, right) = if first_left { (first, second) } else { (second, first) };
    Ok(RecordBatch::try_new(schema.clone(), left.into_iter().chain(right).collect())?)
}

/// Rows of one side with nulls for the columns of the other.
fn with_nulls(schema: &SchemaRef, rows: &RecordBatch, left: bool) -> Result<RecordBatch> {
    let width = rows.num_columns().min(schema.fields().len());
    let other = if left { &schema.fields()[width..] } else { &schema.fields()[..schema.fields().len() - width] };
    let nulls = other.iter().map(|field| new_null_array(field.data_type(), rows.num_rows())).collect();
    joined(schema, rows.columns().to_vec(), nulls, left)
}
