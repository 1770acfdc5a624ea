//! `schema_of_variant`: the type that a value's parts have in common, as text.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::{Item, Value};
use crate::functions::coerce::decimal_for;
use crate::types::{self, sql_name};

/// What is known of a value's type.
#[derive(Debug, Clone, PartialEq)]
enum Schema {
    Void,
    Plain(DataType),
    Array(Box<Schema>),
    Object(BTreeMap<String, Schema>),
    /// Parts that have nothing in common.
    Variant,
}

/// The text of a value's schema; `None` if its bytes are damaged.
pub(crate) fn schema_text(value: &Value<'_>) -> Option<String> {
    let mut out = String::new();
    schema(value)?.put(&mut out);
    Some(out)
}

fn schema(value: &Value<'_>) -> Option<Schema> {
    Some(match value.item()? {
        Item::Null => Schema::Void,
        Item::Boolean(_) => Schema::Plain(DataType::Boolean),
        Item::Integer(_) => Schema::Plain(DataType::Int64),
        Item::Double(_) => Schema::Plain(DataType::Float64),
        Item::Float(_) => Schema::Plain(DataType::Float32),
        Item::Decimal(unscaled, scale) => Schema::Plain(decimal(unscaled, scale)),
        Item::Date(_) => Schema::Plain(DataType::Date32),
        Item::Timestamp(_) => Schema::Plain(types::timestamp()),
        Item::TimestampNtz(_) => Schema::Plain(types::timestamp_ntz()),
        Item::Binary(_) => Schema::Plain(DataType::Binary),
        Item::Text(_) => Schema::Plain(DataType::Utf8),
        Item::Object(object) => Schema::Object(
            object.iter().map(|(name, value)| Some((name?.to_owned(), schema(&value?)?))).collect::<Option<_>>()?,
        ),
        Item::Array(array) => {
            let merged = array.iter().try_fold(Schema::Void, |all, value| Some(all.merge(schema(&value?)?)))?;
            Schema::Array(Box::new(merged))
        }
    })
}

/// The smallest DECIMAL that holds the number.
fn decimal(unscaled: i128, scale: u8) -> DataType {
    let digits = unscaled.unsigned_abs().checked_ilog10().map_or(1, |log| log as u8 + 1);
    DataType::Decimal128(digits.max(scale), scale as i8)
}

impl Schema {
    fn merge(self, other: Schema) -> Schema {
        match (self, other) {
            (Schema::Void, some) | (some, Schema::Void) => some,
            (a, b) if a == b => a,
            (Schema::Plain(a), Schema::Plain(b)) => plain(&a, &b).map_or(Schema::Variant, Schema::Plain),
            (Schema::Array(a), Schema::Array(b)) => Schema::Array(Box::new(a.merge(*b))),
            (Schema::Object(mut a), Schema::Object(b)) => {
                for (name, schema) in b {
                    let merged = a.remove(&name).unwrap_or(Schema::Void).merge(schema);
                    a.insert(name, merged);
                }
                Schema::Object(a)
            }
            _ => Schema::Variant,
        }
    }

    fn put(&self, out: &mut String) {
        match self {
            Schema::Void => out.push_str("VOID"),
            Schema::Variant => out.push_str("VARIANT"),
            Schema::Plain(data_type) => out.push_str(&sql_name(data_type)),
            Schema::Array(item) => {
                out.push_str("ARRAY<");
                item.put(out);
                out.push('>');
            }
            Schema::Object(fields) => {
                out.push_str("OBJECT<");
                for (position, (name, schema)) in fields.iter().enumerate() {
                    out.push_str(if position > 0 { ", " } else { "" });
                    out.push_str(&types::quoted_name(name));
                    out.push_str(": ");
                    schema.put(out);
                }
                out.push('>');
            }
        }
    }
}

/// The type that holds numbers or times of both types.
fn plain(left: &DataType, right: &DataType) -> Option<DataType> {
    let is_floating = |data_type: &DataType| matches!(data_type, DataType::Float32 | DataType::Float64);
    let is_number = |data_type: &DataType| is_floating(data_type) || decimal_for(data_type).is_some();
    match (left, right) {
        (DataType::Date32, time @ DataType::Timestamp(..)) | (time @ DataType::Timestamp(..), DataType::Date32) => {
            Some(time.clone())
        }
        (DataType::Timestamp(..), DataType::Timestamp(..)) => Some(types::timestamp()),
        (DataType::Float32, DataType::Int64) | (DataType::Int64, DataType::Float32) => Some(DataType::Float32),
        (a, b) if (is_floating(a) || is_floating(b)) && is_number(a) && is_number(b) => Some(DataType::Float64),
        (a, b) => Some(wider(decimal_for(a)?, decimal_for(b)?)),
    }
}

/// The DECIMAL that holds both, or DOUBLE if that has more than 38 digits.
fn wider((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let scale = s1.max(s2);
    let whole = (p1 as i8 - s1).max(p2 as i8 - s2);
    match whole + scale {
        precision @ 0..=38 => DataType::Decimal128(precision as u8, scale),
        _ => DataType::Float64,
    }
}
