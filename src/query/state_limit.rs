//! How much state a query may keep: `thalweg.state.maxBytes`, or else four fifths of the memory that its process may use, if that is
//! less than the machine has: a process that its control group kills says nothing.
//!
//! In: the figures of all operators when an epoch closes. Out: an error that names the biggest ones, before anything of the epoch is
//! committed. So a query that was stopped by it goes on from the last epoch below the limit, once it may keep more.

use std::collections::BTreeMap;

use thalweg_operators::driver::StateMetrics;

use super::cgroup;
use crate::conf::Conf;
use crate::{Error, Result};

const SETTING: &str = "thalweg.state.maxBytes";
/// So many operators are named.
const NAMED: usize = 3;

/// A limit, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct StateLimit {
    bytes: Option<u64>,
    /// Who says so.
    by: &'static str,
}

impl StateLimit {
    /// The limit in force.
    ///
    /// # Errors
    /// A setting that is no size.
    pub(super) fn of(conf: &Conf) -> Result<StateLimit> {
        Ok(StateLimit::either(conf.bytes(SETTING)?, cgroup::memory_limit()))
    }

    fn either(set: Option<u64>, process: Option<u64>) -> StateLimit {
        match set {
            Some(_) => StateLimit { bytes: set, by: "setting 'thalweg.state.maxBytes'" },
            None => StateLimit { bytes: process.map(|bytes| bytes / 5 * 4), by: "the memory limit of the process" },
        }
    }

    /// Fails if the operators together keep more.
    ///
    /// # Errors
    /// `STATE_SIZE_LIMIT_EXCEEDED`.
    pub(super) fn check(self, operators: &BTreeMap<String, StateMetrics>) -> Result<()> {
        let held: u64 = operators.values().map(|metrics| metrics.memory_bytes).sum();
        match self.bytes.filter(|limit| held > *limit) {
            None => Ok(()),
            Some(limit) => Err(exceeded(held, (limit, self.by), operators)),
        }
    }
}

fn exceeded(held: u64, (limit, by): (u64, &str), operators: &BTreeMap<String, StateMetrics>) -> Error {
    let mut largest: Vec<(&String, &StateMetrics)> = operators.iter().collect();
    largest.sort_by_key(|(_, metrics)| std::cmp::Reverse(metrics.memory_bytes));
    let one = |(name, metrics): &(&String, &StateMetrics)| {
        format!("{name} {} in {} rows", mebibytes(metrics.memory_bytes), metrics.rows_total)
    };
    let largest: Vec<String> = largest.iter().take(NAMED).map(one).collect();
    let message = format!(
        "the query keeps {} of state, but {by} allows {}: {}",
        mebibytes(held),
        mebibytes(limit),
        largest.join(", ")
    );
    Error::outside(message).with_condition("STATE_SIZE_LIMIT_EXCEEDED").hint(
        "Let a watermark remove what is old, group by fewer keys, or raise the limit; the query then goes on from its checkpoint.",
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: &str) -> Result<()> {
        let mut conf = Conf::default();
        conf.set(SETTING, limit);
        let metrics = |rows_total, memory_bytes| StateMetrics { rows_total, memory_bytes, ..StateMetrics::default() };
        let operators = [("aggregate-1", metrics(10, 3 << 20)), ("dedup-2", metrics(7, 5 << 20))];
        let operators = operators.map(|(name, metrics)| (name.to_owned(), metrics)).into();
        StateLimit::of(&conf)?.check(&operators)
    }

    #[test]
    fn p01_too_much_state_is_named_largest_first() {
        check("8m").unwrap();
        let error = check("8388607").unwrap_err();
        assert_eq!(error.condition(), Some("STATE_SIZE_LIMIT_EXCEEDED"));
        assert!(error.message().ends_with("dedup-2 5.0 MiB in 7 rows, aggregate-1 3.0 MiB in 10 rows"), "{error}");
    }

    #[test]
    fn p08_without_a_setting_the_memory_of_the_process_is_the_limit() {
        let held = |bytes| {
            let metrics = StateMetrics { memory_bytes: bytes, ..StateMetrics::default() };
            BTreeMap::from([("aggregate-1".to_owned(), metrics)])
        };
        StateLimit::either(None, None).check(&held(u64::MAX)).unwrap();
        StateLimit::either(None, Some(1000)).check(&held(800)).unwrap();
        StateLimit::either(Some(5000), Some(1000)).check(&held(900)).unwrap();
        let error = StateLimit::either(None, Some(1000)).check(&held(801)).unwrap_err();
        assert!(error.message().contains("the memory limit of the process allows"), "{error}");
    }

    #[test]
    fn sizes_are_read_as_spark_does() {
        for wrong in ["", "-1", "1.5g", "many", "1 mb x"] {
            assert!(check(wrong).unwrap_err().message().contains(SETTING), "'{wrong}'");
        }
        for right in ["1g", "1GB", "20 mb", "99999k", "1t"] {
            check(right).unwrap();
        }
    }
}
