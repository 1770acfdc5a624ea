//! `format_string` (`printf`): Java's format strings.
//!
//! In: a format and any values. Out: STRING. A constant format is parsed when the query is analysed. A value that does not
//! fit its conversion is an error, as in Java; DECIMAL fits only `%s`, as in Spark.

use std::fmt::Write;

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use datafusion::logical_expr::Expr;

use super::arguments::Compiled;
use super::rows::{Rows, over_rows, put, put_char};
use super::{Call, Function, coerce, function};
use crate::types::number_text::{push_decimal_scientific, push_double, push_float};
use crate::{Error, Result};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[function(&["format_string", "printf"], format_string)];

fn format_string(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(1..=usize::MAX)?;
    let format = coerce::implicit(args.remove(0), &DataType::Utf8, call.schema, call.conf)?;
    args.insert(0, format);
    let pieces = Compiled::new(&[&args[0]], |texts| parse(texts[0]))?;
    Ok(over_rows("format_string", DataType::Utf8, move |rows| {
        let format = rows.strings(0)?;
        let values = (1..rows.arity()).map(|i| Values::new(rows, i)).collect::<Result<Vec<_>>>()?;
        let mut pieces = pieces.start();
        let mut scratch = String::new();
        rows.try_give_strings(|row, out| {
            let format = format.get(row)?;
            let value = |i: usize| values.get(i).map(|values| values.get(row));
            Some(pieces.get(&[format]).and_then(|pieces| put_pieces(pieces, value, out, &mut scratch)))
        })
    })
    .call(args))
}

/// A part of a format.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Value(Directive),
}

/// `%[index$][flags][width][.precision]conversion`.
#[derive(Debug, Default, PartialEq)]
struct Directive {
    /// From 0.
    argument: usize,
    left: bool,
    alternate: bool,
    plus: bool,
    blank: bool,
    zeros: bool,
    groups: bool,
    parentheses: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
    upper: bool,
}

fn illegal(what: impl std::fmt::Display) -> Error {
    Error::data("INVALID_PARAMETER_VALUE.PATTERN", format!("the format of function 'format_string' is wrong: {what}"))
}

fn parse(format: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut rest, mut next, mut last) = (format, 0, None);
    while let Some(at) = rest.find('%') {
        pieces.push(Piece::Text(rest[..at].to_string()));
        let (index, directive, after) = directive(&rest[at + 1..])?;
        rest = after;
        match directive.conversion {
            '%' | 'n' => {
                let text = if directive.conversion == 'n' { "\n" } else { "%" };
                pieces.push(Piece::Text(format!("{text:>width$}", width = directive.width)));
                continue;
            }
            _ => {}
        }
        let argument = match index {
            Index::Next => {
                next += 1;
                next - 1
            }
            Index::Number(number) => number.checked_sub(1).ok_or_else(|| illegal("argument 0$"))?,
            Index::Last => last.ok_or_else(|| illegal("'%<' has nothing before it"))?,
        };
        last = Some(argument);
        pieces.push(Piece::Value(Directive { argument, ..directive }));
    }
    pieces.push(Piece::Text(rest.to_string()));
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    Ok(pieces)
}

enum Index {
    Next,
    Last,
    Number(usize),
}

fn number(text: &str) -> (Option<usize>, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..end].parse().ok(), &text[end..])
}

/// Reads what follows a `%`.
fn directive(text: &str) -> Result<(Index, Directive, &str)> {
    let mut directive = Directive::default();
    let (index, rest) = match (number(text), text.strip_prefix('<')) {
        ((Some(number), rest), _) if rest.starts_with('$') => (Index::Number(number), &rest[1..]),
        (_, Some(rest)) => (Index::Last, rest),
        _ => (Index::Next, text),
    };
    let flags = rest.len() - rest.trim_start_matches(['-', '#', '+', ' ', '0', ',', '(']).len();
    rest[..flags].chars().for_each(|flag| set(&mut directive, flag));
    let (width, rest) = number(&rest[flags..]);
    directive.width = width.unwrap_or(0);
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(rest) => number(rest),
        None => (None, rest),
    };
    directive.precision = precision;
    let conversion = rest.chars().next().ok_or_else(|| illegal("it ends after '%'"))?;
    directive.conversion = conversion.to_ascii_lowercase();
    directive.upper = conversion.is_ascii_uppercase();
    if directive.width.max(precision.unwrap_or(0)) > 1 << 20 {
        return Err(illegal("a width or precision is too large"));
    }
    match conversion {
        's' | 'S' | 'b' | 'B' | 'd' | 'x' | 'X' | 'o' | 'c' | 'C' | 'f' | 'e' | 'E' | 'g' | 'G' | '%' | 'n' => {
            Ok((index, directive, &rest[conversion.len_utf8()..]))
        }
        'h' | 'H' | 'a' | 'A' | 't' | 'T' => Err(Error::unsupported(format!("the conversion '%{conversion}'"))),
        _ => Err(illegal(format!("unknown conversion '%{conversion}'"))),
    }
}

fn set(directive: &mut Directive, flag: char) {
    match flag {
        '-' => directive.left = true,
        '#' => directive.alternate = true,
        '+' => directive.plus = true,
        ' ' => directive.blank = true,
        '0' => directive.zeros = true,
        ',' => directive.groups = true,
        _ => directive.parentheses = true,
    }
}

/// One argument's column.
enum Values<'a> {
    Array(ArrayRef),
    Texts(super::rows::Column<'a, arrow::array::StringArray>),
}

/// One value.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Null,
    Text(&'a str),
    Boolean(bool),
    /// A whole number and its number of bits.
    Integer(i64, u32),
    Double(f64),
    Float(f32),
    /// Unscaled value and scale.
    Decimal(i128, i8),
}

impl<'a> Values<'a> {
    fn new(rows: &Rows<'a>, i: usize) -> Result<Self> {
        match rows.data_type(i) {
            DataType::Utf8 => Ok(Values::Texts(rows.strings(i)?)),
            DataType::Null
            | DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Decimal128(..) => Ok(Values::Array(rows.array(i)?)),
            other => {
                Err(Error::unsupported(format!("formatting values of type {}", crate::types::simple_name(&other))))
            }
        }
    }

    fn get(&self, row: usize) -> Value<'_> {
        let array = match self {
            Values::Texts(texts) => return texts.get(row).map_or(Value::Null, Value::Text),
            Values::Array(array) => array,
        };
        if array.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
            return Value::Null;
        }
        match array.data_type() {
            DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
            DataType::Int8 => Value::Integer(array.as_primitive::<Int8Type>().value(row).into(), 8),
            DataType::Int16 => Value::Integer(array.as_primitive::<Int16Type>().value(row).into(), 16),
            DataType::Int32 => Value::Integer(array.as_primitive::<Int32Type>().value(row).into(), 32),
            DataType::Date32 => Value::Integer(array.as_primitive::<Date32Type>().value(row).into(), 32),
            DataType::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(row), 64),
            DataType::Timestamp(..) => Value::Integer(array.as_primitive::<TimestampMicrosecondType>().value(row), 64),
            DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(_, scale) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row), *scale),
            _ => Value::Null,
        }
    }
}

impl Value<'_> {
    fn push(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Text(text) => out.push_str(text),
            Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Integer(value, _) => push_display(out, value),
            Value::Double(value) => push_double(*value, out),
            Value::Float(value) => push_float(*value, out),
            Value::Decimal(value, scale) => {
                push_decimal_scientific(*value, *scale, out);
            }
        }
    }
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing into memory cannot fail");
}

fn put_pieces<'a>(
    pieces: &[Piece],
    value: impl Fn(usize) -> Option<Value<'a>>,
    out: &mut StringBuilder,
    scratch: &mut String,
) -> Result<()> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => put(out, text),
            Piece::Value(directive) => {
                let value = value(directive.argument)
                    .ok_or_else(|| illegal(format!("there is no argument {} for it", directive.argument + 1)))?;
                scratch.clear();
                directive.push(value, scratch)?;
                directive.put_padded(scratch, out);
            }
        }
    }
    Ok(())
}

impl Directive {
    fn push(&self, value: Value<'_>, out: &mut String) -> Result<()> {
        match (self.conversion, value) {
            ('b', value) => out.push_str(match value {
                Value::Null | Value::Boolean(false) => "false",
                _ => "true",
            }),
            ('s', value) => value.push(out),
            (_, Value::Null) => out.push_str("null"),
            ('d', Value::Integer(value, _)) => self.push_signed(value < 0, &value.unsigned_abs().to_string(), out),
            ('x', Value::Integer(value, bits)) => self.push_radix(value, bits, out),
            ('o', Value::Integer(value, bits)) => self.push_radix(value, bits, out),
            ('c', Value::Integer(value, _)) => {
                let character = u32::try_from(value).ok().and_then(char::from_u32);
                out.push(character.ok_or_else(|| illegal(format!("{value} is no character")))?);
            }
            ('f' | 'e' | 'g', Value::Double(value)) => self.push_float(value, out),
            ('f' | 'e' | 'g', Value::Float(value)) => {
                // The shortest decimal text of the FLOAT is what is rounded.
                self.push_float(value.to_string().parse().unwrap_or(f64::from(value)), out);
            }
            _ => return Err(illegal(format!("'%{}' does not fit its value", self.conversion))),
        }
        if let ('s' | 'b', Some(precision)) = (self.conversion, self.precision) {
            out.truncate(super::text::prefix(out, precision).len());
        }
        Ok(())
    }

    fn push_radix(&self, value: i64, bits: u32, out: &mut String) {
        let value = value as u64 & (u64::MAX >> (64 - bits));
        let text = if self.conversion == 'x' { format!("{value:x}") } else { format!("{value:o}") };
        let prefix = match (self.alternate, self.conversion) {
            (true, 'x') => "0x",
            (true, _) => "0",
            _ => "",
        };
        out.push_str(prefix);
        self.push_zeros(prefix.len() + text.len(), out);
        out.push_str(&text);
    }

    fn push_zeros(&self, length: usize, out: &mut String) {
        let missing = if self.zeros { self.width.saturating_sub(length) } else { 0 };
        out.extend(std::iter::repeat_n('0', missing));
    }

    fn push_signed(&self, negative: bool, digits: &str, out: &mut String) {
        let digits = if self.groups { grouped(digits) } else { digits.to_string() };
        let (before, after) = match negative {
            true if self.parentheses => ("(", ")"),
            true => ("-", ""),
            false if self.plus => ("+", ""),
            false if self.blank => (" ", ""),
            false => ("", ""),
        };
        out.push_str(before);
        self.push_zeros(before.len() + digits.len() + after.len(), out);
        out.push_str(&digits);
        out.push_str(after);
    }

    fn push_float(&self, value: f64, out: &mut String) {
        if !value.is_finite() {
            let text = if value.is_nan() { "NaN" } else { "Infinity" };
            return Directive { zeros: false, groups: false, ..self.sign() }.push_signed(value < 0.0, text, out);
        }
        let precision = self.precision.unwrap_or(6);
        let digits = match self.conversion {
            'f' => fixed(value.abs(), precision),
            'e' => scientific(value.abs(), precision),
            _ => general(value.abs(), precision.max(1)),
        };
        self.push_signed(value.is_sign_negative(), &digits, out);
    }

    fn sign(&self) -> Directive {
        Directive {
            width: self.width,
            plus: self.plus,
            blank: self.blank,
            parentheses: self.parentheses,
            ..Directive::default()
        }
    }

    fn put_padded(&self, text: &str, out: &mut StringBuilder) {
        let missing = self.width.saturating_sub(text.chars().count());
        if !self.left {
            (0..missing).for_each(|_| put_char(out, ' '));
        }
        match self.upper {
            true => text.chars().flat_map(char::to_uppercase).for_each(|character| put_char(out, character)),
            false => put(out, text),
        }
        if self.left {
            (0..missing).for_each(|_| put_char(out, ' '));
        }
    }
}

/// Commas between groups of three digits before the point.
pub fn grouped(digits: &str) -> String {
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    let mut text = String::with_capacity(digits.len() + whole / 3);
    for (i, digit) in digits[..whole].chars().enumerate() {
        if i > 0 && (whole - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text.push_str(&digits[whole..]);
    text
}

/// The shortest decimal digits of a number that is not negative, and the power of ten of the first.
fn shortest(value: f64) -> (Vec<u8>, i32) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    (digits, exponent.parse().unwrap_or(0))
}

/// Rounds half up to `count` digits; returns whether the number gained a digit in front.
fn round(digits: &mut Vec<u8>, count: usize) -> bool {
    let up = digits.get(count).is_some_and(|digit| *digit >= 5);
    digits.resize(count, 0);
    if !up {
        return false;
    }
    for digit in digits.iter_mut().rev() {
        *digit += 1;
        if *digit < 10 {
            return false;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
    true
}

fn push_digits(digits: impl IntoIterator<Item = u8>, out: &mut String) {
    out.extend(digits.into_iter().map(|digit| char::from(b'0' + digit)));
}

fn fixed(value: f64, precision: usize) -> String {
    let (mut digits, exponent) = shortest(value);
    if exponent < 0 {
        // Zeros in front bring the first digit to the place of ones.
        digits.splice(0..0, std::iter::repeat_n(0, exponent.unsigned_abs() as usize));
    }
    let mut whole = usize::try_from(exponent).unwrap_or(0) + 1;
    whole += usize::from(round(&mut digits, whole + precision));
    let mut text = String::new();
    push_digits(digits[..whole].iter().copied(), &mut text);
    if precision > 0 {
        text.push('.');
        push_digits(digits[whole..].iter().copied(), &mut text);
    }
    text
}

fn scientific(value: f64, precision: usize) -> String {
    let (mut digits, mut exponent) = shortest(value);
    exponent += i32::from(round(&mut digits, precision + 1));
    let mut text = String::new();
    push_digits(digits.iter().copied().take(1), &mut text);
    if precision > 0 {
        text.push('.');
        push_digits(digits[1..=precision].iter().copied(), &mut text);
    }
    write!(text, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        .expect("writing into memory cannot fail");
    text
}

/// `%g`: fixed between 10^-4 and 10^precision, else scientific.
fn general(value: f64, precision: usize) -> String {
    if value == 0.0 {
        return fixed(value, precision - 1);
    }
    let (mut digits, exponent) = shortest(value);
    let exponent = exponent + i32::from(round(&mut digits, precision));
    match exponent {
        -4.. if exponent < precision as i32 => fixed(value, (precision as i32 - 1 - exponent) as usize),
        _ => scientific(value, precision - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(format: &str, values: &[Value<'_>]) -> Result<String> {
        let mut out = StringBuilder::new();
        put_pieces(&parse(format)?, |i| values.get(i).copied(), &mut out, &mut String::new())?;
        out.append_value("");
        Ok(out.finish().value(0).to_string())
    }

    #[test]
    fn formats_are_javas() {
        let text = |pattern: &str, value: Value<'_>| format(pattern, &[value]).expect("fits");
        assert_eq!(text("%05d|", Value::Integer(42, 32)) + &text("%-5s|", Value::Text("ab")), "00042|ab   |");
        assert_eq!(text("%x", Value::Integer(-1, 32)), "ffffffff");
        assert_eq!(text("%,d %1$(d", Value::Integer(-1234567, 32)), "-1,234,567 (1234567)");
        assert_eq!(text("%.2f", Value::Double(0.125)), "0.13");
        assert_eq!(text("%.1f %<e", Value::Double(9.96)), "10.0 9.960000e+00");
        assert_eq!(text("%8.3f|%<g", Value::Double(0.0001)), "   0.000|0.000100000");
        assert_eq!(text("%S%%%n", Value::Text("a")), "A%\n");
        assert!(format("%d", &[Value::Text("a")]).is_err() && format("%d", &[]).is_err() && format("%q", &[]).is_err());
    }
}
