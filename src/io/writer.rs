//! `df.write()`: the rows of a static DataFrame go to a sink once.
//!
//! In: a static plan, format, options, mode. Out: rows written through the same sinks that streams use, as one epoch.
//! Files appear all together or not at all.

use std::path::{Path, PathBuf};

use futures::TryStreamExt;

use crate::blocking::block_on;
use crate::clock::SystemClock;
use crate::frame::DataFrame;
use crate::options::Options;
use crate::plan::batch;
use crate::sinks::{self, OutputMode, Pace, Sink, SinkContext, SinkSpec};
use crate::{Error, Result};

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

    /// Appends to a table of the session.
    ///
    /// # Errors
    /// `TABLE_OR_VIEW_NOT_FOUND`, and as [`DataFrameWriter::save`].
    pub fn insert_into(mut self, table: &str) -> Result<()> {
        let found = self.frame.session().catalog().sink(table);
        self.spec = found.ok_or_else(|| crate::sql::relation::not_found(&[table.to_string()]))?;
        self.mode = Ok(SaveMode::Append);
        self.save()
    }

    /// Runs the query and writes its rows.
    ///
    /// # Errors
    /// `PATH_ALREADY_EXISTS`, `UNSUPPORTED_...` for a stream, wrong options, and whatever fails while it runs.
    pub fn save(mut self) -> Result<()> {
        if self.frame.is_streaming() {
            let error = Error::query("_LEGACY_ERROR_TEMP_1160", "'write' can not be called on a streaming DataFrame");
            return Err(error.hint("Use write_stream()."));
        }
        if self.spec.format.is_empty() {
            let conf = self.frame.session().conf();
            self.spec.format = conf.get("spark.sql.sources.default").unwrap_or("parquet").to_string();
        }
        let mode = self.mode?;
        let settled = sinks::lookup(&self.spec.format)?.settle(&self.spec, mode, &self.frame.session().conf())?;
        if settled.map_or_else(|| settle(mode, &self.spec.options), Ok)? {
            write(&self.frame, &self.spec)?;
        }
        Ok(())
    }
}

/// Makes room by the mode; false if nothing is to be written.
fn settle(mode: SaveMode, options: &Options) -> Result<bool> {
    let Some(path) = options.get("path").map(local) else { return Ok(true) };
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

fn local(path: &str) -> PathBuf {
    match path.strip_prefix("file:") {
        Some(rest) => PathBuf::from(format!("/{}", rest.trim_start_matches('/'))),
        None => PathBuf::from(path),
    }
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
