//! Writes state on a thread of its own, so that neither the flow nor the driver waits for encoding or for the disk.
//!
//! ```text
//!  driver: begin(epoch, batches) ─► queue of one ─► this thread: encode, write, fsync ─► finish() ─► commits/N
//! ```
//!
//! In: epochs in order, each with what operators keep or what has changed of it. Out: for each, in order, the name of the state
//! after it, once that is durable. What always holds: what a name stands for is durable; a chain has no more than
//! [`Rules::max_changes`] files of changes for long, and they do not outweigh the snapshot by much.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, bounded};
use thalweg_operators::snapshot::{coalesced, merged};

use super::fold::Fold;
use super::{EpochState, OperatorState, StateFile, StateFiles, StateRef, codec, lost};
use crate::checkpoint::record::KeyHash;
use crate::threads::{self, JoinHandle};
use crate::{Error, Result};

/// Up to this size a state is put together at once instead of beside the flow, and changes may outweigh the snapshot.
const SMALL: u64 = 1 << 20;

/// A snapshot in memory that makes a file.
const PART: usize = 32 << 20;

/// When chains are put together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// So many files of changes may follow a snapshot.
    pub max_changes: usize,
    /// States up to so many bytes are put together at once.
    pub small: u64,
    /// State of about so many bytes of memory makes a file of those that a larger one is put together to.
    pub part: usize,
}

impl Rules {
    /// The rules for so many files of changes behind a snapshot.
    pub(crate) fn new(max_changes: usize) -> Self {
        Rules { max_changes, small: SMALL, part: PART }
    }
}

/// An epoch's state on its way to the disk.
struct Job {
    epoch: u64,
    state: EpochState,
    /// Called when the result is there.
    done: Box<dyn FnOnce() + Send>,
}

/// The thread that writes state.
pub(crate) struct StateWriter {
    /// `None` once the writer ends.
    jobs: Option<Sender<Job>>,
    results: Receiver<Result<StateRef>>,
    thread: Option<JoinHandle<()>>,
}

impl StateWriter {
    /// A writer whose first epoch follows the state `from`. `names`: what the state of each operator is called.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(in crate::checkpoint) fn start(
        files: StateFiles,
        names: HashMap<String, String>,
        from: Option<&StateRef>,
        rules: Rules,
    ) -> Result<StateWriter> {
        let (jobs, queue) = bounded::<Job>(1);
        let (sender, results) = bounded(2);
        let chains = from.map(|from| from.chains.clone()).unwrap_or_default();
        let keys = KeyHash::of(StateRef::hashing(from));
        let mut chains = Chains { files, names, rules, keys, chains, fold: None };
        let body = move || {
            while let Ok(Job { epoch, state, done }) = threads::receive(&queue, None) {
                if sender.send(chains.write(epoch, state)).is_err() {
                    return;
                }
                done();
            }
        };
        let thread = threads::spawn("thalweg-state", body)?;
        Ok(StateWriter { jobs: Some(jobs), results, thread: Some(thread) })
    }

    /// Hands over what the next epoch has to say; waits if the epoch before has not been begun to be written. `done` is called when
    /// [`StateWriter::finish`] will not wait.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(crate) fn begin(&self, epoch: u64, state: EpochState, done: impl FnOnce() + Send + 'static) -> Result<()> {
        let job = Job { epoch, state, done: Box::new(done) };
        threads::send(self.jobs.as_ref().ok_or_else(lost)?, job, None).map_err(|_| lost())
    }

    /// Whether the oldest epoch that was begun is durable (or has failed).
    pub(crate) fn is_done(&self) -> bool {
        !self.results.is_empty()
    }

    /// Waits until the oldest epoch that was begun is durable; gives the name of the state after it.
    ///
    /// # Errors
    /// What can't be written.
    pub(crate) fn finish(&self) -> Result<StateRef> {
        threads::receive(&self.results, None).map_err(|_| lost())?
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The files that each operator's state is made of.
struct Chains {
    files: StateFiles,
    names: HashMap<String, String>,
    rules: Rules,
    keys: Option<KeyHash>,
    chains: BTreeMap<String, Vec<StateFile>>,
    fold: Option<Fold>,
}

impl Chains {
    fn write(&mut self, epoch: u64, state: EpochState) -> Result<StateRef> {
        self.take_fold(false);
        let folder = self.files.folder_of(epoch);
        let named = |(operator, state)| (self.names.get(&operator).cloned().unwrap_or(operator), state);
        let state: BTreeMap<String, OperatorState> = state.into_iter().map(named).collect();
        self.chains.retain(|operator, _| state.contains_key(operator));
        for (operator, state) in state {
            self.append(&folder, &operator, state)?;
        }
        self.chains.retain(|_, chain| !chain.is_empty());
        self.start_fold(&folder)?;
        Ok(StateRef { folder, chains: self.chains.clone(), keys: self.keys, ..StateRef::default() })
    }

    /// Writes an operator's file, if there is something to say.
    fn append(&mut self, folder: &str, operator: &str, state: OperatorState) -> Result<()> {
        let batches: Vec<RecordBatch> = state.batches.into_iter().filter(|rows| rows.num_rows() > 0).collect();
        let chain = self.chains.entry(operator.to_owned()).or_default();
        if !state.changes {
            chain.clear();
        }
        if batches.is_empty() {
            return Ok(());
        }
        let target = format!("{folder}/{operator}");
        let size = batches.iter().map(codec::size).sum::<usize>() as u64;
        let total = chain.iter().map(|file| file.bytes).sum::<u64>() + size;
        if state.changes && total <= self.rules.small && chain.len() >= self.rules.max_changes {
            match folded(&self.files, chain, &batches) {
                Ok(whole) => {
                    *chain = vec![self.files.put(target, whole, true)?];
                    return Ok(());
                }
                Err(error) => tracing::warn!("the state of {operator} can't be put together: {error}"),
            }
        }
        chain.push(self.files.put(target, batches, !state.changes)?);
        Ok(())
    }

    /// Begins to put together the longest chain that is due, if nothing is being put together.
    fn start_fold(&mut self, folder: &str) -> Result<()> {
        if self.fold.is_some() {
            return Ok(());
        }
        let due = self.chains.iter().filter(|(_, chain)| self.is_due(chain)).max_by_key(|(_, chain)| chain.len());
        if let Some((operator, chain)) = due {
            self.fold = Some(Fold::start(self.files.clone(), operator, folder, chain.clone(), self.rules.part)?);
        }
        Ok(())
    }

    fn is_due(&self, chain: &[StateFile]) -> bool {
        let base = chain.iter().take_while(|file| file.whole).count().max(1);
        let Some((base, changes)) = chain.split_at_checked(base) else { return false };
        let size = |files: &[StateFile]| files.iter().map(|file| file.bytes).sum::<u64>();
        changes.len() >= self.rules.max_changes || size(changes) > size(base).max(self.rules.small)
    }

    /// Takes the result of a fold, once it is there.
    fn take_fold(&mut self, wait: bool) {
        let Some(result) = self.fold.as_ref().and_then(|fold| fold.result(wait)) else { return };
        let Some(fold) = self.fold.take() else { return };
        match (result, self.chains.get_mut(fold.operator())) {
            (Ok(whole), Some(chain)) => *chain = fold.shortened(chain, whole),
            (Ok(_), None) => {}
            (Err(error), _) => tracing::warn!("the state of {} can't be put together: {error}", fold.operator()),
        }
    }
}

/// A whole state: that of a chain, with changes of it.
fn folded(files: &StateFiles, chain: &[StateFile], changes: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let state = files.read_chain(chain)?;
    let state = merged(vec![state, changes.to_vec()]).map_err(Error::from)?;
    Ok(coalesced(state)?)
}
