//! The rows of a join as state, and back.
//!
//! ```text
//!  _group | _id | _matched | left | right           left or right is null: the row is one of the other side
//! ```
//!
//! In: the stores of both sides. Out: batches of such rows, whole or what has changed. What always holds: key group and id name a
//! row for as long as it is kept, also over restarts; no id of a key group is ever used for two rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray, UInt8Array, UInt64Array};
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, FieldRef, UInt8Type, UInt64Type};

use super::{Join, Keep, LEFT, RIGHT, nullable};
use crate::chunk::MAX_ROWS;
use crate::join::store::About;
use crate::{Error, Result, snapshot};

/// Key group and id name a row of the state: their positions.
pub(super) const CELL: [usize; 2] = [0, 1];

impl Join {
    /// All rows of both sides.
    pub(super) fn whole(&self) -> Result<Vec<RecordBatch>> {
        let mut state = Vec::new();
        for (port, side) in self.sides.iter().enumerate() {
            for (rows, about) in side.store.all()? {
                state.push(self.state_of(port, rows, about)?);
            }
        }
        Ok(state)
    }

    /// Takes a batch of state back, which may have rows of both sides.
    pub(super) fn take_back_state(&mut self, batch: &RecordBatch) -> Result<()> {
        for port in [LEFT, RIGHT] {
            let own = is_not_null(batch.columns().get(3 + port).ok_or_else(foreign)?)?;
            if own.true_count() > 0 {
                self.restore_side(port, &filter_record_batch(batch, &own)?)?;
            }
        }
        Ok(())
    }

    fn restore_side(&mut self, port: usize, state: &RecordBatch) -> Result<()> {
        let [ids, matched, sides @ ..] = snapshot::columns(state)? else { return Err(foreign()) };
        let saved = state.column(0).as_primitive::<UInt8Type>();
        let ids = ids.as_primitive_opt::<UInt64Type>().ok_or_else(foreign)?;
        let matched: Vec<bool> = matched.as_boolean_opt().ok_or_else(foreign)?.values().iter().collect();
        let rows = sides.get(port).and_then(|side| side.as_struct_opt()).ok_or_else(foreign)?;
        let rows = RecordBatch::try_new(self.sides[port].input.schema.clone(), rows.columns().to_vec())?;
        self.warm(port, &rows)?;
        let mut groups = Vec::new();
        self.sides[port].keys.insert(&mut self.index, &rows, &mut groups)?;
        // Semi joins have printed and forgotten their matched left rows, so none is skipped here.
        self.store(port, rows, &groups, &matched, Keep::All)?;
        if self.slots.len() != saved.len() {
            return Err(Error::Internal("the state of a join has rows that it would not keep".into()));
        }
        let store = &mut self.sides[port].store;
        let names = saved.values().iter().zip(ids.values());
        self.slots.iter().zip(names).for_each(|(slot, (group, id))| store.set_saved(*slot, *group, *id));
        Ok(())
    }

    /// One side's changes since the last call.
    pub(super) fn changes_of(&mut self, port: usize) -> Result<Vec<RecordBatch>> {
        let store = &mut self.sides[port].store;
        let (dirty, gone) = (store.take_dirty(), store.take_gone());
        let mut changes = Vec::new();
        if !gone.is_empty() {
            changes.push(rows_gone(&gone)?);
        }
        for slots in dirty.chunks(MAX_ROWS) {
            let rows = self.sides[port].store.gather(slots)?;
            let about = self.sides[port].store.about(slots);
            let rows = self.state_of(port, rows, about)?;
            let groups = rows.column(0).as_primitive::<UInt8Type>().values();
            self.sides[port].store.note_saved(slots, groups);
            changes.push(snapshot::changed(&rows, &CELL)?);
        }
        Ok(changes)
    }

    /// Rows of one side as state: id, matched, left row, right row, of which one is null.
    fn state_of(&self, port: usize, rows: RecordBatch, about: About) -> Result<RecordBatch> {
        let keys = self.sides[port].keys.columns(&rows);
        let sides = self.structs(port, &rows)?;
        self.state_of_columns(&keys, Arc::new(about.ids), Arc::new(about.matched), sides)
    }

    /// Rows of one side as a left and a right column, of which the other is null.
    pub(super) fn structs(&self, port: usize, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let fields = nullable(&self.sides[port].input.schema).fields().clone();
        let own: ArrayRef = Arc::new(StructArray::try_new(fields, rows.columns().to_vec(), None)?);
        let other = self.sides[1 - port].absent(rows.num_rows());
        Ok(if port == LEFT { vec![own, other] } else { vec![other, own] })
    }

    /// State of rows with these keys.
    pub(super) fn state_of_columns(
        &self,
        keys: &[ArrayRef],
        ids: ArrayRef,
        matched: ArrayRef,
        sides: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let rows = ids.len();
        let mut columns: Vec<(FieldRef, ArrayRef)> =
            vec![(id_field(), ids), (Arc::new(Field::new("_matched", DataType::Boolean, false)), matched)];
        let named = ["left", "right"].into_iter().zip(sides);
        columns.extend(named.map(|(name, side)| (Arc::new(Field::new(name, side.data_type().clone(), true)), side)));
        snapshot::keyed(self.hashing, keys, rows, columns)
    }
}

fn id_field() -> FieldRef {
    Arc::new(Field::new("_id", DataType::UInt64, false))
}

/// Rows of these key groups and ids, as gone.
fn rows_gone(gone: &[(u8, u64)]) -> Result<RecordBatch> {
    let groups = UInt8Array::from_iter_values(gone.iter().map(|(group, _)| *group));
    let ids = UInt64Array::from_iter_values(gone.iter().map(|(_, id)| *id));
    snapshot::gone(vec![snapshot::group_column(groups), (id_field(), Arc::new(ids))], &CELL)
}

fn foreign() -> Error {
    Error::Internal("the state is not of a join".into())
}
