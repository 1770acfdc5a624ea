//! Arbitrary state against a list of what each key should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::{Arbitrary, *};

use crate::Pace;
use crate::exchange::Route;
use crate::harness::{Harness, ints, long_multiset, with_times};

const TTL: i64 = 5;
const VALUE: usize = 0;
const LIST: usize = 1;
const MAP: usize = 2;

/// What a row asks for: key, event time (milliseconds), action, argument.
type Row = (i64, i64, i64, i64);

/// Emits key, kind (0 rows, 1 timer), time or 0, what it has: sum, list length, map keys.
struct Program {
    made: Vec<[i64; 6]>,
}

fn number(bytes: Option<&[u8]>) -> i64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes)
}

impl Program {
    fn act(states: &mut States, action: i64, argument: i64) {
        let bytes = argument.to_le_bytes().to_vec();
        match action {
            0 => {
                let sum = number(states.value(VALUE)) + argument;
                states.set_value(VALUE, sum.to_le_bytes().to_vec());
            }
            1 => states.append(LIST, bytes),
            2 => states.set_entry(MAP, bytes, vec![1]),
            3 => states.remove_entry(MAP, &bytes),
            4 => states.register_timer(argument),
            5 => states.delete_timer(argument),
            6 => states.clear(VALUE),
            7 => states.clear(LIST),
            _ => states.set_list(LIST, vec![bytes.clone(), bytes]),
        }
    }

    fn show(&mut self, key: i64, kind: i64, at: i64, states: &States) {
        let (list, map) = (states.list(LIST).count() as i64, states.entries(MAP).count() as i64);
        self.made.push([key, kind, at, number(states.value(VALUE)), list, map]);
    }
}

fn longs(rows: &RecordBatch, column: usize) -> Vec<i64> {
    arrow::compute::cast(rows.column(column), &arrow::datatypes::DataType::Int64)
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
        .to_vec()
}

impl Processor for Program {
    fn on_rows(&mut self, keys: &RecordBatch, calls: &[Call], rows: &mut Feed<'_>, states: &mut States) -> Result<()> {
        let mut all = Vec::new();
        while let Some(rows) = rows()? {
            all.extend(longs(&rows, 2).into_iter().zip(longs(&rows, 3)));
        }
        let mut all = all.into_iter();
        for (key, call) in longs(keys, 0).into_iter().zip(calls) {
            states.enter(call.group);
            all.by_ref().take(call.rows).for_each(|(action, argument)| Self::act(states, action, argument));
            self.show(key, 0, 0, states);
        }
        Ok(())
    }

    fn on_initial(&mut self, _: &RecordBatch, calls: &[Call], _: &mut Feed<'_>, states: &mut States) -> Result<()> {
        for call in calls {
            states.enter(call.group);
            states.set_value(VALUE, 100i64.to_le_bytes().to_vec());
        }
        Ok(())
    }

    fn on_timers(&mut self, keys: &RecordBatch, timers: &[(u32, i64)], states: &mut States) -> Result<()> {
        for (key, (group, at)) in longs(keys, 0).into_iter().zip(timers) {
            states.enter(*group);
            assert!(states.has_timer(*at));
            self.show(key, 1, *at, states);
            states.delete_timer(*at);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<RecordBatch>> {
        let column =
            |at: usize| Arc::new(Int64Array::from_iter_values(self.made.iter().map(|row| row[at]))) as ArrayRef;
        let names = ["k", "kind", "at", "sum", "list", "map"];
        let rows = RecordBatch::try_from_iter(names.into_iter().enumerate().map(|(at, name)| (name, column(at))))?;
        self.made.clear();
        Ok(vec![rows])
    }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let column = |of: fn(&Row) -> i64| rows.iter().map(|row| Some(of(row))).collect::<Vec<_>>();
    let (keys, times) = (column(|row| row.0), column(|row| row.1 * 1000));
    let (actions, arguments) = (column(|row| row.2), column(|row| row.3));
    with_times(ints(&[("k", &keys), ("ts", &times), ("action", &actions), ("argument", &arguments)]), &[1])
}

fn variables() -> Vec<Variable> {
    let variable = |name: &str, layout, ttl| Variable { name: name.into(), layout, schema: "i64".into(), ttl };
    vec![
        variable("sum", Layout::Value, None),
        variable("list", Layout::List, Some(TTL)),
        variable("map", Layout::Map, None),
    ]
}

fn operator(time: TimeMode, now: &Arc<AtomicI64>, variables: Vec<Variable>) -> Result<Arbitrary> {
    let now = Arc::clone(now);
    let spec = Spec {
        input: batch(&[]).schema(),
        keys: vec![0],
        time,
        late_by: (time == TimeMode::EventTime).then_some(1),
        emits_time: None,
        variables,
        deleted: Vec::new(),
        initial: None,
        now: Box::new(move || now.load(Ordering::Relaxed) * 1000),
    };
    Arbitrary::new(spec, Box::new(Program { made: Vec::new() }))
}

/// `cold`: a budget of memory, beyond which keys leave it.
fn harness(
    pace: Pace,
    time: TimeMode,
    instances: usize,
    cold: Option<usize>,
    now: &Arc<AtomicI64>,
) -> Harness<Arbitrary> {
    let now = Arc::clone(now);
    Harness::new(pace, vec![Some(Route::Keys(vec![0]))], instances, move || {
        let mut operator = operator(time, &now, variables())?;
        if let Some(budget) = cold {
            assert!(operator.goes_cold(Cold::in_memory(budget).in_pieces_of(2))?);
        }
        Ok(operator)
    })
}

/// One key, as plainly as can be.
#[derive(Default, Clone)]
struct Plain {
    sum: Option<i64>,
    list: Vec<i64>,
    map: BTreeSet<i64>,
    timers: BTreeSet<i64>,
}

#[derive(Default)]
struct Oracle {
    keys: BTreeMap<i64, Plain>,
    said: Vec<Vec<Option<i64>>>,
}

impl Oracle {
    fn rows(&mut self, rows: &[Row], now: i64, late_below: Option<i64>) {
        let in_time = |row: &&Row| late_below.is_none_or(|watermark| row.1 > watermark);
        for row in rows.iter().filter(in_time) {
            let plain = self.keys.entry(row.0).or_default();
            match (row.2, row.3) {
                (0, n) => plain.sum = Some(plain.sum.unwrap_or(0) + n),
                (1, _) => plain.list.push(now + TTL),
                (2, n) => drop(plain.map.insert(n)),
                (3, n) => drop(plain.map.remove(&n)),
                (4, n) => drop(plain.timers.insert(n)),
                (5, n) => drop(plain.timers.remove(&n)),
                (6, _) => plain.sum = None,
                (7, _) => plain.list.clear(),
                _ => plain.list = vec![now + TTL; 2],
            }
        }
        let called: BTreeSet<i64> = rows.iter().filter(in_time).map(|row| row.0).collect();
        called.into_iter().for_each(|key| self.say(key, 0, 0, now));
    }

    fn fire(&mut self, limit: Option<i64>, now: i64) {
        let due = |plain: &Plain| plain.timers.iter().copied().filter(|at| Some(*at) <= limit).collect::<Vec<_>>();
        let due: Vec<(i64, Vec<i64>)> = self.keys.iter().map(|(key, plain)| (*key, due(plain))).collect();
        for (key, at) in due.into_iter().flat_map(|(key, due)| due.into_iter().map(move |at| (key, at))) {
            self.say(key, 1, at, now);
            self.keys.get_mut(&key).unwrap().timers.remove(&at);
        }
        self.keys.values_mut().for_each(|plain| plain.list.retain(|expires| *expires > now));
        self.keys.retain(|_, plain| {
            plain.sum.is_some() || !plain.list.is_empty() || !plain.map.is_empty() || !plain.timers.is_empty()
        });
    }

    fn say(&mut self, key: i64, kind: i64, at: i64, now: i64) {
        let plain = &self.keys[&key];
        let list = plain.list.iter().filter(|expires| **expires > now).count() as i64;
        let row = [key, kind, at, plain.sum.unwrap_or(0), list, plain.map.len() as i64];
        self.said.push(row.map(Some).to_vec());
    }
}

fn row() -> impl Strategy<Value = Row> {
    (0i64..5, 0i64..40, 0i64..9, 0i64..40)
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        epochs in prop::collection::vec((prop::collection::vec(row(), 0..10), 0i64..8, 0i64..4), 1..8),
        event_time: bool,
        eager: bool,
        chunk in 1usize..5,
        (instances, restart, later) in (1usize..4, 0usize..8, 1usize..4),
        cold in prop_oneof![Just(None), Just(Some(0)), Just(Some(1500))],
    ) {
        let time = if event_time { TimeMode::EventTime } else { TimeMode::ProcessingTime };
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let now = Arc::new(AtomicI64::new(0));
        let mut operator = harness(pace, time, instances, cold, &now);
        let mut oracle = Oracle::default();
        let mut watermark = None;
        for (epoch, (rows, rise, pass)) in epochs.into_iter().enumerate() {
            let before = now.load(Ordering::Relaxed);
            let late_below = watermark.filter(|_| event_time);
            for rows in rows.chunks(chunk) {
                operator.push(0, batch(rows)).unwrap();
                if eager {
                    oracle.rows(rows, before, late_below);
                    oracle.fire(if event_time { watermark } else { Some(before) }, before);
                }
            }
            let clock = before + pass;
            now.store(clock, Ordering::Relaxed);
            if !eager {
                oracle.rows(&rows, clock, late_below);
            }
            watermark = Some(watermark.unwrap_or(0) + rise);
            operator.watermark(&[watermark.unwrap() * 1000]).unwrap();
            operator.close().unwrap();
            oracle.fire(if event_time { watermark } else { Some(clock) }, clock);
            prop_assert_eq!(operator.metrics().rows_total, oracle.keys.len() as u64);
            if epoch == restart {
                operator.restart(later).unwrap();
            }
        }
        oracle.said.sort();
        prop_assert_eq!(long_multiset(&operator.take()), oracle.said);
    }
}

/// The state after two rows, as of one worker.
fn saved() -> Vec<RecordBatch> {
    let now = Arc::new(AtomicI64::new(0));
    let mut operator = harness(Pace::Epoch, TimeMode::ProcessingTime, 1, None, &now);
    operator.push(0, batch(&[(1, 0, 0, 7), (1, 0, 4, 30), (2, 0, 2, 5)])).unwrap();
    operator.close().unwrap();
    operator.state().unwrap()
}

fn restored(time: TimeMode, variables: Vec<Variable>) -> Result<Arbitrary> {
    let mut operator = operator(time, &Arc::new(AtomicI64::new(0)), variables)?;
    operator.restore(saved())?;
    Ok(operator)
}

fn condition(made: Result<Arbitrary>) -> &'static str {
    match made.err() {
        Some(Error::Data { condition, .. }) => condition,
        other => panic!("not an error about data: {other:?}"),
    }
}

#[test]
fn a_variable_of_another_meaning_is_refused() {
    let mut changed = variables();
    changed[0].schema = "String".into();
    assert_eq!(condition(restored(TimeMode::ProcessingTime, changed)), "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE");
    let mut changed = variables();
    changed[2].layout = Layout::List;
    assert_eq!(condition(restored(TimeMode::ProcessingTime, changed)), "STATE_STORE_INVALID_VARIABLE_TYPE_CHANGE");
    let mode = restored(TimeMode::EventTime, variables());
    assert_eq!(condition(mode), "STATE_STORE_INVALID_CONFIG_AFTER_RESTART");
}

#[test]
fn a_variable_that_is_no_longer_named_is_carried_along_until_it_is_deleted() {
    let rows = |state: &[RecordBatch]| state.iter().map(RecordBatch::num_rows).sum::<usize>();
    let fewer = || variables().into_iter().filter(|variable| variable.name != "map").collect::<Vec<_>>();
    let mut kept = restored(TimeMode::ProcessingTime, fewer()).unwrap();
    assert_eq!(rows(&kept.snapshot().unwrap()), rows(&saved()));
    let mut operator = operator(TimeMode::ProcessingTime, &Arc::new(AtomicI64::new(0)), fewer()).unwrap();
    operator.spec.deleted = vec!["map".into()];
    operator.restore(saved()).unwrap();
    assert_eq!(rows(&operator.snapshot().unwrap()), rows(&saved()) - 1);
}

#[test]
fn what_is_deleted_by_name_goes_from_the_checkpoint_wherever_it_lies() {
    for cold in [false, true] {
        let variables = variables().into_iter().filter(|variable| variable.name != "map").collect();
        let mut operator = operator(TimeMode::ProcessingTime, &Arc::new(AtomicI64::new(0)), variables).unwrap();
        operator.spec.deleted = vec!["map".into()];
        if cold {
            assert!(operator.goes_cold(Cold::in_memory(0).in_pieces_of(2)).unwrap());
        }
        operator.restore(saved()).unwrap();
        assert!(operator.tracks_changes());
        let changes = vec![saved(), operator.changes().unwrap()];
        let rows = |state: &[RecordBatch]| state.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!(rows(&snapshot::merged(changes).unwrap()), rows(&saved()) - 1, "in files: {cold}");
        assert!(operator.changes().unwrap().is_empty());
    }
}

#[test]
fn initial_state_comes_before_the_first_rows_and_once() {
    let mut operator = operator(TimeMode::None, &Arc::new(AtomicI64::new(0)), variables()).unwrap();
    operator.spec.initial = Some(Initial { rows: batch(&[(1, 0, 0, 0), (2, 0, 0, 0)]), keys: vec![0] });
    let mut out = Output::new(Pace::Eager);
    for _ in 0..2 {
        operator.on_rows(0, Chunk::new(batch(&[(1, 0, 0, 1)]), 0, 0), &mut out).unwrap();
    }
    let rows: Vec<RecordBatch> = out.take().into_iter().filter_map(Chunk::into_rows).collect();
    let sums: Vec<i64> = rows.iter().flat_map(|rows| longs(rows, 3)).collect();
    assert_eq!((sums, operator.metrics().rows_total), (vec![101, 102], 2));
}

#[test]
fn a_timer_in_processing_time_asks_to_be_woken() {
    let now = Arc::new(AtomicI64::new(10));
    let mut operator = operator(TimeMode::ProcessingTime, &now, variables()).unwrap();
    let mut out = Output::new(Pace::Eager);
    operator.on_rows(0, Chunk::new(batch(&[(1, 0, 4, 25)]), 0, 0), &mut out).unwrap();
    assert_eq!(operator.wake(), Some(Wake { at: 25_000, after: Duration::from_millis(15) }));
    assert_eq!(operator.metrics().wakes_at, Some(25_000));
    now.store(25, Ordering::Relaxed);
    assert!(operator.wake().is_some_and(|wake| wake.after.is_zero()));
    out.take();
    operator.on_wake(&mut out).unwrap();
    assert_eq!((out.take().len(), operator.wake()), (1, None));
}

#[test]
fn a_timer_of_a_key_that_has_left_memory_asks_to_be_woken_and_fires() {
    let now = Arc::new(AtomicI64::new(10));
    let mut operator = operator(TimeMode::ProcessingTime, &now, variables()).unwrap();
    assert!(operator.goes_cold(Cold::in_memory(0)).unwrap());
    let mut out = Output::new(Pace::Eager);
    let rows: Vec<Row> = (0..1000).map(|key| (key, 0, 4, 25 + key)).collect();
    operator.on_rows(0, Chunk::new(batch(&rows), 0, 0), &mut out).unwrap();
    let metrics = operator.metrics();
    assert_eq!((metrics.rows_total, metrics.wakes_at), (1000, Some(25_000)));
    assert!(metrics.cold_rows >= 500, "only {} left", metrics.cold_rows);
    now.store(25 + 999, Ordering::Relaxed);
    out.take();
    operator.on_wake(&mut out).unwrap();
    let fired: usize = out.take().into_iter().filter_map(Chunk::into_rows).map(|rows| rows.num_rows()).sum();
    assert_eq!((fired, operator.metrics().rows_total), (1000, 0));
}

#[test]
fn rows_behind_the_watermark_may_not_be_made() {
    let rows = with_times(ints(&[("ts", &[Some(5), None])]), &[0]);
    assert!(check_emitted(&rows, 0, 5).is_ok());
    assert!(matches!(
        check_emitted(&rows, 0, 6),
        Err(Error::Data { condition: "EMITTING_ROWS_OLDER_THAN_WATERMARK_NOT_ALLOWED", .. })
    ));
}
