//! `ORDER BY` in complete mode, with `LIMIT` and `OFFSET`: the rows of an epoch leave sorted when it closes.
//!
//! In: the rows of an epoch on one worker ([`crate::exchange::Route::Single`]), the sort keys among their columns. Out: the
//! rows in order, without the columns that are only sort keys. What always holds: NaN is the largest number, -0.0 equals 0.0,
//! rows with equal keys keep their order of arrival; nothing is kept from one epoch to the next.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::DataType;

use crate::chunk::MAX_ROWS;
use crate::driver::Logic;
use crate::keys::RowCodec;
use crate::{Chunk, Error, Output, Result};

/// One sort key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// The column that holds it.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Nulls before all values; Spark's default for ascending keys.
    pub nulls_first: bool,
}

/// The operator behind `orderBy` in complete mode.
pub struct Sort {
    keys: Vec<SortKey>,
    /// Leading columns that are results; the others are only sort keys.
    width: usize,
    offset: usize,
    /// Rows that have to be kept to know the result: offset and limit.
    enough: Option<usize>,
    rows: Vec<RecordBatch>,
    count: usize,
}

impl Sort {
    /// Sorts by `keys` and emits the first `width` columns of rows `offset..offset + limit`.
    pub fn new(keys: Vec<SortKey>, width: usize, limit: Option<usize>, offset: usize) -> Self {
        let enough = limit.map(|limit| limit.saturating_add(offset));
        Sort { keys, width, offset, enough, rows: Vec::new(), count: 0 }
    }

    /// Throws away what cannot be among the result, so that a top-k keeps little more than k rows.
    fn prune(&mut self) -> Result<()> {
        let Some(enough) = self.enough else { return Ok(()) };
        if self.count > enough.saturating_mul(2).max(MAX_ROWS)
            && let Some(best) = self.sorted()?
        {
            self.count = best.num_rows();
            self.rows = vec![best];
        }
        Ok(())
    }

    /// The rows kept so far in order, no more than are enough.
    fn sorted(&self) -> Result<Option<RecordBatch>> {
        let Some(first) = self.rows.first() else { return Ok(None) };
        let all = concat_batches(&first.schema(), &self.rows)?;
        let mut order = self.order(&all)?;
        order.truncate(self.enough.unwrap_or(usize::MAX));
        Ok(Some(take_record_batch(&all, &UInt32Array::from(order))?))
    }

    fn order(&self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        if self.keys.is_empty() {
            return Ok(order);
        }
        let keys = self.keys.iter().map(|key| rows.columns().get(key.column).cloned());
        let keys: Option<Vec<ArrayRef>> = keys.collect();
        let keys = keys.ok_or_else(|| Error::Internal("a sort key is no column".into()))?;
        let types: Vec<DataType> = keys.iter().map(|key| key.data_type().clone()).collect();
        let options = |key: &SortKey| SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        let options: Vec<SortOptions> = self.keys.iter().map(options).collect();
        let encoded = RowCodec::with_order(&types, &options)?.encode(&keys)?;
        order.sort_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)));
        Ok(order)
    }
}

impl Logic for Sort {
    fn on_rows(&mut self, _: usize, chunk: Chunk, _: &mut Output) -> Result<()> {
        self.count += chunk.len();
        self.rows.extend(chunk.into_rows());
        self.prune()
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, _: u64, out: &mut Output) -> Result<()> {
        if let Some(sorted) = self.sorted()? {
            let offset = self.offset.min(sorted.num_rows());
            let result = sorted.slice(offset, sorted.num_rows() - offset);
            out.rows(result.project(&(0..self.width).collect::<Vec<_>>())?);
        }
        self.rows.clear();
        self.count = 0;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::Pace;
    use crate::exchange::Route;
    use crate::harness::{Harness, ints, long_rows};

    fn by_value(a: Option<i64>, b: Option<i64>, key: SortKey) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if key.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) if key.nulls_first => a.is_some().cmp(&b.is_some()),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }

    fn run(rows: &[(Option<i64>, i64)], sort: impl Fn() -> Sort + 'static, chunk: usize) -> Vec<Vec<Option<i64>>> {
        let mut harness = Harness::new(Pace::Epoch, vec![Some(Route::Single)], 1, move || Ok(sort()));
        for rows in rows.chunks(chunk) {
            let values: Vec<_> = rows.iter().map(|row| Some(row.1)).collect();
            let keys: Vec<_> = rows.iter().map(|row| row.0).collect();
            harness.push(0, ints(&[("v", &values), ("k", &keys)])).unwrap();
        }
        harness.close().unwrap();
        long_rows(&harness.take())
    }

    proptest! {
        #[test]
        fn is_a_stable_sort(keys in prop::collection::vec(prop::option::of(0i64..5), 0..40), descending: bool, nulls_first: bool, limit in prop::option::of(0usize..30), offset in 0usize..5, chunk in 1usize..9) {
            let key = SortKey { column: 1, descending, nulls_first };
            let rows: Vec<(Option<i64>, i64)> = keys.into_iter().zip(0..).collect();
            let mut expected = rows.clone();
            expected.sort_by(|a, b| by_value(a.0, b.0, key));
            let expected = expected.into_iter().skip(offset).take(limit.unwrap_or(usize::MAX));
            let expected: Vec<_> = expected.map(|row| vec![Some(row.1)]).collect();
            prop_assert_eq!(run(&rows, move || Sort::new(vec![key], 1, limit, offset), chunk), expected);
        }
    }

    #[test]
    fn a_top_k_keeps_little_more_than_k_rows() {
        let key = SortKey { column: 1, descending: false, nulls_first: true };
        let mut sort = Sort::new(vec![key], 1, Some(3), 0);
        let mut out = Output::new(Pace::Epoch);
        for start in (0..100_000i64).step_by(1000) {
            let values: Vec<Option<i64>> = (start..start + 1000).map(Some).collect();
            let rows = ints(&[("v", &values), ("k", &values)]);
            sort.on_rows(0, Chunk::new(rows, 0, 0), &mut out).unwrap();
            assert!(sort.count <= MAX_ROWS + 1000);
        }
        sort.on_complete(0, &mut out).unwrap();
        let rows: Vec<RecordBatch> = out.take().into_iter().filter_map(Chunk::into_rows).collect();
        assert_eq!(long_rows(&rows), [[Some(0)], [Some(1)], [Some(2)]]);
    }
}
