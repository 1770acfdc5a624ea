//! Subqueries that depend on the row around them in a way that is no condition of a join: below an aggregation by anything but
//! equality, an ORDER BY, a LIMIT, a UNION, or in a SELECT list.
//!
//! In: `EXISTS` and scalar subqueries over static tables. Out: calls of a function of the columns they refer to, which runs the subquery
//! with these values. What always holds: it runs once for equal values of those columns, as far as [`KNOWN`] answers are kept, and the
//! tables below it were read once, when the query was built.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery, TableScan};

use super::constants::{is_there, only};
use super::joinable::is_joinable;
use super::with_names;
use crate::conf::Conf;
use crate::functions::kernel::Kernel;
use crate::plan::batch;
use crate::plan::scan::{self, is_streaming};
use crate::{Error, Result};

/// Answers that a subquery keeps.
const KNOWN: usize = 1 << 16;

/// Whether a subquery becomes a call.
pub(super) fn is_one(part: &Expr) -> bool {
    let subquery = match part {
        Expr::Exists(exists) => &exists.subquery,
        Expr::ScalarSubquery(subquery) => subquery,
        _ => return false,
    };
    !subquery.outer_ref_columns.is_empty() && !is_streaming(&subquery.subquery) && !is_joinable(part)
}

/// The call that stands for a subquery.
///
/// # Errors
/// Whatever reading its tables fails with.
pub(super) async fn call(part: &Expr, conf: &Conf) -> Result<Expr> {
    let (subquery, name, result) = match part {
        Expr::Exists(exists) => (&exists.subquery, "exists", DataType::Boolean),
        Expr::ScalarSubquery(subquery) => {
            (subquery, "scalarsubquery", subquery.subquery.schema().field(0).data_type().clone())
        }
        other => return Err(Error::internal(format!("'{other}' is no subquery"))),
    };
    let columns = outer_columns(subquery);
    let dependent = Dependent {
        plan: in_memory(&subquery.subquery, conf).await?,
        columns: columns.clone(),
        negated: if let Expr::Exists(exists) = part { Some(exists.negated) } else { None },
        result: result.clone(),
        conf: conf.clone(),
        known: Mutex::default(),
    };
    let key = format!("{:?} {}", dependent.negated, dependent.plan.display_indent());
    let kernel = Kernel::arrays(name, result, move |arguments| dependent.answers(arguments)).key(key).fallible();
    Ok(kernel.call(columns.into_iter().map(Expr::Column).collect()))
}

/// The columns of the query around it that a subquery refers to, each once.
fn outer_columns(subquery: &Subquery) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for expr in &subquery.outer_ref_columns {
        if let Expr::OuterReferenceColumn(_, column) = expr
            && !columns.contains(column)
        {
            columns.push(column.clone());
        }
    }
    columns
}

/// The plan with the rows of its tables in place of the tables.
async fn in_memory(plan: &LogicalPlan, conf: &Conf) -> Result<LogicalPlan> {
    let mut scans = Vec::new();
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut read = Vec::new();
    for scan in scans {
        let rows = Box::pin(batch::collect(LogicalPlan::TableScan(scan.clone()), conf)).await?;
        let schema = Arc::clone(scan.projected_schema.inner());
        let rows = scan::rows_of(scan.table_name.clone(), schema, rows)?;
        read.push((scan, rows));
    }
    let replaced = plan.clone().transform_down(|node| {
        let known = |scan: &TableScan| read.iter().find(|(known, _)| known == scan).map(|(_, rows)| rows.clone());
        Ok(match &node {
            LogicalPlan::TableScan(scan) => known(scan).map_or_else(|| Transformed::no(node.clone()), Transformed::yes),
            _ => Transformed::no(node),
        })
    })?;
    Ok(replaced.data)
}

/// A subquery as a function of the columns it refers to.
struct Dependent {
    plan: LogicalPlan,
    columns: Vec<Column>,
    /// Whether `EXISTS` is wanted or its contrary; not there if a value is wanted.
    negated: Option<bool>,
    result: DataType,
    conf: Conf,
    known: Mutex<HashMap<Vec<ScalarValue>, ScalarValue>>,
}

impl Dependent {
    fn answers(&self, arguments: &[ArrayRef]) -> Result<ArrayRef> {
        let rows = arguments.first().map_or(0, |column| column.len());
        if rows == 0 {
            return Ok(new_empty_array(&self.result));
        }
        let mut answers = Vec::with_capacity(rows);
        for row in 0..rows {
            let values: std::result::Result<Vec<_>, _> =
                arguments.iter().map(|column| ScalarValue::try_from_array(column, row)).collect();
            answers.push(self.answer(values?)?);
        }
        Ok(ScalarValue::iter_to_array(answers)?)
    }

    fn answer(&self, values: Vec<ScalarValue>) -> Result<ScalarValue> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&values) {
            return Ok(known.clone());
        }
        let rows = batch::collect_blocking(self.plan_for(&values)?, &self.conf)?;
        let answer = match self.negated {
            Some(negated) => ScalarValue::from(is_there(&rows) != negated),
            None => only(&self.plan, &rows)?,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(values, answer.clone());
        Ok(answer)
    }

    /// The subquery with these values for the columns of the row around it.
    fn plan_for(&self, values: &[ScalarValue]) -> Result<LogicalPlan> {
        let value = |column: &Column| self.columns.iter().position(|known| known == column).and_then(|i| values.get(i));
        let settled = |part: Expr| match &part {
            Expr::OuterReferenceColumn(_, column) => Ok(match value(column) {
                Some(value) => Transformed::yes(Expr::Literal(value.clone(), None)),
                None => Transformed::no(part),
            }),
            _ => Ok(Transformed::no(part)),
        };
        let plan = self.plan.clone().transform_up(|node| with_names(node, |expr| expr.transform_up(settled)))?;
        Ok(plan.data)
    }
}
