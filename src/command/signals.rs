//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.
//!
//! In: signals of the system. Out: one call for the first signal; the second leaves with 128 + the signal's number, as shells
//! report it. Handlers stay until the process ends.

use std::os::unix::net::UnixStream;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use thalweg::Result;

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> Result<Self> {
        let _inside = runtime.enter();
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal; gives the exit code of a process that ends by it.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

/// Calls `stop` on the first signal; from now on signals no longer end the process by themselves.
///
/// # Errors
/// If the system does not let handlers be set.
#[expect(clippy::disallowed_methods, reason = "the second signal asks for the end, at once")]
pub(super) fn on_first(stop: impl FnOnce() + Send + 'static) -> Result<()> {
    // Where there are no descriptors for it tokio panics, so they are tried before.
    drop((0..4).map(|_| UnixStream::pair()).collect::<std::io::Result<Vec<_>>>()?);
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut signals = Signals::new(&runtime)?;
    let wait = async move {
        signals.next().await;
        stop();
        std::process::exit(signals.next().await);
    };
    std::thread::Builder::new().name("thalweg-signals".into()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}
