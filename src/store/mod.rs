//! Small durable files: everything that a checkpoint and the logs of file sources and sinks keep on disk goes through here.
//!
//! ```text
//!  checkpoint, filelog ─► Folder (names, checksums) ─► Store: local folder (on a Disk) | object store
//! ```
//!
//! In: names and whole contents. Out: the same, or an error that names the file. What always holds: a file is visible whole or
//! not at all; [`Folder::create`] succeeds for one writer only, however many try; a file with a checksum beside it is
//! given back unchanged or not at all. Contents are kilobytes to megabytes and are read at once; what may be more is written in pieces.

mod checksum;
mod disk;
mod local;
mod object;
#[cfg(test)]
pub(crate) mod simulated;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{Error, Result};

/// When a file may be written, and how much is promised once it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// Only if there is none of that name; durable.
    New,
    /// In any case; durable.
    Replace,
    /// In any case; after a loss of power it may be empty or as it was before. For what can be done without.
    Hint,
}

/// What lies in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Name within the folder.
    pub name: String,
    /// When it was written, if the store tells.
    pub modified: Option<SystemTime>,
}

/// The content of a file, in its order.
pub(crate) type Pieces<'a> = &'a mut dyn Iterator<Item = Result<Vec<u8>>>;

/// A content that is there as a whole.
fn whole(bytes: &[u8]) -> impl Iterator<Item = Result<Vec<u8>>> + use<> {
    std::iter::once(Ok(bytes.to_vec()))
}

/// A place for files. Paths are relative to its root, parts separated by `/`.
///
/// # Contract
/// A file appears whole or not at all, to every reader, also after a crash. Of several [`Put::New`] of one path one gives true.
pub(crate) trait Store: Send + Sync {
    /// The content; `None` if there is no such file.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;
    /// Writes a file of these pieces, with the folders it needs; false if `how` is [`Put::New`] and there is one. There is no file if
    /// a piece is an error.
    fn put(&self, path: &str, pieces: Pieces<'_>, how: Put) -> Result<bool>;
    /// True if there is such a file.
    fn exists(&self, path: &str) -> Result<bool>;
    /// What lies in a folder, hidden names too; nothing if there is no folder.
    fn list(&self, folder: &str) -> Result<Vec<Entry>>;
    /// Removes a file; none is fine.
    fn delete(&self, path: &str) -> Result<()>;
    /// Removes a folder and all in it; none is fine.
    fn delete_folder(&self, path: &str) -> Result<()>;
    /// Removes what writers that died left behind. Only for who owns the store.
    fn tidy(&self) -> Result<()>;
    /// Makes the names in these folders durable, and their own: a writer that was killed may have left some that can be seen and are
    /// not. A folder that is not there is fine.
    fn settle(&self, folders: &[String]) -> Result<()>;
    /// Where a path is, for messages.
    fn place(&self, path: &str) -> String;
}

/// A folder in a store. Cheap to clone.
#[derive(Clone)]
pub struct Folder {
    store: Arc<dyn Store>,
    path: String,
}

impl Folder {
    /// A local folder; it is made when the first file is written. `private`: its files and folders are its owner's alone.
    pub(crate) fn local(path: &Path, private: bool) -> Folder {
        Folder { store: Arc::new(local::LocalStore::new(path, private)), path: String::new() }
    }

    /// The private folder that a user's text means: a local path, `file:` URI, `memory:` name, or URL of an object store.
    ///
    /// # Errors
    /// `UNSUPPORTED_FILE_SYSTEM` for another scheme.
    pub(crate) fn open(location: &str) -> Result<Folder> {
        match location.split_once(':') {
            #[cfg(test)]
            Some(("simulated", rest)) => simulated::open(rest),
            Some((scheme, rest)) if scheme == "memory" || (scheme != "file" && rest.starts_with("//")) => {
                Ok(Folder { store: object::open(location)?, path: String::new() })
            }
            _ => Ok(Folder::local(&crate::filepath::parse(location)?, true)),
        }
    }

    /// The folder `name` within this one.
    pub(crate) fn folder(&self, name: &str) -> Folder {
        Folder { store: Arc::clone(&self.store), path: self.path_of(name) }
    }

    /// Where a file is, for messages.
    pub(crate) fn place(&self, name: &str) -> String {
        self.store.place(&self.path_of(name))
    }

    /// A file's content, checked against its checksum if it has one; `None` if there is no such file.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_CHECKSUM_VERIFICATION_FAILED`, naming the file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.read_bare(name)? else { return Ok(None) };
        let sums = self.read_bare(&checksum::name(name))?;
        match checksum::verify(&bytes, sums.as_deref().unwrap_or_default()) {
            Ok(()) => Ok(Some(bytes)),
            Err(why) => Err(self.corrupt(name, why)),
        }
    }

    /// As [`Folder::read`], as text.
    pub(crate) fn read_text(&self, name: &str) -> Result<Option<String>> {
        let text = self.read(name)?.map(String::from_utf8).transpose();
        text.map_err(|_| self.corrupt(name, "it is no text"))
    }

    /// A file's content, unchecked: it carries its own checksum or needs none.
    pub(crate) fn read_bare(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.store.read(&self.path_of(name))
    }

    /// Writes a file that must not be there yet, and its checksum beside it; false if there is one.
    pub(crate) fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        // A checksum without its file is left of a file that somebody deleted: it would condemn the new one.
        let sums = self.path_of(&checksum::name(name));
        if self.store.exists(&sums)? && !self.exists(name)? {
            self.store.delete(&sums)?;
        }
        let created = self.store.put(&self.path_of(name), &mut whole(bytes), Put::New)?;
        if created {
            self.store.put(&sums, &mut whole(&checksum::of(bytes)), Put::Hint)?;
        }
        Ok(created)
    }

    /// Writes or replaces a file and its checksum.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let sums = self.path_of(&checksum::name(name));
        self.store.delete(&sums)?;
        self.store.put(&self.path_of(name), &mut whole(bytes), Put::Replace)?;
        self.store.put(&sums, &mut whole(&checksum::of(bytes)), Put::Hint).map(drop)
    }

    /// Writes a file without a checksum beside it; false if `how` is [`Put::New`] and there is one.
    pub(crate) fn put_bare(&self, name: &str, bytes: &[u8], how: Put) -> Result<bool> {
        self.store.put(&self.path_of(name), &mut whole(bytes), how)
    }

    /// Writes or replaces a file of these pieces, without a checksum beside it.
    pub(crate) fn put_pieces(&self, name: &str, pieces: Pieces<'_>) -> Result<()> {
        self.store.put(&self.path_of(name), pieces, Put::Replace).map(drop)
    }

    /// True if there is such a file.
    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        self.store.exists(&self.path_of(name))
    }

    /// True if the file has a checksum beside it.
    pub(crate) fn has_checksum(&self, name: &str) -> Result<bool> {
        self.exists(&checksum::name(name))
    }

    /// What lies in the folder, without hidden names.
    pub(crate) fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = self.store.list(&self.path)?;
        entries.retain(|entry| !entry.name.starts_with('.'));
        Ok(entries)
    }

    /// Removes a file and its checksum; none is fine.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.store.delete(&self.path_of(name))?;
        self.store.delete(&self.path_of(&checksum::name(name)))
    }

    /// Removes the folder `name` and all in it; none is fine.
    pub(crate) fn delete_folder(&self, name: &str) -> Result<()> {
        self.store.delete_folder(&self.path_of(name))
    }

    /// Makes the names of all that lies here and in these folders of it durable. Before anything is built on what a writer that was
    /// killed left.
    pub(crate) fn settle(&self, within: &[&str]) -> Result<()> {
        let within = within.iter().map(|name| self.path_of(name));
        self.store.settle(&within.chain([self.path.clone()]).collect::<Vec<_>>())
    }

    /// Removes what writers that died left behind in the whole store. Only for who owns it.
    pub(crate) fn tidy(&self) -> Result<()> {
        self.store.tidy()
    }

    /// The error of a file that is not what was written.
    pub(crate) fn corrupt(&self, name: &str, why: &str) -> Error {
        let message = format!("file '{}' can't be used: {why}", self.place(name));
        Error::outside(message)
            .with_condition("CHECKPOINT_FILE_CHECKSUM_VERIFICATION_FAILED")
            .hint("Restore it from a copy, or see what 'thalweg checkpoint repair' proposes for the checkpoint.")
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Folder({})", self.store.place(&self.path))
    }
}

#[cfg(test)]
mod tests;
