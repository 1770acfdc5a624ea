//! `format_number`: numbers with grouping, by a count of decimals or a pattern of Java's `DecimalFormat`.
//!
//! In: a number and a constant or changing format. Out: STRING; digits are rounded half to even.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Float64Type, Int32Type, Int64Type,
};
use datafusion::logical_expr::Expr;

use super::arguments::{Compiled, argument_type, coerced};
use super::format_string::grouped;
use super::rows::{Column, Rows, over_rows, put};
use super::{Call, Function, function};
use crate::{Error, Result};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[function(&["format_number"], format_number)];

fn format_number(mut call: Call<'_>) -> Result<Expr> {
    let by_pattern = argument_type(&call, 1)? == Some(DataType::Utf8);
    let format_type = if by_pattern { DataType::Utf8 } else { DataType::Int32 };
    let number = match argument_type(&call, 0)? {
        Some(DataType::Float32 | DataType::Float64 | DataType::Utf8) => DataType::Float64,
        Some(decimal @ DataType::Decimal128(..)) => decimal,
        _ => DataType::Int64,
    };
    let args = coerced(&mut call, 2..=2, &[number, format_type])?;
    let pattern = Compiled::new(&[&args[1]], |texts| Pattern::parse(texts[0]))?;
    Ok(over_rows("format_number", DataType::Utf8, move |rows| {
        let numbers = Numbers::new(rows)?;
        let mut pattern = pattern.start();
        if by_pattern {
            let texts = rows.strings(1)?;
            return rows.try_give_strings(|row, out| {
                let (number, text) = (numbers.get(row)?, texts.get(row)?);
                Some(pattern.get(&[text]).map(|pattern| put(out, &pattern.format(number))))
            });
        }
        let decimals = rows.numbers::<Int32Type>(1)?;
        rows.give_strings(|row, out| {
            let decimals = usize::try_from(decimals.get(row)?).ok()?;
            Some(put(out, &Pattern::decimals(decimals).format(numbers.get(row)?)))
        })
    })
    .call(args))
}

enum Numbers<'a> {
    Double(Column<'a, arrow::array::PrimitiveArray<Float64Type>>),
    Integer(Column<'a, arrow::array::PrimitiveArray<Int64Type>>),
    Decimal(ArrayRef, i8),
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Double(f64),
    Decimal(i128, i8),
}

impl<'a> Numbers<'a> {
    fn new(rows: &Rows<'a>) -> Result<Self> {
        Ok(match rows.data_type(0) {
            DataType::Float64 => Numbers::Double(rows.numbers(0)?),
            DataType::Decimal128(_, scale) => Numbers::Decimal(rows.array(0)?, scale),
            _ => Numbers::Integer(rows.numbers(0)?),
        })
    }

    fn get(&self, row: usize) -> Option<Number> {
        use arrow::array::Array;
        match self {
            Numbers::Double(values) => values.get(row).map(Number::Double),
            Numbers::Integer(values) => values.get(row).map(|value| Number::Decimal(value.into(), 0)),
            Numbers::Decimal(values, scale) => values
                .is_valid(row)
                .then(|| Number::Decimal(values.as_primitive::<Decimal128Type>().value(row), *scale)),
        }
    }
}

impl Number {
    fn is_negative(self) -> bool {
        match self {
            Number::Double(value) => value.is_sign_negative(),
            Number::Decimal(value, _) => value < 0,
        }
    }

    /// The digits without sign, with exactly `decimals` after the point, rounded half to even.
    fn digits(self, decimals: usize) -> String {
        match self {
            Number::Double(value) => format!("{:.decimals$}", value.abs()),
            Number::Decimal(value, scale) => {
                let text = Decimal128Type::format_decimal(value, DECIMAL128_MAX_PRECISION, scale);
                rounded(text.trim_start_matches('-'), decimals)
            }
        }
    }

    fn times(self, factor: i128) -> Number {
        match self {
            Number::Double(value) => Number::Double(value * factor as f64),
            Number::Decimal(value, scale) => Number::Decimal(value.saturating_mul(factor), scale),
        }
    }
}

/// A plain decimal text rounded half to even.
fn rounded(text: &str, decimals: usize) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let kept = fraction.len().min(decimals);
    let mut digits: Vec<u8> = whole.bytes().chain(fraction[..kept].bytes()).collect();
    let rest = &fraction[kept..];
    let is_odd = digits.last().is_some_and(|digit| digit % 2 == 1);
    let is_half = rest.starts_with('5') && rest[1..].bytes().all(|digit| digit == b'0');
    if rest.as_bytes().first().is_some_and(|digit| *digit >= b'5') && (!is_half || is_odd) {
        let nines = digits.iter().rev().take_while(|digit| **digit == b'9').count();
        let from = digits.len() - nines;
        digits[from..].fill(b'0');
        match from.checked_sub(1) {
            Some(last) => digits[last] += 1,
            None => digits.insert(0, b'1'),
        }
    }
    let point = digits.len() - kept;
    digits.extend(std::iter::repeat_n(b'0', decimals - kept));
    let mut text: String = digits.into_iter().map(char::from).collect();
    if decimals > 0 {
        text.insert(point, '.');
    }
    text
}

/// A `DecimalFormat` pattern.
#[derive(Debug, Default, PartialEq)]
struct Pattern {
    prefix: String,
    suffix: String,
    groups: Option<usize>,
    least_whole: usize,
    least_decimals: usize,
    most_decimals: usize,
    factor: i128,
}

impl Pattern {
    /// Groups of three and this many decimals.
    fn decimals(count: usize) -> Pattern {
        let count = count.min(340);
        Pattern {
            groups: Some(3),
            least_whole: 1,
            least_decimals: count,
            most_decimals: count,
            factor: 1,
            ..Pattern::default()
        }
    }

    /// Reads a pattern; what stands behind `;` (the form of negative numbers) is left out.
    fn parse(text: &str) -> Result<Pattern> {
        let text = if text.is_empty() { "#,##0.###" } else { text };
        let text = text.split(';').next().unwrap_or(text);
        let is_digit = |character: char| "#0,.".contains(character);
        let start = text.find(is_digit).unwrap_or(text.len());
        let end = text[start..].find(|character| !is_digit(character)).map_or(text.len(), |end| start + end);
        let (prefix, body, suffix) = (&text[..start], &text[start..end], &text[end..]);
        let (whole, decimals) = body.split_once('.').unwrap_or((body, ""));
        if decimals.contains([',', '.']) || suffix.contains(['#', '0', ',', '.']) || suffix.starts_with('E') {
            return Err(Error::data("INVALID_PARAMETER_VALUE.PATTERN", format!("'{text}' is no pattern for numbers")));
        }
        let factor = match prefix.contains('%') || suffix.contains('%') {
            true => 100,
            false => 1,
        };
        Ok(Pattern {
            prefix: prefix.replace('\'', ""),
            suffix: suffix.replace('\'', ""),
            groups: whole.rfind(',').map(|comma| whole.len() - comma - 1).filter(|size| *size > 0),
            least_whole: whole.bytes().filter(|byte| *byte == b'0').count(),
            least_decimals: decimals.bytes().filter(|byte| *byte == b'0').count(),
            most_decimals: decimals.len(),
            factor,
        })
    }

    fn format(&self, number: Number) -> String {
        if let Number::Double(value) = number
            && !value.is_finite()
        {
            return if value.is_nan() { "NaN".into() } else { format!("{}∞", if value < 0.0 { "-" } else { "" }) };
        }
        let digits = number.times(self.factor).digits(self.most_decimals);
        let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
        let mut end = decimals.len();
        while end > self.least_decimals && decimals[..end].ends_with('0') {
            end -= 1;
        }
        let whole = whole.trim_start_matches('0');
        let whole = format!("{whole:0>width$}", width = self.least_whole);
        let whole = match self.groups {
            Some(3) => grouped(&whole),
            Some(size) => grouped_by(&whole, size),
            None => whole,
        };
        let negative = number.is_negative() && digits.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
        let sign =
            if negative || matches!(number, Number::Double(value) if value.is_sign_negative()) { "-" } else { "" };
        let point = if end > 0 { "." } else { "" };
        // A number without any digit is still a zero.
        let whole = if whole.is_empty() && end == 0 { "0".to_string() } else { whole };
        format!("{sign}{}{whole}{point}{}{}", self.prefix, &decimals[..end], self.suffix)
    }
}

fn grouped_by(digits: &str, size: usize) -> String {
    let mut text = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(size) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_rounded_half_to_even() {
        let text = |pattern: &str, value| Pattern::parse(pattern).expect("valid").format(Number::Double(value));
        assert_eq!(Pattern::decimals(4).format(Number::Double(12332.123456)), "12,332.1235");
        assert_eq!(Pattern::decimals(0).format(Number::Decimal(-25, 1)), "-2");
        assert_eq!(Pattern::decimals(1).format(Number::Decimal(9995, 2)), "100.0");
        assert_eq!(text("#,###.##", 1234567.891), "1,234,567.89");
        assert_eq!(
            (text("00.0#", 3.0), text("0.#%", 0.125), text("$#,#0", -12345.0)),
            ("03.0".into(), "12.5%".into(), "-$1,23,45".into())
        );
    }
}
