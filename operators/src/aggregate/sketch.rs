//! `approx_count_distinct`: HyperLogLog over Spark's `xxhash64`, as many registers as Spark takes for the same deviation.
//!
//! In: one column of any type, and optionally the relative standard deviation (default 0.05). Out: BIGINT, 0 for no
//! values. What always holds: registers equal Spark's, so small counts are Spark's numbers exactly; large ones use an
//! estimator without tables of measured bias (Ertl 2017) instead of Spark's tables, and differ by less than the deviation.

use std::f64::consts::LN_2;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::datatypes::DataType;

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, check_count};
use crate::Result;
use crate::keys::route;

pub(super) const FUNCTIONS: &[Definition] =
    &[Definition { names: &["approx_count_distinct"], constants: &[1], resolve, build }];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1 or 2")?;
    precision(options)?;
    Ok(Signature { args: args.to_vec(), returns: DataType::Int64 })
}

/// Number of bits that choose a register, from the relative standard deviation.
fn precision(options: &Options) -> Result<u32, Mismatch> {
    let deviation = match options.constants.first() {
        None => 0.05,
        Some(Constant::Double(deviation)) => *deviation,
        Some(_) => f64::NAN,
    };
    // Spark refuses deviations that need fewer than 4 bits, and memory ends beyond 18.
    let bits = (2.0 * (1.106 / deviation).log2()).ceil();
    if (4.0..=18.0).contains(&bits) {
        Ok(bits as u32)
    } else {
        Err(Mismatch::Constant { expected: "a relative standard deviation between 0.0022 and 0.39" })
    }
}

fn build(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let precision = precision(function.options()).map_err(|mismatch| crate::Error::Internal(mismatch.to_string()))?;
    Ok(Folded::boxed(Sketch { precision, hashes: Vec::new() }))
}

/// The registers, one byte each; empty before the first value.
type Registers = Vec<u8>;

struct Sketch {
    precision: u32,
    /// Reused from chunk to chunk.
    hashes: Vec<u64>,
}

/// Below this estimate Spark trusts the number of empty registers, by precision from 4 bits.
const LINEAR_UP_TO: [f64; 15] = [
    10.0, 20.0, 40.0, 80.0, 220.0, 400.0, 900.0, 1800.0, 3100.0, 6500.0, 11500.0, 20000.0, 50000.0, 120000.0, 350000.0,
];

impl Sketch {
    fn size(&self) -> usize {
        1 << self.precision
    }

    #[inline]
    fn register(&self, hash: u64) -> (usize, u8) {
        let rest = (hash << self.precision) | (1 << (self.precision - 1));
        ((hash >> (64 - self.precision)) as usize, rest.leading_zeros() as u8 + 1)
    }

    fn raise(&self, registers: &mut Registers, index: usize, rank: u8) {
        registers.resize(self.size(), 0);
        registers[index] = registers[index].max(rank);
    }

    fn estimate(&self, registers: &Registers) -> i64 {
        if registers.is_empty() {
            return 0;
        }
        let size = self.size() as f64;
        let empty = registers.iter().filter(|rank| **rank == 0).count() as f64;
        let linear = size * (size / empty).ln();
        let estimate = if linear <= LINEAR_UP_TO[self.precision as usize - 4] { linear } else { self.ertl(registers) };
        estimate.round() as i64
    }

    /// Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6.
    fn ertl(&self, registers: &Registers) -> f64 {
        let size = self.size() as f64;
        let ranks = 64 - self.precision as usize;
        let mut counts = [0.0f64; 66];
        registers.iter().for_each(|rank| counts[usize::from(*rank).min(65)] += 1.0);
        let mut z = size * tau(1.0 - counts[ranks + 1] / size);
        for rank in (1..=ranks).rev() {
            z = 0.5 * (z + counts[rank]);
        }
        z += size * sigma(counts[0] / size);
        size * size / (2.0 * LN_2) / z
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

impl Fold for Sketch {
    type Cell = Registers;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Registers],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let mut hashes = std::mem::take(&mut self.hashes);
        route(&args[..1], groups.len(), &mut hashes)?;
        each_row(groups, counting(&args[..1], filter).as_ref(), |row, group| {
            let (index, rank) = self.register(hashes[row]);
            self.raise(&mut cells[group], index, rank);
        });
        self.hashes = hashes;
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Registers], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sketches = state[0].as_binary::<i32>();
        each_row(groups, sketches.nulls(), |row, group| {
            let ranks = sketches.value(row).iter().take(self.size()).enumerate();
            ranks.for_each(|(index, rank)| self.raise(&mut cells[group], index, *rank));
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&Registers]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| self.estimate(cell)))))
    }

    fn state(&self, cells: &[&Registers]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(BinaryArray::from_iter_values(cells.iter().map(|cell| cell.as_slice())))])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn heap_bytes(&self, cell: &Registers) -> usize {
        cell.capacity()
    }
}
