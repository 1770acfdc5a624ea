//! The way into a region: keeps the consolidated rows of one input, so that a restart can feed them again.
//!
//! In: a changelog, or append-only rows. Out: the same at once, with signs. State: each different row and how often it is there.
//! What always holds: the state is the sum of all that has passed; it is what the region's own state can be computed from.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::change::rows::Multiset;
use crate::change::{append, inserted, split};
use crate::driver::{Logic, StateMetrics};
use crate::keys::Hashing;
use crate::time::NO_WATERMARK;
use crate::{Chunk, Output, Result};

/// The operator.
pub struct Entrance {
    rows: Multiset,
    changelog: bool,
    updated: u64,
}

impl Entrance {
    /// For rows of this schema (without sign); `changelog`: whether they come with signs.
    ///
    /// # Errors
    /// A type that has no equality.
    pub fn new(schema: SchemaRef, changelog: bool) -> Result<Self> {
        Ok(Entrance { rows: Multiset::new(schema)?, changelog, updated: 0 })
    }

    /// The rows held, as a changelog that makes them.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn held(&self) -> Result<RecordBatch> {
        let (present, owed) = (self.rows.all(1)?, self.rows.all(-1)?);
        let parts = [inserted(&present)?, append(&owed, arrow::array::Int8Array::from_value(-1, owed.num_rows()))?];
        Ok(arrow::compute::concat_batches(&parts[0].schema(), &parts)?)
    }
}

impl Logic for Entrance {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.rows() else { return Ok(()) };
        self.updated += rows.num_rows() as u64;
        if self.changelog {
            let (bare, signs) = split(rows)?;
            self.rows.apply(&bare, Some(&signs))?;
            out.chunk(chunk);
        } else {
            self.rows.apply(rows, None)?;
            out.chunk(chunk.with_rows(inserted(rows)?));
        }
        Ok(())
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, _: &mut Output) -> Result<()> {
        Ok(())
    }

    /// Event time does not pass into a region: its time has no watermark, and what leaves it promises none.
    fn output_watermark(&self, _: &[i64]) -> i64 {
        NO_WATERMARK
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
