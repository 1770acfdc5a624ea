//! The checkpoint folder: what makes a query go on where it left off.
//!
//! ```text
//! checkpoint/
//!   metadata              {"id": …}
//!   leases/G              who may write: the highest G
//!   operators             the operators that keep state, and what their state is called
//!   offsets/N             what epoch N reads: version line, JSON of watermark, time and settings, one line a source
//!   commits/N             epoch N is done: version line, JSON; names the state after N and what the sink needs to finish
//!   sources/S/…           bookkeeping of source S
//!   pending               what commits/N will say, while a sink that decides by itself is being committed
//!   state/N-RUN/…         what epoch N changed of the state as that run wrote it, a file an operator
//! ```
//!
//! `metadata`, offsets and commits are in Spark's own format, and so are the checksums beside them (`.N.crc`). What always holds:
//! a file appears whole or not at all; files of epochs are written once; `commits/N` exists only if `offsets/N` and the state
//! after N are durable; who writes an epoch holds the lease; folders are private. Where the files lie is [`crate::store`]'s
//! business.

mod lease;
mod log;
mod operators;
mod process;
mod record;
mod state;
mod table;
mod tools;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use self::lease::Lease;
use self::log::EpochLog;
use self::state::{Purge, StateFiles};
use crate::store::{Folder, Put};
use crate::{Error, Result};

pub(crate) use self::lease::Applicant;
pub(crate) use self::operators::StatefulOperator;
pub(crate) use self::record::{CommitRecord, OffsetMetadata, OffsetRecord, OperatorWatermarks, StateRef};
pub(crate) use self::state::{EpochState, Rules, StateChain, StateWriter, States};
pub(crate) use self::table::{PARTITIONS, Place, StateColumn, StateReader, StateTable};
pub use self::tools::{EpochReport, Finding, Removal, Report, repair, rewind, show, verify};

const PENDING: &str = "pending";

#[derive(Serialize, Deserialize)]
struct Metadata {
    id: String,
}

/// An opened checkpoint folder, and the right to write to it.
pub(crate) struct Checkpoint {
    root: Folder,
    id: String,
    offsets: EpochLog,
    commits: EpochLog,
    state: StateFiles,
    state_purge: Purge,
    /// The states after the newest epochs.
    newest_states: BTreeMap<u64, StateRef>,
    /// What the state of each operator of the running plan is called.
    names: HashMap<String, String>,
    lease: Lease,
}

/// The kinds of the operators with state in the checkpoint that lies here, in order; nothing if there is none.
///
/// # Errors
/// A location or a file that cannot be read.
pub(crate) fn kinds_of_operators(location: &str) -> Result<Option<Vec<String>>> {
    let operators = operators::read(&Folder::open(location)?)?;
    Ok(operators.map(|operators| operators.into_iter().map(|operator| operator.kind).collect()))
}

impl Checkpoint {
    /// Opens the folder, making it if it is not there, and takes its lease.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` if another query works on it; `STREAMING_CHECKPOINT_MISSING_METADATA_FILE` if there are
    /// offsets but no `metadata`; damaged files, by name.
    pub fn open(location: &str, applicant: &Applicant) -> Result<Self> {
        let root = Folder::open(location)?;
        let offsets = EpochLog::new(root.folder("offsets"));
        let known = read_id(&root)?;
        if known.is_none() {
            check_empty(&root, &offsets)?;
        }
        let lease = Lease::acquire(root.folder("leases"), applicant)?;
        root.tidy()?;
        root.settle(&["offsets", "commits", "sources"])?;
        Ok(Checkpoint {
            id: known.map_or_else(|| make_id(&root), Ok)?,
            offsets,
            commits: EpochLog::new(root.folder("commits")),
            state: StateFiles::new(root.folder("state"), &applicant.run_id),
            state_purge: Purge::default(),
            newest_states: BTreeMap::new(),
            names: HashMap::new(),
            lease,
            root,
        })
    }

    /// The query's id, the same over all runs.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The settings that the newest epoch recorded.
    pub fn settings(&self) -> Result<BTreeMap<String, String>> {
        let newest = self.last_offsets()?;
        newest.map_or(Ok(BTreeMap::new()), |epoch| Ok(self.offsets(epoch)?.metadata.conf))
    }

    /// The plan that runs from now on. Its operators go on with the state of those that were there before.
    ///
    /// # Errors
    /// `STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA`, `STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE` or
    /// `STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE` if they can't.
    pub fn adopt(&mut self, operators: Vec<StatefulOperator>) -> Result<()> {
        let fresh = self.last_offsets()?.is_none_or(|newest| newest == 0) && !self.commits.contains(0)?;
        self.names = operators::adopt(&self.root, operators, fresh)?;
        Ok(())
    }

    /// Bookkeeping folder of source `n`.
    pub fn source_log(&self, n: usize) -> Folder {
        self.root.folder("sources").folder(&n.to_string())
    }

    /// The newest epoch with an offsets file.
    ///
    /// # Errors
    /// `STREAMING_CHECKPOINT_EPOCHS_MISSING` if there are gaps, or commits without offsets.
    pub fn last_offsets(&self) -> Result<Option<u64>> {
        let newest = self.offsets.newest()?;
        let next = newest.map_or(0, |newest| newest + 1);
        if self.commits.contains(next)? {
            let message = format!("'{}' is there but '{}' is not", self.commits.place(next), self.offsets.place(next));
            return Err(Error::outside(message)
                .with_condition("STREAMING_CHECKPOINT_EPOCHS_MISSING")
                .hint("Restore it from a copy, or see what 'thalweg checkpoint repair' proposes for the checkpoint."));
        }
        Ok(newest)
    }

    /// Reads `offsets/N`.
    pub fn offsets(&self, epoch: u64) -> Result<OffsetRecord> {
        let missing = || self.offsets.damaged(epoch, &Error::outside("it is missing"));
        let text = self.offsets.read(epoch)?.ok_or_else(missing)?;
        OffsetRecord::parse(&text).map_err(|error| self.offsets.damaged(epoch, &error))
    }

    /// Writes `offsets/N` durably.
    pub fn write_offsets(&self, epoch: u64, record: &OffsetRecord) -> Result<()> {
        self.lease.check()?;
        self.offsets.create(epoch, &record.write()?)
    }

    /// Reads `commits/N`; `None` if the epoch is not committed.
    pub fn commit(&self, epoch: u64) -> Result<Option<CommitRecord>> {
        let Some(text) = self.commits.read(epoch)? else { return Ok(None) };
        CommitRecord::parse(&text).map(Some).map_err(|error| self.commits.damaged(epoch, &error))
    }

    /// Writes `commits/N` durably. Only for who still holds the lease.
    pub fn write_commit(&self, epoch: u64, record: &CommitRecord) -> Result<()> {
        self.lease.check()?;
        self.commits.create(epoch, &record.write()?)
    }

    /// Writes durably what `commits/N` will say once the sink has decided for epoch N.
    pub fn write_pending(&self, epoch: u64, record: &CommitRecord) -> Result<()> {
        self.lease.check()?;
        let text = format!("{epoch}\n{}", record.write()?);
        self.root.put_bare(PENDING, text.as_bytes(), Put::Replace).map(drop)
    }

    /// What `commits/N` will say.
    pub fn pending(&self, epoch: u64) -> Result<CommitRecord> {
        let bytes = self.root.read_bare(PENDING)?.ok_or_else(|| self.root.corrupt(PENDING, "it is missing"))?;
        let text = String::from_utf8_lossy(&bytes);
        let (about, record) = text.split_once('\n').unwrap_or_default();
        if about != epoch.to_string() {
            return Err(self.root.corrupt(PENDING, &format!("it is about epoch '{about}' and not {epoch}")));
        }
        CommitRecord::parse(record).map_err(|error| self.root.corrupt(PENDING, error.message()))
    }

    /// What writes the state after each epoch durably, beginning with the one that follows the state `from`. It counts once a
    /// commit names it.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn state_writer(&self, from: Option<&StateRef>, rules: Rules) -> Result<StateWriter> {
        StateWriter::start(self.state.clone(), self.names.clone(), from, rules)
    }

    /// The files of an operator's state that a commit named; `None` if it had none.
    pub fn state_chain(&self, state: &StateRef, operator: &str) -> Option<StateChain> {
        StateChain::of(&self.state, state, self.names.get(operator).map_or(operator, String::as_str))
    }

    /// Reads a state that a commit named, but for some operators.
    pub fn read_state(&self, state: &StateRef, but: &[String]) -> Result<States> {
        let mut state = state.clone();
        for operator in but {
            state.chains.remove(self.names.get(operator).unwrap_or(operator));
        }
        let mut named = self.state.read(&state)?;
        let own = |(operator, name): (&String, &String)| Some((operator.clone(), named.remove(name)?));
        let mut states: States = self.names.iter().filter_map(own).collect();
        states.extend(named);
        Ok(states)
    }

    /// Removes what lies more than `retain` epochs before `epoch`, which has been committed with this state; never the newest two.
    /// May be cut off anywhere: the next call goes on.
    pub fn purge(&mut self, epoch: u64, state: &StateRef, retain: u64) -> Result<()> {
        let oldest = epoch.saturating_sub(retain.max(2));
        self.commits.remove_before(oldest)?;
        self.offsets.remove_before(oldest)?;
        self.newest_states.insert(epoch, state.clone());
        let oldest = epoch.saturating_sub(2);
        let missing = (oldest..=epoch).filter(|epoch| !self.newest_states.contains_key(epoch));
        for epoch in missing.collect::<Vec<_>>() {
            // A commit that can't be read is of no use to anybody, nor is its state.
            let state = self.commit(epoch).ok().flatten().and_then(|commit| commit.state);
            self.newest_states.insert(epoch, state.unwrap_or_default());
        }
        self.newest_states.retain(|epoch, _| *epoch >= oldest);
        let kept: Vec<&StateRef> = self.newest_states.values().collect();
        self.state_purge.remove(&self.state, oldest, &kept)
    }
}

fn read_id(root: &Folder) -> Result<Option<String>> {
    let Some(text) = root.read_text("metadata")? else { return Ok(None) };
    let metadata: Metadata = serde_json::from_str(&text).map_err(|e| root.corrupt("metadata", &e.to_string()))?;
    Ok(Some(metadata.id))
}

/// A folder without `metadata` must not have epochs either.
fn check_empty(root: &Folder, offsets: &EpochLog) -> Result<()> {
    if offsets.newest()?.is_none() {
        return Ok(());
    }
    let message = format!("checkpoint '{}' has offsets but no file 'metadata'", root.place(""));
    Err(Error::query("STREAMING_CHECKPOINT_MISSING_METADATA_FILE", message)
        .hint("Restore the file, or start with another checkpointLocation."))
}

fn make_id(root: &Folder) -> Result<String> {
    let metadata = Metadata { id: uuid::Uuid::new_v4().to_string() };
    let text = serde_json::to_string(&metadata).map_err(|e| Error::internal(e.to_string()))?;
    root.write("metadata", text.as_bytes())?;
    Ok(metadata.id)
}
