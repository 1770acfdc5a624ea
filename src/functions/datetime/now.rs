//! The clock: `current_timestamp`, `now`, `current_date`, `localtimestamp`, `unix_timestamp()`.
//!
//! They are constant per batch: the engine puts the batch's time in before a plan runs ([`fix`]), as a number (static
//! queries) or as a cell that the driver of a stream sets for each epoch. [`Clock`] is volatile, so that no optimizer folds it.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arrow::datatypes::{DataType, Date32Type, Int64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use super::{Micros, session_zone, unary};
use crate::clock::{SharedClock, SystemClock};
use crate::conf::Conf;
use crate::functions::cast::{Mode, cast};
use crate::functions::{Call, Function, function};
use crate::types::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::{Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["current_timestamp", "now"], |mut call| {
        call.values(0..=0)?;
        Ok(clock())
    }),
    function(&["current_date", "curdate"], current_date),
    function(&["localtimestamp"], local_timestamp),
];

/// The time of a query, shared between its driver and its expressions.
pub type BatchTime = Arc<QueryTime>;

/// What the functions of the clock say in a query: the time that was set for its batch, or that of the wall clock. Never goes back,
/// also if the wall clock does.
pub struct QueryTime {
    clock: SharedClock,
    /// The latest time that was set or said: microseconds since 1970 UTC.
    latest: AtomicI64,
    /// Whether batches have times; else the wall clock counts, as under the continuous driver.
    is_set: AtomicBool,
}

impl QueryTime {
    /// The time of this clock, until another is set.
    pub fn following(clock: SharedClock) -> Self {
        QueryTime { clock, latest: AtomicI64::new(i64::MIN), is_set: AtomicBool::new(false) }
    }

    /// This instant, in microseconds since 1970 UTC, for all of the query.
    pub fn at(micros: i64) -> Self {
        let time = Self::following(SystemClock::shared());
        time.set(micros);
        time
    }

    /// The time of a batch begins.
    pub fn set(&self, micros: i64) {
        self.latest.fetch_max(micros, Ordering::AcqRel);
        self.is_set.store(true, Ordering::Release);
    }

    /// The time, in microseconds since 1970 UTC.
    pub fn micros(&self) -> i64 {
        if self.is_set.load(Ordering::Acquire) {
            return self.latest.load(Ordering::Acquire);
        }
        let now = self.clock.wall_micros();
        now.max(self.latest.fetch_max(now, Ordering::AcqRel))
    }
}

impl std::fmt::Debug for QueryTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryTime({})", self.latest.load(Ordering::Acquire))
    }
}

/// The time of the batch: a function without arguments that reads its cell; without a cell the wall clock.
#[derive(Debug)]
pub struct Clock {
    signature: Signature,
    time: Option<BatchTime>,
}

impl Clock {
    fn expr(time: Option<BatchTime>) -> Expr {
        let clock = Clock { signature: Signature::nullary(Volatility::Volatile), time };
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(clock)), vec![]))
    }

    fn cell(&self) -> Option<*const QueryTime> {
        self.time.as_ref().map(Arc::as_ptr)
    }

    fn micros(&self) -> i64 {
        self.time.as_ref().map_or_else(|| SystemClock::shared().wall_micros(), |time| time.micros())
    }
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        self.cell() == other.cell()
    }
}

impl Eq for Clock {}

impl Hash for Clock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell().hash(state);
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        "current_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(types::timestamp())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let zone = Some("UTC".into());
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(self.micros()), zone)))
    }
}

/// The expression that stands for the time of the batch.
pub fn clock() -> Expr {
    Clock::expr(None)
}

/// Whether this very expression is a clock that no time was put into yet.
fn is_open(expr: &Expr) -> bool {
    let Expr::ScalarFunction(call) = expr else { return false };
    let function: &dyn Any = call.func.inner().as_ref();
    function.downcast_ref::<Clock>().is_some_and(|clock| clock.time.is_none())
}

/// Now, for a static query: one instant for the whole of it.
pub fn this_instant() -> BatchTime {
    Arc::new(QueryTime::at(SystemClock::shared().wall_micros()))
}

/// The plan with its clocks reading `time`.
///
/// # Errors
/// None of its own; the walk may fail on expressions nested too deep.
pub fn fix(plan: LogicalPlan, time: &BatchTime) -> Result<LogicalPlan> {
    let fix_expr = |expr: Expr| {
        expr.transform(|part| match is_open(&part) {
            true => Ok(Transformed::yes(Clock::expr(Some(time.clone())))),
            false => Ok(Transformed::no(part)),
        })
    };
    let fixed = plan.transform_up_with_subqueries(|node| node.map_expressions(fix_expr))?;
    Ok(fixed.data)
}

/// The dates and times that have a name as constants of type `to`: `epoch`, `now`, `today`, `tomorrow`, `yesterday`; none for
/// other texts and types.
///
/// # Errors
/// An unknown time zone among the settings.
pub fn named_time(text: &str, to: &DataType, conf: &Conf) -> Result<Option<Expr>> {
    let days = match text.trim().to_ascii_lowercase().as_str() {
        "epoch" => return epoch(to),
        "now" => return now(to, conf),
        "yesterday" => -1,
        "today" => 0,
        "tomorrow" => 1,
        _ => return Ok(None),
    };
    match to {
        DataType::Date32 | DataType::Timestamp(..) => {
            cast(day(days, conf)?, to, Mode::of(conf), &DFSchema::empty(), conf).map(Some)
        }
        _ => Ok(None),
    }
}

fn epoch(to: &DataType) -> Result<Option<Expr>> {
    Ok(match to {
        DataType::Date32 => Some(lit(ScalarValue::Date32(Some(0)))),
        DataType::Timestamp(_, zone) => Some(lit(ScalarValue::TimestampMicrosecond(Some(0), zone.clone()))),
        _ => None,
    })
}

fn now(to: &DataType, conf: &Conf) -> Result<Option<Expr>> {
    match to {
        DataType::Date32 | DataType::Timestamp(..) => {
            cast(clock(), to, Mode::of(conf), &DFSchema::empty(), conf).map(Some)
        }
        _ => Ok(None),
    }
}

fn current_date(mut call: Call<'_>) -> Result<Expr> {
    call.values(0..=0)?;
    day(0, call.conf)
}

/// The date that is so many days after the one of the session's zone.
fn day(later: i64, conf: &Conf) -> Result<Expr> {
    let zone = session_zone(conf)?;
    let key = format!("{} {later}", zone.name());
    let kernel = unary::<Micros, Date32Type>("current_date", DataType::Date32, move |micros| {
        Ok(i32::try_from(zone.to_local(micros).div_euclid(MICROS_PER_DAY) + later).ok())
    });
    Ok(kernel.key(key).call(vec![clock()]))
}

fn local_timestamp(mut call: Call<'_>) -> Result<Expr> {
    call.values(0..=0)?;
    let zone = session_zone(call.conf)?;
    let key = zone.name().to_owned();
    let kernel = unary::<Micros, Micros>("localtimestamp", types::timestamp_ntz(), move |micros| {
        Ok(Some(zone.to_local(micros)))
    });
    Ok(kernel.key(key).call(vec![clock()]))
}

/// `unix_timestamp()` without arguments.
pub(super) fn unix_now() -> Expr {
    let kernel = unary::<Micros, Int64Type>("unix_seconds", DataType::Int64, |micros| {
        Ok(Some(micros.div_euclid(MICROS_PER_SECOND)))
    });
    kernel.call(vec![clock()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::LogicalPlanBuilder;

    #[test]
    fn a_plan_reads_the_time_it_was_given() {
        let plan = LogicalPlanBuilder::empty(true).project([clock().alias("t")]).unwrap().build().unwrap();
        let time = Arc::new(QueryTime::at(1_000_000));
        let fixed = fix(plan, &time).unwrap();
        let rows = crate::plan::batch::collect_blocking(fixed, &crate::conf::Conf::default()).unwrap();
        let times = arrow::array::AsArray::as_primitive::<Micros>(rows[0].column(0));
        assert_eq!(times.value(0), 1_000_000);
    }
}
