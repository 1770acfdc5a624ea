//! One table of groups: keys, one accumulator per aggregate, and which groups received a row since the last flush.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};

use super::GroupSpec;
use crate::aggregate::Accumulator;
use crate::keys::{KeyTable, key_group, route};
use crate::{Error, Result};

/// Groups with their aggregate states.
pub(super) struct Table {
    pub keys: KeyTable,
    states: Vec<Box<dyn Accumulator>>,
    touched: Vec<u32>,
    /// `is_touched[group]`, so that `touched` names each group once.
    is_touched: Vec<bool>,
}

impl Table {
    pub fn new(spec: &GroupSpec) -> Result<Self> {
        let states = spec.aggregates.iter().map(|call| call.function.accumulator());
        Ok(Table {
            keys: KeyTable::new(&key_fields(spec))?,
            states: states.collect::<Result<_>>()?,
            touched: Vec::new(),
            is_touched: Vec::new(),
        })
    }

    /// Adds rows; `groups` is left with each row's group.
    pub fn update(&mut self, spec: &GroupSpec, rows: &RecordBatch, groups: &mut Vec<u32>) -> Result<()> {
        self.keys.lookup_or_insert(&spec.key_columns(rows), rows.num_rows(), groups)?;
        let count = self.keys.group_count();
        for (state, call) in self.states.iter_mut().zip(&spec.aggregates) {
            let args: Vec<ArrayRef> = call.args.iter().map(|&arg| rows.column(arg).clone()).collect();
            let filter = call.filter.map(|filter| boolean(rows.column(filter))).transpose()?;
            state.update(groups, count, &args, filter)?;
        }
        Ok(())
    }

    /// Notes that these groups received a row.
    pub fn touch(&mut self, groups: &[u32]) {
        self.is_touched.resize(self.keys.group_count(), false);
        for &group in groups {
            if !std::mem::replace(&mut self.is_touched[group as usize], true) {
                self.touched.push(group);
            }
        }
    }

    /// The groups that received a row since the last call.
    pub fn take_touched(&mut self) -> Vec<u32> {
        self.touched.iter().for_each(|&group| self.is_touched[group as usize] = false);
        std::mem::take(&mut self.touched)
    }

    /// The one group of a global aggregate exists also without rows.
    pub fn ensure_global(&mut self, spec: &GroupSpec) -> Result<()> {
        let mut groups = Vec::new();
        self.keys.lookup_or_insert(&[], 1, &mut groups)?;
        for (state, call) in self.states.iter_mut().zip(&spec.aggregates) {
            let types = call.args.iter().map(|&arg| spec.input.field(arg).data_type());
            let empty: Vec<ArrayRef> = types.map(arrow::array::new_empty_array).collect();
            state.update(&[], 1, &empty, None)?;
        }
        Ok(())
    }

    /// All groups.
    pub fn groups(&self) -> Vec<u32> {
        self.keys.groups().collect()
    }

    /// Key columns and aggregate values of these groups.
    pub fn rows(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.keys(groups)?;
        for state in &self.states {
            columns.push(state.evaluate(groups)?);
        }
        Ok(columns)
    }

    /// Merges another table's groups into this one.
    pub fn absorb(&mut self, other: &Table) -> Result<()> {
        let theirs = other.groups();
        let mut ours = Vec::new();
        self.keys.lookup_or_insert(&other.keys.keys(&theirs)?, theirs.len(), &mut ours)?;
        let count = self.keys.group_count();
        for (state, other) in self.states.iter_mut().zip(&other.states) {
            state.merge(&ours, count, &other.state(&theirs)?)?;
        }
        Ok(())
    }

    /// Forgets groups.
    pub fn remove(&mut self, groups: &[u32]) {
        self.keys.remove(groups);
        self.states.iter_mut().for_each(|state| state.clear(groups));
    }

    /// Live groups.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        let states: usize = self.states.iter().map(|state| state.size_bytes()).sum();
        self.keys.size_bytes() + states + self.is_touched.capacity() + 4 * self.touched.capacity()
    }

    /// `_group`, `_bucket`, keys, states of these groups.
    pub fn snapshot(&self, groups: &[u32], buckets: Int64Array) -> Result<RecordBatch> {
        let keys = self.keys.keys(groups)?;
        let mut hashes = Vec::with_capacity(groups.len());
        route(&keys, groups.len(), &mut hashes)?;
        let key_groups = UInt8Array::from_iter_values(hashes.iter().map(|hash| key_group(*hash) as u8));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(key_groups), Arc::new(buckets)];
        columns.extend(keys);
        for state in &self.states {
            columns.extend(state.state(groups)?);
        }
        Ok(RecordBatch::try_new(snapshot_schema(&columns), columns)?)
    }

    /// Takes rows of a snapshot back; returns each row's group.
    pub fn restore(&mut self, spec: &GroupSpec, rows: &RecordBatch) -> Result<Vec<u32>> {
        let keys = spec.keys.len();
        let mut groups = Vec::new();
        self.keys.lookup_or_insert(&rows.columns()[2..2 + keys], rows.num_rows(), &mut groups)?;
        let mut at = 2 + keys;
        let count = self.keys.group_count();
        for state in &mut self.states {
            let width = state.state_types().len();
            state.merge(&groups, count, &rows.columns()[at..at + width])?;
            at += width;
        }
        Ok(groups)
    }
}

/// The `_bucket` column of a snapshot.
pub(super) fn buckets(rows: &RecordBatch) -> &Int64Array {
    rows.column(1).as_primitive::<Int64Type>()
}

fn boolean(column: &ArrayRef) -> Result<&BooleanArray> {
    column.as_boolean_opt().ok_or_else(|| Error::Internal("an aggregate's filter is not boolean".into()))
}

fn key_fields(spec: &GroupSpec) -> Vec<FieldRef> {
    spec.keys.iter().map(|&key| spec.input.fields()[key].clone()).collect()
}

fn snapshot_schema(columns: &[ArrayRef]) -> SchemaRef {
    let name = |i: usize| match i {
        0 => "_group".to_owned(),
        1 => "_bucket".to_owned(),
        i => format!("c{i}"),
    };
    let field = |(i, column): (usize, &ArrayRef)| Field::new(name(i), column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    debug_assert_eq!(fields[0].data_type(), &DataType::UInt8);
    Arc::new(Schema::new(fields))
}
