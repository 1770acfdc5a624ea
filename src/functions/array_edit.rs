//! Arrays with elements added, removed or moved: `slice`, `array_insert`, `array_append`, `sort_array`, `shuffle`, ...

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

use arrow::array::{Array, ArrayRef, ListArray};
use arrow::datatypes::DataType;
use arrow::row::Rows;
use datafusion::logical_expr::{Expr, lit};

use super::arguments::{constant, fixed, not_foldable};
use super::array::int_at;
use super::kernel::{Kernel, downcast};
use super::lists::{Picks, array, array_and_value, array_argument, is_null, item_of, keys, list, pool, range};
use super::{Call, Function, function};
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["slice"], slice),
    function(&["array_insert"], insert),
    function(&["array_append"], |call| extend(call, "array_append", false)),
    function(&["array_prepend"], |call| extend(call, "array_prepend", true)),
    function(&["array_compact"], compact),
    function(&["array_remove"], remove),
    function(&["sort_array"], sort),
    function(&["shuffle"], shuffle),
];

fn slice(mut call: Call<'_>) -> Result<Expr> {
    let [source, start, length] = fixed(call.values(3..=3)?)?;
    let (source, _) = array_argument(&call, source)?;
    let args = vec![source, call.implicit(start, &DataType::Int32)?, call.implicit(length, &DataType::Int32)?];
    let result = call.type_of(&args[0])?;
    let item = item_of(&result)?;
    let kernel = Kernel::arrays("slice", result, move |args| {
        let list = list(args, 0)?;
        let mut picks = Picks::with_capacity(list.len());
        for row in 0..list.len() {
            let bounds = int_at(args, 1, row)?.zip(int_at(args, 2, row)?);
            let Some((elements, (start, length))) = range(list, row).zip(bounds) else {
                picks.null_row();
                continue;
            };
            let (skip, count) = sliced(start, length, elements.len())?;
            picks.pick_all(elements.start + skip..elements.start + skip + count);
            picks.end()?;
        }
        picks.finish(list.values(), item.clone())
    });
    Ok(kernel.fallible().call(args))
}

/// How many elements to leave out in front, and how many to take.
fn sliced(start: i64, length: i64, size: usize) -> Result<(usize, usize)> {
    if start == 0 {
        let message = "the parameter 'start' of 'slice' must not be 0, elements are counted from 1";
        return Err(Error::data("INVALID_PARAMETER_VALUE.START", message));
    }
    let Ok(length) = usize::try_from(length) else {
        let message = format!("the parameter 'length' of 'slice' must not be negative but is {length}");
        return Err(Error::data("INVALID_PARAMETER_VALUE.LENGTH", message));
    };
    let skip = if start < 0 { start + size as i64 } else { start - 1 };
    match usize::try_from(skip) {
        Ok(skip) if skip < size => Ok((skip, length.min(size - skip))),
        _ => Ok((0, 0)),
    }
}

fn extend(mut call: Call<'_>, name: &'static str, in_front: bool) -> Result<Expr> {
    let [source, value] = fixed(call.values(2..=2)?)?;
    let (source, value, element) = array_and_value(&call, source, value)?;
    let item = types::list_item(element.clone());
    let kernel = Kernel::arrays(name, types::list(element), move |args| {
        let list = list(args, 0)?;
        let (values, starts) = pool(&[list.values(), array(args, 1)?])?;
        let start = starts.get(1).copied().unwrap_or(0);
        let mut picks = Picks::with_capacity(list.len());
        for row in 0..list.len() {
            let Some(elements) = range(list, row) else {
                picks.null_row();
                continue;
            };
            if in_front {
                picks.pick(start + row);
            }
            picks.pick_all(elements);
            if !in_front {
                picks.pick(start + row);
            }
            picks.end()?;
        }
        picks.finish(&values, item.clone())
    });
    Ok(kernel.call(vec![source, value]))
}

fn insert(mut call: Call<'_>) -> Result<Expr> {
    let [source, position, value] = fixed(call.values(3..=3)?)?;
    let position = call.implicit(position, &DataType::Int32)?;
    let (source, value, element) = array_and_value(&call, source, value)?;
    let item = types::list_item(element.clone());
    let kernel = Kernel::arrays("array_insert", types::list(element), move |args| {
        let list = list(args, 0)?;
        let (values, starts) = pool(&[list.values(), array(args, 2)?])?;
        let start = starts.get(1).copied().unwrap_or(0);
        let mut picks = Picks::with_capacity(list.len());
        for row in 0..list.len() {
            match range(list, row).zip(int_at(args, 1, row)?) {
                Some((elements, position)) => {
                    insert_at(&mut picks, elements, position, start + row)?;
                    picks.end()?;
                }
                None => picks.null_row(),
            }
        }
        picks.finish(&values, item.clone())
    });
    Ok(kernel.fallible().call(vec![source, position, value]))
}

/// Beyond the end, the gap is filled with nulls.
fn insert_at(picks: &mut Picks, elements: std::ops::Range<usize>, position: i64, value: usize) -> Result<()> {
    let size = elements.len() as i64;
    if position == 0 {
        let message = "the index 0 is invalid, elements are counted from 1, or from the end with -1";
        return Err(Error::data("INVALID_INDEX_OF_ZERO", message));
    }
    if position.abs() > 2_147_483_632 {
        return Err(super::lists::too_many());
    }
    let before = if position > 0 { position - 1 } else { size + position + 1 };
    if before < 0 {
        picks.pick(value);
        picks.nulls(before.unsigned_abs() as usize);
        picks.pick_all(elements);
        return Ok(());
    }
    let middle = elements.start + before.min(size) as usize;
    picks.pick_all(elements.start..middle);
    picks.nulls((before - size).max(0) as usize);
    picks.pick(value);
    picks.pick_all(middle..elements.end);
    Ok(())
}

/// The elements of each row that `keep` wants.
fn keep_elements(list: &ListArray, mut keep: impl FnMut(usize, usize) -> bool) -> Result<ArrayRef> {
    let mut picks = Picks::with_capacity(list.len());
    for row in 0..list.len() {
        match range(list, row) {
            Some(elements) => {
                elements.filter(|at| keep(row, *at)).for_each(|at| picks.pick(at));
                picks.end()?;
            }
            None => picks.null_row(),
        }
    }
    picks.finish(list.values(), item_of(list.data_type())?)
}

fn compact(mut call: Call<'_>) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let (source, _) = array_argument(&call, source)?;
    let kernel = Kernel::arrays("array_compact", call.type_of(&source)?, |args| {
        let list = list(args, 0)?;
        keep_elements(list, |_, at| !is_null(list.values(), at))
    });
    Ok(kernel.call(vec![source]))
}

fn remove(mut call: Call<'_>) -> Result<Expr> {
    let [source, value] = fixed(call.values(2..=2)?)?;
    let (source, value, element) = array_and_value(&call, source, value)?;
    let kernel = Kernel::arrays("array_remove", types::list(element), |args| {
        let (list, values) = (list(args, 0)?, array(args, 1)?);
        let (all, starts) = pool(&[list.values(), values])?;
        let (keys, start) = (keys(&all)?, starts.get(1).copied().unwrap_or(0));
        let kept = keep_elements(list, |row, at| keys.row(at) != keys.row(start + row))?;
        // A null value gives null rather than an array.
        let given = arrow::compute::is_null(values)?;
        Ok(arrow::compute::nullif(&kept, &given)?)
    });
    Ok(kernel.call(vec![source, value]))
}

/// How to order elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// Lists with sorted elements.
pub(super) fn sorted(list: &ListArray, order: impl Fn(usize) -> Option<Order>) -> Result<ArrayRef> {
    let keys = keys(list.values())?;
    let mut picks = Picks::with_capacity(list.len());
    for row in 0..list.len() {
        let Some((elements, order)) = range(list, row).zip(order(row)) else {
            picks.null_row();
            continue;
        };
        let mut places: Vec<usize> = elements.collect();
        places.sort_by(|a, b| compare(&keys, list.values(), *a, *b, order));
        places.into_iter().for_each(|at| picks.pick(at));
        picks.end()?;
    }
    picks.finish(list.values(), item_of(list.data_type())?)
}

fn compare(keys: &Rows, values: &ArrayRef, a: usize, b: usize, order: Order) -> Ordering {
    let null_place = if order.nulls_first { Ordering::Less } else { Ordering::Greater };
    match (is_null(values, a), is_null(values, b)) {
        (true, true) => Ordering::Equal,
        (true, false) => null_place,
        (false, true) => null_place.reverse(),
        _ if order.descending => keys.row(b).cmp(&keys.row(a)),
        _ => keys.row(a).cmp(&keys.row(b)),
    }
}

/// Nulls come first ascending and last descending.
fn sort(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(1..=2)?;
    args.resize(2, lit(true));
    let [source, ascending] = fixed(args)?;
    let (source, _) = array_argument(&call, source)?;
    let ascending = call.implicit(ascending, &DataType::Boolean)?;
    if constant(&ascending)?.is_none() {
        return Err(not_foldable(&call, "ascendingOrder"));
    }
    let kernel = Kernel::arrays("sort_array", call.type_of(&source)?, |args| {
        let ascending: &arrow::array::BooleanArray = downcast(array(args, 1)?.as_ref())?;
        sorted(list(args, 0)?, |row| {
            ascending
                .is_valid(row)
                .then(|| Order { descending: !ascending.value(row), nulls_first: ascending.value(row) })
        })
    });
    Ok(kernel.call(vec![source, ascending]))
}

/// `array_sort` without a comparison: ascending, nulls last.
pub(super) fn sort_nulls_last(call: &Call<'_>, source: Expr) -> Result<Expr> {
    let (source, _) = array_argument(call, source)?;
    let kernel = Kernel::arrays("array_sort", call.type_of(&source)?, |args| {
        sorted(list(args, 0)?, |_| Some(Order { descending: false, nulls_first: false }))
    });
    Ok(kernel.call(vec![source]))
}

/// A random order, or that of a seed.
fn shuffle(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(1..=2)?;
    let seed = if args.len() == 2 { args.pop() } else { None };
    let [source] = fixed(args)?;
    let (source, _) = array_argument(&call, source)?;
    let seed = match seed {
        Some(seed) => call.implicit(seed, &DataType::Int64)?,
        None => lit(RandomState::new().hash_one(0u8) as i64),
    };
    let kernel = Kernel::arrays("shuffle", call.type_of(&source)?, |args| {
        let list = list(args, 0)?;
        let seeds = super::datetime::primitive::<arrow::datatypes::Int64Type>(args, 1)?;
        let mut state = seeds.iter().flatten().next().unwrap_or(0) as u64;
        let mut picks = Picks::with_capacity(list.len());
        for row in 0..list.len() {
            let Some(elements) = range(list, row) else {
                picks.null_row();
                continue;
            };
            let mut places: Vec<usize> = elements.collect();
            for last in (1..places.len()).rev() {
                places.swap(last, (next_random(&mut state) % (last as u64 + 1)) as usize);
            }
            places.into_iter().for_each(|at| picks.pick(at));
            picks.end()?;
        }
        picks.finish(list.values(), item_of(list.data_type())?)
    });
    Ok(kernel.volatile().call(vec![source, seed]))
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
