//! `count` and `count_if`: numbers of rows as BIGINT, 0 for no rows.
//!
//! In: any columns (none for `count(*)`). Out: how many rows have all of them, or where the condition is true.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int64Type};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row, passing};
use super::function::{Definition, Mismatch, Options, Signature, check_count};
use crate::Result;

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["count"], constants: &[], resolve: resolve_count, build: |_| build(Rows::Valid) },
    Definition { names: &["count_if"], constants: &[], resolve: resolve_count_if, build: |_| build(Rows::True) },
];

fn build(rows: Rows) -> Result<Box<dyn Accumulator>> {
    Ok(Folded::boxed(Count { rows }))
}

fn resolve_count(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    Ok(Signature { args: args.to_vec(), returns: DataType::Int64 })
}

fn resolve_count_if(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    match args[0] {
        DataType::Boolean | DataType::Null | DataType::Utf8 => {
            Ok(Signature { args: vec![DataType::Boolean], returns: DataType::Int64 })
        }
        _ => Err(Mismatch::ArgumentType { position: 0, expected: "BOOLEAN" }),
    }
}

/// Which rows count.
enum Rows {
    Valid,
    True,
}

struct Count {
    rows: Rows,
}

impl Fold for Count {
    type Cell = i64;

    fn update(
        &mut self,
        cells: &mut [i64],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = match self.rows {
            Rows::Valid => counting(args, filter),
            Rows::True => NullBuffer::union(passing(filter).as_ref(), passing(Some(args[0].as_boolean())).as_ref()),
        };
        each_row(groups, rows.as_ref(), |_, group| cells[group] += 1);
        Ok(())
    }

    fn merge(&mut self, cells: &mut [i64], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        each_row(groups, None, |row, group| cells[group] += counts[row]);
        Ok(())
    }

    fn evaluate(&self, cells: &[&i64]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(cells.iter().map(|cell| **cell).collect::<Vec<_>>())))
    }

    fn state(&self, cells: &[&i64]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }
}
