//! Grouped aggregation against sums in a map, one entry a window and key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use proptest::prelude::*;

use super::{AggregateCall, GroupSpec, Keyed, Mode, Partial, WindowSpec, Windowed};
use crate::aggregate::{AggregateFunction, Options};
use crate::cold::Cold;
use crate::driver::{Chain, Place};
use crate::exchange::Route;
use crate::harness::graph::{Script, ScriptEpoch, run_graph};
use crate::harness::{Changes, Harness, ints, long_multiset, long_rows, with_times};
use crate::{Logic, Pace};

/// Key, time in seconds, value.
type Row = (i64, i64, i64);
/// Window start and key → sum, count.
type Sums = BTreeMap<(i64, i64), (i64, i64)>;

const SECOND: i64 = 1_000_000;

fn batch(rows: &[Row]) -> RecordBatch {
    let column = |pick: fn(&Row) -> i64| rows.iter().map(|row| Some(pick(row))).collect::<Vec<_>>();
    let (keys, times, values) = (column(|r| r.0), column(|r| r.1 * SECOND), column(|r| r.2));
    with_times(ints(&[("k", &keys), ("ts", &times), ("v", &values)]), &[1])
}

fn output(windowed: bool) -> SchemaRef {
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let bounds = vec![Field::new("start", time.clone(), true), Field::new("end", time.clone(), true)];
    let first = if windowed { DataType::Struct(bounds.into()) } else { time };
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![Field::new("w", first, true), long("k"), long("s"), long("n")]))
}

fn spec(mode: Mode, keys: Vec<usize>, windowed: bool) -> GroupSpec {
    let call = |name: &str, args: Vec<usize>| {
        let types: Vec<DataType> = args.iter().map(|_| DataType::Int64).collect();
        let function = AggregateFunction::new(name, &types, Options::default()).expect("a known aggregate");
        AggregateCall { function, args, filter: None }
    };
    let aggregates = vec![call("sum", vec![2]), call("count", vec![])];
    GroupSpec { keys, aggregates, mode, input: batch(&[]).schema(), output: output(windowed), merges: false }
}

/// The latest value emitted for each window and key, and how often one was emitted.
fn read(batches: &[RecordBatch], into: &mut Sums) -> usize {
    let mut count = 0;
    for rows in batches {
        let first = match rows.column(0).as_struct_opt() {
            Some(window) => window.column(0).clone(),
            None => rows.column(0).clone(),
        };
        let starts = first.as_primitive::<TimestampMicrosecondType>();
        let long = |i: usize| rows.column(i).as_primitive::<Int64Type>();
        for row in 0..rows.num_rows() {
            let key = (starts.value(row) / SECOND, long(1).value(row));
            into.insert(key, (long(2).value(row), long(3).value(row)));
            count += 1;
        }
    }
    count
}

/// Windows of seconds: length, slide.
#[derive(Debug, Clone, Copy)]
struct Windows(i64, i64);

/// The oracle: all open windows, and what has been closed.
#[derive(Default)]
struct Oracle {
    open: Sums,
    closed: Sums,
    late: i64,
}

impl Oracle {
    fn row(&mut self, (key, time, value): Row, Windows(length, slide): Windows) {
        let last = time - time.rem_euclid(slide);
        let starts = (0..=length / slide).map(|i| last - i * slide).filter(|start| time < start + length);
        for start in starts.filter(|start| start + length > self.late) {
            let sum = self.open.entry((start, key)).or_default();
            *sum = (sum.0 + value, sum.1 + 1);
        }
    }

    fn watermark(&mut self, watermark: i64, Windows(length, _): Windows) {
        self.late = watermark;
        let (done, open) =
            std::mem::take(&mut self.open).into_iter().partition(|((start, _), _)| start + length <= watermark);
        let done: Sums = done;
        self.open = open;
        self.closed.extend(done);
    }
}

fn row() -> impl Strategy<Value = Row> {
    (0i64..3, 0i64..40, -5i64..6)
}

/// Memory for so many bytes of state, if not for all of it; even the smallest holds what is in use.
fn chilled<L: Logic>(mut logic: L, budget: Option<usize>) -> crate::Result<L> {
    if let Some(budget) = budget {
        assert!(logic.goes_cold(Cold::in_memory(budget).in_pieces_of(2))?);
    }
    Ok(logic)
}

/// An epoch of these chunks.
fn play<L: Logic>(harness: &mut Harness<L>, chunks: &[RecordBatch]) {
    chunks.iter().for_each(|rows| harness.push(0, rows.clone()).unwrap());
    harness.close().unwrap();
}

fn budget() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), Just(Some(0)), Just(Some(3000))]
}

fn windowed(mode: Mode, windows: Windows, pace: Pace, instances: usize, cold: Option<usize>) -> Harness<Windowed> {
    let Windows(length, slide) = windows;
    let window = WindowSpec { column: 1, length: length * SECOND, slide: slide * SECOND, start: 0, position: 0 };
    Harness::new(pace, vec![Some(Route::Keys(vec![0]))], instances, move || {
        chilled(Windowed::new(spec(mode, vec![0], true), window), cold)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn windows_agree_with_the_oracle(
        epochs in prop::collection::vec((prop::collection::vec(row(), 0..12), 0i64..8), 1..8),
        windows in prop_oneof![Just(Windows(10, 10)), Just(Windows(10, 5)), Just(Windows(9, 6)), Just(Windows(4, 1))],
        mode in prop_oneof![Just(Mode::Append), Just(Mode::Update), Just(Mode::Complete)],
        eager: bool,
        chunk in 1usize..6,
        (instances, restart, later, copies) in (1usize..4, 0usize..8, 1usize..4, prop_oneof![Just(1), Just(40)]),
        cold in budget(),
    ) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mut harness = windowed(mode, windows, pace, instances, cold);
        let (mut oracle, mut emitted, mut count, mut watermark) = (Oracle { late: i64::MIN, ..Default::default() }, Sums::new(), 0, 0);
        for (number, (rows, ahead)) in epochs.iter().enumerate() {
            // Many rows a slice are aggregated before they go into their windows.
            for rows in rows.chunks(chunk) {
                let rows: Vec<Row> = rows.iter().flat_map(|row| std::iter::repeat_n(*row, copies)).collect();
                harness.push(0, batch(&rows)).unwrap();
                rows.iter().for_each(|row| oracle.row(*row, windows));
            }
            watermark += ahead;
            if mode != Mode::Complete {
                oracle.watermark(watermark, windows);
            }
            harness.watermark(&[watermark * SECOND]).unwrap();
            harness.close().unwrap();
            count += read(&harness.take(), &mut emitted);
            if number == restart {
                harness.restart(later).unwrap();
                prop_assert!(harness.take().is_empty(), "nothing is emitted by a restart");
            }
        }
        match mode {
            Mode::Append => {
                prop_assert_eq!(&emitted, &oracle.closed);
                prop_assert_eq!(count, oracle.closed.len(), "each window is emitted once");
            }
            Mode::Update | Mode::Changelog { .. } => {
                let all: Sums = oracle.closed.into_iter().chain(oracle.open).collect();
                prop_assert_eq!(emitted, all);
            }
            Mode::Complete => prop_assert_eq!(emitted, oracle.open),
        }
    }

    #[test]
    fn event_time_keys_agree_with_the_oracle(
        epochs in prop::collection::vec((prop::collection::vec(row(), 0..12), 0i64..8), 1..8),
        update: bool,
        eager: bool,
        (instances, restart, later, cold) in (1usize..4, 0usize..8, 1usize..4, budget()),
    ) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mode = if update { Mode::Update } else { Mode::Append };
        let mut count = 0;
        let mut harness = Harness::new(pace, vec![Some(Route::Keys(vec![1, 0]))], instances, move || {
            chilled(Keyed::new(spec(mode, vec![1, 0], false), Some(1), false)?, cold)
        });
        // A time is its own window that ends with it.
        let windows = Windows(1, 1);
        let (mut oracle, mut emitted, mut watermark) = (Oracle { late: i64::MIN, ..Default::default() }, Sums::new(), 0);
        for (number, (rows, ahead)) in epochs.iter().enumerate() {
            harness.push(0, batch(rows)).unwrap();
            rows.iter().for_each(|row| oracle.row(*row, windows));
            watermark += ahead;
            oracle.watermark(watermark + 1, windows);
            harness.watermark(&[watermark * SECOND]).unwrap();
            harness.close().unwrap();
            count += read(&harness.take(), &mut emitted);
            prop_assert_eq!(harness.metrics().rows_total, oracle.open.len() as u64);
            if number == restart {
                harness.restart(later).unwrap();
            }
        }
        prop_assert!(update || count == oracle.closed.len(), "each group is emitted once");
        let expected: Sums = if update { oracle.closed.into_iter().chain(oracle.open).collect() } else { oracle.closed };
        prop_assert_eq!(emitted, expected);
    }
}

#[test]
fn the_last_value_of_a_sliding_window_is_the_last_to_come() {
    for mode in [Mode::Append, Mode::Update] {
        let mut spec = spec(mode, vec![0], true);
        spec.aggregates[0].function =
            AggregateFunction::new("last", &[DataType::Int64], Options::default()).expect("a known aggregate");
        let window = WindowSpec { column: 1, length: 10 * SECOND, slide: 5 * SECOND, start: 0, position: 0 };
        let mut harness = Harness::new(Pace::Epoch, vec![Some(Route::Keys(vec![0]))], 1, move || {
            Ok(Windowed::new(spec.clone(), window))
        });
        let rows: Vec<Row> = (0..100).map(|n| (1, if n % 2 == 0 { 6 } else { 1 }, n)).collect();
        harness.push(0, batch(&rows)).unwrap();
        harness.watermark(&[100 * SECOND]).unwrap();
        harness.close().unwrap();
        let mut emitted = Sums::new();
        read(&harness.take(), &mut emitted);
        assert_eq!(emitted, Sums::from([((-5, 1), (99, 50)), ((0, 1), (99, 100)), ((5, 1), (98, 50))]), "{mode:?}");
    }
}

#[test]
fn a_chunk_may_lie_in_any_number_of_windows() {
    let mut harness = windowed(Mode::Append, Windows(10, 10), Pace::Epoch, 1, None);
    let rows: Vec<Row> = (0..3000).map(|n| (1, 10 * (n * 7 % 1000), n)).collect();
    harness.push(0, batch(&rows)).unwrap();
    harness.watermark(&[10_000 * SECOND]).unwrap();
    harness.close().unwrap();
    let mut emitted = Sums::new();
    assert_eq!(read(&harness.take(), &mut emitted), 1000);
    // Rows n, n + 1000 and n + 2000 lie in one window.
    let expected: Sums = (0..1000).map(|n| ((10 * (n * 7 % 1000), 1), (3 * n + 3000, 3))).collect();
    assert_eq!(emitted, expected);
}

#[test]
fn a_global_aggregate_has_a_row_without_rows() {
    let output =
        Arc::new(Schema::new(vec![Field::new("s", DataType::Int64, true), Field::new("n", DataType::Int64, true)]));
    let mut group = spec(Mode::Complete, Vec::new(), false);
    group.output = output;
    let mut logic = Keyed::new(group, None, true).unwrap();
    let mut out = crate::Output::new(Pace::Epoch);
    logic.on_complete(0, &mut out).unwrap();
    let rows = out.take().remove(0).into_rows().unwrap();
    assert_eq!((rows.num_rows(), rows.column(0).is_null(0)), (1, true));
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().value(0), 0);
}

/// A group's changelog, summed up, is what update mode showed last; and at no time is there more than one row of a group.
fn sums_up(emitted: &[RecordBatch], table: &mut BTreeMap<Vec<Option<i64>>, i64>) {
    for rows in emitted {
        let (bare, signs) = crate::change::split(rows).unwrap();
        for (row, sign) in long_rows(&[bare]).into_iter().zip(signs.values()) {
            let count = table.entry(row).or_default();
            *count += i64::from(*sign);
            assert!(*count == 0 || *count == 1, "a row is {count} times in the table");
        }
    }
    table.retain(|_, count| *count != 0);
}

proptest! {
    #[test]
    fn a_changelog_takes_back_exactly_what_it_gave(
        epochs in prop::collection::vec(prop::collection::vec(row(), 0..12), 1..5),
        chunk in 1usize..5,
        instances in 1usize..4,
        eager: bool,
        global: bool,
        restart in 0usize..5,
        cold in budget(),
    ) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let keys = if global { vec![] } else { vec![0] };
        let output = |signed: bool| {
            let schema = ints(&[("k", &[]), ("s", &[]), ("n", &[])]).schema();
            let schema = if global { Arc::new(schema.project(&[1, 2]).unwrap()) } else { schema };
            if signed { crate::change::with_change(&schema) } else { schema }
        };
        let mode = Mode::Changelog { closes: true };
        let spec = GroupSpec { output: output(true), ..spec(mode, keys, false) };
        let route = if global { Route::Single } else { Route::Keys(vec![0]) };
        let make = move || chilled(Keyed::new(spec.clone(), None, true)?, cold.filter(|_| !global));
        let mut group = Harness::new(pace, vec![Some(route)], if global { 1 } else { instances }, make);
        let (mut table, mut expected) = (BTreeMap::new(), BTreeMap::<i64, (i64, i64)>::new());
        for (step, rows) in epochs.iter().enumerate() {
            play(&mut group, &rows.chunks(chunk).map(batch).collect::<Vec<_>>());
            for (key, _, value) in rows {
                let sum = expected.entry(if global { 0 } else { *key }).or_default();
                *sum = (sum.0 + value, sum.1 + 1);
            }
            sums_up(&group.take(), &mut table);
            let shown: Vec<Vec<Option<i64>>> = table.keys().cloned().collect();
            let mut wanted: Vec<Vec<Option<i64>>> = match (global, expected.is_empty()) {
                (true, true) => vec![vec![None, Some(0)]],
                (true, false) => expected.values().map(|(s, n)| vec![Some(*s), Some(*n)]).collect(),
                _ => expected.iter().map(|(k, (s, n))| vec![Some(*k), Some(*s), Some(*n)]).collect(),
            };
            wanted.sort();
            prop_assert_eq!(shown, wanted);
            if step == restart {
                group.restart(if global { 1 } else { 1 + instances % 3 }).unwrap();
            }
        }
    }
}

proptest! {
    /// Keys without event time: complete mode, update mode, and a table that knows all keys.
    #[test]
    fn cold_groups_are_shown_as_hot_ones(
        epochs in prop::collection::vec(prop::collection::vec((0i64..20, Just(0i64), -5i64..6), 0..16), 1..6),
        complete: bool,
        eager: bool,
        chunk in 1usize..6,
        (instances, restart, later, budget) in (1usize..5, 0usize..6, 1usize..5, prop_oneof![Just(0), Just(2000)]),
    ) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mode = if complete { Mode::Complete } else { Mode::Update };
        let mut output = spec(mode, vec![0], false);
        output.output = ints(&[("k", &[]), ("s", &[]), ("n", &[])]).schema();
        let make = move |cold| {
            let spec = output.clone();
            Harness::new(pace, vec![Some(Route::Keys(vec![0]))], instances, move || {
                chilled(Keyed::new(spec.clone(), None, false)?, cold)
            })
        };
        let (mut hot, mut cold) = (make(None), make(Some(budget)));
        let mut went_cold = false;
        for (number, rows) in epochs.iter().enumerate() {
            let chunks: Vec<RecordBatch> = rows.chunks(chunk).map(batch).collect();
            play(&mut hot, &chunks);
            play(&mut cold, &chunks);
            let (expected, metrics) = (hot.metrics(), cold.metrics());
            went_cold |= metrics.cold_rows > 0;
            prop_assert_eq!(long_multiset(&cold.take()), long_multiset(&hot.take()));
            prop_assert_eq!((metrics.rows_total, metrics.rows_updated), (expected.rows_total, expected.rows_updated));
            if number == restart {
                hot.restart(later).unwrap();
                cold.restart(later).unwrap();
            }
        }
        let keys: std::collections::BTreeSet<i64> = epochs.iter().flatten().map(|row| row.0).collect();
        prop_assert!(went_cold || budget > 0 || keys.is_empty(), "nothing went cold");
    }
}

/// An aggregation in two halves, with the first on two workers, as one operator.
struct Halves {
    first: [Partial; 2],
    turn: usize,
    between: crate::Output,
    second: Keyed,
}

impl Halves {
    fn new(spec: &GroupSpec, pace: Pace, owns_global: bool, most: usize) -> crate::Result<Self> {
        let first = || Ok::<_, crate::Error>(Partial::new(spec.clone())?.with_room_for(most));
        let second = Keyed::new(spec.merging()?, None, owns_global)?;
        Ok(Halves { first: [first()?, first()?], turn: 0, between: crate::Output::new(pace), second })
    }

    fn hand_on(&mut self, out: &mut crate::Output) -> crate::Result<()> {
        self.between.take().into_iter().try_for_each(|states| self.second.on_rows(0, states, out))
    }

    fn kept_nothing(&mut self) -> crate::Result<()> {
        let first = self.first.iter_mut().map(Logic::snapshot).collect::<crate::Result<Vec<_>>>()?;
        assert!(first.concat().is_empty(), "the first half keeps nothing");
        Ok(())
    }
}

impl Logic for Halves {
    fn on_rows(&mut self, port: usize, chunk: crate::Chunk, out: &mut crate::Output) -> crate::Result<()> {
        self.turn += 1;
        self.first[self.turn % 2].on_rows(port, chunk, &mut self.between)?;
        self.hand_on(out)
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut crate::Output) -> crate::Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, epoch: u64, out: &mut crate::Output) -> crate::Result<()> {
        self.first.iter_mut().try_for_each(|half| half.on_complete(epoch, &mut self.between))?;
        self.hand_on(out)?;
        self.second.on_complete(epoch, out)
    }

    fn snapshot(&mut self) -> crate::Result<Vec<RecordBatch>> {
        self.kept_nothing()?;
        self.second.snapshot()
    }

    fn hash_by(&mut self, hashing: crate::keys::Hashing) {
        self.second.hash_by(hashing);
    }

    fn tracks_changes(&mut self) -> bool {
        self.second.tracks_changes()
    }

    fn changes(&mut self) -> crate::Result<Vec<RecordBatch>> {
        self.kept_nothing()?;
        self.second.changes()
    }

    fn goes_cold(&mut self, cold: Cold) -> crate::Result<bool> {
        self.second.goes_cold(cold)
    }

    fn restore(&mut self, state: Vec<RecordBatch>) -> crate::Result<()> {
        self.second.restore(state)
    }

    fn metrics(&mut self) -> crate::driver::StateMetrics {
        self.second.metrics()
    }
}

/// Key, value, whether it passes the filter.
type Part = (Option<i64>, Option<i64>, Option<bool>);

fn parts(rows: &[Part]) -> RecordBatch {
    let (keys, values): (Vec<_>, Vec<_>) = rows.iter().map(|(key, value, _)| (*key, *value)).unzip();
    let passes: arrow::array::BooleanArray = rows.iter().map(|(_, _, passes)| *passes).collect();
    let passes: arrow::array::ArrayRef = Arc::new(passes);
    let columns = ints(&[("v", &values), ("k", &keys)]).columns().to_vec();
    let named = ["v", "k", "f"].into_iter().zip(columns.into_iter().chain([passes]));
    RecordBatch::try_from_iter_with_nullable(named.map(|(name, column)| (name, column, true))).expect("one length")
}

fn part() -> impl Strategy<Value = Part> {
    (
        prop::option::weighted(0.9, 0i64..20),
        prop::option::weighted(0.8, -5i64..6),
        prop_oneof![Just(None), Just(Some(true)), Just(Some(false))],
    )
}

/// Sums, some of them of rows that pass a filter, by the second column or of all rows.
fn sums(mode: Mode, global: bool) -> GroupSpec {
    let call = |name: &str, args: Vec<usize>, filter: Option<usize>| {
        let types = vec![DataType::Int64; args.len()];
        let function = AggregateFunction::new(name, &types, Options::default()).expect("a known aggregate");
        assert!(function.commutes());
        AggregateCall { function, args, filter }
    };
    let aggregates = vec![
        call("sum", vec![0], Some(2)),
        call("count", vec![], None),
        call("count", vec![0], Some(2)),
        call("min", vec![0], None),
        call("max", vec![0], Some(2)),
        call("bit_xor", vec![0], None),
    ];
    let names = ["k", "s", "n", "c", "least", "most", "x"];
    let output = ints(&names.map(|name| (name, &[][..]))).schema();
    let output = if global { Arc::new(output.project(&[1, 2, 3, 4, 5, 6]).expect("six columns")) } else { output };
    let output = if mode.is_changelog() { crate::change::with_change(&output) } else { output };
    let keys = if global { vec![] } else { vec![1] };
    GroupSpec { keys, aggregates, mode, input: parts(&[]).schema(), output, merges: false }
}

proptest! {
    /// Whatever room the first half has: none, so that all rows pass, some, or enough.
    #[test]
    fn halves_give_what_the_whole_gives(
        epochs in prop::collection::vec(prop::collection::vec(part(), 0..30), 1..6),
        mode in prop_oneof![Just(Mode::Complete), Just(Mode::Update), Just(Mode::Changelog { closes: false })],
        eager: bool,
        global: bool,
        chunk in 1usize..9,
        most in prop_oneof![Just(1), Just(4), Just(1000)],
        (instances, restart, later) in (1usize..4, 0usize..6, 1usize..4),
        cold in budget(),
    ) {
        // Only in complete mode nothing leaves before the epoch is over.
        let pace = if eager && mode == Mode::Complete { Pace::Eager } else { Pace::Epoch };
        let (instances, later) = if global { (1, 1) } else { (instances, later) };
        let route = if global { Route::Single } else { Route::Keys(vec![1]) };
        let cold = cold.filter(|_| !global);
        let mut whole = Harness::new(pace, vec![Some(route.clone())], instances, move || {
            chilled(Keyed::new(sums(mode, global), None, global)?, cold)
        });
        let mut halves = Harness::new(pace, vec![Some(route)], instances, move || {
            chilled(Halves::new(&sums(mode, global), pace, global, most)?, cold)
        });
        let mut tables = [Changes::default(), Changes::default()];
        for (number, rows) in epochs.iter().enumerate() {
            let chunks: Vec<RecordBatch> = rows.chunks(chunk).map(parts).collect();
            play(&mut whole, &chunks);
            play(&mut halves, &chunks);
            let (halves_gave, whole_gave) = (halves.take(), whole.take());
            if mode.is_changelog() {
                // What leaves memory is shown before that, as it is then.
                prop_assert!(tables[0].apply(&halves_gave) && tables[1].apply(&whole_gave));
                prop_assert_eq!(tables[0].rows(), tables[1].rows());
            } else {
                prop_assert_eq!(long_multiset(&halves_gave), long_multiset(&whole_gave));
            }
            let (metrics, expected) = (halves.metrics(), whole.metrics());
            prop_assert_eq!(metrics.rows_total, expected.rows_total);
            if number == restart {
                whole.restart(later).unwrap();
                halves.restart(later).unwrap();
            }
        }
    }
}

/// On several workers, with the exchange between the halves.
#[test]
fn halves_on_several_workers_are_one_aggregation() {
    let spec = sums(Mode::Complete, false);
    let rows = |worker: usize, epoch: i64| -> Vec<Part> {
        let key = |n: i64| (n % 11 != 0).then_some(n % 11);
        (0..200).map(|n| (key(n), Some(n * epoch - worker as i64), Some(n % 3 == 0))).collect()
    };
    let ran = |workers: usize| {
        let epoch = |epoch: i64| {
            let rows = (0..4).map(|source| (source % workers, 0, parts(&rows(source, epoch)))).collect();
            ScriptEpoch { watermarks: vec![0], rows }
        };
        let script = Script {
            workers,
            pace: Pace::Epoch,
            routes: vec![None],
            watermark: 0,
            epochs: (1..4).map(epoch).collect(),
        };
        let spec = spec.clone();
        let mut ran = run_graph(script, move |_, place, inputs| {
            let merging = spec.merging().expect("states have types");
            let route = Route::Keys(merging.keys.clone());
            let first =
                Place { name: "first".to_owned(), observer: place.observer.clone(), watermarks: vec![0], ..place };
            let second =
                Place { name: "second".to_owned(), observer: place.observer.clone(), watermarks: vec![0], ..place };
            let (stream, _) = inputs.into_iter().next().expect("one input");
            let half = Chain::from(stream).then(first, Box::new(Partial::new(spec.clone()).expect("known aggregates")));
            let keyed = Keyed::new(merging, None, false).expect("known aggregates");
            Chain::behind(vec![(half, Some(route))], second, Box::new(keyed)).build()
        });
        assert!(ran.failures.is_empty(), "{:?}", ran.failures);
        assert!(
            ran.states
                .iter()
                .all(|((name, _), state)| name == "second" || state.iter().all(|rows| rows.num_rows() == 0))
        );
        ran.rows.sort_by_key(|(time, _)| time.epoch);
        (0..3).map(|epoch| long_multiset(&ran.rows_of(epoch))).collect::<Vec<_>>()
    };
    let expected = ran(1);
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [11, 11, 11]);
    assert_eq!(ran(2), expected);
    assert_eq!(ran(3), expected);
}

#[test]
fn rows_that_share_no_group_pass() {
    let mut half = Partial::new(spec(Mode::Complete, vec![0], false)).unwrap().with_room_for(4);
    let mut out = crate::Output::new(Pace::Epoch);
    let mut given = |half: &mut Partial, keys: std::ops::Range<i64>| {
        let rows: Vec<Row> = keys.map(|key| (key % 10, 0, key)).collect();
        half.on_rows(0, crate::Chunk::new(batch(&rows), 1, 0), &mut out).unwrap();
        out.take().iter().map(crate::Chunk::len).sum::<usize>()
    };
    assert_eq!(given(&mut half, 0..3), 0, "they wait for more of their groups");
    assert_eq!(given(&mut half, 3..6), 6, "there is no room for more");
    assert_eq!(given(&mut half, 0..64), 64, "and they do not wait any more");
    assert_eq!(given(&mut half, 0..3), 0, "until it is tried again");
    assert_eq!(given(&mut half, 3..9), 9);
    assert_eq!(given(&mut half, 0..20), 20);
    half.on_complete(0, &mut crate::Output::new(Pace::Epoch)).unwrap();
    assert_eq!(given(&mut half, 0..2), 0);
    assert_eq!(given(&mut half, 0..20), 10, "twenty-two rows in ten groups");
    assert_eq!(given(&mut half, 0..20), 10, "are worth the table");
}
