//! `first`, `last` and `any_value`: the value that came first or last, optionally passing over nulls.
//!
//! In: one column. Out: its value in the first or last row, null if there was none. What always holds: rows are taken in
//! the order they come, and a merged state comes after what is there.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row, passing};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{RowCell, ValueCodec};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["first", "first_value"], constants: &[1], resolve, build: |f| build(f, Which::First) },
    Definition { names: &["any_value"], constants: &[1], resolve, build: |f| build(f, Which::First) },
    Definition { names: &["last", "last_value"], constants: &[1], resolve, build: |f| build(f, Which::Last) },
];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1 or 2")?;
    match options.constants.first() {
        None | Some(Constant::Boolean(_)) => Ok(Signature { args: args.to_vec(), returns: args[0].clone() }),
        Some(_) => Err(Mismatch::Constant { expected: "a boolean second argument (whether to ignore nulls)" }),
    }
}

fn build(function: &AggregateFunction, which: Which) -> Result<Box<dyn Accumulator>> {
    let options = function.options();
    let ignore_nulls = options.ignore_nulls || options.constants.first() == Some(&Constant::Boolean(true));
    Ok(Folded::boxed(Position { which, ignore_nulls, codec: ValueCodec::new(function.return_type())? }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Last,
}

struct Position {
    which: Which,
    ignore_nulls: bool,
    codec: ValueCodec,
}

impl Position {
    fn take(&self, cells: &mut [RowCell], groups: &[u32], column: &ArrayRef, rows: Option<&NullBuffer>) -> Result<()> {
        let values = self.codec.encode(column)?;
        each_row(groups, rows, |row, group| {
            let cell = &mut cells[group];
            if self.which == Which::Last || cell.get().is_none() {
                cell.set(values.row(row).data());
            }
        });
        Ok(())
    }
}

impl Fold for Position {
    type Cell = RowCell;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [RowCell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = if self.ignore_nulls { counting(&args[..1], filter) } else { passing(filter) };
        self.take(cells, groups, &args[0], rows.as_ref())
    }

    fn merge(&mut self, cells: &mut [RowCell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.take(cells, groups, &state[0], passing(Some(state[1].as_boolean())).as_ref())
    }

    fn evaluate(&self, cells: &[&RowCell]) -> Result<ArrayRef> {
        self.codec.decode(cells.iter().map(|cell| cell.get()))
    }

    fn state(&self, cells: &[&RowCell]) -> Result<Vec<ArrayRef>> {
        let set = cells.iter().map(|cell| Some(cell.get().is_some())).collect::<BooleanArray>();
        Ok(vec![self.evaluate(cells)?, Arc::new(set)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.codec.data_type().clone(), DataType::Boolean]
    }

    fn heap_bytes(&self, cell: &RowCell) -> usize {
        cell.heap_bytes()
    }
}
