//! JSON in columns: from_json, to_json, schema_of_json, get_json_object, json_tuple, json_array_length, json_object_keys.
//!
//! In: STRING columns of JSON text, or values to write. Out: values of the declared type, or STRING. Reading and writing is
//! that of the format `json`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};

use super::arguments::{Compiled, coerced, constant, constant_options, constant_text};
use super::json_path::{Found, LENIENT, Path};
use super::kernel::Kernel;
use super::rows::{Rows, over_rows, put};
use super::{Call, Function, coerce, function, generator};
use crate::conf::Conf;
use crate::formats::json::scan::{Kind, Scanner, unescape};
use crate::formats::json::{FromJson, ToJson, schema_of_json};
use crate::options::Options;
use crate::{Error, Result, types};

const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["from_json"], from_json),
    function(&["to_json"], to_json),
    function(&["schema_of_json"], schema_of_json_function),
    function(&["get_json_object"], get_json_object),
    function(&["json_tuple"], json_tuple),
    function(&["json_array_length"], json_array_length),
    function(&["json_object_keys"], json_object_keys),
];

/// The options in argument `i`, if there is one.
pub fn options(args: &[Expr], i: usize) -> Result<Options> {
    let mut options = Options::default();
    if let Some(arg) = args.get(i) {
        constant_options(arg)?.into_iter().for_each(|(name, value)| options.set(name, value));
    }
    Ok(options)
}

/// The schema in argument `i`: a constant text.
///
/// # Errors
/// `INVALID_SCHEMA.NON_STRING_LITERAL` if it is something else.
pub fn schema(args: &[Expr], i: usize) -> Result<DataType> {
    let text = match args.get(i).map(constant).transpose()?.flatten() {
        Some(ScalarValue::Utf8(Some(text))) => text,
        _ => return Err(Error::query("INVALID_SCHEMA.NON_STRING_LITERAL", "the schema must be a constant text")),
    };
    if text.trim().is_empty() {
        return Err(Error::query("PARSE_EMPTY_STATEMENT", "the schema is empty"));
    }
    let is_word = text.trim().chars().all(|c| c.is_alphanumeric() || c == '_');
    // Spark reads it as a schema last, where an unknown type is an error of syntax.
    types::parse_type_or_schema(&text).map_err(|error| match error.condition() {
        Some("UNSUPPORTED_DATATYPE") if !is_word => error.with_condition("PARSE_SYNTAX_ERROR"),
        _ => error,
    })
}

fn from_json(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(2..=3)?;
    let (schema, options) = (schema(&args, 1)?, options(&args, 2)?);
    let kernel = parser(FromJson::new(&schema, &options, call.conf)?);
    let kernel = match schema {
        DataType::Struct(fields) if options.iter().next().is_none() && prunes(call.conf)? => {
            pruned(kernel, fields, call.conf.clone())
        }
        _ => kernel,
    };
    let text = args.into_iter().next().ok_or_else(|| Error::internal("from_json has no text"))?;
    let text = coerce::implicit(text, &STRING, call.schema, call.conf)?;
    Ok(kernel.call(vec![text]))
}

/// The function that reads with `reader`.
fn parser(reader: FromJson) -> Kernel {
    let key = format!("{reader:?}");
    let kernel = over_rows("from_json", reader.data_type().clone(), move |rows| {
        let text = rows.array(0)?;
        reader.convert(text.as_string::<i32>())
    });
    kernel.key(key)
}

/// Lets a parser read one field alone. As in Spark's OptimizeCsvJsonExprs, that decides what is kept of a broken text: a fault
/// in a field that nobody asked for costs the record.
fn pruned(kernel: Kernel, fields: Fields, conf: Conf) -> Kernel {
    if fields.len() < 2 {
        return kernel;
    }
    kernel.parts(move |name| {
        let field = fields.iter().find(|field| field.name().eq_ignore_ascii_case(name))?;
        let alone = DataType::Struct(vec![field.clone()].into());
        FromJson::new(&alone, &Options::default(), &conf).ok().map(parser)
    })
}

fn prunes(conf: &Conf) -> Result<bool> {
    conf.flag("spark.sql.optimizer.enableJsonExpressionOptimization", true)
}

fn to_json(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=2)?;
    let options = options(&args, 1)?;
    let value = args.into_iter().next().ok_or_else(|| Error::internal("to_json has no value"))?;
    if call.type_of(&value)? == DataType::Null {
        return call.cast(value, &STRING);
    }
    let writer = ToJson::new(&call.type_of(&value)?, &options, call.conf)?;
    let key = format!("{writer:?}");
    let kernel = over_rows("to_json", STRING, move |rows| Ok(Arc::new(writer.convert(&rows.array(0)?)?)));
    Ok(kernel.key(key).call(vec![value]))
}

fn schema_of_json_function(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=2)?;
    let text = args.first().map(|arg| constant_text(&call, arg, "json")).transpose()?.flatten();
    let text = text.ok_or_else(|| Error::query("DATATYPE_MISMATCH.UNEXPECTED_NULL", "the text must not be null"))?;
    Ok(lit(types::sql_name(&schema_of_json(&text, &options(&args, 1)?, call.conf)?)))
}

fn get_json_object(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=2, &[STRING, STRING])?;
    let path = Compiled::new(&[&args[1]], |texts| Ok(Path::parse(texts[0])))?;
    Ok(over_rows("get_json_object", STRING, move |rows| {
        let (text, path_text) = (rows.strings(0)?, rows.strings(1)?);
        let mut path = path.start();
        let mut found = Found::default();
        rows.try_give_strings(|row, out| {
            let (text, path_text) = (text.get(row)?, path_text.get(row)?);
            match path.get(&[path_text]) {
                Ok(path) => path.as_ref()?.find(text, &mut found).then(|| Ok(put(out, found.text()))),
                Err(error) => Some(Err(error)),
            }
        })
    })
    .call(args))
}

/// `json_tuple(text, name, ...)`: one row, with a column of text for each name.
fn json_tuple(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=usize::MAX, &[STRING])?;
    let fields: Fields = (0..args.len() - 1).map(|at| types::field(format!("c{at}"), STRING)).collect();
    let paths = args.iter().skip(1).map(|name| Compiled::new(&[name], |names| Ok(Path::member(names[0]))));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let row = fields.clone();
    let kernel = over_rows("json_tuple", types::list(DataType::Struct(fields.clone())), move |rows| {
        let columns = (1..).zip(&paths).map(|(at, path)| members(rows, at, path)).collect::<Result<Vec<_>>>()?;
        let structs = StructArray::try_new(row.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_repeated_length(1, rows.len());
        let item = types::list_item(DataType::Struct(row.clone()));
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), None)?))
    });
    Ok(generator::inline(&fields, kernel.call(args), false))
}

/// The member that argument `at` names, of each text.
fn members(rows: &Rows<'_>, at: usize, path: &Compiled<Path>) -> Result<ArrayRef> {
    let (texts, names) = (rows.strings(0)?, rows.strings(at)?);
    let (mut path, mut found) = (path.start(), Found::default());
    rows.try_give_strings(|row, out| {
        let (text, name) = (texts.get(row)?, names.get(row)?);
        match path.get(&[name]) {
            Ok(path) => path.find(text, &mut found).then(|| Ok(put(out, found.text()))),
            Err(error) => Some(Err(error)),
        }
    })
}

fn json_array_length(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    Ok(over_rows("json_array_length", DataType::Int32, |rows| {
        let text = rows.strings(0)?;
        rows.give::<Int32Type>(|row| array_length(text.get(row)?))
    })
    .call(args))
}

fn array_length(text: &str) -> Option<i32> {
    let mut length = 0;
    let root = Scanner::new(text.as_bytes(), LENIENT).root().ok()??;
    let mut array = (root.kind == Kind::Array).then(|| Scanner::within(text.as_bytes(), root, LENIENT))?;
    array
        .elements(0, |_| {
            length += 1;
            true
        })
        .ok()?;
    Some(length)
}

fn json_object_keys(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    Ok(over_rows("json_object_keys", types::list(STRING), |rows| {
        let text = rows.strings(0)?;
        let mut scratch = Vec::new();
        rows.try_give_lists(|row, out| put_keys(text.get(row)?, out, &mut scratch).map(Ok))
    })
    .call(args))
}

fn put_keys(text: &str, out: &mut StringBuilder, scratch: &mut Vec<u8>) -> Option<()> {
    let bytes = text.as_bytes();
    let root = Scanner::new(bytes, LENIENT).root().ok()??;
    let mut object = (root.kind == Kind::Object).then(|| Scanner::within(bytes, root, LENIENT))?;
    object
        .members(0, |name, _| {
            scratch.clear();
            unescape(name.of(bytes), scratch);
            out.append_value(String::from_utf8_lossy(scratch));
        })
        .ok()
}
