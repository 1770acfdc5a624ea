//! Numbered log files in a directory, written whole: Spark's form for what a file source has seen and a file sink has written.
//!
//! File `N` holds the entries of batch N: a line `v1`, then one JSON object a line. Each `interval`-th file is `N.compact` and
//! holds all entries up to N. How a file becomes durable and is checked is [`crate::store`]'s business.

use std::fs::File;
use std::marker::PhantomData;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::conf::Conf;
use crate::store::Folder;
use crate::{Error, Result};

/// Makes new names in the directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|cause| at(cause, dir))
}

/// An I/O error with the path it happened at.
pub(crate) fn at(cause: std::io::Error, path: &Path) -> Error {
    Error::from(cause).at(path.display().to_string())
}

/// The folder, below a file sink's path, that lists the files which count.
pub(crate) const SINK_LOG: &str = "_spark_metadata";

/// A file that a file sink has written: an entry of its log, in Spark's form.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SinkFile {
    /// As URI, `file:///...`.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) is_dir: bool,
    /// Milliseconds since 1970.
    pub(crate) modification_time: i64,
    pub(crate) block_replication: u32,
    pub(crate) block_size: u64,
    /// `add`; Spark once knew `delete`.
    pub(crate) action: String,
}

/// How a log is kept short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upkeep {
    /// Each so many files one holds everything.
    pub(crate) interval: u64,
    /// Remove files that a later compact one covers, when they are this old; never without.
    pub(crate) delete_after: Option<Duration>,
}

impl Upkeep {
    /// The settings below `spark.sql.streaming.{kind}.log`.
    pub(crate) fn of(conf: &Conf, kind: &str) -> Result<Upkeep> {
        let key = |name: &str| format!("spark.sql.streaming.{kind}.log.{name}");
        let interval = conf.number(&key("compactInterval"), 10)?;
        let delay = conf.number(&key("cleanupDelay"), 600_000)?;
        Ok(Upkeep {
            interval: u64::try_from(interval).unwrap_or(10).max(2),
            delete_after: conf
                .flag(&key("deletion"), true)?
                .then(|| Duration::from_millis(delay.max(0).unsigned_abs())),
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct LogFile {
    number: u64,
    compact: bool,
    /// `None` for a file of this run, which is young.
    modified: Option<SystemTime>,
}

impl LogFile {
    fn name(self) -> String {
        name(self.number, self.compact)
    }
}

/// A log of entries `E`. One writer at a time.
#[derive(Debug)]
pub(crate) struct CompactLog<E> {
    folder: Folder,
    upkeep: Upkeep,
    /// The files, their numbers rising.
    files: Vec<LogFile>,
    entries: PhantomData<fn(E) -> E>,
}

impl<E: Serialize + DeserializeOwned> CompactLog<E> {
    /// The log in this folder, to be written to; it need not exist yet.
    pub(crate) fn open_to_write(folder: Folder, upkeep: Upkeep) -> Result<Self> {
        folder.settle(&[])?;
        CompactLog::open(folder, upkeep)
    }

    /// The log in this folder; it need not exist yet.
    pub(crate) fn open(folder: Folder, upkeep: Upkeep) -> Result<Self> {
        let mut files = Vec::new();
        for entry in folder.list()? {
            let (number, compact) = match entry.name.strip_suffix(".compact") {
                Some(number) => (number, true),
                None => (entry.name.as_str(), false),
            };
            let modified = entry.modified;
            files.extend(number.parse().ok().map(|number: u64| LogFile { number, compact, modified }));
        }
        files.sort_unstable_by_key(|file| (file.number, file.compact));
        Ok(CompactLog { folder, upkeep, files, entries: PhantomData })
    }

    /// The newest batch.
    pub(crate) fn latest(&self) -> Option<u64> {
        self.files.last().map(|file| file.number)
    }

    /// Writes the entries of a batch; nothing happens if the batch is there already. Entries that `keep` refuses are left out
    /// when files are put together.
    pub(crate) fn add(&mut self, batch: u64, entries: Vec<E>, keep: impl Fn(&E) -> bool) -> Result<()> {
        if self.latest().is_some_and(|latest| batch <= latest) {
            return Ok(());
        }
        let compact = (batch + 1).is_multiple_of(self.upkeep.interval);
        let mut all = if compact { self.all()? } else { Vec::new() };
        all.extend(entries);
        if compact {
            all.retain(keep);
        }
        let name = name(batch, compact);
        if !self.folder.create(&name, &write(&all)?)? {
            return Err(concurrent(&self.folder.place(&name)));
        }
        self.files.push(LogFile { number: batch, compact, modified: None });
        if compact {
            self.delete_covered(batch);
        }
        Ok(())
    }

    /// The entries in the file of this batch (all up to it if that file is compact); none if the file is gone.
    pub(crate) fn file(&self, batch: u64) -> Result<Option<Vec<E>>> {
        let found = self.files.iter().find(|file| file.number == batch);
        found.map(|file| self.read(*file)).transpose()
    }

    /// The entries of the newest compact file up to `batch`, if there is one from `batch` on.
    pub(crate) fn covering(&self, batch: u64) -> Result<Option<Vec<E>>> {
        let found = self.files.iter().find(|file| file.compact && file.number >= batch);
        found.map(|file| self.read(*file)).transpose()
    }

    /// All entries, oldest first.
    pub(crate) fn all(&self) -> Result<Vec<E>> {
        let start = self.files.iter().rposition(|file| file.compact).unwrap_or(0);
        let mut all = Vec::new();
        for file in self.files.get(start..).unwrap_or_default() {
            all.extend(self.read(*file)?);
        }
        Ok(all)
    }

    fn read(&self, file: LogFile) -> Result<Vec<E>> {
        let (name, place) = (file.name(), self.folder.place(&file.name()));
        let text = self.folder.read_text(&name)?;
        let text = text.ok_or_else(|| Error::outside("a file of the log was removed while it was read").at(&place))?;
        parse(&text).map_err(|error| error.at(place))
    }

    /// Best effort: what stays is only garbage.
    #[expect(clippy::disallowed_methods, reason = "compared with times that the file system gave")]
    fn delete_covered(&mut self, compact: u64) {
        let Some(age) = self.upkeep.delete_after else { return };
        let now = SystemTime::now();
        let folder = &self.folder;
        let old = |file: &LogFile| {
            // A file of this run is as old as the run at most; the next start knows its time.
            let written = file.modified.unwrap_or(now);
            now.duration_since(written).is_ok_and(|elapsed| elapsed >= age)
        };
        self.files.retain(|file| file.number >= compact || !old(file) || folder.delete(&file.name()).is_err());
    }
}

/// Two writers, where only one may be.
fn concurrent(place: &str) -> Error {
    Error::outside(format!("another query wrote '{place}' at the same time"))
        .with_condition("CONCURRENT_STREAM_LOG_UPDATE")
        .hint("Make sure that only one query runs on a checkpoint, or writes to an output folder.")
}

fn name(batch: u64, compact: bool) -> String {
    if compact { format!("{batch}.compact") } else { batch.to_string() }
}

fn write<E: Serialize>(entries: &[E]) -> Result<Vec<u8>> {
    let mut bytes = b"v1".to_vec();
    for entry in entries {
        bytes.push(b'\n');
        serde_json::to_writer(&mut bytes, entry)
            .map_err(|cause| Error::internal(format!("cannot write a log entry: {cause}")).caused_by(cause))?;
    }
    Ok(bytes)
}

fn parse<E: DeserializeOwned>(text: &str) -> Result<Vec<E>> {
    let damaged = |what: String| {
        Error::outside(what).hint("The file is damaged or was written by something else; restore it from a copy.")
    };
    let mut lines = text.lines();
    if lines.next() != Some("v1") {
        return Err(damaged("a log file should begin with the line 'v1'".into()));
    }
    let entry = |line: &str| serde_json::from_str(line).map_err(|cause| damaged(format!("broken log entry: {cause}")));
    lines.filter(|line| !line.is_empty()).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path) -> CompactLog<u64> {
        let upkeep = Upkeep { interval: 3, delete_after: Some(Duration::ZERO) };
        CompactLog::open(Folder::local(dir, false), upkeep).unwrap()
    }

    #[test]
    fn every_third_file_holds_everything() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path());
        for batch in 0..8 {
            log.add(batch, vec![batch, batch + 100], |_| true).unwrap();
        }
        let listed = Folder::local(dir.path(), false).list().unwrap();
        let mut files: Vec<String> = listed.into_iter().map(|entry| entry.name).collect();
        files.sort();
        assert_eq!(files, ["5.compact", "6", "7"]);
        let again = self::log(dir.path());
        assert_eq!(again.latest(), Some(7));
        assert_eq!(again.all().unwrap().len(), 16);
        assert_eq!(again.file(6).unwrap(), Some(vec![6, 106]));
        assert_eq!(again.file(2).unwrap(), None);
        assert_eq!(again.covering(2).unwrap().unwrap().len(), 12);
    }

    #[test]
    fn a_batch_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path()).add(0, vec![1], |_| true).unwrap();
        log(dir.path()).add(0, vec![2], |_| true).unwrap();
        assert_eq!(log(dir.path()).all().unwrap(), [1]);
    }

    #[test]
    fn c03_a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0"), "v1\n{").unwrap();
        let error = log(dir.path()).all().unwrap_err();
        assert!(error.place().unwrap().ends_with("/0"), "{error}");
    }
}
