//! `avg` and `try_avg`: numbers give DOUBLE, DECIMAL(p,s) gives DECIMAL(p+4,s+4) rounded half up, intervals their type.
//!
//! In: one column of the type the function was resolved to. Out: sum divided by number of non-null values, null if there
//! are none. What always holds: the state is that sum and that number, so merging parts is adding.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Float64Type, Int64Type, IntervalUnit, IntervalYearMonthType,
    i256,
};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, check_count};
use super::sum::{MAX_PRECISION, Overflow, decimal_fits, is_interval};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["avg", "mean"], constants: &[], resolve, build: |function| build(function, false) },
    Definition { names: &["try_avg"], constants: &[], resolve, build: |function| build(function, true) },
];

fn resolve(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    let (arg, returns) = match &args[0] {
        DataType::Decimal128(precision, scale) => {
            let scale = (scale + 4).min(MAX_PRECISION as i8);
            (args[0].clone(), DataType::Decimal128((precision + 4).min(MAX_PRECISION), scale))
        }
        t if t.is_numeric() || matches!(t, DataType::Utf8 | DataType::Null) => (DataType::Float64, DataType::Float64),
        interval if is_interval(interval) => (interval.clone(), interval.clone()),
        _ => return Err(Mismatch::ArgumentType { position: 0, expected: "NUMERIC or ANSI INTERVAL" }),
    };
    Ok(Signature { args: vec![arg], returns })
}

fn build(function: &AggregateFunction, lenient: bool) -> Result<Box<dyn Accumulator>> {
    let (arg, returns) = (function.arg_types()[0].clone(), function.return_type().clone());
    if returns == DataType::Float64 {
        return Ok(Folded::boxed(DoubleAverage));
    }
    let overflow = Overflow::of(&returns, function.options().ansi, lenient);
    Ok(Folded::boxed(ExactAverage { arg, returns, overflow }))
}

#[derive(Default)]
struct DoubleCell {
    sum: f64,
    count: i64,
}

struct DoubleAverage;

impl Fold for DoubleAverage {
    type Cell = DoubleCell;

    fn update(
        &mut self,
        cells: &mut [DoubleCell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = args[0].as_primitive::<Float64Type>().values();
        each_row(groups, counting(args, filter).as_ref(), |row, group| {
            cells[group].sum += values[row];
            cells[group].count += 1;
        });
        Ok(())
    }

    fn merge(&mut self, cells: &mut [DoubleCell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = state[0].as_primitive::<Float64Type>().values();
        let counts = state[1].as_primitive::<Int64Type>().values();
        each_row(groups, None, |row, group| {
            cells[group].sum += sums[row];
            cells[group].count += counts[row];
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&DoubleCell]) -> Result<ArrayRef> {
        let average = |cell: &&DoubleCell| (cell.count > 0).then(|| cell.sum / cell.count as f64);
        Ok(Arc::new(cells.iter().map(average).collect::<Float64Array>()))
    }

    fn state(&self, cells: &[&DoubleCell]) -> Result<Vec<ArrayRef>> {
        let sums = Float64Array::from_iter_values(cells.iter().map(|cell| cell.sum));
        let counts = Int64Array::from_iter_values(cells.iter().map(|cell| cell.count));
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64, DataType::Int64]
    }
}

#[derive(Default)]
struct ExactCell {
    sum: i128,
    count: i64,
    overflowed: bool,
}

/// Averages of decimals (by their unscaled values) and of intervals.
struct ExactAverage {
    arg: DataType,
    returns: DataType,
    overflow: Overflow,
}

impl ExactAverage {
    /// The sum's type: 10 more digits than the argument, as for `sum`.
    fn sum_type(&self) -> DataType {
        match self.arg {
            DataType::Decimal128(precision, scale) => DataType::Decimal128((precision + 10).min(MAX_PRECISION), scale),
            _ => DataType::Decimal128(MAX_PRECISION, 0),
        }
    }

    fn add(&self, cell: &mut ExactCell, sum: i128, count: i64) {
        let (sum, overflowed) = cell.sum.overflowing_add(sum);
        *cell = ExactCell { sum, count: cell.count + count, overflowed: cell.overflowed | overflowed };
    }

    /// Ten to the power of the digits that the result has more.
    fn scale_up(&self) -> i256 {
        let digits = match (&self.arg, &self.returns) {
            (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => u32::try_from(to - from).unwrap_or(0),
            _ => 0,
        };
        i256::from_i128(10i128.pow(digits))
    }

    fn result(&self, cell: &ExactCell, scale_up: i256) -> Result<Option<i128>> {
        if cell.count == 0 {
            return Ok(None);
        }
        let average = divide_half_up(i256::from_i128(cell.sum).wrapping_mul(scale_up), cell.count);
        let fits = !cell.overflowed && decimal_fits(cell.sum, &self.sum_type());
        match average.to_i128().filter(|average| fits && decimal_fits(*average, &self.returns)) {
            None if self.overflow == Overflow::Error => Err(Overflow::error(&self.returns)),
            average => Ok(average),
        }
    }

    fn column(&self, values: &[Option<i128>]) -> Result<ArrayRef> {
        let unscaled = Decimal128Array::from_iter(values.iter().copied());
        Ok(match &self.returns {
            DataType::Decimal128(_, _) => Arc::new(unscaled.with_data_type(self.returns.clone())),
            DataType::Interval(_) => Arc::new(unscaled.unary::<_, IntervalYearMonthType>(|months| months as i32)),
            _ => Arc::new(unscaled.unary::<_, DurationMicrosecondType>(|micros| micros as i64)),
        })
    }
}

/// The quotient rounded half away from zero.
fn divide_half_up(dividend: i256, divisor: i64) -> i256 {
    let divisor = i256::from_i128(divisor.into());
    let (quotient, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor));
    let twice = rest.wrapping_abs().wrapping_add(rest.wrapping_abs());
    match (twice >= divisor, rest.is_negative()) {
        (false, _) => quotient,
        (true, false) => quotient.wrapping_add(i256::ONE),
        (true, true) => quotient.wrapping_sub(i256::ONE),
    }
}

/// Whole numbers of any kind as unscaled decimals.
fn widen(column: &ArrayRef) -> Result<Decimal128Array> {
    Ok(match column.data_type() {
        DataType::Decimal128(_, _) => column.as_primitive::<Decimal128Type>().clone(),
        DataType::Interval(IntervalUnit::YearMonth) => column.as_primitive::<IntervalYearMonthType>().unary(i128::from),
        _ => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().unary(i128::from),
    })
}

impl Fold for ExactAverage {
    type Cell = ExactCell;

    fn update(
        &mut self,
        cells: &mut [ExactCell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = widen(&args[0])?;
        let rows = counting(args, filter);
        each_row(groups, rows.as_ref(), |row, group| self.add(&mut cells[group], values.values()[row], 1));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [ExactCell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = state[0].as_primitive::<Decimal128Type>();
        let counts = state[1].as_primitive::<Int64Type>().values();
        each_row(groups, None, |row, group| {
            self.add(&mut cells[group], sums.values()[row], counts[row]);
            cells[group].overflowed |= sums.is_null(row);
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&ExactCell]) -> Result<ArrayRef> {
        let scale_up = self.scale_up();
        let averages = cells.iter().map(|cell| self.result(cell, scale_up)).collect::<Result<Vec<_>>>()?;
        self.column(&averages)
    }

    fn state(&self, cells: &[&ExactCell]) -> Result<Vec<ArrayRef>> {
        let sums = cells.iter().map(|cell| (!cell.overflowed).then_some(cell.sum)).collect::<Decimal128Array>();
        let counts = Int64Array::from_iter_values(cells.iter().map(|cell| cell.count));
        Ok(vec![Arc::new(sums.with_data_type(self.sum_type())), Arc::new(counts)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.sum_type(), DataType::Int64]
    }
}
