//! Changelogs against counts in a map.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int8Array, RecordBatch};
use arrow::datatypes::Int8Type;
use proptest::prelude::*;

use super::net::{Net, View};
use super::rows::net;
use super::table::Table;
use super::{append, of_sign, split};
use crate::Pace;
use crate::exchange::Route;
use crate::harness::{Harness, ints, long_multiset};

type Change = (Option<i64>, i8);

fn changes(changes: &[Change]) -> RecordBatch {
    let values: Vec<Option<i64>> = changes.iter().map(|change| change.0).collect();
    let signs: Int8Array = changes.iter().map(|change| Some(change.1)).collect();
    append(&ints(&[("v", &values)]), signs).unwrap()
}

fn counts(changes: &[Change]) -> BTreeMap<Option<i64>, i64> {
    let mut counts = BTreeMap::new();
    changes.iter().for_each(|(value, sign)| *counts.entry(*value).or_insert(0) += i64::from(*sign));
    counts.retain(|_, count| *count != 0);
    counts
}

fn read(rows: &RecordBatch) -> Vec<Change> {
    let (bare, signs) = split(rows).unwrap();
    let values = crate::harness::long_rows(&[bare]);
    values.into_iter().map(|row| row[0]).zip(signs.values().iter().copied()).collect()
}

fn some_changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((prop::option::of(0i64..4), prop_oneof![Just(1i8), Just(-1i8)]), 0..30)
}

/// Changes in an order in which nothing is taken back before it was given.
fn sound(all: Vec<Change>) -> Vec<Change> {
    let mut held: BTreeMap<Option<i64>, i64> = BTreeMap::new();
    let kept = all.into_iter().filter(|(value, sign)| {
        let count = held.entry(*value).or_default();
        let fits = *count + i64::from(*sign) >= 0;
        *count += if fits { i64::from(*sign) } else { 0 };
        fits
    });
    kept.collect()
}

proptest! {
    #[test]
    fn what_cancels_is_gone_and_nothing_else(all in some_changes()) {
        let left = net(&changes(&all)).unwrap();
        prop_assert_eq!(counts(&read(&left)), counts(&all));
        let total: i64 = counts(&all).values().map(|count| count.abs()).sum();
        let only_insertions = all.iter().all(|change| change.1 == 1);
        prop_assert_eq!(left.num_rows() as i64, if only_insertions { all.len() as i64 } else { total });
    }

    #[test]
    fn a_table_is_the_sum_of_its_changes(all in some_changes(), chunk in 1usize..6, instances in 1usize..4, restart in 0usize..6) {
        let all = sound(all);
        let schema = ints(&[("v", &[])]).schema();
        let make = move || Table::new(schema.clone(), true);
        let mut table = Harness::new(Pace::Epoch, vec![Some(Route::Keys(vec![0]))], instances, make);
        let mut so_far = Vec::new();
        for (step, part) in all.chunks(chunk).enumerate() {
            table.push(0, changes(part)).unwrap();
            table.close().unwrap();
            so_far.extend_from_slice(part);
            let expected = counts(&so_far).into_iter().flat_map(|(v, n)| std::iter::repeat_n(vec![v], n as usize));
            prop_assert_eq!(long_multiset(&table.take()), expected.collect::<Vec<_>>());
            if step == restart {
                table.restart(1 + instances % 3).unwrap();
            }
        }
    }

    #[test]
    fn upserts_are_the_insertions_of_the_net_change(all in some_changes(), chunk in 1usize..6, eager: bool) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let mut upserts = Harness::new(pace, vec![None], 1, || Ok(Net::new(View::Upserts, false)));
        let mut expected = Vec::new();
        all.chunks(chunk).for_each(|part| upserts.push(0, changes(part)).unwrap());
        upserts.close().unwrap();
        for part in all.chunks(if eager { chunk } else { all.len().max(1) }) {
            let up = counts(part).into_iter().filter(|(_, n)| *n > 0);
            expected.extend(up.flat_map(|(v, n)| std::iter::repeat_n(vec![v], n as usize)));
        }
        expected.sort();
        prop_assert_eq!(long_multiset(&upserts.take()), expected);
    }
}

#[test]
fn rows_without_columns_are_counted() {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(3));
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::empty());
    let bare = RecordBatch::try_new_with_options(schema, vec![], &options).unwrap();
    let left = net(&append(&bare, Int8Array::from(vec![1, 1, -1])).unwrap()).unwrap();
    assert_eq!(left.column(0).as_primitive::<Int8Type>().values(), &[1]);
}

#[test]
fn rows_of_one_sign_lose_it() {
    let rows = changes(&[(Some(1), 1), (Some(2), -1), (None, 1)]);
    assert_eq!(long_multiset(&[of_sign(&rows, 1).unwrap()]), [[None], [Some(1)]]);
    assert_eq!(long_multiset(&[of_sign(&rows, -1).unwrap()]), [[Some(2)]]);
}
