//! Patterns of dates and times against values printed and read by Spark.

use super::*;
use crate::types::datetime_text::{format_timestamp, parse_timestamp_text};

fn printed(text: &str, pattern: &str, zone: &str) -> String {
    let zone = Zone::parse(zone).unwrap();
    let micros = parse_timestamp_text(text, &zone).unwrap();
    Pattern::parse(pattern).unwrap().format_timestamp(micros, &zone)
}

fn read(text: &str, pattern: &str) -> Option<String> {
    let mut out = String::new();
    let micros = Pattern::for_reading(pattern).unwrap().parse_timestamp(text, &Zone::utc())?;
    format_timestamp(micros, &Zone::utc(), &mut out);
    Some(out)
}

#[test]
fn prints_as_spark() {
    for (pattern, expected) in [
        ("yyyy-MM-dd HH:mm:ss.SSS", "2024-02-09 15:04:05.678"),
        ("d/M/yy h:mm a", "9/2/24 3:04 PM"),
        ("EEEE, dd MMM yyyy", "Friday, 09 Feb 2024"),
        ("EEE D Q QQQ QQQQ", "Fri 40 1 Q1 1st quarter"),
        ("yyyy'T'MM ''", "2024T02 '"),
        ("G yyyy [HH]", "AD 2024 15"),
        ("kk KK F SSSSSS", "15 03 2 678900"),
    ] {
        assert_eq!(printed("2024-02-09 15:04:05.6789", pattern, "UTC"), expected, "{pattern}");
    }
}

#[test]
fn prints_zones() {
    for (zone, expected) in [
        ("UTC", "UTC +00:00 Z +0000 GMT"),
        ("America/Los_Angeles", "America/Los_Angeles -08:00 -08 -0800 GMT-8"),
        ("+05:30", "+05:30 +05:30 +0530 +0530 GMT+5:30"),
    ] {
        assert_eq!(printed("2024-02-09 00:00:00", "VV xxx X Z O", zone), expected);
    }
    assert_eq!(printed("2024-07-09 00:00:00", "z ZZZZ", "America/Los_Angeles"), "PDT GMT-07:00");
}

#[test]
fn reads_as_spark() {
    for (text, pattern, expected) in [
        ("29.02.2024 01:02", "dd.MM.yyyy HH:mm", Some("2024-02-29 01:02:00")),
        ("2024-02-29T01:02:03.123+0200", "yyyy-MM-dd'T'HH:mm:ss.SSSZ", Some("2024-02-28 23:02:03.123")),
        ("2024", "yyyy", Some("2024-01-01 00:00:00")),
        ("20240229010203", "yyyyMMddHHmmss", Some("2024-02-29 01:02:03")),
        ("2024-02-29 1:02:03.5", "yyyy-MM-dd H:mm:ss[.SSSSSS]", Some("2024-02-29 01:02:03.5")),
        ("2024-02-29 1:02:03", "yyyy-MM-dd H:mm:ss[.SSSSSS]", Some("2024-02-29 01:02:03")),
        ("9 FEB 24 3 pm", "d MMM yy h a", Some("2024-02-09 15:00:00")),
        ("2024-060", "yyyy-DDD", Some("2024-02-29 00:00:00")),
        ("12:00", "HH:mm", Some("1970-01-01 12:00:00")),
        ("2024-07-01 00:00 Europe/Paris", "yyyy-MM-dd HH:mm VV", Some("2024-06-30 22:00:00")),
        ("32.01.2024", "dd.MM.yyyy", None),
        ("2023-02-29", "yyyy-MM-dd", None),
        ("bad", "yyyy", None),
        ("2024-1-01", "yyyy-MM-dd", None),
        ("2024-01-01 ", "yyyy-MM-dd", None),
        ("12024-01-01", "yyyy-MM-dd", None),
        ("+12024-01-01", "yyyy-MM-dd", Some("+12024-01-01 00:00:00")),
        ("2024-01-01 24:00", "yyyy-MM-dd HH:mm", None),
    ] {
        assert_eq!(read(text, pattern).as_deref(), expected, "{text} by {pattern}");
    }
}

#[test]
fn refuses_what_spark_refuses() {
    let recognition = "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION";
    for (pattern, reading, condition) in [
        ("YYYY", false, recognition),
        ("yyyy-MM-dd'T", false, "INVALID_DATETIME_PATTERN.WITH_SUGGESTION"),
        ("MMMMM", false, recognition),
        ("yyyy EEE", true, recognition),
        ("e", false, "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN"),
        ("bogus", true, "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN"),
        ("A", false, "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER"),
        ("bbbb", false, "INVALID_DATETIME_PATTERN.WITH_SUGGESTION"),
        ("yyyy QQ", true, "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER"),
        ("ddd", false, recognition),
    ] {
        let found = if reading { Pattern::for_reading(pattern) } else { Pattern::parse(pattern) };
        assert_eq!(found.unwrap_err().condition(), Some(condition), "{pattern}");
    }
}
