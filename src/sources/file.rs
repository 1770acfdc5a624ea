//! `text`, `json`, `csv`, `parquet`, `orc`: files of a folder, as a stream of the files that appear there or as a batch.
//!
//! In: a folder, file or pattern. Out: the rows of its files, ordered by (time, path), with columns from `name=value` folders.
//! Each file is read once, up to the size it had when it was listed. One partition: the order of files is the order of rows.
//!
//! ```text
//!  latest()  listing ──► Tracker: what is new ──► batch N in the log ──► {"logOffset":N}
//!  read()    batches of the log ──► FileReader: blocks ──► Splitter ──► frames          (columnar: rows)
//!  commit()  Cleaner: deletes or archives what was read, if asked
//! ```
//!
//! The offset is Spark's, the number of the newest batch in the log. A continuous read also says how far it is within the next
//! batch: `{"logOffset":3,"file":1,"records":42}`.

mod clean;
mod listing;
mod options;
mod partitions;
mod reader;
mod tracker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};

use self::clean::Cleaner;
use self::listing::Found;
pub(crate) use self::listing::existing;
use self::options::{Clean, FileOptions, Selection};
use self::partitions::{Appender, PartitionDecoder};
use self::reader::{FileReader, Recipe, lock};
use self::tracker::{Place, Tracker};
use super::{Limit, Offset, Reader, Source, SourceContext, SourceProvider, SourceSpec};
use crate::conf::Conf;
use crate::filelog::{SINK_LOG, Upkeep};
use crate::formats::compression::Limits;
use crate::formats::{self, DecodeContext, Decoder, Format, Framing};
use crate::options::OptionSpec;
use crate::{Error, Result, filepath};

const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// The provider of one file format.
#[derive(Debug)]
pub struct FileProvider {
    names: &'static [&'static str],
}

/// Lines of text files.
pub static TEXT: FileProvider = FileProvider { names: &["text"] };
/// JSON lines.
pub static JSON: FileProvider = FileProvider { names: &["json"] };
/// CSV files.
pub static CSV: FileProvider = FileProvider { names: &["csv"] };
/// Parquet files.
pub static PARQUET: FileProvider = FileProvider { names: &["parquet"] };
/// ORC files.
pub static ORC: FileProvider = FileProvider { names: &["orc"] };

impl FileProvider {
    fn format(&self) -> Result<&'static dyn Format> {
        formats::lookup(self.names.first().copied().unwrap_or_default())
    }
}

impl SourceProvider for FileProvider {
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        let format = self.format().map_or(&[][..], Format::options);
        vec![options::OPTIONS, format]
    }

    fn schema(&self, spec: &SourceSpec, conf: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        let selection = FileOptions::of(spec, conf)?.selection;
        check_existence(&selection)?;
        let format = self.format()?;
        format.framing(&spec.options)?;
        let files = listing::list(&selection, &|_| false)?;
        let partitions = partition_columns(&selection, &files, spec.schema.as_deref(), conf)?;
        let data = data_schema(format, spec, &files, conf)?;
        let own = data.fields().iter().filter(|field| !is_among(&partitions, field.name()));
        let fields = own.map(|field| field.as_ref().clone().with_nullable(true)).chain(partitions.iter().cloned());
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    fn uses_filters(&self) -> bool {
        self.format().is_ok_and(Format::uses_filters)
    }

    fn connect(&self, spec: &SourceSpec, schema: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let options = FileOptions::of(spec, &context.conf)?;
        check_cleaning(&options)?;
        let cleaner = Cleaner::start(options.clean.clone(), &context.conf)?;
        let recipe = recipe(self.format()?, spec, &options, &schema, &context)?;
        let description = describe(&options.selection);
        let upkeep = Upkeep::of(&context.conf, "fileSource")?;
        let tracker = Arc::new(Mutex::new(Tracker::open(options, context.log, upkeep)?));
        Ok(Box::new(FileSource { description, recipe, tracker, cleaner, poll: SHORTEST_POLL }))
    }
}

fn is_among(columns: &[Field], name: &str) -> bool {
    columns.iter().any(|column| column.name().eq_ignore_ascii_case(name))
}

/// A path without pattern must exist; a pattern may match later.
fn check_existence(selection: &Selection) -> Result<()> {
    for path in &selection.paths {
        if !listing::has_pattern(path) && !path.exists() {
            let uri = filepath::to_uri(path);
            return Err(Error::query("PATH_NOT_FOUND", format!("path does not exist: '{uri}'")));
        }
    }
    Ok(())
}

fn check_cleaning(options: &FileOptions) -> Result<()> {
    let of_a_sink = |path: &PathBuf| options.selection.use_sink_log && path.join(SINK_LOG).is_dir();
    if options.clean != Clean::Off && options.selection.paths.iter().any(of_a_sink) {
        return Err(Error::unsupported("cleanSource is not possible where a file sink keeps the list of its files"));
    }
    Ok(())
}

fn partition_columns(
    selection: &Selection,
    files: &[Found],
    given: Option<&Schema>,
    conf: &Conf,
) -> Result<Vec<Field>> {
    if selection.recursive {
        return Ok(Vec::new());
    }
    partitions::infer(files, &listing::base_paths(selection)?, given, conf)
}

/// The user's schema, or what the format or the files say.
fn data_schema(format: &dyn Format, spec: &SourceSpec, files: &[Found], conf: &Conf) -> Result<SchemaRef> {
    if let Some(schema) = &spec.schema {
        return Ok(Arc::clone(schema));
    }
    let infer = !spec.streaming || conf.flag("spark.sql.streaming.schemaInference", false)?;
    if !infer && format.name() != "text" {
        return Err(Error::query(
            "_LEGACY_ERROR_TEMP_2048",
            "schema must be specified when creating a streaming source",
        )
        .hint("Call .schema(...), or set spark.sql.streaming.schemaInference to true."));
    }
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    format.infer_schema(&paths, &spec.options, conf)
}

/// How to read the projected columns of any file.
fn recipe(
    format: &'static dyn Format,
    spec: &SourceSpec,
    options: &FileOptions,
    schema: &SchemaRef,
    context: &SourceContext,
) -> Result<Recipe> {
    let files = listing::list(&options.selection, &|_| false)?;
    let partitions = partition_columns(&options.selection, &files, spec.schema.as_deref(), &context.conf)?;
    let data_count = schema.fields().iter().take_while(|field| !is_among(&partitions, field.name())).count();
    let (data, rest) = context.projection.iter().partition::<Vec<usize>, _>(|column| **column < data_count);
    let wanted = rest.iter().map(|column| schema.field(*column).clone()).collect();
    let decode = DecodeContext {
        schema: Arc::new(Schema::new(schema.fields()[..data_count].to_vec())),
        projection: data,
        options: spec.options.clone(),
        conf: context.conf.clone(),
        filters: context.filters.iter().filter(|filter| filter.column < data_count).cloned().collect(),
    };
    let bases = listing::base_paths(&options.selection)?.into();
    Ok(Recipe {
        format,
        framing: format.framing(&spec.options)?,
        appender: Appender::new(&decode.output_schema(), wanted, bases, &context.conf)?,
        context: decode,
        limits: Limits::of(&spec.options)?,
        ignore_missing: options.ignore_missing,
        ignore_corrupt: options.ignore_corrupt,
    })
}

fn describe(selection: &Selection) -> String {
    let paths: Vec<String> = selection.paths.iter().map(|path| format!("file:{}", path.display())).collect();
    format!("FileStreamSource[{}]", paths.join(","))
}

struct FileSource {
    description: String,
    recipe: Recipe,
    tracker: Arc<Mutex<Tracker>>,
    cleaner: Cleaner,
    /// Grows while nothing new is found.
    poll: Duration,
}

impl Source for FileSource {
    fn description(&self) -> String {
        self.description.clone()
    }

    /// Writes the batch to the log before it is offered. A batch that an earlier run logged but did not read comes first.
    fn latest(&mut self, from: Option<&Offset>, limit: Limit) -> Result<Option<Offset>> {
        let from = Place::parse(from)?;
        let mut tracker = lock(&self.tracker);
        if tracker.next() <= from.next_batch && !tracker.advance(limit)? {
            self.poll = (self.poll * 2).min(tracker.longest_poll());
            return Ok(None);
        }
        self.poll = SHORTEST_POLL;
        Ok(Some(Place { next_batch: tracker.next(), ..Place::default() }.write()))
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let from = Place::parse(from)?;
        let end = to.map(|to| Place::parse(Some(to))).transpose()?;
        Ok(vec![Box::new(FileReader::new(self.recipe.clone(), Arc::clone(&self.tracker), from, end)?)])
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        if self.recipe.framing == Framing::Columnar {
            return Ok(None);
        }
        let inner = self.recipe.format.decoder(self.recipe.context.clone())?;
        Ok(Some(Box::new(PartitionDecoder { inner, appender: self.recipe.appender.clone() })))
    }

    fn freeze(&mut self) -> Result<()> {
        lock(&self.tracker).freeze()
    }

    fn commit(&mut self, offset: &Offset) -> Result<()> {
        let done = lock(&self.tracker).forget(Place::parse(Some(offset))?.next_batch);
        self.cleaner.clean(done);
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(self.poll)
    }
}

#[cfg(test)]
pub(super) mod tests;
