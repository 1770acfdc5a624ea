//! Looking at a checkpoint, checking it, and setting it back: what the command `thalweg checkpoint` does.
//!
//! In: where a checkpoint lies. Out: reports, and plans of what would be removed. [`show`] and [`verify`] change nothing and may
//! run beside the query; [`Removal::apply`] takes the checkpoint's lease, so no query can run meanwhile.

use std::time::Duration;

use serde::Serialize;

use super::lease::{self, Applicant, Lease};
use super::log::{EpochLog, missing_below_newest};
use super::record::{CommitRecord, OffsetRecord, StateRef};
use super::state::StateFiles;
use super::{operators, read_id};
use crate::store::Folder;
use crate::{Error, Result};

/// What is in a checkpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where it lies.
    pub location: String,
    /// The query's id.
    pub id: Option<String>,
    /// Who works on it or did last, in words.
    pub lease: Option<String>,
    /// Whether that run still holds it.
    pub in_use: bool,
    /// The operators that keep state: name, keys, values.
    pub operators: Vec<String>,
    /// The epochs, rising.
    pub epochs: Vec<EpochReport>,
}

/// An epoch in a checkpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochReport {
    /// Its number.
    pub epoch: u64,
    /// Whether it is committed.
    pub committed: bool,
    /// The watermark in force, in milliseconds.
    pub watermark_ms: i64,
    /// When it was planned, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The end of each source's range.
    pub offsets: Vec<serde_json::Value>,
    /// Bytes of the state after it, if that is kept.
    pub state_bytes: Option<u64>,
}

/// Something that [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// True if a query can't start or would lose something; false for what is only worth knowing.
    pub error: bool,
    /// What, with the file's name.
    pub message: String,
}

/// What [`rewind`] or [`repair`] would remove, and what follows from it.
#[derive(Debug, Clone, Serialize)]
pub struct Removal {
    /// Where the checkpoint lies.
    pub location: String,
    /// The files that go, as `folder/epoch`.
    pub files: Vec<String>,
    /// What may be repeated or lost, sentence by sentence.
    pub consequences: Vec<String>,
}

/// A checkpoint that is only looked at.
pub(super) struct Opened {
    pub(super) root: Folder,
    offsets: EpochLog,
    pub(super) commits: EpochLog,
    pub(super) state: StateFiles,
}

impl Opened {
    /// The checkpoint at this place.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn new(location: &str) -> Result<Self> {
        let root = Folder::open(location)?;
        let opened = Opened {
            offsets: EpochLog::new(root.folder("offsets")),
            commits: EpochLog::new(root.folder("commits")),
            state: StateFiles::new(root.folder("state"), ""),
            root,
        };
        if !opened.root.exists("metadata")? && opened.offsets.numbers()?.is_empty() {
            return Err(Error::invalid(format!("there is no checkpoint at '{location}'")));
        }
        Ok(opened)
    }

    fn offsets(&self, epoch: u64) -> Result<Option<OffsetRecord>> {
        let text = self.offsets.read(epoch)?;
        text.map(|text| OffsetRecord::parse(&text)).transpose().map_err(|e| self.offsets.damaged(epoch, &e))
    }

    /// Reads `commits/N`.
    pub(super) fn commit(&self, epoch: u64) -> Result<Option<CommitRecord>> {
        let text = self.commits.read(epoch)?;
        text.map(|text| CommitRecord::parse(&text)).transpose().map_err(|e| self.commits.damaged(epoch, &e))
    }

    fn epoch(&self, epoch: u64) -> Result<EpochReport> {
        let record = self.offsets(epoch)?.ok_or_else(|| Error::outside("the epoch was removed meanwhile"))?;
        let commit = self.commit(epoch)?;
        let state = commit.as_ref().and_then(|commit| commit.state.as_ref());
        let kept = state.map(|state| self.state.is_there(state)).transpose()?.unwrap_or_default();
        let state = state.filter(|_| kept).map(StateRef::bytes);
        Ok(EpochReport {
            epoch,
            committed: commit.is_some(),
            watermark_ms: record.metadata.batch_watermark_ms,
            timestamp_ms: record.metadata.batch_timestamp_ms,
            offsets: record.offsets.into_iter().map(Option::unwrap_or_default).collect(),
            state_bytes: state.filter(|bytes| *bytes > 0),
        })
    }

    /// Why a query can't go on after this epoch; `None` if it can.
    fn obstacle(&self, epoch: u64) -> Option<Error> {
        let usable = || {
            self.offsets(epoch)?.ok_or_else(|| self.offsets.damaged(epoch, &Error::outside("it is missing")))?;
            let commit = self.commit(epoch)?;
            let commit = commit.ok_or_else(|| self.commits.damaged(epoch, &Error::outside("it is missing")))?;
            commit.state.as_ref().map_or(Ok(()), |state| self.state.read(state).map(drop))
        };
        usable().err()
    }

    /// The files of epochs after `last`; the offsets of the first of them stay if `replan` is false.
    fn after(&self, last: Option<u64>, replan: bool) -> Result<Vec<String>> {
        let first = last.map_or(0, |last| last + 1);
        let keep = |epoch: u64| !replan && epoch == first && matches!(self.offsets(epoch), Ok(Some(_)));
        let named = |folder: &str, epochs: Vec<u64>| -> Vec<String> {
            epochs.into_iter().filter(|epoch| *epoch >= first).map(|epoch| format!("{folder}/{epoch}")).collect()
        };
        // Commits first and the newest first: cut off anywhere, what is left is a checkpoint.
        let mut files = named("commits", self.commits.numbers()?.into_iter().rev().collect());
        let offsets = self.offsets.numbers()?.into_iter().rev().filter(|epoch| !keep(*epoch)).collect();
        files.extend(named("offsets", offsets));
        Ok(files)
    }
}

/// What is in the checkpoint.
///
/// # Errors
/// If there is none, or a file that can't be read, by name.
pub fn show(location: &str) -> Result<Report> {
    let opened = Opened::new(location)?;
    let holder = lease::holder(&opened.root.folder("leases"))?;
    let describe = |o: operators::StatefulOperator| {
        format!("{}: keys [{}], values [{}]", o.name, o.keys.join(", "), o.values.join(", "))
    };
    Ok(Report {
        location: opened.root.place(""),
        id: read_id(&opened.root)?,
        in_use: holder.as_ref().is_some_and(|holder| !holder.is_over()),
        lease: holder.map(|holder| holder.describe()),
        operators: operators::read(&opened.root)?.unwrap_or_default().into_iter().map(describe).collect(),
        epochs: opened.offsets.numbers()?.into_iter().map(|epoch| opened.epoch(epoch)).collect::<Result<_>>()?,
    })
}

/// Reads everything in the checkpoint and tells what is wrong. Nothing is wrong if no finding is an error.
///
/// # Errors
/// If there is no checkpoint, or its folders can't be listed.
pub fn verify(location: &str) -> Result<Vec<Finding>> {
    let opened = Opened::new(location)?;
    let mut found = Findings::default();
    if found.check(read_id(&opened.root)).flatten().is_none() {
        found.error("'metadata' is missing or can't be used".to_owned());
    }
    found.check(operators::read(&opened.root));
    let (planned, committed) = (opened.offsets.numbers()?, opened.commits.numbers()?);
    found.gaps("offsets", &planned);
    found.gaps("commits", &committed);
    for epoch in committed.iter().filter(|epoch| **epoch > planned.last().copied().unwrap_or(0)) {
        found.error(format!("'commits/{epoch}' is there but 'offsets/{epoch}' is not"));
    }
    for epoch in &planned {
        found.check(opened.offsets(*epoch));
        found.unchecked(opened.offsets.folder(), "offsets", *epoch)?;
    }
    for epoch in &committed {
        found.check(opened.commit(*epoch));
        found.unchecked(opened.commits.folder(), "commits", *epoch)?;
    }
    found.states(&opened, &committed)?;
    Ok(found.0)
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, message: String) {
        self.0.push(Finding { error: true, message });
    }

    fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.error(error.message().to_owned())).ok()
    }

    fn gaps(&mut self, folder: &str, epochs: &[u64]) {
        if let Some(missing) = missing_below_newest(epochs) {
            self.error(format!("'{folder}/{missing}' is missing while older and later epochs are there"));
        } else if let Some(pair) = epochs.windows(2).rfind(|pair| pair[1] - pair[0] > 1) {
            let message = format!("'{folder}/{}' and what is older is left over: nobody needs it", pair[0]);
            self.0.push(Finding { error: false, message });
        }
    }

    fn unchecked(&mut self, folder: &Folder, name: &str, epoch: u64) -> Result<()> {
        if !folder.has_checksum(&epoch.to_string())? {
            self.0.push(Finding { error: false, message: format!("'{name}/{epoch}' has no checksum") });
        }
        Ok(())
    }

    /// The states of the newest two epochs, without which a query can't go on, and folders that nothing names.
    fn states(&mut self, opened: &Opened, committed: &[u64]) -> Result<()> {
        let commits = committed.iter().rev().take(2).filter_map(|epoch| opened.commit(*epoch).ok().flatten());
        let named: Vec<_> = commits.filter_map(|commit| commit.state).collect();
        for state in &named {
            self.check(opened.state.read(state));
        }
        let newest = committed.last().copied().unwrap_or(0);
        for (epoch, folder) in opened.state.list()? {
            let names = |state: &StateRef| state.folder == folder || state.is_in(&folder);
            if epoch + 1 >= newest && !named.iter().any(names) {
                let message = format!("'state/{folder}' belongs to no commit: an attempt that was not finished");
                self.0.push(Finding { error: false, message });
            }
        }
        Ok(())
    }
}

/// What it takes to set the checkpoint back to the end of `epoch`.
///
/// # Errors
/// If the epoch is not committed, or its offsets, commit or state can't be used or are not kept any more.
pub fn rewind(location: &str, epoch: u64) -> Result<Removal> {
    let opened = Opened::new(location)?;
    if let Some(error) = opened.obstacle(epoch) {
        return Err(error.hint("Only epochs whose offsets, commit and state are kept can be gone back to."));
    }
    let files = opened.after(Some(epoch), true)?;
    let next = epoch + 1;
    let consequences = vec![
        format!("everything read since epoch {epoch} is read again, in epochs numbered from {next}."),
        "sinks that do not know epochs get those rows again.".to_owned(),
        format!("a file sink that has epochs from {next} on ignores what is written under these numbers again."),
    ];
    Ok(Removal { location: location.to_owned(), files, consequences })
}

/// What it takes to make the checkpoint usable again; nothing if it is. Goes back to the newest epoch that can be gone on from.
///
/// # Errors
/// If there is no such epoch.
pub fn repair(location: &str) -> Result<Removal> {
    let opened = Opened::new(location)?;
    let planned = opened.offsets.numbers()?;
    let committed = opened.commits.numbers()?;
    let good = committed.iter().rev().copied().find(|epoch| opened.obstacle(*epoch).is_none());
    if good.is_none() && planned.first().is_some_and(|first| *first > 0) {
        return Err(Error::outside("no epoch is left from which a query could go on")
            .hint("Restore the checkpoint from a copy, or start with another checkpointLocation."));
    }
    let files = opened.after(good, false)?;
    let consequences = consequences(&files, good);
    Ok(Removal { location: location.to_owned(), files, consequences })
}

fn consequences(files: &[String], good: Option<u64>) -> Vec<String> {
    if files.is_empty() {
        return Vec::new();
    }
    let from = good.map_or_else(|| "the beginning".to_owned(), |good| format!("the end of epoch {good}"));
    let mut said = vec![format!("the query goes on from {from}; what it read later is read again.")];
    if files.iter().any(|file| file.starts_with("commits/")) {
        said.push("rows of these epochs may come again at sinks that do not know epochs.".to_owned());
    }
    if files.iter().any(|file| file.starts_with("offsets/")) {
        said.push("epochs whose offsets go are planned anew and may hold other rows than before.".to_owned());
    }
    said
}

impl Removal {
    /// Removes the files, under the checkpoint's lease.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` if a query runs on the checkpoint; what can't be removed.
    pub fn apply(&self) -> Result<()> {
        let root = Folder::open(&self.location)?;
        let applicant = Applicant {
            run_id: uuid::Uuid::new_v4().to_string(),
            name: Some("thalweg checkpoint".into()),
            timeout: Duration::from_secs(60),
        };
        let lease = Lease::acquire(root.folder("leases"), &applicant)?;
        for file in &self.files {
            lease.check()?;
            let (folder, name) = file.split_once('/').ok_or_else(|| Error::internal("a file without a folder"))?;
            root.folder(folder).delete(name)?;
        }
        Ok(())
    }
}
