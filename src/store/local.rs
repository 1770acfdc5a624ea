//! A local folder as a store: temporary file, fsync, rename, fsync of the folder, and of those above it that are new.
//!
//! Temporary files lie in `.temporary` below the root, so that what a crash left can be found without listing the rest. A
//! failed fsync is never tried again: the system may have forgotten what it could not write.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, SystemDisk};
use super::{Entry, Pieces, Put, Store};
use crate::{Error, Result, kill};

const TEMPORARY: &str = ".temporary";

/// Folders in which names have changed.
type Changed = BTreeSet<PathBuf>;

/// A folder of a disk.
pub(super) struct LocalStore {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Files 0600 and folders 0700, whatever the process's mask.
    private: bool,
}

impl LocalStore {
    /// The store at `root` on this machine, which need not exist.
    pub(super) fn new(root: &Path, private: bool) -> Self {
        LocalStore::on(Arc::new(SystemDisk), root, private)
    }

    /// The store at `root` on a disk.
    pub(super) fn on(disk: Arc<dyn Disk>, root: &Path, private: bool) -> Self {
        LocalStore { disk, root: root.to_owned(), private }
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// Makes a folder and those above it. `changed`: where names are new, which is to be synced.
    fn make_folder(&self, path: &Path, changed: &mut Changed) -> io::Result<()> {
        let mode = if self.private { 0o700 } else { 0o777 };
        let made = match (self.disk.make_folder(path, mode), path.parent()) {
            (Err(error), Some(above)) if error.kind() == ErrorKind::NotFound => {
                self.make_folder(above, changed)?;
                self.disk.make_folder(path, mode)
            }
            (made, _) => made,
        };
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made.and_then(|()| self.has_new(path, changed)),
        }
    }

    /// A folder is new. The names of the root and of those above it are made durable at once: a run that finds them takes them for granted.
    fn has_new(&self, folder: &Path, changed: &mut Changed) -> io::Result<()> {
        match folder.parent() {
            Some(above) if self.root.starts_with(folder) => self.disk.sync_folder(above),
            above => {
                changed.extend(above.map(Path::to_owned));
                Ok(())
            }
        }
    }

    fn new_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path, if self.private { 0o600 } else { 0o666 })
    }

    /// Writes the temporary file; makes its folder the first time.
    fn write(
        &self,
        temporary: &Path,
        path: &str,
        pieces: Pieces<'_>,
        how: Put,
        changed: &mut Changed,
    ) -> io::Result<()> {
        kill::point(&self.root, path, "begin")?;
        let mut file = match self.new_file(temporary) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_folder(&self.root.join(TEMPORARY), changed)?;
                self.new_file(temporary)?
            }
            opened => opened?,
        };
        for piece in pieces {
            kill::write(&mut file, &piece.map_err(io::Error::other)?, &self.root, path)?;
        }
        file.flush()?;
        if how != Put::Hint {
            file.sync()?;
        }
        kill::point(&self.root, path, "written")
    }

    /// Gives the temporary file its name; false if the name is taken and may not be.
    fn publish(&self, temporary: &Path, path: &str, how: Put, changed: &mut Changed) -> io::Result<bool> {
        let target = self.full(path);
        let folder = target.parent().unwrap_or(&self.root);
        let moved = match self.rename(temporary, &target, how) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_folder(folder, changed)?;
                self.rename(temporary, &target, how)?
            }
            moved => moved?,
        };
        kill::point(&self.root, path, "renamed")?;
        if moved && how != Put::Hint {
            changed.insert(folder.to_owned());
        }
        Ok(moved)
    }

    /// Writes the file and gives it its name, then syncs all folders in which names have changed, together: a file system with a journal
    /// writes it once for them. Folders that were made are synced also if the file fails: the next file takes them for granted.
    fn write_and_publish(&self, temporary: &Path, path: &str, pieces: Pieces<'_>, how: Put) -> io::Result<bool> {
        let mut changed = Changed::new();
        let written = self.write(temporary, path, pieces, how, &mut changed);
        let moved = written.and_then(|()| self.publish(temporary, path, how, &mut changed));
        let synced = changed.iter().map(|folder| self.disk.sync_folder(folder)).fold(Ok(()), Result::and);
        let moved = moved?;
        synced?;
        kill::point(&self.root, path, "durable")?;
        Ok(moved)
    }

    /// Moves a file; with [`Put::New`] by a second name, which the system refuses if the name is taken.
    fn rename(&self, temporary: &Path, target: &Path, how: Put) -> io::Result<bool> {
        let disk = &self.disk;
        if how != Put::New {
            return disk.rename(temporary, target).map(|()| true);
        }
        match disk.link(temporary, target) {
            Ok(()) => disk.remove(temporary).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => disk.remove(temporary).map(|()| false),
            // A file system without second names: the look before is the best there is.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                match disk.exists(target)? {
                    true => disk.remove(temporary).map(|()| false),
                    false => disk.rename(temporary, target).map(|()| true),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn failed(&self, what: &str, path: &str, cause: io::Error) -> Error {
        Error::outside(format!("can't {what} '{}': {cause}", self.place(path))).caused_by(cause)
    }
}

/// A name for the temporary file of `path`, which tells what it was to become.
fn temporary_name(path: &str) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '.' | '-');
    let named: String = path.chars().filter(plain).take(100).collect();
    format!("{}~{}", named.replace('/', "~"), uuid::Uuid::new_v4())
}

/// None is fine.
fn if_there<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        other => other,
    }
}

impl Store for LocalStore {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.disk.read(&self.full(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", path, error)),
        }
    }

    fn put(&self, path: &str, pieces: Pieces<'_>, how: Put) -> Result<bool> {
        let temporary = self.root.join(TEMPORARY).join(temporary_name(path));
        self.write_and_publish(&temporary, path, pieces, how).map_err(|error| {
            if kill::alive(&self.root) {
                // If it can't be removed, the next start does.
                drop(self.disk.remove(&temporary));
            }
            self.failed("write", path, error)
        })
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.disk.exists(&self.full(path)).map_err(|error| self.failed("look for", path, error))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        if_there(self.disk.list(&self.full(folder))).map_err(|error| self.failed("list", folder, error))
    }

    fn delete(&self, path: &str) -> Result<()> {
        let deleted = kill::point(&self.root, path, "delete").and_then(|()| self.disk.remove(&self.full(path)));
        if_there(deleted).map_err(|error| self.failed("remove", path, error))
    }

    fn delete_folder(&self, path: &str) -> Result<()> {
        let deleted = kill::point(&self.root, path, "delete").and_then(|()| self.disk.remove_folder(&self.full(path)));
        if_there(deleted).map_err(|error| self.failed("remove", path, error))
    }

    fn settle(&self, folders: &[String]) -> Result<()> {
        let full: Vec<PathBuf> = folders.iter().map(|folder| self.full(folder)).collect();
        let within = |path: &&Path| path.starts_with(&self.root);
        let below = full.iter().flat_map(|folder| folder.ancestors().take_while(within));
        let all: BTreeSet<&Path> = below.chain(self.root.parent()).collect();
        let settled = all.into_iter().try_for_each(|path| match self.disk.sync_folder(path) {
            // A folder above the root may be somebody else's.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && !path.starts_with(&self.root) => Ok(()),
            synced => if_there(synced),
        });
        settled.map_err(|error| self.failed("make durable", &folders.join("', '"), error))
    }

    fn tidy(&self) -> Result<()> {
        self.delete_folder(TEMPORARY)
    }

    fn place(&self, path: &str) -> String {
        self.full(path).display().to_string()
    }
}
