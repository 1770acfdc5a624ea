//! Operators and methods of [`Column`]: arithmetic, comparison, logic, text, structs, CASE, OVER.
//!
//! In: columns and values. Out: columns. Rust's `==` and `<` cannot build trees, so comparisons are methods.

use std::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Rem, Sub};

use crate::sql::ast::helpers::attached_token::AttachedToken;
use crate::sql::ast::{AccessExpr, BinaryOperator, CaseWhen, Expr, Ident, Subscript, UnaryOperator, WindowType};

use super::literal::{IntoOperand, string};
use super::{Column, call};
use crate::frame::window_spec::WindowSpec;
use crate::{Error, Result};

fn binary(left: Column, op: BinaryOperator, right: impl IntoOperand) -> Column {
    let join = |left: Expr, right: Expr| Expr::BinaryOp { left: nested(left), op, right: nested(right) };
    Column::from_result(left.tree.and_then(|left| Ok(join(left, right.into_operand().tree?))))
}

/// Wraps operators into parentheses, so that the tree also prints as it means.
fn nested(tree: Expr) -> Box<Expr> {
    Box::new(match tree {
        operator @ (Expr::BinaryOp { .. } | Expr::UnaryOp { .. } | Expr::Between { .. } | Expr::InList { .. }) => {
            Expr::Nested(Box::new(operator))
        }
        other => other,
    })
}

macro_rules! comparisons {
    ($($(#[doc = $doc:literal])* $name:ident => $op:ident;)*) => {
        impl Column {$(
            $(#[doc = $doc])*
            pub fn $name(self, other: impl IntoOperand) -> Column {
                binary(self, BinaryOperator::$op, other)
            }
        )*}
    };
}

comparisons! {
    /// `=`: null if a side is null.
    eq_to => Eq;
    /// `<>`: null if a side is null.
    not_eq => NotEq;
    /// `>`
    gt => Gt;
    /// `>=`
    geq => GtEq;
    /// `<`
    lt => Lt;
    /// `<=`
    leq => LtEq;
    /// `<=>`: never null; two nulls are equal.
    eq_null_safe => Spaceship;
    /// Both are true.
    and => And;
    /// At least one is true.
    or => Or;
    /// Bitwise AND.
    bitwise_and => BitwiseAnd;
    /// Bitwise OR.
    bitwise_or => BitwiseOr;
    /// Bitwise XOR.
    bitwise_xor => BitwiseXor;
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $op:ident;)*) => {$(
        impl<T: IntoOperand> $trait<T> for Column {
            type Output = Column;
            fn $method(self, other: T) -> Column {
                binary(self, BinaryOperator::$op, other)
            }
        }
    )*};
}

arithmetic! {
    Add add Plus;
    Sub sub Minus;
    Mul mul Multiply;
    Div div Divide;
    Rem rem Modulo;
    BitAnd bitand And;
    BitOr bitor Or;
}

impl Not for Column {
    type Output = Column;
    fn not(self) -> Column {
        self.map(|tree| Expr::UnaryOp { op: UnaryOperator::Not, expr: nested(tree) })
    }
}

impl Neg for Column {
    type Output = Column;
    fn neg(self) -> Column {
        self.map(|tree| Expr::UnaryOp { op: UnaryOperator::Minus, expr: nested(tree) })
    }
}

impl Column {
    /// True if the value is null.
    pub fn is_null(self) -> Column {
        self.map(|tree| Expr::IsNull(nested(tree)))
    }

    /// True if the value is not null.
    pub fn is_not_null(self) -> Column {
        self.map(|tree| Expr::IsNotNull(nested(tree)))
    }

    /// True if the value is a floating-point NaN.
    pub fn is_nan(self) -> Column {
        self.map(|tree| call("isnan", vec![tree]))
    }

    /// True if the value equals one of these.
    pub fn is_in(self, values: impl IntoIterator<Item = impl IntoOperand>) -> Column {
        let list = values.into_iter().map(|value| value.into_operand().tree).collect::<Result<Vec<_>>>();
        let build = |tree, list| Expr::InList { expr: nested(tree), list, negated: false };
        Column::from_result(self.tree.and_then(|tree| Ok(build(tree, list?))))
    }

    /// True if the value lies between the two, both included.
    pub fn between(self, low: impl IntoOperand, high: impl IntoOperand) -> Column {
        let build = |expr, low, high| Expr::Between { expr: nested(expr), negated: false, low, high };
        let bounds = (low.into_operand().tree, high.into_operand().tree);
        Column::from_result(self.tree.and_then(|tree| Ok(build(tree, nested(bounds.0?), nested(bounds.1?)))))
    }

    fn matches(self, pattern: &str, build: impl FnOnce(Box<Expr>, Box<Expr>) -> Expr) -> Column {
        self.map(|tree| build(nested(tree), Box::new(string(pattern))))
    }

    /// SQL's LIKE: `%` any text, `_` one character, `\` escapes.
    pub fn like(self, pattern: &str) -> Column {
        self.matches(pattern, |expr, pattern| Expr::Like {
            negated: false,
            any: false,
            expr,
            pattern,
            escape_char: None,
        })
    }

    /// LIKE without regard to upper and lower case.
    pub fn ilike(self, pattern: &str) -> Column {
        self.matches(pattern, |expr, pattern| Expr::ILike {
            negated: false,
            any: false,
            expr,
            pattern,
            escape_char: None,
        })
    }

    /// True if the regular expression matches some part of the text.
    pub fn rlike(self, pattern: &str) -> Column {
        self.matches(pattern, |expr, pattern| Expr::RLike { negated: false, expr, pattern, regexp: false })
    }

    fn with_arguments(self, name: &str, others: Vec<Column>) -> Column {
        let all = std::iter::once(self).chain(others).map(|column| column.tree).collect::<Result<Vec<_>>>();
        Column::from_result(all.map(|all| call(name, all)))
    }

    /// True if the text begins with the other.
    pub fn starts_with(self, other: impl IntoOperand) -> Column {
        self.with_arguments("startswith", vec![other.into_operand()])
    }

    /// True if the text ends with the other.
    pub fn ends_with(self, other: impl IntoOperand) -> Column {
        self.with_arguments("endswith", vec![other.into_operand()])
    }

    /// True if the text holds the other.
    pub fn contains(self, other: impl IntoOperand) -> Column {
        self.with_arguments("contains", vec![other.into_operand()])
    }

    /// The part of the text from a position (counted from 1) with this length.
    pub fn substr(self, start: impl IntoOperand, length: impl IntoOperand) -> Column {
        self.with_arguments("substring", vec![start.into_operand(), length.into_operand()])
    }

    /// Converts to a type by its SQL name: `cast("timestamp")`, `cast("decimal(10,2)")`.
    pub fn cast(self, data_type: &str) -> Column {
        self.cast_kind("CAST", data_type)
    }

    /// Converts to a type; null where the value does not fit.
    pub fn try_cast(self, data_type: &str) -> Column {
        self.cast_kind("TRY_CAST", data_type)
    }

    fn cast_kind(self, kind: &str, data_type: &str) -> Column {
        let parsed = crate::sql::parse_expression(&format!("{kind}(NULL AS {data_type})"));
        let cast = |value: Expr, parsed: Expr| match parsed {
            Expr::Cast { kind, data_type, array, format, .. } => {
                Ok(Expr::Cast { kind, expr: Box::new(value), data_type, array, format })
            }
            _ => Err(Error::query("PARSE_SYNTAX_ERROR", format!("'{data_type}' is not a type"))),
        };
        Column::from_result(self.tree.and_then(|value| cast(value, parsed?)))
    }

    /// An element of an array (counted from 0) or the value of a map's key.
    pub fn item(self, key: impl IntoOperand) -> Column {
        let access = |root, index| Expr::CompoundFieldAccess {
            root: nested(root),
            access_chain: vec![AccessExpr::Subscript(Subscript::Index { index })],
        };
        Column::from_result(self.tree.and_then(|root| Ok(access(root, key.into_operand().tree?))))
    }

    /// A field of a struct.
    pub fn field(self, name: &str) -> Column {
        let ident = Ident::with_quote('`', name);
        self.map(|root| match root {
            Expr::Identifier(first) => Expr::CompoundIdentifier(vec![first, ident]),
            Expr::CompoundIdentifier(mut parts) => {
                parts.push(ident);
                Expr::CompoundIdentifier(parts)
            }
            other => Expr::CompoundFieldAccess {
                root: nested(other),
                access_chain: vec![AccessExpr::Dot(Expr::Identifier(ident))],
            },
        })
    }

    /// Evaluates an aggregate or window function over a window: `sum("v").over(Window::partition_by(["k"]))`.
    pub fn over(self, window: WindowSpec) -> Column {
        let build = |tree: Expr, over| match tree {
            Expr::Function(mut function) => {
                function.over = Some(WindowType::WindowSpec(over));
                Ok(Expr::Function(function))
            }
            other => Err(Error::query(
                "UNSUPPORTED_EXPR_FOR_WINDOW",
                format!("'{other}' cannot be used with OVER because it is no call of a function"),
            )),
        };
        Column::from_result(self.tree.and_then(|tree| build(tree, window.into_tree()?)))
    }
}

/// A CASE expression under construction; without `otherwise` it is null where no condition holds.
#[derive(Debug, Clone)]
pub struct CaseColumn {
    branches: Vec<(Column, Column)>,
}

/// Begins a CASE expression: `when(col("v").gt(10), "big").otherwise("small")`.
pub fn when(condition: impl Into<Column>, value: impl IntoOperand) -> CaseColumn {
    CaseColumn { branches: vec![(condition.into(), value.into_operand())] }
}

impl CaseColumn {
    /// Adds a branch, tried after those before it.
    pub fn when(mut self, condition: impl Into<Column>, value: impl IntoOperand) -> Self {
        self.branches.push((condition.into(), value.into_operand()));
        self
    }

    /// The value where no condition holds.
    pub fn otherwise(self, value: impl IntoOperand) -> Column {
        self.finish(Some(value.into_operand()))
    }

    /// Ends the expression; null where no condition holds.
    pub fn end(self) -> Column {
        self.finish(None)
    }

    fn finish(self, otherwise: Option<Column>) -> Column {
        let branch = |(condition, result): (Column, Column)| {
            Ok::<_, Error>(CaseWhen { condition: condition.tree?, result: result.tree? })
        };
        let conditions = self.branches.into_iter().map(branch).collect::<Result<Vec<_>>>();
        let build = |conditions, else_result: Option<Expr>| Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions,
            else_result: else_result.map(Box::new),
        };
        let otherwise = otherwise.map(|column| column.tree).transpose();
        Column::from_result(conditions.and_then(|conditions| Ok(build(conditions, otherwise?))))
    }
}

impl From<CaseColumn> for Column {
    fn from(case: CaseColumn) -> Self {
        case.end()
    }
}

impl IntoOperand for CaseColumn {
    fn into_operand(self) -> Column {
        self.end()
    }
}
