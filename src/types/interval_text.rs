//! The text of intervals with given fields: `INTERVAL '29' DAY`, `INTERVAL '2 06' DAY TO HOUR`, `INTERVAL '1-2' YEAR TO MONTH`.
//!
//! In: a length and the names of its fields as field metadata holds them (`day`, `hour to second`); out: the text that a
//! cast to STRING gives. The largest field takes what larger ones would hold.

use super::calendar::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use super::datetime_text::{push_fraction, push_padded};

/// The units of a day-time interval, the largest first.
const UNITS: [(&str, u64); 4] = [
    ("day", MICROS_PER_DAY as u64),
    ("hour", MICROS_PER_HOUR as u64),
    ("minute", MICROS_PER_MINUTE as u64),
    ("second", MICROS_PER_SECOND as u64),
];

/// Appends a day-time interval of `micros` microseconds.
pub fn write_day_time(micros: i64, fields: &str, out: &mut String) {
    let (first, last) = range(fields, 3, |name| UNITS.iter().position(|(unit, _)| *unit == name));
    out.push_str("INTERVAL '");
    sign(micros < 0, out);
    let mut rest = micros.unsigned_abs();
    for (at, (_, unit)) in UNITS.iter().enumerate().take(last + 1).skip(first) {
        if at > first {
            out.push(if at == 1 { ' ' } else { ':' });
        }
        push_padded(rest / unit, if at == 0 { 1 } else { 2 }, out);
        rest %= unit;
    }
    if last == 3 {
        push_fraction(rest as u32, out);
    }
    end(fields, out);
}

/// Appends a year-month interval of `months` months.
pub fn write_year_month(months: i32, fields: &str, out: &mut String) {
    out.push_str("INTERVAL '");
    sign(months < 0, out);
    let months = u64::from(months.unsigned_abs());
    match fields {
        "year" => push_padded(months / 12, 1, out),
        "month" => push_padded(months, 1, out),
        _ => {
            push_padded(months / 12, 1, out);
            out.push('-');
            push_padded(months % 12, 1, out);
        }
    }
    end(fields, out);
}

/// The first and the last of `fields`; everything if they are not known.
fn range(fields: &str, last: usize, place: impl Fn(&str) -> Option<usize>) -> (usize, usize) {
    let (from, to) = fields.split_once(" to ").unwrap_or((fields, fields));
    match place(from).zip(place(to)) {
        Some((from, to)) if from <= to => (from, to),
        _ => (0, last),
    }
}

fn sign(negative: bool, out: &mut String) {
    if negative {
        out.push('-');
    }
}

fn end(fields: &str, out: &mut String) {
    out.push_str("' ");
    out.extend(fields.chars().map(|letter| letter.to_ascii_uppercase()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_decide_the_text() {
        let text = |micros, fields| {
            let mut out = String::new();
            write_day_time(micros, fields, &mut out);
            out
        };
        assert_eq!(text(29 * MICROS_PER_DAY, "day"), "INTERVAL '29' DAY");
        assert_eq!(text(90 * MICROS_PER_MINUTE, "minute"), "INTERVAL '90' MINUTE");
        assert_eq!(text(54 * MICROS_PER_HOUR, "day to hour"), "INTERVAL '2 06' DAY TO HOUR");
        assert_eq!(text(-5_500_000, "second"), "INTERVAL '-05.5' SECOND");
        assert_eq!(text(3_723_000_000, "hour to second"), "INTERVAL '01:02:03' HOUR TO SECOND");
    }
}
