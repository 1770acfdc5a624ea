//! `withWatermark` and SQL's `WATERMARK time DELAY OF INTERVAL ...`.
//!
//! In: a plan, a time and a delay. Out: on a stream, a [`Watermark`] node; a static plan stays as it is once the column
//! and the delay were checked.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ExprSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::ast::{self, SelectItem};
use super::binder::Binder;
use super::expression::Item;
use super::interval::parse_interval;
use super::names::{self, all_columns};
use crate::functions::coerce::type_name;
use crate::plan::nodes::{Watermark, extension};
use crate::plan::scan::is_streaming;
use crate::{Error, Result, types};

impl Binder<'_> {
    /// Marks a column of `plan` as event time; `delay` is a text such as `10 minutes`.
    ///
    /// # Errors
    /// `EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE`, `CANNOT_PARSE_INTERVAL`; a negative delay.
    pub fn with_watermark(&self, plan: LogicalPlan, column: &ast::Expr, delay: &str) -> Result<LogicalPlan> {
        let delay = delay_micros(delay)?;
        match self.expression(column, &plan)?.unalias() {
            Expr::Column(column) => marked(plan, column, delay),
            other => Err(Error::query(
                "EVENT_TIME_MUST_BE_TOP_LEVEL_COLUMN",
                format!("the event time '{other}' is not a column"),
            )
            .hint("Add it with with_column() first.")),
        }
    }

    /// As [`Binder::with_watermark`], but an expression with a name becomes a column first.
    pub(super) fn with_watermark_of(
        &self,
        plan: LogicalPlan,
        item: &SelectItem,
        delay: &ast::Expr,
    ) -> Result<LogicalPlan> {
        let delay = checked(interval_micros(&self.expression(delay, &plan)?), delay)?;
        let items = self.items(std::slice::from_ref(item), &plan)?;
        match items.as_slice() {
            [Item { expr: Expr::Column(column), aliases, .. }] if aliases.is_empty() => {
                marked(plan, column.clone(), delay)
            }
            [item] if item.aliases.is_empty() => Err(Error::query(
                "REQUIRES_EXPLICIT_NAME_IN_WATERMARK_CLAUSE",
                format!("the event time '{}' of the WATERMARK clause needs a name", item.default_name),
            )
            .hint("Write WATERMARK expression AS name DELAY OF ...")),
            [item] => {
                let mut columns = all_columns(plan.schema());
                columns.push(item.clone().into_expr());
                let plan = names::project(plan, columns)?;
                let (qualifier, field) = plan.schema().qualified_field(plan.schema().fields().len() - 1);
                let column = Column::new(qualifier.cloned(), field.name());
                marked(plan, column, delay)
            }
            _ => Err(Error::query("PARSE_SYNTAX_ERROR", "WATERMARK needs one expression")),
        }
    }
}

fn marked(plan: LogicalPlan, column: Column, delay: i64) -> Result<LogicalPlan> {
    let field = plan.schema().field_from_column(&column)?;
    if !is_event_time(field.data_type()) {
        return Err(Error::query(
            "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
            format!(
                "the event time `{}` has the invalid type {}, but expected \"TIMESTAMP\"",
                column.name,
                type_name(field.data_type())
            ),
        ));
    }
    if !is_streaming(&plan) {
        return Ok(plan);
    }
    Ok(extension(Watermark::try_new(Arc::new(plan), column, delay)?))
}

/// TIMESTAMP, or a window (its end counts).
fn is_event_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => {
            fields.len() == 2 && fields[1].name() == "end" && *fields[1].data_type() == types::timestamp()
        }
        other => *other == types::timestamp(),
    }
}

const DAY: i64 = 86_400_000_000;

/// Months count 31 days, as in Spark.
fn months_micros(months: i32) -> Option<i64> {
    i64::from(months).checked_mul(31)?.checked_mul(DAY)
}

/// A delay given as text, in microseconds.
fn delay_micros(text: &str) -> Result<i64> {
    let interval = parse_interval(text)?;
    let days = i64::from(interval.days).checked_mul(DAY);
    let sum = months_micros(interval.months).zip(days).and_then(|(months, days)| months.checked_add(days));
    checked(sum.and_then(|sum| sum.checked_add(interval.micros)), text)
}

/// A delay given as an INTERVAL literal, in microseconds.
fn interval_micros(bound: &Expr) -> Option<i64> {
    match bound {
        Expr::Literal(ScalarValue::DurationMicrosecond(micros), _) => *micros,
        Expr::Literal(ScalarValue::IntervalYearMonth(months), _) => months_micros((*months)?),
        _ => None,
    }
}

fn checked(micros: Option<i64>, written: impl std::fmt::Display) -> Result<i64> {
    match micros {
        // Watermarks count milliseconds, so does the delay.
        Some(micros) if micros >= 0 => Ok(micros - micros % 1_000),
        Some(_) => Err(Error::invalid(format!("the watermark's delay '{written}' should not be negative"))),
        None => Err(Error::query("CANNOT_PARSE_INTERVAL", format!("unable to parse '{written}' as an interval"))),
    }
}
