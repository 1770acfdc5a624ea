//! The lease: who may write to a checkpoint. Files `leases/G`; the highest G holds it, for good.
//!
//! ```text
//!  acquire: is the highest G free (given back, holder dead, no heartbeat for too long)? → create G+1, which one writer can
//!  heartbeat: a thread rewrites G now and then
//!  check: am I still the highest? before each epoch's offsets and commit
//! ```
//!
//! Numbers only grow, so a run that was thought dead finds itself replaced whenever it wakes. Between its check and its write
//! another run may have begun: then the epoch's file, which is created once, decides between the two.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::clock::SystemClock;
use crate::store::{Folder, Put};
use crate::threads::{self, JoinHandle};
use crate::{Error, Result};

/// Who asks for a lease.
#[derive(Debug, Clone)]
pub(crate) struct Applicant {
    /// The run.
    pub run_id: String,
    /// The query's name, or what else works on the checkpoint.
    pub name: Option<String>,
    /// How long it may be silent before others may think it dead.
    pub timeout: Duration,
}

/// What stands in a lease's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    /// The run.
    pub run_id: String,
    /// The query's name, or what else works on the checkpoint.
    #[serde(default)]
    pub name: Option<String>,
    /// Its process.
    #[serde(flatten)]
    pub process: Process,
    /// When it began, in milliseconds since 1970.
    pub since_ms: i64,
    /// When it last showed that it lives.
    pub heartbeat_ms: i64,
    /// How long it may be silent.
    pub timeout_ms: i64,
    /// True once it was given back.
    #[serde(default)]
    pub released: bool,
}

impl Holder {
    fn new(applicant: &Applicant) -> Self {
        let now = now();
        Holder {
            run_id: applicant.run_id.clone(),
            name: applicant.name.clone(),
            process: Process::this().clone(),
            since_ms: now,
            heartbeat_ms: now,
            timeout_ms: i64::try_from(applicant.timeout.as_millis()).unwrap_or(i64::MAX),
            released: false,
        }
    }

    /// True if nobody holds the lease any more.
    pub(crate) fn is_over(&self) -> bool {
        let in_this_process = self.process == *Process::this();
        let silent = now().saturating_sub(self.heartbeat_ms) > self.timeout_ms;
        self.released || self.process.is_dead() || (in_this_process && !live().contains(&self.run_id)) || silent
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let name = self.name.as_deref().map_or_else(|| "a query".to_owned(), |name| format!("'{name}'"));
        let Process { pid, host, boot, .. } = &self.process;
        let since = crate::query::progress::iso_millis(self.since_ms.saturating_mul(1000));
        format!("{name} (run {}) of process {pid} on host '{host}' (boot {boot}) since {since}", self.run_id)
    }
}

/// The runs of this process that hold a lease.
static LIVE: Mutex<Option<HashSet<String>>> = Mutex::new(None);

struct Live(MutexGuard<'static, Option<HashSet<String>>>);

fn live() -> Live {
    Live(LIVE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Live {
    fn contains(&self, run: &str) -> bool {
        self.0.as_ref().is_some_and(|runs| runs.contains(run))
    }
}

/// A lease that is held; given back when it is dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    folder: Folder,
    generation: u64,
    holder: Holder,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Lease {
    /// Takes the lease in this folder.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` if somebody else holds it, with who.
    pub(super) fn acquire(folder: Folder, applicant: &Applicant) -> Result<Lease> {
        // Before the file is there: whoever finds the file must find its run alive.
        live().0.get_or_insert_default().insert(applicant.run_id.clone());
        Lease::contend(folder, applicant).inspect_err(|_| {
            live().0.get_or_insert_default().remove(&applicant.run_id);
        })
    }

    fn contend(folder: Folder, applicant: &Applicant) -> Result<Lease> {
        loop {
            let newest = newest(&folder)?;
            if let Some(holder) = newest.map_or(Ok(None), |generation| read(&folder, generation))?
                && !holder.is_over()
            {
                return Err(held(&holder));
            }
            let (generation, holder) = (newest.map_or(0, |newest| newest + 1), Holder::new(applicant));
            if folder.put_bare(&generation.to_string(), &bytes(&holder)?, Put::New)? {
                return Lease::keep(folder, generation, holder);
            }
        }
    }

    fn keep(folder: Folder, generation: u64, holder: Holder) -> Result<Lease> {
        for older in numbers(&folder)?.into_iter().filter(|number| *number < generation) {
            folder.delete(&older.to_string())?;
        }
        let (ended, changed) = (Mutex::new(false), Condvar::new());
        let shared = Arc::new(Shared { folder, generation, holder, ended, changed });
        let beating = Arc::clone(&shared);
        let thread = threads::spawn("thalweg-lease", move || beating.beat())?;
        Ok(Lease { shared, thread: Some(thread) })
    }

    /// Makes sure that this run still holds the lease.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` if another run has it now, or the folder is gone.
    pub(super) fn check(&self) -> Result<()> {
        self.shared.check()
    }
}

impl Shared {
    fn check(&self) -> Result<()> {
        let newest = newest(&self.folder)?;
        if newest == Some(self.generation) {
            return Ok(());
        }
        Err(match newest.map_or(Ok(None), |newest| read(&self.folder, newest))? {
            Some(holder) => concurrent(format!("this run was replaced by {}", holder.describe())),
            None => concurrent(format!("the lease '{}' is gone", self.folder.place(&self.generation.to_string()))),
        })
    }

    /// Shows that this run lives until the lease ends or is lost.
    fn beat(&self) {
        let pause = Duration::from_millis(self.holder.timeout_ms.unsigned_abs() / 3).max(Duration::from_millis(10));
        loop {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if *threads::wait_while(&self.ended, &self.changed, ended, Some(pause), |ended| !*ended) {
                return;
            }
            let holder = Holder { heartbeat_ms: now(), ..self.holder.clone() };
            if let Err(error) = self.check().and_then(|()| self.rewrite(&holder)) {
                tracing::warn!("the lease on a checkpoint can't be renewed: {error}");
            }
        }
    }

    fn rewrite(&self, holder: &Holder) -> Result<()> {
        self.folder.put_bare(&self.generation.to_string(), &bytes(holder)?, Put::Hint).map(drop)
    }
}

impl Drop for Lease {
    /// Gives the lease back. If that fails, the end of the process or its silence does.
    fn drop(&mut self) {
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        live().0.get_or_insert_default().remove(&self.shared.holder.run_id);
        let released = Holder { released: true, heartbeat_ms: now(), ..self.shared.holder.clone() };
        if let Err(error) = self.shared.check().and_then(|()| self.shared.rewrite(&released)) {
            tracing::debug!("the lease on a checkpoint can't be given back: {error}");
        }
    }
}

/// Who has the lease in this folder, or had it last.
pub(super) fn holder(folder: &Folder) -> Result<Option<Holder>> {
    newest(folder)?.map_or(Ok(None), |newest| read(folder, newest))
}

fn numbers(folder: &Folder) -> Result<Vec<u64>> {
    Ok(folder.list()?.iter().filter_map(|entry| entry.name.parse().ok()).collect())
}

fn newest(folder: &Folder) -> Result<Option<u64>> {
    Ok(numbers(folder)?.into_iter().max())
}

/// A lease's file. One that can't be read (its disk lost power while it was renewed) is nobody's.
fn read(folder: &Folder, generation: u64) -> Result<Option<Holder>> {
    let bytes = folder.read_bare(&generation.to_string())?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn bytes(holder: &Holder) -> Result<Vec<u8>> {
    serde_json::to_vec(holder).map_err(|error| Error::internal("can't write a lease as JSON").caused_by(error))
}

fn now() -> i64 {
    SystemClock::shared().wall_micros().div_euclid(1000)
}

fn held(holder: &Holder) -> Error {
    concurrent(format!("the checkpoint is in use by {}", holder.describe()))
}

/// Two runs on one checkpoint.
pub(super) fn concurrent(message: String) -> Error {
    Error::outside(message)
        .with_condition("CONCURRENT_STREAM_LOG_UPDATE")
        .hint("Make sure that only one query runs on a checkpoint.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(run: &str) -> Applicant {
        Applicant { run_id: run.to_owned(), name: Some("words".into()), timeout: Duration::from_secs(60) }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::local(dir.path(), true).folder("leases");
        (dir, folder)
    }

    fn write(folder: &Folder, generation: u64, holder: &Holder) {
        folder.put_bare(&generation.to_string(), &bytes(holder).unwrap(), Put::Replace).unwrap();
    }

    fn elsewhere(run: &str) -> Holder {
        let process = Process { host: "elsewhere".into(), ..Process::this().clone() };
        Holder { process, ..Holder::new(&applicant(run)) }
    }

    #[test]
    fn c08_the_second_is_refused_and_told_who_holds_it() {
        let (_dir, folder) = folder();
        let first = Lease::acquire(folder.clone(), &applicant("c08-a")).unwrap();
        let error = Lease::acquire(folder.clone(), &applicant("c08-b")).err().unwrap();
        assert_eq!(error.condition(), Some("CONCURRENT_STREAM_LOG_UPDATE"));
        let pid = std::process::id();
        for part in ["'words'", "c08-a", &format!("process {pid}"), &Process::this().boot, "since 2"] {
            assert!(error.message().contains(part), "{error} lacks {part}");
        }
        drop(first);
        Lease::acquire(folder, &applicant("c08-b")).unwrap().check().unwrap();
    }

    #[test]
    fn c08_a_dead_or_silent_holder_is_replaced_and_fenced() {
        let (_dir, folder) = folder();
        let dead = Process { boot: "before".into(), ..Process::this().clone() };
        write(&folder, 3, &Holder { process: dead, ..elsewhere("c08-dead") });
        drop(Lease::acquire(folder.clone(), &applicant("c08-c")).unwrap());
        let now = now();
        write(&folder, 7, &Holder { heartbeat_ms: now - 60_001, ..elsewhere("c08-silent") });
        drop(Lease::acquire(folder.clone(), &applicant("c08-d")).unwrap());
        write(&folder, 20, &elsewhere("c08-alive"));
        assert!(Lease::acquire(folder.clone(), &applicant("c08-e")).is_err());
    }

    #[test]
    fn c08_a_holder_that_was_replaced_cannot_go_on() {
        let (_dir, folder) = folder();
        let zombie = Lease::acquire(folder.clone(), &applicant("c08-zombie")).unwrap();
        zombie.check().unwrap();
        write(&folder, 1, &elsewhere("c08-heir"));
        let error = zombie.check().unwrap_err();
        assert!(error.message().contains("c08-heir"), "{error}");
        drop(zombie);
        assert_eq!(holder(&folder).unwrap().unwrap().run_id, "c08-heir");
        assert!(!holder(&folder).unwrap().unwrap().released);
    }

    #[test]
    fn c09_a_folder_that_is_gone_stops_its_run() {
        let (dir, folder) = folder();
        let lease = Lease::acquire(folder, &applicant("c09")).unwrap();
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(lease.check().is_err());
        drop(lease);
        assert!(!dir.path().exists());
    }

    #[test]
    fn of_many_one_gets_it() {
        let (_dir, folder) = folder();
        let got = std::thread::scope(|scope| {
            let folder = &folder;
            let tries: Vec<_> = (0..6)
                .map(|n| scope.spawn(move || Lease::acquire(folder.clone(), &applicant(&format!("many-{n}"))).ok()))
                .collect();
            tries.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>().len()
        });
        assert_eq!(got, 1);
    }
}
