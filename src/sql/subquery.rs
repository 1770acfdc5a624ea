//! Subqueries in expressions: `EXISTS (...)`, `x IN (...)`, `(SELECT ...)`.
//!
//! In: their syntax, and the scope of the query around them. Out: DataFusion's expressions. What always holds: the value of `IN` and what it
//! is looked for among have the same types, and the columns of such a subquery have no name that a column of one of its tables has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit};
use datafusion::sql::sqlparser::ast;

use super::expression::{Scope, bind_expression};
use crate::functions::Context;
use crate::functions::coerce::{common_type, type_name};
use crate::plan::scan::is_streaming;
use crate::{Error, Result};

/// Binds a subquery.
///
/// # Errors
/// What is wrong with it, or that it does not fit where it stands.
pub(super) fn subquery(expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    use ast::Expr as E;
    match expr {
        E::Exists { subquery, negated } => {
            let subquery = as_subquery(without_columns(plan(subquery, scope)?)?);
            Ok(Expr::Exists(Exists { subquery, negated: *negated }))
        }
        E::InSubquery { expr, subquery, negated } => within(expr, plan(subquery, scope)?, *negated, scope),
        E::Subquery(query) => {
            let plan = plan(query, scope)?;
            let subquery = if is_streaming(&plan) { return Err(streaming()) } else { as_subquery(plan) };
            Ok(Expr::ScalarSubquery(scalar(subquery)?))
        }
        other => Err(Error::internal(format!("'{other}' is no subquery"))),
    }
}

fn plan(query: &ast::Query, scope: &Scope<'_>) -> Result<LogicalPlan> {
    let planner = scope.subquery.ok_or_else(|| Error::unsupported("a subquery cannot stand here"))?;
    let plan = planner(query, scope)?;
    if is_streaming(&plan) && scope.conf.flag("spark.sql.streaming.unsupportedOperationCheck", false)? {
        return Err(streaming());
    }
    Ok(plan)
}

fn streaming() -> Error {
    let message = "a streaming query cannot stand in a subquery expression";
    Error::query("INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY", message).hint(
        "Join the two streams; EXISTS and IN of a stream run where spark.sql.streaming.unsupportedOperationCheck is unset.",
    )
}

fn as_subquery(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: plan.into(), outer_ref_columns, spans: Default::default() }
}

/// A plan of which only the number of rows matters.
fn without_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(Projection { input, .. }) => {
            Ok(LogicalPlan::Projection(Projection::try_new(vec![lit(1).alias("_exists")], input)?))
        }
        plan => Ok(plan),
    }
}

/// A subquery in a value's place has one column.
fn scalar(subquery: Subquery) -> Result<Subquery> {
    match subquery.subquery.schema().fields().len() {
        1 => Ok(subquery),
        columns => Err(Error::query(
            "INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN",
            format!("a scalar subquery must give one column but gives {columns}"),
        )),
    }
}

/// `value IN (plan)`; of several columns the value is a struct.
fn within(value: &ast::Expr, plan: LogicalPlan, negated: bool, scope: &Scope<'_>) -> Result<Expr> {
    let (value, context) = (bind_expression(value, scope)?, scope.context());
    let found: Vec<DataType> = plan.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let sought = parts(&context.type_of(&value)?, found.len())?;
    let each = sought.iter().zip(&found);
    let common: Vec<DataType> = each.map(|(sought, found)| met(sought, found, &context)).collect::<Result<_>>()?;
    let value = if sought == common { value } else { context.cast(value, &together(&common))? };
    let subquery = as_subquery(renamed(plan, &common, scope)?);
    Ok(Expr::InSubquery(InSubquery { expr: Box::new(value), subquery, negated }))
}

/// The types of what is compared with each of `columns` columns.
fn parts(value: &DataType, columns: usize) -> Result<Vec<DataType>> {
    match value {
        _ if columns == 1 => Ok(vec![value.clone()]),
        DataType::Struct(fields) if fields.len() == columns => {
            Ok(fields.iter().map(|field| field.data_type().clone()).collect())
        }
        other => {
            let sought = if let DataType::Struct(fields) = other { fields.len() } else { 1 };
            let message = format!("the subquery of IN gives {columns} columns, but {sought} looked for");
            Err(Error::query("DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH", message))
        }
    }
}

fn met(sought: &DataType, found: &DataType, context: &Context<'_>) -> Result<DataType> {
    common_type(&[sought.clone(), found.clone()], context.conf).map_err(|_| {
        let (sought, found) = (type_name(sought), type_name(found));
        let message = format!("a value of type {sought} cannot be looked for among values of type {found}");
        Error::query("DATATYPE_MISMATCH.IN_SUBQUERY_DATA_TYPE_MISMATCH", message)
    })
}

fn together(types: &[DataType]) -> DataType {
    match types {
        [single] => single.clone(),
        several => {
            let field =
                |(i, data_type): (usize, &DataType)| Field::new(format!("col{}", i + 1), data_type.clone(), true);
            DataType::Struct(several.iter().enumerate().map(field).collect::<Fields>())
        }
    }
}

/// The plan with columns of these types, and names of their own if it is the plan's place to name them.
fn renamed(plan: LogicalPlan, types: &[DataType], scope: &Scope<'_>) -> Result<LogicalPlan> {
    let cast = |(i, (expr, schema)): (usize, (Expr, &DFSchema))| -> Result<Expr> {
        let context = Context { schema, conf: scope.conf };
        let fits = context.type_of(&expr)? == types[i];
        let expr = if fits { expr } else { context.cast(expr, &types[i])? };
        Ok(expr.alias(format!("_in_{i}")))
    };
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let exprs = expr.into_iter().map(|expr| (expr.unalias(), input.schema().as_ref()));
            let exprs = exprs.enumerate().map(cast).collect::<Result<Vec<_>>>()?;
            Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&input))?))
        }
        plan if plan.schema().fields().iter().zip(types).all(|(field, known)| field.data_type() == known) => Ok(plan),
        plan => {
            let schema = plan.schema().clone();
            let columns = schema.iter().map(|(qualifier, field)| Column::new(qualifier.cloned(), field.name()));
            let exprs = columns.map(|column| (Expr::Column(column), schema.as_ref()));
            let exprs = exprs.enumerate().map(cast).collect::<Result<Vec<_>>>()?;
            Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
        }
    }
}
