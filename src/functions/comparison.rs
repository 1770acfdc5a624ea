//! Comparisons: `= <=> < <= > >=`, IN, LIKE, ILIKE, RLIKE.
//!
//! In come bound operands of any types, out goes a BOOLEAN over operands of one type. Where Arrow's kernels agree with
//! Spark, it is DataFusion's own expression; for floating-point numbers (0.0 equals -0.0, NaN equals itself and is the
//! largest) it is ours.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Fields, Float32Type, Float64Type, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::coerce::{self, type_name};
use super::kernel::{Kernel, downcast};
use super::{Call, Context, Function, function};
use crate::sql::literal;
use crate::{Error, Result};

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[function(&["equal_null"], equal_null)];

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<=>`: null equals null, and the result is never null.
    NullSafeEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NullSafeEqual => "<=>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    fn is_equality(self) -> bool {
        matches!(self, Comparison::Equal | Comparison::NullSafeEqual)
    }

    fn operator(self) -> Operator {
        match self {
            Comparison::Equal => Operator::Eq,
            Comparison::NullSafeEqual => Operator::IsNotDistinctFrom,
            Comparison::Less => Operator::Lt,
            Comparison::LessOrEqual => Operator::LtEq,
            Comparison::Greater => Operator::Gt,
            Comparison::GreaterOrEqual => Operator::GtEq,
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal | Comparison::NullSafeEqual => ordering == Ordering::Equal,
            Comparison::Less => ordering == Ordering::Less,
            Comparison::LessOrEqual => ordering != Ordering::Greater,
            Comparison::Greater => ordering == Ordering::Greater,
            Comparison::GreaterOrEqual => ordering != Ordering::Less,
        }
    }
}

fn equal_null(mut call: Call<'_>) -> Result<Expr> {
    let [left, right] = call.exactly()?;
    compare(Comparison::NullSafeEqual, left, right, call.context())
}

/// Compares two values after bringing them to one type.
///
/// # Errors
/// `DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES` if there is none, `DATATYPE_MISMATCH.INVALID_ORDERING_TYPE` for maps.
pub fn compare(comparison: Comparison, left: Expr, right: Expr, context: Context<'_>) -> Result<Expr> {
    let (left, right) = if comparison.is_equality() { as_numbers(left, right, context)? } else { (left, right) };
    let (left_type, right_type) = (context.type_of(&left)?, context.type_of(&right)?);
    let common = comparable(&left_type, &right_type, context.conf.ansi()).ok_or_else(|| {
        Error::query(
            "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
            format!(
                "the left and right operands of '{}' have incompatible types ({} and {})",
                comparison.symbol(),
                type_name(&left_type),
                type_name(&right_type)
            ),
        )
    })?;
    check_ordered(comparison.symbol(), &common)?;
    of_one_type(comparison, context.cast(left, &common)?, context.cast(right, &common)?, &common)
}

/// Without ANSI a boolean equals a number as 1 or 0 does.
fn as_numbers(left: Expr, right: Expr, context: Context<'_>) -> Result<(Expr, Expr)> {
    let (left_type, right_type) = (context.type_of(&left)?, context.type_of(&right)?);
    Ok(match (&left_type, &right_type) {
        _ if context.conf.ansi() => (left, right),
        (DataType::Boolean, number) if coerce::is_numeric(number) => (context.cast(left, number)?, right),
        (number, DataType::Boolean) if coerce::is_numeric(number) => (left, context.cast(right, number)?),
        _ => (left, right),
    })
}

/// Calendar intervals: a month is no number of days.
const CALENDAR: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Values of this type have an order.
///
/// # Errors
/// `DATATYPE_MISMATCH.INVALID_ORDERING_TYPE` for maps, calendar intervals and variants, also inside of other values.
pub fn check_ordered(what: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::List(item) => check_ordered(what, item.data_type()),
        other if matches!(other, DataType::Map(..)) || *other == CALENDAR || crate::types::is_variant(other) => {
            let message = format!("'{what}' does not support ordering on type {}", type_name(other));
            Err(Error::query("DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", message))
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_ordered(what, field.data_type())),
        _ => Ok(()),
    }
}

/// The type in which two values are compared.
fn comparable(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    if let (DataType::Struct(a), DataType::Struct(b), false) = (left, right, left == right) {
        return comparable_structs(a, b, ansi);
    }
    if matches!((left, right), (DataType::List(_), DataType::List(_)) | (DataType::Map(..), DataType::Map(..))) {
        return coerce::exact_common(left, right).or_else(|| coerce::wider_without_strings(left, right, ansi));
    }
    if ansi || left == right {
        return coerce::wider(left, right, ansi);
    }
    let other = match (coerce::is_string(left), coerce::is_string(right)) {
        (true, false) => right,
        (false, true) => left,
        _ => return coerce::wider(left, right, ansi),
    };
    match other {
        DataType::Decimal128(..) => Some(DataType::Float64),
        other if coerce::is_numeric(other) || coerce::is_datetime(other) || *other == DataType::Boolean => {
            Some(other.clone())
        }
        other => coerce::wider(&DataType::Utf8, other, ansi).or(Some(other.clone())),
    }
}

/// Structs are compared field by field: fields of one type whatever they are called, else those of one name.
fn comparable_structs(left: &Fields, right: &Fields, ansi: bool) -> Option<DataType> {
    let of_one_type = left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.data_type() == b.data_type());
    if !of_one_type && !coerce::same_names(left, right) {
        return None;
    }
    let fields = left.iter().zip(right).map(|(a, b)| {
        let common = comparable(a.data_type(), b.data_type(), ansi)?;
        Some(a.as_ref().clone().with_data_type(common).with_nullable(true))
    });
    Some(DataType::Struct(fields.collect::<Option<Vec<_>>>()?.into()))
}

fn of_one_type(comparison: Comparison, left: Expr, right: Expr, common: &DataType) -> Result<Expr> {
    match common {
        DataType::Null if comparison == Comparison::NullSafeEqual => {
            Ok(literal::constant(ScalarValue::Boolean(Some(true))))
        }
        DataType::Null => Ok(literal::constant(ScalarValue::Boolean(None))),
        DataType::Float32 if needs_care(&left, &right) => Ok(floats::<Float32Type>(comparison, left, right)),
        DataType::Float64 if needs_care(&left, &right) => Ok(floats::<Float64Type>(comparison, left, right)),
        _ => Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), comparison.operator(), Box::new(right)))),
    }
}

/// False if one side is a constant other than zero: then Arrow's total order gives Spark's answer.
fn needs_care(left: &Expr, right: &Expr) -> bool {
    let is_plain = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value != 0.0 && !value.is_nan(),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => *value != 0.0 && !value.is_nan(),
        _ => false,
    };
    !is_plain(left) && !is_plain(right)
}

fn floats<T: ArrowPrimitiveType>(comparison: Comparison, left: Expr, right: Expr) -> Expr
where
    T::Native: PartialOrd,
{
    let run = move |args: &[ArrayRef]| compare_floats::<T>(comparison, &args[0], &args[1]);
    Kernel::arrays(FLOATS, DataType::Boolean, run).key(comparison.symbol()).call(vec![left, right])
}

/// Name of the kernel that compares floating-point numbers; its parameter is the operator.
const FLOATS: &str = "compare_floats";

/// The operands of an order of floating-point numbers ([`needs_care`]).
pub fn as_comparison(expr: &Expr) -> Option<(&Expr, Operator, &Expr)> {
    let (kernel, args) = Kernel::of(expr).filter(|(kernel, _)| kernel.function_name() == FLOATS)?;
    let [left, right] = args else { return None };
    let all = [Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];
    let found = all.into_iter().find(|comparison| comparison.symbol() == kernel.parameters())?;
    Some((left, found.operator(), right))
}

fn compare_floats<T: ArrowPrimitiveType>(comparison: Comparison, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef>
where
    T::Native: PartialOrd,
{
    let (left, right) = (downcast::<PrimitiveArray<T>>(left)?, downcast::<PrimitiveArray<T>>(right)?);
    let null_safe = comparison == Comparison::NullSafeEqual;
    let pairs = left.iter().zip(right.iter());
    let result: BooleanArray = pairs
        .map(|pair| match pair {
            (Some(a), Some(b)) => Some(comparison.holds(float_order(a, b))),
            (a, b) => null_safe.then_some(a.is_none() && b.is_none()),
        })
        .collect();
    Ok(Arc::new(result))
}

/// Spark's order of floating-point numbers: NaN is the largest and equals itself, the zeros are equal.
pub fn float_order<T: PartialOrd>(left: T, right: T) -> Ordering {
    // Only NaN does not compare with itself.
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    left.partial_cmp(&right).unwrap_or_else(|| is_nan(&left).cmp(&is_nan(&right)))
}

/// `value IS TRUE` or `value IS FALSE`: never null.
///
/// # Errors
/// As [`compare`].
pub fn is_boolean(value: Expr, wanted: bool, context: Context<'_>) -> Result<Expr> {
    compare(Comparison::NullSafeEqual, value, literal::constant(ScalarValue::Boolean(Some(wanted))), context)
}

/// `value IN (list)`.
///
/// # Errors
/// `DATATYPE_MISMATCH.DATA_DIFF_TYPES`.
pub fn in_list(value: Expr, list: Vec<Expr>, context: Context<'_>) -> Result<Expr> {
    let mut all = vec![value];
    all.extend(list);
    let (mut all, common) = context.to_common(all)?;
    if common == DataType::Null {
        return Ok(literal::constant(ScalarValue::Boolean(None)));
    }
    check_ordered("IN", &common)?;
    let list = all.split_off(1);
    let value = all.pop().ok_or_else(|| Error::internal("IN has a value"))?;
    Ok(Expr::InList(InList::new(Box::new(value), list, false)))
}

/// A kind of pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// `LIKE`
    Like,
    /// `ILIKE`: whatever the case.
    ILike,
    /// `RLIKE`: a regular expression that is found somewhere.
    RLike,
}

/// `value LIKE pattern [ESCAPE escape]`, `value RLIKE pattern`.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`, `INVALID_ESC`.
pub fn matches(kind: Pattern, value: Expr, pattern: Expr, escape: Option<&str>, context: Context<'_>) -> Result<Expr> {
    if kind == Pattern::RLike
        && let Some(function) = super::lookup("rlike")
    {
        let args = [value, pattern].map(super::Arg::Value).into();
        return (function.bind)(Call { name: "rlike", args, schema: context.schema, conf: context.conf });
    }
    let value = context.implicit(value, &DataType::Utf8)?;
    let pattern = context.implicit(pattern, &DataType::Utf8)?;
    if kind == Pattern::RLike {
        return Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(value), Operator::RegexMatch, Box::new(pattern))));
    }
    let name = if kind == Pattern::ILike { "ilike" } else { "like" };
    let pattern = match pattern {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => constant_pattern(&text, escape.unwrap_or("\\"))?,
        pattern => {
            let function = super::lookup(name).ok_or_else(|| Error::internal("LIKE is a function"))?;
            let args = [value, pattern, literal::string(escape.unwrap_or("\\"))].map(super::Arg::Value).into();
            return (function.bind)(Call { name, args, schema: context.schema, conf: context.conf });
        }
    };
    Ok(Expr::Like(Like::new(false, Box::new(value), Box::new(pattern), None, kind == Pattern::ILike)))
}

/// A constant pattern, checked, with the backslash as its escape character.
fn constant_pattern(text: &str, escape: &str) -> Result<Expr> {
    super::like::Pattern::new(text, escape, false)?;
    match escape.chars().next() {
        Some(escape) if escape != '\\' => Ok(literal::string(with_backslash(text, escape))),
        _ => Ok(literal::string(text)),
    }
}

fn with_backslash(pattern: &str, escape: char) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c == escape => {
                out.push('\\');
                out.extend(rest.next());
            }
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out
}
