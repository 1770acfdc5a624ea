//! Exchange between workers: a chunk is split by the hash of its key columns, so that equal keys meet on one worker.
//!
//! Invariant: the number of rows is kept, and rows of one chunk that go to the same worker keep their order.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;

use crate::Chunk;
use crate::keys;

/// Where the rows of a chunk go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By the hash of these columns.
    Keys(Vec<usize>),
    /// All rows to worker 0.
    Single,
}

/// The pact that moves chunks along `route`.
pub fn pact(route: Route) -> DistributorPact<impl FnOnce(usize) -> Splitter> {
    DistributorPact(move |peers| Splitter { route, hashes: Vec::new(), rows: vec![Vec::new(); peers] })
}

/// Splits chunks; see [`pact`].
pub struct Splitter {
    route: Route,
    hashes: Vec<u64>,
    /// Row numbers per worker, reused between chunks.
    rows: Vec<Vec<u32>>,
}

impl Splitter {
    fn assign(&mut self, columns: &[ArrayRef], rows: usize) {
        self.hashes.clear();
        keys::route(columns, rows, &mut self.hashes).expect("the plan checked that the key columns can be keys");
        self.rows.iter_mut().for_each(Vec::clear);
        let workers = self.rows.len();
        for (row, hash) in self.hashes.iter().enumerate() {
            self.rows[keys::owner(keys::key_group(*hash), workers)].push(row as u32);
        }
    }

    fn split(&mut self, batch: &RecordBatch) -> Vec<(usize, RecordBatch)> {
        let Route::Keys(columns) = &self.route else { return vec![(0, batch.clone())] };
        let columns: Vec<ArrayRef> = columns.iter().map(|&column| batch.column(column).clone()).collect();
        self.assign(&columns, batch.num_rows());
        let all = batch.num_rows();
        let parts = self.rows.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        parts.map(|(worker, rows)| (worker, pick(batch, rows, all))).collect()
    }
}

fn pick(batch: &RecordBatch, rows: &[u32], all: usize) -> RecordBatch {
    if rows.len() == all {
        return batch.clone();
    }
    let rows = UInt32Array::from_iter_values(rows.iter().copied());
    take_record_batch(batch, &rows).expect("row numbers lie within the batch")
}

impl Distributor<Chunk> for Splitter {
    fn partition<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, chunk: &mut Chunk, time: &T, pushers: &mut [P]) {
        let mut chunk = std::mem::take(chunk);
        if chunk.quiet {
            // It counts as a record, so it has to arrive somewhere.
            return Message::push_at(&mut chunk, time.clone(), &mut pushers[0]);
        }
        let Some(batch) = chunk.rows() else { return };
        for (worker, rows) in self.split(batch) {
            Message::push_at(&mut chunk.with_rows(rows), time.clone(), &mut pushers[worker]);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, _: &T, _: &mut [P]) {}
}
