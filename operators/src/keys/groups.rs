//! Key groups: which part of keyed state a key belongs to for ever, and which worker owns the part in a run.
//!
//! In: key columns. Out: a hash a row, of which the lowest byte is the key's group. What always holds: equal keys of the same types have equal
//! hashes in every process and every run, whatever chunk they came in; a checkpoint says by which of the functions its groups were made.
//!
//! Numbers and short texts are folded by a product of 128 bits (as in wyhash, Wang Yi 2019), a step or two each; the rest by `xxhash64`.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{BinaryType, DataType, LargeBinaryType, LargeUtf8Type, Utf8Type};

use super::fixed::{self, Bits};
use super::normalize::normalize_floats;
use super::route::{hash_column, hash_values, route, xxhash64_bytes};
use crate::Result;

const FIRST: u64 = 0xa076_1d64_78bd_642f;
const SECOND: u64 = 0xe703_7ed1_a0b4_28db;

/// Virtual partitions of keyed state: a key belongs to one of these for ever, a worker owns some of them for a run.
pub const KEY_GROUPS: usize = 256;

/// The key group of a hash.
#[inline]
pub fn key_group(hash: u64) -> usize {
    (hash % KEY_GROUPS as u64) as usize
}

/// Which of so many workers owns a key group.
#[inline]
pub fn owner(key_group: usize, workers: usize) -> usize {
    key_group % workers
}

/// By which function keys are hashed to key groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hashing {
    /// Spark's `xxhash64`: checkpoints that were begun before there was another.
    Xxhash64,
    /// Folded products.
    #[default]
    Folded,
}

impl Hashing {
    /// Sets `hashes` to the hash of each of the `rows` rows of `columns`; no columns give the same to all.
    ///
    /// # Errors
    /// A type that has no equality.
    pub fn hash(self, columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> Result<()> {
        match self {
            Hashing::Xxhash64 => route(columns, rows, hashes),
            Hashing::Folded => {
                hashes.clear();
                hashes.resize(rows, FIRST);
                columns.iter().try_for_each(|column| add(column, hashes))
            }
        }
    }
}

fn add(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    match column.data_type() {
        DataType::Utf8 => hash_values(column.as_bytes::<Utf8Type>(), hashes, within),
        DataType::LargeUtf8 => hash_values(column.as_bytes::<LargeUtf8Type>(), hashes, within),
        DataType::Binary => hash_values(column.as_bytes::<BinaryType>(), hashes, within),
        DataType::LargeBinary => hash_values(column.as_bytes::<LargeBinaryType>(), hashes, within),
        other => match fixed::width(other) {
            Some(width) => return add_fixed(column, width, hashes),
            None => return hash_column(column, hashes),
        },
    }
    Ok(())
}

fn add_fixed(column: &ArrayRef, width: usize, hashes: &mut [u64]) -> Result<()> {
    let column = normalize_floats(column)?;
    match width {
        1 => add_words::<u8>(&column, hashes),
        2 => add_words::<u16>(&column, hashes),
        4 => add_words::<u32>(&column, hashes),
        _ => add_words::<u64>(&column, hashes),
    }
}

fn add_words<T: Bits>(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    let (values, nulls) = fixed::parts(column)?;
    let words = fixed::widened::<T>(values).zip(hashes);
    match nulls {
        None => words.for_each(|(word, hash)| *hash = fold(*hash ^ word, SECOND)),
        Some(nulls) => words.zip(nulls).filter(|(_, valid)| *valid).for_each(|((word, hash), _)| {
            *hash = fold(*hash ^ word, SECOND);
        }),
    }
    Ok(())
}

/// The hash of what lies here in a column's bytes. Up to 16 bytes are cut out of the block that begins with them, whatever their length.
#[inline]
fn within(column: &[u8], start: usize, end: usize, hash: u64) -> u64 {
    let bytes = &column[start..end];
    let block = match column[start..].first_chunk::<16>() {
        _ if bytes.len() > 16 => return xxhash64_bytes(bytes, hash),
        Some(block) => u128::from_le_bytes(*block),
        None => padded(bytes),
    };
    // A shift by all bits would shift by none.
    let block = if bytes.len() < 16 { block & ((1 << (8 * bytes.len())) - 1) } else { block };
    fold(block as u64 ^ hash, (block >> 64) as u64 ^ SECOND ^ bytes.len() as u64)
}

/// Up to 16 bytes, the first the lowest.
#[cold]
fn padded(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |block, byte| block << 8 | u128::from(*byte))
}

/// Both halves of a product.
#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
        let mut hashes = Vec::new();
        Hashing::Folded.hash(columns, columns[0].len(), &mut hashes).unwrap();
        hashes
    }

    /// What a checkpoint's groups are made by must never change.
    #[test]
    fn groups_are_what_they_were() {
        let groups = |column: ArrayRef| hashes(&[column]).into_iter().map(key_group).collect::<Vec<_>>();
        assert_eq!(groups(Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), None]))), GROUPS_OF_LONGS);
        assert_eq!(groups(Arc::new(Int32Array::from(vec![0, 1, -1]))), GROUPS_OF_INTS);
        let texts = ["", "a", "ab", "hello world", "sixteen letters!", "seventeen letters"];
        assert_eq!(groups(Arc::new(StringArray::from(texts.to_vec()))), GROUPS_OF_TEXTS);
    }

    const GROUPS_OF_LONGS: [usize; 4] = [44, 66, 48, 47];
    const GROUPS_OF_INTS: [usize; 3] = [44, 66, 252];
    const GROUPS_OF_TEXTS: [usize; 6] = [44, 88, 126, 98, 115, 3];

    #[test]
    fn a_hash_does_not_depend_on_what_lies_around_the_value() {
        let text: Vec<u8> = (0..40u8).map(|at| at.wrapping_mul(89).wrapping_add(7)).collect();
        for (start, end) in (0..text.len()).flat_map(|start| (start..=text.len()).map(move |end| (start, end))) {
            assert_eq!(within(&text, start, end, FIRST), within(&text[start..end], 0, end - start, FIRST));
        }
    }

    #[test]
    fn floats_that_are_equal_have_one_hash() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let hashes = hashes(&[floats]);
        assert_eq!((hashes[0], hashes[2]), (hashes[1], hashes[3]));
    }

    #[test]
    fn groups_are_of_about_one_size() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..256_000).map(|n| n * 1000)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..256_000).map(|n| format!("device-{n}"))));
        for columns in [vec![numbers.clone()], vec![texts.clone()], vec![numbers, texts]] {
            let mut sizes = [0; KEY_GROUPS];
            hashes(&columns).into_iter().for_each(|hash| sizes[key_group(hash)] += 1);
            assert!(sizes.iter().all(|size| (800..1200).contains(size)), "{sizes:?}");
        }
    }
}
