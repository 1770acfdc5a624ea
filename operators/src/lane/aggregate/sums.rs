//! Aggregation by differences that add up: a group's numbers are the *difference* of its key in the collection, so that
//! differential keeps them summed, and a change costs what it changes.
//!
//! In: rows with signs. Out: a row a group. The numbers of a row: 1 if it is the seed, 1 if it is a row, then for each aggregate
//! its [`Slot`]'s. What must always hold: all numbers are whole and small enough that 128 bits hold any sum of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int8Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use differential_dataflow::AsCollection;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use timely::dataflow::operators::Concat;

use super::{Aggregation, Finish, Groups, arguments, no_key, seed};
use crate::aggregate::Accumulator;
use crate::group::AggregateCall;
use crate::lane::updates::{Bytes, ColumnBytes, updates};
use crate::lane::{Fine, FineStream, Place};
use crate::{Error, Result};

/// Numbers of a group.
type Numbers = Vec<i128>;

/// Places of the numbers that are no aggregate's.
const SEED: usize = 0;
const ROWS: usize = 1;
const FIRST: usize = 2;

/// Decimals of more digits could overflow 128 bits when many are summed up.
const MOST_DIGITS: u8 = 26;

/// Which numbers an aggregate keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// How many rows have all arguments.
    Count,
    /// How many rows have a true argument.
    CountIf,
    /// How many rows have the argument, and its sum; as `sum` wants its state.
    Sum,
    /// The same, as `avg` wants its state.
    Average,
}

impl Slot {
    fn of(call: &AggregateCall) -> Option<Slot> {
        let function = &call.function;
        if function.options().distinct || function.is_user() {
            return None;
        }
        let whole = function.arg_types().first().is_some_and(|arg| match arg {
            DataType::Int64 => true,
            DataType::Decimal128(digits, _) => *digits <= MOST_DIGITS,
            _ => false,
        });
        match function.name() {
            "count" => Some(Slot::Count),
            "count_if" => Some(Slot::CountIf),
            "sum" | "try_sum" if whole => Some(Slot::Sum),
            "avg" if whole && matches!(function.arg_types(), [DataType::Decimal128(..)]) => Some(Slot::Average),
            _ => None,
        }
    }

    fn width(self) -> usize {
        match self {
            Slot::Count | Slot::CountIf => 1,
            Slot::Sum | Slot::Average => 2,
        }
    }

    /// Adds a row's numbers to `numbers`, which has one entry a row, from place `at` on.
    fn fill(self, at: usize, args: &[ArrayRef], filter: Option<&BooleanArray>, numbers: &mut [Numbers]) {
        let counts = |row: usize| {
            filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
                && args.iter().all(|arg| arg.is_valid(row))
        };
        for (row, numbers) in numbers.iter_mut().enumerate().filter(|(row, _)| counts(*row)) {
            match self {
                Slot::Count => numbers[at] = 1,
                Slot::CountIf => numbers[at] = i128::from(args[0].as_boolean().value(row)),
                Slot::Sum | Slot::Average => {
                    numbers[at] = 1;
                    numbers[at + 1] = whole_number(&args[0], row);
                }
            }
        }
    }

    /// The state of the function's accumulator that these numbers stand for.
    fn state(self, numbers: &[i128], types: &[DataType]) -> Vec<ArrayRef> {
        let count = i64::try_from(numbers[0]).unwrap_or(i64::MAX);
        let counts = || Arc::new(Int64Array::from(vec![count])) as ArrayRef;
        match self {
            Slot::Count | Slot::CountIf => vec![counts()],
            Slot::Average => vec![number(&types[0], numbers[1]), counts()],
            Slot::Sum => {
                let fits = types[0] != DataType::Int64 || i64::try_from(numbers[1]).is_ok();
                let sum =
                    if count > 0 { number(&types[0], numbers[1]) } else { arrow::array::new_null_array(&types[0], 1) };
                vec![sum, Arc::new(BooleanArray::from(vec![!fits]))]
            }
        }
    }
}

fn whole_number(column: &ArrayRef, row: usize) -> i128 {
    match column.as_primitive_opt::<Int64Type>() {
        Some(longs) => longs.value(row).into(),
        None => column.as_primitive::<Decimal128Type>().value(row),
    }
}

/// A number in a sum's type; a BIGINT that does not fit wraps, and its flag says so.
fn number(data_type: &DataType, value: i128) -> ArrayRef {
    match data_type {
        DataType::Int64 => Arc::new(Int64Array::from(vec![value as i64])),
        other => Arc::new(Decimal128Array::from(vec![value]).with_data_type(other.clone())),
    }
}

/// The slots of an aggregation all of whose functions have one.
pub(super) struct Sums {
    slots: Vec<(Slot, usize, AggregateCall)>,
    width: usize,
}

impl Sums {
    pub fn new(spec: &Aggregation) -> Option<Self> {
        let mut width = FIRST;
        let mut slots = Vec::new();
        for call in &spec.aggregates {
            let slot = Slot::of(call)?;
            slots.push((slot, width, call.clone()));
            width += slot.width();
        }
        Some(Sums { slots, width })
    }

    /// The numbers of each row, times its sign.
    fn numbers(&self, rows: &RecordBatch, signs: &Int8Array) -> Result<Vec<Numbers>> {
        let mut all = vec![vec![0; self.width]; rows.num_rows()];
        for (slot, at, call) in &self.slots {
            let boolean = |filter: usize| rows.column(filter).as_boolean_opt();
            let no_filter = || Error::Internal("an aggregate's filter is not boolean".into());
            let filter = call.filter.map(|filter| boolean(filter).ok_or_else(no_filter)).transpose()?;
            slot.fill(*at, &arguments(call, rows), filter, &mut all);
        }
        for (numbers, sign) in all.iter_mut().zip(signs.values()) {
            numbers[ROWS] = 1;
            numbers.iter_mut().for_each(|number| *number *= i128::from(*sign));
        }
        Ok(all)
    }

    fn fill(&self, states: &mut [Box<dyn Accumulator>], numbers: &Numbers) -> Result<()> {
        for (state, (slot, at, _)) in states.iter_mut().zip(&self.slots) {
            let types = state.state_types();
            state.merge(&[0], 1, &slot.state(&numbers[*at..*at + slot.width()], &types))?;
        }
        Ok(())
    }
}

pub(super) fn reduce<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    spec: &Aggregation,
    sums: Sums,
) -> Result<Groups<'scope>> {
    let scope = stream.scope();
    let sums = Arc::new(sums);
    let key = ColumnBytes::new(&spec.input, &spec.keys)?;
    let numbering = sums.clone();
    let make = move |rows: &RecordBatch, signs: &Int8Array, give: &mut dyn FnMut(Bytes, Numbers)| {
        let keys = key.encode(rows)?;
        let numbers = numbering.numbers(rows, signs)?;
        numbers.into_iter().enumerate().for_each(|(row, numbers)| give(keys.row(row).data().to_vec(), numbers));
        Ok(())
    };
    let mut keys = updates(stream, place, "Numbers", make);
    if spec.keys.is_empty() {
        let mut one = vec![0; sums.width];
        one[SEED] = 1;
        keys = keys.concat(seed(scope, place, no_key(spec)?, one).inner);
    }
    let mut finish = Finish::new(spec)?;
    let place = place.clone();
    let logic = move |key: &Bytes, values: &[(&(), Numbers)], output: &mut Vec<(Bytes, i64)>| {
        let Some((_, numbers)) = values.first() else { return };
        if numbers[ROWS] > 0 || numbers[SEED] > 0 {
            let row = finish.row(key, |states| sums.fill(states, numbers));
            output.extend(place.check(row).map(|row| (row, 1)));
        }
    };
    Ok(keys
        .as_collection()
        .arrange_by_self_named("Arrange: sums")
        .reduce_abelian::<_, ValBuilder<Bytes, Bytes, Fine, i64>, ValSpine<Bytes, Bytes, Fine, i64>, _, _>(
            "Sums",
            logic,
            |vec, key, upds| {
                vec.clear();
                vec.extend(upds.drain(..).map(|(v, t, r)| ((key.clone(), v), t, r)));
            },
        ))
}
