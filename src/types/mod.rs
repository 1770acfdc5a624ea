//! Spark's types as Arrow types, and their texts.
//!
//! TIMESTAMP is `Timestamp(Microsecond, "UTC")`, TIMESTAMP_NTZ is `Timestamp(Microsecond, None)`, STRING is `Utf8`,
//! BINARY is `Binary`, DECIMAL(p,s) is `Decimal128`, DATE is `Date32`, TIME is `Time64(Microsecond)`, day-time intervals
//! are `Duration(Microsecond)`, year-month intervals `Interval(YearMonth)`, calendar intervals `Interval(MonthDayNano)`,
//! VOID is `Null`, VARIANT a struct of two BINARY fields that are never null ([`variant`]). Every column is nullable, as in a Spark stream.
//!
//! The constructors here are the only place that knows what the inner fields of lists and maps are called; two types
//! built by them compare equal exactly if Spark's types do.

pub mod calendar;
pub mod datetime_pattern;
pub mod datetime_text;
mod ddl;
pub mod interval_text;
mod names;
pub mod number_text;
pub mod zone;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

pub use ddl::{parse_ddl, parse_type, parse_type_or_schema};
pub(crate) use names::quoted as quoted_name;
pub use names::{catalog_name, column_type_name, simple_name, sql_name, tree_string};

/// Name of the elements' field in a list type.
pub const LIST_ITEM: &str = "item";
/// Name of the entries' field in a map type.
pub const MAP_ENTRIES: &str = "entries";
/// Name of the keys' field in a map's entries.
pub const MAP_KEY: &str = "key";
/// Name of the values' field in a map's entries.
pub const MAP_VALUE: &str = "value";

/// A nullable column.
pub fn field(name: impl Into<String>, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// TIMESTAMP: an instant, in microseconds since 1970 UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// TIMESTAMP_NTZ: a local date and time, in microseconds since 1970-01-01 00:00 of no zone.
pub fn timestamp_ntz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// `ARRAY<element>`, the elements being nullable.
pub fn list(element: DataType) -> DataType {
    DataType::List(list_item(element))
}

/// The elements' field of `ARRAY<element>`.
pub fn list_item(element: DataType) -> FieldRef {
    Arc::new(field(LIST_ITEM, element))
}

/// MAP<key, value>, keys never null, values nullable, in the order they were put in.
pub fn map(key: DataType, value: DataType) -> DataType {
    DataType::Map(map_entries(key, value), false)
}

/// The entries' field of MAP<key, value>.
pub fn map_entries(key: DataType, value: DataType) -> FieldRef {
    let fields = Fields::from(vec![Field::new(MAP_KEY, key, false), field(MAP_VALUE, value)]);
    Arc::new(Field::new(MAP_ENTRIES, DataType::Struct(fields), false))
}

/// STRUCT<name: type, ...>, all fields nullable.
pub fn structure<'a>(fields: impl IntoIterator<Item = (&'a str, DataType)>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, data_type)| field(name, data_type)).collect())
}

/// VARIANT: a value that carries its own shape, as the metadata and value of the open binary encoding.
pub fn variant() -> DataType {
    let part = |name| Field::new(name, DataType::Binary, false);
    DataType::Struct(Fields::from(vec![part("metadata"), part("value")]))
}

/// True for VARIANT. Fields of other structs may all be null, so nothing else looks like it.
pub fn is_variant(data_type: &DataType) -> bool {
    let is_part = |field: &FieldRef| !field.is_nullable() && *field.data_type() == DataType::Binary;
    matches!(data_type, DataType::Struct(fields)
        if fields.len() == 2 && fields[0].name() == "metadata" && fields[1].name() == "value" && fields.iter().all(is_part))
}

/// Key and value type of a map type; `None` for any other type.
pub fn map_types(data_type: &DataType) -> Option<(&Field, &Field)> {
    let DataType::Map(entries, _) = data_type else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    match fields.as_ref() {
        [key, value] => Some((key, value)),
        _ => None,
    }
}
