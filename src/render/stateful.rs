//! Stateful nodes → logics of the operators crate, and how their inputs are routed between workers.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use thalweg_operators::change::net::{Net, View};
use thalweg_operators::change::table::Table;
use thalweg_operators::change::without_change;
use thalweg_operators::dedup::{self, Retention};
use thalweg_operators::exchange::Route;
use thalweg_operators::group::{GroupSpec, Keyed, Partial, Windowed};
use thalweg_operators::keys::owner;
use thalweg_operators::limit::Limit;
use thalweg_operators::session::{SessionSpec, Sessions};
use thalweg_operators::sort::{self, SortKey};
use thalweg_operators::{Logic, snapshot};

use super::Shared;
use crate::plan::dataflow::{Dedup, Group, Kind, Node, Session, Sort};
use crate::{Error, Result};

/// What a logic needs to know of its worker.
pub(super) struct Context<'a> {
    pub index: usize,
    pub peers: usize,
    pub shared: &'a Shared,
}

pub(super) type Made = (Box<dyn Logic>, Vec<Route>);

/// The logic of a stateful node and the route of each input.
pub(super) fn logic(node: &Node, context: &Context<'_>) -> Result<Made> {
    match &node.kind {
        Kind::Group(group) => self::group(node, group, context),
        Kind::Dedup(dedup) => self::dedup(node, dedup),
        Kind::Limit(limit) => Ok((Box::new(Limit::new(*limit as u64, 0, false)), vec![Route::Single])),
        Kind::Sort(sort) => Ok((self::sort(sort), vec![Route::Single])),
        Kind::Session(session) => self::session(node, session),
        Kind::Join(join) => super::join::stream_join(node, join),
        Kind::Arbitrary(state) => super::arbitrary::arbitrary(node, state, context),
        Kind::Net(view) => self::net(node, *view, context),
        Kind::Table => self::table(node),
        Kind::Scan(_) | Kind::Late | Kind::Map(_) | Kind::Watermark { .. } | Kind::Union | Kind::StaticJoin(_) => {
            Err(Error::internal(format!("'{}' keeps no state", node.id)))
        }
        Kind::Reduce(_) | Kind::TableJoin(_) | Kind::Rank(_) => {
            Err(Error::internal(format!("'{}' runs in a region", node.id)))
        }
    }
}

/// What a worker does with the rows it has before they go to the workers that own their keys, if that can be the first half of an aggregation.
pub(super) fn before_exchange(node: &Node, context: &Context<'_>) -> Result<Option<Box<dyn Logic>>> {
    match &node.kind {
        Kind::Group(group) if has_halves(group, context) => Ok(Some(Box::new(Partial::new(spec(node, group)?)?))),
        _ => Ok(None),
    }
}

/// One worker has nothing to exchange.
fn has_halves(group: &Group, context: &Context<'_>) -> bool {
    context.peers > 1 && group.has_halves(context.shared.pace)
}

fn group(node: &Node, group: &Group, context: &Context<'_>) -> Result<Made> {
    let whole = spec(node, group)?;
    let spec = if has_halves(group, context) { whole.merging()? } else { whole };
    let route = route(&spec.keys);
    let logic: Box<dyn Logic> = match group.window {
        Some(window) => Box::new(Windowed::new(spec, window)),
        None => Box::new(Keyed::new(spec, group.time, context.index == 0)?),
    };
    Ok((logic, vec![route]))
}

fn spec(node: &Node, group: &Group) -> Result<GroupSpec> {
    Ok(GroupSpec {
        keys: group.keys.clone(),
        aggregates: group.aggregates.clone(),
        mode: group.mode,
        input: input(node)?,
        output: node.schema.clone(),
        merges: false,
    })
}

fn net(node: &Node, view: View, context: &Context<'_>) -> Result<Made> {
    let input = input(node)?;
    let scattered = context.peers > 1 && is_scattered(node);
    Ok((Box::new(Net::new(view, scattered)), vec![whole_row(without_change(&input).fields().len())]))
}

/// Whether the versions of a row come to several workers: regions of the differential lane end with an exchange of whole rows, while
/// operators of the hash lane give all changes of a key on the worker that owns it.
pub(super) fn is_scattered(node: &Node) -> bool {
    node.inputs.iter().any(|input| input.is_differential() || (input.is_stateless() && is_scattered(input)))
}

fn table(node: &Node) -> Result<Made> {
    let changelog = node.inputs.first().is_some_and(|input| input.changelog);
    let table = Table::new(node.schema.clone(), changelog)?;
    Ok((Box::new(table), vec![whole_row(node.schema.fields().len())]))
}

/// Equal rows go to one worker.
fn whole_row(width: usize) -> Route {
    route(&(0..width).collect::<Vec<_>>())
}

fn session(node: &Node, session: &Session) -> Result<Made> {
    let spec = SessionSpec {
        keys: session.keys.clone(),
        bounds: session.bounds,
        aggregates: session.aggregates.clone(),
        position: session.position,
        mode: session.mode,
        input: input(node)?,
        output: node.schema.clone(),
    };
    Ok((Box::new(Sessions::new(spec)?), vec![route(&session.keys)]))
}

/// The schema of a node's one input.
pub(super) fn input(node: &Node) -> Result<SchemaRef> {
    let input = node.inputs.first().ok_or_else(|| Error::internal("an operator has no input"))?;
    Ok(input.schema.clone())
}

fn dedup(node: &Node, dedup: &Dedup) -> Result<Made> {
    let retention = match (dedup.time, dedup.within) {
        (None, _) => Retention::Forever,
        (Some(event_time), Some(delay)) => Retention::Within { event_time, delay },
        (Some(event_time), None) if dedup.keys.contains(&event_time) => Retention::EventTimeKey { event_time },
        (Some(event_time), None) => Retention::ForeverInTime { event_time },
    };
    let logic = dedup::Dedup::new(&input(node)?, dedup.keys.clone(), retention)?;
    Ok((Box::new(logic), vec![route(&dedup.keys)]))
}

/// Without keys it is a limit that starts afresh in each epoch.
fn sort(sort: &Sort) -> Box<dyn Logic> {
    if let (true, Some(limit)) = (sort.keys.is_empty(), sort.limit) {
        return Box::new(Limit::new(limit as u64, sort.offset as u64, true));
    }
    let key = |&(column, descending, nulls_first): &(usize, bool, bool)| SortKey { column, descending, nulls_first };
    Box::new(sort::Sort::new(sort.keys.iter().map(key).collect(), sort.width, sort.limit, sort.offset))
}

pub(super) fn route(keys: &[usize]) -> Route {
    if keys.is_empty() { Route::Single } else { Route::Keys(keys.to_vec()) }
}

/// The rows of snapshots whose key group this worker owns; all of a single-worker operator's go to worker 0.
pub(super) fn own_groups(
    state: &[RecordBatch],
    worker: usize,
    peers: usize,
    routes: &[Route],
) -> Result<Vec<RecordBatch>> {
    if peers == 1 {
        return Ok(state.to_vec());
    }
    let single = routes.iter().all(|route| *route == Route::Single);
    let owner = |group: u8| if single { 0 } else { owner(usize::from(group), peers) };
    let own = |rows: &RecordBatch| {
        snapshot::columns(rows)?;
        Ok(snapshot::of_groups(rows, |group| owner(group) == worker)?)
    };
    state.iter().map(own).collect()
}
