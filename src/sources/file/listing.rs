//! Which files there are: folders, patterns, sub-folders, hidden names, and the list of a file sink.
//!
//! In: a [`Selection`]. Out: files with size and time as seen now, ordered by (time, path); no file is opened. Names that begin
//! with `_` or `.` are hidden. Sub-folders are entered if they look like `name=value`, or all with `recursiveFileLookup`;
//! links that lead back up are not followed for ever. What vanishes while listing is left out.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use globset::GlobMatcher;

use super::options::{Selection, build};
use crate::filelog::{CompactLog, SINK_LOG, SinkFile, Upkeep, at};
use crate::store::Folder;
use crate::{Error, Result, filepath};

/// A file as seen when listing. Files are ordered by time, then path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Milliseconds since 1970.
    pub(super) modified: i64,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

/// All files of the selection, in order. Files for which `known` is true are left out without asking for their time.
pub(super) fn list(selection: &Selection, known: &dyn Fn(&Path) -> bool) -> Result<Vec<Found>> {
    let mut walk = Walk { selection, known, found: Vec::new() };
    for path in &selection.paths {
        for root in existing(path)? {
            walk.root(&root)?;
        }
    }
    walk.found.sort_unstable();
    walk.found.dedup();
    Ok(walk.found)
}

/// As [`list`], for a folder into which files are being moved: what is in the list has none before it that is missing.
///
/// The system may show a file that came while the folder was read, and not one that came shortly before it. Both are there when it is
/// read again. What is newer than all files of the first look waits for the next list, because the second look has gaps of its own.
pub(super) fn list_without_gaps(selection: &Selection, known: &dyn Fn(&Path) -> bool) -> Result<Vec<Found>> {
    let first = list(selection, known)?;
    if first.is_empty() {
        return Ok(first);
    }
    let met: HashSet<&Path> = first.iter().map(|file| file.path.as_path()).collect();
    let second = list(selection, &|path| met.contains(path) || known(path))?;
    Ok(with_missed(first, second))
}

/// The files of the first look and those of the second that belong before the last of them. Both are in order, with nothing in common.
fn with_missed(mut first: Vec<Found>, second: Vec<Found>) -> Vec<Found> {
    let Some(newest) = first.last().cloned() else { return first };
    first.extend(second.into_iter().take_while(|file| *file < newest));
    first.sort_unstable();
    first
}

/// The folders below which `name=value` folders are partition columns.
pub(super) fn base_paths(selection: &Selection) -> Result<Vec<PathBuf>> {
    if let Some(base) = &selection.base_path {
        return Ok(vec![base.clone()]);
    }
    let mut bases = Vec::new();
    for path in &selection.paths {
        bases.extend(existing(path)?);
    }
    Ok(bases)
}

/// The part of a path before its first pattern.
pub(super) fn fixed_part(path: &Path) -> PathBuf {
    path.components().take_while(|component| !is_pattern(component.as_os_str())).collect()
}

/// True if some part of the path is a pattern.
pub(super) fn has_pattern(path: &Path) -> bool {
    path.components().any(|component| is_pattern(component.as_os_str()))
}

/// Compiles a pattern for one name.
pub(super) fn glob(text: &str) -> Result<GlobMatcher> {
    build(text).map_err(|cause| Error::invalid(format!("'{text}' is no file pattern")).caused_by(cause))
}

fn is_pattern(name: &OsStr) -> bool {
    name.as_bytes().iter().any(|byte| b"*?[]{}\\".contains(byte))
}

/// The existing paths that a path with patterns means; a path without patterns means itself.
///
/// # Errors
/// A pattern that is none, and what listing folders fails with.
pub(crate) fn existing(path: &Path) -> Result<Vec<PathBuf>> {
    let mut roots = vec![PathBuf::new()];
    for component in path.components() {
        let name = component.as_os_str();
        match component {
            Component::Normal(name) if is_pattern(name) => roots = matching(&roots, name)?,
            _ => roots.iter_mut().for_each(|root| root.push(name)),
        }
    }
    roots.sort_unstable();
    Ok(roots)
}

fn matching(folders: &[PathBuf], name: &OsStr) -> Result<Vec<PathBuf>> {
    let matcher = glob(&name.to_string_lossy())?;
    let mut found = Vec::new();
    for folder in folders {
        let hits = names(folder)?.into_iter().filter(|name| matcher.is_match(name) && !is_hidden(name));
        found.extend(hits.map(|name| folder.join(name)));
    }
    Ok(found)
}

/// Names in a folder; none if it is no folder or has vanished.
fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let gone = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if gone(cause.kind()) => return Ok(Vec::new()),
        Err(cause) => return Err(at(cause, folder)),
    };
    entries.map(|entry| Ok(entry.map_err(|cause| at(cause, folder))?.file_name())).collect()
}

/// Spark's rule: `_x` (but not `_x=1`), `.x`, and files that are being copied.
fn is_hidden(name: &OsStr) -> bool {
    let name = name.as_bytes();
    (name.starts_with(b"_") && !name.contains(&b'=')) || name.starts_with(b".") || name.ends_with(b"._COPYING_")
}

struct Walk<'a> {
    selection: &'a Selection,
    known: &'a dyn Fn(&Path) -> bool,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn root(&mut self, root: &Path) -> Result<()> {
        let log = root.join(SINK_LOG);
        if self.selection.use_sink_log && log.is_dir() {
            return self.sink_log(log);
        }
        match std::fs::metadata(root) {
            Ok(about) if about.is_dir() => self.folder(root, &mut HashSet::new()),
            Ok(_) if (self.known)(root) => Ok(()),
            Ok(about) => {
                self.add(root.to_owned(), &about);
                Ok(())
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(at(cause, root)),
        }
    }

    /// `above`: the real paths of the folders around.
    fn folder(&mut self, folder: &Path, above: &mut HashSet<PathBuf>) -> Result<()> {
        let Ok(real) = folder.canonicalize() else { return Ok(()) };
        if !above.insert(real.clone()) {
            tracing::warn!(folder = %folder.display(), "a link leads back to a folder above it");
            return Ok(());
        }
        for name in names(folder)? {
            if !is_hidden(&name) {
                self.entry(folder.join(&name), &name, above)?;
            }
        }
        above.remove(&real);
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, name: &OsStr, above: &mut HashSet<PathBuf>) -> Result<()> {
        if (self.known)(&path) {
            return Ok(());
        }
        match std::fs::metadata(&path) {
            Ok(about) if about.is_dir() => match self.selection.recursive || name.as_bytes().contains(&b'=') {
                true => self.folder(&path, above),
                false => Ok(()),
            },
            Ok(about) if about.is_file() => {
                self.add(path, &about);
                Ok(())
            }
            // Pipes and devices are not read; what has vanished or leads nowhere is no file.
            _ => Ok(()),
        }
    }

    fn add(&mut self, path: PathBuf, about: &Metadata) {
        let since = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0);
        self.push(Found { modified, path, size: about.len() });
    }

    fn push(&mut self, file: Found) {
        let Selection { name_filter, modified_before, modified_after, .. } = self.selection;
        let name = file.path.file_name().unwrap_or_default();
        let chosen = name_filter.as_ref().is_none_or(|filter| filter.is_match(name))
            && modified_before.is_none_or(|before| file.modified < before)
            && modified_after.is_none_or(|after| file.modified > after);
        if chosen {
            self.found.push(file);
        }
    }

    /// The files that a file sink has committed; files of crashed runs are not among them.
    fn sink_log(&mut self, log: PathBuf) -> Result<()> {
        let log =
            CompactLog::<SinkFile>::open(Folder::local(&log, false), Upkeep { interval: 10, delete_after: None })?;
        let mut files = log.all()?;
        let deleted: HashSet<String> =
            files.iter().filter(|file| file.action == "delete").map(|file| file.path.clone()).collect();
        files.retain(|file| !file.is_dir && !deleted.contains(&file.path));
        for file in files {
            let path = filepath::from_uri(&file.path);
            if !(self.known)(&path) {
                self.push(Found { modified: file.modification_time, path, size: file.size });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(i64, &str)]) -> Vec<Found> {
        files.iter().map(|(modified, path)| Found { modified: *modified, path: path.into(), size: 1 }).collect()
    }

    #[test]
    fn a_file_that_one_look_missed_comes_before_the_newer_ones_it_saw() {
        let first = found(&[(1, "a"), (4, "d")]);
        let second = found(&[(2, "b"), (3, "c"), (5, "e"), (7, "g")]);
        assert_eq!(with_missed(first, second), found(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
        assert_eq!(with_missed(Vec::new(), found(&[(1, "a")])), []);
    }
}
