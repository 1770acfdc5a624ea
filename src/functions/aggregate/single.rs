//! An accumulator of ours behind DataFusion's interface for one group: aggregates without keys, and window functions.

use std::fmt;
use std::mem::size_of;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use datafusion::common::{Result, ScalarValue};
use thalweg_operators::aggregate::{Accumulator, AggregateFunction};

use crate::Error;

/// One group, with id 0.
pub(super) struct Single {
    inner: Box<dyn Accumulator>,
    /// As many zeros as a batch has rows.
    groups: Vec<u32>,
}

impl Single {
    pub fn new(inner: Box<dyn Accumulator>) -> Self {
        Single { inner, groups: Vec::new() }
    }

    fn zeros(&mut self, columns: &[ArrayRef]) {
        self.groups.resize(columns.first().map_or(0, |column| column.len()), 0);
    }

    fn result(&self) -> Result<ScalarValue> {
        let result = self.inner.evaluate(&[0]).map_err(Error::from)?;
        ScalarValue::try_from_array(&result, 0)
    }
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single").finish_non_exhaustive()
    }
}

impl datafusion::logical_expr::Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.zeros(values);
        Ok(self.inner.update(&self.groups, 1, values, None).map_err(Error::from)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.zeros(states);
        Ok(self.inner.merge(&self.groups, 1, states).map_err(Error::from)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.result()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.inner.state(&[0]).map_err(Error::from)?;
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size_bytes() + self.groups.capacity() * size_of::<u32>()
    }
}

/// A window frame that moves: its rows are kept and aggregated anew, since not every function can take rows back.
pub(super) struct Sliding {
    function: AggregateFunction,
    rows: Vec<ArrayRef>,
}

impl Sliding {
    pub fn new(function: AggregateFunction) -> Self {
        Sliding { function, rows: Vec::new() }
    }

    fn aggregate(&self) -> Result<Single> {
        let mut single = Single::new(self.function.accumulator().map_err(Error::from)?);
        if !self.rows.is_empty() {
            datafusion::logical_expr::Accumulator::update_batch(&mut single, &self.rows)?;
        }
        Ok(single)
    }
}

impl fmt::Debug for Sliding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sliding").field("function", &self.function).finish_non_exhaustive()
    }
}

impl datafusion::logical_expr::Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.rows.is_empty() {
            self.rows = values.to_vec();
            return Ok(());
        }
        for (kept, new) in self.rows.iter_mut().zip(values) {
            *kept = concat(&[kept.as_ref(), new.as_ref()])?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = values.first().map_or(0, |column| column.len());
        for kept in &mut self.rows {
            let gone = gone.min(kept.len());
            *kept = kept.slice(gone, kept.len() - gone);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(Error::internal("a window frame is never merged").into())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.aggregate()?.result()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        datafusion::logical_expr::Accumulator::state(&mut self.aggregate()?)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.rows.iter().map(|column| column.get_array_memory_size()).sum::<usize>()
    }
}
