//! A folder of numbered files, one an epoch: `offsets/` and `commits/`.
//!
//! In: epochs and texts. Out: the same. Each file is written once, by whoever comes first. The numbers have no gaps: files are
//! added at the end and removed from the oldest on. So the newest and the oldest can be found by looking for single files, and a
//! start takes as long after a million epochs as after ten. Only what a loss of power brings back may lie apart: old files whose
//! removal was not durable. Nobody needs them, so a gap counts only if it is right below the newest.

use crate::store::{Folder, Put};
use crate::{Error, Result};

/// Where a file near the newest is noted, each [`NOTE_EVERY`] epochs.
const NOTE: &str = ".newest";
const NOTE_EVERY: u64 = 1000;

/// `offsets/` or `commits/`.
pub(super) struct EpochLog {
    folder: Folder,
}

impl EpochLog {
    /// The log in this folder.
    pub(super) fn new(folder: Folder) -> Self {
        EpochLog { folder }
    }

    /// The text of an epoch's file; `None` if there is none.
    pub(super) fn read(&self, epoch: u64) -> Result<Option<String>> {
        self.folder.read_text(&epoch.to_string())
    }

    /// The error of an epoch's file that can't be used.
    pub(super) fn damaged(&self, epoch: u64, cause: &Error) -> Error {
        let error = self.folder.corrupt(&epoch.to_string(), cause.message());
        cause.condition().map_or(error.clone(), |condition| error.with_condition(condition))
    }

    /// True if the epoch has a file.
    pub(super) fn contains(&self, epoch: u64) -> Result<bool> {
        self.folder.exists(&epoch.to_string())
    }

    /// Where the epoch's file is.
    pub(super) fn place(&self, epoch: u64) -> String {
        self.folder.place(&epoch.to_string())
    }

    /// Writes an epoch's file, which must not be there.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` if it is: another query works on this checkpoint.
    pub(super) fn create(&self, epoch: u64, text: &str) -> Result<()> {
        if !self.folder.create(&epoch.to_string(), text.as_bytes())? {
            return Err(super::lease::concurrent(format!("'{}' was written by another run", self.place(epoch))));
        }
        if epoch.is_multiple_of(NOTE_EVERY) && epoch > 0 {
            self.folder.put_bare(NOTE, epoch.to_string().as_bytes(), Put::Hint)?;
        }
        Ok(())
    }

    /// The newest epoch.
    ///
    /// # Errors
    /// `STREAMING_CHECKPOINT_EPOCHS_MISSING` if the one before it is missing while older ones are there.
    pub(super) fn newest(&self) -> Result<Option<u64>> {
        let note = self.folder.read_bare(NOTE)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
        match note {
            // With the next one, because one alone may be an old one that came back.
            Some(note) if self.contains(note)? && self.contains(note.saturating_add(1))? => self.newest_from(note),
            _ => self.newest_listed(),
        }
    }

    /// The newest epoch, `known` being there.
    fn newest_from(&self, known: u64) -> Result<Option<u64>> {
        let newest = last_that_holds(known, |offset| self.contains(known.saturating_add(offset)))?;
        for ahead in 2..=4 {
            if self.contains(newest.saturating_add(ahead))? {
                return self.newest_listed();
            }
        }
        Ok(Some(newest))
    }

    fn newest_listed(&self) -> Result<Option<u64>> {
        let numbers = self.numbers()?;
        match missing_below_newest(&numbers) {
            Some(missing) => Err(self.gap(missing)),
            None => Ok(numbers.last().copied()),
        }
    }

    /// All epochs, rising. Lists the folder: for tools.
    pub(super) fn numbers(&self) -> Result<Vec<u64>> {
        let entries = self.folder.list()?;
        let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| entry.name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn gap(&self, missing: u64) -> Error {
        Error::outside(format!("'{}' is missing while later epochs are there", self.place(missing)))
            .with_condition("STREAMING_CHECKPOINT_EPOCHS_MISSING")
            .hint("Restore it from a copy, or see what 'thalweg checkpoint repair' proposes for the checkpoint.")
    }

    /// Removes the files of epochs before `oldest`, oldest first, so that it can be cut off anywhere and goes on the next time.
    pub(super) fn remove_before(&self, oldest: u64) -> Result<()> {
        let Some(last) = oldest.checked_sub(1) else { return Ok(()) };
        if !self.contains(last)? {
            return Ok(());
        }
        let below =
            last_that_holds(0, |offset| last.checked_sub(offset).map_or(Ok(false), |epoch| self.contains(epoch)))?;
        (last - below..=last).try_for_each(|epoch| self.remove(epoch))
    }

    /// Removes an epoch's file; none is fine.
    pub(super) fn remove(&self, epoch: u64) -> Result<()> {
        self.folder.delete(&epoch.to_string())
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }
}

/// The epoch before the newest, if it is missing although there are older ones; `epochs` rise.
pub(super) fn missing_below_newest(epochs: &[u64]) -> Option<u64> {
    match epochs {
        [.., before, newest] if newest - before > 1 => Some(newest - 1),
        _ => None,
    }
}

/// `start` plus the largest offset for which `holds` is true, which is true for 0 and up to that offset. Asks a number of times
/// that grows with the logarithm of the offset.
fn last_that_holds(start: u64, holds: impl Fn(u64) -> Result<bool>) -> Result<u64> {
    let (mut known, mut step) = (0_u64, 1_u64);
    while holds(known.saturating_add(step))? {
        known += step;
        step = step.saturating_mul(2);
    }
    // True at `known`, false at `known + step`.
    while step > 1 {
        step /= 2;
        if holds(known + step)? {
            known += step;
        }
    }
    Ok(start + known)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn log(dir: &tempfile::TempDir) -> EpochLog {
        EpochLog::new(Folder::local(dir.path(), true))
    }

    #[test]
    fn the_last_is_found_with_few_questions() {
        for last in (0..70).chain([999, 1000, 1_000_000, 12_345_678]) {
            let asked = Cell::new(0);
            let holds = |offset| {
                asked.set(asked.get() + 1);
                Ok(offset <= last)
            };
            assert_eq!(last_that_holds(5, holds).unwrap(), last + 5);
            assert!(asked.get() <= 2 * (64 - u64::leading_zeros(last + 1)) + 2, "{last}: {}", asked.get());
        }
    }

    #[test]
    fn k15_removing_goes_on_where_it_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        (0..10).for_each(|epoch| log.create(epoch, "v1").unwrap());
        (0..3).for_each(|epoch| log.remove(epoch).unwrap());
        log.remove_before(8).unwrap();
        assert_eq!(log.numbers().unwrap(), [8, 9]);
        log.remove_before(8).unwrap();
        assert_eq!(log.newest().unwrap(), Some(9));
    }

    #[test]
    fn c05_a_gap_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        (0..5).for_each(|epoch| log.create(epoch, "v1").unwrap());
        log.remove(3).unwrap();
        let error = log.newest().unwrap_err();
        assert_eq!(error.condition(), Some("STREAMING_CHECKPOINT_EPOCHS_MISSING"));
        assert!(error.message().contains("/3'"), "{error}");
    }

    #[test]
    fn k15_old_files_that_a_loss_of_power_brought_back_hurt_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        (998..1003).for_each(|epoch| log.create(epoch, "v1").unwrap());
        (998..1100).for_each(|epoch| log.create(epoch + 5, "v1").unwrap());
        log.remove_before(1090).unwrap();
        log.folder.create("1000", b"v1").unwrap();
        assert_eq!(log.newest().unwrap(), Some(1104));
        log.remove_before(1100).unwrap();
        assert_eq!(log.numbers().unwrap(), [1000, 1100, 1101, 1102, 1103, 1104]);
    }

    #[test]
    fn c08_an_epoch_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        log.create(0, "ours").unwrap();
        let error = log.create(0, "theirs").unwrap_err();
        assert_eq!(error.condition(), Some("CONCURRENT_STREAM_LOG_UPDATE"));
        assert_eq!(log.read(0).unwrap().unwrap(), "ours");
    }

    #[test]
    fn c14_the_note_saves_the_listing() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        // A name that would be the newest if the folder were listed.
        std::fs::write(dir.path().join("99999999"), "").unwrap();
        (1995..2003).for_each(|epoch| log.create(epoch, "v1").unwrap());
        assert_eq!(log.newest().unwrap(), Some(2002));
    }
}
