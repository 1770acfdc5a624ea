//! Running async work from synchronous calls, also from inside a tokio runtime.
//!
//! In: a future. Out: its value. All static queries of the process share one small runtime. A caller that already is
//! inside a runtime may not block it, so the future then runs on a thread of its own.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{Error, Result};

/// Threads of the shared runtime.
const THREADS: usize = 2;

fn runtime() -> Result<&'static Runtime> {
    static SHARED: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let build = || start(Builder::new_multi_thread().worker_threads(THREADS).thread_name("thalweg-batch").enable_all());
    SHARED.get_or_init(build).as_ref().map_err(|error| Error::outside(format!("no threads for queries: {error}")))
}

/// Starts a runtime. Where the system gives tokio no descriptors or threads for it tokio panics, so the first are tried before.
///
/// # Errors
/// What the system refuses.
pub(crate) fn start(builder: &mut Builder) -> io::Result<Runtime> {
    (0..4).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>()?;
    let built = catch_unwind(AssertUnwindSafe(|| builder.build()));
    built.unwrap_or_else(|_| Err(io::Error::other("the system refuses threads")))
}

/// Waits for `future`.
///
/// # Errors
/// The future's, or if no thread can be started.
pub fn block_on<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let runtime = runtime()?;
    if Handle::try_current().is_err() {
        return runtime.block_on(future);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("thalweg-wait".into());
        let waiting = thread.spawn_scoped(scope, || runtime.block_on(future))?;
        waiting.join().map_err(|_| Error::internal("the thread that ran the query panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_inside_a_runtime_may_wait() {
        let outer = Runtime::new().unwrap();
        let value = outer.block_on(async { block_on(async { Ok(7) }) }).unwrap();
        assert_eq!(value, 7);
    }

    #[test]
    fn errors_come_through() {
        let failed = block_on(async { Err::<(), _>(Error::invalid("no")) });
        assert_eq!(failed.unwrap_err().message(), "no");
    }
}
