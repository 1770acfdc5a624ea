//! `cassandra`, `org.apache.spark.sql.cassandra`: rows as upserts of a table of Cassandra, batch and stream.
//!
//! In: rows with the table's whole primary key and any of its other columns, by name. Out: the rows of an epoch, acknowledged by as
//! many nodes as the consistency level says, before the epoch is committed.
//!
//! ```text
//!  chunk ─► converted by column ─► bytes of all rows ─► batches by partition ─► bounded number in flight ─► acknowledged
//! ```
//!
//! # Guarantee
//! Each write has a timestamp: that of its epoch's beginning, one more for each row. So the last row of a key wins, in whatever
//! order the nodes see them, and what a run that was thought dead still sends loses against the run that took over. An epoch that
//! runs again writes the same values under later timestamps: the table is as if it had run once (effectively once, per key).

mod flight;
mod layout;
mod settings;
mod writer;

use std::sync::Arc;

pub(crate) use self::settings::OUTPUT;

use self::flight::{Closing, Flight, Sender};
use self::layout::Layout;
use self::settings::{CONFIRM, Settings};
use self::writer::{CassandraWriter, Grouping};
use super::{Guarantee, OutputMode, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::cassandra::cluster::{Cluster, wait};
use crate::cassandra::errors;
use crate::cassandra::options::CONNECTION;
use crate::cassandra::table::Table;
use crate::cassandra::tls;
use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::io::SaveMode;
use crate::options::OptionSpec;
use crate::sources::cassandra::INPUT;
use crate::{Error, Result};

/// The provider of `format("cassandra")`.
#[derive(Debug)]
pub struct Cassandra;

impl SinkProvider for Cassandra {
    fn names(&self) -> &'static [&'static str] {
        &["cassandra", "org.apache.spark.sql.cassandra"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![CONNECTION, tls::OPTIONS, OUTPUT, INPUT]
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn settle(&self, spec: &SinkSpec, mode: SaveMode, conf: &Conf) -> Result<Option<bool>> {
        super::check_options(self, spec)?;
        let settings = Settings::of(spec, conf)?;
        if mode == SaveMode::Append {
            return Ok(Some(true));
        }
        if mode == SaveMode::Overwrite && !spec.options.flag(CONFIRM, false)? {
            return Err(Error::invalid(format!("mode overwrite would truncate {} first", settings.name)).hint(
                format!(
                    "Set option '{CONFIRM}' to 'true' if it shall be, or use mode append to change rows by their keys."
                ),
            ));
        }
        let cluster = Cluster::connect(&settings.connection, &settings.name.keyspace)?;
        let table = cluster.table(&settings.name)?;
        wait(async move { settle(&cluster, &table, mode).await.map(Some) })
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        let settings = Settings::of(spec, &context.conf)?;
        let cluster = Cluster::connect(&settings.connection, &settings.name.keyspace)?;
        let table = cluster.table(&settings.name)?;
        let layout = Arc::new(Layout::of(&context.schema, &table, &settings)?);
        let sender = Arc::new(sender(cluster, &layout, &settings)?);
        Ok(Box::new(CassandraSink { layout, grouping: Grouping::of(&settings), sender, clock: context.clock }))
    }
}

/// Makes room as the mode says; false if nothing is to be written.
async fn settle(cluster: &Cluster, table: &Table, mode: SaveMode) -> Result<bool> {
    if mode == SaveMode::Overwrite {
        let doing = format!("truncating {}", table.name);
        let truncated = cluster.session.query_unpaged(format!("TRUNCATE TABLE {}", table.quoted()), ()).await;
        return truncated.map(|_| true).map_err(|cause| errors::execution(&doing, cause));
    }
    let doing = format!("looking whether {} is empty", table.name);
    let ask = format!("SELECT {} FROM {} LIMIT 1", table.quoted_partition_key(), table.quoted());
    let answer = cluster.session.query_unpaged(ask, ()).await.map_err(|cause| errors::execution(&doing, cause))?;
    let empty = answer.into_rows_result().map_err(|cause| errors::answer(&doing, cause))?.rows_num() == 0;
    if mode == SaveMode::ErrorIfExists && !empty {
        return Err(Error::query("TABLE_OR_VIEW_ALREADY_EXISTS", format!("table {} has rows already", table.name))
            .hint("Use mode(\"append\") to write rows by their keys, or mode(\"overwrite\") to truncate it first."));
    }
    Ok(empty)
}

fn sender(cluster: Arc<Cluster>, layout: &Layout, settings: &Settings) -> Result<Sender> {
    let doing = format!("writing to {}", layout.table);
    let (connected, text, level) = (Arc::clone(&cluster), doing.clone(), settings.level);
    let (insert, delete) = (layout.insert.clone(), layout.delete.clone());
    let (insert, delete) = wait(async move {
        let insert = connected.prepare(insert, level, &text).await?;
        Ok((insert, connected.prepare(delete, level, &text).await?))
    })?;
    Ok(Sender { cluster, insert, delete, doing, closing: Closing::default(), limit: settings.in_flight })
}

struct CassandraSink {
    layout: Arc<Layout>,
    grouping: Grouping,
    sender: Arc<Sender>,
    clock: SharedClock,
}

impl Sink for CassandraSink {
    fn description(&self) -> String {
        format!("Cassandra[{}]", self.layout.table)
    }

    fn writer(&mut self, _worker: usize) -> Result<Box<dyn Writer>> {
        let flight = Flight::new(Arc::clone(&self.sender));
        let clock = Arc::clone(&self.clock);
        Ok(Box::new(CassandraWriter::new(Arc::clone(&self.layout), self.grouping, flight, clock)))
    }

    /// All rows were acknowledged when the writers were prepared.
    fn commit(&mut self, _epoch: u64, _prepared: Vec<Prepared>) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, _error: Option<&Error>) {
        self.sender.closing.close();
    }
}

#[cfg(test)]
pub(super) mod tests;
