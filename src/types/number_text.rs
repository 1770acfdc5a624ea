//! Texts of numbers as Spark (Java) reads and prints them.
//!
//! In: numbers, or the bytes of a text. Out: Java's `Double.toString`, `BigDecimal.toString` and `toPlainString`; for
//! reading `Integer.parseInt`, `Double.parseDouble` and `new BigDecimal` followed by rounding half up to a scale. Nothing
//! here allocates except the caller's buffer, and nothing panics whatever the text.

use std::fmt::{Display, LowerExp, Write};

/// Longest significant part of a decimal; more digits cannot fit 38 anyway.
const MAX_DIGITS: usize = 38;

/// Appends a DOUBLE: `1.0`, `0.001`, `1.0E10`, `NaN`, `-Infinity`.
pub fn push_double(value: f64, out: &mut String) {
    push_floating(value, value, out);
}

/// Appends a FLOAT, with as many digits as tell it from its neighbours.
pub fn push_float(value: f32, out: &mut String) {
    push_floating(value, f64::from(value), out);
}

/// `wide` is the same number as `value`; it only decides how to print.
fn push_floating<T: LowerExp + Display>(value: T, wide: f64, out: &mut String) {
    const CANNOT_FAIL: &str = "strings take all text";
    match wide {
        f64::INFINITY => return out.push_str("Infinity"),
        f64::NEG_INFINITY => return out.push_str("-Infinity"),
        _ if wide.is_nan() => return out.push_str("NaN"),
        _ => {}
    }
    let (start, size) = (out.len(), wide.abs());
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        write!(out, "{value}").expect(CANNOT_FAIL);
        if !out[start..].contains('.') {
            out.push_str(".0");
        }
        return;
    }
    write!(out, "{value:e}").expect(CANNOT_FAIL);
    let exponent = out[start..].find('e').map_or(out.len(), |at| start + at);
    let point = if out[start..exponent].contains('.') { "E" } else { ".0E" };
    out.replace_range(exponent..exponent + 1, point);
}

/// Appends the unscaled value of a DECIMAL with all digits of its scale: `1.50`, `-0.01`.
pub fn push_decimal(unscaled: i128, scale: i8, out: &mut String) {
    if unscaled < 0 {
        out.push('-');
    }
    let mut buffer = [0; 40];
    let digits = decimal_digits(unscaled.unsigned_abs(), &mut buffer);
    push_plain(digits, scale, out);
}

fn push_plain(digits: &str, scale: i8, out: &mut String) {
    let Ok(scale) = usize::try_from(scale) else {
        out.push_str(digits);
        return (0..scale.unsigned_abs()).for_each(|_| out.push('0'));
    };
    if scale == 0 {
        return out.push_str(digits);
    }
    let whole = digits.len().saturating_sub(scale);
    out.push_str(if whole == 0 { "0" } else { &digits[..whole] });
    out.push('.');
    (digits.len()..scale).for_each(|_| out.push('0'));
    out.push_str(&digits[whole..]);
}

/// Appends a DECIMAL as Java's `BigDecimal.toString`: like [`push_decimal`], but `1E-7` for very small values.
pub fn push_decimal_scientific(unscaled: i128, scale: i8, out: &mut String) {
    let mut buffer = [0; 40];
    let digits = decimal_digits(unscaled.unsigned_abs(), &mut buffer);
    let exponent = digits.len() as i32 - 1 - i32::from(scale);
    if scale >= 0 && exponent >= -6 {
        return push_decimal(unscaled, scale, out);
    }
    if unscaled < 0 {
        out.push('-');
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    write!(out, "E{exponent:+}").expect("strings take all text");
}

fn decimal_digits(mut value: u128, buffer: &mut [u8; 40]) -> &str {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return std::str::from_utf8(&buffer[start..]).expect("digits are ASCII");
        }
    }
}

/// Reads a whole number as Java's `parseInt`: digits with an optional sign, no blanks; `None` beyond `T`.
pub fn parse_integer<T: TryFrom<i64>>(text: &[u8]) -> Option<T> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = match digits.len() {
        0 => return None,
        1..=18 => {
            let value = short_integer(digits)?;
            if negative { -value } else { value }
        }
        _ => long_integer(digits, negative)?,
    };
    T::try_from(value).ok()
}

/// Up to 18 digits, which fit 64 bits.
fn short_integer(digits: &[u8]) -> Option<i64> {
    let (mut value, mut wrong) = (0_i64, false);
    let (eights, rest) = digits.as_chunks::<8>();
    for eight in eights {
        let (found, all_digits) = eight_digits(u64::from_le_bytes(*eight));
        wrong |= !all_digits;
        value = value.wrapping_mul(100_000_000).wrapping_add(found);
    }
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        wrong |= digit > 9;
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    (!wrong).then_some(value)
}

/// The number of eight digits, the first in the lowest byte, and whether they are digits. Digits become pairs, pairs fours, fours
/// the whole: one multiplication each, as described by Johnny Lee and by Daniel Lemire ("Quickly parsing eight digits", 2018).
pub(crate) fn eight_digits(text: u64) -> (i64, bool) {
    const EVEN: u64 = 0x0000_00ff_0000_00ff;
    let high = text & 0xf0f0_f0f0_f0f0_f0f0;
    let carried = text.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    let all_digits = high | (carried >> 4) == 0x3333_3333_3333_3333;
    let digits = text.wrapping_sub(0x3030_3030_3030_3030);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & EVEN).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & EVEN).wrapping_mul(0x0000_2710_0000_0001);
    ((low.wrapping_add(high) >> 32) as i64, all_digits)
}

fn long_integer(digits: &[u8], negative: bool) -> Option<i64> {
    let mut value: i64 = 0;
    for byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        let next = value.checked_mul(10)?;
        value = if negative { next.checked_sub(digit)? } else { next.checked_add(digit)? };
    }
    Some(value)
}

/// Reads a floating number as Java's `parseDouble`: surrounding blanks, `NaN`, `Infinity` and a final `d` or `f` are fine.
pub fn parse_floating<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned.as_bytes().first()? {
        b'0'..=b'9' | b'.' => text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text).parse().ok(),
        _ if matches!(unsigned, "NaN" | "Infinity") => text.parse().ok(),
        _ => None,
    }
}

/// Reads a decimal as Java's `new BigDecimal`, rounds it half up to `scale`; `None` if it is none or needs more digits
/// than `precision`.
pub fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let number = Number::read(text)?;
    let unscaled = number.rescaled(i64::from(scale))?;
    let limit = 10i128.checked_pow(u32::from(precision.min(38)))?;
    (-limit < unscaled && unscaled < limit).then_some(unscaled)
}

/// Precision and scale of a decimal text, as Java's `BigDecimal` counts them; `None` if it is no number.
pub fn decimal_shape(text: &[u8]) -> Option<(u64, i64)> {
    let number = Number::read(text)?;
    Some((number.length().max(1), number.scale))
}

/// A decimal text taken apart: its value is the digits of `whole` and `fraction` divided by ten to the `scale`.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    scale: i64,
}

impl<'a> Number<'a> {
    fn read(text: &'a [u8]) -> Option<Number<'a>> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (digits, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&rest[..at], parse_integer::<i32>(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &digits[digits.len()..]),
        };
        let only_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        if !only_digits || whole.len() + fraction.len() == 0 {
            return None;
        }
        Some(Number { negative, whole, fraction, scale: fraction.len() as i64 - i64::from(exponent) })
    }

    /// The digits without leading zeros.
    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.fraction).map(|byte| byte - b'0').skip_while(|digit| *digit == 0)
    }

    fn length(&self) -> u64 {
        self.digits().count() as u64
    }

    /// The unscaled value at another scale, rounded half up.
    fn rescaled(&self, scale: i64) -> Option<i128> {
        let length = self.length() as i64;
        if length == 0 {
            return Some(0);
        }
        let kept = length + scale - self.scale;
        if kept > MAX_DIGITS as i64 {
            return None;
        }
        if kept < 0 {
            return Some(0);
        }
        let kept = kept as usize;
        let mut value =
            self.digits().chain(std::iter::repeat(0)).take(kept).fold(0i128, |sum, d| sum * 10 + i128::from(d));
        if self.digits().nth(kept).is_some_and(|digit| digit >= 5) {
            value += 1;
        }
        Some(if self.negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        push(&mut out);
        out
    }

    #[test]
    fn floating_numbers_print_as_in_java() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.5e10, "1.5E10"),
            (1e10, "1.0E10"),
            (1e-4, "1.0E-4"),
            (0.001, "0.001"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (123456.789, "123456.789"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::MAX, "1.7976931348623157E308"),
        ] {
            assert_eq!(text(|out| push_double(value, out)), expected);
        }
        assert_eq!(text(|out| push_float(1.1, out)), "1.1");
        assert_eq!(text(|out| push_float(1.5e10, out)), "1.5E10");
    }

    #[test]
    fn decimals_print_plain_or_scientific() {
        assert_eq!(text(|out| push_decimal(150, 2, out)), "1.50");
        assert_eq!(text(|out| push_decimal(-1, 2, out)), "-0.01");
        assert_eq!(text(|out| push_decimal(7, 0, out)), "7");
        assert_eq!(text(|out| push_decimal(7, -2, out)), "700");
        assert_eq!(text(|out| push_decimal(1, 7, out)), "0.0000001");
        assert_eq!(text(|out| push_decimal_scientific(1, 7, out)), "1E-7");
        assert_eq!(text(|out| push_decimal_scientific(-12, 8, out)), "-1.2E-7");
        assert_eq!(text(|out| push_decimal_scientific(150, 2, out)), "1.50");
    }

    #[test]
    fn d06_whole_numbers_stop_at_their_range() {
        assert_eq!(parse_integer::<i8>(b"-128"), Some(-128));
        assert_eq!(parse_integer::<i8>(b"128"), None);
        assert_eq!(parse_integer::<i64>(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_integer::<i64>(b"9223372036854775808"), None);
        for bad in ["", "-", "+", " 1", "1 ", "1.0", "1e3", "x", "--1"] {
            assert_eq!(parse_integer::<i64>(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_integer::<i64>(b"+5"), Some(5));
    }

    #[test]
    fn d06_floating_numbers_as_in_java() {
        assert_eq!(parse_floating::<f64>(b" 1e400 "), Some(f64::INFINITY));
        assert_eq!(parse_floating::<f64>(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_floating::<f64>(b"1.5d"), Some(1.5));
        for bad in ["", "Inf", "inf", "nan", "infinity", "1,5", "1d d", "-", "d"] {
            assert_eq!(parse_floating::<f64>(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn d06_decimals_round_half_up_and_stop_at_their_precision() {
        assert_eq!(parse_decimal(b"1234.565", 6, 2), Some(123_457));
        assert_eq!(parse_decimal(b"-1234.565", 6, 2), Some(-123_457));
        assert_eq!(parse_decimal(b"99999.99", 6, 2), None);
        assert_eq!(parse_decimal(b"9999.995", 6, 2), None);
        assert_eq!(parse_decimal(b"1.2e3", 6, 2), Some(120_000));
        assert_eq!(parse_decimal(b"5e-3", 6, 2), Some(1));
        assert_eq!(parse_decimal(b"4e-3", 6, 2), Some(0));
        assert_eq!(parse_decimal(b"0e999999999", 6, 2), Some(0));
        assert_eq!(parse_decimal(b"1e999999999", 6, 2), None);
        assert_eq!(parse_decimal(b"1e-999999999", 6, 2), Some(0));
        assert_eq!(parse_decimal(b".5", 6, 2), Some(50));
        for bad in ["", ".", "-", "1e", "1e9999999999", "x", "1.2.3", " 1"] {
            assert_eq!(parse_decimal(bad.as_bytes(), 6, 2), None, "{bad}");
        }
        assert_eq!(decimal_shape(b"001.50"), Some((3, 2)));
    }
}
