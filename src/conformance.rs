//! Values of the conformance corpus as JSON: Arrow to JSON, JSON to Arrow, and when two are equal.
//!
//! In: arrays and the JSON of `tests/conformance`. The forms are those of the corpus: times in UTC, decimals and binary as
//! texts, maps as lists of pairs, intervals as Spark prints them. Only tests use it.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use serde_json::{Value, json};

use crate::functions::cast::{Mode, cast_array, show};
use crate::types::datetime_text::{format_date, format_timestamp_ntz};
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// All expression files of the corpus, or of the folder that `THALWEG_CONFORMANCE` names, sorted by path.
pub(crate) fn expression_files() -> Result<Vec<Value>> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");
    let root = std::env::var_os("THALWEG_CONFORMANCE").unwrap_or_else(|| own.into());
    let mut paths = Vec::new();
    for area in std::fs::read_dir(root)?.flatten().filter(|area| area.path().is_dir()) {
        paths.extend(std::fs::read_dir(area.path())?.flatten().map(|file| file.path()));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let files = paths.iter().map(|path| {
        let file = serde_json::from_str::<Value>(&std::fs::read_to_string(path)?);
        file.map_err(|error| Error::internal(format!("'{}' is no case: {error}", path.display())))
    });
    let files = files.collect::<Result<Vec<Value>>>()?;
    Ok(files.into_iter().filter(|file| file["kind"] == "expr").collect())
}

/// The value in `row` as the corpus writes it.
pub(crate) fn value_at(array: &ArrayRef, row: usize) -> Result<Value> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Binary => {
            array.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
        DataType::Date32 => text(|out| format_date(i64::from(array.as_primitive::<Date32Type>().value(row)), out)),
        DataType::Timestamp(_, zone) => {
            timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row), zone.is_some())
        }
        other if is_by_text(other) => {
            let texts = cast_array(array, &DataType::Utf8, Mode::Ansi, &Zone::utc())?;
            return value_at(&texts, row);
        }
        DataType::List(_) | DataType::Struct(_) | DataType::Map(..) => return nested(array, row),
        _ => show::value_text(array, row).into(),
    })
}

/// Values that are compared by their text, also when they stand inside others.
fn is_by_text(data_type: &DataType) -> bool {
    match data_type {
        other if types::is_variant(other) => true,
        DataType::Interval(_) | DataType::Duration(_) => true,
        DataType::List(item) | DataType::Map(item, _) => is_by_text(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_by_text(field.data_type())),
        _ => false,
    }
}

fn text(write: impl FnOnce(&mut String)) -> Value {
    let mut out = String::new();
    write(&mut out);
    out.into()
}

fn float(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        (if value > 0.0 { "Infinity" } else { "-Infinity" }).into()
    } else {
        value.into()
    }
}

fn timestamp(micros: i64, utc: bool) -> Value {
    text(|out| {
        format_timestamp_ntz(micros, out);
        *out = out.replacen(' ', "T", 1);
        if utc {
            out.push('Z');
        }
    })
}

fn nested(array: &ArrayRef, row: usize) -> Result<Value> {
    let all = |values: &ArrayRef| (0..values.len()).map(|row| value_at(values, row)).collect::<Result<Vec<_>>>();
    match array.data_type() {
        DataType::List(_) => Ok(all(&array.as_list::<i32>().value(row))?.into()),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (all(entries.column(0))?, all(entries.column(1))?);
            Ok(json!({"map": keys.into_iter().zip(values).map(|(key, value)| json!([key, value])).collect::<Vec<_>>()}))
        }
        _ => {
            let value = array.as_struct();
            let fields = value.fields().iter().zip(value.columns());
            let fields = fields.map(|(field, column)| Ok((field.name().clone(), value_at(column, row)?)));
            Ok(Value::Object(fields.collect::<Result<_>>()?))
        }
    }
}

/// Whether two values of a type are equal: floats nearly, maps in any order, the rest exactly.
pub(crate) fn equal(left: &Value, right: &Value, type_name: &str) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b, type_name),
        (Value::Array(a), Value::Array(b)) => all_equal(a, b, type_name),
        (Value::Object(a), Value::Object(b)) => match (a.get("map"), b.get("map")) {
            (Some(Value::Array(a)), Some(Value::Array(b))) => same_entries(a, b, type_name),
            _ => {
                a.len() == b.len()
                    && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| equal(value, other, type_name)))
            }
        },
        (a, b) => a == b,
    }
}

fn all_equal(left: &[Value], right: &[Value], type_name: &str) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| equal(a, b, type_name))
}

fn same_entries(left: &[Value], right: &[Value], type_name: &str) -> bool {
    left.len() == right.len() && left.iter().all(|entry| right.iter().any(|other| equal(entry, other, type_name)))
}

fn numbers(left: &serde_json::Number, right: &serde_json::Number, type_name: &str) -> bool {
    if let (Some(a), Some(b)) = (left.as_i64(), right.as_i64()) {
        return a == b;
    }
    let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else { return false };
    let tolerance = if type_name.contains("float") { 1e-6 } else { 1e-9 };
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

/// A column of `data_type` from JSON values as they stand in the corpus' inputs.
pub(crate) fn column(data_type: &DataType, values: &[Value]) -> Result<ArrayRef> {
    match data_type {
        DataType::List(item) => lists(item, values),
        DataType::Struct(fields) => structs(fields, values),
        DataType::Map(..) => maps(data_type, values),
        _ => {
            let texts: StringArray = values.iter().map(plain_text).collect();
            cast_array(&(Arc::new(texts) as ArrayRef), data_type, Mode::Ansi, &Zone::utc())
        }
    }
}

fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn lists(item: &FieldRef, values: &[Value]) -> Result<ArrayRef> {
    let lengths = values.iter().map(|value| value.as_array().map_or(0, Vec::len));
    let all: Vec<Value> = values.iter().filter_map(Value::as_array).flatten().cloned().collect();
    let nulls = values.iter().map(|value| value.is_array()).collect::<Vec<_>>().into();
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, column(item.data_type(), &all)?, Some(nulls))?))
}

fn structs(fields: &Fields, values: &[Value]) -> Result<ArrayRef> {
    let part = |field: &FieldRef| {
        let values: Vec<Value> =
            values.iter().map(|value| value.get(field.name()).cloned().unwrap_or_default()).collect();
        column(field.data_type(), &values)
    };
    let columns = fields.iter().map(part).collect::<Result<Vec<_>>>()?;
    let nulls = values.iter().map(|value| value.is_object()).collect::<Vec<_>>().into();
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, Some(nulls))?))
}

fn maps(data_type: &DataType, values: &[Value]) -> Result<ArrayRef> {
    let (DataType::Map(entries, _), Some((key, value))) = (data_type, types::map_types(data_type)) else {
        return Err(Error::internal("the type is a map"));
    };
    let objects = || values.iter().filter_map(Value::as_object).flatten();
    let keys: Vec<Value> = objects().map(|(key, _)| key.clone().into()).collect();
    let items: Vec<Value> = objects().map(|(_, value)| value.clone()).collect();
    let columns = vec![column(key.data_type(), &keys)?, column(value.data_type(), &items)?];
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structs")) };
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(
        values.iter().map(|value| value.as_object().map_or(0, |map| map.len())),
    );
    let nulls = values.iter().map(|value| value.is_object()).collect::<Vec<_>>().into();
    let entries_array = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, entries_array, Some(nulls), false)?))
}
