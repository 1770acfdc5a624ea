//! `to_number`, `try_to_number`, `to_char`: numbers by Oracle-like patterns such as `S99,999.00`.
//!
//! In: a constant pattern and texts or numbers. Out: DECIMAL with as many digits as the pattern has, or STRING.
//! `9` is a digit or nothing, `0` a digit, `,` or `G` groups, `.` or `D` the point, `$` or `L` the currency, `S` a sign,
//! `MI` a minus or blank, `PR` angle brackets around negative numbers.

use crate::{Error, Result};

/// A parsed pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberPattern {
    /// Sizes of the groups of digits before the point, from the left.
    groups: Vec<usize>,
    /// The characters before the point: `0`, `9` and `,`.
    whole: Vec<u8>,
    /// Number of digits after the point; `None` without a point.
    decimals: Option<usize>,
    currency: bool,
    sign: Sign,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sign {
    #[default]
    None,
    /// `S` in front or behind.
    PlusMinus(Side),
    /// `MI` in front or behind.
    Minus(Side),
    Brackets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Front,
    Behind,
}

fn invalid(kind: &str, message: impl Into<String>) -> Error {
    Error::query(format!("INVALID_FORMAT.{kind}"), message)
}

impl NumberPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `INVALID_FORMAT.*`, naming what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(invalid("EMPTY", "the number format must not be empty"));
        }
        let upper = text.to_ascii_uppercase().replace('G', ",").replace('D', ".").replace('L', "$");
        let mut pattern = NumberPattern::default();
        let mut rest = pattern.take_front(&upper);
        let digits = rest.len() - rest.trim_start_matches(['0', '9', ',']).len();
        pattern.whole = rest[..digits].bytes().collect();
        rest = &rest[digits..];
        if let Some(after) = rest.strip_prefix('.') {
            let count = after.len() - after.trim_start_matches(['0', '9']).len();
            pattern.decimals = Some(count);
            rest = &after[count..];
        }
        let rest = pattern.take_behind(rest)?;
        if !rest.is_empty() {
            return Err(pattern.unexpected(rest, text));
        }
        pattern.check(text)?;
        pattern.groups = pattern.whole.split(|byte| *byte == b',').map(<[u8]>::len).collect();
        Ok(pattern)
    }

    fn take_front<'a>(&mut self, text: &'a str) -> &'a str {
        let mut rest = text;
        if let Some(after) = rest.strip_prefix('S') {
            (self.sign, rest) = (Sign::PlusMinus(Side::Front), after);
        } else if let Some(after) = rest.strip_prefix("MI") {
            (self.sign, rest) = (Sign::Minus(Side::Front), after);
        }
        if let Some(after) = rest.strip_prefix('$') {
            (self.currency, rest) = (true, after);
        }
        rest
    }

    fn take_behind<'a>(&mut self, text: &'a str) -> Result<&'a str> {
        let (sign, rest) = match text {
            _ if text.starts_with('S') => (Sign::PlusMinus(Side::Behind), &text[1..]),
            _ if text.starts_with("MI") => (Sign::Minus(Side::Behind), &text[2..]),
            _ if text.starts_with("PR") => (Sign::Brackets, &text[2..]),
            _ => return Ok(text),
        };
        if self.sign != Sign::None {
            return Err(invalid("WRONG_NUM_TOKEN", "at most one sign is allowed in a number format"));
        }
        self.sign = sign;
        Ok(rest)
    }

    fn unexpected(&self, rest: &str, text: &str) -> Error {
        if !text.contains(['0', '9']) {
            let kind = if text.contains([',', 'G', 'g']) { "CONT_THOUSANDS_SEPS" } else { "WRONG_NUM_DIGIT" };
            return invalid(kind, format!("the number format '{text}' needs at least one digit"));
        }
        match rest.as_bytes().first() {
            Some(b',') if self.decimals.is_some() => {
                invalid("THOUSANDS_SEPS_MUST_BEFORE_DEC", format!("a group separator follows the point in '{text}'"))
            }
            Some(b'$') => {
                invalid("CUR_MUST_BEFORE_DIGIT", format!("the currency must stand before the digits in '{text}'"))
            }
            Some(b'.') => invalid("WRONG_NUM_TOKEN", format!("'{text}' has more than one point")),
            _ => invalid("UNEXPECTED_TOKEN", format!("unexpected '{rest}' in the number format '{text}'")),
        }
    }

    fn check(&self, text: &str) -> Result<()> {
        if self
            .whole
            .iter()
            .chain(self.decimals.iter().filter(|count| **count > 0).map(|_| &b'9'))
            .all(|byte| *byte == b',')
        {
            return Err(invalid("WRONG_NUM_DIGIT", format!("the number format '{text}' needs at least one digit")));
        }
        if self.whole.windows(2).any(|pair| pair == b",,") || self.whole.starts_with(b",") || self.whole.ends_with(b",")
        {
            let message = format!("a group separator needs digits on both sides in '{text}'");
            return Err(invalid("CONT_THOUSANDS_SEPS", message));
        }
        if self.precision() > 38 {
            return Err(invalid("WRONG_NUM_DIGIT", format!("the number format '{text}' has more than 38 digits")));
        }
        Ok(())
    }

    fn whole_digits(&self) -> usize {
        self.whole.iter().filter(|byte| **byte != b',').count()
    }

    /// Number of digits.
    pub fn precision(&self) -> usize {
        self.whole_digits() + self.decimals.unwrap_or(0)
    }

    /// Number of digits after the point.
    pub fn scale(&self) -> usize {
        self.decimals.unwrap_or(0)
    }

    /// The number in a text, without its point (at [`NumberPattern::scale`]); `None` if the text does not fit.
    pub fn read(&self, text: &str) -> Option<i128> {
        let (mut rest, mut negative) = (text.trim(), false);
        match self.sign {
            Sign::Brackets => {
                if let Some(inner) = rest.strip_prefix('<') {
                    (rest, negative) = (inner.strip_suffix('>')?, true);
                }
            }
            Sign::PlusMinus(side) | Sign::Minus(side) => {
                let plus = matches!(self.sign, Sign::PlusMinus(_));
                (rest, negative) = strip_sign(rest, side, plus);
            }
            Sign::None => {}
        }
        if self.currency {
            rest = rest.strip_prefix('$')?;
        }
        let (whole, decimals) = match rest.split_once('.') {
            Some((whole, decimals)) if self.decimals.is_some() => (whole, decimals),
            Some(_) => return None,
            None => (rest, ""),
        };
        self.check_groups(whole, decimals)?;
        let padding = std::iter::repeat_n(b'0', self.scale() - decimals.len());
        let digits = whole.bytes().filter(|byte| *byte != b',').chain(decimals.bytes()).chain(padding);
        let number = digits.fold(0i128, |number, digit| number * 10 + i128::from(digit - b'0'));
        Some(if negative { -number } else { number })
    }

    /// Each group has the size the pattern says; the first may be shorter unless the pattern starts with `0`.
    fn check_groups(&self, whole: &str, decimals: &str) -> Option<()> {
        let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let groups: Vec<&str> = if whole.is_empty() { Vec::new() } else { whole.split(',').collect() };
        let fits = groups.iter().all(|group| numeric(group)) && numeric(decimals) && decimals.len() <= self.scale();
        let exact = self.whole.first() == Some(&b'0');
        let first = groups.len().checked_sub(1);
        let sizes = groups.iter().rev().zip(self.groups.iter().rev()).enumerate();
        let sized = sizes.map(|(i, (group, size))| match Some(i) == first && !exact {
            true => group.len() <= *size,
            false => group.len() == *size,
        });
        let counted = groups.len() <= self.groups.len() && (!exact || groups.len() == self.groups.len());
        let any = !whole.is_empty() || !decimals.is_empty();
        (fits && counted && any && sized.into_iter().all(|fits| fits)).then_some(())
    }

    /// Writes a number whose plain digits are `whole` and `decimals`; `#` for each digit if it does not fit.
    pub fn write(&self, negative: bool, whole: &str, decimals: &str, out: &mut String) {
        let whole = whole.trim_start_matches('0');
        let decimals = decimals.trim_end_matches('0');
        let fits = whole.len() <= self.whole_digits() && decimals.len() <= self.scale();
        let (before, after) = self.signs(negative);
        let mut missing = self.whole_digits().saturating_sub(whole.len());
        let mut digits = whole.bytes();
        let mut body = String::new();
        let (mut exact, mut begun) = (false, false);
        for byte in &self.whole {
            exact |= *byte == b'0';
            body.push(match byte {
                b',' if !begun && !exact && fits => ' ',
                b',' => ',',
                _ if !fits => '#',
                _ if missing > 0 => {
                    missing -= 1;
                    if exact { '0' } else { ' ' }
                }
                _ => {
                    begun = true;
                    digits.next().map_or('0', char::from)
                }
            });
        }
        if self.decimals.is_some() && body.ends_with(' ') {
            body.pop();
            body.push('0');
        }
        if self.currency {
            // The currency stands before the blanks, the sign right before the first digit.
            out.push('$');
        }
        let blanks = body.len() - body.trim_start_matches(' ').len();
        out.push_str(&body[..blanks]);
        out.push_str(before);
        out.push_str(&body[blanks..]);
        if let Some(count) = self.decimals {
            out.push('.');
            match fits {
                true => out.push_str(&format!("{decimals:0<count$}")),
                false => out.extend(std::iter::repeat_n('#', count)),
            }
        }
        out.push_str(after);
    }

    fn signs(&self, negative: bool) -> (&'static str, &'static str) {
        match (self.sign, negative) {
            (Sign::None, _) => ("", ""),
            (Sign::PlusMinus(Side::Front), _) => (if negative { "-" } else { "+" }, ""),
            (Sign::PlusMinus(Side::Behind), _) => ("", if negative { "-" } else { "+" }),
            (Sign::Minus(Side::Front), _) => (if negative { "-" } else { " " }, ""),
            (Sign::Minus(Side::Behind), _) => ("", if negative { "-" } else { " " }),
            (Sign::Brackets, true) => ("<", ">"),
            (Sign::Brackets, false) => (" ", " "),
        }
    }
}

fn strip_sign(text: &str, side: Side, plus: bool) -> (&str, bool) {
    let strip = |sign: char| match side {
        Side::Front => text.strip_prefix(sign),
        Side::Behind => text.strip_suffix(sign),
    };
    match (strip('-'), strip('+')) {
        (Some(rest), _) => (rest, true),
        (_, Some(rest)) if plus => (rest, false),
        _ => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_and_write() {
        let pattern = |text: &str| NumberPattern::parse(text).expect("valid");
        let write = |text: &str, negative, whole: &str, decimals: &str| {
            let mut out = String::new();
            pattern(text).write(negative, whole, decimals, &mut out);
            out
        };
        assert_eq!(pattern("9,999.99").read("1,234.50"), Some(123_450));
        assert_eq!((pattern("S$99").read("-$12"), pattern("99PR").read("<12>")), (Some(-12), Some(-12)));
        assert_eq!(
            (pattern("000").read("12"), pattern("999").read("abc"), pattern("9,999").read("12,34")),
            (None, None, None)
        );
        assert_eq!(write("9,999.99", false, "1234", "5"), "1,234.50");
        assert_eq!((write("S999", true, "12", ""), write("$999", false, "12", "")), (" -12".into(), "$ 12".into()));
        assert_eq!((write("999", false, "1234", ""), write("0,000", false, "12", "")), ("###".into(), "0,012".into()));
        assert!(["", "a", "9,", "S9S", "9.9,9"].iter().all(|text| NumberPattern::parse(text).is_err()));
    }
}
