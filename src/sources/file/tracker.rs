//! What was seen and what each batch reads: Spark's file source log.
//!
//! In: listings without gaps, so that no file comes after one that came into the folder after it. Out: numbered batches of files. A
//! batch is written to the log (if there is one) before anybody hears of it, so a restart reads exactly the same files again, up to the
//! size they had. Files are new if they were not seen and are not older than the newest one by more than `maxFileAge`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listing::{Found, list_without_gaps};
use super::options::{BatchSize, FileOptions};
use crate::filelog::{CompactLog, Upkeep};
use crate::sources::{Limit, Offset, wrong_offset};
use crate::store::Folder;
use crate::{Error, Result, filepath};

/// A file of a batch: a line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// As URI.
    pub(super) path: String,
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) batch_id: u64,
    /// Bytes when it was listed; Spark does not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
}

/// A place in the sequence of files: batches up to `batch` were read, and of the next one some files and records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of the next batch.
    pub(super) next_batch: u64,
    /// Files of it that were read.
    pub(super) files: u64,
    /// Records (rows, for columnar formats) of the next file that were read.
    pub(super) records: u64,
}

impl Place {
    /// The place of an offset: Spark's `{"logOffset":3}`, within a batch with `file` and `records`.
    pub(super) fn parse(offset: Option<&Offset>) -> Result<Place> {
        let Some(offset) = offset else { return Ok(Place::default()) };
        let log_offset = offset.get("logOffset").and_then(Offset::as_i64).filter(|number| *number >= -1);
        let batch = log_offset.ok_or_else(|| wrong_offset(offset))?;
        let part = |name| offset.get(name).map_or(Ok(0), crate::sources::whole_number);
        Ok(Place { next_batch: (batch + 1).unsigned_abs(), files: part("file")?, records: part("records")? })
    }

    pub(super) fn write(self) -> Offset {
        let batch = self.next_batch.cast_signed() - 1;
        match (self.files, self.records) {
            (0, 0) => serde_json::json!({"logOffset": batch}),
            (files, records) => serde_json::json!({"logOffset": batch, "file": files, "records": records}),
        }
    }
}

/// The longest pause between two looks at a folder of few files, and at one of many.
const LONGEST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL_OF_MANY: Duration = Duration::from_secs(5);

/// What a look at one known file costs (100 000 files: some 30 ms).
const TO_LOOK_AT_ONE: Duration = Duration::from_nanos(320);

/// Knows all files of one source.
pub(super) struct Tracker {
    options: FileOptions,
    seen: HashMap<PathBuf, i64>,
    newest: i64,
    /// Older files are not new.
    oldest: i64,
    /// Listed but in no batch yet.
    waiting: VecDeque<Found>,
    /// No more listing.
    frozen: bool,
    log: Option<CompactLog<Entry>>,
    /// Batches that were not committed in this run.
    batches: BTreeMap<u64, Arc<[Entry]>>,
    /// Number of the next batch.
    next: u64,
}

impl Tracker {
    /// Goes on where the log ends.
    pub(super) fn open(options: FileOptions, log: Option<Folder>, upkeep: Upkeep) -> Result<Tracker> {
        let log = log.map(|folder| CompactLog::<Entry>::open_to_write(folder, upkeep)).transpose()?;
        let mut tracker = Tracker {
            options,
            seen: HashMap::new(),
            newest: 0,
            oldest: 0,
            waiting: VecDeque::new(),
            frozen: false,
            next: log.as_ref().and_then(CompactLog::latest).map_or(0, |latest| latest + 1),
            log,
            batches: BTreeMap::new(),
        };
        let entries = tracker.log.as_ref().map_or(Ok(Vec::new()), CompactLog::all)?;
        for entry in &entries {
            tracker.see(&filepath::from_uri(&entry.path), entry.timestamp);
        }
        tracker.purge();
        Ok(tracker)
    }

    /// How long a source may wait at most between two looks at its folders while nothing comes: looking at many files takes a while, and
    /// should not take more than a twentieth of the time.
    pub(super) fn longest_poll(&self) -> Duration {
        let looking = TO_LOOK_AT_ONE * u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        (looking * 20).clamp(LONGEST_POLL, LONGEST_POLL_OF_MANY)
    }

    /// Number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Only files that exist now will come.
    pub(super) fn freeze(&mut self) -> Result<()> {
        self.waiting = self.list()?.into();
        self.frozen = true;
        Ok(())
    }

    /// Makes a batch of new files; false if there are none.
    pub(super) fn advance(&mut self, limit: Limit) -> Result<bool> {
        if self.waiting.is_empty() && !self.frozen {
            self.waiting = self.list()?.into();
        }
        let chosen = self.take(limit);
        if chosen.is_empty() {
            return Ok(false);
        }
        self.limit_waiting();
        let batch = self.next;
        let entry = |file: &Found| Entry {
            path: filepath::to_uri(&file.path),
            timestamp: file.modified,
            batch_id: batch,
            size: Some(file.size),
        };
        let entries: Vec<Entry> = chosen.iter().map(entry).collect();
        if let Some(log) = &mut self.log {
            log.add(batch, entries.clone(), |_| true)?;
        }
        self.batches.insert(batch, entries.into());
        self.next += 1;
        chosen.iter().for_each(|file| self.see(&file.path, file.modified));
        self.purge();
        Ok(true)
    }

    /// Takes the files of the next batch from those that wait.
    fn take(&mut self, limit: Limit) -> Vec<Found> {
        let count = match (limit, self.options.batch) {
            (Limit::Everything, _) | (_, BatchSize::Unlimited) => self.waiting.len(),
            (_, BatchSize::Files(files)) => files.min(self.waiting.len()),
            (_, BatchSize::Bytes(most)) => {
                let mut bytes = 0u64;
                let fits = |file: &&Found| {
                    bytes = bytes.saturating_add(file.size);
                    bytes <= most
                };
                self.waiting.iter().take_while(fits).count().max(1).min(self.waiting.len())
            }
        };
        self.waiting.drain(..count).collect()
    }

    /// Keeps only as many waiting files as the options allow, so that the next batch does not need a listing.
    fn limit_waiting(&mut self) {
        if self.frozen {
            return;
        }
        self.waiting.truncate(self.options.max_cached);
        let useful = match self.options.batch {
            BatchSize::Unlimited => false,
            BatchSize::Files(files) => self.waiting.len() as f64 >= files as f64 * self.options.discard_ratio,
            BatchSize::Bytes(bytes) => {
                let waiting: u64 = self.waiting.iter().map(|file| file.size).sum();
                waiting as f64 >= bytes as f64 * self.options.discard_ratio
            }
        };
        if self.options.latest_first || !useful {
            self.waiting.clear();
        }
    }

    /// New files, in the order in which they are read.
    fn list(&self) -> Result<Vec<Found>> {
        let known = |path: &Path| self.seen.contains_key(self.key(path));
        let mut found = list_without_gaps(&self.options.selection, &known)?;
        found.retain(|file| file.modified >= self.oldest);
        if self.options.latest_first {
            found.reverse();
        }
        if self.options.name_only {
            let mut names = std::collections::HashSet::new();
            found.retain(|file| names.insert(file.path.file_name().map(ToOwned::to_owned)));
        }
        Ok(found)
    }

    /// What identifies a file.
    fn key<'a>(&self, path: &'a Path) -> &'a Path {
        match self.options.name_only {
            true => path.file_name().map_or(path, Path::new),
            false => path,
        }
    }

    fn see(&mut self, path: &Path, modified: i64) {
        let key = self.key(path).to_owned();
        self.seen.insert(key, modified);
        self.newest = self.newest.max(modified);
    }

    /// Forgets files that are too old to count as new.
    fn purge(&mut self) {
        if self.options.latest_first && self.options.batch != BatchSize::Unlimited {
            return;
        }
        let age = i64::try_from(self.options.max_file_age.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.newest.saturating_sub(age);
        if oldest > self.oldest {
            self.oldest = oldest;
            self.seen.retain(|_, modified| *modified >= oldest);
        }
    }

    /// The files of a batch.
    pub(super) fn batch(&self, number: u64) -> Result<Arc<[Entry]>> {
        if let Some(entries) = self.batches.get(&number) {
            return Ok(Arc::clone(entries));
        }
        let of_batch = |entries: Vec<Entry>| -> Vec<Entry> {
            entries.into_iter().filter(|entry| entry.batch_id == number).collect()
        };
        let Some(log) = &self.log else { return Err(unknown(number)) };
        let entries = match log.file(number)? {
            Some(entries) => of_batch(entries),
            None => of_batch(log.covering(number)?.unwrap_or_default()),
        };
        if entries.is_empty() { Err(unknown(number)) } else { Ok(entries.into()) }
    }

    /// Forgets batches before this one, and says which files they had.
    pub(super) fn forget(&mut self, before: u64) -> Vec<Entry> {
        let rest = self.batches.split_off(&before);
        let gone = std::mem::replace(&mut self.batches, rest);
        gone.into_values().flat_map(|entries| entries.to_vec()).collect()
    }
}

fn unknown(batch: u64) -> Error {
    Error::outside(format!("the log of the file source does not know which files batch {batch} reads"))
        .hint("The checkpoint's sources folder is incomplete; restore it or start with a new checkpoint.")
}
