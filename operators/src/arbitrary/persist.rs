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
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, RecordBatch, StringArray,
    StringBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use super::states::{Cell, Kept, Layout, States, Stored, TimeMode, Variable};
use crate::keys::KeyTable;
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
        let columns: [(&str, ArrayRef); WIDTH] = [
            ("_variable", Arc::new(self.variables.finish())),
            ("_map_key", Arc::new(self.map_keys.finish())),
            ("_value", Arc::new(self.values.finish())),
            ("_time", Arc::new(self.times.finish())),
        ];
        let field = |name: &str, column: &ArrayRef| Arc::new(Field::new(name, column.data_type().clone(), true));
        columns.into_iter().map(|(name, column)| (field(name, &column), column)).collect()
    }
}

/// All that is kept of these live keys; nothing if there is none.
pub(super) fn save(
    states: &States,
    live: impl Iterator<Item = u32>,
    keys: &KeyTable,
    key_fields: &[FieldRef],
    time: TimeMode,
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
    let batch = snapshot::keyed(&key_columns, groups.len(), named)?;
    let schema = batch.schema().as_ref().clone().with_metadata(metadata(&states.variables, time));
    Ok(vec![batch.with_schema(Arc::new(schema))?])
}

/// These keys as having no state.
pub(super) fn gone(groups: &[u32], keys: &KeyTable, key_fields: &[FieldRef]) -> Result<RecordBatch> {
    let columns = keys.keys(groups)?;
    let first = snapshot::group_column(snapshot::groups(&columns, groups.len())?);
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
    let foreign = || Error::Internal("the state is not arbitrary state".into());
    let all = snapshot::columns(batch)?;
    let (key_columns, rest) = all.split_at_checked(all.len().saturating_sub(WIDTH)).ok_or_else(foreign)?;
    check_keys(key_columns, keys)?;
    check_variables(batch, states, deleted, time)?;
    let [variables, map_keys, values, times] = rest else { return Err(foreign()) };
    let rows = Rows {
        variables: variables.as_string_opt().ok_or_else(foreign)?,
        map_keys: map_keys.as_binary_opt().ok_or_else(foreign)?,
        values: values.as_binary_opt().ok_or_else(foreign)?,
        times: times.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?,
    };
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

impl Rows<'_> {
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
