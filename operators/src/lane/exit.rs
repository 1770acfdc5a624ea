//! Where a region ends: the net change of each tick, as chunks with signs.
//!
//! In: chunks with signs, any number a tick, equal rows on one worker. Out: per tick what is left when changes cancel; nothing of
//! tick 0, which had left before the restart. What always holds: a tick leaves when it is over, ticks leave in order.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::gate::Arrivals;
use super::{Fine, FineStream, Place};
use crate::change::rows::net;
use crate::chunk::MAX_ROWS;
use crate::exchange::{Route, pact};
use crate::{Chunk, Result};

/// Consolidates `stream`, whose rows have `width` columns before the sign.
pub(super) fn exit<'scope>(
    stream: FineStream<'scope>,
    place: &Place,
    width: usize,
    arrivals: Arrivals,
) -> FineStream<'scope> {
    if stream.scope().peers() == 1 {
        return consolidated(stream, Pipeline, place.clone(), arrivals);
    }
    let route = if width == 0 { Route::Single } else { Route::Keys((0..width).collect()) };
    consolidated(stream, pact(route, place.hashing), place.clone(), arrivals)
}

fn consolidated<'scope>(
    stream: FineStream<'scope>,
    pact: impl ParallelizationContract<Fine, Chunk>,
    place: Place,
    arrivals: Arrivals,
) -> FineStream<'scope> {
    let name = format!("{}-exit", place.name);
    let mut waiting: BTreeMap<Fine, (Capability<Fine>, Vec<RecordBatch>)> = BTreeMap::new();
    stream.unary_frontier::<CapacityContainerBuilder<Chunk>, _, _, _>(pact, &name, move |_, _| {
        move |(input, frontier), output| {
            input.for_each(|capability, chunk| {
                let time = *capability.time();
                if let (Some(rows), true) = (std::mem::take(chunk).into_rows(), time.tick > 0) {
                    waiting.entry(time).or_insert_with(|| (capability.retain(0), Vec::new())).1.push(rows);
                }
            });
            while let Some(first) = waiting.first_entry().filter(|first| !frontier.less_equal(first.key())) {
                let (time, (capability, parts)) = first.remove_entry();
                let ingest = arrivals.take(time);
                let Some(rows) = place.check(all(&parts)) else { continue };
                for start in (0..rows.num_rows()).step_by(MAX_ROWS) {
                    let piece = rows.slice(start, MAX_ROWS.min(rows.num_rows() - start));
                    output.session(&capability).give_container(&mut Chunk::new(piece, ingest, 0));
                }
            }
        }
    })
}

fn all(parts: &[RecordBatch]) -> Result<RecordBatch> {
    match parts {
        [one] => net(one),
        parts => net(&concat_batches(&parts[0].schema(), parts)?),
    }
}
