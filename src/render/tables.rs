//! Static sides of joins, as all workers see them: one version of a table at a time, which the query's driver may replace.
//!
//! In: rows. Out: the rows that are in force, and whether there are newer ones. What always holds: looking costs one atomic read
//! while nothing has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use thalweg_operators::join::table::Renewal;

/// A table of which there may be a new version while the query runs.
#[derive(Debug)]
pub(crate) struct StaticTable {
    version: AtomicU64,
    rows: RwLock<RecordBatch>,
}

impl StaticTable {
    /// A table of these rows.
    pub fn new(rows: RecordBatch) -> Self {
        StaticTable { version: AtomicU64::new(0), rows: RwLock::new(rows) }
    }

    /// The rows in force.
    pub fn rows(&self) -> RecordBatch {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other rows in their place.
    pub fn renew(&self, rows: RecordBatch) {
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = rows;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The rows in force, and what tells one reader of those that come later.
    pub fn follow(self: &Arc<Self>) -> (RecordBatch, Renewal) {
        let table = Arc::clone(self);
        // The version is read first: rows that are renewed in between are seen twice rather than never.
        let mut seen = table.version.load(Ordering::Acquire);
        let rows = table.rows();
        let renewal = move || {
            let version = table.version.load(Ordering::Acquire);
            (std::mem::replace(&mut seen, version) != version).then(|| table.rows())
        };
        (rows, Box::new(renewal))
    }
}
