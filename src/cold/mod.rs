//! Where the state of a query lies while it runs: in memory, or beyond a budget of memory in files of sled's.
//!
//! In: settings ([`StateStore::of`]). Out: for each instance of an operator a store of its own ([`ColdFiles::cold`]), to which the
//! operator sends what it has not used for long ([`thalweg_operators::cold`]).
//! What always holds: the files are disposable. A run begins without any, with the state that the checkpoint has; they lie in a
//! folder that only this process's user can look into and that is gone when the query ends.

mod folder;
mod sled;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use thalweg_operators::cold::Cold;

use crate::conf::Conf;
use crate::options::nearest;
use crate::plan::dataflow::{DataflowPlan, Kind, Node};
use crate::{Error, Result, filepath};

use self::folder::PrivateFolder;
use self::sled::SledStore;

const STORE: &str = "thalweg.stateStore";
const MEMORY: &str = "thalweg.stateStore.memory";
const PATH: &str = "thalweg.stateStore.path";
const PROVIDER: &str = "spark.sql.streaming.stateStore.providerClass";
/// What state may take of memory if nobody says.
const DEFAULT_MEMORY: u64 = 256 << 20;

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateStore {
    /// All of it in memory.
    Memory,
    /// What has not been used for long in files.
    Sled(SledRules),
}

/// How much stays in memory, and where the rest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SledRules {
    /// Bytes of memory for the state of the whole query.
    memory: u64,
    /// The folder below which the files lie.
    path: PathBuf,
}

impl StateStore {
    /// `thalweg.stateStore`: `memory` (default) or `sled`; where it is not set, Spark's provider class says the same.
    ///
    /// # Errors
    /// Another store, or a size or path that is none.
    pub(crate) fn of(conf: &Conf) -> Result<StateStore> {
        match (conf.get(STORE), conf.get(PROVIDER)) {
            (Some(name), _) => StateStore::named(name, conf),
            (None, Some(class)) => StateStore::provided(class, conf),
            (None, None) => Ok(StateStore::Memory),
        }
    }

    fn named(name: &str, conf: &Conf) -> Result<StateStore> {
        const NAMES: [&str; 2] = ["memory", "sled"];
        match name.trim().to_ascii_lowercase().as_str() {
            "memory" => Ok(StateStore::Memory),
            "sled" => Ok(StateStore::Sled(SledRules::of(conf)?)),
            _ => {
                let error = Error::invalid(format!("setting '{STORE}' should be 'memory' or 'sled' but is '{name}'"));
                match nearest(name, NAMES.into_iter()) {
                    Some(near) => Err(error.hint(format!("Did you mean '{near}'?"))),
                    None => Err(error),
                }
            }
        }
    }

    /// Spark's class for state beyond memory stands for sled, the one for state in memory for that.
    fn provided(class: &str, conf: &Conf) -> Result<StateStore> {
        match class.rsplit('.').next().unwrap_or_default() {
            "RocksDBStateStoreProvider" => Ok(StateStore::Sled(SledRules::of(conf)?)),
            "HDFSBackedStateStoreProvider" => Ok(StateStore::Memory),
            _ => Err(Error::invalid(format!("setting '{PROVIDER}' names the class '{class}', which is not known"))
                .hint(format!("Set '{STORE}' to 'memory' or 'sled'."))),
        }
    }

    /// Whether state may lie in files.
    pub(crate) fn exceeds_memory(&self) -> bool {
        matches!(self, StateStore::Sled(_))
    }

    /// The operators that send state to files.
    pub(crate) fn cold_operators(&self, plan: &DataflowPlan) -> Vec<String> {
        let cold = stateful(plan).filter(|node| self.exceeds_memory() && goes_cold(node));
        cold.map(|node| node.id.clone()).collect()
    }

    /// Where each operator with state keeps it, for people; nothing if all is in memory.
    pub(crate) fn explain(&self, plan: &DataflowPlan) -> Option<String> {
        let StateStore::Sled(rules) = self else { return None };
        let place = |node: &Node| if goes_cold(node) { "sled" } else { "memory, all of it" };
        let nodes: Vec<String> = stateful(plan).map(|node| format!("{}: {}", node.id, place(node))).collect();
        Some(format!("{} bytes in memory, more in {}\n{}", rules.memory, rules.path.display(), nodes.join("\n")))
    }

    /// The files for a run of `plan` on so many workers; nothing if all is in memory or no operator has use for them.
    ///
    /// # Errors
    /// A folder in which nothing can be made.
    pub(crate) fn open(&self, plan: &DataflowPlan, workers: usize) -> Result<Option<ColdFiles>> {
        let StateStore::Sled(rules) = self else { return Ok(None) };
        let (cold, hot): (Vec<&Node>, Vec<&Node>) = stateful(plan).partition(|node| goes_cold(node));
        // Without keys there is one group, or one a window.
        for node in hot.iter().filter(|node| !matches!(node.kind, Kind::Group(_))) {
            tracing::warn!(operator = %node.id, "its state stays in memory, whatever '{STORE}' says");
        }
        if cold.is_empty() {
            return Ok(None);
        }
        let shares = (cold.len() * workers.max(1)) as u64;
        // A quarter is for the cache of what lies in files.
        let (cache, budget) = (rules.memory / 4, (rules.memory - rules.memory / 4) / shares);
        let home = sled::Home::open(PrivateFolder::new(&rules.path)?, cache)?;
        Ok(Some(ColdFiles { home: Arc::new(home), budget: usize::try_from(budget).unwrap_or(usize::MAX) }))
    }
}

impl SledRules {
    fn of(conf: &Conf) -> Result<SledRules> {
        let path = conf.get(PATH).map_or_else(|| Ok(std::env::temp_dir()), filepath::parse)?;
        Ok(SledRules { memory: conf.bytes(MEMORY)?.unwrap_or(DEFAULT_MEMORY), path })
    }
}

/// The operators that keep state from epoch to epoch.
fn stateful(plan: &DataflowPlan) -> impl Iterator<Item = &Node> {
    plan.nodes().into_iter().filter(|node| {
        let kind = &node.kind;
        let keeps = matches!(kind, Kind::Group(_) | Kind::Session(_) | Kind::Dedup(_) | Kind::Join(_));
        keeps || node.is_differential() || matches!(kind, Kind::Arbitrary(_) | Kind::Table | Kind::Net(_))
    })
}

/// Whether this operator sends state to files. One group is no state that could exceed memory.
pub(crate) fn goes_cold(node: &Node) -> bool {
    match &node.kind {
        Kind::Group(group) => !group.keys.is_empty(),
        Kind::Dedup(dedup) => !dedup.keys.is_empty(),
        Kind::Session(session) => !session.keys.is_empty(),
        Kind::Join(join) => !join.on.is_empty(),
        Kind::Arbitrary(state) => !state.keys.is_empty(),
        _ => false,
    }
}

/// The files of a running query.
pub(crate) struct ColdFiles {
    home: Arc<sled::Home>,
    /// Bytes of memory for each instance of an operator.
    budget: usize,
}

impl ColdFiles {
    /// The store of an operator on a worker, empty.
    ///
    /// # Errors
    /// What sled fails with.
    pub(crate) fn cold(&self, operator: &str, worker: usize) -> Result<Cold> {
        let store = SledStore::open(Arc::clone(&self.home), &format!("{operator}@{worker}"))?;
        Ok(Cold::new(Box::new(store), self.budget))
    }
}
