//! Which output columns of an update query are keys, read off the query's text.
//!
//! In: a case. Out: the columns that neither are aggregates nor are computed from some. An aggregate is known by its call; its
//! alias carries the mark on: to a column whose expression mentions it, through any number of selects and subqueries.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::case::{Case, list, text};

/// Calls that aggregate; names that end in `_` stand for all that begin so.
const AGGREGATES: &[&str] = &[
    "count",
    "count_if",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "min_by",
    "max_by",
    "first",
    "last",
    "any",
    "some",
    "every",
    "collect_",
    "approx_",
    "bool_",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bitmap_construct_agg",
    "bitmap_or_agg",
    "bitmap_and_agg",
    "histogram_numeric",
    "stddev",
    "stddev_",
    "variance",
    "var_",
    "percentile",
    "percentile_",
    "median",
    "mode",
    "listagg",
    "string_agg",
];

/// The key columns; none if no column is an aggregate, as then every row counts. `SELECT DISTINCT` is an aggregation whose columns all
/// are keys.
pub fn key_columns(case: &Case) -> Option<Vec<usize>> {
    if text(&case.json["query"]["sql"]).trim_start().to_lowercase().starts_with("select distinct") {
        return Some((0..list(&case.json["expect"]["schema"]).len()).collect());
    }
    let mut definitions = Vec::new();
    definitions_in(&case.json["query"], &mut definitions);
    definitions_in(&case.json["views"], &mut definitions);
    let columns = list(&case.json["expect"]["schema"]);
    let names: Vec<&str> = columns.iter().map(|column| text(&column[0])).collect();
    keys_of(&names, &definitions)
}

fn keys_of(names: &[&str], definitions: &[(String, String)]) -> Option<Vec<usize>> {
    let aggregated = aggregated(definitions);
    let is_key = |name: &str| !calls_aggregate(name) && !aggregated.contains(&name.to_lowercase());
    let keys: Vec<usize> = (0..names.len()).filter(|column| is_key(names[*column])).collect();
    (keys.len() < names.len()).then_some(keys)
}

/// The aliases of aggregates and of all that is computed from them, in lower case.
fn aggregated(definitions: &[(String, String)]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        let is_new = |(expression, alias): &&(String, String)| {
            !found.contains(alias) && (calls_aggregate(expression) || mentions(expression, &found))
        };
        let new: Vec<String> = definitions.iter().filter(is_new).map(|(_, alias)| alias.clone()).collect();
        if new.is_empty() {
            return found;
        }
        found.extend(new);
    }
}

fn calls_aggregate(expression: &str) -> bool {
    let is_aggregate =
        |word: &str| AGGREGATES.iter().any(|name| word == *name || (name.ends_with('_') && word.starts_with(name)));
    words(expression).any(|(place, word)| is_aggregate(word) && expression[place + word.len()..].starts_with('('))
}

/// True if one of the names stands in the expression as a word, and not as the bound of a window.
fn mentions(expression: &str, names: &BTreeSet<String>) -> bool {
    let of_window = |place: usize| expression[..place].ends_with("window.");
    words(expression).any(|(place, word)| names.contains(word) && !of_window(place))
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = text.split(|c: char| !is_of_word(c));
    let place = move |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    parts.filter(|part| !part.is_empty()).map(move |part| (place(part), part))
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Collects `(expression, alias)`, in lower case, of all texts within a value.
fn definitions_in(value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => definitions_of(&text.to_lowercase(), into),
        Value::Array(values) => values.iter().for_each(|value| definitions_in(value, into)),
        Value::Object(fields) => {
            if let (Some(name), Some(expression)) = (value["name"].as_str(), value["expr"].as_str()) {
                into.push((expression.to_lowercase(), name.to_lowercase()));
            }
            fields.values().for_each(|value| definitions_in(value, into));
        }
        _ => {}
    }
}

/// Every `expression AS alias` of a text.
fn definitions_of(text: &str, into: &mut Vec<(String, String)>) {
    for (place, separator) in text.match_indices(" as ") {
        let rest = text[place + separator.len()..].trim_start();
        let alias: String = rest.trim_start_matches('`').chars().take_while(|c| is_of_word(*c)).collect();
        into.push((text[expression_start(&text[..place])..place].to_owned(), alias));
    }
}

/// Where the expression that ends with the text begins: behind a comma, an open parenthesis or `SELECT` of its own depth.
fn expression_start(before: &str) -> usize {
    let mut depth = 0;
    for (place, c) in before.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' if depth == 0 => return place + 1,
            '(' => depth -= 1,
            ',' if depth == 0 => return place + 1,
            _ if depth == 0 && before[place..].starts_with("select ") => return place + "select ".len(),
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(names: &[&str], query: Value) -> Option<Vec<usize>> {
        let mut definitions = Vec::new();
        definitions_in(&query, &mut definitions);
        keys_of(names, &definitions)
    }

    #[test]
    fn what_is_computed_from_aggregates_is_no_key() {
        let query =
            json!([{"aggs": ["sum(a) AS p", "max_by(x, y) AS t"]}, {"exprs": ["k", "round(100.0 * p / t, 1) AS pct"]}]);
        assert_eq!(keys(&["k", "pct"], query), Some(vec![0]));
        let query = json!({"name": "twice", "expr": "2 * n", "aggs": ["COUNT(*) AS n"]});
        assert_eq!(keys(&["k", "twice"], query), Some(vec![0]));
    }

    #[test]
    fn subqueries_carry_the_mark_and_names_are_whole_words() {
        let query =
            json!("SELECT k, round(p / 2, 1) AS half, pk FROM (SELECT k, pk, sum(v) AS p FROM t GROUP BY k, pk)");
        assert_eq!(keys(&["k", "half", "pk"], query), Some(vec![0, 2]));
        let query = json!(["min(ts) AS start", "sum(v) AS s", "window.start AS ws", "lower(name) AS sa", "sum"]);
        assert_eq!(keys(&["ws", "sa", "s", "sum(v)", "sum"], query), Some(vec![0, 1, 4]));
    }

    #[test]
    fn without_aggregates_every_row_counts() {
        assert_eq!(keys(&["k"], json!("SELECT DISTINCT lower(k) AS k FROM events")), None);
    }
}
