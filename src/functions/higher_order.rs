//! Functions that take lambdas: `transform`, `filter`, `exists`, `forall`, `aggregate`, `zip_with`, `array_sort`,
//! `map_filter`, `transform_keys`, `transform_values`, `map_zip_with`.
//!
//! A lambda is evaluated once for all elements of all rows of a chunk: its parameters become columns of one row an
//! element, and outer columns that its body uses are spread to the same rows. Only `aggregate` runs it in turns (one per
//! position in the arrays) and `array_sort` in rounds of comparisons.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, MapArray, UInt32Array, new_null_array,
};
use arrow::compute::{interleave, take, take_arrays};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::HigherOrderFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::array_edit::sort_nulls_last;
use super::kernel::downcast;
use super::lists::{Picks, array_argument, as_list, keys, pool, range};
use super::map::{MapPicks, Twice, as_map, entries_of, map_argument};
use super::{Arg, BindLambda, Call, Function, coerce, function};
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["transform"], transform),
    function(&["filter"], filter),
    function(&["exists"], |call| quantified(call, "exists", true)),
    function(&["forall"], |call| quantified(call, "forall", false)),
    function(&["aggregate", "reduce"], aggregate),
    function(&["zip_with"], zip_with),
    function(&["array_sort"], array_sort),
    function(&["map_filter"], map_filter),
    function(&["transform_keys"], |call| transform_map(call, "transform_keys", true)),
    function(&["transform_values"], |call| transform_map(call, "transform_values", false)),
    function(&["map_zip_with"], map_zip_with),
];

type Run = dyn Fn(&Inputs<'_>) -> Result<ArrayRef> + Send + Sync;

/// A function with lambdas, the counterpart of `Kernel`.
#[derive(Clone)]
struct HigherOrder {
    name: &'static str,
    key: String,
    result: DataType,
    /// The parameters of each lambda.
    parameters: Vec<Vec<FieldRef>>,
    signature: HigherOrderSignature,
    run: Arc<Run>,
}

impl HigherOrder {
    fn new(
        name: &'static str,
        result: DataType,
        run: impl Fn(&Inputs<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> HigherOrder {
        let signature = HigherOrderSignature::variadic_any(Volatility::Immutable);
        HigherOrder { name, key: String::new(), result, parameters: vec![], signature, run: Arc::new(run) }
    }

    /// Adds what the closure captured.
    fn key(mut self, key: impl fmt::Display) -> HigherOrder {
        self.key = key.to_string();
        self
    }

    fn call(mut self, values: Vec<Expr>, lambdas: Vec<Bound>) -> Expr {
        let mut args = values;
        for lambda in lambdas {
            self.parameters.push(lambda.parameters);
            args.push(lambda.expr);
        }
        let function = Arc::new(HigherOrderUDF::new_from_impl(self));
        Expr::HigherOrderFunction(HigherOrderFunction::new(function, args))
    }
}

impl fmt::Debug for HigherOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] -> {}", self.name, self.key, self.result)
    }
}

impl PartialEq for HigherOrder {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.key == other.key
            && self.result == other.result
            && self.parameters == other.parameters
    }
}

impl Eq for HigherOrder {}

impl Hash for HigherOrder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.key.hash(state);
        self.result.hash(state);
    }
}

impl HigherOrderUDFImpl for HigherOrder {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn lambda_parameters(
        &self,
        _: usize,
        _: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> PlanResult<LambdaParametersProgress> {
        Ok(LambdaParametersProgress::Complete(self.parameters.clone()))
    }

    fn return_field_from_args(&self, _: HigherOrderReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name, self.result.clone(), true)))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> PlanResult<ColumnarValue> {
        let mut inputs = Inputs { values: vec![], lambdas: vec![], rows: args.number_rows };
        for arg in &args.args {
            match arg {
                ValueOrLambda::Value(value) => inputs.values.push(value.to_array(args.number_rows)?),
                ValueOrLambda::Lambda(lambda) => inputs.lambdas.push(lambda),
            }
        }
        Ok(ColumnarValue::Array((self.run)(&inputs)?))
    }
}

/// The evaluated arguments of a call.
struct Inputs<'a> {
    values: Vec<ArrayRef>,
    lambdas: Vec<&'a LambdaArgument>,
    rows: usize,
}

impl Inputs<'_> {
    fn value(&self, at: usize) -> Result<&ArrayRef> {
        super::lists::array(&self.values, at)
    }

    fn list(&self, at: usize) -> Result<&ListArray> {
        as_list(self.value(at)?)
    }

    fn map(&self, at: usize) -> Result<&MapArray> {
        as_map(self.value(at)?)
    }

    /// What a lambda gives for these parameters, one row for each of `rows`, which says where outer columns are read.
    fn evaluate(&self, lambda: usize, parameters: &[ArrayRef], rows: &UInt32Array) -> Result<ArrayRef> {
        let Some(lambda) = self.lambdas.get(lambda) else {
            return Err(Error::internal("a lambda is missing"));
        };
        let parameters: Vec<_> = parameters.iter().map(|column| move || Ok(Arc::clone(column))).collect();
        let borrowed: Vec<&dyn Fn() -> PlanResult<ArrayRef>> =
            parameters.iter().map(|column| column as &dyn Fn() -> PlanResult<ArrayRef>).collect();
        let result = lambda.evaluate(&borrowed, |columns| Ok(take_arrays(columns, rows, None)?))?;
        Ok(result.into_array(rows.len())?)
    }
}

/// A lambda whose body is bound.
struct Bound {
    expr: Expr,
    parameters: Vec<FieldRef>,
    result: DataType,
}

/// The arguments of a call: values in front, lambdas behind.
struct Parts<'a> {
    values: Vec<Expr>,
    lambdas: Vec<(usize, BindLambda<'a>)>,
}

/// Takes a call's arguments apart.
fn parts<'a>(call: &mut Call<'a>, values: usize, lambdas: std::ops::RangeInclusive<usize>) -> Result<Parts<'a>> {
    let wanted = values + lambdas.start()..=values + lambdas.end();
    let given = call.args.len();
    let mut found = Parts { values: vec![], lambdas: vec![] };
    for (at, arg) in std::mem::take(&mut call.args).into_iter().enumerate() {
        match arg {
            Arg::Value(expr) if at < values => found.values.push(expr),
            Arg::Lambda { parameters, bind } if at >= values => found.lambdas.push((parameters.len(), bind)),
            _ if wanted.contains(&given) => return Err(misplaced(call.name, at)),
            _ => {}
        }
    }
    if wanted.contains(&given) { Ok(found) } else { Err(super::wrong_number(call.name, &wanted, given)) }
}

fn misplaced(name: &str, at: usize) -> Error {
    let message = format!("argument {} of '{name}' must be a lambda exactly where the function expects one", at + 1);
    Error::query("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message).hint("Write it like transform(a, x -> x + 1).")
}

/// Binds a lambda over parameters of these types; it may name fewer of them, but no fewer than `least`.
fn bind(call: &Call<'_>, lambda: (usize, BindLambda<'_>), types: &[DataType], least: usize) -> Result<Bound> {
    let (count, bind) = lambda;
    if count < least || count > types.len() {
        let message =
            format!("a lambda of '{}' has {count} parameters, but {} are passed to it", call.name, types.len());
        return Err(Error::query("INVALID_LAMBDA_FUNCTION_CALL.NUM_ARGS_MISMATCH", message));
    }
    let named = types.iter().take(count).enumerate();
    let parameters: Vec<FieldRef> =
        named.map(|(at, data_type)| Arc::new(Field::new(format!("p{at}"), data_type.clone(), true))).collect();
    let expr = bind(&parameters)?;
    let Expr::Lambda(bound) = &expr else { return Err(Error::internal("a lambda was bound to something else")) };
    let result = call.type_of(&bound.body)?;
    Ok(Bound { expr, parameters, result })
}

/// The lambda that stands at `at`.
fn lambda<'a>(lambdas: &mut Vec<(usize, BindLambda<'a>)>) -> Result<(usize, BindLambda<'a>)> {
    if lambdas.is_empty() {
        return Err(Error::internal("a lambda is missing"));
    }
    Ok(lambdas.remove(0))
}

fn first(values: Vec<Expr>) -> Result<Expr> {
    values.into_iter().next().ok_or_else(|| Error::internal("an argument is missing"))
}

/// A lambda that must give BOOLEAN; an untyped null passes.
fn predicate(bound: Bound) -> Result<Bound> {
    match bound.result {
        DataType::Boolean | DataType::Null => Ok(bound),
        ref other => Err(coerce::unexpected(&bound.expr, other, "\"BOOLEAN\"")),
    }
}

fn booleans(array: &ArrayRef) -> Result<BooleanArray> {
    match array.data_type() {
        DataType::Null => Ok(new_null_array(&DataType::Boolean, array.len()).as_boolean().clone()),
        _ => Ok(downcast::<BooleanArray>(array.as_ref())?.clone()),
    }
}

/// All elements of all rows: where they are in the values, in which row, and their place in it.
struct Elements {
    places: UInt32Array,
    rows: UInt32Array,
    positions: Int32Array,
    lengths: Vec<Option<usize>>,
}

impl Elements {
    fn of(length: usize, range: impl Fn(usize) -> Option<std::ops::Range<usize>>) -> Elements {
        let (mut places, mut rows, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let mut lengths = Vec::with_capacity(length);
        for row in 0..length {
            let elements = range(row);
            lengths.push(elements.as_ref().map(|elements| elements.len()));
            for (position, at) in elements.into_iter().flatten().enumerate() {
                places.push(at as u32);
                rows.push(row as u32);
                positions.push(position as i32);
            }
        }
        Elements { places: places.into(), rows: rows.into(), positions: positions.into(), lengths }
    }

    fn of_list(list: &ListArray) -> Elements {
        Elements::of(list.len(), |row| range(list, row))
    }

    fn of_map(map: &MapArray) -> Elements {
        Elements::of(map.len(), |row| entries_of(map, row))
    }

    /// Calls `each` for every row with the range of its elements; `None` for null rows.
    fn for_rows(&self, mut each: impl FnMut(Option<std::ops::Range<usize>>) -> Result<()>) -> Result<()> {
        let mut next = 0;
        for length in &self.lengths {
            each(length.map(|length| next..next + length))?;
            next += length.unwrap_or(0);
        }
        Ok(())
    }
}

fn transform(mut call: Call<'_>) -> Result<Expr> {
    let mut parts = parts(&mut call, 1, 1..=1)?;
    let (source, element) = array_argument(&call, first(parts.values)?)?;
    let body = bind(&call, lambda(&mut parts.lambdas)?, &[element, DataType::Int32], 1)?;
    let item = types::list_item(body.result.clone());
    let function = HigherOrder::new("transform", types::list(body.result.clone()), move |inputs| {
        let list = inputs.list(0)?;
        let elements = Elements::of_list(list);
        let mapped = inputs.evaluate(0, &element_parameters(list, &elements)?, &elements.rows)?;
        let mut picks = Picks::with_capacity(list.len());
        elements.for_rows(|row| match row {
            Some(row) => {
                picks.pick_all(row);
                picks.end()
            }
            None => {
                picks.null_row();
                Ok(())
            }
        })?;
        picks.finish(&mapped, item.clone())
    });
    Ok(function.call(vec![source], vec![body]))
}

/// The element and its position.
fn element_parameters(list: &ListArray, elements: &Elements) -> Result<Vec<ArrayRef>> {
    Ok(vec![take(list.values(), &elements.places, None)?, Arc::new(elements.positions.clone())])
}

fn filter(mut call: Call<'_>) -> Result<Expr> {
    let mut parts = parts(&mut call, 1, 1..=1)?;
    let (source, element) = array_argument(&call, first(parts.values)?)?;
    let body = predicate(bind(&call, lambda(&mut parts.lambdas)?, &[element.clone(), DataType::Int32], 1)?)?;
    let item = types::list_item(element.clone());
    let function = HigherOrder::new("filter", types::list(element), move |inputs| {
        let list = inputs.list(0)?;
        let elements = Elements::of_list(list);
        let parameters = element_parameters(list, &elements)?;
        let wanted = booleans(&inputs.evaluate(0, &parameters, &elements.rows)?)?;
        let mut picks = Picks::with_capacity(list.len());
        elements.for_rows(|row| match row {
            Some(row) => {
                row.filter(|at| wanted.is_valid(*at) && wanted.value(*at))
                    .for_each(|at| picks.pick(elements.places.value(at) as usize));
                picks.end()
            }
            None => {
                picks.null_row();
                Ok(())
            }
        })?;
        picks.finish(list.values(), item.clone())
    });
    Ok(function.call(vec![source], vec![body]))
}

/// `exists` stops at true, `forall` at false; otherwise a null makes the answer null.
fn quantified(mut call: Call<'_>, name: &'static str, decisive: bool) -> Result<Expr> {
    let mut parts = parts(&mut call, 1, 1..=1)?;
    let (source, element) = array_argument(&call, first(parts.values)?)?;
    let body = predicate(bind(&call, lambda(&mut parts.lambdas)?, &[element], 1)?)?;
    let function = HigherOrder::new(name, DataType::Boolean, move |inputs| {
        let list = inputs.list(0)?;
        let elements = Elements::of_list(list);
        let answers = booleans(&inputs.evaluate(0, &element_parameters(list, &elements)?, &elements.rows)?)?;
        let mut found = Vec::with_capacity(list.len());
        elements.for_rows(|row| {
            found.push(row.and_then(|mut row| {
                if row.clone().any(|at| answers.is_valid(at) && answers.value(at) == decisive) {
                    return Some(decisive);
                }
                row.all(|at| answers.is_valid(at)).then_some(!decisive)
            }));
            Ok(())
        })?;
        Ok(Arc::new(BooleanArray::from(found)))
    });
    Ok(function.call(vec![source], vec![body]))
}

fn aggregate(mut call: Call<'_>) -> Result<Expr> {
    let mut parts = parts(&mut call, 2, 1..=2)?;
    let zero = parts.values.pop().ok_or_else(|| Error::internal("the start value is missing"))?;
    let (source, element) = array_argument(&call, first(parts.values)?)?;
    let state = call.type_of(&zero)?;
    let merge = bind(&call, lambda(&mut parts.lambdas)?, &[state.clone(), element], 2)?;
    if merge.result != state && merge.result != DataType::Null {
        return Err(coerce::unexpected(&merge.expr, &merge.result, &coerce::type_name(&state))
            .hint("Cast the start value to the type that the lambda gives."));
    }
    let mut lambdas = vec![merge];
    if !parts.lambdas.is_empty() {
        lambdas.push(bind(&call, lambda(&mut parts.lambdas)?, &[state], 1)?);
    }
    let result = lambdas.last().map_or(DataType::Null, |last| last.result.clone());
    let finishes = lambdas.len() > 1;
    let function = HigherOrder::new("aggregate", result, move |inputs| {
        let state = fold(inputs)?;
        let list = inputs.list(0)?;
        let rows: UInt32Array = (0..inputs.rows as u32).collect();
        let result = if finishes { inputs.evaluate(1, &[state], &rows)? } else { state };
        match list.null_count() {
            0 => Ok(result),
            _ => Ok(take(
                &result,
                &(0..list.len()).map(|row| list.is_valid(row).then_some(row as u32)).collect::<UInt32Array>(),
                None,
            )?),
        }
    });
    Ok(function.call(vec![source, zero], lambdas))
}

/// Merges the elements into the states, one position of all arrays at a time.
fn fold(inputs: &Inputs<'_>) -> Result<ArrayRef> {
    let list = inputs.list(0)?;
    let mut state = Arc::clone(inputs.value(1)?);
    let ranges: Vec<_> = (0..list.len()).map(|row| range(list, row).unwrap_or(0..0)).collect();
    let longest = ranges.iter().map(|elements| elements.len()).max().unwrap_or(0);
    for position in 0..longest {
        let active: Vec<usize> = (0..ranges.len()).filter(|row| ranges[*row].len() > position).collect();
        let rows: UInt32Array = active.iter().map(|row| *row as u32).collect();
        let places: UInt32Array = active.iter().map(|row| (ranges[*row].start + position) as u32).collect();
        let parameters = [take(&state, &rows, None)?, take(list.values(), &places, None)?];
        let merged = inputs.evaluate(0, &parameters, &rows)?;
        state = replaced(&state, &merged, &active)?;
    }
    Ok(state)
}

/// `state` with the values of `merged` in the rows `active`.
fn replaced(state: &ArrayRef, merged: &ArrayRef, active: &[usize]) -> Result<ArrayRef> {
    let merged = match merged.data_type() == state.data_type() {
        true => Arc::clone(merged),
        false => new_null_array(state.data_type(), merged.len()),
    };
    if active.len() == state.len() {
        return Ok(merged);
    }
    let mut order: Vec<(usize, usize)> = (0..state.len()).map(|row| (0, row)).collect();
    for (at, row) in active.iter().enumerate() {
        if let Some(slot) = order.get_mut(*row) {
            *slot = (1, at);
        }
    }
    Ok(interleave(&[state.as_ref(), merged.as_ref()], &order)?)
}

fn zip_with(mut call: Call<'_>) -> Result<Expr> {
    let mut parts = parts(&mut call, 2, 1..=1)?;
    let typed = parts.values.into_iter().map(|list| array_argument(&call, list)).collect::<Result<Vec<_>>>()?;
    let (lists, elements): (Vec<Expr>, Vec<DataType>) = typed.into_iter().unzip();
    let body = bind(&call, lambda(&mut parts.lambdas)?, &elements, 2)?;
    let item = types::list_item(body.result.clone());
    let function = HigherOrder::new("zip_with", types::list(body.result.clone()), move |inputs| {
        let (left, right) = (inputs.list(0)?, inputs.list(1)?);
        let (mut left_places, mut right_places, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut picks = Picks::with_capacity(left.len());
        for row in 0..left.len() {
            let Some((first, second)) = range(left, row).zip(range(right, row)) else {
                picks.null_row();
                continue;
            };
            let start = rows.len();
            for position in 0..first.len().max(second.len()) {
                left_places.push(first.clone().nth(position).map(|at| at as u32));
                right_places.push(second.clone().nth(position).map(|at| at as u32));
                rows.push(row as u32);
            }
            picks.pick_all(start..rows.len());
            picks.end()?;
        }
        let parameters = [
            take(left.values(), &UInt32Array::from(left_places), None)?,
            take(right.values(), &UInt32Array::from(right_places), None)?,
        ];
        picks.finish(&inputs.evaluate(0, &parameters, &rows.into())?, item.clone())
    });
    Ok(function.call(lists, vec![body]))
}

fn array_sort(mut call: Call<'_>) -> Result<Expr> {
    if call.args.len() == 1 {
        let source = first(call.values(1..=1)?)?;
        return sort_nulls_last(&call, source);
    }
    let mut parts = parts(&mut call, 1, 1..=1)?;
    let (source, element) = array_argument(&call, first(parts.values)?)?;
    let compare = bind(&call, lambda(&mut parts.lambdas)?, &[element.clone(), element.clone()], 2)?;
    if compare.result != DataType::Int32 {
        let message =
            format!("the comparison of 'array_sort' must give INT, not {}", coerce::type_name(&compare.result));
        return Err(Error::query("DATATYPE_MISMATCH.UNEXPECTED_RETURN_TYPE", message));
    }
    let item = types::list_item(element.clone());
    let function = HigherOrder::new("array_sort", types::list(element), move |inputs| {
        let list = inputs.list(0)?;
        let sorted = sort_in_rounds(inputs, list)?;
        let mut picks = Picks::with_capacity(list.len());
        for (row, places) in sorted.into_iter().enumerate() {
            match list.is_valid(row) {
                true => {
                    places.into_iter().for_each(|at| picks.pick(at));
                    picks.end()?;
                }
                false => picks.null_row(),
            }
        }
        picks.finish(list.values(), item.clone())
    });
    Ok(function.call(vec![source], vec![compare]))
}

/// Batcher's odd-even merge sort: the comparisons of a round do not depend on each other, so that the lambda is
/// evaluated once a round for all rows. Equal elements keep their order.
fn sort_in_rounds(inputs: &Inputs<'_>, list: &ListArray) -> Result<Vec<Vec<usize>>> {
    let mut places: Vec<Vec<usize>> =
        (0..list.len()).map(|row| range(list, row).map(Iterator::collect).unwrap_or_default()).collect();
    let longest = places.iter().map(Vec::len).max().unwrap_or(0);
    let mut size = 1;
    while size < longest {
        let mut gap = size;
        while gap >= 1 {
            compare_round(inputs, list, &mut places, size, gap)?;
            gap /= 2;
        }
        size *= 2;
    }
    Ok(places)
}

/// The pairs of positions that a round compares in an array of `length` elements.
fn pairs_of_round(length: usize, size: usize, gap: usize) -> impl Iterator<Item = (usize, usize)> {
    (gap % size..length.saturating_sub(gap)).step_by(2 * gap).flat_map(move |start| {
        let end = gap.min(length - start - gap);
        (0..end).filter_map(move |offset| {
            let (low, high) = (start + offset, start + offset + gap);
            (low / (2 * size) == high / (2 * size)).then_some((low, high))
        })
    })
}

fn compare_round(
    inputs: &Inputs<'_>,
    list: &ListArray,
    places: &mut [Vec<usize>],
    size: usize,
    gap: usize,
) -> Result<()> {
    let mut swaps = Vec::new();
    for (row, elements) in places.iter().enumerate() {
        swaps.extend(pairs_of_round(elements.len(), size, gap).map(|(low, high)| (row, low, high)));
    }
    let column = |which: fn(&(usize, usize, usize)) -> usize| {
        let indexes: UInt32Array = swaps
            .iter()
            .map(|swap| places.get(swap.0).and_then(|row| row.get(which(swap))).map(|at| *at as u32))
            .collect();
        take(list.values(), &indexes, None)
    };
    let parameters = [column(|swap| swap.1)?, column(|swap| swap.2)?];
    let rows: UInt32Array = swaps.iter().map(|swap| swap.0 as u32).collect();
    let order = inputs.evaluate(0, &parameters, &rows)?;
    let order = order.as_primitive_opt::<Int32Type>().ok_or_else(|| Error::internal("a comparison gave no INT"))?;
    for ((row, low, high), order) in swaps.into_iter().zip(order) {
        let Some(order) = order else {
            return Err(Error::data("COMPARATOR_RETURNS_NULL", "the comparison of 'array_sort' gave null")
                .hint("Let it give a number for nulls too."));
        };
        if let Some(elements) = places.get_mut(row)
            && (order > 0 || (order == 0 && elements.get(low) > elements.get(high)))
        {
            elements.swap(low, high);
        }
    }
    Ok(())
}

/// The key and the value of every entry.
fn entry_parameters(map: &MapArray, elements: &Elements) -> Result<Vec<ArrayRef>> {
    Ok(vec![take(map.keys(), &elements.places, None)?, take(map.values(), &elements.places, None)?])
}

fn map_filter(mut call: Call<'_>) -> Result<Expr> {
    let mut parts = parts(&mut call, 1, 1..=1)?;
    let (source, key, value) = map_argument(&call, first(parts.values)?)?;
    let body = predicate(bind(&call, lambda(&mut parts.lambdas)?, &[key.clone(), value.clone()], 2)?)?;
    let entries = types::map_entries(key.clone(), value.clone());
    let function = HigherOrder::new("map_filter", types::map(key, value), move |inputs| {
        let map = inputs.map(0)?;
        let elements = Elements::of_map(map);
        let wanted = booleans(&inputs.evaluate(0, &entry_parameters(map, &elements)?, &elements.rows)?)?;
        let comparable = keys(map.keys())?;
        let mut picks = MapPicks::new(map.keys(), &comparable, Twice::Replaces, map.len());
        elements.for_rows(|row| {
            let Some(row) = row else {
                picks.null_row();
                return Ok(());
            };
            for at in row.filter(|at| wanted.is_valid(*at) && wanted.value(*at)) {
                let place = elements.places.value(at) as usize;
                picks.put(place, Some(place))?;
            }
            picks.end()
        })?;
        picks.finish(map.values(), entries.clone())
    });
    Ok(function.call(vec![source], vec![body]))
}

fn transform_map(mut call: Call<'_>, name: &'static str, of_keys: bool) -> Result<Expr> {
    let mut parts = parts(&mut call, 1, 1..=1)?;
    let (source, key, value) = map_argument(&call, first(parts.values)?)?;
    let body = bind(&call, lambda(&mut parts.lambdas)?, &[key.clone(), value.clone()], 2)?;
    let (key, value) = if of_keys { (body.result.clone(), value) } else { (key, body.result.clone()) };
    let entries = types::map_entries(key.clone(), value.clone());
    let twice = Twice::of(call.conf);
    let function = HigherOrder::new(name, types::map(key, value), move |inputs| {
        let map = inputs.map(0)?;
        let elements = Elements::of_map(map);
        let mut columns = entry_parameters(map, &elements)?;
        let made = inputs.evaluate(0, &columns, &elements.rows)?;
        if let Some(column) = columns.get_mut(usize::from(!of_keys)) {
            *column = made;
        }
        let [key_column, value_column] = columns.as_slice() else {
            return Err(Error::internal("entries are no pairs"));
        };
        let comparable = keys(key_column)?;
        let mut picks = MapPicks::new(key_column, &comparable, twice, map.len());
        elements.for_rows(|row| match row {
            Some(mut row) => {
                row.try_for_each(|at| picks.put(at, Some(at)))?;
                picks.end()
            }
            None => {
                picks.null_row();
                Ok(())
            }
        })?;
        picks.finish(value_column, entries.clone())
    });
    Ok(function.key(format!("{twice:?}")).call(vec![source], vec![body]))
}

fn map_zip_with(mut call: Call<'_>) -> Result<Expr> {
    let mut parts = parts(&mut call, 2, 1..=1)?;
    let right = parts.values.pop().ok_or_else(|| Error::internal("a map is missing"))?;
    let (left, left_key, left_value) = map_argument(&call, first(parts.values)?)?;
    let (right, right_key, right_value) = map_argument(&call, right)?;
    let key = coerce::common_type(&[left_key, right_key], call.conf)?;
    let left = call.cast(left, &types::map(key.clone(), left_value.clone()))?;
    let right = call.cast(right, &types::map(key.clone(), right_value.clone()))?;
    let body = bind(&call, lambda(&mut parts.lambdas)?, &[key.clone(), left_value, right_value], 3)?;
    let entries = types::map_entries(key.clone(), body.result.clone());
    let function = HigherOrder::new("map_zip_with", types::map(key, body.result.clone()), move |inputs| {
        zip_maps(inputs, inputs.map(0)?, inputs.map(1)?, entries.clone())
    });
    Ok(function.call(vec![left, right], vec![body]))
}

/// Every key of either map, those of the first in front.
fn zip_maps(inputs: &Inputs<'_>, left: &MapArray, right: &MapArray, entries: FieldRef) -> Result<ArrayRef> {
    let (key_pool, starts) = pool(&[left.keys(), right.keys()])?;
    let start = starts.get(1).copied().unwrap_or(0);
    let comparable = keys(&key_pool)?;
    let mut zipped = Zipped::default();
    for row in 0..left.len() {
        let Some((first, second)) = entries_of(left, row).zip(entries_of(right, row)) else {
            zipped.lengths.push(None);
            continue;
        };
        let same = |a: usize, b: usize| comparable.row(a) == comparable.row(start + b);
        let before = zipped.rows.len();
        for at in first.clone() {
            zipped.push(row, at, Some(at), second.clone().find(|other| same(at, *other)));
        }
        for at in second.filter(|at| !first.clone().any(|other| same(other, *at))) {
            zipped.push(row, start + at, None, Some(at));
        }
        zipped.lengths.push(Some(zipped.rows.len() - before));
    }
    let key_column = take(&key_pool, &UInt32Array::from(zipped.keys), None)?;
    let parameters = [
        Arc::clone(&key_column),
        take(left.values(), &UInt32Array::from(zipped.left), None)?,
        take(right.values(), &UInt32Array::from(zipped.right), None)?,
    ];
    let made = inputs.evaluate(0, &parameters, &zipped.rows.into())?;
    let comparable = keys(&key_column)?;
    let mut picks = MapPicks::new(&key_column, &comparable, Twice::Fails, left.len());
    let mut next = 0;
    for length in zipped.lengths {
        match length {
            Some(length) => {
                (next..next + length).try_for_each(|at| picks.put(at, Some(at)))?;
                next += length;
                picks.end()?;
            }
            None => picks.null_row(),
        }
    }
    picks.finish(&made, entries)
}

/// Entries of two maps side by side.
#[derive(Default)]
struct Zipped {
    keys: Vec<u32>,
    left: Vec<Option<u32>>,
    right: Vec<Option<u32>>,
    rows: Vec<u32>,
    lengths: Vec<Option<usize>>,
}

impl Zipped {
    fn push(&mut self, row: usize, key: usize, left: Option<usize>, right: Option<usize>) {
        self.keys.push(key as u32);
        self.left.push(left.map(|at| at as u32));
        self.right.push(right.map(|at| at as u32));
        self.rows.push(row as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::pairs_of_round;

    #[test]
    fn the_rounds_sort_every_order() {
        for length in 0..9 {
            for seed in 0..200u64 {
                let mut values: Vec<u64> =
                    (0..length).map(|at| (seed * 31 + at * at * 17 + seed % (at + 1)) % 11).collect();
                let mut size = 1;
                while size < values.len() {
                    let mut gap = size;
                    while gap >= 1 {
                        for (low, high) in pairs_of_round(values.len(), size, gap).collect::<Vec<_>>() {
                            if values[low] > values[high] {
                                values.swap(low, high);
                            }
                        }
                        gap /= 2;
                    }
                    size *= 2;
                }
                assert!(values.is_sorted(), "{values:?}");
            }
        }
    }
}
