//! How a log is known again: by a record of it that was read.
//!
//! In: records as readers take them; at a restart the file `sources/N/witnesses`, and what the cluster has now in those places. Out:
//! partitions whose log is another one than that which was read. The client does not tell a topic's id, so a topic that was deleted
//! and made anew is found by the record's time and size.
//!
//! Nothing is concluded from a record that is not there: it may have aged out or been compacted. A witness may lie before or behind
//! the place where reading goes on; it is only written down now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::cluster::{Cluster, Slot};
use super::offsets::{EARLIEST, LATEST, Partition, Positions, name};
use crate::clock::SharedClock;
use crate::kafka::errors::{self, Verdict};
use crate::store::Folder;
use crate::{Error, Result};

/// How old the witnesses in the checkpoint may become.
const WRITE_AGAIN: Duration = Duration::from_secs(10);
/// How long one look at a queue takes.
const LOOK: Duration = Duration::from_millis(100);
const FILE: &str = "witnesses";
const VERSION: &str = "v1\n";

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    /// Its place.
    pub offset: i64,
    millis: i64,
    bytes: i64,
}

/// A record of each partition.
pub(super) type Witnesses = BTreeMap<Partition, Witness>;

impl Witness {
    /// What can be said of a record; `None` of one without a time.
    pub(super) fn of(record: &impl Message) -> Option<Witness> {
        let millis = record.timestamp().to_millis()?;
        let size = |part: Option<&[u8]>| part.map_or(-1, |bytes| bytes.len() as i64);
        Some(Witness { offset: record.offset(), millis, bytes: size(record.key()) + size(record.payload()) })
    }
}

/// The file of witnesses in a checkpoint.
pub(super) struct Book {
    folder: Option<Folder>,
    clock: SharedClock,
    /// What is written, as far as it was read or written in this run.
    all: Witnesses,
    /// When it was last written (nanoseconds).
    written: Option<u64>,
}

impl Book {
    /// The file in the source's folder; without a folder nothing is remembered.
    pub(super) fn new(folder: Option<Folder>, clock: SharedClock) -> Book {
        Book { folder, clock, all: Witnesses::new(), written: None }
    }

    /// What an earlier run has written.
    ///
    /// # Errors
    /// A file that can't be read or is damaged.
    pub(super) fn read(&mut self) -> Result<Witnesses> {
        let Some(folder) = &self.folder else { return Ok(Witnesses::new()) };
        let text = folder.read_text(FILE)?.unwrap_or_default();
        self.all = parse(&text).ok_or_else(|| {
            Error::outside("the note of the records that the Kafka source read last is damaged")
                .at(folder.place(FILE))
                .hint("Delete it to go on; then a topic that was made anew meanwhile is not recognised.")
        })?;
        Ok(self.all.clone())
    }

    /// Forgets the record of a partition that is another log now.
    pub(super) fn forget(&mut self, partition: &Partition) {
        self.all.remove(partition);
    }

    /// True if it is time to write.
    pub(super) fn is_due(&self) -> bool {
        let now = self.clock.nanos();
        let old = |at: u64| u128::from(now.saturating_sub(at)) >= WRITE_AGAIN.as_nanos();
        self.folder.is_some() && self.written.is_none_or(old)
    }

    /// Writes witnesses down; of partitions that have none the old ones stay. That it fails is no reason to end a query.
    pub(super) fn write(&mut self, witnesses: Witnesses) {
        let Some(folder) = &self.folder else { return };
        self.all.extend(witnesses);
        if let Err(error) = folder.write(FILE, format(&self.all).as_bytes()) {
            tracing::warn!("the records that were read last are not in the checkpoint: {error}");
        }
        self.written = Some(self.clock.nanos());
    }

    /// Writes what has changed at the end of a run, unless the checkpoint is gone.
    pub(super) fn close(&mut self, witnesses: Witnesses) {
        let known = witnesses.iter().all(|(partition, witness)| self.all.get(partition) == Some(witness));
        let there = || self.folder.as_ref().is_some_and(|folder| folder.exists(FILE).unwrap_or(false));
        if self.written.is_some() && !known && there() {
            self.write(witnesses);
        }
    }
}

/// By topic and partition: offset, time, size.
type Written = BTreeMap<String, BTreeMap<i32, [i64; 3]>>;

fn format(witnesses: &Witnesses) -> String {
    let mut all = Written::new();
    for ((topic, partition), witness) in witnesses {
        let places = all.entry(topic.to_string()).or_default();
        places.insert(*partition, [witness.offset, witness.millis, witness.bytes]);
    }
    format!("{VERSION}{}", serde_json::json!(all))
}

fn parse(text: &str) -> Option<Witnesses> {
    if text.is_empty() {
        return Some(Witnesses::new());
    }
    let all: Written = serde_json::from_str(text.strip_prefix(VERSION)?).ok()?;
    let mut witnesses = Witnesses::new();
    for (topic, places) in all {
        let topic: Arc<str> = topic.into();
        for (partition, [offset, millis, bytes]) in places {
            witnesses.insert((Arc::clone(&topic), partition), Witness { offset, millis, bytes });
        }
    }
    Some(witnesses)
}

/// Of the partitions whose record in a witness's place is another one, the first offsets.
///
/// # Errors
/// The cluster does not answer.
pub(super) fn other_logs(cluster: &Cluster, witnesses: &Witnesses) -> Result<Positions> {
    let partitions: Vec<Partition> = witnesses.keys().cloned().collect();
    let asked = cluster.with_leader(&partitions);
    let (first, end) = (cluster.ends(&asked, EARLIEST)?, cluster.ends(&asked, LATEST)?);
    let begun = cluster.clock.nanos();
    // All are asked for before the first is waited for.
    let mut looks = Vec::new();
    for (partition, first) in &first {
        let (Some(witness), Some(end)) = (witnesses.get(partition), end.get(partition)) else { continue };
        if (*first..*end).contains(&witness.offset) {
            looks.push((Look::open(cluster, partition, *witness)?, *first));
        }
    }
    let mut others = Positions::new();
    for (look, first) in looks {
        let partition = look.partition.clone();
        if look.finds_another(cluster, begun)? {
            others.insert(partition, first);
        }
    }
    Ok(others)
}

/// A look at a witness's place.
struct Look {
    partition: Partition,
    slot: Slot,
    witness: Witness,
}

impl Look {
    fn open(cluster: &Cluster, partition: &Partition, witness: Witness) -> Result<Look> {
        let mut slot = cluster.take(partition)?;
        cluster.place(partition, &mut slot, witness.offset)?;
        Ok(Look { partition: partition.clone(), slot, witness })
    }

    /// True if there is a record in the place, and another one. Gives the queue back.
    fn finds_another(mut self, cluster: &Cluster, begun: u64) -> Result<bool> {
        let found = loop {
            match self.poll(cluster, begun) {
                Ok(Some(other)) => break Ok(other),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        };
        cluster.give(self.partition, self.slot);
        found
    }

    /// `None`: there is nothing yet.
    fn poll(&mut self, cluster: &Cluster, begun: u64) -> Result<Option<bool>> {
        let found = match self.slot.queue.poll(LOOK) {
            None => return self.look_after(cluster, begun),
            Some(Ok(record)) => (record.offset(), Witness::of(&record)),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Some(false)),
            Some(Err(cause)) => return self.trouble(cluster, cause),
        };
        if found.0 < self.witness.offset {
            return Ok(None);
        }
        self.slot.next = Some(found.0 + 1);
        Ok(Some(found.0 == self.witness.offset && found.1 != Some(self.witness)))
    }

    fn trouble(&self, cluster: &Cluster, cause: KafkaError) -> Result<Option<bool>> {
        match errors::judge(&cause) {
            Verdict::Wait => {
                cluster.health.note(&cause, "");
                Ok(None)
            }
            // Gone since it was asked for; who reads it finds out.
            Verdict::OutOfRange | Verdict::Unknown => Ok(Some(false)),
            _ => Err(errors::error(&format!("reading {}", name(&self.partition)), cause)),
        }
    }

    fn look_after(&self, cluster: &Cluster, begun: u64) -> Result<Option<bool>> {
        cluster.check()?;
        let waited = u128::from(cluster.clock.nanos().saturating_sub(begun));
        if waited < cluster.settings.api_timeout.as_nanos() {
            return Ok(None);
        }
        tracing::warn!("{} gives no records; whether it is the log that was read is not known", name(&self.partition));
        Ok(Some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn witnesses(offset: i64) -> Witnesses {
        Witnesses::from([(("t".into(), 3), Witness { offset, millis: 1_700_000_000_000, bytes: 12 })])
    }

    #[test]
    fn witnesses_are_read_as_they_were_written() {
        assert_eq!(format(&witnesses(7)), "v1\n{\"t\":{\"3\":[7,1700000000000,12]}}");
        assert_eq!(parse(&format(&witnesses(7))), Some(witnesses(7)));
        assert_eq!(parse(""), Some(Witnesses::new()));
        for wrong in ["v2\n{}", "v1\n", "v1\n{\"t\":{\"x\":[1,2,3]}}", "v1\n{\"t\":{\"0\":[1,2]}}"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn witnesses_are_written_now_and_then_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(0);
        let mut book = Book::new(Some(Folder::local(folder.path(), true)), clock.clone());
        book.close(witnesses(1));
        assert!(book.is_due() && book.read().unwrap().is_empty(), "nothing was committed");
        book.write(witnesses(2));
        assert!(!book.is_due());
        book.close(witnesses(3));
        assert_eq!(book.read().unwrap(), witnesses(3));
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        book.close(witnesses(4));
        assert!(book.read().unwrap().is_empty(), "a checkpoint that is gone is not made again");
    }

    #[test]
    fn a_damaged_note_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "v1\nx").unwrap();
        let mut book = Book::new(Some(Folder::local(folder.path(), true)), ManualClock::at(0));
        let error = book.read().unwrap_err();
        assert!(error.to_string().contains("Delete it"), "{error}");
    }
}
