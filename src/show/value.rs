//! The text of any value, as Spark's `show` prints it: nested values in brackets, null as `NULL`, binary as `[01 FF]`.

use std::fmt::Write as _;

use arrow::array::cast::AsArray;
use arrow::array::types::{
    Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalYearMonthType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

use crate::types::datetime_text::{format_date, format_time, format_timestamp, format_timestamp_ntz};
use crate::types::is_variant;
use crate::types::number_text::{push_decimal, push_double, push_float};
use crate::types::zone::Zone;
use crate::variant::{Variants, plain_text};
use crate::{Error, Result};

/// One column, ready to give out texts.
pub(super) struct Texts<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Byte(&'a PrimitiveArray<Int8Type>),
    Short(&'a PrimitiveArray<Int16Type>),
    Int(&'a PrimitiveArray<Int32Type>),
    Long(&'a PrimitiveArray<Int64Type>),
    Float(&'a PrimitiveArray<Float32Type>),
    Double(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, i8),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, Option<&'a Zone>),
    DayTime(&'a PrimitiveArray<DurationMicrosecondType>),
    YearMonth(&'a PrimitiveArray<IntervalYearMonthType>),
    Calendar(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    List(&'a OffsetBuffer<i32>, Box<Texts<'a>>),
    Map(&'a OffsetBuffer<i32>, Box<Texts<'a>>, Box<Texts<'a>>),
    Struct(Vec<Texts<'a>>),
    Variant(Variants<'a>, &'a Zone),
}

impl<'a> Texts<'a> {
    /// The texts of this column; TIMESTAMP values in this zone.
    pub(super) fn new(array: &'a ArrayRef, zone: &'a Zone) -> Result<Texts<'a>> {
        Ok(Texts { array, kind: kind(array, zone)? })
    }

    /// Adds the text of one value.
    pub(super) fn push(&self, row: usize, out: &mut String) {
        if self.array.is_null(row) {
            out.push_str("NULL");
            return;
        }
        match &self.kind {
            Kind::Null => out.push_str("NULL"),
            Kind::Boolean(values) => out.push_str(if values.value(row) { "true" } else { "false" }),
            Kind::Byte(values) => push_display(values.value(row), out),
            Kind::Short(values) => push_display(values.value(row), out),
            Kind::Int(values) => push_display(values.value(row), out),
            Kind::Long(values) => push_display(values.value(row), out),
            Kind::Float(values) => push_float(values.value(row), out),
            Kind::Double(values) => push_double(values.value(row), out),
            Kind::Decimal(values, scale) => push_decimal(values.value(row), *scale, out),
            Kind::Text(values) => out.push_str(values.value(row)),
            Kind::Binary(values) => push_hex(values.value(row), out),
            Kind::Date(values) => format_date(i64::from(values.value(row)), out),
            Kind::Time(values) => format_time(values.value(row), out),
            Kind::Timestamp(values, Some(zone)) => format_timestamp(values.value(row), zone, out),
            Kind::Timestamp(values, None) => format_timestamp_ntz(values.value(row), out),
            Kind::DayTime(values) => push_day_time(values.value(row), out),
            Kind::YearMonth(values) => push_year_month(values.value(row), out),
            Kind::Calendar(values) => push_calendar(values.value(row), out),
            Kind::List(offsets, items) => push_list(range(offsets, row), items, out),
            Kind::Map(offsets, keys, values) => push_map(range(offsets, row), keys, values, out),
            Kind::Struct(fields) => push_struct(row, fields, out),
            Kind::Variant(variants, zone) => {
                variants.get(row).and_then(|value| plain_text(&value, zone, out)).unwrap_or_default();
            }
        }
    }
}

fn kind<'a>(array: &'a ArrayRef, zone: &'a Zone) -> Result<Kind<'a>> {
    Ok(match array.data_type() {
        DataType::Null => Kind::Null,
        DataType::Boolean => Kind::Boolean(array.as_boolean()),
        DataType::Int8 => Kind::Byte(array.as_primitive()),
        DataType::Int16 => Kind::Short(array.as_primitive()),
        DataType::Int32 => Kind::Int(array.as_primitive()),
        DataType::Int64 => Kind::Long(array.as_primitive()),
        DataType::Float32 => Kind::Float(array.as_primitive()),
        DataType::Float64 => Kind::Double(array.as_primitive()),
        DataType::Decimal128(_, scale) => Kind::Decimal(array.as_primitive(), *scale),
        DataType::Utf8 => Kind::Text(array.as_string()),
        DataType::Binary => Kind::Binary(array.as_binary()),
        DataType::Date32 => Kind::Date(array.as_primitive()),
        DataType::Time64(TimeUnit::Microsecond) => Kind::Time(array.as_primitive()),
        DataType::Timestamp(TimeUnit::Microsecond, of) => {
            Kind::Timestamp(array.as_primitive(), of.as_ref().map(|_| zone))
        }
        DataType::Duration(TimeUnit::Microsecond) => Kind::DayTime(array.as_primitive()),
        DataType::Interval(IntervalUnit::YearMonth) => Kind::YearMonth(array.as_primitive()),
        DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Calendar(array.as_primitive()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            Kind::List(list.offsets(), Box::new(Texts::new(list.values(), zone)?))
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            Kind::Map(map.offsets(), Box::new(Texts::new(map.keys(), zone)?), Box::new(Texts::new(map.values(), zone)?))
        }
        DataType::Struct(_) if is_variant(array.data_type()) => Kind::Variant(Variants::of(array)?, zone),
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter().map(|field| Texts::new(field, zone));
            Kind::Struct(fields.collect::<Result<_>>()?)
        }
        other => return Err(Error::unsupported(format!("values of type {other} cannot be printed"))),
    })
}

fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

fn push_display(value: impl std::fmt::Display, out: &mut String) {
    let _ = write!(out, "{value}");
}

fn push_hex(bytes: &[u8], out: &mut String) {
    out.push('[');
    for (number, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if number > 0 { " " } else { "" });
    }
    out.push(']');
}

fn push_list(range: std::ops::Range<usize>, items: &Texts<'_>, out: &mut String) {
    out.push('[');
    for (number, item) in range.enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        items.push(item, out);
    }
    out.push(']');
}

fn push_map(range: std::ops::Range<usize>, keys: &Texts<'_>, values: &Texts<'_>, out: &mut String) {
    out.push('{');
    for (number, entry) in range.enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        keys.push(entry, out);
        out.push_str(" -> ");
        values.push(entry, out);
    }
    out.push('}');
}

fn push_struct(row: usize, fields: &[Texts<'_>], out: &mut String) {
    out.push('{');
    for (number, field) in fields.iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        field.push(row, out);
    }
    out.push('}');
}

fn push_day_time(micros: i64, out: &mut String) {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let (days, hours, minutes, seconds) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "INTERVAL '{sign}{days} {hours:02}:{minutes:02}:{seconds:02}");
    if fraction > 0 {
        out.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    out.push_str("' DAY TO SECOND");
}

fn push_year_month(months: i32, out: &mut String) {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    let _ = write!(out, "INTERVAL '{sign}{}-{}' YEAR TO MONTH", months / 12, months % 12);
}

fn push_calendar(value: arrow::datatypes::IntervalMonthDayNano, out: &mut String) {
    let seconds = value.nanoseconds as f64 / 1e9;
    let whole = value.nanoseconds / 1_000_000_000;
    let mut parts: Vec<String> = [
        (i64::from(value.months / 12), "years"),
        (i64::from(value.months % 12), "months"),
        (i64::from(value.days), "days"),
        (whole / 3600, "hours"),
        (whole / 60 % 60, "minutes"),
    ]
    .iter()
    .filter(|(number, _)| *number != 0)
    .map(|(number, unit)| format!("{number} {unit}"))
    .collect();
    let rest = seconds - (whole / 60 * 60) as f64;
    if rest != 0.0 || parts.is_empty() {
        parts.push(format!("{rest} seconds"));
    }
    out.push_str(&parts.join(" "));
}
