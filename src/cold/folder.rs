//! A folder for files that nobody needs when the process has ended.
//!
//! In: the folder below which it lies. Out: a new folder with a name of its own, which only its owner can look into; it is removed
//! with the value. What always holds: as long as its process lives, a lock on a file in it says so; folders whose process was
//! killed are removed by the next one that makes one beside them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::{Error, Result};

const PREFIX: &str = "thalweg-state-";
const LOCK: &str = "lock";

/// See the module.
pub(super) struct PrivateFolder {
    /// Held for as long as the folder is in use.
    _lock: File,
    folder: TempDir,
}

impl PrivateFolder {
    /// A new folder below `parent`, which is made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn new(parent: &Path) -> Result<Self> {
        PrivateFolder::make(parent).map_err(|cause| {
            Error::outside(format!("state cannot be kept below '{}': {cause}", parent.display()))
                .hint("Set 'thalweg.stateStore.path' to a folder on a disk with room.")
        })
    }

    fn make(parent: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(parent)?;
        remove_stale(parent);
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).permissions(private()).tempdir_in(parent)?;
            let path = folder.path().join(LOCK);
            let lock = File::create_new(&path)?;
            // Whoever is looking for stale folders may have come between the file and its lock; then there is another folder.
            if lock.try_lock().is_ok() && path.exists() {
                return Ok(PrivateFolder { _lock: lock, folder });
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn private() -> fs::Permissions {
    fs::Permissions::from_mode(0o700)
}

/// Removes the folders beside which nobody lives any more; what can't be removed (another user's) stays.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours && is_folder && is_stale(&entry.path()) {
            tracing::info!(folder = %entry.path().display(), "state of a process that was killed is removed");
            // It may have gone by itself.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_stale(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}
