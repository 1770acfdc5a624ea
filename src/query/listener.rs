//! Listeners: who hears when queries start, make progress, idle and end. Called on the query's driver thread; a listener that
//! panics is heard of in the log and does not stop the query.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use super::execution::Setup;
use super::progress::Progress;
use crate::Error;

/// Hears of all queries of a session.
pub trait StreamingQueryListener: Send + Sync {
    /// A query has started.
    fn on_query_started(&self, _started: &QueryStarted) {}
    /// An epoch is done.
    fn on_query_progress(&self, _progress: &Progress) {}
    /// The query found nothing to do.
    fn on_query_idle(&self, _idle: &QueryIdle) {}
    /// The query has ended.
    fn on_query_terminated(&self, _terminated: &QueryTerminated) {}
}

/// A query has started.
#[derive(Debug, Clone)]
pub struct QueryStarted {
    /// Id over all runs.
    pub id: String,
    /// Id of this run.
    pub run_id: String,
    /// The query's name.
    pub name: Option<String>,
}

/// A query found nothing to do.
#[derive(Debug, Clone)]
pub struct QueryIdle {
    /// Id over all runs.
    pub id: String,
    /// Id of this run.
    pub run_id: String,
}

/// A query has ended.
#[derive(Debug, Clone)]
pub struct QueryTerminated {
    /// Id over all runs.
    pub id: String,
    /// Id of this run.
    pub run_id: String,
    /// Why it failed; `None` if it was stopped or had no more to do.
    pub exception: Option<Error>,
}

/// A listener that was added; [`Listeners::remove`] takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerId(u64);

#[derive(Default)]
struct Registered {
    next: u64,
    all: Vec<(ListenerId, Arc<dyn StreamingQueryListener>)>,
}

/// The listeners of a session.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<Registered>>);

impl Listeners {
    fn lock(&self) -> std::sync::MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn add(&self, listener: Arc<dyn StreamingQueryListener>) -> ListenerId {
        let mut registered = self.lock();
        registered.next += 1;
        let id = ListenerId(registered.next);
        registered.all.push((id, listener));
        id
    }

    pub fn remove(&self, id: ListenerId) {
        self.lock().all.retain(|(known, _)| *known != id);
    }

    pub fn list(&self) -> Vec<ListenerId> {
        self.lock().all.iter().map(|(id, _)| *id).collect()
    }

    fn tell(&self, event: impl Fn(&dyn StreamingQueryListener)) {
        let all: Vec<_> = self.lock().all.iter().map(|(_, listener)| listener.clone()).collect();
        for listener in all {
            if std::panic::catch_unwind(AssertUnwindSafe(|| event(listener.as_ref()))).is_err() {
                tracing::error!("a streaming query listener panicked");
            }
        }
    }

    pub fn started(&self, setup: &Setup) {
        let started = QueryStarted { id: setup.id.clone(), run_id: setup.run_id.clone(), name: setup.name.clone() };
        self.tell(|listener| listener.on_query_started(&started));
    }

    pub fn progress(&self, progress: &Progress) {
        self.tell(|listener| listener.on_query_progress(progress));
    }

    pub fn idle(&self, setup: &Setup) {
        let idle = QueryIdle { id: setup.id.clone(), run_id: setup.run_id.clone() };
        self.tell(|listener| listener.on_query_idle(&idle));
    }

    pub fn terminated(&self, id: &str, run_id: &str, exception: Option<Error>) {
        let terminated = QueryTerminated { id: id.to_owned(), run_id: run_id.to_owned(), exception };
        self.tell(|listener| listener.on_query_terminated(&terminated));
    }
}
