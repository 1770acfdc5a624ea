//! Dates and timestamps to each other and to numbers, intervals and whole numbers, whole numbers to binary.
//!
//! A TIMESTAMP as a number is seconds since 1970, and the other way round. Local times are read in the session's zone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::*;

use super::{Caster, Mode, invalid_input, number, overflow, show};
use crate::functions::coerce::{is_decimal, is_floating, is_numeric};
use crate::functions::numbers::each;
use crate::types::calendar::{MICROS_PER_SECOND, join_micros, split_micros};
use crate::{Error, Result, types};

/// Casts where a date, time or interval is on one side.
pub(super) fn times(array: &ArrayRef, to: &DataType, caster: &Caster) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Date32, DataType::Timestamp(..)) => dates_to_timestamps(array, to, caster),
        (DataType::Timestamp(..), DataType::Date32) => timestamps_to_dates(array, caster),
        (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)) => {
            moved(array, to, |micros| Some(caster.zone.to_local(micros)))
        }
        (DataType::Timestamp(_, None), DataType::Timestamp(..)) => {
            moved(array, to, |micros| caster.zone.to_instant(micros))
        }
        (DataType::Timestamp(..), to) => timestamps_to_numbers(array, to, caster.mode),
        (from, DataType::Timestamp(..)) if is_numeric(from) || *from == DataType::Boolean => {
            numbers_to_timestamps(array, to, caster.mode)
        }
        (_, DataType::Binary) => binary(array),
        (DataType::Date32, to) => Ok(arrow::array::new_null_array(to, array.len())),
        _ => intervals(array, to, caster.mode),
    }
}

fn moved(array: &ArrayRef, to: &DataType, apply: impl Fn(i64) -> Option<i64>) -> Result<ArrayRef> {
    let result = each::<TimestampMicrosecondType, TimestampMicrosecondType>(array, |micros| Ok(apply(micros)))?;
    Ok(Arc::new(result.with_data_type(to.clone())))
}

fn dates_to_timestamps(array: &ArrayRef, to: &DataType, caster: &Caster) -> Result<ArrayRef> {
    let is_local = matches!(to, DataType::Timestamp(_, None));
    let start = |days: i32| {
        let local = join_micros(i64::from(days), 0)?;
        if is_local { Some(local) } else { caster.zone.to_instant(local) }
    };
    let result = each::<Date32Type, TimestampMicrosecondType>(array, |days| Ok(start(days)))?;
    Ok(Arc::new(result.with_data_type(to.clone())))
}

fn timestamps_to_dates(array: &ArrayRef, caster: &Caster) -> Result<ArrayRef> {
    let is_local = matches!(array.data_type(), DataType::Timestamp(_, None));
    let day = |micros: i64| {
        let local = if is_local { micros } else { caster.zone.to_local(micros) };
        Ok(i32::try_from(split_micros(local).0).ok())
    };
    Ok(Arc::new(each::<TimestampMicrosecondType, Date32Type>(array, day)?))
}

fn timestamps_to_numbers(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    if is_floating(to) {
        let seconds = |micros: i64| Ok(Some(micros as f64 / MICROS_PER_SECOND as f64));
        return Ok(arrow_cast(&each::<TimestampMicrosecondType, Float64Type>(array, seconds)?, to)?);
    }
    if is_decimal(to) {
        let exact = each::<TimestampMicrosecondType, Decimal128Type>(array, |micros| Ok(Some(i128::from(micros))))?;
        return number::numbers(&(Arc::new(exact.with_precision_and_scale(20, 6)?) as ArrayRef), to, mode);
    }
    let seconds =
        each::<TimestampMicrosecondType, Int64Type>(array, |micros| Ok(Some(micros.div_euclid(MICROS_PER_SECOND))))?;
    let seconds: ArrayRef = Arc::new(seconds);
    // Without ANSI, too, seconds that do not fit are null and do not wrap around.
    let mode = if mode == Mode::Legacy { Mode::Try } else { mode };
    if *to == DataType::Int64 { Ok(seconds) } else { number::numbers(&seconds, to, mode) }
}

fn numbers_to_timestamps(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let lost = |value: String| match mode {
        Mode::Ansi => Err(overflow(&value, array.data_type(), to)),
        _ => Ok(None),
    };
    let result = match array.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let doubles = arrow_cast(array, &DataType::Float64)?;
            each::<Float64Type, TimestampMicrosecondType>(&doubles, |seconds| {
                match seconds * MICROS_PER_SECOND as f64 {
                    micros if micros.is_finite() && micros.abs() < i64::MAX as f64 => Ok(Some(micros as i64)),
                    _ if mode == Mode::Ansi && !seconds.is_finite() => {
                        Err(invalid_input(&show::double_text(seconds), array.data_type(), to))
                    }
                    _ => lost(show::double_text(seconds)),
                }
            })?
        }
        DataType::Decimal128(..) => {
            let exact = number::numbers(array, &DataType::Decimal128(38, 6), mode)?;
            each::<Decimal128Type, TimestampMicrosecondType>(&exact, |micros| Ok(i64::try_from(micros).ok()))?
        }
        // A boolean counts as microseconds.
        DataType::Boolean => {
            let micros = arrow_cast(array, &DataType::Int64)?;
            each::<Int64Type, TimestampMicrosecondType>(&micros, |micros| Ok(Some(micros)))?
        }
        _ => {
            let whole = arrow_cast(array, &DataType::Int64)?;
            each::<Int64Type, TimestampMicrosecondType>(&whole, |seconds| {
                match seconds.checked_mul(MICROS_PER_SECOND) {
                    Some(micros) => Ok(Some(micros)),
                    None => Ok(Some(if seconds < 0 { i64::MIN } else { i64::MAX })),
                }
            })?
        }
    };
    Ok(Arc::new(result.with_data_type(to.clone())))
}

/// The bytes of a whole number, highest first.
fn binary(array: &ArrayRef) -> Result<ArrayRef> {
    let bytes: BinaryArray = match array.data_type() {
        DataType::Int8 => array
            .as_primitive::<Int8Type>()
            .iter()
            .map(|value| value.map(|value| value.to_be_bytes().to_vec()))
            .collect(),
        DataType::Int16 => array
            .as_primitive::<Int16Type>()
            .iter()
            .map(|value| value.map(|value| value.to_be_bytes().to_vec()))
            .collect(),
        DataType::Int32 => array
            .as_primitive::<Int32Type>()
            .iter()
            .map(|value| value.map(|value| value.to_be_bytes().to_vec()))
            .collect(),
        _ => array
            .as_primitive::<Int64Type>()
            .iter()
            .map(|value| value.map(|value| value.to_be_bytes().to_vec()))
            .collect(),
    };
    Ok(Arc::new(bytes))
}

/// Intervals as numbers: days, hours, ... of a literal are not known here, so day-time intervals count in seconds and
/// year-month intervals in months.
fn intervals(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Duration(_), to) if is_numeric(to) => {
            let seconds = arrow_cast(array, &DataType::Int64)?;
            let exact = each::<Int64Type, Decimal128Type>(&seconds, |micros| Ok(Some(i128::from(micros))))?;
            number::numbers(&(Arc::new(exact.with_precision_and_scale(20, 6)?) as ArrayRef), to, mode)
        }
        (DataType::Interval(IntervalUnit::YearMonth), to) if is_numeric(to) => {
            let months = each::<IntervalYearMonthType, Int32Type>(array, |months| Ok(Some(months)))?;
            number::numbers(&(Arc::new(months) as ArrayRef), to, mode)
        }
        (from, DataType::Duration(_)) if is_numeric(from) => {
            let seconds = number::numbers(array, &DataType::Decimal128(38, 6), mode)?;
            let micros =
                each::<Decimal128Type, DurationMicrosecondType>(&seconds, |micros| Ok(i64::try_from(micros).ok()))?;
            Ok(Arc::new(micros))
        }
        (from, DataType::Interval(IntervalUnit::YearMonth)) if is_numeric(from) => {
            let months = number::numbers(array, &DataType::Int32, mode)?;
            Ok(Arc::new(each::<Int32Type, IntervalYearMonthType>(&months, |months| Ok(Some(months)))?))
        }
        (from, to) => {
            Err(Error::unsupported(format!("cannot cast {} to {}", types::simple_name(from), types::simple_name(to))))
        }
    }
}
