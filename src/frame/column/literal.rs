//! Rust values as literals of SQL.
//!
//! In: numbers, texts, dates, options. Out: a literal of the Spark type that fits: `i32` is INT, `i64` BIGINT, `f64`
//! DOUBLE, `&str` STRING, `None` NULL.

use crate::sql::ast::{Expr, UnaryOperator, Value};

use super::Column;

/// What may stand beside a column in an operator: another column, or a value that becomes a literal.
///
/// A text is a *string literal* here, while functions take a text as a column's name.
pub trait IntoOperand {
    /// The operand as a column.
    fn into_operand(self) -> Column;
}

/// A literal; a column stays what it is.
pub fn lit(value: impl IntoOperand) -> Column {
    value.into_operand()
}

impl IntoOperand for Column {
    fn into_operand(self) -> Column {
        self
    }
}

impl IntoOperand for &Column {
    fn into_operand(self) -> Column {
        self.clone()
    }
}

impl IntoOperand for &str {
    fn into_operand(self) -> Column {
        Column::new(string(self))
    }
}

impl IntoOperand for &String {
    fn into_operand(self) -> Column {
        Column::new(string(self))
    }
}

impl IntoOperand for String {
    fn into_operand(self) -> Column {
        Column::new(string(&self))
    }
}

impl IntoOperand for bool {
    fn into_operand(self) -> Column {
        Column::new(Expr::value(Value::Boolean(self)))
    }
}

impl<T: IntoOperand> IntoOperand for Option<T> {
    fn into_operand(self) -> Column {
        self.map_or_else(|| Column::new(Expr::value(Value::Null)), T::into_operand)
    }
}

/// Numbers: the digits with the suffix of their type, as `5L` in SQL.
macro_rules! numbers {
    ($($rust:ty => $suffix:literal;)*) => {$(
        impl IntoOperand for $rust {
            fn into_operand(self) -> Column {
                Column::new(number(&format!("{self}{}", $suffix)))
            }
        }
    )*};
}

numbers! {
    i8 => "Y";
    i16 => "S";
    i32 => "";
    i64 => "L";
    u8 => "S";
    u16 => "";
    u32 => "L";
}

impl IntoOperand for f32 {
    fn into_operand(self) -> Column {
        float(f64::from(self), &format!("{self:?}F"), "FLOAT")
    }
}

impl IntoOperand for f64 {
    fn into_operand(self) -> Column {
        float(self, &format!("{self:?}D"), "DOUBLE")
    }
}

/// NaN and the infinities have no literal: they are casts of their names.
fn float(value: f64, digits: &str, data_type: &str) -> Column {
    let name = match value {
        value if value.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => return Column::new(number(digits)),
    };
    Column::new(string(name)).cast(data_type)
}

impl IntoOperand for chrono::NaiveDate {
    fn into_operand(self) -> Column {
        Column::from_result(crate::sql::parse_expression(&format!("DATE '{}'", self.format("%Y-%m-%d"))))
    }
}

impl IntoOperand for chrono::DateTime<chrono::Utc> {
    fn into_operand(self) -> Column {
        let text = self.format("%Y-%m-%dT%H:%M:%S%.6fZ");
        Column::from_result(crate::sql::parse_expression(&format!("TIMESTAMP '{text}'")))
    }
}

/// A string literal as a syntax tree.
pub(crate) fn string(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_string()))
}

/// Digits as a literal; a sign becomes an operator, which the binder joins with the digits again.
fn number(digits: &str) -> Expr {
    let literal = |digits: &str| Expr::value(Value::Number(digits.to_string(), false));
    match digits.strip_prefix('-') {
        Some(rest) => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(literal(rest)) },
        None => literal(digits),
    }
}
