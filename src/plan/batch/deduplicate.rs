//! Deduplication in batch: the first row of each key, in the order of the input.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashSet;

use super::step::Step;
use crate::Result;

/// Remembers the keys seen.
pub(super) struct DeduplicateStep {
    columns: Vec<usize>,
    converter: RowConverter,
    seen: HashSet<Box<[u8]>>,
}

impl DeduplicateStep {
    /// Keys are the columns at `columns`, which have these types.
    pub(super) fn try_new(columns: Vec<usize>, types: Vec<DataType>) -> Result<Self> {
        let converter = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        Ok(Self { columns, converter, seen: HashSet::new() })
    }
}

impl Step for DeduplicateStep {
    fn push(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> = self.columns.iter().map(|column| normalized(rows.column(*column))).collect();
        let keys = self.converter.convert_columns(&keys)?;
        let first: BooleanArray = keys.iter().map(|key| Some(self.is_first(key.as_ref()))).collect();
        Ok(filter_record_batch(&rows, &first)?)
    }
}

impl DeduplicateStep {
    fn is_first(&mut self, key: &[u8]) -> bool {
        let known = self.seen.contains(key);
        if !known {
            self.seen.insert(key.into());
        }
        !known
    }
}

/// Floats with one zero and one NaN, so that equal keys have equal bytes; other arrays as they are.
pub(super) fn normalized(array: &ArrayRef) -> ArrayRef {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, Float64Type};
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|x| if x.is_nan() { f64::NAN } else { x + 0.0 }),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|x| if x.is_nan() { f32::NAN } else { x + 0.0 }),
        ),
        _ => Arc::clone(array),
    }
}
