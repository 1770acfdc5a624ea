//! The stateless operator: adjacent decode, filter, project, explode and window-assignment steps fused into one.
//!
//! Rows cross an operator border only where there is state, an exchange or a fan-out: steps that stand right behind a source run in its
//! feed, those right before a sink in the sink. A step is a function from rows to rows; results of more than [`MAX_ROWS`] rows leave as
//! several chunks.

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

/// Steps that run one after the other on every chunk.
#[derive(Default)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// These steps in this order; none leave a chunk as it is.
    pub fn new(steps: Vec<Step>) -> Self {
        Steps(steps)
    }

    /// Sends what becomes of the chunk; a chunk without rows that says something else goes on as it is.
    ///
    /// # Errors
    /// The first failure of a step; nothing is sent then.
    pub fn run(&mut self, chunk: Chunk, mut send: impl FnMut(Chunk)) -> Result<()> {
        if chunk.quiet || self.0.is_empty() {
            send(chunk);
            return Ok(());
        }
        give(run(&mut self.0, chunk)?, send);
        Ok(())
    }
}

/// Runs all steps, one after the other, on every chunk.
pub fn stateless<'scope, T: Timestamp>(
    stream: Stream<'scope, T, Chunk>,
    name: &str,
    observer: Rc<dyn Observer>,
    steps: Vec<Step>,
) -> Stream<'scope, T, Chunk> {
    let label = name.to_owned();
    let mut steps = Steps::new(steps);
    let mut failed = false;
    stream.unary::<CapacityContainerBuilder<Chunk>, _, _, _>(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|time, chunk| {
                let chunk = std::mem::take(chunk);
                if failed {
                    return;
                }
                if let Err(error) = steps.run(chunk, |mut piece| output.session(&time).give_container(&mut piece)) {
                    failed = true;
                    observer.failed(&label, error);
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
