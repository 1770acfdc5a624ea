//! Parts of values: `s.field`, `array[i]`, `map[key]`.
//!
//! In come a bound value and the name or index of a part, out goes the part. A null value has null parts. An array of
//! structs has arrays of fields. Names match whatever their case.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, UInt32Array, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp;
use arrow::compute::{self, take};
use arrow::datatypes::{DataType, Fields, Int32Type};
use datafusion::logical_expr::Expr;

use super::Context;
use super::coerce::{is_integral, type_name, unexpected};
use super::kernel::Kernel;
use super::single::{self, Value};
use crate::sql::literal;
use crate::{Error, Result, types};

/// Name of the kernel that takes a field out of a struct; its parameter is the field's name.
pub const GET_FIELD: &str = "get_field";

/// Name of the kernel that takes an element out of an array; its parameter says whether a missing one is an error.
pub const GET_ITEM: &str = "get_array_item";

/// Takes out a field of a field of ... of a value.
///
/// # Errors
/// As [`field`].
pub fn fields(value: Expr, names: &[&str], context: Context<'_>) -> Result<Expr> {
    names.iter().try_fold(value, |value, name| field(value, name, context))
}

/// Takes a field out of a struct, of each struct in an array, or the value of a key out of a map.
///
/// # Errors
/// `FIELD_NOT_FOUND`, `AMBIGUOUS_REFERENCE_TO_FIELDS`, `INVALID_EXTRACT_BASE_FIELD_TYPE`.
pub fn field(value: Expr, name: &str, context: Context<'_>) -> Result<Expr> {
    match context.type_of(&value)? {
        DataType::Struct(fields) => {
            let index = index_of(&fields, name)?;
            let result = fields[index].data_type().clone();
            Ok(field_at(index, &name.to_lowercase(), result).call(vec![value]))
        }
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            array_fields(value, item.data_type(), name)
        }
        DataType::Map(..) => subscript(value, literal::string(name), context),
        other => Err(Error::query(
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            format!(
                "cannot extract field '{name}' from a value of type {}: it needs a struct, array of structs or map",
                type_name(&other)
            ),
        )),
    }
}

/// Takes the field at `index` out of a struct of these fields.
pub fn nth_field(value: Expr, fields: &Fields, index: usize) -> Expr {
    let field = &fields[index];
    field_at(index, &field.name().to_lowercase(), field.data_type().clone()).call(vec![value])
}

fn index_of(fields: &Fields, name: &str) -> Result<usize> {
    let mut found = fields.iter().enumerate().filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => {
            Err(Error::query("AMBIGUOUS_REFERENCE_TO_FIELDS", format!("the struct has several fields called `{name}`")))
        }
        (None, _) => {
            let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name())).collect();
            Err(Error::query("FIELD_NOT_FOUND", format!("no such struct field `{name}` in {}", names.join(", "))))
        }
    }
}

/// The child array, null where the struct is.
fn struct_field(value: &ArrayRef, index: usize) -> Result<ArrayRef> {
    let value = value.as_struct();
    with_nulls(value.column(index), value.nulls())
}

fn with_nulls(array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return Ok(Arc::clone(array)) };
    if *array.data_type() == DataType::Null {
        return Ok(Arc::clone(array));
    }
    let merged = NullBuffer::union(Some(nulls), array.logical_nulls().as_ref());
    let data = array.to_data().into_builder().nulls(merged).build()?;
    Ok(make_array(data))
}

/// The function that takes field `index` out of a struct.
fn field_at(index: usize, name: &str, result: DataType) -> Kernel {
    Kernel::arrays(GET_FIELD, result, move |args| struct_field(&args[0], index))
        .key(name)
        .singly(move |values| single_field(values, index))
}

fn single_field<'a>(values: &[Value<'a>], index: usize) -> Option<Value<'a>> {
    let [Value::Nested(structs, row)] = values else { return None };
    single::read(structs.as_struct_opt()?.columns().get(index)?.as_ref(), *row)
}

/// A field of a struct that is computed for nothing else, if its function knows how to ([`Kernel::part`]); else nothing.
pub fn narrowed(expr: &Expr) -> Option<Expr> {
    let (taking, args) = Kernel::of(expr).filter(|(kernel, _)| kernel.function_name() == GET_FIELD)?;
    let (making, inputs) = Kernel::of(args.first()?)?;
    let smaller = making.part(taking.parameters())?.call(inputs.to_vec());
    Some(field_at(0, taking.parameters(), taking.result_type().clone()).call(vec![smaller]))
}

fn array_fields(value: Expr, item: &DataType, name: &str) -> Result<Expr> {
    let DataType::Struct(fields) = item else { return Err(Error::internal("an array of structs has structs")) };
    let index = index_of(fields, name)?;
    let result = types::list(fields[index].data_type().clone());
    let DataType::List(field) = result.clone() else { return Err(Error::internal("a list type is a list type")) };
    let run = move |args: &[ArrayRef]| {
        let list = args[0].as_list::<i32>();
        let values = struct_field(list.values(), index)?;
        Ok(Arc::new(ListArray::try_new(Arc::clone(&field), list.offsets().clone(), values, list.nulls().cloned())?)
            as ArrayRef)
    };
    Ok(Kernel::arrays("get_fields", result, run).key(name.to_lowercase()).call(vec![value]))
}

/// `value[index]`: an array's element (from 0), a map's value, a struct's field.
///
/// # Errors
/// `INVALID_EXTRACT_BASE_FIELD_TYPE`, `DATATYPE_MISMATCH.*`; when run under ANSI: `INVALID_ARRAY_INDEX`.
pub fn subscript(value: Expr, index: Expr, context: Context<'_>) -> Result<Expr> {
    let data_type = context.type_of(&value)?;
    match &data_type {
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) && is_name(&index) => {
            array_fields(value, item.data_type(), literal::constant_string(&index).unwrap_or_default())
        }
        DataType::List(item) => {
            let index = array_index(index, context)?;
            let ansi = context.conf.ansi();
            let run = move |args: &[ArrayRef]| element(args[0].as_list(), &args[1], ansi);
            Ok(Kernel::arrays(GET_ITEM, item.data_type().clone(), run)
                .key(ansi)
                .fallible_if(ansi)
                .singly(single_element)
                .call(vec![value, index]))
        }
        DataType::Map(..) => {
            let (key, item) =
                types::map_types(&data_type).ok_or_else(|| Error::internal("a map has keys and values"))?;
            let (key, item) = (key.data_type().clone(), item.data_type().clone());
            let index = context.implicit(index, &key)?;
            Ok(Kernel::arrays("get_map_value", item, |args| map_value(args[0].as_map(), &args[1]))
                .call(vec![value, index]))
        }
        DataType::Struct(_) => match literal::constant_string(&index) {
            Some(name) => field(value, name, context),
            None => Err(Error::query("INVALID_EXTRACT_FIELD", "a field's name must be a constant string")),
        },
        other => Err(Error::query(
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            format!(
                "cannot take an element out of a value of type {}: it needs an array, map or struct",
                type_name(other)
            ),
        )),
    }
}

fn is_name(index: &Expr) -> bool {
    literal::constant_string(index).is_some()
}

/// An array's index: a whole number, which is not made of a text.
fn array_index(index: Expr, context: Context<'_>) -> Result<Expr> {
    match context.type_of(&index)? {
        DataType::Null => context.implicit(index, &DataType::Int32),
        data_type if is_integral(&data_type) => context.implicit(index, &DataType::Int32),
        other => Err(unexpected(&index, &other, "\"INTEGRAL\"")),
    }
}

/// The element of each list at the row's index, null where there is none; under ANSI that is an error.
pub(super) fn element(list: &ListArray, index: &ArrayRef, ansi: bool) -> Result<ArrayRef> {
    let index = index.as_primitive::<Int32Type>();
    let offsets = list.value_offsets();
    let mut picked: Vec<Option<u32>> = Vec::with_capacity(list.len());
    for row in 0..list.len() {
        if list.is_null(row) || index.is_null(row) {
            picked.push(None);
            continue;
        }
        let (at, length) = (index.value(row), offsets[row + 1] - offsets[row]);
        let inside = (0..length).contains(&at);
        if ansi && !inside {
            return Err(invalid_index(at, length));
        }
        picked.push(inside.then(|| (offsets[row] + at) as u32));
    }
    match picked[..] {
        // Of one row nothing needs to be copied.
        [Some(at)] => Ok(list.values().slice(at as usize, 1)),
        _ => Ok(take(list.values(), &UInt32Array::from(picked), None)?),
    }
}

fn single_element<'a>(values: &[Value<'a>]) -> Option<Value<'a>> {
    let [Value::Nested(lists, row), Value::Whole(at)] = values else { return None };
    let lists = lists.as_list_opt::<i32>()?;
    let (start, length) = (lists.value_offsets()[*row], lists.value_length(*row));
    let at = i32::try_from(*at).ok().filter(|at| (0..length).contains(at))?;
    single::read(lists.values().as_ref(), (start + at) as usize)
}

/// `INVALID_ARRAY_INDEX`.
pub(super) fn invalid_index(at: i32, length: i32) -> Error {
    Error::data("INVALID_ARRAY_INDEX", format!("the index {at} is out of bounds, the array has {length} elements"))
        .hint("Use get() to get null instead, or set spark.sql.ansi.enabled to false.")
}

/// The value of a key in each map; null where there is none.
pub fn map_value(map: &MapArray, key: &ArrayRef) -> Result<ArrayRef> {
    let offsets = map.value_offsets();
    let owners: Vec<u32> = (0..map.len())
        .flat_map(|row| std::iter::repeat_n(row as u32, (offsets[row + 1] - offsets[row]) as usize))
        .collect();
    let first = offsets.first().map_or(0, |offset| *offset as usize);
    let wanted = take(key, &UInt32Array::from(owners), None)?;
    let keys = map.keys().slice(first, wanted.len());
    let equal: BooleanArray = cmp::eq(&keys, &wanted)?;
    let equal = if equal.null_count() > 0 { compute::prep_null_mask_filter(&equal) } else { equal };
    let find = |row: usize| {
        let mut entries = offsets[row]..offsets[row + 1];
        entries.find(|entry| equal.value(*entry as usize - first)).map(|entry| entry as u32)
    };
    let picked: UInt32Array = (0..map.len()).map(|row| if map.is_null(row) { None } else { find(row) }).collect();
    Ok(take(map.values(), &picked, None)?)
}
