//! Nodes of the differential lane → a region of the graph.
//!
//! In: a node of the lane. It and the nodes below it that are connected to it by changelogs make one region: what flows between
//! them never leaves it. Out: the region's result. The other inputs enter through entrances, which are named after the node they
//! feed and keep the region's state.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::JoinType;
use thalweg_operators::change::{INSERT, RETRACT, inserted, of_sign, retracted, without_change};
use thalweg_operators::exchange::Route;
use thalweg_operators::join::On;
use thalweg_operators::lane::{self, FineStream, Input, aggregate, join, rank};
use thalweg_operators::sort::SortKey;
use thalweg_operators::stateless::{Step, stateless};
use thalweg_operators::{ChunkStream, Time};
use timely::dataflow::Scope;
use timely::dataflow::operators::Concat;

use super::late::LateStreams;
use super::{Shared, Worker, stateful, steps};
use crate::plan::dataflow::{Kind, Node, Rank, Reduce, TableJoin};
use crate::{Error, Result};

impl Worker {
    /// The region that ends with `node`.
    pub(super) fn region<'scope>(
        &mut self,
        scope: Scope<'scope, Time>,
        node: &Node,
        late: &mut LateStreams<'scope>,
    ) -> Result<ChunkStream<'scope>> {
        let mut entrances = Vec::new();
        collect(node, &mut entrances);
        let mut inputs = Vec::new();
        for (name, input) in &entrances {
            let stream = self.node(scope, input, late)?.build();
            inputs.push(self.input(name, input, stream)?);
        }
        let shared = self.shared.clone();
        let place = lane::Place::new(&node.id, shared.pace, shared.epoch, shared.hashing, self.observer());
        let width = without_change(&node.schema).fields().len();
        lane::region(scope, &place, inputs, width, |_, streams| {
            let entered = entrances.iter().map(|(name, _)| name.clone()).zip(streams).collect();
            Inside { shared: &shared, place: &place, entered }.node(node)
        })
    }

    fn input<'scope>(&self, name: &str, node: &Node, stream: ChunkStream<'scope>) -> Result<Input<'scope>> {
        let schema = if node.changelog { without_change(&node.schema) } else { node.schema.clone() };
        let routed = [Route::Keys(Vec::new())];
        let state = match self.shared.restored(name) {
            Some(state) => stateful::own_groups(&state, self.index, self.peers, &routed)?,
            None => Vec::new(),
        };
        Ok(Input { name: name.to_owned(), stream, schema, changelog: node.changelog, state })
    }
}

/// Whether a node is within a region when the node that reads it is.
fn is_inside(node: &Node) -> bool {
    match node.kind {
        Kind::Map(_) | Kind::Union | Kind::StaticJoin(_) => node.inputs.iter().any(is_inside),
        _ => node.is_differential(),
    }
}

/// The nodes whose rows enter the region that ends with `node`, under the names of their entrances.
fn collect<'n>(node: &'n Node, into: &mut Vec<(String, &'n Node)>) {
    for (port, input) in node.inputs.iter().enumerate() {
        match is_inside(input) {
            true => collect(input, into),
            false => into.push((entrance(node, port), input)),
        }
    }
}

/// The name of the entrance by which an input of a node comes into its region; it keeps the input's state.
pub(crate) fn entrance(node: &Node, port: usize) -> String {
    format!("{}-input-{port}", node.id)
}

/// What is at hand inside a region.
struct Inside<'a, 'scope> {
    shared: &'a Shared,
    place: &'a lane::Place,
    /// The streams that entered, by their entrances' names.
    entered: HashMap<String, FineStream<'scope>>,
}

impl<'scope> Inside<'_, 'scope> {
    fn node(&mut self, node: &Node) -> Result<FineStream<'scope>> {
        let mut inputs = Vec::new();
        for (port, input) in node.inputs.iter().enumerate() {
            inputs.push(match is_inside(input) {
                true => self.node(input)?,
                false => self.entered.remove(&entrance(node, port)).ok_or_else(no_input)?,
            });
        }
        let mut inputs = inputs.into_iter();
        let first = inputs.next().ok_or_else(no_input)?;
        match &node.kind {
            Kind::Reduce(reduce) => self.reduce(node, reduce, first),
            Kind::Rank(rank) => self.rank(node, rank, first),
            Kind::TableJoin(join) => self.join(node, join, first, inputs.next().ok_or_else(no_input)?),
            Kind::Map(steps) => {
                let steps = steps::all(steps)?;
                Ok(stateless(first, &node.id, self.place.observer.clone(), steps))
            }
            Kind::StaticJoin(join) => {
                let step = signed(super::join::static_join(join, &self.shared.statics)?);
                Ok(stateless(first, &node.id, self.place.observer.clone(), vec![step]))
            }
            Kind::Union => Ok(inputs.fold(first, |all, more| all.concat(more))),
            _ => Err(Error::internal(format!("'{}' is no node of the differential lane", node.id))),
        }
    }

    fn reduce(&self, node: &Node, reduce: &Reduce, input: FineStream<'scope>) -> Result<FineStream<'scope>> {
        let spec = aggregate::Aggregation {
            keys: reduce.keys.clone(),
            aggregates: reduce.aggregates.clone(),
            input: bare(node, 0)?,
            output: without_change(&node.schema),
        };
        Ok(aggregate::aggregate(input, self.place, &spec)?)
    }

    fn rank(&self, node: &Node, ranking: &Rank, input: FineStream<'scope>) -> Result<FineStream<'scope>> {
        let key =
            |&(column, descending, nulls_first): &(usize, bool, bool)| SortKey { column, descending, nulls_first };
        let spec = rank::Ranking {
            partition: ranking.partition.clone(),
            order: ranking.order.iter().map(key).collect(),
            numberings: ranking.numberings.clone(),
            keep: ranking.keep,
            skip: ranking.skip,
            input: bare(node, 0)?,
            output: without_change(&node.schema),
        };
        Ok(rank::rank(input, self.place, &spec)?)
    }

    fn join(
        &self,
        node: &Node,
        spec: &TableJoin,
        left: FineStream<'scope>,
        right: FineStream<'scope>,
    ) -> Result<FineStream<'scope>> {
        let on = spec.on.iter().map(|&(left, right)| On { left, right, null_safe: spec.null_safe });
        let spec = join::Spec {
            kind: kind(spec.kind)?,
            on: on.collect(),
            condition: spec.condition.clone().map(super::join::condition),
            sides: [bare(node, 0)?, bare(node, 1)?],
            joined: spec.joined.clone(),
        };
        Ok(join::join(left, right, self.place, spec)?)
    }
}

fn no_input() -> Error {
    Error::internal("a node of the differential lane has no input")
}

/// The schema of an input, without sign.
fn bare(node: &Node, port: usize) -> Result<arrow::datatypes::SchemaRef> {
    let input = node.inputs.get(port).ok_or_else(no_input)?;
    Ok(if input.changelog { without_change(&input.schema) } else { input.schema.clone() })
}

fn kind(kind: JoinType) -> Result<join::Kind> {
    Ok(match kind {
        JoinType::Inner => join::Kind::Inner,
        JoinType::Left => join::Kind::Left,
        JoinType::Right => join::Kind::Right,
        JoinType::Full => join::Kind::Full,
        JoinType::LeftSemi => join::Kind::LeftSemi,
        JoinType::LeftAnti => join::Kind::LeftAnti,
        JoinType::RightSemi => join::Kind::RightSemi,
        JoinType::RightAnti => join::Kind::RightAnti,
        JoinType::LeftMark | JoinType::RightMark => {
            return Err(Error::unsupported("EXISTS or IN inside a larger condition is not supported over two streams")
                .hint("Write it as a condition of its own, joined by AND."));
        }
    })
}

/// A step over a changelog: what it makes of a row has the row's sign.
pub(super) fn signed(mut step: Step) -> Step {
    Box::new(move |rows| {
        let gone = of_sign(&rows, RETRACT)?;
        let come = of_sign(&rows, INSERT)?;
        let come = inserted(&step(come)?)?;
        if gone.num_rows() == 0 {
            return Ok(come);
        }
        let gone: RecordBatch = retracted(&step(gone)?)?;
        Ok(concat_batches(&come.schema(), [&gone, &come])?)
    })
}
