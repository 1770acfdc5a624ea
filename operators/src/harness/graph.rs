//! Runs a [`Logic`] in a real graph with several workers, on rows and watermarks from a script.
//!
//! In: per epoch the watermark of each input and the rows of each worker. Out: everything that left the operator with its
//! time, each worker's snapshots, failures, and the first epoch that did not complete. What always holds: under
//! [`Pace::Epoch`] an epoch starts when the one before has completed, as in the micro-batch driver; under [`Pace::Eager`]
//! every worker runs ahead as fast as it can.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::UnorderedInput;
use timely::dataflow::operators::core::unordered_input::UnorderedHandle;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{ActivateCapability, Probe};
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

use crate::driver::{Chain, Observer, Place, State, drive};
use crate::exchange::Route;
use crate::snapshot::merged;
use crate::source::{Fed, Feed, Opening};
use crate::time::NO_WATERMARK;
use crate::{Chunk, ChunkStream, Error, Logic, Pace, Result, Time};

/// What happens in one epoch.
#[derive(Clone, Debug, Default)]
pub struct ScriptEpoch {
    /// The watermark of each input's rows of this epoch.
    pub watermarks: Vec<i64>,
    /// Rows: worker, port, rows. Workers without rows are fine.
    pub rows: Vec<(usize, usize, RecordBatch)>,
}

/// A graph to run.
#[derive(Clone, Debug)]
pub struct Script {
    /// Number of workers.
    pub workers: usize,
    /// When results leave.
    pub pace: Pace,
    /// One route per input.
    pub routes: Vec<Option<Route>>,
    /// The watermark taken as delivered before the first row.
    pub watermark: i64,
    /// Epochs from 0 on.
    pub epochs: Vec<ScriptEpoch>,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Ran {
    /// Rows with the time they carried.
    pub rows: Vec<(Time, RecordBatch)>,
    /// Worker, epoch and state of each snapshot.
    pub snapshots: Vec<(usize, u64, Vec<RecordBatch>)>,
    /// The state of each operator after each epoch, all workers' together.
    pub states: BTreeMap<(String, u64), Vec<RecordBatch>>,
    /// Messages of failures.
    pub failures: Vec<String>,
    /// The smallest epoch, and the smallest watermark of it, still possible behind the operator when all input was in.
    pub frontier: Option<Time>,
}

impl Ran {
    /// The rows that carried this epoch.
    pub fn rows_of(&self, epoch: u64) -> Vec<RecordBatch> {
        self.rows.iter().filter(|(time, _)| time.epoch == epoch).map(|(_, rows)| rows.clone()).collect()
    }
}

enum Event {
    Rows(Time, RecordBatch),
    Snapshot(usize, String, u64, State),
    Failed(String),
    Frontier(Time),
}

struct Listener {
    worker: usize,
    events: Sender<Event>,
    failed: Arc<AtomicBool>,
}

impl Listener {
    fn send(&self, event: Event) {
        // The receiver outlives the workers.
        let _ = self.events.send(event);
    }
}

impl Observer for Listener {
    fn failed(&self, _: &str, error: Error) {
        self.send(Event::Failed(error.to_string()));
        self.failed.store(true, Ordering::Release);
    }

    fn wants_snapshot(&self, _: u64) -> bool {
        true
    }

    fn snapshot(&self, operator: &str, epoch: u64, state: State) {
        self.send(Event::Snapshot(self.worker, operator.to_owned(), epoch, state));
    }
}

/// Runs the script; `make` makes the logic of each worker.
///
/// # Panics
/// If the workers cannot be started.
pub fn run<L: Logic>(script: Script, make: impl Fn(usize) -> L + Send + Sync + 'static) -> Ran {
    run_graph(script, move |worker, place, inputs| drive(place, inputs, make(worker)))
}

/// Runs the script through any graph: `wire` puts the operators of a worker behind the inputs.
///
/// # Panics
/// If the workers cannot be started.
pub fn run_graph(
    script: Script,
    wire: impl for<'scope> Fn(usize, Place, Vec<(ChunkStream<'scope>, Option<Route>)>) -> ChunkStream<'scope>
    + Send
    + Sync
    + 'static,
) -> Ran {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let failed = Arc::new(AtomicBool::new(false));
    let config = timely::Config::process(script.workers);
    let guards = timely::execute(config, move |worker| {
        let events = sender.lock().expect("no worker panics while it clones").clone();
        let listener = Rc::new(Listener { worker: worker.index(), events, failed: failed.clone() });
        Runner::new(worker, &script, listener, &wire).play(worker, &script);
    });
    for result in guards.expect("threads can be started").join() {
        result.expect("no worker panics");
    }
    gather(receiver)
}

/// What a feed gives next, in a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Rows.
    Rows(RecordBatch),
    /// All rows before this epoch have been given.
    Epoch(u64),
    /// Nothing for now.
    Idle,
    /// An error.
    Fail,
}

/// Runs logics, one behind the other, on one worker behind a feed that gives these steps. The feed is the beginning of their chain, or, if it
/// is `apart`, an operator of its own.
///
/// # Panics
/// If the worker cannot be started.
pub fn run_fed(steps: Vec<Step>, apart: bool, make: impl Fn() -> Vec<Box<dyn Logic>> + Send + Sync + 'static) -> Ran {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let guards = timely::execute(timely::Config::thread(), move |worker| {
        let events = sender.lock().expect("no worker panics while it clones").clone();
        let listener = Rc::new(Listener { worker: 0, events, failed: Arc::default() });
        let (steps, dataflow) = (steps.clone(), worker.next_dataflow_index());
        let probe = worker.dataflow::<Time, _, _>(|scope| {
            let open = move |again| Box::new(Fixed { steps: steps.into(), again }) as Box<dyn Feed>;
            let source = Opening::new(scope, "source", listener.clone(), open);
            let mut chain = if apart { Chain::from(source.build()) } else { Chain::from(source) };
            for (at, logic) in make().into_iter().enumerate() {
                chain = chain.then(place(format!("logic-{at}"), &listener), logic);
            }
            listen(chain.build(), listener.clone())
        });
        // A source whose feed has failed holds its capability until the feed ends.
        for _ in 0..1000 {
            worker.step();
        }
        if let Some(time) = probe.with_frontier(|frontier| frontier.iter().min().copied()) {
            listener.send(Event::Frontier(time));
            worker.drop_dataflow(dataflow);
        }
    });
    for result in guards.expect("threads can be started").join() {
        result.expect("no worker panics");
    }
    gather(receiver)
}

fn place(name: String, listener: &Rc<Listener>) -> Place {
    Place {
        name,
        pace: Pace::Eager,
        epoch: 0,
        watermarks: vec![NO_WATERMARK],
        hashing: <_>::default(),
        observer: listener.clone(),
    }
}

/// A feed that gives what it was made with.
struct Fixed {
    steps: VecDeque<Step>,
    again: SyncActivator,
}

impl Feed for Fixed {
    fn next(&mut self) -> Result<Fed> {
        match self.steps.pop_front() {
            Some(Step::Rows(rows)) => Ok(Fed::Rows(Chunk::new(rows, 1, 0))),
            Some(Step::Epoch(epoch)) => Ok(Fed::Epoch(epoch)),
            Some(Step::Idle) => {
                self.again.activate().expect("the worker is there");
                Ok(Fed::Idle)
            }
            Some(Step::Fail) => {
                self.again.activate().expect("the worker is there");
                Err(Error::Internal("the feed failed".into()))
            }
            None => Ok(Fed::End),
        }
    }
}

fn gather(events: Receiver<Event>) -> Ran {
    let mut ran = Ran::default();
    let mut tracked = BTreeSet::new();
    for event in events.try_iter() {
        match event {
            Event::Rows(time, rows) => ran.rows.push((time, rows)),
            Event::Snapshot(worker, operator, epoch, state) => {
                if state.changes {
                    tracked.insert(operator.clone());
                }
                ran.states.entry((operator, epoch)).or_default().extend(state.batches.iter().cloned());
                ran.snapshots.push((worker, epoch, state.batches));
            }
            Event::Failed(message) => ran.failures.push(message),
            Event::Frontier(time) => ran.frontier = ran.frontier.into_iter().chain([time]).min(),
        }
    }
    tracked.iter().for_each(|operator| add_up(operator, &mut ran.states));
    ran
}

/// Of an operator that gives changes: in place of each epoch's changes the state that all up to then come to.
fn add_up(operator: &str, states: &mut BTreeMap<(String, u64), Vec<RecordBatch>>) {
    let mut before: Vec<RecordBatch> = Vec::new();
    for (_, state) in states.iter_mut().filter(|((of, _), _)| of == operator) {
        before = merged(vec![before, std::mem::take(state)]).expect("changes are of one operator");
        state.clone_from(&before);
    }
}

type Handle = UnorderedHandle<Time, CapacityContainerBuilder<Chunk>>;

struct Runner {
    listener: Rc<Listener>,
    inputs: Vec<(Handle, ActivateCapability<Time>)>,
    probe: ProbeHandle<Time>,
    dataflow: usize,
}

impl Runner {
    fn new(
        worker: &mut Worker,
        script: &Script,
        listener: Rc<Listener>,
        wire: &impl for<'scope> Fn(usize, Place, Vec<(ChunkStream<'scope>, Option<Route>)>) -> ChunkStream<'scope>,
    ) -> Self {
        let dataflow = worker.next_dataflow_index();
        let index = worker.index();
        let place = Place {
            name: "logic".to_owned(),
            pace: script.pace,
            epoch: 0,
            watermarks: vec![script.watermark; script.routes.len()],
            hashing: <_>::default(),
            observer: listener.clone(),
        };
        let events = listener.clone();
        let (inputs, probe) = worker.dataflow::<Time, _, _>(|scope| {
            let mut inputs = Vec::new();
            let mut streams = Vec::new();
            for route in &script.routes {
                let (input, stream) = scope.new_unordered_input::<CapacityContainerBuilder<Chunk>>();
                inputs.push(input);
                streams.push((stream, route.clone()));
            }
            (inputs, listen(wire(index, place, streams), events))
        });
        Runner { listener, inputs, probe, dataflow }
    }

    fn play(mut self, worker: &mut Worker, script: &Script) {
        for (epoch, step) in script.epochs.iter().enumerate() {
            self.raise(epoch as u64, Some(&step.watermarks));
            self.feed(worker.index(), step);
            match script.pace {
                Pace::Eager => {
                    worker.step();
                }
                Pace::Epoch => {
                    self.raise(epoch as u64 + 1, None);
                    self.settle(worker, epoch as u64 + 1);
                }
            }
        }
        let end = script.epochs.len() as u64;
        self.raise(end, None);
        self.settle(worker, end);
        (0..100).for_each(|_| {
            worker.step();
        });
        if let Some(time) = self.frontier() {
            self.listener.send(Event::Frontier(time));
        }
        if self.listener.failed.load(Ordering::Acquire) {
            worker.drop_dataflow(self.dataflow);
        }
    }

    fn raise(&mut self, epoch: u64, watermarks: Option<&[i64]>) {
        for (port, (_, capability)) in self.inputs.iter_mut().enumerate() {
            let now = *capability.time();
            let watermark = watermarks.and_then(|all| all.get(port)).copied().unwrap_or(now.watermark);
            capability.downgrade(&Time::new(epoch.max(now.epoch), watermark.max(now.watermark)));
        }
    }

    fn feed(&mut self, worker: usize, step: &ScriptEpoch) {
        for (_, port, rows) in step.rows.iter().filter(|(owner, _, _)| *owner == worker) {
            let (handle, capability) = &mut self.inputs[*port];
            handle.activate().session(capability).give_container(&mut Chunk::new(rows.clone(), 1, 0));
        }
    }

    /// Steps until all epochs before this one are complete, or an operator failed.
    fn settle(&self, worker: &mut Worker, epoch: u64) {
        while !self.listener.failed.load(Ordering::Acquire) && self.frontier().is_some_and(|time| time.epoch < epoch) {
            worker.step();
        }
    }

    fn frontier(&self) -> Option<Time> {
        self.probe.with_frontier(|frontier| frontier.iter().min().copied())
    }
}

fn listen(stream: ChunkStream<'_>, listener: Rc<Listener>) -> ProbeHandle<Time> {
    let stream = stream.unary::<CapacityContainerBuilder<Chunk>, _, _, _>(Pipeline, "listen", move |_, _| {
        move |input, _| {
            input.for_each(|time, chunk| {
                if let Some(rows) = std::mem::take(chunk).into_rows() {
                    listener.send(Event::Rows(*time.time(), rows));
                }
            });
        }
    });
    let (probe, _) = stream.probe();
    probe
}
