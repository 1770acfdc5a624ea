//! `session.read()` and `session.read_stream()`.
//!
//! In: format, schema, options, path. Out: a [`DataFrame`]. Options and schema are checked when the reader ends with
//! `load` or one of its short forms.

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::DataFrame;
use crate::session::Session;
use crate::sources::SourceSpec;
use crate::sources::items::StreamSender;
use crate::sources::memory::MemoryStream;
use crate::{Error, Result, items, types};

/// What the columns of plans read without a name are qualified with; users do not see it.
const UNNAMED: &str = "__source";

/// A schema, or its text in Spark's language (`"ts TIMESTAMP, k STRING"`).
pub trait IntoSchema {
    /// The schema.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR` for a text that is no schema.
    fn into_schema(self) -> Result<SchemaRef>;
}

impl IntoSchema for SchemaRef {
    fn into_schema(self) -> Result<SchemaRef> {
        Ok(self)
    }
}

impl IntoSchema for &SchemaRef {
    fn into_schema(self) -> Result<SchemaRef> {
        Ok(self.clone())
    }
}

impl IntoSchema for &str {
    fn into_schema(self) -> Result<SchemaRef> {
        types::parse_ddl(self)
    }
}

impl IntoSchema for String {
    fn into_schema(self) -> Result<SchemaRef> {
        types::parse_ddl(&self)
    }
}

/// What both readers collect.
#[derive(Clone)]
struct Reading {
    session: Session,
    spec: SourceSpec,
    failed: Option<Error>,
}

impl Reading {
    fn new(session: Session, streaming: bool) -> Self {
        Self { session, spec: SourceSpec { streaming, ..SourceSpec::default() }, failed: None }
    }

    fn schema(&mut self, schema: impl IntoSchema) {
        match schema.into_schema() {
            Ok(schema) => self.spec.schema = Some(schema),
            Err(error) => self.failed = Some(error),
        }
    }

    fn load(mut self) -> Result<DataFrame> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let conf = self.session.conf();
        if self.spec.format.is_empty() {
            self.spec.format = conf.get("spark.sql.sources.default").unwrap_or("parquet").to_string();
        }
        let plan = super::plan(UNNAMED, self.spec, &conf)?;
        Ok(DataFrame::new(self.session, plan))
    }
}

/// The methods that both readers have.
macro_rules! reader {
    ($reader:ident) => {
        impl $reader {
            /// The source's or file format's short name, e.g. `json`; `parquet` if it is not said.
            pub fn format(mut self, format: &str) -> Self {
                self.0.spec.format = format.to_string();
                self
            }

            /// The columns, as text (`"ts TIMESTAMP, k STRING"`) or as an Arrow schema.
            pub fn schema(mut self, schema: impl IntoSchema) -> Self {
                self.0.schema(schema);
                self
            }

            /// Sets an option of the source or format.
            pub fn option(mut self, name: &str, value: impl ToString) -> Self {
                self.0.spec.options.set(name, value);
                self
            }

            /// Sets several options.
            pub fn options<K: AsRef<str>, V: ToString>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
                for (name, value) in options {
                    self.0.spec.options.set(name.as_ref(), value);
                }
                self
            }

            fn load_as(self, format: &str, path: &str) -> Result<DataFrame> {
                self.format(format).load_path(path)
            }

            /// Reads a path (a file, a folder or a pattern).
            ///
            /// # Errors
            /// Wrong options, no schema, an unknown format.
            pub fn load_path(self, path: &str) -> Result<DataFrame> {
                self.option("path", path).load()
            }

            /// Reads a source whose options say all.
            ///
            /// # Errors
            /// Wrong options, no schema, an unknown format.
            pub fn load(self) -> Result<DataFrame> {
                self.0.load()
            }

            /// Reads CSV files.
            ///
            /// # Errors
            /// As `load`.
            pub fn csv(self, path: &str) -> Result<DataFrame> {
                self.load_as("csv", path)
            }

            /// Reads files with one JSON value per line.
            ///
            /// # Errors
            /// As `load`.
            pub fn json(self, path: &str) -> Result<DataFrame> {
                self.load_as("json", path)
            }

            /// Reads lines of text as one column `value`.
            ///
            /// # Errors
            /// As `load`.
            pub fn text(self, path: &str) -> Result<DataFrame> {
                self.load_as("text", path)
            }

            /// Reads Parquet files.
            ///
            /// # Errors
            /// As `load`.
            pub fn parquet(self, path: &str) -> Result<DataFrame> {
                self.load_as("parquet", path)
            }

            /// Reads ORC files.
            ///
            /// # Errors
            /// As `load`.
            pub fn orc(self, path: &str) -> Result<DataFrame> {
                self.load_as("orc", path)
            }

            /// Reads XML files.
            ///
            /// # Errors
            /// As `load`.
            pub fn xml(self, path: &str) -> Result<DataFrame> {
                self.load_as("xml", path)
            }
        }
    };
}

/// Describes a static source; made by [`Session::read`].
#[derive(Clone)]
pub struct DataFrameReader(Reading);

/// Describes a stream; made by [`Session::read_stream`].
#[derive(Clone)]
pub struct DataStreamReader(Reading);

reader!(DataFrameReader);
reader!(DataStreamReader);

impl DataFrameReader {
    pub(crate) fn new(session: Session) -> Self {
        Self(Reading::new(session, false))
    }

    /// Reads several paths as one table.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_paths(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Result<DataFrame> {
        self.0.spec.paths = paths.into_iter().map(Into::into).collect();
        self.load()
    }

    /// A table or view of the session.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`.
    pub fn table(self, name: &str) -> Result<DataFrame> {
        self.0.session.table(name)
    }
}

impl DataStreamReader {
    pub(crate) fn new(session: Session) -> Self {
        Self(Reading::new(session, true))
    }

    /// Reads the rows that the program pushes into `stream`.
    ///
    /// # Errors
    /// If two columns have one name.
    pub fn memory(self, stream: &MemoryStream) -> Result<DataFrame> {
        let plan: LogicalPlan = super::plan(UNNAMED, stream.spec(), &self.0.session.conf())?;
        Ok(DataFrame::new(self.0.session, plan))
    }

    /// A stream of values that the program sends, one row each: the sender, and the DataFrame over its rows.
    ///
    /// Columns are those of `T` ([`crate::items`] tells which), or as given with `schema`. At most `capacity` rows are kept;
    /// a row is kept until the queries that read it have committed it, so under [`crate::query::Trigger::continuous`] there
    /// should be room for what comes in one interval.
    ///
    /// # Errors
    /// A type whose columns cannot be told (then give them with `schema`); options, as there are none.
    pub fn items<T: Serialize + DeserializeOwned>(self, capacity: u64) -> Result<(StreamSender<T>, DataFrame)> {
        let Reading { session, spec, failed } = self.0;
        if let Some(error) = failed {
            return Err(error);
        }
        let schema = spec.schema.map_or_else(items::schema_of::<T>, Ok)?;
        let stream = MemoryStream::builder(schema).capacity(capacity).build();
        let source = SourceSpec { options: spec.options, ..stream.spec() };
        let plan = super::plan(UNNAMED, source, &session.conf())?;
        Ok((StreamSender::new(stream)?, DataFrame::new(session, plan)))
    }

    /// A table of the session, read as a stream with this reader's options.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`; if the table cannot be read as a stream.
    pub fn table(self, name: &str) -> Result<DataFrame> {
        self.0.session.stream_table(name, &self.0.spec.options)
    }
}
