//! Spark's datetime patterns (`yyyy-MM-dd'T'HH:mm:ss[.SSS]`), compiled once and run many times.
//!
//! In: a pattern; out: a [`Pattern`] that prints instants and reads them back. The letters, widths, optional sections and
//! quotes are those of Java's `DateTimeFormatter` in its strict style, less what Spark forbids; names are English.
//! `compile` turns text into items, `print` and `read` run over items, `resolve` turns read fields into an instant.

mod compile;
mod print;
mod read;
mod resolve;

use super::calendar::{MICROS_PER_DAY, join_micros};
use super::zone::Zone;
use crate::Result;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    items: Vec<Item>,
}

/// A field of a date or a time that a pattern can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Field {
    Era,
    Year,
    YearOfEra,
    Quarter,
    Month,
    Day,
    DayOfYear,
    /// Which seven days of the month: the day's place among them (`F`).
    AlignedDay,
    Weekday,
    HalfDay,
    /// 0 to 23.
    Hour,
    /// 1 to 24.
    ClockHour,
    /// 0 to 11.
    HalfHour,
    /// 1 to 12.
    ClockHalfHour,
    Minute,
    Second,
}

/// When a number takes a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sign {
    Never,
    Negative,
    /// `+` if the number is wider than its least width.
    WhenWide,
}

/// How an offset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct OffsetStyle {
    colon: bool,
    minutes: Need,
    seconds: Need,
    /// What stands for zero.
    zero: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Need {
    Never,
    NotZero,
    Always,
}

/// One step of printing or reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Item {
    Literal(String),
    Number {
        field: Field,
        least: usize,
        most: usize,
        sign: Sign,
        /// Digits that belong to the fixed-width numbers right behind this one.
        reserved: usize,
        /// Neighbour of other numbers without anything between.
        adjacent: bool,
    },
    /// Two digits of a year of 2000 to 2099.
    ShortYear,
    /// Up to this many digits of the fraction of a second.
    Fraction(usize),
    /// A name; `true` is the full one.
    Name(Field, bool),
    ZoneName(bool),
    ZoneId,
    Offset(OffsetStyle),
    /// `GMT+8`; `true`: `GMT+08:00`.
    LocalizedOffset(bool),
    Optional(Vec<Item>),
}

impl Pattern {
    /// Compiles a pattern that prints (and reads, unless it contains `E`, `F`, `Q` or `q`, which never match).
    ///
    /// # Errors
    /// `INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION` for what only Spark 2.4 understood,
    /// `INVALID_DATETIME_PATTERN` for what no version does.
    pub fn parse(text: &str) -> Result<Pattern> {
        let items = compile::compile(text, false)?;
        Ok(Pattern { text: text.to_owned(), items })
    }

    /// Compiles a pattern that reads; letters that Spark cannot read are refused.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn for_reading(text: &str) -> Result<Pattern> {
        let items = compile::compile(text, true)?;
        Ok(Pattern { text: text.to_owned(), items })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends an instant (microseconds since 1970 UTC) as `zone` shows it.
    pub fn write_timestamp(&self, micros: i64, zone: &Zone, out: &mut String) {
        print::print(&self.items, &print::Moment::at(micros, zone), out);
    }

    /// An instant as text, see [`Pattern::write_timestamp`].
    pub fn format_timestamp(&self, micros: i64, zone: &Zone) -> String {
        let mut out = String::new();
        self.write_timestamp(micros, zone, &mut out);
        out
    }

    /// Appends a date (days since 1970-01-01) as its midnight.
    pub fn write_date(&self, days: i32, out: &mut String) {
        let micros = i64::from(days).saturating_mul(MICROS_PER_DAY);
        print::print(&self.items, &print::Moment::at(micros, &Zone::utc()), out);
    }

    /// A date as text, see [`Pattern::write_date`].
    pub fn format_date(&self, days: i32) -> String {
        let mut out = String::new();
        self.write_date(days, &mut out);
        out
    }

    /// Reads an instant; `zone` holds for texts that name none. `None` if the whole text does not fit.
    pub fn parse_timestamp(&self, text: &str, zone: &Zone) -> Option<i64> {
        let fields = self.read(text)?;
        let local = join_micros(fields.days()?, fields.micros_of_day()?)?;
        fields.zone().unwrap_or(zone).to_instant(local)
    }

    /// Reads a local time for TIMESTAMP_NTZ, leaving out any zone. `None` if the whole text does not fit.
    pub fn parse_timestamp_ntz(&self, text: &str) -> Option<i64> {
        let fields = self.read(text)?;
        join_micros(fields.days()?, fields.micros_of_day()?)
    }

    /// Reads a date; a time in the text must be right but does not count.
    pub fn parse_date(&self, text: &str) -> Option<i32> {
        let fields = self.read(text)?;
        fields.micros_of_day()?;
        i32::try_from(fields.days()?).ok()
    }

    /// Whether the pattern itself names a zone or an offset.
    pub fn has_zone(&self) -> bool {
        names_zone(&self.items)
    }

    fn read(&self, text: &str) -> Option<resolve::Fields> {
        let (fields, rest) = read::read(&self.items, text, resolve::Fields::default())?;
        rest.is_empty().then_some(fields)
    }
}

fn names_zone(items: &[Item]) -> bool {
    items.iter().any(|item| match item {
        Item::ZoneName(_) | Item::ZoneId | Item::Offset(_) | Item::LocalizedOffset(_) => true,
        Item::Optional(inner) => names_zone(inner),
        _ => false,
    })
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const QUARTERS: [&str; 4] = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];
const SHORT_QUARTERS: [&str; 4] = ["Q1", "Q2", "Q3", "Q4"];
const ERAS: [&str; 2] = ["Before Christ", "Anno Domini"];
const SHORT_ERAS: [&str; 2] = ["BC", "AD"];
const HALF_DAYS: [&str; 2] = ["AM", "PM"];

/// The names of a field's values, the value of the first one, and how many letters of each count.
fn names(field: Field, full: bool) -> (&'static [&'static str], i64, usize) {
    let letters = if full { usize::MAX } else { 3 };
    match (field, full) {
        (Field::Month, _) => (&MONTHS, 1, letters),
        (Field::Weekday, _) => (&WEEKDAYS, 1, letters),
        (Field::Quarter, true) => (&QUARTERS, 1, usize::MAX),
        (Field::Quarter, false) => (&SHORT_QUARTERS, 1, usize::MAX),
        (Field::Era, true) => (&ERAS, 0, usize::MAX),
        (Field::Era, false) => (&SHORT_ERAS, 0, usize::MAX),
        _ => (&HALF_DAYS, 0, usize::MAX),
    }
}

fn cut(name: &str, letters: usize) -> &str {
    name.get(..letters).unwrap_or(name)
}

/// The English short name of a day, Monday being 1.
pub fn short_weekday(iso_day: i64) -> &'static str {
    usize::try_from(iso_day - 1).ok().and_then(|at| WEEKDAYS.get(at)).map_or("", |name| cut(name, 3))
}

/// The English short name of a month (1 to 12).
pub fn short_month(month: u32) -> &'static str {
    (month as usize).checked_sub(1).and_then(|at| MONTHS.get(at)).map_or("", |name| cut(name, 3))
}

#[cfg(test)]
mod tests;
