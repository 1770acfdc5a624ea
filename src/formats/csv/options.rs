//! Options of format `csv`, checked once.

use crate::conf::Conf;
use crate::formats::mode::{Mode, corrupt_column_name};
use crate::formats::times::Times;
use crate::formats::{DecodeContext, frames};
use crate::options::{OptionSpec, Options, option};
use crate::{Error, Result};

/// All options, for the check of names and the documentation.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option("sep", ",", "what separates fields; one or more characters"),
    option("delimiter", ",", "the same as sep"),
    option("quote", "\"", "what encloses fields; empty: nothing does"),
    option("escape", "\\", "what escapes a quote within quotes"),
    option("charToEscapeQuoteEscaping", "", "what escapes the escape; by default the escape itself"),
    option("comment", "", "lines that begin with this character are skipped"),
    option("header", "false", "the first line of a file holds names"),
    option("inferSchema", "false", "inference: look at the values instead of taking STRING"),
    option("preferDate", "true", "inference: dates become DATE"),
    option("samplingRatio", "1.0", "inference: share of records that is looked at"),
    option("enforceSchema", "true", "false: the header must match the schema"),
    option("ignoreLeadingWhiteSpace", "false", "drops blanks before values (when writing: true)"),
    option("ignoreTrailingWhiteSpace", "false", "drops blanks behind values (when writing: true)"),
    option("nullValue", "", "the text that stands for null"),
    option("emptyValue", "", "the text that stands for an empty string (when writing: \"\")"),
    option("nanValue", "NaN", "the text of NaN"),
    option("positiveInf", "Inf", "the text of infinity"),
    option("negativeInf", "-Inf", "the text of minus infinity"),
    option("dateFormat", "yyyy-MM-dd", "pattern of DATE"),
    option("timestampFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]", "pattern of TIMESTAMP"),
    option("timestampNTZFormat", "yyyy-MM-dd'T'HH:mm:ss[.SSS]", "pattern of TIMESTAMP_NTZ"),
    option("enableDateTimeParsingFallback", "", "also try the default rules where a pattern fails"),
    option("timeZone", "", "time zone of timestamps without one; by default the session's"),
    option("locale", "en-US", "language of names in patterns"),
    option("maxColumns", "20480", "a record with more fields is an error"),
    option("maxCharsPerColumn", "-1", "a longer field is an error; -1: no limit"),
    option("mode", "PERMISSIVE", "what to do with malformed records: PERMISSIVE, DROPMALFORMED, FAILFAST"),
    option("columnNameOfCorruptRecord", "_corrupt_record", "the STRING column that takes malformed records"),
    option("columnPruning", "true", "only the wanted fields of a record are looked at"),
    option("multiLine", "false", "true: quoted fields may contain line ends"),
    option("unescapedQuoteHandling", "STOP_AT_DELIMITER", "what to do with a quote within a quoted field"),
    option("quoteAll", "false", "writing: all fields are quoted"),
    option("escapeQuotes", "true", "writing: fields with quotes are quoted"),
    option("compression", "none", "how written files are compressed: none, gzip, zstd, bzip2, deflate"),
    option("lineSep", "", frames::OPTIONS[0].help),
    option("encoding", "UTF-8", frames::OPTIONS[1].help),
    option("charset", "UTF-8", frames::OPTIONS[2].help),
    option("maxRecordBytes", "16777216", frames::OPTIONS[3].help),
];

/// What to do with a quote within a quoted field that is neither escaped nor the last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrayQuote {
    /// Take everything up to the next delimiter, quotes included.
    StopAtDelimiter,
    /// Take it as a character and go on to the closing quote.
    StopAtClosingQuote,
    /// Take the field as if it were not quoted.
    BackToDelimiter,
    /// The field is null.
    SkipValue,
    /// Fail.
    RaiseError,
}

/// How fields are separated and quoted.
#[derive(Debug, Clone)]
pub(crate) struct Syntax {
    pub(crate) delimiter: Box<[u8]>,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) escape_escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    pub(crate) trim_leading: bool,
    pub(crate) trim_trailing: bool,
    pub(crate) stray_quote: StrayQuote,
    pub(crate) max_columns: usize,
    pub(crate) max_field: usize,
    /// Line ends separate records (`multiLine`); otherwise the whole text is one record.
    pub(crate) line_ends: bool,
    /// The delimiter, if texts without quotes are cut at this byte and nothing else happens to them.
    pub(crate) plain: Option<u8>,
}

impl Syntax {
    /// The syntax for reading.
    ///
    /// # Errors
    /// A value that does not fit its option.
    pub(crate) fn of(options: &Options) -> Result<Syntax> {
        let (quote, escape) = (character(options, "quote", Some(b'"'))?, character(options, "escape", Some(b'\\'))?);
        let default_escape_escape = escape.filter(|escape| Some(*escape) != quote);
        let max_field = options.number::<i64>("maxCharsPerColumn")?.unwrap_or(-1);
        let delimiter: Box<[u8]> = delimiter(options)?.into_bytes().into();
        let mut syntax = Syntax {
            plain: delimiter.first().copied().filter(|_| delimiter.len() == 1),
            delimiter,
            quote,
            escape,
            escape_escape: character(options, "charToEscapeQuoteEscaping", default_escape_escape)?,
            comment: character(options, "comment", None)?,
            trim_leading: options.flag("ignoreLeadingWhiteSpace", false)?,
            trim_trailing: options.flag("ignoreTrailingWhiteSpace", false)?,
            stray_quote: stray_quote(options)?,
            max_columns: options.number("maxColumns")?.unwrap_or(20480),
            max_field: usize::try_from(max_field).unwrap_or(usize::MAX),
            line_ends: options.flag("multiLine", false)?,
        };
        if syntax.line_ends || syntax.trim_leading || syntax.trim_trailing {
            syntax.plain = None;
        }
        Ok(syntax)
    }
}

/// Option `sep`, with the escapes `\t`, `\\`, `\"`, `\'`, `\0` and `\u....`.
pub(crate) fn delimiter(options: &Options) -> Result<String> {
    let text = options.get("sep").or(options.get("delimiter")).unwrap_or(",");
    let mut found = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        found.push(if c == '\\' { escaped_delimiter(&mut rest)? } else { c });
    }
    if found.is_empty() {
        return Err(Error::query("INVALID_DELIMITER_VALUE.EMPTY_STRING", "option 'sep' cannot be an empty string"));
    }
    Ok(found)
}

fn escaped_delimiter(rest: &mut std::str::Chars<'_>) -> Result<char> {
    let hex = rest.as_str().strip_prefix('u').and_then(|rest| rest.get(..4));
    if let Some(c) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
        rest.by_ref().take(5).for_each(drop);
        return Ok(c);
    }
    match rest.next() {
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('b') => Ok('\u{8}'),
        Some('f') => Ok('\u{c}'),
        Some('0') => Ok('\0'),
        Some(c @ ('\\' | '"' | '\'')) => Ok(c),
        Some(c) => Err(Error::query(
            "INVALID_DELIMITER_VALUE.UNSUPPORTED_SPECIAL_CHARACTER",
            format!("option 'sep' has the unknown escape '\\{c}'"),
        )),
        None => {
            Err(Error::query("INVALID_DELIMITER_VALUE.SINGLE_BACKSLASH", "option 'sep' cannot be a single backslash")
                .hint("Write two backslashes for one."))
        }
    }
}

/// An option of one ASCII character; empty means none.
pub(crate) fn character(options: &Options, name: &str, default: Option<u8>) -> Result<Option<u8>> {
    match options.get(name).map(str::as_bytes) {
        None => Ok(default),
        Some([] | [0]) => Ok(None),
        Some([byte]) => Ok(Some(*byte)),
        Some(_) => Err(options.wrong(name, "one ASCII character")),
    }
}

fn stray_quote(options: &Options) -> Result<StrayQuote> {
    let name = options.get("unescapedQuoteHandling").unwrap_or("STOP_AT_DELIMITER");
    Ok(match name.to_ascii_uppercase().as_str() {
        "STOP_AT_DELIMITER" => StrayQuote::StopAtDelimiter,
        "STOP_AT_CLOSING_QUOTE" => StrayQuote::StopAtClosingQuote,
        "BACK_TO_DELIMITER" => StrayQuote::BackToDelimiter,
        "SKIP_VALUE" => StrayQuote::SkipValue,
        "RAISE_ERROR" => StrayQuote::RaiseError,
        _ => {
            return Err(options.wrong(
                "unescapedQuoteHandling",
                "STOP_AT_DELIMITER, STOP_AT_CLOSING_QUOTE, BACK_TO_DELIMITER, SKIP_VALUE or RAISE_ERROR",
            ));
        }
    })
}

/// How to read CSV.
#[derive(Debug, Clone)]
pub(crate) struct ReadOptions {
    pub(crate) mode: Mode,
    pub(crate) corrupt_column: String,
    pub(crate) syntax: Syntax,
    pub(crate) header: bool,
    pub(crate) enforce_schema: bool,
    pub(crate) texts: Texts,
}

/// The texts with a meaning of their own.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    pub(crate) null: Box<[u8]>,
    pub(crate) empty: Box<[u8]>,
    pub(crate) nan: Box<[u8]>,
    pub(crate) positive_infinity: Box<[u8]>,
    pub(crate) negative_infinity: Box<[u8]>,
    pub(crate) times: Times,
}

impl ReadOptions {
    /// The reading options.
    ///
    /// # Errors
    /// A value that does not fit its option.
    pub(crate) fn of(options: &Options, conf: &Conf) -> Result<ReadOptions> {
        let text = |name: &str, default: &str| options.get(name).unwrap_or(default).as_bytes().into();
        Ok(ReadOptions {
            mode: Mode::of(options),
            corrupt_column: corrupt_column_name(options, conf),
            syntax: Syntax::of(options)?,
            header: options.flag("header", false)?,
            enforce_schema: options.flag("enforceSchema", true)?,
            texts: Texts {
                null: text("nullValue", ""),
                empty: text("emptyValue", ""),
                nan: text("nanValue", "NaN"),
                positive_infinity: text("positiveInf", "Inf"),
                negative_infinity: text("negativeInf", "-Inf"),
                times: Times::for_reading(options, conf)?,
            },
        })
    }
}

/// Whether only the wanted fields are looked at, so that a record's number of fields does not matter (Spark's
/// `spark.sql.csv.parser.columnPruning.enabled`).
pub(crate) fn prunes_columns(context: &DecodeContext, options: &ReadOptions) -> Result<bool> {
    let enabled = context.conf.flag("spark.sql.csv.parser.columnPruning.enabled", true)?;
    let wants_corrupt = context.projection.iter().any(|&at| *context.schema.field(at).name() == options.corrupt_column);
    let enabled = context.options.flag("columnPruning", enabled)?;
    let wanted = context.projection.len() - usize::from(wants_corrupt);
    let wants_all = wanted + 1 >= context.schema.fields().len();
    Ok(enabled && !options.syntax.line_ends && !(wants_corrupt && wants_all))
}
