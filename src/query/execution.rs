//! One run of a query on its driver thread: connects sources and sink, starts the graph, runs the driver that the trigger
//! asks for, and ends everything in order.
//!
//! Order at the start: checks → lowering → sources → restart point from the checkpoint → static tables → sink → graph. Order of
//! an epoch: see [`super::micro_batch`] and [`super::continuous`], which share [`Execution::close`] and [`Execution::settle`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use thalweg_operators::Pace;
use thalweg_operators::time::NO_WATERMARK;
use thalweg_operators::watermark::{EventTimes, watermark_for};

use super::event_time::{self, EventTimeRules, Standing};
use super::graph::{Graph, Outlet};
use super::listener::Listeners;
use super::progress::Progress;
use super::report;
use super::restart::Start;
use super::results::EpochResult;
use super::state::QueryState;
use super::state_limit::StateLimit;
use super::state_operators::StateOperators;
use super::statics::Statics;
use super::trigger::Trigger;
use crate::checkpoint::{
    Checkpoint, CommitRecord, OffsetMetadata, OffsetRecord, OperatorWatermarks, Rules, StateRef, StateWriter,
};
use crate::clock::SharedClock;
use crate::cold::StateStore;
use crate::conf::Conf;
use crate::functions::datetime::now::BatchTime;
use crate::plan::dataflow::DataflowPlan;
use crate::render::Shared;
use crate::sinks::{Guarantee, OutputMode, Prepared, Sink};
use crate::sources::{Offset, Source, SourceContext, Wake};
use crate::{Error, Result};

/// Everything that is fixed before a query starts.
pub(crate) struct Setup {
    /// The query.
    pub plan: DataflowPlan,
    /// Where its results go, and behind it where its late rows go, if somebody wants them.
    pub outlets: Vec<OutletPlan>,
    /// Static sides of joins.
    pub statics: Statics,
    /// What `current_timestamp` reads: the time of each batch, or the wall clock under the continuous driver.
    pub batch_time: BatchTime,
    /// Settings, fixed for the query's life.
    pub conf: Conf,
    /// When epochs close.
    pub trigger: Trigger,
    /// Name, if one was given.
    pub name: Option<String>,
    /// Id over all runs.
    pub id: String,
    /// Id of this run.
    pub run_id: String,
    /// Where it is checkpointed, if anywhere.
    pub checkpoint: Option<Checkpoint>,
    /// The clocks.
    pub clock: SharedClock,
    /// Number of workers.
    pub workers: usize,
    /// How long after a row a worker that reads a source itself looks for more before it sleeps.
    pub busy_poll: Duration,
    /// Where state is kept while it runs.
    pub state_store: StateStore,
    /// Rules of event time.
    pub event_time: EventTimeRules,
    /// Whether a watermark over another is an error, as in Spark.
    pub single_watermark: bool,
    /// Who hears of progress.
    pub listeners: Listeners,
    /// Operators that reports list.
    pub state_operators: StateOperators,
}

/// What is fixed about one sink of a query.
#[derive(Clone)]
pub(crate) struct OutletPlan {
    /// Columns of its rows.
    pub schema: SchemaRef,
    /// Which rows come.
    pub mode: OutputMode,
    /// What the sink calls the query, if not by its own name.
    pub name: Option<String>,
    /// The sink's guarantee, which decides when it is committed.
    pub guarantee: Guarantee,
}

impl Setup {
    /// When results leave.
    pub fn pace(&self) -> Pace {
        if matches!(self.trigger, Trigger::Continuous(_)) { Pace::Eager } else { Pace::Epoch }
    }

    /// Whether all rows of a partition go through one lane: their order matters, or watermarks move with the data.
    pub fn keeps_partitions(&self) -> bool {
        self.plan.depends_on_order(self.pace()) || (self.pace() == Pace::Eager && !self.plan.watermarks.is_empty())
    }
}

/// A batch: what is read in one epoch.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// Its number.
    pub epoch: u64,
    /// End of the range of each source; equal to the start where nothing is read.
    pub ends: Vec<Option<Offset>>,
    /// The watermark in force, in microseconds; [`NO_WATERMARK`] without event time.
    pub watermark: i64,
    /// Wall-clock time of the batch in milliseconds; a batch that runs again keeps it.
    pub timestamp: i64,
    /// True if `offsets/N` exists already.
    pub recorded: bool,
}

/// An epoch whose rows are all at the sinks, while its state is being written.
pub(crate) struct Closed {
    pub batch: Batch,
    pub result: EpochResult,
    prepared: Vec<(usize, Prepared)>,
    /// What had been read before it, per source.
    pub before: Vec<Option<Offset>>,
    /// The watermark of the next epoch.
    watermark: i64,
    pub event_times: Option<EventTimes>,
    pub times: report::Phases,
}

/// A run of a query.
pub(crate) struct Execution {
    pub setup: Setup,
    pub state: Arc<QueryState>,
    pub sources: Vec<Box<dyn Source>>,
    /// As [`Setup::outlets`].
    pub sinks: Vec<Box<dyn Sink>>,
    pub graph: Graph,
    /// What has been read so far, per source.
    pub offsets: Vec<Option<Offset>>,
    /// The next epoch.
    pub epoch: u64,
    /// The watermark that the last epoch used, and the one computed after it.
    pub watermark_used: i64,
    pub watermark: i64,
    /// Largest watermark of each `withWatermark` in this run.
    pub watermarks: Vec<Option<i64>>,
    /// Names the state after the last epoch that was committed.
    pub state_ref: Option<StateRef>,
    /// Writes state, if there is a checkpoint.
    writer: Option<StateWriter>,
    state_limit: StateLimit,
    /// The last epoch, until it is committed.
    closed: Option<Closed>,
    /// Since when each stands where it stands.
    pub standing: Vec<Standing>,
    /// A batch that was planned before a restart and not committed.
    pub replay: Option<Batch>,
    /// The processing time at which an operator wants an epoch though no row may come (microseconds since 1970).
    pub wakes_at: Option<i64>,
    /// Wall-clock time of the last batch, in milliseconds; that of the next is not before it.
    pub timestamp: i64,
    pub times: report::Phases,
    /// When listeners last heard that the query is idle, or it last was not (nanoseconds).
    pub told_idle: u64,
}

impl Execution {
    /// Connects everything and starts the graph; nothing is read yet.
    pub fn start(
        setup: Setup,
        connect_sinks: impl FnOnce(&Setup) -> Result<Vec<Box<dyn Sink>>>,
        state: Arc<QueryState>,
    ) -> Result<Execution> {
        let mut sources = connect_sources(&setup, &state)?;
        let mut sinks = connect_sinks(&setup)?;
        believe_sinks(&setup, &mut sinks)?;
        let mut start = Start::find(&setup, sources.len())?;
        let readers = readers(&setup, &mut sources, &start)?;
        if let Some((epoch, notes)) = &start.finish {
            let unfinished = sinks.iter_mut().zip(notes).filter(|(_, notes)| !notes.is_empty());
            unfinished.into_iter().try_for_each(|(sink, notes)| finish_sink(sink.as_mut(), *epoch, notes))?;
        }
        let graph = start_graph(&setup, &state, &sources, &readers, &mut sinks, &mut start)?;
        // Timers that a former run left are known to the workers only: a first epoch tells.
        let wakes_at = (start.epoch > 0 && setup.plan.wants_epochs_in_time()).then_some(i64::MIN);
        let watermarks = vec![None; setup.plan.watermarks.len()];
        let writer = state_writer(&setup, start.state_ref.as_ref())?;
        Ok(Execution {
            state_limit: StateLimit::of(&setup.conf)?,
            writer,
            closed: None,
            setup,
            state,
            sources,
            sinks,
            graph,
            offsets: start.offsets,
            epoch: start.epoch,
            watermark_used: start.watermark_used,
            watermark: start.watermark,
            watermarks,
            state_ref: start.state_ref,
            standing: Vec::new(),
            replay: start.replay,
            wakes_at,
            timestamp: start.timestamp,
            times: report::Phases::default(),
            told_idle: 0,
        })
    }

    /// The time of a batch that begins now, in milliseconds: the wall clock's, but never before that of the last batch.
    pub fn batch_timestamp(&self) -> i64 {
        (self.setup.clock.wall_micros() / 1000).max(self.timestamp)
    }

    /// Reads static tables again if it is time.
    pub fn refresh_statics(&mut self) {
        let Setup { statics, plan, conf, clock, .. } = &mut self.setup;
        statics.refresh(plan, conf, clock.nanos());
    }

    /// Runs until the query ends; then ends graph and sink.
    pub fn run(mut self) -> Option<Error> {
        self.setup.statics.read_at(self.setup.clock.nanos());
        let ran = match self.setup.trigger {
            Trigger::Continuous(interval) => super::continuous::run(&mut self, interval),
            _ => super::micro_batch::run(&mut self),
        };
        // The readers of a continuous query took the lanes with them; what they had sent is committed, and nothing else counts.
        let continuous = matches!(self.setup.trigger, Trigger::Continuous(_));
        self.graph.shut_down(ran.is_ok() && !continuous);
        // Whoever read the rows has gone: that is an end, not a failure.
        let error = ran.err().filter(|error| error.condition() != Some(crate::sinks::CLOSED));
        self.sinks.iter_mut().for_each(|sink| sink.close(error.as_ref()));
        // Nothing is written any more when the lease is given back.
        self.writer = None;
        error
    }

    /// Waits until everything of `epoch` is at the sink. A query that is to stop waits for a sink that takes nothing for a
    /// second, then releases its writers.
    pub fn wait(&mut self, epoch: u64) -> Result<EpochResult> {
        const PATIENCE: u32 = 20;
        let (state, sinks) = (&self.state, &mut self.sinks);
        let mut waited = 0;
        self.graph.wait(epoch, &mut || {
            waited += u32::from(state.stopping());
            if waited == PATIENCE || state.aborting() {
                sinks.iter_mut().for_each(|sink| sink.close(None));
            }
            state.aborting().then(aborted)
        })
    }

    /// Writes what the batch reads, before anything of it is processed.
    pub fn record(&self, batch: &Batch) -> Result<()> {
        let Some(checkpoint) = &self.setup.checkpoint else { return Ok(()) };
        if batch.recorded {
            return Ok(());
        }
        let metadata = OffsetMetadata {
            batch_watermark_ms: millis(batch.watermark),
            batch_timestamp_ms: batch.timestamp,
            conf: super::recorded::of(&self.setup.conf),
            state: self.state_ref.clone(),
        };
        checkpoint.write_offsets(batch.epoch, &OffsetRecord { metadata, offsets: batch.ends.clone() })
    }

    /// Everything of `batch` has reached the sinks: moves the watermark, and has the state written while the next epoch may begin.
    /// The epoch before must have been settled.
    pub fn close(&mut self, batch: Batch, mut result: EpochResult) -> Result<()> {
        self.state_limit.check(&result.metrics)?;
        let event_times = self.move_watermark();
        if let Some(writer) = &self.writer {
            let waiting = Arc::clone(&self.state);
            writer.begin(batch.epoch, std::mem::take(&mut result.state), move || waiting.wake())?;
        }
        self.wakes_at = result.metrics.values().filter_map(|metrics| metrics.wakes_at).min();
        self.watermark_used = batch.watermark;
        self.timestamp = batch.timestamp;
        self.epoch = batch.epoch + 1;
        self.closed = Some(Closed {
            prepared: std::mem::take(&mut result.prepared),
            before: std::mem::replace(&mut self.offsets, batch.ends.clone()),
            watermark: self.watermark,
            times: self.times.clone(),
            batch,
            result,
            event_times,
        });
        Ok(())
    }

    /// Makes the last epoch durable and visible, and reports; waits for its state.
    pub fn settle(&mut self) -> Result<()> {
        let Some(mut closed) = self.closed.take() else { return Ok(()) };
        self.commit(&mut closed)?;
        for (source, end) in self.sources.iter_mut().zip(&closed.batch.ends) {
            end.as_ref().map_or(Ok(()), |end| source.commit(end))?;
        }
        let progress = report::progress(self, &closed);
        self.publish(progress);
        Ok(())
    }

    /// As [`Execution::settle`], if that needs no waiting for the state.
    pub fn settle_if_written(&mut self) -> Result<()> {
        match self.writer.as_ref().is_none_or(StateWriter::is_done) {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Commits each sink in its turn, the log among them.
    fn commit(&mut self, closed: &mut Closed) -> Result<()> {
        let mut of_sinks: Vec<Vec<Prepared>> = self.sinks.iter().map(|_| Vec::new()).collect();
        closed.prepared.drain(..).for_each(|(sink, prepared)| of_sinks[sink].push(prepared));
        let epoch = closed.batch.epoch;
        let turns = self.turns();
        let notes = turns.iter().zip(&of_sinks).map(|(turn, prepared)| turn.notes(prepared)).collect();
        self.commit_sinks(Turn::BeforeState, &turns, epoch, &mut of_sinks)?;
        let record = self.finish_state(closed, notes)?;
        if turns.contains(&Turn::BeforeLog) {
            self.write_pending(epoch, record.as_ref())?;
            self.commit_sinks(Turn::BeforeLog, &turns, epoch, &mut of_sinks)?;
        }
        self.write_log(epoch, record)?;
        self.commit_sinks(Turn::AfterLog, &turns, epoch, &mut of_sinks)
    }

    fn turns(&self) -> Vec<Turn> {
        self.sinks.iter().zip(&self.setup.outlets).map(|(sink, outlet)| Turn::of(sink.as_ref(), outlet)).collect()
    }

    /// Commits the sinks whose turn it is.
    fn commit_sinks(&mut self, turn: Turn, turns: &[Turn], epoch: u64, prepared: &mut [Vec<Prepared>]) -> Result<()> {
        let of_turn = self.sinks.iter_mut().zip(prepared).zip(turns).filter(|(_, of)| **of == turn);
        of_turn.map(|(sink, _)| sink).try_for_each(|(sink, prepared)| sink.commit(epoch, std::mem::take(prepared)))
    }

    fn write_pending(&self, epoch: u64, record: Option<&CommitRecord>) -> Result<()> {
        match (&self.setup.checkpoint, record) {
            (Some(checkpoint), Some(record)) => checkpoint.write_pending(epoch, record),
            _ => Ok(()),
        }
    }

    /// Waits until the state is durable; what `commits/N` will say, if there is a checkpoint.
    fn finish_state(&self, closed: &Closed, notes: Vec<Vec<serde_json::Value>>) -> Result<Option<CommitRecord>> {
        let Some(writer) = &self.writer else { return Ok(None) };
        let mut state = writer.finish()?;
        state.watermarks = operator_watermarks(&closed.result.watermarks, closed.batch.watermark);
        let mut notes = notes.into_iter();
        Ok(Some(CommitRecord {
            next_batch_watermark_ms: millis(closed.watermark),
            sink: notes.next().unwrap_or_default(),
            late_sink: notes.next().unwrap_or_default(),
            state: Some(state),
        }))
    }

    fn write_log(&mut self, epoch: u64, record: Option<CommitRecord>) -> Result<()> {
        let (Some(checkpoint), Some(record)) = (&mut self.setup.checkpoint, record) else { return Ok(()) };
        checkpoint.write_commit(epoch, &record)?;
        let state = record.state.unwrap_or_default();
        let retain = self.setup.conf.number("spark.sql.streaming.minBatchesToRetain", 100)?;
        checkpoint.purge(epoch, &state, u64::try_from(retain).unwrap_or(100))?;
        self.state_ref = Some(state);
        Ok(())
    }

    /// Computes the watermark of the next epoch from the event times seen (Spark's rule).
    fn move_watermark(&mut self) -> Option<EventTimes> {
        let mut seen: Option<EventTimes> = None;
        let delays = self.setup.plan.watermarks.clone();
        for (i, (clock, delay)) in self.graph.shared().clocks.iter().zip(delays).enumerate() {
            if let Some(times) = clock.take() {
                seen.get_or_insert(times);
                if self.setup.pace() == Pace::Epoch {
                    self.watermarks[i] = self.watermarks[i].max(Some(watermark_for(times.max, delay).max(0)));
                }
            }
            // The continuous driver's is that of the graph, which waits for every partition. Rows of the next epoch may have come
            // already: they do not count, for they come again if the query is restarted here.
            let reached = Some(clock.closed(delay)).filter(|reached| *reached != NO_WATERMARK);
            if let (Pace::Eager, Some(reached)) = (self.setup.pace(), reached) {
                self.watermarks[i] = self.watermarks[i].max(Some(reached.max(0)));
            }
        }
        if !self.watermarks.is_empty() {
            self.watermark = self.watermark.max(self.global_watermark());
        }
        seen
    }

    fn global_watermark(&self) -> i64 {
        let calls = &self.setup.plan.watermark_calls;
        let of_call = |call: &u64| {
            let same = calls.iter().zip(&self.watermarks).filter(|(other, _)| *other == call);
            same.filter_map(|(_, reached)| *reached).max().unwrap_or(0)
        };
        let all = calls.iter().map(of_call);
        let policy = self.setup.conf.get("spark.sql.streaming.multipleWatermarkPolicy").unwrap_or("min");
        if policy.eq_ignore_ascii_case("max") { all.max() } else { all.min() }.unwrap_or(0)
    }

    fn publish(&self, progress: Progress) {
        self.setup.listeners.progress(&progress);
        self.state.report(progress);
    }
}

/// The end of a query that was told not to finish its epoch.
pub(crate) fn aborted() -> Error {
    crate::sinks::closed("the query's epoch in progress was given up; its sink")
}

/// When a sink is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// First, as Spark does: it may be given rows again.
    BeforeState,
    /// When the state is durable: it decides by itself, and what the log will say is known by then.
    BeforeLog,
    /// Last: the log decides.
    AfterLog,
}

impl Turn {
    fn of(sink: &dyn Sink, outlet: &OutletPlan) -> Self {
        match outlet.guarantee {
            _ if sink.decides() => Turn::BeforeLog,
            Guarantee::ExactlyOnce => Turn::AfterLog,
            _ => Turn::BeforeState,
        }
    }

    /// What the log keeps, so that the commit can be finished after a crash.
    fn notes(self, prepared: &[Prepared]) -> Vec<serde_json::Value> {
        let all = prepared.iter().filter(|_| self == Turn::AfterLog).map(|prepared| &prepared.note);
        all.filter(|note| !note.is_null()).cloned().collect()
    }
}

/// Per operator with state the watermarks of its inputs, in microseconds, where one is another than that of the whole query.
fn operator_watermarks(all: &BTreeMap<String, Vec<i64>>, whole: i64) -> OperatorWatermarks {
    let differs = |(_, watermarks): &(&String, &Vec<i64>)| watermarks.iter().any(|watermark| *watermark != whole);
    let known = |watermark: &i64| (*watermark != NO_WATERMARK).then_some(*watermark);
    let differing = all.iter().filter(differs);
    differing.map(|(operator, watermarks)| (operator.clone(), watermarks.iter().map(known).collect())).collect()
}

/// Milliseconds of a watermark for the log; without event time 0.
fn millis(watermark: i64) -> i64 {
    if watermark == NO_WATERMARK { 0 } else { watermark.div_euclid(1000) }
}

fn connect_sources(setup: &Setup, state: &Arc<QueryState>) -> Result<Vec<Box<dyn Source>>> {
    let waking = Arc::clone(state);
    let wake: Wake = Arc::new(move || waking.wake_for_data());
    let one = |(n, scan): (usize, &crate::plan::dataflow::Scan)| {
        let context = SourceContext {
            projection: scan.projection.clone(),
            filters: scan.filters.clone(),
            conf: setup.conf.clone(),
            log: setup.checkpoint.as_ref().map(|checkpoint| checkpoint.source_log(n)),
            clock: setup.clock.clone(),
            wake: wake.clone(),
        };
        let provider = crate::sources::lookup(&scan.table.source.format)?;
        let connected = provider.connect(&scan.table.source, scan.table.schema.clone(), context);
        connected.map_err(|error| error.at(format!("source '{}'", scan.table.name)))
    };
    setup.plan.scans.iter().enumerate().map(one).collect()
}

/// The record of a sink that decides may be an epoch ahead of the log, after a crash between the two: the log follows.
fn believe_sinks(setup: &Setup, sinks: &mut [Box<dyn Sink>]) -> Result<()> {
    let mut deciding = sinks.iter_mut().filter(|sink| sink.decides());
    let (Some(sink), Some(checkpoint)) = (deciding.next(), setup.checkpoint.as_ref()) else { return Ok(()) };
    if let Some(other) = deciding.next() {
        let (one, other) = (sink.description(), other.description());
        return Err(Error::unsupported(format!("{one} and {other} cannot both decide whether an epoch is committed"))
            .hint("Write late rows to a sink of another kind, or at least once."));
    }
    let Some(committed) = sink.last_committed()? else { return Ok(()) };
    let planned = checkpoint.last_offsets()?;
    if planned.is_none_or(|planned| planned < committed) {
        let knows = planned.map_or("none".to_owned(), |planned| planned.to_string());
        return Err(Error::outside(format!(
            "the sink holds epochs up to {committed}, but the last one of the checkpoint is {knows}"
        ))
        .hint("The checkpoint was set back; start with another checkpointLocation."));
    }
    if planned == Some(committed) && checkpoint.commit(committed)?.is_none() {
        tracing::info!("epoch {committed} is committed at the sink; the log follows");
        checkpoint.write_commit(committed, &checkpoint.pending(committed)?)?;
    }
    Ok(())
}

/// What writes the state of the epochs that follow.
fn state_writer(setup: &Setup, from: Option<&StateRef>) -> Result<Option<StateWriter>> {
    let Some(checkpoint) = &setup.checkpoint else { return Ok(None) };
    let changes = setup.conf.number("spark.sql.streaming.stateStore.minDeltasForSnapshot", 10)?;
    let rules = Rules::new(usize::try_from(changes).unwrap_or(0).max(1));
    checkpoint.state_writer(from, rules).map(Some)
}

fn finish_sink(sink: &mut dyn Sink, epoch: u64, notes: &[serde_json::Value]) -> Result<()> {
    let prepared = notes.iter().map(|note| crate::sinks::Prepared { note: note.clone(), ..Default::default() });
    sink.commit(epoch, prepared.collect())
}

/// How many readers each source will have that run side by side without end.
fn readers(setup: &Setup, sources: &mut [Box<dyn Source>], start: &Start) -> Result<Vec<usize>> {
    let eager = setup.pace() == Pace::Eager;
    let count = |(source, from): (&mut Box<dyn Source>, &Option<Offset>)| match eager {
        true => source.partitions(from.as_ref()),
        false => Ok(1),
    };
    sources.iter_mut().zip(&start.offsets).map(count).collect()
}

fn start_graph(
    setup: &Setup,
    state: &QueryState,
    sources: &[Box<dyn Source>],
    readers: &[usize],
    sinks: &mut [Box<dyn Sink>],
    start: &mut Start,
) -> Result<Graph> {
    let outlet = |(sink, plan): (&mut Box<dyn Sink>, &OutletPlan)| {
        let writers = (0..setup.workers).map(|worker| sink.writer(worker)).collect::<Result<Vec<_>>>()?;
        Ok(Outlet { writers, schema: plan.schema.clone() })
    };
    let outlets = sinks.iter_mut().zip(&setup.outlets).map(outlet).collect::<Result<Vec<_>>>()?;
    let lanes = lanes(setup, readers);
    let shared = Shared {
        plan: setup.plan.clone(),
        pace: setup.pace(),
        epoch: start.epoch,
        watermark: start.delivered,
        watermarks: start.operator_watermarks(),
        clocks: event_time::clocks(&setup.plan, &lanes),
        skews: setup.event_time.skews.clone(),
        statics: setup.statics.tables.clone(),
        lanes,
        hashing: StateRef::hashing(start.state_ref.as_ref()),
        state: std::mem::take(&mut start.state).into(),
        chains: std::mem::take(&mut start.chains),
        cold: setup.state_store.open(&setup.plan, setup.workers)?,
        clock: setup.clock.clone(),
        batch_time: setup.batch_time.clone(),
    };
    let snapshots = setup.checkpoint.is_some();
    let graph = Graph::start(shared, setup.workers, sources, outlets, snapshots, state.live.clone())?;
    let first = start.epoch;
    graph.broadcast(|| crate::render::Message::Epoch(first));
    Ok(graph)
}

/// The lanes of each source: `(lane number, worker)`. One a worker where rows may be spread. Where their order matters or
/// watermarks move with the data, one a reader, so that a partition stays in order; partitions are spread over the workers.
fn lanes(setup: &Setup, readers: &[usize]) -> Vec<Vec<(u32, usize)>> {
    let ordered = setup.keeps_partitions();
    let mut numbers = 0..;
    let of_scan = |(scan, readers): (usize, &usize)| {
        let wanted = if ordered { 1 } else { setup.workers };
        let lanes = numbers.by_ref().take(wanted.max(*readers)).enumerate();
        lanes.map(|(i, number)| (number, (scan + i) % setup.workers)).collect()
    };
    readers.iter().enumerate().map(of_scan).collect()
}

impl Execution {
    /// True once the query should stop.
    pub fn stopping(&self) -> bool {
        self.state.stopping()
    }

    /// True when no source will ever have more than it has now.
    pub fn sources_ended(&self) -> bool {
        !self.sources.is_empty() && self.sources.iter().all(|source| source.ended())
    }

    /// What the status says while a source's system does not answer.
    pub fn reconnecting(&self) -> Option<String> {
        let (away, source) = self.sources.iter().find_map(|source| Some((source.away()?, source.description())))?;
        Some(format!("RECONNECTING to {source}, which has been away for {} s", away.as_secs()))
    }
}
