//! Aggregate functions as DataFusion sees them, over the accumulators of `thalweg_operators::aggregate`.
//!
//! In: a call as written, its arguments bound ([`Call`]). Out: an `Expr::AggregateFunction` of exactly Spark's result type
//! ([`bind`]); and the way back, from such an expression to the factory of accumulators that a stream uses
//! ([`as_stream_aggregate`]). What always holds: batch and stream run the same accumulators. DISTINCT, constants and
//! `ORDER BY` within a group live inside the function, so the expression's own fields for them stay empty.

mod constants;
mod groups;
mod single;
#[cfg(test)]
mod tests;
mod udaf;
mod user;

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{AggregateFunction as Aggregate, Cast, Sort};
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable};
use datafusion::prelude::lit;
use thalweg_operators::aggregate::{
    AggregateFunction, Constant, Mismatch, Options, UserAggregate, constant_positions, is_aggregate,
};

use super::cast::{self, Mode};
use super::coerce;
use crate::conf::Conf;
use crate::{Error, Result};

use udaf::StreamableUdaf;

pub use user::{Aggregator, aggregator};

/// Names that [`bind`] turns into calls of other functions.
const REWRITTEN: &[&str] = &["grouping", "grouping_id", "median", "percentile_cont"];

/// Every name that [`bind`] knows, in lower case.
pub fn names() -> impl Iterator<Item = &'static str> {
    thalweg_operators::aggregate::names().chain(REWRITTEN.iter().copied())
}

/// A call of an aggregate function as written, its parts bound.
pub struct Call<'a> {
    /// The name as written.
    pub name: &'a str,
    /// The arguments; `*` of `count(*)` is any constant, or nothing.
    pub args: Vec<Expr>,
    /// `DISTINCT`.
    pub distinct: bool,
    /// `FILTER (WHERE ...)`.
    pub filter: Option<Expr>,
    /// `IGNORE NULLS`.
    pub ignore_nulls: bool,
    /// `WITHIN GROUP (ORDER BY ...)`.
    pub order_by: Vec<Sort>,
    /// What the arguments' columns refer to.
    pub schema: &'a DFSchema,
    /// Session settings.
    pub conf: &'a Conf,
}

/// Checks a call by Spark's rules, casts its arguments as Spark does and builds the expression; `None` if no aggregate
/// has this name.
///
/// # Errors
/// `WRONG_NUM_ARGS.WITHOUT_SUGGESTION`, `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`,
/// `DATATYPE_MISMATCH.NON_FOLDABLE_INPUT`, `DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE`, `INVALID_AGGREGATE_FILTER.*`.
pub fn bind(call: Call<'_>) -> Result<Option<Expr>> {
    let name = call.name.to_ascii_lowercase();
    check_order_clause(&name, &call)?;
    match name.as_str() {
        "grouping" | "grouping_id" => grouping(call, &name).map(Some),
        "percentile_cont" | "percentile_disc" | "median" => quantile(call, &name).map(Some),
        _ if is_aggregate(&name) => listed(call).map(Some),
        _ => Ok(None),
    }
}

/// Functions that take `WITHIN GROUP`; those that need it take no DISTINCT.
const ORDERED: &[&str] = &["listagg", "string_agg", "mode", "percentile_cont", "percentile_disc"];

fn check_order_clause(name: &str, call: &Call<'_>) -> Result<()> {
    if !call.order_by.is_empty() && !ORDERED.contains(&name) {
        let message = format!("the function `{}` does not support WITHIN GROUP (ORDER BY ...)", call.name);
        return Err(Error::query("INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX", message));
    }
    if call.distinct && ["percentile_cont", "percentile_disc"].contains(&name) {
        let message = format!("the function `{}` takes no DISTINCT", call.name);
        return Err(Error::query("INVALID_WITHIN_GROUP_EXPRESSION.DISTINCT_UNSUPPORTED", message));
    }
    Ok(())
}

/// Binds a call of a function that the library's user wrote.
///
/// # Errors
/// As [`bind`], by the function's own signature.
pub fn bind_user(function: Arc<dyn UserAggregate>, call: Call<'_>) -> Result<Expr> {
    let options = Options { ansi: call.conf.ansi(), distinct: call.distinct, ..Options::default() };
    let types = types_of(&call.args, &call)?;
    let function = AggregateFunction::user(function, &types, options).map_err(|mismatch| refuse(mismatch, &call))?;
    finish(function, call)
}

/// A call that a rule of the optimizer makes; the arguments are of the types that the function takes.
///
/// # Errors
/// Those of the function's signature.
pub(crate) fn internal_call(function: Arc<dyn UserAggregate>, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let types = args.iter().map(|arg| Ok(arg.get_type(schema)?)).collect::<Result<Vec<_>>>()?;
    let function = AggregateFunction::user(function, &types, Options::default());
    let function = function.map_err(|mismatch| Error::internal(mismatch.to_string()))?;
    Ok(called(function, args, None))
}

/// `grouping(k)` is a bit, `grouping_id(k, ...)` a number of such bits; DataFusion answers both when it expands grouping sets.
fn grouping(call: Call<'_>, name: &str) -> Result<Expr> {
    let result = match (name, call.args.len()) {
        ("grouping", 1) => DataType::Int8,
        ("grouping_id", 1..) => DataType::Int64,
        _ => return Err(refuse(Mismatch::ArgumentCount { expected: "1" }, &call)),
    };
    let bits = datafusion::functions_aggregate::grouping::grouping_udaf().call(call.args);
    Ok(Expr::Cast(Cast::new(Box::new(bits), result)))
}

/// `percentile_cont(p) WITHIN GROUP (ORDER BY x)` is `percentile(x, p)`, downwards `percentile(x, 1 - p)`. `percentile_disc` is told
/// the direction.
fn quantile(mut call: Call<'_>, name: &str) -> Result<Expr> {
    match (name, call.args.len(), call.order_by.len()) {
        ("median", 1, 0) => call.args.push(lit(0.5)),
        ("percentile_cont" | "percentile_disc", 1, 1) => {
            let key = call.order_by.remove(0);
            let downwards = call.args.remove(0);
            let share = cast::cast(downwards.clone(), &DataType::Float64, Mode::of(call.conf), call.schema, call.conf)?;
            if name == "percentile_disc" {
                call.args.extend([key.expr, downwards]);
                let constants = constants::take(&mut call.args, constant_positions(name), name)?;
                return chosen(
                    call,
                    constants,
                    vec![SortOptions { descending: !key.asc, nulls_first: key.nulls_first }],
                );
            }
            let percentage = if key.asc { downwards } else { lit(1.0) - share };
            call.args.extend([key.expr, percentage]);
        }
        _ => return Err(refuse(Mismatch::ArgumentCount { expected: "1" }, &call)),
    }
    listed(Call { name: "percentile", ..call })
}

fn listed(mut call: Call<'_>) -> Result<Expr> {
    if call.name.eq_ignore_ascii_case("count") && !call.distinct {
        drop_constants(&mut call.args);
    }
    let constants = constants::take(&mut call.args, constant_positions(call.name), call.name)?;
    let order = call.order_by.drain(..).map(|key| {
        call.args.push(key.expr);
        SortOptions { descending: !key.asc, nulls_first: key.nulls_first }
    });
    let order = order.collect();
    chosen(call, constants, order)
}

/// The function for these arguments, constants and order.
fn chosen(call: Call<'_>, constants: Vec<Constant>, order: Vec<SortOptions>) -> Result<Expr> {
    let (distinct, ignore_nulls) = (call.distinct, call.ignore_nulls);
    let options = Options { ansi: call.conf.ansi(), ignore_nulls, distinct, constants, order };
    let types = types_of(&call.args, &call)?;
    let function = AggregateFunction::new(call.name, &types, options).map_err(|mismatch| refuse(mismatch, &call))?;
    finish(function, call)
}

/// Constants that are not null count in every row: `count(1)` is `count(*)`.
fn drop_constants(args: &mut Vec<Expr>) {
    args.retain(|arg| !matches!(arg, Expr::Literal(value, _) if !value.is_null()));
}

fn types_of(args: &[Expr], call: &Call<'_>) -> Result<Vec<DataType>> {
    args.iter().map(|arg| Ok(arg.get_type(call.schema)?)).collect()
}

/// Casts the arguments, checks the filter, wraps the function.
fn finish(function: AggregateFunction, call: Call<'_>) -> Result<Expr> {
    let cast = |(arg, to): (Expr, &DataType)| cast::cast(arg, to, Mode::of(call.conf), call.schema, call.conf);
    let mut args = call.args.into_iter().zip(function.arg_types()).map(cast).collect::<Result<Vec<_>>>()?;
    let filter = call.filter.map(|filter| condition(filter, call.schema)).transpose()?;
    if args.is_empty() {
        // DataFusion tells accumulators how many rows there are only by their arguments.
        args.push(lit(1i64));
    }
    Ok(called(function, args, filter))
}

fn called(function: AggregateFunction, args: Vec<Expr>, filter: Option<Expr>) -> Expr {
    let udaf = Arc::new(AggregateUDF::from(StreamableUdaf::new(function)));
    Expr::AggregateFunction(Aggregate::new_udf(udaf, args, false, filter.map(Box::new), Vec::new(), None))
}

fn condition(filter: Expr, schema: &DFSchema) -> Result<Expr> {
    if !find_aggregate_exprs([&filter]).is_empty() {
        let message = "the filter of an aggregate cannot hold another aggregate function";
        return Err(Error::query("INVALID_AGGREGATE_FILTER.CONTAINS_AGGREGATE", message));
    }
    match filter.get_type(schema)? {
        DataType::Boolean | DataType::Null => Ok(filter),
        other => Err(Error::query(
            "INVALID_AGGREGATE_FILTER.NOT_BOOLEAN",
            format!("the filter of an aggregate must be BOOLEAN but is {}", coerce::type_name(&other)),
        )),
    }
}

fn refuse(mismatch: Mismatch, call: &Call<'_>) -> Error {
    match mismatch {
        Mismatch::UnknownFunction => {
            Error::query("UNRESOLVED_ROUTINE", format!("cannot resolve aggregate function `{}`", call.name))
        }
        Mismatch::ArgumentCount { expected } => Error::query(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            format!("function '{}' needs {expected} arguments but has {}", call.name, call.args.len()),
        ),
        Mismatch::ArgumentType { position, expected } => unexpected(position, expected, call),
        Mismatch::NotOrdered { .. } => Error::query(
            "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE",
            format!("function '{}' needs values of a type that has an order", call.name),
        ),
        Mismatch::Unsupported { .. } => Error::query(
            "DATATYPE_MISMATCH.UNSUPPORTED_INPUT_TYPE",
            format!("function '{}' does not take values with a MAP in them", call.name),
        ),
        Mismatch::Constant { expected } => {
            Error::query("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", format!("function '{}' needs {expected}", call.name))
        }
    }
}

fn unexpected(position: usize, expected: &str, call: &Call<'_>) -> Error {
    let Some(arg) = call.args.get(position) else {
        return Error::internal(format!("'{}' complains about an argument it was not given", call.name));
    };
    match arg.get_type(call.schema) {
        Ok(from) => coerce::unexpected(arg, &from, &format!("\"{expected}\"")),
        Err(cause) => Error::from(cause),
    }
}

/// An aggregate taken out of a DataFusion plan.
pub struct StreamAggregate {
    /// The factory of accumulators.
    pub function: AggregateFunction,
    /// The argument columns, cast to the function's types.
    pub args: Vec<Expr>,
    /// Rows where this is not true do not count.
    pub filter: Option<Expr>,
    /// Whether only distinct argument rows count (the factory knows, too).
    pub distinct: bool,
}

/// The function behind an `Expr::AggregateFunction` made by [`bind`], under any aliases; `None` for anything else.
pub fn as_stream_aggregate(expr: &Expr) -> Option<StreamAggregate> {
    match expr {
        Expr::Alias(alias) => as_stream_aggregate(&alias.expr),
        Expr::AggregateFunction(aggregate) => {
            let function = aggregate.func.inner().downcast_ref::<StreamableUdaf>()?.function().clone();
            let args = aggregate.params.args.iter().take(function.arg_types().len()).cloned().collect();
            let filter = aggregate.params.filter.as_deref().cloned();
            let distinct = function.options().distinct;
            Some(StreamAggregate { function, args, filter, distinct })
        }
        _ => None,
    }
}
