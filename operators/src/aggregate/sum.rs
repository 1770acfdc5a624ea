//! `sum` and `try_sum`: whole numbers give BIGINT, DECIMAL(p,s) gives DECIMAL(p+10,s), other numbers DOUBLE, intervals
//! their own type; no rows (or only nulls) give null.
//!
//! In: one column of the type the function was resolved to. Out: the sum. What always holds: a sum that does not fit is
//! an error under ANSI; without ANSI it is null, or wraps for BIGINT, as in Spark.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, DecimalType, DurationMicrosecondType, Float64Type, Int64Type,
    IntervalUnit, IntervalYearMonthType, TimeUnit,
};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, check_count};
use crate::{Error, Result};

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["sum"], constants: &[], resolve, build: |function| build(function, false) },
    Definition { names: &["try_sum"], constants: &[], resolve, build: |function| build(function, true) },
];

/// The most digits of a decimal.
pub(super) const MAX_PRECISION: u8 = 38;

fn resolve(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    let (arg, returns) = match &args[0] {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => (DataType::Int64, DataType::Int64),
        DataType::Decimal128(precision, scale) => {
            (args[0].clone(), DataType::Decimal128((precision + 10).min(MAX_PRECISION), *scale))
        }
        DataType::Float32 | DataType::Float64 | DataType::Utf8 | DataType::Null => {
            (DataType::Float64, DataType::Float64)
        }
        interval if is_interval(interval) => (interval.clone(), interval.clone()),
        _ => return Err(Mismatch::ArgumentType { position: 0, expected: "NUMERIC or ANSI INTERVAL" }),
    };
    Ok(Signature { args: vec![arg], returns })
}

/// Year-month and day-time intervals.
pub(super) fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(TimeUnit::Microsecond) | DataType::Interval(IntervalUnit::YearMonth))
}

fn build(function: &AggregateFunction, lenient: bool) -> Result<Box<dyn Accumulator>> {
    let returns = function.return_type().clone();
    let overflow = Overflow::of(&returns, function.options().ansi, lenient);
    Ok(match returns {
        DataType::Int64 => Sum::<Int64Type>::boxed(returns, overflow),
        DataType::Float64 => Sum::<Float64Type>::boxed(returns, overflow),
        DataType::Decimal128(_, _) => Sum::<Decimal128Type>::boxed(returns, overflow),
        DataType::Duration(_) => Sum::<DurationMicrosecondType>::boxed(returns, overflow),
        DataType::Interval(_) => Sum::<IntervalYearMonthType>::boxed(returns, overflow),
        other => return Err(Error::Internal(format!("sum was resolved to {other}"))),
    })
}

/// What a sum that does not fit becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    Error,
    Null,
    Wrap,
}

impl Overflow {
    pub fn of(data_type: &DataType, ansi: bool, lenient: bool) -> Self {
        match data_type {
            _ if lenient => Overflow::Null,
            interval if is_interval(interval) => Overflow::Error,
            _ if ansi => Overflow::Error,
            DataType::Decimal128(_, _) => Overflow::Null,
            _ => Overflow::Wrap,
        }
    }

    /// The error for a sum of this type.
    pub fn error(data_type: &DataType) -> Error {
        match data_type {
            DataType::Decimal128(_, _) => Error::data("ARITHMETIC_OVERFLOW", "overflow in sum of decimals"),
            DataType::Int64 => Error::data("ARITHMETIC_OVERFLOW", "long overflow"),
            _ => Error::data(
                "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION",
                "integer overflow while operating with intervals",
            ),
        }
    }
}

/// A number that can be added up; the flag says that the result wrapped.
trait Addend: Copy + Default + Send + Sync + 'static {
    fn plus(self, other: Self) -> (Self, bool);

    /// Whether a sum is within the range of the result's type.
    fn fits(self, _data_type: &DataType) -> bool {
        true
    }
}

impl Addend for i32 {
    fn plus(self, other: Self) -> (Self, bool) {
        self.overflowing_add(other)
    }
}

impl Addend for i64 {
    #[inline]
    fn plus(self, other: Self) -> (Self, bool) {
        self.overflowing_add(other)
    }
}

impl Addend for f64 {
    #[inline]
    fn plus(self, other: Self) -> (Self, bool) {
        (self + other, false)
    }
}

impl Addend for i128 {
    fn plus(self, other: Self) -> (Self, bool) {
        self.overflowing_add(other)
    }

    fn fits(self, data_type: &DataType) -> bool {
        decimal_fits(self, data_type)
    }
}

/// Whether the unscaled value has no more digits than the decimal type.
pub(super) fn decimal_fits(value: i128, data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal128(precision, _) => Decimal128Type::is_valid_decimal_precision(value, *precision),
        _ => true,
    }
}

#[derive(Default)]
struct Cell<N> {
    sum: N,
    seen: bool,
    overflowed: bool,
}

/// The fold; `T` is the type of the values.
struct Sum<T> {
    returns: DataType,
    overflow: Overflow,
    values: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType<Native: Addend>> Sum<T> {
    fn boxed(returns: DataType, overflow: Overflow) -> Box<dyn Accumulator> {
        Folded::boxed(Sum::<T> { returns, overflow, values: PhantomData })
    }

    fn add(
        &self,
        cells: &mut [Cell<T::Native>],
        groups: &[u32],
        column: &ArrayRef,
        rows: Option<&NullBuffer>,
    ) -> Result<()> {
        let values = column.as_primitive::<T>().values();
        let mut overflowed = false;
        each_row(groups, rows, |row, group| {
            let cell = &mut cells[group];
            let (sum, over) = cell.sum.plus(values[row]);
            *cell = Cell { sum, seen: true, overflowed: cell.overflowed | over };
            overflowed |= over;
        });
        self.report(overflowed)
    }

    fn report(&self, overflowed: bool) -> Result<()> {
        if overflowed && self.overflow == Overflow::Error { Err(Overflow::error(&self.returns)) } else { Ok(()) }
    }

    /// The sum of a cell, `None` for null.
    fn result(&self, cell: &Cell<T::Native>) -> Result<Option<T::Native>> {
        let overflowed = cell.overflowed || !cell.sum.fits(&self.returns);
        self.report(overflowed)?;
        let lost = overflowed && self.overflow == Overflow::Null;
        Ok((cell.seen && !lost).then_some(cell.sum))
    }

    fn column(&self, values: impl Iterator<Item = Option<T::Native>>) -> ArrayRef {
        Arc::new(values.collect::<PrimitiveArray<T>>().with_data_type(self.returns.clone()))
    }
}

impl<T: ArrowPrimitiveType<Native: Addend>> Fold for Sum<T> {
    type Cell = Cell<T::Native>;

    fn update(
        &mut self,
        cells: &mut [Self::Cell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        self.add(cells, groups, &args[0], counting(args, filter).as_ref())
    }

    fn merge(&mut self, cells: &mut [Self::Cell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.add(cells, groups, &state[0], counting(&state[..1], None).as_ref())?;
        let overflowed = state[1].as_boolean().values();
        each_row(groups, None, |row, group| cells[group].overflowed |= overflowed.value(row));
        Ok(())
    }

    fn evaluate(&self, cells: &[&Self::Cell]) -> Result<ArrayRef> {
        let sums = cells.iter().map(|cell| self.result(cell)).collect::<Result<Vec<_>>>()?;
        Ok(self.column(sums.into_iter()))
    }

    fn state(&self, cells: &[&Self::Cell]) -> Result<Vec<ArrayRef>> {
        let sums = self.column(cells.iter().map(|cell| cell.seen.then_some(cell.sum)));
        let overflowed = cells.iter().map(|cell| Some(cell.overflowed)).collect::<BooleanArray>();
        Ok(vec![sums, Arc::new(overflowed)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.returns.clone(), DataType::Boolean]
    }
}
