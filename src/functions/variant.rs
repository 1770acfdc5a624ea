//! Functions over VARIANT: parse_json, variant_get, schema_of_variant, is_variant_null, variant_explode, ...
//!
//! In: STRING columns of JSON, VARIANT columns and paths into them. Out: VARIANT, or the type that was asked for. The encoding
//! is in `crate::variant`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields};
use datafusion::logical_expr::Expr;

use super::arguments::{Compiled, coerced, constant_text};
use super::coerce::{implicit, unexpected};
use super::rows::{Rows, over_rows, put};
use super::{Call, Function, function, generator};
use crate::types::zone::Zone;
use crate::variant::{
    Builder, Item, Path, Problem, Target, Value, VariantColumn, Variants, can_become, extract, from_array, parse,
    schema_text,
};
use crate::{Error, Result, types};

const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["parse_json"], |call| parse_json(call, "parse_json", false)),
    function(&["try_parse_json"], |call| parse_json(call, "try_parse_json", true)),
    function(&["variant_get"], |call| variant_get(call, "variant_get", false)),
    function(&["try_variant_get"], |call| variant_get(call, "try_variant_get", true)),
    function(&["is_variant_null"], is_variant_null),
    function(&["is_valid_variant"], is_valid_variant),
    function(&["schema_of_variant"], schema_of_variant),
    function(&["to_variant_object"], to_variant_object),
    function(&["variant_explode"], |call| variant_explode(call, false)),
    function(&["variant_explode_outer"], |call| variant_explode(call, true)),
];

fn parse_json(mut call: Call<'_>, name: &'static str, null_if_bad: bool) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    let kernel = over_rows(name, types::variant(), move |rows| {
        let texts = rows.strings(0)?;
        let (mut column, mut builder) = (VariantColumn::default(), Builder::default());
        for row in 0..rows.len() {
            match texts.get(row).map(|text| (text, parse(text, &mut builder))) {
                None => column.push(None),
                Some((_, Ok(()))) => column.push_built(&mut builder),
                Some(_) if null_if_bad => {
                    builder.clear();
                    column.push(None);
                }
                Some((text, Err(problem))) => return Err(not_parsed(text, problem)),
            }
        }
        column.finish()
    });
    Ok(kernel.fallible_if(!null_if_bad).call(args))
}

fn not_parsed(text: &str, problem: Problem) -> Error {
    match problem {
        Problem::DuplicateKey(name) => crate::variant::duplicate_key(name),
        Problem::Malformed(reason) => crate::formats::mode::malformed(text.as_bytes(), "parse_json".into(), reason)
            .hint("Use try_parse_json to get null instead."),
    }
}

/// The first argument, which must be VARIANT.
fn variant_argument(call: &Call<'_>, arg: &Expr) -> Result<()> {
    let data_type = call.type_of(arg)?;
    if types::is_variant(&data_type) { Ok(()) } else { Err(unexpected(arg, &data_type, "\"VARIANT\"")) }
}

/// An argument as VARIANT; an untyped null passes for one.
fn as_variant(call: &Call<'_>, arg: Expr) -> Result<Expr> {
    match call.type_of(&arg)? {
        arrow::datatypes::DataType::Null => call.cast(arg, &types::variant()),
        _ => variant_argument(call, &arg).map(|()| arg),
    }
}

/// The only argument, a VARIANT.
fn only_variant(call: &mut Call<'_>) -> Result<Vec<Expr>> {
    let args = call.values(1..=1)?;
    args.into_iter().map(|arg| as_variant(call, arg)).collect()
}

/// `variant_get(variant, path[, type])`.
fn variant_get(mut call: Call<'_>, name: &'static str, null_if_bad: bool) -> Result<Expr> {
    let mut args = call.values(2..=3)?;
    if let Some(first) = args.first_mut() {
        *first = as_variant(&call, first.clone())?;
    }
    let data_type = match args.get(2) {
        None => types::variant(),
        Some(arg) => {
            let text = constant_text(&call, arg, "type").ok().flatten();
            let text = text
                .ok_or_else(|| Error::query("INVALID_SCHEMA.NON_STRING_LITERAL", "the type must be a constant text"))?;
            types::parse_type(&text)?
        }
    };
    args.truncate(2);
    let path = args.pop().map(|path| implicit(path, &STRING, call.schema, call.conf)).transpose()?;
    args.extend(path);
    let zone = Zone::parse(call.conf.time_zone())?;
    let target = Target { data_type: data_type.clone(), null_if_bad, zone };
    let path = Compiled::new(&[&args[1]], move |texts| Path::parse(texts[0]).ok_or_else(|| bad_path(texts[0], name)))?;
    let key = format!("{} {}", types::simple_name(&data_type), target.zone.name());
    let kernel = over_rows(name, data_type, move |rows| {
        let (array, paths) = (rows.array(0)?, rows.strings(1)?);
        let (variants, mut path) = (Variants::of(&array)?, path.start());
        let find = |row| match (variants.get(row), paths.get(row)) {
            (Some(value), Some(text)) => Ok(path.get(&[text])?.find(value)),
            _ => Ok(None),
        };
        let found = (0..rows.len()).map(find).collect::<Result<Vec<Option<Value<'_>>>>>()?;
        extract(&found, &target)
    });
    Ok(kernel.key(key).fallible_if(!null_if_bad).call(args))
}

fn bad_path(path: &str, function: &str) -> Error {
    Error::query(
        "INVALID_VARIANT_GET_PATH",
        format!("the path `{path}` is not a valid variant extraction path in `{function}`"),
    )
    .hint("A valid path starts with `$` and goes on with segments like `[123]`, `.name`, `['name']` or `[\"name\"]`.")
}

fn is_variant_null(mut call: Call<'_>) -> Result<Expr> {
    let args = only_variant(&mut call)?;
    Ok(over_rows("is_variant_null", DataType::Boolean, |rows| {
        let array = rows.array(0)?;
        let variants = Variants::of(&array)?;
        rows.give_booleans(|row| Some(matches!(variants.get(row).and_then(|value| value.item()), Some(Item::Null))))
    })
    .call(args))
}

fn is_valid_variant(mut call: Call<'_>) -> Result<Expr> {
    let args = only_variant(&mut call)?;
    Ok(over_rows("is_valid_variant", DataType::Boolean, |rows| {
        let array = rows.array(0)?;
        let variants = Variants::of(&array)?;
        rows.give_booleans(|row| Some(schema_text(&variants.get(row)?).is_some()))
    })
    .call(args))
}

fn schema_of_variant(mut call: Call<'_>) -> Result<Expr> {
    let args = only_variant(&mut call)?;
    Ok(over_rows("schema_of_variant", STRING, schemas).call(args))
}

fn schemas(rows: &Rows<'_>) -> Result<ArrayRef> {
    let array = rows.array(0)?;
    let variants = Variants::of(&array)?;
    rows.try_give_strings(|row, out| {
        let text = schema_text(&variants.get(row)?).ok_or_else(crate::variant::malformed);
        Some(text.map(|text| put(out, &text)))
    })
}

fn to_variant_object(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=1)?;
    for arg in &args {
        let data_type = call.type_of(arg)?;
        let is_nested = matches!(data_type, DataType::List(_) | DataType::Struct(_) | DataType::Map(..));
        if !is_nested || !can_become(&data_type, true) {
            return Err(Error::query(
                "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
                format!("cannot cast \"{}\" to \"VARIANT\"", types::sql_name(&data_type)),
            ));
        }
    }
    Ok(over_rows("to_variant_object", types::variant(), |rows| from_array(&rows.array(0)?)).call(args))
}

/// A row for each field of an object or element of an array: place, name, value.
fn variant_explode(mut call: Call<'_>, outer: bool) -> Result<Expr> {
    let args = only_variant(&mut call)?;
    let fields: Fields = vec![
        types::field("pos", DataType::Int32),
        types::field("key", STRING),
        types::field("value", types::variant()),
    ]
    .into();
    let row = fields.clone();
    let kernel = over_rows("variant_explode", types::list(DataType::Struct(fields.clone())), move |rows| {
        exploded(&rows.array(0)?, &row)
    });
    Ok(generator::inline(&fields, kernel.call(args), outer))
}

/// The parts of each value as a list of structs; empty for what has no parts.
fn exploded(array: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
    let variants = Variants::of(array)?;
    let (mut lengths, mut positions, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let mut values = VariantColumn::default();
    for value in variants.iter() {
        let parts = value.map_or(Some(Vec::new()), parts).ok_or_else(crate::variant::malformed)?;
        lengths.push(parts.len());
        for (position, (key, part)) in (0i32..).zip(parts) {
            positions.push(position);
            keys.push(key);
            values.push(Some(&part));
        }
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(positions)), Arc::new(StringArray::from(keys)), values.finish()?];
    let structs = StructArray::try_new(fields.clone(), columns, None)?;
    let item = types::list_item(DataType::Struct(fields.clone()));
    Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(structs), None)?))
}

/// The parts of a value, fields with their names; `None` if its bytes are damaged.
fn parts(value: Value<'_>) -> Option<Vec<(Option<&str>, Value<'_>)>> {
    match value.item()? {
        Item::Object(object) => object.iter().map(|(name, value)| Some((Some(name?), value?))).collect(),
        Item::Array(array) => array.iter().map(|value| Some((None, value?))).collect(),
        _ => Some(Vec::new()),
    }
}
