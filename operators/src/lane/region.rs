//! A region in the graph: entrances, the nested scope, gate and exit around what the caller builds inside.
//!
//! In: streams of the outer scope and the state of their entrances. Out: one stream of the outer scope, a changelog.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Enter, Leave};

use super::entrance::Entrance;
use super::exit::exit;
use super::gate::gate;
use super::{Fine, FineStream, Place};
use crate::driver::{self, drive};
use crate::{ChunkStream, Error, Logic, Result, Time};

/// An input of a region.
pub struct Input<'scope> {
    /// Names the entrance's state in checkpoints.
    pub name: String,
    /// The rows.
    pub stream: ChunkStream<'scope>,
    /// Their schema, without sign.
    pub schema: SchemaRef,
    /// Whether they come with signs.
    pub changelog: bool,
    /// This worker's part of the entrance's state.
    pub state: Vec<RecordBatch>,
}

/// Puts a region behind `inputs`; `build` makes of the entered streams (all with signs) one whose rows have `width` columns
/// before the sign.
///
/// # Errors
/// State that is not of these inputs, or what `build` says.
pub fn region<'scope, E: From<Error>>(
    scope: Scope<'scope, Time>,
    place: &Place,
    inputs: Vec<Input<'scope>>,
    width: usize,
    build: impl for<'inner> FnOnce(Scope<'inner, Fine>, Vec<FineStream<'inner>>) -> Result<FineStream<'inner>, E>,
) -> Result<ChunkStream<'scope>, E> {
    let mut entered = Vec::new();
    for input in inputs {
        entered.push(enter(place, input)?);
    }
    scope.scoped::<Fine, _, _>(&place.name, |inner| {
        let inputs = entered.into_iter().map(|(stream, held)| (stream.enter(inner), held)).collect();
        let (streams, arrivals) = gate(inner, place, inputs);
        Ok(exit(build(inner, streams)?, place, width, arrivals).leave(scope))
    })
}

/// Puts the entrance before an input; what it holds from before a restart comes with it.
fn enter<'scope>(place: &Place, input: Input<'scope>) -> Result<(ChunkStream<'scope>, Vec<RecordBatch>)> {
    let mut entrance = Entrance::new(input.schema, input.changelog)?;
    entrance.hash_by(place.hashing);
    entrance.restore(input.state)?;
    let held = entrance.held()?;
    let at = driver::Place {
        name: input.name,
        pace: place.pace,
        epoch: place.epoch,
        watermarks: Vec::new(),
        hashing: place.hashing,
        observer: place.observer.clone(),
    };
    Ok((drive(at, vec![(input.stream, None)], entrance), vec![held]))
}
