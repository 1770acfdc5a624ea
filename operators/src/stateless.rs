//! The stateless operator: adjacent decode, filter, project, explode and window-assignment steps fused into one.
//!
//! Rows cross an operator border only where there is state, an exchange or a fan-out. A step is a function from rows to rows;
//! results of more than [`MAX_ROWS`] rows leave as several chunks.

use std::rc::Rc;

use arrow::array::RecordBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Timestamp;

use crate::chunk::MAX_ROWS;
use crate::driver::Observer;
use crate::{Chunk, Result};

/// One fused step: rows in, rows out (maybe none).
pub type Step = Box<dyn FnMut(RecordBatch) -> Result<RecordBatch>>;

/// Runs all steps, one after the other, on every chunk.
pub fn stateless<'scope, T: Timestamp>(
    stream: Stream<'scope, T, Chunk>,
    name: &str,
    observer: Rc<dyn Observer>,
    mut steps: Vec<Step>,
) -> Stream<'scope, T, Chunk> {
    let label = name.to_owned();
    let mut failed = false;
    stream.unary::<CapacityContainerBuilder<Chunk>, _, _, _>(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|time, chunk| {
                let mut chunk = std::mem::take(chunk);
                if failed {
                    return;
                }
                if chunk.quiet {
                    return output.session(&time).give_container(&mut chunk);
                }
                match run(&mut steps, chunk) {
                    Ok(chunk) => give(chunk, |mut piece| output.session(&time).give_container(&mut piece)),
                    Err(error) => {
                        failed = true;
                        observer.failed(&label, error);
                    }
                }
            });
        }
    })
}

fn run(steps: &mut [Step], chunk: Chunk) -> Result<Chunk> {
    let (ingest, partition) = (chunk.ingest, chunk.partition);
    let Some(mut rows) = chunk.into_rows() else { return Ok(Chunk::default()) };
    for step in steps {
        if rows.num_rows() == 0 {
            return Ok(Chunk::default());
        }
        rows = step(rows)?;
    }
    Ok(Chunk::new(rows, ingest, partition))
}

fn give(chunk: Chunk, mut send: impl FnMut(Chunk)) {
    let Some(rows) = chunk.rows() else { return };
    if rows.num_rows() <= MAX_ROWS {
        if !chunk.is_empty() {
            send(chunk);
        }
        return;
    }
    for start in (0..rows.num_rows()).step_by(MAX_ROWS) {
        send(chunk.with_rows(rows.slice(start, MAX_ROWS.min(rows.num_rows() - start))));
    }
}
