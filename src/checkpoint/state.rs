//! State: a folder an epoch and run, in it a file an operator.
//!
//! A file holds one Arrow IPC stream a schema, each behind its length, and a CRC-32 of everything at the end. The folder's name
//! carries the run, so that what a run that was thought dead finishes later is never taken for another run's.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::record::StateRef;
use crate::store::{Folder, Put};
use crate::{Error, Result};

/// State by operator.
pub(crate) type States = HashMap<String, Vec<RecordBatch>>;

/// The folder `state/`.
pub(super) struct StateFiles {
    folder: Folder,
    /// Names this run in the folders it writes.
    attempt: String,
}

impl StateFiles {
    /// The state in this folder; what is written belongs to this run.
    pub(super) fn new(folder: Folder, run_id: &str) -> Self {
        StateFiles { folder, attempt: run_id.split('-').next().unwrap_or_default().to_owned() }
    }

    /// Writes the state after an epoch durably. Operators without state have no file.
    pub(super) fn write(&self, epoch: u64, state: &States) -> Result<StateRef> {
        let name = format!("{epoch}-{}", self.attempt);
        let folder = self.folder.folder(&name);
        let mut files = Vec::new();
        for (operator, batches) in state.iter().filter(|(_, batches)| !batches.is_empty()) {
            folder.put_bare(operator, &encode(batches)?, Put::Replace)?;
            files.push(operator.clone());
        }
        files.sort_unstable();
        Ok(StateRef { folder: name, files, ..StateRef::default() })
    }

    /// Reads a state that was committed.
    ///
    /// # Errors
    /// A file that is missing, torn or changed, by name.
    pub(super) fn read(&self, state: &StateRef) -> Result<States> {
        let folder = self.folder.folder(&state.folder);
        let one = |name: &String| {
            let bytes = folder.read_bare(name)?.ok_or_else(|| folder.corrupt(name, "it is missing"))?;
            let batches = decode(&bytes).map_err(|error| folder.corrupt(name, error.message()))?;
            Ok((name.clone(), batches))
        };
        state.files.iter().map(one).collect()
    }

    /// The epochs whose state is kept, with the names of their folders.
    pub(super) fn list(&self) -> Result<Vec<(u64, String)>> {
        let entries = self.folder.list()?;
        let epoch = |name: &str| name.split('-').next()?.parse().ok();
        Ok(entries.into_iter().filter_map(|entry| Some((epoch(&entry.name)?, entry.name))).collect())
    }

    /// Bytes of a state's files.
    pub(super) fn size(&self, state: &StateRef) -> Result<u64> {
        Ok(self.folder.folder(&state.folder).list()?.iter().map(|entry| entry.size).sum())
    }

    /// Removes the state of epochs before `oldest`, whoever wrote it.
    pub(super) fn remove_before(&self, oldest: u64) -> Result<()> {
        let old = self.list()?.into_iter().filter(|(epoch, _)| *epoch < oldest);
        old.into_iter().try_for_each(|(_, name)| self.folder.delete_folder(&name))
    }
}

/// The bytes of a state file.
fn encode(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for batch in batches {
        let mut stream = Vec::new();
        let mut writer = StreamWriter::try_new(&mut stream, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
        drop(writer);
        bytes.extend_from_slice(&(stream.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&stream);
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// The batches of a state file.
///
/// # Errors
/// A wrong checksum or a torn file.
fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
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
        body = &rest[length..];
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

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn state(range: std::ops::Range<i64>) -> States {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(range))]).unwrap();
        HashMap::from([("aggregate-1".to_owned(), vec![rows]), ("dedup-2".to_owned(), Vec::new())])
    }

    fn files(dir: &tempfile::TempDir, run: &str) -> StateFiles {
        StateFiles::new(Folder::local(dir.path(), true), run)
    }

    #[test]
    fn c12_what_another_run_writes_for_the_same_epoch_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ours = files(&dir, "1111-x").write(4, &state(0..3)).unwrap();
        assert_eq!((ours.folder.as_str(), ours.files.as_slice()), ("4-1111", &["aggregate-1".to_owned()][..]));
        files(&dir, "2222-y").write(4, &state(5..9)).unwrap();
        assert_eq!(files(&dir, "3").read(&ours).unwrap()["aggregate-1"], state(0..3)["aggregate-1"]);
        files(&dir, "3").remove_before(4).unwrap();
        assert_eq!(files(&dir, "3").list().unwrap().len(), 2);
        files(&dir, "3").remove_before(5).unwrap();
        assert!(files(&dir, "3").list().unwrap().is_empty());
    }

    #[test]
    fn k07_c03_a_torn_changed_or_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let written = files(&dir, "1").write(4, &state(0..100)).unwrap();
        let path = dir.path().join("4-1/aggregate-1");
        let bytes = std::fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 4;
        for damaged in [&bytes[..0], &bytes[..3], &bytes[..bytes.len() - 1], &flipped] {
            std::fs::write(&path, damaged).unwrap();
            let error = files(&dir, "1").read(&written).unwrap_err();
            assert!(error.message().contains("4-1/aggregate-1"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(files(&dir, "1").read(&written).unwrap_err().message().contains("missing"));
    }
}
