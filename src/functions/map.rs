//! Maps: `map`, `map_from_arrays`, `map_from_entries`, `map_concat`, `str_to_map`, keys, values, entries, look-up.
//!
//! A key is never null (`NULL_MAP_KEY`) and occurs once: a second one is an error or, with
//! `spark.sql.mapKeyDedupPolicy` = `LAST_WIN`, replaces the first one's value. Entries keep the order they came in.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, NullBufferBuilder, StringBuilder, StructArray,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use arrow::row::{Row, Rows};
use arrow::util::display::array_value_to_string;
use datafusion::logical_expr::{Expr, lit};
use hashbrown::HashMap;
use regex::Regex;

use super::arguments::fixed;
use super::datetime::strings;
use super::kernel::Kernel;
use super::lists::{array, array_argument, is_null, keys, list, pool, range};
use super::{Call, Function, arguments, coerce, function};
use crate::conf::Conf;
use crate::{Error, Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["map"], make_map),
    function(&["map_from_arrays"], from_arrays),
    function(&["map_from_entries"], from_entries),
    function(&["map_keys"], |call| part(call, "map_keys", Part::Keys)),
    function(&["map_values"], |call| part(call, "map_values", Part::Values)),
    function(&["map_entries"], |call| part(call, "map_entries", Part::Entries)),
    function(&["map_concat"], concat),
    function(&["map_contains_key"], contains_key),
    function(&["str_to_map"], from_text),
];

/// An array as a map.
pub(super) fn as_map(array: &ArrayRef) -> Result<&MapArray> {
    let wrong = || Error::internal(format!("a function of maps got {}", array.data_type()));
    array.as_map_opt().ok_or_else(wrong)
}

/// Where the entries of a row are; `None` for a null row.
pub(super) fn entries_of(map: &MapArray, row: usize) -> Option<std::ops::Range<usize>> {
    if map.is_null(row) {
        return None;
    }
    let offsets = map.value_offsets();
    Some(*offsets.get(row)? as usize..*offsets.get(row + 1)? as usize)
}

/// `expr` as a map with its key and value type.
pub(super) fn map_argument(call: &Call<'_>, expr: Expr) -> Result<(Expr, DataType, DataType)> {
    let found = call.type_of(&expr)?;
    match types::map_types(&found) {
        Some((key, value)) => Ok((expr, key.data_type().clone(), value.data_type().clone())),
        None => Err(coerce::unexpected(&expr, &found, "\"MAP\"")),
    }
}

/// What a key that occurs twice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    Fails,
    Replaces,
}

impl Twice {
    pub(super) fn of(conf: &Conf) -> Twice {
        match conf.get("spark.sql.mapKeyDedupPolicy") {
            Some(policy) if policy.eq_ignore_ascii_case("LAST_WIN") => Twice::Replaces,
            _ => Twice::Fails,
        }
    }
}

/// Maps under construction, from pools of keys and values.
pub(super) struct MapPicks<'a> {
    pool: &'a ArrayRef,
    keys: &'a Rows,
    twice: Twice,
    seen: HashMap<Row<'a>, usize>,
    picked_keys: Vec<u32>,
    picked_values: Vec<Option<u32>>,
    offsets: Vec<i32>,
    rows: NullBufferBuilder,
}

impl<'a> MapPicks<'a> {
    /// `keys` are the comparable forms of the keys in `pool`.
    pub(super) fn new(pool: &'a ArrayRef, keys: &'a Rows, twice: Twice, rows: usize) -> MapPicks<'a> {
        MapPicks {
            pool,
            keys,
            twice,
            seen: HashMap::new(),
            picked_keys: Vec::new(),
            picked_values: Vec::new(),
            offsets: vec![0],
            rows: NullBufferBuilder::new(rows),
        }
    }

    /// Adds an entry to the row.
    ///
    /// # Errors
    /// `NULL_MAP_KEY`, `DUPLICATED_MAP_KEY`.
    pub(super) fn put(&mut self, key: usize, value: Option<usize>) -> Result<()> {
        if is_null(self.pool, key) {
            return Err(Error::data("NULL_MAP_KEY", "null cannot be a map's key"));
        }
        let value = value.map(|at| at as u32);
        match self.seen.insert(self.keys.row(key), self.picked_keys.len()) {
            None => {
                self.picked_keys.push(key as u32);
                self.picked_values.push(value);
                Ok(())
            }
            Some(_) if self.twice == Twice::Fails => {
                let key = array_value_to_string(self.pool, key)?;
                Err(Error::data("DUPLICATED_MAP_KEY", format!("the map key '{key}' occurs twice"))
                    .hint("Set spark.sql.mapKeyDedupPolicy to LAST_WIN to keep the last one."))
            }
            Some(before) => {
                self.seen.insert(self.keys.row(key), before);
                if let Some(slot) = self.picked_values.get_mut(before) {
                    *slot = value;
                }
                Ok(())
            }
        }
    }

    /// Ends the row.
    pub(super) fn end(&mut self) -> Result<()> {
        self.seen.clear();
        self.offsets.push(i32::try_from(self.picked_keys.len()).map_err(|_| super::lists::too_many())?);
        self.rows.append_non_null();
        Ok(())
    }

    /// Adds a row that is null.
    pub(super) fn null_row(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.rows.append_null();
    }

    /// The maps, with values from `values`.
    pub(super) fn finish(mut self, values: &ArrayRef, entries: FieldRef) -> Result<ArrayRef> {
        let columns = vec![
            take(self.pool, &UInt32Array::from(self.picked_keys), None)?,
            take(values, &UInt32Array::from(self.picked_values), None)?,
        ];
        maps(columns, OffsetBuffer::new(self.offsets.into()), self.rows.finish(), entries)
    }
}

fn maps(
    columns: Vec<ArrayRef>,
    offsets: OffsetBuffer<i32>,
    nulls: Option<arrow::buffer::NullBuffer>,
    entries: FieldRef,
) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Error::internal("a map's entries are no structs"));
    };
    let structs = StructArray::try_new(fields.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(entries, offsets, structs, nulls, false)?))
}

fn make_map(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(0..=usize::MAX)?;
    if args.len() % 2 != 0 {
        let message =
            format!("function '{}' needs keys and values in turn but has {} arguments", call.name, args.len());
        return Err(Error::query("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message));
    }
    let (mut all_keys, mut all_values) = (Vec::new(), Vec::new());
    for (at, arg) in args.into_iter().enumerate() {
        if at % 2 == 0 { all_keys.push(arg) } else { all_values.push(arg) }
    }
    let keys = coerce::to_common(all_keys, call.schema, call.conf);
    let (mut args, key) = keys.map_err(|cause| cause.with_condition("DATATYPE_MISMATCH.CREATE_MAP_KEY_DIFF_TYPES"))?;
    let values = coerce::to_common(all_values, call.schema, call.conf);
    let different = |cause: Error| cause.with_condition("DATATYPE_MISMATCH.CREATE_MAP_VALUE_DIFF_TYPES");
    let (values, value) = values.map_err(different)?;
    args.extend(values);
    if matches!(key, DataType::Map(..)) || types::is_variant(&key) {
        let message = format!("the key of a map cannot be {}", coerce::type_name(&key));
        return Err(Error::query("DATATYPE_MISMATCH.INVALID_MAP_KEY_TYPE", message));
    }
    let (twice, entries) = (Twice::of(call.conf), types::map_entries(key.clone(), value.clone()));
    let (key_type, value_type) = (key.clone(), value.clone());
    let kernel = Kernel::columns("map", types::map(key, value), move |arguments, rows| {
        interleaved(&arguments.columns(rows)?, rows, twice, entries.clone(), (&key_type, &value_type))
    });
    Ok(kernel.key(format!("{twice:?}")).fallible().call(args))
}

/// Maps of which each row takes one entry from every pair of columns.
fn interleaved(
    args: &[ArrayRef],
    rows: usize,
    twice: Twice,
    entries: FieldRef,
    types: (&DataType, &DataType),
) -> Result<ArrayRef> {
    let (key_columns, value_columns) = args.split_at(args.len() / 2);
    let gather = |columns: &[ArrayRef], empty: &DataType| match columns.is_empty() {
        true => Ok(arrow::array::new_empty_array(empty)),
        false => pool(&columns.iter().collect::<Vec<_>>()).map(|(values, _)| values),
    };
    let (key_pool, value_pool) = (gather(key_columns, types.0)?, gather(value_columns, types.1)?);
    let comparable = keys(&key_pool)?;
    let mut picks = MapPicks::new(&key_pool, &comparable, twice, rows);
    for row in 0..rows {
        for column in 0..key_columns.len() {
            picks.put(column * rows + row, Some(column * rows + row))?;
        }
        picks.end()?;
    }
    picks.finish(&value_pool, entries)
}

fn from_arrays(mut call: Call<'_>) -> Result<Expr> {
    let [key_list, value_list] = fixed(call.values(2..=2)?)?;
    let (key_list, key) = array_argument(&call, key_list)?;
    let (value_list, value) = array_argument(&call, value_list)?;
    let (twice, entries) = (Twice::of(call.conf), types::map_entries(key.clone(), value.clone()));
    let kernel = Kernel::arrays("map_from_arrays", types::map(key, value), move |args| {
        let (key_list, value_list) = (list(args, 0)?, list(args, 1)?);
        let comparable = keys(key_list.values())?;
        let mut picks = MapPicks::new(key_list.values(), &comparable, twice, key_list.len());
        for row in 0..key_list.len() {
            let Some((keys, values)) = range(key_list, row).zip(range(value_list, row)) else {
                picks.null_row();
                continue;
            };
            if keys.len() != values.len() {
                let message = format!("a map needs as many keys as values, not {} and {}", keys.len(), values.len());
                return Err(Error::data("MAP_FROM_ARRAYS_LENGTH_MISMATCH", message));
            }
            keys.zip(values).try_for_each(|(key, value)| picks.put(key, Some(value)))?;
            picks.end()?;
        }
        picks.finish(value_list.values(), entries.clone())
    });
    Ok(kernel.key(format!("{twice:?}")).fallible().call(vec![key_list, value_list]))
}

fn from_entries(mut call: Call<'_>) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let (source, element) = array_argument(&call, source)?;
    let wrong = || coerce::unexpected(&source, &element, "\"ARRAY\" of pair \"STRUCT\"");
    let DataType::Struct(fields) = &element else { return Err(wrong()) };
    let [key, value] = fields.as_ref() else { return Err(wrong()) };
    let (key, value) = (key.data_type().clone(), value.data_type().clone());
    let (twice, entries) = (Twice::of(call.conf), types::map_entries(key.clone(), value.clone()));
    let kernel = Kernel::arrays("map_from_entries", types::map(key, value), move |args| {
        let list = list(args, 0)?;
        let structs = list.values().as_struct_opt().ok_or_else(|| Error::internal("entries are no structs"))?;
        let [key_pool, values] = structs.columns() else { return Err(Error::internal("entries are no pairs")) };
        let comparable = keys(key_pool)?;
        let mut picks = MapPicks::new(key_pool, &comparable, twice, list.len());
        for row in 0..list.len() {
            match range(list, row).filter(|places| places.clone().all(|at| structs.is_valid(at))) {
                Some(mut places) => {
                    places.try_for_each(|at| picks.put(at, Some(at)))?;
                    picks.end()?;
                }
                None => picks.null_row(),
            }
        }
        picks.finish(values, entries.clone())
    });
    Ok(kernel.key(format!("{twice:?}")).fallible().call(vec![source]))
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Keys,
    Values,
    Entries,
}

fn part(mut call: Call<'_>, name: &'static str, part: Part) -> Result<Expr> {
    let [source] = fixed(call.values(1..=1)?)?;
    let source = match call.type_of(&source)? {
        DataType::Null => call.cast(source, &types::map(DataType::Null, DataType::Null))?,
        _ => source,
    };
    let (source, key, value) = map_argument(&call, source)?;
    let element = match part {
        Part::Keys => key,
        Part::Values => value,
        Part::Entries => types::structure([(types::MAP_KEY, key), (types::MAP_VALUE, value)]),
    };
    let item = types::list_item(element.clone());
    let kernel = Kernel::arrays(name, types::list(element), move |args| {
        let map = as_map(array(args, 0)?)?;
        let values: ArrayRef = match part {
            Part::Keys => Arc::clone(map.keys()),
            Part::Values => Arc::clone(map.values()),
            Part::Entries => entry_structs(map, item.data_type())?,
        };
        let lists = ListArray::try_new(item.clone(), map.offsets().clone(), values, map.nulls().cloned())?;
        Ok(Arc::new(lists))
    });
    Ok(kernel.call(vec![source]))
}

fn entry_structs(map: &MapArray, element: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = element else { return Err(Error::internal("entries are no structs")) };
    Ok(Arc::new(StructArray::try_new(fields.clone(), map.entries().columns().to_vec(), None)?))
}

fn concat(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(0..=usize::MAX)?;
    if args.is_empty() {
        let empty = make_map(Call { name: "map", args: vec![], schema: call.schema, conf: call.conf })?;
        return call.cast(empty, &types::map(DataType::Utf8, DataType::Utf8));
    }
    for arg in &args {
        let given = call.type_of(arg)?;
        if types::map_types(&given).is_none() {
            let message = format!("'map_concat' takes maps, not {}", coerce::type_name(&given));
            return Err(Error::query("DATATYPE_MISMATCH.MAP_CONCAT_DIFF_TYPES", message));
        }
    }
    let (args, result) = coerce::to_common(args, call.schema, call.conf)?;
    let DataType::Map(entries, _) = result.clone() else { return Err(Error::internal("maps met in no map")) };
    let twice = Twice::of(call.conf);
    let kernel = Kernel::arrays("map_concat", result, move |args| {
        let all = args.iter().map(as_map).collect::<Result<Vec<_>>>()?;
        let (key_pool, starts) = pool(&all.iter().map(|map| map.keys()).collect::<Vec<_>>())?;
        let (values, _) = pool(&all.iter().map(|map| map.values()).collect::<Vec<_>>())?;
        let comparable = keys(&key_pool)?;
        let rows = args.first().map_or(0, |array| array.len());
        let mut picks = MapPicks::new(&key_pool, &comparable, twice, rows);
        for row in 0..rows {
            if all.iter().any(|map| map.is_null(row)) {
                picks.null_row();
                continue;
            }
            for (map, start) in all.iter().zip(&starts) {
                for at in entries_of(map, row).unwrap_or(0..0) {
                    picks.put(start + at, Some(start + at))?;
                }
            }
            picks.end()?;
        }
        picks.finish(&values, entries.clone())
    });
    Ok(kernel.key(format!("{twice:?}")).fallible().call(args))
}

/// A map and a key brought to the map's key type.
fn map_and_key(call: &Call<'_>, source: Expr, key: Expr) -> Result<(Vec<Expr>, DataType)> {
    let (source, key_type, value) = map_argument(call, source)?;
    Ok((vec![source, call.implicit(key, &key_type)?], value))
}

/// For each row where its key is among the entries of its map.
fn found(args: &[ArrayRef]) -> Result<Vec<Option<u32>>> {
    let (map, wanted) = (as_map(array(args, 0)?)?, array(args, 1)?);
    let (all, starts) = pool(&[map.keys(), wanted])?;
    let (keys, start) = (keys(&all)?, starts.get(1).copied().unwrap_or(0));
    let place = |row: usize| {
        let mut entries = entries_of(map, row).filter(|_| wanted.is_valid(row))?;
        let key = keys.row(start + row);
        entries.find(|at| keys.row(*at) == key).map(|at| at as u32)
    };
    Ok((0..map.len()).map(place).collect())
}

/// The value under a key; null if it is missing.
pub(super) fn value_of(call: &Call<'_>, source: Expr, key: Expr) -> Result<Expr> {
    let (args, value) = map_and_key(call, source, key)?;
    let kernel = Kernel::arrays("map_value", value, |args| {
        Ok(take(as_map(array(args, 0)?)?.values(), &UInt32Array::from(found(args)?), None)?)
    });
    Ok(kernel.call(args))
}

/// As [`value_of`], for a key that may not be a string where the map's keys are none, or the other way round.
///
/// # Errors
/// `DATATYPE_MISMATCH.MAP_FUNCTION_DIFF_TYPES`.
pub(super) fn element_at(call: &Call<'_>, source: Expr, key: Expr) -> Result<Expr> {
    check_key(call, &source, &key)?;
    value_of(call, source, key)
}

fn check_key(call: &Call<'_>, source: &Expr, key: &Expr) -> Result<()> {
    let (source, given) = (call.type_of(source)?, call.type_of(key)?);
    let meets = types::map_types(&source).is_none_or(|(wanted, _)| {
        coerce::wider_without_strings(wanted.data_type(), &given, call.conf.ansi()).is_some()
    });
    if meets {
        return Ok(());
    }
    let message = format!(
        "the key of '{}' is {} but the map is {}",
        call.name,
        coerce::type_name(&given),
        coerce::type_name(&source)
    );
    Err(Error::query("DATATYPE_MISMATCH.MAP_FUNCTION_DIFF_TYPES", message))
}

/// A map and a key brought to a common type of keys.
fn keys_alike(call: &Call<'_>, source: Expr, key: Expr) -> Result<Vec<Expr>> {
    let (given, wanted) = (call.type_of(&source)?, call.type_of(&key)?);
    let common = types::map_types(&given).and_then(|(known, value)| {
        let key = coerce::exact_common(known.data_type(), &wanted)?;
        Some((types::map(key.clone(), value.data_type().clone()), key))
    });
    match common {
        Some((map, common)) if wanted != DataType::Null => Ok(vec![call.cast(source, &map)?, call.cast(key, &common)?]),
        _ if wanted == DataType::Null || given == DataType::Null => Ok(map_and_key(call, source, key)?.0),
        _ => {
            let names = (coerce::type_name(&wanted), coerce::type_name(&given));
            let message = format!("the key of '{}' is {} but the map is {}", call.name, names.0, names.1);
            Err(Error::query("DATATYPE_MISMATCH.MAP_FUNCTION_DIFF_TYPES", message))
        }
    }
}

fn contains_key(mut call: Call<'_>) -> Result<Expr> {
    let [source, key] = fixed(call.values(2..=2)?)?;
    let args = keys_alike(&call, source, key)?;
    let kernel = Kernel::arrays("map_contains_key", DataType::Boolean, |args| {
        let (map, wanted) = (array(args, 0)?, array(args, 1)?);
        let places = found(args)?.into_iter().enumerate();
        let answers = places.map(|(row, at)| (map.is_valid(row) && wanted.is_valid(row)).then_some(at.is_some()));
        Ok(Arc::new(answers.collect::<BooleanArray>()))
    });
    Ok(kernel.call(args))
}

/// Between entries and between key and value stand regular expressions.
fn from_text(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(1..=3)?;
    if args.len() < 2 {
        args.push(lit(","));
    }
    if args.len() < 3 {
        args.push(lit(":"));
    }
    let args = args.into_iter().map(|arg| call.implicit(arg, &DataType::Utf8)).collect::<Result<Vec<_>>>()?;
    let [_, between, inside] = args.as_slice() else { return Err(Error::internal("delimiters are missing")) };
    let delimiters = arguments::Compiled::new(&[between, inside], |texts| match texts {
        [between, inside] => Ok((delimiter(between)?, delimiter(inside)?)),
        _ => Err(Error::internal("delimiters are missing")),
    })?;
    let twice = Twice::of(call.conf);
    let entries = types::map_entries(DataType::Utf8, DataType::Utf8);
    let kernel = Kernel::arrays("str_to_map", types::map(DataType::Utf8, DataType::Utf8), move |args| {
        let (texts, between, inside) = (strings(args, 0)?, strings(args, 1)?, strings(args, 2)?);
        let mut current = delimiters.start();
        let mut split = Split::default();
        for row in 0..texts.len() {
            let given = texts.is_valid(row) && between.is_valid(row) && inside.is_valid(row);
            match given {
                true => {
                    let (between, inside) = current.get(&[between.value(row), inside.value(row)])?;
                    split.row(texts.value(row), between, inside);
                }
                false => split.rows.push(None),
            }
        }
        split.finish(twice, entries.clone())
    });
    Ok(kernel.key(format!("{twice:?}")).fallible().call(args))
}

fn delimiter(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|cause| {
        Error::query("INVALID_PARAMETER_VALUE.PATTERN", format!("'{text}' is no regular expression")).caused_by(cause)
    })
}

/// Keys and values cut out of texts.
#[derive(Default)]
struct Split {
    keys: StringBuilder,
    values: StringBuilder,
    /// The number of entries of each row.
    rows: Vec<Option<usize>>,
}

impl Split {
    fn row(&mut self, text: &str, between: &Regex, inside: &Regex) {
        let mut count = 0;
        for entry in between.split(text) {
            let mut parts = inside.splitn(entry, 2);
            self.keys.append_value(parts.next().unwrap_or(""));
            self.values.append_option(parts.next());
            count += 1;
        }
        self.rows.push(Some(count));
    }

    fn finish(mut self, twice: Twice, entries: FieldRef) -> Result<ArrayRef> {
        let key_pool: ArrayRef = Arc::new(self.keys.finish());
        let values: ArrayRef = Arc::new(self.values.finish());
        let comparable = keys(&key_pool)?;
        let mut picks = MapPicks::new(&key_pool, &comparable, twice, self.rows.len());
        let mut next = 0;
        for count in self.rows {
            match count {
                Some(count) => {
                    (next..next + count).try_for_each(|at| picks.put(at, Some(at)))?;
                    next += count;
                    picks.end()?;
                }
                None => picks.null_row(),
            }
        }
        picks.finish(&values, entries)
    }
}
