//! Values of other types to VARIANT: `CAST(x AS VARIANT)` and `to_variant_object`.
//!
//! In: a column. Out: a column of VARIANT; a null stays null, a null inside a value is the null of JSON. Structs and maps with
//! STRING keys become objects.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::{Builder, VariantColumn, Variants, malformed};
use crate::types::{is_variant, map_types};
use crate::{Error, Result};

/// Whether values of a type can become VARIANT; structs and maps only if `with_objects`.
pub(crate) fn can_become(data_type: &DataType, with_objects: bool) -> bool {
    match data_type {
        data_type if is_variant(data_type) => true,
        DataType::List(item) => can_become(item.data_type(), with_objects),
        DataType::Struct(fields) => {
            with_objects && fields.iter().all(|field| can_become(field.data_type(), with_objects))
        }
        DataType::Map(..) => map_types(data_type).is_some_and(|(key, value)| {
            with_objects && *key.data_type() == DataType::Utf8 && can_become(value.data_type(), with_objects)
        }),
        DataType::Interval(_) | DataType::Duration(_) | DataType::Time64(_) => false,
        _ => true,
    }
}

/// The column as VARIANT.
///
/// # Errors
/// A map with two entries of one key; a type that [`can_become`] refuses.
pub(crate) fn from_array(array: &ArrayRef) -> Result<ArrayRef> {
    let (mut column, mut builder) = (VariantColumn::default(), Builder::default());
    for row in 0..array.len() {
        if array.is_null(row) {
            column.push(None);
        } else {
            append(array, row, &mut builder)?;
            column.push_built(&mut builder);
        }
    }
    column.finish()
}

fn append(array: &ArrayRef, row: usize, out: &mut Builder) -> Result<()> {
    if array.is_null(row) {
        out.null();
        return Ok(());
    }
    match array.data_type() {
        DataType::Null => out.null(),
        DataType::Boolean => out.boolean(array.as_boolean().value(row)),
        DataType::Int8 => out.integer(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => out.integer(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => out.integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => out.integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => out.float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            out.decimal(array.as_primitive::<Decimal128Type>().value(row), scale.unsigned_abs());
        }
        DataType::Date32 => out.date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(_, Some(_)) => out.timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Timestamp(_, None) => out.timestamp_ntz(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Utf8 => out.text(array.as_string::<i32>().value(row)),
        DataType::Binary => out.binary(array.as_binary::<i32>().value(row)),
        _ => return nested(array, row, out),
    }
    Ok(())
}

fn nested(array: &ArrayRef, row: usize, out: &mut Builder) -> Result<()> {
    match array.data_type() {
        data_type if is_variant(data_type) => {
            let value = Variants::of(array)?.get(row).ok_or_else(malformed)?;
            out.copy(&value).ok_or_else(malformed)
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row), out),
        DataType::Struct(_) => structure(array, row, out),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            map(entries.column(0), entries.column(1), out)
        }
        other => Err(Error::internal(format!("no VARIANT holds a {other}"))),
    }
}

fn list(items: &ArrayRef, out: &mut Builder) -> Result<()> {
    let (start, mut offsets) = (out.start(), Vec::with_capacity(items.len()));
    for item in 0..items.len() {
        offsets.push(out.start() - start);
        append(items, item, out)?;
    }
    out.end_array(start, &offsets);
    Ok(())
}

fn structure(array: &ArrayRef, row: usize, out: &mut Builder) -> Result<()> {
    let array = array.as_struct();
    let (start, mut fields) = (out.start(), Vec::with_capacity(array.num_columns()));
    for (field, column) in array.fields().iter().zip(array.columns()) {
        fields.push(out.field(field.name(), start));
        append(column, row, out)?;
    }
    out.end_object(start, fields).map_err(duplicate_key)
}

fn map(keys: &ArrayRef, values: &ArrayRef, out: &mut Builder) -> Result<()> {
    let names = keys.as_string::<i32>();
    let (start, mut fields) = (out.start(), Vec::with_capacity(keys.len()));
    for entry in 0..keys.len() {
        fields.push(out.field(names.value(entry), start));
        append(values, entry, out)?;
    }
    out.end_object(start, fields).map_err(duplicate_key)
}

/// `VARIANT_DUPLICATE_KEY`: an object has two fields of one name.
pub(crate) fn duplicate_key(name: String) -> Error {
    Error::data("VARIANT_DUPLICATE_KEY", format!("failed to build a variant because of the duplicate key `{name}`"))
}
