//! What has changed in a state: rows that replace older ones, and rows that say what is gone.
//!
//! ```text
//!  oldest ─► newest      whole snapshot │ changes │ changes │ …        one list of batches each
//!                                       └ a batch of changes names its *cell* columns in its schema's metadata
//! ```
//!
//! A cell is all rows of state that agree in those columns. A batch of changes settles the cells of its rows: of older rows
//! none counts any more, its own rows count. A batch of what is gone has only the cell columns, and settles cells without giving
//! rows. Rows that are counted instead ([`summed`]) settle nothing: their counts add up. In: such lists. Out: the state they come to. What always holds: within one list nothing settles anything else; a cell that
//! a later list settles does not depend on earlier lists.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::row::Rows;
use hashbrown::HashTable;

use super::sums;
use crate::keys::{RowCodec, pick, route};
use crate::{Error, Result};

/// Names the cell columns of a batch of changes by their positions in rows of the state.
const CELL: &str = "state.cell";
/// Rows of a batch that several are put together to.
const BATCH_ROWS: usize = 1 << 18;
/// Names the column whose numbers add up.
pub(super) const SUM: &str = "state.sum";
/// The batch says what is gone.
const GONE: &str = "state.gone";

/// These rows are all that there is in their cells; `cell` are positions of columns.
///
/// # Errors
/// None that input could cause.
pub fn changed(rows: &RecordBatch, cell: &[usize]) -> Result<RecordBatch> {
    let mut metadata = rows.schema_ref().metadata().clone();
    metadata.insert(CELL.to_owned(), positions(cell));
    marked(rows, metadata)
}

/// Nothing is left in the cells of these rows, whose columns are the columns of the state at `cell`.
///
/// # Errors
/// Columns of different lengths.
pub fn gone(columns: Vec<(FieldRef, ArrayRef)>, cell: &[usize]) -> Result<RecordBatch> {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let metadata = [(CELL, positions(cell)), (GONE, "true".to_owned())];
    marked(&rows, metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn positions(cell: &[usize]) -> String {
    cell.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn marked(rows: &RecordBatch, metadata: HashMap<String, String>) -> Result<RecordBatch> {
    let schema = rows.schema_ref().as_ref().clone().with_metadata(metadata);
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema), rows.columns().to_vec(), &count)?)
}

/// Whether a batch is one of [`gone`].
fn is_gone(rows: &RecordBatch) -> bool {
    rows.schema_ref().metadata().contains_key(GONE)
}

/// Rows whose column `count` is a number that adds up over rows that are equal otherwise, in whole snapshots as in changes.
///
/// # Errors
/// None that input could cause.
pub fn summed(rows: &RecordBatch, count: usize) -> Result<RecordBatch> {
    let mut metadata = rows.schema_ref().metadata().clone();
    metadata.insert(SUM.to_owned(), count.to_string());
    marked(rows, metadata)
}

/// The state that these lists come to, oldest first: whole snapshots and changes as [`crate::Logic`] gave them.
///
/// # Errors
/// Lists that are not of one operator's state.
pub fn merged(lists: Vec<Vec<RecordBatch>>) -> Result<Vec<RecordBatch>> {
    if lists.iter().any(|list| adds_up(list)) {
        return sums::added(lists);
    }
    let mut merge = Merge::default();
    let mut state = Vec::new();
    for (older, list) in lists.into_iter().enumerate().rev() {
        let mut own = merge.in_force(&list)?;
        own.append(&mut state);
        state = own;
        if older > 0 {
            merge.settle(&list)?;
        }
    }
    Ok(state)
}

/// Whether rows of this list are counted, so that it means nothing without the others.
pub fn adds_up(list: &[RecordBatch]) -> bool {
    list.iter().any(|rows| rows.schema_ref().metadata().contains_key(SUM))
}

/// What lists come to that are not all in memory at once: from the newest to the oldest.
#[derive(Default)]
pub struct Merge {
    settled: Vec<Settled>,
}

impl Merge {
    /// The rows of a list that the newer ones, which have all been settled, leave in force.
    ///
    /// # Errors
    /// A list that is not of the same state.
    pub fn in_force(&self, list: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let mut own = Vec::new();
        for rows in list.iter().filter(|rows| !is_gone(rows)) {
            own.push(unsettled(rows, &self.settled)?);
        }
        own.retain(|rows| rows.num_rows() > 0);
        Ok(own)
    }

    /// Notes what a list settles, of which the keys stay in memory.
    ///
    /// # Errors
    /// As [`Merge::in_force`].
    pub fn settle(&mut self, list: &[RecordBatch]) -> Result<()> {
        list.iter().try_for_each(|rows| settle(rows, &mut self.settled))
    }
}

/// The same rows in few batches: those of one schema together, as far as they fit in a batch.
///
/// # Errors
/// None that input could cause.
pub fn coalesced(state: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let mut parts: Vec<(usize, Vec<RecordBatch>)> = Vec::new();
    for rows in state.into_iter().filter(|rows| rows.num_rows() > 0) {
        let fits = |(total, part): &&mut (usize, Vec<RecordBatch>)| {
            total.saturating_add(rows.num_rows()) <= BATCH_ROWS
                && part.first().is_some_and(|first| first.schema_ref() == rows.schema_ref())
        };
        match parts.iter_mut().find(fits) {
            Some((total, part)) => {
                *total += rows.num_rows();
                part.push(rows);
            }
            None => parts.push((rows.num_rows(), vec![rows])),
        }
    }
    let whole = |(_, part): (usize, Vec<RecordBatch>)| match part.as_slice() {
        [single] => Ok(single.clone()),
        several => Ok(concat_batches(several[0].schema_ref(), several)?),
    };
    parts.into_iter().map(whole).collect()
}

/// The cells of some columns that newer lists have settled.
struct Settled {
    columns: Vec<usize>,
    codec: RowCodec,
    /// Batches of cells.
    cells: Vec<Rows>,
    index: HashTable<Cell>,
}

/// Where a settled cell lies.
struct Cell {
    hash: u64,
    batch: usize,
    row: usize,
}

impl Settled {
    fn new(columns: Vec<usize>, cells: &[ArrayRef]) -> Result<Self> {
        let types: Vec<DataType> = cells.iter().map(|column| column.data_type().clone()).collect();
        Ok(Settled { columns, codec: RowCodec::new(&types)?, cells: Vec::new(), index: HashTable::new() })
    }

    /// The cells with the types of those that are settled, and their hashes.
    fn conformed(&self, cells: Vec<ArrayRef>) -> Result<(Vec<ArrayRef>, Vec<u64>)> {
        let cells = conformed(cells, self.codec.types())?;
        let hashes = hashes(&cells)?;
        Ok((cells, hashes))
    }

    fn add(&mut self, cells: Vec<ArrayRef>) -> Result<()> {
        let (cells, hashes) = self.conformed(cells)?;
        let batch = self.cells.len();
        self.cells.push(self.codec.encode(&cells)?);
        self.index.reserve(hashes.len(), |cell| cell.hash);
        for (row, (hash, cell)) in hashes.into_iter().zip(&self.cells[batch]).enumerate() {
            if !is_known(&self.index, &self.cells, hash, cell.data()) {
                self.index.insert_unique(hash, Cell { hash, batch, row }, |cell| cell.hash);
            }
        }
        Ok(())
    }

    /// Which rows are in settled cells, rising. Only those whose hash is known are looked at closely.
    fn hits(&self, cells: Vec<ArrayRef>) -> Result<Vec<u32>> {
        let (cells, hashes) = self.conformed(cells)?;
        let near =
            hashes.iter().enumerate().filter(|(_, hash)| self.index.find(**hash, |cell| cell.hash == **hash).is_some());
        let near: Vec<u32> = near.map(|(row, _)| row as u32).collect();
        if near.is_empty() {
            return Ok(near);
        }
        let picked = UInt32Array::from(near.clone());
        let cells = pick(&cells, &picked)?;
        let rows = self.codec.encode(&cells)?;
        let settled = near
            .into_iter()
            .zip(&rows)
            .filter(|(row, cell)| is_known(&self.index, &self.cells, hashes[*row as usize], cell.data()));
        Ok(settled.map(|(row, _)| row).collect())
    }
}

/// Whether a cell is settled.
fn is_known(index: &HashTable<Cell>, cells: &[Rows], hash: u64, cell: &[u8]) -> bool {
    let same = |known: &Cell| known.hash == hash && cells[known.batch].row(known.row).data() == cell;
    index.find(hash, same).is_some()
}

/// A hash of each cell.
fn hashes(cells: &[ArrayRef]) -> Result<Vec<u64>> {
    let rows = cells.first().map_or(0, |column| column.len());
    let plain = |column: &ArrayRef| match column.data_type() {
        // The key group, which has a hash of its own only in this shape.
        DataType::UInt8 => Ok(cast(column, &DataType::Int32)?),
        _ => Ok(Arc::clone(column)),
    };
    let mut hashes = Vec::new();
    route(&cells.iter().map(plain).collect::<Result<Vec<_>>>()?, rows, &mut hashes)?;
    Ok(hashes)
}

/// Notes the cells that a batch settles; none if it is of a whole snapshot.
fn settle(rows: &RecordBatch, settled: &mut Vec<Settled>) -> Result<()> {
    let Some(columns) = cell_of(rows)? else { return Ok(()) };
    let cells = if is_gone(rows) { rows.columns().to_vec() } else { picked(rows, &columns)? };
    match settled.iter_mut().find(|settled| settled.columns == columns) {
        Some(known) => known.add(cells),
        None => {
            let mut new = Settled::new(columns, &cells)?;
            new.add(cells)?;
            settled.push(new);
            Ok(())
        }
    }
}

/// The columns that make a batch's cells; `None` if it is of a whole snapshot.
fn cell_of(rows: &RecordBatch) -> Result<Option<Vec<usize>>> {
    let Some(text) = rows.schema_ref().metadata().get(CELL) else { return Ok(None) };
    let columns: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    let columns = columns.map_err(|_| Error::Internal(format!("a batch of changes has the cell columns '{text}'")))?;
    match is_gone(rows) && columns.len() != rows.num_columns() {
        true => Err(foreign()),
        false => Ok(Some(columns)),
    }
}

fn picked(rows: &RecordBatch, columns: &[usize]) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| rows.columns().get(*column).cloned().ok_or_else(foreign)).collect()
}

fn conformed(columns: Vec<ArrayRef>, types: &[DataType]) -> Result<Vec<ArrayRef>> {
    let one = |(column, wanted): (ArrayRef, &DataType)| match column.data_type() == wanted {
        true => Ok(column),
        false => Ok(cast(&column, wanted)?),
    };
    columns.into_iter().zip(types).map(one).collect()
}

/// The rows in cells that no newer list has settled, without mark.
fn unsettled(rows: &RecordBatch, settled: &[Settled]) -> Result<RecordBatch> {
    let mut keep = BooleanBufferBuilder::new(rows.num_rows());
    keep.append_n(rows.num_rows(), true);
    let mut gone = 0;
    for settled in settled {
        for row in settled.hits(picked(rows, &settled.columns)?)? {
            gone += usize::from(keep.get_bit(row as usize));
            keep.set_bit(row as usize, false);
        }
    }
    let mut metadata = rows.schema_ref().metadata().clone();
    metadata.remove(CELL);
    let rows = marked(rows, metadata)?;
    match gone {
        0 => Ok(rows),
        _ => Ok(filter_record_batch(&rows, &BooleanArray::new(keep.finish(), None))?),
    }
}

pub(super) fn foreign() -> Error {
    Error::Internal("changes are not of this operator's state".into())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;
    use crate::harness::{ints, long_multiset};

    fn put(rows: &[(i64, i64, i64)]) -> RecordBatch {
        let column = |pick: fn(&(i64, i64, i64)) -> i64| rows.iter().map(|row| Some(pick(row))).collect::<Vec<_>>();
        ints(&[("a", &column(|row| row.0)), ("b", &column(|row| row.1)), ("n", &column(|row| row.2))])
    }

    fn forget(columns: &[(usize, &[Option<i64>])]) -> RecordBatch {
        let (cell, columns): (Vec<usize>, Vec<_>) =
            columns.iter().map(|(at, values)| (*at, ints(&[("k", *values)]).column(0).clone())).unzip();
        let field = |column: ArrayRef| (Arc::new(Field::new("k", DataType::Int64, true)) as FieldRef, column);
        gone(columns.into_iter().map(field).collect(), &cell).unwrap()
    }

    fn state(lists: Vec<Vec<RecordBatch>>) -> Vec<Vec<Option<i64>>> {
        long_multiset(&merged(lists).unwrap())
    }

    fn rows(rows: &[(i64, i64, i64)]) -> Vec<Vec<Option<i64>>> {
        long_multiset(&[put(rows)])
    }

    #[test]
    fn newer_rows_replace_the_rows_of_their_cells() {
        let whole = put(&[(1, 1, 10), (1, 2, 20), (2, 1, 30)]);
        let newer = changed(&put(&[(1, 2, 21), (1, 2, 22), (3, 3, 40)]), &[0, 1]).unwrap();
        let newest = changed(&put(&[(3, 3, 41)]), &[0, 1]).unwrap();
        let all = rows(&[(1, 1, 10), (1, 2, 21), (1, 2, 22), (2, 1, 30), (3, 3, 41)]);
        assert_eq!(state(vec![vec![whole], vec![newer], vec![newest]]), all);
    }

    #[test]
    fn what_is_gone_goes_by_all_or_some_of_the_columns_and_may_come_back() {
        let whole = put(&[(1, 1, 10), (1, 2, 20), (2, 1, 30)]);
        let by_prefix = vec![forget(&[(0, &[Some(1)])]), changed(&put(&[(1, 7, 70)]), &[0, 1]).unwrap()];
        assert_eq!(state(vec![vec![whole.clone()], by_prefix.clone()]), rows(&[(2, 1, 30), (1, 7, 70)]));
        let last = vec![forget(&[(0, &[Some(1), Some(2)]), (1, &[Some(7), Some(1)])])];
        assert_eq!(state(vec![vec![whole], by_prefix, last]), rows(&[]));
    }

    #[test]
    fn changes_alone_are_a_state() {
        let first = changed(&put(&[(1, 1, 10), (2, 2, 20)]), &[0]).unwrap();
        let second = changed(&put(&[(2, 3, 21)]), &[0]).unwrap();
        let state = merged(vec![vec![first], vec![second]]).unwrap();
        assert_eq!(long_multiset(&state), rows(&[(1, 1, 10), (2, 3, 21)]));
        assert!(state.iter().all(|rows| rows.schema_ref().metadata().is_empty()));
    }

    #[test]
    fn changes_of_another_state_are_an_error() {
        let whole = ints(&[("a", &[Some(1)])]);
        let other = changed(&put(&[(1, 1, 1)]), &[1]).unwrap();
        assert!(merged(vec![vec![whole], vec![other]]).is_err());
    }
}
