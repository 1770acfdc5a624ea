//! The streaming half of the corpus with restarts: every case is broken off around every one of its batches and goes on in a new
//! session, on one and two workers in turn, and its batches must be those of Spark all the same.
//!
//! Around each batch the query is broken off in one of three ways ([`Break`]), drawn from `THALWEG_SEED`; with
//! `THALWEG_RESTARTS=all` each case is replayed with each way around all its batches. A failure names the seed.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::case::{self, Case, list};
use crate::replay::{Break, Breaks, replay_broken};
use crate::stream::{NOT_YET, differs};

const WAYS: [Break; 3] = [Break::Before, Break::After, Break::Uncommit];

/// Cases whose watermark comes later with restarts than without them, as in Spark, which recovers the watermark of the query and not
/// what each of its inputs had reached: one that has seen no row since a restart counts as 0 and holds back the minimum of all, one
/// whose newest rows are older than those before the restart holds it at those.
const HELD_BACK: [&str; 6] = [
    "errors/inner_null_keys_then_aggregate",
    "errors/semi_null_keys",
    "event_time/live_two_watermarks",
    "mode_combinations/join_agg_side_append",
    "stream_join/live_left_outer",
    "stream_join/uneven_files",
];

/// Cases are independent, so as many run at once as this.
const THREADS: usize = 2;

/// What a case that starts is tried with.
fn trials(case: &Case, seed: u64) -> Vec<(String, Breaks)> {
    if case.json["live"] == true {
        return vec![("between its steps".into(), Arc::new(|_, _| Break::None))];
    }
    if std::env::var("THALWEG_RESTARTS").is_ok_and(|value| value == "all") {
        let each = |way: Break| -> (String, Breaks) { (format!("{way:?}"), Arc::new(move |_, _| way)) };
        return WAYS.into_iter().map(each).collect();
    }
    let name = case.name.clone();
    vec![(format!("seed {seed}"), Arc::new(move |run, batch| way(&name, run, batch, seed)))]
}

/// The way that the seed draws for a batch.
fn way(case: &str, run: usize, batch: u64, seed: u64) -> Break {
    let mut hasher = DefaultHasher::new();
    (case, run, batch, seed).hash(&mut hasher);
    WAYS[hasher.finish() as usize % WAYS.len()]
}

/// What differs after restarts, by case.
fn difference(case: &Case, seed: u64) -> Vec<String> {
    let one = |(what, breaks): (String, Breaks)| {
        let found = differs(case, replay_broken(case, breaks))?;
        Some(format!("  {} ({what}): {found}", case.name))
    };
    trials(case, seed).into_iter().filter_map(one).collect()
}

/// Does something for each case, some at a time.
fn each(cases: &[Case], work: impl Fn(&Case) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(case);
                }
            });
        }
    });
}

#[test]
fn every_case_goes_on_after_a_restart_around_each_batch() {
    let seed = std::env::var("THALWEG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut cases = case::all();
    cases.retain(|case| !list(&case.json["expect"]["runs"]).is_empty() && case.json["quirk"].is_null());
    cases.retain(|case| NOT_YET.iter().all(|(name, _)| *name != case.name));
    cases.retain(|case| !HELD_BACK.contains(&case.name.as_str()));
    let failures = Mutex::new(Vec::new());
    each(&cases, |case| {
        let found = difference(case, seed);
        failures.lock().expect("no holder panics").extend(found);
    });
    let failures = failures.into_inner().expect("no holder panics");
    println!("{} cases with restarts, {} failed", cases.len(), failures.len());
    assert!(cases.len() > 100, "only {} cases were found", cases.len());
    assert!(failures.is_empty(), "{} cases differ after restarts:\n{}", failures.len(), failures.join("\n"));
}
