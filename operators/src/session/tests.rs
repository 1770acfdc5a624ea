//! Sessions against merging all rows of a key again and again.

use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;
use crate::Pace;
use crate::aggregate::{AggregateFunction, Options};
use crate::change::with_change;
use crate::exchange::Route;
use crate::harness::{Changes, Harness, ints, long_rows, with_times};

const SECOND: i64 = 1_000_000;

/// Key, start, length (seconds), value.
type Row = (Option<i64>, Option<i64>, i64, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let keys: Vec<_> = rows.iter().map(|row| row.0).collect();
    let starts: Vec<_> = rows.iter().map(|row| row.1.map(|start| start * SECOND)).collect();
    let ends: Vec<_> = rows.iter().map(|row| row.1.map(|start| (start + row.2) * SECOND)).collect();
    let values: Vec<_> = rows.iter().map(|row| Some(row.3)).collect();
    with_times(ints(&[("k", &keys), ("start", &starts), ("end", &ends), ("v", &values)]), &[1, 2])
}

fn call(name: &str, args: Vec<usize>) -> AggregateCall {
    let types: Vec<DataType> = args.iter().map(|_| DataType::Int64).collect();
    let function = AggregateFunction::new(name, &types, Options::default()).unwrap();
    AggregateCall { function, args, filter: None }
}

fn spec(mode: Mode) -> SessionSpec {
    let input = batch(&[]).schema();
    let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    let session = DataType::Struct(vec![time("start"), time("end")].into());
    let output = Schema::new(vec![
        Field::new("session_window", session, true),
        input.field(0).clone(),
        Field::new("s", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
    ]);
    SessionSpec {
        keys: vec![0],
        bounds: (1, 2),
        aggregates: vec![call("sum", vec![3]), call("count", vec![3])],
        position: 0,
        mode,
        input,
        output: if mode.is_changelog() { with_change(&output) } else { Arc::new(output) },
    }
}

/// `cold`: memory for so many bytes of state, if not for all of it.
fn harness(mode: Mode, pace: Pace, instances: usize, cold: Option<usize>) -> Harness<Sessions> {
    let spec = spec(mode);
    Harness::new(pace, vec![Some(Route::Keys(vec![0]))], instances, move || {
        let mut sessions = Sessions::new(spec.clone())?;
        if let Some(budget) = cold {
            assert!(sessions.goes_cold(Cold::in_memory(budget).in_pieces_of(2))?);
        }
        Ok(sessions)
    })
}

fn budget() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), Just(Some(0)), Just(Some(2500))]
}

/// Rows as (start, end, key, sum, count), sorted.
fn flat(batches: Vec<RecordBatch>) -> Vec<Vec<Option<i64>>> {
    let mut rows = long_rows(&flattened(&batches));
    rows.sort();
    rows
}

/// The session's bounds as columns of their own.
fn flattened(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let flat = batches.iter().map(|batch| {
        let session = batch.column(0).as_struct();
        let columns = session.columns().iter().chain(&batch.columns()[1..]).cloned();
        RecordBatch::try_from_iter(columns.enumerate().map(|(at, column)| (at.to_string(), column))).unwrap()
    });
    flat.collect()
}

type Session = (Option<i64>, i64, i64, i64, i64);

/// Merges until nothing touches.
fn merged(mut sessions: Vec<Session>) -> Vec<Session> {
    sessions.sort();
    let mut out: Vec<Session> = Vec::new();
    for next in sessions {
        match out.last_mut().filter(|last| last.0 == next.0 && next.1 <= last.2) {
            Some(last) => *last = (last.0, last.1, last.2.max(next.2), last.3 + next.3, last.4 + next.4),
            None => out.push(next),
        }
    }
    out
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::of(0i64..4), prop::option::weighted(0.95, 0i64..25), 0i64..5, 0i64..100)
}

proptest! {
    #[test]
    fn agrees_with_merging_everything(
        epochs in prop::collection::vec((prop::collection::vec(row(), 0..12), 0i64..6), 1..7),
        complete: bool,
        eager: bool,
        (chunk, instances, restart, later) in (1usize..6, 1usize..4, 0usize..8, 1usize..4),
        cold in budget(),
    ) {
        let mode = if complete { Mode::Complete } else { Mode::Append };
        let mut operator = harness(mode, if eager { Pace::Eager } else { Pace::Epoch }, instances, cold);
        let (mut open, mut watermark) = (Vec::new(), None);
        for (epoch, (rows, rise)) in epochs.into_iter().enumerate() {
            for rows in rows.chunks(chunk) {
                operator.push(0, batch(rows)).unwrap();
            }
            let real = rows.iter().filter_map(|row| Some((row.0, row.1?, row.1? + row.2, row.3, 1))).filter(|row| row.2 > row.1);
            open.extend(real.filter(|row| complete || Some(row.2) > watermark));
            open = merged(open);
            let now = watermark.unwrap_or(0) + rise;
            watermark = Some(now);
            operator.watermark(&[now * SECOND]).unwrap();
            operator.close().unwrap();
            let (due, rest): (Vec<Session>, Vec<Session>) = open.iter().partition(|row| complete || row.2 <= now);
            open = if complete { open } else { rest };
            let row = |row: &Session| vec![Some(row.1 * SECOND), Some(row.2 * SECOND), row.0, Some(row.3), Some(row.4)];
            let mut expected: Vec<_> = due.iter().map(row).collect();
            expected.sort();
            prop_assert_eq!(flat(operator.take()), expected, "epoch {}", epoch);
            prop_assert_eq!(operator.metrics().rows_total, open.len() as u64);
            if epoch == restart {
                operator.restart(later).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn a_changelog_builds_up_the_sessions(
        epochs in prop::collection::vec((prop::collection::vec(row(), 0..12), 0i64..6), 1..7),
        (closes, eager, keyless) in any::<(bool, bool, bool)>(),
        (chunk, instances, restart, later) in (1usize..6, 1usize..4, 0usize..8, 1usize..4),
        cold in budget(),
    ) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mode = Mode::Changelog { closes };
        let mut operator = if keyless { global(mode, pace) } else { harness(mode, pace, instances, cold) };
        let (mut open, mut closed, mut watermark, mut table) = (Vec::new(), Vec::new(), None, Changes::default());
        for (epoch, (rows, rise)) in epochs.into_iter().enumerate() {
            for rows in rows.chunks(chunk) {
                operator.push(0, batch(rows)).unwrap();
            }
            let key = |row: &Row| row.0.filter(|_| !keyless);
            let real = rows.iter().filter_map(|row| Some((key(row), row.1?, row.1? + row.2, row.3, 1))).filter(|row| row.2 > row.1);
            open.extend(real.filter(|row| !closes || Some(row.2) > watermark));
            open = merged(open);
            let now = watermark.unwrap_or(0) + rise;
            watermark = Some(now);
            operator.watermark(&[now * SECOND]).unwrap();
            operator.close().unwrap();
            prop_assert!(table.apply(&flattened(&operator.take())), "a session was taken back that was not there");
            let row = |row: &Session| {
                let key = if keyless { vec![] } else { vec![row.0] };
                [vec![Some(row.1 * SECOND), Some(row.2 * SECOND)], key, vec![Some(row.3), Some(row.4)]].concat()
            };
            let mut expected: Vec<_> = open.iter().chain(&closed).map(row).collect();
            expected.sort();
            prop_assert_eq!(table.rows(), expected, "epoch {}", epoch);
            let (due, rest): (Vec<Session>, Vec<Session>) = open.iter().partition(|row| closes && row.2 <= now);
            closed.extend(due);
            open = rest;
            prop_assert_eq!(operator.metrics().rows_total, open.len() as u64);
            if epoch == restart {
                operator.restart(if keyless { 1 } else { later }).unwrap();
            }
        }
    }
}

/// One operator without keys.
fn global(mode: Mode, pace: Pace) -> Harness<Sessions> {
    let mut spec = spec(mode);
    let fields: Vec<_> = spec.output.fields().iter().filter(|field| field.name() != "k").cloned().collect();
    spec.keys.clear();
    spec.output = Arc::new(Schema::new(fields));
    Harness::new(pace, vec![Some(Route::Single)], 1, move || Sessions::new(spec.clone()))
}

#[test]
fn a_row_between_two_sessions_joins_them() {
    let mut operator = harness(Mode::Append, Pace::Epoch, 1, None);
    operator.push(0, batch(&[(Some(1), Some(0), 5, 1), (Some(1), Some(10), 5, 2), (Some(1), Some(5), 5, 4)])).unwrap();
    operator.watermark(&[14 * SECOND]).unwrap();
    operator.close().unwrap();
    assert!(operator.take().is_empty());
    operator.watermark(&[15 * SECOND]).unwrap();
    operator.close().unwrap();
    assert_eq!(flat(operator.take()), [[Some(0), Some(15 * SECOND), Some(1), Some(7), Some(3)]]);
    assert!(operator.each(|sessions| sessions.keys.is_empty()));
}

#[test]
fn a_merge_takes_both_sessions_back_and_gives_one() {
    let mut operator = harness(Mode::Changelog { closes: true }, Pace::Eager, 1, None);
    operator.push(0, batch(&[(Some(1), Some(0), 5, 1), (Some(1), Some(10), 5, 2)])).unwrap();
    operator.take();
    operator.push(0, batch(&[(Some(1), Some(5), 5, 4)])).unwrap();
    let row = |start: i64, end: i64, sum: i64, count: i64, sign: i64| {
        [start * SECOND, end * SECOND, 1, sum, count, sign].map(Some).to_vec()
    };
    assert_eq!(flat(operator.take()), [row(0, 5, 1, 1, -1), row(0, 15, 7, 3, 1), row(10, 15, 2, 1, -1)]);
}

#[test]
fn update_mode_is_refused() {
    assert!(Sessions::new(spec(Mode::Update)).is_err());
}

/// The id of a session that went into another is given to one that comes back from the store: half of the keys lie there, so each
/// key is the one that comes back.
#[test]
fn what_comes_back_under_the_id_of_a_merged_session_is_shown_once() {
    let one = |key, start| (Some(key), Some(start), 1, 1);
    let mut first: Vec<Row> = (1..64).map(|key| one(key, 0)).collect();
    first.push(one(1, 2));
    for back in 2..64 {
        let mut operator = harness(Mode::Changelog { closes: false }, Pace::Epoch, 1, Some(0));
        let mut table = Changes::default();
        operator.push(0, batch(&first)).unwrap();
        operator.push(0, batch(&[one(1, 1)])).unwrap();
        operator.push(0, batch(&[one(back, 5)])).unwrap();
        operator.close().unwrap();
        assert!(table.apply(&flattened(&operator.take())));
        let row =
            |start: i64, end: i64, key, count| [start * SECOND, end * SECOND, key, count, count].map(Some).to_vec();
        let others = (2..64).map(|key| row(0, 1, key, 1));
        let mut expected: Vec<_> = others.chain([row(0, 3, 1, 3), row(5, 6, back, 1)]).collect();
        expected.sort();
        assert_eq!(table.rows(), expected);
    }
}
