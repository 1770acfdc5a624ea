//! Moving dates and timestamps, and the distance between two.

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};

use super::{
    Micros, binary, collect, constant_text, date, overflow, primitive, session_zone, strings, timestamp, to_date, unary,
};
use crate::functions::arguments::fixed;
use crate::functions::kernel::{Kernel, downcast};
use crate::functions::{Call, Function, function};
use crate::types::calendar::{
    Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, add_months as months_later,
    civil_from_days, join_micros, last_day_of_month, split_micros, weekday,
};
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["date_add", "dateadd"], |call| match call.args.len() {
        3 => timestamp_add(call),
        _ => move_days(call, 1),
    }),
    function(&["date_sub"], |call| move_days(call, -1)),
    function(&["datediff", "date_diff"], |call| match call.args.len() {
        3 => timestamp_diff(call),
        _ => date_difference(call),
    }),
    function(&["timestampadd"], timestamp_add),
    function(&["timestampdiff"], timestamp_diff),
    function(&["add_months"], add_months),
    function(&["months_between"], months_between),
    function(&["last_day"], last_day),
    function(&["next_day"], next_day),
];

fn move_days(mut call: Call<'_>, sign: i32) -> Result<Expr> {
    let [start, days] = fixed(call.values(2..=2)?)?;
    let start = date(&call, start)?;
    let days = whole_days(&call, days)?;
    Ok(days_later(sign).call(vec![start, days]))
}

/// DATE plus INT (`sign` 1) or minus INT (-1).
pub(in crate::functions) fn days_later(sign: i32) -> Kernel {
    binary::<Date32Type, Int32Type, Date32Type>("date_add", DataType::Date32, move |start, days| {
        Ok(Some(start.wrapping_add(days.wrapping_mul(sign))))
    })
    .key(sign)
}

fn whole_days(call: &Call<'_>, days: Expr) -> Result<Expr> {
    match call.type_of(&days)? {
        DataType::Utf8 if !call.conf.ansi() => literal_days(&days),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Utf8 | DataType::Null => {
            call.implicit(days, &DataType::Int32)
        }
        from => Err(crate::functions::coerce::unexpected(&days, &from, "\"INT\"")),
    }
}

/// Without ANSI only a constant text that is a whole number stands for days.
fn literal_days(days: &Expr) -> Result<Expr> {
    let Some(text) = constant_text(days).flatten() else {
        return Err(crate::functions::coerce::unexpected(days, &DataType::Utf8, "\"INT\""));
    };
    text.trim().parse::<i32>().map(lit).map_err(|_| {
        let message = format!("the second argument must be a whole number but is '{text}'");
        Error::query("SECOND_FUNCTION_ARGUMENT_NOT_INTEGER", message)
    })
}

fn date_difference(mut call: Call<'_>) -> Result<Expr> {
    let [end, start] = fixed(call.values(2..=2)?)?;
    let (end, start) = (date(&call, end)?, date(&call, start)?);
    let kernel = binary::<Date32Type, Date32Type, Int32Type>("datediff", DataType::Int32, |end, start| {
        Ok(Some(end.wrapping_sub(start)))
    });
    Ok(kernel.call(vec![end, start]))
}

fn add_months(mut call: Call<'_>) -> Result<Expr> {
    let [start, months] = fixed(call.values(2..=2)?)?;
    let (start, months) = (date(&call, start)?, call.implicit(months, &DataType::Int32)?);
    let kernel = binary::<Date32Type, Int32Type, Date32Type>("add_months", DataType::Date32, |start, months| {
        let moved = to_date(months_later(i64::from(start), i64::from(months)));
        moved.map(Some).map_err(|_| Error::data("ARITHMETIC_OVERFLOW", "a date leaves the range of dates"))
    });
    Ok(kernel.call(vec![start, months]))
}

fn last_day(mut call: Call<'_>) -> Result<Expr> {
    let [start] = fixed(call.values(1..=1)?)?;
    let kernel = unary::<Date32Type, Date32Type>("last_day", DataType::Date32, |days| {
        to_date(last_day_of_month(i64::from(days))).map(Some)
    });
    Ok(kernel.call(vec![date(&call, start)?]))
}

fn next_day(mut call: Call<'_>) -> Result<Expr> {
    let [start, name] = fixed(call.values(2..=2)?)?;
    let (start, name) = (date(&call, start)?, call.implicit(name, &DataType::Utf8)?);
    let ansi = call.conf.ansi();
    let kernel = Kernel::arrays("next_day", DataType::Date32, move |args| {
        let (starts, names) = (primitive::<Date32Type>(args, 0)?, strings(args, 1)?);
        let values = starts.iter().zip(names).map(|pair| match pair {
            (Some(start), Some(name)) => match weekday_named(name) {
                Some(wanted) => to_date(next_weekday(i64::from(start), wanted)).map(Some),
                None if ansi => Err(Error::data("ILLEGAL_DAY_OF_WEEK", format!("'{name}' is no day of the week"))),
                None => Ok(None),
            },
            _ => Ok(None),
        });
        collect::<Date32Type>(&DataType::Date32, starts.len(), values)
    });
    Ok(kernel.key(ansi).fallible_if(ansi).call(vec![start, name]))
}

fn next_weekday(start: i64, wanted: i64) -> i64 {
    start + 1 + (wanted - weekday(start) - 1).rem_euclid(7)
}

/// Monday is 0.
fn weekday_named(name: &str) -> Option<i64> {
    const NAMES: [[&str; 3]; 7] = [
        ["MO", "MON", "MONDAY"],
        ["TU", "TUE", "TUESDAY"],
        ["WE", "WED", "WEDNESDAY"],
        ["TH", "THU", "THURSDAY"],
        ["FR", "FRI", "FRIDAY"],
        ["SA", "SAT", "SATURDAY"],
        ["SU", "SUN", "SUNDAY"],
    ];
    let name = name.trim();
    NAMES.iter().position(|names| names.iter().any(|known| known.eq_ignore_ascii_case(name))).map(|at| at as i64)
}

fn months_between(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(2..=3)?;
    let round = if args.len() == 3 { args.pop().unwrap_or_else(|| lit(true)) } else { lit(true) };
    let [end, start] = fixed(args)?;
    let exact = types::timestamp();
    let args =
        vec![call.implicit(end, &exact)?, call.implicit(start, &exact)?, call.implicit(round, &DataType::Boolean)?];
    let zone = session_zone(call.conf)?;
    let key = zone.name().to_owned();
    let kernel = Kernel::arrays("months_between", DataType::Float64, move |args| {
        let (ends, starts) = (primitive::<Micros>(args, 0)?, primitive::<Micros>(args, 1)?);
        let round: &BooleanArray = downcast(args.get(2).ok_or_else(|| Error::internal("round is missing"))?.as_ref())?;
        let values = ends.iter().zip(starts).zip(round).map(|row| match row {
            ((Some(end), Some(start)), Some(round)) => {
                Ok(Some(months_apart(day_and_time(end, &zone), day_and_time(start, &zone), round)))
            }
            _ => Ok(None),
        });
        collect::<Float64Type>(&DataType::Float64, ends.len(), values)
    });
    Ok(kernel.key(key).call(args))
}

/// The local day, and the time that has passed since it began: an hour less than its clock shows where clocks went forward.
fn day_and_time(instant: i64, zone: &Zone) -> (i64, i64) {
    let (days, time) = split_micros(zone.to_local(instant));
    let begin = join_micros(days, 0).and_then(|midnight| zone.to_instant(midnight));
    (days, begin.map_or(time, |begin| instant - begin))
}

fn months_apart((end_days, end_time): (i64, i64), (start_days, start_time): (i64, i64), round: bool) -> f64 {
    let (last, first) = (civil_from_days(end_days), civil_from_days(start_days));
    let months = (month_number(last) - month_number(first)) as f64;
    let both_at_end = last_day_of_month(end_days) == end_days && last_day_of_month(start_days) == start_days;
    if last.day == first.day || both_at_end {
        return months;
    }
    let days = i64::from(last.day) - i64::from(first.day);
    let seconds = days * 86_400 + end_time / MICROS_PER_SECOND - start_time / MICROS_PER_SECOND;
    let apart = months + seconds as f64 / (31.0 * 86_400.0);
    if round { (apart * 1e8 + 0.5).floor() / 1e8 } else { apart }
}

fn month_number(date: Civil) -> i64 {
    date.year * 12 + i64::from(date.month)
}

/// A unit of `timestampadd` and `timestampdiff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

fn unit(call: &Call<'_>, expr: &Expr) -> Result<Unit> {
    let name = constant_text(expr).flatten().map(str::to_ascii_uppercase).unwrap_or_else(|| expr.to_string());
    Ok(match name.as_str() {
        "YEAR" => Unit::Months(12),
        "QUARTER" => Unit::Months(3),
        "MONTH" => Unit::Months(1),
        "WEEK" => Unit::Days(7),
        "DAY" | "DAYOFYEAR" => Unit::Days(1),
        "HOUR" => Unit::Micros(MICROS_PER_HOUR),
        "MINUTE" => Unit::Micros(MICROS_PER_MINUTE),
        "SECOND" => Unit::Micros(MICROS_PER_SECOND),
        "MILLISECOND" => Unit::Micros(1_000),
        "MICROSECOND" => Unit::Micros(1),
        _ if !matches!(expr, Expr::Literal(ScalarValue::Utf8(_), _)) => return Err(no_unit(call)),
        other => {
            let message = format!("'{}' does not know the unit '{other}'", call.name);
            return Err(Error::query("INVALID_PARAMETER_VALUE.DATETIME_UNIT", message));
        }
    })
}

/// With three arguments and no unit it is another function: one of two arguments, or none that there is.
fn no_unit(call: &Call<'_>) -> Error {
    if call.name.to_ascii_lowercase().starts_with("timestamp") {
        return Error::query("UNRESOLVED_ROUTINE", format!("cannot resolve routine `{}`", call.name))
            .hint("The first argument is a unit such as DAY.");
    }
    Error::query("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("function '{}' needs 2 arguments but has 3", call.name))
}

fn timestamp_add(mut call: Call<'_>) -> Result<Expr> {
    let [unit_name, quantity, start] = fixed(call.values(3..=3)?)?;
    let unit = unit(&call, &unit_name)?;
    let quantity = call.implicit(quantity, &DataType::Int64)?;
    let (start, zone) = timestamp(&call, start)?;
    let result = call.type_of(&start)?;
    let key = format!("{unit:?},{}", zone.name());
    let kernel = binary::<Int64Type, Micros, Micros>("timestampadd", result, move |quantity, start| {
        add_unit(unit, quantity, start, &zone).map(Some).ok_or_else(|| overflow("timestampadd"))
    });
    Ok(kernel.key(key).call(vec![quantity, start]))
}

fn add_unit(unit: Unit, quantity: i64, start: i64, zone: &Zone) -> Option<i64> {
    match unit {
        Unit::Months(size) => plus(start, quantity.checked_mul(size)?, 0, 0, zone),
        Unit::Days(size) => plus(start, 0, quantity.checked_mul(size)?, 0, zone),
        Unit::Micros(size) => start.checked_add(quantity.checked_mul(size)?),
    }
}

/// Months and days later on the zone's local clock, then microseconds later in time.
pub(in crate::functions) fn plus(start: i64, months: i64, days: i64, micros: i64, zone: &Zone) -> Option<i64> {
    if months == 0 && days == 0 {
        return start.checked_add(micros);
    }
    let (date, time) = split_micros(zone.to_local(start));
    let in_range = months.unsigned_abs() < 12_000_000 && days.unsigned_abs() < 400_000_000;
    let date = if in_range { months_later(date, months) + days } else { return None };
    zone.to_instant(join_micros(date, time)?)?.checked_add(micros)
}

fn timestamp_diff(mut call: Call<'_>) -> Result<Expr> {
    let [unit_name, start, end] = fixed(call.values(3..=3)?)?;
    let unit = unit(&call, &unit_name)?;
    let ((start, zone), (end, end_zone)) = (timestamp(&call, start)?, timestamp(&call, end)?);
    let key = format!("{unit:?},{},{}", zone.name(), end_zone.name());
    let kernel = binary::<Micros, Micros, Int64Type>("timestampdiff", DataType::Int64, move |start, end| {
        Ok(Some(units_between(unit, zone.to_local(start), end_zone.to_local(end))))
    });
    Ok(kernel.key(key).call(vec![start, end]))
}

fn units_between(unit: Unit, start: i64, end: i64) -> i64 {
    match unit {
        Unit::Months(size) => whole_months(start, end) / size,
        Unit::Days(size) => end.saturating_sub(start) / MICROS_PER_DAY / size,
        Unit::Micros(size) => end.saturating_sub(start) / size,
    }
}

fn whole_months(start: i64, end: i64) -> i64 {
    let ((first_days, first_time), (last_days, last_time)) = (split_micros(start), split_micros(end));
    let (first, last) = (civil_from_days(first_days), civil_from_days(last_days));
    let months = month_number(last) - month_number(first);
    let (from, to) = ((first.day, first_time), (last.day, last_time));
    match months.signum() {
        1 if to < from => months - 1,
        -1 if to > from => months + 1,
        _ => months,
    }
}
