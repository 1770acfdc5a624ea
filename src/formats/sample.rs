//! Reading whole files for schema inference (batch reads only).

use std::path::PathBuf;

use super::compression::{Limits, open};
use super::frames::Splitter;
use super::{Format, Frames};
use crate::options::Options;
use crate::{Error, Result};

/// Bytes read in one step.
const BLOCK: usize = 1 << 20;

/// Calls `visit` with the records of all files, and says what share of them option `samplingRatio` wants looked at.
///
/// # Errors
/// `UNABLE_TO_INFER_SCHEMA` without files; files that cannot be read; what `visit` returns.
pub(crate) fn for_each_chunk(
    format: &dyn Format,
    files: &[PathBuf],
    options: &Options,
    mut visit: impl FnMut(&Frames) -> Result<()>,
) -> Result<()> {
    if files.is_empty() {
        return Err(unable(format));
    }
    let limits = Limits::of(options)?;
    for file in files {
        let place = file.display().to_string();
        let mut splitter = Splitter::new(format, options, place.clone())?;
        let mut reader = open(file, limits)?;
        let unread = |cause: std::io::Error| Error::from(cause).at(place.clone());
        while let Some(frames) = splitter.read(&mut reader, BLOCK).map_err(unread)? {
            visit(&frames)?;
        }
        visit(&splitter.finish())?;
    }
    Ok(())
}

/// The error when there is nothing to infer a schema from.
pub(crate) fn unable(format: &dyn Format) -> Error {
    Error::query("UNABLE_TO_INFER_SCHEMA", format!("unable to infer a schema for {}", format.name()))
        .hint("Give the schema with .schema(\"name TYPE, ...\").")
}

/// Which records to look at: every record for a ratio of 1, evenly spread ones below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    ratio: f64,
    owed: f64,
}

impl Sampling {
    /// As option `samplingRatio` says.
    pub(crate) fn of(options: &Options) -> Result<Sampling> {
        let ratio = match options.get("samplingRatio") {
            None => 1.0,
            Some(text) => text.parse().map_err(|_| options.wrong("samplingRatio", "a number"))?,
        };
        if ratio > 0.0 && ratio <= 1.0 {
            return Ok(Sampling { ratio, owed: 1.0 - ratio });
        }
        Err(options.wrong("samplingRatio", "above 0 and at most 1"))
    }

    /// Whether the next record is looked at; the first one always is.
    pub(crate) fn takes_next(&mut self) -> bool {
        self.owed += self.ratio;
        let takes = self.owed >= 1.0;
        if takes {
            self.owed -= 1.0;
        }
        takes
    }
}
