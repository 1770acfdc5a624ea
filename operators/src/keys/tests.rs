//! Key tables against a map of printed keys; routing against Spark's numbers.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int16Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use super::*;

fn fields(columns: &[ArrayRef]) -> Vec<FieldRef> {
    columns.iter().map(|column| Arc::new(Field::new("k", column.data_type().clone(), true))).collect()
}

/// One key as text; floats print alike exactly if Spark groups them.
fn text(columns: &[ArrayRef], row: usize) -> String {
    let options = FormatOptions::default().with_null("∅");
    let cell = |column: &ArrayRef| {
        let normal = normalize_floats(column).unwrap();
        let text = ArrayFormatter::try_new(&normal, &options).unwrap().value(row).to_string();
        format!("{}{text}", normal.is_null(row))
    };
    columns.iter().map(cell).collect::<Vec<_>>().join("|")
}

fn doubles() -> impl Strategy<Value = Option<f64>> {
    let odd = prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(-f64::NAN), Just(f64::INFINITY), Just(1.5)];
    proptest::option::of(odd)
}

type Row = (Option<i64>, Option<String>, Option<f64>, bool, Option<i16>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let long = proptest::option::of(-3i64..3);
    let word = proptest::option::of("[ab]{0,2}");
    proptest::collection::vec((long, word, doubles(), any::<bool>(), proptest::option::of(0i16..4)), 1..40)
}

/// Columns of every kind of store, all made of the same rows.
fn columns(rows: &[Row], shape: usize) -> Vec<ArrayRef> {
    let long: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
    let word: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.clone())));
    let double: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2)));
    let flag: ArrayRef = Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.3))));
    let short: ArrayRef = Arc::new(Int16Array::from_iter(rows.iter().map(|row| row.4)));
    let time = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.0)).with_timezone("+00:00");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        rows.iter().map(|row| row.0.map(|long| vec![Some(long as i32), row.4.map(i32::from)])),
    );
    let fields = vec![Field::new("d", DataType::Float64, true), Field::new("s", DataType::Utf8, true)];
    let pair = StructArray::new(fields.into(), vec![double.clone(), word.clone()], None);
    let inner = vec![Field::new("n", DataType::Int64, false), Field::new("b", DataType::Boolean, true)];
    let sure: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0.unwrap_or(1))));
    let present = NullBuffer::from_iter(rows.iter().map(|row| row.4.is_some()));
    let window = StructArray::new(inner.into(), vec![sure, flag.clone()], Some(present));
    match shape {
        0 => vec![long],
        1 => vec![word],
        2 => vec![double],
        3 => vec![flag],
        4 => vec![short],
        5 => vec![Arc::new(time)],
        6 => vec![Arc::new(list)],
        7 => vec![Arc::new(pair)],
        8 => vec![double, word, long],
        9 => vec![double, short, flag],
        10 => vec![Arc::new(window), Arc::new(time)],
        _ => vec![],
    }
}

proptest! {
    #[test]
    fn ids_agree_with_a_map_of_keys(chunks in proptest::collection::vec(rows(), 1..6), shape in 0usize..12, drop in any::<u64>()) {
        let mut table = KeyTable::new(&fields(&columns(&chunks[0], shape))).unwrap();
        let mut oracle: HashMap<String, u32> = HashMap::new();
        let mut groups = Vec::new();
        for chunk in &chunks {
            let columns = columns(chunk, shape);
            table.lookup(&columns, chunk.len(), &mut groups).unwrap();
            for (row, &group) in groups.iter().enumerate() {
                prop_assert_eq!(group, oracle.get(&text(&columns, row)).copied().unwrap_or(ABSENT));
            }
            table.lookup_or_insert(&columns, chunk.len(), &mut groups).unwrap();
            for (row, &group) in groups.iter().enumerate() {
                let known = oracle.len();
                let id = *oracle.entry(text(&columns, row)).or_insert(group);
                prop_assert_eq!(group, id, "row {} of {} keys", row, known);
            }
            let mut ids: Vec<u32> = oracle.values().copied().collect();
            ids.sort_unstable();
            prop_assert_eq!(&ids, &table.groups().collect::<Vec<_>>(), "live ids are distinct");
            let back = table.keys(&groups).unwrap();
            for (column, original) in back.iter().zip(&columns) {
                prop_assert_eq!(column.data_type(), original.data_type());
                prop_assert_eq!(&normalize_floats(column).unwrap(), &normalize_floats(original).unwrap());
            }
            let evicted = table.retain(|group| (drop >> (group % 64)) & 1 == 0);
            oracle.retain(|_, id| !evicted.contains(id));
            prop_assert_eq!(table.len(), oracle.len());
        }
    }

    #[test]
    fn some_rows_are_looked_up_as_if_they_were_alone(rows in rows(), shape in 0usize..12, wanted in any::<u64>()) {
        let whole = columns(&rows, shape);
        let picks: Vec<u32> = (0..rows.len() as u32).filter(|row| (wanted >> row) & 1 == 1).collect();
        let picks = UInt32Array::from(picks);
        let alone = pick(&whole, &picks).unwrap();
        let (mut some, mut all) = (KeyTable::new(&fields(&whole)).unwrap(), KeyTable::new(&fields(&whole)).unwrap());
        let (mut groups, mut expected) = (Vec::new(), Vec::new());
        some.lookup_or_insert_some(&whole, rows.len(), &picks, &mut groups).unwrap();
        all.lookup_or_insert(&alone, picks.len(), &mut expected).unwrap();
        prop_assert_eq!(groups, expected);
    }

    #[test]
    fn routes_do_not_depend_on_chunks(rows in rows(), shape in 0usize..12, cut in 0usize..40) {
        let whole = columns(&rows, shape);
        let cut = cut.min(rows.len());
        let (mut all, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        route(&whole, rows.len(), &mut all).unwrap();
        let part = |from: usize, len: usize| whole.iter().map(|column| column.slice(from, len)).collect::<Vec<_>>();
        route(&part(0, cut), cut, &mut first).unwrap();
        route(&part(cut, rows.len() - cut), rows.len() - cut, &mut second).unwrap();
        first.extend(second);
        prop_assert_eq!(&all, &first);
        let mut seen: HashMap<String, u64> = HashMap::new();
        for (row, &routed) in all.iter().enumerate() {
            prop_assert_eq!(*seen.entry(text(&whole, row)).or_insert(routed), routed, "equal keys part ways");
        }
    }
}

#[test]
fn evicted_ids_are_reused_and_memory_stays_bounded() {
    let key = |from: i64| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((from..from + 1000).map(|i| format!("{i:0>100}"))))
    };
    let mut table = KeyTable::new(&fields(&[key(0)])).unwrap();
    let mut groups = Vec::new();
    for round in 0..50 {
        table.lookup_or_insert(&[key(round * 1000)], 1000, &mut groups).unwrap();
        table.remove(&groups);
    }
    assert_eq!((table.len(), table.group_count()), (0, 1000));
    assert!(table.size_bytes() < 1_000_000, "{} bytes", table.size_bytes());
    assert!(table.keys(&[0]).is_err());
}

#[test]
fn sliced_columns_keep_their_place() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(8), None]));
    let mut table = KeyTable::new(&fields(std::slice::from_ref(&column))).unwrap();
    let mut groups = Vec::new();
    table.lookup_or_insert(&[column.slice(1, 3)], 3, &mut groups).unwrap();
    assert_eq!(groups, [0, 1, 0]);
    let keys = table.keys(&[1, 0]).unwrap();
    assert_eq!(keys[0].as_ref(), concat(&[&column.slice(2, 1), &column.slice(1, 1)]).unwrap().as_ref());
}

#[test]
fn wrong_columns_are_an_error() {
    let longs: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let mut table = KeyTable::new(&fields(std::slice::from_ref(&longs))).unwrap();
    let mut groups = Vec::new();
    assert!(table.lookup_or_insert(&[words], 1, &mut groups).is_err());
    assert!(table.lookup_or_insert(&[longs], 2, &mut groups).is_err());
}

#[test]
fn hashes_are_sparks() {
    let hash = |columns: &[ArrayRef]| {
        let mut out = Vec::new();
        route(columns, 1, &mut out).unwrap();
        out[0] as i64
    };
    let one: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
    let null: ArrayRef = Arc::new(arrow::array::NullArray::new(1));
    let word = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    assert_eq!(hash(&[word("Spark")]), -4294468057691064905);
    assert_eq!(hash(std::slice::from_ref(&one)), -6698625589789238999);
    assert_eq!(hash(&[one, null, word("x")]), 8510603489595372987);
    // From the reference implementation of XXH64, a text longer than one stripe with seed 0.
    assert_eq!(xxhash64_bytes(b"", 0), 0xef46db3751d8e999);
    assert_eq!(
        xxhash64_bytes(b"Call me Ishmael. Some years ago--never mind how long precisely-", 0),
        0x02a2e85470d6fd96
    );
}
