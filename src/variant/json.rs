//! VARIANT from JSON text and back.
//!
//! In: one JSON text. Out: a value in a [`Builder`]. A number without an exponent stays exact (BIGINT, else DECIMAL) as long as
//! 38 digits hold it; others are DOUBLE. The way back prints decimals without zeros at the end, times in a zone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Builder, Item, Value};
use crate::formats::json::encode::{push_number, push_string};
use crate::formats::json::scan::{Kind, Malformed, Scanner, Syntax, Token, unescape};
use crate::types::datetime_text::{format_date, format_timestamp, format_timestamp_ntz, push_padded};
use crate::types::number_text::{parse_floating, parse_integer, push_decimal, push_double, push_float};
use crate::types::zone::Zone;

/// Strict JSON.
const STRICT: Syntax = Syntax {
    comments: false,
    unquoted_names: false,
    single_quotes: false,
    leading_zeros: false,
    non_numeric: false,
    any_escape: false,
    control_characters: false,
};

/// Why a text is no VARIANT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is not JSON.
    Malformed(&'static str),
    /// An object has two fields of this name.
    DuplicateKey(String),
}

impl From<Malformed> for Problem {
    fn from(Malformed(reason): Malformed) -> Problem {
        Problem::Malformed(reason)
    }
}

/// Appends the value of a JSON text.
pub(crate) fn parse(text: &str, out: &mut Builder) -> Result<(), Problem> {
    let bytes = text.as_bytes();
    let root = Scanner::new(bytes, STRICT).root()?.ok_or(Problem::Malformed("an empty text"))?;
    if matches!(root.kind, Kind::Integer | Kind::Float)
        && bytes.get(root.end).is_some_and(|byte| !byte.is_ascii_whitespace())
    {
        return Err(Problem::Malformed("a number that does not end"));
    }
    parse_token(bytes, root, STRICT, out)
}

/// Appends the value of a token that was checked before.
pub(crate) fn parse_token(bytes: &[u8], token: Token, syntax: Syntax, out: &mut Builder) -> Result<(), Problem> {
    let text = || String::from_utf8_lossy(token.of(bytes));
    match token.kind {
        Kind::Absent | Kind::Null => out.null(),
        Kind::True => out.boolean(true),
        Kind::False => out.boolean(false),
        Kind::Integer | Kind::Float => number(token.of(bytes), out),
        Kind::NonNumeric => out.text(&text()),
        Kind::Plain => out.text(&text()),
        Kind::Escaped => out.text(&unescaped(token.of(bytes))),
        Kind::Object => return object(bytes, token, syntax, out),
        Kind::Array => return array(bytes, token, syntax, out),
    }
    Ok(())
}

fn unescaped(text: &[u8]) -> String {
    let mut plain = Vec::with_capacity(text.len());
    unescape(text, &mut plain);
    String::from_utf8_lossy(&plain).into_owned()
}

fn object(bytes: &[u8], token: Token, syntax: Syntax, out: &mut Builder) -> Result<(), Problem> {
    let (start, mut fields, mut problem) = (out.start(), Vec::new(), None);
    Scanner::within(bytes, token, syntax).members(0, |name, value| {
        if problem.is_none() {
            fields.push(out.field(&unescaped(name.of(bytes)), start));
            problem = parse_token(bytes, value, syntax, out).err();
        }
    })?;
    match problem {
        Some(problem) => Err(problem),
        None => out.end_object(start, fields).map_err(Problem::DuplicateKey),
    }
}

fn array(bytes: &[u8], token: Token, syntax: Syntax, out: &mut Builder) -> Result<(), Problem> {
    let (start, mut offsets, mut problem) = (out.start(), Vec::new(), None);
    Scanner::within(bytes, token, syntax).elements(0, |value| {
        offsets.push(out.start() - start);
        problem = parse_token(bytes, value, syntax, out).err();
        problem.is_none()
    })?;
    match problem {
        Some(problem) => Err(problem),
        None => {
            out.end_array(start, &offsets);
            Ok(())
        }
    }
}

fn number(text: &[u8], out: &mut Builder) {
    if let Some(whole) = parse_integer::<i64>(text) {
        out.integer(whole);
    } else if let Some((unscaled, scale)) = exact(text) {
        out.decimal(unscaled, scale);
    } else {
        out.double(parse_floating(text).unwrap_or(f64::NAN));
    }
}

/// Unscaled value and scale of a number without an exponent, if 38 digits hold it.
fn exact(text: &[u8]) -> Option<(i128, u8)> {
    let (mut unscaled, mut digits, mut scale, mut is_fraction) = (0i128, 0, 0u8, false);
    for byte in text.strip_prefix(b"-").unwrap_or(text) {
        match byte {
            b'.' => is_fraction = true,
            b'0'..=b'9' => {
                unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                digits += u8::from(unscaled != 0);
                scale = scale.checked_add(u8::from(is_fraction))?;
            }
            _ => return None,
        }
        if digits > 38 || scale > 38 {
            return None;
        }
    }
    Some((if text.starts_with(b"-") { -unscaled } else { unscaled }, scale))
}

/// Appends the JSON of a value; `None` if its bytes are damaged.
pub(crate) fn json_text(value: &Value<'_>, zone: &Zone, out: &mut String) -> Option<()> {
    match value.item()? {
        Item::Null => out.push_str("null"),
        Item::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        Item::Integer(value) => push_number(value, out),
        Item::Double(value) => quoted(!value.is_finite(), out, |out| push_double(value, out)),
        Item::Float(value) => quoted(!value.is_finite(), out, |out| push_float(value, out)),
        Item::Decimal(unscaled, scale) => push_decimal(unscaled, scale as i8, out),
        Item::Date(days) => quoted(true, out, |out| format_date(days.into(), out)),
        Item::Timestamp(micros) => quoted(true, out, |out| timestamp(micros, zone, out)),
        Item::TimestampNtz(micros) => quoted(true, out, |out| format_timestamp_ntz(micros, out)),
        Item::Binary(bytes) => quoted(true, out, |out| STANDARD.encode_string(bytes, out)),
        Item::Text(text) => push_string(text, out),
        Item::Object(object) => {
            let mut separator = '{';
            for (name, value) in object.iter() {
                out.push(separator);
                push_string(name?, out);
                out.push(':');
                json_text(&value?, zone, out)?;
                separator = ',';
            }
            out.push_str(if separator == '{' { "{}" } else { "}" });
        }
        Item::Array(array) => {
            let mut separator = '[';
            for value in array.iter() {
                out.push(separator);
                json_text(&value?, zone, out)?;
                separator = ',';
            }
            out.push_str(if separator == '[' { "[]" } else { "]" });
        }
    }
    Some(())
}

/// Appends the text of a value as CAST to STRING gives it: strings without quotes, all else as JSON.
pub(crate) fn plain_text(value: &Value<'_>, zone: &Zone, out: &mut String) -> Option<()> {
    match value.item()? {
        Item::Text(text) => out.push_str(text),
        Item::Date(days) => format_date(days.into(), out),
        Item::Timestamp(micros) => format_timestamp(micros, zone, out),
        Item::TimestampNtz(micros) => format_timestamp_ntz(micros, out),
        Item::Double(value) => push_double(value, out),
        Item::Float(value) => push_float(value, out),
        _ => json_text(value, zone, out)?,
    }
    Some(())
}

fn quoted(is_quoted: bool, out: &mut String, write: impl FnOnce(&mut String)) {
    if is_quoted {
        out.push('"');
    }
    write(out);
    if is_quoted {
        out.push('"');
    }
}

/// `2024-01-02 03:04:05+00:00`.
fn timestamp(micros: i64, zone: &Zone, out: &mut String) {
    format_timestamp(micros, zone, out);
    let minutes = zone.offset_seconds(micros) / 60;
    out.push(if minutes < 0 { '-' } else { '+' });
    push_padded(u64::from(minutes.unsigned_abs() / 60), 2, out);
    out.push(':');
    push_padded(u64::from(minutes.unsigned_abs() % 60), 2, out);
}
