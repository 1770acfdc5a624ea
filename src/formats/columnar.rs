//! What the columnar formats share: errors that name the file, a guard around foreign decoders, and which rows of a file are read.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::adapt::{adapt, merge};
use super::sample::unable;
use super::{Format, Part, Parts};
use crate::conf::Conf;
use crate::options::Options;
use crate::{Error, Result};

/// Rows of one batch that is read.
pub(crate) const BATCH_ROWS: usize = thalweg_operators::chunk::MAX_ROWS;

/// The error for a file that cannot be read as what its format says.
pub(crate) fn unreadable(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::data("FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER", format!("the file cannot be read: {cause}"))
        .at(path.display().to_string())
        .hint("Set ignoreCorruptFiles to skip damaged files.")
}

/// Opens a file.
///
/// # Errors
/// The file does not exist or may not be read.
pub(crate) fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(|cause| Error::from(cause).at(path.display().to_string()))
}

/// Runs a foreign decoder; if it panics on damaged data, that is an error about the file and not the end of a worker.
pub(crate) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(unreadable(path, "its contents are damaged")))
}

/// Batches of a file.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Rows of a file of which some are left out.
struct Sifted {
    batches: Batches,
    schema: SchemaRef,
    /// The ranges of rows that are to come, all of them.
    wanted: VecDeque<Range<u64>>,
    /// Where the next part begins, and where the last one ends.
    rows: Range<u64>,
}

impl Sifted {
    /// Goes on to behind the next `count` rows that come; over how many that is.
    fn pass(&mut self, mut count: u64) -> u64 {
        let begin = self.rows.start;
        while let Some(next) = self.wanted.front_mut().filter(|_| count > 0) {
            let taken = count.min(next.end - next.start);
            count -= taken;
            next.start += taken;
            self.rows.start = next.start;
            if next.is_empty() {
                self.wanted.pop_front();
            }
        }
        self.rows.start - begin
    }

    /// What is left out at the end.
    fn tail(&mut self) -> Option<Part> {
        let reach = self.rows.end.saturating_sub(self.rows.start);
        self.rows.start = self.rows.end;
        (reach > 0).then(|| Part { rows: RecordBatch::new_empty(self.schema.clone()), reach })
    }
}

impl Iterator for Sifted {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.batches.next() {
            Some(Ok(rows)) => Some(Ok(Part { reach: self.pass(rows.num_rows() as u64), rows })),
            Some(Err(error)) => Some(Err(error)),
            None => self.tail().map(Ok),
        }
    }
}

/// The parts of the rows with the numbers `rows`, all of which the file has; `batches` are those of them that are `wanted`.
pub(crate) fn sifted(batches: Batches, schema: SchemaRef, wanted: Vec<Range<u64>>, rows: Range<u64>) -> Parts {
    Box::new(Sifted { batches, schema, wanted: wanted.into(), rows })
}

/// The parts of the rows with the numbers `rows`; `batches` are all rows of the file.
pub(crate) fn within(mut batches: Batches, rows: Range<u64>) -> Parts {
    let mut at = 0;
    Box::new(std::iter::from_fn(move || {
        while at < rows.end {
            let batch = match batches.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let all = at..at + batch.num_rows() as u64;
            at = all.end;
            let (from, to) = (rows.start.max(all.start), rows.end.min(all.end));
            if from < to {
                let reach = to - from;
                return Some(Ok(Part { rows: batch.slice((from - all.start) as usize, reach as usize), reach }));
            }
        }
        None
    }))
}

/// Batches of a file in the declared schema.
pub(crate) fn adapted<E: std::fmt::Display>(
    mut batches: impl Iterator<Item = Result<RecordBatch, E>> + Send + 'static,
    schema: SchemaRef,
    path: PathBuf,
) -> Batches {
    let mut failed = false;
    Box::new(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let next = guarded(&path, || match batches.next() {
            None => Ok(None),
            Some(Ok(batch)) => adapt(&batch, &schema).map(Some).map_err(|error| error.at(path.display().to_string())),
            Some(Err(cause)) => Err(unreadable(&path, cause)),
        });
        failed = next.is_err();
        next.transpose()
    }))
}

/// The schema of the first file, or with `mergeSchema` of all files.
///
/// # Errors
/// `UNABLE_TO_INFER_SCHEMA` without files; files that cannot be read; columns whose types do not merge.
pub(crate) fn infer_schema(
    format: &dyn Format,
    files: &[PathBuf],
    options: &Options,
    conf: &Conf,
    schema_of: impl Fn(&Path) -> Result<SchemaRef>,
) -> Result<SchemaRef> {
    let setting = format!("spark.sql.{}.mergeSchema", format.name());
    let count = if options.flag("mergeSchema", conf.flag(&setting, false)?)? { files.len() } else { 1 };
    let mut schemas = files.iter().take(count).map(|file| schema_of(file));
    let first = schemas.next().ok_or_else(|| unable(format))??;
    schemas.try_fold(first, |all, next| merge(&all, &*next?))
}
