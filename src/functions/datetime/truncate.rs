//! `trunc` and `date_trunc`: the start of the unit a date or timestamp lies in.

use arrow::datatypes::{DataType, Date32Type};
use datafusion::logical_expr::Expr;

use super::{Micros, collect, date, overflow, primitive, session_zone, strings, to_date};
use crate::functions::arguments::fixed;
use crate::functions::kernel::Kernel;
use crate::functions::{Call, Function, function};
use crate::types::calendar::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, civil_from_days, days_from_civil,
    split_micros, weekday,
};
use crate::types::zone::Zone;
use crate::{Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[function(&["trunc"], trunc), function(&["date_trunc"], date_trunc)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Of a day or shorter, in microseconds.
    Time(i64),
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

fn level(name: &str) -> Option<Level> {
    Some(match name.to_ascii_uppercase().as_str() {
        "MICROSECOND" => Level::Time(1),
        "MILLISECOND" => Level::Time(1_000),
        "SECOND" => Level::Time(MICROS_PER_SECOND),
        "MINUTE" => Level::Time(MICROS_PER_MINUTE),
        "HOUR" => Level::Time(MICROS_PER_HOUR),
        "DAY" | "DD" => Level::Day,
        "WEEK" => Level::Week,
        "MON" | "MONTH" | "MM" => Level::Month,
        "QUARTER" => Level::Quarter,
        "YEAR" | "YYYY" | "YY" => Level::Year,
        _ => return None,
    })
}

/// Remembers the level of the last name, as the name is nearly always the same for all rows.
#[derive(Default)]
struct Levels<'a> {
    last: Option<(&'a str, Option<Level>)>,
}

impl<'a> Levels<'a> {
    fn of(&mut self, name: &'a str) -> Option<Level> {
        match self.last {
            Some((known, level)) if known == name => level,
            _ => {
                let found = level(name);
                self.last = Some((name, found));
                found
            }
        }
    }
}

fn trunc(mut call: Call<'_>) -> Result<Expr> {
    let [source, unit] = fixed(call.values(2..=2)?)?;
    let (source, unit) = (date(&call, source)?, call.implicit(unit, &DataType::Utf8)?);
    let kernel = Kernel::arrays("trunc", DataType::Date32, |args| {
        let (dates, units) = (primitive::<Date32Type>(args, 0)?, strings(args, 1)?);
        let mut levels = Levels::default();
        let values = dates.iter().zip(units).map(|(days, unit)| {
            let level = unit.and_then(|unit| levels.of(unit));
            let Some((days, level)) = days.zip(level) else { return Ok(None) };
            match level {
                Level::Time(_) | Level::Day => Ok(None),
                level => to_date(start_of(level, i64::from(days))).map(Some),
            }
        });
        collect::<Date32Type>(&DataType::Date32, dates.len(), values)
    });
    Ok(kernel.call(vec![source, unit]))
}

fn date_trunc(mut call: Call<'_>) -> Result<Expr> {
    let [unit, source] = fixed(call.values(2..=2)?)?;
    let unit = call.implicit(unit, &DataType::Utf8)?;
    let source = call.implicit(source, &types::timestamp())?;
    let zone = session_zone(call.conf)?;
    let key = zone.name().to_owned();
    let kernel = Kernel::arrays("date_trunc", types::timestamp(), move |args| {
        let (units, instants) = (strings(args, 0)?, primitive::<Micros>(args, 1)?);
        let mut levels = Levels::default();
        let values = units.iter().zip(instants).map(|(unit, micros)| {
            let level = unit.and_then(|unit| levels.of(unit));
            let Some((micros, level)) = micros.zip(level) else { return Ok(None) };
            truncated(level, micros, &zone).map(Some).ok_or_else(|| overflow("date_trunc"))
        });
        collect::<Micros>(&types::timestamp(), instants.len(), values)
    });
    Ok(kernel.key(key).call(vec![unit, source]))
}

fn truncated(level: Level, micros: i64, zone: &Zone) -> Option<i64> {
    let local = zone.to_local(micros);
    match level {
        Level::Time(unit) => micros.checked_sub(local.rem_euclid(unit)),
        level => zone.to_instant(start_of(level, split_micros(local).0).checked_mul(MICROS_PER_DAY)?),
    }
}

fn start_of(level: Level, days: i64) -> i64 {
    let date = civil_from_days(days);
    match level {
        Level::Time(_) | Level::Day => days,
        Level::Week => days - weekday(days),
        Level::Month => days_from_civil(date.year, date.month, 1),
        Level::Quarter => days_from_civil(date.year, (date.month - 1) / 3 * 3 + 1, 1),
        Level::Year => days_from_civil(date.year, 1, 1),
    }
}
