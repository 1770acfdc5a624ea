//! [`ColdStore`] on sled: one database a query, one tree an operator and worker.
//!
//! In: bytes under keys. Out: the same bytes. What always holds: nothing waits for the disk to be sure of anything, since the files
//! are of no use to another run; what sled fails with ends the query with an error that says where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_operators::cold::ColdStore;

use super::folder::PrivateFolder;
use crate::{Error, Result};

/// The least that sled's cache works with.
const LEAST_CACHE: u64 = 1 << 20;

/// A database in a folder of its own. Closed before the folder is removed.
pub(super) struct Home {
    database: ::sled::Db,
    folder: PrivateFolder,
}

impl Home {
    /// An empty database; `cache`: bytes of memory for pages of it.
    pub(super) fn open(folder: PrivateFolder, cache: u64) -> Result<Home> {
        let config = ::sled::Config::new()
            .path(folder.path().join("sled"))
            .mode(::sled::Mode::HighThroughput)
            .cache_capacity(cache.max(LEAST_CACHE))
            .flush_every_ms(None);
        let database = config.open().map_err(|cause| failed(folder.path(), &cause))?;
        Ok(Home { database, folder })
    }
}

/// A tree of a database.
pub(super) struct SledStore {
    tree: ::sled::Tree,
    path: PathBuf,
    /// Outlives the tree.
    _home: Arc<Home>,
}

impl SledStore {
    /// The tree of this name, which is made.
    pub(super) fn open(home: Arc<Home>, name: &str) -> Result<SledStore> {
        let path = home.folder.path().to_path_buf();
        let tree = home.database.open_tree(name).map_err(|cause| failed(&path, &cause))?;
        Ok(SledStore { tree, path, _home: home })
    }

    fn checked<T>(&self, result: ::sled::Result<T>) -> thalweg_operators::Result<T> {
        result.map_err(|cause| thalweg_operators::Error::outside(failed(&self.path, &cause)))
    }
}

fn failed(path: &Path, cause: &::sled::Error) -> Error {
    Error::outside(format!("the state store in '{}' failed: {cause}", path.display()))
        .with_condition("CANNOT_USE_STATE_STORE")
        .hint("See whether the disk is full; the query then goes on from its checkpoint.")
}

impl ColdStore for SledStore {
    fn put(&mut self, key: &[u8], value: &[u8]) -> thalweg_operators::Result<()> {
        self.checked(self.tree.insert(key, value)).map(drop)
    }

    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> thalweg_operators::Result<bool> {
        let found = self.checked(self.tree.get(key))?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn take(&mut self, key: &[u8], value: &mut Vec<u8>) -> thalweg_operators::Result<bool> {
        let found = self.checked(self.tree.remove(key))?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn walk(
        &mut self,
        from: &[u8],
        until: &[u8],
        see: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> thalweg_operators::Result<()> {
        if from >= until {
            return Ok(());
        }
        for entry in self.tree.range(from..until) {
            let (key, value) = self.checked(entry)?;
            if !see(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
