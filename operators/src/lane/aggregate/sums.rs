//! Aggregation by differences that add up: a group's numbers are the *difference* of its key in the collection, so that
//! differential keeps them summed, and a change costs what it changes.
//!
//! In: rows with signs. Out: a row a group; rows of all groups that a tick has changed are computed together. The numbers of a row: 1 if it is the seed, 1 if it is a row, then for each aggregate
//! its [`Slot`]'s. What must always hold: all numbers are whole and small enough that 128 bits hold any sum of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int8Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use differential_dataflow::AsCollection;
use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use timely::dataflow::operators::Concat;

use super::{Aggregation, Finish, arguments, no_key, seed};
use crate::aggregate::Accumulator;
use crate::change::short::{Bytes, Short};
use crate::group::AggregateCall;
use crate::lane::updates::{ColumnBytes, Updates, chunks, updates};
use crate::lane::{Fine, FineStream, Place};
use crate::{Error, Result};

/// Numbers of a row or a group, as many in each of an aggregation; those of two sums lie in place.
type Numbers = Short<i128, 6>;

impl IsZero for Numbers {
    fn is_zero(&self) -> bool {
        self.iter().all(|number| *number == 0)
    }
}

impl Semigroup for Numbers {
    fn plus_equals(&mut self, more: &Self) {
        self.iter_mut().zip(more.iter()).for_each(|(number, more)| *number += more);
    }
}

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

    /// The state of the function's accumulator that each group's numbers from place `at` on stand for.
    fn state(self, at: usize, groups: &[&(Bytes, Numbers)], types: &[DataType]) -> Vec<ArrayRef> {
        let count = |(_, numbers): &&(Bytes, Numbers)| i64::try_from(numbers[at]).unwrap_or(i64::MAX);
        let counts = || Arc::new(Int64Array::from_iter_values(groups.iter().map(count))) as ArrayRef;
        let sums = || groups.iter().map(|(_, numbers)| (numbers[at] > 0).then_some(numbers[at + 1]));
        match self {
            Slot::Count | Slot::CountIf => vec![counts()],
            Slot::Average => vec![whole_column(&types[0], sums().map(|sum| sum.or(Some(0)))), counts()],
            Slot::Sum => {
                let bounded = types[0] == DataType::Int64;
                let wraps = |sum: Option<i128>| Some(bounded && sum.is_some_and(|sum| i64::try_from(sum).is_err()));
                vec![whole_column(&types[0], sums()), Arc::new(sums().map(wraps).collect::<BooleanArray>())]
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

/// Numbers in a sum's type; a BIGINT that does not fit wraps, and its flag says so.
fn whole_column(data_type: &DataType, values: impl Iterator<Item = Option<i128>>) -> ArrayRef {
    match data_type {
        DataType::Int64 => Arc::new(values.map(|value| value.map(|value| value as i64)).collect::<Int64Array>()),
        other => Arc::new(values.collect::<Decimal128Array>().with_data_type(other.clone())),
    }
}

/// The slots of an aggregation all of whose functions have one.
pub(super) struct Sums {
    /// Each with the place of its first number among those of all aggregates.
    slots: Vec<(Slot, usize, AggregateCall)>,
    width: usize,
}

impl Sums {
    pub fn new(spec: &Aggregation) -> Option<Self> {
        let mut width = 0;
        let mut slots = Vec::new();
        for call in &spec.aggregates {
            let slot = Slot::of(call)?;
            slots.push((slot, width, call.clone()));
            width += slot.width();
        }
        Some(Sums { slots, width: FIRST + width })
    }

    /// The numbers of each row, times its sign.
    fn numbers(&self, rows: &RecordBatch, signs: &Int8Array) -> Result<Vec<Numbers>> {
        let mut all = vec![self.zero(); rows.num_rows()];
        for (slot, at, call) in &self.slots {
            let boolean = |filter: usize| rows.column(filter).as_boolean_opt();
            let no_filter = || Error::Internal("an aggregate's filter is not boolean".into());
            let filter = call.filter.map(|filter| boolean(filter).ok_or_else(no_filter)).transpose()?;
            slot.fill(FIRST + at, &arguments(call, rows), filter, &mut all);
        }
        for (numbers, sign) in all.iter_mut().zip(signs.values()) {
            numbers[ROWS] = 1;
            numbers.iter_mut().for_each(|number| *number *= i128::from(*sign));
        }
        Ok(all)
    }

    fn zero(&self) -> Numbers {
        std::iter::repeat_n(0, self.width).collect()
    }

    /// The difference that makes the group of an aggregation without keys.
    fn seed(&self) -> Numbers {
        let mut one = self.zero();
        one[SEED] = 1;
        one
    }

    /// Puts the numbers of all aggregates into their accumulators.
    fn fill(&self, states: &mut [Box<dyn Accumulator>], ids: &[u32], groups: &[&(Bytes, Numbers)]) -> Result<()> {
        for (state, (slot, at, _)) in states.iter_mut().zip(&self.slots) {
            let types = state.state_types();
            state.merge(ids, ids.len(), &slot.state(*at, groups, &types))?;
        }
        Ok(())
    }
}

/// Aggregates the rows of `stream`.
pub(super) fn aggregate<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    spec: &Aggregation,
    sums: Sums,
) -> Result<FineStream<'scope>> {
    let sums = Arc::new(sums);
    let groups = numbers(stream, place, spec, sums.clone())?
        .arrange_by_self_named("Arrange: sums")
        .reduce_abelian::<_, ValBuilder<Bytes, Numbers, Fine, i64>, ValSpine<Bytes, Numbers, Fine, i64>, _, _>(
            "Sums",
            |_: &Bytes, sums: &[(&(), Numbers)], output: &mut Vec<(Numbers, i64)>| {
                let there = sums.iter().filter(|(_, sums)| sums[ROWS] > 0 || sums[SEED] > 0);
                output.extend(there.map(|(_, sums)| (Numbers::from(&sums[FIRST..]), 1)));
            },
            |vec, key, upds| {
                vec.clear();
                vec.extend(upds.drain(..).map(|(v, t, r)| ((key.clone(), v), t, r)));
            },
        );
    let mut finish = Finish::new(spec)?;
    let groups = groups.as_collection(|key: &Bytes, sums: &Numbers| (key.clone(), sums.clone()));
    Ok(chunks(groups, place, move |groups| {
        finish.rows(groups.iter().map(|(key, _)| &**key), |states, ids| sums.fill(states, ids, groups))
    }))
}

/// The key of each row, its numbers as the difference.
fn numbers<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    spec: &Aggregation,
    sums: Arc<Sums>,
) -> Result<Updates<'scope, Bytes, Numbers>> {
    let scope = stream.scope();
    let key = ColumnBytes::new(&spec.input, &spec.keys)?;
    let seed_of_all = sums.seed();
    let make = move |rows: &RecordBatch, signs: &Int8Array, give: &mut dyn FnMut(Bytes, Numbers)| {
        let keys = key.encode(rows)?;
        let numbers = sums.numbers(rows, signs)?;
        numbers.into_iter().enumerate().for_each(|(row, numbers)| give(keys.row(row).data().into(), numbers));
        Ok(())
    };
    let mut keys = updates(stream, place, "Numbers", make);
    if spec.keys.is_empty() {
        keys = keys.concat(seed(scope, place, no_key(spec)?, seed_of_all).inner);
    }
    Ok(keys.as_collection())
}
