//! Puts a chain of state files together to one, beside the flow, so that a restart reads little and old files can go.
//!
//! In: the files of an operator's state. Out: one file with all of it. What always holds: nothing changes until the result is
//! durable; a fold that fails or is cut off leaves a chain that is complete without it.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use thalweg_operators::snapshot::coalesced;

use super::{StateFile, StateFiles, codec, lost};
use crate::Result;

/// A fold under way.
pub(super) struct Fold {
    operator: String,
    /// The files that are put together: the oldest of the chain.
    from: Vec<StateFile>,
    result: Receiver<Result<StateFile>>,
    thread: Option<JoinHandle<()>>,
}

impl Fold {
    /// Puts the files together to one in `folder`, on a thread of its own.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(files: StateFiles, operator: &str, folder: &str, from: Vec<StateFile>) -> Result<Fold> {
        let (sender, result) = bounded(1);
        let (chain, target) = (from.clone(), format!("{folder}/{operator}.whole"));
        let body = move || {
            // Who asked may have ended meanwhile.
            let _ = sender.send(whole(&files, &chain, target));
        };
        let thread = std::thread::Builder::new().name("thalweg-fold".into()).spawn(body)?;
        Ok(Fold { operator: operator.to_owned(), from, result, thread: Some(thread) })
    }

    /// The operator whose state it is.
    pub(super) fn operator(&self) -> &str {
        &self.operator
    }

    /// The result, once there is one; `wait`: as long as it takes.
    pub(super) fn result(&self, wait: bool) -> Option<Result<StateFile>> {
        let result = if wait { self.result.recv().map_err(TryRecvError::from) } else { self.result.try_recv() };
        match result {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(lost())),
        }
    }

    /// The chain with the result in place of the files it was made of; as it is if it does not begin with those.
    pub(super) fn shortened(&self, chain: &[StateFile], whole: StateFile) -> Vec<StateFile> {
        match chain.strip_prefix(self.from.as_slice()) {
            Some(newer) => std::iter::once(whole).chain(newer.iter().cloned()).collect(),
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

fn whole(files: &StateFiles, chain: &[StateFile], target: String) -> Result<StateFile> {
    let state = coalesced(files.read_chain(chain)?)?;
    files.put(target, &codec::encode(&state)?, true)
}
