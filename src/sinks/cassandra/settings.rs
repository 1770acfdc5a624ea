//! The options of the Cassandra sink, checked.
//!
//! In: options and session settings. Out: [`Settings`].

use scylla::frame::types::Consistency;

use crate::Result;
use crate::cassandra::options::{Connection, Given, TableName};
use crate::conf::Conf;
use crate::options::{OptionSpec, option};
use crate::sinks::SinkSpec;

pub(super) const CONFIRM: &str = "confirm.truncate";
const GROUPING: &str = "spark.cassandra.output.batch.grouping.key";
const BATCH_BYTES: &str = "spark.cassandra.output.batch.size.bytes";
const BATCH_ROWS: &str = "spark.cassandra.output.batch.size.rows";
const CONCURRENT: &str = "spark.cassandra.output.concurrent.writes";
const CONSISTENCY: &str = "spark.cassandra.output.consistency.level";
const IF_NOT_EXISTS: &str = "spark.cassandra.output.ifNotExists";
const IGNORE_NULLS: &str = "spark.cassandra.output.ignoreNulls";
const TIMESTAMP: &str = "spark.cassandra.output.timestamp";
const TTL: &str = "spark.cassandra.output.ttl";

/// What only writing is told; reading accepts it, as a table of the catalog is read and written by the same options.
pub(crate) const OUTPUT: &[OptionSpec] = &[
    option(CONFIRM, "false", "mode overwrite: the table may be truncated"),
    option(GROUPING, "partition", "rows of a batch: of one partition, or none: each row by itself"),
    option(BATCH_BYTES, "1024", "bytes of a batch"),
    option(BATCH_ROWS, "auto", "rows of a batch, instead of bytes"),
    option(CONCURRENT, "64", "batches in flight of each worker; Spark's default is 5"),
    option(CONSISTENCY, "LOCAL_QUORUM", "consistency level of writes"),
    option(IF_NOT_EXISTS, "false", "rows whose key is there already are left as they are"),
    option(IGNORE_NULLS, "false", "nulls leave what is there, instead of deleting it"),
    option(TIMESTAMP, "", "microseconds for all rows, or a column that says; else rising from each epoch's beginning"),
    option(TTL, "", "seconds that rows live, or a column that says"),
    option("spark.cassandra.output.batch.grouping.buffer.size", "", "accepted without effect"),
    option("spark.cassandra.output.metrics", "", "accepted without effect"),
    option("spark.cassandra.output.throughputMBPerSec", "", "accepted without effect"),
];

/// A number that holds for all rows, or stands in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PerRow {
    Fixed(i64),
    Column(String),
}

/// The checked options.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub connection: Connection,
    pub name: TableName,
    /// True if rows of one partition go together.
    pub grouped: bool,
    pub batch_bytes: usize,
    /// Rows of a batch at most, whatever their bytes.
    pub batch_rows: Option<usize>,
    /// Batches in flight of each writer.
    pub in_flight: usize,
    pub level: Consistency,
    pub if_not_exists: bool,
    pub ignore_nulls: bool,
    pub timestamp: Option<PerRow>,
    pub ttl: Option<PerRow>,
}

impl Settings {
    /// Checks all options.
    pub(super) fn of(spec: &SinkSpec, conf: &Conf) -> Result<Settings> {
        let given = Given::new(&spec.options, conf);
        let settings = Settings {
            connection: Connection::of(&given)?,
            name: given.table()?,
            grouped: grouped(&given)?,
            batch_bytes: at_least_one(&given, BATCH_BYTES, 1024)?,
            batch_rows: batch_rows(&given)?,
            in_flight: at_least_one(&given, CONCURRENT, 64)?,
            level: given.consistency(CONSISTENCY, Consistency::LocalQuorum)?,
            if_not_exists: given.flag(IF_NOT_EXISTS, false)?,
            ignore_nulls: given.flag(IGNORE_NULLS, false)?,
            timestamp: per_row(&given, TIMESTAMP)?,
            ttl: per_row(&given, TTL)?,
        };
        if settings.if_not_exists && settings.timestamp.is_some() {
            return Err(crate::Error::invalid(format!(
                "options '{IF_NOT_EXISTS}' and '{TIMESTAMP}' exclude one another"
            ))
            .hint("Cassandra chooses the timestamp of a write with a condition."));
        }
        Ok(settings)
    }
}

fn grouped(given: &Given<'_>) -> Result<bool> {
    match given.get(GROUPING).map(str::to_ascii_lowercase).as_deref() {
        None | Some("partition" | "replica_set") => Ok(true),
        Some("none") => Ok(false),
        Some(_) => Err(given.wrong(GROUPING, "none, replica_set or partition")),
    }
}

fn at_least_one(given: &Given<'_>, name: &str, default: usize) -> Result<usize> {
    match given.number(name, default)? {
        0 => Err(given.wrong(name, "at least 1")),
        value => Ok(value),
    }
}

fn batch_rows(given: &Given<'_>) -> Result<Option<usize>> {
    match given.get(BATCH_ROWS) {
        None => Ok(None),
        Some(auto) if auto.eq_ignore_ascii_case("auto") => Ok(None),
        // The protocol counts the statements of a batch in two bytes.
        Some(_) => Ok(Some(at_least_one(given, BATCH_ROWS, 1)?.min(usize::from(u16::MAX)))),
    }
}

fn per_row(given: &Given<'_>, name: &str) -> Result<Option<PerRow>> {
    let Some(text) = given.get(name) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(given.wrong(name, "a number that is not negative, or a column")),
        Ok(number) => Ok(Some(PerRow::Fixed(number))),
        Err(_) => Ok(Some(PerRow::Column(text.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings> {
        let mut spec = SinkSpec::default();
        spec.options.set("table", "t");
        spec.options.set("keyspace", "k");
        pairs.iter().for_each(|(name, value)| spec.options.set(*name, *value));
        Settings::of(&spec, &Conf::default())
    }

    #[test]
    fn options_have_sparks_names() {
        let found = settings(&[("Spark.Cassandra.Output.TTL", "60"), (TIMESTAMP, "at"), (BATCH_ROWS, "10")]).unwrap();
        assert_eq!((found.ttl, found.timestamp), (Some(PerRow::Fixed(60)), Some(PerRow::Column("at".into()))));
        assert_eq!((found.batch_rows, found.level), (Some(10), Consistency::LocalQuorum));
        assert_eq!(settings(&[(CONSISTENCY, "each_quorum")]).unwrap().level, Consistency::EachQuorum);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (name, value) in
            [(GROUPING, "rows"), (BATCH_BYTES, "0"), (CONCURRENT, "-1"), (CONSISTENCY, "SOME"), (TTL, "-1")]
        {
            let error = settings(&[(name, value)]).expect_err(name);
            assert!(error.message().contains(name), "{error}");
        }
        assert!(settings(&[(IF_NOT_EXISTS, "true"), (TIMESTAMP, "1")]).is_err());
    }
}
