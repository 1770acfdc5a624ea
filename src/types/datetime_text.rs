//! Spark's default texts of dates and timestamps: what `CAST` reads and prints when no pattern is given.
//!
//! Reading accepts `[+-]yyyy*[-[m]m[-[d]d]]`, for timestamps followed by `T` or a blank and
//! `[h]h[:[m]m[:[s]s[.fraction]]][zone]`, with white space around. Printing gives `yyyy-MM-dd` and
//! `yyyy-MM-dd HH:mm:ss[.fraction]` without trailing zeros. Nothing here allocates except the caller's buffer.

use super::calendar::{
    Civil, MICROS_PER_DAY, MICROS_PER_SECOND, checked_days, civil_from_days, join_micros, split_micros,
};
use super::zone::Zone;

/// Days since 1970-01-01 of a text, or `None` if Spark would not cast it to DATE.
pub fn parse_date_text(text: &str) -> Option<i32> {
    let (sign, rest) = split_sign(trim(text).as_bytes());
    let mut segments = [1i64; 3];
    let (mut segment, mut digits, mut value) = (0, 0, 0i64);
    let mut consumed = 0;
    for &byte in rest {
        match byte {
            b' ' | b'T' => break,
            b'-' if segment < 2 && date_width_fits(segment, digits) => {
                segments[segment] = value;
                (segment, digits, value) = (segment + 1, 0, 0);
            }
            b'0'..=b'9' if digits < 7 => {
                value = value * 10 + i64::from(byte - b'0');
                digits += 1;
            }
            _ => return None,
        }
        consumed += 1;
    }
    // A year or a month alone must be the whole text.
    if !date_width_fits(segment, digits) || (segment < 2 && consumed < rest.len()) {
        return None;
    }
    segments[segment] = value;
    i32::try_from(checked_days(sign.unwrap_or(1) * segments[0], segments[1], segments[2])?).ok()
}

/// Microseconds since 1970-01-01T00:00Z of a text; `zone` holds for texts that name none.
pub fn parse_timestamp_text(text: &str, zone: &Zone) -> Option<i64> {
    let parts = Parts::read(trim(text).as_bytes())?;
    let own = parts.zone()?;
    let zone = own.as_ref().unwrap_or(zone);
    let local = if parts.only_time { join_micros(today(zone), parts.micros_of_day()?)? } else { parts.local()? };
    zone.to_instant(local)
}

/// Local microseconds of a text for TIMESTAMP_NTZ. A zone in the text is checked and ignored.
pub fn parse_timestamp_ntz_text(text: &str) -> Option<i64> {
    let parts = Parts::read(trim(text).as_bytes())?;
    parts.zone()?;
    if parts.only_time { None } else { parts.local() }
}

/// As [`parse_timestamp_ntz_text`], but a text with a zone is none.
pub fn parse_timestamp_ntz_text_without_zone(text: &str) -> Option<i64> {
    let parts = Parts::read(trim(text).as_bytes())?;
    if parts.only_time || parts.has_zone() { None } else { parts.local() }
}

/// Appends a date, e.g. `2024-02-29`, `+12345-01-01`, `-0044-03-15`.
pub fn format_date(days: i64, out: &mut String) {
    let Civil { year, month, day } = civil_from_days(days);
    push_year(year, out);
    out.push('-');
    push_padded(u64::from(month), 2, out);
    out.push('-');
    push_padded(u64::from(day), 2, out);
}

/// Appends an instant as local time of `zone`, e.g. `2024-02-29 12:34:56.5`.
pub fn format_timestamp(micros: i64, zone: &Zone, out: &mut String) {
    format_timestamp_ntz(zone.to_local(micros), out);
}

/// Appends a local time, e.g. `2024-02-29 12:34:56.5`.
pub fn format_timestamp_ntz(micros: i64, out: &mut String) {
    let (days, of_day) = split_micros(micros);
    format_date(days, out);
    out.push(' ');
    format_time(of_day, out);
}

/// Appends a time of day given in microseconds: `12:34:56.5`.
pub fn format_time(micros_of_day: i64, out: &mut String) {
    let seconds = micros_of_day.div_euclid(MICROS_PER_SECOND).unsigned_abs();
    push_padded(seconds / 3600, 2, out);
    out.push(':');
    push_padded(seconds / 60 % 60, 2, out);
    out.push(':');
    push_padded(seconds % 60, 2, out);
    push_fraction(micros_of_day.rem_euclid(MICROS_PER_SECOND) as u32, out);
}

/// Appends `.` and the digits of a fraction of a second without trailing zeros; nothing for zero.
pub fn push_fraction(micros: u32, out: &mut String) {
    if micros == 0 {
        return;
    }
    let (mut digits, mut width) = (u64::from(micros), 6);
    while digits % 10 == 0 {
        digits /= 10;
        width -= 1;
    }
    out.push('.');
    push_padded(digits, width, out);
}

/// Appends a number with zeros in front up to `width`.
pub fn push_padded(number: u64, width: usize, out: &mut String) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut start) = (number, digits.len());
    while rest > 0 {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let start = start.min(digits.len() - width.min(digits.len()));
    out.extend(digits[start..].iter().map(|&digit| char::from(digit)));
}

fn push_year(year: i64, out: &mut String) {
    if year < 0 {
        out.push('-');
    } else if year > 9999 {
        out.push('+');
    }
    push_padded(year.unsigned_abs(), 4, out);
}

/// Spark trims blanks and control characters.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
}

fn split_sign(bytes: &[u8]) -> (Option<i64>, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (Some(-1), rest),
        [b'+', rest @ ..] => (Some(1), rest),
        _ => (None, bytes),
    }
}

fn date_width_fits(segment: usize, digits: usize) -> bool {
    if segment == 0 { (4..=7).contains(&digits) } else { (1..=2).contains(&digits) }
}

fn today(zone: &Zone) -> i64 {
    zone.to_local(chrono::Utc::now().timestamp_micros()).div_euclid(MICROS_PER_DAY)
}

/// Which number of a timestamp's text is being read.
const YEAR: usize = 0;
const DAY: usize = 2;
const HOUR: usize = 3;
const SECOND: usize = 5;
const FRACTION: usize = 6;

/// The numbers of a timestamp's text.
struct Parts<'a> {
    /// Year (with its sign), month, day, hour, minute, second, microsecond.
    numbers: [i64; 7],
    zone_text: Option<&'a [u8]>,
    only_time: bool,
}

/// Progress while reading [`Parts`].
struct Cursor<'a> {
    parts: Parts<'a>,
    segment: usize,
    digits: usize,
    value: i64,
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Option<Parts<'a>> {
        let (sign, rest) = split_sign(bytes);
        let parts = Parts { numbers: [1, 1, 1, 0, 0, 0, 0], zone_text: None, only_time: false };
        let mut cursor = Cursor { parts, segment: YEAR, digits: 0, value: 0 };
        let rest = match rest {
            [b'T', time @ ..] if sign.is_none() => {
                cursor.parts.only_time = true;
                cursor.segment = HOUR;
                time
            }
            [] => return None,
            _ => rest,
        };
        for (position, &byte) in rest.iter().enumerate() {
            if byte.is_ascii_digit() {
                cursor.digit(byte);
            } else if !cursor.separator(byte, sign.is_none(), &rest[position..])? {
                break;
            }
        }
        let mut parts = cursor.finish()?;
        parts.numbers[YEAR] *= sign.unwrap_or(1);
        Some(parts)
    }

    fn has_zone(&self) -> bool {
        self.zone_text.is_some()
    }

    /// `None` if the text names a zone that does not exist.
    fn zone(&self) -> Option<Option<Zone>> {
        match self.zone_text {
            None => Some(None),
            Some(text) => Zone::try_parse(std::str::from_utf8(text).ok()?.trim()).map(Some),
        }
    }

    fn local(&self) -> Option<i64> {
        let days = checked_days(self.numbers[0], self.numbers[1], self.numbers[2])?;
        join_micros(days, self.micros_of_day()?)
    }

    fn micros_of_day(&self) -> Option<i64> {
        let [_, _, _, hour, minute, second, micros] = self.numbers;
        (hour < 24 && minute < 60 && second < 60)
            .then_some(((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + micros)
    }
}

impl<'a> Cursor<'a> {
    fn digit(&mut self, byte: u8) {
        // More than six digits of a fraction are cut off; other numbers this long are refused later.
        if self.digits < 6 || self.segment != FRACTION && self.digits < 9 {
            self.value = self.value * 10 + i64::from(byte - b'0');
        }
        self.digits += 1;
    }

    /// Ends the current number at a byte that is no digit. `Some(false)`: the rest of the text is a zone.
    fn separator(&mut self, byte: u8, unsigned: bool, rest: &'a [u8]) -> Option<bool> {
        match (self.segment, byte) {
            (0 | 1, b'-') | (DAY, b' ' | b'T') | (3 | 4, b':') | (SECOND, b'.') => self.next()?,
            (YEAR, b':') if unsigned => {
                self.parts.only_time = true;
                self.segment = HOUR;
                self.next()?;
            }
            (SECOND | FRACTION, _) => {
                self.next()?;
                self.parts.zone_text = Some(rest);
                return Some(false);
            }
            _ => return None,
        }
        Some(true)
    }

    fn width_fits(&self) -> bool {
        match self.segment {
            YEAR => (4..=6).contains(&self.digits),
            FRACTION => true,
            _ => (1..=2).contains(&self.digits),
        }
    }

    fn next(&mut self) -> Option<()> {
        if !self.width_fits() {
            return None;
        }
        self.parts.numbers[self.segment] = self.number();
        (self.segment, self.digits, self.value) = (self.segment + 1, 0, 0);
        Some(())
    }

    fn number(&self) -> i64 {
        match self.segment {
            FRACTION => self.value * 10i64.pow(6 - self.digits.min(6) as u32),
            _ => self.value,
        }
    }

    fn finish(mut self) -> Option<Parts<'a>> {
        if self.parts.zone_text.is_none() {
            self.next()?;
        }
        Some(self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(text: &str) -> Option<String> {
        let mut out = String::new();
        format_timestamp(parse_timestamp_text(text, &Zone::utc())?, &Zone::utc(), &mut out);
        Some(out)
    }

    fn date(text: &str) -> Option<String> {
        let mut out = String::new();
        format_date(i64::from(parse_date_text(text)?), &mut out);
        Some(out)
    }

    #[test]
    fn dates_as_cast_reads_them() {
        assert_eq!(date(" 2024-2-9 ").as_deref(), Some("2024-02-09"));
        assert_eq!(date("2024").as_deref(), Some("2024-01-01"));
        assert_eq!(date("2024-05-06T rest").as_deref(), Some("2024-05-06"));
        assert_eq!(date("-0044-03-15").as_deref(), Some("-0044-03-15"));
        assert_eq!(date("12345-01-01").as_deref(), Some("+12345-01-01"));
        for bad in ["", "24-01-01", "2024-02-30", "2024-01 x", "2024-1-1x", "2024/01/01", "2024--1"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_as_cast_reads_them() {
        assert_eq!(timestamp("2024-02-29 12:34:56.789").as_deref(), Some("2024-02-29 12:34:56.789"));
        assert_eq!(timestamp("2024-02-29 12:34:56+01:00").as_deref(), Some("2024-02-29 11:34:56"));
        assert_eq!(timestamp("2024-02-29T1:2:3.123456789 Europe/Paris").as_deref(), Some("2024-02-29 00:02:03.123456"));
        assert_eq!(timestamp("2024-02-29 12").as_deref(), Some("2024-02-29 12:00:00"));
        assert_eq!(timestamp("2024").as_deref(), Some("2024-01-01 00:00:00"));
        assert_eq!(timestamp("2024-02-29T12:34:56.5Z").as_deref(), Some("2024-02-29 12:34:56.5"));
        for bad in
            ["", "bad", "2024-02-30 00:00:00", "2024-01-01 25:00:00", "2024-01-01 10:20 UTC", "2024-01-01 1:2:3 x"]
        {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
        assert!(timestamp("12:30:15").is_some_and(|text| text.ends_with(" 12:30:15")));
    }

    #[test]
    fn local_timestamps_ignore_the_zone() {
        assert_eq!(parse_timestamp_ntz_text("1970-01-01 00:00:01+05:00"), Some(1_000_000));
        assert_eq!(parse_timestamp_ntz_text("00:00:01"), None);
    }
}
