//! Reads the files of a range of batches one after the other, or for ever.
//!
//! In: batches of the [`Tracker`]. Out: frames or rows, in the order of the files. A file is read up to the size it had when it was
//! listed: what is appended later is never seen. The place is exact to the record, so a continuous checkpoint is too.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::partitions::Appender;
use super::tracker::{Entry, Place, Tracker};
use crate::formats::compression::{Codec, Limits};
use crate::formats::frames::Splitter;
use crate::formats::{DecodeContext, Format, Frames, Framing, Part, Parts};
use crate::sources::pause::Pause;
use crate::sources::{Limit, Offset, Read, Reader};
use crate::{Error, Result, filepath};

/// Bytes read at once.
const BLOCK: usize = 128 << 10;
const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// What is needed to read any file of the source.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) format: &'static dyn Format,
    pub(super) framing: Framing,
    pub(super) context: DecodeContext,
    pub(super) appender: Appender,
    pub(super) limits: Limits,
    pub(super) ignore_missing: bool,
    pub(super) ignore_corrupt: bool,
}

/// The reader of a range.
pub(super) struct FileReader {
    recipe: Recipe,
    tracker: Arc<Mutex<Tracker>>,
    /// Where to stop; never without.
    end: Option<Place>,
    place: Place,
    /// Files of the batch at `place` that were not opened yet.
    queue: VecDeque<Entry>,
    open: Option<OpenFile>,
    poll: Duration,
    pause: Pause,
}

/// Locks the tracker; a thread that panicked left it whole.
pub(super) fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to do after looking for work.
enum Next {
    File(Entry),
    Wait,
    End,
}

impl FileReader {
    pub(super) fn new(
        recipe: Recipe,
        tracker: Arc<Mutex<Tracker>>,
        from: Place,
        end: Option<Place>,
    ) -> Result<FileReader> {
        let mut reader = FileReader {
            recipe,
            tracker,
            end,
            place: from,
            queue: VecDeque::new(),
            open: None,
            poll: SHORTEST_POLL,
            pause: Pause::default(),
        };
        if from.files > 0 || from.records > 0 {
            reader.load_batch()?;
        }
        Ok(reader)
    }

    /// Fills the queue with what is left of the batch at the place.
    fn load_batch(&mut self) -> Result<()> {
        let entries = lock(&self.tracker).batch(self.place.next_batch)?;
        let done = usize::try_from(self.place.files).unwrap_or(usize::MAX).min(entries.len());
        self.queue = entries[done..].iter().cloned().collect();
        Ok(())
    }

    fn next_file(&mut self) -> Result<Next> {
        loop {
            if self.end.is_some_and(|end| self.place >= end) {
                return Ok(Next::End);
            }
            if let Some(entry) = self.queue.pop_front() {
                return Ok(Next::File(entry));
            }
            let known = lock(&self.tracker).next() > self.place.next_batch;
            if !known && (self.end.is_some() || !lock(&self.tracker).advance(Limit::Options)?) {
                return Ok(Next::Wait);
            }
            self.load_batch()?;
        }
    }

    /// How many records of the open file lie before the end.
    fn records_to_end(&self) -> u64 {
        let last = |end: &Place| (end.next_batch, end.files) == (self.place.next_batch, self.place.files);
        self.end.filter(last).map_or(u64::MAX, |end| end.records.saturating_sub(self.place.records))
    }

    /// The file at the place has been read.
    fn close_file(&mut self) {
        self.open = None;
        self.place = match self.queue.is_empty() {
            true => Place { next_batch: self.place.next_batch + 1, ..Place::default() },
            false => Place { files: self.place.files + 1, records: 0, ..self.place },
        };
    }

    /// What an error in a file means.
    fn failed(&mut self, error: Error) -> Result<()> {
        if !self.recipe.ignore_corrupt {
            return Err(error);
        }
        tracing::warn!("skipped the rest of a corrupt file: {error}");
        self.close_file();
        Ok(())
    }

    fn open_next(&mut self, entry: &Entry) -> Result<()> {
        let path = filepath::from_uri(&entry.path);
        let from = self.place.records;
        let rows = from..from.saturating_add(self.records_to_end());
        match self.recipe.open(&path, entry.size, rows) {
            Ok(Some(file)) => self.open = Some(file),
            Ok(None) => self.close_file(),
            Err(error) => self.failed(error)?,
        }
        Ok(())
    }

    /// Sleeps a little longer each time nothing is found.
    fn wait(&mut self, wait: Duration) -> Read {
        self.pause.sleep(wait.min(self.poll));
        self.poll = (self.poll * 2).min(lock(&self.tracker).longest_poll());
        Read::Idle
    }
}

impl Reader for FileReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        loop {
            let most = self.records_to_end();
            if let Some(file) = self.open.as_mut().filter(|_| most > 0) {
                match file.next(&mut self.recipe.appender, most) {
                    Ok(Some((read, records))) => {
                        self.place.records += records;
                        return Ok(read);
                    }
                    Ok(None) => self.close_file(),
                    Err(error) => self.failed(error)?,
                }
                continue;
            }
            match self.next_file()? {
                Next::File(entry) => {
                    self.poll = SHORTEST_POLL;
                    self.open_next(&entry)?;
                }
                Next::Wait => return Ok(self.wait(wait)),
                Next::End => return Ok(Read::End),
            }
        }
    }

    fn offset(&self) -> Offset {
        self.place.write()
    }

    fn interrupt(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        Some(self.pause.interrupter())
    }
}

impl Recipe {
    /// Opens a file to read the records with these numbers; `None` if it is missing and that is fine.
    fn open(&self, path: &Path, size: Option<u64>, records: Range<u64>) -> Result<Option<OpenFile>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == ErrorKind::NotFound && self.ignore_missing => {
                tracing::warn!(path = %path.display(), "skipped a file that is gone");
                return Ok(None);
            }
            Err(cause) => return Err(unreadable(path, cause)),
        };
        let place: Arc<str> = path.display().to_string().into();
        let content = match self.framing {
            Framing::Columnar => Content::Rows(self.format.open_file(path, self.context.clone(), records.clone())?),
            _ => {
                let bytes = file.take(size.unwrap_or(u64::MAX));
                let plain = Codec::of_path(path).reader(bytes, self.limits, &place)?;
                Content::Records(plain, Box::new(Splitter::new(self.format, &self.context.options, place.clone())?))
            }
        };
        Ok(Some(OpenFile { path: path.to_owned(), place, content, skip: records.start, ended: false }))
    }
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    let missing = cause.kind() == ErrorKind::NotFound;
    let error = Error::outside(format!("cannot read a file: {cause}")).caused_by(cause).at(path.display().to_string());
    match missing {
        true => error
            .with_condition("FAILED_READ_FILE.FILE_NOT_EXIST")
            .hint("It was deleted or moved after it was listed; set ignoreMissingFiles to skip such files."),
        false => error.with_condition("FAILED_READ_FILE.NO_HINT"),
    }
}

/// A file being read.
struct OpenFile {
    path: PathBuf,
    place: Arc<str>,
    content: Content,
    /// Records to skip.
    skip: u64,
    ended: bool,
}

enum Content {
    Records(Box<dyn std::io::Read + Send>, Box<Splitter>),
    /// Just those that are to be read.
    Rows(Parts),
}

impl OpenFile {
    /// The next records, at most `most` that a splitter cuts out, and how many they are; `None` at the end.
    fn next(&mut self, appender: &mut Appender, most: u64) -> Result<Option<(Read, u64)>> {
        if let Content::Rows(parts) = &mut self.content {
            let Some(part) = parts.next() else { return Ok(None) };
            let Part { rows, reach } = part.map_err(|error| error.at(self.place.to_string()))?;
            let rows = appender.append(rows, &self.place)?;
            return Ok(Some((Read::Part(Part { rows, reach }), reach)));
        }
        loop {
            let Some(mut frames) = self.next_frames()? else { return Ok(None) };
            frames.spans.truncate(usize::try_from(most).unwrap_or(usize::MAX));
            if !frames.is_empty() {
                let count = frames.len() as u64;
                return Ok(Some((Read::Frames(frames), count)));
            }
        }
    }

    /// Frames of the next block, perhaps none; `None` at the end.
    fn next_frames(&mut self) -> Result<Option<Frames>> {
        if self.ended {
            return Ok(None);
        }
        let Content::Records(bytes, splitter) = &mut self.content else { return Ok(None) };
        let read = splitter.read(bytes, BLOCK).map_err(|cause| unreadable(&self.path, cause))?;
        self.ended = read.is_none();
        let mut frames = read.unwrap_or_else(|| splitter.finish());
        let skipped = self.skip.min(frames.len() as u64);
        if skipped > 0 {
            drop_first(&mut frames, skipped as usize);
            self.skip -= skipped;
        }
        Ok(Some(frames))
    }
}

/// Removes the first records.
fn drop_first(frames: &mut Frames, count: usize) {
    frames.spans.drain(..count);
    frames.first_line += count as u64;
    frames.cut.retain(|record| *record as usize >= count);
    frames.cut.iter_mut().for_each(|record| *record -= count as u32);
}
