//! Joins of the dataflow plan → joins of the operators crate: conditions become closures over rows.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;
use thalweg_operators::join::stream::{Evict, Join as JoinLogic, JoinKind, JoinSide, StreamJoin};
use thalweg_operators::join::table::{TableJoin, TableJoinKind, table_join};
use thalweg_operators::join::{Condition, On};
use thalweg_operators::stateless::Step;
use thalweg_operators::{Error as OperatorError, Logic, event_time};

use super::stateful::{Made, route};
use super::tables::StaticTable;
use crate::functions::call::evaluate;
use crate::plan::dataflow::{Eviction, Join, Node, StaticJoin};
use crate::{Error, Result};

/// The step of a stream-static join.
pub(super) fn static_join(join: &StaticJoin, tables: &[Arc<StaticTable>]) -> Result<Step> {
    let kind = match join.kind {
        JoinType::Inner => TableJoinKind::Inner,
        JoinType::Left | JoinType::Right => TableJoinKind::Outer,
        JoinType::LeftSemi | JoinType::RightSemi => TableJoinKind::Semi,
        JoinType::LeftAnti | JoinType::RightAnti => TableJoinKind::Anti,
        JoinType::LeftMark => TableJoinKind::Mark,
        other => {
            return Err(Error::unsupported(format!("a {other} join with a static table is not supported on a stream")));
        }
    };
    let null_safe = join.null_safe;
    let on = join.on.iter().map(|&(stream, table)| match join.stream_left {
        true => On { left: stream, right: table, null_safe },
        false => On { left: table, right: stream, null_safe },
    });
    let table = tables.get(join.table).ok_or_else(|| Error::internal("a static table is missing"))?;
    let (rows, renewal) = table.follow();
    let spec = TableJoin {
        kind,
        stream_left: join.stream_left,
        on: on.collect(),
        condition: join.condition.clone().map(condition),
        joined: join.joined.clone(),
    };
    Ok(table_join(spec, rows, renewal)?)
}

/// The logic of a stream-stream join.
pub(super) fn stream_join(node: &Node, join: &Join) -> Result<Made> {
    let kind = match join.kind {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::LeftOuter,
        JoinType::Right => JoinKind::RightOuter,
        JoinType::Full => JoinKind::FullOuter,
        JoinType::LeftSemi => JoinKind::LeftSemi,
        other => return Err(Error::unsupported(format!("a {other} join of two streams is not supported"))),
    };
    let on = join.on.iter().map(|&(left, right)| On { left, right, null_safe: join.null_safe });
    let side = |i: usize| JoinSide {
        schema: node.inputs[i].schema.clone(),
        prefilter: join.prefilters[i].clone().map(condition),
        event_time: join.times[i].map(event_time::column),
        evict: join.evictions[i].as_ref().map(evict),
    };
    let spec = StreamJoin {
        kind,
        on: on.collect(),
        condition: join.condition.clone().map(condition),
        joined: join.joined.clone(),
        changelog: node.changelog,
        sides: [side(0), side(1)],
        holdback: join.holdback,
    };
    let (left, right): (Vec<usize>, Vec<usize>) = join.on.iter().copied().unzip();
    let logic: Box<dyn Logic> = Box::new(JoinLogic::new(spec)?);
    Ok((logic, vec![route(&left), route(&right)]))
}

pub(super) fn condition(expr: Arc<dyn PhysicalExpr>) -> Condition {
    Rc::new(move |rows| boolean(&expr, rows).map_err(OperatorError::outside))
}

fn boolean(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let values = evaluate(expr, rows)?;
    values.as_boolean_opt().cloned().ok_or_else(|| Error::internal("a join condition is not boolean"))
}

fn evict(eviction: &Eviction) -> Evict {
    let value = eviction.value.clone();
    let times = move |rows: &RecordBatch| -> thalweg_operators::Result<TimestampMicrosecondArray> {
        event_time::times(&evaluate(&value, rows).map_err(OperatorError::outside)?)
    };
    Evict { value: Box::new(times), delay: eviction.delay }
}
