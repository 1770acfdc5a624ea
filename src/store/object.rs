//! An object store as a store: an object appears whole, and conditional puts decide between writers.
//!
//! `memory:NAME` is a store of this process by that name, gone with it: for tests and tries. `s3:` needs the feature `s3`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{Error as ObjectError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayloadMut};

use super::{Entry, Pieces, Put, Store};
use crate::blocking::block_on;
use crate::{Error, Result};

/// Objects below a prefix.
struct Objects {
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// What the user wrote.
    location: String,
}

/// The store of a URL.
///
/// # Errors
/// `UNSUPPORTED_FILE_SYSTEM` for a scheme that this build does not know.
pub(super) fn open(location: &str) -> Result<Arc<dyn Store>> {
    let location = location.trim_end_matches('/').to_owned();
    let (scheme, name) = location.split_once(':').unwrap_or((&location, ""));
    let (objects, prefix) = match scheme {
        "memory" => (memory(name), ObjectPath::default()),
        #[cfg(feature = "s3")]
        "s3" | "s3a" => s3(&location)?,
        _ => return Err(unknown(scheme)),
    };
    Ok(Arc::new(Objects { objects, prefix, location }))
}

fn unknown(scheme: &str) -> Error {
    let error = Error::unsupported(format!("file system '{scheme}' is not supported for checkpoints"));
    let hint = match scheme {
        "s3" | "s3a" => "Build with the feature s3.",
        _ => "Use a local path, a file: URI or memory:NAME.",
    };
    error.with_condition("UNSUPPORTED_FILE_SYSTEM").hint(hint)
}

/// The store of this name in this process.
fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<InMemory>>>> = OnceLock::new();
    let mut stores = STORES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    stores.entry(name.trim_start_matches('/').to_owned()).or_default().clone()
}

/// Bucket and prefix of `s3://bucket/prefix`; credentials from the environment, as the AWS tools read them.
#[cfg(feature = "s3")]
fn s3(location: &str) -> Result<(Arc<dyn ObjectStore>, ObjectPath)> {
    let rest = location.split_once("://").map_or("", |(_, rest)| rest);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let objects = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let objects = objects.map_err(|cause| failed("open", location, cause))?;
    Ok((Arc::new(objects), ObjectPath::from(prefix)))
}

fn failed(what: &str, place: &str, cause: ObjectError) -> Error {
    Error::outside(format!("can't {what} '{place}': {cause}")).caused_by(cause)
}

impl Objects {
    fn full(&self, path: &str) -> ObjectPath {
        path.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |full, part| full.join(part))
    }

    /// Waits for a call; `None` if there is no such object.
    fn call<T: Send>(
        &self,
        what: &str,
        path: &str,
        call: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<Option<T>> {
        block_on(async {
            match call.await {
                Ok(value) => Ok(Some(value)),
                Err(ObjectError::NotFound { .. }) => Ok(None),
                Err(cause) => Err(failed(what, &self.place(path), cause)),
            }
        })
    }
}

fn entry(object: &ObjectMeta) -> Entry {
    let name = object.location.filename().unwrap_or_default().to_owned();
    Entry { name, modified: Some(object.last_modified.into()) }
}

fn folder(prefix: &ObjectPath) -> Entry {
    Entry { name: prefix.filename().unwrap_or_default().to_owned(), modified: None }
}

impl Store for Objects {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let full = self.full(path);
        let bytes = self.call("read", path, async { self.objects.get(&full).await?.bytes().await })?;
        Ok(bytes.map(Vec::from))
    }

    fn put(&self, path: &str, pieces: Pieces<'_>, how: Put) -> Result<bool> {
        let mode = if how == Put::New { PutMode::Create } else { PutMode::Overwrite };
        let mut payload = PutPayloadMut::new();
        for piece in pieces {
            payload.extend_from_slice(&piece?);
        }
        let (full, payload) = (self.full(path), payload.freeze());
        let put = async {
            match self.objects.put_opts(&full, payload, PutOptions::from(mode)).await {
                Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => Ok(false),
                put => put.map(|_| true),
            }
        };
        Ok(self.call("write", path, put)?.unwrap_or(false))
    }

    fn exists(&self, path: &str) -> Result<bool> {
        let full = self.full(path);
        Ok(self.call("look for", path, self.objects.head(&full))?.is_some())
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let full = self.full(path);
        let listed = self.call("list", path, self.objects.list_with_delimiter(Some(&full)))?;
        let Some(listed) = listed else { return Ok(Vec::new()) };
        Ok(listed.objects.iter().map(entry).chain(listed.common_prefixes.iter().map(folder)).collect())
    }

    fn delete(&self, path: &str) -> Result<()> {
        let full = self.full(path);
        self.call("remove", path, self.objects.delete(&full)).map(drop)
    }

    fn delete_folder(&self, path: &str) -> Result<()> {
        let full = self.full(path);
        let delete = async {
            let found: Vec<ObjectMeta> = self.objects.list(Some(&full)).try_collect().await?;
            for object in found {
                self.objects.delete(&object.location).await?;
            }
            Ok(())
        };
        self.call("remove", path, delete).map(drop)
    }

    fn tidy(&self) -> Result<()> {
        Ok(())
    }

    fn settle(&self, _folders: &[String]) -> Result<()> {
        Ok(())
    }

    fn place(&self, path: &str) -> String {
        if path.is_empty() { self.location.clone() } else { format!("{}/{path}", self.location) }
    }
}
