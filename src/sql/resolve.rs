//! Names of columns and fields: `k`, `events.k`, `who.name.first`, `a[0]`, `m['x']`.
//!
//! In come the parts of a name, out goes a column (or a lambda's parameter, or a column of the query around a subquery),
//! with struct fields taken out of it. Names match whatever their case. The longest qualifier wins, as in Spark.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, ExprSchema, TableReference};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::LambdaVariable;
use datafusion::sql::sqlparser::ast::{self, AccessExpr, Ident, Subscript};

use super::expression::{Parameters, Scope, bind_expression};
use super::{calls, names};
use crate::functions::access;
use crate::{Error, Result};

/// Binds a name of one or more parts.
///
/// # Errors
/// `UNRESOLVED_COLUMN.*`, `AMBIGUOUS_REFERENCE`, `FIELD_NOT_FOUND`.
pub(super) fn column(parts: &[Ident], scope: &Scope<'_>) -> Result<Expr> {
    let names: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
    if let Some(found) = lambda(&names, scope)? {
        return Ok(found);
    }
    if let Some((column, rest)) = find(&names, scope.schema)? {
        return access::fields(Expr::Column(column), rest, scope.context());
    }
    if let Some(found) = outer(&names, scope)? {
        return Ok(found);
    }
    match parts {
        [part] if part.quote_style.is_none() && is_constant_function(&part.value) => {
            calls::named(&part.value, &[], scope)
        }
        _ => Err(unresolved(&names, scope.schema)),
    }
}

fn lambda(names: &[&str], scope: &Scope<'_>) -> Result<Option<Expr>> {
    let [first, rest @ ..] = names else { return Ok(None) };
    let mut level: Option<&Parameters<'_>> = scope.lambda;
    while let Some(parameters) = level {
        if let Some(field) = parameters.fields.iter().find(|field| field.name().eq_ignore_ascii_case(first)) {
            let variable = LambdaVariable::new(field.name().clone(), Some(Arc::clone(field)));
            return access::fields(Expr::LambdaVariable(variable), rest, scope.context()).map(Some);
        }
        level = parameters.outer;
    }
    Ok(None)
}

/// The column a name begins with, and the parts that are left for fields.
fn find<'n, 'p>(names: &'n [&'p str], schema: &DFSchema) -> Result<Option<(Column, &'n [&'p str])>> {
    for qualifiers in (0..names.len().min(4)).rev() {
        let (qualifier, rest) = names.split_at(qualifiers);
        let [name, fields @ ..] = rest else { continue };
        let found: Vec<Column> = candidates(qualifier, name, schema).collect();
        match found.as_slice() {
            [] => continue,
            [column] => return Ok(Some((column.clone(), fields))),
            several => return Err(ambiguous(names, several)),
        }
    }
    Ok(None)
}

fn candidates<'a>(qualifier: &'a [&'a str], name: &'a str, schema: &'a DFSchema) -> impl Iterator<Item = Column> + 'a {
    schema
        .iter()
        .filter(move |(relation, field)| field.name().eq_ignore_ascii_case(name) && is_qualified(*relation, qualifier))
        .map(|(relation, field)| Column::new(relation.cloned(), field.name()))
}

fn is_qualified(relation: Option<&TableReference>, qualifier: &[&str]) -> bool {
    if qualifier.is_empty() {
        return true;
    }
    let Some(relation) = relation else { return false };
    let parts = relation.to_vec();
    parts.len() >= qualifier.len()
        && parts.iter().rev().zip(qualifier.iter().rev()).all(|(part, written)| part.eq_ignore_ascii_case(written))
}

fn ambiguous(names: &[&str], several: &[Column]) -> Error {
    let references: Vec<String> = several.iter().map(quoted_column).collect();
    Error::query(
        "AMBIGUOUS_REFERENCE",
        format!("reference {} is ambiguous, could be: [{}]", quoted(names), references.join(", ")),
    )
    .hint("Qualify it with the name or alias of its table.")
}

fn quoted_column(column: &Column) -> String {
    let relation = column.relation.as_ref().filter(|relation| !names::is_hidden(relation));
    let mut parts = relation.map(TableReference::to_vec).unwrap_or_default();
    parts.push(column.name.clone());
    quoted(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{}`", name.replace('`', "``"))).collect::<Vec<_>>().join(".")
}

fn outer(names: &[&str], scope: &Scope<'_>) -> Result<Option<Expr>> {
    let mut level = scope.outer;
    while let Some(outer) = level {
        if let Some((column, rest)) = find(names, outer.schema)? {
            let field = outer.schema.field_from_column(&column)?;
            let reference = Expr::OuterReferenceColumn(Arc::clone(field), column);
            return access::fields(reference, rest, scope.context()).map(Some);
        }
        level = outer.outer;
    }
    Ok(None)
}

/// Functions that may be called without parentheses.
fn is_constant_function(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "current_date",
        "current_timestamp",
        "localtimestamp",
        "current_time",
        "current_user",
        "session_user",
        "user",
        "current_catalog",
        "current_database",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// How many columns an error proposes.
const PROPOSALS: usize = 5;

/// `UNRESOLVED_COLUMN`, with the nearest names.
pub fn unresolved(names: &[&str], schema: &DFSchema) -> Error {
    let message = format!("a column, variable, or function parameter with name {} cannot be resolved", quoted(names));
    let mut near: Vec<Column> = schema.columns();
    if near.is_empty() {
        return Error::query("UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", message);
    }
    let wanted = names.last().copied().unwrap_or_default().to_lowercase();
    near.sort_by_key(|column| distance(&wanted, &column.name.to_lowercase()));
    near.truncate(PROPOSALS);
    let near: Vec<String> = near.iter().map(quoted_column).collect();
    Error::query("UNRESOLVED_COLUMN.WITH_SUGGESTION", message)
        .hint(format!("Did you mean one of the following? [{}].", near.join(", ")))
}

fn distance(left: &str, right: &str) -> usize {
    datafusion::common::utils::datafusion_strsim::levenshtein(left, right)
}

/// Binds `root.field`, `root[index]` and chains of them.
///
/// # Errors
/// As [`column`], and those of the fields.
pub(super) fn access(root: &ast::Expr, chain: &[AccessExpr], scope: &Scope<'_>) -> Result<Expr> {
    let (mut bound, chain) = access_root(root, chain, scope)?;
    for step in chain {
        bound = match step {
            AccessExpr::Dot(ast::Expr::Identifier(name)) => access::field(bound, &name.value, scope.context())?,
            AccessExpr::Subscript(Subscript::Index { index }) => {
                access::subscript(bound, bind_expression(index, scope)?, scope.context())?
            }
            other => return Err(Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{other}'"))),
        };
    }
    Ok(bound)
}

/// Names before the first `[` belong together: in `t.a[0]` the `t` may be a qualifier.
fn access_root<'a>(root: &ast::Expr, chain: &'a [AccessExpr], scope: &Scope<'_>) -> Result<(Expr, &'a [AccessExpr])> {
    let ast::Expr::Identifier(first) = root else { return Ok((bind_expression(root, scope)?, chain)) };
    let mut parts = vec![first.clone()];
    let names = chain.iter().map_while(|step| match step {
        AccessExpr::Dot(ast::Expr::Identifier(name)) => Some(name.clone()),
        _ => None,
    });
    parts.extend(names);
    let rest = &chain[parts.len() - 1..];
    Ok((column(&parts, scope)?, rest))
}
