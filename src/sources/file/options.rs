//! The options of the file source, read and checked once.

use std::path::PathBuf;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};

use crate::conf::Conf;
use crate::options::{OptionSpec, Options, option, parse_time};
use crate::sources::SourceSpec;
use crate::types::datetime_text::parse_timestamp_text;
use crate::types::zone::Zone;
use crate::{Error, Result, filepath};

/// Options of every file source, besides those of the format.
pub(super) const OPTIONS: &[OptionSpec] = &[
    option("path", "", "where the files are: a folder, a file, or a pattern with *, ?, [..], {..}; required"),
    option("maxFilesPerTrigger", "", "most new files in a batch"),
    option("maxBytesPerTrigger", "", "most bytes of new files in a batch, but at least one file"),
    option("latestFirst", "false", "true: the newest files first"),
    option("maxFileAge", "7d", "older files, compared to the newest one seen, are ignored"),
    option("fileNameOnly", "false", "true: files of the same name in different folders are the same file"),
    option("maxCachedFiles", "10000", "files listed but not read yet that are kept for the next batches"),
    option("discardCachedInputRatio", "0.2", "list again when fewer than this part of a batch's files are kept"),
    option("cleanSource", "off", "what happens to files that were read: off, delete, archive"),
    option("sourceArchiveDir", "", "where cleanSource=archive moves files; outside of path"),
    option("recursiveFileLookup", "false", "true: read sub-folders too, without partition columns"),
    option("pathGlobFilter", "", "read only files whose name matches this pattern"),
    option("basePath", "", "the folder below which folders name=value are partition columns"),
    option("modifiedBefore", "", "batch only: files modified before this instant"),
    option("modifiedAfter", "", "batch only: files modified after this instant"),
    option("ignoreMissingFiles", "false", "true: files deleted before they are read are skipped"),
    option("ignoreCorruptFiles", "false", "true: the rest of a file that can't be read is skipped"),
    option("maxDecompressedBytes", "", "a compressed file that expands to more fails; no limit by default"),
    option("maxCompressionRatio", "2000", "a compressed file that expands by more than this (beyond 64 MiB) fails"),
];

/// How much one batch takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BatchSize {
    Unlimited,
    Files(usize),
    Bytes(u64),
}

/// What becomes of files that were read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Clean {
    Off,
    Delete,
    Archive(PathBuf),
}

/// Which files are read, and how they are listed.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// Absolute paths or patterns.
    pub(super) paths: Vec<PathBuf>,
    pub(super) recursive: bool,
    pub(super) name_filter: Option<GlobMatcher>,
    pub(super) base_path: Option<PathBuf>,
    /// Milliseconds since 1970; exclusive.
    pub(super) modified_before: Option<i64>,
    pub(super) modified_after: Option<i64>,
    /// Use the list of a file sink, if there is one.
    pub(super) use_sink_log: bool,
}

/// All options of one file source.
#[derive(Debug, Clone)]
pub(super) struct FileOptions {
    pub(super) selection: Selection,
    pub(super) batch: BatchSize,
    pub(super) latest_first: bool,
    pub(super) max_file_age: Duration,
    pub(super) name_only: bool,
    pub(super) max_cached: usize,
    pub(super) discard_ratio: f64,
    pub(super) clean: Clean,
    pub(super) ignore_missing: bool,
    pub(super) ignore_corrupt: bool,
}

impl FileOptions {
    /// Reads and checks all options but those of the format.
    pub(super) fn of(spec: &SourceSpec, conf: &Conf) -> Result<FileOptions> {
        let options = &spec.options;
        let selection = selection(spec, conf)?;
        let clean = clean(options, &selection.paths)?;
        let flag = |name: &str, key: &str| match options.get(name) {
            Some(_) => options.flag(name, false),
            None => conf.flag(key, false),
        };
        Ok(FileOptions {
            batch: batch_size(options)?,
            latest_first: options.flag("latestFirst", false)?,
            max_file_age: time(options, "maxFileAge")?.unwrap_or(Duration::from_secs(7 * 86400)),
            name_only: options.flag("fileNameOnly", false)?,
            max_cached: options.number("maxCachedFiles")?.unwrap_or(10_000),
            discard_ratio: ratio(options, "discardCachedInputRatio")?.unwrap_or(0.2),
            ignore_missing: flag("ignoreMissingFiles", "spark.sql.files.ignoreMissingFiles")?,
            ignore_corrupt: flag("ignoreCorruptFiles", "spark.sql.files.ignoreCorruptFiles")?,
            clean,
            selection,
        })
    }
}

fn selection(spec: &SourceSpec, conf: &Conf) -> Result<Selection> {
    let options = &spec.options;
    for name in ["modifiedBefore", "modifiedAfter"] {
        if spec.streaming && options.get(name).is_some() {
            return Err(Error::invalid(format!("option '{name}' is not allowed in file stream sources")));
        }
    }
    Ok(Selection {
        paths: paths(spec)?,
        recursive: options.flag("recursiveFileLookup", false)?,
        name_filter: options.get("pathGlobFilter").map(|text| pattern(text, options)).transpose()?,
        base_path: options.get("basePath").map(filepath::parse).transpose()?,
        modified_before: instant(options, "modifiedBefore", conf)?,
        modified_after: instant(options, "modifiedAfter", conf)?,
        use_sink_log: !conf.flag("spark.sql.streaming.fileStreamSink.ignoreMetadata", false)?,
    })
}

fn paths(spec: &SourceSpec) -> Result<Vec<PathBuf>> {
    let one = spec.options.get("path");
    if spec.streaming && spec.paths.len() + usize::from(one.is_some()) > 1 {
        return Err(Error::invalid("a file stream reads one path").hint("Use a pattern, or union several streams."));
    }
    let all: Vec<&str> = spec.paths.iter().map(String::as_str).chain(one).collect();
    if all.is_empty() {
        return Err(Error::query("_LEGACY_ERROR_TEMP_1122", "'path' is not specified").hint("Call load(path)."));
    }
    all.into_iter().map(filepath::parse).collect()
}

fn batch_size(options: &Options) -> Result<BatchSize> {
    let positive = |name: &str| match options.number::<u64>(name)? {
        Some(0) => Err(options.wrong(name, "a positive whole number")),
        number => Ok(number),
    };
    match (positive("maxFilesPerTrigger")?, positive("maxBytesPerTrigger")?) {
        (None, None) => Ok(BatchSize::Unlimited),
        (Some(files), None) => Ok(BatchSize::Files(usize::try_from(files).unwrap_or(usize::MAX))),
        (None, Some(bytes)) => Ok(BatchSize::Bytes(bytes)),
        _ => Err(Error::invalid("options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' can't both be set")),
    }
}

fn clean(options: &Options, paths: &[PathBuf]) -> Result<Clean> {
    match options.get("cleanSource").map(str::to_ascii_lowercase).as_deref() {
        None | Some("off") => Ok(Clean::Off),
        Some("delete") => Ok(Clean::Delete),
        Some("archive") => archive(options, paths).map(Clean::Archive),
        Some(_) => Err(options.wrong("cleanSource", "'archive', 'delete' or 'off'")),
    }
}

/// The archive must lie where its files are never read again.
fn archive(options: &Options, paths: &[PathBuf]) -> Result<PathBuf> {
    let folder = filepath::parse(options.require("sourceArchiveDir", "cleanSource=archive")?)?;
    let fixed = |path: &PathBuf| super::listing::fixed_part(path);
    if paths.iter().map(fixed).any(|base| folder.starts_with(&base) || base.starts_with(&folder)) {
        return Err(Error::invalid("option 'sourceArchiveDir' should name a folder outside of the source's path"));
    }
    Ok(folder)
}

fn time(options: &Options, name: &str) -> Result<Option<Duration>> {
    let Some(text) = options.get(name) else { return Ok(None) };
    parse_time(text, "ms").map(Some).ok_or_else(|| options.wrong(name, "a time such as '7d' or '12h'"))
}

fn ratio(options: &Options, name: &str) -> Result<Option<f64>> {
    let Some(text) = options.get(name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.map(Some).ok_or_else(|| options.wrong(name, "a number from 0 to 1"))
}

fn instant(options: &Options, name: &str, conf: &Conf) -> Result<Option<i64>> {
    let Some(text) = options.get(name) else { return Ok(None) };
    let micros = parse_timestamp_text(text, &Zone::parse(conf.time_zone())?);
    micros
        .map(|micros| Some(micros.div_euclid(1000)))
        .ok_or_else(|| options.wrong(name, "a time like 2024-02-29T12:00:00"))
}

/// A pattern for names.
fn pattern(text: &str, options: &Options) -> Result<GlobMatcher> {
    super::listing::glob(text).map_err(|_| options.wrong("pathGlobFilter", "a pattern"))
}

/// Kept here so that listing and options agree on what a pattern is.
pub(super) fn build(text: &str) -> std::result::Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}
