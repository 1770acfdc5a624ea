//! Arithmetic with dates, timestamps and intervals, for the operators `+`, `-`, `*`, `/` and the functions behind them.
//!
//! In come two bound operands; out comes an expression of Spark's result type, or `None` if no side is a date, timestamp
//! or interval, so that the caller goes on with numbers. Months and days are counted on the local clock of the session
//! (of the value itself for TIMESTAMP_NTZ), shorter units in elapsed time. An interval's fields (`day`, `hour to second`)
//! travel in the field metadata [`INTERVAL_FIELDS`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, FieldRef, Float64Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::cast::{self, Mode};
use super::coerce::{self, is_datetime, is_decimal, is_integral};
use super::datetime::shift::{days_later, plus as later};
use super::datetime::{Micros, binary, overflow, primitive, session_zone, to_date, unary};
use super::kernel::Kernel;
use crate::conf::Conf;
use crate::types::calendar::{MICROS_PER_DAY, add_months};
use crate::types::interval_text::{write_day_time, write_year_month};
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// Key of the field metadata that names an interval's fields.
pub const INTERVAL_FIELDS: &str = "spark.interval";

const FIELD_NAMES: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
const DAY: usize = 2;

/// What the operands' columns refer to, and the session's settings.
struct Scope<'a> {
    schema: &'a DFSchema,
    conf: &'a Conf,
}

/// What an operand is to this arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Date,
    Timestamp,
    Local,
    DayTime,
    YearMonth,
    Calendar,
    Other,
}

fn kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(_, Some(_)) => Kind::Timestamp,
        DataType::Timestamp(_, None) => Kind::Local,
        DataType::Duration(_) => Kind::DayTime,
        DataType::Interval(IntervalUnit::YearMonth) => Kind::YearMonth,
        DataType::Interval(_) => Kind::Calendar,
        _ => Kind::Other,
    }
}

impl Kind {
    fn is_interval(self) -> bool {
        matches!(self, Kind::DayTime | Kind::YearMonth | Kind::Calendar)
    }
}

/// `left + right`.
///
/// # Errors
/// `DATATYPE_MISMATCH.*` if the two cannot be added.
pub fn plus(left: Expr, right: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    let (left_kind, right_kind) = (scope.kind(&left)?, scope.kind(&right)?);
    Ok(Some(match (left_kind, right_kind) {
        (Kind::Other, Kind::Other) => return Ok(None),
        (a, b) if a.is_interval() && a == b => scope.add_intervals(left, right, 1)?,
        (_, b) if b.is_interval() && scope.is_null(&left)? => scope.unknown(right)?,
        (a, _) if a.is_interval() && scope.is_null(&right)? => scope.unknown(left)?,
        (_, b) if b.is_interval() => scope.move_by(left, right, 1)?,
        (a, _) if a.is_interval() => scope.move_by(right, left, 1)?,
        (Kind::Date, _) if scope.is_null(&right)? => scope.cast(right, &types::timestamp())?,
        (_, Kind::Date) if scope.is_null(&left)? => scope.cast(left, &types::timestamp())?,
        (Kind::Date, _) => scope.move_days(left, right, 1)?,
        (_, Kind::Date) => scope.move_days(right, left, 1)?,
        (_, Kind::Other) if scope.is_null(&right)? => scope.cast(right, &left.get_type(schema)?)?,
        (Kind::Other, _) if scope.is_null(&left)? => scope.cast(left, &right.get_type(schema)?)?,
        _ => return Ok(None),
    }))
}

/// `left - right`.
///
/// # Errors
/// `DATATYPE_MISMATCH.*` if the right one cannot be taken from the left one.
pub fn minus(left: Expr, right: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    let (left_kind, right_kind) = (scope.kind(&left)?, scope.kind(&right)?);
    Ok(Some(match (left_kind, right_kind) {
        (Kind::Other, Kind::Other) => return Ok(None),
        (a, b) if a.is_interval() && a == b => scope.add_intervals(left, right, -1)?,
        (_, b) if b.is_interval() && scope.is_null(&left)? => scope.unknown(right)?,
        (a, _) if a.is_interval() && scope.is_null(&right)? => scope.unknown(left)?,
        (a, Kind::YearMonth) if a.is_interval() => return Ok(None),
        (_, b) if b.is_interval() => scope.move_by(left, right, -1)?,
        (a, Kind::Other) if a.is_interval() => return Ok(None),
        (a, _) if a.is_interval() => return Err(scope.unexpected(&left, "\"TIMESTAMP\"")),
        (Kind::Timestamp | Kind::Local, _) | (_, Kind::Timestamp | Kind::Local) => scope.time_between(left, right)?,
        (_, Kind::Date) => scope.days_between(left, right)?,
        _ if scope.is_day(&right)? => scope.days_between(left, right)?,
        _ => scope.move_days(left, right, -1)?,
    }))
}

/// `left * right`, one of them an interval.
///
/// # Errors
/// `DATATYPE_MISMATCH.*` if the other one is no number.
pub fn times(left: Expr, right: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    match (scope.kind(&left)?, scope.kind(&right)?) {
        (Kind::DayTime | Kind::YearMonth, _) => scope.scale(left, right, Scale::Times).map(Some),
        (Kind::Calendar, _) => scope.scale_calendar(left, right, Scale::Times).map(Some),
        (_, Kind::DayTime | Kind::YearMonth) => scope.scale(right, left, Scale::Times).map(Some),
        (_, Kind::Calendar) => scope.scale_calendar(right, left, Scale::Times).map(Some),
        _ => Ok(None),
    }
}

/// `left / right`, the left one an interval.
///
/// # Errors
/// `DATATYPE_MISMATCH.*` if the right one is no number.
pub fn divided_by(left: Expr, right: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    match scope.kind(&left)? {
        Kind::DayTime | Kind::YearMonth => scope.scale(left, right, Scale::By).map(Some),
        Kind::Calendar => scope.scale_calendar(left, right, Scale::By).map(Some),
        _ => Ok(None),
    }
}

/// `left div right`, both intervals of one kind: how many times the right one goes into the left one.
///
/// # Errors
/// Only what typing the expression gives; when run `INTERVAL_DIVIDED_BY_ZERO`.
pub fn whole_quotient(left: Expr, right: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    let (left_kind, right_kind) = (scope.kind(&left)?, scope.kind(&right)?);
    let of = match (left_kind, right_kind) {
        (one, other) if one == other => left.get_type(schema)?,
        (_, Kind::Other) if scope.is_null(&right)? => left.get_type(schema)?,
        (Kind::Other, _) if scope.is_null(&left)? => right.get_type(schema)?,
        _ => return Ok(None),
    };
    let args = vec![scope.cast(left, &of)?, scope.cast(right, &of)?];
    let quotient = |a: i64, b: i64| if b == 0 { Err(divided_by_zero()) } else { Ok(Some(a.wrapping_div(b))) };
    let kernel = match kind(&of) {
        Kind::DayTime => binary::<DurationMicrosecondType, DurationMicrosecondType, Int64Type>(
            "div_intervals",
            DataType::Int64,
            quotient,
        ),
        Kind::YearMonth => binary::<IntervalYearMonthType, IntervalYearMonthType, Int64Type>(
            "div_intervals",
            DataType::Int64,
            move |a, b| quotient(i64::from(a), i64::from(b)),
        ),
        _ => return Ok(None),
    };
    Ok(Some(kernel.call(args)))
}

/// `-interval`; `None` if it is no interval.
///
/// # Errors
/// Only what typing the expression gives.
pub fn negated(expr: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    scope.signed(expr, "negative", |months| months.checked_neg(), |micros| micros.checked_neg())
}

/// `abs(interval)`; `None` if it is no day-time or year-month interval.
///
/// # Errors
/// Only what typing the expression gives.
pub fn absolute(expr: Expr, schema: &DFSchema, conf: &Conf) -> Result<Option<Expr>> {
    let scope = Scope { schema, conf };
    if scope.kind(&expr)? == Kind::Calendar {
        return Ok(None);
    }
    scope.signed(expr, "abs", |months| months.checked_abs(), |micros| micros.checked_abs())
}

/// The fields that an interval is known to consist of, such as `day to hour`; `None` if it is not known or no interval.
///
/// # Errors
/// Only what typing the expression gives.
pub fn written_fields(expr: &Expr, schema: &DFSchema) -> Result<Option<String>> {
    let (_, field) = expr.to_field(schema)?;
    Ok(field.metadata().get(INTERVAL_FIELDS).cloned())
}

/// A value that is one of `parts`, all intervals of one kind or null, as an interval of all their fields; anything else as it is.
///
/// # Errors
/// Only what typing the expressions gives.
pub fn with_fields_of(value: Expr, parts: &[Expr], schema: &DFSchema) -> Result<Expr> {
    let data_type = super::kernel::type_of(&value, schema)?;
    if !coerce::is_ansi_interval(&data_type) {
        return Ok(value);
    }
    let mut fields: Option<(usize, usize)> = None;
    for part in parts {
        if part.get_type(schema)? != DataType::Null {
            let (from, to) = known_fields(part, schema)?;
            let (first, last) = fields.unwrap_or((from, to));
            fields = Some((first.min(from), last.max(to)));
        }
    }
    let Some(fields) = fields else { return Ok(value) };
    let one = |values: &[ArrayRef]| values.first().cloned().ok_or_else(|| Error::internal("a value has one argument"));
    let kernel = Kernel::arrays("interval_fields", data_type.clone(), one).field(interval_field(data_type, fields));
    Ok(kernel.key(format!("{fields:?}")).call(vec![value]))
}

/// An interval cast to STRING, by its fields.
pub fn to_text(expr: Expr, fields: String) -> Expr {
    let key = fields.clone();
    let kernel = Kernel::arrays("interval_text", DataType::Utf8, move |args| {
        let mut out = StringBuilder::new();
        let mut text = String::new();
        for row in 0..super::lists::array(args, 0)?.len() {
            text.clear();
            match write_text(super::lists::array(args, 0)?, row, &fields, &mut text)? {
                true => out.append_value(&text),
                false => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    });
    kernel.key(key).call(vec![expr])
}

/// The text of a constant interval, as `CAST(... AS STRING)` gives it; none for anything else.
pub fn literal_text(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, Some(metadata)) = expr else { return None };
    let fields = metadata.inner().get(INTERVAL_FIELDS)?;
    let mut text = String::new();
    let known = write_text(&value.to_array().ok()?, 0, fields, &mut text).ok()?;
    known.then_some(text)
}

/// Appends the interval in a row; `false` if it is null.
///
/// # Errors
/// An internal error if the array holds no intervals.
pub(crate) fn write_text(array: &ArrayRef, row: usize, fields: &str, out: &mut String) -> Result<bool> {
    if array.is_null(row) {
        return Ok(false);
    }
    let args = std::slice::from_ref(array);
    match array.data_type() {
        DataType::Duration(_) => {
            write_day_time(primitive::<DurationMicrosecondType>(args, 0)?.value(row), fields, out);
        }
        _ => write_year_month(primitive::<IntervalYearMonthType>(args, 0)?.value(row), fields, out),
    }
    Ok(true)
}

fn day_time() -> DataType {
    DataType::Duration(TimeUnit::Microsecond)
}

fn calendar() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

fn year_month() -> DataType {
    DataType::Interval(IntervalUnit::YearMonth)
}

fn too_long() -> Error {
    Error::data("INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION", "the interval is too long")
}

/// The places of the largest and the smallest field of an interval among year, month, day, hour, minute, second; the widest range
/// if they are not known.
///
/// # Errors
/// Only what typing the expression gives.
pub(super) fn known_fields(expr: &Expr, schema: &DFSchema) -> Result<(usize, usize)> {
    let (_, field) = expr.to_field(schema)?;
    let known = field.metadata().get(INTERVAL_FIELDS).and_then(|text| {
        let at = |name: &str| FIELD_NAMES.iter().position(|known| *known == name.trim());
        let (from, to) = text.split_once(" to ").unwrap_or((text, text));
        Some((at(from)?, at(to)?))
    });
    Ok(known.unwrap_or(if kind(field.data_type()) == Kind::YearMonth { (0, 1) } else { (DAY, 5) }))
}

/// A field for an interval that consists of these fields.
pub(super) fn interval_field(data_type: DataType, (from, to): (usize, usize)) -> FieldRef {
    let name = |at: usize| FIELD_NAMES.get(at).copied().unwrap_or("second");
    let text = if from == to { name(from).to_owned() } else { format!("{} to {}", name(from), name(to)) };
    let metadata = HashMap::from([(INTERVAL_FIELDS.to_owned(), text)]);
    Arc::new(Field::new("interval", data_type, true).with_metadata(metadata))
}

impl Scope<'_> {
    fn kind(&self, expr: &Expr) -> Result<Kind> {
        Ok(kind(&super::kernel::type_of(expr, self.schema)?))
    }

    /// Largest and smallest field of an interval; the widest range if it is not known.
    fn fields(&self, expr: &Expr) -> Result<(usize, usize)> {
        known_fields(expr, self.schema)
    }

    fn different(&self, left: &Expr, right: &Expr) -> Error {
        let message = format!("'{}' and '{}' do not go together here", left.human_display(), right.human_display());
        Error::query("DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", message)
    }

    fn is_null(&self, expr: &Expr) -> Result<bool> {
        Ok(expr.get_type(self.schema)? == DataType::Null)
    }

    /// Whether what is taken from a date stands for a date itself.
    fn is_day(&self, expr: &Expr) -> Result<bool> {
        let data_type = expr.get_type(self.schema)?;
        Ok(data_type == DataType::Null || (data_type == DataType::Utf8 && self.conf.ansi()))
    }

    fn unexpected(&self, expr: &Expr, required: &str) -> Error {
        match expr.get_type(self.schema) {
            Ok(from) => coerce::unexpected(expr, &from, required),
            Err(cause) => cause.into(),
        }
    }

    /// Null, as an interval of the same fields.
    fn unknown(&self, interval: Expr) -> Result<Expr> {
        let kernel = match self.kind(&interval)? {
            Kind::DayTime => {
                unary::<DurationMicrosecondType, DurationMicrosecondType>("unknown", day_time(), |_| Ok(None))
                    .field(interval_field(day_time(), self.fields(&interval)?))
            }
            Kind::YearMonth => {
                unary::<IntervalYearMonthType, IntervalYearMonthType>("unknown", year_month(), |_| Ok(None))
                    .field(interval_field(year_month(), self.fields(&interval)?))
            }
            _ => unary::<IntervalMonthDayNanoType, IntervalMonthDayNanoType>("unknown", calendar(), |_| Ok(None)),
        };
        Ok(kernel.call(vec![interval]))
    }

    fn cast(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        cast::cast(expr, to, Mode::of(self.conf), self.schema, self.conf)
    }

    fn add_intervals(&self, left: Expr, right: Expr, sign: i32) -> Result<Expr> {
        let (first, second) = (self.fields(&left)?, self.fields(&right)?);
        let fields = (first.0.min(second.0), first.1.max(second.1));
        let kernel = match self.kind(&left)? {
            Kind::DayTime => binary::<DurationMicrosecondType, DurationMicrosecondType, DurationMicrosecondType>(
                "add_intervals",
                day_time(),
                move |a, b| {
                    b.checked_mul(i64::from(sign)).and_then(|b| a.checked_add(b)).map(Some).ok_or_else(too_long)
                },
            )
            .field(interval_field(day_time(), fields)),
            Kind::YearMonth => binary::<IntervalYearMonthType, IntervalYearMonthType, IntervalYearMonthType>(
                "add_intervals",
                year_month(),
                move |a, b| b.checked_mul(sign).and_then(|b| a.checked_add(b)).map(Some).ok_or_else(too_long),
            )
            .field(interval_field(year_month(), fields)),
            _ => calendar_sum(sign),
        };
        Ok(kernel.key(sign).call(vec![left, right]))
    }

    fn move_days(&self, start: Expr, days: Expr, sign: i32) -> Result<Expr> {
        let from = days.get_type(self.schema)?;
        let is_days = matches!(from, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Null);
        if is_days || (from == DataType::Utf8 && !self.conf.ansi()) {
            let days = coerce::implicit(days, &DataType::Int32, self.schema, self.conf)?;
            return Ok(days_later(sign).call(vec![start, days]));
        }
        Err(coerce::unexpected(&days, &from, "(\"INT\" or \"SMALLINT\" or \"TINYINT\")"))
    }

    /// A date, timestamp or text moved by an interval.
    fn move_by(&self, start: Expr, interval: Expr, sign: i64) -> Result<Expr> {
        let start_type = start.get_type(self.schema)?;
        let by = self.kind(&interval)?;
        match (kind(&start_type), by) {
            (Kind::Date, Kind::YearMonth) => Ok(date_by_months(sign).call(vec![start, interval])),
            (Kind::Date, Kind::Calendar) => Ok(date_by_calendar(sign, self.conf.ansi()).call(vec![start, interval])),
            (Kind::Date, _) if self.fields(&interval)? == (DAY, DAY) => {
                Ok(date_by_days(sign).call(vec![start, interval]))
            }
            (Kind::Timestamp | Kind::Local, _) => self.move_timestamp(start, interval, sign),
            (Kind::Date, _) => self.move_timestamp(self.cast(start, &types::timestamp())?, interval, sign),
            (Kind::Other, Kind::YearMonth) if self.conf.ansi() => Err(self.different(&start, &interval)),
            _ if start_type == DataType::Utf8 => {
                let moved = self.move_timestamp(self.cast(start, &types::timestamp())?, interval, sign)?;
                self.cast(moved, &start_type)
            }
            _ => Err(self.unexpected(&start, "(\"TIMESTAMP\" or \"TIMESTAMP WITHOUT TIME ZONE\")")),
        }
    }

    fn move_timestamp(&self, start: Expr, interval: Expr, sign: i64) -> Result<Expr> {
        let result = start.get_type(self.schema)?;
        let zone = if kind(&result) == Kind::Local { Zone::utc() } else { session_zone(self.conf)? };
        let key = format!("{sign},{}", zone.name());
        let kernel = match self.kind(&interval)? {
            Kind::YearMonth => mover::<IntervalYearMonthType>(result, zone, sign, |months| (i64::from(months), 0, 0)),
            Kind::DayTime => mover::<DurationMicrosecondType>(result, zone, sign, |micros| {
                (0, micros / MICROS_PER_DAY, micros % MICROS_PER_DAY)
            }),
            _ => mover::<IntervalMonthDayNanoType>(result, zone, sign, |interval| {
                (i64::from(interval.months), i64::from(interval.days), interval.nanoseconds / 1_000)
            }),
        };
        Ok(kernel.key(key).call(vec![start, interval]))
    }

    fn days_between(&self, left: Expr, right: Expr) -> Result<Expr> {
        let date = |expr| coerce::implicit(expr, &DataType::Date32, self.schema, self.conf);
        let args = vec![date(left)?, date(right)?];
        let kernel = binary::<Date32Type, Date32Type, DurationMicrosecondType>("subtract_dates", day_time(), |a, b| {
            (i64::from(a) - i64::from(b)).checked_mul(MICROS_PER_DAY).map(Some).ok_or_else(too_long)
        });
        Ok(kernel.field(interval_field(day_time(), (DAY, DAY))).call(args))
    }

    /// Elapsed time for instants; on the local clocks if one is a TIMESTAMP_NTZ.
    fn time_between(&self, left: Expr, right: Expr) -> Result<Expr> {
        let both_local = |kind| matches!(kind, Kind::Local | Kind::Date | Kind::Other);
        let local = both_local(self.kind(&left)?) && both_local(self.kind(&right)?);
        let common = if local { types::timestamp_ntz() } else { types::timestamp() };
        let mut args = Vec::with_capacity(2);
        for expr in [left, right] {
            args.push(coerce::implicit(expr, &common, self.schema, self.conf)?);
        }
        // Spark subtracts what the local clocks show, which differs from elapsed time across a change of the clocks.
        let zone = if local { Zone::utc() } else { session_zone(self.conf)? };
        let key = zone.name().to_owned();
        let kernel =
            binary::<Micros, Micros, DurationMicrosecondType>("subtract_timestamps", day_time(), move |a, b| {
                zone.to_local(a).checked_sub(zone.to_local(b)).map(Some).ok_or_else(too_long)
            });
        Ok(kernel.key(key).field(interval_field(day_time(), (DAY, 5))).call(args))
    }

    fn scale(&self, interval: Expr, number: Expr, scale: Scale) -> Result<Expr> {
        let from = number.get_type(self.schema)?;
        let number = match &from {
            from if is_integral(from) => self.cast(number, &DataType::Int64)?,
            from if is_decimal(from) => number,
            from if is_datetime(from) => return Err(coerce::unexpected(&number, from, "\"NUMERIC\"")),
            _ => coerce::implicit(number, &DataType::Float64, self.schema, self.conf)?,
        };
        let number_type = number.get_type(self.schema)?;
        let kernel = match self.kind(&interval)? {
            Kind::YearMonth => scaler::<IntervalYearMonthType>(
                interval_field(year_month(), (0, 1)),
                &number_type,
                scale,
                i128::from,
                |months| i32::try_from(months).ok(),
            ),
            _ => scaler::<DurationMicrosecondType>(
                interval_field(day_time(), (DAY, 5)),
                &number_type,
                scale,
                i128::from,
                |micros| i64::try_from(micros).ok(),
            ),
        };
        Ok(kernel.call(vec![interval, number]))
    }

    fn scale_calendar(&self, interval: Expr, number: Expr, scale: Scale) -> Result<Expr> {
        let number = match number.get_type(self.schema)? {
            from if is_datetime(&from) => return Err(coerce::unexpected(&number, &from, "\"NUMERIC\"")),
            _ => coerce::implicit(number, &DataType::Float64, self.schema, self.conf)?,
        };
        let kernel = binary::<IntervalMonthDayNanoType, Float64Type, IntervalMonthDayNanoType>(
            "scale_interval",
            calendar(),
            move |interval, number| scale.calendar(interval, number).map(Some),
        );
        Ok(kernel.key(format!("{scale:?},calendar")).call(vec![interval, number]))
    }

    fn signed(
        &self,
        expr: Expr,
        name: &'static str,
        months: fn(i32) -> Option<i32>,
        micros: fn(i64) -> Option<i64>,
    ) -> Result<Option<Expr>> {
        let kernel = match self.kind(&expr)? {
            Kind::DayTime => {
                unary::<DurationMicrosecondType, DurationMicrosecondType>(name, day_time(), move |value| {
                    micros(value).map(Some).ok_or_else(too_long)
                })
                .field(interval_field(day_time(), self.fields(&expr)?))
            }
            Kind::YearMonth => {
                unary::<IntervalYearMonthType, IntervalYearMonthType>(name, year_month(), move |value| {
                    months(value).map(Some).ok_or_else(too_long)
                })
                .field(interval_field(year_month(), self.fields(&expr)?))
            }
            Kind::Calendar => unary::<IntervalMonthDayNanoType, IntervalMonthDayNanoType>(
                name,
                DataType::Interval(IntervalUnit::MonthDayNano),
                |value| add_calendars(IntervalMonthDayNano::ZERO, value, -1).map(Some).ok_or_else(too_long),
            ),
            _ => return Ok(None),
        };
        Ok(Some(kernel.key("interval").call(vec![expr])))
    }
}

fn calendar_sum(sign: i32) -> Kernel {
    binary::<IntervalMonthDayNanoType, IntervalMonthDayNanoType, IntervalMonthDayNanoType>(
        "add_intervals",
        DataType::Interval(IntervalUnit::MonthDayNano),
        move |a, b| add_calendars(a, b, sign).map(Some).ok_or_else(too_long),
    )
}

fn add_calendars(a: IntervalMonthDayNano, b: IntervalMonthDayNano, sign: i32) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        a.months.checked_add(b.months.checked_mul(sign)?)?,
        a.days.checked_add(b.days.checked_mul(sign)?)?,
        a.nanoseconds.checked_add(b.nanoseconds.checked_mul(i64::from(sign))?)?,
    ))
}

fn date_by_months(sign: i64) -> Kernel {
    binary::<Date32Type, IntervalYearMonthType, Date32Type>("date_add_months", DataType::Date32, move |days, months| {
        to_date(add_months(i64::from(days), sign * i64::from(months))).map(Some)
    })
    .key(sign)
}

fn date_by_days(sign: i64) -> Kernel {
    binary::<Date32Type, DurationMicrosecondType, Date32Type>("date_add_days", DataType::Date32, move |days, micros| {
        to_date(i64::from(days) + sign * (micros / MICROS_PER_DAY)).map(Some)
    })
    .key(sign)
}

fn date_by_calendar(sign: i64, ansi: bool) -> Kernel {
    binary::<Date32Type, IntervalMonthDayNanoType, Date32Type>(
        "date_add_interval",
        DataType::Date32,
        move |days, by| {
            if ansi && by.nanoseconds != 0 {
                let message = "cannot add hours, minutes or seconds to a date";
                return Err(Error::data("INVALID_INTERVAL_WITH_MICROSECONDS_ADDITION", message)
                    .hint("Cast the date to a timestamp first."));
            }
            let moved = add_months(i64::from(days), sign * i64::from(by.months)) + sign * i64::from(by.days);
            to_date(moved + sign * (by.nanoseconds / 1_000 / MICROS_PER_DAY)).map(Some)
        },
    )
    .key(format!("{sign},{ansi}"))
}

/// Name of the kernel that moves timestamps.
const MOVE_TIMESTAMP: &str = "timestamp_add_interval";

/// The parts of a timestamp moved by an interval: the timestamp, the interval, and true if it becomes later.
pub fn as_moved(expr: &Expr) -> Option<(&Expr, &Expr, bool)> {
    let (kernel, args) = Kernel::of(expr).filter(|(kernel, _)| kernel.function_name() == MOVE_TIMESTAMP)?;
    let [time, interval] = args else { return None };
    Some((time, interval, !kernel.parameters().starts_with('-')))
}

/// A timestamp moved by an interval that `parts` takes apart into months, days and microseconds.
fn mover<T: ArrowPrimitiveType>(
    result: DataType,
    zone: Zone,
    sign: i64,
    parts: fn(T::Native) -> (i64, i64, i64),
) -> Kernel {
    binary::<Micros, T, Micros>(MOVE_TIMESTAMP, result, move |start, interval| {
        let (months, days, micros) = parts(interval);
        let moved = later(start, sign * months, sign * days, sign * micros, &zone);
        moved.map(Some).ok_or_else(|| overflow("a timestamp"))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Times,
    By,
}

impl Scale {
    /// By the number `number / 10^scale`, rounding halves away from zero.
    fn exact(self, length: i128, number: i128, scale: i8) -> Result<Option<i128>> {
        let unit = 10i128.pow(u32::from(scale.unsigned_abs()).min(38));
        let (dividend, divisor) = match self {
            Scale::Times => (length.checked_mul(number), unit),
            Scale::By if number == 0 => return Err(divided_by_zero()),
            Scale::By => (length.checked_mul(unit), number),
        };
        dividend.map(|dividend| Some(rounded(dividend, divisor))).ok_or_else(too_long)
    }

    /// Months and days are cut to whole ones, what is left of a day goes to the shorter units.
    fn calendar(self, interval: IntervalMonthDayNano, number: f64) -> Result<IntervalMonthDayNano> {
        if self == Scale::By && number == 0.0 {
            return Err(divided_by_zero());
        }
        let scaled = |length: f64| if self == Scale::Times { length * number } else { length / number };
        let (months, days) = (scaled(f64::from(interval.months)), scaled(f64::from(interval.days)));
        let micros = scaled((interval.nanoseconds / 1_000) as f64) + MICROS_PER_DAY as f64 * (days - days.trunc());
        let too_large = || Error::data("ARITHMETIC_OVERFLOW", "the interval is too long");
        let whole = |length: f64| i32_of(length).ok_or_else(too_large);
        let nanos = ((micros + 0.5).floor() as i64).checked_mul(1_000).ok_or_else(too_large)?;
        Ok(IntervalMonthDayNano::new(whole(months)?, whole(days)?, nanos))
    }

    fn real(self, length: i128, number: f64) -> Result<Option<i128>> {
        let scaled = match self {
            Scale::Times => length as f64 * number,
            Scale::By if number == 0.0 => return Err(divided_by_zero()),
            Scale::By => length as f64 / number,
        };
        if scaled.is_finite() { Ok(Some(scaled.round() as i128)) } else { Err(too_long()) }
    }
}

/// The number without its fraction, if it is an INT.
fn i32_of(number: f64) -> Option<i32> {
    let whole = number.trunc();
    (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&whole).then_some(whole as i32)
}

fn divided_by_zero() -> Error {
    Error::data("INTERVAL_DIVIDED_BY_ZERO", "an interval is divided by zero")
        .hint("Use try_divide to get null instead.")
}

fn rounded(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let up = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    if up && rest != 0 { quotient + dividend.signum() * divisor.signum() } else { quotient }
}

fn scaler<T: ArrowPrimitiveType>(
    result: FieldRef,
    number: &DataType,
    scale: Scale,
    widen: fn(T::Native) -> i128,
    narrow: fn(i128) -> Option<T::Native>,
) -> Kernel {
    let data_type = result.data_type().clone();
    let finish = move |length: Result<Option<i128>>| match length? {
        Some(length) => narrow(length).map(Some).ok_or_else(too_long),
        None => Ok(None),
    };
    let kernel = match number {
        DataType::Int64 => binary::<T, Int64Type, T>("scale_interval", data_type, move |length, number| {
            finish(scale.exact(widen(length), i128::from(number), 0))
        }),
        DataType::Decimal128(_, digits) => {
            let digits = *digits;
            binary::<T, Decimal128Type, T>("scale_interval", data_type, move |length, number| {
                finish(scale.exact(widen(length), number, digits))
            })
        }
        _ => binary::<T, Float64Type, T>("scale_interval", data_type, move |length, number| {
            finish(scale.real(widen(length), number))
        }),
    };
    kernel.key(format!("{scale:?},{number}")).field(result)
}

/// An interval as the number of its microseconds or months, BIGINT.
pub fn count(interval: Expr) -> Expr {
    let kernel = Kernel::arrays("interval_count", DataType::Int64, |args| {
        let array = args.first().ok_or_else(|| Error::internal("the interval is missing"))?;
        if let Some(months) = array.as_primitive_opt::<IntervalYearMonthType>() {
            return Ok(Arc::new(months.unary::<_, Int64Type>(i64::from)) as ArrayRef);
        }
        let micros = array.as_primitive_opt::<DurationMicrosecondType>();
        let micros = micros.ok_or_else(|| Error::internal("an interval is expected"))?;
        Ok(Arc::new(micros.unary::<_, Int64Type>(|micros| micros)) as ArrayRef)
    });
    kernel.call(vec![interval])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!((rounded(5, 2), rounded(-5, 2), rounded(5, -2), rounded(4, 3)), (3, -3, -3, 1));
    }
}
