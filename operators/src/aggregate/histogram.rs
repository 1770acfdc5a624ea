//! `histogram_numeric(column, bins)`: a histogram with bins of unequal width, after Ben-Haim and Tom-Tov, as Hive and Spark
//! compute it.
//!
//! In: numbers, dates, times or intervals; the number of bins is a constant. Out: an array of (x, y): centre, in the column's type,
//! and height of each bin in use; null without values. What always holds: bins are sorted by centre.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float64Type};

use super::Accumulator;
use super::approximate::{from_doubles, to_doubles};
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{each_element, list_column, list_type};
use super::sum::is_interval;
use crate::{Error, Result};

pub(super) const FUNCTIONS: &[Definition] =
    &[Definition { names: &["histogram_numeric"], constants: &[1], resolve, build }];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "2")?;
    bins(options)?;
    let data_type = match &args[0] {
        DataType::Null => DataType::Float64,
        t if t.is_numeric() || is_interval(t) || matches!(t, DataType::Date32 | DataType::Timestamp(_, _)) => t.clone(),
        _ => return Err(Mismatch::ArgumentType { position: 0, expected: "NUMERIC, DATE, TIMESTAMP or ANSI INTERVAL" }),
    };
    Ok(Signature { args: vec![data_type.clone()], returns: list_type(DataType::Struct(fields(&data_type))) })
}

fn fields(centre: &DataType) -> Fields {
    [Field::new("x", centre.clone(), true), Field::new("y", DataType::Float64, true)].into_iter().collect()
}

/// How many bins there may be.
fn bins(options: &Options) -> Result<usize, Mismatch> {
    let mismatch = Mismatch::Constant { expected: "at least 2 bins" };
    match options.constants.first() {
        None => Err(Mismatch::ArgumentCount { expected: "2" }),
        Some(Constant::Long(bins)) => usize::try_from(*bins).ok().filter(|bins| *bins >= 2).ok_or(mismatch),
        Some(_) => Err(mismatch),
    }
}

fn build(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let bins = bins(function.options()).map_err(|mismatch| Error::Internal(mismatch.to_string()))?;
    Ok(Folded::boxed(Histograms { bins, data_type: function.arg_types()[0].clone() }))
}

/// Centre and height.
type Bin = (f64, f64);

/// Numbers as Java's `Random` gives them: which of several equally near pairs of bins is joined is drawn by lot.
#[derive(Clone, Copy)]
struct Lot(u64);

impl Default for Lot {
    fn default() -> Self {
        Lot((31183 ^ MULTIPLIER) & MASK)
    }
}

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

impl Lot {
    fn bits(&mut self, count: u32) -> u64 {
        self.0 = (self.0.wrapping_mul(MULTIPLIER) + 0xB) & MASK;
        self.0 >> (48 - count)
    }

    /// From 0 to below 1.
    fn draw(&mut self) -> f64 {
        let high = self.bits(26) << 27;
        (high + self.bits(27)) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Default)]
struct Histogram {
    bins: Vec<Bin>,
    lot: Lot,
}

impl Histogram {
    fn add(&mut self, value: f64, limit: usize) {
        let place = self.bins.partition_point(|(centre, _)| centre.total_cmp(&value).is_lt());
        match self.bins.get_mut(place) {
            Some((centre, height)) if *centre == value => *height += 1.0,
            _ => self.bins.insert(place, (value, 1.0)),
        }
        self.trim(limit);
    }

    fn take_in(&mut self, bins: Vec<Bin>, limit: usize) {
        self.bins.extend(bins);
        self.bins.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.trim(limit);
    }

    /// Joins the nearest neighbours until there are no more bins than allowed.
    fn trim(&mut self, limit: usize) {
        while self.bins.len() > limit {
            let nearest = self.nearest();
            let (right_centre, right_height) = self.bins.remove(nearest + 1);
            let (centre, height) = &mut self.bins[nearest];
            let sum = *height + right_height;
            *centre = *centre * (*height / sum) + right_centre / sum * right_height;
            *height = sum;
        }
    }

    /// The place of the first of the two neighbours that lie nearest to each other.
    fn nearest(&mut self) -> usize {
        let (mut nearest, mut smallest, mut as_near) = (0, f64::INFINITY, 1u32);
        for (place, pair) in self.bins.windows(2).enumerate() {
            let distance = pair[1].0 - pair[0].0;
            if place == 0 || distance < smallest {
                (nearest, smallest, as_near) = (place, distance, 1);
            } else if distance == smallest {
                as_near += 1;
                if self.lot.draw() <= 1.0 / f64::from(as_near) {
                    nearest = place;
                }
            }
        }
        nearest
    }
}

struct Histograms {
    bins: usize,
    data_type: DataType,
}

impl Fold for Histograms {
    type Cell = Histogram;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Histogram],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let doubles = to_doubles(&args[0])?;
        let values = doubles.as_primitive::<Float64Type>().values();
        let rows = counting(&args[..1], filter);
        // As in Spark, the rows that come at once make a histogram of their own, which is then merged in.
        let mut parts: HashMap<usize, Histogram> = HashMap::new();
        each_row(groups, rows.as_ref(), |row, group| parts.entry(group).or_default().add(values[row], self.bins));
        parts.into_iter().for_each(|(group, part)| cells[group].take_in(part.bins, self.bins));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Histogram], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let [centres, heights] = [0, 1].map(|i| state[i].as_list::<i32>().values().as_primitive::<Float64Type>());
        let mut parts = vec![Vec::new(); groups.len()];
        each_element(&state[0], |row, i| parts[row].push((centres.value(i), heights.value(i))));
        for (part, &group) in parts.into_iter().zip(groups) {
            cells[group as usize].take_in(part, self.bins);
        }
        Ok(())
    }

    fn evaluate(&self, cells: &[&Histogram]) -> Result<ArrayRef> {
        let all = || cells.iter().flat_map(|cell| &cell.bins);
        let centres = from_doubles(&Float64Array::from_iter_values(all().map(|bin| bin.0)), &self.data_type)?;
        let heights: ArrayRef = Arc::new(Float64Array::from_iter_values(all().map(|bin| bin.1)));
        let fields = fields(&self.data_type);
        let elements = StructArray::try_new(fields.clone(), vec![centres, heights], None)?;
        let offsets = OffsetBuffer::from_lengths(cells.iter().map(|cell| cell.bins.len()));
        let nulls = cells.iter().map(|cell| !cell.bins.is_empty()).collect::<NullBuffer>();
        let field = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
        Ok(Arc::new(arrow::array::ListArray::try_new(field, offsets, Arc::new(elements), Some(nulls))?))
    }

    fn state(&self, cells: &[&Histogram]) -> Result<Vec<ArrayRef>> {
        let lengths = || cells.iter().map(|cell| cell.bins.len());
        let all = || cells.iter().flat_map(|cell| &cell.bins);
        let centres = Float64Array::from_iter_values(all().map(|bin| bin.0));
        let heights = Float64Array::from_iter_values(all().map(|bin| bin.1));
        Ok(vec![list_column(lengths(), Arc::new(centres))?, list_column(lengths(), Arc::new(heights))?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(DataType::Float64), list_type(DataType::Float64)]
    }

    fn heap_bytes(&self, cell: &Histogram) -> usize {
        cell.bins.capacity() * size_of::<Bin>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_are_those_of_java() {
        // What nextDouble() of new java.util.Random(31183) gives in a JDK; the draw is in [0, 1) and repeats.
        let (mut one, mut other) = (Lot::default(), Lot::default());
        let drawn: Vec<f64> = (0..4).map(|_| one.draw()).collect();
        assert!(drawn.iter().all(|value| (0.0..1.0).contains(value)));
        assert_eq!(drawn, (0..4).map(|_| other.draw()).collect::<Vec<_>>());
        assert_eq!(drawn, [0.10748527202486546, 0.893630159548549, 0.1375869077362396, 0.8115751632634917]);
    }

    #[test]
    fn neighbours_are_joined_by_weight() {
        let mut histogram = Histogram::default();
        [0.0, 1.0, 2.0, 10.0].into_iter().for_each(|value| histogram.add(value, 5));
        assert_eq!(histogram.bins, [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (10.0, 1.0)]);
        histogram.add(10.0, 5);
        histogram.add(1.5, 5);
        histogram.add(40.0, 4);
        assert_eq!(histogram.bins.len(), 4);
        assert_eq!(histogram.bins.iter().map(|bin| bin.1).sum::<f64>(), 7.0);
    }
}
