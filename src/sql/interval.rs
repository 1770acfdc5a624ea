//! Interval texts: `5 minutes`, `1 day 2 hours`, `'1-2' YEAR TO MONTH`, `'1 02:03:04.5' DAY TO SECOND`.
//!
//! In comes text as it stands in literals, window lengths, watermark delays and casts; out goes a number of months, days
//! and microseconds. Nothing is rounded: what does not fit is an error.

use crate::{Error, Result};

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// A span of calendar time; the three parts are independent, as months and days differ in length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CalendarInterval {
    /// Months, years counted as twelve.
    pub months: i32,
    /// Days, weeks counted as seven.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl CalendarInterval {
    /// The length in microseconds, a day being 24 hours; none if there are months in it or it is too long.
    pub fn exact_micros(&self) -> Option<i64> {
        let days = i64::from(self.days).checked_mul(DAY_MICROS)?;
        if self.months == 0 { days.checked_add(self.micros) } else { None }
    }
}

/// The fields an interval is made of, smallest unit last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Years.
    Year,
    /// Months.
    Month,
    /// Days.
    Day,
    /// Hours.
    Hour,
    /// Minutes.
    Minute,
    /// Seconds, with a fraction.
    Second,
}

impl Field {
    /// The field of this name, singular, in any case.
    pub fn named(name: &str) -> Option<Field> {
        Some(match name.to_ascii_lowercase().as_str() {
            "year" | "years" => Field::Year,
            "month" | "months" => Field::Month,
            "day" | "days" => Field::Day,
            "hour" | "hours" => Field::Hour,
            "minute" | "minutes" => Field::Minute,
            "second" | "seconds" => Field::Second,
            _ => return None,
        })
    }

    /// Lower-case name, as in a type's name.
    pub fn name(self) -> &'static str {
        match self {
            Field::Year => "year",
            Field::Month => "month",
            Field::Day => "day",
            Field::Hour => "hour",
            Field::Minute => "minute",
            Field::Second => "second",
        }
    }

    /// The largest and the smallest field of a type `INTERVAL field [TO field]`; none for other types.
    pub fn of_type(text: &str) -> Option<(Field, Field)> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (from, to) = match words.as_slice() {
            [interval, from] if interval.eq_ignore_ascii_case("interval") => (from, from),
            [interval, from, word, to]
                if interval.eq_ignore_ascii_case("interval") && word.eq_ignore_ascii_case("to") =>
            {
                (from, to)
            }
            _ => return None,
        };
        Field::named(from).zip(Field::named(to))
    }

    /// True for years and months.
    pub fn is_year_month(self) -> bool {
        self <= Field::Month
    }

    /// Microseconds of an hour, minute or second; of a day for anything else.
    pub fn micros(self) -> i64 {
        match self {
            Field::Hour => 3_600_000_000,
            Field::Minute => 60_000_000,
            Field::Second => 1_000_000,
            _ => DAY_MICROS,
        }
    }
}

/// An interval and the fields it was written with, largest and smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenInterval {
    /// Its length.
    pub length: CalendarInterval,
    /// The largest and the smallest field that was written.
    pub fields: (Field, Field),
}

/// Parses `[interval] [+|-]n unit [[+|-]n unit ...]`, where seconds may have a fraction.
///
/// # Errors
/// `CANNOT_PARSE_INTERVAL`.
pub fn parse_interval(text: &str) -> Result<CalendarInterval> {
    Ok(parse_units(text)?.length)
}

/// As [`parse_interval`], and tells the fields.
///
/// # Errors
/// `CANNOT_PARSE_INTERVAL`.
pub fn parse_units(text: &str) -> Result<WrittenInterval> {
    let wrong = |why: &str| {
        Error::query("CANNOT_PARSE_INTERVAL", format!("cannot parse '{text}' as an interval: {why}"))
            .hint("Write numbers and units, as in '5 minutes' or '1 day 2 hours'.")
    };
    let lower = text.trim().to_ascii_lowercase();
    let body = lower.strip_prefix("interval").filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or(&lower);
    let mut words = Words(body);
    let mut length = CalendarInterval::default();
    let mut fields: Option<(Field, Field)> = None;
    while let Some((number, unit)) = words.pair().map_err(wrong)? {
        let field = add(&mut length, number, unit).map_err(wrong)?;
        let (first, last) = fields.unwrap_or((field, field));
        fields = Some((first.min(field), last.max(field)));
    }
    let fields = fields.ok_or_else(|| wrong("it is empty"))?;
    Ok(WrittenInterval { length, fields })
}

/// Numbers and units in turn; a sign may stand apart from its number, a number must stand apart from its unit.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn pair(&mut self) -> Result<Option<(Number, &'a str)>, &'static str> {
        self.0 = self.0.trim_start();
        if self.0.is_empty() {
            return Ok(None);
        }
        let negative = self.0.starts_with('-');
        let rest = self.0.strip_prefix(['-', '+']).unwrap_or(self.0).trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let number = Number::parse(&rest[..end], negative).ok_or("a number is missing or malformed")?;
        let rest = rest[end..].trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let unit = &rest[..end];
        self.0 = &rest[end..];
        if unit.is_empty() { Err("a unit is missing") } else { Ok(Some((number, unit))) }
    }
}

/// A signed whole number and billionths of the same sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    nanos: i64,
    has_fraction: bool,
}

impl Number {
    fn parse(text: &str, negative: bool) -> Option<Number> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let sign = if negative { -1 } else { 1 };
        let whole =
            if whole.is_empty() { 0 } else { format!("{}{whole}", if negative { "-" } else { "" }).parse().ok()? };
        let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
        Some(Number { whole, nanos: sign * nanos, has_fraction: text.contains('.') })
    }
}

fn add(length: &mut CalendarInterval, number: Number, unit: &str) -> Result<Field, &'static str> {
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    if number.has_fraction && singular != "second" {
        return Err("only seconds may have a fraction");
    }
    let (field, result) = match singular {
        "year" => (Field::Year, add_months(length, number.whole, 12)),
        "quarter" => (Field::Month, add_months(length, number.whole, 3)),
        "month" => (Field::Month, add_months(length, number.whole, 1)),
        "week" => (Field::Day, add_days(length, number.whole, 7)),
        "day" => (Field::Day, add_days(length, number.whole, 1)),
        "hour" => (Field::Hour, add_micros(length, number.whole, Field::Hour.micros())),
        "minute" => (Field::Minute, add_micros(length, number.whole, Field::Minute.micros())),
        "second" => (
            Field::Second,
            add_micros(length, number.whole, 1_000_000).and_then(|()| add_micros(length, number.nanos / 1000, 1)),
        ),
        "millisecond" => (Field::Second, add_micros(length, number.whole, 1000)),
        "microsecond" => (Field::Second, add_micros(length, number.whole, 1)),
        "nanosecond" => (Field::Second, add_micros(length, number.whole / 1000, 1)),
        _ => return Err("a unit is unknown"),
    };
    result.ok_or("it is too long")?;
    Ok(field)
}

fn add_months(length: &mut CalendarInterval, number: i64, months: i64) -> Option<()> {
    length.months = i32::try_from(number.checked_mul(months)?).ok()?.checked_add(length.months)?;
    Some(())
}

fn add_days(length: &mut CalendarInterval, number: i64, days: i64) -> Option<()> {
    length.days = i32::try_from(number.checked_mul(days)?).ok()?.checked_add(length.days)?;
    Some(())
}

fn add_micros(length: &mut CalendarInterval, number: i64, micros: i64) -> Option<()> {
    length.micros = number.checked_mul(micros)?.checked_add(length.micros)?;
    Some(())
}

/// Parses the value of `INTERVAL 'value' FROM TO TO`, such as `1-2` (YEAR TO MONTH) or `1 02:03:04.5` (DAY TO SECOND).
///
/// # Errors
/// `INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING_WITH_NOTICE` if the text does not have just these fields.
pub fn parse_fields(text: &str, from: Field, to: Field) -> Result<CalendarInterval> {
    fields_of(text.trim(), from, to).ok_or_else(|| {
        Error::query(
            "INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING_WITH_NOTICE",
            format!("'{text}' is no interval {} to {}", from.name(), to.name()),
        )
    })
}

fn fields_of(text: &str, from: Field, to: Field) -> Option<CalendarInterval> {
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    if from.is_year_month() != to.is_year_month() || from > to {
        return None;
    }
    let mut length = if from.is_year_month() { year_month(body, from, to)? } else { day_time(body, from, to)? };
    if negative {
        length =
            CalendarInterval { months: length.months.checked_neg()?, days: 0, micros: length.micros.checked_neg()? };
    }
    Some(length)
}

fn year_month(text: &str, from: Field, to: Field) -> Option<CalendarInterval> {
    let unit = |text: &str| text.parse::<u32>().ok();
    let months = if from == to {
        unit(text)?.checked_mul(if from == Field::Year { 12 } else { 1 })?
    } else {
        let (years, months) = text.split_once('-')?;
        unit(years)?.checked_mul(12)?.checked_add(unit(months).filter(|months| *months < 12)?)?
    };
    Some(CalendarInterval { months: i32::try_from(months).ok()?, ..Default::default() })
}

fn day_time(text: &str, from: Field, to: Field) -> Option<CalendarInterval> {
    const FIELDS: [Field; 4] = [Field::Day, Field::Hour, Field::Minute, Field::Second];
    let mut rest = text;
    let mut micros: i64 = 0;
    for field in FIELDS.into_iter().filter(|field| (from..=to).contains(field)) {
        let separator = if field == Field::Day { ' ' } else { ':' };
        let (part, after) = if field == to { (rest, "") } else { rest.split_once(separator)? };
        let number = Number::parse(part, false).filter(|number| field == Field::Second || !number.has_fraction)?;
        let limit = if field == Field::Hour { 24 } else { 60 };
        if field > from && field > Field::Day && number.whole >= limit {
            return None;
        }
        micros = micros.checked_add(number.whole.checked_mul(field.micros())?)?.checked_add(number.nanos / 1000)?;
        rest = after.trim_start();
    }
    Some(CalendarInterval { micros, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (i32, i32, i64) {
        let length = parse_interval(text).unwrap();
        (length.months, length.days, length.micros)
    }

    #[test]
    fn units_add_up() {
        assert_eq!(parts("5 minutes"), (0, 0, 300_000_000));
        assert_eq!(parts("interval 1 year 2 months -3 days 1.5 seconds"), (14, -3, 1_500_000));
        assert_eq!(parts("- 1 week 10 milliseconds"), (0, -7, 10_000));
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["", "ten minutes", "5", "5 parsecs", "1.5 days", "99999999999999 weeks", "5minutes"] {
            let error = parse_interval(text).unwrap_err();
            assert_eq!(error.condition(), Some("CANNOT_PARSE_INTERVAL"), "{text}");
        }
    }

    #[test]
    fn fields_of_literals() {
        assert_eq!(parse_fields("-1-2", Field::Year, Field::Month).unwrap().months, -14);
        assert_eq!(parse_fields("1 02:03:04.5", Field::Day, Field::Second).unwrap().micros, 93_784_500_000);
        assert_eq!(parse_fields("90", Field::Minute, Field::Minute).unwrap().micros, 5_400_000_000);
        assert!(parse_fields("1 25:00", Field::Day, Field::Minute).is_err());
        assert!(parse_fields("1-13", Field::Year, Field::Month).is_err());
    }
}
