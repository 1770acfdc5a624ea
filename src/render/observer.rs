//! What a worker tells the query's driver: failures, state after an epoch, what the sink has prepared.

use std::sync::Arc;

use crossbeam_channel::Sender;
use hdrhistogram::Histogram;
use thalweg_operators::driver::{Observer, State, StateMetrics};
use timely::scheduling::SyncActivator;

use crate::Error;
use crate::query::Live;
use crate::sinks::Prepared;

/// Something a worker tells the driver.
pub(crate) enum Event {
    /// An operator (or the whole worker) failed.
    Failed(Error),
    /// State of one operator on one worker after an epoch.
    State {
        /// The operator.
        operator: String,
        /// The epoch that is complete.
        epoch: u64,
        /// What it is then.
        state: State,
    },
    /// All rows of an epoch have reached this worker's sink.
    Prepared(Outcome),
    /// The worker's graph has come to its end.
    Ended,
}

/// An epoch at one worker's sink.
pub(crate) struct Outcome {
    /// Which of the query's sinks.
    pub sink: usize,
    /// The epoch.
    pub epoch: u64,
    /// What the writer has ready.
    pub prepared: Prepared,
    /// Rows that reached the sink.
    pub rows: u64,
    /// Nanoseconds from ingest to sink, one value a row.
    pub latency: Histogram<u64>,
}

/// Sends [`Event`]s; lives on one worker.
pub(crate) struct EventObserver {
    worker: usize,
    events: Sender<Event>,
    snapshots: bool,
    live: Arc<Live>,
}

impl EventObserver {
    /// `snapshots`: whether state is wanted after each epoch; `live`: where figures are asked for.
    pub fn new(worker: usize, events: Sender<Event>, snapshots: bool, live: Arc<Live>) -> Self {
        EventObserver { worker, events, snapshots, live }
    }

    /// Sends; a driver that is gone hears nothing.
    pub fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

impl Observer for EventObserver {
    fn failed(&self, operator: &str, error: thalweg_operators::Error) {
        self.send(Event::Failed(Error::from(error).at(format!("operator {operator}"))));
    }

    fn wants_snapshot(&self, _: u64) -> bool {
        self.snapshots
    }

    fn snapshot(&self, operator: &str, epoch: u64, state: State) {
        self.send(Event::State { operator: operator.to_owned(), epoch, state });
    }

    fn listens(&self, operator: &str, activator: SyncActivator) {
        self.live.listens(self.worker, operator, activator);
    }

    fn asked(&self) -> u64 {
        self.live.asked()
    }

    fn figures(&self, operator: &str, asked: u64, metrics: StateMetrics) {
        self.live.tell(self.worker, operator, asked, metrics);
    }
}
