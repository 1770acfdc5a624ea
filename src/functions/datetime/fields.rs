//! Fields of dates, timestamps and intervals: `year` to `second`, `extract`, names of days and months.

use std::sync::Arc;

use arrow::array::StringBuilder;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Int8Type, Int32Type, Int64Type, IntervalUnit,
    IntervalYearMonthType,
};
use datafusion::logical_expr::Expr;

use super::{Micros, constant_text, date, primitive, timestamp, unary};
use crate::functions::arguments::fixed;
use crate::functions::kernel::Kernel;
use crate::functions::single::{Value, whole_number};
use crate::functions::{Call, Function, function};
use crate::types::calendar::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, civil_from_days, day_of_year, iso_week,
    weekday,
};
use crate::types::datetime_pattern::{short_month, short_weekday};
use crate::{Error, Result};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["year"], |call| of_date(call, DateField::Year)),
    function(&["quarter"], |call| of_date(call, DateField::Quarter)),
    function(&["month"], |call| of_date(call, DateField::Month)),
    function(&["day", "dayofmonth"], |call| of_date(call, DateField::Day)),
    function(&["dayofweek"], |call| of_date(call, DateField::DayOfWeek)),
    function(&["weekday"], |call| of_date(call, DateField::Weekday)),
    function(&["dayofyear"], |call| of_date(call, DateField::DayOfYear)),
    function(&["weekofyear"], |call| of_date(call, DateField::Week)),
    function(&["unix_date"], |call| of_date(call, DateField::UnixDate)),
    function(&["hour"], |call| of_time(call, TimeField::Hour)),
    function(&["minute"], |call| of_time(call, TimeField::Minute)),
    function(&["second"], |call| of_time(call, TimeField::Second)),
    function(&["dayname"], |call| name_of(call, "dayname")),
    function(&["monthname"], |call| name_of(call, "monthname")),
    function(&["date_part", "datepart", "extract"], extract),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DateField {
    Year,
    YearOfWeek,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    DayOfWeekIso,
    Weekday,
    DayOfYear,
    UnixDate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeField {
    Hour,
    Minute,
    Second,
}

fn of_date(mut call: Call<'_>, field: DateField) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let source = date(&call, source)?;
    Ok(date_field(field).call(vec![source]))
}

fn date_field(field: DateField) -> Kernel {
    unary::<Date32Type, Int32Type>("date_field", DataType::Int32, move |days| {
        Ok(i32::try_from(date_value(field, i64::from(days))).ok())
    })
    .key(format!("{field:?}"))
    .fallible_if(false)
}

fn date_value(field: DateField, days: i64) -> i64 {
    match field {
        DateField::Year => civil_from_days(days).year,
        DateField::YearOfWeek => iso_week(days).0,
        DateField::Quarter => i64::from((civil_from_days(days).month - 1) / 3 + 1),
        DateField::Month => i64::from(civil_from_days(days).month),
        DateField::Week => iso_week(days).1,
        DateField::Day => i64::from(civil_from_days(days).day),
        DateField::DayOfWeek => (weekday(days) + 1) % 7 + 1,
        DateField::DayOfWeekIso => weekday(days) + 1,
        DateField::Weekday => weekday(days),
        DateField::DayOfYear => day_of_year(days),
        DateField::UnixDate => days,
    }
}

fn of_time(mut call: Call<'_>, field: TimeField) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    time_field(&call, source, field)
}

fn time_field(call: &Call<'_>, source: Expr, field: TimeField) -> Result<Expr> {
    let (source, zone) = timestamp(call, source)?;
    let key = format!("{field:?},{}", zone.name());
    let kernel = unary::<Micros, Int32Type>("time_field", DataType::Int32, move |micros| {
        Ok(Some(time_value(field, zone.to_local(micros)) as i32))
    });
    Ok(kernel.key(key).fallible_if(false).call(vec![source]))
}

fn time_value(field: TimeField, local: i64) -> i64 {
    let of_day = local.rem_euclid(MICROS_PER_DAY);
    match field {
        TimeField::Hour => of_day / MICROS_PER_HOUR,
        TimeField::Minute => of_day / MICROS_PER_MINUTE % 60,
        TimeField::Second => of_day / MICROS_PER_SECOND % 60,
    }
}

/// Seconds with their fraction, as `extract(SECOND ...)` of a timestamp gives them.
fn seconds_with_fraction(call: &Call<'_>, source: Expr) -> Result<Expr> {
    let (source, zone) = timestamp(call, source)?;
    let key = zone.name().to_owned();
    let kernel = unary::<Micros, Decimal128Type>("seconds_with_fraction", DataType::Decimal128(8, 6), move |micros| {
        Ok(Some(i128::from(zone.to_local(micros).rem_euclid(MICROS_PER_MINUTE))))
    });
    Ok(kernel.key(key).fallible_if(false).call(vec![source]))
}

fn name_of(mut call: Call<'_>, which: &'static str) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let source = date(&call, source)?;
    let kernel = Kernel::arrays(which, DataType::Utf8, move |args| {
        let dates = primitive::<Date32Type>(args, 0)?;
        let mut names = StringBuilder::with_capacity(dates.len(), dates.len() * 3);
        for days in dates {
            names.append_option(days.map(|days| match which {
                "dayname" => short_weekday(weekday(i64::from(days)) + 1),
                _ => short_month(civil_from_days(i64::from(days)).month),
            }));
        }
        Ok(Arc::new(names.finish()))
    });
    Ok(kernel.call(vec![source]))
}

/// `extract(field FROM source)`, with the field as a string constant in front.
fn extract(mut call: Call<'_>) -> Result<Expr> {
    let [field, source] = fixed(call.values(2..=2)?)?;
    let Some(Some(name)) = constant_text(&field) else {
        return Err(Error::query("NON_FOLDABLE_ARGUMENT", format!("the field of '{}' must be a constant", call.name)));
    };
    let name = name.to_ascii_uppercase();
    let found = match call.type_of(&source)? {
        DataType::Duration(_) => day_time_field(&name, source.clone()),
        DataType::Interval(IntervalUnit::YearMonth) => year_month_field(&name, source.clone()),
        _ => datetime_field(&call, &name, source.clone())?,
    };
    found.ok_or_else(|| {
        Error::query("INVALID_EXTRACT_FIELD", format!("cannot extract '{name}' from '{}'", source.human_display()))
    })
}

fn datetime_field(call: &Call<'_>, name: &str, source: Expr) -> Result<Option<Expr>> {
    let field = match name {
        "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => DateField::Year,
        "YEAROFWEEK" => DateField::YearOfWeek,
        "QUARTER" | "QTR" => DateField::Quarter,
        "MONTH" | "MON" | "MONS" | "MONTHS" => DateField::Month,
        "WEEK" | "W" | "WEEKS" => DateField::Week,
        "DAY" | "D" | "DAYS" => DateField::Day,
        "DAYOFWEEK" | "DOW" => DateField::DayOfWeek,
        "DAYOFWEEK_ISO" | "DOW_ISO" => DateField::DayOfWeekIso,
        "DOY" => DateField::DayOfYear,
        "HOUR" | "H" | "HOURS" | "HR" | "HRS" => return time_field(call, source, TimeField::Hour).map(Some),
        "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => return time_field(call, source, TimeField::Minute).map(Some),
        "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => return seconds_with_fraction(call, source).map(Some),
        _ => return Ok(None),
    };
    Ok(Some(date_field(field).call(vec![date(call, source)?])))
}

fn day_time_field(name: &str, source: Expr) -> Option<Expr> {
    let (divisor, modulus, field) = match name {
        "DAY" | "D" | "DAYS" => {
            let kernel = unary::<DurationMicrosecondType, Int32Type>("interval_days", DataType::Int32, |micros| {
                Ok(i32::try_from(micros / MICROS_PER_DAY).ok())
            });
            return Some(kernel.call(vec![source]));
        }
        "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => {
            let result = DataType::Decimal128(8, 6);
            let kernel = unary::<DurationMicrosecondType, Decimal128Type>("interval_seconds", result, |micros| {
                Ok(Some(i128::from(micros % MICROS_PER_MINUTE)))
            });
            return Some(kernel.call(vec![source]));
        }
        "HOUR" | "H" | "HOURS" | "HR" | "HRS" => (MICROS_PER_HOUR, 24, "hour"),
        "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => (MICROS_PER_MINUTE, 60, "minute"),
        _ => return None,
    };
    let kernel = unary::<DurationMicrosecondType, Int8Type>("interval_field", DataType::Int8, move |micros| {
        Ok(i8::try_from(micros / divisor % modulus).ok())
    });
    Some(kernel.key(field).call(vec![source]))
}

fn year_month_field(name: &str, source: Expr) -> Option<Expr> {
    let kernel = match name {
        "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => {
            unary::<IntervalYearMonthType, Int32Type>("interval_years", DataType::Int32, |months| Ok(Some(months / 12)))
        }
        "MONTH" | "MON" | "MONS" | "MONTHS" => {
            unary::<IntervalYearMonthType, Int8Type>("interval_months", DataType::Int8, |months| {
                Ok(i8::try_from(months % 12).ok())
            })
        }
        _ => return None,
    };
    Some(kernel.call(vec![source]))
}

/// Seconds, milliseconds or microseconds since 1970, rounded down.
pub(super) fn unix(mut call: Call<'_>, name: &'static str, unit: i64) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let source = call.implicit(source, &crate::types::timestamp())?;
    let kernel = unary::<Micros, Int64Type>(name, DataType::Int64, move |micros| Ok(Some(micros.div_euclid(unit))));
    let kernel = kernel.singly(move |values| whole_number(values).map(|micros| Value::Whole(micros.div_euclid(unit))));
    Ok(kernel.call(vec![source]))
}
