//! VARIANT: values whose shape is known only when they are read, in the open binary encoding that Spark and Parquet share.
//!
//! A column of VARIANT is a struct of two BINARY columns that are never null: `metadata` holds the names of all fields, `value`
//! the value, which names fields by their number. No other type of ours has fields that cannot be null, so a schema tells
//! VARIANT apart by its type alone. [`write`] builds values, [`read`] looks into them, [`json`] is their text,
//! [`convert`] and [`from_arrow`] are the ways to other types and back. Nothing here panics on bytes that are damaged.

mod convert;
mod from_arrow;
mod json;
mod path;
mod read;
mod schema;
mod write;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, NullBufferBuilder, StructArray};
use arrow::datatypes::{DataType, Fields};

use crate::{Error, Result, types};

pub(crate) use convert::{Target, extract};
pub(crate) use from_arrow::{can_become, duplicate_key, from_array};
pub(crate) use json::{Problem, json_text, parse, parse_token, plain_text};
pub(crate) use path::Path;
pub(crate) use read::{Item, Value};
pub(crate) use schema::schema_text;
pub(crate) use write::Builder;

/// A column of VARIANT, row by row.
pub(crate) struct Variants<'a> {
    array: &'a StructArray,
    metadata: &'a BinaryArray,
    value: &'a BinaryArray,
}

impl<'a> Variants<'a> {
    /// The values of a column.
    ///
    /// # Errors
    /// An internal error if it is of another type.
    pub(crate) fn of(array: &'a ArrayRef) -> Result<Variants<'a>> {
        let wrong = || Error::internal(format!("a VARIANT is expected but the type is {}", array.data_type()));
        let array = array.as_struct_opt().ok_or_else(wrong)?;
        match array.columns() {
            [metadata, value] => Ok(Variants {
                array,
                metadata: metadata.as_binary_opt().ok_or_else(wrong)?,
                value: value.as_binary_opt().ok_or_else(wrong)?,
            }),
            _ => Err(wrong()),
        }
    }

    /// The value in `row`; `None` if it is null.
    pub(crate) fn get(&self, row: usize) -> Option<Value<'a>> {
        self.array.is_valid(row).then(|| Value::new(self.metadata.value(row), self.value.value(row)))
    }

    /// All values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<Value<'a>>> + '_ {
        (0..self.array.len()).map(|row| self.get(row))
    }
}

/// A column of VARIANT under construction.
#[derive(Default)]
pub(crate) struct VariantColumn {
    metadata: BinaryBuilder,
    value: BinaryBuilder,
    nulls: Option<NullBufferBuilder>,
}

impl VariantColumn {
    /// Appends what the builder holds and empties it.
    pub(crate) fn push_built(&mut self, builder: &mut Builder) {
        self.metadata.append_value(builder.metadata());
        self.value.append_value(builder.value());
        self.nulls().append_non_null();
        builder.clear();
    }

    /// Appends a value, or null.
    pub(crate) fn push(&mut self, value: Option<&Value<'_>>) {
        let (metadata, bytes) = value.map_or((&[][..], &[][..]), |value| value.parts());
        self.metadata.append_value(metadata);
        self.value.append_value(bytes);
        self.nulls().append(value.is_some());
    }

    fn nulls(&mut self) -> &mut NullBufferBuilder {
        self.nulls.get_or_insert_with(|| NullBufferBuilder::new(0))
    }

    /// The column.
    pub(crate) fn finish(mut self) -> Result<ArrayRef> {
        let DataType::Struct(fields) = types::variant() else { return Err(Error::internal("VARIANT is a struct")) };
        let nulls = self.nulls().finish();
        structure(fields, self, nulls)
    }
}

fn structure(fields: Fields, mut parts: VariantColumn, nulls: Option<arrow::buffer::NullBuffer>) -> Result<ArrayRef> {
    let columns: Vec<ArrayRef> =
        vec![std::sync::Arc::new(parts.metadata.finish()), std::sync::Arc::new(parts.value.finish())];
    Ok(std::sync::Arc::new(StructArray::try_new(fields, columns, nulls)?))
}

/// `MALFORMED_VARIANT`: the bytes are no VARIANT.
pub(crate) fn malformed() -> Error {
    Error::data("MALFORMED_VARIANT", "the bytes of a VARIANT are malformed")
}

#[cfg(test)]
mod tests;
