//! DISTINCT for any function: a set of argument rows a group, from which the function is computed when asked.
//!
//! In: argument rows. Out: the function over each distinct row once. What always holds: the state is the set, so merging
//! parts never counts a row twice.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use hashbrown::DefaultHashBuilder;

use super::Accumulator;
use super::fold::{Fold, Folded, each_row, passing};
use super::function::AggregateFunction;
use super::rows::{RowSet, each_element, list_column, list_type, struct_column, struct_type};
use crate::Result;
use crate::keys::RowCodec;

/// A function over distinct argument rows.
pub(super) struct Distinct {
    function: AggregateFunction,
    codec: RowCodec,
    seed: DefaultHashBuilder,
}

impl Distinct {
    /// The accumulator of `function` with DISTINCT.
    pub fn boxed(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
        let codec = RowCodec::new(function.arg_types())?;
        Ok(Folded::boxed(Distinct { function: function.clone(), codec, seed: DefaultHashBuilder::default() }))
    }

    fn columns(&self, cells: &[&RowSet]) -> Result<Vec<ArrayRef>> {
        self.codec.decode(cells.iter().flat_map(|cell| cell.rows().iter()))
    }
}

impl Fold for Distinct {
    type Cell = RowSet;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [RowSet],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = self.codec.encode(args)?;
        each_row(groups, passing(filter).as_ref(), |row, group| {
            cells[group].insert(rows.row(row).data(), &self.seed);
        });
        Ok(())
    }

    fn merge(&mut self, cells: &mut [RowSet], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let rows = self.codec.encode(state[0].as_list::<i32>().values().as_struct().columns())?;
        each_element(&state[0], |row, element| {
            cells[groups[row] as usize].insert(rows.row(element).data(), &self.seed);
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&RowSet]) -> Result<ArrayRef> {
        let mut once = self.function.plain_accumulator()?;
        let groups: Vec<u32> = (0..cells.len() as u32).collect();
        let repeated = groups.iter().zip(cells).flat_map(|(&group, cell)| (0..cell.rows().len()).map(move |_| group));
        once.update(&repeated.collect::<Vec<_>>(), cells.len(), &self.columns(cells)?, None)?;
        once.evaluate(&groups)
    }

    fn state(&self, cells: &[&RowSet]) -> Result<Vec<ArrayRef>> {
        let total = cells.iter().map(|cell| cell.rows().len()).sum();
        let rows = struct_column(self.columns(cells)?, total)?;
        Ok(vec![list_column(cells.iter().map(|cell| cell.rows().len()), rows)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(struct_type(self.codec.types()))]
    }

    fn heap_bytes(&self, cell: &RowSet) -> usize {
        cell.heap_bytes()
    }
}
