//! What a running query shows to the threads that hold its handle: status, progress, how it ended.
//!
//! Written by the query's driver thread, read and waited on by any thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;

use super::live::Live;
use super::progress::Progress;
use crate::{Error, Result, threads};

/// What a query is doing.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// In words.
    pub message: String,
    /// Whether there was something to read when it last looked.
    pub is_data_available: bool,
    /// Whether an epoch is being processed.
    pub is_trigger_active: bool,
}

struct Inner {
    status: Status,
    recent: VecDeque<Progress>,
    /// `Some` once the query ended.
    ended: Option<Option<Error>>,
    /// Requests of `process_all_available`, and the last one that is done.
    asked: u64,
    answered: u64,
    wakes: u64,
}

/// Shared between a query's driver and its handles.
pub(crate) struct QueryState {
    inner: Mutex<Inner>,
    changed: Condvar,
    stop: AtomicBool,
    abort: AtomicBool,
    /// Readers move data by themselves: the driver need not hear of it.
    flows: AtomicBool,
    keep: usize,
    /// Figures in the midst of an epoch.
    pub live: Arc<Live>,
}

impl QueryState {
    /// `keep`: how many progress reports are kept.
    pub fn new(keep: usize) -> Arc<Self> {
        let status = Status { message: "Initializing".into(), is_data_available: false, is_trigger_active: false };
        let inner = Inner { status, recent: VecDeque::new(), ended: None, asked: 0, answered: 0, wakes: 0 };
        let (stop, abort) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(QueryState {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            stop,
            abort,
            flows: AtomicBool::new(false),
            keep,
            live: Arc::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &'a self,
        inner: MutexGuard<'a, Inner>,
        limit: Option<Duration>,
        waits: impl FnMut(&mut Inner) -> bool,
    ) -> MutexGuard<'a, Inner> {
        threads::wait_while(&self.inner, &self.changed, inner, limit, waits)
    }

    /// Sets the status.
    pub fn set_status(&self, message: &str, data: bool, active: bool) {
        let mut inner = self.lock();
        if inner.status.message != message {
            inner.status.message = message.to_owned();
        }
        inner.status.is_data_available = data;
        inner.status.is_trigger_active = active;
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// Adds a report.
    pub fn report(&self, progress: Progress) {
        let mut inner = self.lock();
        if inner.recent.len() >= self.keep {
            inner.recent.pop_front();
        }
        inner.recent.push_back(progress);
        self.changed.notify_all();
    }

    /// The reports kept, oldest first.
    pub fn recent(&self) -> Vec<Progress> {
        self.lock().recent.iter().cloned().collect()
    }

    /// The newest report.
    pub fn last(&self) -> Option<Progress> {
        self.lock().recent.back().cloned()
    }

    /// Notes the end.
    pub fn end(&self, error: Option<Error>) {
        let mut inner = self.lock();
        inner.status = Status { message: "Stopped".into(), is_data_available: false, is_trigger_active: false };
        inner.ended = Some(error);
        self.changed.notify_all();
    }

    /// Why it failed, if it ended with an error.
    pub fn exception(&self) -> Option<Error> {
        self.lock().ended.clone().flatten()
    }

    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        self.lock().ended.is_none()
    }

    /// Asks the driver to stop after the epoch in progress.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it should stop.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Asks the driver to give up the epoch in progress, too.
    pub fn request_abort(&self) {
        self.abort.store(true, Ordering::Release);
        self.request_stop();
    }

    /// Whether the epoch in progress should be given up: it is not committed and runs again after a restart.
    pub fn aborting(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// Wakes the driver: there may be something to do.
    pub fn wake(&self) {
        self.lock().wakes += 1;
        self.changed.notify_all();
    }

    /// Says that readers move data by themselves from now on.
    pub fn let_flow(&self) {
        self.flows.store(true, Ordering::Release);
    }

    /// Wakes the driver because a source has new data, if it is the driver that has it read.
    pub fn wake_for_data(&self) {
        if !self.flows.load(Ordering::Acquire) {
            self.wake();
        }
    }

    /// How often it was woken so far; for [`QueryState::sleep`].
    pub fn wakes(&self) -> u64 {
        self.lock().wakes
    }

    /// Waits until woken after the count was `since`, at most `limit`; not at all if it should stop, whenever that was asked for.
    pub fn sleep(&self, since: u64, limit: Option<Duration>) {
        drop(self.wait_while(self.lock(), limit, |inner| inner.wakes == since && !self.stopping()));
    }

    /// Asks for everything available to be processed and waits for it.
    pub fn process_all_available(&self) -> Result<()> {
        let mut inner = self.lock();
        inner.asked += 1;
        inner.wakes += 1;
        let ticket = inner.asked;
        self.changed.notify_all();
        let inner = self.wait_while(inner, None, |inner| inner.answered < ticket && inner.ended.is_none());
        inner.ended.clone().flatten().map_or(Ok(()), Err)
    }

    /// The newest request of `process_all_available`; the driver reads it before it looks for data.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// The newest request that has been answered.
    pub fn answered(&self) -> u64 {
        self.lock().answered
    }

    /// Everything that was available when request `ticket` was read has been processed.
    pub fn answer(&self, ticket: u64) {
        let mut inner = self.lock();
        inner.answered = inner.answered.max(ticket);
        self.changed.notify_all();
    }

    /// Waits for the end; false if `limit` passed first.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool> {
        let inner = self.wait_while(self.lock(), limit, |inner| inner.ended.is_none());
        match &inner.ended {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(error)) => Err(error.clone()),
        }
    }
}
