//! A running graph: worker threads, the lanes into them, and the events that come back.
//!
//! Workers run until every lane has ended (graceful) or until they are told to abort. A worker that panics becomes a failed
//! event; the others are aborted by the driver.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use thalweg_operators::{Pace, Time};
use timely::communication::WorkerGuards;
use timely::scheduling::SyncActivator;
use timely::worker::Worker as TimelyWorker;

use super::ingest::Guest;
use super::live::Live;
use super::results::{EpochResult, EpochResults};
use crate::render::{
    Event, EventObserver, Gauge, Hand, Helper, Lane, LaneSender, Message, Shared, SinkLogic, Worker, lane,
};
use crate::sinks::Writer;
use crate::sources::Source;
use crate::threads::{self, Place};
use crate::{Error, Result};

/// Worker threads and the ways in and out.
pub(crate) struct Graph {
    /// Per scan, its lanes.
    pub lanes: Vec<Vec<LaneSender>>,
    /// Rows decoded, per scan.
    pub gauges: Vec<Arc<Gauge>>,
    shared: Arc<Shared>,
    events: Receiver<Event>,
    results: EpochResults,
    abort: Arc<AtomicBool>,
    wakers: Arc<Mutex<Vec<SyncActivator>>>,
    gangway: Sender<Guest>,
    live: Arc<Live>,
    guards: Option<WorkerGuards<()>>,
    /// The workers' among the query's threads.
    places: Vec<Place>,
}

/// What a worker thread takes with it.
#[derive(Default)]
struct Parcel {
    lanes: HashMap<u32, Lane>,
    helpers: HashMap<u32, Helper>,
    writers: Vec<Box<dyn Writer>>,
    /// Readers to pump; `None` if there are other workers.
    guests: Option<Receiver<Guest>>,
}

/// A sink as the graph needs it.
pub(crate) struct Outlet {
    /// One writer a worker.
    pub writers: Vec<Box<dyn Writer>>,
    /// What the sink was promised.
    pub schema: SchemaRef,
}

impl Graph {
    /// Starts the workers. `sources[scan]` gives decoders; `outlets` are the sinks of the results and of late rows.
    pub fn start(
        shared: Shared,
        workers: usize,
        sources: &[Box<dyn Source>],
        outlets: Vec<Outlet>,
        snapshots: bool,
        live: Arc<Live>,
    ) -> Result<Graph> {
        let schemas: Vec<SchemaRef> = outlets.iter().map(|outlet| outlet.schema.clone()).collect();
        let writers = outlets.iter().map(|outlet| outlet.writers.len()).sum();
        let mut parcels: Vec<Parcel> = (0..workers).map(|_| Parcel::default()).collect();
        for outlet in outlets {
            parcels.iter_mut().zip(outlet.writers).for_each(|(parcel, writer)| parcel.writers.push(writer));
        }
        let gauges: Vec<Arc<Gauge>> = sources.iter().map(|_| Arc::default()).collect();
        let lanes = open_lanes(&shared, sources, &gauges, &mut parcels)?;
        if shared.pace == Pace::Eager {
            shared.clocks.iter().for_each(|clock| clock.hold_after(shared.epoch));
        }
        let results = EpochResults::new(shared.epoch, writers);
        let shared = Arc::new(shared);
        let (sender, events) = unbounded();
        let (gangway, guests) = unbounded();
        if let [only] = parcels.as_mut_slice() {
            only.guests = Some(guests);
        }
        let abort = Arc::new(AtomicBool::new(false));
        let wakers = Arc::new(Mutex::new(Vec::new()));
        let places: Vec<Place> = (0..workers).map(|worker| Place::reserve(&format!("worker {worker}"))).collect();
        let crew = Crew {
            places: places.clone(),
            shared: shared.clone(),
            parcels: Mutex::new(parcels.into_iter().map(Some).collect()),
            events: sender,
            abort: abort.clone(),
            wakers: wakers.clone(),
            schemas,
            snapshots,
            live: live.clone(),
        };
        let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
        let guards = timely::execute(config, move |worker| crew.run(worker)).map_err(Error::internal)?;
        Ok(Graph { lanes, gauges, shared, events, results, abort, wakers, gangway, live, guards: Some(guards), places })
    }

    /// Hands the only worker a reader to pump beside its work. Without a worker, or with several, the guest is gone at once.
    pub fn board(&self, guest: Guest) {
        // A worker that has ended takes nobody.
        let _ = self.gangway.send(guest);
        self.wake();
    }

    fn wake(&self) {
        for waker in self.wakers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            // A worker that has ended needs no waking.
            let _ = waker.activate();
        }
    }

    /// What the workers share: plan and clocks.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes the lanes of a scan, for readers that run on threads of their own.
    pub fn take_lanes(&mut self, scan: usize) -> Vec<LaneSender> {
        std::mem::take(&mut self.lanes[scan])
    }

    /// Waits until every worker's sink has all rows of `epoch`; `give_up` is asked now and then.
    pub fn wait(&mut self, epoch: u64, give_up: &mut dyn FnMut() -> Option<Error>) -> Result<EpochResult> {
        let result = loop {
            if let Some(result) = self.results.take(epoch) {
                break result;
            }
            match threads::receive(&self.events, Some(Duration::from_millis(50))) {
                Ok(event) => self.accept(event)?,
                Err(RecvTimeoutError::Timeout) => give_up().map_or(Ok(()), Err)?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the workers are gone")),
            }
        };
        // Every worker has built its graph by now, and is through with the epoch.
        self.shared.clocks.iter().for_each(|clock| clock.open(epoch + 1));
        self.shared.forget_restored();
        Ok(result)
    }

    /// The error of a worker that has failed, if one has.
    pub fn failure(&mut self) -> Option<Error> {
        while let Ok(event) = self.events.try_recv() {
            if let Err(error) = self.accept(event) {
                return Some(error);
            }
        }
        None
    }

    fn accept(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Failed(error) => Err(error),
            Event::Ended => Ok(()),
            Event::State { operator, epoch, state } => {
                self.results.add_state(operator, epoch, state);
                Ok(())
            }
            Event::Prepared(outcome) => self.results.add_outcome(outcome),
        }
    }

    /// Sends a message to every lane of every scan.
    pub fn broadcast(&self, message: impl Fn() -> Message) {
        let stopped = || self.abort.load(Ordering::Acquire);
        self.lanes.iter().flatten().for_each(|lane| {
            lane.send(message(), &stopped);
        });
    }

    /// Ends the workers: gracefully (what was sent flows to the end), or at once.
    pub fn shut_down(&mut self, graceful: bool) {
        if graceful {
            self.broadcast(|| Message::End);
        } else {
            self.abort.store(true, Ordering::Release);
        }
        self.lanes.clear();
        self.wake();
        if let Some(guards) = self.guards.take() {
            self.places.iter().for_each(Place::wait_until_left);
            // Panics of workers have been reported as events.
            guards.join().into_iter().for_each(drop);
            self.live.forget();
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.shut_down(false);
    }
}

fn open_lanes(
    shared: &Shared,
    sources: &[Box<dyn Source>],
    gauges: &[Arc<Gauge>],
    parcels: &mut [Parcel],
) -> Result<Vec<Vec<LaneSender>>> {
    let mut senders = Vec::new();
    for ((lanes, source), gauge) in shared.lanes.iter().zip(sources).zip(gauges) {
        let mut of_scan = Vec::new();
        let without = |worker: &usize| lanes.iter().all(|(_, owner)| owner != worker);
        let others: Vec<usize> = (0..parcels.len()).filter(without).collect();
        for (number, worker) in lanes {
            let (sender, lane) = lane(*number, source.decoder()?, gauge.clone(), others.len());
            for helper in others.iter().chain([worker]) {
                let help = lane.helper(source.decoder()?);
                parcels[*helper].helpers.extend(help.map(|help| (*number, help)));
            }
            parcels[*worker].lanes.insert(*number, lane);
            of_scan.push(sender);
        }
        senders.push(of_scan);
    }
    Ok(senders)
}

/// What is shared by the worker threads while they start.
struct Crew {
    shared: Arc<Shared>,
    parcels: Mutex<Vec<Option<Parcel>>>,
    events: Sender<Event>,
    abort: Arc<AtomicBool>,
    wakers: Arc<Mutex<Vec<SyncActivator>>>,
    schemas: Vec<SchemaRef>,
    snapshots: bool,
    live: Arc<Live>,
    places: Vec<Place>,
}

impl Crew {
    fn run(&self, worker: &mut TimelyWorker) {
        let _turns = self.places.get(worker.index()).map(Place::enter);
        let observer = EventObserver::new(worker.index(), self.events.clone(), self.snapshots, self.live.clone());
        let observer = Rc::new(observer);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| self.work(worker, observer.clone())));
        match ran {
            Ok(Ok(())) => observer.send(Event::Ended),
            Ok(Err(error)) => observer.send(Event::Failed(error)),
            Err(panic) => observer.send(Event::Failed(panicked(&panic))),
        }
        // Timely would go on with a graph that could not be built to its end, and wait for it for ever.
        drop_all(worker);
    }

    fn work(&self, worker: &mut TimelyWorker, observer: Rc<EventObserver>) -> Result<()> {
        let index = worker.index();
        let peers = worker.peers();
        let taken = self.parcels.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[index].take();
        let parcel = taken.ok_or_else(|| Error::internal("a worker started twice"))?;
        let Parcel { lanes, helpers, writers, guests } = parcel;
        let mut sinks = Vec::new();
        for (number, (mut writer, schema)) in writers.into_iter().zip(&self.schemas).enumerate() {
            writer.begin(self.shared.epoch)?;
            let clock = self.shared.clock.clone();
            sinks.push(SinkLogic::new(number, writer, schema.clone(), observer.clone(), clock));
        }
        let hands = Vec::new();
        let mut own = Worker { shared: self.shared.clone(), index, peers, lanes, helpers, hands, observer };
        let wakers = self.wakers.clone();
        worker.dataflow::<Time, _, _>(|scope| {
            let waker = scope.worker().sync_activator_for(scope.addr().to_vec());
            wakers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(waker);
            own.build(scope, sinks)
        })?;
        self.step(worker, guests.as_ref(), &mut own.hands);
        Ok(())
    }

    /// Steps until the graph is done. While there is nothing to do, the worker helps others or the guest waits for rows; otherwise the
    /// thread parks.
    fn step(&self, worker: &mut TimelyWorker, guests: Option<&Receiver<Guest>>, hands: &mut [Hand]) {
        let mut guest = None;
        while worker.has_dataflows() {
            if self.abort.load(Ordering::Acquire) {
                return drop_all(worker);
            }
            match &mut guest {
                None => {
                    step_or_help(worker, hands);
                    guest = guests.and_then(|guests| guests.try_recv().ok());
                }
                Some(_) if step_without_parking(worker) => {}
                Some(aboard) => {
                    if !aboard.turn(until_alarm(worker)) {
                        guest = None;
                    }
                }
            }
        }
    }
}

/// Steps; if there is nothing to do, lends a hand, or waits until there is something.
fn step_or_help(worker: &mut TimelyWorker, hands: &mut [Hand]) {
    if hands.is_empty() {
        return step_or_park(worker);
    }
    match step_without_parking(worker) {
        true => threads::chance(),
        false if hands.iter_mut().any(Hand::help) => {}
        false => step_or_park(worker),
    }
}

/// Steps, or waits until there is something to do.
fn step_or_park(worker: &mut TimelyWorker) {
    match threads::in_turns() {
        false => drop(worker.step_or_park(None)),
        true if step_without_parking(worker) => threads::chance(),
        true => threads::idle(),
    }
}

/// Steps; false if there was nothing to do.
fn step_without_parking(worker: &mut TimelyWorker) -> bool {
    // With this token a worker that finds nothing does not sleep.
    std::thread::current().unpark();
    worker.step_or_park(None);
    // What was active stays listed until the next step.
    until_alarm(worker).is_some_and(|delay| delay.is_zero())
}

/// How long until an operator wants to be called, if one does; zero if one was called just now.
fn until_alarm(worker: &TimelyWorker) -> Option<Duration> {
    worker.activations().borrow().empty_for()
}

fn drop_all(worker: &mut TimelyWorker) {
    worker.installed_dataflows().into_iter().for_each(|id| worker.drop_dataflow(id));
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    Error::internal(format!("a worker panicked: {}", text.unwrap_or_else(|| "no message".into())))
}
