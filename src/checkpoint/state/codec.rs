//! The bytes of a state file: Arrow IPC streams of some rows each, every one behind its length, and a CRC-32 of everything at the end.
//!
//! In: batches of any schemas. Out: bytes, piece by piece, so that no more of them is in memory than a piece; and the batches back, in more and
//! smaller ones, but for rows that are counted. What always holds: bytes that are torn or changed anywhere are refused.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use thalweg_operators::snapshot::adds_up;

use crate::{Error, Result};

/// Bytes for a batch's schema and headers, and for what a column's buffers are padded with.
const AROUND_BATCH: usize = 2048;
const AROUND_COLUMN: usize = 512;

/// Rows of one stream at most, and about how many bytes.
const ROWS: usize = 1 << 16;
const STREAM: usize = 4 << 20;

/// A piece ends behind the stream with which it has so many bytes.
const PIECE: usize = 1 << 20;

/// The bytes of a state file. Each batch is let go as soon as it is among them.
pub(super) fn pieces(batches: Vec<RecordBatch>) -> impl Iterator<Item = Result<Vec<u8>>> {
    let (mut streams, mut sum) = (batches.into_iter().flat_map(slices), Some(flate2::Crc::new()));
    std::iter::from_fn(move || {
        let crc = sum.as_mut()?;
        let mut piece = Vec::new();
        while piece.len() < PIECE {
            let Some(rows) = streams.next() else {
                crc.update(&piece);
                piece.extend_from_slice(&crc.sum().to_le_bytes());
                sum = None;
                return Some(Ok(piece));
            };
            if let Err(error) = append(&mut piece, &rows) {
                sum = None;
                return Some(Err(error));
            }
        }
        crc.update(&piece);
        Some(Ok(piece))
    })
}

/// The rows of a batch, a stream's at a time; the last ones let it go. Rows that are counted stay together: of several batches the counts
/// would be added up again.
fn slices(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = match adds_up(std::slice::from_ref(&batch)) {
        true => usize::MAX,
        false => (batch.num_rows().saturating_mul(STREAM) / size(&batch)).clamp(1, ROWS),
    };
    let mut rest = Some(batch);
    std::iter::from_fn(move || {
        let batch = rest.take()?;
        if batch.num_rows() <= rows {
            return Some(batch);
        }
        rest = Some(batch.slice(rows, batch.num_rows() - rows));
        Some(batch.slice(0, rows))
    })
}

/// Adds a stream behind its length.
fn append(bytes: &mut Vec<u8>, rows: &RecordBatch) -> Result<()> {
    bytes.reserve(8 + size(rows));
    let at = bytes.len();
    bytes.extend_from_slice(&[0; 8]);
    let mut writer = StreamWriter::try_new(&mut *bytes, &rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    let length = (bytes.len() - at - 8) as u64;
    bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// About how many bytes a batch is written as, whatever lies around its rows in memory; rather too many than too few, so that what is
/// written need not move.
pub(super) fn size(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| AROUND_COLUMN + column.to_data().get_slice_memory_size().unwrap_or(0);
    AROUND_BATCH + batch.columns().iter().map(column).sum::<usize>()
}

/// The batches of a state file.
///
/// # Errors
/// A wrong checksum or a torn file.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let torn = || Error::outside("it is torn or its checksum is wrong");
    let (mut body, sum) = bytes.split_last_chunk::<4>().ok_or_else(torn)?;
    if checksum(body).to_le_bytes() != *sum {
        return Err(torn());
    }
    let mut batches = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| torn())?;
        let stream = rest.get(..length).ok_or_else(torn)?;
        for batch in StreamReader::try_new(stream, None)? {
            batches.push(batch?);
        }
        body = rest.get(length..).unwrap_or_default();
    }
    Ok(batches)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int32Type;

    use super::*;

    /// Rows of all shapes that state has, from number `from` on.
    fn rows(from: i64, count: i64) -> RecordBatch {
        let numbers = || from..from + count;
        let some = |n: i64| (n % 3 > 0).then_some(n);
        let ints: ArrayRef = Arc::new(numbers().map(some).collect::<Int64Array>());
        let texts: ArrayRef =
            Arc::new(numbers().map(|n| some(n).map(|n| format!("text {n}"))).collect::<StringArray>());
        let lists = numbers().map(|n| some(n).map(|n| (0..n % 4).map(|item| Some(item as i32)).collect::<Vec<_>>()));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
        let batch = |columns: Vec<(&str, ArrayRef)>| {
            let columns = columns.into_iter().map(|(name, column)| (name, column, true));
            RecordBatch::try_from_iter_with_nullable(columns).unwrap()
        };
        let structs = StructArray::from(batch(vec![("ints", ints.clone()), ("lists", lists.clone())]));
        batch(vec![("ints", ints), ("texts", texts), ("lists", lists), ("structs", Arc::new(structs))])
    }

    #[test]
    fn large_batches_come_back_as_several_and_are_never_all_in_memory() {
        let count = 2 * ROWS as i64 + 1;
        let batches = vec![rows(0, 3), rows(3, 0), rows(3, count), rows(count + 3, 5)];
        let pieces: Vec<Vec<u8>> = pieces(batches.clone()).map(Result::unwrap).collect();
        let largest = size(&rows(0, ROWS as i64));
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.len() < PIECE + 2 * largest), "{}", pieces.len());
        let back = decode(&pieces.concat()).unwrap();
        assert_eq!(back.iter().map(RecordBatch::num_rows).max(), Some(ROWS));
        let joined = |batches: &[RecordBatch]| concat_batches(&batches[0].schema(), batches).unwrap();
        assert_eq!(joined(&back), joined(&batches));
    }

    #[test]
    fn wide_rows_are_few_in_a_stream() {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..9_000).map(|n| format!("{n:01000}"))));
        let batch = RecordBatch::try_from_iter([("texts", texts)]).unwrap();
        let pieces: Vec<Vec<u8>> = pieces(vec![batch.clone()]).map(Result::unwrap).collect();
        assert!(pieces.iter().all(|piece| piece.len() < PIECE + STREAM + AROUND_BATCH + AROUND_COLUMN));
        assert_eq!(concat_batches(&batch.schema(), &decode(&pieces.concat()).unwrap()).unwrap(), batch);
    }

    #[test]
    fn little_state_is_one_piece() {
        assert_eq!(pieces(vec![rows(0, 100), rows(100, 100)]).count(), 1);
        assert_eq!(decode(&pieces(Vec::new()).next().unwrap().unwrap()).unwrap(), Vec::<RecordBatch>::new());
    }
}
