//! Work beside a measurement, until it is told to stop.
//!
//! In: what to do, which looks at a flag. Out: what it gives when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use thalweg::{Error, Result};

/// Work on a thread of its own.
pub(super) struct Background<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts it; it should end soon after the flag is set.
    pub(super) fn start(name: &str, work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&stopping))?;
        Ok(Background { stop, thread })
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<T> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| Error::internal("work beside a measurement panicked"))?
    }
}
