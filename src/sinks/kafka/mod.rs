//! `kafka`: rows as records of Kafka topics, batch and stream.
//!
//! In: rows with a column `value` and, if there are, `key`, `headers`, `topic`, `partition`. Out: records.
//!
//! ```text
//!  at-least-once   one idempotent producer; an epoch is committed when all its records are acknowledged
//!  exactly-once    two producers in turn, an epoch a transaction:
//!                  write ─► records        commit ─► progress record, commit of the transaction ─► commits/N
//! ```
//!
//! Under the continuous trigger records of epoch N+1 flow while N is being committed: hence two transactional producers, of
//! even and odd epochs. All workers share them, so an epoch is one transaction, visible whole or not at all to readers at
//! `read_committed`.
//!
//! # Restart
//! Exactly-once: connecting fences producers of an earlier run and aborts what they left open; the progress topic says which epoch
//! was committed last, and the query goes on behind it.

mod producer;
mod progress;
mod records;
mod settings;

use std::sync::Arc;

use arrow::array::RecordBatch;

use self::producer::{Producers, Sending};
use self::records::Layout;
use self::settings::{OPTIONS, Settings};
use super::{Guarantee, OutputMode, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::options::OptionSpec;
use crate::{Error, Result};

/// The provider of `format("kafka")`.
#[derive(Debug)]
pub struct Kafka;

impl SinkProvider for Kafka {
    fn names(&self) -> &'static [&'static str] {
        &["kafka"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS]
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    /// Of the default; see option `deliveryGuarantee`.
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        let settings = Settings::of(spec)?;
        let layout = Arc::new(Layout::of(&context.schema, settings.topic.as_deref())?);
        if settings.exactly_once && context.checkpoint.is_none() && !spec.batch {
            return Err(Error::invalid("sink 'kafka' can't write exactly once without a checkpoint")
                .hint("Set option 'checkpointLocation'."));
        }
        let description = format!("KafkaTable[{}]", settings.topic.as_deref().unwrap_or("*"));
        let producers = Producers::connect(spec, settings, &context)?;
        Ok(Box::new(KafkaSink { producers: Arc::new(producers), layout, description }))
    }
}

struct KafkaSink {
    producers: Arc<Producers>,
    layout: Arc<Layout>,
    description: String,
}

impl Sink for KafkaSink {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn writer(&mut self, _worker: usize) -> Result<Box<dyn Writer>> {
        let sending = Sending::new(Arc::clone(&self.producers));
        Ok(Box::new(KafkaWriter { sending, layout: Arc::clone(&self.layout), rows: 0 }))
    }

    fn commit(&mut self, epoch: u64, _prepared: Vec<Prepared>) -> Result<()> {
        self.producers.commit(epoch)
    }

    fn decides(&self) -> bool {
        self.producers.transactional()
    }

    fn last_committed(&mut self) -> Result<Option<u64>> {
        Ok(self.producers.last_committed())
    }

    fn close(&mut self, _error: Option<&Error>) {
        self.producers.close();
    }
}

struct KafkaWriter {
    sending: Sending,
    layout: Arc<Layout>,
    rows: u64,
}

impl Writer for KafkaWriter {
    fn begin(&mut self, epoch: u64) -> Result<()> {
        self.sending.epoch = epoch;
        Ok(())
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let records = self.layout.records(rows)?;
        self.sending.send(&records)?;
        self.rows += records.count as u64;
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Prepared> {
        self.sending.epoch = epoch + 1;
        Ok(Prepared { rows: std::mem::take(&mut self.rows), ..Prepared::default() })
    }
}

#[cfg(test)]
pub(super) mod tests;
