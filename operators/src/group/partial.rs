//! The first half of an aggregation, on the worker where the rows are: what each group has got there in an epoch.
//!
//! In: rows. Out: keys and the states of aggregates, which [`super::Keyed`] merges behind the exchange ([`GroupSpec::merging`]), at the end of the
//! epoch, or before that when the table is full. So a group that has many rows costs the exchange as much as one that has few, and rows of
//! one key are added up by all workers.
//!
//! What always holds: nothing is kept beyond an epoch, so checkpoints know nothing of it and reports do not count it as state. The table has a
//! bound. Where it does not pay, because hardly any rows share a group, the next rows pass as states, each alone, without a table.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::GroupSpec;
use super::table::{Table, each_alone};
use crate::chunk::MAX_ROWS;
use crate::driver::Logic;
use crate::{Chunk, Output, Result};

/// Groups of a full table: with a count each, some 2 MB.
const MOST_GROUPS: usize = 1 << 16;

/// A table with more bytes than this is full, however few groups it has.
const MOST_BYTES: usize = 8 << 20;

/// A group must have so many rows on average, or it is not worth its place in the table.
const ROWS_A_GROUP: usize = 2;

/// For each group that has room, so many rows pass before the table is tried again.
const PASSING: usize = 16;

/// See the module.
pub struct Partial {
    spec: GroupSpec,
    /// Schema of what it gives.
    states: SchemaRef,
    table: Table,
    most: usize,
    groups: Vec<u32>,
    /// Rows in the table.
    rows: usize,
    /// How many more rows of this epoch pass.
    passing: usize,
}

impl Partial {
    /// Before the aggregation `spec`, which must not be one that closes groups or shows them before the epoch is over.
    ///
    /// # Errors
    /// What a user's aggregate fails with when it is made.
    pub fn new(spec: GroupSpec) -> Result<Self> {
        let (states, table) = (spec.merging()?.input, Table::new(&spec)?);
        Ok(Partial { spec, states, table, most: MOST_GROUPS, groups: Vec::new(), rows: 0, passing: 0 })
    }

    /// The same with room for so many groups.
    #[cfg(test)]
    pub(super) fn with_room_for(self, most: usize) -> Self {
        Partial { most, ..self }
    }

    fn is_full(&self) -> bool {
        self.table.len() >= self.most || self.table.size_bytes() > MOST_BYTES
    }

    /// Whether enough of the rows in the table share a group.
    fn pays(&self) -> bool {
        self.table.len() * ROWS_A_GROUP <= self.rows
    }

    fn flush(&mut self, out: &mut Output) -> Result<()> {
        for part in self.table.groups().chunks(MAX_ROWS) {
            self.give(self.table.states(part)?, out)?;
        }
        self.rows = 0;
        // What a table has grown to stays, but not beyond the bound, or the next one would be full from the beginning.
        match self.table.size_bytes() > MOST_BYTES {
            true => self.table = Table::new(&self.spec)?,
            false => self.table.clear(&self.spec)?,
        }
        Ok(())
    }

    fn give(&self, states: Vec<ArrayRef>, out: &mut Output) -> Result<()> {
        out.rows(RecordBatch::try_new(self.states.clone(), states)?);
        Ok(())
    }
}

impl Logic for Partial {
    fn on_rows(&mut self, _: usize, chunk: Chunk, out: &mut Output) -> Result<()> {
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        if self.passing > 0 {
            self.passing = self.passing.saturating_sub(rows.num_rows());
            return self.give(each_alone(&self.spec, &rows)?, out);
        }
        self.table.collect(&self.spec, &rows, &mut self.groups)?;
        self.rows += rows.num_rows();
        if self.is_full() {
            self.passing = if self.pays() { 0 } else { self.most.saturating_mul(PASSING) };
            self.flush(out)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        self.passing = 0;
        self.flush(out)
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
