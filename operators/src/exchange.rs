//! Exchange between workers: a chunk is split by the hash of its key columns, so that equal keys meet on one worker. A worker that gets a
//! large part gets the chunk and the numbers of its rows; it copies them itself, if it has to.
//!
//! Invariant: the number of rows is kept, and rows of one chunk that go to the same worker keep their order.

use arrow::array::{ArrayRef, RecordBatch};
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;

use crate::Chunk;
use crate::keys::{self, Hashing, KEY_GROUPS};

/// A part of less than one in so many rows is copied.
const SHARED: usize = 4;

/// Where the rows of a chunk go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By the hash of these columns.
    Keys(Vec<usize>),
    /// All rows to worker 0.
    Single,
}

/// The pact that moves chunks along `route`, to the owners of key groups that keys are hashed to in this way.
pub fn pact(route: Route, hashing: Hashing) -> DistributorPact<impl FnOnce(usize) -> Splitter> {
    DistributorPact(move |peers| {
        let owners = std::array::from_fn(|group| keys::owner(group, peers) as u32);
        Splitter { route, hashing, owners, hashes: Vec::new(), rows: vec![Vec::new(); peers] }
    })
}

/// Splits chunks; see [`pact`].
pub struct Splitter {
    route: Route,
    hashing: Hashing,
    /// The worker of each key group.
    owners: [u32; KEY_GROUPS],
    hashes: Vec<u64>,
    /// Row numbers per worker, reused between chunks.
    rows: Vec<Vec<u32>>,
}

impl Splitter {
    fn assign(&mut self, columns: &[ArrayRef], rows: usize) {
        self.hashing.hash(columns, rows, &mut self.hashes).expect("the plan checked that the key columns can be keys");
        self.rows.iter_mut().for_each(Vec::clear);
        for (row, hash) in self.hashes.iter().enumerate() {
            self.rows[self.owners[keys::key_group(*hash)] as usize].push(row as u32);
        }
    }

    fn split(&mut self, chunk: Chunk, rows: &RecordBatch) -> Vec<(usize, Chunk)> {
        let Route::Keys(columns) = &self.route else { return vec![(0, chunk)] };
        let columns: Vec<ArrayRef> = columns.iter().map(|&column| rows.column(column).clone()).collect();
        self.assign(&columns, rows.num_rows());
        let parts = self.rows.iter().enumerate().filter(|(_, part)| !part.is_empty());
        parts.map(|(worker, part)| (worker, pick(&chunk, part, rows.num_rows()))).collect()
    }
}

/// A part shares the memory of all rows, unless it is so small that it would keep much that it does not need.
fn pick(chunk: &Chunk, part: &[u32], all: usize) -> Chunk {
    match part.len() {
        count if count == all => chunk.clone(),
        count if count * SHARED >= all => chunk.picked(part.to_vec().into()),
        _ => chunk.picked(part.to_vec().into()).whole(),
    }
}

impl Distributor<Chunk> for Splitter {
    fn partition<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, chunk: &mut Chunk, time: &T, pushers: &mut [P]) {
        let mut chunk = std::mem::take(chunk);
        if chunk.quiet {
            // It counts as a record, so it has to arrive somewhere.
            return Message::push_at(&mut chunk, time.clone(), &mut pushers[0]);
        }
        let chunk = chunk.whole();
        let Some(rows) = chunk.rows().cloned() else { return };
        for (worker, mut part) in self.split(chunk, &rows) {
            Message::push_at(&mut part, time.clone(), &mut pushers[worker]);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, _: &T, _: &mut [P]) {}
}
