//! `socket`: lines of text from a TCP server, e.g. `nc -lk 9999`. For trying things out; what was read can't be read again.
//!
//! In: bytes of one connection. Out: rows `(value STRING)`, one a line, with `includeTimestamp` also the instant it arrived.
//! The connection is made when the query starts: a refusal is an error then. When the peer closes, the rows end.
//!
//! ```text
//!  continuous:   TcpStream ──► DirectReader: whatever lines are complete, the moment their bytes are there
//!  micro-batch:  TcpStream ──► pump thread ──► Buffer (bounded, kept until commit) ──► BufferReader
//! ```
//!
//! Offsets are Spark's: the number of the last line, from 0; `-1` before the first.
//!
//! # Restart
//! Lines of a batch that was not committed are lost with the process; numbering goes on where the checkpoint stands.

mod buffer;

use std::io::{ErrorKind, Read as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use self::buffer::{Buffer, BufferReader};
use super::{Limit, Offset, Read, Reader, Source, SourceContext, SourceProvider, SourceSpec, Wake, wrong_offset};
use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::formats::columns::Column;
use crate::formats::frames::Splitter;
use crate::formats::text::texts;
use crate::options::{OptionSpec, option};
use crate::types::{field, timestamp};
use crate::{Error, Result};

const OPTIONS: &[OptionSpec] = &[
    option("host", "", "the server to connect to; required"),
    option("port", "", "its port; required"),
    option("includeTimestamp", "false", "true: a second column 'timestamp' says when the line arrived"),
    option("numPartitions", "1", "a hint; lines come in order through one partition"),
];

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that vanished without a word is found out after a few of these.
const KEEPALIVE: Duration = Duration::from_secs(20);
const BLOCK: usize = 64 << 10;

/// The provider of `format("socket")`.
#[derive(Debug)]
pub struct Socket;

impl SourceProvider for Socket {
    fn names(&self) -> &'static [&'static str] {
        &["socket"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS]
    }

    fn schema(&self, spec: &SourceSpec, _conf: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        super::refuse_schema(spec)?;
        address(spec)?;
        let mut fields = vec![field("value", DataType::Utf8)];
        if spec.options.flag("includeTimestamp", false)? {
            fields.push(field("timestamp", timestamp()));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn connect(&self, spec: &SourceSpec, schema: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let (host, port) = address(spec)?;
        let stream = connect(&host, port)?;
        let rows = RowMaker { schema: Arc::new(schema.project(&context.projection)?), projection: context.projection };
        Ok(Box::new(SocketSource {
            peer: format!("{host}:{port}"),
            input: Input::Idle(stream),
            rows: Arc::new(rows),
            clock: context.clock,
            wake: context.wake,
            goal: None,
        }))
    }

    fn batch(&self) -> bool {
        false
    }
}

fn address(spec: &SourceSpec) -> Result<(String, u16)> {
    let host = spec.options.require("host", "source 'socket'")?.to_owned();
    spec.options.require("port", "source 'socket'")?;
    let port = spec.options.number("port")?.ok_or_else(|| spec.options.wrong("port", "a port number"))?;
    Ok((host, port))
}

/// Connects to the first address of the host that answers.
fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let failed = |cause: std::io::Error| {
        Error::outside(format!("cannot connect to {host}:{port}: {cause}"))
            .hint("Start the server first, for example with 'nc -lk PORT'.")
            .caused_by(cause)
    };
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                prepare(&stream).map_err(failed)?;
                return Ok(stream);
            }
            Err(cause) => last = cause,
        }
    }
    Err(failed(last))
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Makes rows of lines.
struct RowMaker {
    schema: SchemaRef,
    projection: Vec<usize>,
}

impl RowMaker {
    fn rows(&self, lines: &ArrayRef, arrived: i64) -> Result<RecordBatch> {
        let count = arrow::array::Array::len(lines);
        let column = |index: &usize| -> ArrayRef {
            match index {
                0 => lines.clone(),
                _ => Arc::new(TimestampMicrosecondArray::from_value(arrived, count).with_timezone("UTC")),
            }
        };
        let columns = self.projection.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// The number of lines up to an offset.
fn lines_before(offset: Option<&Offset>) -> Result<u64> {
    let Some(offset) = offset else { return Ok(0) };
    if offset.as_i64() == Some(-1) {
        return Ok(0);
    }
    super::whole_number(offset)?.checked_add(1).ok_or_else(|| wrong_offset(offset))
}

fn write_offset(lines: u64) -> Offset {
    Offset::from(lines.cast_signed() - 1)
}

/// Who reads the connection.
enum Input {
    /// Nobody yet.
    Idle(TcpStream),
    /// The pump thread.
    Pumped(TcpStream, Arc<Buffer>),
    /// A continuous reader.
    Direct,
}

struct SocketSource {
    peer: String,
    input: Input,
    rows: Arc<RowMaker>,
    clock: SharedClock,
    wake: Wake,
    /// Where reading ends (trigger available now).
    goal: Option<u64>,
}

impl SocketSource {
    /// The buffer; its numbering starts after `lines` if it is new.
    fn buffer(&mut self, lines: u64) -> Result<Arc<Buffer>> {
        match std::mem::replace(&mut self.input, Input::Direct) {
            Input::Idle(stream) => {
                let buffer = Arc::new(Buffer::new(lines));
                self.start_pump(stream.try_clone()?, Arc::clone(&buffer))?;
                self.input = Input::Pumped(stream, Arc::clone(&buffer));
                Ok(buffer)
            }
            Input::Pumped(stream, buffer) => {
                self.input = Input::Pumped(stream, Arc::clone(&buffer));
                Ok(buffer)
            }
            Input::Direct => Err(Error::internal("a continuous reader has the connection")),
        }
    }

    fn start_pump(&self, stream: TcpStream, buffer: Arc<Buffer>) -> Result<()> {
        let (clock, wake) = (Arc::clone(&self.clock), Arc::clone(&self.wake));
        let splitter = Splitter::lines(self.place());
        let pump = move || {
            let ended = buffer.fill(stream, splitter, clock, &wake);
            buffer.end(ended);
            wake();
        };
        let name = format!("socket-{}", self.peer);
        std::thread::Builder::new().name(name).spawn(pump).map(drop).map_err(Error::from)
    }

    fn place(&self) -> String {
        format!("socket {}", self.peer)
    }
}

impl Source for SocketSource {
    fn description(&self) -> String {
        let (host, port) = self.peer.rsplit_once(':').unwrap_or((&self.peer, ""));
        format!("TextSocketV2[host: {host}, port: {port}]")
    }

    /// As in Spark, the first batch comes at once, whether or not there are lines.
    fn latest(&mut self, from: Option<&Offset>, _limit: Limit) -> Result<Option<Offset>> {
        let lines = lines_before(from)?;
        let end = self.buffer(lines)?.count()?;
        let end = self.goal.map_or(end, |goal| goal.min(end));
        Ok((from.is_none() || end > lines).then(|| write_offset(end)))
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let next = lines_before(from)?;
        let to = to.map(|to| lines_before(Some(to))).transpose()?;
        if let (None, Input::Idle(stream)) = (to, &self.input) {
            let stream = stream.try_clone()?;
            self.input = Input::Direct;
            return Ok(vec![Box::new(DirectReader::new(self, stream, next)?)]);
        }
        let buffer = self.buffer(to.unwrap_or(next))?;
        Ok(vec![Box::new(BufferReader::new(buffer, Arc::clone(&self.rows), next, to))])
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn freeze(&mut self) -> Result<()> {
        self.goal = Some(self.buffer(0)?.count()?);
        Ok(())
    }

    fn commit(&mut self, offset: &Offset) -> Result<()> {
        if let Input::Pumped(_, buffer) = &self.input {
            buffer.forget(lines_before(Some(offset))?);
        }
        Ok(())
    }
}

impl Drop for SocketSource {
    fn drop(&mut self) {
        if let Input::Pumped(stream, buffer) = &self.input {
            buffer.end(Ok(()));
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

/// Reads the connection itself: no thread and no queue between the bytes and the rows.
struct DirectReader {
    stream: TcpStream,
    splitter: Splitter,
    block: Vec<u8>,
    texts: Column,
    rows: Arc<RowMaker>,
    clock: SharedClock,
    lines: u64,
    /// How long a read waits.
    timeout: Option<Duration>,
    ended: bool,
    /// There were bytes when it last looked.
    behind: bool,
    place: String,
}

impl DirectReader {
    fn new(source: &SocketSource, stream: TcpStream, lines: u64) -> Result<DirectReader> {
        Ok(DirectReader {
            stream,
            splitter: Splitter::lines(source.place()),
            block: vec![0; BLOCK],
            texts: Column::new(&DataType::Utf8)?,
            rows: Arc::clone(&source.rows),
            clock: Arc::clone(&source.clock),
            lines,
            timeout: None,
            ended: false,
            behind: false,
            place: source.place(),
        })
    }

    /// Bytes read; `None` if nothing came within the wait.
    fn receive(&mut self, wait: Duration) -> Result<Option<usize>> {
        set_wait(&self.stream, &mut self.timeout, wait)?;
        match self.stream.read(&mut self.block) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(Error::from(error).at(self.place.clone())),
        }
    }
}

/// How long a read of this connection may wait from now on, if that is not so already: `timeout` is what it is and becomes.
fn set_wait(stream: &TcpStream, timeout: &mut Option<Duration>, wait: Duration) -> std::io::Result<()> {
    if *timeout == Some(wait) {
        return Ok(());
    }
    stream.set_nonblocking(wait.is_zero())?;
    if !wait.is_zero() {
        stream.set_read_timeout(Some(wait))?;
    }
    *timeout = Some(wait);
    Ok(())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Reader for DirectReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        if self.ended {
            return Ok(Read::End);
        }
        let received = self.receive(wait)?;
        self.behind = received.is_some_and(|count| count > 0);
        let frames = match received {
            None => return Ok(Read::Idle),
            Some(0) => {
                self.ended = true;
                self.splitter.finish()
            }
            Some(count) => self.splitter.push(&self.block[..count]),
        };
        if frames.is_empty() {
            return Ok(if self.ended { Read::End } else { Read::Idle });
        }
        self.lines += frames.len() as u64;
        Ok(Read::Rows(self.rows.rows(&texts(&frames, &mut self.texts)?, self.clock.wall_micros())?))
    }

    fn is_light(&self) -> bool {
        true
    }

    /// Of a long line only the beginning may have come.
    fn behind(&self) -> bool {
        self.behind
    }

    fn offset(&self) -> Offset {
        write_offset(self.lines)
    }
}

#[cfg(test)]
mod tests;
