//! Parameters of SQL text: `:name` and `?` become the values that the program gives.
//!
//! In: a query's tree and values, which are constant expressions. Out: the tree with the values in the places of the markers. A
//! value is never read as SQL text.

use std::ops::ControlFlow;

use super::ast::{Expr, Query, Value, visit_expressions_mut};
use crate::frame::Column;
use crate::{Error, Result};

/// The values for one statement.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    named: Vec<(String, Expr)>,
    positional: Vec<Expr>,
}

impl Parameters {
    /// Values for `:name`.
    ///
    /// # Errors
    /// `INVALID_SQL_ARG` for what is no constant.
    pub fn named<'a>(values: impl IntoIterator<Item = (&'a str, Column)>) -> Result<Self> {
        let named = values.into_iter().map(|(name, value)| Ok((name.to_string(), constant(&value)?)));
        Ok(Self { named: named.collect::<Result<_>>()?, positional: Vec::new() })
    }

    /// Values for each `?` in turn.
    ///
    /// # Errors
    /// `INVALID_SQL_ARG` for what is no constant.
    pub fn positional(values: impl IntoIterator<Item = Column>) -> Result<Self> {
        let positional = values.into_iter().map(|value| constant(&value));
        Ok(Self { named: Vec::new(), positional: positional.collect::<Result<_>>()? })
    }

    /// Puts the values into a query.
    ///
    /// # Errors
    /// `UNBOUND_SQL_PARAMETER` for a marker without value.
    pub(super) fn bind(&self, query: &mut Query) -> Result<()> {
        let mut next = 0;
        let bound = visit_expressions_mut(query, |expr| match marker(expr) {
            None => ControlFlow::Continue(()),
            Some(marker) => match self.value(&marker, &mut next) {
                Some(value) => {
                    *expr = value.clone();
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(marker),
            },
        });
        match bound {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(marker) => {
                Err(Error::query("UNBOUND_SQL_PARAMETER", format!("the parameter '{marker}' has no value"))
                    .hint("Give it one with sql_with_args() or sql_with_positions()."))
            }
        }
    }

    fn value(&self, marker: &str, next: &mut usize) -> Option<&Expr> {
        match marker.strip_prefix(':') {
            Some(name) => self.named.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            None => {
                *next += 1;
                self.positional.get(*next - 1)
            }
        }
    }
}

/// The text of a marker, `:name` or `?`.
fn marker(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// A value's tree, in brackets, so that it stays one operand.
fn constant(value: &Column) -> Result<Expr> {
    let tree = value.tree()?;
    match is_constant(&tree) {
        true => Ok(if matches!(tree, Expr::Value(_)) { tree } else { Expr::Nested(Box::new(tree)) }),
        false => Err(Error::query("INVALID_SQL_ARG", format!("the argument '{tree}' is no constant"))
            .hint("Make it with lit(), or with array(), map() or struct() of constants.")),
    }
}

fn is_constant(tree: &Expr) -> bool {
    const MAKERS: [&str; 5] = ["array", "map", "struct", "named_struct", "map_from_arrays"];
    match tree {
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
        Expr::UnaryOp { expr, .. } | Expr::Cast { expr, .. } | Expr::Nested(expr) => is_constant(expr),
        Expr::Function(call) => MAKERS.iter().any(|maker| call.name.to_string().eq_ignore_ascii_case(maker)),
        _ => false,
    }
}
