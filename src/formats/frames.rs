//! Cutting a byte stream into records: the one splitter of the file source and the socket source.
//!
//! In: blocks of bytes, cut anywhere. Out: [`Frames`] with the records that are complete. The records depend only on the
//! bytes, never on where the blocks were cut. A record that grows beyond the limit is cut off and marked, so memory stays
//! bounded by one block plus one record. Nothing waits: a record is given out with the block that holds its line end.

use std::io::{self, Read};
use std::sync::Arc;

use memchr::memmem::Finder;

use super::columns::MAX_CHUNK_BYTES;
use super::encoding::{Encoding, Transcoder};
use super::{Format, Frames, Framing};
use crate::options::{OptionSpec, Options, option};
use crate::{Error, Result};

/// Largest record unless `maxRecordBytes` says otherwise: 16 MiB.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// Options that cutting records understands, for every text-like format.
pub const OPTIONS: &[OptionSpec] = &[
    option("lineSep", "", "what ends a record; by default \\n, \\r\\n or \\r"),
    option("encoding", "UTF-8", "character encoding of the files"),
    option("charset", "UTF-8", "the same as encoding"),
    option("maxRecordBytes", "16777216", "longer records count as malformed"),
];

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What ends a record.
#[derive(Debug)]
enum Separator {
    /// `\n`, `\r\n` or `\r`.
    AnyLineEnd,
    Exactly(Box<Finder<'static>>),
    /// Only the end of the stream.
    Never,
}

/// Cuts one byte stream into records.
///
/// # Order of calls
/// [`Splitter::push`] or [`Splitter::read`] for each block, then [`Splitter::finish`] once.
#[derive(Debug)]
pub struct Splitter {
    separator: Separator,
    transcoder: Transcoder,
    max_record: usize,
    place: Arc<str>,
    next_line: u64,
    /// The record in the making; its first `scanned` bytes hold no separator.
    pending: Vec<u8>,
    scanned: usize,
    /// The record in the making is longer than allowed; its rest is being dropped.
    cutting: bool,
    /// The start of the stream was seen, so a byte order mark can come no more.
    started: bool,
    /// The last record ended with `\r`, so a `\n` that follows belongs to it.
    after_return: bool,
    /// Why reading broke off behind the last block.
    failed: Option<io::Error>,
}

impl Splitter {
    /// A splitter for files of this format; `place` names the file or peer in error messages.
    ///
    /// # Errors
    /// Options with wrong values; a columnar format.
    pub fn new(format: &dyn Format, options: &Options, place: impl Into<Arc<str>>) -> Result<Splitter> {
        let (separator, default_limit) = match format.framing(options)? {
            Framing::Lines => (line_separator(options)?, MAX_RECORD_BYTES),
            Framing::Whole => (Separator::Never, MAX_CHUNK_BYTES / 2),
            Framing::Columnar => {
                return Err(Error::internal(format!("format '{}' has no records to cut", format.name())));
            }
        };
        let max_record = options.number("maxRecordBytes")?.unwrap_or(default_limit).clamp(1, MAX_CHUNK_BYTES / 2);
        Ok(Splitter::with(separator, Encoding::of(options)?, max_record, place.into()))
    }

    /// A splitter of plain UTF-8 lines with the default limit.
    pub fn lines(place: impl Into<Arc<str>>) -> Splitter {
        Splitter::with(Separator::AnyLineEnd, Encoding::Utf8, MAX_RECORD_BYTES, place.into())
    }

    fn with(separator: Separator, encoding: Encoding, max_record: usize, place: Arc<str>) -> Splitter {
        Splitter {
            separator,
            transcoder: Transcoder::new(encoding),
            max_record,
            place,
            next_line: 1,
            pending: Vec::new(),
            scanned: 0,
            cutting: false,
            started: false,
            after_return: false,
            failed: None,
        }
    }

    /// Takes a block (at most a few MiB) and returns the records that it completes.
    pub fn push(&mut self, block: &[u8]) -> Frames {
        let mut bytes = std::mem::take(&mut self.pending);
        self.transcoder.push(block, &mut bytes);
        self.cut(bytes)
    }

    /// Reads the next block of at most so many bytes and returns the records that it completes; `None` at the end of the input. UTF-8 is read to
    /// where it stays.
    ///
    /// # Errors
    /// The input's, once what came before has been given out.
    pub fn read(&mut self, input: &mut dyn Read, most: usize) -> io::Result<Option<Frames>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let plain = self.transcoder.passes();
        let mut bytes = if plain { std::mem::take(&mut self.pending) } else { Vec::new() };
        let before = bytes.len();
        bytes.reserve_exact(most);
        let failed = input.take(most as u64).read_to_end(&mut bytes).err();
        let found = bytes.len() > before;
        let frames = found.then(|| if plain { self.cut(std::mem::take(&mut bytes)) } else { self.push(&bytes) });
        if plain && !found {
            self.pending = bytes;
        }
        match failed {
            Some(error) if !found => Err(error),
            failed => {
                self.failed = failed;
                Ok(frames)
            }
        }
    }

    /// Ends the stream: what stands behind the last line end is a record too. An empty stream has none, except that a
    /// file read as a whole always is one record.
    pub fn finish(&mut self) -> Frames {
        let mut bytes = std::mem::take(&mut self.pending);
        self.transcoder.finish(&mut bytes);
        let mut frames = self.cut(bytes);
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() || matches!(self.separator, Separator::Never) {
            let start = frames.bytes.len();
            frames.bytes.extend_from_slice(&rest);
            self.add(&mut frames, start, start + rest.len());
        }
        self.scanned = 0;
        frames
    }

    /// Splits `bytes` at every separator; what remains becomes the record in the making.
    fn cut(&mut self, mut bytes: Vec<u8>) -> Frames {
        self.strip_byte_order_mark(&mut bytes);
        let mut frames = Frames { place: self.place.clone(), first_line: self.next_line, ..Frames::default() };
        let mut start = self.skip_line_feed(&bytes);
        let mut from = self.scanned.max(start);
        while let Some((end, next)) = self.next_separator(&bytes, from) {
            self.add(&mut frames, start, end);
            (start, from) = (next, next);
        }
        self.pending = if start == 0 { std::mem::take(&mut bytes) } else { bytes.split_off(start) };
        frames.bytes = bytes;
        self.bound_pending();
        frames
    }

    fn strip_byte_order_mark(&mut self, bytes: &mut Vec<u8>) {
        let undecided = bytes.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(bytes);
        if self.started || undecided {
            return;
        }
        self.started = true;
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
            self.scanned = 0;
        }
    }

    fn skip_line_feed(&mut self, bytes: &[u8]) -> usize {
        let skip = self.after_return && bytes.first() == Some(&b'\n');
        self.after_return &= bytes.is_empty();
        usize::from(skip)
    }

    /// The next separator at or after `from`: where it starts and where the next record starts.
    fn next_separator(&mut self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        match &self.separator {
            Separator::Never => None,
            Separator::Exactly(finder) => {
                let end = from + finder.find(bytes.get(from..)?)?;
                Some((end, end + finder.needle().len()))
            }
            Separator::AnyLineEnd => {
                let end = from + memchr::memchr2(b'\n', b'\r', bytes.get(from..)?)?;
                let pair = bytes.get(end..end + 2) == Some(b"\r\n");
                self.after_return = end + 1 == bytes.len() && bytes.get(end) == Some(&b'\r');
                Some((end, end + 1 + usize::from(pair)))
            }
        }
    }

    /// Adds a record. Positions fit 32 bits because blocks and records are bounded.
    fn add(&mut self, frames: &mut Frames, start: usize, end: usize) {
        if self.cutting || end - start > self.max_record {
            frames.cut.push(frames.spans.len() as u32);
        }
        frames.spans.push((start as u32, end.min(start + self.max_record) as u32));
        self.next_line += 1;
        self.cutting = false;
    }

    /// Drops what an over-long record in the making has beyond the limit, except the bytes that may begin a separator.
    fn bound_pending(&mut self) {
        let tail = self.separator.length() - 1;
        if self.pending.len() > self.max_record + tail {
            self.pending.drain(self.max_record..self.pending.len() - tail);
            self.pending.shrink_to(self.max_record + tail);
            self.cutting = true;
        }
        self.scanned = self.pending.len().saturating_sub(tail);
    }
}

impl Separator {
    fn length(&self) -> usize {
        match self {
            Separator::Exactly(finder) => finder.needle().len(),
            Separator::AnyLineEnd | Separator::Never => 1,
        }
    }
}

fn line_separator(options: &Options) -> Result<Separator> {
    match options.get("lineSep") {
        None => Ok(Separator::AnyLineEnd),
        Some("") => Err(Error::query("INVALID_PARAMETER_VALUE", "option 'lineSep' cannot be an empty string")),
        Some(text) => Ok(Separator::Exactly(Box::new(Finder::new(text.as_bytes()).into_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn separator(text: &str) -> Separator {
        let mut options = Options::default();
        if !text.is_empty() {
            options.set("lineSep", text);
        }
        line_separator(&options).unwrap()
    }

    /// The records (and whether each was cut) of blocks under a separator and a limit.
    fn records(lines: &str, limit: usize, blocks: &[&[u8]]) -> Vec<(String, bool)> {
        let separator = if lines == "never" { Separator::Never } else { separator(lines) };
        let mut splitter = Splitter::with(separator, Encoding::Utf8, limit, "test".into());
        let mut found = Vec::new();
        let mut line = 1;
        let mut all: Vec<Frames> = blocks.iter().map(|block| splitter.push(block)).collect();
        all.push(splitter.finish());
        for frames in all {
            assert_eq!(frames.first_line, line);
            line += frames.len() as u64;
            for i in 0..frames.len() {
                found.push((String::from_utf8_lossy(frames.record(i)).into_owned(), frames.is_cut(i)));
            }
        }
        found
    }

    fn texts(lines: &str, blocks: &[&[u8]]) -> Vec<String> {
        records(lines, 1000, blocks).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn d05_all_line_ends_count() {
        assert_eq!(texts("", &[b"a\nb\r\nc\rd"]), ["a", "b", "c", "d"]);
        assert_eq!(texts("", &[b"a\n\n\r\r\n"]), ["a", "", "", ""]);
        assert_eq!(texts("", &[b"a\r", b"\nb\r", b"", b"\n"]), ["a", "b"]);
        assert_eq!(texts("||", &[b"a|b|", b"|c\n||"]), ["a|b", "c\n"]);
    }

    #[test]
    fn d04_a_byte_order_mark_is_skipped() {
        assert_eq!(texts("", &[b"\xef", b"\xbb", b"\xbfa\nb"]), ["a", "b"]);
        assert_eq!(texts("", &[b"\xef\xbb\xbf"]), Vec::<String>::new());
        assert_eq!(texts("", &[b"\xef\xbb"]), ["\u{fffd}"]);
    }

    #[test]
    fn d15_an_empty_file_has_no_lines_but_is_one_whole() {
        assert_eq!(texts("", &[]), Vec::<String>::new());
        assert_eq!(texts("never", &[]), [""]);
        assert_eq!(texts("never", &[b"a\n", b"b\n"]), ["a\nb\n"]);
    }

    #[test]
    fn d03_an_endless_line_is_cut_and_memory_stays_bounded() {
        let mut splitter = Splitter::with(Separator::AnyLineEnd, Encoding::Utf8, 10, "test".into());
        for _ in 0..1000 {
            assert!(splitter.push(&[b'x'; 100]).is_empty());
            assert!(splitter.pending.capacity() <= 220);
        }
        let frames = splitter.push(b"\nshort\n");
        assert_eq!((frames.record(0), frames.is_cut(0)), (&b"xxxxxxxxxx"[..], true));
        assert_eq!((frames.record(1), frames.is_cut(1)), (&b"short"[..], false));
    }

    proptest! {
        #[test]
        fn any_blocks_give_the_same_records(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'|'), Just(0xef), Just(0xbb), Just(0xbf), any::<u8>()], 0..80),
            cuts in proptest::collection::vec(0usize..80, 0..6),
            lines in prop_oneof![Just(""), Just("||"), Just("|"), Just("never")],
            limit in 1usize..20,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let blocks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(records(lines, limit, &blocks), records(lines, limit, &[&bytes]));
        }
    }
}
