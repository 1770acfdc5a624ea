//! `cleanSource`: deletes or archives files whose batch was committed. Best effort: a failure is logged and the file stays.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Sender, unbounded};

use super::options::Clean;
use super::tracker::Entry;
use crate::conf::Conf;
use crate::{Result, filepath};

/// Where committed files go.
pub(super) enum Cleaner {
    Off,
    /// On this thread (`numThreads` is 0).
    Now(Clean),
    /// On a thread of its own, which ends when this is dropped and its work is done.
    Thread(Sender<PathBuf>),
}

impl Cleaner {
    pub(super) fn start(clean: Clean, conf: &Conf) -> Result<Cleaner> {
        if clean == Clean::Off {
            return Ok(Cleaner::Off);
        }
        if conf.number("spark.sql.streaming.fileSource.cleaner.numThreads", 1)? <= 0 {
            return Ok(Cleaner::Now(clean));
        }
        let (sender, paths) = unbounded::<PathBuf>();
        let work = move || paths.iter().for_each(|path| remove(&path, &clean));
        std::thread::Builder::new().name("file-source-cleaner".into()).spawn(work)?;
        Ok(Cleaner::Thread(sender))
    }

    /// Cleans these files.
    pub(super) fn clean(&self, entries: Vec<Entry>) {
        let paths = entries.iter().map(|entry| filepath::from_uri(&entry.path));
        match self {
            Cleaner::Off => {}
            Cleaner::Now(clean) => paths.for_each(|path| remove(&path, clean)),
            Cleaner::Thread(sender) => paths.for_each(|path| drop(sender.send(path))),
        }
    }
}

fn remove(path: &Path, clean: &Clean) {
    let done = match clean {
        Clean::Off => Ok(()),
        Clean::Delete => std::fs::remove_file(path),
        Clean::Archive(folder) => archive(path, folder),
    };
    if let Err(error) = done {
        tracing::warn!(path = %path.display(), "cannot clean a file that was read: {error}");
    }
}

/// Moves a file below the archive folder, keeping its whole path.
fn archive(path: &Path, folder: &Path) -> std::io::Result<()> {
    let target = folder.join(path.strip_prefix("/").unwrap_or(path));
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::rename(path, target)
}
