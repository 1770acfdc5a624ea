//! State whose rows are counted: what changes of counts come to.
//!
//! In: batches whose rows have a count, whole snapshots and changes alike. Out: each different row once with the sum of its counts;
//! rows whose counts cancel are not there. What always holds: the result does not depend on how rows were split over batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use hashbrown::HashMap;

use super::changes::{SUM, foreign};
use crate::Result;
use crate::keys::RowCodec;

/// The rows of all lists with their counts added up.
pub(super) fn added(lists: Vec<Vec<RecordBatch>>) -> Result<Vec<RecordBatch>> {
    let mut batches: Vec<RecordBatch> = lists.into_iter().flatten().filter(|rows| rows.num_rows() > 0).collect();
    if batches.len() < 2 {
        return Ok(batches);
    }
    let Some(last) = batches.pop() else { return Ok(batches) };
    let mut sums = Sums::new(&last)?;
    for rows in batches.iter().chain([&last]) {
        sums.add(rows)?;
    }
    sums.finish()
}

struct Sums {
    schema: SchemaRef,
    /// Position of the count.
    count: usize,
    codec: RowCodec,
    sums: HashMap<Box<[u8]>, i64>,
}

impl Sums {
    /// For rows like these.
    fn new(rows: &RecordBatch) -> Result<Self> {
        let schema = rows.schema();
        let count: usize = schema.metadata().get(SUM).and_then(|at| at.parse().ok()).ok_or_else(foreign)?;
        let others = schema.fields().iter().enumerate().filter(|(at, _)| *at != count);
        let types: Vec<DataType> = others.map(|(_, field)| field.data_type().clone()).collect();
        Ok(Sums { codec: RowCodec::new(&types)?, schema, count, sums: HashMap::new() })
    }

    fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut columns = rows.columns().to_vec();
        if columns.len() <= self.count {
            return Err(foreign());
        }
        let counts = columns.remove(self.count);
        let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?;
        let encoded = self.codec.encode(&columns)?;
        for (row, count) in encoded.iter().zip(counts.values()) {
            *self.sums.entry_ref(row.data()).or_insert(0) += count;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<RecordBatch>> {
        self.sums.retain(|_, sum| *sum != 0);
        if self.sums.is_empty() {
            return Ok(Vec::new());
        }
        let mut columns = self.codec.decode(self.sums.keys().map(AsRef::as_ref))?;
        let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(self.sums.values().copied()));
        columns.insert(self.count, counts);
        Ok(vec![RecordBatch::try_new(self.schema, columns)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{merged, summed};
    use crate::harness::{ints, long_multiset};

    #[test]
    fn counts_add_up_over_snapshots_changes_and_workers() {
        let list = |rows: &[(i64, i64)]| {
            let column = |pick: fn(&(i64, i64)) -> i64| rows.iter().map(|row| Some(pick(row))).collect::<Vec<_>>();
            summed(&ints(&[("k", &column(|row| row.0)), ("n", &column(|row| row.1))]), 1).unwrap()
        };
        let lists = vec![vec![list(&[(1, 2), (2, 1)]), list(&[(1, 1)])], vec![list(&[(2, -1), (3, 4)])]];
        let state = merged(lists).unwrap();
        assert_eq!(long_multiset(&state), [vec![Some(1), Some(3)], vec![Some(3), Some(4)]]);
        let again = merged(vec![state, vec![list(&[(1, -3), (3, -4)])]]).unwrap();
        assert!(again.is_empty());
    }
}
