//! Variance, standard deviation, skewness and kurtosis by Spark's one-pass formulas.
//!
//! In: one column of doubles. Out: a double, null where it is not defined (no values; one value for a sample; all values
//! equal for skewness and kurtosis). What always holds: a cell holds the central moments of its values up to the order
//! asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, doubles};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    define(&["stddev_samp", "stddev", "std"], |_| build(|m| m.sample_variance().map(f64::sqrt))),
    define(&["stddev_pop"], |_| build(|m| m.population_variance().map(f64::sqrt))),
    define(&["var_samp", "variance"], |_| build(Moments::sample_variance)),
    define(&["var_pop"], |_| build(Moments::population_variance)),
    define(&["skewness"], |_| build(Moments::skewness)),
    define(&["kurtosis"], |_| build(Moments::kurtosis)),
];

const fn define(
    names: &'static [&'static str],
    build: fn(&AggregateFunction) -> Result<Box<dyn Accumulator>>,
) -> Definition {
    Definition { names, constants: &[], resolve: |args, _| doubles(args, 1, "1"), build }
}

fn build(finish: fn(&Moments) -> Option<f64>) -> Result<Box<dyn Accumulator>> {
    Ok(Folded::boxed(CentralMoments { finish }))
}

/// Count, mean and sums of powers of the distances from the mean.
#[derive(Default, Clone)]
struct Moments {
    count: f64,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Moments {
    #[inline]
    fn add(&mut self, value: f64) {
        let count = self.count + 1.0;
        let delta = value - self.mean;
        let delta_n = delta / count;
        let (delta_2, delta_n2) = (delta * delta, delta_n * delta_n);
        let m2 = self.m2 + delta * (delta - delta_n);
        let m3 = self.m3 - 3.0 * delta_n * m2 + delta * (delta_2 - delta_n2);
        let m4 = self.m4 - 4.0 * delta_n * m3 - 6.0 * delta_n2 * m2 + delta * (delta * delta_2 - delta_n * delta_n2);
        *self = Moments { count, mean: self.mean + delta_n, m2, m3, m4 };
    }

    fn merge(&mut self, other: &Moments) {
        let (n1, n2) = (self.count, other.count);
        let count = n1 + n2;
        if count == 0.0 {
            return;
        }
        let delta = other.mean - self.mean;
        let delta_n = delta / count;
        let m2 = self.m2 + other.m2 + delta * delta_n * n1 * n2;
        let m3 = self.m3
            + other.m3
            + delta_n * delta_n * delta * n1 * n2 * (n1 - n2)
            + 3.0 * delta_n * (n1 * other.m2 - n2 * self.m2);
        let m4 = self.m4
            + other.m4
            + delta_n * delta_n * delta_n * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * delta_n * delta_n * (n1 * n1 * other.m2 + n2 * n2 * self.m2)
            + 4.0 * delta_n * (n1 * other.m3 - n2 * self.m3);
        *self = Moments { count, mean: self.mean + delta_n * n2, m2, m3, m4 };
    }

    fn population_variance(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.m2 / self.count)
    }

    fn sample_variance(&self) -> Option<f64> {
        (self.count > 1.0).then(|| self.m2 / (self.count - 1.0))
    }

    fn skewness(&self) -> Option<f64> {
        (self.count > 0.0 && self.m2 != 0.0).then(|| self.count.sqrt() * self.m3 / (self.m2 * self.m2 * self.m2).sqrt())
    }

    fn kurtosis(&self) -> Option<f64> {
        (self.count > 0.0 && self.m2 != 0.0).then(|| self.count * self.m4 / (self.m2 * self.m2) - 3.0)
    }

    fn fields(&self) -> [f64; FIELDS] {
        [self.count, self.mean, self.m2, self.m3, self.m4]
    }
}

const FIELDS: usize = 5;

struct CentralMoments {
    finish: fn(&Moments) -> Option<f64>,
}

impl Fold for CentralMoments {
    type Cell = Moments;

    fn update(
        &mut self,
        cells: &mut [Moments],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = args[0].as_primitive::<Float64Type>().values();
        each_row(groups, counting(args, filter).as_ref(), |row, group| cells[group].add(values[row]));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Moments], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let fields: Vec<_> = state.iter().map(|column| column.as_primitive::<Float64Type>().values()).collect();
        each_row(groups, None, |row, group| {
            let [count, mean, m2, m3, m4] = std::array::from_fn(|field| fields[field][row]);
            cells[group].merge(&Moments { count, mean, m2, m3, m4 });
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&Moments]) -> Result<ArrayRef> {
        Ok(Arc::new(cells.iter().map(|cell| (self.finish)(cell)).collect::<Float64Array>()))
    }

    fn state(&self, cells: &[&Moments]) -> Result<Vec<ArrayRef>> {
        Ok(double_columns::<FIELDS>(cells.iter().map(|cell| cell.fields())))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; FIELDS]
    }
}

/// Rows of `N` doubles as `N` columns.
pub(super) fn double_columns<const N: usize>(rows: impl Iterator<Item = [f64; N]>) -> Vec<ArrayRef> {
    let mut columns: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    columns.into_iter().map(|column| Arc::new(Float64Array::from(column)) as ArrayRef).collect()
}
