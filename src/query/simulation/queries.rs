//! The simulation's queries, and how what a sink holds in the end is compared with the batch answer.
//!
//! In: two DataFrames, streams or tables. Out: a query over them, and its rows as texts.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int8Type;

use super::NAME;
use crate::prelude::*;
use crate::show;
use crate::stateful::{GroupState, GroupStateTimeout, Rows};
use crate::types::zone::Zone;

/// How a query's output adds up to its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// All rows of append mode.
    Append,
    /// The last row of update mode for each of these many leading columns.
    Update(usize),
    /// The sum of the changelog.
    Changes,
    /// The last table of complete mode.
    Complete,
}

/// A query.
pub(super) struct Query {
    pub name: &'static str,
    /// Over the streams `events` and `others`.
    pub stream: fn(&DataFrame, &DataFrame) -> Result<DataFrame>,
    /// The same over tables.
    pub batch: fn(&DataFrame, &DataFrame) -> Result<DataFrame>,
    /// Whether rows leave, or are dropped, by event time.
    pub timed: bool,
    pub outputs: &'static [Output],
}

const fn query(
    name: &'static str,
    build: fn(&DataFrame, &DataFrame) -> Result<DataFrame>,
    timed: bool,
    outputs: &'static [Output],
) -> Query {
    Query { name, stream: build, batch: build, timed, outputs }
}

const ALL_OF_ONE_KEY: &[Output] = &[Output::Update(1), Output::Changes, Output::Complete];

/// All of them.
pub(super) static QUERIES: &[Query] = &[
    query("stateless", stateless, false, &[Output::Append, Output::Changes]),
    query("aggregate", aggregate, false, ALL_OF_ONE_KEY),
    query("totals", totals, false, ALL_OF_ONE_KEY),
    query("count distinct", count_distinct, false, ALL_OF_ONE_KEY),
    query("tumbling windows", tumbling, true, &[Output::Append, Output::Update(2)]),
    query("sliding windows", sliding, true, &[Output::Append, Output::Update(2)]),
    query("deduplication", deduplication, false, &[Output::Append]),
    query("sessions", sessions, true, &[Output::Append]),
    query("inner join", inner_join, true, &[Output::Append]),
    query("left outer join", outer_join, true, &[Output::Append]),
    query("aggregate of an aggregate", counts_of_counts, false, &[Output::Changes, Output::Complete]),
    query("first rows", first_rows, false, &[Output::Changes, Output::Complete]),
    query("difference", difference, false, &[Output::Changes]),
    query("join of aggregates", join_of_aggregates, false, &[Output::Changes, Output::Complete]),
    Query { name: "state of its own", stream: sums, batch: sums_answer, timed: false, outputs: &[Output::Update(1)] },
];

/// The stream or table of an input.
pub(super) fn read(session: &Session, name: &str, streaming: bool) -> Result<DataFrame> {
    match streaming {
        true => session.read_stream().format(NAME).option("name", name).load(),
        false => session.read().format(NAME).option("name", name).load(),
    }
}

fn exprs<const N: usize>(texts: [&str; N]) -> [Column; N] {
    texts.map(expr)
}

fn stateless(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    events.filter("v % 3 <> 0")?.select_expr(["k", "v * 2 AS w", "ts"])
}

fn aggregate(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    events.group_by(["k"]).agg(exprs(["count(*) AS n", "sum(v) AS s", "max(v) AS m", "avg(v) AS a"]))
}

/// What several workers can add up before rows are exchanged: nothing that is rounded.
fn totals(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    events.group_by(["k"]).agg(exprs(["count(*) AS n", "sum(v) AS s", "max(v) AS m"]))
}

fn count_distinct(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    events.group_by(["k"]).agg(exprs(["count(DISTINCT v) AS n"]))
}

fn windows(events: &DataFrame, window: &str) -> Result<DataFrame> {
    let grouped = events.with_watermark("ts", "5 seconds")?.group_by([expr(window).alias("w"), expr("k")]);
    grouped.agg(exprs(["count(*) AS n", "sum(v) AS s"]))?.select_expr(["w.start AS start", "k", "n", "s"])
}

fn tumbling(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    windows(events, "window(ts, '4 seconds')")
}

fn sliding(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    windows(events, "window(ts, '6 seconds', '2 seconds')")
}

fn deduplication(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    events.select_expr(["k", "v"])?.drop_duplicates(&["k", "v"])
}

fn sessions(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    let session = expr("session_window(ts, '2 seconds')").alias("w");
    let grouped = events.with_watermark("ts", "5 seconds")?.group_by([session, expr("k")]);
    let counted = grouped.agg(exprs(["count(*) AS n", "sum(v) AS s"]))?;
    counted.select_expr(["w.start AS start", "w.end AS end", "k", "n", "s"])
}

fn joined(events: &DataFrame, others: &DataFrame, how: &str) -> Result<DataFrame> {
    let left = events.with_watermark("ts", "5 seconds")?;
    let right = others.with_watermark("ts", "6 seconds")?;
    let right = right.select_expr(["k AS other", "ts AS at", "v AS w"])?;
    let near = expr("k = other AND at >= ts - INTERVAL 2 SECONDS AND at <= ts + INTERVAL 2 SECONDS");
    left.join(&right, near, how)
}

fn inner_join(events: &DataFrame, others: &DataFrame) -> Result<DataFrame> {
    joined(events, others, "inner")
}

fn outer_join(events: &DataFrame, others: &DataFrame) -> Result<DataFrame> {
    joined(events, others, "left_outer")
}

fn counts(events: &DataFrame) -> Result<DataFrame> {
    events.group_by(["k"]).agg(exprs(["count(*) AS n"]))
}

fn counts_of_counts(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    counts(events)?.group_by(["n"]).agg(exprs(["count(*) AS keys"]))
}

fn first_rows(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    counts(events)?.order_by([col("n").desc(), col("k").asc()])?.limit(3)
}

fn difference(events: &DataFrame, others: &DataFrame) -> Result<DataFrame> {
    events.select_expr(["k", "v"])?.except(&others.select_expr(["k", "v"])?)
}

fn join_of_aggregates(events: &DataFrame, others: &DataFrame) -> Result<DataFrame> {
    let right = counts(others)?.select_expr(["k AS other", "n AS m"])?;
    counts(events)?.join(&right, expr("k = other"), "inner")
}

/// The row of a group's sum.
#[derive(serde::Serialize, serde::Deserialize)]
struct Sum {
    k: String,
    s: i64,
}

/// What a group's function reads of a row.
#[derive(serde::Deserialize)]
struct Event {
    v: i64,
}

fn sums(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    let function = |key: &String, rows: Rows<'_, Event>, state: &mut GroupState<i64>| {
        let s = state.get().copied().unwrap_or(0) + rows.map(|event| event.v).sum::<i64>();
        state.update(s);
        Ok([Sum { k: key.clone(), s }])
    };
    events.group_by(["k"]).flat_map_groups_with_state("update", GroupStateTimeout::NoTimeout, function)
}

fn sums_answer(events: &DataFrame, _: &DataFrame) -> Result<DataFrame> {
    events.group_by(["k"]).agg(exprs(["sum(v) AS s"]))
}

/// Rows as texts.
pub(super) fn texts(rows: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let columns: Result<Vec<_>> = rows.columns().iter().map(|column| show::texts(column, &Zone::utc())).collect();
    let columns = columns?;
    let cell = |column: &Vec<Option<String>>, row: usize| column[row].clone().unwrap_or_else(|| "NULL".into());
    Ok((0..rows.num_rows()).map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect())
}

/// The result that an output adds up to, sorted.
pub(super) fn result(output: Output, epochs: &[(u64, RecordBatch)]) -> Result<Vec<String>> {
    let mut found = match output {
        Output::Append => lines(epochs)?,
        Output::Update(keys) => last_rows(epochs, keys)?,
        Output::Changes => sum(epochs)?,
        Output::Complete => {
            let last = epochs.iter().map(|(epoch, _)| *epoch).max();
            let of_last: Vec<_> = epochs.iter().filter(|(epoch, _)| Some(*epoch) == last).cloned().collect();
            lines(&of_last)?
        }
    };
    found.sort_unstable();
    Ok(found)
}

fn lines(epochs: &[(u64, RecordBatch)]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (_, rows) in epochs {
        all.extend(texts(rows)?.iter().map(|cells| cells.join("|")));
    }
    Ok(all)
}

fn last_rows(epochs: &[(u64, RecordBatch)], keys: usize) -> Result<Vec<String>> {
    let mut last = BTreeMap::new();
    for (_, rows) in epochs {
        last.extend(texts(rows)?.into_iter().map(|cells| (cells[..keys].to_vec(), cells.join("|"))));
    }
    Ok(last.into_values().collect())
}

/// The rows that the changes leave; one that was taken back more often than it came is marked.
fn sum(epochs: &[(u64, RecordBatch)]) -> Result<Vec<String>> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for (_, rows) in epochs {
        let changes = rows.column(rows.num_columns() - 1).as_primitive::<Int8Type>();
        for (cells, change) in texts(rows)?.iter().zip(changes.values()) {
            *counts.entry(cells[..cells.len() - 1].join("|")).or_default() += i64::from(*change);
        }
    }
    let times = |(row, count): (String, i64)| match usize::try_from(count) {
        Ok(count) => vec![row; count],
        Err(_) => vec![format!("{row} ({count} times)")],
    };
    Ok(counts.into_iter().flat_map(times).collect())
}
