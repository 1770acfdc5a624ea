//! Group ids of join keys, where a null in a key that is not null-safe makes the row match nothing.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::filter;
use arrow::datatypes::{FieldRef, SchemaRef};

use crate::keys::{ABSENT, KeyTable};
use crate::{Error, Result};

/// The key columns of one side.
#[derive(Debug, Clone)]
pub(super) struct SideKeys {
    columns: Vec<usize>,
    /// Per column: null equals null.
    null_safe: Vec<bool>,
}

impl SideKeys {
    pub(super) fn new(columns: Vec<usize>, null_safe: Vec<bool>) -> Self {
        SideKeys { columns, null_safe }
    }

    /// An empty table for keys of this side's types.
    pub(super) fn table(&self, schema: &SchemaRef) -> Result<KeyTable> {
        let field = |column: &usize| schema.fields().get(*column).cloned();
        let fields: Option<Vec<FieldRef>> = self.columns.iter().map(field).collect();
        KeyTable::new(&fields.ok_or_else(|| Error::Internal("a join key is no column".into()))?)
    }

    /// The key columns of a batch.
    pub(super) fn columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.columns.iter().map(|column| rows.column(*column).clone()).collect()
    }

    /// The rows that can match something; `None` if all can.
    pub(super) fn matchable(&self, rows: &RecordBatch) -> Option<NullBuffer> {
        let strict = self.columns.iter().zip(&self.null_safe).filter(|(_, null_safe)| !**null_safe);
        let nulls = strict.map(|(column, _)| rows.column(*column).logical_nulls());
        let nulls = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()));
        nulls.filter(|nulls| nulls.null_count() > 0)
    }

    /// Sets `groups` to each row's group, new ones for unknown keys; [`ABSENT`] for rows that can match nothing.
    pub(super) fn insert(&self, table: &mut KeyTable, rows: &RecordBatch, groups: &mut Vec<u32>) -> Result<()> {
        self.groups(rows, groups, |keys, rows, groups| table.lookup_or_insert(keys, rows, groups))
    }

    /// Sets `groups` to each row's group; [`ABSENT`] for unknown keys and for rows that can match nothing.
    pub(super) fn lookup(&self, table: &KeyTable, rows: &RecordBatch, groups: &mut Vec<u32>) -> Result<()> {
        self.groups(rows, groups, |keys, rows, groups| table.lookup(keys, rows, groups))
    }

    fn groups(
        &self,
        rows: &RecordBatch,
        groups: &mut Vec<u32>,
        mut find: impl FnMut(&[ArrayRef], usize, &mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        let keys = self.columns(rows);
        let Some(matchable) = self.matchable(rows) else { return find(&keys, rows.num_rows(), groups) };
        let mask = BooleanArray::new(matchable.inner().clone(), None);
        let keys = keys.iter().map(|key| Ok(filter(key, &mask)?)).collect::<Result<Vec<_>>>()?;
        let mut found = Vec::new();
        find(&keys, mask.true_count(), &mut found)?;
        groups.clear();
        groups.resize(rows.num_rows(), ABSENT);
        matchable.valid_indices().zip(found).for_each(|(row, group)| groups[row] = group);
        Ok(())
    }
}
