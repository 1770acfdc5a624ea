//! Batches on their way to Cassandra, a bounded number of them.
//!
//! In: batches of bound statements. Out: nothing, once all are acknowledged, or the first error. A writer waits while as many
//! are on their way as there may be, also while nodes are away; [`Closing`] ends that wait and what is still being tried.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use scylla::errors::ExecutionError;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::Notify;

use crate::cassandra::cluster::{Cluster, runtime};
use crate::cassandra::encode::Row;
use crate::{Error, Result};

/// Says to all writers of a sink that the query ends.
#[derive(Default)]
pub(super) struct Closing {
    closed: AtomicBool,
    told: Notify,
}

impl Closing {
    /// Ends all waits, now and later.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends when the query does.
    async fn wait(&self) {
        let told = self.told.notified();
        tokio::pin!(told);
        // What is told between the look and the wait must not be missed.
        told.as_mut().enable();
        if !self.is_closed() {
            told.await;
        }
    }
}

/// What all writers of a sink need to send.
pub(super) struct Sender {
    pub cluster: Arc<Cluster>,
    pub insert: PreparedStatement,
    pub delete: PreparedStatement,
    pub doing: String,
    pub closing: Closing,
    /// Batches in flight of each writer.
    pub limit: usize,
}

/// Rows for one statement each, that go together.
pub(super) struct Parcel {
    /// The rows, and whether each is written or deleted.
    pub rows: Vec<(Row, bool)>,
}

impl Sender {
    /// Sends a parcel until it is acknowledged.
    async fn send(&self, parcel: &Parcel) -> Result<()> {
        let statement = |kept: bool| if kept { &self.insert } else { &self.delete };
        if let [(row, kept)] = parcel.rows.as_slice() {
            let run = || async { self.cluster.session.execute_unpaged(statement(*kept), row).await.map(drop) };
            return self.persist(run).await;
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        parcel.rows.iter().for_each(|(_, kept)| batch.append_statement(statement(*kept).clone()));
        batch.set_is_idempotent(true);
        if let Some(level) = self.insert.get_consistency() {
            batch.set_consistency(level);
        }
        let values: Vec<&Row> = parcel.rows.iter().map(|(row, _)| row).collect();
        let (batch, values) = (&batch, &values);
        self.persist(|| async move { self.cluster.session.batch(batch, values).await.map(drop) }).await
    }

    async fn persist<F>(&self, run: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = std::result::Result<(), ExecutionError>>,
    {
        tokio::select! {
            done = self.cluster.persist(&self.doing, run) => done,
            () = self.closing.wait() => Err(stopped()),
        }
    }
}

fn stopped() -> Error {
    Error::outside("the query was stopped while Cassandra took no rows")
}

/// How many parcels are on their way, and what went wrong first.
#[derive(Default)]
struct State {
    on_their_way: usize,
    failed: Option<Error>,
}

/// The parcels of one writer.
pub(super) struct Flight {
    sender: Arc<Sender>,
    state: Arc<(Mutex<State>, Condvar)>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    pub(super) fn new(sender: Arc<Sender>) -> Flight {
        Flight { sender, state: Arc::default() }
    }

    /// Sends a parcel off; waits while there are too many.
    ///
    /// # Errors
    /// What an earlier parcel failed with.
    pub(super) fn start(&self, parcel: Parcel) -> Result<()> {
        self.wait_for(self.sender.limit.saturating_sub(1))?;
        lock(&self.state.0).on_their_way += 1;
        let (sender, state) = (Arc::clone(&self.sender), Arc::clone(&self.state));
        runtime()?.spawn(async move {
            let landed = Landing(state);
            if let Err(error) = sender.send(&parcel).await {
                lock(&landed.0.0).failed.get_or_insert(error);
            }
        });
        Ok(())
    }

    /// Waits until all parcels have been acknowledged.
    ///
    /// # Errors
    /// What the first of them failed with.
    pub(super) fn land(&self) -> Result<()> {
        self.wait_for(0)
    }

    /// Waits until at most so many are on their way.
    fn wait_for(&self, most: usize) -> Result<()> {
        let (state, changed) = self.state.as_ref();
        let many = |state: &mut State| state.on_their_way > most && state.failed.is_none();
        let state = changed.wait_while(lock(state), many).unwrap_or_else(PoisonError::into_inner);
        state.failed.clone().map_or(Ok(()), Err)
    }
}

/// Counts a parcel off, whatever became of it.
struct Landing(Arc<(Mutex<State>, Condvar)>);

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.0.0).on_their_way -= 1;
        self.0.1.notify_all();
    }
}
