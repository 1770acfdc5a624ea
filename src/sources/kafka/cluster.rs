//! A source's connection: one consumer without group membership, its partitions' queues, and questions to the cluster.
//!
//! In: what to ask. Out: partitions and offsets. Partitions are assigned by hand. Each has a queue of its own, made *before* the
//! partition is first assigned: what is fetched never goes to the consumer's common queue, which the watch thread reads
//! for errors, log lines and statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::Offset as Place;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::{BaseConsumer, PartitionQueue};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::OwnedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::offsets::{EARLIEST, LATEST, Partition, Positions, name};
use super::prefetch::Prefetch;
use super::settings::{Settings, Topics};
use super::witness::{Witness, Witnesses};
use crate::clock::SharedClock;
use crate::kafka::config::{Side, client_config};
use crate::kafka::context::{Figures, Health, Reading};
use crate::kafka::errors::{self, UNKNOWN_TOPIC, Verdict};
use crate::options::Options;
use crate::sources::pause::Pause;
use crate::{Error, Result};

/// How long one question may take: as long as those wait who can ask again later.
pub(super) const ONE_TRY: Duration = Duration::from_secs(5);
/// How long the first try may take: a cluster that refuses us says so at once, and is heard between two tries.
const FIRST_TRY: Duration = Duration::from_secs(1);
/// How often the watch thread looks whether it should end.
const WATCH: Duration = Duration::from_millis(100);
/// How long a topic that was read must be unknown until it is believed to be gone: brokers that have just started say so of topics
/// that they will know in a moment.
const BELIEVED: Duration = Duration::from_secs(2);

/// Configured unless the user does: what the source asks of the client beyond its defaults.
const DEFAULTS: [(&str, &str); 4] = [
    ("isolation.level", "read_uncommitted"),
    ("allow.auto.create.topics", "false"),
    // A queue that was full for a moment must not stay empty for a second.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.error.backoff.ms", "50"),
];

/// Topics that a query has read before: they may be gone.
#[derive(Debug, Default)]
pub(super) struct Known {
    topics: BTreeSet<Arc<str>>,
    /// It may have been any topic.
    any: bool,
}

impl Known {
    /// Those that offsets name; with `any` all others, too.
    pub(super) fn of(positions: &Positions, any: bool) -> Known {
        Known { topics: positions.keys().map(|(topic, _)| Arc::clone(topic)).collect(), any }
    }

    /// True if the topic may have been read before.
    pub(super) fn has(&self, topic: &str) -> bool {
        self.any || self.topics.contains(topic)
    }
}

/// What the source and the reader of a partition tell each other.
pub(super) struct Marks {
    /// Time of the newest record taken, in milliseconds since 1970; `i64::MIN` without one.
    pub newest: AtomicI64,
    /// Where the partition ended when somebody began to wait for all of it; 0 if nobody does.
    pub goal: AtomicI64,
    /// A record that was taken lately.
    witness: Mutex<Option<Witness>>,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { newest: AtomicI64::new(i64::MIN), goal: AtomicI64::new(0), witness: Mutex::default() }
    }
}

impl Marks {
    /// The record taken last, if there was one.
    fn witness(&self) -> Option<Witness> {
        *self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the record taken last, if there is a new one.
    pub(super) fn keep(&self, witness: &mut Option<Witness>) {
        if let Some(new) = witness.take() {
            *self.witness.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        }
    }
}

/// A partition's queue and the place in it.
pub(super) struct Slot {
    pub queue: PartitionQueue<Reading>,
    /// The next record; `None` while the partition is not assigned.
    pub next: Option<i64>,
    /// A record taken from the queue that belongs to a later range.
    pub held: Option<OwnedMessage>,
    pub marks: Arc<Marks>,
}

/// The connection. Shared by the source and its readers.
pub(super) struct Cluster {
    consumer: RwLock<Arc<BaseConsumer<Reading>>>,
    /// What the consumer is made with, and how much of it may be fetched ahead.
    config: ClientConfig,
    prefetch: Mutex<Prefetch>,
    /// Whether the cluster answers.
    pub health: Arc<Health>,
    pub settings: Settings,
    pub clock: SharedClock,
    /// Slots that no reader has.
    slots: Mutex<BTreeMap<Partition, Slot>>,
    marks: Mutex<BTreeMap<Partition, Arc<Marks>>>,
    /// Partitions that had no leader when they were last listed.
    leaderless: Mutex<BTreeSet<Partition>>,
    /// Topics that were read and are believed to be gone.
    gone: Mutex<BTreeSet<String>>,
    pause: Pause,
    stop: AtomicBool,
}

/// The thread that reads the consumer's common queue; ends with it.
pub(super) struct Watch {
    cluster: Arc<Cluster>,
    thread: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Makes the client; nothing is sent before the first question.
    pub(super) fn new(options: &Options, settings: Settings, clock: SharedClock) -> Result<Arc<Cluster>> {
        let mut config = client_config(options, Side::Consumer)?;
        config
            .set("group.id", &settings.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "1000");
        for (name, value) in DEFAULTS {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let prefetch = Prefetch::of(1);
        let health = Health::new(Arc::clone(&clock));
        let consumer = consumer(&config, prefetch, &health)?;
        Ok(Arc::new(Cluster {
            consumer: RwLock::new(consumer),
            config,
            prefetch: Mutex::new(prefetch),
            health,
            settings,
            clock,
            slots: Mutex::default(),
            marks: Mutex::default(),
            leaderless: Mutex::default(),
            gone: Mutex::default(),
            pause: Pause::default(),
            stop: AtomicBool::new(false),
        }))
    }

    fn consumer(&self) -> Arc<BaseConsumer<Reading>> {
        Arc::clone(&self.consumer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many partitions will be read: if what each may fetch ahead is less than the consumer was made for, it is made anew.
    /// Only before the first partition is taken; those that appear later are few.
    ///
    /// # Errors
    /// The client can't be made.
    pub(super) fn make_room(&self, partitions: usize) -> Result<()> {
        let mut made_for = self.prefetch.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Prefetch::of(partitions);
        let used = !self.marks.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if used || wanted.kib >= made_for.kib {
            return Ok(());
        }
        let new = consumer(&self.config, wanted, &self.health)?;
        *self.consumer.write().unwrap_or_else(PoisonError::into_inner) = new;
        *made_for = wanted;
        Ok(())
    }

    /// Starts reading the common queue; `tick` is called about every `interval`.
    pub(super) fn watch(
        self: &Arc<Self>,
        interval: Duration,
        mut tick: impl FnMut() + Send + 'static,
    ) -> Result<Watch> {
        let cluster = Arc::clone(self);
        let body = move || {
            let mut last = cluster.clock.nanos();
            while !cluster.stop.load(Ordering::Acquire) {
                cluster.hear();
                let now = cluster.clock.nanos();
                if u128::from(now.saturating_sub(last)) >= interval.as_nanos() {
                    last = now;
                    tick();
                }
            }
        };
        let thread = std::thread::Builder::new().name("thalweg-kafka".into()).spawn(body)?;
        Ok(Watch { cluster: Arc::clone(self), thread: Some(thread) })
    }

    /// One look at the common queue. Errors in it have gone to [`Health`] already.
    fn hear(&self) {
        if let Some(Ok(message)) = self.consumer().poll(WATCH) {
            use rdkafka::message::Message;
            tracing::error!("a record of {}-{} came by the wrong queue", message.topic(), message.partition());
        }
    }

    /// All partitions of what is subscribed to, in order.
    pub(super) fn partitions(&self) -> Result<Vec<Partition>> {
        self.partitions_within(self.settings.api_timeout, &Known::default())
    }

    /// The same, with an error if there is no answer for so long. A topic that was read before and is not there any more has no
    /// partitions: whether that is a loss is for the caller to judge.
    pub(super) fn partitions_within(&self, patience: Duration, known: &Known) -> Result<Vec<Partition>> {
        match &self.settings.topics {
            Topics::Assign(partitions) => self.assigned(partitions, patience, known),
            Topics::Subscribe(topics) => {
                let mut all = Vec::new();
                for topic in topics {
                    all.extend(self.partitions_of_topic(topic, patience, known)?);
                }
                Ok(all)
            }
            Topics::Pattern(pattern) => {
                self.partitions_of(None, |topic| pattern.is_match(topic) && !is_internal(topic), patience)
            }
        }
    }

    /// Of assigned partitions those that are there, as far as they were read before.
    fn assigned(&self, partitions: &[Partition], patience: Duration, known: &Known) -> Result<Vec<Partition>> {
        let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| &**topic).collect();
        let mut there = BTreeSet::new();
        for topic in topics.iter().filter(|topic| known.has(topic)) {
            there.extend(self.partitions_of_topic(topic, patience, known)?);
        }
        let kept = |partition: &&Partition| !known.has(&partition.0) || there.contains(*partition);
        Ok(partitions.iter().filter(kept).cloned().collect())
    }

    fn partitions_of_topic(&self, topic: &str, patience: Duration, known: &Known) -> Result<Vec<Partition>> {
        let begun = self.clock.nanos();
        loop {
            let found = self.partitions_of(Some(topic), |_| true, patience);
            match found {
                Err(error) if is_unknown(&error) && known.has(topic) && !self.stop.load(Ordering::Acquire) => {
                    if self.believes_gone(topic, begun) {
                        return Ok(Vec::new());
                    }
                    self.pause.sleep(WATCH);
                }
                found => {
                    self.gone().remove(topic);
                    return found;
                }
            }
        }
    }

    /// True once a topic has been unknown for long enough.
    fn believes_gone(&self, topic: &str, since: u64) -> bool {
        let long = u128::from(self.clock.nanos().saturating_sub(since)) >= BELIEVED.as_nanos();
        long && self.gone().insert(topic.to_owned()) || self.gone().contains(topic)
    }

    fn gone(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions_of(
        &self,
        topic: Option<&str>,
        wanted: impl Fn(&str) -> bool,
        patience: Duration,
    ) -> Result<Vec<Partition>> {
        let question = |wait| self.consumer().fetch_metadata(topic, wait);
        let metadata = self.ask("listing the partitions", patience, question)?;
        let mut all: Vec<Partition> = Vec::new();
        for found in metadata.topics().iter().filter(|topic| wanted(topic.name())) {
            if let Some(cause) = found.error() {
                let cause = KafkaError::MetadataFetch(cause.into());
                if errors::judge(&cause) == Verdict::Unknown && topic.is_some() {
                    return Err(unknown_topic(found.name()));
                }
                return Err(errors::error(&format!("listing the partitions of topic '{}'", found.name()), cause));
            }
            let shared: Arc<str> = found.name().into();
            let mut leaderless = self.leaderless.lock().unwrap_or_else(PoisonError::into_inner);
            for partition in found.partitions() {
                let key = (Arc::clone(&shared), partition.id());
                if partition.leader() < 0 {
                    leaderless.insert(key.clone())
                } else {
                    leaderless.remove(&key)
                };
                all.push(key);
            }
        }
        all.sort();
        Ok(all)
    }

    /// Those that can answer: of them that had a leader when they were last listed.
    pub(super) fn with_leader(&self, partitions: &[Partition]) -> Vec<Partition> {
        let leaderless = self.leaderless.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().filter(|partition| !leaderless.contains(*partition)).cloned().collect()
    }

    /// The oldest or newest offset of each partition ([`EARLIEST`], [`LATEST`]).
    pub(super) fn ends(&self, partitions: &[Partition], end: i64) -> Result<Positions> {
        self.ends_within(partitions, end, self.settings.api_timeout)
    }

    /// The same, with an error if there is no answer for so long.
    pub(super) fn ends_within(&self, partitions: &[Partition], end: i64, patience: Duration) -> Result<Positions> {
        self.ask_offsets(&partitions.iter().map(|partition| (partition.clone(), end)).collect(), patience)
    }

    /// For each partition the offset of the first record of at least that time (milliseconds); [`EARLIEST`] and [`LATEST`]
    /// ask for the ends. [`LATEST`] in the answer: there is no such record.
    pub(super) fn offsets(&self, times: &Positions) -> Result<Positions> {
        self.ask_offsets(times, self.settings.api_timeout)
    }

    fn ask_offsets(&self, times: &Positions, patience: Duration) -> Result<Positions> {
        if times.is_empty() {
            return Ok(Positions::new());
        }
        let answer = self.ask("asking for offsets", patience, |wait| {
            let list = list(times)?;
            let found = self.consumer().offsets_for_times(list, wait)?;
            found.elements().iter().try_for_each(|element| element.error())?;
            Ok(found)
        })?;
        let one = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let key: Partition = (element.topic().into(), element.partition());
            (
                key,
                match element.offset() {
                    Place::Offset(offset) => offset,
                    _ => LATEST,
                },
            )
        };
        Ok(answer.elements().iter().map(one).collect())
    }

    /// Asks until there is an answer: again `fetchOffset.numRetries` times after an answer that may change, and for
    /// `patience` while there is none.
    fn ask<T>(&self, what: &str, patience: Duration, question: impl Fn(Duration) -> KafkaResult<T>) -> Result<T> {
        let begun = self.clock.nanos();
        let (mut tries, mut wait) = (0, FIRST_TRY);
        loop {
            if let Some(refusal) = self.health.refusal() {
                return Err(refusal);
            }
            let cause = match question(wait.min(patience)) {
                Ok(answer) => {
                    self.health.up();
                    return Ok(answer);
                }
                Err(cause) => cause,
            };
            tries += 1;
            wait = (wait * 2).min(ONE_TRY);
            let over = u128::from(self.clock.nanos().saturating_sub(begun)) >= patience.as_nanos();
            let silent = errors::judge(&cause) == Verdict::Wait;
            if silent {
                self.health.down();
            }
            let again = silent || tries <= self.settings.retries;
            if over || !again || errors::judge(&cause) == Verdict::Refused || self.stop.load(Ordering::Acquire) {
                return Err(self.health.refusal().unwrap_or_else(|| errors::error(what, cause)));
            }
            self.pause.sleep(self.settings.retry_interval);
        }
    }

    /// Takes the slot of a partition, making it at the first time.
    pub(super) fn take(&self, partition: &Partition) -> Result<Slot> {
        if let Some(slot) = self.slots().remove(partition) {
            return Ok(slot);
        }
        let queue = self.consumer().split_partition_queue(&partition.0, partition.1);
        let queue = queue.ok_or_else(|| Error::outside(format!("partition {} has no queue", name(partition))))?;
        Ok(Slot { queue, next: None, held: None, marks: self.marks(partition) })
    }

    /// The marks of a partition.
    pub(super) fn marks(&self, partition: &Partition) -> Arc<Marks> {
        let mut all = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(partition.clone()).or_default())
    }

    /// A record of each partition that was read.
    pub(super) fn witnesses(&self) -> Witnesses {
        let all = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(partition, marks): (&Partition, &Arc<Marks>)| Some((partition.clone(), marks.witness()?));
        all.iter().filter_map(one).collect()
    }

    /// Up to where a partition has been fetched, if all of that has been taken: behind what its queue gave when the last offsets
    /// hold no records.
    pub(super) fn fetched(&self, partition: &Partition) -> Option<i64> {
        self.consumer().context().fetched(&partition.0, partition.1)
    }

    /// Gives a slot back, for a later range.
    pub(super) fn give(&self, partition: Partition, slot: Slot) {
        self.slots().insert(partition, slot);
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<Partition, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the partition's queue begin at `offset`. What was in it is gone.
    pub(super) fn place(&self, partition: &Partition, slot: &mut Slot, offset: i64) -> Result<()> {
        let failed = |cause| errors::error(&format!("reading {}", name(partition)), cause);
        let here = Positions::from([(partition.clone(), offset)]);
        let list = list(&here).map_err(failed)?;
        if slot.next.is_some() {
            self.consumer().incremental_unassign(&list).map_err(failed)?;
        }
        self.consumer().incremental_assign(&list).map_err(failed)?;
        slot.next = Some(offset);
        slot.held = None;
        Ok(())
    }

    /// False while the partition's leader is away.
    pub(super) fn reachable(&self, partition: &Partition) -> bool {
        self.consumer().context().reachable(&partition.0, partition.1)
    }

    /// How often it has been heard which leaders are there.
    pub(super) fn news(&self) -> u64 {
        self.consumer().context().news()
    }

    /// What the newest statistics say.
    pub(super) fn figures(&self) -> Figures {
        self.consumer().context().figures()
    }

    /// Commits offsets to the group, for others to see. The query goes on whatever comes of it.
    pub(super) fn commit(&self, positions: &Positions, mode: CommitMode) {
        let committed = list(positions).and_then(|list| self.consumer().commit(&list, mode));
        if let Err(cause) = committed {
            tracing::warn!("offsets were not committed to group '{}': {cause}", self.settings.group);
        }
    }

    /// An error if the cluster refuses us or has been away for longer than `maxRetryTime`.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(refusal) = self.health.refusal() {
            return Err(refusal);
        }
        match self.health.away() {
            Some(nanos) if u128::from(nanos) >= self.settings.max_retry_time.as_nanos() => {
                let seconds = nanos / 1_000_000_000;
                Err(Error::outside(format!("no Kafka broker has been reachable for {seconds} s"))
                    .hint("Option 'maxRetryTime' says how long to wait."))
            }
            _ => Ok(()),
        }
    }

    /// A partition was reported to be unknown: an error (or a warning, with `failOnDataLoss` false) if it really is gone.
    /// Brokers that have just started say so, too, of partitions that they will know in a moment.
    pub(super) fn check_gone(&self, partition: &Partition, read: i64) -> Result<bool> {
        let any = Known::of(&Positions::new(), true);
        let found = self.partitions_of_topic(&partition.0, ONE_TRY, &any);
        // Who does not get an answer does not know.
        let known = found.map_or(true, |partitions| partitions.contains(partition));
        if !known {
            self.lost("PARTITIONS_DELETED", &format!("{} is gone; it was read up to offset {read}", name(partition)))?;
        }
        Ok(!known)
    }

    /// Where to go on when records are gone: an error, or (with `failOnDataLoss` false) the nearest place that exists.
    pub(super) fn after_loss(&self, partition: &Partition, from: i64, to: Option<i64>) -> Result<i64> {
        let one = std::slice::from_ref(partition);
        let ends = (self.ends(one, EARLIEST)?, self.ends(one, LATEST)?);
        let earliest = ends.0.get(partition).copied().unwrap_or(0);
        let latest = ends.1.get(partition).copied().unwrap_or(0);
        let range = match to {
            Some(to) => format!("offsets {from} to {} of {}", to - 1, name(partition)),
            None => format!("offsets from {from} on of {}", name(partition)),
        };
        let there = format!("it holds {earliest} up to {latest}");
        self.lost("COULD_NOT_READ_OFFSET_RANGE", &format!("{range} can't be read: {there}"))?;
        Ok(if from > latest { earliest } else { earliest.max(from) })
    }

    /// Data loss: an error, or a warning with `failOnDataLoss` false.
    pub(super) fn lost(&self, condition: &str, what: &str) -> Result<()> {
        if !self.settings.fail_on_data_loss {
            tracing::warn!("records of Kafka were lost: {what}");
            return Ok(());
        }
        Err(Error::outside(format!("some data may have been lost: {what}"))
            .with_condition(format!("KAFKA_DATA_LOSS.{condition}"))
            .hint(
                "Either Kafka aged the records out, or the topic was deleted before all was read. \
                 Set option 'failOnDataLoss' to 'false' to go on all the same.",
            ))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cluster.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; nothing else depends on the thread.
            drop(thread.join());
        }
    }
}

/// True if the cluster does not know a topic or partition.
pub(super) fn is_unknown(error: &Error) -> bool {
    error.condition() == Some(UNKNOWN_TOPIC)
}

/// Topics that the brokers keep for themselves; a pattern does not mean them.
fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// The error for a topic that is not there.
pub(super) fn unknown_topic(topic: &str) -> Error {
    Error::query(UNKNOWN_TOPIC, format!("there is no topic '{topic}'"))
        .hint("Create it first, or check the name in option 'subscribe'.")
}

fn consumer(config: &ClientConfig, prefetch: Prefetch, health: &Arc<Health>) -> Result<Arc<BaseConsumer<Reading>>> {
    let made = prefetch.set(config.clone()).create_with_context(Reading::new(Arc::clone(health)));
    Ok(Arc::new(made.map_err(|cause| errors::error("making a Kafka consumer", cause))?))
}

fn list(positions: &Positions) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for ((topic, partition), place) in positions {
        let place = match *place {
            LATEST => Place::End,
            EARLIEST => Place::Beginning,
            offset => Place::Offset(offset),
        };
        list.add_partition_offset(topic, *partition, place)?;
    }
    Ok(list)
}
