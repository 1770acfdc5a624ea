//! Placeholder signatures until the key table lands.
use arrow::array::ArrayRef;
/// Virtual partitions of keyed state.
pub const KEY_GROUPS: usize = 256;
/// Stable hash of each row of the key columns.
pub fn route(_columns: &[ArrayRef], rows: usize, out: &mut Vec<u64>) {
    out.resize(rows, 0);
}
