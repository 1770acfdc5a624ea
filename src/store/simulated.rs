//! A disk in memory that behaves as badly as disks may: it loses what was not synced when the power goes, keeps files by halves,
//! fills up, fails to sync, and stops in the middle of anything. For tests.
//!
//! In: a seed, and the one thing that goes wrong in a run ([`Fault`]). Out: a [`Disk`] for [`super::local`]. What always holds: what
//! goes wrong depends on the seed and on what is written, not on the clock or on which thread is faster: operations are counted by
//! kind and by what they are about ([`Spot`]), and names drawn at random do not matter.
//!
//! The model: a file has bytes in memory and bytes on the platter, and so have the names in a folder. `sync` copies the first to
//! the second. When the power goes, each name that differs is the one or the other, and of each file that differs a prefix in
//! whole pages reached the platter, or what was there before. When only the process dies everything in memory stays.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::local::LocalStore;
use super::{Entry, Folder};
use crate::{Result, threads};

const PAGE: usize = 4096;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    Create,
    Write,
    Sync,
    /// Renamed, or given a second name.
    Name,
    SyncFolder,
    Remove,
}

/// Every step.
pub(crate) const STEPS: [Step; 6] = [Step::Create, Step::Write, Step::Sync, Step::Name, Step::SyncFolder, Step::Remove];

/// One operation: the n-th of its kind on files of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    /// `offsets`, `commits`, `state`, ...: the first name below the store's root; `sums` for files of checksums.
    pub about: String,
    pub step: Step,
    /// How many such operations happen before.
    pub passes: u64,
}

/// What goes wrong at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The process dies; of bytes that are being written the first half is.
    Kill,
    /// The power goes.
    PowerLoss,
    /// Nothing can be written from here on until the process starts again.
    Full,
    /// Once, and what could not be synced never is.
    SyncFails,
}

/// The one thing that goes wrong in a run.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub spot: Spot,
    pub trouble: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    File(u64),
    Folder,
}

#[derive(Default)]
struct Names {
    now: BTreeMap<String, Name>,
    durable: BTreeMap<String, Name>,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed: the system believes that the bytes are on the platter.
    given_up: bool,
}

#[derive(Default)]
struct State {
    seed: u64,
    boots: u64,
    files: HashMap<u64, Content>,
    next: u64,
    folders: BTreeMap<PathBuf, Names>,
    fault: Option<Fault>,
    passed: HashMap<(String, Step), u64>,
    happened: Option<Trouble>,
    trace: u64,
}

/// The disk. Clones are the same one.
#[derive(Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

static DISKS: Mutex<BTreeMap<String, SimulatedDisk>> = Mutex::new(BTreeMap::new());

fn disks() -> MutexGuard<'static, BTreeMap<String, SimulatedDisk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of `//DISK/path`.
pub(super) fn open(location: &str) -> Result<Folder> {
    let (name, path) = location.trim_start_matches('/').split_once('/').unwrap_or_default();
    let disk = disks().get(name).cloned().ok_or_else(|| crate::Error::invalid(format!("there is no disk '{name}'")))?;
    let store = LocalStore::on(Arc::new(disk), &Path::new("/").join(path), true);
    Ok(Folder { store: Arc::new(store), path: String::new() })
}

fn hash(values: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

/// What a path is about, and the path without what was drawn at random in it.
fn about(path: &Path) -> (String, String) {
    let text = path.display().to_string().replace('~', "/");
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".temporary").collect();
    let known = |part: &&str| part.len() < 36 || part.matches('-').count() < 4;
    let fixed: Vec<&str> =
        parts.iter().filter(|part| known(part)).map(|part| part.split('-').next().unwrap_or_default()).collect();
    let sums = parts.iter().any(|part| part.ends_with(".crc"));
    // The first part is the store's root, or the temporary file's store.
    let kind = if sums { "sums" } else { parts.get(1).copied().unwrap_or_default() };
    (kind.to_owned(), fixed.join("/"))
}

impl SimulatedDisk {
    /// An empty disk by this name.
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let mut state = State { seed, ..State::default() };
        state.folders.insert(PathBuf::from("/"), Names::default());
        let disk = SimulatedDisk(Arc::new(Mutex::new(state)));
        disks().insert(name.to_owned(), disk.clone());
        disk
    }

    /// Forgets the disk of this name.
    pub(crate) fn discard(name: &str) {
        disks().remove(name);
    }

    /// The next run begins: what goes wrong in it.
    pub(crate) fn arm(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.fault = fault;
        state.passed.clear();
        state.happened = None;
    }

    /// The run is over: what went wrong, if it came so far. After a loss of power, what is left is on the disk.
    pub(crate) fn restart(&self) -> Option<Trouble> {
        let mut state = self.lock();
        let happened = state.happened.take();
        state.fault = None;
        state.boots += 1;
        if happened == Some(Trouble::PowerLoss) {
            state.lose();
        }
        happened
    }

    /// What operations happened in this run, and how often.
    pub(crate) fn passed(&self) -> BTreeMap<(String, Step), u64> {
        self.lock().passed.iter().map(|(spot, count)| (spot.clone(), *count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hash of all operations so far, in order.
    pub(crate) fn trace(&self) -> u64 {
        self.lock().trace
    }

    /// An operation begins. Another thread may come first.
    fn step(&self, step: Step, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        threads::chance();
        let mut state = self.lock();
        state.step(step, path)?;
        Ok(state)
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("no '{}'", path.display()))
}

/// The folder and the name in it.
fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), name.to_string_lossy().into_owned())),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        match self.happened {
            Some(Trouble::Kill | Trouble::PowerLoss) => Err(io::Error::other("the process is dead")),
            _ => Ok(()),
        }
    }

    /// Counts the operation; the error that it meets.
    fn step(&mut self, step: Step, path: &Path) -> io::Result<()> {
        self.alive()?;
        let (kind, fixed) = about(path);
        self.trace = hash((self.trace, step, fixed));
        let count = self.passed.entry((kind.clone(), step)).or_default();
        let passes = *count;
        *count += 1;
        let full = || io::Error::new(ErrorKind::StorageFull, "no space left on the disk");
        if self.happened == Some(Trouble::Full) && matches!(step, Step::Create | Step::Write) {
            return Err(full());
        }
        let Some(fault) = &self.fault else { return Ok(()) };
        if self.happened.is_some() || fault.spot != (Spot { about: kind, step, passes }) {
            return Ok(());
        }
        self.happened = Some(fault.trouble);
        Err(match fault.trouble {
            Trouble::Kill | Trouble::PowerLoss => io::Error::other("the process dies here"),
            Trouble::Full => full(),
            Trouble::SyncFails => io::Error::other("input/output error"),
        })
    }

    fn names(&mut self, folder: &Path) -> io::Result<&mut Names> {
        self.folders.get_mut(folder).ok_or_else(|| missing(folder))
    }

    fn find(&mut self, path: &Path) -> io::Result<Name> {
        let (folder, name) = split(path)?;
        self.names(&folder)?.now.get(&name).copied().ok_or_else(|| missing(path))
    }

    fn file(&mut self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Name::File(id) => Ok(id),
            Name::Folder => Err(ErrorKind::IsADirectory.into()),
        }
    }

    /// Adds a name that must be free.
    fn add(&mut self, path: &Path, what: Name) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let names = self.names(&folder)?;
        if names.now.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        names.now.insert(name, what);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = split(path)?;
        self.names(&folder)?.now.remove(&name).map(drop).ok_or_else(|| missing(path))
    }

    fn sync(&mut self, id: u64) {
        if let Some(content) = self.files.get_mut(&id).filter(|content| !content.given_up) {
            content.durable = content.now.clone();
        }
    }

    /// The power goes.
    fn lose(&mut self) {
        let (seed, boots) = (self.seed, self.boots);
        let mut paths = HashMap::new();
        for (folder, names) in &mut self.folders {
            let all: BTreeSet<String> = names.now.keys().chain(names.durable.keys()).cloned().collect();
            for name in all {
                let path = folder.join(&name);
                let kept = hash((seed, boots, about(&path).1)) % 2 == 0;
                let what = if kept { names.now.get(&name) } else { names.durable.get(&name) }.copied();
                match what {
                    Some(Name::File(id)) => drop(paths.insert(id, path)),
                    Some(Name::Folder) => {}
                    None => drop(names.now.remove(&name)),
                }
                what.map(|what| names.now.insert(name, what));
            }
            names.durable = names.now.clone();
        }
        self.files.retain(|id, _| paths.contains_key(id));
        for (id, content) in &mut self.files {
            content.settle(hash((seed, boots, "content", about(&paths[id]).1)));
        }
        self.drop_unreachable();
    }

    /// Folders whose name was lost are gone with all in them.
    fn drop_unreachable(&mut self) {
        let folders: Vec<PathBuf> = self.folders.keys().filter(|folder| folder.parent().is_some()).cloned().collect();
        for folder in folders {
            if self.find(&folder).ok() != Some(Name::Folder) {
                self.folders.remove(&folder);
            }
        }
        // A folder that came back by its name alone is empty.
        let named: Vec<PathBuf> = self
            .folders
            .iter()
            .flat_map(|(folder, names)| {
                let folders = names.now.iter().filter(|(_, what)| **what == Name::Folder);
                folders.map(|(name, _)| folder.join(name)).collect::<Vec<_>>()
            })
            .collect();
        for folder in named {
            self.folders.entry(folder).or_default();
        }
    }
}

impl Content {
    /// What reached the platter.
    fn settle(&mut self, chance: u64) {
        if self.now != self.durable {
            let pages = self.now.len().div_ceil(PAGE) as u64;
            let kept = usize::try_from((chance >> 8) % (pages + 1)).unwrap_or(0) * PAGE;
            let torn = self.now[..kept.min(self.now.len())].to_vec();
            self.now = if chance.is_multiple_of(2) { torn } else { std::mem::take(&mut self.durable) };
            self.durable = self.now.clone();
        }
        self.given_up = false;
    }
}

impl Disk for SimulatedDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        state.alive()?;
        let id = state.file(path)?;
        Ok(state.files.get(&id).map(|content| content.now.clone()).unwrap_or_default())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.lock();
        state.alive()?;
        Ok(state.folders.contains_key(path) || state.find(path).is_ok())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.lock();
        state.alive()?;
        let names = state.names(folder)?.now.keys().cloned();
        Ok(names.map(|name| Entry { name, modified: None }).collect())
    }

    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn DiskFile>> {
        split(path).and_then(|(folder, _)| self.lock().names(&folder).map(drop))?;
        let mut state = self.step(Step::Create, path)?;
        let id = state.next;
        state.add(path, Name::File(id))?;
        state.next += 1;
        state.files.insert(id, Content::default());
        Ok(Box::new(OpenFile { disk: self.clone(), id, path: path.to_owned() }))
    }

    fn make_folder(&self, path: &Path, _mode: u32) -> io::Result<()> {
        let mut state = self.lock();
        state.alive()?;
        if state.folders.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.add(path, Name::Folder)?;
        state.folders.insert(path.to_owned(), Names::default());
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(Step::SyncFolder, &path.join("*"))?;
        let names = state.names(path)?;
        names.durable = names.now.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (folder, name) = split(to)?;
        self.lock().names(&folder)?;
        let mut state = self.step(Step::Name, to)?;
        let what = state.find(from)?;
        state.remove(from)?;
        state.names(&folder)?.now.insert(name, what);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        split(to).and_then(|(folder, _)| self.lock().names(&folder).map(drop))?;
        let mut state = self.step(Step::Name, to)?;
        let what = state.find(from)?;
        state.add(to, what)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(Step::Remove, path)?;
        state.remove(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(Step::Remove, path)?;
        state.names(path)?;
        state.remove(path)?;
        state.folders.retain(|folder, _| !folder.starts_with(path));
        Ok(())
    }
}

struct OpenFile {
    disk: SimulatedDisk,
    id: u64,
    path: PathBuf,
}

impl OpenFile {
    fn append(&self, state: &mut State, bytes: &[u8]) {
        if let Some(content) = state.files.get_mut(&self.id) {
            content.now.extend_from_slice(bytes);
        }
    }
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        threads::chance();
        let mut state = self.disk.lock();
        let before = state.happened;
        let met = state.step(Step::Write, &self.path);
        if met.is_err() && before.is_none() {
            self.append(&mut state, &bytes[..bytes.len() / 2]);
        }
        met?;
        self.append(&mut state, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn sync(&mut self) -> io::Result<()> {
        threads::chance();
        let mut state = self.disk.lock();
        let met = state.step(Step::Sync, &self.path);
        if met.is_err() && state.happened == Some(Trouble::SyncFails) {
            state.files.entry(self.id).or_default().given_up = true;
        }
        met?;
        state.sync(self.id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> (SimulatedDisk, Folder) {
        let disk = SimulatedDisk::new(name, 1);
        (disk, open(&format!("//{name}/ck")).unwrap())
    }

    fn fault(about: &str, step: Step, trouble: Trouble) -> Option<Fault> {
        Some(Fault { spot: Spot { about: about.into(), step, passes: 0 }, trouble })
    }

    #[test]
    fn what_is_durable_survives_a_loss_of_power_in_new_folders_too() {
        for seed in 0..40 {
            let name = format!("durable-{seed}");
            let (disk, folder) = (SimulatedDisk::new(&name, seed), open(&format!("//{name}/a/b")).unwrap());
            folder.folder("state").folder("0-x").put_bare("op", &[7; 9000], super::super::Put::Replace).unwrap();
            folder.folder("commits").create("0", b"done").unwrap();
            disk.lock().happened = Some(Trouble::PowerLoss);
            disk.restart();
            assert_eq!(folder.folder("state").folder("0-x").read_bare("op").unwrap().unwrap(), [7; 9000]);
            assert_eq!(folder.folder("commits").read("0").unwrap().unwrap(), b"done");
        }
    }

    #[test]
    fn names_above_a_store_that_a_killed_run_made_survive_a_loss_of_power() {
        for (step, seed) in STEPS[..4].iter().flat_map(|step| (0..10).map(move |seed| (*step, seed))) {
            let name = format!("above-{step:?}-{seed}");
            let (disk, folder) = (SimulatedDisk::new(&name, seed), open(&format!("//{name}/a/b/ck")).unwrap());
            disk.arm(fault("b", step, Trouble::Kill));
            assert!(folder.create("0", b"one").is_err());
            disk.restart();
            folder.settle(&[]).unwrap();
            assert!(folder.create("1", b"two").unwrap());
            disk.lock().happened = Some(Trouble::PowerLoss);
            disk.restart();
            assert_eq!(folder.read("1").unwrap().unwrap(), b"two", "{step:?} {seed}");
        }
    }

    #[test]
    fn k02_k04_a_file_is_there_whole_or_not_at_all() {
        for (step, seed) in STEPS.into_iter().flat_map(|step| (0..10).map(move |seed| (step, seed))) {
            let name = format!("whole-{step:?}-{seed}");
            let (disk, folder) = (SimulatedDisk::new(&name, seed), open(&format!("//{name}/ck")).unwrap());
            disk.arm(fault("offsets", step, Trouble::PowerLoss));
            let wrote = folder.folder("offsets").create("5", &[3; 10_000]);
            disk.restart();
            let found = folder.folder("offsets").read("5").unwrap();
            assert!(found.as_ref().is_none_or(|bytes| *bytes == [3; 10_000]), "{step:?} {seed}");
            assert!(wrote.is_err() || found.is_some(), "{step:?} {seed}: it was promised and is lost");
        }
    }

    #[test]
    fn c01_a_full_disk_is_an_error_and_leaves_nothing_behind() {
        for step in [Step::Create, Step::Write] {
            let (disk, folder) = disk(&format!("full-{step:?}"));
            disk.arm(fault("commits", step, Trouble::Full));
            let error = folder.folder("commits").create("1", b"content").unwrap_err();
            assert!(error.message().contains("no space left") && error.message().contains("/commits/1'"), "{error}");
            assert!(folder.store.list(".temporary").unwrap().is_empty());
            disk.restart();
            assert!(folder.folder("commits").create("1", b"content").unwrap());
        }
    }

    #[test]
    fn c02_a_sync_that_failed_is_an_error_and_is_not_tried_again() {
        let (disk, folder) = disk("sync");
        disk.arm(fault("commits", Step::Sync, Trouble::SyncFails));
        let error = folder.folder("commits").create("1", b"content").unwrap_err();
        assert!(error.message().contains("input/output error"), "{error}");
        assert_eq!(disk.passed()[&("commits".to_owned(), Step::Sync)], 1);
        assert!(!folder.folder("commits").exists("1").unwrap());
    }
}
