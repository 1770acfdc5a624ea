//! Names of a plan's columns: Spark allows two columns of one name, DataFusion wants each (qualifier, name) once.
//!
//! In: expressions or plans whose names may clash. Out: the same with *hidden qualifiers* where they clash: the second
//! `k` becomes `__1.k`. Users never see a hidden qualifier; an unqualified `k` finds both columns and is ambiguous, as in
//! Spark. Numbers are chosen by what is free, so that one query always gives one plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, DFSchema, ExprSchema, TableReference};
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection};

use crate::Result;
use crate::functions::kernel::Kernel;
use crate::functions::window::WINDOW_TIME;
use crate::plan::nodes::{WATERMARK_DELAY, watermark_delay_millis};

/// What the names of hidden qualifiers begin with.
const HIDDEN: &str = "__";

/// True if users do not see this qualifier.
pub fn is_hidden(qualifier: &TableReference) -> bool {
    qualifier.table().starts_with(HIDDEN)
}

/// Hidden qualifiers that none of these schemas uses.
fn free_qualifiers(schemas: &[&DFSchema]) -> impl Iterator<Item = TableReference> + use<> {
    let used: HashSet<String> = schemas
        .iter()
        .flat_map(|schema| schema.iter())
        .filter_map(|(qualifier, _)| qualifier.map(|qualifier| qualifier.table().to_string()))
        .collect();
    (1u32..)
        .map(|number| format!("{HIDDEN}{number}"))
        .filter(move |name| !used.contains(name))
        .map(TableReference::bare)
}

/// A name for a new column beside those of `schema`: `name` if it is free. Users see the name of the item, not this one.
pub fn free_name(schema: &DFSchema, name: &str) -> String {
    let taken = |wanted: &str| schema.fields().iter().any(|field| field.name() == wanted);
    if !taken(name) {
        return name.to_string();
    }
    let mut numbered = (1u32..).map(|number| format!("{HIDDEN}{number}_{name}"));
    numbered.find(|wanted| !taken(wanted)).unwrap_or_else(|| name.to_string())
}

/// A projection of `input` whose output may repeat names and whose expressions keep or lose the event-time mark by
/// Spark's rules.
pub fn project(input: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    let schema = Arc::clone(input.schema());
    let exprs = exprs.into_iter().map(|expr| settle_mark(expr, &schema)).collect::<Result<Vec<_>>>()?;
    let exprs = apart(exprs, &schema)?;
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
}

/// Gives clashing outputs hidden qualifiers.
fn apart(exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let names = exprs
        .iter()
        .map(|expr| Ok(expr.to_field(schema).map(|(qualifier, field)| (qualifier, field.name().clone()))?))
        .collect::<Result<Vec<_>>>()?;
    let mut count: HashMap<&str, usize> = HashMap::new();
    for (_, name) in &names {
        *count.entry(name).or_default() += 1;
    }
    let mut free = free_qualifiers(&[schema]);
    let mut seen = HashSet::new();
    let settled = exprs.into_iter().zip(&names).map(|(expr, (qualifier, name))| {
        let alone = count.get(name.as_str()) == Some(&1);
        let clashes = !alone && (qualifier.is_none() || !seen.insert((qualifier, name)));
        match (clashes, free.by_ref()) {
            (true, free) => requalified(expr, free.next(), name),
            (false, _) => expr,
        }
    });
    Ok(settled.collect())
}

/// The expression under another qualifier.
fn requalified(expr: Expr, qualifier: Option<TableReference>, name: &str) -> Expr {
    match expr {
        Expr::Alias(alias) => Expr::Alias(Alias { relation: qualifier, ..alias }),
        other => other.alias_qualified(qualifier, name),
    }
}

/// Renaming an event-time column and `window_time` keep its mark; any other expression over it loses it.
fn settle_mark(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let (qualifier, field) = expr.to_field(schema)?;
    let kept = mark_of(&expr, schema);
    if watermark_delay_millis(&field).is_some() == kept.is_some() {
        return Ok(expr);
    }
    let mark = FieldMetadata::from(HashMap::from([(WATERMARK_DELAY.to_string(), kept.unwrap_or_default())]));
    let name = field.name().clone();
    Ok(expr.unalias().alias_qualified_with_metadata(qualifier, name, Some(mark)))
}

/// The watermark's delay that an expression carries, as the metadata of an event-time column has it.
pub fn mark_of(expr: &Expr, schema: &DFSchema) -> Option<String> {
    let delay = |column: &Column| {
        let field = schema.field_from_column(column).ok()?;
        watermark_delay_millis(field).map(|millis| millis.to_string())
    };
    match expr {
        Expr::Column(column) => delay(column),
        Expr::Alias(alias) => mark_of(&alias.expr, schema),
        other if Kernel::of(other).is_some_and(|(kernel, _)| kernel.function_name() == WINDOW_TIME) => {
            other.column_refs().into_iter().next().and_then(delay)
        }
        _ => None,
    }
}

/// The column at this place, as an expression.
pub fn column_at(schema: &DFSchema, index: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(index)))
}

/// All columns of a plan, as expressions.
pub fn all_columns(schema: &DFSchema) -> Vec<Expr> {
    (0..schema.fields().len()).map(|index| column_at(schema, index)).collect()
}

/// The right side of a join with hidden qualifiers for columns that the left side has too.
pub fn beside(left: &DFSchema, right: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(right.schema());
    let mut free = free_qualifiers(&[left, &schema]);
    let mut changed = false;
    let exprs = (0..schema.fields().len()).map(|index| {
        let (qualifier, field) = schema.qualified_field(index);
        if !clashes(left, qualifier, field.name()) {
            return column_at(&schema, index);
        }
        changed = true;
        column_at(&schema, index).alias_qualified(free.next(), field.name())
    });
    let exprs: Vec<_> = exprs.collect();
    Ok(if changed { LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(right))?) } else { right })
}

/// True if DataFusion refuses this column beside those of `schema`.
fn clashes(schema: &DFSchema, qualifier: Option<&TableReference>, name: &str) -> bool {
    schema
        .iter()
        .any(|(other, field)| field.name() == name && (qualifier.is_none() || other.is_none() || other == qualifier))
}

/// Gives hidden qualifiers to columns without one that clash with qualified ones of the other side.
pub fn qualify_clashing(plan: LogicalPlan, other: &DFSchema) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let bare_clash = |index: usize| {
        let (qualifier, field) = schema.qualified_field(index);
        qualifier.is_none() && other.iter().any(|(_, beside)| beside.name() == field.name())
    };
    if !(0..schema.fields().len()).any(bare_clash) {
        return Ok(plan);
    }
    let mut free = free_qualifiers(&[other, &schema]);
    let exprs = (0..schema.fields().len()).map(|index| match bare_clash(index) {
        true => column_at(&schema, index).alias_qualified(free.next(), schema.field(index).name()),
        false => column_at(&schema, index),
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(plan))?))
}

/// The plan without qualifiers, as a subquery without alias has none.
pub fn unqualified(plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    if schema.iter().all(|(qualifier, _)| qualifier.is_none_or(is_hidden)) {
        return Ok(plan);
    }
    let exprs = (0..schema.fields().len()).map(|index| column_at(&schema, index).alias(schema.field(index).name()));
    project(plan, exprs.collect())
}
