//! The checkpoint folder: what makes a query go on where it left off.
//!
//! ```text
//! checkpoint/
//!   metadata              {"id": …}
//!   offsets/N             what epoch N reads: version line, JSON of watermark, time and settings, one line a source
//!   commits/N             epoch N is done: version line, JSON
//!   sources/S/…           bookkeeping of source S
//!   state/N/<operator>    state after epoch N: Arrow IPC, behind it a CRC-32 of the bytes
//! ```
//!
//! Offsets and commits are in Spark's own format. Invariants: a file appears whole or not at all (temporary file, fsync, rename,
//! fsync of the folder); `commits/N` exists only if `offsets/N` and the state after N are durable; folders are private (0700).

mod files;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::sources::Offset;
use crate::{Error, Result};

/// What epoch N reads, written before anything of it is processed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OffsetRecord {
    /// Watermark, time and settings.
    pub metadata: OffsetMetadata,
    /// The end of each source's range; `None` if a source has given nothing yet.
    pub offsets: Vec<Option<Offset>>,
}

/// First JSON line of an offsets file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OffsetMetadata {
    /// The watermark in force, in milliseconds.
    pub batch_watermark_ms: i64,
    /// Wall-clock time of the epoch, in milliseconds.
    pub batch_timestamp_ms: i64,
    /// Settings that a restart must keep.
    #[serde(default)]
    pub conf: BTreeMap<String, String>,
}

/// JSON line of a commits file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommitRecord {
    /// The watermark of the next epoch, in milliseconds.
    pub next_batch_watermark_ms: i64,
    /// What the sink needs to finish the commit after a crash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sink: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    id: String,
}

/// An opened checkpoint folder.
pub(crate) struct Checkpoint {
    root: PathBuf,
    id: String,
}

impl Checkpoint {
    /// Opens the folder, making it if it is not there.
    ///
    /// # Errors
    /// `STREAMING_CHECKPOINT_MISSING_METADATA_FILE` if there are offsets but no `metadata`; damaged files, by name.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in ["offsets", "commits", "sources", "state"] {
            files::make_folder(&root.join(folder))?;
        }
        let checkpoint = Checkpoint { root: root.to_owned(), id: String::new() };
        let id = checkpoint.read_or_make_id()?;
        Ok(Checkpoint { id, ..checkpoint })
    }

    fn read_or_make_id(&self) -> Result<String> {
        let path = self.root.join("metadata");
        if let Some(text) = files::read(&path)? {
            let metadata: Metadata = serde_json::from_str(&text).map_err(|e| damaged(&path, &e.to_string()))?;
            return Ok(metadata.id);
        }
        if self.last_offsets()?.is_some() {
            let message = format!("checkpoint '{}' has offsets but no file 'metadata'", self.root.display());
            return Err(Error::query("STREAMING_CHECKPOINT_MISSING_METADATA_FILE", message)
                .hint("Restore the file, or start with another checkpointLocation."));
        }
        let metadata = Metadata { id: uuid::Uuid::new_v4().to_string() };
        let text = serde_json::to_string(&metadata).map_err(|e| Error::internal(e.to_string()))?;
        files::write_durable(&path, text.as_bytes())?;
        Ok(metadata.id)
    }

    /// The query's id, the same over all runs.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bookkeeping folder of source `n`.
    pub fn source_log(&self, n: usize) -> PathBuf {
        self.root.join("sources").join(n.to_string())
    }

    /// The newest epoch with an offsets file.
    pub fn last_offsets(&self) -> Result<Option<u64>> {
        files::newest(&self.root.join("offsets"))
    }

    /// The newest epoch with a commits file.
    pub fn last_commit(&self) -> Result<Option<u64>> {
        files::newest(&self.root.join("commits"))
    }

    /// Reads `offsets/N`.
    pub fn offsets(&self, epoch: u64) -> Result<OffsetRecord> {
        let path = self.root.join("offsets").join(epoch.to_string());
        let text = files::read(&path)?.ok_or_else(|| damaged(&path, "it is missing"))?;
        let mut lines = versioned(&path, &text)?;
        let metadata = lines.next().ok_or_else(|| damaged(&path, "it ends after the version"))?;
        let metadata = serde_json::from_str(metadata).map_err(|e| damaged(&path, &e.to_string()))?;
        let offset = |line: &str| match line {
            "-" => Ok(None),
            json => serde_json::from_str(json).map(Some).map_err(|e| damaged(&path, &e.to_string())),
        };
        Ok(OffsetRecord { metadata, offsets: lines.map(offset).collect::<Result<_>>()? })
    }

    /// Writes `offsets/N` durably.
    pub fn write_offsets(&self, epoch: u64, record: &OffsetRecord) -> Result<()> {
        let mut text = String::from("v1\n");
        text.push_str(&serde_json::to_string(&record.metadata).map_err(|e| Error::internal(e.to_string()))?);
        for offset in &record.offsets {
            text.push('\n');
            text.push_str(&offset.as_ref().map_or("-".to_owned(), ToString::to_string));
        }
        files::write_durable(&self.root.join("offsets").join(epoch.to_string()), text.as_bytes())
    }

    /// Reads `commits/N`.
    pub fn commit(&self, epoch: u64) -> Result<CommitRecord> {
        let path = self.root.join("commits").join(epoch.to_string());
        let text = files::read(&path)?.ok_or_else(|| damaged(&path, "it is missing"))?;
        let line = versioned(&path, &text)?.next().unwrap_or("{}").to_owned();
        serde_json::from_str(&line).map_err(|e| damaged(&path, &e.to_string()))
    }

    /// Writes `commits/N` durably.
    pub fn write_commit(&self, epoch: u64, record: &CommitRecord) -> Result<()> {
        let json = serde_json::to_string(record).map_err(|e| Error::internal(e.to_string()))?;
        files::write_durable(&self.root.join("commits").join(epoch.to_string()), format!("v1\n{json}").as_bytes())
    }

    /// Writes the state after an epoch durably; an earlier attempt's files are replaced.
    pub fn write_state(&self, epoch: u64, state: &HashMap<String, Vec<RecordBatch>>) -> Result<()> {
        let folder = self.root.join("state").join(epoch.to_string());
        let kept = state.iter().filter(|(_, batches)| !batches.is_empty());
        for (operator, batches) in kept {
            files::make_folder(&folder)?;
            files::write_durable(&folder.join(operator), &state::encode(batches)?)?;
        }
        Ok(())
    }

    /// The state after an epoch, by operator.
    pub fn read_state(&self, epoch: u64) -> Result<HashMap<String, Vec<RecordBatch>>> {
        let folder = self.root.join("state").join(epoch.to_string());
        let mut state = HashMap::new();
        for name in files::names(&folder)? {
            let path = folder.join(&name);
            let bytes = std::fs::read(&path)?;
            state.insert(name, state::decode(&bytes).map_err(|error| damaged(&path, error.message()))?);
        }
        Ok(state)
    }

    /// Removes what lies more than `retain` epochs before `epoch`; never the newest two.
    pub fn purge(&self, epoch: u64, retain: u64) -> Result<()> {
        let oldest = epoch.saturating_sub(retain.max(2));
        for folder in ["offsets", "commits"] {
            files::remove_older(&self.root.join(folder), oldest)?;
        }
        files::remove_older(&self.root.join("state"), epoch.saturating_sub(2))
    }
}

fn versioned<'a>(path: &Path, text: &'a str) -> Result<impl Iterator<Item = &'a str>> {
    let mut lines = text.lines();
    match lines.next() {
        Some("v1") => Ok(lines),
        Some(version) if version.starts_with('v') => {
            Err(damaged(path, &format!("its version '{version}' is not known")))
                .map_err(|e: Error| e.hint("It was written by a newer version."))
        }
        _ => Err(damaged(path, "it has no version line")),
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::outside(format!("checkpoint file '{}' can't be used: {why}", path.display()))
}
