//! The options of the Cassandra source, checked.
//!
//! In: options and session settings. Out: [`Settings`].

use scylla::frame::types::Consistency;

use crate::Result;
use crate::cassandra::options::{Connection, Given, TableName};
use crate::conf::Conf;
use crate::options::{OptionSpec, option};
use crate::sources::SourceSpec;

const FETCH_SIZE: &str = "spark.cassandra.input.fetch.sizeInRows";
const CONSISTENCY: &str = "spark.cassandra.input.consistency.level";
const SPLIT_SIZE: &str = "spark.cassandra.input.split.sizeInMB";
const SPLIT_COUNT: &str = "spark.cassandra.input.splitCount";
const CONCURRENT_READS: &str = "spark.cassandra.concurrent.reads";

/// What only reading is told; writing accepts it, as a table of the catalog is read and written by the same options.
pub(crate) const INPUT: &[OptionSpec] = &[
    option("pushdown", "true", "conditions on key columns are left to Cassandra"),
    option(FETCH_SIZE, "1000", "rows of a page"),
    option(CONSISTENCY, "LOCAL_ONE", "consistency level of reads"),
    option(SPLIT_SIZE, "512", "MB of a token range, by Cassandra's estimate"),
    option(SPLIT_COUNT, "", "number of token ranges, instead of the estimate"),
    option(CONCURRENT_READS, "8", "token ranges or partitions that are read at once"),
    option("spark.cassandra.input.metrics", "", "accepted without effect"),
    option("spark.cassandra.input.readsPerSec", "", "accepted without effect"),
    option("spark.cassandra.input.throughputMBPerSec", "", "accepted without effect"),
];

/// The checked options.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub connection: Connection,
    pub name: TableName,
    pub pushdown: bool,
    /// Rows of a page.
    pub fetch_size: i32,
    pub level: Consistency,
    /// Bytes of a token range.
    pub split_bytes: u64,
    /// How many token ranges, if the options say.
    pub splits: Option<u32>,
    /// How many are read at once.
    pub at_once: usize,
}

impl Settings {
    /// Checks all options.
    pub(super) fn of(spec: &SourceSpec, conf: &Conf) -> Result<Settings> {
        let given = Given::new(&spec.options, conf);
        let at_least_one = |name: &str, default: i32| {
            let value = given.number(name, default)?;
            if value < 1 { Err(given.wrong(name, "at least 1")) } else { Ok(value) }
        };
        let splits = given.get(SPLIT_COUNT).map(|_| at_least_one(SPLIT_COUNT, 1)).transpose()?;
        Ok(Settings {
            connection: Connection::of(&given)?,
            name: given.table()?,
            pushdown: given.flag("pushdown", true)?,
            fetch_size: at_least_one(FETCH_SIZE, 1000)?,
            level: given.consistency(CONSISTENCY, Consistency::LocalOne)?,
            split_bytes: u64::from(at_least_one(SPLIT_SIZE, 512)?.unsigned_abs()) << 20,
            splits: splits.map(i32::unsigned_abs),
            at_once: at_least_one(CONCURRENT_READS, 8)?.unsigned_abs() as usize,
        })
    }
}
