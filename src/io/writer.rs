//! `df.write()`: the rows of a static DataFrame go to a sink once.
//!
//! In: a static plan, format, options, mode. Out: rows written through the same sinks that streams use, as one epoch.
//! Files appear all together or not at all.

use std::path::{Path, PathBuf};

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;

use crate::blocking::block_on;
use crate::clock::SystemClock;
use crate::frame::DataFrame;
use crate::options::Options;
use crate::plan::batch;
use crate::plan::scan::scanned;
use crate::query::writer::QUERY_OPTIONS;
use crate::sinks::{self, OutputMode, Pace, Sink, SinkContext, SinkSpec};
use crate::sources::SourceSpec;
use crate::sources::file::existing;
use crate::sql::insert;
use crate::{Error, Result, filepath};

/// What happens if there is something already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveMode {
    /// The rows are added.
    Append,
    /// What was there goes away first.
    Overwrite,
    /// That is an error; the default.
    #[default]
    ErrorIfExists,
    /// Nothing is written.
    Ignore,
}

impl std::str::FromStr for SaveMode {
    type Err = Error;

    /// Spark's names: `append`, `overwrite`, `error`, `errorifexists`, `default`, `ignore`.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "append" => SaveMode::Append,
            "overwrite" => SaveMode::Overwrite,
            "error" | "errorifexists" | "default" => SaveMode::ErrorIfExists,
            "ignore" => SaveMode::Ignore,
            _ => {
                let error = Error::query("INVALID_SAVE_MODE", format!("unknown save mode '{text}'"));
                return Err(error.hint("Use append, overwrite, error or ignore."));
            }
        })
    }
}

/// Writes a static DataFrame; made by [`DataFrame::write`].
pub struct DataFrameWriter {
    frame: DataFrame,
    spec: SinkSpec,
    mode: Result<SaveMode>,
}

impl DataFrameWriter {
    pub(crate) fn new(frame: DataFrame) -> Self {
        Self { frame, spec: SinkSpec { batch: true, ..SinkSpec::default() }, mode: Ok(SaveMode::default()) }
    }

    /// The sink's or file format's short name; `parquet` if it is not said.
    pub fn format(mut self, format: &str) -> Self {
        self.spec.format = format.to_string();
        self
    }

    /// What happens if there is something already: `append`, `overwrite`, `error` or `ignore`.
    pub fn mode(mut self, mode: &str) -> Self {
        self.mode = mode.parse();
        self
    }

    /// Sets an option.
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.spec.options.set(name, value);
        self
    }

    /// Sets several options.
    pub fn options<K: AsRef<str>, V: ToString>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        for (name, value) in options {
            self.spec.options.set(name.as_ref(), value);
        }
        self
    }

    /// Columns whose values name sub-folders.
    pub fn partition_by(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.spec.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Writes to a path.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub fn save_path(self, path: &str) -> Result<()> {
        self.option("path", path).save()
    }

    /// Writes CSV files.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub fn csv(self, path: &str) -> Result<()> {
        self.format("csv").save_path(path)
    }

    /// Writes files with one JSON object per line.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub fn json(self, path: &str) -> Result<()> {
        self.format("json").save_path(path)
    }

    /// Writes lines of text.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub fn text(self, path: &str) -> Result<()> {
        self.format("text").save_path(path)
    }

    /// Writes Parquet files.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub fn parquet(self, path: &str) -> Result<()> {
        self.format("parquet").save_path(path)
    }

    /// Writes ORC files.
    ///
    /// # Errors
    /// As [`DataFrameWriter::save`].
    pub fn orc(self, path: &str) -> Result<()> {
        self.format("orc").save_path(path)
    }

    /// Appends to a table of the session, or replaces its rows in the mode `overwrite`. If the table was declared with columns, the
    /// first column of the rows is the first of the table, and so on, whatever their names are.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`, `INSERT_COLUMN_ARITY_MISMATCH.*`, `INCOMPATIBLE_DATA_FOR_TABLE.*`, and as [`DataFrameWriter::save`].
    pub fn insert_into(mut self, table: &str) -> Result<()> {
        let found = self.frame.session().catalog().sink(table);
        let found = found.ok_or_else(|| crate::sql::relation::not_found(&[table.to_string()]))?;
        let of_streams = QUERY_OPTIONS.iter().find(|option| found.options.get(option).is_some());
        if let Some(option) = of_streams.filter(|option| **option != "checkpointLocation") {
            return Err(Error::invalid(format!(
                "the query is static, and table `{table}` has the option '{option}' of a stream"
            ))
            .hint("Read a stream: INSERT INTO ... SELECT ... FROM STREAM ..., or leave the option out."));
        }
        self.spec = SinkSpec { batch: true, ..found };
        self.frame = insert::fitted_frame(&self.frame, table)?;
        // As in Spark, a table is there already, so any other mode means to append.
        self.mode = Ok(if self.mode? == SaveMode::Overwrite { SaveMode::Overwrite } else { SaveMode::Append });
        self.save_as("UNSUPPORTED_OVERWRITE.TABLE", &format!("the table `{table}`"))
    }

    /// Runs the query and writes its rows.
    ///
    /// # Errors
    /// `PATH_ALREADY_EXISTS`, `UNSUPPORTED_...` for a stream, wrong options, and whatever fails while it runs.
    pub fn save(self) -> Result<()> {
        let target = format!("the path '{}'", self.spec.options.get("path").unwrap_or_default());
        self.save_as("UNSUPPORTED_OVERWRITE.PATH", &target)
    }

    /// `condition`, `target`: what is said if the query reads what it would overwrite.
    fn save_as(mut self, condition: &str, target: &str) -> Result<()> {
        if self.frame.is_streaming() {
            let error = Error::query("_LEGACY_ERROR_TEMP_1160", "'write' can not be called on a streaming DataFrame");
            return Err(error.hint("Use write_stream()."));
        }
        if self.spec.format.is_empty() {
            let conf = self.frame.session().conf();
            self.spec.format = conf.get("spark.sql.sources.default").unwrap_or("parquet").to_string();
        }
        let mode = self.mode?;
        if mode == SaveMode::Overwrite && reads(&self.frame, self.spec.options.get("path"))? {
            let message = format!("{target} cannot be overwritten by a query that reads it");
            return Err(Error::query(condition, message).hint("Write to another place first."));
        }
        let settled = sinks::lookup(&self.spec.format)?.settle(&self.spec, mode, &self.frame.session().conf())?;
        if settled.map_or_else(|| settle(mode, &self.spec.options), Ok)? {
            write(&self.frame, &self.spec)?;
        }
        Ok(())
    }
}

/// Whether a query reads files at or below this path, or the path lies in what it reads.
fn reads(frame: &DataFrame, path: Option<&str>) -> Result<bool> {
    let Some(path) = path.and_then(local) else { return Ok(false) };
    let path = filepath::resolved(&path);
    let found = frame.plan().exists(|node| match node {
        LogicalPlan::TableScan(scan) => {
            let read = scanned(scan).map_or_else(|| Ok(Vec::new()), |table| read_by(&table.source))?;
            Ok(read.iter().any(|read| read.starts_with(&path) || path.starts_with(read)))
        }
        _ => Ok(false),
    })?;
    Ok(found)
}

/// The files and folders that a source reads, under the names that they have without symbolic links.
fn read_by(source: &SourceSpec) -> Result<Vec<PathBuf>> {
    let texts = source.paths.iter().map(String::as_str).chain(source.options.get("path"));
    let read = texts.filter_map(local).map(|path| existing(&path)).collect::<Result<Vec<_>>>()?;
    Ok(read.iter().flatten().map(|path| filepath::resolved(path)).collect())
}

/// Makes room by the mode; false if nothing is to be written.
fn settle(mode: SaveMode, options: &Options) -> Result<bool> {
    let Some(path) = options.get("path").and_then(local) else { return Ok(true) };
    let taken = path.exists() && (!path.is_dir() || path.read_dir()?.next().is_some());
    match mode {
        SaveMode::Ignore => Ok(!taken),
        SaveMode::ErrorIfExists if taken => {
            Err(Error::query("PATH_ALREADY_EXISTS", format!("path '{}' exists already", path.display()))
                .hint("Set mode(\"overwrite\") to replace it, or mode(\"append\") to add to it."))
        }
        SaveMode::Overwrite if taken => clear(&path).map(|()| true),
        _ => Ok(true),
    }
}

/// The local path of a text; none if it means something else, about which its source or sink complains.
fn local(path: &str) -> Option<PathBuf> {
    filepath::parse(path).ok()
}

fn clear(path: &Path) -> Result<()> {
    let done = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    done.map_err(|error| Error::outside(format!("'{}' cannot be replaced: {error}", path.display())).caused_by(error))
}

/// One epoch of one writer.
fn write(frame: &DataFrame, spec: &SinkSpec) -> Result<()> {
    let provider = sinks::lookup(&spec.format)?;
    let context = SinkContext {
        schema: frame.schema(),
        mode: OutputMode::Append,
        pace: Pace::Epoch,
        workers: 1,
        query: "write".to_string(),
        checkpoint: None,
        interval: None,
        run_id: uuid::Uuid::new_v4().to_string(),
        conf: frame.session().conf(),
        session: frame.session().clone(),
        clock: SystemClock::shared(),
    };
    let mut sink = provider.connect(spec, context)?;
    let written = write_epoch(frame, sink.as_mut());
    sink.close(written.as_ref().err());
    written
}

/// Rows are written as the query makes them, so that a large result need not fit into memory.
fn write_epoch(frame: &DataFrame, sink: &mut dyn Sink) -> Result<()> {
    let mut writer = sink.writer(0)?;
    let mut rows = block_on(batch::stream(frame.plan().clone(), &frame.session().conf()))?;
    while let Some(rows) = block_on(async { Ok(rows.try_next().await?) })? {
        writer.write(&rows)?;
    }
    let prepared = writer.prepare(0)?;
    sink.commit(0, vec![prepared])
}
