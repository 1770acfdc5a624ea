//! `cassandra`, `org.apache.spark.sql.cassandra`: a table of Cassandra, read by a batch query.
//!
//! In: keyspace and table, conditions of the query. Out: its rows, columns as `SELECT *` orders them, in the types that
//! [`crate::cassandra::types`] names. Only the columns that the query uses are asked for. Several partitions or token ranges are
//! read at once, page by page; their rows come in no order. A full scan sees each row as it is when its page is read.
//!
//! ```text
//!  Select: one statement ──► tasks of the driver's runtime: next token range, page, decode ──► bounded channel ──► Pages
//! ```

mod pages;
mod settings;
mod statement;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

pub(crate) use self::settings::INPUT;

use self::pages::Pages;
use self::settings::Settings;
use self::statement::Select;
use super::predicate::Predicate;
use super::{Limit, Offset, Reader, Source, SourceContext, SourceProvider, SourceSpec};
use crate::cassandra::cluster::{Cluster, wait};
use crate::cassandra::options::{CONNECTION, TableName};
use crate::cassandra::table::Table;
use crate::cassandra::tls;
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::OptionSpec;
use crate::sinks::cassandra::OUTPUT;
use crate::{Error, Result};

/// Token ranges at least, for each one that is read at once: the last ones to end should not be long.
const RANGES_FOR_EACH: u64 = 4;
/// Token ranges at most, if the options don't say.
const MOST_RANGES: u64 = 4096;

/// The provider of `format("cassandra")`.
#[derive(Debug)]
pub struct Cassandra;

impl SourceProvider for Cassandra {
    fn names(&self) -> &'static [&'static str] {
        &["cassandra", "org.apache.spark.sql.cassandra"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![CONNECTION, tls::OPTIONS, INPUT, OUTPUT]
    }

    fn schema(&self, spec: &SourceSpec, conf: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        super::refuse_schema(spec)?;
        if spec.streaming {
            return Err(Error::query(
                "STREAMED_OPERATOR_UNSUPPORTED_BY_DATA_SOURCE",
                format!("data source '{}' does not support streamed reading", spec.format),
            )
            .hint("Read it with read(), or join the stream with it."));
        }
        let settings = Settings::of(spec, conf)?;
        let cluster = Cluster::connect(&settings.connection, &settings.name.keyspace)?;
        Ok(cluster.table(&settings.name)?.schema())
    }

    fn connect(&self, spec: &SourceSpec, schema: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let settings = Settings::of(spec, &context.conf)?;
        let cluster = Cluster::connect(&settings.connection, &settings.name.keyspace)?;
        let table = cluster.table(&settings.name)?;
        check_unchanged(&table, &schema)?;
        Ok(Box::new(CassandraSource { cluster, table, settings, schema, context }))
    }

    fn uses_filters(&self) -> bool {
        true
    }
}

/// The table must still have the columns that the query was made for.
fn check_unchanged(table: &Table, schema: &SchemaRef) -> Result<()> {
    let now = table.schema();
    let same = |field: &&arrow::datatypes::FieldRef| {
        now.field_with_name(field.name()).is_ok_and(|now| now.data_type() == field.data_type())
    };
    let changed: Vec<&str> =
        schema.fields().iter().filter(|field| !same(field)).map(|field| field.name().as_str()).collect();
    if changed.is_empty() && now.fields().len() == schema.fields().len() {
        return Ok(());
    }
    let what = if changed.is_empty() { "there are new ones".to_owned() } else { changed.join(", ") };
    Err(Error::outside(format!("the columns of {} have changed: {what}", table.name)).hint("Read the table again."))
}

struct CassandraSource {
    cluster: Arc<Cluster>,
    table: Table,
    settings: Settings,
    schema: SchemaRef,
    context: SourceContext,
}

impl CassandraSource {
    /// How many token ranges a full scan has.
    fn ranges(&self) -> u32 {
        if let Some(splits) = self.settings.splits {
            return splits;
        }
        let (cluster, name) = (Arc::clone(&self.cluster), self.table.name.clone());
        let bytes = wait(async move { estimate(&cluster, &name).await }).unwrap_or_else(|error| {
            tracing::debug!("the table's size is not known: {error}");
            0
        });
        let least = self.settings.at_once as u64 * RANGES_FOR_EACH;
        let ranges = bytes / self.settings.split_bytes.max(1);
        u32::try_from(ranges.max(least).min(MOST_RANGES.max(least))).unwrap_or(u32::MAX)
    }

    fn filters(&self) -> &[Predicate] {
        if self.settings.pushdown { &self.context.filters } else { &[] }
    }
}

/// Bytes of a table, as the node that answers estimates them from its own share of the tokens.
async fn estimate(cluster: &Cluster, name: &TableName) -> Result<u64> {
    use crate::cassandra::errors;
    const DOING: &str = "estimating a table's size";
    const ASK: &str = "SELECT range_start, range_end, mean_partition_size, partitions_count FROM system.size_estimates \
                       WHERE keyspace_name = ? AND table_name = ?";
    let answer = cluster.session.query_unpaged(ASK, (&name.keyspace, &name.table)).await;
    let rows = answer.map_err(|cause| errors::execution(DOING, cause))?.into_rows_result();
    let rows = rows.map_err(|cause| errors::answer(DOING, cause))?;
    let rows = rows.rows::<(String, String, i64, i64)>().map_err(|cause| errors::answer(DOING, cause))?;
    let (mut bytes, mut share) = (0.0, 0.0);
    for (start, end, size, count) in rows.filter_map(std::result::Result::ok) {
        bytes += size as f64 * count as f64;
        share += width(&start, &end);
    }
    Ok(if share > 0.0 { (bytes / share.min(1.0)) as u64 } else { 0 })
}

/// The part of all tokens that lies between two; all of them if the two are one.
fn width(start: &str, end: &str) -> f64 {
    let (Ok(start), Ok(end)) = (start.parse::<i64>(), end.parse::<i64>()) else { return 0.0 };
    match end.wrapping_sub(start) as u64 {
        0 => 1.0,
        width => width as f64 / 2f64.powi(64),
    }
}

impl Source for CassandraSource {
    fn description(&self) -> String {
        format!("Cassandra[{}]", self.table.name)
    }

    fn latest(&mut self, from: Option<&Offset>, _: Limit) -> Result<Option<Offset>> {
        Ok(from.is_none().then(|| Offset::from("all")))
    }

    fn read(&mut self, _: Option<&Offset>, _: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let select = Select::new(&self.table, &self.context.projection, self.filters(), self.ranges())?;
        tracing::debug!("{} ({} times)", select.cql, select.values.len());
        let schema = Arc::new(self.schema.project(&self.context.projection)?);
        let pages = Pages::open(&self.cluster, &self.table, &self.settings, select, &self.context.projection, schema)?;
        Ok(vec![Box::new(pages)])
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn freeze(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::width;

    #[test]
    fn a_range_of_tokens_is_a_part_of_all() {
        assert_eq!(width("-9223372036854775808", "0"), 0.5);
        assert_eq!(width("0", "-9223372036854775808"), 0.5);
        assert_eq!(width("7", "7"), 1.0);
        assert_eq!(width("x", "7"), 0.0);
    }
}
