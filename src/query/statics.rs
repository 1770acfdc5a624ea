//! Static sides of joins: read when a query starts, and again from time to time if `thalweg.staticRefreshInterval` says so.
//!
//! In: the plan's static queries, the session's settings. Out: tables that the workers look at. What always holds: a table is
//! replaced between micro-batches, so a batch sees one version of it; under the continuous trigger between chunks. A refresh that
//! fails leaves the table as it is.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;

use super::trigger::interval_of;
use crate::conf::Conf;
use crate::plan::batch::collect_blocking;
use crate::plan::dataflow::{DataflowPlan, Kind};
use crate::plan::lower;
use crate::render::{StaticTable, conform};
use crate::{Error, Result};

/// The setting: an interval, or `off`.
const REFRESH_INTERVAL: &str = "thalweg.staticRefreshInterval";

/// The static tables of a query.
pub(crate) struct Statics {
    /// By the number that the plan's nodes carry.
    pub tables: Vec<Arc<StaticTable>>,
    /// Which of them are read again: those of joins.
    renewable: Vec<usize>,
    interval: Option<Duration>,
    /// When they were read last, in nanoseconds of the query's clock.
    read: u64,
}

impl Statics {
    /// Reads all tables.
    ///
    /// # Errors
    /// What reading fails with, `CANNOT_PARSE_INTERVAL`, or a table that is joined to a changelog and should be refreshed: rows
    /// that are taken back would no longer find what they were joined with.
    pub fn read(plan: &DataflowPlan, conf: &Conf) -> Result<Self> {
        let interval = interval(conf)?;
        let mut renewable = Vec::new();
        for node in plan.nodes() {
            let Kind::StaticJoin(join) = &node.kind else { continue };
            if interval.is_some() && node.changelog {
                return Err(Error::unsupported(format!(
                    "'{REFRESH_INTERVAL}' is not supported where a table is joined with results that later rows correct"
                ))
                .hint("Join the table before aggregating, or leave the setting out."));
            }
            renewable.push(join.table);
        }
        let tables = plan.statics.iter().map(|plan| Ok(Arc::new(StaticTable::new(read(plan, conf)?))));
        Ok(Statics { tables: tables.collect::<Result<_>>()?, renewable, interval, read: 0 })
    }

    /// The tables were read at this time.
    pub fn read_at(&mut self, now: u64) {
        self.read = now;
    }

    /// Reads the tables of joins again if it is time.
    pub fn refresh(&mut self, plan: &DataflowPlan, conf: &Conf, now: u64) {
        let Some(interval) = self.interval else { return };
        if u128::from(now.saturating_sub(self.read)) < interval.as_nanos() {
            return;
        }
        self.read = now;
        for &number in &self.renewable {
            match plan.statics.get(number).map(|plan| read(plan, conf)) {
                Some(Ok(rows)) => self.tables[number].renew(rows),
                Some(Err(error)) => tracing::warn!("a static table stays as it was read before: {error}"),
                None => {}
            }
        }
    }
}

fn interval(conf: &Conf) -> Result<Option<Duration>> {
    let given = conf.get(REFRESH_INTERVAL).filter(|text| !text.trim().eq_ignore_ascii_case("off"));
    Ok(given.map(interval_of).transpose()?.filter(|interval| !interval.is_zero()))
}

fn read(plan: &LogicalPlan, conf: &Conf) -> Result<RecordBatch> {
    let schema = lower::arrow_schema(plan.schema());
    let batches = collect_blocking(plan.clone(), conf)?;
    let given = batches.first().map_or(schema.clone(), |batch| batch.schema());
    let all = arrow::compute::concat_batches(&given, &batches)?;
    conform(all.columns().to_vec(), &schema, all.num_rows())
}
