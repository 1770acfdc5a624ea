//! Arithmetic on DECIMAL: Spark's precisions of results, exact digits, half up where digits must go.
//!
//! In come operands that are decimals or whole numbers, out goes a DECIMAL (BIGINT for `div`). Results with more digits
//! than their type are an error under ANSI, else null.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, i256};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::Context;
use super::arithmetic::{Operator, by_zero};
use super::cast::Mode;
use super::cast::decimal::{self, divide_wide, fits, power, rescale};
use super::coerce;
use super::kernel::Kernel;
use super::numbers::{each, zip};
use super::rounding::{Direction, directed};
use crate::{Error, Result};

type Decimal = (u8, i8);

/// A whole-number constant as the smallest decimal that holds it; anything else as it is.
pub(super) fn of_literal(expr: Expr) -> Expr {
    let value = match &expr {
        Expr::Literal(ScalarValue::Int8(Some(value)), _) => i128::from(*value),
        Expr::Literal(ScalarValue::Int16(Some(value)), _) => i128::from(*value),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => i128::from(*value),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => i128::from(*value),
        _ => return expr,
    };
    let (precision, scale) = decimal::Number { unscaled: value, scale: 0 }.precision_and_scale();
    Expr::Literal(ScalarValue::Decimal128(Some(value), precision, scale), None)
}

/// Name of the kernel of sums and products; its parameters begin with the operator.
pub(super) const ARITHMETIC: &str = "decimal_arithmetic";

/// `left operator right` for decimals and whole numbers.
///
/// # Errors
/// `DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE` for operators on bits.
pub(super) fn binary(operator: Operator, left: Expr, right: Expr, mode: Mode, context: Context<'_>) -> Result<Expr> {
    let (left, a) = as_decimal(left, context)?;
    let (right, b) = as_decimal(right, context)?;
    let result = result_type(operator, a, b)?;
    let key = format!("{} {mode}", operator.symbol());
    let kernel = if operator == Operator::IntegralDivide {
        Kernel::arrays("decimal_div", DataType::Int64, move |args| integral_quotients(args, a, b, mode))
    } else {
        let data_type = DataType::Decimal128(result.0, result.1);
        Kernel::arrays(ARITHMETIC, data_type, move |args| results(operator, args, a, b, result, mode))
    };
    Ok(kernel.key(key).fallible_if(mode == Mode::Ansi).call(vec![left, right]))
}

/// Decimals with the other sign where `applies`, given whether they are negative.
///
/// As in Spark, a number whose sign changes is rounded to 34 digits.
///
/// # Errors
/// `NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION` if the rounded number has more digits than its type.
pub(super) fn flip(array: &ArrayRef, applies: fn(bool) -> bool) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = *array.data_type() else {
        return Err(Error::internal("a decimal is expected"));
    };
    let change = |value: i128| match applies(value < 0) {
        false => Ok(Some(value)),
        true => match -rounded(value) {
            negated if fits(negated, precision) => Ok(Some(negated)),
            _ => {
                let message = format!("a negated number does not fit decimal({precision},{scale})");
                Err(Error::data("NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION", message))
            }
        },
    };
    let flipped = each::<Decimal128Type, Decimal128Type>(array, change)?;
    Ok(Arc::new(flipped.with_precision_and_scale(precision, scale)?))
}

/// The number with at most 34 digits that are not zero, half to even.
fn rounded(value: i128) -> i128 {
    let over = decimal::digits(value).saturating_sub(34) as i32;
    let digits = directed(value, over, 0, Direction::HalfEven);
    digits.zip(decimal::power(over)).map_or(value, |(digits, factor)| digits * factor)
}

fn as_decimal(expr: Expr, context: Context<'_>) -> Result<(Expr, Decimal)> {
    let (precision, scale) = coerce::decimal_for(&context.type_of(&expr)?).unwrap_or((38, 18));
    Ok((context.cast(expr, &DataType::Decimal128(precision, scale))?, (precision, scale)))
}

/// Cuts a result type to 38 digits, keeping up to 6 behind the point.
fn adjusted(precision: i32, scale: i32) -> Decimal {
    const MAX: i32 = decimal::MAX_PRECISION as i32;
    if precision <= MAX {
        return (precision as u8, scale as i8);
    }
    let scale = (MAX - (precision - scale)).max(scale.min(6));
    (MAX as u8, scale as i8)
}

fn result_type(operator: Operator, (p1, s1): Decimal, (p2, s2): Decimal) -> Result<Decimal> {
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let scale = s1.max(s2);
    Ok(match operator {
        Operator::Add | Operator::Subtract => adjusted((p1 - s1).max(p2 - s2) + scale + 1, scale),
        Operator::Multiply => adjusted(p1 + p2 + 1, s1 + s2),
        Operator::Divide => {
            let scale = (s1 + p2 + 1).max(6);
            adjusted(p1 - s1 + s2 + scale, scale)
        }
        Operator::IntegralDivide => (decimal::MAX_PRECISION, 0),
        Operator::Remainder | Operator::PositiveRemainder => adjusted((p1 - s1).min(p2 - s2) + scale, scale),
        other => {
            return Err(Error::query(
                "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE",
                format!("'{}' needs whole numbers, not decimals", other.symbol()),
            ));
        }
    })
}

fn results(
    operator: Operator,
    args: &[ArrayRef],
    (_, s1): Decimal,
    (_, s2): Decimal,
    (precision, scale): Decimal,
    mode: Mode,
) -> Result<ArrayRef> {
    let scales = (i32::from(s1), i32::from(s2), i32::from(scale));
    let apply = |a: i128, b: i128| {
        let value = match operator {
            Operator::Add => sum(a, b, scales),
            Operator::Subtract => sum(a, -b, scales),
            Operator::Multiply => product(a, b, scales),
            Operator::Divide if b == 0 => return by_zero("DIVIDE_BY_ZERO", mode),
            Operator::Divide => quotient(a, b, scales),
            _ if b == 0 => return by_zero("REMAINDER_BY_ZERO", mode),
            operator => remainder(a, b, scales, operator == Operator::PositiveRemainder),
        };
        within(value, precision, scale, mode)
    };
    let results = zip::<Decimal128Type, Decimal128Type, Decimal128Type>(&args[0], &args[1], apply)?;
    Ok(Arc::new(results.with_precision_and_scale(precision, scale)?))
}

/// The value if it has at most `precision` digits; else an error under ANSI, or none.
pub(super) fn within(value: Option<i128>, precision: u8, scale: i8, mode: Mode) -> Result<Option<i128>> {
    match value.filter(|value| fits(*value, precision)) {
        None if mode == Mode::Ansi => Err(out_of_range(precision, scale)),
        value => Ok(value),
    }
}

/// `NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION`.
pub(super) fn out_of_range(precision: u8, scale: i8) -> Error {
    Error::data(
        "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
        format!("the number cannot be represented as decimal({precision},{scale})"),
    )
    .hint("Use a wider type, or set spark.sql.ansi.enabled to false to get null instead.")
}

fn sum(a: i128, b: i128, (s1, s2, scale): (i32, i32, i32)) -> Option<i128> {
    let exact = s1.max(s2);
    if exact == scale {
        return rescale(a, s1, exact)?.checked_add(rescale(b, s2, exact)?);
    }
    let wide = |value: i128, from: i32| i256::from_i128(value).checked_mul(wide_power(exact - from)?);
    divide_wide(wide(a, s1)?.checked_add(wide(b, s2)?)?, wide_power(exact - scale)?)
}

fn product(a: i128, b: i128, (s1, s2, scale): (i32, i32, i32)) -> Option<i128> {
    if let Some(product) = a.checked_mul(b) {
        return rescale(product, s1 + s2, scale);
    }
    let wide = i256::from_i128(a).checked_mul(i256::from_i128(b))?;
    divide_wide(wide, wide_power(s1 + s2 - scale)?)
}

fn quotient(a: i128, b: i128, (s1, s2, scale): (i32, i32, i32)) -> Option<i128> {
    let shift = scale + s2 - s1;
    if let Some(dividend) = power(shift).and_then(|power| a.checked_mul(power)) {
        return Some(decimal::divide(dividend, b));
    }
    if shift < 0 {
        return divide_wide(i256::from_i128(a), i256::from_i128(b).checked_mul(wide_power(-shift)?)?);
    }
    divide_wide(i256::from_i128(a).checked_mul(wide_power(shift)?)?, i256::from_i128(b))
}

fn wide_power(exponent: i32) -> Option<i256> {
    i256::from_i128(10).checked_pow(u32::try_from(exponent).ok()?)
}

fn remainder(a: i128, b: i128, (s1, s2, scale): (i32, i32, i32), positive: bool) -> Option<i128> {
    let exact = s1.max(s2);
    let (a, b) = (rescale(a, s1, exact)?, rescale(b, s2, exact)?);
    let rest = a.checked_rem(b)?;
    let rest = if positive && rest < 0 { rest.checked_add(b)?.checked_rem(b)? } else { rest };
    rescale(rest, exact, scale)
}

fn integral_quotients(args: &[ArrayRef], (_, s1): Decimal, (_, s2): Decimal, mode: Mode) -> Result<ArrayRef> {
    let apply = |a: i128, b: i128| {
        if b == 0 {
            return by_zero("DIVIDE_BY_ZERO", mode);
        }
        let exact = i32::from(s1.max(s2));
        let whole =
            rescale(a, i32::from(s1), exact).zip(rescale(b, i32::from(s2), exact)).and_then(|(a, b)| a.checked_div(b));
        match whole.and_then(|whole| i64::try_from(whole).ok()) {
            None if mode == Mode::Ansi => {
                Err(Error::data("ARITHMETIC_OVERFLOW", "the result of 'div' does not fit BIGINT"))
            }
            whole => Ok(whole),
        }
    };
    Ok(Arc::new(zip::<Decimal128Type, Decimal128Type, Int64Type>(&args[0], &args[1], apply)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_34_digits_are_rounded_half_to_even() {
        const UNIT: i128 = 10i128.pow(33);
        let cases = [
            (UNIT * 10 - 1, UNIT * 10 - 1),
            (UNIT * 10 + 4, UNIT * 10),
            (UNIT * 10 + 5, UNIT * 10),
            (UNIT * 10 + 15, UNIT * 10 + 20),
            (UNIT * 10 + 6, UNIT * 10 + 10),
            (UNIT * 100 - 5, UNIT * 100),
            (UNIT * 10_000 + 5001, UNIT * 10_000 + 10_000),
            (UNIT * 100_000 - 1, UNIT * 100_000),
            (0, 0),
        ];
        for (value, expected) in cases {
            assert_eq!((rounded(value), rounded(-value)), (expected, -expected), "{value}");
        }
    }
}
