//! `max_by` and `min_by`: the value that stands beside the largest or smallest ordering value.
//!
//! In: values and ordering values of any types with an order. Out: a value, null if no ordering value was there (or the
//! value beside it is null). What always holds: null ordering values do not count; of equal ones the last wins.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;

use super::Accumulator;
use super::extreme::{End, is_orderable};
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{RowCell, ValueCodec};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["max_by"], constants: &[], resolve, build: |function| build(function, End::Largest) },
    Definition { names: &["min_by"], constants: &[], resolve, build: |function| build(function, End::Smallest) },
];

fn resolve(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 2..=2, "2")?;
    if !is_orderable(&args[1]) {
        return Err(Mismatch::NotOrdered { position: 1 });
    }
    Ok(Signature { args: args.to_vec(), returns: args[0].clone() })
}

fn build(function: &AggregateFunction, end: End) -> Result<Box<dyn Accumulator>> {
    let [value, order] = [0, 1].map(|position| ValueCodec::new(&function.arg_types()[position]));
    Ok(Folded::boxed(ExtremeBy { end, value: value?, order: order? }))
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
