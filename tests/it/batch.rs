//! The static answers of the corpus: the same queries over the same input, read at once.
//!
//! A case passes if schema and rows (in order where the case says so) are Spark's, or if the query is refused as Spark
//! refuses it. Cases that differ are listed in one failure.

use serde_json::Value;
use thalweg::Result;
use thalweg::frame::DataFrame;

use crate::case::{self, Case, is_expected, list};
use crate::compare::{json_rows, json_schema, same_rows};
use crate::stream::NOT_YET;

fn run(case: &Case) -> Result<(Value, Vec<Value>)> {
    let folder = tempfile::tempdir()?;
    case.write_all(folder.path())?;
    let session = case.session();
    case.register(&session, folder.path(), false)?;
    let frame = case.query(&session)?;
    Ok((json_schema(&frame), json_rows(&frame.collect()?)?))
}

/// What differs from the expectation; nothing if the case passes.
fn difference(case: &Case) -> Option<String> {
    let expected = &case.json["expect"]["batch"];
    match (run(case), expected.get("error")) {
        (Err(error), Some(wanted)) => {
            (!is_expected(&error, wanted)).then(|| format!("refused with {error}, not {wanted}"))
        }
        (Err(error), None) => Some(format!("refused with {error}")),
        (Ok(_), Some(wanted)) => Some(format!("not refused with {wanted}")),
        (Ok((schema, rows)), None) => answer_difference(case, expected, &schema, &rows),
    }
}

fn answer_difference(case: &Case, expected: &Value, schema: &Value, rows: &[Value]) -> Option<String> {
    if *schema != expected["schema"] {
        return Some(format!("schema {schema}, not {}", expected["schema"]));
    }
    let wanted = list(&expected["rows"]);
    let ordered = case.json["ordered"] == true;
    (!same_rows(rows, wanted, schema, ordered)).then(|| {
        let lines = |rows: &[Value]| rows.iter().map(|row| format!("      {row}\n")).collect::<String>();
        format!("rows\n{}    not\n{}", lines(rows), lines(wanted))
    })
}

#[test]
fn static_queries_answer_as_spark() {
    let cases: Vec<Case> = case::all().into_iter().filter(|case| case.json["expect"].get("batch").is_some()).collect();
    assert!(case::is_foreign() || cases.len() > 100, "the corpus has {} static answers", cases.len());
    let differences = cases.iter().filter_map(|case| Some((case.name.as_str(), difference(case)?)));
    let (known, new): (Vec<_>, Vec<_>) =
        differences.partition(|(name, _)| NOT_YET.iter().any(|(listed, _)| listed == name));
    known.iter().for_each(|(name, why)| println!("not yet: {name}: {why}"));
    let failures: Vec<String> = new.iter().map(|(name, why)| format!("  {name}: {why}")).collect();
    println!(
        "batch: {} passed, {} failed, {} not yet",
        cases.len() - known.len() - failures.len(),
        failures.len(),
        known.len()
    );
    assert!(failures.is_empty(), "{} of {} cases differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn what_analysis_refuses_is_refused() {
    let refused = |case: &Case| case.json["expect"]["error"]["when"] == "analysis";
    let failures: Vec<String> =
        case::all().iter().filter(|case| refused(case)).filter_map(analysis_difference).collect();
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
}

fn analysis_difference(case: &Case) -> Option<String> {
    let wanted = &case.json["expect"]["error"];
    let build = || -> Result<DataFrame> {
        let folder = tempfile::tempdir()?;
        case.write_all(folder.path())?;
        let session = case.session();
        case.register(&session, folder.path(), true)?;
        case.query(&session)
    };
    match build() {
        Err(error) if is_expected(&error, wanted) => None,
        Err(error) => Some(format!("  {}: refused with {error}, not {}", case.name, wanted["condition"])),
        Ok(_) => Some(format!("  {}: not refused with {}", case.name, wanted["condition"])),
    }
}
