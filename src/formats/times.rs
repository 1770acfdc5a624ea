//! Dates and timestamps in CSV and JSON: option patterns, else Spark's defaults.
//!
//! In: options and settings, then texts or values. Out: days and microseconds, or texts. Without a pattern reading takes
//! whatever a cast takes and writing gives ISO 8601 with milliseconds; with a pattern only the pattern counts, unless
//! `enableDateTimeParsingFallback` is set.

use crate::conf::Conf;
use crate::options::Options;
use crate::types::datetime_pattern::Pattern;
use crate::types::datetime_text::{
    format_date, parse_date_text, parse_timestamp_ntz_text_without_zone, parse_timestamp_text, push_padded,
};
use crate::types::zone::Zone;
use crate::{Error, Result};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// How dates and timestamps are read and written.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    zone: Zone,
    date: Option<Pattern>,
    timestamp: Option<Pattern>,
    timestamp_ntz: Option<Pattern>,
    fallback: bool,
}

impl Times {
    /// For reading, as options (`dateFormat`, `timestampFormat`, `timestampNTZFormat`, `timeZone`) and settings say.
    ///
    /// # Errors
    /// A pattern or zone that does not exist.
    pub(crate) fn for_reading(options: &Options, conf: &Conf) -> Result<Times> {
        Times::with(Pattern::for_reading, options, conf)
    }

    /// For writing, from the same options.
    ///
    /// # Errors
    /// A pattern or zone that does not exist.
    pub(crate) fn for_writing(options: &Options, conf: &Conf) -> Result<Times> {
        Times::with(Pattern::parse, options, conf)
    }

    fn with(compile: fn(&str) -> Result<Pattern>, options: &Options, conf: &Conf) -> Result<Times> {
        check_locale(options)?;
        let pattern = |name: &str| options.get(name).map(compile).transpose();
        Ok(Times {
            zone: Zone::parse(options.get("timeZone").unwrap_or(conf.time_zone()))?,
            date: pattern("dateFormat")?,
            timestamp: pattern("timestampFormat")?,
            timestamp_ntz: pattern("timestampNTZFormat")?,
            fallback: options.flag("enableDateTimeParsingFallback", false)?,
        })
    }

    /// The zone of timestamps.
    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// True if a date pattern is set, so that only its texts are dates.
    pub(crate) fn has_date_pattern(&self) -> bool {
        self.date.is_some()
    }

    /// Days since 1970.
    pub(crate) fn read_date(&self, text: &str) -> Option<i32> {
        let Some(pattern) = &self.date else { return parse_date_text(text) };
        let by_pattern = pattern.parse_date(text);
        if self.fallback { by_pattern.or_else(|| parse_date_text(text)) } else { by_pattern }
    }

    /// Microseconds since 1970 UTC.
    pub(crate) fn read_timestamp(&self, text: &str) -> Option<i64> {
        let Some(pattern) = &self.timestamp else { return parse_timestamp_text(text, &self.zone) };
        let by_pattern = pattern.parse_timestamp(text, &self.zone);
        if self.fallback { by_pattern.or_else(|| parse_timestamp_text(text, &self.zone)) } else { by_pattern }
    }

    /// Local microseconds.
    pub(crate) fn read_timestamp_ntz(&self, text: &str) -> Option<i64> {
        match &self.timestamp_ntz {
            Some(pattern) => pattern.parse_timestamp_ntz(text),
            None => parse_timestamp_ntz_text_without_zone(text),
        }
    }

    /// Appends a date.
    pub(crate) fn write_date(&self, days: i32, out: &mut String) {
        match &self.date {
            Some(pattern) => pattern.write_date(days, out),
            None => format_date(i64::from(days), out),
        }
    }

    /// Appends an instant.
    pub(crate) fn write_timestamp(&self, micros: i64, out: &mut String) {
        if let Some(pattern) = &self.timestamp {
            return pattern.write_timestamp(micros, &self.zone, out);
        }
        push_local(self.zone.to_local(micros), out);
        push_offset(self.zone.offset_seconds(micros), out);
    }

    /// Appends a local time.
    pub(crate) fn write_timestamp_ntz(&self, micros: i64, out: &mut String) {
        match &self.timestamp_ntz {
            Some(pattern) => pattern.write_timestamp(micros, &Zone::utc(), out),
            None => push_local(micros, out),
        }
    }
}

/// Names of days and months are English, and decimals have a point.
fn check_locale(options: &Options) -> Result<()> {
    match options.get("locale") {
        Some(other) if !other.to_ascii_lowercase().starts_with("en") => {
            Err(Error::unsupported(format!("locale '{other}' is not supported")).hint("Only English ones are."))
        }
        _ => Ok(()),
    }
}

/// `yyyy-MM-ddTHH:mm:ss.SSS`.
fn push_local(micros: i64, out: &mut String) {
    format_date(micros.div_euclid(DAY), out);
    let of_day = micros.rem_euclid(DAY).unsigned_abs();
    let seconds = of_day / SECOND.unsigned_abs();
    out.push('T');
    push_padded(seconds / 3600, 2, out);
    out.push(':');
    push_padded(seconds / 60 % 60, 2, out);
    out.push(':');
    push_padded(seconds % 60, 2, out);
    out.push('.');
    push_padded(of_day / 1000 % 1000, 3, out);
}

/// `Z` or `+01:00`.
fn push_offset(seconds: i32, out: &mut String) {
    if seconds == 0 {
        return out.push('Z');
    }
    out.push(if seconds < 0 { '-' } else { '+' });
    let size = u64::from(seconds.unsigned_abs());
    push_padded(size / 3600, 2, out);
    out.push(':');
    push_padded(size / 60 % 60, 2, out);
    if size % 60 != 0 {
        out.push(':');
        push_padded(size % 60, 2, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(options: &[(&str, &str)]) -> Times {
        let mut all = Options::default();
        options.iter().for_each(|(name, value)| all.set(*name, value));
        Times::for_reading(&all, &Conf::default()).unwrap()
    }

    #[test]
    fn defaults_read_like_casts_and_write_iso_with_milliseconds() {
        let times = times(&[]);
        assert_eq!(times.read_date("2024-2-29"), Some(19_782));
        assert_eq!(times.read_timestamp("2024-01-01 01:02"), Some(1_704_070_920 * SECOND));
        assert_eq!(times.read_timestamp("bad"), None);
        let mut out = String::new();
        times.write_timestamp(1_704_070_920 * SECOND + 500_999, &mut out);
        times.write_timestamp_ntz(0, &mut out);
        assert_eq!(out, "2024-01-01T01:02:00.500Z1970-01-01T00:00:00.000");
    }

    #[test]
    fn zones_shift_texts() {
        let times = times(&[("timeZone", "+05:30")]);
        let micros = times.read_timestamp("2024-01-01 05:30:00").unwrap();
        assert_eq!(micros, 1_704_067_200 * SECOND);
        let mut out = String::new();
        times.write_timestamp(micros, &mut out);
        assert_eq!(out, "2024-01-01T05:30:00.000+05:30");
    }

    #[test]
    fn patterns_replace_the_default_rules() {
        let times = times(&[("dateFormat", "dd/MM/yyyy"), ("timestampFormat", "yyyy-MM-dd HH.mm")]);
        assert_eq!(times.read_date("29/02/2024"), Some(19_782));
        assert_eq!(times.read_date("2024-02-29"), None);
        assert_eq!(times.read_timestamp("2024-01-01 01.02"), Some(1_704_070_920 * SECOND));
        assert_eq!(times.read_timestamp("2024-01-01 01:02"), None);
        let mut out = String::new();
        times.write_date(19_782, &mut out);
        assert_eq!(out, "29/02/2024");
    }
}
