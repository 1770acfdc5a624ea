//! Functions that make arrays: `array`, `array_repeat`, `sequence`, `flatten`, `arrays_zip`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast as convert, interleave};
use arrow::datatypes::{
    DataType, Date32Type, Field, Fields, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::coerce::{self, is_datetime, is_integral};
use super::datetime::shift::plus;
use super::datetime::{overflow, primitive, session_zone};
use super::kernel::Kernel;
use super::lists::{Picks, array, array_argument, as_list, list, range, too_many};
use super::struct_::name_of;
use super::{Call, Function, function};
use crate::types::calendar::{MICROS_PER_DAY, split_micros};
use crate::types::zone::Zone;
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["array"], make_array),
    function(&["array_repeat"], repeat),
    function(&["sequence"], sequence),
    function(&["flatten"], flatten),
    function(&["arrays_zip"], zip),
];

fn make_array(mut call: Call<'_>) -> Result<Expr> {
    let elements = call.values(0..=usize::MAX)?;
    if elements.is_empty() {
        return empty_array();
    }
    let (elements, common) = coerce::to_common(elements, call.schema, call.conf)?;
    let item = types::list_item(common.clone());
    let kernel = Kernel::arrays("array", types::list(common), move |args| {
        let rows = args.first().map_or(0, |array| array.len());
        let parts: Vec<&dyn Array> = args.iter().map(|array| array.as_ref()).collect();
        let order: Vec<(usize, usize)> =
            (0..rows).flat_map(|row| (0..parts.len()).map(move |part| (part, row))).collect();
        let values = interleave(&parts, &order)?;
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(args.len(), rows));
        Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?))
    });
    Ok(kernel.call(elements))
}

/// `array()`: no elements, of type VOID.
fn empty_array() -> Result<Expr> {
    let values = arrow::array::new_empty_array(&DataType::Null);
    let empty = ListArray::try_new(types::list_item(DataType::Null), OffsetBuffer::from_lengths([0]), values, None)?;
    Ok(Expr::Literal(ScalarValue::List(Arc::new(empty)), None))
}

fn repeat(mut call: Call<'_>) -> Result<Expr> {
    let [element, count] = super::arguments::fixed(call.values(2..=2)?)?;
    let count = call.implicit(count, &DataType::Int32)?;
    let element_type = call.type_of(&element)?;
    let item = types::list_item(element_type.clone());
    let kernel = Kernel::arrays("array_repeat", types::list(element_type), move |args| {
        let (elements, counts) = (array(args, 0)?, primitive::<Int32Type>(args, 1)?);
        let mut picks = Picks::with_capacity(counts.len());
        for (row, count) in counts.iter().enumerate() {
            let Some(count) = count else {
                picks.null_row();
                continue;
            };
            for _ in 0..count {
                picks.pick(row);
            }
            picks.end()?;
        }
        picks.finish(elements, item.clone())
    });
    Ok(kernel.call(vec![element, count]))
}

fn flatten(mut call: Call<'_>) -> Result<Expr> {
    let [nested] = super::arguments::fixed(call.values(1..=1)?)?;
    let (nested, inner) = array_argument(&call, nested)?;
    let DataType::List(item) = inner.clone() else {
        return Err(coerce::unexpected(&nested, &inner, "\"ARRAY\" of \"ARRAY\""));
    };
    let kernel = Kernel::arrays("flatten", inner, move |args| {
        let outer = list(args, 0)?;
        let inner = as_list(outer.values())?;
        let mut picks = Picks::with_capacity(outer.len());
        for row in 0..outer.len() {
            let Some(lists) = range(outer, row).filter(|lists| lists.clone().all(|at| inner.is_valid(at))) else {
                picks.null_row();
                continue;
            };
            lists.filter_map(|at| range(inner, at)).for_each(|elements| picks.pick_all(elements));
            picks.end()?;
        }
        picks.finish(inner.values(), item.clone())
    });
    Ok(kernel.call(vec![nested]))
}

fn zip(mut call: Call<'_>) -> Result<Expr> {
    let lists = call.values(0..=usize::MAX)?;
    let mut fields = Vec::with_capacity(lists.len());
    let mut args = Vec::with_capacity(lists.len());
    for (at, list) in lists.into_iter().enumerate() {
        let name = name_of(&list).unwrap_or_else(|| at.to_string());
        let (list, element) = array_argument(&call, list)?;
        fields.push(Field::new(name, element, true));
        args.push(list);
    }
    let fields = Fields::from(fields);
    let result = types::list(DataType::Struct(fields.clone()));
    let kernel =
        Kernel::columns("arrays_zip", result, move |arguments, rows| zipped(&arguments.columns(rows)?, rows, &fields));
    Ok(kernel.call(args))
}

fn zipped(args: &[ArrayRef], rows: usize, fields: &Fields) -> Result<ArrayRef> {
    let lists = args.iter().map(as_list).collect::<Result<Vec<_>>>()?;
    let valid: Vec<bool> = (0..rows).map(|row| lists.iter().all(|list| list.is_valid(row))).collect();
    let length_of = |row: usize| lists.iter().filter_map(|list| range(list, row)).map(|range| range.len()).max();
    let lengths: Vec<usize> = (0..rows).map(|row| if valid[row] { length_of(row).unwrap_or(0) } else { 0 }).collect();
    let mut columns = Vec::with_capacity(lists.len());
    for list in &lists {
        let mut picks = Picks::with_capacity(rows);
        for (row, length) in lengths.iter().enumerate() {
            let elements = range(list, row).filter(|_| valid[row]).unwrap_or(0..0);
            let missing = length - elements.len();
            picks.pick_all(elements);
            picks.nulls(missing);
        }
        picks.end()?;
        let column = picks.finish(list.values(), types::list_item(list.value_type()))?;
        columns.push(Arc::clone(as_list(&column)?.values()));
    }
    let total = lengths.iter().sum();
    let structs = match columns.is_empty() {
        true => StructArray::new_empty_fields(total, None),
        false => StructArray::try_new(fields.clone(), columns, None)?,
    };
    let item = types::list_item(DataType::Struct(fields.clone()));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), Some(NullBuffer::from(valid)))?))
}

/// How far apart neighbours of a sequence are.
#[derive(Debug, Clone, Copy)]
struct Step {
    months: i64,
    days: i64,
    /// Microseconds, or the step itself for numbers.
    units: i64,
}

fn sequence(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(2..=3)?;
    let step = if args.len() == 3 { args.pop() } else { None };
    let different = |cause: Error| cause.with_condition("DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES");
    let (bounds, common) = coerce::to_common(args, call.schema, call.conf).map_err(different)?;
    if is_datetime(&common) {
        return sequence_of_times(&call, bounds, common, step);
    }
    if !is_integral(&common) {
        return Err(Error::query(
            "DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES",
            format!("'sequence' needs whole numbers, dates or timestamps, not {}", coerce::type_name(&common)),
        ));
    }
    let mut all = bounds;
    if let Some(step) = step {
        all.push(step);
    }
    let (args, common) = coerce::to_common(all, call.schema, call.conf).map_err(different)?;
    if !is_integral(&common) {
        return Err(Error::query("DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES", "the step should be a whole number"));
    }
    let made = common.clone();
    let kernel = Kernel::arrays("sequence", types::list(common), move |args| {
        let numbers = args.iter().map(|array| Ok(convert(array, &DataType::Int64)?)).collect::<Result<Vec<_>>>()?;
        let (starts, stops) = (primitive::<Int64Type>(&numbers, 0)?, primitive::<Int64Type>(&numbers, 1)?);
        let steps = numbers.get(2).map(|_| primitive::<Int64Type>(&numbers, 2)).transpose()?;
        let rows = (0..starts.len()).map(|row| {
            if starts.is_null(row) || stops.is_null(row) || steps.is_some_and(|steps| steps.is_null(row)) {
                return Ok(None);
            }
            let (start, stop) = (starts.value(row), stops.value(row));
            let step = steps.map_or(if start <= stop { 1 } else { -1 }, |steps| steps.value(row));
            numbers_between(start, stop, step).map(Some)
        });
        build(rows, &made)
    });
    Ok(kernel.call(args))
}

fn illegal(start: impl std::fmt::Display, stop: impl std::fmt::Display) -> Error {
    Error::data("ILLEGAL_SEQUENCE_BOUNDARIES", format!("a sequence from {start} to {stop} with this step never ends"))
}

/// An array longer than this is refused, as in Spark.
const MAX_LENGTH: i128 = 2_147_483_632;

fn numbers_between(start: i64, stop: i64, step: i64) -> Result<Vec<i64>> {
    let fits = (step > 0 && start <= stop) || (step < 0 && start >= stop) || (step == 0 && start == stop);
    if !fits {
        return Err(illegal(start, stop));
    }
    if step == 0 {
        return Ok(vec![start]);
    }
    let steps = (i128::from(stop) - i128::from(start)) / i128::from(step);
    if steps >= MAX_LENGTH {
        return Err(too_many());
    }
    Ok((0..=steps as i64).map(|at| start + at * step).collect())
}

/// Lists of numbers as lists of `element`.
fn build(rows: impl Iterator<Item = Result<Option<Vec<i64>>>>, element: &DataType) -> Result<ArrayRef> {
    let (mut values, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let row = row?;
        valid.push(row.is_some());
        let row = row.unwrap_or_default();
        lengths.push(row.len());
        values.extend(row);
        i32::try_from(values.len()).map_err(|_| too_many())?;
    }
    let values = typed(Int64Array::from(values), element)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let item = types::list_item(element.clone());
    Ok(Arc::new(ListArray::try_new(item, offsets, values, Some(NullBuffer::from(valid)))?))
}

fn typed(values: Int64Array, element: &DataType) -> Result<ArrayRef> {
    let values: ArrayRef = Arc::new(values);
    match element {
        DataType::Date32 => Ok(convert(&convert(&values, &DataType::Int32)?, element)?),
        DataType::Timestamp(unit, _) => {
            let local = convert(&values, &DataType::Timestamp(*unit, None))?;
            let micros = local.to_data().into_builder().data_type(element.clone()).build()?;
            Ok(arrow::array::make_array(micros))
        }
        other => Ok(convert(&values, other)?),
    }
}

/// Dates and timestamps; without a step, one day.
fn sequence_of_times(call: &Call<'_>, bounds: Vec<Expr>, common: DataType, step: Option<Expr>) -> Result<Expr> {
    let step = match step {
        Some(step) => step,
        None => Expr::Literal(ScalarValue::DurationMicrosecond(Some(MICROS_PER_DAY)), None),
    };
    let calendar = DataType::Interval(IntervalUnit::MonthDayNano);
    let step_type = call.type_of(&step)?;
    if !matches!(step_type, DataType::Duration(_) | DataType::Interval(_)) {
        return Err(coerce::unexpected(&step, &step_type, "\"INTERVAL\"")
            .with_condition("DATATYPE_MISMATCH.SEQUENCE_WRONG_INPUT_TYPES"));
    }
    let zone = if common == types::timestamp() { session_zone(call.conf)? } else { Zone::utc() };
    let key = zone.name().to_owned();
    let (made, is_date) = (common.clone(), common == DataType::Date32);
    let kernel = Kernel::arrays("sequence", types::list(common), move |args| {
        let (starts, stops) = (instants(array(args, 0)?, is_date)?, instants(array(args, 1)?, is_date)?);
        let steps = steps(array(args, 2)?, &calendar)?;
        let rows = starts.into_iter().zip(stops).zip(steps).map(|((start, stop), step)| {
            let (Some(start), Some(stop), Some(step)) = (start, stop, step) else { return Ok(None) };
            let times = times_between(start, stop, step, &zone)?;
            Ok(Some(if is_date { times.into_iter().map(|time| split_micros(time).0).collect() } else { times }))
        });
        build(rows, &made)
    });
    let mut args = bounds;
    args.push(step);
    Ok(kernel.key(key).fallible().call(args))
}

fn instants(array: &ArrayRef, is_date: bool) -> Result<Vec<Option<i64>>> {
    let args = std::slice::from_ref(array);
    if is_date {
        let days = primitive::<Date32Type>(args, 0)?;
        return Ok(days.iter().map(|days| days.map(|days| i64::from(days).saturating_mul(MICROS_PER_DAY))).collect());
    }
    Ok(primitive::<super::datetime::Micros>(args, 0)?.iter().collect())
}

fn steps(array: &ArrayRef, calendar: &DataType) -> Result<Vec<Option<Step>>> {
    let args = std::slice::from_ref(array);
    Ok(match array.data_type() {
        DataType::Duration(_) => primitive::<arrow::datatypes::DurationMicrosecondType>(args, 0)?
            .iter()
            .map(|micros| {
                let micros = micros?;
                Some(Step { months: 0, days: micros / MICROS_PER_DAY, units: micros % MICROS_PER_DAY })
            })
            .collect(),
        DataType::Interval(IntervalUnit::YearMonth) => primitive::<arrow::datatypes::IntervalYearMonthType>(args, 0)?
            .iter()
            .map(|months| Some(Step { months: i64::from(months?), days: 0, units: 0 }))
            .collect(),
        other if other == calendar => {
            primitive::<IntervalMonthDayNanoType>(args, 0)?.iter().map(|step| Some(calendar_step(step?))).collect()
        }
        _ => vec![None; array.len()],
    })
}

fn calendar_step(step: IntervalMonthDayNano) -> Step {
    Step { months: i64::from(step.months), days: i64::from(step.days), units: step.nanoseconds / 1_000 }
}

/// Every time is the start plus a multiple of the step, so that months do not drift at their ends.
fn times_between(start: i64, stop: i64, step: Step, zone: &Zone) -> Result<Vec<i64>> {
    let at = |count: i64| {
        let (months, days) = (step.months.checked_mul(count)?, step.days.checked_mul(count)?);
        plus(start, months, days, step.units.checked_mul(count)?, zone)
    };
    let next = at(1).ok_or_else(|| overflow("a sequence"))?;
    if next == start && start == stop {
        return Ok(vec![start]);
    }
    if next == start || (next > start) != (stop >= start) && start != stop {
        return Err(illegal(start, stop));
    }
    let forward = next > start;
    let mut times = Vec::new();
    let mut count = 0;
    while let Some(time) = at(count).filter(|time| if forward { *time <= stop } else { *time >= stop }) {
        times.push(time);
        count += 1;
        if i128::from(count) > MAX_LENGTH {
            return Err(too_many());
        }
    }
    Ok(times)
}
