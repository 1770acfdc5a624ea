//! The clock: `current_timestamp`, `now`, `current_date`, `localtimestamp`, `unix_timestamp()`.
//!
//! In a stream these are constant per batch, so they are not evaluated here: [`Clock`] is a volatile function that no
//! optimizer folds, and the engine replaces it by the batch's time with [`at`] before it runs a plan. A plan that is run
//! without that (a batch query) reads the wall clock once per evaluation.

use std::any::Any;

use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::{Micros, session_zone, unary};
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

/// The time of the batch: a function without arguments that the engine replaces, see [`at`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    signature: Signature,
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
        Ok(ColumnarValue::Scalar(instant(chrono::Utc::now().timestamp_micros())))
    }
}

fn instant(micros: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
}

/// The expression that stands for the time of the batch.
pub fn clock() -> Expr {
    let clock = Clock { signature: Signature::nullary(Volatility::Volatile) };
    Expr::ScalarFunction(ScalarFunction::new_udf(std::sync::Arc::new(ScalarUDF::new_from_impl(clock)), vec![]))
}

/// Whether this very expression stands for the time of the batch.
pub fn is_clock(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => (call.func.inner().as_ref() as &dyn Any).is::<Clock>(),
        _ => false,
    }
}

/// `expr` with the time of the batch, in microseconds since 1970 UTC, put in for the clock.
///
/// # Errors
/// None of its own; the walk over the expression may fail on expressions nested too deep.
pub fn at(expr: Expr, micros: i64) -> Result<Expr> {
    let replaced = expr.transform(|part| match is_clock(&part) {
        true => Ok(Transformed::yes(Expr::Literal(instant(micros), None))),
        false => Ok(Transformed::no(part)),
    })?;
    Ok(replaced.data)
}

fn current_date(mut call: Call<'_>) -> Result<Expr> {
    call.values(0..=0)?;
    let zone = session_zone(call.conf)?;
    let key = zone.name().to_owned();
    let kernel = unary::<Micros, arrow::datatypes::Date32Type>("current_date", DataType::Date32, move |micros| {
        Ok(i32::try_from(zone.to_local(micros).div_euclid(MICROS_PER_DAY)).ok())
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

    #[test]
    fn the_batch_time_replaces_the_clock() {
        let call = Call {
            name: "now",
            args: vec![],
            schema: &datafusion::common::DFSchema::empty(),
            conf: &Default::default(),
        };
        let bound = current_date(call).unwrap();
        let replaced = at(bound, 0).unwrap();
        assert!(!replaced.exists(|part| Ok(is_clock(part))).unwrap());
    }
}
