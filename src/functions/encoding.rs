//! Texts as bytes and back: base64, hex, character sets, UTF-8 validation.
//!
//! In: STRING or BINARY (hex also BIGINT) columns. Out: STRING, BINARY or BOOLEAN columns.

use arrow::array::BinaryBuilder;
use arrow::datatypes::{DataType, Int64Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::arguments::{argument_type, coerced, constant};
use super::charset::Charset;
use super::coerce::is_numeric;
use super::comparison::{Comparison, compare};
use super::rows::{over_rows, put, put_bytes, put_char};
use super::{Call, Function, conditional, function};
use crate::{Error, Result};

const BINARY: DataType = DataType::Binary;
const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["base64"], base64_function),
    function(&["unbase64"], |call| to_bytes(call, "unbase64", false, unbase64)),
    function(&["hex"], hex),
    function(&["unhex"], |call| to_bytes(call, "unhex", true, unhex)),
    function(&["encode"], encode),
    function(&["decode"], decode),
    function(&["to_binary"], |call| to_binary(call, false)),
    function(&["try_to_binary"], |call| to_binary(call, true)),
    function(&["is_valid_utf8"], is_valid_utf8),
    function(&["make_valid_utf8"], make_valid_utf8),
    function(&["validate_utf8"], |call| validate_utf8(call, "validate_utf8", false)),
    function(&["try_validate_utf8"], |call| validate_utf8(call, "try_validate_utf8", true)),
];

fn base64_function(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[BINARY])?;
    Ok(over_rows("base64", STRING, |rows| {
        let bytes = rows.binaries(0)?;
        rows.give_strings(|row, out| {
            let bytes = bytes.get(row)?;
            put(out, &base64::display::Base64Display::new(bytes, &STANDARD).to_string());
            Some(())
        })
    })
    .call(args))
}

/// Reads a text as bytes into the buffer; false if it is malformed.
type Parse = fn(&str, &mut Vec<u8>) -> bool;

fn to_bytes(mut call: Call<'_>, name: &'static str, null_if_bad: bool, parse: Parse) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    Ok(parse_kernel(name, null_if_bad, parse).call(args))
}

fn parse_kernel(name: &'static str, null_if_bad: bool, parse: Parse) -> super::kernel::Kernel {
    let kernel = over_rows(name, BINARY, move |rows| {
        let text = rows.strings(0)?;
        let mut buffer = Vec::new();
        rows.try_give_binaries(|row, out| {
            let text = text.get(row)?;
            buffer.clear();
            match parse(text, &mut buffer) {
                true => Some(Ok(put_bytes(out, &buffer))),
                false if null_if_bad => None,
                false => Some(Err(bad_conversion(name, text))),
            }
        })
    });
    kernel.key(null_if_bad)
}

fn bad_conversion(name: &str, text: &str) -> Error {
    Error::data("CONVERSION_INVALID_INPUT", format!("'{text}' cannot be read by function '{name}' as BINARY"))
        .hint("Use try_to_binary to get null instead.")
}

/// Java's MIME decoder: characters outside the alphabet are skipped, the padding may be missing.
fn unbase64(text: &str, out: &mut Vec<u8>) -> bool {
    let mut bits = 0u32;
    let mut count = 0;
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let Some(value) = base64_value(byte) else { continue };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Six bits left over are a single character of a group of four, which is no byte.
    count != 6
}

fn base64_value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Strict base64 for `to_binary`: whitespace is skipped, all else must be right.
fn strict_base64(text: &str, out: &mut Vec<u8>) -> bool {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode_vec(&compact, out).is_ok()
}

/// Pairs of hexadecimal digits; an odd number of digits has a zero before the first.
fn unhex(text: &str, out: &mut Vec<u8>) -> bool {
    let mut digits = text.bytes().map(hex_value);
    if text.len() % 2 == 1 {
        match digits.next().flatten() {
            Some(value) => out.push(value),
            None => return false,
        }
    }
    while let Some(high) = digits.next() {
        match (high, digits.next().flatten()) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return false,
        }
    }
    true
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn utf8(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    true
}

fn hex(mut call: Call<'_>) -> Result<Expr> {
    match argument_type(&call, 0)? {
        Some(given) if !is_numeric(&given) && given != DataType::Null => {
            let bytes = if given == DataType::Binary { BINARY } else { STRING };
            let args = coerced(&mut call, 1..=1, &[bytes])?;
            let args = args.into_iter().map(|arg| call.cast(arg, &BINARY)).collect::<Result<Vec<_>>>()?;
            Ok(over_rows("hex", STRING, |rows| {
                let bytes = rows.binaries(0)?;
                rows.give_strings(|row, out| Some(put_hex(out, bytes.get(row)?)))
            })
            .call(args))
        }
        _ => {
            let args = coerced(&mut call, 1..=1, &[DataType::Int64])?;
            Ok(over_rows("hex", STRING, |rows| {
                let number = rows.numbers::<Int64Type>(0)?;
                rows.give_strings(|row, out| {
                    use std::fmt::Write;
                    write!(out, "{:X}", number.get(row)?).expect("writing into memory cannot fail");
                    Some(())
                })
            })
            .call(args))
        }
    }
}

fn put_hex(out: &mut arrow::array::StringBuilder, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        put_char(out, char::from(DIGITS[usize::from(byte >> 4)]));
        put_char(out, char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn encode(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=2, &[STRING, STRING])?;
    let charset = super::arguments::Compiled::new(&[&args[1]], |names| Charset::named(names[0], "encode"))?;
    Ok(over_rows("encode", BINARY, move |rows| {
        let (text, name) = (rows.strings(0)?, rows.strings(1)?);
        let mut charset = charset.start();
        rows.try_give_binaries(|row, out: &mut BinaryBuilder| {
            let text = text.get(row)?;
            let charset = charset.get(&[name.get(row)?]);
            Some(charset.and_then(|charset| charset.encode(text, out)))
        })
    })
    .call(args))
}

/// `decode(bytes, charset)`, or with more arguments Oracle's `decode(value, search, result, ..., default)`.
fn decode(mut call: Call<'_>) -> Result<Expr> {
    if call.args.len() > 2 {
        return choose(call);
    }
    let args = coerced(&mut call, 2..=2, &[BINARY, STRING])?;
    let charset = super::arguments::Compiled::new(&[&args[1]], |names| Charset::named(names[0], "decode"))?;
    Ok(over_rows("decode", STRING, move |rows| {
        let (bytes, name) = (rows.binaries(0)?, rows.strings(1)?);
        let mut charset = charset.start();
        rows.try_give_strings(|row, out| {
            let bytes = bytes.get(row)?;
            let charset = charset.get(&[name.get(row)?]);
            Some(charset.and_then(|charset| charset.decode(bytes, out)))
        })
    })
    .call(args))
}

/// The result after the first search value that equals the value (null equals null), else the default.
fn choose(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(3..=usize::MAX)?.into_iter();
    let value = args.next().ok_or_else(|| Error::internal("decode has no value"))?;
    let mut branches = Vec::new();
    let mut otherwise = Expr::Literal(ScalarValue::Utf8(None), None);
    while let Some(search) = args.next() {
        match args.next() {
            Some(result) => {
                let same = compare(Comparison::NullSafeEqual, value.clone(), search, call.context())?;
                branches.push((same, result));
            }
            None => otherwise = search,
        }
    }
    conditional::case(branches, Some(otherwise), call.context())
}

fn to_binary(mut call: Call<'_>, null_if_bad: bool) -> Result<Expr> {
    let mut args = call.values(1..=2)?;
    let text = call.implicit(args.remove(0), &STRING)?;
    args.insert(0, text);
    let format = match args.get(1) {
        None => Some("hex".to_string()),
        Some(format) => match constant(format)? {
            Some(ScalarValue::Null) => None,
            Some(ScalarValue::Utf8(format)) => format,
            Some(other) => Some(other.to_string()),
            None => return Err(super::arguments::not_foldable(&call, "fmt")),
        },
    };
    args.truncate(1);
    let Some(format) = format else {
        return Ok(Expr::Literal(ScalarValue::Binary(None), None));
    };
    let (name, parse): (_, Parse) = match format.to_ascii_lowercase().as_str() {
        "hex" => ("to_binary_hex", unhex),
        "base64" => ("to_binary_base64", strict_base64),
        "utf-8" | "utf8" => ("to_binary_utf8", utf8),
        _ => {
            let message = format!("the format should be 'hex', 'base64', 'utf-8' or 'utf8' but is '{format}'");
            if null_if_bad {
                return Ok(Expr::Literal(ScalarValue::Binary(None), None));
            }
            return Err(Error::query("DATATYPE_MISMATCH.INVALID_ARG_VALUE", message));
        }
    };
    Ok(parse_kernel(name, null_if_bad, parse).call(args))
}

/// Always true for a text that is not null: a text column holds only valid UTF-8. Bytes may hold anything.
fn is_valid_utf8(mut call: Call<'_>) -> Result<Expr> {
    let bytes = bytes_of(&mut call)?;
    Ok(over_rows("is_valid_utf8", DataType::Boolean, |rows| {
        let bytes = rows.binaries(0)?;
        rows.give_booleans(|row| Some(std::str::from_utf8(bytes.get(row)?).is_ok()))
    })
    .call(vec![bytes]))
}

/// The text, with a replacement character for each malformed sequence.
fn make_valid_utf8(mut call: Call<'_>) -> Result<Expr> {
    let bytes = bytes_of(&mut call)?;
    Ok(over_rows("make_valid_utf8", STRING, |rows| {
        let bytes = rows.binaries(0)?;
        rows.give_strings(|row, out| {
            bytes.get(row)?.utf8_chunks().for_each(|chunk| {
                put(out, chunk.valid());
                put(out, if chunk.invalid().is_empty() { "" } else { "\u{fffd}" });
            });
            Some(())
        })
    })
    .call(vec![bytes]))
}

/// The text if it is well formed, else an error, or null if `or_null`.
fn validate_utf8(mut call: Call<'_>, name: &'static str, or_null: bool) -> Result<Expr> {
    let bytes = bytes_of(&mut call)?;
    let kernel = over_rows(name, STRING, move |rows| {
        let bytes = rows.binaries(0)?;
        rows.try_give_strings(|row, out| match std::str::from_utf8(bytes.get(row)?) {
            Ok(text) => Some(Ok(put(out, text))),
            Err(_) if or_null => None,
            Err(fault) => Some(Err(malformed(fault))),
        })
    });
    Ok(kernel.fallible_if(!or_null).call(vec![bytes]))
}

fn malformed(fault: std::str::Utf8Error) -> Error {
    Error::data("INVALID_UTF8_STRING", format!("the text is not valid UTF-8 from byte {} on", fault.valid_up_to()))
        .hint("Use try_validate_utf8() for null, or make_valid_utf8() for replacement characters.")
}

/// The argument as bytes.
fn bytes_of(call: &mut Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    match call.type_of(&value)? {
        DataType::Binary => Ok(value),
        _ => call.cast(call.implicit(value, &STRING)?, &DataType::Binary),
    }
}
