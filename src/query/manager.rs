//! The queries of a session.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::handle::StreamingQuery;
use super::listener::{ListenerId, Listeners, StreamingQueryListener};
use crate::{Error, Result};

#[derive(Default)]
struct Inner {
    queries: Vec<StreamingQuery>,
    /// Queries that ended since `reset_terminated`, with their errors.
    terminated: Vec<Option<Error>>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    listeners: Listeners,
}

/// Knows the active queries; one per session. Cheap to clone.
#[derive(Clone, Default)]
pub struct StreamingQueryManager(Arc<Shared>);

impl StreamingQueryManager {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The queries that run.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.lock().queries.iter().filter(|query| query.is_active()).cloned().collect()
    }

    /// The active query of this id or run id.
    pub fn get(&self, id: &str) -> Option<StreamingQuery> {
        self.active().into_iter().find(|query| query.id() == id || query.run_id() == id)
    }

    /// Waits until some query has ended since the last [`StreamingQueryManager::reset_terminated`].
    ///
    /// # Errors
    /// The error of a query that failed.
    pub fn await_any_termination(&self) -> Result<()> {
        self.wait_for_any(None).map(|_| ())
    }

    /// Waits at most `limit`; true if a query has ended.
    ///
    /// # Errors
    /// The error of a query that failed.
    pub fn await_any_termination_timeout(&self, limit: Duration) -> Result<bool> {
        self.wait_for_any(Some(limit))
    }

    #[expect(clippy::disallowed_methods, reason = "a caller's timeout, not the engine's time")]
    fn wait_for_any(&self, limit: Option<Duration>) -> Result<bool> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut inner = self.lock();
        while inner.terminated.is_empty() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let wait = left.unwrap_or(Duration::from_secs(3600));
            inner = self.0.changed.wait_timeout(inner, wait).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        match inner.terminated.iter().flatten().next() {
            Some(error) => Err(error.clone()),
            None => Ok(true),
        }
    }

    /// Forgets the queries that have ended, so that [`StreamingQueryManager::await_any_termination`] waits for the next.
    pub fn reset_terminated(&self) {
        self.lock().terminated.clear();
    }

    /// Adds a listener.
    pub fn add_listener(&self, listener: Arc<dyn StreamingQueryListener>) -> ListenerId {
        self.0.listeners.add(listener)
    }

    /// Removes a listener.
    pub fn remove_listener(&self, id: ListenerId) {
        self.0.listeners.remove(id);
    }

    /// The listeners that were added and not removed.
    pub fn list_listeners(&self) -> Vec<ListenerId> {
        self.0.listeners.list()
    }

    pub(super) fn listeners(&self) -> Listeners {
        self.0.listeners.clone()
    }

    /// Refuses a name that an active query has.
    pub(super) fn check_name(&self, name: Option<&str>) -> Result<()> {
        match name {
            Some(name) if self.active().iter().any(|query| query.name() == Some(name)) => Err(Error::query(
                "STREAMING_QUERY_NAME_ALREADY_EXISTS",
                format!("a query named '{name}' is active in this session"),
            )
            .hint("Stop it, or choose another query_name.")),
            _ => Ok(()),
        }
    }

    pub(super) fn add(&self, query: StreamingQuery) {
        let mut inner = self.lock();
        inner.queries.retain(StreamingQuery::is_active);
        inner.queries.push(query);
    }

    pub(super) fn ended(&self, error: Option<Error>) {
        self.lock().terminated.push(error);
        self.0.changed.notify_all();
    }
}
