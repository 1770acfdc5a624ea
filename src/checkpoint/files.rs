//! Files of a checkpoint: written whole or not at all, private, listed by number.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::{Error, Result};

/// Makes a private folder and its parents.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| failed("make folder", path, e))
}

/// Writes a file so that after a crash it is there whole or not at all: temporary file, fsync, rename, fsync of the folder.
pub(super) fn write_durable(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().ok_or_else(|| Error::internal("a checkpoint file has no folder"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", uuid::Uuid::new_v4()));
    let written =
        write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).and_then(|()| sync_folder(folder));
    written.map_err(|e| {
        // The temporary file is of no use; if it can't be removed, the next start ignores it.
        let _ = fs::remove_file(&temporary);
        failed("write", path, e)
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The text of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, e)),
    }
}

/// Names in a folder, without temporary and hidden ones; none if there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", folder, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| failed("list", folder, e))?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

fn numbers(folder: &Path) -> Result<Vec<u64>> {
    Ok(names(folder)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The largest number among the names in a folder.
pub(super) fn newest(folder: &Path) -> Result<Option<u64>> {
    Ok(numbers(folder)?.into_iter().max())
}

/// Removes files and folders whose number is below `oldest`.
pub(super) fn remove_older(folder: &Path, oldest: u64) -> Result<()> {
    for number in numbers(folder)?.into_iter().filter(|number| *number < oldest) {
        let path = folder.join(number.to_string());
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("remove", &path, e)),
            _ => {}
        }
    }
    Ok(())
}

fn failed(what: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::outside(format!("can't {what} '{}': {cause}", path.display())).caused_by(cause)
}
