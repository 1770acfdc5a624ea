//! What is left of taking turns where nobody does: outside of tests.

use std::time::Duration;

/// Nothing.
#[derive(Clone)]
pub(super) struct Seat;

/// Nothing.
pub(super) struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {}
}

impl Seat {
    pub(super) fn reserve(_: &str) -> Self {
        Seat
    }

    pub(super) fn enter(&self) -> Turn {
        Turn
    }

    pub(super) fn wait_until_left(&self) {}
}

/// `None`: the thread waits as threads do.
#[inline]
pub(super) fn poll<R>(_: Option<Duration>, _: impl FnMut() -> Option<R>) -> Option<Option<R>> {
    None
}

/// Whether this thread takes turns.
#[inline]
pub(crate) fn in_turns() -> bool {
    false
}

/// A moment at which another thread may get its turn.
#[inline]
pub(crate) fn chance() {}

/// This thread has found nothing to do since its last turn.
#[inline]
pub(crate) fn idle() {}
