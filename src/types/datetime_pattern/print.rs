//! Printing an instant by a compiled pattern.

use super::{Field, Item, Need, OffsetStyle, Sign, cut, names};
use crate::types::calendar::{
    Civil, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, civil_from_days, day_of_year, split_micros, weekday,
};
use crate::types::datetime_text::push_padded;
use crate::types::zone::Zone;

/// An instant and what its local clock and calendar show.
pub(super) struct Moment<'a> {
    instant: i64,
    zone: &'a Zone,
    offset: i32,
    days: i64,
    civil: Civil,
    micros_of_day: i64,
}

impl<'a> Moment<'a> {
    pub(super) fn at(instant: i64, zone: &'a Zone) -> Moment<'a> {
        let offset = zone.offset_seconds(instant);
        let (days, micros_of_day) = split_micros(instant.saturating_add(i64::from(offset) * MICROS_PER_SECOND));
        Moment { instant, zone, offset, days, civil: civil_from_days(days), micros_of_day }
    }

    fn get(&self, field: Field) -> i64 {
        let hour = self.micros_of_day / MICROS_PER_HOUR;
        match field {
            Field::Era => i64::from(self.civil.year > 0),
            Field::Year => self.civil.year,
            Field::YearOfEra if self.civil.year > 0 => self.civil.year,
            Field::YearOfEra => 1 - self.civil.year,
            Field::Quarter => i64::from((self.civil.month - 1) / 3 + 1),
            Field::Month => i64::from(self.civil.month),
            Field::Day => i64::from(self.civil.day),
            Field::DayOfYear => day_of_year(self.days),
            Field::AlignedDay => i64::from((self.civil.day - 1) % 7 + 1),
            Field::Weekday => weekday(self.days) + 1,
            Field::HalfDay => hour / 12,
            Field::Hour => hour,
            Field::ClockHour => (hour + 23) % 24 + 1,
            Field::HalfHour => hour % 12,
            Field::ClockHalfHour => (hour + 11) % 12 + 1,
            Field::Minute => self.micros_of_day / MICROS_PER_MINUTE % 60,
            Field::Second => self.micros_of_day / MICROS_PER_SECOND % 60,
        }
    }
}

/// Appends `moment`, item by item.
pub(super) fn print(items: &[Item], moment: &Moment<'_>, out: &mut String) {
    for item in items {
        match item {
            Item::Literal(text) => out.push_str(text),
            Item::Number { field, least, sign, .. } => number(moment.get(*field), *least, *sign, out),
            Item::ShortYear => push_padded(moment.civil.year.unsigned_abs() % 100, 2, out),
            Item::Fraction(digits) => fraction(moment.micros_of_day % MICROS_PER_SECOND, *digits, out),
            Item::Name(field, full) => out.push_str(name(*field, *full, moment.get(*field))),
            Item::ZoneName(_) => out.push_str(&moment.zone.abbreviation(moment.instant)),
            Item::ZoneId => out.push_str(moment.zone.name()),
            Item::Offset(style) => offset(moment.offset, *style, out),
            Item::LocalizedOffset(full) => localized_offset(moment.offset, *full, out),
            Item::Optional(inner) => print(inner, moment, out),
        }
    }
}

fn number(value: i64, least: usize, sign: Sign, out: &mut String) {
    if value < 0 {
        out.push('-');
    } else if sign == Sign::WhenWide && value >= 10i64.pow(least.min(18) as u32) {
        out.push('+');
    }
    push_padded(value.unsigned_abs(), least, out);
}

fn fraction(micros: i64, digits: usize, out: &mut String) {
    let nanos = micros.unsigned_abs() * 1000;
    push_padded(nanos / 10u64.pow(9 - digits.min(9) as u32), digits, out);
}

fn name(field: Field, full: bool, value: i64) -> &'static str {
    let (all, first, letters) = names(field, full);
    usize::try_from(value - first).ok().and_then(|at| all.get(at)).map_or("", |name| cut(name, letters))
}

fn offset(seconds: i32, style: OffsetStyle, out: &mut String) {
    if seconds == 0 {
        out.push_str(style.zero);
        return;
    }
    let (hours, minutes, rest) = parts(seconds);
    out.push(if seconds < 0 { '-' } else { '+' });
    push_padded(hours, 2, out);
    let with_seconds = shown(style.seconds, rest);
    if with_seconds || shown(style.minutes, minutes) {
        pair(minutes, style.colon, out);
    }
    if with_seconds {
        pair(rest, style.colon, out);
    }
}

fn shown(need: Need, value: u64) -> bool {
    need == Need::Always || need == Need::NotZero && value != 0
}

fn pair(value: u64, colon: bool, out: &mut String) {
    if colon {
        out.push(':');
    }
    push_padded(value, 2, out);
}

fn localized_offset(seconds: i32, full: bool, out: &mut String) {
    out.push_str("GMT");
    if seconds == 0 {
        return;
    }
    let (hours, minutes, rest) = parts(seconds);
    out.push(if seconds < 0 { '-' } else { '+' });
    push_padded(hours, if full { 2 } else { 1 }, out);
    if full || minutes != 0 || rest != 0 {
        pair(minutes, true, out);
    }
    if rest != 0 {
        pair(rest, true, out);
    }
}

fn parts(seconds: i32) -> (u64, u64, u64) {
    let seconds = u64::from(seconds.unsigned_abs());
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}
