//! The last step before a sink in update mode: what of a changelog the sink sees.
//!
//! In: a changelog. Out: the net change of each epoch ([`Pace::Epoch`](crate::Pace)) or of each chunk ([`Pace::Eager`](crate::Pace)),
//! either as it is, or as upserts: the new rows alone. What always holds: a row that was given and taken back in one go is not seen at
//! all. A pure retraction (a key that vanished) is no upsert: it is seen in the changelog only.
//!
//! Upserts have an order: the last one of a key holds. Where the versions of a row come to several workers (behind a region of
//! the differential lane), nobody knows which of an epoch is the last, so there only what is left of the epoch leaves.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::rows::net;
use super::{INSERT, of_sign};
use crate::driver::Logic;
use crate::{Chunk, Output, Result};

/// What the sink is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The new rows, without the sign.
    Upserts,
    /// All changes, with the sign.
    Changelog,
}

/// The operator.
pub struct Net {
    view: View,
    /// Whether changes leave when the epoch closes, whatever the pace.
    holds: bool,
    waiting: Vec<RecordBatch>,
}

impl Net {
    /// Gives the net changes as `view` says; with `scattered`, where versions of a row come to several workers (equal rows to
    /// one).
    pub fn new(view: View, scattered: bool) -> Self {
        Net { view, holds: scattered && view == View::Upserts, waiting: Vec::new() }
    }

    fn view(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let rows = net(rows)?;
        match self.view {
            View::Upserts => of_sign(&rows, INSERT),
            View::Changelog => Ok(rows),
        }
    }
}

impl Logic for Net {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.rows() else { return Ok(()) };
        if out.eager() && !self.holds {
            out.chunk(chunk.with_rows(self.view(rows)?));
        } else {
            self.waiting.push(rows.clone());
        }
        Ok(())
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        if let Some(first) = self.waiting.first() {
            let all = concat_batches(&first.schema(), &self.waiting)?;
            self.waiting.clear();
            out.rows(self.view(&all)?);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
