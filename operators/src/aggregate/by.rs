//! `max_by` and `min_by`: the value that stands beside the largest or smallest ordering value, or an array of the first so many.
//!
//! In: values and ordering values of any types with an order; how many values, if an array is wanted, is a constant. Out: a value,
//! null if no ordering value was there (or the value beside it is null). What always holds: null ordering values do not count; of equal ones the last wins.

use std::mem::size_of;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;

use super::Accumulator;
use super::extreme::{End, is_orderable};
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{RowCell, ValueCodec, each_element, list_column, list_type};
use crate::{Error, Result};

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["max_by"], constants: &[2], resolve, build: |function| build(function, End::Largest) },
    Definition { names: &["min_by"], constants: &[2], resolve, build: |function| build(function, End::Smallest) },
];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 2..=2, "2 or 3")?;
    if !is_orderable(&args[1]) {
        return Err(Mismatch::NotOrdered { position: 1 });
    }
    let returns = if count(options)?.is_some() { list_type(args[0].clone()) } else { args[0].clone() };
    Ok(Signature { args: args.to_vec(), returns })
}

/// How many values are wanted, if an array of them is.
fn count(options: &Options) -> Result<Option<usize>, Mismatch> {
    match options.constants.first() {
        None => Ok(None),
        Some(Constant::Long(count @ 1..=100_000)) => Ok(usize::try_from(*count).ok()),
        Some(_) => Err(Mismatch::Constant { expected: "a number of values between 1 and 100000" }),
    }
}

fn build(function: &AggregateFunction, end: End) -> Result<Box<dyn Accumulator>> {
    let [value, order] = [0, 1].map(|position| ValueCodec::new(&function.arg_types()[position]));
    let (value, order) = (value?, order?);
    let count = count(function.options()).map_err(|mismatch| Error::Internal(mismatch.to_string()))?;
    Ok(match count {
        None => Folded::boxed(ExtremeBy { end, value, order }),
        Some(count) => Folded::boxed(FirstBy { end, value, order, count }),
    })
}

/// The values beside the largest or smallest ordering values, the best first.
struct FirstBy {
    end: End,
    value: ValueCodec,
    order: ValueCodec,
    count: usize,
}

/// Ordering values, each with the value beside it, the best first.
type Best = Vec<(Vec<u8>, Vec<u8>)>;

impl FirstBy {
    fn add(&self, best: &mut Best, order: &[u8], value: &[u8]) {
        let place = best.partition_point(|(old, _)| !self.end.prefers(order, old));
        if place < self.count {
            best.truncate(self.count - 1);
            best.insert(place, (order.to_vec(), value.to_vec()));
        }
    }

    fn values(&self, cells: &[&Best]) -> Result<ArrayRef> {
        let values = cells.iter().flat_map(|best| best.iter().map(|(_, value)| Some(value.as_slice())));
        list_column(cells.iter().map(|best| best.len()), self.value.decode(values)?)
    }
}

impl Fold for FirstBy {
    type Cell = Best;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Best],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let (values, orders) = (self.value.encode(&args[0])?, self.order.encode(&args[1])?);
        each_row(groups, counting(&args[1..2], filter).as_ref(), |row, group| {
            self.add(&mut cells[group], orders.row(row).data(), values.row(row).data());
        });
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Best], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let [values, orders] = [0, 1].map(|part| state[part].as_list::<i32>().values());
        let (values, orders) = (self.value.encode(values)?, self.order.encode(orders)?);
        each_element(&state[0], |row, i| {
            self.add(&mut cells[groups[row] as usize], orders.row(i).data(), values.row(i).data());
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&Best]) -> Result<ArrayRef> {
        self.values(cells)
    }

    fn state(&self, cells: &[&Best]) -> Result<Vec<ArrayRef>> {
        let orders = cells.iter().flat_map(|best| best.iter().map(|(order, _)| Some(order.as_slice())));
        let orders = list_column(cells.iter().map(|best| best.len()), self.order.decode(orders)?)?;
        Ok(vec![self.values(cells)?, orders])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(self.value.data_type().clone()), list_type(self.order.data_type().clone())]
    }

    fn heap_bytes(&self, best: &Best) -> usize {
        best.iter().map(|(order, value)| order.capacity() + value.capacity() + size_of::<(Vec<u8>, Vec<u8>)>()).sum()
    }
}

#[derive(Default)]
struct Cell {
    value: RowCell,
    order: RowCell,
}

struct ExtremeBy {
    end: End,
    value: ValueCodec,
    order: ValueCodec,
}

impl Fold for ExtremeBy {
    type Cell = Cell;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Cell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let (values, orders) = (self.value.encode(&args[0])?, self.order.encode(&args[1])?);
        each_row(groups, counting(&args[1..2], filter).as_ref(), |row, group| {
            let (cell, order) = (&mut cells[group], orders.row(row).data());
            if cell.order.get().is_none_or(|old| !self.end.prefers(old, order)) {
                cell.order.set(order);
                cell.value.set(values.row(row).data());
            }
        });
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Cell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.update(cells, groups, state, None)
    }

    fn evaluate(&self, cells: &[&Cell]) -> Result<ArrayRef> {
        self.value.decode(cells.iter().map(|cell| cell.value.get()))
    }

    fn state(&self, cells: &[&Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?, self.order.decode(cells.iter().map(|cell| cell.order.get()))?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.value.data_type().clone(), self.order.data_type().clone()]
    }

    fn heap_bytes(&self, cell: &Cell) -> usize {
        cell.value.heap_bytes() + cell.order.heap_bytes()
    }
}
