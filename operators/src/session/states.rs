//! The aggregates of sessions, by session id.

use std::collections::HashMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use crate::aggregate::Accumulator;
use crate::group::AggregateCall;
use crate::{Error, Result};

/// One accumulator per aggregate.
pub(super) struct States {
    calls: Vec<AggregateCall>,
    states: Vec<Box<dyn Accumulator>>,
}

impl States {
    pub(super) fn new(calls: &[AggregateCall]) -> Result<Self> {
        let states = calls.iter().map(|call| call.function.accumulator()).collect::<Result<_>>()?;
        Ok(States { calls: calls.to_vec(), states })
    }

    /// Row `i` belongs to session `ids[i]`.
    pub(super) fn update(&mut self, ids: &[u32], id_count: usize, rows: &RecordBatch) -> Result<()> {
        for (state, call) in self.states.iter_mut().zip(&self.calls) {
            let args: Vec<ArrayRef> = call.args.iter().map(|arg| rows.column(*arg).clone()).collect();
            let filter = call.filter.map(|filter| rows.column(filter).as_boolean_opt().ok_or_else(not_boolean));
            state.update(ids, id_count, &args, filter.transpose()?)?;
        }
        Ok(())
    }

    /// Adds sessions to those they went into, in the order in which that happened.
    pub(super) fn merge(&mut self, merged: &[(u32, u32)], id_count: usize) -> Result<()> {
        if merged.is_empty() {
            return Ok(());
        }
        let (from, into) = roots(merged);
        for state in &mut self.states {
            let parts = state.state(&from)?;
            state.merge(&into, id_count, &parts)?;
            state.clear(&from);
        }
        Ok(())
    }

    /// The results of these sessions.
    pub(super) fn evaluate(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        self.states.iter().map(|state| state.evaluate(ids)).collect()
    }

    pub(super) fn clear(&mut self, ids: &[u32]) {
        self.states.iter_mut().for_each(|state| state.clear(ids));
    }

    /// The states of these sessions, all aggregates' columns one after the other.
    pub(super) fn state(&self, ids: &[u32]) -> Result<Vec<ArrayRef>> {
        let columns: Result<Vec<Vec<ArrayRef>>> = self.states.iter().map(|state| state.state(ids)).collect();
        Ok(columns?.into_iter().flatten().collect())
    }

    /// Takes back what [`States::state`] gave.
    pub(super) fn restore(&mut self, ids: &[u32], id_count: usize, mut columns: &[ArrayRef]) -> Result<()> {
        for state in &mut self.states {
            let own = columns.split_at_checked(state.state_types().len());
            let (own, rest) = own.ok_or_else(|| Error::Internal("a session's state lacks columns".into()))?;
            state.merge(ids, id_count, own)?;
            columns = rest;
        }
        Ok(())
    }

    /// The types of [`States::state`].
    pub(super) fn types(&self) -> impl Iterator<Item = DataType> + '_ {
        self.states.iter().flat_map(|state| state.state_types())
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.states.iter().map(|state| state.size_bytes()).sum()
    }
}

/// Each session that went into another, and the one it is part of in the end.
fn roots(merged: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>) {
    let mut root: HashMap<u32, u32> = HashMap::with_capacity(merged.len());
    for (from, into) in merged.iter().rev() {
        let last = root.get(into).copied().unwrap_or(*into);
        root.insert(*from, last);
    }
    merged.iter().map(|(from, _)| (*from, root[from])).unzip()
}

fn not_boolean() -> Error {
    Error::Internal("an aggregate's filter is not boolean".into())
}
