//! What happens to a malformed record: PERMISSIVE keeps it as nulls, DROPMALFORMED drops it, FAILFAST ends the query.

use arrow::datatypes::{DataType, Schema};

use crate::conf::Conf;
use crate::options::Options;
use crate::{Error, Result};

/// Most characters of a malformed record that an error shows.
const SHOWN: usize = 200;

/// Option `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Permissive,
    DropMalformed,
    FailFast,
}

impl Mode {
    /// The mode the options ask for; as in Spark, an unknown mode is PERMISSIVE (with a warning).
    pub(crate) fn of(options: &Options) -> Mode {
        match options.get("mode").unwrap_or("PERMISSIVE").to_ascii_uppercase().as_str() {
            "PERMISSIVE" => Mode::Permissive,
            "DROPMALFORMED" => Mode::DropMalformed,
            "FAILFAST" => Mode::FailFast,
            other => {
                tracing::warn!(mode = other, "unknown parse mode, using PERMISSIVE");
                Mode::Permissive
            }
        }
    }
}

/// The name of the column that takes malformed records, as options or settings give it.
pub(crate) fn corrupt_column_name(options: &Options, conf: &Conf) -> String {
    let setting = conf.get("spark.sql.columnNameOfCorruptRecord").unwrap_or("_corrupt_record");
    options.get("columnNameOfCorruptRecord").unwrap_or(setting).to_owned()
}

/// Where the column for malformed records stands in `schema`, if it is declared.
///
/// # Errors
/// The column is declared with another type than STRING.
pub(crate) fn corrupt_column(schema: &Schema, options: &Options, conf: &Conf) -> Result<Option<usize>> {
    let name = corrupt_column_name(options, conf);
    let Some((index, field)) = schema.fields().find(&name) else { return Ok(None) };
    if *field.data_type() != DataType::Utf8 {
        return Err(Error::query(
            "INVALID_CORRUPT_RECORD_TYPE",
            format!("the column '{name}' for corrupt records must be a nullable STRING"),
        ));
    }
    Ok(Some(index))
}

/// The error of FAILFAST.
pub(crate) fn malformed(record: &[u8], place: String, reason: &str) -> Error {
    let text = String::from_utf8_lossy(&record[..record.len().min(4 * SHOWN)]);
    let shown: String = text.chars().take(SHOWN).collect();
    let dots = if shown.len() < record.len() { "..." } else { "" };
    Error::data("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION", format!("malformed record '{shown}{dots}': {reason}"))
        .at(place)
        .hint("Set option 'mode' to PERMISSIVE to get nulls for such records instead.")
}
