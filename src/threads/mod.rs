//! Threads and waiting: here a query starts its threads and waits for others, so that a simulation can take both over.
//!
//! In: what to run, what to wait for. Out: what the standard library would give. In a simulation (tests only, [`turns`]) the threads
//! of a query take turns instead: one runs at a time; which one is drawn from a seed whenever one waits; time passes only when all
//! wait. What must hold: whatever one of these threads waits for that another one does, it waits for here, and holds no lock
//! meanwhile but the one it hands in.

#[cfg(test)]
pub(crate) mod turns;
#[cfg(test)]
use self::turns::{Seat, poll};
#[cfg(test)]
pub(crate) use self::turns::{chance, idle, in_turns};

#[cfg(not(test))]
mod free;
#[cfg(not(test))]
use self::free::{Seat, poll};
#[cfg(not(test))]
pub(crate) use self::free::{chance, idle, in_turns};

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError};

/// A thread that was started here.
pub(crate) struct JoinHandle<T> {
    thread: std::thread::JoinHandle<T>,
    place: Place,
}

impl<T> JoinHandle<T> {
    /// Waits for its end; an error is its panic.
    pub(crate) fn join(self) -> std::thread::Result<T> {
        self.place.wait_until_left();
        self.thread.join()
    }
}

/// Starts a thread.
///
/// # Errors
/// If the system has no more.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let place = Place::reserve(name);
    let own = place.clone();
    let body = move || {
        let _turns = own.enter();
        body()
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
    Ok(JoinHandle { thread, place })
}

/// The place of a thread that somebody else starts (in a scope, or a library) among those of the query.
#[derive(Clone)]
pub(crate) struct Place(Seat);

impl Place {
    /// For a thread that will certainly run, started by one of the query's.
    pub(crate) fn reserve(name: &str) -> Self {
        Place(Seat::reserve(name))
    }

    /// What the thread does first; it leaves when the result is dropped.
    pub(crate) fn enter(&self) -> impl Drop + use<> {
        self.0.enter()
    }

    /// Waits until the thread has left. To be called before it is joined.
    pub(crate) fn wait_until_left(&self) {
        self.0.wait_until_left();
    }
}

/// Waits for a message, at most so long.
///
/// # Errors
/// The limit is over, or nobody can send any more.
pub(crate) fn receive<T>(from: &Receiver<T>, limit: Option<Duration>) -> Result<T, RecvTimeoutError> {
    let ready = || match from.try_recv() {
        Ok(message) => Some(Ok(message)),
        Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
        Err(TryRecvError::Empty) => None,
    };
    match (poll(limit, ready), limit) {
        (Some(received), _) => received.unwrap_or(Err(RecvTimeoutError::Timeout)),
        (None, Some(limit)) => from.recv_timeout(limit),
        (None, None) => from.recv().map_err(RecvTimeoutError::from),
    }
}

/// Sends; waits while there is no room, at most so long.
///
/// # Errors
/// The limit is over, or nobody will receive it; with the message.
pub(crate) fn send<T>(to: &Sender<T>, message: T, limit: Option<Duration>) -> Result<(), SendTimeoutError<T>> {
    let mut held = Some(message);
    let ready = || match to.try_send(held.take()?) {
        Ok(()) => Some(Ok(())),
        Err(TrySendError::Disconnected(back)) => Some(Err(SendTimeoutError::Disconnected(back))),
        Err(TrySendError::Full(back)) => {
            held = Some(back);
            None
        }
    };
    match (poll(limit, ready), held, limit) {
        (Some(Some(sent)), ..) => sent,
        (Some(None), Some(back), _) => Err(SendTimeoutError::Timeout(back)),
        (None, Some(message), Some(limit)) => to.send_timeout(message, limit),
        (None, Some(message), None) => to.send(message).map_err(|error| SendTimeoutError::Disconnected(error.0)),
        (_, None, _) => Ok(()),
    }
}

/// Waits on `changed` while `waits` says so, at most so long.
pub(crate) fn wait_while<'a, T>(
    lock: &'a Mutex<T>,
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
    mut waits: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    if in_turns() {
        drop(guard);
        let own = || lock.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = poll(limit, || {
            let mut guard = own();
            (!waits(&mut guard)).then_some(guard)
        });
        return ended.flatten().unwrap_or_else(own);
    }
    match limit {
        Some(limit) => changed.wait_timeout_while(guard, limit, waits).unwrap_or_else(PoisonError::into_inner).0,
        None => changed.wait_while(guard, waits).unwrap_or_else(PoisonError::into_inner),
    }
}

/// Rests so long; shorter if the thread is unparked.
pub(crate) fn rest(limit: Duration) {
    if poll::<()>(Some(limit), || None).is_none() {
        std::thread::park_timeout(limit);
    }
}
