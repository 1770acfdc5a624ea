//! The catalog of a session: temporary views and tables by name.
//!
//! In: plans and descriptions of sources under names. Out: plans for the binder. Names match whatever their case; a view
//! replaces a table of its name in queries. Nothing is kept beyond the process.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;

use crate::conf::Conf;
use crate::options::Options;
use crate::plan::scan;
use crate::query::writer::QUERY_OPTIONS;
use crate::sinks::SinkSpec;
use crate::sinks::memory::MemoryTables;
use crate::sources::SourceSpec;
use crate::sql::binder::Tables;
use crate::{Error, Result, io};

/// One name of the catalog.
#[derive(Clone)]
enum Entry {
    /// A view: a query.
    View(LogicalPlan),
    /// A table over a source (and sink) with options.
    Table(Table),
}

/// A table, as CREATE TABLE says it.
#[derive(Clone, Default)]
pub struct Table {
    /// Where its rows come from, and go to.
    pub source: SourceSpec,
    /// Columns whose values name sub-directories of what is written.
    pub partition_by: Vec<String>,
}

impl Table {
    /// As a source: options of the queries that write into it are none of its own.
    fn as_source(&self, streaming: bool) -> SourceSpec {
        let source = self.source.clone();
        SourceSpec { options: source.options.without(&QUERY_OPTIONS), streaming, ..source }
    }

    fn as_sink(&self) -> SinkSpec {
        let Table { source, partition_by } = self.clone();
        SinkSpec { format: source.format, options: source.options, partition_by, ..SinkSpec::default() }
    }

    /// The table of the memory sink that holds its rows, if it is one.
    fn in_memory<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let is_memory = self.source.format.eq_ignore_ascii_case("memory");
        is_memory.then(|| self.source.options.get("queryName").unwrap_or(name))
    }
}

/// Views and tables of a session.
#[derive(Default)]
pub struct Catalog {
    /// lower-case name → (name as given, entry)
    entries: RwLock<BTreeMap<String, (String, Entry)>>,
}

/// A name of the catalog, as `SHOW TABLES` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name as given.
    pub name: String,
    /// True for a view.
    pub view: bool,
}

impl Catalog {
    fn insert(&self, name: &str, entry: Entry, replace: bool) -> Result<()> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let key = name.to_lowercase();
        if !replace && entries.contains_key(&key) {
            let condition = match entry {
                Entry::View(_) => "TEMP_TABLE_OR_VIEW_ALREADY_EXISTS",
                Entry::Table(_) => "TABLE_OR_VIEW_ALREADY_EXISTS",
            };
            return Err(Error::query(condition, format!("`{name}` exists already"))
                .hint("Choose another name, or drop it first."));
        }
        entries.insert(key, (name.to_string(), entry));
        Ok(())
    }

    /// Names a plan.
    ///
    /// # Errors
    /// `TEMP_TABLE_OR_VIEW_ALREADY_EXISTS` unless it may be replaced.
    pub fn add_view(&self, name: &str, plan: LogicalPlan, replace: bool) -> Result<()> {
        self.insert(name, Entry::View(plan), replace)
    }

    /// Names a table.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_ALREADY_EXISTS` unless it may be replaced.
    pub fn add_table(&self, name: &str, table: Table, replace: bool) -> Result<()> {
        self.insert(name, Entry::Table(table), replace)
    }

    /// Forgets a name; false if there was none.
    pub fn remove(&self, name: &str) -> bool {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&name.to_lowercase()).is_some()
    }

    /// True if the name is known.
    pub fn contains(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// All names, sorted.
    pub fn list(&self) -> Vec<Listed> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let listed =
            |(name, entry): &(String, Entry)| Listed { name: name.clone(), view: matches!(entry, Entry::View(_)) };
        entries.values().map(listed).collect()
    }

    /// What an INSERT INTO this table writes to; none for a view or an unknown name.
    pub fn sink(&self, name: &str) -> Option<SinkSpec> {
        match self.entry(name)? {
            Entry::Table(table) => Some(table.as_sink()),
            Entry::View(_) => None,
        }
    }

    /// The columns that a table was declared with, if it was.
    pub fn declared(&self, name: &str) -> Option<SchemaRef> {
        match self.entry(name)? {
            Entry::Table(table) => table.source.schema,
            Entry::View(_) => None,
        }
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&name.to_lowercase()).map(|(_, entry)| entry.clone())
    }
}

/// A catalog under a session's settings, for the binder.
pub(crate) struct Lookup<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) memory: &'a MemoryTables,
    pub(crate) conf: &'a Conf,
}

impl Lookup<'_> {
    /// The rows that a query with the memory sink has written so far.
    fn memory_table(&self, name: &str) -> Result<Option<LogicalPlan>> {
        let Some(table) = self.memory.get(name) else { return Ok(None) };
        Ok(Some(scan::rows(name, table.schema(), table.batches())?))
    }

    /// The files of a path: ``csv.`in/*.csv` ``.
    fn files(&self, space: &[String], path: &str) -> Result<Option<LogicalPlan>> {
        let [format] = space else { return Ok(None) };
        if crate::formats::lookup(format).is_err() {
            return Ok(None);
        }
        let mut source = SourceSpec { format: format.clone(), ..SourceSpec::default() };
        source.options.set("path", path);
        io::plan(path, source, self.conf).map(Some)
    }
}

impl Tables for Lookup<'_> {
    fn table(&self, name: &[String]) -> Result<Option<LogicalPlan>> {
        let Some((name, space)) = name.split_last() else { return Ok(None) };
        match self.catalog.entry(name) {
            _ if !is_default(space) => self.files(space, name),
            None => self.memory_table(name),
            Some(Entry::View(plan)) => Ok(Some(plan)),
            Some(Entry::Table(table)) => match table.in_memory(name) {
                Some(written) => self.memory_table(written),
                None => {
                    let streaming = !io::can_batch(&table.source)?;
                    io::plan(name, table.as_source(streaming), self.conf).map(Some)
                }
            },
        }
    }

    fn stream(&self, name: &[String], options: &Options) -> Result<Option<LogicalPlan>> {
        let Some((name, space)) = name.split_last() else { return Ok(None) };
        match self.catalog.entry(name) {
            _ if !is_default(space) => Ok(None),
            None => Ok(None),
            Some(Entry::View(plan)) => Ok(Some(plan)),
            Some(Entry::Table(table)) => {
                let mut source = table.as_source(true);
                for (key, value) in options.iter() {
                    source.options.set(key, value);
                }
                io::plan(name, source, self.conf).map(Some)
            }
        }
    }
}

/// Whether tables of this catalog and database are those of the session: there are no others.
fn is_default(space: &[String]) -> bool {
    const DATABASES: [&str; 2] = ["default", "global_temp"];
    let is = |part: &str, name: &str| part.eq_ignore_ascii_case(name);
    match space {
        [] => true,
        [database] => DATABASES.iter().any(|known| is(database, known)),
        [catalog, database] => is(catalog, "spark_catalog") && is(database, "default"),
        _ => false,
    }
}
