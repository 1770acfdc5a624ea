//! Dates and timestamps from and to text: `to_date`, `to_timestamp`, `date_format`, `unix_timestamp`, `from_unixtime`.
//!
//! A pattern that is a constant is compiled when the query is bound; others once per run of equal patterns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use datafusion::logical_expr::{Expr, lit};

use super::now::unix_now;
use super::{Micros, collect, constant_text, primitive, session_zone, strings, timestamp, unary};
use crate::functions::arguments::fixed;
use crate::functions::cast::{self, Mode};
use crate::functions::kernel::Kernel;
use crate::functions::{Call, Function, coerce, function};
use crate::types::calendar::MICROS_PER_SECOND;
use crate::types::datetime_pattern::Pattern;
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["to_date"], |call| read(call, "to_date", Target::Date)),
    function(&["try_to_date"], |call| read(call, "try_to_date", Target::Date)),
    function(&["to_timestamp", "to_timestamp_ltz"], |call| read(call, "to_timestamp", Target::Timestamp)),
    function(&["try_to_timestamp"], |call| read(call, "try_to_timestamp", Target::Timestamp)),
    function(&["to_timestamp_ntz"], |call| read(call, "to_timestamp_ntz", Target::Local)),
    function(&["date_format"], date_format),
    function(&["unix_timestamp", "to_unix_timestamp"], unix_timestamp),
    function(&["from_unixtime"], from_unixtime),
];

/// The pattern that stands in when none is given.
const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Date,
    Timestamp,
    Local,
    /// Whole seconds since 1970.
    Seconds,
}

impl Target {
    fn data_type(self) -> DataType {
        match self {
            Target::Date => DataType::Date32,
            Target::Timestamp => types::timestamp(),
            Target::Local => types::timestamp_ntz(),
            Target::Seconds => DataType::Int64,
        }
    }

    fn read(self, pattern: &Pattern, text: &str, zone: &Zone) -> Option<i64> {
        match self {
            Target::Date => pattern.parse_date(text).map(i64::from),
            Target::Timestamp => pattern.parse_timestamp(text, zone),
            Target::Local => pattern.parse_timestamp_ntz(text),
            Target::Seconds => Some(pattern.parse_timestamp(text, zone)? / MICROS_PER_SECOND),
        }
    }

    fn array(self, length: usize, values: impl Iterator<Item = Result<Option<i64>>>) -> Result<ArrayRef> {
        let result = self.data_type();
        match self {
            Target::Date => {
                let days = values.map(|value| Ok(value?.and_then(|days| i32::try_from(days).ok())));
                collect::<Date32Type>(&result, length, days)
            }
            Target::Seconds => collect::<Int64Type>(&result, length, values),
            Target::Timestamp | Target::Local => collect::<Micros>(&result, length, values),
        }
    }
}

/// The patterns of a call: one constant, or one per row.
struct Patterns {
    constant: Option<Pattern>,
    reading: bool,
}

impl Patterns {
    fn of(expr: &Expr, reading: bool) -> Result<Patterns> {
        let compile = |text| if reading { Pattern::for_reading(text) } else { Pattern::parse(text) };
        let constant = constant_text(expr).flatten().map(compile).transpose()?;
        Ok(Patterns { constant, reading })
    }

    /// Runs `each` for every row that has a value and a pattern.
    fn for_rows(&self, texts: &StringArray, mut each: impl FnMut(usize, Option<&Pattern>) -> Result<()>) -> Result<()> {
        let mut last: Option<Pattern> = None;
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text else {
                each(row, None)?;
                continue;
            };
            if let Some(pattern) = &self.constant {
                each(row, Some(pattern))?;
                continue;
            }
            if last.as_ref().is_none_or(|pattern| pattern.text() != text) {
                last = Some(if self.reading { Pattern::for_reading(text)? } else { Pattern::parse(text)? });
            }
            each(row, last.as_ref())?;
        }
        Ok(())
    }
}

fn read(mut call: Call<'_>, name: &'static str, target: Target) -> Result<Expr> {
    let lenient = name.starts_with("try_");
    let mut args = call.values(1..=2)?;
    let pattern = if args.len() == 2 { args.pop() } else { None };
    let [source] = fixed(args)?;
    let mode = if lenient { Mode::Try } else { Mode::of(call.conf) };
    let source = readable(&call, source, target)?;
    let pattern = pattern.map(|pattern| call.implicit(pattern, &DataType::Utf8)).transpose()?;
    let is_text = matches!(call.type_of(&source)?, DataType::Utf8 | DataType::Null);
    match pattern {
        Some(pattern) if is_text => read_by_pattern(&call, name, target, source, pattern, lenient),
        _ => cast::cast(source, &target.data_type(), mode, call.schema, call.conf),
    }
}

/// Times stay, and numbers where a TIMESTAMP is asked for; the rest is read as text.
fn readable(call: &Call<'_>, source: Expr, target: Target) -> Result<Expr> {
    match call.type_of(&source)? {
        DataType::Date32 | DataType::Timestamp(..) | DataType::Null => Ok(source),
        number if target == Target::Timestamp && coerce::is_numeric(&number) => Ok(source),
        _ => call.implicit(source, &DataType::Utf8),
    }
}

fn read_by_pattern(
    call: &Call<'_>,
    name: &'static str,
    target: Target,
    source: Expr,
    pattern: Expr,
    lenient: bool,
) -> Result<Expr> {
    let source = call.implicit(source, &DataType::Utf8)?;
    let pattern = call.implicit(pattern, &DataType::Utf8)?;
    let (patterns, zone) = (Patterns::of(&pattern, true)?, session_zone(call.conf)?);
    let strict = call.conf.ansi() && !lenient;
    let key = format!("{target:?},{strict},{}", zone.name());
    let kernel = Kernel::arrays(name, target.data_type(), move |args| {
        let texts = strings(args, 0)?;
        let mut values = Vec::with_capacity(texts.len());
        patterns.for_rows(strings(args, 1)?, |row, pattern| {
            let text = (!texts.is_null(row)).then(|| texts.value(row));
            values.push(match text.zip(pattern) {
                Some((text, pattern)) => read_one(target, pattern, text, &zone, strict)?,
                None => None,
            });
            Ok(())
        })?;
        target.array(texts.len(), values.into_iter().map(Ok))
    });
    Ok(kernel.key(key).fallible().call(vec![source, pattern]))
}

fn read_one(target: Target, pattern: &Pattern, text: &str, zone: &Zone, strict: bool) -> Result<Option<i64>> {
    match target.read(pattern, text, zone) {
        None if strict => {
            let message = format!("the text '{text}' cannot be parsed with the pattern '{}'", pattern.text());
            Err(Error::data("CANNOT_PARSE_TIMESTAMP", message)
                .hint("Use the function's try_ variant to get null instead."))
        }
        value => Ok(value),
    }
}

fn date_format(mut call: Call<'_>) -> Result<Expr> {
    let [source, pattern] = fixed(call.values(2..=2)?)?;
    let (source, zone) = timestamp(&call, source)?;
    let pattern = call.implicit(pattern, &DataType::Utf8)?;
    print(source, pattern, zone, "date_format")
}

fn from_unixtime(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(1..=2)?;
    args.resize(2, lit(DEFAULT_PATTERN));
    let [seconds, pattern] = fixed(args)?;
    let seconds = call.implicit(seconds, &DataType::Int64)?;
    let pattern = call.implicit(pattern, &DataType::Utf8)?;
    let instants = unary::<Int64Type, Micros>("timestamp_seconds", types::timestamp(), |seconds| {
        Ok(Some(seconds.wrapping_mul(MICROS_PER_SECOND)))
    });
    print(instants.call(vec![seconds]), pattern, session_zone(call.conf)?, "from_unixtime")
}

/// Prints timestamps by patterns.
fn print(source: Expr, pattern: Expr, zone: Zone, name: &'static str) -> Result<Expr> {
    let patterns = Patterns::of(&pattern, false)?;
    let key = zone.name().to_owned();
    let kernel = Kernel::arrays(name, DataType::Utf8, move |args| {
        let instants = primitive::<Micros>(args, 0)?;
        let mut out = StringBuilder::with_capacity(instants.len(), instants.len() * 20);
        let mut text = String::new();
        patterns.for_rows(strings(args, 1)?, |row, pattern| {
            match pattern.filter(|_| !instants.is_null(row)) {
                Some(pattern) => {
                    text.clear();
                    pattern.write_timestamp(instants.value(row), &zone, &mut text);
                    out.append_value(&text);
                }
                None => out.append_null(),
            }
            Ok(())
        })?;
        Ok(Arc::new(out.finish()))
    });
    Ok(kernel.key(key).fallible().call(vec![source, pattern]))
}

fn unix_timestamp(mut call: Call<'_>) -> Result<Expr> {
    let least = usize::from(call.name.eq_ignore_ascii_case("to_unix_timestamp"));
    let mut args = call.values(least..=2)?;
    if args.is_empty() {
        return Ok(unix_now());
    }
    args.resize(2, lit(DEFAULT_PATTERN));
    let [source, pattern] = fixed(args)?;
    match call.type_of(&source)? {
        DataType::Utf8 | DataType::Null => {
            read_by_pattern(&call, "to_unix_timestamp", Target::Seconds, source, pattern, false)
        }
        DataType::Date32 | DataType::Timestamp(..) => seconds_of(&call, source),
        from => {
            Err(coerce::unexpected(&source, &from, "(\"STRING\" or \"DATE\" or \"TIMESTAMP\" or \"TIMESTAMP_NTZ\")"))
        }
    }
}

fn seconds_of(call: &Call<'_>, source: Expr) -> Result<Expr> {
    let source = match call.type_of(&source)? {
        DataType::Date32 => call.implicit(source, &types::timestamp())?,
        _ => source,
    };
    let kernel = unary::<Micros, Int64Type>("to_unix_timestamp", DataType::Int64, |micros| {
        // Towards zero, unlike unix_seconds.
        Ok(Some(micros / MICROS_PER_SECOND))
    });
    Ok(kernel.call(vec![source]))
}
