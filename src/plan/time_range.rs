//! What a stream-stream join's condition says about event times: how long a stored row can still find a match.
//!
//! In: the join's condition. Every comparison between a time of one side and the event time of the other becomes
//! `left time - right time <= c` or `>= c`, in microseconds (months have no fixed length and bound nothing; times may be cast to
//! numbers, which are seconds then). A stored left row can match a right row that is still to come only while
//! `left time + most right lead > watermark`; Spark counts in milliseconds and takes one off where the comparison is inclusive, so
//! do we. The stored row's own time needs no watermark, that of the other side does. Where several comparisons bound a side, the
//! tightest counts; only where everything has to be as in Spark it is the one that keeps rows longest, as there: by it rows without match
//! come when they come there.
//!
//! Spark takes a number for a time where it stands alone: of `left number > 2` it concludes that left rows are of use while their time
//! is after the second second of 1970, so it never evicts them and never prints those without match. That is done only where
//! everything has to be as in Spark ([`JoinTimes::of`]).

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, Operator};
use datafusion::scalar::ScalarValue;

use super::nodes::{event_time_index, watermark_delay_millis};
use crate::Result;
use crate::functions::arithmetic::as_sum;
use crate::functions::cast::as_numeric_cast;
use crate::functions::comparison::as_comparison;
use crate::functions::conditional::conjuncts;
use crate::functions::interval::as_moved;

/// One millisecond in microseconds.
const MILLI: i64 = 1000;
/// So far behind that no watermark comes out.
const FOR_EVER: i64 = i64::MAX;
/// One second in microseconds.
const SECOND: i64 = 1_000_000;

/// How long a stored row may still find a match.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The row's time: a timestamp column of its side.
    pub time: Column,
    /// It is evicted when `time <= watermark - delay`, in microseconds.
    pub delay: i64,
}

/// The event times of a join and what is known of their distance.
#[derive(Debug, Clone, Default)]
pub struct JoinTimes {
    /// Index of each side's event-time column.
    pub columns: [Option<usize>; 2],
    /// Index of each side's event-time column among its join keys (`on`), if it is one.
    pub keys: [Option<usize>; 2],
    /// When a stored row of the side can match nothing any more.
    pub bounds: [Option<Bound>; 2],
    /// Whether Spark keeps the side's rows for ever because of a number.
    endless: [bool; 2],
    /// Whether of several bounds the one counts that keeps rows longest.
    loosest: bool,
    /// Whether the condition has an equality with an event time, which an optimizer will make a join key of.
    equality: bool,
}

impl JoinTimes {
    /// Reads a join of two streams; `as_spark`: a number that is compared with a constant counts as a time, too.
    pub fn of(join: &Join, as_spark: bool) -> Result<JoinTimes> {
        let schemas = [join.left.schema().as_ref(), join.right.schema().as_ref()];
        let columns = schemas.map(event_time_index);
        let mut times = JoinTimes { columns, loosest: as_spark, ..Default::default() };
        times.keys = [key_of(join, schemas[0], 0), key_of(join, schemas[1], 1)];
        for conjunct in join.filter.iter().cloned().flat_map(conjuncts) {
            times.read(&conjunct, schemas);
        }
        if !as_spark || times.columns == [None, None] {
            times.endless = [false; 2];
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
        self.watermarked_key() || self.bounds[0].is_some() || self.endless[0]
    }

    /// The same for right rows.
    pub fn bounds_matches_of_right(&self) -> bool {
        self.watermarked_key() || self.bounds[1].is_some() || self.endless[1]
    }

    /// Spark: a watermark on a join key of either side bounds both.
    pub fn watermarked_key(&self) -> bool {
        self.equality || self.keys.iter().any(Option::is_some)
    }

    /// When a stored row of a side, which has this schema, can match nothing any more, as far as the condition says.
    pub fn bound(&self, side: usize, schema: &DFSchema) -> Option<Bound> {
        match self.columns[side].filter(|_| self.endless[side]) {
            Some(time) => Some(Bound { time: schema.qualified_field(time).into(), delay: FOR_EVER }),
            None => self.bounds[side].clone(),
        }
    }

    /// How far a following operator's watermark has to stay behind, in microseconds.
    pub fn holdback(&self, kind: JoinType) -> i64 {
        if self.watermarked_key() || kind == JoinType::LeftSemi && self.bounds[0].is_none() {
            return 0;
        }
        if self.endless.iter().zip(self.columns).any(|(endless, column)| *endless && column.is_some()) {
            return FOR_EVER;
        }
        let evicted = self.bounds.iter().zip(self.columns).filter(|(_, column)| column.is_some());
        evicted.filter_map(|(bound, _)| Some(bound.as_ref()?.delay)).max().unwrap_or(0).max(0)
    }

    fn read(&mut self, conjunct: &Expr, schemas: [&DFSchema; 2]) {
        match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                self.equality |=
                    schemas.iter().any(|schema| is_event_time(left, schema) || is_event_time(right, schema));
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.read_comparison(left, *op, right, schemas),
            Expr::ScalarFunction(_) => {
                if let Some((left, op, right)) = as_comparison(conjunct) {
                    self.read_comparison(left, op, right, schemas);
                }
            }
            Expr::Between(between) if !between.negated => {
                self.read_comparison(&between.expr, Operator::GtEq, &between.low, schemas);
                self.read_comparison(&between.expr, Operator::LtEq, &between.high, schemas);
            }
            _ => {}
        }
    }

    /// `a op b`, for a time of each side.
    fn read_comparison(&mut self, a: &Expr, op: Operator, b: &Expr, schemas: [&DFSchema; 2]) {
        // What is less than what, and by how much at least.
        let (less, more, inclusive) = match op {
            Operator::Lt => (a, b, 0),
            Operator::LtEq => (a, b, MILLI),
            Operator::Gt => (b, a, 0),
            Operator::GtEq => (b, a, MILLI),
            _ => return,
        };
        if let Some(side) = side_above_constant(less, more, schemas) {
            self.endless[side] = true;
        }
        let difference = linear(less, schemas).zip(linear(more, schemas)).and_then(|(less, more)| less.minus(more));
        let Some(Linear { times: [Some((left, left_sign)), Some((right, right_sign))], constant }) = difference else {
            return;
        };
        match (left_sign, right_sign) {
            // `right time + c < left time`: a left row is of use until the right watermark has passed that.
            (-1, 1) => self.set_bound(0, left, right, schemas, constant.saturating_neg().saturating_add(inclusive)),
            (1, -1) => self.set_bound(1, right, left, schemas, constant.saturating_neg().saturating_add(inclusive)),
            _ => {}
        }
    }

    /// Rows of `side` are of use while `time > watermark - delay`, the watermark being that of the other side's `event_time`.
    fn set_bound(&mut self, side: usize, time: Column, event_time: Column, schemas: [&DFSchema; 2], delay: i64) {
        if !is_event_time(&Expr::Column(event_time), schemas[1 - side]) {
            return;
        }
        let loosest = self.loosest;
        let known = &mut self.bounds[side];
        // Of different columns nobody knows which is the tighter one.
        let counts =
            |known: &Bound| if loosest { known.delay < delay } else { known.time == time && delay < known.delay };
        if known.as_ref().is_none_or(counts) {
            *known = Some(Bound { time, delay });
        }
    }
}

fn key_of(join: &Join, schema: &DFSchema, side: usize) -> Option<usize> {
    join.on.iter().position(|(left, right)| is_event_time(if side == 0 { left } else { right }, schema))
}

/// Whether an expression is a column with a watermark.
fn is_event_time(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(column) => schema.field_from_column(column).is_ok_and(|f| watermark_delay_millis(f).is_some()),
        _ => false,
    }
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

/// `±(left time) ± (right time) + constant`, in microseconds.
#[derive(Debug, Clone, Default)]
struct Linear {
    /// Per side, its column and the sign.
    times: [Option<(Column, i8)>; 2],
    constant: i64,
}

impl Linear {
    fn constant(micros: i64) -> Self {
        Linear { constant: micros, ..Default::default() }
    }

    fn negated(self) -> Option<Linear> {
        let constant = self.constant.checked_neg()?;
        Some(Linear { times: self.times.map(|time| time.map(|(column, sign)| (column, -sign))), constant })
    }

    /// None if a side's time would occur twice.
    fn plus(self, other: Linear) -> Option<Linear> {
        let constant = self.constant.checked_add(other.constant)?;
        let [left, right] = self.times;
        let [other_left, other_right] = other.times;
        let one = |a: Option<(Column, i8)>, b: Option<(Column, i8)>| match (a, b) {
            (Some(_), Some(_)) => None,
            (a, b) => Some(a.or(b)),
        };
        Some(Linear { times: [one(left, other_left)?, one(right, other_right)?], constant })
    }

    fn minus(self, other: Linear) -> Option<Linear> {
        self.plus(other.negated()?)
    }
}

/// The linear form of a time expression; none if it has another shape.
fn linear(expr: &Expr, schemas: [&DFSchema; 2]) -> Option<Linear> {
    match expr {
        Expr::Alias(alias) => linear(&alias.expr, schemas),
        Expr::Column(column) => linear_column(column, schemas),
        Expr::Literal(value, _) => Some(Linear::constant(constant_micros(value)?)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => combine(left, *op, right, schemas),
        Expr::ScalarFunction(_) => {
            if let Some((time, interval, later)) = as_moved(expr) {
                let op = if later { Operator::Plus } else { Operator::Minus };
                return combine(time, op, interval, schemas);
            }
            if let Some((left, op, right)) = as_sum(expr) {
                return combine(left, op, right, schemas);
            }
            as_numeric_cast(expr).and_then(|value| linear(value, schemas))
        }
        _ => None,
    }
}

fn combine(left: &Expr, op: Operator, right: &Expr, schemas: [&DFSchema; 2]) -> Option<Linear> {
    let (left, right) = (linear(left, schemas)?, linear(right, schemas)?);
    match op {
        Operator::Plus => left.plus(right),
        Operator::Minus => left.minus(right),
        _ => None,
    }
}

/// The side of whose number it is said that it is above a constant, if nothing else is said.
fn side_above_constant(less: &Expr, more: &Expr, schemas: [&DFSchema; 2]) -> Option<usize> {
    let mut numbers = Vec::new();
    numbers_of(less, -1, schemas, &mut numbers)?;
    numbers_of(more, 1, schemas, &mut numbers)?;
    match numbers[..] {
        [(side, 1)] => Some(side),
        _ => None,
    }
}

/// Adds the numeric columns of a sum, by side and sign; none if it is no sum of numbers.
fn numbers_of(expr: &Expr, sign: i8, schemas: [&DFSchema; 2], found: &mut Vec<(usize, i8)>) -> Option<()> {
    let mut sum = |left: &Expr, op: Operator, right: &Expr| {
        let other = match op {
            Operator::Plus => sign,
            Operator::Minus => -sign,
            _ => return None,
        };
        numbers_of(left, sign, schemas, found)?;
        numbers_of(right, other, schemas, found)
    };
    match expr {
        Expr::Alias(alias) => numbers_of(&alias.expr, sign, schemas, found),
        Expr::Literal(value, _) => value.data_type().is_numeric().then_some(()),
        Expr::Column(column) => {
            let field = |schema: &DFSchema| schema.field_from_column(column).ok().cloned();
            let side = usize::from(field(schemas[0]).is_none());
            field(schemas[side]).filter(|field| field.data_type().is_numeric()).map(|_| found.push((side, sign)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => sum(left, *op, right),
        Expr::ScalarFunction(_) => match as_sum(expr) {
            Some((left, op, right)) => sum(left, op, right),
            None => numbers_of(as_numeric_cast(expr)?, sign, schemas, found),
        },
        _ => None,
    }
}

/// A timestamp of one of the sides.
fn linear_column(column: &Column, schemas: [&DFSchema; 2]) -> Option<Linear> {
    let is_time = |schema: &DFSchema| {
        let field = schema.field_from_column(column).ok();
        field.is_some_and(|field| matches!(field.data_type(), DataType::Timestamp(_, Some(_))))
    };
    let time = Some((column.clone(), 1));
    match (is_time(schemas[0]), is_time(schemas[1])) {
        (true, false) => Some(Linear { times: [time, None], constant: 0 }),
        (false, true) => Some(Linear { times: [None, time], constant: 0 }),
        _ => None,
    }
}

/// Intervals; plain numbers are seconds.
fn constant_micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::DurationMicrosecond(Some(micros)) => Some(*micros),
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.nanoseconds / 1000)
        }
        ScalarValue::Int8(Some(seconds)) => i64::from(*seconds).checked_mul(SECOND),
        ScalarValue::Int16(Some(seconds)) => i64::from(*seconds).checked_mul(SECOND),
        ScalarValue::Int32(Some(seconds)) => i64::from(*seconds).checked_mul(SECOND),
        ScalarValue::Int64(Some(seconds)) => seconds.checked_mul(SECOND),
        ScalarValue::Float32(Some(seconds)) => Some((f64::from(*seconds) * SECOND as f64) as i64),
        ScalarValue::Float64(Some(seconds)) => Some((seconds * SECOND as f64) as i64),
        ScalarValue::Decimal128(Some(value), _, scale) => {
            Some((*value as f64 / 10f64.powi(i32::from(*scale)) * SECOND as f64) as i64)
        }
        _ => None,
    }
}
