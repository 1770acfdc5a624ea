//! Looking into arrays: `element_at`, `get`, `size`, `array_contains`, `array_position`, `array_min`, `array_join`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, StringBuilder, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::arguments::fixed;
use super::coerce::{self, is_integral};
use super::datetime::{primitive, strings};
use super::kernel::Kernel;
use super::lists::{array, array_and_value, array_argument, is_null, keys, list, pool, range};
use super::{Call, Function, function, map};
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["element_at"], |call| element_at(call, false)),
    function(&["try_element_at"], |call| element_at(call, true)),
    function(&["get"], get),
    function(&["size", "cardinality"], |call| size(call, false)),
    function(&["array_size"], |call| size(call, true)),
    function(&["array_contains"], contains),
    function(&["array_position"], position),
    function(&["array_min"], |call| extreme(call, "array_min", Ordering::Less)),
    function(&["array_max"], |call| extreme(call, "array_max", Ordering::Greater)),
    function(&["array_join"], join),
];

/// What an index that is out of bounds gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outside {
    Null,
    /// `INVALID_ARRAY_INDEX_IN_ELEMENT_AT`.
    ElementAt,
}

impl Outside {
    fn error(self, index: i64, length: usize) -> Result<Option<usize>> {
        let condition = match self {
            Outside::Null => return Ok(None),
            Outside::ElementAt => "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
        };
        Err(Error::data(condition, format!("the index {index} is out of bounds, the array has {length} elements"))
            .hint("Use get() or try_element_at() to get null instead."))
    }
}

fn whole_index(call: &Call<'_>, index: Expr) -> Result<Expr> {
    let from = index.get_type(call.schema)?;
    match from {
        from if is_integral(&from) || from == DataType::Null => call.implicit(index, &DataType::Int64),
        from => Err(coerce::unexpected(&index, &from, "\"INTEGRAL\"")),
    }
}

/// The element at `index`, counting from `first`; with `first` 1 negative indexes count from the end.
fn by_index(call: &Call<'_>, list: Expr, index: Expr, element: DataType, first: i64, outside: Outside) -> Result<Expr> {
    let index = whole_index(call, index)?;
    let kernel = Kernel::arrays("array_element", element, move |args| pick_elements(args, first, outside));
    let fails = first == 1 || outside != Outside::Null;
    Ok(kernel.key(format!("{first},{outside:?}")).fallible_if(fails).call(vec![list, index]))
}

fn pick_elements(args: &[ArrayRef], first: i64, outside: Outside) -> Result<ArrayRef> {
    let list = list(args, 0)?;
    let indexes = primitive::<arrow::datatypes::Int64Type>(args, 1)?;
    let mut picks = Vec::with_capacity(list.len());
    for (row, index) in indexes.iter().enumerate() {
        let picked = match range(list, row).zip(index) {
            None => None,
            Some((elements, index)) => {
                place(index, first, elements.len(), outside)?.map(|at| (elements.start + at) as u32)
            }
        };
        picks.push(picked);
    }
    Ok(take(list.values(), &UInt32Array::from(picks), None)?)
}

fn place(index: i64, first: i64, length: usize, outside: Outside) -> Result<Option<usize>> {
    if first == 1 && index == 0 {
        let message = "the index 0 is invalid, elements are counted from 1, or from the end with -1";
        return Err(Error::data("INVALID_INDEX_OF_ZERO", message));
    }
    let signed = length as i64;
    let at = if first == 1 && index < 0 { index.saturating_add(signed) } else { index - first };
    match usize::try_from(at) {
        Ok(at) if at < length => Ok(Some(at)),
        _ => outside.error(index, length),
    }
}

fn element_at(mut call: Call<'_>, lenient: bool) -> Result<Expr> {
    let [source, index] = fixed(call.values(2..=2)?)?;
    match call.type_of(&source)? {
        DataType::Map(..) => map::element_at(&call, source, index),
        _ => {
            let (list, element) = array_argument(&call, source)?;
            let outside = if call.conf.ansi() && !lenient { Outside::ElementAt } else { Outside::Null };
            by_index(&call, list, index, element, 1, outside)
        }
    }
}

fn get(mut call: Call<'_>) -> Result<Expr> {
    let [source, index] = fixed(call.values(2..=2)?)?;
    let (list, element) = array_argument(&call, source)?;
    let index = call.implicit(index, &DataType::Int32)?;
    by_index(&call, list, index, element, 0, Outside::Null)
}

/// The number of elements. Without ANSI the size of null is -1, as Spark's settings have it by default.
fn size(mut call: Call<'_>, only_arrays: bool) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let source = match call.type_of(&source)? {
        DataType::Map(..) if !only_arrays => source,
        _ => array_argument(&call, source)?.0,
    };
    let legacy = call.conf.flag("spark.sql.legacy.sizeOfNull", true)? && !call.conf.ansi();
    let of_null = if legacy && !only_arrays { Some(-1) } else { None };
    let kernel = Kernel::arrays("size", DataType::Int32, move |args| {
        let source = array(args, 0)?;
        let offsets = match source.data_type() {
            DataType::Map(..) => map::as_map(source)?.value_offsets(),
            _ => list(args, 0)?.value_offsets(),
        };
        let sizes = offsets.windows(2).enumerate().map(|(row, ends)| match ends {
            [start, end] if source.is_valid(row) => Some(end - start),
            _ => of_null,
        });
        Ok(Arc::new(sizes.collect::<Int32Array>()))
    });
    Ok(kernel.key(format!("{of_null:?}")).call(vec![source]))
}

/// The elements of the array argument and the values of the other one, comparable with each other.
fn searched(args: &[ArrayRef]) -> Result<(arrow::row::Rows, usize)> {
    let (values, starts) = pool(&[list(args, 0)?.values(), array(args, 1)?])?;
    Ok((keys(&values)?, starts.get(1).copied().unwrap_or(0)))
}

fn typed_value(call: &Call<'_>, value: &Expr) -> Result<()> {
    match call.type_of(value)? {
        DataType::Null => {
            let message = format!("an untyped null is no value for '{}'", call.name);
            Err(Error::query("DATATYPE_MISMATCH.NULL_TYPE", message))
        }
        _ => Ok(()),
    }
}

fn contains(mut call: Call<'_>) -> Result<Expr> {
    let [source, value] = fixed(call.values(2..=2)?)?;
    typed_value(&call, &value)?;
    let (list_arg, value, _) = array_and_value(&call, source, value)?;
    let kernel = Kernel::arrays("array_contains", DataType::Boolean, |args| {
        let (list, values) = (list(args, 0)?, array(args, 1)?);
        let (keys, start) = searched(args)?;
        let found = (0..list.len()).map(|row| {
            let elements = range(list, row).filter(|_| values.is_valid(row))?;
            let wanted = keys.row(start + row);
            match elements.clone().any(|at| keys.row(at) == wanted) {
                true => Some(true),
                false if elements.into_iter().any(|at| is_null(list.values(), at)) => None,
                false => Some(false),
            }
        });
        Ok(Arc::new(found.collect::<BooleanArray>()))
    });
    Ok(kernel.call(vec![list_arg, value]))
}

fn position(mut call: Call<'_>) -> Result<Expr> {
    let [source, value] = fixed(call.values(2..=2)?)?;
    typed_value(&call, &value)?;
    let (list_arg, value, _) = array_and_value(&call, source, value)?;
    let kernel = Kernel::arrays("array_position", DataType::Int64, |args| {
        let (list, values) = (list(args, 0)?, array(args, 1)?);
        let (keys, start) = searched(args)?;
        let found = (0..list.len()).map(|row| {
            let mut elements = range(list, row).filter(|_| values.is_valid(row))?;
            let wanted = keys.row(start + row);
            Some(elements.position(|at| keys.row(at) == wanted).map_or(0, |at| at as i64 + 1))
        });
        Ok(Arc::new(found.collect::<Int64Array>()))
    });
    Ok(kernel.call(vec![list_arg, value]))
}

fn extreme(mut call: Call<'_>, name: &'static str, wanted: Ordering) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let (source, element) = array_argument(&call, source)?;
    let kernel = Kernel::arrays(name, element, move |args| {
        let list = list(args, 0)?;
        let keys = keys(list.values())?;
        let best = (0..list.len()).map(|row| {
            let elements = range(list, row)?.filter(|at| !is_null(list.values(), *at));
            let better = |best: usize, at: usize| if keys.row(at).cmp(&keys.row(best)) == wanted { at } else { best };
            elements.reduce(better).map(|at| at as u32)
        });
        Ok(take(list.values(), &best.collect::<UInt32Array>(), None)?)
    });
    Ok(kernel.call(vec![source]))
}

fn join(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(2..=3)?;
    let (source, _) = array_argument(&call, args.remove(0))?;
    let mut cast = vec![call.implicit(source, &types::list(DataType::Utf8))?];
    for text in args {
        cast.push(call.implicit(text, &DataType::Utf8)?);
    }
    let kernel = Kernel::arrays("array_join", DataType::Utf8, joined);
    Ok(kernel.call(cast))
}

fn joined(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (list, delimiters) = (list(args, 0)?, strings(args, 1)?);
    let replacements = if args.len() > 2 { Some(strings(args, 2)?) } else { None };
    let elements = strings(std::slice::from_ref(list.values()), 0)?;
    let mut out = StringBuilder::with_capacity(list.len(), list.len() * 16);
    let mut text = String::new();
    for row in 0..list.len() {
        let replacement_is_null = replacements.is_some_and(|replacements| replacements.is_null(row));
        let Some(places) = range(list, row).filter(|_| delimiters.is_valid(row) && !replacement_is_null) else {
            out.append_null();
            continue;
        };
        text.clear();
        let mut first = true;
        for at in places {
            let element =
                if elements.is_valid(at) { Some(elements.value(at)) } else { replacements.map(|all| all.value(row)) };
            let Some(element) = element else { continue };
            if !first {
                text.push_str(delimiters.value(row));
            }
            text.push_str(element);
            first = false;
        }
        out.append_value(&text);
    }
    Ok(Arc::new(out.finish()))
}

/// The whole number in a row of an INT argument.
pub(super) fn int_at(args: &[ArrayRef], at: usize, row: usize) -> Result<Option<i64>> {
    let numbers = primitive::<Int32Type>(args, at)?;
    Ok((!numbers.is_null(row)).then(|| i64::from(numbers.value(row))))
}
