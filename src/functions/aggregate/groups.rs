//! An accumulator of ours behind DataFusion's interface for many groups.
//!
//! DataFusion's groups are numbered from 0 and move down when the first n are emitted; ours keep their ids. In between
//! stands a list: the id of each of DataFusion's groups. What always holds: an id that was emitted is cleared before it is
//! used again.

use std::mem::size_of;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use thalweg_operators::aggregate::{Accumulator, AggregateFunction};

use crate::Error;

/// See the module.
pub(super) struct Groups {
    function: AggregateFunction,
    inner: Box<dyn Accumulator>,
    /// Our id of each of DataFusion's groups.
    ids: Vec<u32>,
    free: Vec<u32>,
    /// All ids given out are below this.
    count: usize,
    /// Reused from batch to batch.
    rows: Vec<u32>,
}

impl Groups {
    pub fn new(function: AggregateFunction, inner: Box<dyn Accumulator>) -> Self {
        Groups { function, inner, ids: Vec::new(), free: Vec::new(), count: 0, rows: Vec::new() }
    }

    fn assign(&mut self, group_indices: &[usize], total: usize) {
        while self.ids.len() < total {
            let id = self.free.pop().unwrap_or_else(|| {
                self.count += 1;
                self.count as u32 - 1
            });
            self.ids.push(id);
        }
        self.rows.clear();
        self.rows.extend(group_indices.iter().map(|&group| self.ids[group]));
    }

    fn emit<T>(
        &mut self,
        emit_to: EmitTo,
        result: impl Fn(&dyn Accumulator, &[u32]) -> thalweg_operators::Result<T>,
    ) -> Result<T> {
        let emitted = emit_to.take_needed(&mut self.ids);
        let result = result(self.inner.as_ref(), &emitted).map_err(Error::from)?;
        self.inner.clear(&emitted);
        self.free.extend(emitted);
        Ok(result)
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.assign(group_indices, total_num_groups);
        Ok(self.inner.update(&self.rows, self.count, values, opt_filter).map_err(Error::from)?)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.assign(group_indices, total_num_groups);
        Ok(self.inner.merge(&self.rows, self.count, values).map_err(Error::from)?)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.emit(emit_to, |inner, groups| inner.evaluate(groups))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.emit(emit_to, |inner, groups| inner.state(groups))
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |column| column.len());
        let groups: Vec<u32> = (0..rows as u32).collect();
        let mut each = self.function.accumulator().map_err(Error::from)?;
        each.update(&groups, rows, values, opt_filter).map_err(Error::from)?;
        Ok(each.state(&groups).map_err(Error::from)?)
    }

    fn size(&self) -> usize {
        self.inner.size_bytes() + (self.ids.capacity() + self.free.capacity() + self.rows.capacity()) * size_of::<u32>()
    }
}
