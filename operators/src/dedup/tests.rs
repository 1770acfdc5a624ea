//! Deduplication against a list of keys with the times at which they are forgotten.

use proptest::prelude::*;

use super::*;
use crate::Pace;
use crate::exchange::Route;
use crate::harness::{Harness, ints, long_multiset, with_times};
use crate::keys::ABSENT;

const SECOND: i64 = 1_000_000;

type Row = (Option<i64>, Option<i64>);

/// Columns: k, ts, id.
fn batch(rows: &[Row], first_id: i64) -> RecordBatch {
    let keys: Vec<_> = rows.iter().map(|row| row.0).collect();
    let times: Vec<_> = rows.iter().map(|row| row.1).collect();
    let ids: Vec<_> = (first_id..first_id + rows.len() as i64).map(Some).collect();
    with_times(ints(&[("k", &keys), ("ts", &times), ("id", &ids)]), &[1])
}

fn harness(pace: Pace, retention: Retention, instances: usize, cold: Option<usize>) -> Harness<Dedup> {
    let keys = match retention {
        Retention::EventTimeKey { .. } => vec![0, 1],
        _ => vec![0],
    };
    let schema = batch(&[], 0).schema();
    let route = Some(Route::Keys(keys.clone()));
    Harness::new(pace, vec![route], instances, move || {
        let mut dedup = Dedup::new(&schema, keys.clone(), retention)?;
        if let Some(budget) = cold {
            assert!(dedup.goes_cold(Cold::in_memory(budget).in_pieces_of(2))?);
        }
        Ok(dedup)
    })
}

/// The oracle: every key with the time at which it is forgotten.
#[derive(Default)]
struct Oracle {
    known: Vec<(Row, Option<i64>)>,
    watermark: Option<i64>,
}

impl Oracle {
    fn row(&mut self, (key, time): Row, retention: Retention) -> bool {
        let late = retention != Retention::Forever && time.is_some_and(|time| Some(time) <= self.watermark);
        let (key, until) = match retention {
            Retention::Forever | Retention::ForeverInTime { .. } => ((key, None), None),
            Retention::EventTimeKey { .. } => ((key, time), time),
            Retention::Within { delay, .. } => ((key, None), Some(time.unwrap_or(0) + delay)),
        };
        let first = !late && !self.known.iter().any(|(known, _)| *known == key);
        self.known.extend(first.then_some((key, until)));
        first
    }

    fn watermark(&mut self, watermark: i64) {
        self.watermark = Some(watermark);
        self.known.retain(|(_, until)| until.is_none_or(|until| until > watermark));
    }
}

fn retention() -> impl Strategy<Value = Retention> {
    prop_oneof![
        Just(Retention::Forever),
        Just(Retention::ForeverInTime { event_time: 1 }),
        Just(Retention::EventTimeKey { event_time: 1 }),
        Just(Retention::Within { event_time: 1, delay: 3 * SECOND }),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::of(0i64..4), prop::option::weighted(0.9, (0i64..12).prop_map(|time| time * SECOND / 2)))
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        epochs in prop::collection::vec((prop::collection::vec(row(), 0..8), 0i64..3), 1..8),
        retention in retention(),
        eager: bool,
        chunk in 1usize..5,
        (instances, restart, later) in (1usize..4, 0usize..8, 1usize..4),
        cold in prop_oneof![Just(None), Just(Some(0)), Just(Some(1500))],
    ) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mut operator = harness(pace, retention, instances, cold);
        let mut oracle = Oracle::default();
        let (mut id, mut watermark) = (0, 0);
        let mut expected = Vec::new();
        for (epoch, (rows, rise)) in epochs.into_iter().enumerate() {
            for rows in rows.chunks(chunk) {
                operator.push(0, batch(rows, id)).unwrap();
                for row in rows {
                    if oracle.row(*row, retention) {
                        expected.push(vec![row.0, row.1, Some(id)]);
                    }
                    id += 1;
                }
            }
            watermark += rise * SECOND;
            operator.watermark(&[watermark]).unwrap();
            oracle.watermark(watermark);
            operator.close().unwrap();
            prop_assert_eq!(operator.metrics().rows_total, oracle.known.len() as u64);
            if epoch == restart {
                operator.restart(later).unwrap();
            }
        }
        expected.sort();
        prop_assert_eq!(long_multiset(&operator.take()), expected);
    }
}

#[test]
fn a_duplicate_in_the_epoch_of_expiry_is_still_dropped() {
    let mut operator = harness(Pace::Epoch, Retention::Within { event_time: 1, delay: 5 * SECOND }, 1, None);
    for (rows, watermark) in [(batch(&[(Some(1), Some(0))], 0), -1), (batch(&[(Some(1), Some(20 * SECOND))], 1), 15)] {
        operator.push(0, rows).unwrap();
        operator.watermark(&[watermark * SECOND]).unwrap();
        operator.close().unwrap();
    }
    operator.push(0, batch(&[(Some(1), Some(20 * SECOND))], 2)).unwrap();
    assert_eq!(long_multiset(&operator.take()), [[Some(1), Some(0), Some(0)], [Some(1), Some(20 * SECOND), Some(2)]]);
    let metrics = operator.metrics();
    assert_eq!((metrics.rows_removed, metrics.rows_dropped, metrics.rows_total), (1, 0, 1));
}

#[test]
fn late_rows_are_dropped_and_counted() {
    let mut operator = harness(Pace::Eager, Retention::ForeverInTime { event_time: 1 }, 1, None);
    operator.watermark(&[10]).unwrap();
    operator.push(0, batch(&[(Some(1), Some(10)), (Some(1), Some(11)), (Some(2), None)], 0)).unwrap();
    assert_eq!(long_multiset(&operator.take()), [[Some(1), Some(11), Some(1)], [Some(2), None, Some(2)]]);
    assert_eq!(operator.metrics().rows_dropped, 1);
}

#[test]
fn keys_that_are_in_use_stay_in_memory() {
    let mut dedup = Dedup::new(&batch(&[], 0).schema(), vec![0], Retention::Forever).unwrap();
    assert!(dedup.goes_cold(Cold::in_memory(8_000)).unwrap());
    let chunk =
        |keys: &[i64]| Chunk::new(batch(&keys.iter().map(|key| (Some(*key), None)).collect::<Vec<_>>(), 0), 1, 0);
    let hot = [0, 1, 2, 3];
    for other in 100..2000 {
        dedup.on_rows(0, chunk(&[0, 1, 2, 3, other]), &mut Output::new(Pace::Epoch)).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(hot.to_vec()));
        dedup.table.lookup(&[keys], hot.len(), &mut dedup.groups).unwrap();
        assert!(!dedup.groups.contains(&ABSENT), "a key that every chunk has left memory at {other}");
    }
    let metrics = dedup.metrics();
    assert_eq!(metrics.rows_updated, 1904);
    assert!(metrics.cold_rows > 1000, "only {} left", metrics.cold_rows);
}
