//! Options of format `json`, checked once.

use crate::Result;
use crate::conf::Conf;
use crate::formats::frames;
use crate::formats::json::scan::Syntax;
use crate::formats::mode::{Mode, corrupt_column_name};
use crate::formats::times::Times;
use crate::options::{OptionSpec, Options, option};

/// All options, for the check of names and the documentation.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option("mode", "PERMISSIVE", "what to do with malformed records: PERMISSIVE, DROPMALFORMED, FAILFAST"),
    option("columnNameOfCorruptRecord", "_corrupt_record", "the STRING column that takes malformed records"),
    option("multiLine", "false", "true: each file is one JSON value"),
    option("allowComments", "false", "/* and // comments are skipped"),
    option("allowUnquotedFieldNames", "false", "names may stand without quotes"),
    option("allowSingleQuotes", "true", "strings may stand in single quotes"),
    option("allowNumericLeadingZeros", "false", "numbers may begin with zeros"),
    option("allowNonNumericNumbers", "true", "NaN, Infinity, -Infinity, INF are numbers"),
    option("allowBackslashEscapingAnyCharacter", "false", "any character may follow a backslash"),
    option("allowUnquotedControlChars", "false", "strings may contain control characters"),
    option("primitivesAsString", "false", "inference: numbers and booleans become STRING"),
    option("prefersDecimal", "false", "inference: fractions become DECIMAL where they fit"),
    option("inferTimestamp", "false", "inference: strings that read as timestamps become TIMESTAMP"),
    option("dropFieldIfAllNull", "false", "inference: leaves out fields that are always null or empty"),
    option("samplingRatio", "1.0", "inference: share of records that is looked at"),
    option("dateFormat", "yyyy-MM-dd", "pattern of DATE"),
    option("timestampFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]", "pattern of TIMESTAMP"),
    option("timestampNTZFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS]", "pattern of TIMESTAMP_NTZ"),
    option("enableDateTimeParsingFallback", "", "also try the default rules where a pattern fails"),
    option("timeZone", "", "time zone of timestamps without one; by default the session's"),
    option("locale", "en-US", "language of names in patterns"),
    option("ignoreNullFields", "true", "writing: leaves out fields that are null"),
    option("pretty", "false", "writing: puts each field on its own line"),
    option("compression", "none", "how written files are compressed: none, gzip, zstd, bzip2, deflate"),
    option("lineSep", "", frames::OPTIONS[0].help),
    option("encoding", "UTF-8", frames::OPTIONS[1].help),
    option("charset", "UTF-8", frames::OPTIONS[2].help),
    option("maxRecordBytes", "16777216", frames::OPTIONS[3].help),
];

/// How to read JSON.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    pub(crate) mode: Mode,
    pub(crate) corrupt_column: String,
    pub(crate) syntax: Syntax,
    pub(crate) times: Times,
}

impl ReadOptions {
    /// The reading options.
    ///
    /// # Errors
    /// A value that does not fit its option.
    pub(crate) fn of(options: &Options, conf: &Conf) -> Result<ReadOptions> {
        let syntax = Syntax {
            comments: options.flag("allowComments", false)?,
            unquoted_names: options.flag("allowUnquotedFieldNames", false)?,
            single_quotes: options.flag("allowSingleQuotes", true)?,
            leading_zeros: options.flag("allowNumericLeadingZeros", false)?,
            non_numeric: options.flag("allowNonNumericNumbers", true)?,
            any_escape: options.flag("allowBackslashEscapingAnyCharacter", false)?,
            control_characters: options.flag("allowUnquotedControlChars", false)?,
        };
        Ok(ReadOptions {
            mode: Mode::of(options),
            corrupt_column: corrupt_column_name(options, conf),
            syntax,
            times: Times::for_reading(options, conf)?,
        })
    }
}
