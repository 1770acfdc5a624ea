//! Functions of two numbers a row: `corr`, `covar_samp`, `covar_pop` and the `regr_` family.
//!
//! In: two columns of doubles; rows where either is null do not count. In the `regr_` functions the first is the dependent
//! variable y and the second the independent x. Out: a double (`regr_count`: BIGINT), null where it is not defined.

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, doubles};
use super::moments::double_columns;
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    define(&["corr"], |f| build(f, Pairs::correlation)),
    define(&["covar_samp"], |f| build(f, |p| (p.count > 1.0).then(|| p.c / (p.count - 1.0)))),
    define(&["covar_pop"], |f| build(f, |p| p.some(p.c / p.count))),
    Definition { resolve: resolve_count, ..define(&["regr_count"], |f| build(f, |p| Some(p.count))) },
    define(&["regr_avgx"], |f| build(f, |p| p.some(p.mean_x))),
    define(&["regr_avgy"], |f| build(f, |p| p.some(p.mean_y))),
    define(&["regr_sxx"], |f| build(f, |p| p.some(p.m_x))),
    define(&["regr_syy"], |f| build(f, |p| p.some(p.m_y))),
    define(&["regr_sxy"], |f| build(f, |p| p.some(p.c))),
    define(&["regr_slope"], |f| build(f, Pairs::slope)),
    define(&["regr_intercept"], |f| build(f, |p| p.slope().map(|slope| p.mean_y - slope * p.mean_x))),
    define(&["regr_r2"], |f| build(f, Pairs::determination)),
];

const fn define(
    names: &'static [&'static str],
    build: fn(&AggregateFunction) -> Result<Box<dyn Accumulator>>,
) -> Definition {
    Definition { names, constants: &[], resolve: |args, _| doubles(args, 2, "2"), build }
}

fn resolve_count(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    Ok(Signature { returns: DataType::Int64, ..doubles(args, 2, "2")? })
}

fn build(function: &AggregateFunction, finish: fn(&Pairs) -> Option<f64>) -> Result<Box<dyn Accumulator>> {
    Ok(Folded::boxed(Comoments { finish, returns: function.return_type().clone() }))
}

/// Count, means, and sums of products of the distances from the means.
#[derive(Default, Clone)]
struct Pairs {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    m_x: f64,
    m_y: f64,
    c: f64,
}

impl Pairs {
    #[inline]
    fn add(&mut self, x: f64, y: f64) {
        let count = self.count + 1.0;
        let (dx, dy) = (x - self.mean_x, y - self.mean_y);
        let (mean_x, mean_y) = (self.mean_x + dx / count, self.mean_y + dy / count);
        let c = self.c + dx * (y - mean_y);
        let (m_x, m_y) = (self.m_x + dx * (x - mean_x), self.m_y + dy * (y - mean_y));
        *self = Pairs { count, mean_x, mean_y, m_x, m_y, c };
    }

    fn merge(&mut self, other: &Pairs) {
        let (n1, n2) = (self.count, other.count);
        let count = n1 + n2;
        if count == 0.0 {
            return;
        }
        let (dx, dy) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        let (dx_n, dy_n) = (dx / count, dy / count);
        let (mean_x, mean_y) = (self.mean_x + dx_n * n2, self.mean_y + dy_n * n2);
        let c = self.c + other.c + dx * dy_n * n1 * n2;
        let m_x = self.m_x + other.m_x + dx * dx_n * n1 * n2;
        let m_y = self.m_y + other.m_y + dy * dy_n * n1 * n2;
        *self = Pairs { count, mean_x, mean_y, m_x, m_y, c };
    }

    /// The value, unless there was no row.
    fn some(&self, value: f64) -> Option<f64> {
        (self.count > 0.0).then_some(value)
    }

    fn correlation(&self) -> Option<f64> {
        let spread = (self.m_x * self.m_y).sqrt();
        (self.count > 1.0 && spread != 0.0).then(|| self.c / spread)
    }

    fn slope(&self) -> Option<f64> {
        (self.count > 1.0 && self.m_x != 0.0).then(|| self.c / self.m_x)
    }

    fn determination(&self) -> Option<f64> {
        match (self.count > 1.0 && self.m_x != 0.0, self.m_y == 0.0) {
            (false, _) => None,
            (true, true) => Some(1.0),
            (true, false) => self.correlation().map(|correlation| correlation * correlation),
        }
    }

    fn fields(&self) -> [f64; FIELDS] {
        [self.count, self.mean_x, self.mean_y, self.m_x, self.m_y, self.c]
    }
}

const FIELDS: usize = 6;

struct Comoments {
    finish: fn(&Pairs) -> Option<f64>,
    returns: DataType,
}

impl Fold for Comoments {
    type Cell = Pairs;

    fn update(
        &mut self,
        cells: &mut [Pairs],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let ys = args[0].as_primitive::<Float64Type>().values();
        let xs = args[1].as_primitive::<Float64Type>().values();
        each_row(groups, counting(args, filter).as_ref(), |row, group| cells[group].add(xs[row], ys[row]));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Pairs], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let fields: Vec<_> = state.iter().map(|column| column.as_primitive::<Float64Type>().values()).collect();
        each_row(groups, None, |row, group| {
            let [count, mean_x, mean_y, m_x, m_y, c] = std::array::from_fn(|field| fields[field][row]);
            cells[group].merge(&Pairs { count, mean_x, mean_y, m_x, m_y, c });
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&Pairs]) -> Result<ArrayRef> {
        let results = cells.iter().map(|cell| (self.finish)(cell)).collect::<Float64Array>();
        Ok(cast(&results, &self.returns)?)
    }

    fn state(&self, cells: &[&Pairs]) -> Result<Vec<ArrayRef>> {
        Ok(double_columns::<FIELDS>(cells.iter().map(|cell| cell.fields())))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; FIELDS]
    }
}
