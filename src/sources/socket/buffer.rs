//! Lines that arrived but were not committed yet: what makes micro-batches of a socket.
//!
//! In: the connection, read by the pump thread. Out: lines by number, to readers. Bounded: while [`MOST_BYTES`] are kept the
//! pump does not read, so the peer is slowed down by TCP. Line numbers rise without gaps.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use super::{BLOCK, RowMaker, is_timeout, write_offset};
use crate::clock::SharedClock;
use crate::formats::columns::Column;
use crate::formats::frames::Splitter;
use crate::formats::text::texts;
use crate::sources::{Offset, Read, Reader, Wake};
use crate::{Error, Result};

const MOST_BYTES: usize = 64 << 20;

/// Lines that arrived together.
struct Arrived {
    /// Number of the first line.
    first: u64,
    lines: ArrayRef,
    /// Microseconds since 1970.
    at: i64,
}

struct Lines {
    arrived: VecDeque<Arrived>,
    /// Lines that came so far.
    count: u64,
    bytes: usize,
    /// Set once nothing more will come: how it ended.
    ended: Option<Result<()>>,
}

/// The lines shared by the pump and the readers.
pub(super) struct Buffer {
    lines: Mutex<Lines>,
    changed: Condvar,
}

impl Buffer {
    /// An empty buffer; `count` lines came in earlier runs.
    pub(super) fn new(count: u64) -> Buffer {
        let lines = Lines { arrived: VecDeque::new(), count, bytes: 0, ended: None };
        Buffer { lines: Mutex::new(lines), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pump: reads until the peer closes or the buffer is ended.
    pub(super) fn fill(
        &self,
        mut stream: TcpStream,
        mut splitter: Splitter,
        clock: SharedClock,
        wake: &Wake,
    ) -> Result<()> {
        let (mut block, mut column) = (vec![0; BLOCK], Column::new(&DataType::Utf8)?);
        while self.wait_for_room() {
            let frames = match stream.read(&mut block) {
                Ok(0) => break,
                Ok(count) => splitter.push(&block[..count]),
                Err(error) if is_timeout(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            if !frames.is_empty() {
                self.add(texts(&frames, &mut column)?, clock.wall_micros());
                wake();
            }
        }
        let rest = splitter.finish();
        if !rest.is_empty() {
            self.add(texts(&rest, &mut column)?, clock.wall_micros());
        }
        Ok(())
    }

    /// False if the buffer was ended.
    fn wait_for_room(&self) -> bool {
        let full = |lines: &mut Lines| lines.bytes >= MOST_BYTES && lines.ended.is_none();
        let lines = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        lines.ended.is_none()
    }

    fn add(&self, texts: ArrayRef, at: i64) {
        let mut lines = self.lock();
        let first = lines.count;
        lines.count += texts.len() as u64;
        lines.bytes += texts.get_array_memory_size();
        lines.arrived.push_back(Arrived { first, lines: texts, at });
        drop(lines);
        self.changed.notify_all();
    }

    /// Nothing more will come; the first call decides how it ended.
    pub(super) fn end(&self, how: Result<()>) {
        self.lock().ended.get_or_insert(how);
        self.changed.notify_all();
    }

    /// Lines that came so far.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn count(&self) -> Result<u64> {
        let lines = self.lock();
        match &lines.ended {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(lines.count),
        }
    }

    /// Forgets lines before this number.
    pub(super) fn forget(&self, before: u64) {
        let mut lines = self.lock();
        while lines.arrived.front().is_some_and(|arrived| arrived.first + arrived.lines.len() as u64 <= before) {
            let gone = lines.arrived.pop_front().map_or(0, |arrived| arrived.lines.get_array_memory_size());
            lines.bytes -= gone;
        }
        drop(lines);
        self.changed.notify_all();
    }
}

impl Lines {
    /// Lines from number `from` to before `to` that arrived together, and when.
    fn piece(&self, from: u64, to: u64) -> Option<(u64, ArrayRef, i64)> {
        let index = self.arrived.partition_point(|arrived| arrived.first + arrived.lines.len() as u64 <= from);
        let arrived = self.arrived.get(index)?;
        let from = from.max(arrived.first);
        let end = to.min(arrived.first + arrived.lines.len() as u64);
        let count = end.checked_sub(from).filter(|count| *count > 0)?;
        Some((end, arrived.lines.slice((from - arrived.first) as usize, count as usize), arrived.at))
    }
}

/// Reads a range of lines, or all that come.
pub(super) struct BufferReader {
    buffer: Arc<Buffer>,
    rows: Arc<RowMaker>,
    next: u64,
    to: Option<u64>,
}

impl BufferReader {
    pub(super) fn new(buffer: Arc<Buffer>, rows: Arc<RowMaker>, next: u64, to: Option<u64>) -> BufferReader {
        BufferReader { buffer, rows, next, to }
    }

    fn ended(&self, lines: &Lines) -> Result<Read> {
        match (&self.to, &lines.ended) {
            (Some(to), _) => {
                tracing::warn!(from = self.next, to, "lines of a socket that an earlier run had planned are lost");
                Ok(Read::End)
            }
            (None, Some(Err(error))) => Err(Error::clone(error)),
            (None, Some(Ok(()))) => Ok(Read::End),
            (None, None) => Ok(Read::Idle),
        }
    }
}

impl Reader for BufferReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        let end = self.to.unwrap_or(u64::MAX);
        if self.next >= end {
            return Ok(Read::End);
        }
        let nothing = |lines: &mut Lines| self.to.is_none() && lines.count <= self.next && lines.ended.is_none();
        let waited = self.buffer.changed.wait_timeout_while(self.buffer.lock(), wait, nothing);
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some((next, texts, at)) = lines.piece(self.next, end) else { return self.ended(&lines) };
        drop(lines);
        self.next = next;
        Ok(Read::Rows(self.rows.rows(&texts, at)?))
    }

    fn offset(&self) -> Offset {
        write_offset(self.next)
    }
}
