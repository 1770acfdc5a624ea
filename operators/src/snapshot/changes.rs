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

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use hashbrown::HashSet;

use super::sums;
use crate::keys::RowCodec;
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
    if lists.iter().flatten().any(|rows| rows.schema_ref().metadata().contains_key(SUM)) {
        return sums::added(lists);
    }
    let mut settled: Vec<Settled> = Vec::new();
    let mut state = Vec::new();
    for list in lists.into_iter().rev() {
        let mut own = Vec::new();
        for rows in list.iter().filter(|rows| !is_gone(rows)) {
            own.push(unsettled(rows, &settled)?);
        }
        own.append(&mut state);
        state = own;
        list.iter().try_for_each(|rows| settle(rows, &mut settled))?;
    }
    state.retain(|rows| rows.num_rows() > 0);
    Ok(state)
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
    cells: HashSet<Box<[u8]>>,
}

/// Notes the cells that a batch settles; none if it is of a whole snapshot.
fn settle(rows: &RecordBatch, settled: &mut Vec<Settled>) -> Result<()> {
    let Some(columns) = cell_of(rows)? else { return Ok(()) };
    let cells = if is_gone(rows) { rows.columns().to_vec() } else { picked(rows, &columns)? };
    let known = settled.iter().position(|settled| settled.columns == columns);
    let at = match known {
        Some(known) => known,
        None => {
            let types: Vec<DataType> = cells.iter().map(|column| column.data_type().clone()).collect();
            settled.push(Settled { columns, codec: RowCodec::new(&types)?, cells: HashSet::new() });
            settled.len() - 1
        }
    };
    let Settled { codec, cells: all, .. } = &mut settled[at];
    let encoded = codec.encode(&conformed(cells, codec.types())?)?;
    for cell in &encoded {
        all.get_or_insert_with(cell.data(), |cell| Box::from(cell));
    }
    Ok(())
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
    let mut keep = BooleanBuffer::new_set(rows.num_rows());
    for Settled { columns, codec, cells } in settled.iter().filter(|settled| !settled.cells.is_empty()) {
        let encoded = codec.encode(&conformed(picked(rows, columns)?, codec.types())?)?;
        let open = BooleanBuffer::collect_bool(rows.num_rows(), |row| !cells.contains(encoded.row(row).data()));
        keep = &keep & &open;
    }
    let mut metadata = rows.schema_ref().metadata().clone();
    metadata.remove(CELL);
    let rows = marked(rows, metadata)?;
    match keep.count_set_bits() == rows.num_rows() {
        true => Ok(rows),
        false => Ok(filter_record_batch(&rows, &BooleanArray::new(keep, None))?),
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
