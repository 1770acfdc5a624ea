//! A connection to a cluster, for callers that may block.
//!
//! In: statements. Out: their answers. All clusters of the process share one small runtime for the driver's own work;
//! [`Cluster::wait`] may be called from any thread, also inside of another runtime.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::ExecutionError;
use scylla::frame::types::Consistency;
use scylla::policies::host_filter::DcHostFilter;
use scylla::statement::Statement;
use scylla::statement::prepared::PreparedStatement;
use tokio::runtime::{Builder, Handle, Runtime};

use super::errors::{self, Verdict};
use super::options::{Connection, Retries, TableName};
use super::table::{Table, no_keyspace};
use crate::{Error, Result, blocking};

/// Threads of the driver, of all clusters.
const THREADS: usize = 2;
/// The first wait before a statement is tried again; each further one is twice as long ...
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// ... up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The runtime of the driver.
pub(crate) fn runtime() -> Result<&'static Handle> {
    static SHARED: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let build = || {
        let mut builder = Builder::new_multi_thread();
        blocking::start(builder.worker_threads(THREADS).thread_name("thalweg-cassandra").enable_all())
    };
    let shared = SHARED.get_or_init(build).as_ref();
    shared.map(Runtime::handle).map_err(|error| Error::outside(format!("no threads for Cassandra's driver: {error}")))
}

/// Runs a future on the driver's runtime and waits for it.
///
/// # Errors
/// The future's, or if no thread can be started.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime()?.spawn(async move { drop(sender.send(future.await)) });
    receiver.recv().map_err(|_| Error::internal("Cassandra's driver gave no answer"))?
}

/// A connected cluster.
pub(crate) struct Cluster {
    pub session: Session,
    pub retries: Retries,
}

impl Cluster {
    /// Connects and reads what there is in the keyspace.
    ///
    /// # Errors
    /// No node can be reached; the login is refused.
    pub(crate) fn connect(connection: &Connection, keyspace: &str) -> Result<Arc<Cluster>> {
        let (connection, keyspace) = (connection.clone(), keyspace.to_owned());
        wait(async move {
            let session = builder(&connection, keyspace).build().await;
            let session = session.map_err(|cause| errors::connection(&connection.nodes, cause))?;
            Ok(Arc::new(Cluster { session, retries: connection.retries }))
        })
    }

    /// The shape of a table.
    ///
    /// # Errors
    /// No such keyspace or table.
    pub(crate) fn table(self: &Arc<Self>, name: &TableName) -> Result<Table> {
        match self.session.get_cluster_state().get_keyspace(&name.keyspace) {
            Some(keyspace) => Table::find(keyspace, name),
            None => {
                let cluster = Arc::clone(self);
                let known = wait(async move { cluster.keyspaces().await })?;
                Err(no_keyspace(&name.keyspace, &known))
            }
        }
    }

    async fn keyspaces(&self) -> Result<Vec<String>> {
        const DOING: &str = "listing keyspaces";
        let answer = self.session.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ()).await;
        let rows = answer.map_err(|cause| errors::execution(DOING, cause))?.into_rows_result();
        let rows = rows.map_err(|cause| errors::answer(DOING, cause))?;
        let names = rows.rows::<(String,)>().map_err(|cause| errors::answer(DOING, cause))?;
        Ok(names.filter_map(std::result::Result::ok).map(|(name,)| name).collect())
    }

    /// Prepares a statement that may be repeated.
    ///
    /// # Errors
    /// The statement is refused, or no node answers.
    pub(crate) async fn prepare(&self, cql: String, level: Consistency, doing: &str) -> Result<PreparedStatement> {
        let mut statement = Statement::new(cql);
        statement.set_consistency(level);
        statement.set_is_idempotent(true);
        self.session.prepare(statement).await.map_err(|cause| errors::prepare(doing, cause))
    }

    /// Runs what `run` makes, again and again while nodes are away, as long as the options allow.
    ///
    /// # Errors
    /// The last one.
    pub(crate) async fn persist<T, F>(&self, doing: &str, mut run: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, ExecutionError>>,
    {
        let (mut tries, mut waited, mut pause) = (0u32, Duration::ZERO, FIRST_WAIT);
        loop {
            let cause = match run().await {
                Ok(answer) => return Ok(answer),
                Err(cause) => cause,
            };
            let over = waited >= self.retries.time || self.retries.count.is_some_and(|count| tries >= count);
            if over || errors::judge(&cause) != Verdict::Wait {
                return Err(errors::execution(doing, cause));
            }
            if tries == 0 {
                tracing::warn!("{doing}: Cassandra does not answer as it should, trying again: {cause}");
            }
            tokio::time::sleep(pause).await;
            (tries, waited) = (tries + 1, waited + pause);
            pause = (pause * 2).min(LONGEST_WAIT);
        }
    }
}

fn builder(connection: &Connection, keyspace: String) -> SessionBuilder {
    let profile = ExecutionProfile::builder().request_timeout(Some(connection.read_timeout)).build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&connection.nodes)
        .connection_timeout(connection.connect_timeout)
        .compression(connection.compression)
        .tls_context(connection.tls.clone())
        .keyspaces_to_fetch([keyspace])
        .default_execution_profile_handle(profile.into_handle());
    if let Some(connections) = NonZeroUsize::new(connection.connections) {
        builder = builder.pool_size(PoolSize::PerHost(connections));
    }
    if let Some((user, password)) = &connection.login {
        builder = builder.user(user, password);
    }
    if let Some(local) = &connection.local_dc {
        builder = builder.prefer_datacenter(local.clone()).host_filter(Arc::new(DcHostFilter::new(local.clone())));
    }
    builder
}
