//! Puts a chain of state files together to one, beside the flow, so that a restart reads little and old files can go.
//!
//! In: the files of an operator's state. Out: one file with all of it, or several if it is much: state that does not fit into memory
//! goes through it a file at a time. What always holds: nothing changes until the result is durable; a fold that fails or is cut off
//! leaves a chain that is complete without it.

use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use thalweg_operators::snapshot::coalesced;

use super::{StateChain, StateFile, StateFiles, lost};
use crate::Result;
use crate::threads::{self, JoinHandle};

/// A fold under way.
pub(super) struct Fold {
    operator: String,
    /// The files that are put together: the oldest of the chain.
    from: Vec<StateFile>,
    result: Receiver<Result<Vec<StateFile>>>,
    thread: Option<JoinHandle<()>>,
}

impl Fold {
    /// Puts the files together to one in `folder`, on a thread of its own; to several of about `part` bytes of memory, if it is more.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(
        files: StateFiles,
        operator: &str,
        folder: &str,
        from: Vec<StateFile>,
        part: usize,
    ) -> Result<Fold> {
        let (sender, result) = bounded(1);
        let (chain, target) = (from.clone(), format!("{folder}/{operator}.whole"));
        let body = move || {
            // Who asked may have ended meanwhile.
            let _ = sender.send(whole(&files, &chain, target, part));
        };
        let thread = threads::spawn("thalweg-fold", body)?;
        Ok(Fold { operator: operator.to_owned(), from, result, thread: Some(thread) })
    }

    /// The operator whose state it is.
    pub(super) fn operator(&self) -> &str {
        &self.operator
    }

    /// The result, once there is one; `wait`: as long as it takes.
    pub(super) fn result(&self, wait: bool) -> Option<Result<Vec<StateFile>>> {
        match threads::receive(&self.result, (!wait).then_some(Duration::ZERO)) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(lost())),
        }
    }

    /// The chain with the result in place of the files it was made of; as it is if it does not begin with those.
    pub(super) fn shortened(&self, chain: &[StateFile], whole: Vec<StateFile>) -> Vec<StateFile> {
        match chain.strip_prefix(self.from.as_slice()) {
            Some(newer) => whole.into_iter().chain(newer.iter().cloned()).collect(),
            None => chain.to_vec(),
        }
    }
}

impl Drop for Fold {
    /// Nothing writes to a checkpoint whose query has ended.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn whole(files: &StateFiles, chain: &[StateFile], target: String, part: usize) -> Result<Vec<StateFile>> {
    let state = StateChain { files: files.clone(), chain: chain.to_vec() };
    let mut parts = Parts { files, target, part, held: Vec::new(), bytes: 0, done: Vec::new() };
    state.each(|_| true, |rows| parts.add(rows))?;
    parts.finish()
}

/// The files of a whole state.
struct Parts<'a> {
    files: &'a StateFiles,
    target: String,
    /// Bytes of memory that make a file.
    part: usize,
    held: Vec<RecordBatch>,
    bytes: usize,
    done: Vec<StateFile>,
}

impl Parts<'_> {
    fn add(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for rows in state {
            self.bytes += rows.get_array_memory_size();
            self.held.push(rows);
            if self.bytes >= self.part {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let state = coalesced(std::mem::take(&mut self.held))?;
        let name = match self.done.len() {
            0 => self.target.clone(),
            number => format!("{}-{number}", self.target),
        };
        self.done.push(self.files.put(name, state, true)?);
        self.bytes = 0;
        Ok(())
    }

    /// The files, of which there is one even if there is no state.
    fn finish(mut self) -> Result<Vec<StateFile>> {
        if self.done.is_empty() || !self.held.is_empty() {
            self.write()?;
        }
        Ok(self.done)
    }
}
