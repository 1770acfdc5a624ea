//! Results as the corpus writes them, and when they are equal.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, DurationMicrosecondType, Field, IntervalUnit, IntervalYearMonthType};
use serde_json::Value;
use thalweg::Result;
use thalweg::frame::DataFrame;
use thalweg::functions::interval::INTERVAL_FIELDS;
use thalweg::types::interval_text::{write_day_time, write_year_month};

use crate::case::{list, text};
use crate::conformance::{equal, value_at};

/// The rows as lists of values.
pub fn json_rows(batches: &[RecordBatch]) -> Result<Vec<Value>> {
    let row = |batch: &RecordBatch, row: usize| -> Result<Value> {
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields());
        let values = columns.map(|(column, field)| match interval_text(column, field, row) {
            Some(text) => Ok(text.into()),
            None => value_at(column, row),
        });
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

/// The text of an interval whose fields are known, as a cast to STRING gives it; none for null and for other values.
fn interval_text(column: &ArrayRef, field: &Field, row: usize) -> Option<String> {
    let fields = field.metadata().get(INTERVAL_FIELDS).filter(|_| column.is_valid(row))?;
    let mut text = String::new();
    match column.data_type() {
        DataType::Duration(_) => {
            write_day_time(column.as_primitive::<DurationMicrosecondType>().value(row), fields, &mut text);
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            write_year_month(column.as_primitive::<IntervalYearMonthType>().value(row), fields, &mut text);
        }
        _ => return None,
    }
    Some(text)
}
