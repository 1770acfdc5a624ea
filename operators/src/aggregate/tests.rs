//! Every function against an oracle that sees all rows of a group at once, on random groups, chunks, merges and reuse;
//! then the numbers that real Spark gives.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    StructArray,
};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;

use super::*;

/// Two numbers a row, halves from -4 to 4 so that sums are exact.
type Row = (Option<f64>, Option<f64>);

/// A group's rows in order → its result.
type Oracle = fn(&[Row]) -> Option<f64>;

fn function(name: &str, types: &[DataType], options: Options) -> AggregateFunction {
    AggregateFunction::new(name, types, options).unwrap_or_else(|mismatch| panic!("{name}: {mismatch}"))
}

fn constants(constants: &[Constant]) -> Options {
    Options { ansi: true, constants: constants.to_vec(), ..Options::default() }
}

fn firsts(rows: &[Row]) -> Vec<f64> {
    rows.iter().filter_map(|row| row.0).collect()
}

fn pairs(rows: &[Row]) -> Vec<(f64, f64)> {
    rows.iter().filter_map(|row| Some((row.0?, row.1?))).collect()
}

fn some(is_defined: bool, value: f64) -> Option<f64> {
    is_defined.then_some(value)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn moment(values: &[f64], power: i32) -> f64 {
    values.iter().map(|value| (value - mean(values)).powi(power)).sum()
}

fn spread(pairs: &[(f64, f64)]) -> (f64, f64, f64) {
    let (ys, xs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let c = pairs.iter().map(|(y, x)| (y - mean(&ys)) * (x - mean(&xs))).sum();
    (c, moment(&xs, 2), moment(&ys, 2))
}

fn sorted(rows: &[Row]) -> Vec<f64> {
    let mut values = firsts(rows);
    values.sort_by(f64::total_cmp);
    values
}

fn distinct(rows: &[Row]) -> Vec<f64> {
    let mut values = sorted(rows);
    values.dedup();
    values
}

/// All functions of numbers: name, number of arguments, constants, oracle.
fn oracles() -> Vec<(&'static str, usize, Options, Oracle)> {
    let plain = || constants(&[]);
    let half = || constants(&[Constant::Double(0.5)]);
    let once = || Options { distinct: true, ..constants(&[]) };
    let skip = || Options { ignore_nulls: true, ..constants(&[]) };
    vec![
        ("count", 0, plain(), |r| Some(r.len() as f64)),
        ("count", 1, plain(), |r| Some(firsts(r).len() as f64)),
        ("count", 2, plain(), |r| Some(pairs(r).len() as f64)),
        ("count", 1, once(), |r| Some(distinct(r).len() as f64)),
        ("sum", 1, plain(), |r| some(!firsts(r).is_empty(), firsts(r).iter().sum())),
        ("sum", 1, once(), |r| some(!firsts(r).is_empty(), distinct(r).iter().sum())),
        ("avg", 1, plain(), |r| some(!firsts(r).is_empty(), mean(&firsts(r)))),
        ("min", 1, plain(), |r| sorted(r).first().copied()),
        ("max", 1, plain(), |r| sorted(r).last().copied()),
        ("first", 1, plain(), |r| r.first().and_then(|row| row.0)),
        ("last", 1, plain(), |r| r.last().and_then(|row| row.0)),
        ("first", 1, skip(), |r| firsts(r).first().copied()),
        ("last", 1, skip(), |r| firsts(r).last().copied()),
        ("var_pop", 1, plain(), |r| some(!firsts(r).is_empty(), moment(&firsts(r), 2) / firsts(r).len() as f64)),
        ("stddev", 1, plain(), |r| {
            some(firsts(r).len() > 1, (moment(&firsts(r), 2) / (firsts(r).len() as f64 - 1.0)).sqrt())
        }),
        ("skewness", 1, plain(), |r| {
            let v = firsts(r);
            some(moment(&v, 2) > 0.0, (v.len() as f64).sqrt() * moment(&v, 3) / moment(&v, 2).powf(1.5))
        }),
        ("kurtosis", 1, plain(), |r| {
            let v = firsts(r);
            some(moment(&v, 2) > 0.0, v.len() as f64 * moment(&v, 4) / moment(&v, 2).powi(2) - 3.0)
        }),
        ("covar_samp", 2, plain(), |r| some(pairs(r).len() > 1, spread(&pairs(r)).0 / (pairs(r).len() as f64 - 1.0))),
        ("corr", 2, plain(), |r| {
            let (c, x, y) = spread(&pairs(r));
            some(x > 0.0 && y > 0.0, c / (x * y).sqrt())
        }),
        ("regr_count", 2, plain(), |r| Some(pairs(r).len() as f64)),
        ("regr_slope", 2, plain(), |r| some(spread(&pairs(r)).1 > 0.0, spread(&pairs(r)).0 / spread(&pairs(r)).1)),
        ("max_by", 2, plain(), |r| {
            let by = r.iter().filter(|row| row.1.is_some()).max_by(|a, b| a.1.unwrap().total_cmp(&b.1.unwrap()));
            by.and_then(|row| row.0)
        }),
        ("min_by", 2, plain(), |r| {
            let by = r.iter().rev().filter(|row| row.1.is_some()).min_by(|a, b| a.1.unwrap().total_cmp(&b.1.unwrap()));
            by.and_then(|row| row.0)
        }),
        ("mode", 1, plain(), |r| {
            let count = |value: f64| firsts(r).iter().filter(|other| **other == value).count();
            distinct(r).into_iter().rev().max_by_key(|value| count(*value))
        }),
        ("percentile", 1, half(), |r| {
            let (v, last) = (sorted(r), sorted(r).len().max(1) - 1);
            (!v.is_empty()).then(|| (v[last / 2] + v[last.div_ceil(2)]) / 2.0)
        }),
        ("percentile_disc", 1, half(), |r| sorted(r).get(sorted(r).len().max(1).div_ceil(2) - 1).copied()),
        ("percentile_approx", 1, half(), |r| sorted(r).get(sorted(r).len().max(1).div_ceil(2) - 1).copied()),
        ("approx_count_distinct", 1, plain(), |r| Some(distinct(r).len() as f64)),
    ]
}

fn rows() -> impl Strategy<Value = Vec<(u32, Row, bool)>> {
    let number = || proptest::option::of((-8i32..=8).prop_map(|halves| f64::from(halves) / 2.0));
    proptest::collection::vec((0u32..4, (number(), number()), any::<bool>()), 0..60)
}

const GROUPS: usize = 5;

struct Input {
    groups: Vec<u32>,
    args: Vec<ArrayRef>,
    filter: BooleanArray,
}

fn input(rows: &[(u32, Row, bool)], function: &AggregateFunction) -> Input {
    let columns = [
        Float64Array::from_iter(rows.iter().map(|row| row.1.0)),
        Float64Array::from_iter(rows.iter().map(|row| row.1.1)),
    ];
    let args = columns.iter().zip(function.arg_types()).map(|(column, to)| cast(column, to).unwrap()).collect();
    let groups = rows.iter().map(|row| row.0).collect();
    Input { groups, args, filter: rows.iter().map(|row| Some(row.2)).collect() }
}

fn update(accumulator: &mut dyn Accumulator, function: &AggregateFunction, rows: &[(u32, Row, bool)]) {
    let Input { groups, args, filter } = input(rows, function);
    accumulator.update(&groups, GROUPS, &args, Some(&filter)).unwrap();
}

fn expected(rows: &[(u32, Row, bool)], group: u32, oracle: Oracle) -> Option<f64> {
    oracle(&rows.iter().filter(|row| row.0 == group && row.2).map(|row| row.1).collect::<Vec<_>>())
}

fn assert_close(name: &str, result: &ArrayRef, expected: &[Option<f64>]) {
    let result = cast(result, &DataType::Float64).unwrap();
    let result: Vec<_> = result.as_primitive::<Float64Type>().iter().collect();
    let close = |a: &Option<f64>, b: &Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    };
    assert!(result.iter().zip(expected).all(|(a, b)| close(a, b)), "{name}: {result:?} instead of {expected:?}");
}

proptest! {
    #[test]
    fn functions_agree_with_their_oracles(rows in rows(), cut in 0usize..60, whole in any::<bool>()) {
        let ids: Vec<u32> = (0..GROUPS as u32).collect();
        let cut = cut.min(rows.len());
        for (name, count, options, oracle) in oracles() {
            let exact = matches!(name, "first" | "last" | "min" | "max" | "count" | "sum" | "mode");
            let number = if whole && exact { DataType::Decimal128(10, 1) } else { DataType::Float64 };
            let function = function(name, &vec![number; count], options);
            let all: Vec<_> = ids.iter().map(|&group| expected(&rows, group, oracle)).collect();

            let mut chunked = function.accumulator().unwrap();
            update(chunked.as_mut(), &function, &rows[..cut]);
            let before: Vec<_> = ids.iter().map(|&group| expected(&rows[..cut], group, oracle)).collect();
            assert_close(name, &chunked.evaluate(&ids).unwrap(), &before);
            update(chunked.as_mut(), &function, &rows[cut..]);
            let result = chunked.evaluate(&ids).unwrap();
            prop_assert_eq!(result.data_type(), function.return_type());
            assert_close(name, &result, &all);

            let [mut left, mut right] = [0, 1].map(|_| function.accumulator().unwrap());
            update(left.as_mut(), &function, &rows[..cut]);
            update(right.as_mut(), &function, &rows[cut..]);
            let state = right.state(&ids).unwrap();
            let types: Vec<_> = state.iter().map(|column| column.data_type().clone()).collect();
            prop_assert_eq!(&types, &right.state_types(), "{}", name);
            left.merge(&ids, GROUPS, &state).unwrap();
            assert_close(name, &left.evaluate(&ids).unwrap(), &all);

            chunked.clear(&[1, 2]);
            let mut cleared = all.clone();
            for group in [1u32, 2] {
                cleared[group as usize] = expected(&rows[cut..], group, oracle);
            }
            let again: Vec<_> = rows[cut..].iter().filter(|row| [1, 2].contains(&row.0)).cloned().collect();
            update(chunked.as_mut(), &function, &again);
            assert_close(name, &chunked.evaluate(&ids).unwrap(), &cleared);
            prop_assert!(chunked.size_bytes() > 0);
        }
    }

    #[test]
    fn the_best_rows_are_all_that_hold_the_extreme(rows in rows(), cut in 0usize..60, largest in any::<bool>()) {
        let ids: Vec<u32> = (0..GROUPS as u32).collect();
        let (head, tail) = rows.split_at(cut.min(rows.len()));
        let function = AggregateFunction::user(best_rows(largest), &[DataType::Float64, DataType::Float64], Options::default()).unwrap();
        let [mut one, mut left, mut right] = [0, 1, 2].map(|_| function.accumulator().unwrap());
        for part in [head, tail] {
            update(one.as_mut(), &function, part);
        }
        update(left.as_mut(), &function, head);
        update(right.as_mut(), &function, tail);
        // In two parts of one list.
        let state = right.state(&ids).unwrap();
        for (at, length) in [(0, 2), (2, GROUPS - 2)] {
            let part = [state[0].slice(at, length)];
            left.merge(&ids[at..at + length], GROUPS, &part).unwrap();
        }
        for found in [one.evaluate(&ids).unwrap(), left.evaluate(&ids).unwrap()] {
            prop_assert_eq!(found.data_type(), function.return_type());
            for &group in &ids {
                prop_assert_eq!(rows_of(&found, group as usize), best_of(&rows, group, largest));
            }
        }
        one.clear(&ids);
        update(one.as_mut(), &function, tail);
        let found = one.evaluate(&ids).unwrap();
        for &group in &ids {
            prop_assert_eq!(rows_of(&found, group as usize), best_of(tail, group, largest));
        }
    }

    #[test]
    fn lists_and_texts_keep_order(words in proptest::collection::vec((0u32..3, proptest::option::of("[a-c]{0,2}")), 0..40), cut in 0usize..40) {
        let cut = cut.min(words.len());
        let column: ArrayRef = Arc::new(StringArray::from_iter(words.iter().map(|word| word.1.clone())));
        let groups: Vec<u32> = words.iter().map(|word| word.0).collect();
        for (name, options) in [
            ("collect_list", constants(&[])),
            ("collect_set", constants(&[])),
            ("listagg", constants(&[Constant::Text("-".into())])),
            ("max", constants(&[])),
        ] {
            let function = function(name, &[DataType::Utf8], options);
            let [mut left, mut right] = [0, 1].map(|_| function.accumulator().unwrap());
            left.update(&groups[..cut], 3, &[column.slice(0, cut)], None).unwrap();
            right.update(&groups[cut..], 3, &[column.slice(cut, words.len() - cut)], None).unwrap();
            left.merge(&[0, 1, 2], 3, &right.state(&[0, 1, 2]).unwrap()).unwrap();
            let result = left.evaluate(&[0, 1, 2]).unwrap();
            for group in 0..3 {
                let mut mine: Vec<String> = words.iter().filter(|w| w.0 == group).filter_map(|w| w.1.clone()).collect();
                let expected = match name {
                    "listagg" => if mine.is_empty() { "∅".into() } else { mine.join("-") },
                    "max" => mine.iter().max().cloned().unwrap_or("∅".into()),
                    "collect_list" => format!("[{}]", mine.join(", ")),
                    _ => {
                        let mut seen = std::collections::HashSet::new();
                        mine.retain(|word| seen.insert(word.clone()));
                        format!("[{}]", mine.join(", "))
                    }
                };
                prop_assert_eq!(text(&result, group as usize), expected, "{}", name);
            }
        }
    }
}

/// The rows of a group whose first number is its extreme one, in an order.
fn best_of(rows: &[(u32, Row, bool)], group: u32, largest: bool) -> Vec<String> {
    let mine: Vec<Row> = rows.iter().filter(|row| row.0 == group && row.2).map(|row| row.1).collect();
    let values = mine.iter().filter_map(|row| row.0);
    let best = if largest { values.reduce(f64::max) } else { values.reduce(f64::min) };
    let mut best: Vec<String> =
        mine.iter().filter(|row| row.0.is_some() && row.0 == best).map(|row| format!("{:?}", (row.0, row.1))).collect();
    best.sort();
    best
}

/// The structs of a list of pairs of numbers, in an order.
fn rows_of(lists: &ArrayRef, group: usize) -> Vec<String> {
    let rows = lists.as_list::<i32>().value(group);
    let columns: Vec<Vec<Option<f64>>> =
        rows.as_struct().columns().iter().map(|column| column.as_primitive::<Float64Type>().iter().collect()).collect();
    let mut rows: Vec<String> =
        (0..rows.len()).map(|row| format!("{:?}", (columns[0][row], columns[1][row]))).collect();
    rows.sort();
    rows
}

#[test]
fn the_best_rows_of_floats_keep_their_bits() {
    let function =
        AggregateFunction::user(best_rows(true), &[DataType::Float64, DataType::Float64], Options::default()).unwrap();
    let find = |values: &[f64]| {
        let values = doubles(&values.iter().copied().map(Some).collect::<Vec<_>>());
        let mut accumulator = function.accumulator().unwrap();
        accumulator.update(&vec![0; values.len()], 1, &[values.clone(), values], None).unwrap();
        rows_of(&accumulator.evaluate(&[0]).unwrap(), 0)
    };
    assert_eq!(find(&[0.0, -1.0, -0.0]), ["(Some(-0.0), Some(-0.0))", "(Some(0.0), Some(0.0))"]);
    assert_eq!(find(&[1.0, f64::NAN, -f64::NAN]), ["(Some(NaN), Some(NaN))"; 2]);
}

fn text(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_null("∅");
    ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
}

/// The result for one group of these rows, as text.
fn result(name: &str, args: &[ArrayRef], options: Options) -> Result<String> {
    let types: Vec<_> = args.iter().map(|column| column.data_type().clone()).collect();
    let function = function(name, &types, options);
    let args: Vec<_> = args.iter().zip(function.arg_types()).map(|(arg, to)| cast(arg, to).unwrap()).collect();
    let mut accumulator = function.accumulator()?;
    accumulator.update(&vec![0; args[0].len()], 1, &args, None)?;
    Ok(text(&accumulator.evaluate(&[0])?, 0))
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn doubles(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn decimals(values: &[i128], precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap())
}

#[test]
fn sums_that_do_not_fit() {
    let overflow = [longs(&[i64::MAX, 1])];
    let error = result("sum", &overflow, constants(&[])).unwrap_err();
    assert!(matches!(error, crate::Error::Data { condition: "ARITHMETIC_OVERFLOW", .. }), "{error}");
    assert_eq!(result("sum", &overflow, Options::default()).unwrap(), i64::MIN.to_string());
    assert_eq!(result("try_sum", &overflow, constants(&[])).unwrap(), "∅");
    let wide = [decimals(&[10i128.pow(38) - 1, 1], 38, 0)];
    assert!(result("sum", &wide, constants(&[])).is_err());
    assert_eq!(result("sum", &wide, Options::default()).unwrap(), "∅");
    assert_eq!(result("try_avg", &wide, constants(&[])).unwrap(), "∅");
}

#[test]
fn sums_and_averages_have_sparks_types() {
    let e = [decimals(&[125, 250, 1], 10, 2)];
    assert_eq!(result("sum", &e, constants(&[])).unwrap(), "3.76");
    assert_eq!(result("avg", &e, constants(&[])).unwrap(), "1.253333");
    assert_eq!(
        function("sum", &[DataType::Decimal128(10, 2)], Options::default()).return_type(),
        &DataType::Decimal128(20, 2)
    );
    assert_eq!(
        function("avg", &[DataType::Decimal128(10, 2)], Options::default()).return_type(),
        &DataType::Decimal128(14, 6)
    );
    let i: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX, 1, 1]));
    assert_eq!(result("sum", std::slice::from_ref(&i), constants(&[])).unwrap(), "2147483649");
    assert_eq!(result("avg", &[i], constants(&[])).unwrap(), "715827883.0");
    assert_eq!(result("avg", &[decimals(&[-1, -2], 10, 0)], constants(&[])).unwrap(), "-1.5000");
}

#[test]
fn deviations_are_sparks() {
    let a = [doubles(&[Some(0.5), None, Some(1000.0)])];
    assert_eq!(result("stddev", &a, constants(&[])).unwrap(), "706.7532277959542");
    assert_eq!(result("var_pop", &a, constants(&[])).unwrap(), "249750.0625");
    assert_eq!(result("variance", &[longs(&[1, 3, -7])], constants(&[])).unwrap(), "28.0");
    assert_eq!(result("stddev", &[longs(&[1])], constants(&[])).unwrap(), "∅");
    let (x, y) =
        (doubles(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0)]), doubles(&[Some(2.0), Some(4.5), Some(5.0), None]));
    assert!(result("corr", &[x.clone(), y.clone()], constants(&[])).unwrap().starts_with("0.93325652525738"));
    assert_eq!(result("covar_samp", &[x.clone(), y.clone()], constants(&[])).unwrap(), "1.5");
    assert_eq!(result("regr_count", &[y, x], constants(&[])).unwrap(), "3");
}

#[test]
fn extremes_of_every_order() {
    let nan = [doubles(&[Some(1.0), Some(-f64::NAN), None])];
    assert_eq!(result("max", &nan, constants(&[])).unwrap(), "NaN");
    assert_eq!(result("min", &nan, constants(&[])).unwrap(), "1.0");
    let fields = vec![Field::new("v", DataType::Int64, true), Field::new("d", DataType::Float64, true)];
    let rows = vec![longs(&[1, 3, 3]), doubles(&[Some(9.0), None, Some(-1.0)])];
    let pair: ArrayRef = Arc::new(StructArray::new(fields.into(), rows, None));
    assert_eq!(result("max", std::slice::from_ref(&pair), constants(&[])).unwrap(), "{v: 3, d: -1.0}");
    assert_eq!(result("min", &[pair], constants(&[])).unwrap(), "{v: 1, d: 9.0}");
    // Of equal ordering values the last one wins, and the value beside it may be null.
    let (v, d) = (doubles(&[Some(2.0), None]), doubles(&[Some(1.5), Some(2.5)]));
    assert_eq!(result("max_by", &[v.clone(), d.clone()], constants(&[])).unwrap(), "∅");
    assert_eq!(result("min_by", &[v, d], constants(&[])).unwrap(), "2.0");
    assert!(
        AggregateFunction::new(
            "max",
            &[DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano)],
            Options::default()
        )
        .is_err()
    );
}

#[test]
fn bits_and_booleans() {
    let bits = [longs(&[0b110, 0b011])];
    assert_eq!(result("bit_and", &bits, constants(&[])).unwrap(), "2");
    assert_eq!(result("bit_or", &bits, constants(&[])).unwrap(), "7");
    assert_eq!(result("bit_xor", &bits, constants(&[])).unwrap(), "5");
    let flags: [ArrayRef; 1] = [Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))];
    assert_eq!(result("every", &flags, constants(&[])).unwrap(), "false");
    assert_eq!(result("any", &flags, constants(&[])).unwrap(), "true");
    assert_eq!(result("count_if", &flags, constants(&[])).unwrap(), "1");
}

#[test]
fn joined_texts_in_an_order() {
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("c")]));
    let down = SortOptions { descending: true, nulls_first: false };
    let options = Options { order: vec![down], ..constants(&[Constant::Text(", ".into())]) };
    assert_eq!(result("listagg", &[words.clone(), longs(&[2, 3, 9, 1])], options).unwrap(), "b, a, c");
    assert_eq!(result("listagg", &[words], constants(&[])).unwrap(), "abc");
}

#[test]
fn percentages_of_one_and_many() {
    let values = [longs(&[0, 10])];
    assert_eq!(result("percentile", &values, constants(&[Constant::Double(0.3)])).unwrap(), "3.0");
    let many = Constant::Doubles(vec![0.25, 0.75]);
    assert_eq!(result("percentile", &values, constants(std::slice::from_ref(&many))).unwrap(), "[2.5, 7.5]");
    assert_eq!(
        result("percentile", &[longs(&[0, 10]), longs(&[2, 1])], constants(&[Constant::Double(0.5)])).unwrap(),
        "0.0"
    );
    assert_eq!(result("percentile_approx", &values, constants(&[many])).unwrap(), "[0, 10]");
    assert!(AggregateFunction::new("percentile", &[DataType::Int64], constants(&[Constant::Double(1.5)])).is_err());
    assert!(AggregateFunction::new("percentile", &[DataType::Int64], constants(&[Constant::Null])).is_err());
}

#[test]
fn approximate_percentiles_keep_their_promise() {
    let mut seed = 42u64;
    let mut values: Vec<i64> = Vec::new();
    for _ in 0..60_000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        values.push((seed >> 33) as i64);
    }
    let accuracy = 100.0;
    let function =
        function("percentile_approx", &[DataType::Int64], constants(&[Constant::Double(0.3), Constant::Long(100)]));
    let mut merged = function.accumulator().unwrap();
    for part in values.chunks(13_000) {
        let mut accumulator = function.accumulator().unwrap();
        accumulator.update(&vec![0; part.len()], 1, &[longs(part)], None).unwrap();
        let state = accumulator.state(&[0]).unwrap();
        assert!(state[1].as_list::<i32>().value(0).len() < 2000, "the sketch is bounded");
        merged.merge(&[0], 1, &state).unwrap();
    }
    let found = merged.evaluate(&[0]).unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(0);
    let rank = values.iter().filter(|value| **value <= found).count() as f64;
    assert!((rank / values.len() as f64 - 0.3).abs() <= 2.0 / accuracy, "rank {rank}");
}

#[test]
fn distinct_counts_are_near() {
    for count in [10i64, 300, 1000, 5000, 100_000] {
        let values: Vec<i64> = (0..count).chain(0..count).collect();
        let estimate: f64 =
            result("approx_count_distinct", &[longs(&values)], constants(&[])).unwrap().parse().unwrap();
        assert!((estimate / count as f64 - 1.0).abs() < 0.12, "{estimate} for {count}");
        let precise = constants(&[Constant::Double(0.01)]);
        let estimate: f64 = result("approx_count_distinct", &[longs(&values)], precise).unwrap().parse().unwrap();
        assert!((estimate / count as f64 - 1.0).abs() < 0.03, "{estimate} for {count} with one percent");
    }
}

#[test]
fn every_listed_name_is_found_and_lower_case() {
    for name in names() {
        assert!(is_aggregate(name) && is_aggregate(&name.to_uppercase()), "{name}");
        assert_eq!(name, name.to_lowercase());
    }
    let mut all: Vec<_> = names().collect();
    all.sort_unstable();
    let listed = all.len();
    all.dedup();
    assert_eq!(all.len(), listed, "a name is listed twice");
}

#[test]
fn wrong_types_are_refused() {
    let refuse = |name: &str, types: &[DataType]| AggregateFunction::new(name, types, Options::default()).unwrap_err();
    assert_eq!(refuse("nothing", &[]), Mismatch::UnknownFunction);
    assert!(matches!(refuse("sum", &[DataType::Boolean]), Mismatch::ArgumentType { position: 0, .. }));
    assert!(matches!(refuse("sum", &[]), Mismatch::ArgumentCount { .. }));
    assert!(matches!(refuse("corr", &[DataType::Int64, DataType::Date32]), Mismatch::ArgumentType { position: 1, .. }));
    assert!(matches!(refuse("bool_and", &[DataType::Int32]), Mismatch::ArgumentType { .. }));
}
