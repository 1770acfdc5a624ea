//! Aliases of a SELECT list, where later clauses may use them: later items, GROUP BY, HAVING, ORDER BY.
//!
//! In: the items' trees and the columns of FROM. Out: trees in which a name that FROM does not have, but an item has, is
//! replaced by that item's expression. A column of FROM wins over an alias, as in Spark.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::DFSchema;

use super::ast::{self, AccessExpr, Expr, SelectItem};
use super::group_by::is_aggregate_call;
use crate::{Error, Result};

/// The items of a SELECT list with their aliases resolved.
pub(super) struct Aliases {
    items: Vec<SelectItem>,
    known: HashMap<String, Expr>,
    /// All aliases, also those that FROM's columns hide from other items.
    outputs: HashMap<String, Expr>,
    /// Names that several items have.
    repeated: HashSet<String>,
    /// Names that FROM's relations have: `r.x` is a column of theirs, not a field of the alias `r`.
    relations: HashSet<String>,
}

impl Aliases {
    /// Reads the aliases; each item may use those before it.
    ///
    /// # Errors
    /// `AMBIGUOUS_LATERAL_COLUMN_ALIAS` for an item that uses a name which two items before it have.
    pub(super) fn of(items: &[SelectItem], schema: &DFSchema) -> Result<Self> {
        let relations = schema.iter().filter_map(|(relation, _)| Some(relation?.table().to_lowercase())).collect();
        let mut aliases = Self {
            items: Vec::new(),
            known: HashMap::new(),
            outputs: HashMap::new(),
            repeated: HashSet::new(),
            relations,
        };
        for item in items {
            aliases.check(item)?;
            let item = match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    let expr = aliases.resolve(expr);
                    let name = alias.value.to_lowercase();
                    aliases.outputs.insert(name.clone(), expr.clone());
                    if !has_column(schema, &name) && aliases.known.insert(name.clone(), expr.clone()).is_some() {
                        aliases.repeated.insert(name);
                    }
                    SelectItem::ExprWithAlias { expr, alias: alias.clone() }
                }
                SelectItem::UnnamedExpr(expr) if !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
                    SelectItem::UnnamedExpr(aliases.resolve(expr))
                }
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => aliases.named(name),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => aliases.field_named(names),
                other => other.clone(),
            };
            aliases.items.push(item);
        }
        Ok(aliases)
    }

    /// No item uses a name that several items before it have.
    fn check(&self, item: &SelectItem) -> Result<()> {
        let found = ast::visit_expressions(item, |part| match part {
            Expr::Identifier(name) if self.repeated.contains(&name.value.to_lowercase()) => {
                ControlFlow::Break(name.value.clone())
            }
            _ => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Break(name) => {
                let message = format!("the alias `{name}` is ambiguous: several items before have it");
                Err(Error::query("AMBIGUOUS_LATERAL_COLUMN_ALIAS", message))
            }
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// An item that is just a name keeps the name.
    fn named(&self, name: &ast::Ident) -> SelectItem {
        match self.known.get(&name.value.to_lowercase()) {
            Some(expr) => SelectItem::ExprWithAlias { expr: expr.clone(), alias: name.clone() },
            None => SelectItem::UnnamedExpr(Expr::Identifier(name.clone())),
        }
    }

    /// An item that is just a field is called as the field.
    fn field_named(&self, names: &[ast::Ident]) -> SelectItem {
        match (self.field(names), names.last()) {
            (Some(expr), Some(name)) => SelectItem::ExprWithAlias { expr, alias: name.clone() },
            _ => SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names.to_vec())),
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

    /// A field of what an alias stands for.
    fn field(&self, names: &[ast::Ident]) -> Option<Expr> {
        let (alias, path) = names.split_first()?;
        let alias = alias.value.to_lowercase();
        let meant = self.known.get(&alias).filter(|_| !self.relations.contains(&alias))?;
        let step = |name: &ast::Ident| AccessExpr::Dot(Expr::Identifier(name.clone()));
        let root = Box::new(Expr::Nested(Box::new(meant.clone())));
        Some(Expr::CompoundFieldAccess { root, access_chain: path.iter().map(step).collect() })
    }

    /// A tree of HAVING or ORDER BY: names mean the output first, but in arguments of aggregate functions the columns of FROM.
    pub(super) fn resolve_output(&self, tree: &Expr) -> Expr {
        let mut tree = tree.clone();
        let mut names = OutputNames { outputs: &self.outputs, inside: 0 };
        let _: ControlFlow<()> = ast::VisitMut::visit(&mut tree, &mut names);
        self.resolve(&tree)
    }

    /// A tree with aliases replaced by what they stand for.
    pub(super) fn resolve(&self, tree: &Expr) -> Expr {
        let mut tree = tree.clone();
        if self.known.is_empty() {
            return tree;
        }
        let whole = matches!(tree, Expr::Identifier(_));
        let _: ControlFlow<()> = ast::visit_expressions_mut(&mut tree, |part| {
            match part {
                Expr::Identifier(name) => {
                    if let Some(meant) = self.known.get(&name.value.to_lowercase()) {
                        *part = if whole { meant.clone() } else { Expr::Nested(Box::new(meant.clone())) };
                    }
                }
                Expr::CompoundIdentifier(names) => {
                    if let Some(field) = self.field(names) {
                        *part = field;
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        tree
    }
}

fn has_column(schema: &DFSchema, name: &str) -> bool {
    schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name))
}

/// Replaces aliases, except in arguments of aggregate functions.
struct OutputNames<'a> {
    outputs: &'a HashMap<String, Expr>,
    inside: usize,
}

impl ast::VisitorMut for OutputNames<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.inside += usize::from(is_aggregate_call(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_aggregate_call(expr) {
            self.inside -= 1;
        } else if self.inside == 0
            && let Expr::Identifier(name) = expr
            && let Some(meant) = self.outputs.get(&name.value.to_lowercase())
        {
            *expr = Expr::Nested(Box::new(meant.clone()));
        }
        ControlFlow::Continue(())
    }
}
