//! A local folder as a store: temporary file, fsync, rename, fsync of the folder.
//!
//! Temporary files lie in `.temporary` below the root, so that what a crash left can be found without listing the rest. A
//! failed fsync is never tried again: the system may have forgotten what it could not write.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Entry, Put, Store};
use crate::{Error, Result, kill};

const TEMPORARY: &str = ".temporary";

/// A folder of this machine.
pub(super) struct LocalStore {
    root: PathBuf,
    /// Files 0600 and folders 0700, whatever the process's mask.
    private: bool,
}

impl LocalStore {
    /// The store at `root`, which need not exist.
    pub(super) fn new(root: &Path, private: bool) -> Self {
        LocalStore { root: root.to_owned(), private }
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(if self.private { 0o700 } else { 0o777 }).create(path)
    }

    fn new_file(&self, path: &Path) -> io::Result<File> {
        let mode = if self.private { 0o600 } else { 0o666 };
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    }

    /// Writes the temporary file; makes its folder the first time.
    fn write(&self, temporary: &Path, path: &str, bytes: &[u8], how: Put) -> io::Result<()> {
        kill::point(&self.root, path, "begin")?;
        let mut file = match self.new_file(temporary) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_folder(&self.root.join(TEMPORARY))?;
                self.new_file(temporary)?
            }
            opened => opened?,
        };
        kill::write(&mut file, bytes, &self.root, path)?;
        if how != Put::Hint {
            file.sync_all()?;
        }
        kill::point(&self.root, path, "written")
    }

    /// Gives the temporary file its name; false if the name is taken and may not be.
    fn publish(&self, temporary: &Path, path: &str, how: Put) -> io::Result<bool> {
        let target = self.full(path);
        let folder = target.parent().unwrap_or(&self.root);
        let moved = match rename(temporary, &target, how) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_folder(folder)?;
                File::open(folder.parent().unwrap_or(folder))?.sync_all()?;
                rename(temporary, &target, how)?
            }
            moved => moved?,
        };
        kill::point(&self.root, path, "renamed")?;
        if moved && how != Put::Hint {
            File::open(folder)?.sync_all()?;
        }
        kill::point(&self.root, path, "durable")?;
        Ok(moved)
    }

    fn failed(&self, what: &str, path: &str, cause: io::Error) -> Error {
        Error::outside(format!("can't {what} '{}': {cause}", self.place(path))).caused_by(cause)
    }
}

/// Moves a file; with [`Put::New`] by a second name, which the system refuses if the name is taken.
fn rename(temporary: &Path, target: &Path, how: Put) -> io::Result<bool> {
    if how != Put::New {
        return fs::rename(temporary, target).map(|()| true);
    }
    match fs::hard_link(temporary, target) {
        Ok(()) => fs::remove_file(temporary).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::remove_file(temporary).map(|()| false),
        // A file system without second names: the look before is the best there is.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            match target.try_exists()? {
                true => fs::remove_file(temporary).map(|()| false),
                false => fs::rename(temporary, target).map(|()| true),
            }
        }
        Err(error) => Err(error),
    }
}

/// None is fine.
fn if_there<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        other => other,
    }
}

fn entry(name: String, about: &Metadata) -> Entry {
    Entry { name, modified: about.modified().ok() }
}

fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in fs::read_dir(folder)? {
        let found = found?;
        // A file that is gone by now is not there.
        if let Ok(about) = found.metadata() {
            entries.push(entry(found.file_name().to_string_lossy().into_owned(), &about));
        }
    }
    Ok(entries)
}

impl Store for LocalStore {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match fs::read(self.full(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", path, error)),
        }
    }

    fn put(&self, path: &str, bytes: &[u8], how: Put) -> Result<bool> {
        let temporary = self.root.join(TEMPORARY).join(uuid::Uuid::new_v4().to_string());
        let done = self.write(&temporary, path, bytes, how).and_then(|()| self.publish(&temporary, path, how));
        done.map_err(|error| {
            if kill::alive(&self.root) {
                // If it can't be removed, the next start does.
                drop(fs::remove_file(&temporary));
            }
            self.failed("write", path, error)
        })
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.full(path).try_exists().map_err(|error| self.failed("look for", path, error))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        if_there(entries(&self.full(folder))).map_err(|error| self.failed("list", folder, error))
    }

    fn delete(&self, path: &str) -> Result<()> {
        let deleted = kill::point(&self.root, path, "delete").and_then(|()| fs::remove_file(self.full(path)));
        if_there(deleted).map_err(|error| self.failed("remove", path, error))
    }

    fn delete_folder(&self, path: &str) -> Result<()> {
        let deleted = kill::point(&self.root, path, "delete").and_then(|()| fs::remove_dir_all(self.full(path)));
        if_there(deleted).map_err(|error| self.failed("remove", path, error))
    }

    fn tidy(&self) -> Result<()> {
        self.delete_folder(TEMPORARY)
    }

    fn place(&self, path: &str) -> String {
        self.full(path).display().to_string()
    }
}
