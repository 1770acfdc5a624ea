//! Figures of operators in the midst of an epoch: reports come only when one closes, which may be a minute.
//!
//! In: operators that say how they are woken, and then their figures. Out: what all of them keep, on demand. What always holds: nobody
//! measures anything unless somebody asks; an operator that is asked answers when it is next scheduled, and is scheduled for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_operators::driver::StateMetrics;
use timely::scheduling::SyncActivator;

use crate::threads;

/// A query's operators, and those who ask them.
#[derive(Default)]
pub(crate) struct Live {
    asked: AtomicU64,
    board: Mutex<BTreeMap<Seat, Entry>>,
    told: Condvar,
}

/// A worker and the name of an operator.
type Seat = (usize, String);

/// What is known of an operator on one worker.
struct Entry {
    activator: SyncActivator,
    answered: u64,
    metrics: StateMetrics,
}

impl Live {
    fn board(&self) -> MutexGuard<'_, BTreeMap<Seat, Entry>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operator of a worker begins to listen.
    pub fn listens(&self, worker: usize, operator: &str, activator: SyncActivator) {
        let entry = Entry { activator, answered: 0, metrics: StateMetrics::default() };
        self.board().insert((worker, operator.to_owned()), entry);
    }

    /// The number of the newest request.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// An operator answers a request.
    pub fn tell(&self, worker: usize, operator: &str, asked: u64, metrics: StateMetrics) {
        if let Some(entry) = self.board().get_mut(&(worker, operator.to_owned())) {
            (entry.answered, entry.metrics) = (asked, metrics);
        }
        self.told.notify_all();
    }

    /// What operators keep now, all workers' together. One that has not answered within `limit` counts as when it last did.
    pub fn ask(&self, limit: Duration) -> BTreeMap<String, StateMetrics> {
        let mut board = self.board();
        let request = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        // A worker that has ended needs no waking, and says nothing any more.
        board.retain(|_, entry| entry.activator.activate().is_ok());
        let waits = |board: &mut BTreeMap<Seat, Entry>| board.values().any(|entry| entry.answered < request);
        board = threads::wait_while(&self.board, &self.told, board, Some(limit), waits);
        let mut all = BTreeMap::<String, StateMetrics>::new();
        for ((_, operator), entry) in board.iter() {
            *all.entry(operator.clone()).or_default() += entry.metrics;
        }
        all
    }

    /// The operators are gone.
    pub fn forget(&self) {
        self.board().clear();
        self.told.notify_all();
    }
}
