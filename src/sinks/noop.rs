//! `noop`: takes all rows and does nothing with them; for measuring a query without its sink.

use arrow::array::RecordBatch;

use super::{Guarantee, OutputMode, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::Result;
use crate::options::OptionSpec;

/// The provider of `format("noop")`.
#[derive(Debug)]
pub struct Noop;

impl SinkProvider for Noop {
    fn names(&self) -> &'static [&'static str] {
        &["noop"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        Vec::new()
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn connect(&self, spec: &SinkSpec, _context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        Ok(Box::new(NoopSink))
    }
}

struct NoopSink;

impl Sink for NoopSink {
    fn description(&self) -> String {
        "NoopTable".into()
    }

    fn writer(&mut self, _worker: usize) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Counter(0)))
    }

    fn commit(&mut self, _epoch: u64, _prepared: Vec<Prepared>) -> Result<()> {
        Ok(())
    }
}

struct Counter(u64);

impl Writer for Counter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.0 += rows.num_rows() as u64;
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        Ok(Prepared { rows: std::mem::take(&mut self.0), ..Prepared::default() })
    }
}
