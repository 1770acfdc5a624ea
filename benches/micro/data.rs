//! Input of the benches: readings with an id, a name, a value and a time, the same at every run.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Rows of a chunk.
pub const ROWS: usize = 8192;
/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;

/// Place of each column.
pub const ID: usize = 0;
pub const NAME: usize = 1;
pub const VALUE: usize = 2;
pub const TIME: usize = 3;

/// The columns of a reading.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Float64, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

/// A generator of numbers (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % limit
    }
}

/// `count` chunks of readings of `keys` ids, a second apart from chunk to chunk.
pub fn chunks(count: usize, keys: u64) -> Vec<RecordBatch> {
    let mut numbers = Numbers(42);
    (0..count).map(|chunk| readings(&mut numbers, keys, chunk as i64 * SECOND)).collect()
}

fn readings(numbers: &mut Numbers, keys: u64, from: i64) -> RecordBatch {
    let ids: Vec<i64> = (0..ROWS).map(|_| numbers.below(keys) as i64).collect();
    let names = StringArray::from_iter_values(ids.iter().map(|id| format!("sensor-{id}")));
    let values = Float64Array::from_iter_values((0..ROWS).map(|_| numbers.below(10_000) as f64 / 100.0));
    let times = (0..ROWS).map(|row| from + row as i64 * SECOND / ROWS as i64);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(ids)), Arc::new(names), Arc::new(values), Arc::new(times)];
    RecordBatch::try_new(schema(), columns).expect("the columns fit the schema")
}
