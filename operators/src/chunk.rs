//! The unit that moves: 1..=8192 rows of Arrow columns, with the instant at which the oldest of them entered the engine.
//!
//! A chunk never waits to become fuller. The default chunk is empty: timely leaves one behind when it moves a chunk out.

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

/// The most rows a source or operator should put into one chunk.
pub const MAX_ROWS: usize = 8192;

/// Rows on the move.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    rows: Option<RecordBatch>,
    /// Those of the rows that are meant, if not all are: the others are for other workers, who share the memory.
    picks: Option<UInt32Array>,
    /// When the oldest row entered the engine: nanoseconds of a monotonic clock that the caller chooses, 0 if unknown.
    pub ingest: u64,
    /// Number of the source partition the rows came from; watermarks are kept per partition.
    pub partition: u32,
    /// Instead of rows: the partition has been idle for so long that watermarks need not wait for it.
    pub quiet: bool,
}

impl Chunk {
    /// A chunk of these rows.
    pub fn new(rows: RecordBatch, ingest: u64, partition: u32) -> Self {
        Chunk { rows: Some(rows), picks: None, ingest, partition, quiet: false }
    }

    /// The news that a partition is idle. It travels as far as the next operator that keeps state.
    pub fn quiet(partition: u32) -> Self {
        Chunk { partition, quiet: true, ..Chunk::default() }
    }

    /// The same origin with other rows.
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        Chunk::new(rows, self.ingest, self.partition)
    }

    /// These of the rows, whose numbers lie within them and rise, without a copy.
    pub(crate) fn picked(&self, picks: UInt32Array) -> Self {
        Chunk { picks: Some(picks), ..self.clone() }
    }

    /// The same rows, alone.
    #[must_use]
    pub fn whole(mut self) -> Self {
        if let (Some(picks), Some(rows)) = (self.picks.take(), &mut self.rows) {
            let picked = take_record_batch(rows, &picks);
            *rows = picked.expect("row numbers lie within the batch");
        }
        self
    }

    /// The rows, if there are any, of a chunk that is whole ([`Chunk::whole`]), as all are but those that an operator takes by
    /// [`Chunk::into_picks`].
    pub fn rows(&self) -> Option<&RecordBatch> {
        debug_assert!(self.picks.is_none(), "some of the rows are not meant");
        self.rows.as_ref()
    }

    /// Takes the rows out.
    pub fn into_rows(self) -> Option<RecordBatch> {
        self.whole().rows
    }

    /// Takes the rows out, and which of them are meant, if not all are.
    pub fn into_picks(self) -> Option<(RecordBatch, Option<UInt32Array>)> {
        Some((self.rows?, self.picks))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        let all = self.rows.as_ref().map_or(0, RecordBatch::num_rows);
        self.picks.as_ref().map_or(all, Array::len)
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by the columns.
    pub fn size_bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, RecordBatch::get_array_memory_size)
    }
}

impl Accountable for Chunk {
    fn record_count(&self) -> i64 {
        // What counts nothing is not delivered.
        i64::try_from(self.len().max(usize::from(self.quiet))).expect("a batch has fewer than 2^63 rows")
    }
}

/// Across processes: ingest, partition, quiet, then an Arrow IPC stream with the schema.
impl ContainerBytes for Chunk {
    fn from_bytes(bytes: Bytes) -> Self {
        let (head, body) = bytes.split_at(13);
        let ingest = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let partition = u32::from_le_bytes(head[8..12].try_into().expect("four bytes"));
        let quiet = head[12] != 0;
        let rows = (!body.is_empty()).then(|| {
            let mut reader = StreamReader::try_new(body, None).expect("a peer of the same build wrote the stream");
            reader.next().expect("the stream holds one batch").expect("a peer of the same build wrote the batch")
        });
        Chunk { rows, picks: None, ingest, partition, quiet }
    }

    fn length_in_bytes(&self) -> usize {
        let mut counter = Counter(0);
        self.into_bytes(&mut counter);
        counter.0
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        const WRITES: &str = "timely's buffer takes as many bytes as were announced";
        writer.write_all(&self.ingest.to_le_bytes()).expect(WRITES);
        writer.write_all(&self.partition.to_le_bytes()).expect(WRITES);
        writer.write_all(&[u8::from(self.quiet)]).expect(WRITES);
        if let Some(rows) = &self.clone().whole().rows {
            let mut stream = StreamWriter::try_new(&mut *writer, &rows.schema()).expect(WRITES);
            stream.write(rows).expect(WRITES);
            stream.finish().expect(WRITES);
        }
    }
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
