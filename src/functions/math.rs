//! Mathematical functions: roots, logarithms, trigonometry, rounding, number texts.
//!
//! In come bound arguments, implicitly cast to DOUBLE where Spark computes in DOUBLE; out goes a kernel over whole arrays.
//! Where Java's functions give null or NaN, so do these.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::comparison::{self, Comparison};
use super::kernel::Kernel;
use super::numbers::{each, zip};
use super::{Arg, Call, Function, bits, coerce, conditional, function, rounding};
use crate::sql::literal;
use crate::{Error, Result};

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[
    function(&["sqrt"], |call| double(call, "sqrt", f64::sqrt)),
    function(&["cbrt"], |call| double(call, "cbrt", f64::cbrt)),
    function(&["exp"], |call| double(call, "exp", f64::exp)),
    function(&["expm1"], |call| double(call, "expm1", f64::exp_m1)),
    function(&["ln"], |call| logarithm(call, "ln", f64::ln, 0.0)),
    function(&["log2"], |call| logarithm(call, "log2", f64::log2, 0.0)),
    function(&["log10"], |call| logarithm(call, "log10", f64::log10, 0.0)),
    function(&["log1p"], |call| logarithm(call, "log1p", f64::ln_1p, -1.0)),
    function(&["log"], log),
    function(&["sin"], |call| double(call, "sin", f64::sin)),
    function(&["cos"], |call| double(call, "cos", f64::cos)),
    function(&["tan"], |call| double(call, "tan", f64::tan)),
    function(&["cot"], |call| double(call, "cot", |x| 1.0 / x.tan())),
    function(&["sec"], |call| double(call, "sec", |x| 1.0 / x.cos())),
    function(&["csc"], |call| double(call, "csc", |x| 1.0 / x.sin())),
    function(&["asin"], |call| double(call, "asin", f64::asin)),
    function(&["acos"], |call| double(call, "acos", f64::acos)),
    function(&["atan"], |call| double(call, "atan", f64::atan)),
    function(&["sinh"], |call| double(call, "sinh", f64::sinh)),
    function(&["cosh"], |call| double(call, "cosh", f64::cosh)),
    function(&["tanh"], |call| double(call, "tanh", f64::tanh)),
    function(&["asinh"], |call| double(call, "asinh", asinh)),
    function(&["acosh"], |call| double(call, "acosh", acosh)),
    function(&["atanh"], |call| double(call, "atanh", f64::atanh)),
    function(&["degrees"], |call| double(call, "degrees", f64::to_degrees)),
    function(&["radians"], |call| double(call, "radians", f64::to_radians)),
    function(&["rint"], |call| double(call, "rint", f64::round_ties_even)),
    function(&["sign", "signum"], signum),
    function(&["power", "pow"], |call| doubles(call, "power", f64::powf)),
    function(&["atan2"], |call| doubles(call, "atan2", |y, x| (y + 0.0).atan2(x + 0.0))),
    function(&["hypot"], |call| doubles(call, "hypot", f64::hypot)),
    function(&["pi"], |call| constant(call, std::f64::consts::PI)),
    function(&["e"], |call| constant(call, std::f64::consts::E)),
    function(&["factorial"], factorial),
    function(&["isnan"], is_nan),
    function(&["nanvl"], nanvl),
    function(&["width_bucket"], width_bucket),
    function(&["bin"], binary_digits),
    function(&["conv"], conv),
    function(&["round"], rounding::round),
    function(&["bround"], rounding::bround),
    function(&["ceil", "ceiling"], rounding::ceil),
    function(&["floor"], rounding::floor),
    function(&["bit_count"], bits::count),
    function(&["bit_get", "getbit"], bits::get),
    function(&["bitmap_bit_position"], bits::position),
    function(&["bitmap_bucket_number"], bits::bucket),
    function(&["bitmap_count"], bits::bitmap_count),
];

/// Java's `signum`: zeros and NaN are their own sign.
fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

fn as_double(call: &Call<'_>, value: Expr) -> Result<Expr> {
    call.implicit(value, &DataType::Float64)
}

fn double(mut call: Call<'_>, name: &'static str, apply: fn(f64) -> f64) -> Result<Expr> {
    let [value] = call.exactly()?;
    let value = as_double(&call, value)?;
    let run = move |args: &[ArrayRef]| {
        Ok(Arc::new(args[0].as_primitive::<Float64Type>().unary::<_, Float64Type>(apply)) as ArrayRef)
    };
    Ok(Kernel::arrays(name, DataType::Float64, run).call(vec![value]))
}

fn doubles(mut call: Call<'_>, name: &'static str, apply: fn(f64, f64) -> f64) -> Result<Expr> {
    let [left, right] = call.exactly()?;
    let args = vec![as_double(&call, left)?, as_double(&call, right)?];
    let run = move |args: &[ArrayRef]| {
        Ok(Arc::new(zip::<Float64Type, Float64Type, Float64Type>(&args[0], &args[1], |a, b| Ok(Some(apply(a, b))))?)
            as ArrayRef)
    };
    Ok(Kernel::arrays(name, DataType::Float64, run).call(args))
}

/// A logarithm is null up to the point where it is not defined.
fn logarithm(mut call: Call<'_>, name: &'static str, apply: fn(f64) -> f64, above: f64) -> Result<Expr> {
    let [value] = call.exactly()?;
    let value = as_double(&call, value)?;
    let run = move |args: &[ArrayRef]| {
        let logarithms =
            each::<Float64Type, Float64Type>(&args[0], |x| Ok((x.is_nan() || x > above).then(|| apply(x))))?;
        Ok(Arc::new(logarithms) as ArrayRef)
    };
    Ok(Kernel::arrays(name, DataType::Float64, run).call(vec![value]))
}

/// `log(x)` or `log(base, x)`.
fn log(call: Call<'_>) -> Result<Expr> {
    if call.args.len() == 1 {
        return logarithm(call, "ln", f64::ln, 0.0);
    }
    let mut call = call;
    let [base, value] = call.exactly()?;
    let args = vec![as_double(&call, base)?, as_double(&call, value)?];
    let apply =
        |base: f64, x: f64| Ok([base, x].into_iter().all(|x| x.is_nan() || x > 0.0).then(|| x.ln() / base.ln()));
    let run = move |args: &[ArrayRef]| {
        Ok(Arc::new(zip::<Float64Type, Float64Type, Float64Type>(&args[0], &args[1], apply)?) as ArrayRef)
    };
    Ok(Kernel::arrays("log", DataType::Float64, run).call(args))
}

/// The inverse of the hyperbolic sine, also where the square of the number does not fit.
fn asinh(x: f64) -> f64 {
    const LARGE: f64 = 268_435_456.0;
    if x.abs() > LARGE { (x.abs().ln() + std::f64::consts::LN_2).copysign(x) } else { x.asinh() }
}

/// The inverse of the hyperbolic cosine, also where the square of the number does not fit.
fn acosh(x: f64) -> f64 {
    const LARGE: f64 = 268_435_456.0;
    if x > LARGE { x.ln() + std::f64::consts::LN_2 } else { x.acosh() }
}

/// `signum(value)` of a number or an interval.
fn signum(mut call: Call<'_>) -> Result<Expr> {
    if let Some(Arg::Value(value)) = call.args.first() {
        let value = value.clone();
        if coerce::is_ansi_interval(&call.type_of(&value)?) {
            call.args = vec![Arg::Value(super::interval::count(value))];
        }
    }
    double(call, "signum", sign)
}

fn constant(mut call: Call<'_>, value: f64) -> Result<Expr> {
    let [] = call.exactly()?;
    Ok(literal::constant(ScalarValue::Float64(Some(value))))
}

/// Null beyond 20, as 21! does not fit BIGINT.
fn factorial(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    let value = call.implicit(value, &DataType::Int32)?;
    let run = |args: &[ArrayRef]| {
        let products = each::<Int32Type, Int64Type>(&args[0], |n| {
            Ok((0..=20).contains(&n).then(|| (1..=i64::from(n)).product()))
        })?;
        Ok(Arc::new(products) as ArrayRef)
    };
    Ok(Kernel::arrays("factorial", DataType::Int64, run).call(vec![value]))
}

/// False for null.
fn is_nan(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    let value = as_double(&call, value)?;
    let nan = literal::constant(ScalarValue::Float64(Some(f64::NAN)));
    comparison::compare(Comparison::NullSafeEqual, value, nan, call.context())
}

fn nanvl(mut call: Call<'_>) -> Result<Expr> {
    let [value, other] = call.exactly()?;
    let (value, other) = (as_double(&call, value)?, as_double(&call, other)?);
    let nan = literal::constant(ScalarValue::Float64(Some(f64::NAN)));
    let test = comparison::compare(Comparison::NullSafeEqual, value.clone(), nan, call.context())?;
    conditional::case(vec![(test, other)], Some(value), call.context())
}

/// Number of the bucket, from 1, in which a value falls; 0 below and `count + 1` above; null if the bounds make no sense.
fn width_bucket(mut call: Call<'_>) -> Result<Expr> {
    let [value, low, high, count] = call.exactly()?;
    let mut args = bounds([value, low, high], &call)?;
    args.push(call.implicit(count, &DataType::Int64)?);
    let run = |args: &[ArrayRef]| {
        let doubles = |at: usize| args[at].as_primitive::<Float64Type>();
        let counts = args[3].as_primitive::<Int64Type>();
        let rows = doubles(0).iter().zip(doubles(1)).zip(doubles(2).iter().zip(counts));
        let buckets: arrow::array::Int64Array =
            rows.map(|((value, low), (high, count))| bucket(value?, low?, high?, count?)).collect();
        Ok(Arc::new(buckets) as ArrayRef)
    };
    Ok(Kernel::arrays("width_bucket", DataType::Int64, run).call(args))
}

/// Value and bounds as DOUBLE; they may be intervals of one kind.
fn bounds(args: [Expr; 3], call: &Call<'_>) -> Result<Vec<Expr>> {
    let types = args.iter().map(|arg| call.type_of(arg)).collect::<Result<Vec<_>>>()?;
    let intervals = types.iter().filter(|given| coerce::is_ansi_interval(given)).count();
    if intervals > 0 && types.iter().any(|given| *given != types[0]) {
        let message = "value and bounds of 'width_bucket' must be numbers, or intervals of one kind";
        return Err(Error::query("DATATYPE_MISMATCH.DATA_DIFF_TYPES", message));
    }
    let number = |arg| if intervals > 0 { super::interval::count(arg) } else { arg };
    args.into_iter().map(|arg| as_double(call, number(arg))).collect()
}

fn bucket(value: f64, low: f64, high: f64, count: i64) -> Option<i64> {
    let makes_sense =
        count > 0 && count < i64::MAX && low != high && low.is_finite() && high.is_finite() && !value.is_nan();
    if !makes_sense {
        return None;
    }
    let (lower, upper) = (low.min(high), low.max(high));
    let position = if low < high { value - low } else { low - value };
    if position < 0.0 {
        Some(0)
    } else if (low < high && value >= upper) || (low > high && value <= lower) {
        Some(count + 1)
    } else {
        Some((count as f64 * position / (upper - lower)) as i64 + 1)
    }
}

fn binary_digits(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    let value = call.implicit(value, &DataType::Int64)?;
    let run = |args: &[ArrayRef]| {
        let texts: StringArray =
            args[0].as_primitive::<Int64Type>().iter().map(|value| value.map(|value| format!("{value:b}"))).collect();
        Ok(Arc::new(texts) as ArrayRef)
    };
    Ok(Kernel::arrays("bin", DataType::Utf8, run).call(vec![value]))
}

/// `conv(digits, from_base, to_base)`.
fn conv(mut call: Call<'_>) -> Result<Expr> {
    let [digits, from, to] = call.exactly()?;
    let args = vec![
        call.implicit(digits, &DataType::Utf8)?,
        call.implicit(from, &DataType::Int32)?,
        call.implicit(to, &DataType::Int32)?,
    ];
    let ansi = call.conf.ansi();
    let run = move |args: &[ArrayRef]| {
        let bases = args[1].as_primitive::<Int32Type>().iter().zip(args[2].as_primitive::<Int32Type>());
        let rows = args[0].as_string::<i32>().iter().zip(bases);
        let texts = rows.map(|(text, (from, to))| match (text, from, to) {
            (Some(text), Some(from), Some(to)) => converted(text, from, to, ansi),
            _ => Ok(None),
        });
        Ok(Arc::new(texts.collect::<Result<StringArray>>()?) as ArrayRef)
    };
    Ok(Kernel::arrays("conv", DataType::Utf8, run).key(ansi).fallible_if(ansi).call(args))
}

/// The leading digits of `text` in another base; a negative target base keeps the sign, others show 64 bits.
fn converted(text: &str, from: i32, to: i32, ansi: bool) -> Result<Option<String>> {
    let text = text.trim_matches(' ');
    if !(2..=36).contains(&from) || !(2..=36).contains(&to.saturating_abs()) || text.is_empty() {
        return Ok(None);
    }
    let (negative, body) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut value: u64 = 0;
    for digit in body.chars().map_while(|c| c.to_digit(from.unsigned_abs())) {
        let next =
            value.checked_mul(u64::from(from.unsigned_abs())).and_then(|value| value.checked_add(u64::from(digit)));
        value = match next {
            Some(next) => next,
            None if ansi => return Err(Error::data("ARITHMETIC_OVERFLOW", "overflow in function conv()")),
            None => {
                value = u64::MAX;
                break;
            }
        };
    }
    if !negative {
        return Ok(Some(in_base(value, to.unsigned_abs())));
    }
    if to > 0 {
        return Ok(Some(in_base(value.wrapping_neg(), to.unsigned_abs())));
    }
    Ok(Some(format!("-{}", in_base(value, to.unsigned_abs()))))
}

fn in_base(mut value: u64, base: u32) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = char::from_digit((value % u64::from(base)) as u32, base).unwrap_or('0');
        digits.push(digit.to_ascii_uppercase());
        value /= u64::from(base);
        if value == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}
