//! What stands in the files `offsets/N` and `commits/N`: a version line, then lines of JSON, as Spark writes them.
//!
//! In: texts. Out: records, and back. Fields that Spark does not know are ours; Spark ignores them, and we ignore Spark's others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thalweg_operators::keys::Hashing;

use crate::sources::Offset;
use crate::{Error, Result};

/// What epoch N reads, written before anything of it is promised.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OffsetRecord {
    /// Watermark, time and settings.
    pub metadata: OffsetMetadata,
    /// The end of each source's range; `None` if a source has given nothing yet.
    pub offsets: Vec<Option<Offset>>,
}

/// First JSON line of an offsets file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OffsetMetadata {
    /// The watermark in force, in milliseconds.
    pub batch_watermark_ms: i64,
    /// Wall-clock time of the epoch, in milliseconds.
    pub batch_timestamp_ms: i64,
    /// Settings that a restart must keep.
    #[serde(default)]
    pub conf: BTreeMap<String, String>,
    /// The state that the epoch begins with; ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRef>,
}

/// JSON line of a commits file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommitRecord {
    /// The watermark of the next epoch, in milliseconds.
    #[serde(default)]
    pub next_batch_watermark_ms: i64,
    /// What the sink needs to finish the commit after a crash; ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sink: Vec<serde_json::Value>,
    /// The same of the sink for late rows; ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_sink: Vec<serde_json::Value>,
    /// The state after the epoch; ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRef>,
}

/// Names the state after an epoch. Each run writes under its own name, so that what a run that was thought dead finishes later
/// is never taken for another run's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRef {
    /// The folder below `state/` in which this epoch's files are: epoch and run.
    pub folder: String,
    /// Per operator that has state, its files, oldest first: a whole snapshot in one or several files or changes, then changes alone.
    #[serde(default)]
    pub chains: BTreeMap<String, Vec<StateFile>>,
    /// How keys are hashed to the key groups that stand in the state, from its first epoch on; none: in the only way there was once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyHash>,
    /// Watermarks of operators that differ from that of the epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: OperatorWatermarks,
}

/// The name of a [`Hashing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyHash {
    Folded,
}

impl KeyHash {
    /// The name; none for the one that has none.
    pub fn of(hashing: Hashing) -> Option<KeyHash> {
        match hashing {
            Hashing::Xxhash64 => None,
            Hashing::Folded => Some(KeyHash::Folded),
        }
    }
}

/// A file of an operator's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    /// Folder and name below `state/`.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it is a whole snapshot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

impl StateRef {
    /// How keys are hashed in what follows this state; in a way of its own choice if there is none.
    pub fn hashing(state: Option<&StateRef>) -> Hashing {
        match state.map(|state| state.keys) {
            Some(None) => Hashing::Xxhash64,
            None | Some(Some(KeyHash::Folded)) => Hashing::Folded,
        }
    }

    /// All files that the state is made of.
    pub fn files(&self) -> impl Iterator<Item = &StateFile> {
        self.chains.values().flatten()
    }

    /// Whether some of its files are in this folder.
    pub fn is_in(&self, folder: &str) -> bool {
        self.files().any(|file| file.file.split_once('/').is_some_and(|(of, _)| of == folder))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }
}

/// Per operator, the watermark of each input in microseconds; none if nothing was promised.
pub(crate) type OperatorWatermarks = BTreeMap<String, Vec<Option<i64>>>;

impl OffsetRecord {
    /// The text of the file.
    pub fn write(&self) -> Result<String> {
        let mut text = format!("v1\n{}", json(&self.metadata)?);
        for offset in &self.offsets {
            text.push('\n');
            text.push_str(&offset.as_ref().map_or("-".to_owned(), ToString::to_string));
        }
        Ok(text)
    }

    /// The record of a file's text.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = versioned(text)?;
        let metadata = parse(lines.next().ok_or_else(|| Error::outside("it ends after the version"))?)?;
        let offset = |line: &str| if line == "-" { Ok(None) } else { parse(line).map(Some) };
        Ok(OffsetRecord { metadata, offsets: lines.map(offset).collect::<Result<_>>()? })
    }
}

impl CommitRecord {
    /// The text of the file.
    pub fn write(&self) -> Result<String> {
        Ok(format!("v1\n{}", json(self)?))
    }

    /// The record of a file's text.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self> {
        parse(versioned(text)?.next().unwrap_or("{}"))
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("can't write a record as JSON").caused_by(error))
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| Error::outside(error.to_string()))
}

fn versioned(text: &str) -> Result<impl Iterator<Item = &str>> {
    let mut lines = text.lines();
    match lines.next() {
        Some("v1") => Ok(lines),
        Some(version) if version.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok()) => {
            Err(Error::outside(format!("its version '{version}' is newer than this program, which knows 'v1'"))
                .with_condition("UNSUPPORTED_LOG_VERSION"))
        }
        _ => Err(Error::outside("it has no version line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_spark_are_read() {
        let text = "v1\n{\"batchWatermarkMs\":5,\"batchTimestampMs\":7,\"conf\":{\"a\":\"b\"},\"other\":[1]}\n\
                    {\"logOffset\":3}\n-";
        let record = OffsetRecord::parse(text).unwrap();
        assert_eq!((record.metadata.batch_watermark_ms, record.metadata.conf["a"].as_str()), (5, "b"));
        assert_eq!(record.offsets, [Some(serde_json::json!({"logOffset": 3})), None]);
        assert_eq!(OffsetRecord::parse(&record.write().unwrap()).unwrap(), record);
        let commit = CommitRecord::parse("v1\n{\"nextBatchWatermarkMs\":9,\"stateUniqueIds\":{}}").unwrap();
        assert_eq!(commit, CommitRecord { next_batch_watermark_ms: 9, ..CommitRecord::default() });
        assert_eq!(CommitRecord::parse("v1\n{}").unwrap(), CommitRecord::default());
    }

    #[test]
    fn c06_a_newer_version_is_refused_and_named() {
        let error = CommitRecord::parse("v2\n{}").unwrap_err();
        assert!(error.message().contains("'v2'"), "{error}");
        assert!(CommitRecord::parse("{}").is_err());
    }
}
