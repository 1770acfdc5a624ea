//! The proleptic Gregorian calendar over plain numbers.
//!
//! In: days since 1970-01-01 or microseconds since then; out: fields, and back. Everything is 64 bit and total over the
//! range Spark knows (years -290308 to 294247 and all of DATE), which chrono's dates do not cover. No time zones here.

/// Microseconds of a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
/// Microseconds of an hour.
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
/// Microseconds of a day of 24 hours.
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// A day as year, month (1-12) and day of month (1-31). Year 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Proleptic year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// Whether February has 29 days.
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month; `month` is 1 to 12.
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a day that exists.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Days since 1970-01-01, or `None` if there is no such day.
pub fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    let month_number = u32::try_from(month).ok().filter(|month| (1..=12).contains(month))?;
    let day_number = u32::try_from(day).ok()?;
    let exists = (1..=days_in_month(year, month_number)).contains(&day_number) && year.abs() <= 999_999_999;
    exists.then(|| days_from_civil(year, month_number, day_number))
}

/// The day that is `days` after 1970-01-01.
pub fn civil_from_days(days: i64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day }
}

/// `days` moved by whole months; the day of month is cut to the length of the new month.
pub fn add_months(days: i64, months: i64) -> i64 {
    let Civil { year, month, day } = civil_from_days(days);
    let total = year * 12 + i64::from(month) - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    days_from_civil(year, month, day.min(days_in_month(year, month)))
}

/// The last day of the month of `days`.
pub fn last_day_of_month(days: i64) -> i64 {
    let Civil { year, month, .. } = civil_from_days(days);
    days_from_civil(year, month, days_in_month(year, month))
}

/// 1 to 366.
pub fn day_of_year(days: i64) -> i64 {
    days - days_from_civil(civil_from_days(days).year, 1, 1) + 1
}

/// Monday is 0, Sunday is 6.
pub fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

/// ISO 8601 year and week (1 to 53) of a day.
pub fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - weekday(days) + 3;
    let year = civil_from_days(thursday).year;
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// Whole days since 1970-01-01 and the microsecond of the day.
pub fn split_micros(micros: i64) -> (i64, i64) {
    (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))
}

/// The opposite of [`split_micros`]; `None` beyond the range of a timestamp.
pub fn join_micros(days: i64, micros_of_day: i64) -> Option<i64> {
    // The instant may be in range although the start of its day is not, hence the wider arithmetic.
    let micros = i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(micros_of_day);
    i64::try_from(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_fields_are_inverse() {
        for days in (-1_000_000..1_000_000).step_by(97).chain([-719_528, -1, 0, 11_016, 19_782]) {
            let Civil { year, month, day } = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(civil_from_days(19_782), Civil { year: 2024, month: 2, day: 29 });
    }

    #[test]
    fn months_are_cut_at_the_end() {
        let january = days_from_civil(2024, 1, 31);
        assert_eq!(add_months(january, 1), days_from_civil(2024, 2, 29));
        assert_eq!(add_months(january, -11), days_from_civil(2023, 2, 28));
    }

    #[test]
    fn iso_weeks_cross_years() {
        assert_eq!(iso_week(days_from_civil(2021, 1, 3)), (2020, 53));
        assert_eq!(iso_week(days_from_civil(2024, 12, 30)), (2025, 1));
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        assert_eq!(checked_days(2023, 2, 29), None);
        assert_eq!(checked_days(2023, 13, 1), None);
        assert_eq!(checked_days(1970, 1, 2), Some(1));
    }
}
