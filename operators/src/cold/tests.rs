//! Rows in a store against a map of them; the operators' own tests look at what they make of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;

use super::rows::{ColdRows, Cursor, NEVER, Part};
use super::{Cold, ColdStore, Result};
use crate::dedup::{Dedup, Retention};
use crate::harness::ints;
use crate::keys::RowCodec;
use crate::marks::{DIRTY, TOUCHED};
use crate::{Chunk, Error, Logic, Output, Pace};

impl Cold {
    /// The same, reading up to `rows` rows at once.
    #[must_use]
    pub fn in_pieces_of(self, rows: usize) -> Self {
        Cold { piece: rows.max(1), ..self }
    }

    /// A store in memory, for tests: nothing is saved, and it works alike.
    pub fn in_memory(budget: usize) -> Self {
        Cold::new(Box::new(InMemory::default()), budget)
    }
}

/// A [`ColdStore`] for tests.
#[derive(Debug, Default)]
struct InMemory(BTreeMap<Vec<u8>, Vec<u8>>);

impl ColdStore for InMemory {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.0.get(key);
        value.extend(found.into_iter().flatten());
        Ok(found.is_some())
    }

    fn take(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let found = self.0.remove(key);
        value.extend(found.iter().flatten());
        Ok(found.is_some())
    }

    fn walk(&mut self, from: &[u8], until: &[u8], see: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        if from < until {
            let mut range = self.0.range(from.to_vec()..until.to_vec());
            while range.next().is_some_and(|(key, value)| see(key, value)) {}
        }
        Ok(())
    }
}

/// Bucket and key → mark, due, value.
type Map = BTreeMap<(i64, String), (u8, i64, i64)>;

fn store() -> ColdRows {
    let cold = Cold::in_memory(0).in_pieces_of(3);
    ColdRows::new(cold, &[DataType::Utf8], &[DataType::Int64], true).unwrap()
}

fn words(words: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(words))
}

fn part(bucket: i64, rows: &[(String, (u8, i64, i64))]) -> Part {
    Part {
        bucket,
        keys: vec![words(rows.iter().map(|row| row.0.clone()))],
        values: vec![Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1.2)))],
        marks: rows.iter().map(|row| row.1.0).collect(),
        dues: rows.iter().map(|row| row.1.1).collect(),
    }
}

fn add(part: &Part, map: &mut Map) {
    let (keys, values) = (part.keys[0].as_string::<i32>(), part.values[0].as_primitive::<Int64Type>());
    for row in 0..part.len() {
        let value = (part.marks[row], part.dues[row], values.value(row));
        assert!(map.insert((part.bucket, keys.value(row).to_owned()), value).is_none(), "a row came twice");
    }
}

/// All that a walk gives.
fn all(mut next: impl FnMut() -> Result<Option<Part>>) -> Map {
    let mut map = Map::new();
    while let Some(part) = next().unwrap() {
        assert!((1..=3).contains(&part.len()), "a piece has {} rows", part.len());
        add(&part, &mut map);
    }
    map
}

#[derive(Debug, Clone)]
enum Step {
    Put(i64, Vec<(String, (u8, i64, i64))>),
    Take(i64, Vec<String>),
    TakeBucket(i64),
    TakeDue(i64, i64),
    TakeUnder(i64, String),
    Marked(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let mark = prop_oneof![Just(0), Just(TOUCHED), Just(DIRTY), Just(TOUCHED | DIRTY)];
    let due = prop_oneof![Just(NEVER), -3i64..4];
    let bucket = || prop_oneof![Just(i64::MIN), -1i64..2, Just(i64::MAX)];
    prop_oneof![
        (bucket(), prop::collection::vec(("[ab]{0,3}", (mark, due, any::<i64>())), 0..8))
            .prop_map(|(bucket, rows)| Step::Put(bucket, rows)),
        (bucket(), prop::collection::vec("[ab]{0,3}", 0..6)).prop_map(|(bucket, keys)| Step::Take(bucket, keys)),
        bucket().prop_map(Step::TakeBucket),
        (bucket(), -3i64..4).prop_map(|(bucket, until)| Step::TakeDue(bucket, until)),
        (bucket(), "[ab]{0,3}").prop_map(|(bucket, key)| Step::TakeUnder(bucket, key)),
        prop_oneof![Just(TOUCHED), Just(DIRTY)].prop_map(Step::Marked),
    ]
}

/// What is known under the keys for which `wanted` holds, taken out of the map.
fn taken(map: &mut Map, wanted: impl Fn(&(i64, String), &(u8, i64, i64)) -> bool) -> Map {
    let (gone, left) = std::mem::take(map).into_iter().partition(|(key, value)| wanted(key, value));
    *map = left;
    gone
}

proptest! {
    #[test]
    fn a_store_is_a_map(steps in prop::collection::vec(step(), 1..24)) {
        let (mut cold, mut map) = (store(), Map::new());
        for step in steps {
            match step {
                Step::Put(bucket, rows) => {
                    let new: BTreeMap<_, _> = rows.into_iter().filter(|(key, _)| !map.contains_key(&(bucket, key.clone()))).collect();
                    let new: Vec<_> = new.into_iter().collect();
                    let part = part(bucket, &new);
                    cold.put(&part).unwrap();
                    add(&part, &mut map);
                }
                Step::Take(bucket, keys) => {
                    let mut found = Map::new();
                    if let Some(part) = cold.take(bucket, &[words(keys.iter().cloned())]).unwrap() {
                        add(&part, &mut found);
                    }
                    prop_assert_eq!(found, taken(&mut map, |(of, key), _| *of == bucket && keys.contains(key)));
                }
                Step::TakeBucket(bucket) => {
                    prop_assert_eq!(all(|| cold.take_bucket(bucket)), taken(&mut map, |(of, _), _| *of == bucket));
                }
                Step::TakeDue(bucket, until) => {
                    let is_due = |of: i64, due: i64| of == bucket && due <= until;
                    let keys = cold.due_keys(bucket, until).unwrap();
                    prop_assert_eq!(keys.is_some(), map.iter().any(|((of, _), (_, due, _))| is_due(*of, *due)));
                    let expected = taken(&mut map, |(of, _), (_, due, _)| is_due(*of, *due));
                    prop_assert_eq!(all(|| cold.take_due(bucket, until)), expected);
                }
                Step::TakeUnder(bucket, key) => {
                    // The key is all that there is before what tells rows apart, which here is nothing.
                    let codec = RowCodec::new(&[DataType::Utf8]).unwrap();
                    let prefix = codec.encode(&[words(std::iter::once(key.clone()))]).unwrap();
                    let found = all(|| cold.take_under(bucket, &prefix));
                    prop_assert_eq!(found, taken(&mut map, |id, _| *id == (bucket, key.clone())));
                }
                Step::Marked(what) => {
                    let mut cursor = Cursor::all();
                    let marked = all(|| cold.next_marked(what, &mut cursor));
                    cold.end_marked(what);
                    let expected = map.iter().filter(|(_, value)| value.0 & what != 0);
                    prop_assert_eq!(marked, expected.map(|(key, value)| (key.clone(), *value)).collect::<Map>());
                    map.values_mut().for_each(|value| value.0 &= !what);
                }
            }
            let mut cursor = Cursor::all();
            prop_assert_eq!(&all(|| cold.next(&mut cursor)), &map);
            let mut metrics = <_>::default();
            cold.report(&mut metrics);
            prop_assert_eq!((metrics.cold_rows, metrics.cold_bytes == 0), (map.len() as u64, map.is_empty()));
        }
    }

    #[test]
    fn a_bucket_is_read_up_to_any_of_its_keys(keys in prop::collection::btree_set("[ab]{0,4}", 0..12), rows in 1usize..5) {
        let mut cold = store();
        let all: Vec<_> = keys.iter().map(|key| (key.clone(), (0, NEVER, 7))).collect();
        cold.put(&part(5, &all)).unwrap();
        cold.put(&part(6, &all)).unwrap();
        let (mut cursor, mut read) = (Cursor::of(5), Map::new());
        loop {
            let last = cold.nth(&cursor, rows).unwrap();
            if let Some(part) = cold.next_until(&mut cursor, last.as_deref()).unwrap() {
                prop_assert!(last.is_none() || part.len() == rows);
                add(&part, &mut read);
            }
            if last.is_none() {
                break;
            }
        }
        prop_assert_eq!(read.into_keys().collect::<Vec<_>>(), keys.into_iter().map(|key| (5, key)).collect::<Vec<_>>());
    }
}

#[test]
fn values_come_back_bit_by_bit() {
    let cold = Cold::in_memory(0);
    let mut cold = ColdRows::new(cold, &[DataType::Int64], &[DataType::Float64], false).unwrap();
    let values = [-0.0, 0.0, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::INFINITY];
    let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(values.to_vec()));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
    cold.put(&Part {
        bucket: 0,
        keys: vec![keys.clone()],
        values: vec![column],
        marks: vec![0; 5],
        dues: vec![NEVER; 5],
    })
    .unwrap();
    let part = cold.take(0, &[keys]).unwrap().unwrap();
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let back = part.values[0].as_primitive::<arrow::datatypes::Float64Type>();
    assert_eq!(bits(back.values()), bits(&values));
}

/// A disk that is full after some writes.
struct Full(u32);

impl ColdStore for Full {
    fn put(&mut self, _: &[u8], _: &[u8]) -> Result<()> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| Error::Internal("no space left".into()))?;
        Ok(())
    }

    fn get(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }

    fn take(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }

    fn walk(&mut self, _: &[u8], _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        Ok(())
    }
}

#[test]
fn c01_a_full_disk_is_an_error_of_the_operator() {
    let rows = ints(&[("k", &[Some(1), Some(2), Some(3), Some(4)])]);
    for writes in 0..2 {
        let mut dedup = Dedup::new(&rows.schema(), vec![0], Retention::Forever).unwrap();
        assert!(dedup.goes_cold(Cold::new(Box::new(Full(writes)), 0)).unwrap());
        let error = dedup.on_rows(0, Chunk::new(rows.clone(), 1, 0), &mut Output::new(Pace::Epoch)).unwrap_err();
        assert!(error.to_string().contains("no space left"), "{error}");
    }
}
