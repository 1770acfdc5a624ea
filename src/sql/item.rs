//! Items of a SELECT list: expressions with their output names, stars written out.
//!
//! In comes a syntax tree of an item, out go one or more [`Item`]s. A name that was not given is Spark's own
//! (`default_name`). A plain column keeps its qualifier, so that it can still be called `t.k` afterwards.

use datafusion::common::TableReference;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{self, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions};

use super::default_name::default_name;
use super::expression::{Scope, bind_expression};
use crate::functions::{access, generator};
use crate::{Error, Result};

/// One bound item of a SELECT list.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The value; possibly a generator's call (see `functions::generator::is_generator`).
    pub expr: Expr,
    /// The names it was given: none, one, or several for a generator (`AS (k, v)`).
    pub aliases: Vec<String>,
    /// The name it has if it was given none.
    pub default_name: String,
}

impl Item {
    /// The output name.
    pub fn name(&self) -> &str {
        self.aliases.first().unwrap_or(&self.default_name)
    }

    /// The expression under its output name; a column of that name stays as it is, with its qualifier.
    pub fn into_expr(self) -> Expr {
        let same = matches!(&self.expr, Expr::Column(column) if column.name == self.name());
        if same && self.aliases.is_empty() {
            return self.expr;
        }
        let name = self.name().to_owned();
        self.expr.alias(name)
    }
}

/// Binds an item; a star gives one item for each column.
///
/// # Errors
/// As `bind_expression`; `NUM_TABLE_VALUE_ALIASES_MISMATCH`-like errors are left to whoever plans the generator.
pub fn bind_item(item: &SelectItem, scope: &Scope<'_>) -> Result<Vec<Item>> {
    match item {
        SelectItem::UnnamedExpr(expr) => Ok(vec![unnamed(expr, scope)?]),
        SelectItem::ExprWithAlias { expr, alias } => named(expr, std::slice::from_ref(alias), scope),
        SelectItem::ExprWithAliases { expr, aliases } => named(expr, aliases, scope),
        SelectItem::Wildcard(options) => star(&[], options, scope),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            qualified_star(name, options, scope)
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
            all_fields(bind_expression(expr, scope)?, scope)
        }
    }
}

fn unnamed(expr: &ast::Expr, scope: &Scope<'_>) -> Result<Item> {
    let bound = bind_expression(expr, scope)?;
    let default_name = match &bound {
        Expr::Alias(alias) => alias.name.clone(),
        bound => generator::default_name(bound).map_or_else(|| default_name(expr), str::to_owned),
    };
    Ok(Item { expr: bound.unalias(), aliases: Vec::new(), default_name })
}

fn named(expr: &ast::Expr, aliases: &[ast::Ident], scope: &Scope<'_>) -> Result<Vec<Item>> {
    let item = unnamed(expr, scope)?;
    if aliases.len() > 1 && !generator::is_generator(&item.expr) {
        let message =
            format!("'{}' has {} names, but only a generator makes several columns", item.default_name, aliases.len());
        return Err(Error::query("MULTI_ALIAS_WITHOUT_GENERATOR", message));
    }
    Ok(vec![Item { aliases: aliases.iter().map(|alias| alias.value.clone()).collect(), ..item }])
}

/// All columns of the scope, or of one relation.
pub(super) fn star(qualifier: &[String], options: &WildcardAdditionalOptions, scope: &Scope<'_>) -> Result<Vec<Item>> {
    let except = excepted(options);
    for name in &except {
        if !scope.schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name)) {
            return Err(super::resolve::unresolved(&[name], scope.schema));
        }
    }
    let items = scope
        .schema
        .iter()
        .filter(|(relation, _)| belongs(*relation, qualifier))
        .filter(|(_, field)| !except.iter().any(|name| name.eq_ignore_ascii_case(field.name())))
        .map(|(relation, field)| Item {
            expr: Expr::Column(datafusion::common::Column::new(relation.cloned(), field.name())),
            aliases: Vec::new(),
            default_name: field.name().clone(),
        });
    Ok(items.collect())
}

fn belongs(relation: Option<&TableReference>, qualifier: &[String]) -> bool {
    let parts = relation.map(TableReference::to_vec).unwrap_or_default();
    parts.len() >= qualifier.len()
        && parts.iter().rev().zip(qualifier.iter().rev()).all(|(part, written)| part.eq_ignore_ascii_case(written))
}

fn excepted(options: &WildcardAdditionalOptions) -> Vec<String> {
    let Some(except) = &options.opt_except else { return Vec::new() };
    std::iter::once(&except.first_element).chain(&except.additional_elements).map(|name| name.value.clone()).collect()
}

fn qualified_star(name: &ast::ObjectName, options: &WildcardAdditionalOptions, scope: &Scope<'_>) -> Result<Vec<Item>> {
    let parts: Vec<ast::Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    let qualifier: Vec<String> = parts.iter().map(|part| part.value.clone()).collect();
    let items = star(&qualifier, options, scope)?;
    if !items.is_empty() {
        return Ok(items);
    }
    let value =
        bind_expression(&ast::Expr::CompoundIdentifier(parts), scope).map_err(|error| match error.condition() {
            Some("UNRESOLVED_COLUMN.WITH_SUGGESTION" | "UNRESOLVED_COLUMN.WITHOUT_SUGGESTION") => {
                error.with_condition("CANNOT_RESOLVE_STAR_EXPAND")
            }
            _ => error,
        })?;
    all_fields(value, scope)
}

/// `s.*` for a struct.
fn all_fields(value: Expr, scope: &Scope<'_>) -> Result<Vec<Item>> {
    let arrow::datatypes::DataType::Struct(fields) = value.get_type(scope.schema)? else {
        return Err(Error::query("CANNOT_RESOLVE_STAR_EXPAND", "a star can only be put behind a table or a struct"));
    };
    let item = |name: &String| {
        let expr = access::field(value.clone(), name, scope.context())?;
        Ok(Item { expr, aliases: Vec::new(), default_name: name.clone() })
    };
    fields.iter().map(|field| item(field.name())).collect()
}
