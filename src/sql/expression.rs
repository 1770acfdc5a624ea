//! Syntax trees to bound expressions: every name resolved, every implicit cast written out, Spark's type exactly.
//!
//! In comes a tree and a [`Scope`]; out goes a DataFusion expression over the scope's columns. The match over kinds of
//! trees is here; names are in `resolve`, calls in `calls`, windows in `over`, items of a SELECT list in `item`. What
//! operators mean is in `functions`.

use arrow::datatypes::FieldRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator, CastKind, UnaryOperator};

use super::interval::Field;
use super::{calls, literal, resolve, subquery};
use crate::conf::Conf;
use crate::functions::arithmetic::{self, Operator};
use crate::functions::cast::{self, Mode};
use crate::functions::comparison::{self, Comparison, Pattern};
use crate::functions::user::UserFunctions;
use crate::functions::{Context, conditional};
use crate::{Error, Result, types};

pub use super::item::{Item, bind_item};

/// Plans a subquery within an expression; the scope is that of the expression around it.
pub type PlanSubquery<'a> = dyn Fn(&ast::Query, &Scope<'_>) -> Result<LogicalPlan> + 'a;

/// What names in an expression may refer to.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The columns.
    pub schema: &'a DFSchema,
    /// Session settings.
    pub conf: &'a Conf,
    /// The scope of the query around this subquery.
    pub outer: Option<&'a Scope<'a>>,
    /// Parameters of the lambdas around this expression, innermost first.
    pub lambda: Option<&'a Parameters<'a>>,
    /// Plans subqueries; without it they are refused.
    pub subquery: Option<&'a PlanSubquery<'a>>,
    /// Named windows (`WINDOW w AS (...)`).
    pub windows: &'a [ast::NamedWindowDefinition],
    /// The functions that the program registered.
    pub functions: Option<&'a UserFunctions>,
}

/// Parameters of a lambda.
pub struct Parameters<'a> {
    /// The parameters, with their types.
    pub fields: &'a [FieldRef],
    /// The parameters of the lambda around it.
    pub outer: Option<&'a Parameters<'a>>,
}

impl<'a> Scope<'a> {
    /// A scope of columns only.
    pub fn new(schema: &'a DFSchema, conf: &'a Conf) -> Self {
        Scope { schema, conf, outer: None, lambda: None, subquery: None, windows: &[], functions: None }
    }

    /// What functions need to know of it.
    pub fn context(&self) -> Context<'a> {
        Context { schema: self.schema, conf: self.conf }
    }
}

/// Binds an expression.
///
/// # Errors
/// Spark's analysis errors: `UNRESOLVED_COLUMN.*`, `UNRESOLVED_ROUTINE`, `DATATYPE_MISMATCH.*` and so on.
pub fn bind_expression(expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    use ast::Expr as E;
    match expr {
        E::Identifier(name) => resolve::column(std::slice::from_ref(name), scope),
        E::CompoundIdentifier(names) => resolve::column(names, scope),
        E::CompoundFieldAccess { root, access_chain } => resolve::access(root, access_chain, scope),
        E::Value(value) => literal::bind_value(&value.value),
        E::TypedString(text) => literal::bind_typed(text, scope.conf),
        E::Interval(interval) => literal::interval(interval),
        E::Nested(inner) => bind_expression(inner, scope),
        E::BinaryOp { left, op, right } => binary(left, op, right, scope),
        E::UnaryOp { op, expr } => unary(*op, expr, scope),
        E::Cast { kind, expr, data_type, .. } => cast_to(kind, expr, data_type, scope),
        E::Function(function) => calls::function(function, scope),
        E::Case { operand, conditions, else_result, .. } => case(operand, conditions, else_result, scope),
        E::InList { expr, list, negated } => in_list(expr, list, *negated, scope),
        E::Between { expr, negated, low, high } => between(expr, low, high, *negated, scope),
        E::Like { .. } | E::ILike { .. } | E::RLike { .. } => pattern(expr, scope),
        E::Exists { .. } | E::InSubquery { .. } | E::Subquery(_) => subquery::subquery(expr, scope),
        E::Tuple(values) => calls::named("struct", values, scope),
        E::Named { expr, name } => Ok(bind_expression(expr, scope)?.alias(&name.value)),
        E::Extract { .. } | E::Position { .. } | E::Substring { .. } | E::Trim { .. } | E::Overlay { .. } => {
            calls::keyword_call(expr, scope)
        }
        E::Ceil { .. } | E::Floor { .. } => calls::keyword_call(expr, scope),
        _ => test(expr, scope),
    }
}

/// `IS NULL` and its kin.
fn test(expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    use ast::Expr as E;
    let bind = |inner: &ast::Expr| bind_expression(inner, scope);
    let is = |inner: &ast::Expr, value: bool| comparison::is_boolean(bind(inner)?, value, scope.context());
    match expr {
        E::IsNull(inner) | E::IsUnknown(inner) => Ok(bind(inner)?.is_null()),
        E::IsNotNull(inner) | E::IsNotUnknown(inner) => Ok(bind(inner)?.is_not_null()),
        E::IsTrue(inner) => is(inner, true),
        E::IsFalse(inner) => is(inner, false),
        E::IsNotTrue(inner) => Ok(Expr::Not(Box::new(is(inner, true)?))),
        E::IsNotFalse(inner) => Ok(Expr::Not(Box::new(is(inner, false)?))),
        E::IsDistinctFrom(left, right) => {
            let same = comparison::compare(Comparison::NullSafeEqual, bind(left)?, bind(right)?, scope.context())?;
            Ok(Expr::Not(Box::new(same)))
        }
        E::IsNotDistinctFrom(left, right) => {
            comparison::compare(Comparison::NullSafeEqual, bind(left)?, bind(right)?, scope.context())
        }
        E::Lambda(_) => Err(Error::query(
            "INVALID_LAMBDA_FUNCTION_CALL.NON_HIGHER_ORDER_FUNCTION",
            "a lambda stands where a value is due",
        )),
        other => Err(Error::unsupported(format!("the expression '{other}' is not supported"))),
    }
}

fn binary(left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    let context = scope.context();
    if let BinaryOperator::StringConcat = op {
        return calls::named("concat", &[left.clone(), right.clone()], scope);
    }
    let (left, right) = (bind_expression(left, scope)?, bind_expression(right, scope)?);
    if let Some(comparison) = comparison_of(op) {
        return comparison::compare(comparison, left, right, context);
    }
    match op {
        BinaryOperator::And => conditional::and(left, right, context),
        BinaryOperator::Or => conditional::or(left, right, context),
        BinaryOperator::NotEq => {
            let equal = comparison::compare(Comparison::Equal, left, right, context)?;
            Ok(Expr::Not(Box::new(equal)))
        }
        op => match operator_of(op) {
            Some(operator) => arithmetic::binary(operator, left, right, context),
            None => Err(Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{op}'"))),
        },
    }
}

fn comparison_of(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::Spaceship => Comparison::NullSafeEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn operator_of(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::MyIntegerDivide => Operator::IntegralDivide,
        BinaryOperator::Modulo => Operator::Remainder,
        BinaryOperator::BitwiseAnd => Operator::BitAnd,
        BinaryOperator::BitwiseOr => Operator::BitOr,
        BinaryOperator::BitwiseXor => Operator::BitXor,
        BinaryOperator::PGBitwiseShiftLeft => Operator::ShiftLeft,
        BinaryOperator::PGBitwiseShiftRight => Operator::ShiftRight,
        _ => return None,
    })
}

fn unary(op: UnaryOperator, expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    if let (UnaryOperator::Minus, ast::Expr::Value(value)) = (op, expr)
        && let ast::Value::Number(text, _) = &value.value
    {
        return literal::number(&format!("-{text}"));
    }
    let bound = bind_expression(expr, scope)?;
    match op {
        UnaryOperator::Minus => arithmetic::negate(bound, scope.context()),
        UnaryOperator::Plus => arithmetic::positive(bound, scope.context()),
        UnaryOperator::Not | UnaryOperator::BangNot => conditional::not(bound, scope.context()),
        UnaryOperator::BitwiseNot => arithmetic::bit_not(bound, scope.context()),
        other => Err(Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{other}'"))),
    }
}

fn cast_to(kind: &CastKind, expr: &ast::Expr, data_type: &ast::DataType, scope: &Scope<'_>) -> Result<Expr> {
    let to = types::parse_type(&data_type.to_string())?;
    let mode = match kind {
        CastKind::Cast | CastKind::DoubleColon => Mode::of(scope.conf),
        CastKind::TryCast | CastKind::SafeCast => Mode::Try,
    };
    let expr = bind_expression(expr, scope)?;
    match Field::of_type(&data_type.to_string()) {
        Some(fields) => cast::interval::to_fields(expr, fields, mode, scope.schema, scope.conf),
        None => cast::cast(expr, &to, mode, scope.schema, scope.conf),
    }
}

fn case(
    operand: &Option<Box<ast::Expr>>,
    conditions: &[ast::CaseWhen],
    otherwise: &Option<Box<ast::Expr>>,
    scope: &Scope<'_>,
) -> Result<Expr> {
    let operand = operand.as_deref().map(|operand| bind_expression(operand, scope)).transpose()?;
    let mut branches = Vec::with_capacity(conditions.len());
    for when in conditions {
        let mut condition = bind_expression(&when.condition, scope)?;
        if let Some(operand) = &operand {
            condition = comparison::compare(Comparison::Equal, operand.clone(), condition, scope.context())?;
        }
        branches.push((condition, bind_expression(&when.result, scope)?));
    }
    let otherwise = otherwise.as_deref().map(|otherwise| bind_expression(otherwise, scope)).transpose()?;
    conditional::case(branches, otherwise, scope.context())
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}

fn in_list(expr: &ast::Expr, list: &[ast::Expr], negated: bool, scope: &Scope<'_>) -> Result<Expr> {
    let value = bind_expression(expr, scope)?;
    let list = list.iter().map(|item| bind_expression(item, scope)).collect::<Result<Vec<_>>>()?;
    Ok(negated_if(negated, comparison::in_list(value, list, scope.context())?))
}

fn between(expr: &ast::Expr, low: &ast::Expr, high: &ast::Expr, negated: bool, scope: &Scope<'_>) -> Result<Expr> {
    let context = scope.context();
    let value = bind_expression(expr, scope)?;
    let above = comparison::compare(Comparison::GreaterOrEqual, value.clone(), bind_expression(low, scope)?, context)?;
    let below = comparison::compare(Comparison::LessOrEqual, value, bind_expression(high, scope)?, context)?;
    Ok(negated_if(negated, conditional::and(above, below, context)?))
}

fn pattern(expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    use ast::Expr as E;
    let (kind, negated, expr, pattern, escape) = match expr {
        E::Like { negated, expr, pattern, escape_char, .. } => {
            (Pattern::Like, negated, expr, pattern, escape_char.as_ref())
        }
        E::ILike { negated, expr, pattern, escape_char, .. } => {
            (Pattern::ILike, negated, expr, pattern, escape_char.as_ref())
        }
        E::RLike { negated, expr, pattern, .. } => (Pattern::RLike, negated, expr, pattern, None),
        other => return Err(Error::internal(format!("'{other}' is no pattern"))),
    };
    let (value, pattern) = (bind_expression(expr, scope)?, bind_expression(pattern, scope)?);
    let escape = escape.map(|value| literal::text_of(&value.value)).transpose()?;
    Ok(negated_if(*negated, comparison::matches(kind, value, pattern, escape.as_deref(), scope.context())?))
}
