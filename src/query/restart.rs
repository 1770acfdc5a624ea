//! Where a run begins: at the beginning, or where the checkpoint says that the run before ended.
//!
//! In: the checkpoint's newest offsets and commit. Out: the place in each source, the epoch, watermarks, the state; an epoch that was
//! planned and not committed is run again exactly. What always holds: nothing is changed by looking.

use std::collections::HashMap;

use thalweg_operators::Pace;
use thalweg_operators::time::NO_WATERMARK;

use super::execution::{Batch, Setup};
use super::recorded;
use crate::checkpoint::{Checkpoint, OffsetRecord, StateChain, StateRef, States};
use crate::sources::Offset;
use crate::{Error, Result};

/// Where a run begins.
pub(super) struct Start {
    /// What has been read, per source.
    pub offsets: Vec<Option<Offset>>,
    /// The next epoch.
    pub epoch: u64,
    /// The watermark that operators have been told.
    pub delivered: i64,
    /// The watermark of the last epoch.
    pub watermark_used: i64,
    /// That of the next.
    pub watermark: i64,
    /// Wall-clock time of the last batch, in milliseconds.
    pub timestamp: i64,
    /// An epoch that was planned and not committed.
    pub replay: Option<Batch>,
    /// The state to start from, but for that of operators which keep it in files.
    pub state: States,
    /// Theirs.
    pub chains: HashMap<String, StateChain>,
    /// What it is called.
    pub state_ref: Option<StateRef>,
    /// Notes per sink of a committed epoch that the sinks may not have finished.
    pub finish: Option<(u64, Vec<Vec<serde_json::Value>>)>,
}

impl Start {
    /// Where the run begins: what the checkpoint says, or the beginning.
    ///
    /// # Errors
    /// A checkpoint that is damaged or of another query.
    pub fn find(setup: &Setup, sources: usize) -> Result<Start> {
        let event_time = !setup.plan.watermarks.is_empty();
        let initial = if !event_time || setup.pace() == Pace::Eager { NO_WATERMARK } else { 0 };
        let mut start = Start {
            offsets: vec![None; sources],
            epoch: 0,
            delivered: initial,
            watermark_used: initial.max(if event_time { 0 } else { NO_WATERMARK }),
            watermark: if event_time { 0 } else { NO_WATERMARK },
            timestamp: 0,
            replay: None,
            state: States::new(),
            chains: HashMap::new(),
            state_ref: None,
            finish: None,
        };
        if let Some(checkpoint) = &setup.checkpoint {
            start.recover(checkpoint, event_time)?;
            start.restore(checkpoint, setup.state_store.cold_operators(&setup.plan))?;
        }
        Ok(start)
    }

    fn recover(&mut self, checkpoint: &Checkpoint, event_time: bool) -> Result<()> {
        let Some(planned) = checkpoint.last_offsets()? else { return Ok(()) };
        let record = checkpoint.offsets(planned)?;
        self.check_sources(&record)?;
        self.timestamp = record.metadata.batch_timestamp_ms;
        let watermark = |millis: i64| if event_time { millis.saturating_mul(1000) } else { NO_WATERMARK };
        if let Some(commit) = checkpoint.commit(planned)? {
            self.offsets = record.offsets;
            self.epoch = planned + 1;
            self.delivered = watermark(record.metadata.batch_watermark_ms);
            self.watermark_used = self.delivered;
            self.watermark = watermark(commit.next_batch_watermark_ms).max(self.watermark_used);
            if !recorded::owes_no_data_batch(checkpoint)? {
                self.watermark_used = self.watermark;
            }
            self.state_ref = commit.state;
            self.finish = Some((planned, vec![commit.sink, commit.late_sink]));
            return Ok(());
        }
        self.epoch = planned;
        self.watermark = watermark(record.metadata.batch_watermark_ms);
        if let Some(before) = planned.checked_sub(1) {
            let previous = checkpoint.offsets(before)?;
            self.delivered = watermark(previous.metadata.batch_watermark_ms);
            self.offsets = previous.offsets;
            self.state_ref = record.metadata.state;
        }
        self.watermark_used = self.delivered;
        self.replay = Some(Batch {
            epoch: planned,
            ends: record.offsets,
            watermark: self.watermark,
            timestamp: record.metadata.batch_timestamp_ms,
            recorded: true,
        });
        Ok(())
    }

    /// Finds the state: what is kept in memory is read, the rest is read by the workers.
    fn restore(&mut self, checkpoint: &Checkpoint, cold: Vec<String>) -> Result<()> {
        let Some(state) = &self.state_ref else { return Ok(()) };
        self.state = checkpoint.read_state(state, &cold)?;
        let chains = cold.into_iter().filter_map(|operator| {
            let chain = checkpoint.state_chain(state, &operator)?;
            Some((operator, chain))
        });
        self.chains = chains.collect();
        Ok(())
    }

    /// Per operator, the watermark of each input that it had been told.
    pub fn operator_watermarks(&self) -> HashMap<String, Vec<i64>> {
        let known = |watermarks: &Vec<Option<i64>>| watermarks.iter().map(|w| w.unwrap_or(NO_WATERMARK)).collect();
        let all = self.state_ref.iter().flat_map(|state| &state.watermarks);
        all.map(|(operator, all)| (operator.clone(), known(all))).collect()
    }

    fn check_sources(&self, record: &OffsetRecord) -> Result<()> {
        if record.offsets.len() == self.offsets.len() {
            return Ok(());
        }
        let (then, now) = (record.offsets.len(), self.offsets.len());
        Err(Error::query(
            "STREAMING_CHECKPOINT_SOURCES_CHANGED",
            format!("the checkpoint knows {then} sources but the query has {now}"),
        )
        .hint("Start with another checkpointLocation."))
    }
}
