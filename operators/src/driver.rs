//! The operator driver: the one place that touches capabilities and frontiers.
//!
//! Around each stateful [`Logic`] stands one driver. It steps with the *frontier*, not with the rows at hand, so that a
//! worker without rows still completes and snapshots an epoch.
//!
//! ```text
//!  rows of the epoch in progress ──► on_rows          rows of later epochs wait in `deferred`
//!  the frontier's watermark rose ──► on_watermark     at once (Pace::Eager) or when the epoch closes (Pace::Epoch)
//!  the frontier passed the epoch ──► on_complete, then changes or snapshot, then the next epoch's deferred rows
//!  the clock reached `wake` ───────► on_wake          Pace::Eager alone; otherwise the query's driver opens an epoch
//! ```
//!
//! The operator's output has no connection to its inputs (an empty summary): the driver holds one capability per output and
//! raises it to `(epoch in progress, output_watermark)`. So an operator whose rows may be older than its input's watermark
//! (a join with a time range, `withWatermark` itself) just says so, and timely holds the next operator's watermark back.
//!
//! Rows that a logic judges late leave through a second output, which exists only where somebody asked for them
//! ([`Place::late`]); it carries epochs but no watermark.
//!
//! No watermark is ahead of the epoch in progress: rows of a later epoch move it only once all operators are through with this one
//! ([`crate::watermark`]). So rows that wait in `deferred` are not passed, and what was delivered at an epoch's end is the same on all
//! workers.
//!
//! Invariants: epochs are absorbed in order; `on_watermark` only rises; nothing is sent below the own capability; after an
//! error the capability stays where it is, so that no epoch with missing rows can complete anywhere downstream.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use arrow::array::RecordBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::{Activator, SyncActivator};

use crate::event_time::{EventTime, drop_late, split_late};
use crate::exchange::{Route, pact};
use crate::time::{NO_WATERMARK, Time};
use crate::{Chunk, ChunkStream, Error, Result};

/// When results of an epoch in progress may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once, and watermarks act as they move (continuous driver).
    Eager,
    /// When the epoch closes, with the watermark that was fixed for it (micro-batch driver).
    Epoch,
}

/// What a stateful operator keeps, for progress reports. Counts are of this worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateMetrics {
    /// Keys (or rows, for joins) held now.
    pub rows_total: u64,
    /// Keys touched since the last report.
    pub rows_updated: u64,
    /// Keys evicted since the last report.
    pub rows_removed: u64,
    /// Rows dropped as late since the last report.
    pub rows_dropped: u64,
    /// Bytes of memory held.
    pub memory_bytes: u64,
    /// The processing time (microseconds since 1970) at which an epoch is wanted even if no row comes.
    pub wakes_at: Option<i64>,
}

impl std::ops::AddAssign for StateMetrics {
    /// The figures of several workers together; the earliest wish for an epoch.
    fn add_assign(&mut self, more: StateMetrics) {
        self.rows_total += more.rows_total;
        self.rows_updated += more.rows_updated;
        self.rows_removed += more.rows_removed;
        self.rows_dropped += more.rows_dropped;
        self.memory_bytes += more.memory_bytes;
        self.wakes_at = [self.wakes_at, more.wakes_at].into_iter().flatten().min();
    }
}

/// When an operator wants to be called though nothing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// The processing time it waits for: microseconds since 1970.
    pub at: i64,
    /// How long that is from now; zero once it has come.
    pub after: Duration,
}

/// A stateful operator: a pure function of rows, event time and epochs. Knows no capabilities.
///
/// # Order of calls
/// `restore`?, `tracks_changes`?, after a restart `on_watermark` with the recovered watermark, then per epoch: `on_rows`*,
/// (`on_watermark` `on_rows`*)*, `on_complete`, `changes`? or `snapshot`?
pub trait Logic: 'static {
    /// Rows of the epoch in progress arrived at input `port`.
    fn on_rows(&mut self, port: usize, chunk: Chunk, out: &mut Output) -> Result<()>;

    /// Event time is complete up to `watermarks[port]` on each input (microseconds; [`NO_WATERMARK`] if unknown). Rows that
    /// arrive later are judged by this. Never falls.
    fn on_watermark(&mut self, watermarks: &[i64], out: &mut Output) -> Result<()>;

    /// Every row of `epoch` has been absorbed, and `on_watermark` was called with what holds now.
    fn on_complete(&mut self, epoch: u64, out: &mut Output) -> Result<()>;

    /// When it wants to be called again though nothing comes; asked under [`Pace::Eager`] after whatever else was called.
    fn wake(&self) -> Option<Wake> {
        None
    }

    /// The processing time that [`Logic::wake`] spoke of has come.
    fn on_wake(&mut self, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// The event time below which no row will be sent any more, given the inputs' watermarks as last delivered.
    fn output_watermark(&self, watermarks: &[i64]) -> i64 {
        watermarks.iter().copied().min().unwrap_or(NO_WATERMARK)
    }

    /// State as batches whose first column is the key group (`_group: UInt8`), after `on_complete`.
    fn snapshot(&mut self) -> Result<Vec<RecordBatch>>;

    /// Asked once, where state is kept: true if from now on changes are remembered for [`Logic::changes`]. All instances of an
    /// operator give the same answer.
    fn tracks_changes(&mut self) -> bool {
        false
    }

    /// What has changed since the last call (at first: since the call of [`Logic::tracks_changes`]), as batches of
    /// [`crate::snapshot::changed`] and [`crate::snapshot::gone`] over rows of `snapshot`, after `on_complete`. Costs in proportion
    /// to the change.
    fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        Err(Error::Internal("the operator does not track changes".into()))
    }

    /// Takes back what `snapshot` gave (several workers' snapshots, filtered to this worker's key groups).
    fn restore(&mut self, state: Vec<RecordBatch>) -> Result<()>;

    /// What is kept, since the last call.
    fn metrics(&mut self) -> StateMetrics {
        StateMetrics::default()
    }

    /// Hears once, before everything else, how another thread can have this operator look at its promises again
    /// ([`Logic::output_watermark`]) although no rows came.
    fn wakes_by(&mut self, _activator: SyncActivator) {}
}

/// Rows that came too late at an operator.
#[derive(Debug, Clone)]
pub struct Late {
    /// The input they came by.
    pub port: usize,
    /// The rows, with all columns of the input.
    pub rows: RecordBatch,
    /// The watermark that had passed them.
    pub watermark: i64,
}

/// Collects what a [`Logic`] emits; the driver sends it.
pub struct Output {
    pace: Pace,
    ready: Vec<Chunk>,
    /// Ingest instant for rows that no single input chunk caused: the oldest chunk since the last emission.
    ingest: u64,
    /// Late rows, if somebody wants them.
    late: Option<Vec<Late>>,
}

impl Output {
    /// An output of this pace; [`crate::harness`] and the driver make one per operator.
    pub fn new(pace: Pace) -> Self {
        Output { pace, ready: Vec::new(), ingest: 0, late: None }
    }

    /// The same output, which also collects late rows.
    #[must_use]
    pub fn with_late(self) -> Self {
        Output { late: Some(Vec::new()), ..self }
    }

    /// Whether changed results should leave at once.
    pub fn eager(&self) -> bool {
        self.pace == Pace::Eager
    }

    /// Emits a chunk.
    pub fn chunk(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.ready.push(chunk);
        }
    }

    /// Emits rows caused by the epoch so far.
    pub fn rows(&mut self, rows: RecordBatch) {
        self.chunk(Chunk::new(rows, self.ingest, 0));
    }

    /// True if late rows should be handed to [`Output::late`]; otherwise counting them is enough.
    pub fn wants_late(&self) -> bool {
        self.late.is_some()
    }

    /// Hands over rows of input `port` that came after `watermark` had passed them; forgotten unless somebody wants them.
    pub fn late(&mut self, port: usize, rows: RecordBatch, watermark: i64) {
        if let Some(late) = self.late.as_mut().filter(|_| rows.num_rows() > 0) {
            late.push(Late { port, rows, watermark });
        }
    }

    /// The rows of input `port` that are not late, and how many were; those are handed over if somebody wants them.
    ///
    /// # Errors
    /// Whatever `time` fails with.
    pub fn drop_late(
        &mut self,
        port: usize,
        rows: RecordBatch,
        time: &EventTime,
        watermark: i64,
    ) -> Result<(RecordBatch, u64)> {
        if !self.wants_late() {
            return drop_late(rows, time, watermark);
        }
        let (kept, late) = split_late(rows, time, watermark)?;
        let dropped = late.as_ref().map_or(0, RecordBatch::num_rows) as u64;
        late.into_iter().for_each(|late| self.late(port, late, watermark));
        Ok((kept, dropped))
    }

    /// Takes the late rows.
    pub fn take_late(&mut self) -> Vec<Late> {
        self.late.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what was emitted.
    pub fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    fn note(&mut self, ingest: u64) {
        if ingest != 0 && (self.ingest == 0 || self.pace == Pace::Eager || ingest < self.ingest) {
            self.ingest = ingest;
        }
    }
}

/// What the outside hears from an operator, on the worker's thread.
pub trait Observer {
    /// The operator failed; the query should end.
    fn failed(&self, operator: &str, error: Error);

    /// True if a snapshot is wanted for this epoch.
    fn wants_snapshot(&self, epoch: u64) -> bool;

    /// State of operator `operator` on this worker after `epoch`.
    fn snapshot(&self, operator: &str, epoch: u64, state: State);
}

/// An operator after an epoch, on one worker.
pub struct State {
    /// What it keeps, as [`Logic::snapshot`] or [`Logic::changes`] gave it; empty if no snapshot was wanted.
    pub batches: Vec<RecordBatch>,
    /// Whether these are the changes since the epoch before.
    pub changes: bool,
    /// The watermark of each input as last delivered: with the same ones it starts again ([`Place::watermarks`]).
    pub watermarks: Vec<i64>,
    /// Figures for reports.
    pub metrics: StateMetrics,
}

/// Gives late rows the columns that their receiver expects.
pub type LateShape = Box<dyn FnMut(Late) -> Result<RecordBatch>>;

/// How an operator is put into the graph.
pub struct Place {
    /// Unique within the query; names the state in checkpoints.
    pub name: String,
    /// When results leave.
    pub pace: Pace,
    /// The epoch that rows start with.
    pub epoch: u64,
    /// The watermark of each input taken as delivered before the first row (after a restart: the recovered ones). Inputs
    /// without an entry start with [`NO_WATERMARK`].
    pub watermarks: Vec<i64>,
    /// Listens to failures and snapshots.
    pub observer: Rc<dyn Observer>,
    /// Somebody wants the late rows ([`drive_late`]), in this shape.
    pub late: Option<LateShape>,
}

/// Puts `logic` behind its inputs, each with its route (`None`: rows stay on their worker).
pub fn drive<'scope, L: Logic>(
    place: Place,
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    logic: L,
) -> ChunkStream<'scope> {
    drive_boxed(place, inputs, Box::new(logic))
}

/// [`drive_boxed`], with the stream of late rows beside the results if the place's `late` asks for one.
pub fn drive_late<'scope>(
    place: Place,
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    logic: Box<dyn Logic>,
) -> (ChunkStream<'scope>, Option<ChunkStream<'scope>>) {
    build(place, inputs, logic)
}

type Pull<'a> = Box<dyn FnMut(&mut dyn FnMut(Time, Chunk)) + 'a>;

/// [`drive`] for a logic chosen at run time.
pub fn drive_boxed<'scope>(
    place: Place,
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    logic: Box<dyn Logic>,
) -> ChunkStream<'scope> {
    build(place, inputs, logic).0
}

fn build<'scope>(
    place: Place,
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    mut logic: Box<dyn Logic>,
) -> (ChunkStream<'scope>, Option<ChunkStream<'scope>>) {
    let scope = inputs[0].0.scope();
    let mut builder = OperatorBuilder::new(place.name.clone(), scope);
    logic.wakes_by(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    let mut pulls: Vec<Pull<'static>> = Vec::new();
    for (stream, route) in inputs {
        pulls.push(match route {
            Some(route) => input(&mut builder, stream, pact(route)),
            None => input(&mut builder, stream, Pipeline),
        });
    }
    let (mut output, stream) = output(&mut builder);
    let (mut late_output, late_stream) = place.late.as_ref().map(|_| self::output(&mut builder)).unzip();
    let alarm = Alarm { activator: scope.worker().activator_for(builder.operator_info().address), set_for: None };
    builder.build(move |capabilities| {
        let mut stepper = Stepper::new(place, logic, capabilities, pulls.len(), alarm);
        move |frontiers| {
            for (port, pull) in pulls.iter_mut().enumerate() {
                pull(&mut |time, chunk| stepper.accept(port, time.epoch, chunk));
            }
            stepper.step(frontiers, |way, capability, chunk| match (way, &mut late_output) {
                (Way::Late, Some(output)) => output.activate().session(capability).give_container(chunk),
                _ => output.activate().session(capability).give_container(chunk),
            });
        }
    });
    (stream, late_stream)
}

type Outputs = OutputBuilder<Time, CapacityContainerBuilder<Chunk>>;

/// An output whose capabilities the driver alone decides on.
fn output<'scope>(builder: &mut OperatorBuilder<'scope, Time>) -> (Outputs, ChunkStream<'scope>) {
    let (output, stream) = builder.new_output_connection::<Chunk, _>(Vec::<(usize, Antichain<_>)>::new());
    (OutputBuilder::from(output), stream)
}

/// Which output something leaves by.
enum Way {
    Results,
    Late,
}

fn input<'scope, P: ParallelizationContract<Time, Chunk>>(
    builder: &mut OperatorBuilder<'scope, Time>,
    stream: ChunkStream<'scope>,
    pact: P,
) -> Pull<'static> {
    let mut handle = builder.new_input_connection(stream, pact, Vec::<(usize, Antichain<_>)>::new());
    Box::new(move |accept| handle.for_each(|time, chunk| accept(*time.time(), std::mem::take(chunk))))
}

/// Wakes an operator at a processing time.
struct Alarm {
    activator: Activator,
    /// The time it is set for; it may have rung already.
    set_for: Option<i64>,
}

impl Alarm {
    /// An alarm that rang a little early, or rings any moment, is set again: the worst is one step too many.
    const EARLY: Duration = Duration::from_millis(2);

    fn set(&mut self, wake: Option<Wake>) {
        let Some(Wake { at, after }) = wake else { return };
        if self.set_for != Some(at) || after <= Self::EARLY {
            self.set_for = Some(at);
            self.activator.activate_after(after.max(Duration::from_millis(1)));
        }
    }
}

/// One operator's progress through epochs and watermarks.
struct Stepper {
    name: String,
    observer: Rc<dyn Observer>,
    logic: Box<dyn Logic>,
    out: Output,
    /// `None` after a failure's report or once all inputs ended.
    capability: Option<Capability<Time>>,
    late: Option<LatePort>,
    epoch: u64,
    /// What `on_watermark` was last called with.
    delivered: Vec<i64>,
    /// Whether the logic knows the watermark it starts with.
    started: bool,
    /// Whether the logic gives changes.
    tracks: bool,
    ready: Vec<(usize, Chunk)>,
    deferred: VecDeque<(u64, usize, Chunk)>,
    failed: bool,
    alarm: Alarm,
}

/// The output for late rows.
struct LatePort {
    shape: LateShape,
    capability: Capability<Time>,
}

impl Stepper {
    /// `capabilities`: that of the results, then that of late rows if somebody wants them.
    fn new(
        place: Place,
        mut logic: Box<dyn Logic>,
        capabilities: Vec<Capability<Time>>,
        ports: usize,
        alarm: Alarm,
    ) -> Self {
        let tracks = place.observer.wants_snapshot(place.epoch) && logic.tracks_changes();
        let mut capabilities = capabilities.into_iter();
        let capability = capabilities.next();
        let late = place.late.zip(capabilities.next()).map(|(shape, capability)| LatePort { shape, capability });
        let out = Output::new(place.pace);
        let mut delivered = place.watermarks;
        delivered.resize(ports, NO_WATERMARK);
        Stepper {
            name: place.name,
            observer: place.observer,
            logic,
            out: if late.is_some() { out.with_late() } else { out },
            capability,
            late,
            epoch: place.epoch,
            started: delivered.iter().all(|watermark| *watermark == NO_WATERMARK),
            tracks,
            delivered,
            ready: Vec::new(),
            deferred: VecDeque::new(),
            failed: false,
            alarm,
        }
    }

    fn accept(&mut self, port: usize, epoch: u64, chunk: Chunk) {
        if epoch <= self.epoch {
            self.ready.push((port, chunk));
        } else {
            self.deferred.push_back((epoch, port, chunk));
        }
    }

    fn step(&mut self, frontiers: &[MutableAntichain<Time>], mut send: impl FnMut(Way, &Capability<Time>, &mut Chunk)) {
        if self.failed {
            self.ready.clear();
            self.deferred.clear();
            return;
        }
        if let Err(error) = self.advance(frontiers, &mut send) {
            self.failed = true;
            self.observer.failed(&self.name, error);
        }
    }

    fn advance(
        &mut self,
        frontiers: &[MutableAntichain<Time>],
        send: &mut impl FnMut(Way, &Capability<Time>, &mut Chunk),
    ) -> Result<()> {
        self.start()?;
        self.absorb()?;
        self.send(send)?;
        let Some(epoch) = frontiers.iter().flat_map(|f| f.frontier().to_owned()).map(|time| time.epoch).min() else {
            self.capability = None;
            self.late = None;
            return Ok(());
        };
        let watermarks = watermarks(frontiers);
        if self.out.eager() {
            self.deliver(&watermarks)?;
            self.send(send)?;
        }
        while self.epoch < epoch {
            self.deliver(&watermarks)?;
            self.complete()?;
            self.send(send)?;
            self.epoch += 1;
            self.raise();
            self.undefer();
            self.absorb()?;
            self.send(send)?;
        }
        if self.out.eager() {
            self.ring()?;
            self.send(send)?;
        }
        self.raise_to(&watermarks);
        Ok(())
    }

    /// Calls the logic if its time has come, and sets the alarm for the next.
    fn ring(&mut self) -> Result<()> {
        if self.logic.wake().is_some_and(|wake| wake.after.is_zero()) {
            self.logic.on_wake(&mut self.out)?;
        }
        self.alarm.set(self.logic.wake());
        Ok(())
    }

    /// Tells the logic the watermark it starts with, so that rows late before a restart are late after it.
    fn start(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.started, true) {
            true => Ok(()),
            false => self.logic.on_watermark(&self.delivered, &mut self.out),
        }
    }

    fn absorb(&mut self) -> Result<()> {
        for (port, chunk) in std::mem::take(&mut self.ready) {
            self.out.note(chunk.ingest);
            self.logic.on_rows(port, chunk, &mut self.out)?;
        }
        Ok(())
    }

    fn undefer(&mut self) {
        let epoch = self.epoch;
        let (now, later) = self.deferred.drain(..).partition(|(at, _, _)| *at <= epoch);
        self.deferred = later;
        let now: VecDeque<_> = now;
        self.ready.extend(now.into_iter().map(|(_, port, chunk)| (port, chunk)));
    }

    fn deliver(&mut self, watermarks: &[i64]) -> Result<()> {
        let risen: Vec<i64> = self.delivered.iter().zip(watermarks).map(|(old, new)| *old.max(new)).collect();
        if risen != self.delivered {
            self.delivered = risen;
            self.logic.on_watermark(&self.delivered, &mut self.out)?;
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        self.logic.on_complete(self.epoch, &mut self.out)?;
        self.out.ingest = 0;
        let batches = match self.observer.wants_snapshot(self.epoch) {
            true if self.tracks => self.logic.changes()?,
            true => self.logic.snapshot()?,
            false => Vec::new(),
        };
        let changes = self.tracks;
        let state = State { batches, changes, watermarks: self.delivered.clone(), metrics: self.logic.metrics() };
        self.observer.snapshot(&self.name, self.epoch, state);
        Ok(())
    }

    fn send(&mut self, send: &mut impl FnMut(Way, &Capability<Time>, &mut Chunk)) -> Result<()> {
        let chunks = self.out.take();
        if let Some(capability) = &self.capability {
            chunks.into_iter().for_each(|mut chunk| send(Way::Results, capability, &mut chunk));
        }
        let Some(late) = &mut self.late else { return Ok(()) };
        for rows in self.out.take_late() {
            let mut chunk = Chunk::new((late.shape)(rows)?, self.out.ingest, 0);
            send(Way::Late, &late.capability, &mut chunk);
        }
        Ok(())
    }

    /// Raises the own capabilities to the epoch in progress.
    fn raise(&mut self) {
        let epoch = self.epoch;
        if let Some(late) = &mut self.late {
            late.capability.downgrade(&Time::new(epoch, NO_WATERMARK));
        }
        if let Some(capability) = &mut self.capability {
            let watermark = capability.time().watermark;
            capability.downgrade(&Time::new(epoch, watermark));
        }
    }

    /// Raises the own capability's watermark to what the logic promises.
    fn raise_to(&mut self, watermarks: &[i64]) {
        let acted: Vec<i64> = if self.out.eager() { self.delivered.clone() } else { watermarks.to_vec() };
        let promised = self.logic.output_watermark(&acted);
        let epoch = self.epoch;
        if let Some(capability) = &mut self.capability {
            let watermark = promised.max(capability.time().watermark);
            if Time::new(epoch, watermark) != *capability.time() {
                capability.downgrade(&Time::new(epoch, watermark));
            }
        }
    }
}

/// The smallest watermark in each input's frontier. An input that has ended promises nothing new: what was delivered stays,
/// because inputs end one after the other when a query is stopped, and that may close no window. The same holds when only
/// workers are left that have no rows of their own to wait for, whose watermark is the end of time.
fn watermarks(frontiers: &[MutableAntichain<Time>]) -> Vec<i64> {
    let least = |frontier: &MutableAntichain<Time>| frontier.frontier().iter().map(|time| time.watermark).min();
    let promised = |frontier| least(frontier).filter(|watermark| *watermark != i64::MAX);
    frontiers.iter().map(|frontier| promised(frontier).unwrap_or(NO_WATERMARK)).collect()
}
