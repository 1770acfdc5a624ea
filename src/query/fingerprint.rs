//! What a plan's operators keep as state: by this a checkpoint decides whether a changed query may go on with it.
//!
//! In: a dataflow plan. Out: its stateful operators, in the plan's order, with the types of their keys and values. Filters and
//! projections are not among them, so they may change.

use arrow::datatypes::{Schema, SchemaRef};
use thalweg_operators::group::AggregateCall;

use crate::checkpoint::StatefulOperator;
use crate::plan::dataflow::{DataflowPlan, Kind, Node};

/// The operators of a plan that keep state.
pub(super) fn stateful_operators(plan: &DataflowPlan) -> Vec<StatefulOperator> {
    plan.nodes().into_iter().filter_map(stateful).collect()
}

fn stateful(node: &Node) -> Option<StatefulOperator> {
    let (keys, values) = match &node.kind {
        Kind::Scan(_) | Kind::Map(_) | Kind::Watermark { .. } | Kind::Union | Kind::Sort(_) => return None,
        Kind::StaticJoin(_) | Kind::Net(_) => return None,
        Kind::Group(group) => (types(input(node), &group.keys), calls(&group.aggregates)),
        Kind::Session(session) => (types(input(node), &session.keys), calls(&session.aggregates)),
        Kind::Dedup(dedup) => (types(input(node), &dedup.keys), Vec::new()),
        Kind::Join(join) => (types(input(node), &join.on.iter().map(|on| on.0).collect::<Vec<_>>()), sides(node)),
        _ => (Vec::new(), Vec::new()),
    };
    let kind = node.id.rsplit_once('-').map_or(node.id.as_str(), |(kind, _)| kind).to_owned();
    Some(StatefulOperator { name: node.id.clone(), kind, keys, values, tables: super::state_tables::of(node) })
}

fn input(node: &Node) -> Option<&SchemaRef> {
    node.inputs.first().map(|input| &input.schema)
}

fn types(schema: Option<&SchemaRef>, columns: &[usize]) -> Vec<String> {
    let field = |column: &usize| schema?.fields().get(*column).map(|field| field.data_type().to_string());
    columns.iter().filter_map(field).collect()
}

fn calls(calls: &[AggregateCall]) -> Vec<String> {
    let one = |call: &AggregateCall| {
        let args: Vec<String> = call.function.arg_types().iter().map(ToString::to_string).collect();
        format!("{}({})", call.function.name(), args.join(", "))
    };
    calls.iter().map(one).collect()
}

/// A join keeps the rows of its inputs.
fn sides(node: &Node) -> Vec<String> {
    let side = |schema: &Schema| {
        let types: Vec<String> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        types.join(", ")
    };
    node.inputs.iter().map(|input| side(&input.schema)).collect()
}
