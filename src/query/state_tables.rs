//! How the state of a plan's operators reads as tables: names and types of keys and values, and where they are in rows of state.
//!
//! In: a node of a dataflow plan. Out: its tables, which the checkpoint keeps beside the state. What always holds: the columns are
//! those that the operator's `snapshot` gives; an operator whose state is of no use to a reader has no table.

use std::collections::HashSet;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use thalweg_operators::group::AggregateCall;

use crate::checkpoint::{Place, StateColumn, StateTable};
use crate::plan::dataflow::{Arbitrary, Dedup, Group, Join, Kind, Node, Session};

const DEFAULT: &str = "default";

/// The tables of a node's state.
pub(super) fn of(node: &Node) -> Vec<StateTable> {
    let Some(input) = node.inputs.first().map(|input| &input.schema) else { return Vec::new() };
    match &node.kind {
        Kind::Group(group) => vec![self::group(group, node)],
        Kind::Session(session) => vec![self::session(session, node)],
        Kind::Dedup(dedup) => vec![self::dedup(dedup, input)],
        Kind::Join(join) => vec![self::side(join, node, 0), self::side(join, node, 1)],
        Kind::Arbitrary(state) => vec![arbitrary(state, input)],
        Kind::Limit(_) => {
            let seen = StateColumn::new("seen", &DataType::Int64, Place::Column(1));
            vec![StateTable { store: DEFAULT.to_owned(), key: Vec::new(), value: vec![seen] }]
        }
        _ => Vec::new(),
    }
}

/// The keys of a node whose output begins with them, around what stands at `skip`; as columns of state from `at` on.
fn keys_out(node: &Node, count: usize, skip: Option<usize>, at: usize) -> Vec<StateColumn> {
    let fields = node.schema.fields().iter().enumerate().filter(|(n, _)| Some(*n) != skip).take(count);
    let named = fields
        .enumerate()
        .map(|(n, (_, field))| StateColumn::new(field.name(), field.data_type(), Place::Column(at + n)));
    named.collect()
}

/// The input's columns, as columns of state from `at` on.
fn keys(input: &SchemaRef, columns: &[usize], at: usize) -> Vec<StateColumn> {
    let fields = columns.iter().filter_map(|column| input.fields().get(*column));
    let named =
        fields.enumerate().map(|(n, field)| StateColumn::new(field.name(), field.data_type(), Place::Column(at + n)));
    named.collect()
}

/// The states of aggregates, as columns of state from `at` on: named after the function, with a number if it has several.
fn aggregates(calls: &[AggregateCall], at: usize) -> Vec<StateColumn> {
    let mut columns: Vec<StateColumn> = Vec::new();
    let mut taken = HashSet::new();
    for call in calls {
        let Ok(accumulator) = call.function.accumulator() else { continue };
        let types = accumulator.state_types();
        for (n, data_type) in types.iter().enumerate() {
            let name = call.function.name().to_ascii_lowercase();
            let name = if types.len() == 1 { name } else { format!("{name}_{}", n + 1) };
            let numbered = (2..).map(|n| format!("{name}#{n}"));
            let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
            let name = free.unwrap_or(name);
            taken.insert(name.clone());
            columns.push(StateColumn::new(name, data_type, Place::Column(at + columns.len())));
        }
    }
    columns
}

/// Rows are: key group, window, keys, states.
fn group(group: &Group, node: &Node) -> StateTable {
    let mut key = keys_out(node, group.keys.len(), group.window.map(|window| window.position), 2);
    if let Some(window) = group.window {
        let place = Place::Window(1, window.cell_length(group.mode));
        key.insert(window.position.min(key.len()), StateColumn::window("window", place));
    }
    let value = aggregates(&group.aggregates, 2 + group.keys.len());
    StateTable { store: DEFAULT.to_owned(), key, value }
}

/// Rows are: key group, start, end, keys, states.
fn session(session: &Session, node: &Node) -> StateTable {
    let mut key = keys_out(node, session.keys.len(), Some(session.position), 3);
    key.push(StateColumn::new("sessionStartTime", &crate::types::timestamp(), Place::Column(1)));
    let mut value = vec![StateColumn::window("session_window", Place::Span(1, 2))];
    value.extend(aggregates(&session.aggregates, 3 + session.keys.len()));
    StateTable { store: DEFAULT.to_owned(), key, value }
}

/// Rows are: key group, keys, when the key is forgotten.
fn dedup(dedup: &Dedup, input: &SchemaRef) -> StateTable {
    let expires = Place::Column(1 + dedup.keys.len());
    let value = vec![StateColumn::new("expiresAtMicros", &DataType::Int64, expires)];
    StateTable { store: DEFAULT.to_owned(), key: keys(input, &dedup.keys, 1), value }
}

/// Rows are: key group, id, whether it has matched, left row, right row.
fn side(join: &Join, node: &Node, side: usize) -> StateTable {
    let empty = Schema::empty();
    let schema = node.inputs.get(side).map_or(&empty, |input| input.schema.as_ref());
    let column = |at: usize| {
        let field = schema.fields().get(at)?;
        Some(StateColumn::new(field.name(), field.data_type(), Place::Field(3 + side, at)))
    };
    let on = join.on.iter().map(|(left, right)| if side == 0 { *left } else { *right });
    let mut value: Vec<StateColumn> = (0..schema.fields().len()).filter_map(column).collect();
    value.push(StateColumn::new("matched", &DataType::Boolean, Place::Column(2)));
    let store = if side == 0 { "left" } else { "right" };
    StateTable { store: store.to_owned(), key: on.filter_map(column).collect(), value }
}

/// Rows are: key group, keys, variable, key of a map, value, time.
fn arbitrary(state: &Arbitrary, input: &SchemaRef) -> StateTable {
    let at = 1 + state.keys.len();
    let columns = [
        ("variable", DataType::Utf8),
        ("user_map_key", DataType::Binary),
        ("value", DataType::Binary),
        ("time", DataType::Int64),
    ];
    let value = columns.iter().enumerate().map(|(n, (name, of))| StateColumn::new(*name, of, Place::Column(at + n)));
    StateTable { store: DEFAULT.to_owned(), key: keys(input, &state.keys, 1), value: value.collect() }
}
