//! `bit_and`, `bit_or`, `bit_xor` of whole numbers, and `bool_and`, `bool_or` of booleans, which are the same on one bit.
//!
//! In: one column. Out: all its non-null values joined, in the column's type; null if there is none.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, check_count};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    define(&["bit_and"], resolve_integral, |f| build(f, |a, b| a & b)),
    define(&["bit_or"], resolve_integral, |f| build(f, |a, b| a | b)),
    define(&["bit_xor"], resolve_integral, |f| build(f, |a, b| a ^ b)),
    define(&["bool_and", "every"], resolve_boolean, |f| build(f, |a, b| a & b)),
    define(&["bool_or", "some", "any"], resolve_boolean, |f| build(f, |a, b| a | b)),
];

const fn define(
    names: &'static [&'static str],
    resolve: fn(&[DataType], &Options) -> Result<Signature, Mismatch>,
    build: fn(&AggregateFunction) -> Result<Box<dyn Accumulator>>,
) -> Definition {
    Definition { names, constants: &[], resolve, build }
}

fn resolve_integral(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    let data_type = match &args[0] {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => args[0].clone(),
        DataType::Utf8 | DataType::Null => DataType::Int64,
        _ => return Err(Mismatch::ArgumentType { position: 0, expected: "INTEGRAL" }),
    };
    Ok(Signature { args: vec![data_type.clone()], returns: data_type })
}

fn resolve_boolean(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    match &args[0] {
        DataType::Boolean | DataType::Utf8 | DataType::Null => {
            Ok(Signature { args: vec![DataType::Boolean], returns: DataType::Boolean })
        }
        _ => Err(Mismatch::ArgumentType { position: 0, expected: "BOOLEAN" }),
    }
}

fn build(function: &AggregateFunction, join: fn(i64, i64) -> i64) -> Result<Box<dyn Accumulator>> {
    Ok(Folded::boxed(Bits { join, data_type: function.return_type().clone() }))
}

struct Bits {
    join: fn(i64, i64) -> i64,
    data_type: DataType,
}

impl Fold for Bits {
    type Cell = Option<i64>;

    fn update(
        &mut self,
        cells: &mut [Option<i64>],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let column = cast(&args[0], &DataType::Int64)?;
        let values = column.as_primitive::<Int64Type>().values();
        each_row(groups, counting(&args[..1], filter).as_ref(), |row, group| {
            let cell = &mut cells[group];
            *cell = Some(cell.map_or(values[row], |old| (self.join)(old, values[row])));
        });
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Option<i64>], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.update(cells, groups, state, None)
    }

    fn evaluate(&self, cells: &[&Option<i64>]) -> Result<ArrayRef> {
        let values: ArrayRef = Arc::new(cells.iter().map(|cell| **cell).collect::<Int64Array>());
        Ok(cast(&values, &self.data_type)?)
    }

    fn state(&self, cells: &[&Option<i64>]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }
}
