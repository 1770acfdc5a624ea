//! Stream-stream joins against two loops over all rows, epoch by epoch; and the store against churn.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use proptest::prelude::*;

use super::super::On;
use super::*;
use crate::Pace;
use crate::cold::Cold;
use crate::event_time::column;
use crate::exchange::Route;
use crate::harness::{Changes, Harness, ints, long_multiset, with_times};

const SECOND: i64 = 1_000_000;
const RANGE: i64 = 4 * SECOND;

/// Key and event time in seconds; the id comes from the position.
type Row = (Option<i64>, Option<i64>);

#[derive(Clone, Debug)]
struct Known {
    epoch: usize,
    key: Option<i64>,
    time: Option<i64>,
    id: i64,
}

impl Known {
    fn values(&self) -> Vec<Option<i64>> {
        vec![self.key, self.time, Some(self.id)]
    }
}

fn batch(rows: &[Known]) -> RecordBatch {
    let keys: Vec<_> = rows.iter().map(|row| row.key).collect();
    let times: Vec<_> = rows.iter().map(|row| row.time).collect();
    let ids: Vec<_> = rows.iter().map(|row| Some(row.id)).collect();
    with_times(ints(&[("k", &keys), ("t", &times), ("id", &ids)]), &[1])
}

/// `right.t BETWEEN left.t AND left.t + width`
fn range(width: i64) -> Condition {
    std::rc::Rc::new(move |rows| {
        let left = rows.column(1).as_primitive::<TimestampMicrosecondType>();
        let right = rows.column(4).as_primitive::<TimestampMicrosecondType>();
        let between = |(left, right): (Option<i64>, Option<i64>)| Some(left? <= right? && right? <= left? + width);
        Ok(left.iter().zip(right.iter()).map(between).collect())
    })
}

/// Every fifth left row matches nothing.
fn passes(row: &Known) -> bool {
    row.id % 5 != 0
}

fn prefilter() -> Condition {
    std::rc::Rc::new(|rows| {
        let ids = rows.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        Ok(ids.iter().map(|id| id.map(|id| id % 5 != 0)).collect())
    })
}

fn join(kind: JoinKind, null_safe: bool, watermarks: bool) -> Result<Join> {
    join_as(kind, null_safe, watermarks, false)
}

fn join_as(kind: JoinKind, null_safe: bool, watermarks: bool, changelog: bool) -> Result<Join> {
    let schema = batch(&[]).schema();
    let fields: Vec<_> = schema.fields().iter().chain(schema.fields()).cloned().collect();
    let side = |delay: i64, prefilter: Option<Condition>| JoinSide {
        schema: schema.clone(),
        prefilter,
        event_time: watermarks.then(|| column(1)),
        evict: watermarks.then(|| Evict { value: column(1), delay }),
    };
    Join::new(StreamJoin {
        kind,
        on: vec![On { left: 0, right: 0, null_safe }],
        condition: Some(range(RANGE)),
        joined: Arc::new(Schema::new(fields)),
        sides: [side(RANGE + 1000, Some(prefilter())), side(0, None)],
        changelog,
        holdback: RANGE + 1000,
    })
}

/// What each epoch prints: all pairs of accepted rows, in the epoch of the later one; rows of outer sides without match
/// once the watermark has passed them.
struct Oracle {
    kind: JoinKind,
    null_safe: bool,
    /// A semi join that works epoch by epoch.
    by_epoch: bool,
    watermarks: Vec<i64>,
    sides: [Vec<Known>; 2],
}

impl Oracle {
    fn matches(&self, left: &Known, right: &Known) -> bool {
        let keys = left.key == right.key && (self.null_safe || left.key.is_some());
        let times = left.time.zip(right.time).is_some_and(|(left, right)| left <= right && right <= left + RANGE);
        let (epoch, closing) = (left.epoch.max(right.epoch), self.watermarks[right.epoch]);
        let unmet = self.by_epoch && epoch == left.epoch && epoch == right.epoch && right.time <= Some(closing);
        keys && times && passes(left) && !(self.kind == JoinKind::LeftSemi && unmet)
    }

    fn is_match(&self, side: usize, row: &Known, other: &Known) -> bool {
        if side == LEFT { self.matches(row, other) } else { self.matches(other, row) }
    }

    fn epoch(&self, epoch: usize) -> Vec<Vec<Option<i64>>> {
        let [left, right] = &self.sides;
        let mut out = Vec::new();
        for row in left {
            let met = right.iter().filter(|other| self.matches(row, other));
            let met = met.map(|other| (row.epoch.max(other.epoch), other));
            if self.kind == JoinKind::LeftSemi {
                out.extend((met.map(|met| met.0).min() == Some(epoch)).then(|| row.values()));
            } else {
                let now = met.filter(|met| met.0 == epoch);
                out.extend(now.map(|(_, other)| [row.values(), other.values()].concat()));
            }
        }
        for side in [LEFT, RIGHT] {
            if self.kind.preserves(side) {
                out.extend(self.alone(side, epoch));
            }
        }
        out.sort();
        out
    }

    fn alone(&self, side: usize, epoch: usize) -> Vec<Vec<Option<i64>>> {
        let delay = if side == LEFT { RANGE + 1000 } else { 0 };
        let printed = |row: &&Known| match side == RIGHT || passes(row) {
            false => row.epoch == epoch,
            true => {
                let gone = |at: usize| row.time.is_some_and(|time| time <= self.watermarks[at] - delay);
                (row.epoch..=epoch).find(|at| gone(*at)) == Some(epoch)
                    && !self.sides[1 - side].iter().any(|other| self.is_match(side, row, other))
            }
        };
        let nulls = vec![None; 3];
        let with_nulls = |row: &Known| match side {
            LEFT => [row.values(), nulls.clone()].concat(),
            _ => [nulls.clone(), row.values()].concat(),
        };
        self.sides[side].iter().filter(printed).map(with_nulls).collect()
    }

    /// What a changelog has built up: all pairs, and the rows of outer sides that have met none.
    fn table(&self) -> Vec<Vec<Option<i64>>> {
        let [left, right] = &self.sides;
        let pairs = left.iter().flat_map(|row| right.iter().map(move |other| (row, other)));
        let met = pairs.filter(|(row, other)| self.matches(row, other));
        let mut table: Vec<_> = met.map(|(row, other)| [row.values(), other.values()].concat()).collect();
        let nulls = vec![None; 3];
        for side in [LEFT, RIGHT].into_iter().filter(|side| self.kind.preserves(*side)) {
            let is_alone = |row: &&Known| !self.sides[1 - side].iter().any(|other| self.is_match(side, row, other));
            for row in self.sides[side].iter().filter(is_alone) {
                let parts = if side == LEFT { [row.values(), nulls.clone()] } else { [nulls.clone(), row.values()] };
                table.push(parts.concat());
            }
        }
        table.sort();
        table
    }

    /// Rows arrive, in seconds from `base`; those at or below `late` are dropped.
    fn arrive(&mut self, side: usize, rows: Vec<Known>, late: i64) {
        self.sides[side].extend(rows.into_iter().filter(|row| row.time.is_none_or(|time| time > late)));
    }
}

fn outer() -> impl Strategy<Value = JoinKind> {
    use JoinKind::*;
    prop_oneof![Just(LeftOuter), Just(RightOuter), Just(FullOuter)]
}

fn kind() -> impl Strategy<Value = JoinKind> {
    use JoinKind::*;
    prop_oneof![Just(Inner), Just(LeftOuter), Just(RightOuter), Just(FullOuter), Just(LeftSemi)]
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.9, 0i64..3), prop::option::weighted(0.95, -4i64..6))
}

/// Rows (with the side they arrive on) in order of arrival, and by how much the watermark rises.
fn epochs() -> impl Strategy<Value = Vec<(Vec<(bool, Row)>, i64)>> {
    prop::collection::vec((prop::collection::vec((any::<bool>(), row()), 0..10), 0i64..8), 1..8)
}

#[derive(Clone, Copy, Debug)]
struct Run {
    eager: bool,
    chunk: usize,
    instances: usize,
    restart: usize,
    later: usize,
    /// Memory for so many bytes of state, if not for all of it.
    cold: Option<usize>,
}

impl Run {
    fn chilled(self, mut join: Join) -> Result<Join> {
        if let Some(budget) = self.cold {
            assert!(join.goes_cold(Cold::in_memory(budget).in_pieces_of(2))?);
        }
        Ok(join)
    }
}

fn run() -> impl Strategy<Value = Run> {
    let run = |(eager, chunk, instances, restart, later, cold)| Run { eager, chunk, instances, restart, later, cold };
    let cold = prop_oneof![Just(None), Just(Some(0)), Just(Some(4000))];
    (any::<bool>(), 1usize..6, 1usize..4, 0usize..8, 1usize..4, cold).prop_map(run)
}

proptest! {
    #[test]
    fn prints_in_each_epoch_what_two_loops_print(epochs in epochs(), kind in kind(), null_safe: bool, run in run()) {
        let pace = if run.eager { Pace::Eager } else { Pace::Epoch };
        let routes = vec![Some(Route::Keys(vec![0])), Some(Route::Keys(vec![0]))];
        let mut operator = Harness::new(pace, routes, run.instances, move || run.chilled(join(kind, null_safe, true)?));
        let mut oracle = Oracle { kind, null_safe, by_epoch: !run.eager, watermarks: Vec::new(), sides: [Vec::new(), Vec::new()] };
        let (mut late, mut id) = (i64::MIN, 0);
        for (epoch, (rows, rise)) in epochs.into_iter().enumerate() {
            let base = epoch as i64 * 3;
            for part in rows.chunks(run.chunk) {
                for side in [LEFT, RIGHT] {
                    let mut arrived = Vec::new();
                    for (_, (key, time)) in part.iter().filter(|(right, _)| usize::from(*right) == side) {
                        id += 1;
                        arrived.push(Known { epoch, key: *key, time: time.map(|time| (base + time) * SECOND), id });
                    }
                    operator.push(side, batch(&arrived)).unwrap();
                    let accepted = arrived.into_iter().filter(|row| row.time.is_none_or(|time| time > late));
                    oracle.sides[side].extend(accepted);
                }
            }
            late = (base - 4 + rise).max(late / SECOND) * SECOND;
            oracle.watermarks.push(late);
            operator.watermark(&[late, late]).unwrap();
            operator.close().unwrap();
            prop_assert_eq!(long_multiset(&operator.take()), oracle.epoch(epoch), "epoch {}", epoch);
            if epoch == run.restart {
                operator.restart(run.later).unwrap();
                prop_assert_eq!(operator.take().len(), 0);
            }
        }
    }

    #[test]
    fn a_changelog_builds_up_what_two_loops_build(
        epochs in epochs(), kind in outer(), null_safe: bool, watermarks: bool, run in run(),
    ) {
        let pace = if run.eager { Pace::Eager } else { Pace::Epoch };
        let routes = vec![Some(Route::Keys(vec![0])), Some(Route::Keys(vec![0]))];
        let make = move || run.chilled(join_as(kind, null_safe, watermarks, true)?);
        let mut operator = Harness::new(pace, routes, run.instances, make);
        let mut oracle = Oracle { kind, null_safe, by_epoch: false, watermarks: Vec::new(), sides: [Vec::new(), Vec::new()] };
        let (mut late, mut id, mut table) = (i64::MIN, 0, Changes::default());
        for (epoch, (rows, rise)) in epochs.into_iter().enumerate() {
            let base = epoch as i64 * 3;
            oracle.watermarks.push(late);
            for part in rows.chunks(run.chunk) {
                for side in [LEFT, RIGHT] {
                    let mut arrived = Vec::new();
                    for (_, (key, time)) in part.iter().filter(|(right, _)| usize::from(*right) == side) {
                        id += 1;
                        arrived.push(Known { epoch, key: *key, time: time.map(|time| (base + time) * SECOND), id });
                    }
                    operator.push(side, batch(&arrived)).unwrap();
                    oracle.arrive(side, arrived, late);
                }
            }
            if watermarks {
                late = (base - 4 + rise).max(late / SECOND) * SECOND;
                operator.watermark(&[late, late]).unwrap();
            }
            operator.close().unwrap();
            prop_assert!(table.apply(&operator.take()), "a row was taken back that was not there");
            prop_assert_eq!(table.rows(), oracle.table(), "epoch {}", epoch);
            if epoch == run.restart {
                operator.restart(run.later).unwrap();
            }
        }
    }

    #[test]
    fn state_is_empty_when_everything_has_expired(epochs in epochs(), kind in kind(), eager: bool) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mut operator = Harness::new(pace, vec![None, None], 1, move || join(kind, false, true));
        let mut id = 0;
        for (rows, _) in epochs {
            for (right, (key, time)) in rows {
                id += 1;
                let row = Known { epoch: 0, key, time: Some(time.unwrap_or(0) * SECOND), id };
                operator.push(usize::from(right), batch(&[row])).unwrap();
            }
            operator.close().unwrap();
        }
        operator.watermark(&[1000 * SECOND, 1000 * SECOND]).unwrap();
        operator.close().unwrap();
        let metrics = operator.metrics();
        prop_assert_eq!(metrics.rows_total, 0);
        prop_assert!(operator.state().unwrap().is_empty());
        prop_assert!(operator.each(|join| join.index.is_empty()));
    }
}

#[test]
fn many_small_chunks_do_not_stay_small_blocks() {
    let mut join = join(JoinKind::Inner, false, false).unwrap();
    let mut out = Output::new(Pace::Eager);
    for id in 1..=3000 {
        let row = Known { epoch: 0, key: Some(id), time: Some(0), id };
        join.on_rows(RIGHT, Chunk::new(batch(&[row]), 0, 0), &mut out).unwrap();
    }
    assert!(join.sides[RIGHT].store.all().unwrap().len() < 20);
    let probe: Vec<Known> =
        (1..=3000).map(|id| Known { epoch: 0, key: Some(id), time: Some(0), id: id * 5 + 1 }).collect();
    join.on_rows(LEFT, Chunk::new(batch(&probe), 0, 0), &mut out).unwrap();
    assert_eq!(out.take().iter().map(Chunk::len).sum::<usize>(), 3000);
}

#[test]
fn a_hot_key_is_joined_in_blocks() {
    let mut join = join(JoinKind::Inner, false, false).unwrap();
    let mut out = Output::new(Pace::Eager);
    let rows: Vec<Known> = (0..300).map(|id| Known { epoch: 0, key: Some(1), time: Some(0), id: id * 5 + 1 }).collect();
    join.on_rows(RIGHT, Chunk::new(batch(&rows), 0, 0), &mut out).unwrap();
    join.on_rows(LEFT, Chunk::new(batch(&rows), 0, 0), &mut out).unwrap();
    let chunks = out.take();
    assert_eq!(chunks.iter().map(Chunk::len).sum::<usize>(), 90_000);
    assert!(chunks.iter().all(|chunk| chunk.len() <= MAX_ROWS));
}

#[test]
fn the_output_watermark_is_held_back_and_one_watermark_is_enough() {
    let join = join(JoinKind::Inner, false, true).unwrap();
    assert_eq!(join.output_watermark(&[20 * SECOND, 30 * SECOND]), 20 * SECOND - RANGE - 1000);
    assert_eq!(join.output_watermark(&[NO_WATERMARK, 30 * SECOND]), NO_WATERMARK);
    let mut one_sided = join;
    one_sided.sides[LEFT].input.event_time = None;
    assert_eq!(one_sided.output_watermark(&[NO_WATERMARK, 30 * SECOND]), 30 * SECOND - RANGE - 1000);
}

#[test]
fn keys_of_different_types_are_refused() {
    let right = ints(&[("k", &[])]).schema();
    let left = with_times(ints(&[("k", &[])]), &[0]).schema();
    let side = |schema: &SchemaRef| JoinSide { schema: schema.clone(), prefilter: None, event_time: None, evict: None };
    let join = StreamJoin {
        kind: JoinKind::Inner,
        on: vec![On { left: 0, right: 0, null_safe: false }],
        condition: None,
        joined: Arc::new(Schema::new(vec![left.field(0).clone(), right.field(0).clone()])),
        sides: [side(&left), side(&right)],
        changelog: false,
        holdback: 0,
    };
    assert!(Join::new(join).is_err());
}

/// Impressions and clicks joined within ten minutes, as Spark prints them: (w, c) per batch.
fn spark(kind: JoinKind, null_keys: bool) -> Vec<Vec<(Option<i64>, Option<i64>)>> {
    const MINUTE: i64 = 60 * SECOND;
    let odd = |key| if null_keys { None } else { Some(key) };
    let row = |minute: i64, key: Option<i64>, id: i64| Known { epoch: 0, key, time: Some(minute * MINUTE), id };
    let files = [
        (vec![row(0, Some(1), 1), row(1, Some(2), 2), row(2, odd(3), 3)], vec![row(1, Some(1), 10)]),
        (
            vec![row(10, Some(1), 4), row(12, Some(5), 5)],
            vec![row(5, Some(2), 20), row(11, Some(1), 30), row(11, odd(4), 35)],
        ),
        (vec![row(40, Some(6), 6)], vec![row(45, Some(6), 40), row(20, Some(5), 50)]),
        (vec![row(41, Some(1), 7), row(5, Some(7), 8)], vec![row(50, Some(1), 60), row(6, Some(7), 70)]),
        (vec![], vec![]),
    ];
    let make = move || {
        let schema = batch(&[]).schema();
        let fields: Vec<_> = schema.fields().iter().chain(schema.fields()).cloned().collect();
        let side = |delay: i64| JoinSide {
            schema: schema.clone(),
            prefilter: None,
            event_time: Some(column(1)),
            evict: Some(Evict { value: column(1), delay }),
        };
        let on = vec![On { left: 0, right: 0, null_safe: false }];
        let (condition, joined) = (Some(range(10 * MINUTE)), Arc::new(Schema::new(fields)));
        let sides = [side(10 * MINUTE + 1000), side(0)];
        Join::new(StreamJoin { kind, on, condition, joined, changelog: false, sides, holdback: 0 })
    };
    let mut operator = Harness::new(Pace::Epoch, vec![None, None], 1, make);
    let mut printed = Vec::new();
    for ((left, right), watermark) in files.iter().zip([-1000, -9, 1, 30, 31]) {
        operator.push(RIGHT, batch(right)).unwrap();
        operator.push(LEFT, batch(left)).unwrap();
        operator.watermark(&[watermark * MINUTE; 2]).unwrap();
        operator.close().unwrap();
        let rows = long_multiset(&operator.take());
        let mut rows: Vec<_> = rows.iter().map(|row| (row[2], row.get(5).copied().flatten())).collect();
        rows.sort();
        printed.push(rows);
    }
    printed
}

#[test]
fn agrees_with_spark_batch_by_batch() {
    let pair = |w, c| (Some(w), Some(c));
    let inner = vec![
        vec![pair(1, 10)],
        vec![pair(2, 20), pair(4, 30)],
        vec![pair(5, 50), pair(6, 40)],
        vec![pair(7, 60), pair(8, 70)],
        vec![],
    ];
    let (mut left, mut right) = (inner.clone(), inner.clone());
    left[3].insert(0, (Some(3), None));
    right[3].insert(0, (None, Some(35)));
    let mut full = left.clone();
    full[3].insert(0, (None, Some(35)));
    assert_eq!(spark(JoinKind::Inner, true), inner);
    assert_eq!(spark(JoinKind::LeftOuter, false), left);
    assert_eq!(spark(JoinKind::LeftOuter, true), left);
    assert_eq!(spark(JoinKind::RightOuter, false), right);
    assert_eq!(spark(JoinKind::FullOuter, false), full);
    let semi: Vec<Vec<_>> = [vec![1], vec![2, 4], vec![5, 6], vec![7], vec![]]
        .into_iter()
        .map(|ids| ids.into_iter().map(|id| (Some(id), None)).collect())
        .collect();
    assert_eq!(spark(JoinKind::LeftSemi, true), semi);
}
