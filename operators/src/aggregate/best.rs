//! The rows of a group that hold its largest or smallest value, all of them: a join of rows with `max` or `min` of their own group.
//!
//! In: the column that is compared, and any others. Out: an array of structs with a field a column, `c0` the compared one, in no order; empty if
//! every compared value was null. What always holds: of floats each bit is kept, though NaN is one value and -0.0 is 0.0 where they are compared;
//! only rows that are no worse than the best before them are copied.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::DataType;
use arrow::row::Rows;

use super::Accumulator;
use super::extreme::{End, is_orderable};
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{Mismatch, Signature, UserAggregate};
use super::rows::{RowCell, RowList, each_element, list_column, list_type, struct_column, struct_type};
use crate::keys::RowCodec;
use crate::{Error, Result};

/// The function that keeps the rows with the largest (or smallest) value of its first argument.
pub fn best_rows(largest: bool) -> Arc<dyn UserAggregate> {
    static FUNCTIONS: OnceLock<[Arc<dyn UserAggregate>; 2]> = OnceLock::new();
    let of = |end| Arc::new(BestRows { end }) as Arc<dyn UserAggregate>;
    let functions = FUNCTIONS.get_or_init(|| [End::Smallest, End::Largest].map(of));
    Arc::clone(&functions[usize::from(largest)])
}

struct BestRows {
    end: End,
}

impl UserAggregate for BestRows {
    fn name(&self) -> &str {
        match self.end {
            End::Smallest => "rows_with_min",
            End::Largest => "rows_with_max",
        }
    }

    fn signature(&self, args: &[DataType]) -> Result<Signature, Mismatch> {
        match args.first() {
            None => Err(Mismatch::ArgumentCount { expected: "1 or more" }),
            Some(order) if !is_orderable(order) => Err(Mismatch::NotOrdered { position: 0 }),
            Some(_) => Ok(Signature { args: args.to_vec(), returns: list_type(struct_type(args)) }),
        }
    }

    fn accumulator(&self, args: &[DataType]) -> Result<Box<dyn Accumulator>> {
        let (order, row) = (RowCodec::new(&args[..1])?, RowCodec::exact(args)?);
        Ok(Folded::boxed(Best { end: self.end, order, row, types: args.to_vec(), found: Vec::new() }))
    }
}

/// The rows that are best so far, and by what.
#[derive(Default)]
struct Cell {
    order: RowCell,
    rows: RowList,
}

impl Cell {
    /// Whether a row with this value is among the best so far; if it is better than all, they are forgotten.
    #[inline]
    fn admits(&mut self, end: End, order: &[u8]) -> bool {
        match self.order.get() {
            Some(best) if end.prefers(best, order) => false,
            Some(best) if best == order => true,
            _ => {
                self.order.set(order);
                self.rows.clear();
                true
            }
        }
    }
}

struct Best {
    end: End,
    order: RowCodec,
    row: RowCodec,
    types: Vec<DataType>,
    /// Rows and their groups, reused.
    found: Vec<(u32, u32)>,
}

impl Best {
    /// Copies those of the rows found that no later one of the chunk is better than.
    fn keep(&mut self, cells: &mut [Cell], columns: &[ArrayRef], orders: &Rows) -> Result<()> {
        let is_best =
            |(row, group): &(u32, u32)| cells[*group as usize].order.get() == Some(orders.row(*row as usize).data());
        self.found.retain(is_best);
        if self.found.is_empty() {
            return Ok(());
        }
        let places = UInt32Array::from_iter_values(self.found.iter().map(|(row, _)| *row));
        let rows = self.row.encode(&take_arrays(columns, &places, None)?)?;
        for (row, (_, group)) in rows.iter().zip(&self.found) {
            cells[*group as usize].rows.push(row.data());
        }
        Ok(())
    }
}

impl Fold for Best {
    type Cell = Cell;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Cell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let orders = self.order.encode(&args[..1])?;
        self.found.clear();
        each_row(groups, counting(&args[..1], filter).as_ref(), |row, group| {
            if cells[group].admits(self.end, orders.row(row).data()) {
                self.found.push((row as u32, groups[row]));
            }
        });
        self.keep(cells, args, &orders)
    }

    fn merge(&mut self, cells: &mut [Cell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let rows = state[0].as_list::<i32>().values();
        let rows = rows.as_struct_opt().ok_or_else(|| Error::Internal("the best rows are no structs".to_string()))?;
        // The list may be a part of a longer one, whose other rows are among the values too.
        let (mut of_rows, mut places) = (Vec::new(), Vec::new());
        each_element(&state[0], |list, row| {
            of_rows.push(groups[list]);
            places.push(row as u32);
        });
        let columns = take_arrays(rows.columns(), &UInt32Array::from(places), None)?;
        self.update(cells, &of_rows, &columns, None)
    }

    fn evaluate(&self, cells: &[&Cell]) -> Result<ArrayRef> {
        let columns = self.row.decode(cells.iter().flat_map(|cell| cell.rows.iter()))?;
        let count = cells.iter().map(|cell| cell.rows.len()).sum();
        list_column(cells.iter().map(|cell| cell.rows.len()), struct_column(columns, count)?)
    }

    fn state(&self, cells: &[&Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(struct_type(&self.types))]
    }

    fn heap_bytes(&self, cell: &Cell) -> usize {
        cell.order.heap_bytes() + cell.rows.heap_bytes()
    }
}
