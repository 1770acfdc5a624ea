//! Time windows as marker functions: `window(t, '10 minutes', '5 minutes')`, `session_window(t, gap)`, `window_time(w)`.
//!
//! In comes a call, out goes an expression of type `STRUCT<start, end>` that cannot be evaluated; whoever plans a query
//! lifts it into a plan node with [`as_window`]. `window_time` is an ordinary function: the end, less a microsecond.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::cast::{self, Mode};
use super::coerce::{is_datetime, is_string, unexpected};
use super::kernel::{Arguments, Kernel};
use super::numbers::each;
use super::{Call, Context, Function, access, function};
use crate::sql::interval::parse_interval;
use crate::sql::literal;
use crate::{Error, Result, types};

/// Name of the marker of time windows.
pub const WINDOW: &str = "window";
/// Name of the marker of session windows.
pub const SESSION_WINDOW: &str = "session_window";

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[
    function(&[WINDOW], window),
    function(&[SESSION_WINDOW], session_window),
    function(&["window_time"], window_time),
];

/// What a window's marker stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Window {
    /// Windows of fixed length.
    Time {
        /// The time: TIMESTAMP or TIMESTAMP_NTZ.
        time: Expr,
        /// Length in microseconds, more than 0.
        length: i64,
        /// Distance of the starts in microseconds, more than 0 and at most `length`.
        slide: i64,
        /// Offset of the starts in microseconds, its absolute value less than `slide`.
        start: i64,
    },
    /// Windows that last until nothing comes for `gap`.
    Session {
        /// The time.
        time: Expr,
        /// The gap, a day-time or calendar interval; it may differ from row to row.
        gap: Expr,
    },
}

/// What a window's marker stands for; none for other expressions. An alias is looked through.
pub fn as_window(expr: &Expr) -> Option<Window> {
    let expr = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        expr => expr,
    };
    let (kernel, args) = Kernel::of(expr)?;
    match (kernel.function_name(), args) {
        (WINDOW, [time, length, slide, start]) => {
            let (length, slide, start) = (micros_of(length)?, micros_of(slide)?, micros_of(start)?);
            Some(Window::Time { time: time.clone(), length, slide, start })
        }
        (SESSION_WINDOW, [time, gap]) => Some(Window::Session { time: time.clone(), gap: gap.clone() }),
        _ => None,
    }
}

fn micros_of(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(micros), _) => *micros,
        _ => None,
    }
}

/// STRUCT<start, end> of a time type.
fn window_type(time: &DataType) -> DataType {
    types::structure([("start", time.clone()), ("end", time.clone())])
}

fn marker(name: &'static str, time: &DataType, args: Vec<Expr>) -> Expr {
    let run = move |_: &Arguments, _| {
        Err(Error::unsupported(format!("'{name}' can only stand in a SELECT list or among grouping keys")))
    };
    Kernel::columns(name, window_type(time), run).fallible().call(args)
}

/// The time of a window: a TIMESTAMP, something that passes for one, or the window of an earlier one.
fn time_of(value: Expr, context: Context<'_>) -> Result<(Expr, DataType)> {
    match context.type_of(&value)? {
        DataType::Struct(fields) if fields.len() == 2 && fields[0].name() == "start" && fields[1].name() == "end" => {
            let time = window_end(value, context)?;
            let data_type = context.type_of(&time)?;
            Ok((time, data_type))
        }
        data_type @ DataType::Timestamp(..) => Ok((value, data_type)),
        data_type if is_datetime(&data_type) || is_string(&data_type) || data_type == DataType::Null => {
            Ok((context.implicit(value, &types::timestamp())?, types::timestamp()))
        }
        other => Err(unexpected(&value, &other, "(\"TIMESTAMP\" or \"TIMESTAMP_NTZ\" or a window)")),
    }
}

fn window(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(2..=4)?.into_iter();
    let missing = || Error::internal("the number of arguments was checked");
    let value = args.next().ok_or_else(missing)?;
    let length = duration(&args.next().ok_or_else(missing)?)?;
    let slide = args.next().map_or(Ok(length), |slide| duration(&slide))?;
    let start = args.next().map_or(Ok(0), |start| duration(&start))?;
    let (time, data_type) = time_of(value, call.context())?;
    check(length, slide, start)?;
    let micros = [length, slide, start].map(|micros| literal::constant(ScalarValue::Int64(Some(micros))));
    Ok(marker(WINDOW, &data_type, std::iter::once(time).chain(micros).collect()))
}

/// A constant length of time in microseconds.
fn duration(expr: &Expr) -> Result<i64> {
    let exact = match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => parse_interval(text)?.exact_micros(),
        Expr::Literal(ScalarValue::DurationMicrosecond(micros), _) => *micros,
        _ => {
            return Err(Error::query(
                "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
                "the lengths of a window must be constants, as in '10 minutes'",
            ));
        }
    };
    exact.ok_or_else(|| {
        Error::invalid("intervals greater than a month are not supported in windows")
            .hint("Use days or hours instead of months.")
    })
}

fn check(length: i64, slide: i64, start: i64) -> Result<()> {
    let positive = |name: &str, value: i64| match value {
        1.. => Ok(()),
        _ => Err(Error::query(
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
            format!("the `{name}` must be positive but is {value} microseconds"),
        )),
    };
    positive("window_duration", length)?;
    positive("slide_duration", slide)?;
    let limit = |what: &str| Error::query("DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION", what.to_owned());
    if slide > length {
        return Err(limit("the `slide_duration` must be at most the `window_duration`"));
    }
    if start.unsigned_abs() >= slide.unsigned_abs() {
        return Err(limit("the absolute value of `start_time` must be less than the `slide_duration`"));
    }
    Ok(())
}

fn session_window(mut call: Call<'_>) -> Result<Expr> {
    let [value, gap] = call.exactly()?;
    let (time, data_type) = time_of(value, call.context())?;
    let gap = match &gap {
        Expr::Literal(ScalarValue::Utf8(Some(_)), _) => {
            literal::constant(ScalarValue::DurationMicrosecond(Some(duration(&gap)?)))
        }
        _ => match call.type_of(&gap)? {
            DataType::Duration(_) | DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth) => {
                let message = "the gap of a session window must be a text or a calendar interval";
                return Err(Error::query("_LEGACY_ERROR_TEMP_1040", message).hint("Write it as '5 minutes'."));
            }
            DataType::Interval(_) => gap,
            from => {
                let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
                match is_string(&from) {
                    true => cast::cast(gap, &interval, Mode::of(call.conf), call.schema, call.conf)?,
                    false => call.implicit(gap, &interval)?,
                }
            }
        },
    };
    Ok(marker(SESSION_WINDOW, &data_type, vec![time, gap]))
}

fn window_time(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    match call.type_of(&value)? {
        DataType::Struct(_) => window_end(value, call.context()),
        other => Err(unexpected(&value, &other, "\"STRUCT<start, end>\"")),
    }
}

/// Name of the function that gives the last microsecond of a window.
pub const WINDOW_TIME: &str = "window_time";

/// The last microsecond of a window.
fn window_end(window: Expr, context: Context<'_>) -> Result<Expr> {
    let end = access::field(window, "end", context)?;
    let data_type = context.type_of(&end)?;
    let result = data_type.clone();
    let run = move |args: &[ArrayRef]| {
        let before = each::<TimestampMicrosecondType, TimestampMicrosecondType>(
            args[0].as_primitive::<TimestampMicrosecondType>(),
            |end| Ok(end.checked_sub(1)),
        )?;
        Ok(Arc::new(before.with_data_type(data_type.clone())) as ArrayRef)
    };
    Ok(Kernel::arrays(WINDOW_TIME, result, run).call(vec![end]))
}
