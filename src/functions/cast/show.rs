//! Values to texts, as `CAST(x AS STRING)` prints them.
//!
//! `1.0E10`, `2024-02-29 12:00:00.5` in the session's zone, `[1, null]`, `{a -> 1}`, `{1, x}`. A [`Show`] is made once per
//! array and appends row by row to one buffer.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;

use super::{Convert, decimal};
use crate::Result;
use crate::formats::columns::strings;
use crate::types::datetime_text::{format_date, format_time, format_timestamp, format_timestamp_ntz};
use crate::types::is_variant;
use crate::types::number_text::push_decimal_scientific;
use crate::types::zone::Zone;
use crate::variant::{Variants, plain_text};

/// Casts arrays of any type to strings.
pub(super) fn converter(zone: &Zone) -> Convert {
    let zone = zone.clone();
    Arc::new(move |array| {
        if let Some(bytes) = array.as_binary_opt::<i32>() {
            return Ok(Arc::new(strings(bytes)));
        }
        let show = Show::new(array, &zone);
        let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
        let mut text = String::new();
        for row in 0..array.len() {
            if array.is_null(row) {
                builder.append_null();
                continue;
            }
            text.clear();
            show.append(row, &mut text);
            builder.append_value(&text);
        }
        Ok(Arc::new(builder.finish()))
    })
}

/// Casts decimals to strings without ANSI: as Java's `BigDecimal.toString`, `1E-7`.
pub(super) fn java_decimals(array: &ArrayRef) -> Result<ArrayRef> {
    let decimals = array.as_primitive::<Decimal128Type>();
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = String::new();
    for value in decimals {
        text.clear();
        match value {
            Some(value) => {
                push_decimal_scientific(value, decimals.scale(), &mut text);
                builder.append_value(&text);
            }
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The text of one value, in UTC; for messages.
pub fn value_text(array: &ArrayRef, row: usize) -> String {
    let mut text = String::new();
    Show::new(array, &Zone::utc()).append_or_null(row, &mut text);
    text
}

/// Prints the values of an array.
pub struct Show<'a>(Kind<'a>);

enum Kind<'a> {
    Whole(Box<dyn Fn(usize) -> i64 + 'a>),
    Single(&'a Float32Array),
    Double(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray, Zone),
    Local(&'a TimestampMicrosecondArray),
    Time(&'a Time64MicrosecondArray),
    DayTime(&'a DurationMicrosecondArray),
    YearMonth(&'a IntervalYearMonthArray),
    Calendar(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray, Box<Nested<'a>>),
    Map(&'a MapArray, Box<Nested<'a>>, Box<Nested<'a>>),
    Struct(Vec<Nested<'a>>),
    Variant(Variants<'a>, Zone),
    Other(&'a ArrayRef),
}

/// The printer of a part, with its array to tell nulls.
struct Nested<'a> {
    array: &'a ArrayRef,
    show: Show<'a>,
}

impl<'a> Nested<'a> {
    fn new(array: &'a ArrayRef, zone: &Zone) -> Self {
        Nested { array, show: Show::new(array, zone) }
    }

    fn append(&self, row: usize, out: &mut String) {
        if self.array.is_null(row) || *self.array.data_type() == DataType::Null {
            out.push_str("null");
        } else {
            self.show.append(row, out);
        }
    }
}

impl<'a> Show<'a> {
    /// A printer of this array.
    pub fn new(array: &'a ArrayRef, zone: &Zone) -> Self {
        Show(match array.data_type() {
            DataType::Int8 => whole(array.as_primitive::<Int8Type>()),
            DataType::Int16 => whole(array.as_primitive::<Int16Type>()),
            DataType::Int32 => whole(array.as_primitive::<Int32Type>()),
            DataType::Int64 => whole(array.as_primitive::<Int64Type>()),
            DataType::Float32 => Kind::Single(array.as_primitive()),
            DataType::Float64 => Kind::Double(array.as_primitive()),
            DataType::Decimal128(_, scale) => Kind::Decimal(array.as_primitive(), *scale),
            DataType::Boolean => Kind::Boolean(array.as_boolean()),
            DataType::Utf8 => Kind::Text(array.as_string()),
            DataType::Binary => Kind::Binary(array.as_binary()),
            _ => Self::temporal_or_nested(array, zone),
        })
    }

    fn temporal_or_nested(array: &'a ArrayRef, zone: &Zone) -> Kind<'a> {
        match array.data_type() {
            DataType::Date32 => Kind::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::Timestamp(array.as_primitive(), zone.clone()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Kind::Local(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time(array.as_primitive()),
            DataType::Duration(TimeUnit::Microsecond) => Kind::DayTime(array.as_primitive()),
            DataType::Interval(IntervalUnit::YearMonth) => Kind::YearMonth(array.as_primitive()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Calendar(array.as_primitive()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list, Box::new(Nested::new(list.values(), zone)))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map(map, Box::new(Nested::new(map.keys(), zone)), Box::new(Nested::new(map.values(), zone)))
            }
            DataType::Struct(_) if is_variant(array.data_type()) => match Variants::of(array) {
                Ok(variants) => Kind::Variant(variants, zone.clone()),
                Err(_) => Kind::Other(array),
            },
            DataType::Struct(_) => {
                Kind::Struct(array.as_struct().columns().iter().map(|column| Nested::new(column, zone)).collect())
            }
            _ => Kind::Other(array),
        }
    }

    /// Appends the value in `row`, `null` for null.
    pub fn append_or_null(&self, row: usize, out: &mut String) {
        match &self.0 {
            Kind::Other(array) if array.is_null(row) => out.push_str("null"),
            _ => self.append(row, out),
        }
    }

    /// Appends the value in `row`, which is not null.
    pub fn append(&self, row: usize, out: &mut String) {
        match &self.0 {
            Kind::Whole(value) => write!(out, "{}", value(row)).expect("strings take all text"),
            Kind::Single(array) => push_float(f64::from(array.value(row)), &format!("{:e}", array.value(row)), out),
            Kind::Double(array) => push_float(array.value(row), &format!("{:e}", array.value(row)), out),
            Kind::Decimal(array, scale) => decimal::print(array.value(row), *scale, out),
            Kind::Boolean(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
            Kind::Text(array) => out.push_str(array.value(row)),
            Kind::Binary(array) => out.push_str(&String::from_utf8_lossy(array.value(row))),
            Kind::Date(array) => format_date(i64::from(array.value(row)), out),
            Kind::Timestamp(array, zone) => format_timestamp(array.value(row), zone, out),
            Kind::Local(array) => format_timestamp_ntz(array.value(row), out),
            Kind::Time(array) => format_time(array.value(row), out),
            Kind::DayTime(array) => day_time(array.value(row), out),
            Kind::YearMonth(array) => year_month(array.value(row), out),
            Kind::Calendar(array) => calendar(array.value(row), out),
            Kind::List(list, values) => append_list(list, values, row, out),
            Kind::Map(map, keys, values) => append_map(map, keys, values, row, out),
            Kind::Struct(columns) => append_struct(columns, row, out),
            Kind::Variant(variants, zone) => {
                variants.get(row).and_then(|value| plain_text(&value, zone, out)).unwrap_or_default();
            }
            Kind::Other(array) => {
                out.push_str(&arrow::util::display::array_value_to_string(array, row).unwrap_or_default());
            }
        }
    }
}

fn whole<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> Kind<'_>
where
    T::Native: Into<i64>,
{
    Kind::Whole(Box::new(|row| array.value(row).into()))
}

fn append_list(list: &ListArray, values: &Nested<'_>, row: usize, out: &mut String) {
    let offsets = list.value_offsets();
    out.push('[');
    for at in offsets[row]..offsets[row + 1] {
        if at > offsets[row] {
            out.push_str(", ");
        }
        values.append(at as usize, out);
    }
    out.push(']');
}

fn append_map(map: &MapArray, keys: &Nested<'_>, values: &Nested<'_>, row: usize, out: &mut String) {
    let offsets = map.value_offsets();
    out.push('{');
    for at in offsets[row]..offsets[row + 1] {
        if at > offsets[row] {
            out.push_str(", ");
        }
        keys.append(at as usize, out);
        out.push_str(" -> ");
        values.append(at as usize, out);
    }
    out.push('}');
}

fn append_struct(columns: &[Nested<'_>], row: usize, out: &mut String) {
    out.push('{');
    for (position, column) in columns.iter().enumerate() {
        if position > 0 {
            out.push_str(", ");
        }
        column.append(row, out);
    }
    out.push('}');
}

/// A DOUBLE as Java prints it: `1.0`, `1.0E10`, `1.0E-5`, `NaN`, `Infinity`.
pub fn double_text(value: f64) -> String {
    let mut out = String::new();
    push_float(value, &format!("{value:e}"), &mut out);
    out
}

/// Appends a float given its shortest digits as `d.ddde-5`.
fn push_float(value: f64, scientific: &str, out: &mut String) {
    if !value.is_finite() {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
        return;
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let absolute = value.abs();
    if absolute == 0.0 || (1e-3..1e7).contains(&absolute) {
        return push_plain(mantissa, exponent.parse().unwrap_or(0), out);
    }
    out.push_str(mantissa);
    if !mantissa.contains('.') {
        out.push_str(".0");
    }
    out.push('E');
    out.push_str(exponent);
}

/// Appends the digits with the point moved by `exponent`, at least one digit behind it.
fn push_plain(mantissa: &str, exponent: i32, out: &mut String) {
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.push_str(sign);
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    let padded = format!("{digits:0<width$}", width = whole + 1);
    out.push_str(&padded[..whole]);
    out.push('.');
    out.push_str(&padded[whole..]);
}

/// `INTERVAL '1 02:03:04.5' DAY TO SECOND`.
fn day_time(micros: i64, out: &mut String) {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let (days, rest) = (micros / 86_400_000_000, micros % 86_400_000_000);
    write!(out, "INTERVAL '{sign}{days} ").expect("strings take all text");
    format_time(rest as i64, out);
    out.push_str("' DAY TO SECOND");
}

/// `INTERVAL '1-2' YEAR TO MONTH`.
fn year_month(months: i32, out: &mut String) {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    write!(out, "INTERVAL '{sign}{}-{}' YEAR TO MONTH", months / 12, months % 12).expect("strings take all text");
}

/// `1 years 2 months 3 days 4 hours 5 minutes 6.5 seconds`, without what is zero.
fn calendar(value: IntervalMonthDayNano, out: &mut String) {
    let micros = value.nanoseconds / 1000;
    let parts = [
        (i64::from(value.months / 12), "years"),
        (i64::from(value.months % 12), "months"),
        (i64::from(value.days), "days"),
        (micros / 3_600_000_000, "hours"),
        (micros % 3_600_000_000 / 60_000_000, "minutes"),
    ];
    let start = out.len();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number != 0) {
        write!(out, "{number} {unit} ").expect("strings take all text");
    }
    let seconds = micros % 60_000_000;
    if seconds != 0 || out.len() == start {
        if seconds % 1_000_000 == 0 {
            write!(out, "{} seconds", seconds / 1_000_000).expect("strings take all text");
        } else {
            decimal::print(i128::from(seconds), 6, out);
            out.truncate(out.trim_end_matches('0').len());
            out.push_str(" seconds");
        }
    }
    out.truncate(out.trim_end().len());
}
