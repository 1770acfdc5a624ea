//! What comes back from the workers for each epoch, put together.
//!
//! In: what operators and sinks say at an epoch's end, in any order of workers. Out: an [`EpochResult`], once every sink has spoken. What always
//! holds: nothing is kept of an epoch that has been taken. A sink says last of all operators that it is through, behind the rows it has
//! ready, so that comes when nobody waits for the epoch any more.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use thalweg_operators::driver::{State, StateMetrics};

use crate::checkpoint::EpochState;
use crate::render::Outcome;
use crate::sinks::Prepared;
use crate::{Error, Result};

/// Everything that came back for one epoch.
#[derive(Default)]
pub(crate) struct EpochResult {
    /// What the writers have ready, by the number of their sink.
    pub prepared: Vec<(usize, Prepared)>,
    /// State per operator or what changed of it, all workers'.
    pub state: EpochState,
    /// Per operator, the watermark that each input had when the epoch was complete.
    pub watermarks: BTreeMap<String, Vec<i64>>,
    /// Metrics per operator, summed over workers, in the order of their names.
    pub metrics: BTreeMap<String, StateMetrics>,
    /// Rows written, by sink.
    pub rows: BTreeMap<usize, u64>,
    /// Ingest to sink, in nanoseconds.
    pub latency: Option<Histogram<u64>>,
}

/// Results of epochs that are not taken yet.
pub(super) struct EpochResults {
    pending: BTreeMap<u64, EpochResult>,
    /// Writers: one a worker and sink.
    writers: usize,
    /// The first epoch that has not been taken.
    next: u64,
}

impl EpochResults {
    /// From epoch `next` on, of so many writers.
    pub fn new(next: u64, writers: usize) -> Self {
        EpochResults { pending: BTreeMap::new(), writers, next }
    }

    /// An operator on one worker is through with an epoch.
    pub fn add_state(&mut self, operator: String, epoch: u64, state: State) {
        let Some(result) = self.of(epoch) else { return };
        *result.metrics.entry(operator.clone()).or_default() += state.metrics;
        keep_least(result.watermarks.entry(operator.clone()).or_default(), &state.watermarks);
        let all = result.state.entry(operator).or_default();
        all.batches.extend(state.batches);
        all.changes = state.changes;
    }

    /// A sink on one worker has all rows of an epoch.
    ///
    /// # Errors
    /// Latencies that cannot be added up.
    pub fn add_outcome(&mut self, outcome: Outcome) -> Result<()> {
        let Some(result) = self.of(outcome.epoch) else { return Ok(()) };
        *result.rows.entry(outcome.sink).or_default() += outcome.rows;
        result.prepared.push((outcome.sink, outcome.prepared));
        match &mut result.latency {
            Some(latency) => latency.add(&outcome.latency).map_err(|e| Error::internal(e.to_string())),
            none => {
                *none = Some(outcome.latency);
                Ok(())
            }
        }
    }

    /// The result of an epoch, once all writers have spoken.
    pub fn take(&mut self, epoch: u64) -> Option<EpochResult> {
        if self.pending.get(&epoch)?.prepared.len() < self.writers {
            return None;
        }
        self.next = epoch + 1;
        self.pending.remove(&epoch)
    }

    fn of(&mut self, epoch: u64) -> Option<&mut EpochResult> {
        (epoch >= self.next).then(|| self.pending.entry(epoch).or_default())
    }
}

/// The least watermarks of all workers, should they ever differ: after a restart nothing may be late that was not.
fn keep_least(all: &mut Vec<i64>, more: &[i64]) {
    match all.is_empty() {
        true => *all = more.to_vec(),
        false => all.iter_mut().zip(more).for_each(|(all, more)| *all = *more.min(all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(watermark: i64) -> State {
        let (batches, metrics) = (Vec::new(), StateMetrics { rows_total: 2, ..StateMetrics::default() });
        State { batches, changes: true, watermarks: vec![watermark], metrics }
    }

    fn outcome(epoch: u64) -> Outcome {
        let latency = Histogram::new(3).expect("three digits");
        Outcome { sink: 0, epoch, prepared: Prepared::default(), rows: 5, latency }
    }

    #[test]
    fn an_epoch_is_taken_when_every_writer_has_spoken() {
        let mut results = EpochResults::new(7, 2);
        results.add_outcome(outcome(7)).unwrap();
        results.add_state("sum".to_owned(), 7, state(30));
        results.add_state("sum".to_owned(), 8, state(40));
        assert!(results.take(7).is_none(), "one worker is missing");
        results.add_state("sum".to_owned(), 7, state(20));
        results.add_outcome(outcome(7)).unwrap();
        let result = results.take(7).unwrap();
        assert_eq!((result.rows[&0], result.metrics["sum"].rows_total), (10, 4));
        assert_eq!(result.watermarks["sum"], [20]);
        assert!(results.take(8).is_none());
    }

    #[test]
    fn what_comes_for_an_epoch_that_was_taken_is_not_kept() {
        let mut results = EpochResults::new(0, 1);
        for epoch in 0..100 {
            results.add_outcome(outcome(epoch)).unwrap();
            assert!(results.take(epoch).is_some());
            results.add_state("sink".to_owned(), epoch, state(0));
            assert!(results.pending.is_empty());
        }
    }
}
