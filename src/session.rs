//! `Session`: settings, catalog, and the way into everything.
//!
//! In: settings, SQL text, paths. Out: DataFrames. A session is cheap to clone; clones share settings and catalog. It may
//! be used from any thread.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::catalog::{Catalog, Lookup};
use crate::conf::Conf;
use crate::frame::{Column, DataFrame};
use crate::functions::aggregate::{Aggregator, aggregator};
use crate::functions::user::{Registered, UserFunction, UserFunctions};
use crate::io::{DataFrameReader, DataStreamReader};
use crate::options::Options;
use crate::plan::scan;
use crate::query::StreamingQueryManager;
use crate::sinks::SinkSpec;
use crate::sinks::memory::MemoryTables;
use crate::sql::binder::{Binder, Tables};
use crate::sql::parameters::Parameters;
use crate::sql::relation::{not_found, qualified};
use crate::{Error, Result, sql};

/// A session: settings, temporary views, and the queries that run.
#[derive(Clone, Default)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    conf: RwLock<Conf>,
    catalog: Catalog,
    streams: StreamingQueryManager,
    memory_tables: MemoryTables,
    functions: UserFunctions,
}

/// Collects settings for a session.
#[derive(Debug, Clone, Default)]
pub struct SessionBuilder {
    settings: Vec<(String, String)>,
}

/// The session that `get_or_create` gives to all.
static SHARED: Mutex<Option<Session>> = Mutex::new(None);

impl SessionBuilder {
    /// Names the application (`spark.app.name`).
    pub fn app_name(self, name: &str) -> Self {
        self.config("spark.app.name", name)
    }

    /// Where to run (`spark.master`); kept for programs written for Spark, it changes nothing.
    pub fn master(self, master: &str) -> Self {
        self.config("spark.master", master)
    }

    /// Sets a setting.
    pub fn config(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_string(), value.to_string()));
        self
    }

    /// The session of this process, with these settings made in it.
    pub fn get_or_create(self) -> Session {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let session = shared.get_or_insert_with(Session::default).clone();
        self.apply(&session);
        session
    }

    /// A session of its own, with an empty catalog.
    pub fn create(self) -> Session {
        let session = Session::default();
        self.apply(&session);
        session
    }

    fn apply(self, session: &Session) {
        for (key, value) in self.settings {
            session.set_conf(&key, value);
        }
    }
}

impl Session {
    /// Begins a session: `Session::builder().app_name("demo").get_or_create()`.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// A copy of the settings as they are now.
    pub fn conf(&self) -> Conf {
        self.shared.conf.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets a setting for all that is analysed or started from now on.
    pub fn set_conf(&self, key: &str, value: impl ToString) {
        self.shared.conf.write().unwrap_or_else(PoisonError::into_inner).set(key, value);
    }

    /// The value of a setting, if it was set.
    pub fn get_conf(&self, key: &str) -> Option<String> {
        self.conf().get(key).map(str::to_string)
    }

    /// Makes a setting's default hold again.
    pub fn unset_conf(&self, key: &str) {
        self.shared.conf.write().unwrap_or_else(PoisonError::into_inner).unset(key);
    }

    /// Views and tables.
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// The tables that queries with the memory sink fill, by name.
    pub fn memory_tables(&self) -> &MemoryTables {
        &self.shared.memory_tables
    }

    /// The streaming queries of this session.
    pub fn streams(&self) -> &StreamingQueryManager {
        &self.shared.streams
    }

    /// The sink behind a table made with `CREATE TABLE ... USING`.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`.
    pub(crate) fn sink_table(&self, name: &str) -> Result<SinkSpec> {
        self.catalog().sink(name).ok_or_else(|| not_found(&[name.to_owned()]))
    }

    /// Reads static data.
    pub fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.clone())
    }

    /// Reads streams.
    pub fn read_stream(&self) -> DataStreamReader {
        DataStreamReader::new(self.clone())
    }

    /// Runs a statement of SQL. A query gives its DataFrame; other statements do their work at once and give what they
    /// have to show.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR` with its place, and Spark's analysis errors.
    pub fn sql(&self, text: &str) -> Result<DataFrame> {
        sql::statement::run(self, text, &Parameters::default())
    }

    /// As [`Session::sql`], with values for the markers `:name` of the text. A value is a constant, never SQL:
    /// `session.sql_with_args("SELECT * FROM t WHERE k = :key", [("key", lit("a"))])`.
    ///
    /// # Errors
    /// `UNBOUND_SQL_PARAMETER` for a marker without value, `INVALID_SQL_ARG` for a value that is no constant.
    pub fn sql_with_args<'a>(
        &self,
        text: &str,
        values: impl IntoIterator<Item = (&'a str, Column)>,
    ) -> Result<DataFrame> {
        sql::statement::run(self, text, &Parameters::named(values)?)
    }

    /// As [`Session::sql_with_args`], with values for each `?` of the text in turn.
    ///
    /// # Errors
    /// As [`Session::sql_with_args`].
    pub fn sql_with_positions(&self, text: &str, values: impl IntoIterator<Item = Column>) -> Result<DataFrame> {
        sql::statement::run(self, text, &Parameters::positional(values)?)
    }

    /// Registers a scalar function over whole columns under a name, for SQL and [`crate::frame::functions::call_udf`];
    /// see [`UserFunction`].
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR`, `UNSUPPORTED_DATATYPE` for the types.
    pub fn register_udf<'a>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = &'a str>,
        returns: &str,
        function: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Result<()> {
        self.register_function(UserFunction::new(name, arguments, returns, function)?);
        Ok(())
    }

    /// Registers a scalar function under its own name.
    pub fn register_function(&self, function: UserFunction) {
        let name = function.function_name().to_owned();
        self.shared.functions.register(&name, Registered::Scalar(function));
    }

    /// Registers an aggregate function, written row by row, under its own name.
    pub fn register_udaf(&self, function: impl Aggregator) {
        let name = function.name().to_owned();
        self.shared.functions.register(&name, Registered::Aggregate(aggregator(function)));
    }

    /// The functions registered by the program.
    pub fn user_functions(&self) -> &UserFunctions {
        &self.shared.functions
    }

    /// A view or table by name.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`.
    pub fn table(&self, name: &str) -> Result<DataFrame> {
        let parts = name_parts(name)?;
        let plan = self.with_binder(|binder| binder.tables.table(&parts))?.ok_or_else(|| not_found(&parts))?;
        Ok(DataFrame::new(self.clone(), qualified(plan, parts.last().map_or("", String::as_str))?))
    }

    /// A table by name, read as a stream.
    pub(crate) fn stream_table(&self, name: &str, options: &Options) -> Result<DataFrame> {
        let parts = name_parts(name)?;
        let plan =
            self.with_binder(|binder| binder.tables.stream(&parts, options))?.ok_or_else(|| not_found(&parts))?;
        Ok(DataFrame::new(self.clone(), qualified(plan, parts.last().map_or("", String::as_str))?))
    }

    /// A static DataFrame of rows at hand.
    ///
    /// # Errors
    /// If the batches do not have the schema.
    pub fn create_data_frame(&self, schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<DataFrame> {
        Ok(DataFrame::new(self.clone(), scan::rows("__rows", schema, rows)?))
    }

    /// The numbers from `start` up to but without `end`, in steps, as a static column `id`.
    ///
    /// # Errors
    /// If the step is 0.
    pub fn range(&self, start: i64, end: i64, step: i64) -> Result<DataFrame> {
        if step == 0 {
            return Err(Error::invalid("the step of a range should not be 0"));
        }
        Ok(DataFrame::new(self.clone(), scan::range(start, end, step)?))
    }

    /// Binds something under this session's settings and catalog.
    pub(crate) fn with_binder<T>(&self, bind: impl FnOnce(&Binder<'_>) -> Result<T>) -> Result<T> {
        let conf = self.conf();
        let tables = Lookup { catalog: self.catalog(), memory: self.memory_tables(), conf: &conf };
        bind(&Binder::new(&conf, &tables as &dyn Tables).with_functions(&self.shared.functions))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("conf", &self.conf()).finish_non_exhaustive()
    }
}

fn name_parts(name: &str) -> Result<Vec<String>> {
    Ok(crate::frame::split_name(name)?.into_iter().map(|part| part.value).collect())
}
