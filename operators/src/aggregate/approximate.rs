//! `percentile_approx` (`approx_percentile`): an actual value near the percentage asked for, from a bounded sketch.
//!
//! In: numbers, dates, times or intervals; the percentage (or an array) and the accuracy (default 10000: the rank is right
//! to a ten-thousandth of the count) are constants. Out: a value, or an array of values, of the column's type.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, check_count};
use super::percentile::Percentages;
use super::quantiles::{Quantiles, Sample};
use super::rows::{each_element, list_column, list_type};
use super::sum::is_interval;
use crate::{Error, Result};

pub(super) const FUNCTIONS: &[Definition] =
    &[Definition { names: &["percentile_approx", "approx_percentile"], constants: &[1, 2], resolve, build }];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "2 or 3")?;
    let percentages = Percentages::of(options.constants.first())?;
    error(options)?;
    let data_type = match &args[0] {
        DataType::Utf8 | DataType::Null => DataType::Float64,
        t if t.is_numeric() || is_interval(t) || matches!(t, DataType::Date32 | DataType::Timestamp(_, _)) => t.clone(),
        _ => return Err(Mismatch::ArgumentType { position: 0, expected: "NUMERIC, DATE, TIMESTAMP or ANSI INTERVAL" }),
    };
    Ok(Signature { args: vec![data_type.clone()], returns: percentages.returns(data_type) })
}

/// The relative error of ranks.
fn error(options: &Options) -> Result<f64, Mismatch> {
    match options.constants.get(1) {
        None => Ok(1.0 / 10_000.0),
        Some(Constant::Long(accuracy)) if (1..=i64::from(i32::MAX)).contains(accuracy) => Ok(1.0 / *accuracy as f64),
        Some(_) => Err(Mismatch::Constant { expected: "an accuracy between 1 and 2147483647" }),
    }
}

fn build(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let options = function.options();
    let refused = |mismatch: Mismatch| Error::Internal(mismatch.to_string());
    let percentages = Percentages::of(options.constants.first()).map_err(refused)?;
    let error = error(options).map_err(refused)?;
    Ok(Folded::boxed(Approximate { percentages, error, data_type: function.arg_types()[0].clone() }))
}

struct Approximate {
    percentages: Percentages,
    error: f64,
    data_type: DataType,
}

/// The whole-number type that a date, time or interval is stored as.
fn storage(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Date32 | DataType::Interval(IntervalUnit::YearMonth) => Some(DataType::Int32),
        DataType::Timestamp(_, _) | DataType::Duration(_) => Some(DataType::Int64),
        _ => None,
    }
}

/// Numbers, dates, times and intervals as doubles.
pub(super) fn to_doubles(column: &ArrayRef) -> Result<ArrayRef> {
    let numbers = match (column.data_type(), storage(column.data_type())) {
        (DataType::Interval(_), _) => {
            Arc::new(column.as_primitive::<IntervalYearMonthType>().unary::<_, Int32Type>(|n| n))
        }
        (_, Some(whole)) => cast(column, &whole)?,
        _ => Arc::clone(column),
    };
    Ok(cast(&numbers, &DataType::Float64)?)
}

/// The way back from [`to_doubles`].
pub(super) fn from_doubles(values: &Float64Array, data_type: &DataType) -> Result<ArrayRef> {
    match (data_type, storage(data_type)) {
        (DataType::Interval(_), _) => Ok(Arc::new(values.unary::<_, IntervalYearMonthType>(|months| months as i32))),
        (_, Some(whole)) => Ok(cast(&cast(values, &whole)?, data_type)?),
        _ => Ok(cast(values, data_type)?),
    }
}

impl Fold for Approximate {
    type Cell = Quantiles;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Quantiles],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let doubles = to_doubles(&args[0])?;
        let values = doubles.as_primitive::<Float64Type>().values();
        let rows = counting(&args[..1], filter);
        each_row(groups, rows.as_ref(), |row, group| cells[group].insert(values[row], self.error));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Quantiles], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let values = state[1].as_list::<i32>().values().as_primitive::<Float64Type>();
        let [gaps, uncertainties] = [2, 3].map(|i| state[i].as_list::<i32>().values().as_primitive::<Int64Type>());
        let mut summaries: Vec<Vec<Sample>> = vec![Vec::new(); groups.len()];
        each_element(&state[1], |row, i| {
            let (gap, uncertainty) = (gaps.value(i), uncertainties.value(i));
            summaries[row].push(Sample { value: values.value(i), gap, uncertainty });
        });
        let counts = state[0].as_primitive::<Int64Type>().values();
        for ((samples, &group), &count) in summaries.into_iter().zip(groups).zip(counts) {
            cells[group as usize].merge(Quantiles::from_parts(count, samples), self.error);
        }
        Ok(())
    }

    fn evaluate(&self, cells: &[&Quantiles]) -> Result<ArrayRef> {
        let percentiles = |cell: &&Quantiles| {
            let all = self.percentages.all().iter().filter_map(|percentage| cell.query(*percentage, self.error));
            (!cell.is_empty()).then(|| all.collect())
        };
        self.percentages.column(cells.iter().map(percentiles).collect(), |values| from_doubles(values, &self.data_type))
    }

    fn state(&self, cells: &[&Quantiles]) -> Result<Vec<ArrayRef>> {
        let parts: Vec<_> = cells.iter().map(|cell| cell.parts(self.error)).collect();
        let lengths = || parts.iter().map(|(_, samples)| samples.len());
        let samples = || parts.iter().flat_map(|(_, samples)| samples);
        let counts = Int64Array::from_iter_values(parts.iter().map(|(count, _)| *count));
        let values = Float64Array::from_iter_values(samples().map(|sample| sample.value));
        let gaps = Int64Array::from_iter_values(samples().map(|sample| sample.gap));
        let uncertainties = Int64Array::from_iter_values(samples().map(|sample| sample.uncertainty));
        Ok(vec![
            Arc::new(counts),
            list_column(lengths(), Arc::new(values))?,
            list_column(lengths(), Arc::new(gaps))?,
            list_column(lengths(), Arc::new(uncertainties))?,
        ])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, list_type(DataType::Float64), list_type(DataType::Int64), list_type(DataType::Int64)]
    }

    fn heap_bytes(&self, cell: &Quantiles) -> usize {
        cell.heap_bytes()
    }
}
