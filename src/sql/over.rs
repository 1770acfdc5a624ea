//! Window functions: `f(x) OVER (PARTITION BY k ORDER BY v ROWS BETWEEN ...)`.
//!
//! In comes a call with its window, out goes DataFusion's window expression. Whether it may run on a stream is decided
//! when the query starts.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Cast, NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, ExprSchemable, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, WindowUDF,
};
use datafusion::sql::sqlparser::ast::{self, WindowSpec, WindowType};

use super::calls::{self, AggregateCall};
use super::expression::{Scope, bind_expression};
use crate::{Error, Result};

/// Binds a call with OVER.
///
/// # Errors
/// `UNRESOLVED_ROUTINE`, `MISSING_WINDOW_SPECIFICATION`, and those of the parts.
pub(super) fn window_function(
    name: &str,
    call: &ast::Function,
    window: &WindowType,
    scope: &Scope<'_>,
) -> Result<Expr> {
    let spec = specification(window, scope)?;
    let AggregateCall { args, distinct, filter, ignore_nulls } = calls::aggregate_call(name, call, scope)?;
    let partition_by = spec.partition_by.iter().map(|key| bind_expression(key, scope)).collect::<Result<_>>()?;
    let order_by = spec.order_by.iter().map(|key| sort_key(key, scope)).collect::<Result<Vec<_>>>()?;
    let window_frame = frame(spec.window_frame.as_ref(), !order_by.is_empty(), scope)?;
    let params = WindowFunctionParams {
        args,
        partition_by,
        order_by,
        window_frame,
        filter: filter.map(Box::new),
        null_treatment: ignore_nulls.then_some(NullTreatment::IgnoreNulls),
        distinct,
    };
    let call = Expr::from(WindowFunction { fun: definition(name)?, params });
    // Numbers of rows are INT, not DataFusion's unsigned type.
    Ok(match call.get_type(scope.schema)? {
        DataType::UInt64 => Expr::Cast(Cast::new(Box::new(call), DataType::Int32)),
        _ => call,
    })
}

fn specification<'a>(window: &'a WindowType, scope: &'a Scope<'_>) -> Result<&'a WindowSpec> {
    match window {
        WindowType::WindowSpec(spec) => Ok(spec),
        WindowType::NamedWindow(name) => named_window(name, scope),
    }
}

fn named_window<'a>(name: &ast::Ident, scope: &'a Scope<'_>) -> Result<&'a WindowSpec> {
    let found = scope.windows.iter().find(|window| window.0.value.eq_ignore_ascii_case(&name.value));
    match found.map(|window| &window.1) {
        Some(ast::NamedWindowExpr::WindowSpec(spec)) => Ok(spec),
        Some(ast::NamedWindowExpr::NamedWindow(other)) if other != name => named_window(other, scope),
        _ => Err(Error::query(
            "MISSING_WINDOW_SPECIFICATION",
            format!("window specification is not defined in the WINDOW clause for `{}`", name.value),
        )),
    }
}

/// True for a function that only a window gives a meaning, as `row_number`.
pub(super) fn is_ranking(name: &str) -> bool {
    const NAMES: [&str; 9] =
        ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "nth_value"];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn definition(name: &str) -> Result<WindowFunctionDefinition> {
    let name = name.to_ascii_lowercase();
    let ranking: Vec<Arc<WindowUDF>> = datafusion::functions_window::all_default_window_functions();
    if let Some(found) =
        ranking.into_iter().find(|function| function.name() == name || function.aliases().contains(&name))
    {
        return Ok(WindowFunctionDefinition::WindowUDF(found));
    }
    let aggregates = datafusion::functions_aggregate::all_default_aggregate_functions();
    let found = aggregates.into_iter().find(|function| function.name() == name || function.aliases().contains(&name));
    found
        .map(WindowFunctionDefinition::AggregateUDF)
        .ok_or_else(|| Error::query("UNRESOLVED_ROUTINE", format!("cannot resolve window function `{name}`")))
}

/// A key of ORDER BY: ascending with nulls first, descending with nulls last, unless it says otherwise.
///
/// # Errors
/// Those of the expression.
pub fn sort_key(key: &ast::OrderByExpr, scope: &Scope<'_>) -> Result<Sort> {
    let ascending = key.options.asc.unwrap_or(true);
    let expr = bind_expression(&key.expr, scope)?;
    Ok(Sort { expr, asc: ascending, nulls_first: key.options.nulls_first.unwrap_or(ascending) })
}

fn frame(written: Option<&ast::WindowFrame>, is_ordered: bool, scope: &Scope<'_>) -> Result<WindowFrame> {
    let Some(written) = written else {
        return Ok(WindowFrame::new(is_ordered.then_some(false)));
    };
    let units = match written.units {
        ast::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
        ast::WindowFrameUnits::Range => WindowFrameUnits::Range,
        ast::WindowFrameUnits::Groups => {
            return Err(Error::query("PARSE_SYNTAX_ERROR", "syntax error at or near 'GROUPS'"));
        }
    };
    let start = bound(&written.start_bound, units, scope)?;
    let end = written.end_bound.as_ref().map_or(Ok(WindowFrameBound::CurrentRow), |end| bound(end, units, scope))?;
    let (first, last) = (&written.start_bound, written.end_bound.as_ref());
    if last.is_some_and(|last| side(first) > side(last)) {
        let message = "the lower bound of a window frame must not lie behind its upper bound";
        return Err(Error::query("DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_WRONG_COMPARISON", message));
    }
    Ok(WindowFrame::new_bounds(units, start, end))
}

/// Before, at or behind the current row.
fn side(bound: &ast::WindowFrameBound) -> i8 {
    match bound {
        ast::WindowFrameBound::Preceding(_) => -1,
        ast::WindowFrameBound::CurrentRow => 0,
        ast::WindowFrameBound::Following(_) => 1,
    }
}

fn bound(written: &ast::WindowFrameBound, units: WindowFrameUnits, scope: &Scope<'_>) -> Result<WindowFrameBound> {
    Ok(match written {
        ast::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
        ast::WindowFrameBound::Preceding(distance) => {
            WindowFrameBound::Preceding(offset(distance.as_deref(), units, scope)?)
        }
        ast::WindowFrameBound::Following(distance) => {
            WindowFrameBound::Following(offset(distance.as_deref(), units, scope)?)
        }
    })
}

fn offset(distance: Option<&ast::Expr>, units: WindowFrameUnits, scope: &Scope<'_>) -> Result<ScalarValue> {
    let Some(distance) = distance else { return Ok(ScalarValue::Null) };
    let value = match bind_expression(distance, scope)? {
        Expr::Literal(value, _) => value,
        _ => return Err(not_constant()),
    };
    if units != WindowFrameUnits::Rows {
        return Ok(value);
    }
    match value {
        ScalarValue::Int32(Some(rows)) if rows >= 0 => Ok(ScalarValue::UInt64(Some(u64::from(rows.unsigned_abs())))),
        ScalarValue::Int64(Some(rows)) if rows >= 0 => Ok(ScalarValue::UInt64(Some(rows.unsigned_abs()))),
        _ => Err(not_constant()),
    }
}

fn not_constant() -> Error {
    Error::query(
        "DATATYPE_MISMATCH.SPECIFIED_WINDOW_FRAME_UNACCEPTED_TYPE",
        "the bound of a window frame must be a constant, and a number of rows for ROWS",
    )
}
