//! `mode`: the most frequent non-null value, the smallest of equally frequent ones (Spark leaves that open).
//!
//! In: one column. Out: one of its values, null for no values. What always holds: a cell knows how often each value came.

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use hashbrown::DefaultHashBuilder;
use std::sync::Arc;

use super::Accumulator;
use super::extreme::is_orderable;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{RowSet, ValueCodec, each_element, list_column, list_type};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[Definition { names: &["mode"], constants: &[1], resolve, build }];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    // `mode() WITHIN GROUP (ORDER BY x)` comes as the same single argument.
    check_count(args, 1..=1, "1 or 2")?;
    if !matches!(options.constants.first(), None | Some(Constant::Boolean(_))) {
        return Err(Mismatch::Constant { expected: "a boolean second argument (whether ties have a fixed result)" });
    }
    if !is_orderable(&args[0]) {
        return Err(Mismatch::NotOrdered { position: 0 });
    }
    Ok(Signature { args: args.to_vec(), returns: args[0].clone() })
}

fn build(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let codec = ValueCodec::new(function.return_type())?;
    let largest = function.options().order.first().is_some_and(|order| order.descending);
    Ok(Folded::boxed(Mode { codec, largest, seed: DefaultHashBuilder::default() }))
}

#[derive(Default)]
struct Frequencies {
    values: RowSet,
    counts: Vec<i64>,
}

impl Frequencies {
    fn add(&mut self, row: &[u8], count: i64, seed: &DefaultHashBuilder) {
        let (position, is_new) = self.values.insert(row, seed);
        if is_new {
            self.counts.push(0);
        }
        self.counts[position] += count;
    }

    fn most_frequent(&self, largest: bool) -> Option<&[u8]> {
        let counted = self.values.rows().iter().zip(&self.counts);
        let found = match largest {
            true => counted.max_by_key(|(row, count)| (**count, *row)),
            false => counted.min_by_key(|(row, count)| (std::cmp::Reverse(**count), *row)),
        };
        found.map(|(row, _)| row)
    }
}

struct Mode {
    codec: ValueCodec,
    /// `ORDER BY ... DESC`: of equally frequent values the largest.
    largest: bool,
    seed: DefaultHashBuilder,
}

impl Fold for Mode {
    type Cell = Frequencies;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Frequencies],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = self.codec.encode(&args[0])?;
        let rows = counting(&args[..1], filter);
        each_row(groups, rows.as_ref(), |row, group| cells[group].add(values.row(row).data(), 1, &self.seed));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Frequencies], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let values = self.codec.encode(state[0].as_list::<i32>().values())?;
        let counts = state[1].as_list::<i32>().values().as_primitive::<Int64Type>();
        each_element(&state[0], |row, element| {
            cells[groups[row] as usize].add(values.row(element).data(), counts.value(element), &self.seed);
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&Frequencies]) -> Result<ArrayRef> {
        self.codec.decode(cells.iter().map(|cell| cell.most_frequent(self.largest)))
    }

    fn state(&self, cells: &[&Frequencies]) -> Result<Vec<ArrayRef>> {
        let values = self.codec.decode(cells.iter().flat_map(|cell| cell.values.rows().iter()).map(Some))?;
        let counts = Int64Array::from_iter_values(cells.iter().flat_map(|cell| cell.counts.iter().copied()));
        let lengths = || cells.iter().map(|cell| cell.counts.len());
        Ok(vec![list_column(lengths(), values)?, list_column(lengths(), Arc::new(counts))?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(self.codec.data_type().clone()), list_type(DataType::Int64)]
    }

    fn heap_bytes(&self, cell: &Frequencies) -> usize {
        cell.values.heap_bytes() + cell.counts.capacity() * size_of::<i64>()
    }
}
