//! Grouped aggregation: per-key and per-window, in all output modes.
//!
//! ```text
//!  rows ─► KeyTable: key → group id ─► one Accumulator per aggregate, state in columns indexed by group id
//!                                        │ update: groups that received a row     (each chunk, or each epoch)
//!                                        │ changelog: the same, old row taken back
//!                                        │ append: groups whose time has come     (on_watermark)
//!                                        └ complete: all groups                   (on_complete)
//! ```
//!
//! [`Keyed`] keeps one table; groups with an event time among their keys are evicted in order of that time.
//! [`Windowed`] computes the windows itself and keeps one table per window (closing a window drops a table) or, in append
//! mode, one per *slice* of overlapping windows, so that cost does not grow with length/slide.
//!
//! Where results leave only when an epoch closes, [`Partial`] can stand before the exchange: each worker then sums up what it has, and one row
//! a group and worker travels, however many rows a group has (Spark's partial aggregation).
//!
//! Rules (Spark's): a group is closed when `time <= watermark` (for windows `end <= watermark`), and a row is late by the same
//! test against the watermark last delivered; complete mode ignores watermarks; a group without event time is never closed.

mod keyed;
mod partial;
mod table;
#[cfg(test)]
mod tests;
mod windowed;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

pub use keyed::Keyed;
pub use partial::Partial;
pub use windowed::{WindowSpec, Windowed};

use self::table::Table;
use crate::aggregate::AggregateFunction;
use crate::change::rows::net;
use crate::chunk::MAX_ROWS;
use crate::{Output, Result};

/// Which groups are emitted, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Groups that can no longer change, when the watermark has passed them.
    Append,
    /// Groups that received a row.
    Update,
    /// All groups, when the epoch closes.
    Complete,
    /// As update, for an operator behind: a group's row of before is taken back when its new one comes
    /// ([`crate::change`]). The output's last column is the sign. Groups that the watermark closes are not taken back.
    Changelog {
        /// Whether the watermark closes groups and drops late rows; not so below complete mode.
        closes: bool,
    },
}

impl Mode {
    /// Whether the watermark closes groups and drops late rows.
    pub fn closes(self) -> bool {
        !matches!(self, Mode::Complete | Mode::Changelog { closes: false })
    }

    /// Whether groups that received a row are emitted.
    pub fn emits_changes(self) -> bool {
        matches!(self, Mode::Update | Mode::Changelog { .. })
    }

    /// Whether the output is a changelog.
    pub fn is_changelog(self) -> bool {
        matches!(self, Mode::Changelog { .. })
    }
}

/// One aggregate of the select list, over columns of the input.
#[derive(Clone)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// Its arguments: column indexes of the input.
    pub args: Vec<usize>,
    /// A boolean column; only rows where it is true count (`FILTER (WHERE ...)`).
    pub filter: Option<usize>,
}

/// What [`Keyed`] and [`Windowed`] compute.
#[derive(Clone)]
pub struct GroupSpec {
    /// Key columns of the input (without a window that [`Windowed`] computes).
    pub keys: Vec<usize>,
    /// The aggregates, in output order.
    pub aggregates: Vec<AggregateCall>,
    /// Which groups are emitted.
    pub mode: Mode,
    /// Schema of the input.
    pub input: SchemaRef,
    /// Schema of the output: keys (and window), then aggregates (and the sign, for a changelog).
    pub output: SchemaRef,
    /// Whether the input is what [`Partial`] gives: then an aggregate's arguments are the columns of its state.
    pub merges: bool,
}

impl GroupSpec {
    /// The second half of this aggregation, for [`Keyed`]: its input are the keys and states that [`Partial`] gives.
    ///
    /// # Errors
    /// What a user's aggregate fails with when it is made.
    pub fn merging(&self) -> Result<GroupSpec> {
        let mut fields: Vec<FieldRef> = self.keys.iter().map(|&key| self.input.fields()[key].clone()).collect();
        let mut aggregates = Vec::new();
        for call in &self.aggregates {
            let first = fields.len();
            let types = call.function.accumulator()?.state_types();
            fields.extend(types.into_iter().map(|of| Arc::new(Field::new("state", of, true))));
            let args = (first..fields.len()).collect();
            aggregates.push(AggregateCall { function: call.function.clone(), args, filter: None });
        }
        Ok(GroupSpec {
            keys: (0..self.keys.len()).collect(),
            aggregates,
            mode: self.mode,
            input: Arc::new(Schema::new(fields)),
            output: self.output.clone(),
            merges: true,
        })
    }

    fn key_columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|&key| rows.column(key).clone()).collect()
    }
}

/// Rows of `rows` for which `keep` holds, and how many were dropped.
fn keep_rows(rows: RecordBatch, keep: &BooleanArray) -> Result<(RecordBatch, u64)> {
    let kept = keep.true_count();
    if kept == keep.len() {
        return Ok((rows, 0));
    }
    let dropped = (keep.len() - kept) as u64;
    Ok((filter_record_batch(&rows, keep)?, dropped))
}

/// Emits a changelog's net change: `changes` holds columns of the output schema, the sign last. In one chunk, however large: what cancels
/// must stay together.
fn emit_changes(spec: &GroupSpec, changes: Vec<ArrayRef>, out: &mut Output) -> Result<()> {
    let rows = net(&RecordBatch::try_new(spec.output.clone(), changes)?)?;
    if rows.num_rows() > 0 {
        out.rows(rows);
    }
    Ok(())
}

/// Emits groups as rows of the output schema, as many at a time as a chunk holds; `add_columns` adds to a part's columns, of so many
/// rows, those that the table does not have.
fn emit(
    spec: &GroupSpec,
    table: &Table,
    groups: &[u32],
    out: &mut Output,
    add_columns: impl Fn(&mut Vec<ArrayRef>, usize) -> Result<()>,
) -> Result<()> {
    for part in groups.chunks(MAX_ROWS) {
        let mut columns = table.rows(part)?;
        add_columns(&mut columns, part.len())?;
        if !columns.is_empty() {
            out.rows(RecordBatch::try_new(spec.output.clone(), columns)?);
        }
    }
    Ok(())
}

/// Emits groups of which the table has all columns.
fn emit_all(spec: &GroupSpec, table: &Table, groups: &[u32], out: &mut Output) -> Result<()> {
    emit(spec, table, groups, out, |_, _| Ok(()))
}
