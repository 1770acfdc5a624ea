//! State: a folder an epoch and run, in it a file an operator.
//!
//! ```text
//!  state/7-1c0e/aggregate-1           what changed in epoch 7, or all
//!  state/7-1c0e/aggregate-1.whole     all after epoch 7, put together later from the files before; if that is much,
//!  state/7-1c0e/aggregate-1.whole-1   in several files
//! ```
//!
//! In: what the operators keep or what has changed of it, epoch by epoch ([`StateWriter`], on a thread of its own). Out: the state that
//! a commit names ([`StateRef`]: a chain of files an operator). What always holds: a file is written once and whole before
//! anything names it; what a commit names is there as long as the commit is one of the newest three. The folder's name carries the run,
//! so that what a run that was thought dead finishes later is never taken for another run's.

mod codec;
mod fold;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use thalweg_operators::keys::KEY_GROUPS;
use thalweg_operators::snapshot::{Merge, adds_up, merged, of_groups};

use super::record::{StateFile, StateRef};
use crate::store::Folder;
use crate::{Error, Result};

pub(crate) use self::writer::{Rules, StateWriter};

/// Whole state by operator.
pub(crate) type States = HashMap<String, Vec<RecordBatch>>;

/// What one epoch has to say about an operator's state.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperatorState {
    /// The state, or changes of it.
    pub batches: Vec<RecordBatch>,
    /// Whether these are changes since the epoch before.
    pub changes: bool,
}

/// What one epoch has to say about all operators.
pub(crate) type EpochState = HashMap<String, OperatorState>;

/// The folder `state/`.
#[derive(Clone)]
pub(super) struct StateFiles {
    folder: Folder,
    /// Names this run in the folders it writes.
    attempt: String,
}

impl StateFiles {
    /// The state in this folder; what is written belongs to this run.
    pub(super) fn new(folder: Folder, run_id: &str) -> Self {
        StateFiles { folder, attempt: run_id.split('-').next().unwrap_or_default().to_owned() }
    }

    /// The folder of what this run writes for an epoch.
    fn folder_of(&self, epoch: u64) -> String {
        format!("{epoch}-{}", self.attempt)
    }

    /// Writes a file durably.
    fn put(&self, file: String, state: Vec<RecordBatch>, whole: bool) -> Result<StateFile> {
        let mut bytes = 0;
        let count = |piece: &Result<Vec<u8>>| bytes += piece.as_ref().map_or(0, Vec::len) as u64;
        self.folder.put_pieces(&file, &mut codec::pieces(state).inspect(count))?;
        Ok(StateFile { file, bytes, whole })
    }

    /// Reads a state that was committed; files side by side, as far as there are processors.
    ///
    /// # Errors
    /// A file that is missing, torn or changed, by name.
    pub(super) fn read(&self, state: &StateRef) -> Result<States> {
        let files: Vec<&StateFile> = state.files().collect();
        let mut read = side_by_side(&files, |file| self.read_file(&file.file)).into_iter();
        let one = |(operator, chain): (&String, &Vec<StateFile>)| {
            let lists = read.by_ref().take(chain.len()).collect::<Result<_>>()?;
            Ok((operator.clone(), self.merge_chain(chain, lists)?))
        };
        state.chains.iter().map(one).collect()
    }

    /// The state that a chain of files comes to.
    pub(super) fn read_chain(&self, chain: &[StateFile]) -> Result<Vec<RecordBatch>> {
        let lists = chain.iter().map(|file| self.read_file(&file.file)).collect::<Result<_>>()?;
        self.merge_chain(chain, lists)
    }

    /// What the contents of a chain's files come to.
    fn merge_chain(&self, chain: &[StateFile], lists: Vec<Vec<RecordBatch>>) -> Result<Vec<RecordBatch>> {
        let newest = chain.last().map_or("", |file| file.file.as_str());
        merged(lists).map_err(|error| self.folder.corrupt(newest, &error.to_string()))
    }

    fn read_file(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let bytes = self.folder.read_bare(name)?.ok_or_else(|| self.folder.corrupt(name, "it is missing"))?;
        codec::decode(&bytes).map_err(|error| self.folder.corrupt(name, error.message()))
    }

    /// The epochs of which there are files, with the names of their folders.
    pub(super) fn list(&self) -> Result<Vec<(u64, String)>> {
        let entries = self.folder.list()?;
        Ok(entries.into_iter().filter_map(|entry| Some((epoch_of(&entry.name)?, entry.name))).collect())
    }

    /// Whether all files of a state are there.
    pub(super) fn is_there(&self, state: &StateRef) -> Result<bool> {
        for file in state.files() {
            if !self.folder.exists(&file.file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All files, by folder.
    fn list_files(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let of_folder = |(_, name): (u64, String)| {
            let entries = self.folder.folder(&name).list()?;
            Ok((name, entries.into_iter().map(|entry| entry.name).collect()))
        };
        self.list()?.into_iter().map(of_folder).collect()
    }
}

/// The state of one operator, in files.
pub(crate) struct StateChain {
    files: StateFiles,
    chain: Vec<StateFile>,
}

impl StateChain {
    /// The state of an operator that a commit named; `None` if it had none.
    pub(super) fn of(files: &StateFiles, state: &StateRef, name: &str) -> Option<StateChain> {
        Some(StateChain { files: files.clone(), chain: state.chains.get(name)?.clone() })
    }

    /// Shows the rows whose key groups are wanted, a file's rows at a time. Where files of changes are large, they are gone through
    /// several times, so that the keys of their rows need not all be in memory.
    ///
    /// # Errors
    /// A file that is missing, torn or changed, by name; and what `see` fails with.
    pub(crate) fn each(
        &self,
        wanted: impl Fn(u8) -> bool,
        mut see: impl FnMut(Vec<RecordBatch>) -> Result<()>,
    ) -> Result<()> {
        let passes = passes(&self.chain);
        let in_pass = |pass| move |group: u8| usize::from(group) % passes == pass;
        (0..passes)
            .map(in_pass)
            .try_for_each(|of_pass| self.go_through(&|group| of_pass(group) && wanted(group), &mut see))
    }

    fn go_through(&self, keep: &dyn Fn(u8) -> bool, see: &mut dyn FnMut(Vec<RecordBatch>) -> Result<()>) -> Result<()> {
        let StateChain { files, chain } = self;
        let kept = |list: Vec<RecordBatch>| -> Result<Vec<RecordBatch>> {
            Ok(list.iter().map(|rows| of_groups(rows, keep)).collect::<Result<_, _>>()?)
        };
        let mut merge = Merge::default();
        for (older, file) in chain.iter().enumerate().rev() {
            let list = files.read_file(&file.file)?;
            if adds_up(&list) {
                // Counts mean nothing without those of all files.
                return see(kept(files.read_chain(chain)?)?);
            }
            let list = kept(list)?;
            let foreign = |error: thalweg_operators::Error| files.folder.corrupt(&file.file, &error.to_string());
            see(merge.in_force(&list).map_err(foreign)?)?;
            if older > 0 && !file.whole {
                merge.settle(&list).map_err(foreign)?;
            }
        }
        Ok(())
    }
}

/// In how many passes a chain is gone through, so that the keys of its changes fit into memory, with so many key groups at a time.
fn passes(chain: &[StateFile]) -> usize {
    const AT_ONCE: u64 = 256 << 20;
    let changes: u64 = chain.iter().filter(|file| !file.whole).map(|file| file.bytes).sum();
    usize::try_from(changes / AT_ONCE + 1).unwrap_or(KEY_GROUPS).min(KEY_GROUPS)
}

/// Does the same with each of these, a few at a time; the results are in their order.
fn side_by_side<T: Sync, R: Send + Sync>(all: &[T], what: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(all.len());
    if threads <= 1 {
        return all.iter().map(what).collect();
    }
    let results: Vec<OnceLock<R>> = all.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let Some((one, result)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| all.get(n).zip(results.get(n)))
            {
                result.get_or_init(|| what(one));
            }
        };
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    results.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// The epoch of a folder's name.
fn epoch_of(folder: &str) -> Option<u64> {
    folder.split('-').next()?.parse().ok()
}

/// Removes files that no commit needs any more. Lists the folder once, then knows what is there.
#[derive(Default)]
pub(super) struct Purge {
    /// Files by folder, as far as commits have named them or they were there before; `None` before the first look.
    known: Option<BTreeMap<String, BTreeSet<String>>>,
}

impl Purge {
    /// Removes the files of epochs before `oldest` that none of `kept` is made of, whoever wrote them. May be cut off anywhere.
    pub(super) fn remove(&mut self, files: &StateFiles, oldest: u64, kept: &[&StateRef]) -> Result<()> {
        let mut kept_by_folder: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (folder, name) in kept.iter().flat_map(|state| state.files()).filter_map(|file| file.file.split_once('/')) {
            kept_by_folder.entry(folder).or_default().insert(name);
        }
        let known = match &mut self.known {
            Some(known) => known,
            none => none.insert(files.list_files()?),
        };
        for (folder, names) in &kept_by_folder {
            let all = known.entry((*folder).to_owned()).or_default();
            names.iter().for_each(|name| _ = all.insert((*name).to_owned()));
        }
        let old: Vec<String> =
            known.keys().filter(|folder| epoch_of(folder).is_some_and(|e| e < oldest)).cloned().collect();
        for folder in old {
            let kept = kept_by_folder.get(folder.as_str());
            match (kept, known.get_mut(&folder)) {
                (Some(kept), Some(names)) => remove_files(&files.folder.folder(&folder), names, kept)?,
                _ => {
                    files.folder.delete_folder(&folder)?;
                    known.remove(&folder);
                }
            }
        }
        Ok(())
    }
}

fn remove_files(folder: &Folder, names: &mut BTreeSet<String>, kept: &BTreeSet<&str>) -> Result<()> {
    let gone: Vec<String> = names.iter().filter(|name| !kept.contains(name.as_str())).cloned().collect();
    for name in gone {
        folder.delete(&name)?;
        names.remove(&name);
    }
    Ok(())
}

/// The error of a thread that has died.
fn lost() -> Error {
    Error::internal("the thread that writes state is gone")
}
