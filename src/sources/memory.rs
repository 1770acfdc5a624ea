//! `memory`: rows that the program itself pushes, from any thread.
//!
//! In: batches (or serde structs) pushed into a [`MemoryStream`]. Out: the same rows, partition by partition. The stream is
//! bounded: a push waits (blocking or async) while too many rows are kept. Rows are kept until every query that reads them
//! has committed them, so a query can be stopped and started again within the process; they don't survive the process.
//! An offset is the number of rows handed over per partition, e.g. `{"0":17}`.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use serde::Serialize;

use super::{Limit, Offset, Read, Reader, Source, SourceContext, SourceProvider, SourceSpec, Wake, wrong_offset};
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::OptionSpec;
use crate::{Error, Result};

/// Rows kept per partition before a push waits, unless the stream is built with another number.
pub const CAPACITY: u64 = 1 << 20;
const MAX_ROWS: usize = thalweg_operators::chunk::MAX_ROWS;

/// A stream of rows that the program pushes and queries read. Clones are the same stream.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::{array::{Int64Array, RecordBatch}, datatypes::{DataType, Field, Schema}};
/// let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
/// let stream = thalweg::sources::memory::MemoryStream::new(schema.clone());
/// stream.push(RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap()).unwrap();
/// stream.close(); // queries that read it finish
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStream(Arc<Shared>);

/// How a [`MemoryStream`] is built.
#[derive(Debug, Clone)]
pub struct MemoryStreamBuilder {
    schema: SchemaRef,
    partitions: usize,
    capacity: u64,
    replay: bool,
}

struct Shared {
    schema: SchemaRef,
    capacity: u64,
    replay: bool,
    partitions: Vec<Partition>,
    connections: Mutex<HashMap<u64, Connection>>,
    next_connection: AtomicU64,
}

/// A query that reads the stream.
struct Connection {
    wake: Weak<dyn Fn() + Send + Sync>,
    committed: Vec<u64>,
}

#[derive(Default)]
struct Partition {
    rows: Mutex<Rows>,
    readable: Condvar,
    writable: Condvar,
    room: tokio::sync::Notify,
}

#[derive(Default)]
struct Rows {
    /// Batches with the number of their first row; numbers rise without gaps.
    batches: VecDeque<(u64, RecordBatch)>,
    /// Rows pushed so far.
    end: u64,
    closed: bool,
}

impl MemoryStreamBuilder {
    /// How many partitions the stream has (1 unless said); each keeps its own order and watermark.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// How many rows a partition keeps before a push waits ([`CAPACITY`] unless said).
    pub fn capacity(mut self, rows: u64) -> Self {
        self.capacity = rows.max(1);
        self
    }

    /// False: rows are forgotten when they were handed over instead of when they were committed. Then the capacity bounds
    /// what was not read yet, and a restarted query goes on with what is pushed next.
    pub fn replay(mut self, replay: bool) -> Self {
        self.replay = replay;
        self
    }

    /// The stream.
    pub fn build(self) -> MemoryStream {
        MemoryStream(Arc::new(Shared {
            schema: self.schema,
            capacity: self.capacity,
            replay: self.replay,
            partitions: (0..self.partitions).map(|_| Partition::default()).collect(),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
        }))
    }
}

impl MemoryStream {
    /// A stream of one partition.
    pub fn new(schema: SchemaRef) -> Self {
        Self::builder(schema).build()
    }

    /// A stream with other settings.
    pub fn builder(schema: SchemaRef) -> MemoryStreamBuilder {
        MemoryStreamBuilder { schema, partitions: 1, capacity: CAPACITY, replay: true }
    }

    /// What `read_stream` needs to read this stream.
    pub fn spec(&self) -> SourceSpec {
        SourceSpec {
            format: "memory".into(),
            streaming: true,
            handle: Some(Arc::new(self.clone())),
            ..SourceSpec::default()
        }
    }

    /// The columns of its rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    /// Adds rows to partition 0; waits while it is full.
    ///
    /// # Errors
    /// Rows of another schema; a closed stream.
    pub fn push(&self, rows: RecordBatch) -> Result<()> {
        self.push_to(0, rows)
    }

    /// Adds rows to a partition; waits while it is full.
    ///
    /// # Errors
    /// Rows of another schema; a closed stream; no such partition.
    pub fn push_to(&self, partition: usize, rows: RecordBatch) -> Result<()> {
        let target = self.partition(partition)?;
        for piece in self.pieces(rows)? {
            let rows = target.lock();
            let full = |rows: &mut Rows| !rows.closed && rows.kept() >= self.0.capacity;
            let mut rows = target.writable.wait_while(rows, full).unwrap_or_else(PoisonError::into_inner);
            rows.add(piece)?;
            drop(rows);
            self.announce(target);
        }
        Ok(())
    }

    /// Adds rows to a partition if it is not full; false if it is.
    ///
    /// # Errors
    /// As [`MemoryStream::push_to`].
    pub fn try_push(&self, partition: usize, rows: RecordBatch) -> Result<bool> {
        let target = self.partition(partition)?;
        let pieces = self.pieces(rows)?;
        let mut kept = target.lock();
        if !kept.closed && kept.kept() >= self.0.capacity {
            return Ok(false);
        }
        pieces.into_iter().try_for_each(|piece| kept.add(piece))?;
        drop(kept);
        self.announce(target);
        Ok(true)
    }

    /// Adds rows to a partition; other tasks run while it is full.
    ///
    /// # Errors
    /// As [`MemoryStream::push_to`].
    pub async fn push_async(&self, partition: usize, rows: RecordBatch) -> Result<()> {
        let target = self.partition(partition)?;
        for piece in self.pieces(rows)? {
            loop {
                let room = target.room.notified();
                tokio::pin!(room);
                room.as_mut().enable();
                if self.offer(target, &piece)? {
                    break;
                }
                room.await;
            }
        }
        Ok(())
    }

    /// Adds serde structs, one row each, to partition 0; field names are column names. Waits while it is full.
    ///
    /// # Errors
    /// Values that don't fit the schema; a closed stream.
    pub fn push_items<T: Serialize>(&self, items: &[T]) -> Result<()> {
        self.push(self.rows_of(items)?)
    }

    /// Serde structs as rows of this stream.
    ///
    /// # Errors
    /// Values that don't fit the schema.
    pub fn rows_of<T: Serialize>(&self, items: &[T]) -> Result<RecordBatch> {
        serde_arrow::to_record_batch(self.0.schema.fields(), &items)
            .map_err(|cause| Error::invalid(format!("values do not fit the stream's schema: {cause}")).caused_by(cause))
    }

    /// No more rows will come: readers finish with what is there; later pushes fail.
    pub fn close(&self) {
        for partition in &self.0.partitions {
            partition.lock().closed = true;
            partition.writable.notify_all();
            partition.room.notify_waiters();
            self.announce(partition);
        }
    }

    fn partition(&self, number: usize) -> Result<&Partition> {
        let count = self.0.partitions.len();
        let missing = || Error::invalid(format!("the memory stream has {count} partitions but no partition {number}"));
        self.0.partitions.get(number).ok_or_else(missing)
    }

    /// The rows in pieces of at most [`MAX_ROWS`], under the stream's own schema.
    fn pieces(&self, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let rows = self.fitting(rows)?;
        if (1..=MAX_ROWS).contains(&rows.num_rows()) {
            return Ok(vec![rows]);
        }
        let starts = (0..rows.num_rows()).step_by(MAX_ROWS);
        Ok(starts.map(|start| cut(&rows, start, MAX_ROWS.min(rows.num_rows() - start))).collect())
    }

    /// The rows under the stream's own schema.
    fn fitting(&self, rows: RecordBatch) -> Result<RecordBatch> {
        if Arc::ptr_eq(rows.schema_ref(), &self.0.schema) {
            return Ok(rows);
        }
        RecordBatch::try_new(self.schema(), rows.columns().to_vec())
            .map_err(|cause| Error::invalid(format!("rows do not fit the stream's schema: {cause}")).caused_by(cause))
    }

    /// Adds rows if there is room.
    fn offer(&self, target: &Partition, piece: &RecordBatch) -> Result<bool> {
        let mut rows = target.lock();
        if !rows.closed && rows.kept() >= self.0.capacity {
            return Ok(false);
        }
        rows.add(piece.clone())?;
        drop(rows);
        self.announce(target);
        Ok(true)
    }

    fn announce(&self, partition: &Partition) {
        partition.readable.notify_all();
        let connections = self.0.connections();
        connections.values().filter_map(|connection| connection.wake.upgrade()).for_each(|wake| wake());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStream({} partitions)", self.partitions.len())
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what every reading query has committed.
    fn forget_committed(&self) {
        let connections = self.connections();
        for (number, partition) in self.partitions.iter().enumerate() {
            let committed = connections.values().filter_map(|connection| connection.committed.get(number)).min();
            partition.forget(committed.copied().unwrap_or(0));
        }
    }
}

impl Partition {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops whole batches before this row.
    fn forget(&self, before: u64) {
        let mut rows = self.lock();
        while rows.batches.front().is_some_and(|(first, batch)| first + batch.num_rows() as u64 <= before) {
            rows.batches.pop_front();
        }
        drop(rows);
        self.writable.notify_all();
        self.room.notify_waiters();
    }
}

impl Rows {
    fn kept(&self) -> u64 {
        self.end - self.start()
    }

    /// The number of the first row that is still kept.
    fn start(&self) -> u64 {
        self.batches.front().map_or(self.end, |(first, _)| *first)
    }

    fn add(&mut self, piece: RecordBatch) -> Result<()> {
        if self.closed {
            return Err(Error::invalid("the memory stream is closed"));
        }
        let first = self.end;
        self.end += piece.num_rows() as u64;
        self.batches.push_back((first, piece));
        Ok(())
    }

    /// Rows from number `from` to before `to`, of one batch.
    fn piece(&self, from: u64, to: u64) -> Option<RecordBatch> {
        let begins_before = |(first, _): &(u64, RecordBatch)| *first <= from;
        // Who keeps up reads the newest batch.
        let after = match self.batches.back().is_some_and(begins_before) {
            true => self.batches.len(),
            false => self.batches.partition_point(begins_before),
        };
        let (first, batch) = self.batches.get(after.checked_sub(1)?)?;
        let start = (from - first) as usize;
        let rows = batch.num_rows().saturating_sub(start).min(to.saturating_sub(from) as usize);
        (rows > 0).then(|| cut(batch, start, rows))
    }
}

/// So many rows of a batch; all of them cost nothing.
fn cut(batch: &RecordBatch, start: usize, rows: usize) -> RecordBatch {
    if rows == batch.num_rows() { batch.clone() } else { batch.slice(start, rows) }
}

impl Rows {
    /// Rows from number `from` to before `to`: what is there, but never more than a chunk's worth, and a large batch on its
    /// own. So rows that were pushed one by one travel alone while the query keeps up, and together when it lags.
    fn pieces(&self, mut from: u64, to: u64) -> Vec<RecordBatch> {
        let (mut pieces, mut total) = (Vec::new(), 0);
        while let Some(piece) = self.piece(from, to) {
            total += piece.num_rows();
            if !pieces.is_empty() && total > MAX_ROWS {
                break;
            }
            from += piece.num_rows() as u64;
            pieces.push(piece);
        }
        pieces
    }
}

/// The provider of `format("memory")`; the stream itself is the spec's handle.
#[derive(Debug)]
pub struct Memory;

impl SourceProvider for Memory {
    fn names(&self) -> &'static [&'static str] {
        &["memory"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        Vec::new()
    }

    fn schema(&self, spec: &SourceSpec, _conf: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        super::refuse_schema(spec)?;
        Ok(stream_of(spec)?.schema())
    }

    fn connect(&self, spec: &SourceSpec, _: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let stream = stream_of(spec)?;
        let number = stream.0.next_connection.fetch_add(1, Ordering::Relaxed);
        let committed = stream.0.partitions.iter().map(|partition| partition.lock().start()).collect();
        let connection = Connection { wake: Arc::downgrade(&context.wake), committed };
        stream.0.connections().insert(number, connection);
        let projection = Arc::from(context.projection);
        Ok(Box::new(MemorySource { stream, number, projection, _wake: context.wake, goal: None }))
    }
}

fn stream_of(spec: &SourceSpec) -> Result<MemoryStream> {
    let handle = spec.handle.as_ref().and_then(|handle| handle.downcast_ref::<MemoryStream>());
    handle.cloned().ok_or_else(|| {
        Error::invalid("source 'memory' needs a stream to read from").hint("Read it with MemoryStream::spec.")
    })
}

struct MemorySource {
    stream: MemoryStream,
    number: u64,
    projection: Arc<[usize]>,
    /// Keeps the stream's weak reference alive as long as this source.
    _wake: Wake,
    /// Where reading ends (trigger available now).
    goal: Option<Vec<u64>>,
}

impl MemorySource {
    fn ends(&self) -> Vec<u64> {
        self.stream.0.partitions.iter().map(|partition| partition.lock().end).collect()
    }

    fn parse(&self, offset: Option<&Offset>) -> Result<Vec<u64>> {
        let count = self.stream.0.partitions.len();
        let Some(offset) = offset else { return Ok(vec![0; count]) };
        let places = offset.as_object().ok_or_else(|| wrong_offset(offset))?;
        let place = |number: usize| places.get(&number.to_string()).map_or(Ok(0), super::whole_number);
        (0..count).map(place).collect()
    }
}

fn write_offset(places: &[u64]) -> Offset {
    places.iter().enumerate().map(|(number, place)| (number.to_string(), Offset::from(*place))).collect()
}

impl Source for MemorySource {
    fn description(&self) -> String {
        let names: Vec<&str> = self.stream.0.schema.fields().iter().map(|field| field.name().as_str()).collect();
        format!("MemoryStream[{}]", names.join(","))
    }

    fn latest(&mut self, from: Option<&Offset>, _limit: Limit) -> Result<Option<Offset>> {
        let start = self.parse(from)?;
        let ends: Vec<u64> = match &self.goal {
            Some(goal) => goal.iter().zip(&start).map(|(goal, start)| *goal.max(start)).collect(),
            None => self.ends(),
        };
        Ok((ends != start).then(|| write_offset(&ends)))
    }

    fn partitions(&mut self, from: Option<&Offset>) -> Result<usize> {
        Ok(self.parse(from)?.len())
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let starts = self.parse(from)?;
        let ends = to.map(|to| self.parse(Some(to))).transpose()?;
        let readers = starts.into_iter().enumerate().map(|(partition, next)| {
            let to = ends.as_ref().and_then(|ends| ends.get(partition).copied());
            let reader = MemoryReader {
                stream: self.stream.clone(),
                partition,
                next,
                to,
                projection: Arc::clone(&self.projection),
                interrupted: Arc::default(),
            };
            reader.check()?;
            Ok(Box::new(reader) as Box<dyn Reader>)
        });
        readers.collect()
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn ended(&self) -> bool {
        self.stream.0.partitions.iter().all(|partition| partition.lock().closed)
    }

    fn freeze(&mut self) -> Result<()> {
        self.goal = Some(self.ends());
        Ok(())
    }

    fn commit(&mut self, offset: &Offset) -> Result<()> {
        let committed = self.parse(Some(offset))?;
        if let Some(connection) = self.stream.0.connections().get_mut(&self.number) {
            connection.committed = committed;
        }
        self.stream.0.forget_committed();
        Ok(())
    }

    fn join_offsets(&self, parts: Vec<Offset>) -> Result<Offset> {
        let mut joined = serde_json::Map::new();
        for part in parts {
            let Offset::Object(places) = part else { return Err(wrong_offset(&part)) };
            joined.extend(places);
        }
        Ok(Offset::Object(joined))
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.stream.0.connections().remove(&self.number);
    }
}

struct MemoryReader {
    stream: MemoryStream,
    partition: usize,
    next: u64,
    to: Option<u64>,
    projection: Arc<[usize]>,
    interrupted: Arc<AtomicBool>,
}

impl MemoryReader {
    fn target(&self) -> &Partition {
        &self.stream.0.partitions[self.partition]
    }

    /// Refuses a range of which rows are gone.
    fn check(&self) -> Result<()> {
        let start = self.target().lock().start();
        if self.next >= start || !self.stream.0.replay {
            return Ok(());
        }
        Err(Error::outside(format!("rows {} to {start} of the memory stream are no longer kept", self.next))
            .hint("They were committed by an earlier run; start with a new checkpoint."))
    }

    fn hand_over(&mut self, rows: RecordBatch) -> Result<Read> {
        self.next += rows.num_rows() as u64;
        if !self.stream.0.replay {
            self.target().forget(self.next);
        }
        match self.projection.iter().copied().eq(0..rows.num_columns()) {
            true => Ok(Read::Rows(rows)),
            false => Ok(Read::Rows(rows.project(&self.projection)?)),
        }
    }
}

impl Reader for MemoryReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        let end = self.to.unwrap_or(u64::MAX);
        if self.next >= end {
            return Ok(Read::End);
        }
        let target = self.target();
        let rows = target.lock();
        let nothing =
            |rows: &mut Rows| rows.end <= self.next && !rows.closed && !self.interrupted.load(Ordering::Acquire);
        let (rows, _) = target.readable.wait_timeout_while(rows, wait, nothing).unwrap_or_else(PoisonError::into_inner);
        self.interrupted.store(false, Ordering::Release);
        let next = if self.stream.0.replay { self.next } else { self.next.max(rows.start()) };
        let (pieces, closed) = (rows.pieces(next, end), rows.closed);
        drop(rows);
        self.next = next;
        match pieces.as_slice() {
            [] if closed => Ok(Read::End),
            [] => Ok(Read::Idle),
            [piece] => self.hand_over(piece.clone()),
            many => self.hand_over(concat_batches(&self.stream.0.schema, many)?),
        }
    }

    fn is_light(&self) -> bool {
        true
    }

    fn offset(&self) -> Offset {
        [(self.partition.to_string(), Offset::from(self.next))].into_iter().collect()
    }

    fn interrupt(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        let (stream, partition) = (self.stream.clone(), self.partition);
        let interrupted = Arc::clone(&self.interrupted);
        Some(Arc::new(move || {
            interrupted.store(true, Ordering::Release);
            let target = &stream.0.partitions[partition];
            drop(target.lock());
            target.readable.notify_all();
        }))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
    }

    #[test]
    fn a_full_stream_waits_until_rows_are_committed() {
        let stream = MemoryStream::builder(numbers([]).schema()).capacity(2).build();
        let context = super::super::conformance::context(1);
        let mut source = Memory.connect(&stream.spec(), stream.schema(), context).unwrap();
        stream.push(numbers([1, 2])).unwrap();
        let pusher = std::thread::spawn({
            let stream = stream.clone();
            move || stream.push(numbers([3]))
        });
        let end = source.latest(None, Limit::Options).unwrap().unwrap();
        assert_eq!(end.to_string(), r#"{"0":2}"#);
        source.commit(&end).unwrap();
        pusher.join().unwrap().unwrap();
        assert_eq!(source.latest(Some(&end), Limit::Options).unwrap().unwrap().to_string(), r#"{"0":3}"#);
        assert!(source.read(None, None).is_err(), "the first rows are gone");
    }

    #[test]
    fn an_async_push_waits_too_and_a_close_ends_it() {
        let stream = MemoryStream::builder(numbers([]).schema()).capacity(1).build();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (first, second) = runtime.block_on(async {
            let first = stream.push_async(0, numbers([1])).await;
            let full = stream.push_async(0, numbers([2]));
            let close = async { stream.close() };
            (first, tokio::join!(full, close).0)
        });
        assert!(first.is_ok());
        assert!(second.unwrap_err().message().contains("closed"));
    }

    #[test]
    fn single_rows_travel_together_when_they_wait() {
        let stream = MemoryStream::new(numbers([]).schema());
        [1, 2, 3].into_iter().for_each(|n| stream.push(numbers([n])).unwrap());
        let context = super::super::conformance::context(1);
        let mut source = Memory.connect(&stream.spec(), stream.schema(), context).unwrap();
        let mut reader = source.read(None, None).unwrap().remove(0);
        let Read::Rows(rows) = reader.next(Duration::ZERO).unwrap() else { panic!("there are rows") };
        assert_eq!(rows, numbers([1, 2, 3]));
    }

    #[test]
    fn a_full_stream_refuses_a_try() {
        let stream = MemoryStream::builder(numbers([]).schema()).capacity(2).build();
        assert!(stream.try_push(0, numbers([1, 2, 3])).unwrap(), "there is room for one");
        assert!(!stream.try_push(0, numbers([4])).unwrap());
    }

    #[test]
    fn structs_become_rows() {
        #[derive(serde::Serialize)]
        struct Number {
            n: i64,
        }
        let stream = MemoryStream::new(numbers([]).schema());
        assert_eq!(stream.rows_of(&[Number { n: 7 }]).unwrap(), numbers([7]));
    }
}
