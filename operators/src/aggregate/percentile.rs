//! `percentile` (exact, interpolated; also `percentile_cont` and `median`) and `percentile_disc` (exact, an actual value).
//!
//! In: numbers as doubles, or intervals, optionally how often each counts; the percentage, or an array of them, is a constant.
//! Out: a double (an interval) or an array of them, null for no values. What always holds: a cell keeps every value; it is sorted
//! only when asked for.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

use super::Accumulator;
use super::approximate::{from_doubles, to_doubles};
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, as_double, check_count};
use super::rows::{each_element, list_column, list_type};
use super::sum::is_interval;
use crate::{Error, Result};

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["percentile"], constants: &[1], resolve, build: |function| build(function, interpolated) },
    Definition { names: &["percentile_disc"], constants: &[1], resolve, build: build_discrete },
];

/// One percentage gives a value, several an array.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Percentages {
    One(f64),
    Many(Vec<f64>),
}

impl Percentages {
    pub fn of(constant: Option<&Constant>) -> Result<Self, Mismatch> {
        let percentages = match constant {
            Some(Constant::Double(one)) => Percentages::One(*one),
            Some(Constant::Long(one)) => Percentages::One(*one as f64),
            Some(Constant::Doubles(many)) => Percentages::Many(many.clone()),
            _ => Percentages::One(f64::NAN),
        };
        match percentages.all().iter().all(|percentage| (0.0..=1.0).contains(percentage)) {
            true => Ok(percentages),
            false => Err(Mismatch::Constant { expected: "a percentage between 0.0 and 1.0" }),
        }
    }

    pub fn all(&self) -> &[f64] {
        match self {
            Percentages::One(one) => std::slice::from_ref(one),
            Percentages::Many(many) => many,
        }
    }

    /// The result's type, given that of one percentile.
    pub fn returns(&self, one: DataType) -> DataType {
        match self {
            Percentages::One(_) => one,
            Percentages::Many(_) => list_type(one),
        }
    }

    /// The result column from the percentiles of each cell (`None`: the cell is empty).
    pub fn column(
        &self,
        cells: Vec<Option<Vec<f64>>>,
        finish: impl Fn(&Float64Array) -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        match self {
            Percentages::One(_) => {
                let first = |cell: &Option<Vec<f64>>| cell.as_ref().and_then(|values| values.first().copied());
                finish(&cells.iter().map(first).collect::<Float64Array>())
            }
            Percentages::Many(_) => {
                let elements = finish(&Float64Array::from_iter_values(cells.iter().flatten().flatten().copied()))?;
                let lengths = cells.iter().map(|cell| cell.as_ref().map_or(0, Vec::len));
                let nulls = cells.iter().map(Option::is_some).collect::<NullBuffer>();
                let field = Arc::new(Field::new_list_field(elements.data_type().clone(), true));
                let offsets = OffsetBuffer::from_lengths(lengths);
                Ok(Arc::new(ListArray::try_new(field, offsets, elements, Some(nulls))?))
            }
        }
    }
}

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=2, "2 or 3")?;
    let percentages = Percentages::of(options.constants.first())?;
    let one = if is_interval(&args[0]) { args[0].clone() } else { as_double(args, 0)? };
    let mut types = vec![one.clone()];
    if let Some(frequency) = args.get(1) {
        if !frequency.is_integer() {
            return Err(Mismatch::ArgumentType { position: 1, expected: "INTEGRAL" });
        }
        types.push(DataType::Int64);
    }
    Ok(Signature { args: types, returns: percentages.returns(one) })
}

type Pick = fn(&[(f64, i64)], f64) -> f64;

fn build(function: &AggregateFunction, pick: Pick) -> Result<Box<dyn Accumulator>> {
    let percentages = Percentages::of(function.options().constants.first());
    let percentages = percentages.map_err(|mismatch| Error::Internal(mismatch.to_string()))?;
    Ok(Folded::boxed(Percentile { percentages, pick, data_type: function.arg_types()[0].clone() }))
}

fn build_discrete(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let downwards = function.options().order.first().is_some_and(|order| order.descending);
    build(function, if downwards { discrete_from_top } else { discrete })
}

/// Values and how often each counts, in any order.
type Values = Vec<(f64, i64)>;

/// Sorted distinct values, each with the number of values up to and including it.
fn cumulated(values: &Values) -> Values {
    let mut sorted = values.clone();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    sorted.dedup_by(|next, kept| {
        let same = next.0.total_cmp(&kept.0).is_eq();
        kept.1 += if same { next.1 } else { 0 };
        same
    });
    let mut total = 0;
    for (_, count) in &mut sorted {
        total += *count;
        *count = total;
    }
    sorted
}

/// The value at this place, counted from 0.
fn value_at(cumulated: &[(f64, i64)], place: i64) -> f64 {
    let position = cumulated.partition_point(|(_, upto)| *upto <= place);
    cumulated.get(position).or(cumulated.last()).map_or(f64::NAN, |(value, _)| *value)
}

fn interpolated(cumulated: &[(f64, i64)], percentage: f64) -> f64 {
    let total = cumulated.last().map_or(0, |(_, upto)| *upto);
    let position = (total - 1) as f64 * percentage;
    let (below, above) = (position.floor(), position.ceil());
    let (lower, upper) = (value_at(cumulated, below as i64), value_at(cumulated, above as i64));
    if lower == upper { lower } else { (above - position) * lower + (position - below) * upper }
}

fn discrete(cumulated: &[(f64, i64)], percentage: f64) -> f64 {
    let total = cumulated.last().map_or(0, |(_, upto)| *upto);
    value_at(cumulated, ((total as f64 * percentage).ceil() as i64 - 1).max(0))
}

/// As [`discrete`], counted from the largest value.
fn discrete_from_top(cumulated: &[(f64, i64)], percentage: f64) -> f64 {
    let total = cumulated.last().map_or(0, |(_, upto)| *upto);
    value_at(cumulated, total - ((total as f64 * percentage).ceil() as i64).max(1))
}

struct Percentile {
    data_type: DataType,
    percentages: Percentages,
    pick: Pick,
}

impl Fold for Percentile {
    type Cell = Values;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Values],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let doubles = to_doubles(&args[0])?;
        let values = doubles.as_primitive::<Float64Type>().values();
        let frequencies = args.get(1).map(|column| column.as_primitive::<Int64Type>().values());
        let mut negative = false;
        each_row(groups, counting(args, filter).as_ref(), |row, group| {
            let frequency = frequencies.map_or(1, |all| all[row]);
            negative |= frequency < 0;
            if frequency > 0 {
                cells[group].push((values[row], frequency));
            }
        });
        match negative {
            true => {
                Err(Error::data("_LEGACY_ERROR_TEMP_2013", "negative values found in the frequencies of a percentile"))
            }
            false => Ok(()),
        }
    }

    fn merge(&mut self, cells: &mut [Values], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let values = state[0].as_list::<i32>().values().as_primitive::<Float64Type>();
        let counts = state[1].as_list::<i32>().values().as_primitive::<Int64Type>();
        each_element(&state[0], |row, element| {
            cells[groups[row] as usize].push((values.value(element), counts.value(element)));
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&Values]) -> Result<ArrayRef> {
        let percentiles = |values: &&Values| {
            let sorted = cumulated(values);
            let all = self.percentages.all().iter().map(|percentage| (self.pick)(&sorted, *percentage));
            (!values.is_empty()).then(|| all.collect())
        };
        self.percentages.column(cells.iter().map(percentiles).collect(), |values| from_doubles(values, &self.data_type))
    }

    fn state(&self, cells: &[&Values]) -> Result<Vec<ArrayRef>> {
        let values = Float64Array::from_iter_values(cells.iter().flat_map(|cell| cell.iter().map(|(value, _)| *value)));
        let counts = Int64Array::from_iter_values(cells.iter().flat_map(|cell| cell.iter().map(|(_, count)| *count)));
        let lengths = || cells.iter().map(|cell| cell.len());
        Ok(vec![list_column(lengths(), Arc::new(values))?, list_column(lengths(), Arc::new(counts))?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(DataType::Float64), list_type(DataType::Int64)]
    }

    fn heap_bytes(&self, cell: &Values) -> usize {
        cell.capacity() * size_of::<(f64, i64)>()
    }
}
