//! Time zones as Spark writes them: region names, `+08:00` and its short forms, `GMT+8`, `UTC`, `Z`, Java's short names.
//!
//! A [`Zone`] is parsed once (per query or constant) and then maps instants to local times and back. Local times are
//! microseconds since 1970-01-01T00:00 on the local clock. Gaps and overlaps follow Java: a local time that does not
//! exist moves forward by the gap, a local time that exists twice is the earlier one.

use std::str::FromStr;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};

use super::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::{Error, Result};

/// A parsed time zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Zone {
    rule: Rule,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rule {
    /// Seconds east of UTC.
    Fixed(i32),
    Region(Tz),
}

/// Java's `ZoneId.SHORT_IDS`.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("EST", "-05:00"),
    ("HST", "-10:00"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("MST", "-07:00"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];

/// The largest offset Java accepts: 18 hours.
const MAX_OFFSET: i32 = 18 * 3600;

impl Zone {
    /// Universal time under its name `UTC`.
    pub fn utc() -> Zone {
        Zone { rule: Rule::Fixed(0), name: "UTC".to_owned() }
    }

    /// A fixed offset in seconds east of UTC; `None` beyond 18 hours.
    pub fn fixed(seconds: i32) -> Option<Zone> {
        (seconds.abs() <= MAX_OFFSET).then(|| Zone { rule: Rule::Fixed(seconds), name: offset_name(seconds) })
    }

    /// Reads a zone as a user writes it.
    ///
    /// # Errors
    /// `INVALID_TIMEZONE` if it is neither a region nor an offset.
    pub fn parse(text: &str) -> Result<Zone> {
        Zone::try_parse(text).ok_or_else(|| {
            Error::query("INVALID_TIMEZONE", format!("'{text}' is not a time zone"))
                .hint("Use a region such as 'America/Los_Angeles' or an offset such as '+08:00'.")
        })
    }

    /// Like [`Zone::parse`], for data: `None` if the text is no zone.
    pub fn try_parse(text: &str) -> Option<Zone> {
        let text = SHORT_NAMES.iter().find(|(short, _)| *short == text).map_or(text, |(_, long)| *long);
        match text {
            "UTC" | "GMT" | "UT" | "Z" => Some(Zone { rule: Rule::Fixed(0), name: text.to_owned() }),
            _ if text.starts_with(['+', '-']) => Zone::fixed(parse_offset(text)?),
            _ => prefixed(text).or_else(|| region(text)),
        }
    }

    /// The zone's identifier, as Java's `ZoneId.getId` gives it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether local time equals universal time at every instant.
    pub fn is_utc(&self) -> bool {
        self.rule == Rule::Fixed(0)
    }

    /// Seconds east of UTC at an instant (microseconds since 1970-01-01T00:00Z).
    pub fn offset_seconds(&self, instant: i64) -> i32 {
        match self.rule {
            Rule::Fixed(seconds) => seconds,
            Rule::Region(zone) => zone.offset_from_utc_datetime(&naive(instant)).fix().local_minus_utc(),
        }
    }

    /// The short name in force at an instant, e.g. `PDT`.
    pub fn abbreviation(&self, instant: i64) -> String {
        match self.rule {
            Rule::Fixed(_) => self.name.clone(),
            Rule::Region(zone) => match zone.offset_from_utc_datetime(&naive(instant)).abbreviation() {
                Some(short) if short.starts_with(char::is_alphabetic) => short.to_owned(),
                _ => self.name.clone(),
            },
        }
    }

    /// The local clock at an instant.
    pub fn to_local(&self, instant: i64) -> i64 {
        instant.saturating_add(i64::from(self.offset_seconds(instant)) * MICROS_PER_SECOND)
    }

    /// The instant at which the local clock shows `local`; `None` beyond the range of a timestamp.
    pub fn to_instant(&self, local: i64) -> Option<i64> {
        let offset = match self.rule {
            Rule::Fixed(seconds) => seconds,
            Rule::Region(zone) => region_offset(zone, local),
        };
        local.checked_sub(i64::from(offset) * MICROS_PER_SECOND)
    }
}

fn region_offset(zone: Tz, local: i64) -> i32 {
    match zone.offset_from_local_datetime(&naive(local)) {
        MappedLocalTime::Single(offset) => offset.fix().local_minus_utc(),
        MappedLocalTime::Ambiguous(earlier, later) => {
            // The earlier instant is the one with the larger offset.
            earlier.fix().local_minus_utc().max(later.fix().local_minus_utc())
        }
        MappedLocalTime::None => {
            let before = naive(local.saturating_sub(MICROS_PER_DAY));
            zone.offset_from_utc_datetime(&before).fix().local_minus_utc()
        }
    }
}

/// Instants beyond chrono's range take the offset of its first or last day; the rules do not change out there.
fn naive(micros: i64) -> NaiveDateTime {
    match DateTime::from_timestamp_micros(micros) {
        Some(instant) => instant.naive_utc(),
        None if micros < 0 => DateTime::<chrono::Utc>::MIN_UTC.naive_utc(),
        None => DateTime::<chrono::Utc>::MAX_UTC.naive_utc(),
    }
}

fn region(text: &str) -> Option<Zone> {
    let zone = Tz::from_str(text).ok()?;
    Some(Zone { rule: Rule::Region(zone), name: text.to_owned() })
}

/// `UTC+8`, `GMT-03:30`, `UT+1`.
fn prefixed(text: &str) -> Option<Zone> {
    let prefix = ["UTC", "GMT", "UT"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let offset = text.strip_prefix(prefix).filter(|rest| rest.starts_with(['+', '-']))?;
    let mut zone = Zone::fixed(parse_offset(offset)?)?;
    zone.name = if zone.is_utc() { prefix.to_owned() } else { format!("{prefix}{}", zone.name) };
    Some(zone)
}

/// `+h`, `+hh`, `+h:mm`, `+hh:m`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`, in seconds.
fn parse_offset(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let rest = text.get(1..)?;
    let parts: Vec<&str> = if rest.contains(':') { rest.split(':').collect() } else { halves(rest)? };
    let widths_fit = match parts.as_slice() {
        [hours] => (1..=2).contains(&hours.len()),
        [hours, minutes] => (1..=2).contains(&hours.len()) && (1..=2).contains(&minutes.len()),
        [hours, minutes, seconds] => hours.len() == 2 && minutes.len() == 2 && seconds.len() == 2,
        _ => false,
    };
    if !widths_fit || !parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let number = |at: usize| parts.get(at).map_or(Some(0), |part| part.parse::<i32>().ok());
    let (hours, minutes, seconds) = (number(0)?, number(1)?, number(2)?);
    (minutes < 60 && seconds < 60).then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Splits `hhmm` and `hhmmss` into pairs; one or two digits are hours alone.
fn halves(digits: &str) -> Option<Vec<&str>> {
    match digits.len() {
        1 | 2 => Some(vec![digits]),
        4 => Some(vec![digits.get(..2)?, digits.get(2..)?]),
        6 => Some(vec![digits.get(..2)?, digits.get(2..4)?, digits.get(4..)?]),
        _ => None,
    }
}

fn offset_name(seconds: i32) -> String {
    if seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes, rest) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    match rest {
        0 => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(text: &str) -> Option<i32> {
        Zone::try_parse(text).map(|zone| zone.offset_seconds(0))
    }

    #[test]
    fn zones_as_spark_writes_them() {
        assert_eq!(offset("+08:00"), Some(28_800));
        assert_eq!(offset("-3:30"), Some(-12_600));
        assert_eq!(offset("+01:2"), Some(3_720));
        assert_eq!(offset("GMT+8"), Some(28_800));
        assert_eq!(offset("UTC"), Some(0));
        assert_eq!(offset("PST"), Some(-28_800));
        assert_eq!(offset("America/Los_Angeles"), Some(-28_800));
        assert_eq!(offset("Mars/Base"), None);
        assert_eq!(offset("+19:00"), None);
        assert_eq!(Zone::parse("x").unwrap_err().condition(), Some("INVALID_TIMEZONE"));
    }

    #[test]
    fn gaps_move_forward_and_overlaps_take_the_earlier() {
        let zone = Zone::parse("Europe/Paris").unwrap();
        let local = |text: &str| NaiveDateTime::from_str(text).unwrap().and_utc().timestamp_micros();
        // 02:30 does not exist on 2024-03-31; Java makes it 03:30+02:00.
        assert_eq!(zone.to_instant(local("2024-03-31T02:30:00")), Some(local("2024-03-31T01:30:00")));
        // 02:30 exists twice on 2024-10-27; the first is +02:00.
        assert_eq!(zone.to_instant(local("2024-10-27T02:30:00")), Some(local("2024-10-27T00:30:00")));
        assert_eq!(zone.to_local(local("2024-07-01T00:00:00")), local("2024-07-01T02:00:00"));
    }
}
