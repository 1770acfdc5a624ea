//! `LIMIT n` and `OFFSET m`: the first rows of the whole stream, or of each epoch.
//!
//! In: rows on one worker ([`crate::exchange::Route::Single`]). Out: rows `offset..offset + limit` in arrival order. What
//! always holds: over the whole stream, restarts included, no more than `limit` rows leave.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};

use crate::driver::{Logic, StateMetrics};
use crate::{Chunk, Error, Output, Result, snapshot};

/// The operator behind `limit`.
pub struct Limit {
    offset: u64,
    end: u64,
    /// Rows that arrived, up to `end`.
    seen: u64,
    per_epoch: bool,
}

impl Limit {
    /// Lets rows `offset..offset + limit` of the stream through (of each epoch, if `per_epoch`: complete mode).
    pub fn new(limit: u64, offset: u64, per_epoch: bool) -> Self {
        Limit { offset, end: offset.saturating_add(limit), seen: 0, per_epoch }
    }
}

impl Logic for Limit {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let arrived = chunk.len() as u64;
        let start = self.offset.saturating_sub(self.seen).min(arrived);
        let end = (self.end - self.seen).min(arrived);
        self.seen = self.seen.saturating_add(arrived).min(self.end);
        if let (Some(rows), true) = (chunk.rows(), start < end) {
            out.chunk(chunk.with_rows(rows.slice(start as usize, (end - start) as usize)));
        }
        Ok(())
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, _: &mut Output) -> Result<()> {
        if self.per_epoch {
            self.seen = 0;
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        if self.seen == 0 {
            return Ok(Vec::new());
        }
        let seen: ArrayRef = Arc::new(Int64Array::from(vec![i64::try_from(self.seen).unwrap_or(i64::MAX)]));
        Ok(vec![snapshot::single(1, vec![(Arc::new(Field::new("seen", DataType::Int64, false)), seen)])?])
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for batch in &state {
            let seen = snapshot::columns(batch)?.first().and_then(|column| column.as_primitive_opt::<Int64Type>());
            let seen = seen.ok_or_else(|| Error::Internal("the state of a limit is no row count".into()))?;
            let rows: u64 = seen.values().iter().map(|rows| u64::try_from(*rows).unwrap_or(0)).sum();
            self.seen = self.seen.saturating_add(rows).min(self.end);
        }
        Ok(())
    }

    fn metrics(&mut self) -> StateMetrics {
        StateMetrics { rows_total: u64::from(!self.per_epoch), ..StateMetrics::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Pace;
    use crate::exchange::Route;
    use crate::harness::{Harness, ints, long_rows};

    fn harness(limit: u64, offset: u64, per_epoch: bool) -> Harness<Limit> {
        Harness::new(Pace::Epoch, vec![Some(Route::Single)], 2, move || Ok(Limit::new(limit, offset, per_epoch)))
    }

    #[test]
    fn per_epoch_starts_again() {
        let mut limit = harness(1, 1, true);
        for _ in 0..2 {
            limit.push(0, ints(&[("v", &[Some(1), Some(2), Some(3)])])).unwrap();
            limit.close().unwrap();
        }
        assert_eq!(long_rows(&limit.take()), [[Some(2)], [Some(2)]]);
    }

    proptest! {
        #[test]
        fn takes_the_same_rows_as_skip_and_take(sizes in prop::collection::vec(0usize..5, 0..8), limit in 0u64..12, offset in 0u64..6, restart in 0usize..8) {
            let mut operator = harness(limit, offset, false);
            let total: usize = sizes.iter().sum();
            let values: Vec<Option<i64>> = (0..total as i64).map(Some).collect();
            let mut rest = values.as_slice();
            for (step, size) in sizes.iter().enumerate() {
                let (now, later) = rest.split_at(*size);
                operator.push(0, ints(&[("v", now)])).unwrap();
                operator.close().unwrap();
                if step == restart {
                    operator.restart(1).unwrap();
                }
                rest = later;
            }
            let expected: Vec<_> = values.into_iter().skip(offset as usize).take(limit as usize).map(|v| vec![v]).collect();
            prop_assert_eq!(long_rows(&operator.take()), expected);
        }
    }
}
