//! The fields that a text gave, and the date and time they mean.
//!
//! A field that is out of its range or contradicts another makes the text unreadable. What is missing is 1970, January,
//! the first, midnight.

use super::Field;
use crate::types::calendar::{
    Civil, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, checked_days, civil_from_days, days_from_civil,
    is_leap, weekday,
};
use crate::types::zone::Zone;

/// How many kinds of [`Field`] there are.
const KINDS: usize = Field::Second as usize + 1;

/// Fields read so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    values: [Option<i64>; KINDS],
    nanos: Option<i64>,
    zone: Option<Zone>,
}

impl Fields {
    /// Notes a field; `None` if it is out of range or was read before with another value.
    pub(super) fn set(&mut self, field: Field, value: i64) -> Option<()> {
        let slot = self.values.get_mut(field as usize)?;
        (in_range(field, value) && slot.is_none_or(|before| before == value)).then(|| *slot = Some(value))
    }

    pub(super) fn set_nanos(&mut self, nanos: i64) -> Option<()> {
        self.nanos.is_none_or(|before| before == nanos).then(|| self.nanos = Some(nanos))
    }

    pub(super) fn set_zone(&mut self, zone: Zone) -> Option<()> {
        self.zone = Some(zone);
        Some(())
    }

    /// The zone or offset that the text names.
    pub(super) fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    fn get(&self, field: Field) -> Option<i64> {
        self.values.get(field as usize).copied().flatten()
    }

    /// Days since 1970-01-01.
    pub(super) fn days(&self) -> Option<i64> {
        let year = self.year();
        let days = match self.get(Field::DayOfYear) {
            Some(day) if day <= if is_leap(year) { 366 } else { 365 } => days_from_civil(year, 1, 1) + day - 1,
            Some(_) => return None,
            None => {
                let month = self.get(Field::Month).unwrap_or(1);
                checked_days(year, month, self.get(Field::Day).unwrap_or(1))?
            }
        };
        self.agrees(days).then_some(days)
    }

    fn year(&self) -> i64 {
        let of_era = self.get(Field::YearOfEra).map(|year| match self.get(Field::Era) {
            Some(0) => 1 - year,
            _ => year,
        });
        self.get(Field::Year).or(of_era).unwrap_or(1970)
    }

    fn agrees(&self, days: i64) -> bool {
        let Civil { month, day, .. } = civil_from_days(days);
        let same = |field, value| self.get(field).is_none_or(|given| given == value);
        same(Field::Month, i64::from(month))
            && same(Field::Day, i64::from(day))
            && same(Field::Weekday, weekday(days) + 1)
            && same(Field::Quarter, i64::from((month - 1) / 3 + 1))
    }

    /// Microseconds since midnight; digits beyond are cut off.
    pub(super) fn micros_of_day(&self) -> Option<i64> {
        let minute = self.get(Field::Minute).unwrap_or(0);
        let second = self.get(Field::Second).unwrap_or(0);
        let micros = self.nanos.unwrap_or(0) / 1000;
        Some(self.hour()? * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + second * MICROS_PER_SECOND + micros)
    }

    /// The hour of the day; without AM or PM an hour of the half day is before noon.
    fn hour(&self) -> Option<i64> {
        let half = self.get(Field::HalfDay);
        let of_half = self.get(Field::HalfHour).or(self.get(Field::ClockHalfHour).map(|hour| hour % 12));
        let of_day = self.get(Field::Hour).or(self.get(Field::ClockHour).map(|hour| hour % 24));
        match (of_day, of_half) {
            (Some(hour), _) => {
                let agrees = half.is_none_or(|half| half == hour / 12) && of_half.is_none_or(|of| of == hour % 12);
                agrees.then_some(hour)
            }
            (None, Some(hour)) => Some(half.unwrap_or(0) * 12 + hour),
            (None, None) => Some(half.unwrap_or(0) * 12),
        }
    }
}

fn in_range(field: Field, value: i64) -> bool {
    let range = match field {
        Field::Era | Field::HalfDay => 0..=1,
        Field::Year => -999_999_999..=999_999_999,
        Field::YearOfEra => 1..=999_999_999,
        Field::Quarter => 1..=4,
        Field::Month => 1..=12,
        Field::Day => 1..=31,
        Field::DayOfYear => 1..=366,
        Field::AlignedDay | Field::Weekday => 1..=7,
        Field::Hour => 0..=23,
        Field::ClockHour => 1..=24,
        Field::HalfHour => 0..=11,
        Field::ClockHalfHour => 1..=12,
        Field::Minute | Field::Second => 0..=59,
    };
    range.contains(&value)
}
