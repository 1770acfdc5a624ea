//! The frame of most accumulators: one cell of plain data a group, and a fold over it.
//!
//! A [`Fold`] says how rows enter cells and how cells become results; [`Folded`] keeps the cells, grows them, resets them
//! and is the [`Accumulator`]. What always holds: `cells` has a place for every group that was ever updated.

use std::mem::size_of;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::Accumulator;
use crate::Result;

/// How one function folds rows into a cell a group.
pub trait Fold: Send + Sync + 'static {
    /// The state of one group; the default is that of no rows.
    type Cell: Default + Send + Sync;

    /// Whether cells own memory besides themselves, so that [`Fold::heap_bytes`] is worth asking.
    const HEAP: bool = false;

    /// Row `i` of `args` enters `cells[groups[i]]`, unless `filter` is not true there.
    ///
    /// # Errors
    /// The function's own.
    fn update(
        &mut self,
        cells: &mut [Self::Cell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()>;

    /// Row `i` of `state` enters `cells[groups[i]]`.
    ///
    /// # Errors
    /// The function's own.
    fn merge(&mut self, cells: &mut [Self::Cell], groups: &[u32], state: &[ArrayRef]) -> Result<()>;

    /// The results of these cells.
    ///
    /// # Errors
    /// The function's own.
    fn evaluate(&self, cells: &[&Self::Cell]) -> Result<ArrayRef>;

    /// These cells as columns.
    ///
    /// # Errors
    /// None that input could cause.
    fn state(&self, cells: &[&Self::Cell]) -> Result<Vec<ArrayRef>>;

    /// The types of the state's columns.
    fn state_types(&self) -> Vec<DataType>;

    /// Bytes a cell owns besides itself.
    fn heap_bytes(&self, _cell: &Self::Cell) -> usize {
        0
    }
}

/// A fold with its cells.
pub struct Folded<F: Fold> {
    fold: F,
    cells: Vec<F::Cell>,
}

impl<F: Fold> Folded<F> {
    /// No groups yet.
    pub fn new(fold: F) -> Self {
        Folded { fold, cells: Vec::new() }
    }

    /// As an accumulator.
    pub fn boxed(fold: F) -> Box<dyn Accumulator> {
        Box::new(Self::new(fold))
    }

    fn grow(&mut self, group_count: usize) {
        if self.cells.len() < group_count {
            self.cells.resize_with(group_count, F::Cell::default);
        }
    }

    fn with_cells<T>(&self, groups: &[u32], then: impl FnOnce(&F, &[&F::Cell]) -> Result<T>) -> Result<T> {
        let none = F::Cell::default();
        let cells: Vec<_> = groups.iter().map(|&group| self.cells.get(group as usize).unwrap_or(&none)).collect();
        then(&self.fold, &cells)
    }
}

impl<F: Fold> Accumulator for Folded<F> {
    fn update(
        &mut self,
        groups: &[u32],
        group_count: usize,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        self.grow(group_count);
        self.fold.update(&mut self.cells, groups, args, filter)
    }

    fn merge(&mut self, groups: &[u32], group_count: usize, state: &[ArrayRef]) -> Result<()> {
        self.grow(group_count);
        self.fold.merge(&mut self.cells, groups, state)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.with_cells(groups, |fold, cells| fold.evaluate(cells))
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.with_cells(groups, |fold, cells| fold.state(cells))
    }

    fn state_types(&self) -> Vec<DataType> {
        self.fold.state_types()
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            if let Some(cell) = self.cells.get_mut(group as usize) {
                *cell = F::Cell::default();
            }
        }
    }

    fn reset(&mut self) -> bool {
        self.cells.clear();
        true
    }

    fn size_bytes(&self) -> usize {
        let heap = if F::HEAP { self.cells.iter().map(|cell| self.fold.heap_bytes(cell)).sum() } else { 0 };
        size_of::<Self>() + self.cells.capacity() * size_of::<F::Cell>() + heap
    }
}

/// Which rows count: those where the filter is true and every one of `args` is valid. `None`: all.
pub(super) fn counting(args: &[ArrayRef], filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let valid = NullBuffer::union_many(
        args.iter().map(|arg| arg.logical_nulls()).collect::<Vec<_>>().iter().map(Option::as_ref),
    );
    NullBuffer::union(valid.as_ref(), passing(filter).as_ref())
}

/// The rows where the filter is true.
pub(super) fn passing(filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    filter.map(|filter| match filter.nulls() {
        None => NullBuffer::new(filter.values().clone()),
        Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
    })
}

/// Calls `each(row, group)` for the rows that count, in order.
#[inline]
pub(super) fn each_row(groups: &[u32], counting: Option<&NullBuffer>, mut each: impl FnMut(usize, usize)) {
    match counting {
        None => groups.iter().enumerate().for_each(|(row, &group)| each(row, group as usize)),
        Some(rows) => rows.valid_indices().for_each(|row| each(row, groups[row] as usize)),
    }
}
