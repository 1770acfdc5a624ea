//! Results as the corpus writes them, and when they are equal.

use arrow::array::RecordBatch;
use serde_json::Value;
use thalweg::Result;
use thalweg::frame::DataFrame;

use crate::case::{list, text};
use crate::conformance::{equal, value_at};

/// The rows as lists of values.
pub fn json_rows(batches: &[RecordBatch]) -> Result<Vec<Value>> {
    let row = |batch: &RecordBatch, row: usize| -> Result<Value> {
        let values = batch.columns().iter().map(|column| value_at(column, row));
        Ok(Value::Array(values.collect::<Result<_>>()?))
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |place| row(batch, place))).collect()
}

/// Names and types of the columns.
pub fn json_schema(frame: &DataFrame) -> Value {
    frame.dtypes().into_iter().map(|(name, kind)| Value::from(vec![name, kind])).collect()
}

/// Whether two results are equal, in order or as multisets.
pub fn same_rows(rows: &[Value], wanted: &[Value], schema: &Value, ordered: bool) -> bool {
    let types: Vec<&str> = list(schema).iter().map(|column| text(&column[1])).collect();
    let same = |row: &Value, other: &Value| {
        let pairs = list(row).iter().zip(list(other)).zip(&types);
        list(row).len() == list(other).len() && pairs.into_iter().all(|((a, b), kind)| equal(a, b, kind))
    };
    if rows.len() != wanted.len() {
        return false;
    }
    if ordered {
        return rows.iter().zip(wanted).all(|(row, other)| same(row, other));
    }
    let mut left: Vec<&Value> = wanted.iter().collect();
    rows.iter().all(|row| match left.iter().position(|other| same(row, other)) {
        Some(place) => {
            left.swap_remove(place);
            true
        }
        None => false,
    })
}
