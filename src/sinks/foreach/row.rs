//! One row of a batch, as a user's function sees it: values by column name, or the row as a serde struct.
//!
//! A view, not a copy: making one costs nothing, and only the values that are asked for are read.

use std::cell::OnceCell;
use std::rc::Rc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Deserialize;

use crate::{Error, Result};

/// One row.
pub struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
    /// Made once a batch, by the first row that is read as a struct.
    structs: Rc<OnceCell<serde_arrow::Deserializer<'a>>>,
}

/// Calls `function` with each row of the batch, in order, until one fails.
pub(super) fn each(batch: &RecordBatch, mut function: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
    let structs = Rc::new(OnceCell::new());
    (0..batch.num_rows()).try_for_each(|index| function(&Row { batch, index, structs: Rc::clone(&structs) }))
}

impl<'a> Row<'a> {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema()
    }

    /// True if the value is null.
    ///
    /// # Errors
    /// No such column.
    pub fn is_null(&self, column: &str) -> Result<bool> {
        Ok(self.column(column)?.is_null(self.index))
    }

    /// The value of a column; `Option<T>` for one that may be null.
    ///
    /// # Errors
    /// No such column, another type, or null where `T` has none.
    pub fn get<T: FromValue<'a>>(&self, column: &str) -> Result<T> {
        let array = self.column(column)?;
        T::from_value(array, self.index).ok_or_else(|| {
            let what =
                if array.is_null(self.index) { "null".into() } else { crate::types::sql_name(array.data_type()) };
            Error::invalid(format!("column '{column}' is {what}, not {}", std::any::type_name::<T>()))
        })
    }

    /// The row as a struct; its fields are named like the columns.
    ///
    /// # Errors
    /// Columns that don't fit the struct.
    pub fn to<T: Deserialize<'a>>(&self) -> Result<T> {
        let structs = match self.structs.get() {
            Some(structs) => structs,
            None => {
                let made = serde_arrow::Deserializer::from_record_batch(self.batch);
                let made = made.map_err(|cause| unfit_columns(&cause))?;
                self.structs.get_or_init(|| made)
            }
        };
        let item = structs.get(self.index).ok_or_else(|| Error::internal("a row lies outside of its batch"))?;
        T::deserialize(item).map_err(unfit_row)
    }

    fn column(&self, name: &str) -> Result<&'a dyn Array> {
        let found = self.batch.column_by_name(name).or_else(|| {
            let schema = self.batch.schema_ref();
            let index = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))?;
            Some(self.batch.column(index))
        });
        let missing = || Error::query("FIELD_NOT_FOUND", format!("the row has no column '{name}'"));
        found.map(|array| array as &dyn Array).ok_or_else(missing)
    }
}

fn unfit_row(cause: serde_arrow::Error) -> Error {
    Error::invalid(format!("the row does not fit the struct: {cause}")).caused_by(cause)
}

fn unfit_columns(cause: &serde_arrow::Error) -> Error {
    Error::invalid(format!("rows of these columns cannot become structs: {cause}"))
}

/// A Rust type that a value of some column type can be read as.
pub trait FromValue<'a>: Sized {
    /// The value, or `None` if it is null or of another type.
    fn from_value(array: &'a dyn Array, row: usize) -> Option<Self>;
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    fn from_value(array: &'a dyn Array, row: usize) -> Option<Self> {
        if array.is_null(row) { Some(None) } else { T::from_value(array, row).map(Some) }
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Option<T::Native> {
    let values = array.as_primitive_opt::<T>()?;
    values.is_valid(row).then(|| values.value(row))
}

macro_rules! from_primitive {
    ($($native:ty = $arrow:ty),*) => {$(
        impl FromValue<'_> for $native {
            fn from_value(array: &dyn Array, row: usize) -> Option<Self> {
                primitive::<$arrow>(array, row)
            }
        }
    )*};
}

from_primitive!(i8 = Int8Type, i16 = Int16Type, i32 = Int32Type, i64 = Int64Type, f32 = Float32Type, f64 = Float64Type);

impl FromValue<'_> for bool {
    fn from_value(array: &dyn Array, row: usize) -> Option<Self> {
        let values = array.as_boolean_opt()?;
        values.is_valid(row).then(|| values.value(row))
    }
}

impl<'a> FromValue<'a> for &'a str {
    fn from_value(array: &'a dyn Array, row: usize) -> Option<Self> {
        let values = array.as_string_opt::<i32>()?;
        values.is_valid(row).then(|| values.value(row))
    }
}

impl FromValue<'_> for String {
    fn from_value(array: &dyn Array, row: usize) -> Option<Self> {
        let values = array.as_string_opt::<i32>()?;
        values.is_valid(row).then(|| values.value(row).to_owned())
    }
}

impl<'a> FromValue<'a> for &'a [u8] {
    fn from_value(array: &'a dyn Array, row: usize) -> Option<Self> {
        let values = array.as_binary_opt::<i32>()?;
        values.is_valid(row).then(|| values.value(row))
    }
}

/// A TIMESTAMP.
impl FromValue<'_> for DateTime<Utc> {
    fn from_value(array: &dyn Array, row: usize) -> Option<Self> {
        let DataType::Timestamp(TimeUnit::Microsecond, Some(_)) = array.data_type() else { return None };
        DateTime::from_timestamp_micros(primitive::<TimestampMicrosecondType>(array, row)?)
    }
}

/// A TIMESTAMP_NTZ.
impl FromValue<'_> for NaiveDateTime {
    fn from_value(array: &dyn Array, row: usize) -> Option<Self> {
        let DataType::Timestamp(TimeUnit::Microsecond, None) = array.data_type() else { return None };
        DateTime::from_timestamp_micros(primitive::<TimestampMicrosecondType>(array, row)?).map(|time| time.naive_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::conformance::rows;
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Record {
        n: i64,
        value: String,
    }

    #[test]
    fn values_by_name_and_rows_as_structs() {
        let mut found = Vec::new();
        let batch = rows(0..2);
        each(&batch, |row| {
            assert_eq!(row.get::<Option<i64>>("N")?, Some(row.get::<i64>("n")?));
            assert!(!row.is_null("value")?);
            found.push(row.to::<Record>()?);
            Ok(())
        })
        .unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Record { n: 1, value: "row 1".into() });
    }

    #[test]
    fn a_wrong_column_or_type_is_an_error() {
        let batch = rows(0..1);
        let mut errors = Vec::new();
        each(&batch, |row| {
            errors.push(row.get::<i64>("nothing").unwrap_err());
            errors.push(row.get::<&str>("n").unwrap_err());
            Ok(())
        })
        .unwrap();
        assert_eq!(errors[0].condition(), Some("FIELD_NOT_FOUND"));
        assert!(errors[1].message().contains("'n' is BIGINT"), "{}", errors[1]);
    }
}
