//! `collect_list` (`array_agg`) and `collect_set`: the non-null values of a group as an array, empty for none.
//!
//! In: one column. Out: its values in the order they came; a set keeps the first of equal ones (NaN equals NaN).

use std::marker::PhantomData;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::DataType;
use hashbrown::DefaultHashBuilder;

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{RowList, RowSet, ValueCodec, each_element, list_column, list_type};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["collect_list", "array_agg"], constants: &[], resolve, build: build_list },
    Definition { names: &["collect_set"], constants: &[], resolve: resolve_set, build: build_set },
];

fn resolve(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    Ok(Signature { args: args.to_vec(), returns: list_type(args[0].clone()) })
}

fn resolve_set(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    let signature = resolve(args, options)?;
    match has_map(&args[0]) {
        true => Err(Mismatch::Unsupported { position: 0 }),
        false => Ok(signature),
    }
}

fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(_, _) => true,
        DataType::List(item) => has_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

fn build_list(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let codec = ValueCodec::new(&function.arg_types()[0])?;
    Ok(Folded::boxed(Collect { codec, insert: RowList::push, cells: PhantomData }))
}

fn build_set(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let codec = ValueCodec::new(&function.arg_types()[0])?;
    let seed = DefaultHashBuilder::default();
    let insert = move |set: &mut RowSet, row: &[u8]| {
        set.insert(row, &seed);
    };
    Ok(Folded::boxed(Collect { codec, insert, cells: PhantomData }))
}

/// A cell that collects encoded rows.
pub(super) trait Collection: Default + Send + Sync + 'static {
    fn list(&self) -> &RowList;
    fn heap_bytes(&self) -> usize;
}

impl Collection for RowList {
    fn list(&self) -> &RowList {
        self
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl Collection for RowSet {
    fn list(&self) -> &RowList {
        self.rows()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

/// `C` is the kind of cell, `I` puts a row into it.
struct Collect<C, I> {
    codec: ValueCodec,
    insert: I,
    cells: PhantomData<fn() -> C>,
}

impl<C: Collection, I: Fn(&mut C, &[u8]) + Send + Sync + 'static> Fold for Collect<C, I> {
    type Cell = C;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [C],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = self.codec.encode(&args[0])?;
        let rows = counting(&args[..1], filter);
        each_row(groups, rows.as_ref(), |row, group| (self.insert)(&mut cells[group], values.row(row).data()));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [C], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let values = self.codec.encode(state[0].as_list::<i32>().values())?;
        each_element(&state[0], |row, element| {
            (self.insert)(&mut cells[groups[row] as usize], values.row(element).data());
        });
        Ok(())
    }

    fn evaluate(&self, cells: &[&C]) -> Result<ArrayRef> {
        let elements = self.codec.decode(cells.iter().flat_map(|cell| cell.list().iter()).map(Some))?;
        list_column(cells.iter().map(|cell| cell.list().len()), elements)
    }

    fn state(&self, cells: &[&C]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(self.codec.data_type().clone())]
    }

    fn heap_bytes(&self, cell: &C) -> usize {
        Collection::heap_bytes(cell)
    }
}
