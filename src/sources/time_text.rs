//! Spark's time texts in options: a number with a unit, such as `10s`, `5min`, `7d`.

use std::time::Duration;

/// Microseconds of a unit; without one those of `default_unit`.
fn unit_micros(unit: &str, default_unit: &str) -> Option<u64> {
    match if unit.is_empty() { default_unit } else { unit } {
        "us" => Some(1),
        "ms" => Some(1_000),
        "s" => Some(1_000_000),
        "m" | "min" => Some(60_000_000),
        "h" => Some(3_600_000_000),
        "d" => Some(86_400_000_000),
        _ => None,
    }
}

/// The time that a text means; `None` if it is none.
pub(super) fn parse(text: &str, default_unit: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let micros = number.parse::<u64>().ok()?.checked_mul(unit_micros(unit.trim(), default_unit)?)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(
            ["5", "5s", "2m", "1500ms", "x", ""].map(|text| parse(text, "s").map(|time| time.as_millis())),
            [Some(5000), Some(5000), Some(120_000), Some(1500), None, None]
        );
    }
}
