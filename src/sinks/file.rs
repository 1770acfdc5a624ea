//! `text`, `json`, `csv`, `parquet`, `orc`: files in a folder, exactly once, by Spark's list of files in `_spark_metadata`.
//!
//! In: rows. Out: part files, of which only those count that the list names; a reader that knows the list (Spark, Thalweg) sees
//! each epoch whole or not at all. Append mode only.
//!
//! ```text
//!  write    .part-00000-UUID-c000.csv.tmp          one open file a worker and partition folder
//!  prepare  flush, fsync, rename to part-…, fsync of the folder; the names go into the note
//!  commit   _spark_metadata/N, written whole       again for the same epoch: nothing happens
//! ```
//!
//! A batch write keeps no list: its files count when they have their names, and `_SUCCESS` says that all are there.
//! Names carry a random id, so files of a crashed attempt never collide with those of the next; nobody lists them.

mod part;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;

use self::part::{Part, Shape};
use super::{Guarantee, OutputMode, Pace, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::clock::SharedClock;
use crate::filelog::{CompactLog, SINK_LOG, SinkFile, Upkeep, at};
use crate::filepath::{self, NULL_PARTITION, escape_partition};
use crate::formats::{self, Format};
use crate::options::{OptionSpec, Options, option};
use crate::store::Folder;
use crate::types::zone::Zone;
use crate::{Error, Result, show};

const OPTIONS: &[OptionSpec] = &[
    option("path", "", "the folder to write to; required"),
    option(
        "retention",
        "",
        "files older than this leave the list when it is compacted, e.g. 7d; kept for ever by default",
    ),
];

/// Most files a writer keeps open; beyond, all are closed and new ones begun.
const MOST_OPEN: usize = 200;

/// The provider of one file format.
#[derive(Debug)]
pub struct FileProvider {
    names: &'static [&'static str],
}

/// Text files: one STRING column besides those of `partition_by`.
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

impl SinkProvider for FileProvider {
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS, self.format().map_or(&[][..], Format::options)]
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn needs_checkpoint(&self) -> bool {
        true
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        let path = spec.options.require("path", &format!("sink '{}'", self.names[0]))?;
        let folder = filepath::parse(path)?;
        let layout = Layout::of(spec, &context)?;
        let shape = Shape::new(self.format()?, layout.data.clone(), spec.options.clone(), context.conf.clone())?;
        std::fs::create_dir_all(&folder).map_err(|cause| at(cause, &folder))?;
        let log = CompactLog::open_to_write(
            Folder::local(&folder.join(SINK_LOG), false),
            Upkeep::of(&context.conf, "fileSink")?,
        )?;
        Ok(Box::new(FileSink {
            plan: Arc::new(Plan { folder, layout, shape }),
            log,
            retention: retention(&spec.options)?,
            clock: context.clock,
            eager: context.pace == Pace::Eager,
            batch: spec.batch,
        }))
    }
}

fn retention(options: &Options) -> Result<Option<Duration>> {
    let Some(text) = options.get("retention") else { return Ok(None) };
    let time = crate::options::parse_time(text, "ms");
    time.map(Some).ok_or_else(|| options.wrong("retention", "a time such as '7d' or '12h'"))
}

/// Which columns name folders and which stand in the files.
struct Layout {
    /// Indexes and names of the partition columns.
    partition: Vec<(usize, String)>,
    /// Indexes of the others.
    kept: Vec<usize>,
    data: SchemaRef,
    zone: Zone,
}

impl Layout {
    fn of(spec: &SinkSpec, context: &SinkContext) -> Result<Layout> {
        let schema = &context.schema;
        let find = |name: &String| {
            let found = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
            found.map(|index| (index, schema.field(index).name().clone())).ok_or_else(|| {
                let message = format!("partition column '{name}' is not in the result");
                Error::query("COLUMN_NOT_DEFINED_IN_TABLE", message)
            })
        };
        let partition = spec.partition_by.iter().map(find).collect::<Result<Vec<_>>>()?;
        let is_kept = |index: &usize| partition.iter().all(|(partition, _)| partition != index);
        let kept: Vec<usize> = (0..schema.fields().len()).filter(is_kept).collect();
        if kept.is_empty() && !partition.is_empty() {
            return Err(Error::query("ALL_PARTITION_COLUMNS_NOT_ALLOWED", "not all columns can be partition columns"));
        }
        let data = Arc::new(schema.project(&kept)?);
        Ok(Layout { partition, kept, data, zone: Zone::parse(context.conf.time_zone())? })
    }

    /// The rows by folder (relative, empty without partition columns), in the order of their first rows.
    fn split(&self, rows: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
        let data = rows.project(&self.kept)?;
        if self.partition.is_empty() {
            return Ok(vec![(String::new(), data)]);
        }
        let columns: Vec<_> = self.partition.iter().map(|(index, _)| rows.column(*index).clone()).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut numbers = HashMap::new();
        for (row, key) in (0u32..).zip(keys.iter()) {
            let number = *numbers.entry(key).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[number].push(row);
        }
        let part = |rows_of: Vec<u32>| {
            let folder = self.folder(rows, rows_of[0] as usize)?;
            Ok((folder, take_record_batch(&data, &UInt32Array::from(rows_of))?))
        };
        groups.into_iter().map(part).collect()
    }

    /// `name=value/name=value` of a row.
    fn folder(&self, rows: &RecordBatch, row: usize) -> Result<String> {
        let mut folder = String::new();
        for (index, name) in &self.partition {
            let value = show::texts(&rows.column(*index).slice(row, 1), &self.zone)?.pop().flatten();
            let value = value.filter(|value| !value.is_empty()).map(|value| escape_partition(&value));
            let value = value.as_deref().unwrap_or(NULL_PARTITION);
            folder.push_str(&format!("{}={value}/", escape_partition(name)));
        }
        Ok(folder)
    }
}

/// What all writers share.
struct Plan {
    folder: PathBuf,
    layout: Layout,
    shape: Shape,
}

struct FileSink {
    plan: Arc<Plan>,
    log: CompactLog<SinkFile>,
    retention: Option<Duration>,
    clock: SharedClock,
    eager: bool,
    batch: bool,
}

impl FileSink {
    /// Says that all files of a batch write are there.
    fn succeed(&self) -> Result<()> {
        let mark = self.plan.folder.join("_SUCCESS");
        std::fs::create_dir_all(&self.plan.folder)
            .and_then(|()| std::fs::File::create(&mark))
            .and_then(|mark| mark.sync_all())
            .map_err(|cause| at(cause, &mark))?;
        crate::filelog::sync_dir(&self.plan.folder)
    }

    /// Removes the files of an attempt whose epoch had been committed by another one.
    fn discard(&self, files: &[SinkFile]) -> Result<()> {
        let listed: HashSet<String> = self.log.all()?.into_iter().map(|file| file.path).collect();
        for file in files.iter().filter(|file| !listed.contains(&file.path)) {
            let path = filepath::from_uri(&file.path);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), "cannot remove a file that does not count: {error}");
            }
        }
        Ok(())
    }

    /// The oldest time (milliseconds) that stays in the list.
    fn oldest(&self) -> i64 {
        let now = self.clock.wall_micros() / 1000;
        let age = self.retention.map_or(i64::MAX, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        now.saturating_sub(age)
    }
}

impl Sink for FileSink {
    fn description(&self) -> String {
        format!("FileSink[file:{}]", self.plan.folder.display())
    }

    fn writer(&mut self, worker: usize) -> Result<Box<dyn Writer>> {
        Ok(Box::new(FilesWriter {
            plan: Arc::clone(&self.plan),
            worker,
            open: Vec::new(),
            done: Vec::new(),
            files: 0,
            rows: 0,
        }))
    }

    fn commit(&mut self, epoch: u64, prepared: Vec<Prepared>) -> Result<()> {
        if self.batch {
            return self.succeed();
        }
        let mut files = Vec::new();
        for prepared in &prepared {
            files.extend(parse_note(&prepared.note)?);
        }
        if self.log.latest().is_some_and(|latest| epoch <= latest) {
            return self.discard(&files);
        }
        if files.is_empty() && self.eager {
            return Ok(());
        }
        let oldest = self.oldest();
        self.log.add(epoch, files, |file| file.modification_time >= oldest)
    }

    fn last_committed(&mut self) -> Result<Option<u64>> {
        Ok(self.log.latest())
    }
}

fn write_note(files: &[SinkFile]) -> Result<serde_json::Value> {
    serde_json::to_value(files).map_err(|cause| Error::internal("cannot write the names of files").caused_by(cause))
}

fn parse_note(note: &serde_json::Value) -> Result<Vec<SinkFile>> {
    if note.is_null() {
        return Ok(Vec::new());
    }
    serde_json::from_value(note.clone())
        .map_err(|cause| Error::outside(format!("the commit log names no files: {cause}")).caused_by(cause))
}

/// The files of one worker.
struct FilesWriter {
    plan: Arc<Plan>,
    worker: usize,
    /// Folders (relative) and their files, in the order of their beginning.
    open: Vec<(String, Part)>,
    done: Vec<SinkFile>,
    /// Files begun in this epoch.
    files: u32,
    rows: u64,
}

impl FilesWriter {
    fn part(&mut self, folder: String) -> Result<&mut Part> {
        if let Some(found) = self.open.iter().position(|(open, _)| *open == folder) {
            return Ok(&mut self.open[found].1);
        }
        if self.open.len() >= MOST_OPEN {
            self.finish()?;
        }
        let target = self.plan.folder.join(&folder);
        let name = format!("part-{:05}-{}-c{:03}", self.worker, uuid::Uuid::new_v4(), self.files);
        self.files += 1;
        self.open.push((folder, Part::create(&self.plan.shape, &target, &name)?));
        let last = self.open.len() - 1;
        Ok(&mut self.open[last].1)
    }

    /// Closes all open files and makes them durable.
    fn finish(&mut self) -> Result<()> {
        let mut folders = HashSet::new();
        for (folder, part) in self.open.drain(..) {
            self.done.push(part.finish()?);
            folders.insert(self.plan.folder.join(folder));
        }
        folders.iter().try_for_each(|folder| sync_up_to(folder, &self.plan.folder))
    }
}

/// Makes the names in a folder durable, and those of the folders between it and `top`.
fn sync_up_to(folder: &Path, top: &Path) -> Result<()> {
    let mut between = folder.ancestors().take_while(|ancestor| ancestor.starts_with(top));
    between.try_for_each(crate::filelog::sync_dir)
}

impl Writer for FilesWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let plan = Arc::clone(&self.plan);
        for (folder, rows) in plan.layout.split(rows)? {
            self.part(folder)?.write(&rows)?;
        }
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        self.finish()?;
        self.files = 0;
        let note = write_note(&std::mem::take(&mut self.done))?;
        Ok(Prepared { rows: std::mem::take(&mut self.rows), note, payload: None })
    }
}

#[cfg(test)]
pub(super) mod tests;
