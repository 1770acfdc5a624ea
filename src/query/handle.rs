//! The handle of a running query. Cheap to clone; dropping it does not stop the query.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::progress::{Progress, StateOperator};
use super::state::{QueryState, Status};
use super::state_operators::StateOperators;
use crate::threads::JoinHandle;
use crate::{Error, Result};

/// How long workers may take to say what they keep.
const LIVE: Duration = Duration::from_millis(200);

/// A query that runs in the background.
#[derive(Clone)]
pub struct StreamingQuery(Arc<Inner>);

struct Inner {
    id: String,
    run_id: String,
    name: Option<String>,
    explained: String,
    state: Arc<QueryState>,
    state_operators: StateOperators,
    thread: Mutex<Option<JoinHandle<()>>>,
    stop_timeout: Option<Duration>,
}

/// What a handle is made of.
pub(super) struct Parts {
    pub id: String,
    pub run_id: String,
    pub name: Option<String>,
    pub explained: String,
    pub state: Arc<QueryState>,
    pub state_operators: StateOperators,
    pub thread: JoinHandle<()>,
    pub stop_timeout: Option<Duration>,
}

impl StreamingQuery {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id, run_id, name, explained, state, state_operators, thread, stop_timeout } = parts;
        StreamingQuery(Arc::new(Inner {
            id,
            run_id,
            name,
            explained,
            state,
            state_operators,
            thread: Mutex::new(Some(thread)),
            stop_timeout,
        }))
    }

    /// The same over all runs on one checkpoint.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// This run's own.
    pub fn run_id(&self) -> &str {
        &self.0.run_id
    }

    /// The name given with `query_name`.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        self.0.state.is_active()
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        self.0.state.status()
    }

    /// The newest progress report.
    pub fn last_progress(&self) -> Option<Progress> {
        self.0.state.last()
    }

    /// The reports kept (`spark.sql.streaming.numRecentProgressUpdates`, 100), oldest first.
    pub fn recent_progress(&self) -> Vec<Progress> {
        self.0.state.recent()
    }

    /// What each operator with state keeps now, in the midst of an epoch too: as `state_operators` of a progress report, but figures
    /// of changes count since the newest one. Asks the workers, and waits at most a fifth of a second for them; an operator that is
    /// busy for longer counts as when it was last asked. Nothing once the query has ended.
    pub fn state_operators(&self) -> Vec<StateOperator> {
        self.0.state_operators.report(&self.0.state.live.ask(LIVE))
    }

    /// Why it failed, if it did.
    pub fn exception(&self) -> Option<Error> {
        self.0.state.exception()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The query's own error, if it failed.
    pub fn await_termination(&self) -> Result<()> {
        self.0.state.wait(None).map(|_| ())
    }

    /// Waits at most `limit`; true if the query has ended.
    ///
    /// # Errors
    /// The query's own error, if it failed.
    pub fn await_termination_timeout(&self, limit: Duration) -> Result<bool> {
        self.0.state.wait(Some(limit))
    }

    /// Waits until everything that is available now has been processed and written. Meant for tests.
    ///
    /// # Errors
    /// The query's own error, if it failed.
    pub fn process_all_available(&self) -> Result<()> {
        self.0.state.process_all_available()
    }

    /// Finishes the epoch in progress, commits it and ends the query. Returns when it has ended; a second call waits too.
    ///
    /// # Errors
    /// If it has not ended within `spark.sql.streaming.stopTimeout` (0: no limit). The epoch in progress is then given up, as
    /// by [`StreamingQuery::abort`].
    pub fn stop(&self) -> Result<()> {
        self.0.state.request_stop();
        // How it ended is told by `exception`; stopping a failed query is no error.
        let ended = self.0.state.wait(self.0.stop_timeout).unwrap_or(true);
        if !ended {
            self.abort();
            return Err(Error::outside("the query did not stop within 'spark.sql.streaming.stopTimeout'")
                .hint("Its epoch in progress is given up and runs again after a restart."));
        }
        let thread = self.0.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the driver thread was turned into the query's error.
            let _ = thread.join();
        }
        Ok(())
    }

    /// Asks the query to end at once, without waiting: the epoch in progress is not committed and runs again after a restart.
    pub fn abort(&self) {
        self.0.state.request_abort();
    }

    /// Asks the query to stop without waiting.
    pub fn request_stop(&self) {
        self.0.state.request_stop();
    }

    /// The logical, optimized and dataflow plans as text.
    pub fn explain(&self) -> &str {
        &self.0.explained
    }
}

impl std::fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamingQuery {{ id: {}, name: {:?}, active: {} }}", self.id(), self.name(), self.is_active())
    }
}
