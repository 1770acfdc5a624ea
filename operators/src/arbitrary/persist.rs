//! Arbitrary state as rows of a snapshot, and back.
//!
//! ```text
//!  _group | key columns | _variable | _map_key | _value | _time        metadata of the schema: what each variable means
//!                         null        null       null     a timer
//!                         name        a map's    bytes    when it expires
//! ```
//!
//! What always holds: the entries of a list are in order; a variable that the program no longer names is carried along
//! untouched until it is deleted by name; a variable whose meaning has changed is refused.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, ListArray, RecordBatch,
    StringArray, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};

use super::states::{Cell, Kept, Layout, States, Stored, TimeMode, Variable};
use crate::keys::{Hashing, KeyTable};
use crate::{Error, Result, snapshot};

/// Prefix of a variable's entry in the schema's metadata.
const VARIABLE: &str = "state.variable.";
/// Entry of the time mode.
const TIME_MODE: &str = "state.timeMode";
/// Columns behind the keys.
const WIDTH: usize = 4;

/// The columns of a snapshot while they grow.
#[derive(Default)]
struct Columns {
    groups: Vec<u32>,
    variables: StringBuilder,
    map_keys: BinaryBuilder,
    values: BinaryBuilder,
    times: Int64Builder,
}

impl Columns {
    fn key(&mut self, group: u32, kept: &Kept, variables: &[Variable]) {
        for at in &kept.timers {
            self.groups.push(group);
            self.variables.append_null();
            self.map_keys.append_null();
            self.values.append_null();
            self.times.append_value(*at);
        }
        for (cell, variable) in kept.cells.iter().zip(variables) {
            self.cell(group, &variable.name, cell);
        }
    }

    fn cell(&mut self, group: u32, name: &str, cell: &Cell) {
        match cell {
            Cell::Empty => {}
            Cell::Value(stored) => self.stored(group, name, None, stored),
            Cell::List(values) => values.iter().for_each(|stored| self.stored(group, name, None, stored)),
            Cell::Map(entries) => entries.iter().for_each(|(key, stored)| self.stored(group, name, Some(key), stored)),
        }
    }

    fn stored(&mut self, group: u32, name: &str, map_key: Option<&[u8]>, stored: &Stored) {
        self.groups.push(group);
        self.variables.append_value(name);
        self.map_keys.append_option(map_key);
        self.values.append_value(&stored.bytes);
        self.times.append_value(stored.expires);
    }

    fn finish(mut self) -> Vec<(FieldRef, ArrayRef)> {
        let columns: [ArrayRef; WIDTH] = [
            Arc::new(self.variables.finish()),
            Arc::new(self.map_keys.finish()),
            Arc::new(self.values.finish()),
            Arc::new(self.times.finish()),
        ];
        fields().iter().cloned().zip(columns).collect()
    }
}

/// The columns behind the keys.
fn fields() -> Fields {
    let field = |(name, data_type): (&str, DataType)| Field::new(name, data_type, true);
    let columns: [(&str, DataType); WIDTH] = [
        ("_variable", DataType::Utf8),
        ("_map_key", DataType::Binary),
        ("_value", DataType::Binary),
        ("_time", DataType::Int64),
    ];
    columns.map(field).to_vec().into()
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), false))
}

/// The type of what [`pack`] makes.
pub(super) fn packed_type() -> DataType {
    DataType::List(item())
}

/// All that is kept of each of these keys, as one value a key.
pub(super) fn pack(states: &States, groups: &[u32]) -> ArrayRef {
    let (mut columns, mut lengths) = (Columns::default(), Vec::with_capacity(groups.len()));
    for group in groups {
        let before = columns.groups.len();
        if let Some(kept) = states.kept.get(*group as usize) {
            columns.key(*group, kept, &states.variables);
        }
        lengths.push(columns.groups.len() - before);
    }
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = columns.finish().into_iter().unzip();
    let entries = StructArray::new(fields.into(), columns, None);
    Arc::new(ListArray::new(item(), OffsetBuffer::from_lengths(lengths), Arc::new(entries), None))
}

/// Takes back what [`pack`] made of keys that have these ids now.
///
/// # Errors
/// Something that it has not made.
pub(super) fn unpack(packed: &ArrayRef, groups: &[u32], states: &mut States) -> Result<()> {
    let lists = packed.as_list_opt::<i32>().ok_or_else(foreign)?;
    let of_list = |(group, ends): (&u32, &[i32])| std::iter::repeat_n(*group, (ends[1] - ends[0]) as usize);
    let groups: Vec<u32> = groups.iter().zip(lists.offsets().windows(2)).flat_map(of_list).collect();
    let first = lists.offsets().first().map_or(0, |first| *first as usize);
    let entries = lists.values().slice(first, groups.len());
    let columns = entries.as_struct_opt().ok_or_else(foreign)?.columns();
    Rows::of(columns)?.put_back(&groups, states);
    Ok(())
}

/// What is no arbitrary state.
pub(super) fn foreign() -> Error {
    Error::Internal("the state is not arbitrary state".into())
}

/// All that is kept of these live keys; nothing if there is none.
pub(super) fn save(
    states: &States,
    live: impl Iterator<Item = u32>,
    keys: &KeyTable,
    key_fields: &[FieldRef],
    time: TimeMode,
    hashing: Hashing,
) -> Result<Vec<RecordBatch>> {
    let mut columns = Columns::default();
    for group in live {
        columns.key(group, &states.kept[group as usize], &states.variables);
    }
    if columns.groups.is_empty() {
        return Ok(Vec::new());
    }
    let groups = std::mem::take(&mut columns.groups);
    let key_columns = keys.keys(&groups)?;
    let mut named: Vec<(FieldRef, ArrayRef)> = key_fields.iter().cloned().zip(key_columns.iter().cloned()).collect();
    named.extend(columns.finish());
    let batch = snapshot::keyed(hashing, &key_columns, groups.len(), named)?;
    let schema = batch.schema().as_ref().clone().with_metadata(metadata(&states.variables, time));
    Ok(vec![batch.with_schema(Arc::new(schema))?])
}

/// These keys as having no state.
pub(super) fn gone(groups: &[u32], keys: &KeyTable, key_fields: &[FieldRef], hashing: Hashing) -> Result<RecordBatch> {
    let columns = keys.keys(groups)?;
    let first = snapshot::group_column(snapshot::groups(hashing, &columns, groups.len())?);
    let columns = std::iter::once(first).chain(key_fields.iter().cloned().zip(columns)).collect();
    snapshot::gone(columns, &cell(key_fields))
}

/// Positions of key group and keys in a snapshot: all state of a key is written together.
pub(super) fn cell(key_fields: &[FieldRef]) -> Vec<usize> {
    (0..=key_fields.len()).collect()
}

fn metadata(variables: &[Variable], time: TimeMode) -> HashMap<String, String> {
    let variable = |variable: &Variable| {
        let meaning = format!("{}:{}", layout_name(variable.layout), variable.schema);
        (format!("{VARIABLE}{}", variable.name), meaning)
    };
    let mode = (TIME_MODE.to_owned(), format!("{time:?}"));
    variables.iter().map(variable).chain([mode]).collect()
}

fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Value => "ValueState",
        Layout::List => "ListState",
        Layout::Map => "MapState",
    }
}

/// Takes back what [`save`] gave, without the variables named in `deleted`.
///
/// # Errors
/// `STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE`, `STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE`,
/// `STATE_STORE_INVALID_VARIABLE_TYPE_CHANGE`, `STATE_STORE_INVALID_CONFIG_AFTER_RESTART` if the program has changed.
pub(super) fn load(
    batch: &RecordBatch,
    states: &mut States,
    keys: &mut KeyTable,
    deleted: &[String],
    time: TimeMode,
) -> Result<()> {
    let all = snapshot::columns(batch)?;
    let (key_columns, rest) = all.split_at_checked(all.len().saturating_sub(WIDTH)).ok_or_else(foreign)?;
    check_keys(key_columns, keys)?;
    check_variables(batch, states, deleted, time)?;
    let rows = Rows::of(rest)?;
    let mut groups = Vec::new();
    keys.lookup_or_insert(key_columns, batch.num_rows(), &mut groups)?;
    rows.put_back(&groups, states);
    Ok(())
}

/// The columns of a snapshot behind the keys.
struct Rows<'a> {
    variables: &'a StringArray,
    map_keys: &'a BinaryArray,
    values: &'a BinaryArray,
    times: &'a Int64Array,
}

impl<'a> Rows<'a> {
    fn of(columns: &'a [ArrayRef]) -> Result<Self> {
        let [variables, map_keys, values, times] = columns else { return Err(foreign()) };
        Ok(Rows {
            variables: variables.as_string_opt().ok_or_else(foreign)?,
            map_keys: map_keys.as_binary_opt().ok_or_else(foreign)?,
            values: values.as_binary_opt().ok_or_else(foreign)?,
            times: times.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?,
        })
    }

    fn put_back(&self, groups: &[u32], states: &mut States) {
        let places: HashMap<String, usize> =
            states.variables.iter().enumerate().map(|(place, variable)| (variable.name.clone(), place)).collect();
        for (row, group) in groups.iter().enumerate() {
            states.enter(*group);
            if self.variables.is_null(row) {
                states.register_timer(self.times.value(row));
            } else if let Some(place) = places.get(self.variables.value(row)) {
                let map_key = self.map_keys.is_valid(row).then(|| self.map_keys.value(row).to_vec());
                let stored = Stored { bytes: self.values.value(row).to_vec(), expires: self.times.value(row) };
                states.put_back(*place, map_key, stored);
            }
        }
    }
}

fn check_keys(columns: &[ArrayRef], keys: &KeyTable) -> Result<()> {
    let stored: Vec<&DataType> = columns.iter().map(|column| column.data_type()).collect();
    let same = stored.len() == keys.types().len()
        && stored.iter().zip(keys.types()).all(|(stored, now)| stored.equals_datatype(now));
    if same {
        return Ok(());
    }
    let message = format!("the state's keys are of types {stored:?}, those of the query are {:?}", keys.types());
    Err(Error::data("STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE", message))
}

/// Compares what was kept with what the program names; what it no longer names is carried along.
fn check_variables(batch: &RecordBatch, states: &mut States, deleted: &[String], time: TimeMode) -> Result<()> {
    let schema = batch.schema();
    if let Some(stored) = schema.metadata().get(TIME_MODE).filter(|stored| **stored != format!("{time:?}")) {
        let message = format!("the time mode was {stored} when the state was written and is {time:?} now");
        return Err(Error::data("STATE_STORE_INVALID_CONFIG_AFTER_RESTART", message));
    }
    let mut kept: Vec<(&str, &String)> =
        schema.metadata().iter().filter_map(|(key, meaning)| Some((key.strip_prefix(VARIABLE)?, meaning))).collect();
    kept.sort_unstable();
    for (name, meaning) in kept {
        let (layout, stored) = meaning.split_once(':').unwrap_or((meaning, ""));
        match states.variables.iter().find(|variable| variable.name == name) {
            Some(variable) => check_variable(variable, layout, stored)?,
            None if deleted.iter().any(|gone| gone == name) => {}
            None => states.variables.push(dormant(name, layout, stored)),
        }
    }
    Ok(())
}

fn check_variable(variable: &Variable, layout: &str, schema: &str) -> Result<()> {
    let name = &variable.name;
    if layout != layout_name(variable.layout) {
        let now = layout_name(variable.layout);
        let message = format!("variable '{name}' was a {layout} when the state was written and is a {now} now");
        return Err(Error::data("STATE_STORE_INVALID_VARIABLE_TYPE_CHANGE", message));
    }
    if schema != variable.schema {
        let now = &variable.schema;
        let message = format!("variable '{name}' was of type '{schema}' when the state was written and is '{now}' now");
        return Err(Error::data("STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE", message));
    }
    Ok(())
}

/// A variable that the program no longer names.
fn dormant(name: &str, layout: &str, schema: &str) -> Variable {
    let layout = match layout {
        "ListState" => Layout::List,
        "MapState" => Layout::Map,
        _ => Layout::Value,
    };
    Variable { name: name.to_owned(), layout, schema: schema.to_owned(), ttl: None }
}
