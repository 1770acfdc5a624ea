//! The last step in complete mode over a changelog: keeps the table that it describes and gives it whole, each epoch.
//!
//! In: a changelog (or, of append-only input, rows), equal rows on one worker. Out: when an epoch closes, all rows of the table.
//! What always holds: the table is the sum of all changes so far, restarts included.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::rows::Multiset;
use super::split;
use crate::chunk::MAX_ROWS;
use crate::driver::{Logic, StateMetrics};
use crate::keys::Hashing;
use crate::{Chunk, Output, Result};

/// The operator.
pub struct Table {
    rows: Multiset,
    changelog: bool,
    updated: u64,
}

impl Table {
    /// A table of rows of this schema (without sign); `changelog`: whether rows come with signs.
    ///
    /// # Errors
    /// A type that has no equality.
    pub fn new(schema: SchemaRef, changelog: bool) -> Result<Self> {
        Ok(Table { rows: Multiset::new(schema)?, changelog, updated: 0 })
    }
}

impl Logic for Table {
    fn on_rows(&mut self, _: usize, chunk: Chunk, _: &mut Output) -> Result<()> {
        let Some(rows) = chunk.rows() else { return Ok(()) };
        self.updated += rows.num_rows() as u64;
        if !self.changelog {
            return self.rows.apply(rows, None);
        }
        let (rows, signs) = split(rows)?;
        self.rows.apply(&rows, Some(&signs))
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        let all = self.rows.all(1)?;
        for start in (0..all.num_rows()).step_by(MAX_ROWS) {
            out.rows(all.slice(start, MAX_ROWS.min(all.num_rows() - start)));
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        self.rows.snapshot()
    }

    fn hash_by(&mut self, hashing: Hashing) {
        self.rows.hashing = hashing;
    }

    fn tracks_changes(&mut self) -> bool {
        self.rows.track();
        true
    }

    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        self.rows.changes()
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        self.rows.restore(&state)
    }

    fn metrics(&mut self) -> StateMetrics {
        self.rows.metrics(std::mem::take(&mut self.updated))
    }
}
