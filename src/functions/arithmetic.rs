//! Operators on numbers: `+ - * / div %`, bits and shifts, and their `try_` forms.
//!
//! In come bound operands, out goes an expression of Spark's result type over operands of one type. Under ANSI an
//! overflow or a division by zero is an error, otherwise null or a number that wrapped around. Dates, timestamps and
//! intervals go to the function named like the operator, see `datetime`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator as PlanOperator};

use super::cast::{self, Mode};
use super::coerce::{self, is_ansi_interval, is_datetime, is_decimal, is_floating, is_integral, is_numeric, type_name};
use super::comparison::{self, Comparison};
use super::kernel::{Arguments, Kernel};
use super::numbers::{each, zip};
use super::single::{Value, fitting};
use super::{Call, Context, Function, conditional, decimals, function, interval};
use crate::sql::literal;
use crate::{Error, Result};

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[
    function(&["try_add"], |call| two(call, Operator::Add, Mode::Try)),
    function(&["try_subtract"], |call| two(call, Operator::Subtract, Mode::Try)),
    function(&["try_multiply"], |call| two(call, Operator::Multiply, Mode::Try)),
    function(&["try_divide"], |call| two(call, Operator::Divide, Mode::Try)),
    function(&["try_mod"], |call| two(call, Operator::Remainder, Mode::Try)),
    function(&["mod"], |call| of_settings(call, Operator::Remainder)),
    function(&["pmod"], |call| of_settings(call, Operator::PositiveRemainder)),
    function(&["shiftleft"], |call| of_settings(call, Operator::ShiftLeft)),
    function(&["shiftright"], |call| of_settings(call, Operator::ShiftRight)),
    function(&["shiftrightunsigned"], |call| of_settings(call, Operator::ShiftRightUnsigned)),
    function(&["negative"], |mut call| call.exactly().and_then(|[value]| negate(value, call.context()))),
    function(&["positive"], |mut call| call.exactly().and_then(|[value]| positive(value, call.context()))),
    function(&["abs"], |mut call| call.exactly().and_then(|[value]| absolute(value, call.context()))),
];

/// An operator on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `div`
    IntegralDivide,
    /// `%`, with the sign of the dividend.
    Remainder,
    /// `pmod`, never negative for a positive divisor.
    PositiveRemainder,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `>>>`
    ShiftRightUnsigned,
}

impl Operator {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::IntegralDivide => "div",
            Operator::Remainder => "%",
            Operator::PositiveRemainder => "pmod",
            Operator::BitAnd => "&",
            Operator::BitOr => "|",
            Operator::BitXor => "^",
            Operator::ShiftLeft => "<<",
            Operator::ShiftRight => ">>",
            Operator::ShiftRightUnsigned => ">>>",
        }
    }

    fn is_bitwise(self) -> bool {
        matches!(self, Operator::BitAnd | Operator::BitOr | Operator::BitXor)
    }

    /// Whether it is defined on values of this type.
    fn takes(self, data_type: &DataType) -> bool {
        match self {
            operator if operator.is_bitwise() => is_integral(data_type),
            Operator::IntegralDivide => is_integral(data_type) || is_decimal(data_type),
            _ => is_numeric(data_type),
        }
    }

    fn is_shift(self) -> bool {
        matches!(self, Operator::ShiftLeft | Operator::ShiftRight | Operator::ShiftRightUnsigned)
    }
}

fn two(mut call: Call<'_>, operator: Operator, mode: Mode) -> Result<Expr> {
    let [left, right] = call.exactly()?;
    in_mode(operator, left, right, mode, call.context())
}

fn of_settings(call: Call<'_>, operator: Operator) -> Result<Expr> {
    let mode = Mode::of(call.conf);
    two(call, operator, mode)
}

/// `left operator right`.
///
/// # Errors
/// `DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES`, `DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE`; when run under ANSI:
/// `ARITHMETIC_OVERFLOW`, `DIVIDE_BY_ZERO`, `REMAINDER_BY_ZERO`, `NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION`.
pub fn binary(operator: Operator, left: Expr, right: Expr, context: Context<'_>) -> Result<Expr> {
    in_mode(operator, left, right, Mode::of(context.conf), context)
}

fn in_mode(operator: Operator, left: Expr, right: Expr, mode: Mode, context: Context<'_>) -> Result<Expr> {
    let (left_type, right_type) = (context.type_of(&left)?, context.type_of(&right)?);
    if operator.is_shift() {
        return shift(operator, left, right, context);
    }
    if is_temporal(&left_type) || is_temporal(&right_type) {
        return temporal(operator, left, right, mode, context);
    }
    if context.conf.ansi() {
        check_operands(operator, &left_type, &right_type)?;
    }
    let (left, right) = typed_nulls(operator, left, right, context)?;
    let (left, right) = (promote(left, &right_type, mode, context)?, promote(right, &left_type, mode, context)?);
    let wrong = || wrong_types(operator, &left_type, &right_type);
    let (left_type, right_type) = (context.type_of(&left)?, context.type_of(&right)?);
    if is_decimal(&left_type) != is_decimal(&right_type) && !is_floating(&left_type) && !is_floating(&right_type) {
        let (left, right) = (decimals::of_literal(left), decimals::of_literal(right));
        return decimals::binary(operator, left, right, mode, context);
    }
    let common = coerce::wider(&left_type, &right_type, context.conf.ansi()).ok_or_else(wrong)?;
    let common = match common {
        DataType::Null if operator.is_bitwise() => DataType::Int32,
        DataType::Null => DataType::Float64,
        common => common,
    };
    match &common {
        DataType::Decimal128(..) => decimals::binary(operator, left, right, mode, context),
        numeric if is_numeric(numeric) => {
            if operator.is_bitwise() && !is_integral(numeric) {
                return Err(wrong());
            }
            of_one_type(operator, context.cast(left, &common)?, context.cast(right, &common)?, &common, mode, context)
        }
        _ => Err(wrong()),
    }
}

/// Refuses what Spark refuses under ANSI: strings give way to the other side; then both sides must meet in a type on which the
/// operator is defined.
fn check_operands(operator: Operator, left: &DataType, right: &DataType) -> Result<()> {
    let (left, right) = match coerce::promoted(left, right) {
        (a, b) if is_decimal(&a) && is_floating(&b) || is_floating(&a) && is_decimal(&b) => {
            (DataType::Float64, DataType::Float64)
        }
        promoted => promoted,
    };
    let takes = |met: &DataType| *met == DataType::Null || operator.takes(met);
    match coerce::tightest(&left, &right, true).filter(takes) {
        Some(_) => Ok(()),
        None => Err(wrong_types(operator, &left, &right)),
    }
}

/// A NULL beside a decimal is one of that type, but a NULL that is divided is a DOUBLE.
fn typed_nulls(operator: Operator, left: Expr, right: Expr, context: Context<'_>) -> Result<(Expr, Expr)> {
    let (left_type, right_type) = (context.type_of(&left)?, context.type_of(&right)?);
    Ok(match (&left_type, &right_type) {
        (DataType::Null, decimal) if is_decimal(decimal) && operator == Operator::Divide => {
            (context.cast(left, &DataType::Float64)?, context.cast(right, &DataType::Float64)?)
        }
        (DataType::Null, decimal) if is_decimal(decimal) => (context.cast(left, decimal)?, right),
        (decimal, DataType::Null) if is_decimal(decimal) => (left, context.cast(right, decimal)?),
        _ => (left, right),
    })
}

fn is_temporal(data_type: &DataType) -> bool {
    is_datetime(data_type) || is_ansi_interval(data_type) || matches!(data_type, DataType::Interval(_))
}

/// Dates, timestamps and intervals have their own arithmetic.
fn temporal(operator: Operator, left: Expr, right: Expr, mode: Mode, context: Context<'_>) -> Result<Expr> {
    let types = (context.type_of(&left)?, context.type_of(&right)?);
    let Context { schema, conf } = context;
    let result = match operator {
        Operator::Add => interval::plus(left, right, schema, conf)?,
        Operator::Subtract => interval::minus(left, right, schema, conf)?,
        Operator::Multiply => interval::times(left, right, schema, conf)?,
        Operator::Divide => interval::divided_by(left, nonzero(right, mode, context)?, schema, conf)?,
        Operator::IntegralDivide => interval::whole_quotient(left, right, schema, conf)?,
        _ => None,
    };
    result.ok_or_else(|| {
        let (left, right) = if conf.ansi() { coerce::promoted(&types.0, &types.1) } else { types };
        wrong_types(operator, &left, &right)
    })
}

/// The divisor, null instead of zero if that is what the mode makes of it.
fn nonzero(divisor: Expr, mode: Mode, context: Context<'_>) -> Result<Expr> {
    if mode != Mode::Try || !is_numeric(&context.type_of(&divisor)?) {
        return Ok(divisor);
    }
    let zero = literal::constant(ScalarValue::Int32(Some(0)));
    let is_zero = comparison::compare(Comparison::Equal, divisor.clone(), zero, context)?;
    conditional::case(vec![(is_zero, literal::constant(ScalarValue::Null))], Some(divisor), context)
}

fn wrong_types(operator: Operator, left: &DataType, right: &DataType) -> Error {
    if left == right {
        return Error::query(
            "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE",
            format!("'{}' needs the type \"NUMERIC\", not {}", operator.symbol(), type_name(left)),
        );
    }
    Error::query(
        "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
        format!(
            "the left and right operands of '{}' have incompatible types ({} and {})",
            operator.symbol(),
            type_name(left),
            type_name(right)
        ),
    )
}

/// A string operand beside a number becomes a number: BIGINT or DOUBLE under ANSI, DOUBLE otherwise.
fn promote(operand: Expr, other: &DataType, mode: Mode, context: Context<'_>) -> Result<Expr> {
    if !coerce::is_string(&context.type_of(&operand)?) {
        return Ok(operand);
    }
    let number = match other {
        other if context.conf.ansi() && is_integral(other) => DataType::Int64,
        DataType::Utf8 if context.conf.ansi() => return Ok(operand),
        other if is_numeric(other) || !context.conf.ansi() => DataType::Float64,
        _ => return Ok(operand),
    };
    cast::cast(operand, &number, mode, context.schema, context.conf)
}

/// Both operands are numbers of type `common`, not decimals.
fn of_one_type(
    operator: Operator,
    left: Expr,
    right: Expr,
    common: &DataType,
    mode: Mode,
    context: Context<'_>,
) -> Result<Expr> {
    match operator {
        Operator::Divide => {
            let (left, right) = (context.cast(left, &DataType::Float64)?, context.cast(right, &DataType::Float64)?);
            Ok(divide(left, right, mode))
        }
        Operator::IntegralDivide => {
            let (left, right) = (context.cast(left, &DataType::Int64)?, context.cast(right, &DataType::Int64)?);
            Ok(integral_divide(left, right, mode))
        }
        Operator::Remainder | Operator::PositiveRemainder => Ok(remainder(operator, left, right, common, mode)),
        Operator::BitAnd => Ok(plain(PlanOperator::BitwiseAnd, left, right)),
        Operator::BitOr => Ok(plain(PlanOperator::BitwiseOr, left, right)),
        Operator::BitXor => Ok(plain(PlanOperator::BitwiseXor, left, right)),
        operator => Ok(sum_or_product(operator, left, right, common, mode)),
    }
}

fn plain(operator: PlanOperator, left: Expr, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

/// Name of the kernel that adds, subtracts and multiplies with errors on overflow.
const CHECKED: &str = "checked_arithmetic";

/// The operands of a checked sum or difference of numbers, also of decimals.
pub fn as_sum(expr: &Expr) -> Option<(&Expr, PlanOperator, &Expr)> {
    let is_known = |kernel: &Kernel| [CHECKED, decimals::ARITHMETIC].contains(&kernel.function_name());
    let (kernel, args) = Kernel::of(expr).filter(|(kernel, _)| is_known(kernel))?;
    let [left, right] = args else { return None };
    let operator = match kernel.parameters().split(' ').next() {
        Some("+") => PlanOperator::Plus,
        Some("-") => PlanOperator::Minus,
        _ => return None,
    };
    Some((left, operator, right))
}

/// `+`, `-` and `*`. Floats never overflow and legacy integers wrap, which is what DataFusion does; else we check.
fn sum_or_product(operator: Operator, left: Expr, right: Expr, common: &DataType, mode: Mode) -> Expr {
    if is_floating(common) || mode == Mode::Legacy {
        let plan = match operator {
            Operator::Add => PlanOperator::Plus,
            Operator::Subtract => PlanOperator::Minus,
            _ => PlanOperator::Multiply,
        };
        return plain(plan, left, right);
    }
    let small = matches!(common, DataType::Int8 | DataType::Int16);
    let run = move |args: &Arguments, rows: usize| checked(operator, args, rows, mode, small);
    let name = if mode == Mode::Try { "try_arithmetic" } else { CHECKED };
    let result = common.clone();
    Kernel::columns(name, common.clone(), run)
        .key(operator.symbol())
        .singly(move |values| {
            of_whole(values, |a, b| checked_whole(operator, a, b)).and_then(|sum| fitting(sum, &result))
        })
        .fallible_if(mode == Mode::Ansi)
        .call(vec![left, right])
}

fn checked(operator: Operator, args: &Arguments, rows: usize, mode: Mode, small: bool) -> Result<ArrayRef> {
    let ((left, left_constant), (right, right_constant)) = (args.get(0), args.get(1));
    // Of two constants, too, a column comes out.
    let (first, second) = (datum(left, right_constant || !left_constant), datum(right, !right_constant));
    match operate(operator, first.as_ref(), second.as_ref()) {
        Ok(result) => Ok(result),
        Err(_) if mode == Mode::Try => null_on_overflow(operator, args, rows),
        Err(_) => Err(overflow(operator, small)),
    }
}

/// The result for two whole numbers, if there is one.
fn of_whole(values: &[Value<'_>], operation: impl Fn(i64, i64) -> Option<i64>) -> Option<i64> {
    if let [Value::Whole(left), Value::Whole(right)] = values { operation(*left, *right) } else { None }
}

fn checked_whole(operator: Operator, left: i64, right: i64) -> Option<i64> {
    match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::IntegralDivide => left.checked_div(right),
        Operator::Remainder => left.checked_rem(right),
        // With a negative divisor the sum of a rest and the divisor may leave the type.
        Operator::PositiveRemainder if right > 0 => left.checked_rem_euclid(right),
        _ => None,
    }
}

fn operate(
    operator: Operator,
    left: &dyn Datum,
    right: &dyn Datum,
) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    match operator {
        Operator::Add => numeric::add(left, right),
        Operator::Subtract => numeric::sub(left, right),
        _ => numeric::mul(left, right),
    }
}

/// An operand as a column, or as a constant for all rows.
fn datum(array: &ArrayRef, as_column: bool) -> Box<dyn Datum> {
    let array = Arc::clone(array);
    if as_column { Box::new(array) } else { Box::new(Scalar::new(array)) }
}

fn overflow(operator: Operator, small: bool) -> Error {
    let name = match operator {
        Operator::Add => "try_add",
        Operator::Subtract => "try_subtract",
        _ => "try_multiply",
    };
    let condition = if small { "BINARY_ARITHMETIC_OVERFLOW" } else { "ARITHMETIC_OVERFLOW" };
    Error::data(condition, format!("the result of '{}' does not fit its type", operator.symbol()))
        .hint(format!("Use '{name}' to get null instead, or set spark.sql.ansi.enabled to false."))
}

fn null_on_overflow(operator: Operator, args: &Arguments, rows: usize) -> Result<ArrayRef> {
    let (left, right) = (args.of_each(0, rows)?, args.of_each(1, rows)?);
    fn each_pair<T: ArrowPrimitiveType>(operator: Operator, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef>
    where
        T::Native: ArrowNativeTypeOp,
    {
        let apply = |a: T::Native, b: T::Native| match operator {
            Operator::Add => a.add_checked(b).ok(),
            Operator::Subtract => a.sub_checked(b).ok(),
            _ => a.mul_checked(b).ok(),
        };
        Ok(Arc::new(zip::<T, T, T>(left, right, |a, b| Ok(apply(a, b)))?))
    }
    match left.data_type() {
        DataType::Int8 => each_pair::<Int8Type>(operator, &left, &right),
        DataType::Int16 => each_pair::<Int16Type>(operator, &left, &right),
        DataType::Int32 => each_pair::<Int32Type>(operator, &left, &right),
        _ => each_pair::<Int64Type>(operator, &left, &right),
    }
}

/// What a division by zero gives: an error under ANSI, else null.
pub(super) fn by_zero<T>(condition: &'static str, mode: Mode) -> Result<Option<T>> {
    match mode {
        Mode::Ansi => {
            let hint = "Use 'try_divide' or 'try_mod' to get null instead, or set spark.sql.ansi.enabled to false.";
            Err(Error::data(condition, "division by zero").hint(hint))
        }
        Mode::Legacy | Mode::Try => Ok(None),
    }
}

fn divide(left: Expr, right: Expr, mode: Mode) -> Expr {
    let run = move |args: &[ArrayRef]| {
        let quotient = |a: f64, b: f64| if b == 0.0 { by_zero("DIVIDE_BY_ZERO", mode) } else { Ok(Some(a / b)) };
        Ok(Arc::new(zip::<Float64Type, Float64Type, Float64Type>(&args[0], &args[1], quotient)?) as ArrayRef)
    };
    let single = |values: &[Value<'_>]| match values {
        [Value::Double(left), Value::Double(right)] if *right != 0.0 => Some(left / right),
        _ => None,
    };
    Kernel::arrays("divide", DataType::Float64, run)
        .key(mode)
        .fallible_if(mode == Mode::Ansi)
        .singly(move |values| single(values).map(Value::Double))
        .call(vec![left, right])
}

fn integral_divide(left: Expr, right: Expr, mode: Mode) -> Expr {
    let quotient = move |a: i64, b: i64| match (b, a.checked_div(b)) {
        (0, _) => by_zero("DIVIDE_BY_ZERO", mode),
        (_, Some(quotient)) => Ok(Some(quotient)),
        (_, None) if mode == Mode::Ansi => Err(overflow(Operator::IntegralDivide, false)),
        (_, None) if mode == Mode::Try => Ok(None),
        _ => Ok(Some(a.wrapping_div(b))),
    };
    let run = move |args: &[ArrayRef]| {
        Ok(Arc::new(zip::<Int64Type, Int64Type, Int64Type>(&args[0], &args[1], quotient)?) as ArrayRef)
    };
    Kernel::arrays("div", DataType::Int64, run)
        .key(mode)
        .fallible_if(mode == Mode::Ansi)
        .singly(|values| of_whole(values, |a, b| checked_whole(Operator::IntegralDivide, a, b)).map(Value::Whole))
        .call(vec![left, right])
}

fn remainder(operator: Operator, left: Expr, right: Expr, common: &DataType, mode: Mode) -> Expr {
    let run = move |args: &[ArrayRef]| match args[0].data_type() {
        DataType::Int8 => remainders::<Int8Type>(operator, args, mode),
        DataType::Int16 => remainders::<Int16Type>(operator, args, mode),
        DataType::Int32 => remainders::<Int32Type>(operator, args, mode),
        DataType::Int64 => remainders::<Int64Type>(operator, args, mode),
        DataType::Float32 => remainders::<Float32Type>(operator, args, mode),
        _ => remainders::<Float64Type>(operator, args, mode),
    };
    let key = format!("{} {mode}", operator.symbol());
    Kernel::arrays("remainder", common.clone(), run)
        .key(key)
        .fallible_if(mode == Mode::Ansi)
        .singly(move |values| of_whole(values, |a, b| checked_whole(operator, a, b)).map(Value::Whole))
        .call(vec![left, right])
}

fn remainders<T: ArrowPrimitiveType>(operator: Operator, args: &[ArrayRef], mode: Mode) -> Result<ArrayRef>
where
    T::Native: ArrowNativeTypeOp,
{
    let positive = operator == Operator::PositiveRemainder;
    let apply = |a: T::Native, b: T::Native| {
        if b.is_zero() {
            return by_zero("REMAINDER_BY_ZERO", mode);
        }
        let rest = a.mod_wrapping(b);
        let negative = rest.is_lt(T::Native::ZERO) && !rest.is_zero();
        Ok(Some(if positive && negative { rest.add_wrapping(b).mod_wrapping(b) } else { rest }))
    };
    Ok(Arc::new(zip::<T, T, T>(&args[0], &args[1], apply)?))
}

/// Shifts take an INT or BIGINT and an INT, of which only the lowest bits count.
fn shift(operator: Operator, left: Expr, right: Expr, context: Context<'_>) -> Result<Expr> {
    let data_type = match context.type_of(&left)? {
        DataType::Int64 => DataType::Int64,
        time if is_temporal(&time) => return Err(coerce::unexpected(&left, &time, "(\"INT\" or \"BIGINT\")")),
        _ => DataType::Int32,
    };
    let (left, right) = (context.implicit(left, &data_type)?, context.implicit(right, &DataType::Int32)?);
    let run = move |args: &[ArrayRef]| -> Result<ArrayRef> {
        match args[0].data_type() {
            DataType::Int64 => Ok(Arc::new(zip::<Int64Type, Int32Type, Int64Type>(&args[0], &args[1], |a, b| {
                Ok(Some(shift_long(operator, a, b)))
            })?)),
            _ => Ok(Arc::new(zip::<Int32Type, Int32Type, Int32Type>(&args[0], &args[1], |a, b| {
                Ok(Some(shift_int(operator, a, b)))
            })?)),
        }
    };
    Ok(Kernel::arrays("shift", data_type, run).key(operator.symbol()).call(vec![left, right]))
}

fn shift_int(operator: Operator, value: i32, by: i32) -> i32 {
    match operator {
        Operator::ShiftLeft => value.wrapping_shl(by as u32),
        Operator::ShiftRight => value.wrapping_shr(by as u32),
        _ => (value as u32).wrapping_shr(by as u32) as i32,
    }
}

fn shift_long(operator: Operator, value: i64, by: i32) -> i64 {
    match operator {
        Operator::ShiftLeft => value.wrapping_shl(by as u32),
        Operator::ShiftRight => value.wrapping_shr(by as u32),
        _ => (value as u64).wrapping_shr(by as u32) as i64,
    }
}

/// `+value`.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` for what is no number or interval.
pub fn positive(value: Expr, context: Context<'_>) -> Result<Expr> {
    let given = context.type_of(&value)?;
    if is_ansi_interval(&given) || matches!(given, DataType::Interval(_)) {
        return Ok(value);
    }
    coerce::implicit_number(value, context.schema, context.conf)
}

/// `-value`.
///
/// # Errors
/// As [`positive`]; when run under ANSI `ARITHMETIC_OVERFLOW`.
pub fn negate(value: Expr, context: Context<'_>) -> Result<Expr> {
    match interval::negated(value.clone(), context.schema, context.conf)? {
        Some(negated) => Ok(negated),
        None => sign_change("negate", positive(value, context)?, context, |_| true),
    }
}

/// `abs(value)`.
///
/// # Errors
/// As [`negate`].
pub fn absolute(value: Expr, context: Context<'_>) -> Result<Expr> {
    match interval::absolute(value.clone(), context.schema, context.conf)? {
        Some(absolute) => Ok(absolute),
        None => sign_change("abs", positive(value, context)?, context, |negative| negative),
    }
}

/// Changes the sign of values for which `applies`, given whether they are negative.
fn sign_change(name: &'static str, value: Expr, context: Context<'_>, applies: fn(bool) -> bool) -> Result<Expr> {
    let data_type = context.type_of(&value)?;
    let mode = Mode::of(context.conf);
    let result = data_type.clone();
    let run = move |args: &[ArrayRef]| match &data_type {
        DataType::Int8 => flip::<Int8Type>(&args[0], mode, applies, &data_type),
        DataType::Int16 => flip::<Int16Type>(&args[0], mode, applies, &data_type),
        DataType::Int32 => flip::<Int32Type>(&args[0], mode, applies, &data_type),
        DataType::Int64 => flip::<Int64Type>(&args[0], mode, applies, &data_type),
        DataType::Float32 => flip::<Float32Type>(&args[0], mode, applies, &data_type),
        DataType::Float64 => flip::<Float64Type>(&args[0], mode, applies, &data_type),
        _ => decimals::flip(&args[0], applies),
    };
    let fails = mode == Mode::Ansi || is_decimal(&result);
    Ok(Kernel::arrays(name, result, run).key(mode).fallible_if(fails).call(vec![value]))
}

fn flip<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    mode: Mode,
    applies: fn(bool) -> bool,
    data_type: &DataType,
) -> Result<ArrayRef>
where
    T::Native: ArrowNativeTypeOp,
{
    let apply = |value: T::Native| match (applies(value.is_lt(T::Native::ZERO)), mode) {
        (false, _) => Ok(Some(value)),
        (true, Mode::Ansi) => value.neg_checked().map(Some).map_err(|_| overflow(Operator::Subtract, false)),
        (true, _) => Ok(Some(value.neg_wrapping())),
    };
    let flipped = each::<T, T>(array.as_primitive::<T>(), apply)?;
    Ok(Arc::new(flipped.with_data_type(data_type.clone())))
}

/// `~value`.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` for what is no whole number.
pub fn bit_not(value: Expr, context: Context<'_>) -> Result<Expr> {
    let data_type = context.type_of(&value)?;
    let ones = match &data_type {
        DataType::Int8 => ScalarValue::Int8(Some(-1)),
        DataType::Int16 => ScalarValue::Int16(Some(-1)),
        DataType::Int32 => ScalarValue::Int32(Some(-1)),
        DataType::Int64 => ScalarValue::Int64(Some(-1)),
        other => return Err(coerce::unexpected(&value, other, "\"INTEGRAL\"")),
    };
    Ok(plain(PlanOperator::BitwiseXor, value, literal::constant(ones)))
}
