//! Bitmaps of 32768 positions as Spark's `bitmap_*` functions make and join them: `bitmap_construct_agg` from positions,
//! `bitmap_or_agg` and `bitmap_and_agg` from bitmaps.
//!
//! In: one column of positions (BIGINT) or of bitmaps (BINARY, short ones ending in zeros). Out: 4096 bytes, never null: without
//! rows no bit is set, or for `bitmap_and_agg` every one. What always holds: the state is such a bitmap, so merging is joining.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};

use super::fold::{Fold, Folded, counting, each_row};
use super::function::{Definition, Mismatch, Options, Signature, check_count};
use crate::{Error, Result};

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition {
        names: &["bitmap_construct_agg"],
        constants: &[],
        resolve: resolve_positions,
        build: |_| Ok(Folded::boxed(Bitmap { of_positions: true, empty: 0, join: |a, b| a | b })),
    },
    Definition {
        names: &["bitmap_or_agg"],
        constants: &[],
        resolve: resolve_bitmaps,
        build: |_| Ok(Folded::boxed(Bitmap { of_positions: false, empty: 0, join: |a, b| a | b })),
    },
    Definition {
        names: &["bitmap_and_agg"],
        constants: &[],
        resolve: resolve_bitmaps,
        build: |_| Ok(Folded::boxed(Bitmap { of_positions: false, empty: u8::MAX, join: |a, b| a & b })),
    },
];

/// Bytes of a bitmap.
const BYTES: usize = 4096;

fn resolve_positions(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    match &args[0] {
        t if t.is_numeric() || matches!(t, DataType::Utf8 | DataType::Null) => {
            Ok(Signature { args: vec![DataType::Int64], returns: DataType::Binary })
        }
        _ => Err(Mismatch::ArgumentType { position: 0, expected: "BIGINT" }),
    }
}

fn resolve_bitmaps(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    match &args[0] {
        DataType::Binary | DataType::Null => Ok(Signature { args: vec![DataType::Binary], returns: DataType::Binary }),
        _ => Err(Mismatch::ArgumentType { position: 0, expected: "BINARY" }),
    }
}

struct Bitmap {
    of_positions: bool,
    /// A byte of the bitmap of no rows.
    empty: u8,
    join: fn(u8, u8) -> u8,
}

impl Bitmap {
    /// The cell's bitmap, made on first use.
    fn bytes<'a>(&self, cell: &'a mut Vec<u8>) -> &'a mut Vec<u8> {
        cell.resize(BYTES, self.empty);
        cell
    }

    /// Joins a bitmap in; what it is short of is zeros.
    fn take_in(&self, cell: &mut Vec<u8>, bitmap: &[u8]) {
        let given = bitmap.iter().copied().chain(std::iter::repeat(0));
        self.bytes(cell).iter_mut().zip(given).for_each(|(byte, other)| *byte = (self.join)(*byte, other));
    }

    fn bitmaps(&self, cells: &[&Vec<u8>]) -> ArrayRef {
        let none = vec![self.empty; BYTES];
        let bitmaps = cells.iter().map(|cell| if cell.is_empty() { none.as_slice() } else { cell.as_slice() });
        Arc::new(BinaryArray::from_iter_values(bitmaps))
    }
}

impl Fold for Bitmap {
    type Cell = Vec<u8>;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [Vec<u8>],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = counting(args, filter);
        if !self.of_positions {
            let bitmaps = args[0].as_binary::<i32>();
            each_row(groups, rows.as_ref(), |row, group| self.take_in(&mut cells[group], bitmaps.value(row)));
            return Ok(());
        }
        let positions = args[0].as_primitive::<Int64Type>().values();
        let mut outside = None;
        each_row(groups, rows.as_ref(), |row, group| match usize::try_from(positions[row]) {
            Ok(position) if position < BYTES * 8 => self.bytes(&mut cells[group])[position / 8] |= 1 << (position % 8),
            _ => outside = Some(positions[row]),
        });
        outside.map_or(Ok(()), |position| {
            let message = format!("the bit position {position} is out of bounds: a bitmap has {} bits", BYTES * 8);
            Err(Error::data("INVALID_BITMAP_POSITION", message))
        })
    }

    fn merge(&mut self, cells: &mut [Vec<u8>], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let bitmaps = state[0].as_binary::<i32>();
        each_row(groups, None, |row, group| self.take_in(&mut cells[group], bitmaps.value(row)));
        Ok(())
    }

    fn evaluate(&self, cells: &[&Vec<u8>]) -> Result<ArrayRef> {
        Ok(self.bitmaps(cells))
    }

    fn state(&self, cells: &[&Vec<u8>]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.bitmaps(cells)])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn heap_bytes(&self, cell: &Vec<u8>) -> usize {
        cell.capacity()
    }
}
