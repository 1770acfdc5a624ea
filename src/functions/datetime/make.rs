//! Dates, timestamps and intervals made of numbers, and the numbers behind them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use datafusion::logical_expr::{Expr, lit};

use super::fields::unix;
use super::zones::Zones;
use super::{Micros, collect, primitive, strings, to_date, unary};
use crate::functions::arguments::fixed;
use crate::functions::coerce::{is_decimal, is_floating, is_integral};
use crate::functions::kernel::Kernel;
use crate::functions::single::{Value, whole_number};
use crate::functions::{Call, Function, coerce, function};
use crate::types::calendar::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, checked_days, join_micros,
};
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["make_date"], make_date),
    function(&["make_timestamp", "make_timestamp_ltz"], |call| make_timestamp(call, false, false)),
    function(&["try_make_timestamp", "try_make_timestamp_ltz"], |call| make_timestamp(call, false, true)),
    function(&["make_timestamp_ntz"], |call| make_timestamp(call, true, false)),
    function(&["try_make_timestamp_ntz"], |call| make_timestamp(call, true, true)),
    function(&["make_dt_interval"], make_day_time_interval),
    function(&["make_ym_interval"], make_year_month_interval),
    function(&["make_interval"], |call| make_interval(call, false)),
    function(&["try_make_interval"], |call| make_interval(call, true)),
    function(&["timestamp_seconds"], timestamp_seconds),
    function(&["timestamp_millis"], |call| timestamp_of(call, "timestamp_millis", 1_000)),
    function(&["timestamp_micros"], |call| timestamp_of(call, "timestamp_micros", 1)),
    function(&["unix_seconds"], |call| unix(call, "unix_seconds", MICROS_PER_SECOND)),
    function(&["unix_millis"], |call| unix(call, "unix_millis", 1_000)),
    function(&["unix_micros"], |call| unix(call, "unix_micros", 1)),
    function(&["date_from_unix_date"], date_from_unix_date),
];

fn out_of_bounds(what: &str) -> Error {
    Error::data("DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION", format!("a field of '{what}' is out of its range"))
        .hint("Use the function's try_ variant to get null instead.")
}

/// The value if there is one; otherwise null, or an error when `strict`.
fn checked<T>(value: Option<T>, strict: bool, error: impl FnOnce() -> Error) -> Result<Option<T>> {
    match value {
        None if strict => Err(error()),
        value => Ok(value),
    }
}

fn casts<const N: usize>(call: &Call<'_>, args: [Expr; N], to: &DataType) -> Result<Vec<Expr>> {
    args.into_iter().map(|arg| call.implicit(arg, to)).collect()
}

fn make_date(mut call: Call<'_>) -> Result<Expr> {
    let args: [Expr; 3] = fixed(call.values(3..=3)?)?;
    let args = casts(&call, args, &DataType::Int32)?;
    let ansi = call.conf.ansi();
    let kernel = Kernel::arrays("make_date", DataType::Date32, move |args| {
        let (years, months) = (primitive::<Int32Type>(args, 0)?, primitive::<Int32Type>(args, 1)?);
        let days = primitive::<Int32Type>(args, 2)?;
        let values = years.iter().zip(months).zip(days).map(|row| match row {
            ((Some(year), Some(month)), Some(day)) => {
                let date = checked_days(i64::from(year), i64::from(month), i64::from(day));
                checked(date, ansi, || out_of_bounds("make_date"))?.map(to_date).transpose()
            }
            _ => Ok(None),
        });
        collect::<Date32Type>(&DataType::Date32, years.len(), values)
    });
    Ok(kernel.key(ansi).fallible_if(ansi).call(args))
}

/// Five whole numbers, the seconds with their fraction, and perhaps a zone.
fn make_timestamp(mut call: Call<'_>, local: bool, lenient: bool) -> Result<Expr> {
    let mut args = call.values(6..=if local { 6 } else { 7 })?;
    let zone = if args.len() == 7 { args.pop() } else { None };
    let seconds = args.pop().ok_or_else(|| Error::internal("the seconds are missing"))?;
    let mut args = casts::<5>(&call, fixed(args)?, &DataType::Int32)?;
    args.push(call.implicit(seconds, &DataType::Decimal128(16, 6))?);
    let zone = zone.unwrap_or_else(|| lit(if local { "UTC" } else { call.conf.time_zone() }));
    args.push(call.implicit(zone, &DataType::Utf8)?);
    let result = if local { types::timestamp_ntz() } else { types::timestamp() };
    let (made, strict) = (result.clone(), call.conf.ansi() && !lenient);
    let kernel = Kernel::arrays("make_timestamp", result, move |args| timestamps(args, &made, strict));
    Ok(kernel.key(strict).fallible_if(strict).call(args))
}

fn timestamps(args: &[ArrayRef], result: &DataType, strict: bool) -> Result<ArrayRef> {
    let fields = (0..5).map(|at| primitive::<Int32Type>(args, at)).collect::<Result<Vec<_>>>()?;
    let (seconds, names) = (primitive::<Decimal128Type>(args, 5)?, strings(args, 6)?);
    let mut zones = Zones::default();
    let values = seconds.iter().zip(names).enumerate().map(|(row, (seconds, zone))| {
        let mut numbers = [0i64; 5];
        for (number, field) in numbers.iter_mut().zip(&fields) {
            match field.is_null(row) {
                true => return Ok(None),
                false => *number = i64::from(field.value(row)),
            }
        }
        let (Some(seconds), Some(zone)) = (seconds, zone) else { return Ok(None) };
        let zone = zones.of(zone)?;
        let instant = local_time(numbers, seconds, strict)?.and_then(|local| zone.to_instant(local));
        checked(instant, strict, || out_of_bounds("make_timestamp"))
    });
    collect::<Micros>(result, seconds.len(), values)
}

/// 60 seconds are allowed, as the next minute, if there is no fraction.
fn local_time([year, month, day, hour, minute]: [i64; 5], seconds: i128, strict: bool) -> Result<Option<i64>> {
    // Spark takes the lowest 32 bits of the microseconds.
    let micros = i64::from(seconds as i32);
    if micros > MICROS_PER_MINUTE && micros < MICROS_PER_MINUTE + MICROS_PER_SECOND && strict {
        let message = "the fraction of second must be zero when the seconds are 60";
        return Err(Error::data("INVALID_FRACTION_OF_SECOND", message));
    }
    let in_range = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=MICROS_PER_MINUTE).contains(&micros);
    let Some(days) = checked_days(year, month, day).filter(|_| in_range) else { return Ok(None) };
    Ok(join_micros(days, hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + micros))
}

/// Fills up the arguments that were left out with zeros.
fn padded(call: &mut Call<'_>, count: usize) -> Result<Vec<Expr>> {
    let mut args = call.values(0..=count)?;
    args.resize(count, lit(0));
    Ok(args)
}

/// `args` with the last as seconds and all others as INT.
fn with_seconds(call: &Call<'_>, mut args: Vec<Expr>) -> Result<Vec<Expr>> {
    let seconds = args.pop().ok_or_else(|| Error::internal("the seconds are missing"))?;
    let mut cast = args.into_iter().map(|arg| call.implicit(arg, &DataType::Int32)).collect::<Result<Vec<_>>>()?;
    cast.push(call.implicit(seconds, &DataType::Decimal128(18, 6))?);
    Ok(cast)
}

/// One row of INT arguments and the seconds behind them in microseconds; `None` if any is null.
fn row_of(args: &[ArrayRef], row: usize) -> Result<Option<(Vec<i64>, i64)>> {
    let last = args.len().saturating_sub(1);
    let mut numbers = Vec::with_capacity(last);
    for at in 0..last {
        let array = primitive::<Int32Type>(args, at)?;
        if array.is_null(row) {
            return Ok(None);
        }
        numbers.push(i64::from(array.value(row)));
    }
    let seconds = primitive::<Decimal128Type>(args, last)?;
    Ok((!seconds.is_null(row)).then(|| (numbers, i64::try_from(seconds.value(row)).unwrap_or(i64::MAX))))
}

fn interval_overflow(name: &str) -> Error {
    Error::data("INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION", format!("the interval of '{name}' is too long"))
}

fn make_day_time_interval(mut call: Call<'_>) -> Result<Expr> {
    let args = padded(&mut call, 4)?;
    let args = with_seconds(&call, args)?;
    let result = DataType::Duration(TimeUnit::Microsecond);
    let made = result.clone();
    let kernel = Kernel::arrays("make_dt_interval", result, move |args| {
        let length = args.first().map_or(0, |array| array.len());
        let values = (0..length).map(|row| {
            let Some((numbers, seconds)) = row_of(args, row)? else { return Ok(None) };
            checked(day_time(&numbers, seconds), true, || interval_overflow("make_dt_interval"))
        });
        collect::<DurationMicrosecondType>(&made, length, values)
    });
    Ok(kernel.call(args))
}

fn day_time(numbers: &[i64], seconds: i64) -> Option<i64> {
    [MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE]
        .iter()
        .zip(numbers)
        .try_fold(seconds, |sum, (unit, number)| sum.checked_add(unit.checked_mul(*number)?))
}

fn make_year_month_interval(mut call: Call<'_>) -> Result<Expr> {
    let args: [Expr; 2] = fixed(padded(&mut call, 2)?)?;
    let args = casts(&call, args, &DataType::Int32)?;
    let result = DataType::Interval(IntervalUnit::YearMonth);
    let kernel =
        super::binary::<Int32Type, Int32Type, IntervalYearMonthType>("make_ym_interval", result, |years, months| {
            let total = years.checked_mul(12).and_then(|total| total.checked_add(months));
            checked(total, true, || interval_overflow("make_ym_interval"))
        });
    Ok(kernel.call(args))
}

fn make_interval(mut call: Call<'_>, lenient: bool) -> Result<Expr> {
    let args = padded(&mut call, 7)?;
    let args = with_seconds(&call, args)?;
    let strict = call.conf.ansi() && !lenient;
    let result = DataType::Interval(IntervalUnit::MonthDayNano);
    let made = result.clone();
    let kernel = Kernel::arrays("make_interval", result, move |args| {
        let length = args.first().map_or(0, |array| array.len());
        let values = (0..length).map(|row| {
            let Some((numbers, seconds)) = row_of(args, row)? else { return Ok(None) };
            checked(calendar_interval(&numbers, seconds), strict, || interval_overflow("make_interval"))
        });
        collect::<IntervalMonthDayNanoType>(&made, length, values)
    });
    Ok(kernel.key(strict).fallible_if(strict).call(args))
}

fn calendar_interval(numbers: &[i64], seconds: i64) -> Option<IntervalMonthDayNano> {
    let [years, months, weeks, days, hours, minutes] = numbers else { return None };
    let micros = day_time(&[0, *hours, *minutes], seconds)?;
    Some(IntervalMonthDayNano::new(
        i32::try_from(years * 12 + months).ok()?,
        i32::try_from(weeks * 7 + days).ok()?,
        micros.checked_mul(1_000)?,
    ))
}

fn timestamp_of(mut call: Call<'_>, name: &'static str, unit: i64) -> Result<Expr> {
    let [number] = fixed(call.values(1..=1)?)?;
    let from = call.type_of(&number)?;
    if !is_integral(&from) && from != DataType::Null {
        return Err(coerce::unexpected(&number, &from, "\"INTEGRAL\""));
    }
    let number = call.implicit(number, &DataType::Int64)?;
    Ok(times_unit(name, unit).call(vec![number]))
}

fn times_unit(name: &'static str, unit: i64) -> Kernel {
    let micros = move |number: i64| number.checked_mul(unit).ok_or_else(|| super::overflow(name));
    Kernel::arrays(name, types::timestamp(), move |args| {
        let times = primitive::<Int64Type>(args, 0)?.try_unary::<_, Micros, Error>(micros)?;
        Ok(Arc::new(times.with_data_type(types::timestamp())))
    })
    .singly(move |values| whole_number(values)?.checked_mul(unit).map(Value::Whole))
    .fallible()
}

/// Whole seconds, decimals of up to six digits, or doubles, of which NaN and infinity are null.
fn timestamp_seconds(mut call: Call<'_>) -> Result<Expr> {
    let [number] = fixed(call.values(1..=1)?)?;
    let from = call.type_of(&number)?;
    if is_floating(&from) {
        let kernel = unary::<Float64Type, Micros>("timestamp_seconds", types::timestamp(), |seconds| {
            let micros = seconds * MICROS_PER_SECOND as f64;
            Ok(micros.is_finite().then_some(micros as i64))
        });
        return Ok(kernel.key("double").call(vec![call.cast(number, &DataType::Float64)?]));
    }
    if let (true, DataType::Decimal128(_, scale)) = (is_decimal(&from), &from) {
        let scale = i32::from(*scale);
        let kernel = unary::<Decimal128Type, Micros>("timestamp_seconds", types::timestamp(), move |seconds| {
            decimal_micros(seconds, scale).map(Some).ok_or_else(|| super::overflow("timestamp_seconds"))
        });
        return Ok(kernel.key(format!("decimal{scale}")).call(vec![number]));
    }
    call.args.push(crate::functions::Arg::Value(number));
    timestamp_of(call, "timestamp_seconds", MICROS_PER_SECOND)
}

fn decimal_micros(seconds: i128, scale: i32) -> Option<i64> {
    let micros = if scale <= 6 {
        seconds.checked_mul(10i128.pow((6 - scale).unsigned_abs()))?
    } else {
        let unit = 10i128.pow((scale - 6).unsigned_abs());
        if seconds % unit != 0 {
            return None;
        }
        seconds / unit
    };
    i64::try_from(micros).ok()
}

fn date_from_unix_date(mut call: Call<'_>) -> Result<Expr> {
    let [days] = fixed(call.values(1..=1)?)?;
    let days = call.implicit(days, &DataType::Int32)?;
    let kernel = unary::<Int32Type, Date32Type>("date_from_unix_date", DataType::Date32, |days| Ok(Some(days)));
    Ok(kernel.call(vec![days]))
}
