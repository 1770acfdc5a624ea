//! Subqueries over static tables that do not depend on the row around them: computed once, before the query.
//!
//! In: scalar subqueries, and, outside of WHERE, `EXISTS` and `IN`. Out: constants. In WHERE, the optimizer makes joins of the last two.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery, lit};

use super::is_independent;
use crate::conf::Conf;
use crate::plan::batch;
use crate::{Error, Result};

/// Whether a subquery is computed here.
pub(super) fn is_one(part: &Expr, is_condition: bool) -> bool {
    match part {
        Expr::ScalarSubquery(subquery) => is_independent(subquery),
        Expr::Exists(exists) => !is_condition && is_independent(&exists.subquery),
        Expr::InSubquery(within) => {
            let single = within.subquery.subquery.schema().fields().len() == 1;
            !is_condition && single && is_independent(&within.subquery)
        }
        _ => false,
    }
}

/// What stands in a subquery's place.
///
/// # Errors
/// `SCALAR_SUBQUERY_TOO_MANY_ROWS`, and whatever the subquery fails with.
pub(super) async fn value(part: &Expr, conf: &Conf) -> Result<Expr> {
    match part {
        Expr::ScalarSubquery(subquery) => {
            let value = only(&subquery.subquery, &rows(subquery, conf).await?)?;
            Ok(Expr::Literal(value, None))
        }
        Expr::Exists(exists) => Ok(lit(is_there(&rows(&exists.subquery, conf).await?) != exists.negated)),
        Expr::InSubquery(within) => Ok(among(within, column(&rows(&within.subquery, conf).await?)?)),
        other => Err(Error::internal(format!("'{other}' is no subquery"))),
    }
}

/// `IN` a list, FALSE where nulls leave it open ([`super::spelled`]).
fn among(within: &InSubquery, values: Vec<ScalarValue>) -> Expr {
    let InSubquery { expr, negated, .. } = within;
    match expr.as_ref() {
        Expr::Literal(value, _) if value.is_null() => lit(ScalarValue::Boolean(None)),
        _ if values.is_empty() => lit(*negated),
        _ => {
            let values = values.into_iter().map(|value| Expr::Literal(value, None)).collect();
            Expr::InList(InList::new(expr.clone(), values, *negated)).is_true()
        }
    }
}

async fn rows(subquery: &Subquery, conf: &Conf) -> Result<Vec<RecordBatch>> {
    Box::pin(batch::collect(subquery.subquery.as_ref().clone(), conf)).await
}

/// Whether there is a row.
pub(super) fn is_there(batches: &[RecordBatch]) -> bool {
    batches.iter().any(|batch| batch.num_rows() > 0)
}

/// The values of the first column.
fn column(batches: &[RecordBatch]) -> Result<Vec<ScalarValue>> {
    let all = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    all.map(|(batch, row)| Ok(ScalarValue::try_from_array(batch.column(0), row)?)).collect()
}

/// The value of the only row of `plan`, null if there is none.
///
/// # Errors
/// `SCALAR_SUBQUERY_TOO_MANY_ROWS`.
pub(super) fn only(plan: &LogicalPlan, batches: &[RecordBatch]) -> Result<ScalarValue> {
    let mut values = column(batches)?;
    match (values.len(), values.pop()) {
        (1, Some(value)) => Ok(value),
        (0, _) => Ok(ScalarValue::try_from(plan.schema().field(0).data_type())?),
        (rows, _) => Err(Error::data(
            "SCALAR_SUBQUERY_TOO_MANY_ROWS",
            format!("a subquery that stands for a value must give at most one row but gives {rows}"),
        )),
    }
}
