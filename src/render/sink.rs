//! The last operator: runs the steps right before it, hands rows to the worker's writer and tells the driver when an epoch is all there.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use hdrhistogram::Histogram;
use thalweg_operators::stateless::{Step, Steps};
use thalweg_operators::{Chunk, Error as OperatorError, Logic, Output, Result};

use super::observer::{Event, EventObserver, Outcome};
use crate::clock::SharedClock;
use crate::sinks::Writer;

/// The sink operator of one worker.
pub(crate) struct SinkLogic {
    number: usize,
    writer: Box<dyn Writer>,
    schema: SchemaRef,
    observer: Rc<EventObserver>,
    clock: SharedClock,
    steps: Steps,
    /// The schema of the last rows, and whether it is the promised one.
    seen: Option<(SchemaRef, bool)>,
    rows: u64,
    latency: Histogram<u64>,
}

/// Latencies from 1 µs to 10 minutes with two significant digits.
fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1_000, 600_000_000_000, 2).expect("the bounds are in order");
    histogram.auto(true);
    histogram
}

impl SinkLogic {
    /// `number`: which of the query's sinks it is. `schema`: what the sink was promised; rows are relabelled to it.
    pub fn new(
        number: usize,
        writer: Box<dyn Writer>,
        schema: SchemaRef,
        observer: Rc<EventObserver>,
        clock: SharedClock,
    ) -> Self {
        let (steps, latency) = (Steps::default(), histogram());
        SinkLogic { number, writer, schema, observer, clock, steps, seen: None, rows: 0, latency }
    }

    /// The same sink, which runs these steps on its rows first.
    pub fn after(self, steps: Vec<Step>) -> Self {
        SinkLogic { steps: Steps::new(steps), ..self }
    }

    /// Whether the rows have the very schema that the sink was promised. It is compared once, not for each chunk.
    fn fits(&mut self, rows: &RecordBatch) -> bool {
        let schema = rows.schema_ref();
        if !self.seen.as_ref().is_some_and(|(seen, _)| Arc::ptr_eq(seen, schema)) {
            self.seen = Some((schema.clone(), *schema == self.schema));
        }
        self.seen.as_ref().is_some_and(|(_, fits)| *fits)
    }

    fn write(&mut self, chunk: Chunk) -> crate::Result<()> {
        let ingest = chunk.ingest;
        let Some(rows) = chunk.into_rows() else { return Ok(()) };
        let count = rows.num_rows() as u64;
        if self.fits(&rows) {
            self.writer.write(&rows)?;
        } else {
            self.writer.write(&super::steps::conform(rows.columns().to_vec(), &self.schema, rows.num_rows())?)?;
        }
        self.rows += count;
        if ingest != 0 {
            self.latency.saturating_record_n(self.clock.nanos().saturating_sub(ingest), count);
        }
        Ok(())
    }
}

impl Logic for SinkLogic {
    fn on_rows(&mut self, _: usize, chunk: Chunk, _: &mut Output) -> Result<()> {
        let (mut steps, mut written) = (std::mem::take(&mut self.steps), Ok(()));
        let ran = steps.run(chunk, |piece| {
            if written.is_ok() {
                written = self.write(piece);
            }
        });
        self.steps = steps;
        ran?;
        written.map_err(OperatorError::outside)
    }

    fn on_watermark(&mut self, _: &[i64], _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn on_complete(&mut self, epoch: u64, _: &mut Output) -> Result<()> {
        let prepared = self.writer.prepare(epoch).map_err(OperatorError::outside)?;
        let latency = std::mem::replace(&mut self.latency, histogram());
        let rows = std::mem::take(&mut self.rows);
        self.observer.send(Event::Prepared(Outcome { sink: self.number, epoch, prepared, rows, latency }));
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}
