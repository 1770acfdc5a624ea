//! A wait that another thread can end: how a reader without news sleeps.
//!
//! In: the longest wait. Out: nothing. An interruption
//! ends one sleep: the present one, or the next.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::threads;

/// A place to sleep. Clones share one interruption.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pause(Arc<(Mutex<bool>, Condvar)>);

impl Pause {
    /// Sleeps for at most `wait`, shorter if interrupted.
    pub(crate) fn sleep(&self, wait: Duration) {
        let (lock, changed) = &*self.0;
        let interrupted = lock.lock().unwrap_or_else(PoisonError::into_inner);
        *threads::wait_while(lock, changed, interrupted, Some(wait), |interrupted| !*interrupted) = false;
    }

    /// What another thread calls to end the sleep.
    pub(crate) fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.0);
        Arc::new(move || {
            *shared.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            shared.1.notify_all();
        })
    }
}
