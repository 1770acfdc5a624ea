//! The differential lane against computing everything again after each epoch: on random changes, any chunks, paces, numbers of
//! workers, and a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int8Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::aggregate::{Aggregation, aggregate};
use super::join::{Kind, Spec, join};
use super::rank::{Numbering, Ranking, rank};
use super::{FineStream, Input, Place, region};
use crate::aggregate::{AggregateFunction, Options};
use crate::change::{append, split};
use crate::group::AggregateCall;
use crate::harness::graph::{Ran, Script, ScriptEpoch, run_graph};
use crate::harness::{ints, long_rows};
use crate::join::On;
use crate::sort::SortKey;
use crate::time::NO_WATERMARK;
use crate::{Error, Pace, Result, snapshot};

/// Key and value.
type Row = (Option<i64>, Option<i64>);
/// A change of an input: worker, port, row, whether it is an insertion.
type Change = (usize, usize, Row, bool);
/// Rows of a result, sorted.
type Rows = Vec<Vec<Option<i64>>>;

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>()))
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.9, 0i64..3), prop::option::weighted(0.9, 0i64..4))
}

fn epochs() -> impl Strategy<Value = Vec<Vec<Change>>> {
    prop::collection::vec(prop::collection::vec((0usize..4, 0usize..2, row(), prop::bool::weighted(0.65)), 0..10), 1..5)
}

/// Takes out what would take back a row that is not there when its epoch ends.
fn sound(epochs: Vec<Vec<Change>>) -> Vec<Vec<Change>> {
    let mut held: BTreeMap<(usize, Row), i64> = BTreeMap::new();
    let fits = |change: &Change, held: &mut BTreeMap<(usize, Row), i64>| {
        let count = held.entry((change.1, change.2)).or_default();
        let fits = change.3 || *count > 0;
        *count += if !fits {
            0
        } else if change.3 {
            1
        } else {
            -1
        };
        fits
    };
    epochs.into_iter().map(|epoch| epoch.into_iter().filter(|c| fits(c, &mut held)).collect()).collect()
}

fn chunk(changes: &[Change]) -> RecordBatch {
    let keys: Vec<_> = changes.iter().map(|change| change.2.0).collect();
    let values: Vec<_> = changes.iter().map(|change| change.2.1).collect();
    let signs: Int8Array = changes.iter().map(|change| Some(if change.3 { 1 } else { -1 })).collect();
    append(&ints(&[("k", &keys), ("v", &values)]), signs).unwrap()
}

/// What is run: how, and from where.
#[derive(Clone)]
struct Setting {
    workers: usize,
    pace: Pace,
    /// Rows a chunk.
    chunk: usize,
    /// The first epoch, and the state to start from.
    start: u64,
    state: BTreeMap<String, Vec<RecordBatch>>,
}

fn script(epochs: &[Vec<Change>], ports: usize, setting: &Setting) -> Script {
    let epoch = |(number, changes): (usize, &Vec<Change>)| {
        let mut rows = Vec::new();
        for worker in 0..setting.workers {
            for port in 0..ports {
                let own = |change: &&Change| change.0 % setting.workers == worker && change.1 == port;
                let own: Vec<Change> = changes.iter().filter(own).copied().collect();
                rows.extend(own.chunks(setting.chunk).map(|part| (worker, port, chunk(part))));
            }
        }
        let rows = if (number as u64) < setting.start { Vec::new() } else { rows };
        ScriptEpoch { watermarks: vec![NO_WATERMARK; ports], rows }
    };
    Script {
        workers: setting.workers,
        pace: setting.pace,
        routes: vec![None; ports],
        watermark: NO_WATERMARK,
        epochs: epochs.iter().enumerate().map(epoch).collect(),
    }
}

/// Runs a region over the changes; `build` makes it inside.
fn run(
    epochs: &[Vec<Change>],
    ports: usize,
    width: usize,
    setting: &Setting,
    build: impl for<'s> Fn(Vec<FineStream<'s>>, &Place) -> Result<FineStream<'s>> + Send + Sync + 'static,
) -> Ran {
    let own = setting.clone();
    run_graph(script(epochs, ports, setting), move |worker, place, inputs| {
        let place = Place::new("region", place.pace, own.start, place.hashing, place.observer);
        let scope = inputs[0].0.scope();
        let inputs = inputs.into_iter().enumerate().map(|(port, (stream, _))| {
            let name = format!("input-{port}");
            let state = own.state.get(&name).cloned().unwrap_or_default();
            let state = snapshot::owned(&state, worker, own.workers).unwrap();
            Input { name, stream, schema: schema(&["k", "v"]), changelog: true, state }
        });
        let inputs: Vec<_> = inputs.collect();
        region::<Error>(scope, &place, inputs, width, |_, streams| build(streams, &place)).unwrap()
    })
}

fn add(table: &mut BTreeMap<Vec<Option<i64>>, i64>, rows: &[RecordBatch]) {
    for rows in rows {
        let (bare, signs) = split(rows).unwrap();
        for (row, sign) in long_rows(&[bare]).into_iter().zip(signs.values()) {
            *table.entry(row).or_default() += i64::from(*sign);
        }
    }
    table.retain(|_, count| *count != 0);
}

fn listed(table: &BTreeMap<Vec<Option<i64>>, i64>) -> Rows {
    let rows = table.iter().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), (*count).max(0) as usize));
    assert!(table.values().all(|count| *count > 0), "rows were taken back that were not there: {table:?}");
    rows.collect()
}

/// The rows of an input after some epochs.
fn held(epochs: &[Vec<Change>], port: usize) -> Vec<Row> {
    let mut rows = BTreeMap::<Row, i64>::new();
    for change in epochs.iter().flatten().filter(|change| change.1 == port) {
        *rows.entry(change.2).or_default() += if change.3 { 1 } else { -1 };
    }
    rows.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count.max(0) as usize)).collect()
}

/// Runs and compares with the oracle after each epoch; then once more from the state after `restart`.
fn agrees(
    changes: &[Vec<Change>],
    ports: usize,
    width: usize,
    setting: (usize, bool, usize, usize),
    build: impl for<'s> Fn(Vec<FineStream<'s>>, &Place) -> Result<FineStream<'s>> + Clone + Send + Sync + 'static,
    oracle: impl Fn(&[Vec<Row>]) -> Rows,
) {
    let (workers, eager, size, restart) = setting;
    let pace = if eager { Pace::Eager } else { Pace::Epoch };
    let mut setting = Setting { workers, pace, chunk: size, start: 0, state: BTreeMap::new() };
    let ran = run(changes, ports, width, &setting, build.clone());
    compare(changes, ports, &ran, 0, BTreeMap::new(), &oracle);
    let start = restart.min(changes.len() - 1) + 1;
    if start < changes.len() {
        let table = compare(&changes[..start], ports, &ran, 0, BTreeMap::new(), &oracle);
        let states = ran.states.iter().filter(|((_, epoch), _)| *epoch == start as u64 - 1);
        setting.state = states.map(|((name, _), state)| (name.clone(), state.clone())).collect();
        setting.start = start as u64;
        setting.workers = 1 + workers % 3;
        let again = run(changes, ports, width, &setting, build);
        compare(changes, ports, &again, start, table, &oracle);
    }
}

fn compare(
    changes: &[Vec<Change>],
    ports: usize,
    ran: &Ran,
    from: usize,
    mut table: BTreeMap<Vec<Option<i64>>, i64>,
    oracle: &impl Fn(&[Vec<Row>]) -> Rows,
) -> BTreeMap<Vec<Option<i64>>, i64> {
    assert!(ran.failures.is_empty(), "{:?}", ran.failures);
    for epoch in from..changes.len() {
        add(&mut table, &ran.rows_of(epoch as u64));
        let inputs: Vec<Vec<Row>> = (0..ports).map(|port| held(&changes[..=epoch], port)).collect();
        let mut expected = oracle(&inputs);
        expected.sort();
        assert_eq!(listed(&table), expected, "after epoch {epoch}");
    }
    table
}

fn call(name: &str, args: &[usize]) -> AggregateCall {
    let types: Vec<DataType> = args.iter().map(|_| DataType::Int64).collect();
    let function = AggregateFunction::new(name, &types, Options::default()).expect("a known aggregate");
    AggregateCall { function, args: args.to_vec(), filter: None }
}

/// Key (or none), then two aggregates of the value.
fn aggregation(global: bool, first: &str, second: &str) -> Aggregation {
    let names: &[&str] = if global { &["a", "b"] } else { &["k", "a", "b"] };
    Aggregation {
        keys: if global { vec![] } else { vec![0] },
        aggregates: vec![call(first, &[1]), call(second, &[1])],
        input: schema(&["k", "v"]),
        output: schema(names),
    }
}

fn grouped(rows: &[Row], global: bool, row: impl Fn(Vec<Option<i64>>) -> [Option<i64>; 2]) -> Rows {
    let mut groups: BTreeMap<Option<i64>, Vec<Option<i64>>> = BTreeMap::new();
    if global {
        groups.insert(None, Vec::new());
    }
    rows.iter().for_each(|(k, v)| groups.entry(if global { None } else { *k }).or_default().push(*v));
    let row = |(key, values): (Option<i64>, Vec<Option<i64>>)| {
        let values = row(values).into_iter();
        if global { values.collect() } else { std::iter::once(key).chain(values).collect() }
    };
    groups.into_iter().map(row).collect()
}

fn count_and_sum(values: Vec<Option<i64>>) -> [Option<i64>; 2] {
    let known: Vec<i64> = values.into_iter().flatten().collect();
    [Some(known.len() as i64), (!known.is_empty()).then(|| known.iter().sum())]
}

fn extremes(values: Vec<Option<i64>>) -> [Option<i64>; 2] {
    [values.iter().flatten().min().copied(), values.iter().flatten().max().copied()]
}

const KINDS: [Kind; 8] = [
    Kind::Inner,
    Kind::Left,
    Kind::Right,
    Kind::Full,
    Kind::LeftSemi,
    Kind::LeftAnti,
    Kind::RightSemi,
    Kind::RightAnti,
];

fn join_spec(kind: Kind, null_safe: bool, condition: bool) -> Spec {
    let less = |rows: &RecordBatch| -> Result<BooleanArray> {
        let (l, r) = (rows.column(1).as_primitive::<Int64Type>(), rows.column(3).as_primitive::<Int64Type>());
        Ok(l.iter().zip(r).map(|(l, r)| Some(l? < r?)).collect())
    };
    Spec {
        kind,
        on: vec![On { left: 0, right: 0, null_safe }],
        condition: if condition { Some(std::rc::Rc::new(less)) } else { None },
        sides: [schema(&["k", "v"]), schema(&["k", "v"])],
        joined: schema(&["lk", "lv", "rk", "rv"]),
    }
}

fn joined(kind: Kind, null_safe: bool, condition: bool, left: &[Row], right: &[Row]) -> Rows {
    let matches = |l: &Row, r: &Row| {
        let equal = l.0 == r.0 && (null_safe || l.0.is_some());
        equal && (!condition || l.1.zip(r.1).is_some_and(|(l, r)| l < r))
    };
    let one = |row: &Row| vec![row.0, row.1];
    let lonely_left = || left.iter().filter(|l| !right.iter().any(|r| matches(l, r)));
    let lonely_right = || right.iter().filter(|r| !left.iter().any(|l| matches(l, r)));
    let mut rows = Vec::new();
    if matches!(kind, Kind::Inner | Kind::Left | Kind::Right | Kind::Full) {
        let pairs = left.iter().flat_map(|l| right.iter().map(move |r| (l, r))).filter(|(l, r)| matches(l, r));
        rows.extend(pairs.map(|(l, r)| [one(l), one(r)].concat()));
    }
    if matches!(kind, Kind::Left | Kind::Full) {
        rows.extend(lonely_left().map(|l| [one(l), vec![None, None]].concat()));
    }
    if matches!(kind, Kind::Right | Kind::Full) {
        rows.extend(lonely_right().map(|r| [vec![None, None], one(r)].concat()));
    }
    match kind {
        Kind::LeftAnti => rows.extend(lonely_left().map(one)),
        Kind::RightAnti => rows.extend(lonely_right().map(one)),
        Kind::LeftSemi => rows.extend(left.iter().filter(|l| right.iter().any(|r| matches(l, r))).map(one)),
        Kind::RightSemi => rows.extend(right.iter().filter(|r| left.iter().any(|l| matches(l, r))).map(one)),
        _ => {}
    }
    rows
}

fn ranking(keep: Option<(Numbering, u64)>, skip: u64) -> Ranking {
    Ranking {
        partition: vec![0],
        order: vec![SortKey { column: 1, descending: true, nulls_first: false }],
        numberings: vec![Numbering::RowNumber, Numbering::Rank, Numbering::DenseRank],
        keep,
        skip,
        input: schema(&["k", "v"]),
        output: schema(&["k", "v", "row", "rank", "dense"]),
    }
}

fn ranked(rows: &[Row], keep: Option<(Numbering, u64)>, skip: u64) -> Rows {
    let mut partitions: BTreeMap<Option<i64>, Vec<Option<i64>>> = BTreeMap::new();
    rows.iter().for_each(|(k, v)| partitions.entry(*k).or_default().push(*v));
    let mut result = Vec::new();
    for (key, mut values) in partitions {
        // Largest first, nulls last.
        values.sort_by_key(|value| std::cmp::Reverse(*value));
        for (at, value) in values.iter().enumerate() {
            let before: std::collections::BTreeSet<_> = values[..at].iter().filter(|v| *v != value).collect();
            let rank = values[..at].iter().filter(|v| *v != value).count() as u64 + 1;
            let numbers = [at as u64 + 1, rank, before.len() as u64 + 1];
            let kept = keep.is_none_or(|(numbering, most)| numbers[numbering as usize] <= most);
            if kept && at as u64 >= skip {
                result.push([vec![key, *value], numbers.map(|n| Some(n as i64)).to_vec()].concat());
            }
        }
    }
    result
}

fn first<T>(streams: Vec<T>) -> T {
    streams.into_iter().next().expect("there is an input")
}

fn two<T>(streams: Vec<T>) -> (T, T) {
    let mut streams = streams.into_iter();
    (streams.next().expect("there is a left input"), streams.next().expect("there is a right input"))
}

fn setting() -> impl Strategy<Value = (usize, bool, usize, usize)> {
    (1usize..4, any::<bool>(), 1usize..4, 0usize..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_agree(changes in epochs(), setting in setting(), global: bool) {
        let spec = aggregation(global, "count", "sum");
        prop_assert!(spec.is_incremental());
        let (changes, width) = (sound(changes), spec.output.fields().len());
        agrees(&changes, 1, width, setting, move |streams, place| aggregate(first(streams), place, &spec), |inputs| {
            grouped(&inputs[0], global, count_and_sum)
        });
    }

    #[test]
    fn groups_computed_again_agree(changes in epochs(), setting in setting(), global: bool) {
        let spec = aggregation(global, "min", "max");
        prop_assert!(!spec.is_incremental());
        let (changes, width) = (sound(changes), spec.output.fields().len());
        agrees(&changes, 1, width, setting, move |streams, place| aggregate(first(streams), place, &spec), |inputs| {
            grouped(&inputs[0], global, extremes)
        });
    }

    #[test]
    fn an_aggregation_over_another_agrees(changes in epochs(), setting in setting()) {
        // How many keys have each count, and the sum of their sums.
        let below = aggregation(false, "count", "sum");
        let above = Aggregation {
            keys: vec![1],
            aggregates: vec![call("count", &[0]), call("sum", &[2])],
            input: below.output.clone(),
            output: schema(&["n", "a", "b"]),
        };
        agrees(&sound(changes), 1, 3, setting, move |streams, place| {
            aggregate(aggregate(first(streams), place, &below)?, place, &above)
        }, |inputs| {
            let mut counts: BTreeMap<Option<i64>, Vec<Vec<Option<i64>>>> = BTreeMap::new();
            let groups = grouped(&inputs[0], false, count_and_sum);
            groups.into_iter().for_each(|row| counts.entry(row[1]).or_default().push(row));
            let sum = |rows: &[Vec<Option<i64>>]| {
                let known: Vec<i64> = rows.iter().filter_map(|row| row[2]).collect();
                (!known.is_empty()).then(|| known.iter().sum())
            };
            let keys = |rows: &[Vec<Option<i64>>]| rows.iter().filter(|row| row[0].is_some()).count() as i64;
            counts.into_iter().map(|(n, rows)| vec![n, Some(keys(&rows)), sum(&rows)]).collect()
        });
    }

    #[test]
    fn joins_agree(changes in epochs(), setting in setting(), kind in 0usize..8, null_safe: bool, condition: bool) {
        let kind = KINDS[kind];
        let pairs = matches!(kind, Kind::Inner | Kind::Left | Kind::Right | Kind::Full);
        let width = if pairs { 4 } else { 2 };
        agrees(&sound(changes), 2, width, setting, move |streams, place| {
            let (left, right) = two(streams);
            join(left, right, place, join_spec(kind, null_safe, condition))
        }, |inputs| {
            joined(kind, null_safe, condition, &inputs[0], &inputs[1])
        });
    }

    #[test]
    fn ranks_agree(changes in epochs(), setting in setting(), numbering in 0usize..3, most in prop::option::of(0u64..4), skip in 0u64..2) {
        let numbering = [Numbering::RowNumber, Numbering::Rank, Numbering::DenseRank][numbering];
        let keep = most.map(|most| (numbering, most));
        agrees(&sound(changes), 1, 5, setting, move |streams, place| {
            rank(first(streams), place, &ranking(keep, skip))
        }, |inputs| ranked(&inputs[0], keep, skip));
    }
}
