//! What a local store asks of a disk, one system call a function, so that tests can put a disk under it that loses power.
//!
//! In: paths and bytes. Out: what the system says. What a crash leaves of it is the business of the order of calls in
//! [`super::local`].

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::Entry;

/// A disk. All errors are the system's.
pub(super) trait Disk: Send + Sync {
    /// A file's content.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// True if there is a file or folder.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// What lies in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// A new empty file; an error if there is one.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>>;
    /// A new folder in one that exists; an error if there is one.
    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub(super) trait DiskFile: Write {
    /// Makes its bytes durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// This machine's.
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
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

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?))
    }

    fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

fn entry(name: String, about: &Metadata) -> Entry {
    Entry { name, modified: about.modified().ok() }
}
