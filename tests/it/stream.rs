//! The streaming half of the corpus: which batches run, what each reads, and which rows it emits.
//!
//! Every case is replayed with one and with two workers. A case passes if each run's batches have the same numbers, inputs,
//! watermarks and rows as in Spark, or if the query is refused or dies as it does there. Each area prints one line and its
//! failures; what is known to differ stands in [`NOT_YET`], and a case listed there must really differ.

use serde_json::Value;
use thalweg::{Error, Result};

use crate::case::{self, Case, is_expected, list};
use crate::compare::same_rows;
use crate::replay::{Batch, Run, replay};

/// Cases that differ from Spark, with the reason; the user's side of it stands in `docs/differences.md`.
pub const NOT_YET: &[(&str, &str)] = &[];

/// Areas of the corpus that have a test of their own; the rest is replayed by `stream_other_areas`.
const AREAS: [&str; 9] = [
    "aggregation",
    "dedup",
    "errors",
    "event_time",
    "mode_combinations",
    "programs",
    "restart",
    "stateless",
    "stream_join",
];

#[test]
fn aggregation() {
    check("aggregation");
}

#[test]
fn dedup() {
    check("dedup");
}

#[test]
fn errors() {
    check("errors");
}

#[test]
fn event_time() {
    check("event_time");
}

#[test]
fn mode_combinations() {
    check("mode_combinations");
}

#[test]
fn programs() {
    check("programs");
}

#[test]
fn restart() {
    check("restart");
}

#[test]
fn stateless() {
    check("stateless");
}

#[test]
fn stream_join() {
    check("stream_join");
}

#[test]
fn other_areas() {
    let mut areas: Vec<String> = case::all().iter().map(|case| case.area().to_owned()).collect();
    areas.dedup();
    areas.iter().filter(|area| !AREAS.contains(&area.as_str())).for_each(|area| check(area));
}

/// Replays the cases of an area.
fn check(area: &str) {
    let (mut passed, mut failures, mut stale) = (0, Vec::new(), Vec::new());
    let cases = case::all();
    for case in cases.iter().filter(|case| case.area() == area) {
        let known = NOT_YET.iter().find(|(name, _)| *name == case.name);
        match (difference(case), known, case.json["quirk"].as_str()) {
            (None, None, _) => passed += 1,
            (None, Some(_), _) => stale.push(case.name.as_str()),
            (Some(why), Some((_, reason)), _) => println!("not yet: {} ({reason})\n{why}", case.name),
            (Some(why), None, Some(quirk)) => println!("quirk: {} ({quirk})\n{why}", case.name),
            (Some(why), None, None) => failures.push(format!("  {}: {why}", case.name)),
        }
    }
    println!("{area}: {passed} passed, {} failed", failures.len());
    assert!(stale.is_empty(), "cases that pass are listed as known differences: {stale:?}");
    assert!(failures.is_empty(), "{} cases of {area} differ:\n{}", failures.len(), failures.join("\n"));
}

/// What differs from Spark; nothing if the case passes.
fn difference(case: &Case) -> Option<String> {
    let with = |workers: usize| {
        let found = difference_with(case, workers)?;
        Some(format!("({workers} workers) {found}"))
    };
    with(1).or_else(|| with(2))
}

fn difference_with(case: &Case, workers: usize) -> Option<String> {
    differs(case, replay(case, workers))
}

/// What is different in a replay; nothing if it is as in Spark.
pub fn differs(case: &Case, replayed: Result<Vec<Run>>) -> Option<String> {
    let expect = &case.json["expect"];
    match (replayed, expect.get("error")) {
        (Err(error), Some(wanted)) => refusal(&error, wanted),
        (Err(error), None) => refused_run(&error, &expect["runs"]),
        (Ok(runs), Some(wanted)) => died_at_once(&runs, wanted),
        (Ok(runs), None) => runs_differ(case, &runs),
    }
}

fn refusal(error: &Error, wanted: &Value) -> Option<String> {
    (!is_expected(error, wanted)).then(|| format!("refused with {error}, not {}", wanted["condition"]))
}

/// A query refused although Spark runs it is right only if Spark's run dies before its first batch.
fn refused_run(error: &Error, runs: &Value) -> Option<String> {
    match list(runs) {
        [run] if list(&run["batches"]).is_empty() && !run["error"].is_null() => refusal(error, &run["error"]),
        _ => Some(format!("refused with {error}")),
    }
}

fn died_at_once(runs: &[Run], wanted: &Value) -> Option<String> {
    match runs {
        [Run { batches, error: Some(error), .. }] if wanted["when"] == "run" && batches.is_empty() => {
            refusal(error, wanted)
        }
        _ => Some(format!("not refused with {}", wanted["condition"])),
    }
}

fn runs_differ(case: &Case, runs: &[Run]) -> Option<String> {
    let wanted = list(&case.json["expect"]["runs"]);
    if runs.len() != wanted.len() {
        return Some(format!("{} runs, not {}", runs.len(), wanted.len()));
    }
    let each = runs.iter().zip(wanted).enumerate();
    each.filter_map(|(n, (run, wanted))| Some(format!("run {n}: {}", run_differs(case, run, wanted)?))).next()
}

fn run_differs(case: &Case, run: &Run, wanted: &Value) -> Option<String> {
    let schema = wanted.get("schema").unwrap_or(&case.json["expect"]["schema"]);
    // A run without rows has not said its schema.
    if run.schema != *schema && !(run.batches.is_empty() && run.error.is_some()) {
        return Some(format!("schema {}, not {schema}", run.schema));
    }
    let batches = list(&wanted["batches"]);
    let first = run.batches.iter().zip(batches).find_map(|(batch, wanted)| batch_differs(case, batch, wanted, schema));
    first.or_else(|| end_differs(run, batches, &wanted["error"]))
}

/// Too few or too many batches, or another end.
fn end_differs(run: &Run, batches: &[Value], error: &Value) -> Option<String> {
    match (&run.error, error.is_null()) {
        (Some(error), true) => return Some(format!("after {} batches it died of {error}", run.batches.len())),
        (None, false) => return Some(format!("it did not die of {}", error["condition"])),
        (Some(given), false) if !is_expected(given, error) => {
            return Some(format!("it died of {given}, not {}", error["condition"]));
        }
        _ => {}
    }
    (run.batches.len() != batches.len()).then(|| {
        let next = run.batches.get(batches.len()).map(|batch| format!("{batch:?}"));
        let next = next.or_else(|| batches.get(run.batches.len()).map(Value::to_string)).unwrap_or_default();
        format!("{} batches, not {}: {next}", run.batches.len(), batches.len())
    })
}

fn batch_differs(case: &Case, batch: &Batch, wanted: &Value, schema: &Value) -> Option<String> {
    let at = format!("batch {}", batch.id);
    if wanted["id"] != batch.id {
        return Some(format!("{at}: its number is not {}", wanted["id"]));
    }
    let input: Value = batch.input.clone().into_iter().collect();
    let taken: Value = wanted["input"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let taken = without_nothing(taken);
    if input != taken {
        return Some(format!("{at}: reads {input}, not {taken}"));
    }
    let rows = list(&wanted["rows"]);
    if !same_rows(&batch.rows, rows, schema, case.json["ordered"] == true) {
        return Some(format!("{at}: rows\n{}    not\n{}", lines(&batch.rows), lines(rows)));
    }
    let watermark = wanted["watermark"].as_str();
    (batch.watermark.as_deref() != watermark)
        .then(|| format!("{at}: watermark {:?}, not {watermark:?}", batch.watermark))
}

/// Sources that gave nothing are not compared.
fn without_nothing(input: Value) -> Value {
    match input {
        Value::Object(sources) => sources.into_iter().filter(|(_, files)| !list(files).is_empty()).collect(),
        other => other,
    }
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("      {row}\n")).collect()
}
