//! DISTINCT for any function: a set of argument rows a group, and the function over those that were new to their set.
//!
//! In: argument rows. Out: the function over each distinct row once. What always holds: the sets are the state, so merging parts
//! never counts a row twice; a row costs a look into its group's set, and a result does not walk the set again.

use arrow::array::{ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::DataType;
use hashbrown::DefaultHashBuilder;

use super::Accumulator;
use super::fold::{each_row, passing};
use super::function::AggregateFunction;
use super::rows::{RowSet, each_element, list_column, list_type, struct_column, struct_type};
use crate::Result;
use crate::keys::{RowCodec, normalize_floats};

/// A function over distinct argument rows.
pub(super) struct Distinct {
    /// The function over the rows of all sets.
    inner: Box<dyn Accumulator>,
    codec: RowCodec,
    seed: DefaultHashBuilder,
    /// The set of each group.
    sets: Vec<RowSet>,
}

impl Distinct {
    /// The accumulator of `function` with DISTINCT.
    pub fn boxed(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
        let codec = RowCodec::new(function.arg_types())?;
        let inner = function.plain_accumulator()?;
        Ok(Box::new(Distinct { inner, codec, seed: DefaultHashBuilder::default(), sets: Vec::new() }))
    }

    fn grow(&mut self, group_count: usize) {
        if self.sets.len() < group_count {
            self.sets.resize_with(group_count, RowSet::default);
        }
    }

    /// The sets of these groups; a group nobody updated has none.
    fn sets(&self, groups: &[u32]) -> impl Iterator<Item = Option<&RowSet>> {
        groups.iter().map(|group| self.sets.get(*group as usize))
    }
}

impl Accumulator for Distinct {
    fn update(
        &mut self,
        groups: &[u32],
        group_count: usize,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        self.grow(group_count);
        // A set holds NaN and 0.0 once each, whatever bits they came with; so does what enters the function.
        let args = args.iter().map(normalize_floats).collect::<Result<Vec<_>>>()?;
        let rows = self.codec.encode(&args)?;
        let mut new = BooleanBufferBuilder::new(groups.len());
        new.append_n(groups.len(), false);
        each_row(groups, passing(filter).as_ref(), |row, group| {
            new.set_bit(row, self.sets[group].insert(rows.row(row).data(), &self.seed).1);
        });
        self.inner.update(groups, group_count, &args, Some(&BooleanArray::new(new.finish(), None)))
    }

    fn merge(&mut self, groups: &[u32], group_count: usize, state: &[ArrayRef]) -> Result<()> {
        self.grow(group_count);
        let columns = state[0].as_list::<i32>().values().as_struct().columns();
        let rows = self.codec.encode(columns)?;
        let (mut new, mut of) = (Vec::new(), Vec::new());
        each_element(&state[0], |row, element| {
            let group = groups[row];
            if self.sets[group as usize].insert(rows.row(element).data(), &self.seed).1 {
                new.push(element as u32);
                of.push(group);
            }
        });
        self.inner.update(&of, group_count, &take_arrays(columns, &UInt32Array::from(new), None)?, None)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.inner.evaluate(groups)
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let lengths: Vec<usize> = self.sets(groups).map(|set| set.map_or(0, |set| set.rows().len())).collect();
        let columns = self.codec.decode(self.sets(groups).flatten().flat_map(|set| set.rows().iter()))?;
        let rows = struct_column(columns, lengths.iter().sum())?;
        Ok(vec![list_column(lengths, rows)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(struct_type(self.codec.types()))]
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            if let Some(set) = self.sets.get_mut(group as usize) {
                *set = RowSet::default();
            }
        }
        self.inner.clear(groups);
    }

    fn size_bytes(&self) -> usize {
        let sets: usize = self.sets.iter().map(RowSet::heap_bytes).sum();
        self.inner.size_bytes() + sets + self.sets.capacity() * size_of::<RowSet>()
    }
}
