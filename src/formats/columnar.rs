//! What the columnar formats share: errors that name the file, and a guard around foreign decoders.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::adapt::{adapt, merge};
use super::sample::unable;
use super::{Batches, Format};
use crate::conf::Conf;
use crate::options::Options;
use crate::{Error, Result};

/// Rows of one batch that is read.
pub(crate) const BATCH_ROWS: usize = 8192;

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
