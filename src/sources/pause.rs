//! A wait that another thread can end: how a reader without news sleeps.
//!
//! In: the longest wait. Out: nothing. Once interrupted it never waits again, so a stopping query is never held up.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A place to sleep. Clones share one interruption.
#[derive(Debug, Clone, Default)]
pub(super) struct Pause(Arc<(Mutex<bool>, Condvar)>);

impl Pause {
    /// Sleeps for at most `wait`, shorter if interrupted.
    pub(super) fn sleep(&self, wait: Duration) {
        let interrupted = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.1.wait_timeout_while(interrupted, wait, |interrupted| !*interrupted));
    }

    /// What another thread calls to end the sleep.
    pub(super) fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.0);
        Arc::new(move || {
            *shared.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            shared.1.notify_all();
        })
    }
}
