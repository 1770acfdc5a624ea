//! The bytes of a state file: one Arrow IPC stream a batch, each behind its length, and a CRC-32 of everything at the end.
//!
//! In: batches of any schemas. Out: bytes, and back. What always holds: bytes that are torn or changed anywhere are refused.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::{Error, Result};

/// The bytes of a state file.
pub(super) fn encode(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(batches.iter().map(RecordBatch::get_array_memory_size).sum());
    for batch in batches {
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        let length = (bytes.len() - at - 8) as u64;
        bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    Ok(bytes)
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
