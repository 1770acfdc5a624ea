//! The runs of this process, by the checkpoint they work on: a query that starts again stops its former run first.
//!
//! In: where a checkpoint lies, and the run that wants it. Out: the place is free for that run. Runs of other processes are the
//! business of the checkpoint's lease.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::state::QueryState;
use crate::conf::Conf;
use crate::{Error, Result, filepath};

type Run = (String, Weak<QueryState>);

static RUNS: Mutex<Vec<Run>> = Mutex::new(Vec::new());

/// Waits at most this long for the former run, if `spark.sql.streaming.stopTimeout` does not say.
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes that `state` runs at `location`, after it has stopped the run that does so now.
///
/// # Errors
/// `CONCURRENT_QUERY` if `spark.sql.streaming.stopActiveRunOnRestart` is false and there is one, or if it does not stop in time.
pub(super) fn take_over(location: &str, state: &Arc<QueryState>, conf: &Conf) -> Result<()> {
    let place = place(location);
    let stop = conf.flag("spark.sql.streaming.stopActiveRunOnRestart", true)?;
    let limit = stop_timeout(conf)?.unwrap_or(PATIENCE);
    while let Some(former) = register(&place, state) {
        if !stop {
            return Err(active(&place).hint("Stop it, or set 'spark.sql.streaming.stopActiveRunOnRestart' to true."));
        }
        tracing::warn!(checkpoint = %place, "the active run of the query is stopped because the query starts again");
        former.request_stop();
        // How it ended does not matter here.
        if !former.wait(Some(limit)).unwrap_or(true) {
            return Err(active(&place).hint("It did not stop in time."));
        }
    }
    Ok(())
}

/// `spark.sql.streaming.stopTimeout` in milliseconds; 0, the default, is no limit.
pub(super) fn stop_timeout(conf: &Conf) -> Result<Option<Duration>> {
    let millis = conf.number("spark.sql.streaming.stopTimeout", 0)?;
    Ok(u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis))
}

/// Notes the run, unless another one is active at this place: gives that one.
fn register(place: &str, state: &Arc<QueryState>) -> Option<Arc<QueryState>> {
    let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    runs.retain(|(_, run)| run.upgrade().is_some_and(|run| run.is_active()));
    let former = runs.iter().find(|(at, _)| at == place).and_then(|(_, run)| run.upgrade());
    if former.is_none() {
        runs.push((place.to_owned(), Arc::downgrade(state)));
    }
    former
}

/// One name for one folder.
fn place(location: &str) -> String {
    match filepath::parse(location) {
        Ok(path) => filepath::resolved(&path).display().to_string(),
        Err(_) => location.to_owned(),
    }
}

fn active(place: &str) -> Error {
    Error::outside(format!("a query is active on the checkpoint '{place}' in this process"))
        .with_condition("CONCURRENT_QUERY")
}
