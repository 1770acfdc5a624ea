//! Reports of benches: a table for people, one JSON object for programs.
//!
//! In: rows of values under names. Out: standard output. In the table a column is headed by its name with blanks for
//! underscores; whole numbers are grouped by thousands.

use serde_json::{Map, Value, json};
use thalweg::Result;

use super::super::output::print;
use super::super::table::{self, grouped};

/// One line of a report: names and values in order.
pub(super) type Row = Map<String, Value>;

/// Makes a row.
pub(super) fn row<const N: usize>(values: [(&str, Value); N]) -> Row {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Prints the report of `bench`; all rows have the names of the first.
///
/// # Errors
/// If standard output is closed.
pub(super) fn show(bench: &str, rows: &[Row], as_json: bool) -> Result<()> {
    if as_json {
        return print(&format!("{}\n", json!({ "bench": bench, "rows": rows })));
    }
    let header = rows.iter().take(1).map(|row| row.keys().map(|name| name.replace('_', " ")).collect());
    let lines: Vec<Vec<String>> = header.chain(rows.iter().map(|row| row.values().map(cell).collect())).collect();
    let mut text = String::new();
    table::push(&lines, super::super::bold_output(), &mut text);
    print(&text)
}

/// A value as people read it.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => grouped(whole),
            None => number.as_f64().map_or_else(|| number.to_string(), |number| format!("{number:.2}")),
        },
        other => other.to_string(),
    }
}

/// Events per second as a whole number; null if the time is not known or too short to be measured.
pub(super) fn rate(events: u64, seconds: Option<f64>) -> Value {
    match seconds.filter(|seconds| *seconds > 0.0) {
        Some(seconds) => json!((events as f64 / seconds).round() as u64),
        None => Value::Null,
    }
}

/// Seconds to the millisecond.
pub(super) fn seconds(seconds: f64) -> Value {
    json!((seconds * 1e3).round() / 1e3)
}
