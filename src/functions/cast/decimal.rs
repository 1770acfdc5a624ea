//! Decimal numbers: texts to digits, digits to another scale, all rounding half up (away from zero).
//!
//! No value is ever cut silently: what does not fit gives none.

use arrow::datatypes::i256;

/// The most digits a DECIMAL has.
pub const MAX_PRECISION: u8 = 38;

/// `unscaled` divided by ten to the `scale`; a negative scale multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The digits.
    pub unscaled: i128,
    /// How many of them stand behind the point.
    pub scale: i32,
}

impl Number {
    /// Precision and scale of the smallest DECIMAL that holds it, as Spark types a literal.
    pub fn precision_and_scale(&self) -> (u8, i8) {
        let digits = digits(self.unscaled) as i32;
        let scale = self.scale.max(0);
        let precision = (digits - self.scale.min(0)).max(scale);
        (precision.min(i32::from(u8::MAX)) as u8, scale.min(i32::from(i8::MAX)) as i8)
    }

    /// Its digits at another scale; none if they are more than `precision`.
    pub fn rescaled(&self, scale: i8, precision: u8) -> Option<i128> {
        rescale(self.unscaled, self.scale, i32::from(scale)).filter(|value| fits(*value, precision))
    }
}

/// How many digits a number has.
pub fn digits(value: i128) -> u32 {
    value.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1)
}

/// Whether a number has at most `precision` digits.
pub fn fits(unscaled: i128, precision: u8) -> bool {
    digits(unscaled) <= u32::from(precision.min(MAX_PRECISION))
}

/// Ten to the `exponent`.
pub fn power(exponent: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// Digits at scale `from` as digits at scale `to`, rounded half up; none beyond 128 bits.
pub fn rescale(unscaled: i128, from: i32, to: i32) -> Option<i128> {
    if to >= from {
        return if unscaled == 0 { Some(0) } else { unscaled.checked_mul(power(to - from)?) };
    }
    match power(from - to) {
        Some(divisor) => Some(divide(unscaled, divisor)),
        None => Some(0),
    }
}

/// Quotient rounded half up; the divisor is not 0.
pub fn divide(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let up = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    let sign = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    if up && rest != 0 { quotient + sign } else { quotient }
}

/// As [`divide`], for numbers beyond 128 bits; none if the quotient is.
pub fn divide_wide(dividend: i256, divisor: i256) -> Option<i128> {
    let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
    let absolute = |value: i256| if value.is_negative() { value.wrapping_neg() } else { value };
    let up = rest != i256::ZERO && absolute(rest) >= absolute(divisor).wrapping_sub(absolute(rest));
    let sign = if dividend.is_negative() == divisor.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    let rounded = if up { quotient.checked_add(sign)? } else { quotient };
    rounded.to_i128()
}

/// Parses `[+-]digits[.digits][e[+-]digits]`; digits beyond 38 are rounded away if they stand behind the point.
pub fn parse(text: &str) -> Option<Number> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok().filter(|exponent| exponent.abs() < 10_000)?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let number = digits_of(whole.as_bytes(), fraction.as_bytes(), exponent)?;
    Some(if negative { Number { unscaled: -number.unscaled, ..number } } else { number })
}

fn digits_of(whole: &[u8], fraction: &[u8], exponent: i32) -> Option<Number> {
    let mut unscaled: i128 = 0;
    let mut scale = -exponent;
    let mut rounded = false;
    for (position, digit) in whole.iter().chain(fraction).enumerate() {
        if !digit.is_ascii_digit() {
            return None;
        }
        let behind = position >= whole.len();
        let digit = i128::from(digit - b'0');
        if rounded || !fits(unscaled, MAX_PRECISION - 1) {
            if !behind {
                scale = scale.checked_sub(1)?;
            }
            if !rounded && digit >= 5 {
                unscaled += 1;
            }
            rounded = true;
            continue;
        }
        unscaled = unscaled * 10 + digit;
        scale += i32::from(behind);
    }
    Some(Number { unscaled, scale })
}

/// Appends the number as plain digits, `-12.50`.
pub fn print(unscaled: i128, scale: i8, out: &mut String) {
    use std::fmt::Write;
    let absolute = unscaled.unsigned_abs();
    if unscaled < 0 {
        out.push('-');
    }
    let written = match u32::try_from(scale).ok().filter(|scale| *scale > 0).and_then(|scale| 10u128.checked_pow(scale))
    {
        Some(power) => write!(out, "{}.{:0width$}", absolute / power, absolute % power, width = scale as usize),
        None => write!(out, "{absolute}"),
    };
    written.expect("strings take all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_scales() {
        assert_eq!(parse("-1.555").unwrap().rescaled(2, 3), Some(-156));
        assert_eq!(parse("1e3").unwrap().rescaled(0, 4), Some(1000));
        assert_eq!(parse("12.5e-1").unwrap().rescaled(2, 3), Some(125));
        assert_eq!(parse("123.4").unwrap().rescaled(1, 3), None);
        assert_eq!(parse("99999999999999999999999999999999999999").unwrap().unscaled, 10i128.pow(38) - 1);
        for text in ["", ".", "-", "1x", "1e", "e5", "1.2.3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn halves_go_away_from_zero() {
        assert_eq!([divide(25, 10), divide(-25, 10), divide(24, 10), divide(1, 3)], [3, -3, 2, 0]);
        assert_eq!(divide_wide(i256::from_i128(-25), i256::from_i128(10)), Some(-3));
    }

    #[test]
    fn printed_plainly() {
        let text = |unscaled, scale| {
            let mut out = String::new();
            print(unscaled, scale, &mut out);
            out
        };
        assert_eq!([text(-5, 2), text(1250, 2), text(7, 0)], ["-0.05", "12.50", "7"]);
    }
}
