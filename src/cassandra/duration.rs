//! CQL's `duration`: months, days and nanoseconds, all of one sign.
//!
//! In: the bytes of a value, or its text in CQL (`1y2mo3d4h5m6s7ms8us9ns`, weeks as `w`). Out: the other.

use std::fmt;

use super::numbers::{put_vint, take_vint};

/// A time of so many months, days and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CqlDuration {
    pub months: i32,
    pub days: i32,
    pub nanos: i64,
}

/// Units of the text, the largest first: months, days, nanoseconds of one.
const UNITS: [(&str, [i64; 3]); 11] = [
    ("y", [12, 0, 0]),
    ("mo", [1, 0, 0]),
    ("w", [0, 7, 0]),
    ("d", [0, 1, 0]),
    ("h", [0, 0, 3_600_000_000_000]),
    ("m", [0, 0, 60_000_000_000]),
    ("s", [0, 0, 1_000_000_000]),
    ("ms", [0, 0, 1_000_000]),
    ("us", [0, 0, 1_000]),
    ("µs", [0, 0, 1_000]),
    ("ns", [0, 0, 1]),
];

impl CqlDuration {
    /// The value of these bytes.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<CqlDuration> {
        let months = i32::try_from(take_vint(&mut bytes)?).ok()?;
        let days = i32::try_from(take_vint(&mut bytes)?).ok()?;
        Some(CqlDuration { months, days, nanos: take_vint(&mut bytes)? })
    }

    /// Appends its bytes.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        put_vint(self.months.into(), out);
        put_vint(self.days.into(), out);
        put_vint(self.nanos, out);
    }

    /// True if all parts have the same sign, without which there is no such duration in CQL.
    pub(crate) fn has_one_sign(self) -> bool {
        let parts = [i64::from(self.months), i64::from(self.days), self.nanos];
        parts.iter().all(|part| *part >= 0) || parts.iter().all(|part| *part <= 0)
    }

    /// The value of a text.
    pub(crate) fn parse(text: &str) -> Option<CqlDuration> {
        let text = text.trim();
        let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let mut sums = [0i64; 3];
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, behind) = rest.split_at(digits);
            let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(letters);
            let (_, worth) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
            let number = sign * number.parse::<i64>().ok()?;
            for (sum, worth) in sums.iter_mut().zip(worth) {
                *sum = sum.checked_add(number.checked_mul(*worth)?)?;
            }
            rest = behind;
        }
        let [months, days, nanos] = sums;
        Some(CqlDuration { months: months.try_into().ok()?, days: days.try_into().ok()?, nanos })
    }
}

impl fmt::Display for CqlDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left =
            [u64::from(self.months.unsigned_abs()), self.days.unsigned_abs().into(), self.nanos.unsigned_abs()];
        if left == [0; 3] {
            return f.write_str("0ns");
        }
        if self.months < 0 || self.days < 0 || self.nanos < 0 {
            f.write_str("-")?;
        }
        // Weeks are read, not written, as Cassandra does.
        for (name, worth) in UNITS.iter().filter(|(name, _)| !matches!(*name, "w" | "µs")) {
            for (left, worth) in left.iter_mut().zip(worth).filter(|(_, worth)| **worth > 0) {
                let count = *left / worth.unsigned_abs();
                if count > 0 {
                    write!(f, "{count}{name}")?;
                }
                *left %= worth.unsigned_abs();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bytes_come_back() {
        for text in ["1y2mo3d4h5m6s7ms8us9ns", "-14d", "0ns", "89h"] {
            let value = CqlDuration::parse(text).unwrap();
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            assert_eq!(CqlDuration::read(&bytes), Some(value));
            assert_eq!(CqlDuration::parse(&value.to_string()), Some(value), "{text}");
        }
        let whole = CqlDuration { months: 14, days: 10, nanos: 1_500_000 };
        assert_eq!(CqlDuration::parse("1Y2MO1w3d1ms500us"), Some(whole));
        assert_eq!(whole.to_string(), "1y2mo10d1ms500us");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "-", "5", "d", "1x", "99999999999999999999s", "1d-1h"] {
            assert_eq!(CqlDuration::parse(text), None, "{text}");
        }
    }
}
