//! `to_number`, `try_to_number`, `to_char` (`to_varchar`), bound to columns.
//!
//! In: texts or numbers and a constant pattern; `to_char` also takes dates and binaries. Out: DECIMAL or STRING.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::arguments::{argument_type, constant_text};
use super::number_pattern::NumberPattern;
use super::rows::{over_rows, put};
use super::{Arg, Call, Function, coerce, function, lookup};
use crate::{Error, Result};

const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["to_number"], |call| to_number(call, "to_number", false)),
    function(&["try_to_number"], |call| to_number(call, "try_to_number", true)),
    function(&["to_char", "to_varchar"], to_char),
];

fn split(call: &mut Call<'_>) -> Result<(Expr, Expr)> {
    let mut args = call.values(2..=2)?.into_iter();
    match (args.next(), args.next()) {
        (Some(value), Some(format)) => Ok((value, format)),
        _ => Err(Error::internal("two arguments were asked for")),
    }
}

fn to_number(mut call: Call<'_>, name: &'static str, null_if_bad: bool) -> Result<Expr> {
    let (text, format) = split(&mut call)?;
    let text = coerce::implicit(text, &STRING, call.schema, call.conf)?;
    let format = call.implicit(format, &STRING)?;
    let Some(format) = constant_text(&call, &format, "fmt")? else {
        return Ok(Expr::Literal(ScalarValue::Decimal128(None, DECIMAL128_MAX_PRECISION, 0), None));
    };
    let pattern = NumberPattern::parse(&format)?;
    let result = DataType::Decimal128(pattern.precision() as u8, pattern.scale() as i8);
    let kernel = over_rows(name, result.clone(), {
        let format = format.clone();
        move |rows| {
            let text = rows.strings(0)?;
            let numbers = rows.try_give::<Decimal128Type>(|row| {
                let text = text.get(row)?;
                match pattern.read(text) {
                    Some(number) => Some(Ok(number)),
                    None if null_if_bad => None,
                    None => Some(Err(mismatch(text, &format))),
                }
            })?;
            Ok(arrow::array::make_array(numbers.to_data().into_builder().data_type(result.clone()).build()?))
        }
    });
    Ok(kernel.key(format).call(vec![text]))
}

fn mismatch(text: &str, format: &str) -> Error {
    Error::data("INVALID_FORMAT.MISMATCH_INPUT", format!("the input '{text}' does not match the format '{format}'"))
}

fn to_char(mut call: Call<'_>) -> Result<Expr> {
    match argument_type(&call, 0)? {
        Some(DataType::Date32 | DataType::Timestamp(..)) => another(call, "date_format"),
        Some(DataType::Binary) => binary_to_char(call),
        _ => {
            let (value, format) = split(&mut call)?;
            let value = coerce::implicit_number(value, call.schema, call.conf)?;
            number_to_char(call, value, format)
        }
    }
}

/// The same call of another function.
fn another(call: Call<'_>, name: &'static str) -> Result<Expr> {
    let function = lookup(name).ok_or_else(|| Error::internal(format!("there is no function '{name}'")))?;
    (function.bind)(Call { name, ..call })
}

fn binary_to_char(mut call: Call<'_>) -> Result<Expr> {
    let (value, format) = split(&mut call)?;
    let format = constant_text(&call, &format, "format")?.unwrap_or_default();
    call.args = vec![Arg::Value(value)];
    match format.to_ascii_lowercase().as_str() {
        "base64" => another(call, "base64"),
        "hex" => another(call, "hex"),
        "utf-8" => {
            call.args.push(Arg::Value(datafusion::logical_expr::lit("UTF-8")));
            another(call, "decode")
        }
        _ => Err(Error::query(
            "INVALID_PARAMETER_VALUE.BINARY_FORMAT",
            format!("the format should be 'base64', 'hex' or 'utf-8' but is '{format}'"),
        )),
    }
}

fn number_to_char(call: Call<'_>, value: Expr, format: Expr) -> Result<Expr> {
    let format = call.implicit(format, &STRING)?;
    let Some(format) = constant_text(&call, &format, "format")? else {
        return Ok(Expr::Literal(ScalarValue::Utf8(None), None));
    };
    let pattern = NumberPattern::parse(&format)?;
    let decimal = match coerce::decimal_for(&call.type_of(&value)?) {
        Some((precision, scale)) => DataType::Decimal128(precision, scale),
        // FLOAT and DOUBLE have as many decimals as the pattern shows.
        None => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 18),
    };
    let value = coerce::implicit(value, &decimal, call.schema, call.conf)?;
    let kernel = over_rows("to_char", STRING, move |rows| {
        let numbers = rows.array(0)?;
        let numbers = numbers.as_primitive::<Decimal128Type>();
        let mut text = String::new();
        rows.give_strings(|row, out| {
            let number = numbers.is_valid(row).then(|| numbers.value(row))?;
            let plain = Decimal128Type::format_decimal(number, DECIMAL128_MAX_PRECISION, numbers.scale());
            let plain = plain.trim_start_matches('-');
            let (whole, decimals) = plain.split_once('.').unwrap_or((plain, ""));
            text.clear();
            pattern.write(number < 0, whole, decimals, &mut text);
            Some(put(out, &text))
        })
    });
    Ok(kernel.key(format).call(vec![value]))
}
