//! Aliases of a SELECT list, where later clauses may use them: later items, GROUP BY, HAVING, ORDER BY.
//!
//! In: the items' trees and the columns of FROM. Out: trees in which a name that FROM does not have, but an item has, is
//! replaced by that item's expression. A column of FROM wins over an alias, as in Spark.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::common::DFSchema;

use super::ast::{self, Expr, SelectItem};

/// The items of a SELECT list with their aliases resolved.
pub(super) struct Aliases {
    items: Vec<SelectItem>,
    known: HashMap<String, Expr>,
}

impl Aliases {
    /// Reads the aliases; each item may use those before it.
    pub(super) fn of(items: &[SelectItem], schema: &DFSchema) -> Self {
        let mut aliases = Self { items: Vec::new(), known: HashMap::new() };
        for item in items {
            let item = match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    let expr = aliases.resolve(expr);
                    if !has_column(schema, &alias.value) {
                        aliases.known.insert(alias.value.to_lowercase(), expr.clone());
                    }
                    SelectItem::ExprWithAlias { expr, alias: alias.clone() }
                }
                SelectItem::UnnamedExpr(expr) if !matches!(expr, Expr::Identifier(_)) => {
                    SelectItem::UnnamedExpr(aliases.resolve(expr))
                }
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => aliases.named(name),
                other => other.clone(),
            };
            aliases.items.push(item);
        }
        aliases
    }

    /// An item that is just a name keeps the name.
    fn named(&self, name: &ast::Ident) -> SelectItem {
        match self.known.get(&name.value.to_lowercase()) {
            Some(expr) => SelectItem::ExprWithAlias { expr: expr.clone(), alias: name.clone() },
            None => SelectItem::UnnamedExpr(Expr::Identifier(name.clone())),
        }
    }

    /// The items.
    pub(super) fn items(&self) -> Vec<SelectItem> {
        self.items.clone()
    }

    /// The expression of the item at this place.
    pub(super) fn expression(&self, place: usize) -> Option<Expr> {
        match self.items.get(place)? {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
            _ => None,
        }
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// A tree with aliases replaced by what they stand for.
    pub(super) fn resolve(&self, tree: &Expr) -> Expr {
        let mut tree = tree.clone();
        if self.known.is_empty() {
            return tree;
        }
        let whole = matches!(tree, Expr::Identifier(_));
        let _: ControlFlow<()> = ast::visit_expressions_mut(&mut tree, |part| {
            if let Expr::Identifier(name) = part
                && let Some(meant) = self.known.get(&name.value.to_lowercase())
            {
                *part = if whole { meant.clone() } else { Expr::Nested(Box::new(meant.clone())) };
            }
            ControlFlow::Continue(())
        });
        tree
    }
}

fn has_column(schema: &DFSchema, name: &str) -> bool {
    schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name))
}
