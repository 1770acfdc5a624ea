//! CSV in columns: from_csv, to_csv, schema_of_csv.
//!
//! In: a STRING column of CSV lines, or structs to write. Out: structs of the declared type, or STRING. Reading and writing
//! is that of the format `csv`.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, lit};

use super::arguments::constant_text;
use super::json::{options, schema};
use super::rows::over_rows;
use super::{Call, Function, coerce, function};
use crate::formats::csv::{FromCsv, ToCsv, schema_of_csv};
use crate::{Error, Result, types};

const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["from_csv"], from_csv),
    function(&["to_csv"], to_csv),
    function(&["schema_of_csv"], schema_of_csv_function),
];

fn from_csv(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(2..=3)?;
    let reader = FromCsv::new(&schema(&args, 1)?, &options(&args, 2)?, call.conf)?;
    let text = args.into_iter().next().ok_or_else(|| Error::internal("from_csv has no text"))?;
    let text = coerce::implicit(text, &STRING, call.schema, call.conf)?;
    let key = format!("{reader:?}");
    let kernel = over_rows("from_csv", reader.data_type(), move |rows| {
        let text = rows.array(0)?;
        reader.convert(text.as_string::<i32>())
    });
    Ok(kernel.key(key).call(vec![text]))
}

fn to_csv(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=2)?;
    let options = options(&args, 1)?;
    let value = args.into_iter().next().ok_or_else(|| Error::internal("to_csv has no value"))?;
    match call.type_of(&value)? {
        DataType::Null => return call.cast(value, &STRING),
        given if !matches!(given, DataType::Struct(_)) || types::is_variant(&given) => {
            let message = format!("'to_csv' takes a struct, not {}", coerce::type_name(&given));
            return Err(Error::query("DATATYPE_MISMATCH.UNSUPPORTED_INPUT_TYPE", message));
        }
        _ => {}
    }
    let writer = ToCsv::new(&call.type_of(&value)?, &options, call.conf)?;
    let key = format!("{writer:?}");
    let kernel = over_rows("to_csv", STRING, move |rows| Ok(Arc::new(writer.convert(&rows.array(0)?)?)));
    Ok(kernel.key(key).call(vec![value]))
}

fn schema_of_csv_function(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=2)?;
    let text = args.first().map(|arg| constant_text(&call, arg, "csv")).transpose()?.flatten();
    let text = text.ok_or_else(|| Error::query("DATATYPE_MISMATCH.UNEXPECTED_NULL", "the text must not be null"))?;
    Ok(lit(types::sql_name(&schema_of_csv(&text, &options(&args, 1)?, call.conf)?)))
}
