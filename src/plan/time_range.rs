//! What a stream-stream join's condition says about event times: how long a stored row can still find a match.
//!
//! In: the join's equalities and its condition. Every comparison between the event-time columns of both sides becomes
//! `left time - right time <= c` or `>= c`, in microseconds (months have no fixed length and bound nothing). A stored left row
//! can match a right row that is still to come only while `left time + most right lead > watermark`; Spark counts in
//! milliseconds and takes one off where the comparison is inclusive, so do we.

use datafusion::common::{Column, DFSchema, ExprSchema, JoinType};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, Operator};
use datafusion::scalar::ScalarValue;

use super::nodes::{event_time_index, watermark_delay_millis};
use crate::Result;
use crate::functions::conditional::conjuncts;
use crate::functions::interval::as_moved;

/// One millisecond in microseconds.
const MILLI: i64 = 1000;

/// The event times of a join and what is known of their distance.
#[derive(Debug, Clone, Default)]
pub struct JoinTimes {
    /// Index of each side's event-time column.
    pub columns: [Option<usize>; 2],
    /// Index of each side's event-time column among its join keys (`on`), if it is one.
    pub keys: [Option<usize>; 2],
    /// A stored row of the side is evicted when `time <= watermark - delay`.
    pub delays: [Option<i64>; 2],
}

impl JoinTimes {
    /// Reads a join of two streams.
    pub fn of(join: &Join) -> Result<JoinTimes> {
        let schemas = [join.left.schema().as_ref(), join.right.schema().as_ref()];
        let mut times = JoinTimes { columns: schemas.map(event_time_index), ..Default::default() };
        times.keys = [key_of(join, schemas[0], 0), key_of(join, schemas[1], 1)];
        for conjunct in join.filter.iter().cloned().flat_map(conjuncts) {
            times.read(&conjunct, schemas);
        }
        for (left, right) in &join.on {
            times.read_comparison(left, Operator::Eq, right, schemas);
        }
        Ok(times)
    }

    /// Equalities in the condition that an optimizer will make join keys of.
    pub fn equalities(join: &Join) -> usize {
        let is_equality = |expr: &Expr| {
            matches!(expr, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::IsNotDistinctFrom, right })
                if one_side(left, join).zip(one_side(right, join)).is_some_and(|(a, b)| a != b))
        };
        join.filter.iter().cloned().flat_map(conjuncts).filter(is_equality).count()
    }

    /// True if a left row's matches end: it can be printed unmatched at some time.
    pub fn bounds_matches_of_left(&self) -> bool {
        self.watermarked_key() || (self.columns[1].is_some() && self.delays[0].is_some())
    }

    /// The same for right rows.
    pub fn bounds_matches_of_right(&self) -> bool {
        self.watermarked_key() || (self.columns[0].is_some() && self.delays[1].is_some())
    }

    /// Spark: a watermark on a join key of either side bounds both.
    pub fn watermarked_key(&self) -> bool {
        self.keys.iter().any(Option::is_some)
    }

    /// How far a following operator's watermark has to stay behind, in microseconds.
    pub fn holdback(&self, kind: JoinType) -> i64 {
        if self.watermarked_key() || kind == JoinType::LeftSemi && self.delays[0].is_none() {
            return 0;
        }
        self.delays.iter().flatten().copied().max().unwrap_or(0).max(0)
    }

    fn read(&mut self, conjunct: &Expr, schemas: [&DFSchema; 2]) {
        match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.read_comparison(left, *op, right, schemas),
            Expr::Between(between) if !between.negated => {
                self.read_comparison(&between.expr, Operator::GtEq, &between.low, schemas);
                self.read_comparison(&between.expr, Operator::LtEq, &between.high, schemas);
            }
            _ => {}
        }
    }

    /// `a op b` with `a - b = ±(left time - right time) + c`.
    fn read_comparison(&mut self, a: &Expr, op: Operator, b: &Expr, schemas: [&DFSchema; 2]) {
        let (Some(a), Some(b)) = (linear(a, schemas), linear(b, schemas)) else { return };
        let Some(difference) = a.minus(b) else { return };
        match (difference.left, difference.right) {
            (1, -1) => self.bound(op, difference.constant),
            (-1, 1) => {
                if let (Some(op), Some(constant)) = (op.swap(), difference.constant.checked_neg()) {
                    self.bound(op, constant);
                }
            }
            _ => {}
        }
    }

    /// `left time - right time + c op 0`.
    fn bound(&mut self, op: Operator, c: i64) {
        match op {
            Operator::Lt => self.left_at_most(-c, 0),
            Operator::LtEq => self.left_at_most(-c, MILLI),
            Operator::Gt => self.left_at_least(-c, 0),
            Operator::GtEq => self.left_at_least(-c, MILLI),
            Operator::Eq | Operator::IsNotDistinctFrom => {
                self.left_at_most(-c, MILLI);
                self.left_at_least(-c, MILLI);
            }
            _ => {}
        }
    }

    /// `left - right <= c`: `left <= right + c`, so a right row waits for left rows until `right + c` has passed.
    fn left_at_most(&mut self, c: i64, inclusive: i64) {
        tighten(&mut self.delays[1], c.saturating_add(inclusive));
    }

    /// `left - right >= c`: `right <= left - c`, so a left row waits for right rows until `left - c` has passed.
    fn left_at_least(&mut self, c: i64, inclusive: i64) {
        tighten(&mut self.delays[0], c.saturating_neg().saturating_add(inclusive));
    }
}

fn tighten(delay: &mut Option<i64>, new: i64) {
    *delay = Some(delay.map_or(new, |known| known.min(new)));
}

fn key_of(join: &Join, schema: &DFSchema, side: usize) -> Option<usize> {
    let event_time = |expr: &Expr| match expr {
        Expr::Column(column) => schema.field_from_column(column).is_ok_and(|f| watermark_delay_millis(f).is_some()),
        _ => false,
    };
    join.on.iter().position(|(left, right)| event_time(if side == 0 { left } else { right }))
}

fn one_side(expr: &Expr, join: &Join) -> Option<usize> {
    let columns = expr.column_refs();
    let within = |schema: &DFSchema| !columns.is_empty() && columns.iter().all(|column| schema.has_column(column));
    match (within(join.left.schema()), within(join.right.schema())) {
        (true, false) => Some(0),
        (false, true) => Some(1),
        _ => None,
    }
}

/// `left·(left time) + right·(right time) + constant`, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Linear {
    left: i32,
    right: i32,
    constant: i64,
}

impl Linear {
    fn plus(self, other: Linear) -> Option<Linear> {
        let constant = self.constant.checked_add(other.constant)?;
        Some(Linear { left: self.left + other.left, right: self.right + other.right, constant })
    }

    fn minus(self, other: Linear) -> Option<Linear> {
        let constant = other.constant.checked_neg()?;
        self.plus(Linear { left: -other.left, right: -other.right, constant })
    }
}

/// The linear form of a time expression; none if it has another shape.
fn linear(expr: &Expr, schemas: [&DFSchema; 2]) -> Option<Linear> {
    match expr {
        Expr::Alias(alias) => linear(&alias.expr, schemas),
        Expr::Column(column) => linear_column(column, schemas),
        Expr::Literal(value, _) => Some(Linear { constant: constant_micros(value)?, ..Default::default() }),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            combine(linear(left, schemas)?, *op, linear(right, schemas)?)
        }
        Expr::ScalarFunction(_) => {
            let (time, interval, later) = as_moved(expr)?;
            let op = if later { Operator::Plus } else { Operator::Minus };
            combine(linear(time, schemas)?, op, linear(interval, schemas)?)
        }
        _ => None,
    }
}

fn combine(left: Linear, op: Operator, right: Linear) -> Option<Linear> {
    match op {
        Operator::Plus => left.plus(right),
        Operator::Minus => left.minus(right),
        _ => None,
    }
}

fn linear_column(column: &Column, schemas: [&DFSchema; 2]) -> Option<Linear> {
    let marked =
        |schema: &DFSchema| schema.field_from_column(column).is_ok_and(|f| watermark_delay_millis(f).is_some());
    match (marked(schemas[0]), marked(schemas[1])) {
        (true, false) => Some(Linear { left: 1, ..Default::default() }),
        (false, true) => Some(Linear { right: 1, ..Default::default() }),
        // Without a mark it may still be compared with one of the other side: Spark counts only marked columns.
        _ => None,
    }
}

fn constant_micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::DurationMicrosecond(Some(micros)) => Some(*micros),
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.nanoseconds / 1000)
        }
        _ => None,
    }
}
