//! Spark's CAST, for every pair of types: which casts exist, and the kernels that run them.
//!
//! In comes a bound expression and a target type; out goes an expression of exactly that type, unchanged if it had it
//! already. Three modes: ANSI raises an error for a value that does not fit, legacy gives null or wraps around, `TRY_CAST`
//! gives null. Text is read (`parse`) and printed (`show`) by Spark's rules in the session's time zone.

pub mod decimal;
mod functions;
pub mod interval;
mod nested;
mod number;
mod parse;
mod rules;
pub mod show;
mod time;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;

use super::coerce::{is_ansi_interval, is_decimal, is_integral, is_numeric, is_string, type_name};
use super::datetime::now::named_time;
use super::interval as arithmetic;
use super::kernel::{self, Kernel};
use super::single::Single;
use crate::conf::Conf;
use crate::types::is_variant;
use crate::types::zone::Zone;
use crate::variant::{Target, Variants, extract, from_array};
use crate::{Error, Result};

pub use functions::FUNCTIONS;

/// What happens to a value that does not fit the target type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The query fails.
    Ansi,
    /// The result is null, or the number wraps around.
    Legacy,
    /// The result is null.
    Try,
}

impl Mode {
    /// The mode of `CAST` under these settings.
    pub fn of(conf: &Conf) -> Self {
        if conf.ansi() { Mode::Ansi } else { Mode::Legacy }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// `expr` cast to `to`; `expr` itself if it is of that type already.
///
/// # Errors
/// `DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION` (or its siblings with a suggestion) if there is no such cast.
pub fn cast(expr: Expr, to: &DataType, mode: Mode, schema: &DFSchema, conf: &Conf) -> Result<Expr> {
    let from = kernel::type_of(&expr, schema)?;
    if from == *to {
        return Ok(expr);
    }
    rules::check(&from, to, mode)?;
    if let Expr::Literal(ScalarValue::Null, _) = expr {
        return Ok(Expr::Literal(ScalarValue::try_from(to)?, None));
    }
    if let (DataType::Utf8, Some(fields)) = (to, arithmetic::written_fields(&expr, schema)?) {
        return Ok(arithmetic::to_text(expr, fields));
    }
    if is_ansi_interval(&from) && is_numeric(to) {
        return interval::to_number(expr, to, mode, schema);
    }
    if let Some(value) = special(&expr, to, conf)? {
        return Ok(value);
    }
    let caster = Caster { mode, zone: Zone::parse(conf.time_zone())? };
    let key = format!("{mode} {} {}", caster.zone.name(), crate::types::simple_name(to));
    let convert = caster.converter(&from, to)?;
    let kernel =
        Kernel::arrays(CAST, to.clone(), move |args| convert(&args[0])).key(key).with_single(caster.single(&from, to));
    Ok(kernel.fallible_if(mode == Mode::Ansi && rules::may_fail(&from, to)).call(vec![expr]))
}

/// A constant text that names a time, cast to a type of times; none for anything else.
fn special(expr: &Expr, to: &DataType, conf: &Conf) -> Result<Option<Expr>> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => named_time(text, to, conf),
        _ => Ok(None),
    }
}

/// Name of the kernel that casts.
const CAST: &str = "cast";

/// What is cast, if an expression is a cast to a number.
pub fn as_numeric_cast(expr: &Expr) -> Option<&Expr> {
    let (_, args) =
        Kernel::of(expr).filter(|(kernel, _)| kernel.function_name() == CAST && is_numeric(kernel.result_type()))?;
    args.first()
}

/// Casts an array, for readers and writers of data.
///
/// # Errors
/// As [`cast`], and those of the values under ANSI.
pub fn cast_array(array: &ArrayRef, to: &DataType, mode: Mode, zone: &Zone) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    rules::check(array.data_type(), to, mode)?;
    Caster { mode, zone: zone.clone() }.converter(array.data_type(), to)?(array)
}

/// Casts arrays of one type to another.
pub(crate) type Convert = Arc<dyn Fn(&ArrayRef) -> Result<ArrayRef> + Send + Sync>;

/// What a cast depends on besides its types.
#[derive(Debug, Clone)]
struct Caster {
    mode: Mode,
    zone: Zone,
}

impl Caster {
    /// The function that casts arrays of type `from` to `to`.
    fn converter(&self, from: &DataType, to: &DataType) -> Result<Convert> {
        let target = to.clone();
        let caster = self.clone();
        if from == to {
            return Ok(Arc::new(|array| Ok(Arc::clone(array))));
        }
        Ok(match (from, to) {
            (DataType::Null, _) => Arc::new(move |array| Ok(new_null_array(&target, array.len()))),
            (from, _) if is_variant(from) => self.variants(to),
            (_, to) if is_variant(to) => Arc::new(from_array),
            (DataType::Decimal128(..), DataType::Utf8) if self.mode == Mode::Legacy => Arc::new(show::java_decimals),
            (_, DataType::Utf8) => show::converter(&self.zone),
            (DataType::List(_) | DataType::Map(..) | DataType::Struct(_), _) => {
                return nested::converter(self, from, to);
            }
            (from, _) if is_string(from) => Arc::new(move |array| parse::texts(array, &target, &caster)),
            (from, to) if is_numeric_like(from) && is_numeric_like(to) => {
                Arc::new(move |array| number::numbers(array, &target, caster.mode))
            }
            _ => Arc::new(move |array| time::times(array, &target, &caster)),
        })
    }
}

impl Caster {
    /// How a single value is cast.
    fn single(&self, from: &DataType, to: &DataType) -> Option<Arc<Single>> {
        match from {
            from if is_string(from) => parse::single(to, self),
            from if is_integral(from) => number::single(to),
            _ => None,
        }
    }

    /// The function that looks for values of type `to` in VARIANT.
    fn variants(&self, to: &DataType) -> Convert {
        let null_if_bad = self.mode == Mode::Try;
        let target = Target { data_type: to.clone(), null_if_bad, zone: self.zone.clone() };
        Arc::new(move |array| extract(&Variants::of(array)?.iter().collect::<Vec<_>>(), &target))
    }
}

fn is_numeric_like(data_type: &DataType) -> bool {
    is_numeric(data_type) || *data_type == DataType::Boolean
}

/// `CAST_INVALID_INPUT`: a value, such as a text, is none of the target type.
fn invalid_input(text: &str, from: &DataType, to: &DataType) -> Error {
    Error::data(
        "CAST_INVALID_INPUT",
        format!(
            "the value '{text}' of the type {} cannot be cast to {} because it is malformed",
            type_name(from),
            type_name(to)
        ),
    )
    .hint("Correct the value, or use try_cast to get null instead.")
}

/// The error for a number that does not fit.
fn overflow(value: &str, from: &DataType, to: &DataType) -> Error {
    if let DataType::Decimal128(precision, scale) = to {
        return Error::data(
            "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
            format!("the value {value} cannot be represented as decimal({precision},{scale})"),
        )
        .hint("Use a wider type, or set spark.sql.ansi.enabled to false to get null instead.");
    }
    debug_assert!(!is_decimal(to));
    Error::data(
        "CAST_OVERFLOW",
        format!(
            "the value {value} of the type {} cannot be cast to {} due to an overflow",
            type_name(from),
            type_name(to)
        ),
    )
    .hint("Use try_cast to get null instead.")
}
