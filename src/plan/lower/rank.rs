//! Window functions that number rows, and the first rows of an order, over changing tables.
//!
//! In: `row_number() OVER (PARTITION BY ... ORDER BY ...)` and its like, `ORDER BY ... LIMIT`. Out: a ranking in the differential
//! lane. A filter right above that keeps small numbers only is told to the ranking, which then keeps no other rows.

use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, Sort as LogicalSort, SortExpr, Window};
use thalweg_operators::lane::rank::Numbering;

use super::super::dataflow::{Kind, Node, Rank};
use super::{Lowering, arrow_schema};
use crate::functions::conditional::conjuncts;
use crate::{Error, Result};

impl Lowering {
    /// Rows with their numbers; `filter`: the condition right above.
    pub(super) fn window(&mut self, window: &Window, filter: Option<&Expr>) -> Result<Node> {
        let calls = window.window_expr.iter().map(window_call).collect::<Result<Vec<_>>>()?;
        let numberings = calls.iter().map(|call| numbering(call)).collect::<Result<Vec<_>>>()?;
        let first = calls.first().ok_or_else(|| Error::internal("a window without function"))?;
        let (partition_by, order_by) = (&first.params.partition_by, &first.params.order_by);
        if calls.iter().any(|call| call.params.partition_by != *partition_by || call.params.order_by != *order_by) {
            return Err(Error::unsupported("window functions over different windows are not supported on a stream")
                .hint("Number the rows in one subquery for each window."));
        }
        let schema = window.input.schema();
        let width = schema.fields().len();
        let keep = filter.and_then(|filter| kept(filter, &window.schema, width, &numberings));
        // The partition's columns are helper columns, as the sort keys are.
        let keys = partition_by.iter().map(|key| SortExpr { expr: key.clone(), asc: true, nulls_first: true });
        let keys: Vec<SortExpr> = keys.chain(order_by.iter().cloned()).collect();
        let input = self.operand(&window.input)?;
        let input = self.signed(input, true);
        let (input, keys) = self.sort_keys(input, &keys, schema, width)?;
        let (partition, order) = keys.split_at(partition_by.len());
        let partition = partition.iter().map(|key| key.0).collect();
        let rank = Rank { partition, order: order.to_vec(), numberings, keep, skip: 0 };
        Ok(self.ranked("rank", rank, input, arrow_schema(&window.schema)))
    }

    /// `ORDER BY ... LIMIT` in update mode: the rows that come into the first ones, or leave them.
    pub(super) fn first_rows(&mut self, sort: &LogicalSort, skip: usize, fetch: Option<usize>) -> Result<Node> {
        let Some(fetch) = fetch.into_iter().chain(sort.fetch).min() else {
            return Err(super::super::check::refused("sorting in update mode without LIMIT")
                .hint("Say how many rows are wanted with LIMIT, or use complete mode."));
        };
        let schema = sort.input.schema();
        let input = self.operand(&sort.input)?;
        let input = self.signed(input, true);
        let (input, order) = self.sort_keys(input, &sort.expr, schema, schema.fields().len())?;
        Ok(self.ranked("top", limited(order, skip, fetch), input, arrow_schema(schema)))
    }

    /// `LIMIT` of a changing table without order: always the same rows of the same table.
    pub(super) fn any_rows(&mut self, input: Node, skip: usize, fetch: Option<usize>) -> Result<Node> {
        let Some(fetch) = fetch else {
            return Err(Error::unsupported("OFFSET without LIMIT on a stream is not supported"));
        };
        let schema = thalweg_operators::change::without_change(&input.schema);
        Ok(self.ranked("limit", limited(Vec::new(), skip, fetch), input, schema))
    }

    fn ranked(&mut self, name: &str, rank: Rank, input: Node, schema: SchemaRef) -> Node {
        self.add_signed(name, Kind::Rank(rank), vec![input], schema, true)
    }
}

fn limited(order: Vec<(usize, bool, bool)>, skip: usize, fetch: usize) -> Rank {
    let keep = Some((Numbering::RowNumber, (skip as u64).saturating_add(fetch as u64)));
    Rank { partition: Vec::new(), order, numberings: Vec::new(), keep, skip: skip as u64 }
}

fn window_call(expr: &Expr) -> Result<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => window_call(&alias.expr),
        Expr::WindowFunction(call) => Ok(call),
        other => Err(Error::internal(format!("'{other}' is no window function"))),
    }
}

fn numbering(call: &WindowFunction) -> Result<Numbering> {
    match call.fun.name() {
        "row_number" => Ok(Numbering::RowNumber),
        "rank" => Ok(Numbering::Rank),
        "dense_rank" => Ok(Numbering::DenseRank),
        other => Err(Error::query(
            "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING",
            format!("window function '{other}' is not supported on a stream"),
        )
        .hint("row_number(), rank() and dense_rank() are, in update and complete mode.")),
    }
}

/// The largest number that passes a filter, if it bounds one of the numbers.
fn kept(filter: &Expr, schema: &DFSchema, width: usize, numberings: &[Numbering]) -> Option<(Numbering, u64)> {
    let bounds = conjuncts(filter.clone()).into_iter().filter_map(|conjunct| {
        let (column, most) = bound(&conjunct)?;
        let at = schema.maybe_index_of_column(&column)?.checked_sub(width)?;
        Some((*numberings.get(at)?, most))
    });
    bounds.min_by_key(|(_, most)| *most)
}

/// `column <= n` and its like, as the column and n.
fn bound(conjunct: &Expr) -> Option<(datafusion::common::Column, u64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else { return None };
    let (column, op, value) = match (uncast(left), uncast(right)) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
        _ => return None,
    };
    let value = whole_number(value)?;
    match op {
        Operator::LtEq | Operator::Eq => Some((column.clone(), u64::try_from(value).unwrap_or(0))),
        Operator::Lt => Some((column.clone(), u64::try_from(value.saturating_sub(1)).unwrap_or(0))),
        _ => None,
    }
}

/// What is cast; a cast between whole numbers keeps small ones as they are.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        Expr::TryCast(cast) => uncast(&cast.expr),
        other => other,
    }
}

fn whole_number(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::UInt64(value) => value.and_then(|value| i64::try_from(value).ok()),
        _ => None,
    }
}
