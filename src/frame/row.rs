//! `Row`: one row of a result, for programs that look at few values.
//!
//! In: a record batch and a place. Out: values by place or name. Columns stay shared, so a row is cheap; large results
//! are better read as record batches.

use std::fmt;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::show;
use crate::{Error, Result};

/// One row.
#[derive(Clone)]
pub struct Row {
    batch: RecordBatch,
    place: usize,
}

impl Row {
    /// All rows of some batches.
    pub(super) fn all(batches: &[RecordBatch]) -> Vec<Row> {
        let rows = |batch: &RecordBatch| {
            let batch = batch.clone();
            (0..batch.num_rows()).map(move |place| Row { batch: batch.clone(), place })
        };
        batches.iter().flat_map(rows).collect()
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.batch.num_columns()
    }

    /// True if it has no columns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the column at this place.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn get(&self, column: usize) -> Result<ScalarValue> {
        if column >= self.len() {
            return Err(Error::invalid(format!("a row of {} columns has no column {column}", self.len())));
        }
        Ok(ScalarValue::try_from_array(self.batch.column(column), self.place)?)
    }

    /// The value of the column of this name.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn get_by_name(&self, name: &str) -> Result<ScalarValue> {
        let schema = self.batch.schema();
        let place = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
        self.get(place.ok_or_else(|| Error::invalid(format!("the row has no column '{name}'")))?)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = (0..self.len()).map(|column| show::plain_text(self.batch.column(column), self.place));
        write!(f, "[{}]", values.collect::<Vec<_>>().join(","))
    }
}
