//! `kafka`: records of Kafka topics, batch and stream.
//!
//! In: topics or partitions, by one consumer that is no member of any group. Out: rows `(key, value, topic, partition, offset,
//! timestamp, timestampType[, headers])`. Offsets are Spark's: `{"topic":{"0":23}}`, the next record of each partition.
//!
//! ```text
//!  micro-batch, batch:  latest ─► ends of all partitions, limited ─► offsets/N ─► RangeReader: exactly those records
//!  continuous:          one TailReader a partition: whatever the client has, the moment it has it
//! ```
//!
//! # Restart
//! Reading goes on behind the checkpoint's offsets. Where a new query begins is decided once, and kept in `sources/N/0`. A partition
//! that appears later is read from its first record. Of each partition a record that was read is remembered (`sources/N/witnesses`) and
//! looked at again: a topic that was deleted and made anew has another one in its place.

mod cluster;
mod offsets;
mod plan;
mod prefetch;
mod range;
mod rows;
mod settings;
mod tail;
mod witness;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rdkafka::consumer::CommitMode;
use serde_json::{Map, Value};

use self::cluster::{Cluster, Known, ONE_TRY, Watch, is_unknown, unknown_topic};
use self::offsets::{EARLIEST, LATEST, Partition, Positions, name};
use self::plan::Patience;
use self::range::{Range, RangeReader};
use self::rows::Rows;
use self::settings::{Bound, OPTIONS, Settings, Topics};
use self::tail::{Inbox, TailReader};
use self::witness::Book;
use super::{Limit, Offset, Reader, Source, SourceContext, SourceProvider, SourceReport, SourceSpec};
use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::OptionSpec;
use crate::store::Folder;
use crate::{Error, Result};

/// How often partitions are listed anew because one of them went meanwhile.
const LIST_TRIES: u32 = 3;
/// How long a list of partitions is good for the planning of batches.
const LIST_AGAIN: Duration = Duration::from_secs(1);
/// The option that says where reading begins.
const STARTING: &str = "startingOffsets";
/// Readers of one batch at most; each is a thread.
const BATCH_READERS: usize = 8;
/// Readers of a continuous read at most; partitions beyond share them.
const TAIL_READERS: usize = 256;

/// The provider of `format("kafka")`.
#[derive(Debug)]
pub struct Kafka;

impl SourceProvider for Kafka {
    fn names(&self) -> &'static [&'static str] {
        &["kafka"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS]
    }

    fn schema(&self, spec: &SourceSpec, _conf: &Conf) -> Result<SchemaRef> {
        super::refuse_schema(spec)?;
        Ok(rows::schema(Settings::of(spec)?.headers))
    }

    fn connect(&self, spec: &SourceSpec, schema: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let settings = Settings::of(spec)?;
        let cluster = Cluster::new(&spec.options, settings.clone(), Arc::clone(&context.clock))?;
        let patience = settings.min_offsets.map(|least| Patience::new(least, settings.max_trigger_delay));
        let tails = Arc::new(Mutex::new(Tails::default()));
        let finding = (Arc::clone(&cluster), Arc::clone(&tails));
        let watch = cluster.watch(settings.discovery, move || Tails::find_new(&finding.1, &finding.0))?;
        Ok(Box::new(KafkaSource {
            cluster,
            schema,
            projection: context.projection.into(),
            book: Book::new(context.log.clone(), Arc::clone(&context.clock)),
            checked: false,
            anew: BTreeMap::new(),
            log: context.log,
            clock: context.clock,
            streaming: spec.streaming,
            initial: None,
            goal: None,
            patience,
            ends: None,
            listed: None,
            committed: None,
            tails,
            _watch: watch,
        }))
    }
}

/// The partitions of a continuous read.
#[derive(Default)]
struct Tails {
    /// Known partitions with the reader that has each.
    known: BTreeMap<Partition, usize>,
    readers: Vec<Arc<Inbox>>,
}

impl Tails {
    /// Hands partitions that have appeared to readers. What fails now is tried again later.
    fn find_new(tails: &Mutex<Tails>, cluster: &Cluster) {
        let lock = || tails.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().readers.is_empty() || matches!(cluster.settings.topics, Topics::Assign(_)) {
            return;
        }
        // A topic that is gone does not hide what is new of the others.
        let any = Known::of(&Positions::new(), true);
        let found = cluster.partitions_within(cluster.settings.api_timeout, &any);
        let Ok(mut partitions) = found else { return };
        partitions.retain(|partition| !lock().known.contains_key(partition));
        let Ok(starts) = cluster.ends(&partitions, EARLIEST) else { return };
        starts.into_iter().for_each(|(partition, from)| lock().add(partition, from));
    }

    fn add(&mut self, partition: Partition, from: i64) {
        let reader = self.known.len() % self.readers.len().max(1);
        tracing::info!("partition {} has appeared; it is read from offset {from}", name(&partition));
        self.known.insert(partition.clone(), reader);
        if let Some(inbox) = self.readers.get(reader) {
            inbox.put(partition, from);
        }
    }
}

struct KafkaSource {
    cluster: Arc<Cluster>,
    schema: SchemaRef,
    projection: Arc<[usize]>,
    log: Option<Folder>,
    /// Records by which logs are known again.
    book: Book,
    /// Whether the partitions' logs are known to be those that were read before.
    checked: bool,
    /// Partitions whose log is another one: where reading would have gone on, and where it begins now.
    anew: BTreeMap<Partition, (i64, i64)>,
    clock: SharedClock,
    streaming: bool,
    /// Where the query began, once it is known.
    initial: Option<Positions>,
    /// Where reading ends (trigger available now).
    goal: Option<Positions>,
    patience: Option<Patience>,
    /// Where the partitions ended when last asked.
    ends: Option<Positions>,
    /// The partitions, and when they were asked for (nanoseconds).
    listed: Option<(Vec<Partition>, u64)>,
    /// What was last committed to the group.
    committed: Option<Positions>,
    tails: Arc<Mutex<Tails>>,
    _watch: Watch,
}

impl KafkaSource {
    /// Where the range after `from` begins.
    fn begin(&mut self, from: Option<&Offset>) -> Result<Positions> {
        let checked = std::mem::replace(&mut self.checked, true);
        let Some(offset) = from else { return self.initial() };
        let mut begins = offsets::from_offset(offset)?;
        if !checked {
            self.check_logs(&begins)?;
        }
        for (partition, (old, new)) in &self.anew {
            begins.entry(partition.clone()).and_modify(|begin| *begin = if begin == old { *new } else { *begin });
        }
        Ok(begins)
    }

    /// What was read before may be missing: topics of these offsets, or of some offset before them.
    fn known(&self, begins: &Positions, from: Option<&Offset>) -> Known {
        Known::of(begins, from.is_some() && !self.cluster.settings.fail_on_data_loss)
    }

    /// Whether partitions still are the logs that were read. Of those that are not, reading begins anew.
    fn check_logs(&mut self, begins: &Positions) -> Result<()> {
        let witnesses = self.witnesses_there(begins)?;
        if witnesses.is_empty() {
            return Ok(());
        }
        self.cluster.make_room(begins.len())?;
        for (partition, first) in witness::other_logs(&self.cluster, &witnesses)? {
            let begin = begins.get(&partition).copied().unwrap_or(first);
            let offset = witnesses.get(&partition).map_or(begin, |witness| witness.offset);
            let what = format!(
                "{} was deleted and made anew: its record at offset {offset} is not the one that was read; the query had read up to \
                 offset {begin}",
                name(&partition)
            );
            self.cluster.lost("PARTITION_OFFSET_CHANGED", &what)?;
            self.anew.insert(partition, (begin, first));
        }
        Ok(())
    }

    /// The records that an earlier run noted, of partitions that it read and that are there.
    fn witnesses_there(&mut self, begins: &Positions) -> Result<witness::Witnesses> {
        let mut witnesses = self.book.read()?;
        witnesses.retain(|partition, _| begins.contains_key(partition));
        if !witnesses.is_empty() {
            let patience = self.cluster.settings.api_timeout;
            let there = self.cluster.partitions_within(patience, &Known::of(begins, true))?;
            witnesses.retain(|partition, _| there.contains(partition));
        }
        Ok(witnesses)
    }

    /// Ends of a batch by which partitions that are read anew can be told from where they were before.
    fn apart(&self, mut ends: Positions) -> Positions {
        for (partition, (old, new)) in self.anew.iter().filter(|(_, (old, new))| new < old) {
            ends.entry(partition.clone()).and_modify(|end| *end -= i64::from(*end == *old && *end > *new));
        }
        ends
    }

    /// Where a new query begins: decided once.
    fn initial(&mut self) -> Result<Positions> {
        if let Some(known) = &self.initial {
            return Ok(known.clone());
        }
        let logged = self.log.as_ref().map(read_initial).transpose()?.flatten();
        let initial = match logged {
            Some(logged) => logged,
            None => {
                let start = self.cluster.settings.start.clone();
                let found = self.resolve(&start, STARTING)?;
                self.log.as_ref().map_or(Ok(()), |log| write_initial(log, &found))?;
                found
            }
        };
        self.initial = Some(initial.clone());
        Ok(initial)
    }

    /// The offsets that a bound means now.
    fn resolve(&self, bound: &Bound, option: &str) -> Result<Positions> {
        let partitions = self.cluster.partitions()?;
        match bound {
            Bound::Earliest => self.cluster.ends(&partitions, EARLIEST),
            Bound::Latest => self.cluster.ends(&partitions, LATEST),
            Bound::Offsets(given) => self.resolve_given(given, &partitions, option),
            Bound::Timestamp(millis) => {
                self.resolve_times(partitions.into_iter().map(|partition| (partition, *millis)).collect(), option)
            }
            Bound::Timestamps(given) => {
                check_same(given, &partitions, option)?;
                self.resolve_times(given.clone(), option)
            }
        }
    }

    fn resolve_given(&self, given: &Positions, partitions: &[Partition], option: &str) -> Result<Positions> {
        check_same(given, partitions, option)?;
        let (earliest, latest) = (self.cluster.ends(partitions, EARLIEST)?, self.cluster.ends(partitions, LATEST)?);
        let one = |(partition, place): (&Partition, &i64)| {
            let (first, last) = (earliest.get(partition).copied(), latest.get(partition).copied());
            let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
            let place = match *place {
                EARLIEST => first,
                LATEST => last,
                place => place,
            };
            if !(first..=last).contains(&place) {
                let what = format!("option '{option}' asks for offset {place} of {}", name(partition));
                let loss = if option == STARTING { "START_OFFSET_RESET" } else { "COULD_NOT_READ_OFFSET_RANGE" };
                self.cluster.lost(loss, &format!("{what}, which holds {first} up to {last}"))?;
            }
            Ok((partition.clone(), place.clamp(first, last)))
        };
        given.iter().map(one).collect()
    }

    /// Ends that no record is as young as: an error at the start of a range (or the latest offset, by
    /// `startingOffsetsByTimestampStrategy`), the latest offset at its end.
    fn resolve_times(&self, times: Positions, option: &str) -> Result<Positions> {
        let mut found = self.cluster.offsets(&times)?;
        let late: Vec<Partition> =
            found.iter().filter(|(_, place)| **place == LATEST).map(|(p, _)| p.clone()).collect();
        if let (Some(first), true, false) = (late.first(), option == STARTING, self.cluster.settings.latest_if_too_late)
        {
            let millis = times.get(first).copied().unwrap_or_default();
            return Err(Error::invalid(format!("no offset of {} has a timestamp of {millis} or later", name(first)))
                .hint("Set 'startingOffsetsByTimestampStrategy' to 'latest' to begin with what comes next."));
        }
        found.extend(self.cluster.ends(&late, LATEST)?);
        Ok(found)
    }

    /// Where all partitions end now; `None` while the cluster is away.
    fn newest(&mut self, begins: &Positions, known: &Known) -> Result<Option<Positions>> {
        match self.ask_newest(begins, known) {
            Ok(ends) => {
                self.check_loss(begins, &ends)?;
                self.ends = Some(ends.clone());
                Ok(Some(ends))
            }
            Err(error) if self.cluster.health.away().is_some() => {
                tracing::debug!("the cluster is away: {error}");
                self.cluster.check().map(|()| None)
            }
            Err(error) => Err(error),
        }
    }

    /// The list of partitions is asked for again after a while, or when one of them is not there. A partition without a leader
    /// does not hold up the others: it has nothing new.
    fn ask_newest(&mut self, begins: &Positions, known: &Known) -> Result<Positions> {
        let now = self.clock.nanos();
        if let Some((partitions, asked)) = &self.listed
            && u128::from(now.saturating_sub(*asked)) < LIST_AGAIN.as_nanos()
            && let Ok(ends) = self.cluster.ends_within(partitions, LATEST, ONE_TRY)
        {
            return Ok(ends);
        }
        // At the first contact there is time; later the driver comes again soon, and must hear that it should stop.
        let patience = if self.listed.is_some() { ONE_TRY } else { self.cluster.settings.api_timeout };
        let (partitions, answering, mut ends) = self.list_ends(known, patience)?;
        let silent = partitions.iter().filter(|partition| !answering.contains(partition));
        ends.extend(silent.filter_map(|partition| Some((partition.clone(), *begins.get(partition)?))));
        // With a silent one the list is asked for again at once.
        self.listed = Some((partitions, if ends.len() == answering.len() { now } else { 0 }));
        Ok(ends)
    }

    /// All partitions, those that answer, and where these end. A topic that goes between the two questions is asked about again.
    fn list_ends(&self, known: &Known, patience: Duration) -> Result<(Vec<Partition>, Vec<Partition>, Positions)> {
        let mut tries = 0;
        loop {
            let partitions = self.cluster.partitions_within(patience, known)?;
            let answering = self.cluster.with_leader(&partitions);
            match self.cluster.ends_within(&answering, LATEST, patience) {
                Err(error) if is_unknown(&error) && tries < LIST_TRIES => tries += 1,
                ends => return ends.map(|ends| (partitions, answering, ends)),
            }
        }
    }

    /// A topic that never was there is an error, whatever else is to be read.
    fn check_there(&self, ends: &Positions, known: &Known) -> Result<()> {
        let there = |topic: &str| known.has(topic) || ends.keys().any(|(found, _)| **found == *topic);
        match self.cluster.settings.topics.names().into_iter().find(|topic| !there(topic)) {
            Some(topic) => Err(unknown_topic(topic)),
            None => Ok(()),
        }
    }

    /// Remembers the records that were read last, where it is time to. Where reading began anew, the old records are forgotten with
    /// the first commit behind that, and not before.
    fn note_witnesses(&mut self, offset: &Offset) -> Result<()> {
        let begun_anew = !self.anew.is_empty();
        if !begun_anew && !self.book.is_due() {
            return Ok(());
        }
        let positions = offsets::from_offset(offset)?;
        let book = &mut self.book;
        self.anew.retain(|partition, (old, _)| {
            let waits = positions.get(partition) == Some(old);
            if !waits {
                book.forget(partition);
            }
            waits
        });
        if self.anew.is_empty() {
            self.book.write(self.witnesses_of(&positions));
        }
        Ok(())
    }

    /// The records that were read last of these partitions.
    fn witnesses_of(&self, positions: &Positions) -> witness::Witnesses {
        let mut witnesses = self.cluster.witnesses();
        witnesses.retain(|partition, _| positions.contains_key(partition));
        witnesses
    }

    /// What was read must still be there.
    fn check_loss(&self, begins: &Positions, ends: &Positions) -> Result<()> {
        let gone: Vec<String> = begins.keys().filter(|partition| !ends.contains_key(*partition)).map(name).collect();
        if !gone.is_empty() {
            self.cluster.lost("PARTITIONS_DELETED", &format!("partitions {} are gone", gone.join(", ")))?;
        }
        for (partition, end) in ends {
            if let Some(begin) = begins.get(partition).filter(|begin| *begin > end) {
                let what = format!("the end of {} went back from {begin} to {end}", name(partition));
                self.cluster.lost("PARTITION_OFFSET_CHANGED", &what)?;
            }
        }
        Ok(())
    }

    /// `begins` with the partitions of `ends` that are new, at their first records.
    fn with_new(&self, mut begins: Positions, ends: &Positions) -> Result<Positions> {
        let new: Vec<Partition> = ends.keys().filter(|partition| !begins.contains_key(*partition)).cloned().collect();
        for (partition, first) in self.cluster.ends(&new, EARLIEST)? {
            if first > 0 {
                let what = format!("new partition {} starts from offset {first} instead of 0", name(&partition));
                self.cluster.lost("ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO", &what)?;
            }
            begins.insert(partition, first);
        }
        Ok(begins)
    }

    fn batch(&self, begins: &Positions, ends: &Positions) -> Result<Vec<Box<dyn Reader>>> {
        let wanted = ends.iter().filter_map(|(partition, to)| {
            let from = *begins.get(partition)?;
            (from < *to).then_some((partition, from, *to))
        });
        self.cluster.make_room(ends.len())?;
        let mut groups: Vec<VecDeque<Range>> = Vec::new();
        for (n, (partition, from, to)) in wanted.enumerate() {
            let range = Range::open(&self.cluster, partition.clone(), from, to)?;
            if n < BATCH_READERS {
                groups.push(VecDeque::new());
            }
            groups[n % BATCH_READERS].push_back(range);
        }
        let reader = |group| Ok(Box::new(RangeReader::new(group, self.rows()?)) as Box<dyn Reader>);
        groups.into_iter().map(reader).collect()
    }

    /// Readers of what comes behind `begins`, where `there` has the partition.
    fn follow(&self, begins: Positions, there: &Positions) -> Result<Vec<Box<dyn Reader>>> {
        self.cluster.make_room(begins.len())?;
        let count = begins.len().clamp(1, TAIL_READERS);
        let mut hands: Vec<Vec<(Partition, i64)>> = vec![Vec::new(); count];
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, (partition, from)) in begins.into_iter().enumerate() {
            if !there.contains_key(&partition) {
                continue;
            }
            tails.known.insert(partition.clone(), n % count);
            hands[n % count].push((partition, from));
        }
        let mut readers: Vec<Box<dyn Reader>> = Vec::new();
        for hand in hands {
            let inbox = Arc::<Inbox>::default();
            tails.readers.push(Arc::clone(&inbox));
            readers.push(Box::new(TailReader::open(&self.cluster, hand, self.rows()?, inbox)?));
        }
        Ok(readers)
    }

    fn rows(&self) -> Result<Rows> {
        Rows::new(&self.schema, Arc::clone(&self.projection))
    }

    /// Records between `end` and the newest, by partition. Offsets without records at the end of a partition do not count.
    fn lags(&self, end: &Positions) -> (Positions, Positions) {
        let figures = self.cluster.figures();
        let mut latest = self.ends.clone().unwrap_or_default();
        let mut lags = Positions::new();
        for (partition, place) in end {
            let figure = figures.get(&(partition.0.to_string(), partition.1));
            let known = latest.entry(partition.clone()).or_insert(*place);
            *known = (*known).max(*place).max(figure.map_or(0, |figure| figure.end));
            let reached = figure.filter(|figure| figure.queued == 0).map_or(*place, |figure| figure.next.max(*place));
            lags.insert(partition.clone(), (*known - reached).max(0));
        }
        (latest, lags)
    }

    /// The age of the newest record read, in the partition where that is oldest of those with records left to read. `None` if
    /// nothing has been read there.
    fn seconds_behind(&self, lags: &Positions) -> Option<f64> {
        let behind = lags.iter().filter(|(_, lag)| **lag > 0);
        let times = behind.map(|(partition, _)| self.cluster.marks(partition).newest.load(Ordering::Relaxed));
        let oldest = match lags.values().any(|lag| *lag > 0) {
            true => times.filter(|millis| *millis != i64::MIN).min()?,
            false => return Some(0.0),
        };
        Some((self.clock.wall_micros() / 1000).saturating_sub(oldest).max(0) as f64 / 1000.0)
    }
}

/// Offsets in options must name exactly the partitions that are read.
fn check_same(given: &Positions, partitions: &[Partition], option: &str) -> Result<()> {
    if given.keys().eq(partitions.iter()) {
        return Ok(());
    }
    let list = |all: &mut dyn Iterator<Item = &Partition>| all.map(name).collect::<Vec<_>>().join(", ");
    Err(Error::invalid(format!(
        "option '{option}' must name all partitions that are read and no others: it has {} but there are {}",
        list(&mut given.keys()),
        list(&mut partitions.iter())
    ))
    .hint("Use -1 for latest, -2 for earliest, if you don't care."))
}

/// `sources/N/0`: Spark's initial offsets, a version line and JSON.
fn read_initial(log: &Folder) -> Result<Option<Positions>> {
    let Some(text) = log.read_text("0")? else { return Ok(None) };
    let damaged = || Error::outside("the initial offsets of the Kafka source are damaged").at(log.place("0"));
    // Spark puts a byte 0 before the version.
    let json = text.trim_start_matches('\0').strip_prefix("v1\n").ok_or_else(damaged)?;
    let value: Value = serde_json::from_str(json.trim()).map_err(|_| damaged())?;
    offsets::from_offset(&value).map(Some).map_err(|_| damaged())
}

fn write_initial(log: &Folder, positions: &Positions) -> Result<()> {
    log.write("0", format!("v1\n{}", offsets::to_offset(positions)).as_bytes())
}

impl Source for KafkaSource {
    fn description(&self) -> String {
        let what = match &self.cluster.settings.topics {
            Topics::Assign(partitions) => {
                format!("Assign[{}]", partitions.iter().map(name).collect::<Vec<_>>().join(", "))
            }
            Topics::Subscribe(topics) => format!("Subscribe[{}]", topics.join(", ")),
            Topics::Pattern(pattern) => format!("SubscribePattern[{pattern}]"),
        };
        format!("KafkaV2[{what}]")
    }

    fn partitions(&mut self, from: Option<&Offset>) -> Result<usize> {
        Ok(self.begin(from)?.len().clamp(1, TAIL_READERS))
    }

    fn latest(&mut self, from: Option<&Offset>, limit: Limit) -> Result<Option<Offset>> {
        let begins = self.begin(from)?;
        let known = self.known(&begins, from);
        let ends = match &self.goal {
            Some(goal) => {
                self.check_there(goal, &known)?;
                self.check_loss(&begins, goal)?;
                Some(goal.clone())
            }
            None if self.streaming => self.newest(&begins, &known)?,
            None => Some(self.resolve(&self.cluster.settings.end.clone(), "endingOffsets")?),
        };
        let Some(ends) = ends else { return Ok(None) };
        let begins = self.with_new(begins, &ends)?;
        if from.is_some() && begins == ends {
            return Ok(None);
        }
        if limit == Limit::Everything || !self.streaming {
            return Ok(Some(offsets::to_offset(&self.apart(ends))));
        }
        let now = self.clock.nanos();
        if self.goal.is_none() && self.patience.as_mut().is_some_and(|p| p.waits(&begins, &ends, now)) {
            return Ok(None);
        }
        let most = self.cluster.settings.max_offsets;
        let ends = most.map_or(ends.clone(), |most| plan::shared_out(most, &begins, &ends));
        Ok(Some(offsets::to_offset(&self.apart(ends))))
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let begins = self.begin(from)?;
        match to {
            Some(to) => {
                let ends = offsets::from_offset(to)?;
                let begins = self.with_new(begins, &ends)?;
                self.batch(&begins, &ends)
            }
            None => {
                let known = self.known(&begins, from);
                let partitions = self.cluster.partitions_within(self.cluster.settings.api_timeout, &known)?;
                let ends = self.cluster.ends(&partitions, LATEST)?;
                self.check_loss(&begins, &ends)?;
                let begins = self.with_new(begins, &ends)?;
                self.follow(begins, &ends)
            }
        }
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    /// Which topics were read before is not known here: those that are missing are looked at in [`Source::latest`].
    fn freeze(&mut self) -> Result<()> {
        let known = Known::of(&Positions::new(), true);
        let partitions = self.cluster.partitions_within(self.cluster.settings.api_timeout, &known)?;
        let ends = self.cluster.ends(&partitions, LATEST)?;
        self.ends = Some(ends.clone());
        self.goal = Some(ends);
        Ok(())
    }

    fn mark(&mut self) -> Result<()> {
        let known: Vec<Partition> = {
            let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
            tails.known.keys().cloned().collect()
        };
        match self.cluster.ends_within(&self.cluster.with_leader(&known), LATEST, ONE_TRY) {
            Ok(ends) => ends.iter().for_each(|(partition, end)| {
                self.cluster.marks(partition).goal.store(*end, Ordering::Release);
            }),
            // The readers find out what is wrong, and how long to wait.
            Err(error) => tracing::debug!("what there is to wait for is not known: {error}"),
        }
        Ok(())
    }

    /// Nothing is forgotten in Kafka; with `commitOffsetsToGroup` others can see how far the query is.
    fn commit(&mut self, offset: &Offset) -> Result<()> {
        self.note_witnesses(offset)?;
        if self.cluster.settings.commit_to_group {
            let positions = offsets::from_offset(offset)?;
            self.cluster.commit(&positions, CommitMode::Async);
            self.committed = Some(positions);
        }
        Ok(())
    }

    fn join_offsets(&self, parts: Vec<Offset>) -> Result<Offset> {
        let mut all = Positions::new();
        for part in &parts {
            all.extend(offsets::from_offset(part)?);
        }
        Ok(offsets::to_offset(&all))
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    fn away(&self) -> Option<Duration> {
        self.cluster.health.away().map(Duration::from_nanos)
    }

    fn report(&mut self, end: Option<&Offset>) -> SourceReport {
        let Some(end) = end.and_then(|end| offsets::from_offset(end).ok()) else { return SourceReport::default() };
        let (latest, lags) = self.lags(&end);
        let mut metrics = Map::new();
        if let (Some(least), Some(most)) = (lags.values().min(), lags.values().max()) {
            let mean = lags.values().sum::<i64>() as f64 / lags.len() as f64;
            metrics.insert("minOffsetsBehindLatest".into(), least.to_string().into());
            metrics.insert("maxOffsetsBehindLatest".into(), most.to_string().into());
            metrics.insert("avgOffsetsBehindLatest".into(), format!("{mean:?}").into());
            if let Some(seconds) = self.seconds_behind(&lags) {
                metrics.insert("secondsBehindLatest".into(), format!("{seconds:?}").into());
            }
        }
        SourceReport { latest: Some(offsets::to_offset(&latest)), metrics }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        if let Some(positions) = &self.committed {
            self.cluster.commit(positions, CommitMode::Sync);
        }
        // Where reading began anew and nothing of it is committed, the old records still say so.
        if self.anew.is_empty() {
            self.book.close(self.cluster.witnesses());
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
