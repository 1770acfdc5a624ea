//! `row_number`, `rank`, `dense_rank` per partition, and top-k: over changing tables.
//!
//! In: a changelog with partition and sort columns. Out: its rows with their numbers, as far as they are kept. A change makes its
//! partition be numbered again; where only the first rows of a partition are kept, a first pass keeps so many in each of
//! [`BUCKETS`] parts of it, so that a change of a large partition costs little. What always holds: rows with equal sort keys are
//! in the order of their values, so the result does not depend on arrival.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int64Array, RecordBatch};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::SchemaRef;
use differential_dataflow::AsCollection;

use super::updates::{ColumnBytes, Updates, chunks, updates};
use super::{FineStream, Place};
use crate::Result;
use crate::change::batch;
use crate::change::rows::RowBytes;
use crate::change::short::{Bytes, Short};
use crate::keys::xxhash64_bytes;
use crate::sort::SortKey;

/// Parts of a partition of which the first pass keeps the first rows.
const BUCKETS: u64 = 256;

/// The most rows to keep a partition for which a first pass pays.
const FEW: u64 = 1024;

/// How rows are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// 1, 2, 3, ...
    RowNumber,
    /// Rows with equal sort keys have the number of the first of them.
    Rank,
    /// As `Rank`, without gaps.
    DenseRank,
}

/// What to number.
#[derive(Clone)]
pub struct Ranking {
    /// Columns whose rows are numbered together.
    pub partition: Vec<usize>,
    /// The order.
    pub order: Vec<SortKey>,
    /// The numbers wanted, behind the rows.
    pub numberings: Vec<Numbering>,
    /// Keeps only rows up to this number.
    pub keep: Option<(Numbering, u64)>,
    /// Leaves out so many rows at the start of each partition.
    pub skip: u64,
    /// Schema of the input, without sign.
    pub input: SchemaRef,
    /// Schema of the output, without sign: leading columns of the input, then the numbers.
    pub output: SchemaRef,
}

impl Ranking {
    fn width(&self) -> usize {
        self.output.fields().len().saturating_sub(self.numberings.len())
    }
}

/// A row's numbers.
type Numbers = Short<i64, 2>;

/// A row: its sort key, then itself.
type Sorted = (Bytes, Bytes);

/// Numbers the rows of `stream`.
///
/// # Errors
/// Rows that have no equality.
pub fn rank<'scope>(stream: FineStream<'scope>, place: &Place, spec: &Ranking) -> Result<FineStream<'scope>> {
    let mut rows = sorted(stream, place, spec)?;
    if spec.keep.is_some_and(|(_, most)| most <= FEW) {
        rows = first_pass(rows, spec);
    }
    let counter = Counter::new(spec);
    let numbered = rows.reduce_named("Rank", move |_, rows, output| counter.number(rows, output));
    let decode = RowBytes::new(Arc::new(spec.input.project(&(0..spec.width()).collect::<Vec<_>>())?))?;
    let output = spec.output.clone();
    let rows = numbered.map(|(_, row)| row);
    Ok(chunks(rows, place, move |rows| numbered_rows(rows, &decode, &output)))
}

/// Rows under their partitions.
fn sorted<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    spec: &Ranking,
) -> Result<Updates<'scope, (Bytes, Sorted)>> {
    let partition = ColumnBytes::new(&spec.input, &spec.partition)?;
    let columns: Vec<usize> = spec.order.iter().map(|key| key.column).collect();
    let options = |key: &SortKey| SortOptions { descending: key.descending, nulls_first: key.nulls_first };
    let options: Vec<SortOptions> = spec.order.iter().map(options).collect();
    let order = RowBytes::ordered(Arc::new(spec.input.project(&columns)?), &options)?;
    let shown = ColumnBytes::new(&spec.input, &(0..spec.width()).collect::<Vec<_>>())?;
    let make = move |rows: &RecordBatch, signs: &Int8Array, give: &mut dyn FnMut((Bytes, Sorted), i64)| {
        let keys: Vec<ArrayRef> = columns.iter().map(|column| rows.column(*column).clone()).collect();
        let (partitions, keys) = (partition.encode(rows)?, order.encode_columns(&keys, rows.num_rows())?);
        let shown = shown.encode(rows)?;
        for row in 0..rows.num_rows() {
            let sorted = (keys.row(row).data().into(), shown.row(row).data().into());
            give((partitions.row(row).data().into(), sorted), i64::from(signs.value(row)));
        }
        Ok(())
    };
    Ok(updates(stream, place, "Sorted", make).as_collection())
}

/// Keeps what can be among the first rows of its partition: the first rows of each bucket.
fn first_pass<'scope>(rows: Updates<'scope, (Bytes, Sorted)>, spec: &Ranking) -> Updates<'scope, (Bytes, Sorted)> {
    let counter = Counter::new(&Ranking { skip: 0, ..spec.clone() });
    let bucketed = rows.map(|(partition, sorted)| {
        let bucket = xxhash64_bytes(&sorted.1, 0) % BUCKETS;
        ((partition, bucket), sorted)
    });
    let kept = bucketed.reduce_named("First pass", move |_, rows, output| counter.first(rows, output));
    kept.map(|((partition, _), sorted)| (partition, sorted))
}

/// Counts through a partition.
struct Counter {
    numberings: Vec<Numbering>,
    keep: Option<(Numbering, u64)>,
    skip: u64,
}

/// Where counting is.
#[derive(Default)]
struct Count {
    row: u64,
    rank: u64,
    dense: u64,
}

impl Count {
    fn of(&self, numbering: Numbering) -> u64 {
        match numbering {
            Numbering::RowNumber => self.row,
            Numbering::Rank => self.rank,
            Numbering::DenseRank => self.dense,
        }
    }
}

impl Counter {
    fn new(spec: &Ranking) -> Self {
        Counter { numberings: spec.numberings.clone(), keep: spec.keep, skip: spec.skip }
    }

    /// Visits the rows that are kept, with the count at each.
    fn visit(&self, rows: &[(&Sorted, i64)], mut visit: impl FnMut(&Sorted, &Count)) {
        let mut count = Count::default();
        let mut last: Option<&Bytes> = None;
        for (row, times) in rows {
            if last != Some(&row.0) {
                count.rank = count.row + 1;
                count.dense += 1;
                last = Some(&row.0);
            }
            for _ in 0..*times {
                count.row += 1;
                if self.keep.is_some_and(|(numbering, most)| count.of(numbering) > most) {
                    return;
                }
                visit(row, &count);
            }
        }
    }

    fn number(&self, rows: &[(&Sorted, i64)], output: &mut Vec<((Numbers, Bytes), i64)>) {
        self.visit(rows, |row, count| {
            if count.row > self.skip {
                let numbers = self.numberings.iter().map(|numbering| count.of(*numbering) as i64).collect();
                output.push(((numbers, row.1.clone()), 1));
            }
        });
    }

    fn first(&self, rows: &[(&Sorted, i64)], output: &mut Vec<(Sorted, i64)>) {
        self.visit(rows, |row, _| match output.last_mut().filter(|(last, _)| last == row) {
            Some((_, times)) => *times += 1,
            None => output.push((row.clone(), 1)),
        });
    }
}

fn numbered_rows(rows: &[&(Numbers, Bytes)], decode: &RowBytes, output: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = decode.decode(rows.iter().map(|(_, row)| &**row))?.columns().to_vec();
    let width = columns.len();
    for (at, field) in output.fields().iter().enumerate().skip(width) {
        let numbers =
            Int64Array::from_iter_values(rows.iter().filter_map(|(numbers, _)| numbers.get(at - width).copied()));
        columns.push(cast(&numbers, field.data_type())?);
    }
    batch(output.clone(), columns, rows.len())
}
