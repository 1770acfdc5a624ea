//! Logic and conditions: AND, OR, NOT, CASE, `if`, `coalesce`, `nullif`, `greatest`, `assert_true` and their kin.
//!
//! In come bound operands, out goes an expression that evaluates only what Spark would: a branch that is not taken and
//! the right side of a decided AND or OR never fail. Three-valued logic throughout.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, NullArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::coerce::{self, type_name, unexpected};
use super::comparison::{self, Comparison};
use super::interval;
use super::kernel::Kernel;
use super::{Call, Context, Function, function};
use crate::sql::literal;
use crate::{Error, Result, types};

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[
    function(&["if"], if_then_else),
    function(&["coalesce"], coalesce),
    function(&["nvl", "ifnull"], |mut call| {
        let values: [Expr; 2] = call.exactly()?;
        first_present(values.into(), call.context())
    }),
    function(&["nvl2"], nvl2),
    function(&["nullif"], nullif),
    function(&["nullifzero"], nullifzero),
    function(&["zeroifnull"], zeroifnull),
    function(&["isnull"], |mut call| call.exactly().map(|[value]| value.is_null())),
    function(&["isnotnull"], |mut call| call.exactly().map(|[value]| value.is_not_null())),
    function(&["greatest"], |call| extreme(call, datafusion::functions::core::greatest())),
    function(&["least"], |call| extreme(call, datafusion::functions::core::least())),
    function(&["assert_true"], assert_true),
    function(&["raise_error"], raise_error),
    function(&["typeof"], type_of),
];

fn boolean(value: Option<bool>) -> Expr {
    literal::constant(ScalarValue::Boolean(value))
}

/// Both operands of AND or OR; under ANSI a string beside a BOOLEAN is one.
fn conditions(left: Expr, right: Expr, operator: &str, context: Context<'_>) -> Result<(Expr, Expr)> {
    let (mut left_type, mut right_type) = (context.type_of(&left)?, context.type_of(&right)?);
    if context.conf.ansi() {
        (left_type, right_type) = coerce::promoted(&left_type, &right_type);
    }
    let fits = |data_type: &DataType| matches!(data_type, DataType::Boolean | DataType::Null);
    if fits(&left_type) && fits(&right_type) {
        return Ok((context.cast(left, &DataType::Boolean)?, context.cast(right, &DataType::Boolean)?));
    }
    let (one, other) = (type_name(&left_type), type_name(&right_type));
    if left_type == right_type {
        let message = format!("'{operator}' needs the type \"BOOLEAN\", not {one}");
        return Err(Error::query("DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE", message));
    }
    let message = format!("'{operator}' needs two operands of the same type, not {one} and {other}");
    Err(Error::query("DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", message))
}

fn logic(left: Expr, operator: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

/// `left AND right`; `right` is not evaluated for rows in which `left` is false.
///
/// # Errors
/// `DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE`, `DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES`.
pub fn and(left: Expr, right: Expr, context: Context<'_>) -> Result<Expr> {
    let (left, right) = conditions(left, right, "AND", context)?;
    Ok(both(left, right))
}

/// The parts that all have to hold for `condition` to hold, whether joined by plain ANDs or by those of [`and`].
pub fn conjuncts(condition: Expr) -> Vec<Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut parts = conjuncts(*left);
            parts.extend(conjuncts(*right));
            parts
        }
        Expr::Case(case) => guarded(case).map_or_else(|case| vec![Expr::Case(case)], conjuncts),
        other => vec![other],
    }
}

/// `left AND right` of the form that [`and`] gives a right side that may fail.
fn guarded(case: Case) -> std::result::Result<Expr, Case> {
    let is_guard = match (case.when_then_expr.as_slice(), case.else_expr.as_deref()) {
        ([(when, then)], Some(Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, .. }))) => {
            matches!(when.as_ref(), Expr::IsFalse(decided) if decided == left) && **then == boolean(Some(false))
        }
        _ => false,
    };
    match case {
        Case { expr: None, else_expr: Some(both), .. } if is_guard => Ok(*both),
        other => Err(other),
    }
}

/// A condition of which no part is evaluated where one before it is false.
pub fn in_order(condition: Expr) -> Expr {
    let whole = condition.clone();
    all_of(conjuncts(condition)).unwrap_or(whole)
}

/// True where all of `parts` hold; a part is not evaluated where one before it is false. None if there are none.
pub fn all_of(parts: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    parts.into_iter().reduce(both)
}

/// `left AND right` of two conditions; `right` is not evaluated for rows in which `left` is false.
fn both(left: Expr, right: Expr) -> Expr {
    if !Kernel::may_fail(&right) {
        return logic(left, Operator::And, right);
    }
    let decided = Expr::IsFalse(Box::new(left.clone()));
    cases(vec![(decided, boolean(Some(false)))], Some(logic(left, Operator::And, right)))
}

/// `left OR right`; `right` is not evaluated for rows in which `left` is true.
///
/// # Errors
/// `DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE`.
pub fn or(left: Expr, right: Expr, context: Context<'_>) -> Result<Expr> {
    let (left, right) = conditions(left, right, "OR", context)?;
    if !Kernel::may_fail(&right) {
        return Ok(logic(left, Operator::Or, right));
    }
    let decided = Expr::IsTrue(Box::new(left.clone()));
    Ok(cases(vec![(decided, boolean(Some(true)))], Some(logic(left, Operator::Or, right))))
}

/// `NOT value`.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
pub fn not(value: Expr, context: Context<'_>) -> Result<Expr> {
    match context.type_of(&value)? {
        DataType::Boolean => Ok(Expr::Not(Box::new(value))),
        DataType::Null => Ok(boolean(None)),
        other => Err(unexpected(&value, &other, "\"BOOLEAN\"")),
    }
}

fn cases(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Expr {
    let branches = branches.into_iter().map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Expr::Case(Case::new(None, branches, otherwise.map(Box::new)))
}

/// `CASE WHEN condition THEN value ... ELSE otherwise END`, all values brought to one type.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` for a condition that is not BOOLEAN, `DATATYPE_MISMATCH.DATA_DIFF_TYPES`.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>, context: Context<'_>) -> Result<Expr> {
    let (conditions, mut values): (Vec<Expr>, Vec<Expr>) = branches.into_iter().unzip();
    for condition in &conditions {
        let data_type = context.type_of(condition)?;
        if data_type != DataType::Boolean {
            return Err(unexpected(condition, &data_type, "\"BOOLEAN\""));
        }
    }
    let has_otherwise = otherwise.is_some();
    values.extend(otherwise);
    let parts = values.clone();
    let (mut values, _) = context.to_common(values)?;
    let otherwise = if has_otherwise { values.pop() } else { None };
    let chosen = cases(conditions.into_iter().zip(values).collect(), otherwise);
    interval::with_fields_of(chosen, &parts, context.schema)
}

fn if_then_else(mut call: Call<'_>) -> Result<Expr> {
    let [test, then, otherwise] = call.exactly()?;
    let context = call.context();
    let test = match context.type_of(&test)? {
        DataType::Null => boolean(None),
        _ => test,
    };
    case(vec![(test, then)], Some(otherwise), context)
}

fn coalesce(mut call: Call<'_>) -> Result<Expr> {
    let values = call.values(1..=usize::MAX)?;
    first_present(values, call.context())
}

/// The first value that is not null; later ones are evaluated only for rows that need them.
fn first_present(values: Vec<Expr>, context: Context<'_>) -> Result<Expr> {
    let parts = values.clone();
    let (mut values, common) = context.to_common(values)?;
    if common == DataType::Null {
        return Ok(literal::constant(ScalarValue::Null));
    }
    let Some(last) = values.pop() else { return Err(Error::internal("coalesce has arguments")) };
    if values.is_empty() {
        return Ok(last);
    }
    let branches = values.into_iter().map(|value| (value.clone().is_not_null(), value)).collect();
    interval::with_fields_of(cases(branches, Some(last)), &parts, context.schema)
}

fn nvl2(mut call: Call<'_>) -> Result<Expr> {
    let [test, present, absent] = call.exactly()?;
    case(vec![(test.is_not_null(), present)], Some(absent), call.context())
}

fn nullif(mut call: Call<'_>) -> Result<Expr> {
    let [value, other] = call.exactly()?;
    let context = call.context();
    let equal = comparison::compare(Comparison::Equal, value.clone(), other, context)?;
    case(vec![(equal, literal::constant(ScalarValue::Null))], Some(value), context)
}

fn nullifzero(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    let context = call.context();
    let zero = comparison::compare(Comparison::Equal, value.clone(), literal::number("0")?, context)?;
    case(vec![(zero, literal::constant(ScalarValue::Null))], Some(value), context)
}

fn zeroifnull(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    first_present(vec![value, literal::number("0")?], call.context())
}

fn extreme(mut call: Call<'_>, function: Arc<datafusion::logical_expr::ScalarUDF>) -> Result<Expr> {
    let values = call.values(2..=usize::MAX)?;
    let context = call.context();
    let all = values.iter().map(|value| context.type_of(value)).collect::<Result<Vec<_>>>()?;
    let common = coerce::common_type_without_strings(&all, call.conf)?;
    if common == DataType::Null {
        return Ok(literal::constant(ScalarValue::Null));
    }
    comparison::check_ordered(call.name, &common)?;
    let parts = values.clone();
    let values = values.into_iter().map(|value| context.cast(value, &common)).collect::<Result<_>>()?;
    interval::with_fields_of(function.call(values), &parts, context.schema)
}

fn assert_true(mut call: Call<'_>) -> Result<Expr> {
    let mut values = call.values(1..=2)?.into_iter();
    let test = values.next().ok_or_else(|| Error::internal("assert_true has a condition"))?;
    let message = match values.next() {
        Some(message) => call.implicit(message, &DataType::Utf8)?,
        None => literal::string(format!("'{}' is not true!", test.human_display())),
    };
    let test = call.implicit(test, &DataType::Boolean)?;
    let run = |args: &[ArrayRef]| {
        let (test, messages) = (args[0].as_boolean(), args[1].as_string::<i32>());
        match (0..test.len()).find(|row| test.is_null(*row) || !test.value(*row)) {
            Some(row) => Err(raised(messages, row)),
            None => Ok(Arc::new(NullArray::new(test.len())) as ArrayRef),
        }
    };
    Ok(Kernel::arrays("assert_true", DataType::Null, run).lazy().call(vec![test, message]))
}

fn raised(messages: &StringArray, row: usize) -> Error {
    let message = if messages.is_null(row) { "null" } else { messages.value(row) };
    Error::data("USER_RAISED_EXCEPTION", message)
}

fn raise_error(mut call: Call<'_>) -> Result<Expr> {
    let [message] = call.exactly()?;
    let message = call.implicit(message, &DataType::Utf8)?;
    let run = |args: &[ArrayRef]| {
        if args[0].is_empty() {
            Ok(Arc::new(NullArray::new(0)) as ArrayRef)
        } else {
            Err(raised(args[0].as_string::<i32>(), 0))
        }
    };
    Ok(Kernel::arrays("raise_error", DataType::Null, run).lazy().call(vec![message]))
}

fn type_of(mut call: Call<'_>) -> Result<Expr> {
    let [value] = call.exactly()?;
    Ok(literal::string(types::simple_name(&call.type_of(&value)?)))
}
