//! The producers of a sink: sending with back-pressure, waiting for deliveries, transactions.
//!
//! In: records of an epoch from all workers' writers. Out: acknowledged records, or committed transactions. The producers'
//! buffers are bounded (`queue.buffering.max.*`): a writer waits while they are full, also while the cluster is away.
//!
//! Who touches what: writers send and begin the transaction of an epoch (the first of them, under a lock); the query's driver
//! alone commits. An epoch is begun only after the one two before has been committed, because the driver commits in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::progress::{self, Asking, ProgressTopic};
use super::records::Records;
use super::settings::Settings;
use crate::clock::SharedClock;
use crate::kafka::config::{Side, client_config, connection};
use crate::kafka::context::{Health, Writing};
use crate::kafka::errors;
use crate::sinks::{SinkContext, SinkSpec};
use crate::sources::pause::Pause;
use crate::{Error, Result};

/// How long a writer or the driver waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// No epoch.
const NONE: u64 = u64::MAX;

/// A producer, and the epoch whose transaction it has open.
struct Line {
    producer: ThreadedProducer<Writing>,
    open: AtomicU64,
    /// When that transaction was begun (nanoseconds).
    begun: AtomicU64,
    beginning: Mutex<()>,
}

impl Line {
    /// Why the producer is of no use any more, if it is not: fenced by another run, say.
    fn fatal(&self) -> Option<Error> {
        let (code, text) = self.producer.client().fatal_error()?;
        Some(errors::error(&format!("writing to Kafka ({text})"), KafkaError::Global(code)))
    }
}

/// What makes a sink transactional.
struct Transactions {
    /// After what time the brokers abort a transaction.
    timeout: Duration,
    progress: ProgressTopic,
    /// The last committed epoch, [`NONE`] without one.
    committed: AtomicU64,
}

/// The producers that all writers of a query share: one, or two that take turns.
pub(super) struct Producers {
    lines: Vec<Line>,
    transactions: Option<Transactions>,
    settings: Settings,
    health: Arc<Health>,
    clock: SharedClock,
    closed: AtomicBool,
}

impl Producers {
    /// Connects. With transactions: fences earlier producers and finds the last committed epoch.
    pub(super) fn connect(spec: &SinkSpec, settings: Settings, context: &SinkContext) -> Result<Producers> {
        let health = Health::new(Arc::clone(&context.clock));
        let config = settings.producer(spec, context)?;
        let mut producers = Producers {
            lines: Vec::new(),
            transactions: None,
            settings,
            health,
            clock: Arc::clone(&context.clock),
            closed: AtomicBool::new(false),
        };
        if producers.settings.exactly_once {
            producers.connect_transactional(spec, config, context)?;
        } else {
            let line = producers.line(&config)?;
            producers.lines.push(line);
        }
        Ok(producers)
    }

    fn line(&self, config: &ClientConfig) -> Result<Line> {
        let producer = config.create_with_context(Writing::new(Arc::clone(&self.health)));
        let producer = producer.map_err(|cause| errors::error("making a Kafka producer", cause))?;
        Ok(Line { producer, open: AtomicU64::new(NONE), begun: AtomicU64::new(0), beginning: Mutex::default() })
    }

    fn connect_transactional(&mut self, spec: &SinkSpec, config: ClientConfig, context: &SinkContext) -> Result<()> {
        let query = context.checkpoint.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let plain = client_config(&spec.options, Side::Producer)?;
        let own = |turn| self.settings.transactional(config.clone(), context, &format!("thalweg-{query}-{turn}"));
        let configs = [own(0)?, own(1)?];
        let timeout = Settings::transaction_timeout(&configs[0]);
        let asking = Asking { config: connection(&plain), clock: &self.clock, health: &self.health };
        let progress = ProgressTopic::open(&asking, &self.settings, query)?;
        for own in configs {
            let line = self.line(&own)?;
            let begun = asking.patiently(self.settings.api_timeout, |wait| line.producer.init_transactions(wait));
            begun.map_err(|cause| self.refused(transaction_error("starting transactions", cause)))?;
            self.lines.push(line);
        }
        // Only now: what an earlier run had open has been committed or aborted.
        let committed = progress.last_epoch(&asking)?;
        let committed = AtomicU64::new(committed.unwrap_or(NONE));
        self.transactions = Some(Transactions { timeout, progress, committed });
        Ok(())
    }

    /// The reason why the cluster refuses us, if it said so, or `error`.
    fn refused(&self, error: Error) -> Error {
        self.health.refusal().unwrap_or(error)
    }

    /// Why a producer takes nothing more: that it was fenced, a record that was refused, or else `error`.
    fn why(&self, line: &Line, epoch: u64, error: Error) -> Error {
        if let Some(fatal) = line.fatal() {
            return self.or_expired(fatal);
        }
        // What was handed over is reported soon, and the first failure is the reason for all that follow.
        let failed = self.wait_delivered(line, epoch).err();
        self.or_expired(failed.unwrap_or_else(|| self.refused(error)))
    }

    /// The error, or that a transaction expired if that is why the brokers take no more of it.
    fn or_expired(&self, error: Error) -> Error {
        let Some(transactions) = self.transactions.as_ref().filter(|_| errors::ends_transaction(&error)) else {
            return error;
        };
        let open = self.lines.iter().filter(|line| line.open.load(Ordering::Acquire) != NONE);
        let now = self.clock.nanos();
        let ages = open.map(|line| Duration::from_nanos(now.saturating_sub(line.begun.load(Ordering::Acquire))));
        ages.max().and_then(|age| expired(age, transactions.timeout)).unwrap_or(error)
    }

    /// True if epochs are transactions.
    pub(super) fn transactional(&self) -> bool {
        self.transactions.is_some()
    }

    /// The last epoch that the progress topic names.
    pub(super) fn last_committed(&self) -> Option<u64> {
        let committed = self.transactions.as_ref()?.committed.load(Ordering::Acquire);
        (committed != NONE).then_some(committed)
    }

    /// Lets writers go that wait for room.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn of_epoch(&self, epoch: u64) -> Result<&Line> {
        let line = self.lines.get(epoch as usize % self.lines.len().max(1));
        line.ok_or_else(|| Error::internal("a Kafka sink has no producer"))
    }

    /// Begins the transaction of an epoch unless another writer has.
    fn begin(&self, line: &Line, epoch: u64) -> Result<()> {
        let _alone = line.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        if line.open.load(Ordering::Acquire) != epoch {
            let begun = line.producer.begin_transaction();
            begun.map_err(|cause| self.why(line, epoch, transaction_error("beginning a transaction", cause)))?;
            line.begun.store(self.clock.nanos(), Ordering::Release);
            line.open.store(epoch, Ordering::Release);
        }
        Ok(())
    }

    /// Makes an epoch's records final. A second time, and for an epoch without records, there is nothing to do.
    pub(super) fn commit(&self, epoch: u64) -> Result<()> {
        let line = self.of_epoch(epoch)?;
        let Some(transactions) = &self.transactions else { return self.wait_delivered(line, epoch) };
        if line.open.load(Ordering::Acquire) != epoch {
            return Ok(());
        }
        let text = progress::record(epoch);
        let progress = &transactions.progress;
        let record = BaseRecord::with_opaque_to(&progress.name, Writing::mark(epoch)).partition(progress.partition);
        let record = record.key(&progress.query).payload(&text);
        if let Err((cause, _)) = line.producer.send(record) {
            return Err(self.why(line, epoch, errors::error("writing a progress record", cause)));
        }
        line.producer.context().sent(epoch, 1);
        self.wait_delivered(line, epoch).inspect_err(|_| abort(line))?;
        self.commit_transaction(line, epoch)?;
        line.open.store(NONE, Ordering::Release);
        transactions.committed.store(epoch, Ordering::Release);
        Ok(())
    }

    /// Asks again while the answer is that asking again helps.
    fn commit_transaction(&self, line: &Line, epoch: u64) -> Result<()> {
        let begun = self.clock.nanos();
        loop {
            let cause = match line.producer.commit_transaction(self.settings.api_timeout) {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            };
            let KafkaError::Transaction(inner) = &cause else {
                return Err(self.why(line, epoch, transaction_error("committing a transaction", cause)));
            };
            let over = u128::from(self.clock.nanos().saturating_sub(begun)) > self.settings.max_retry_time.as_nanos();
            if inner.txn_requires_abort() {
                abort(line);
            }
            if over || !inner.is_retriable() {
                return Err(self.why(line, epoch, transaction_error("committing a transaction", cause)));
            }
        }
    }

    /// Until all records of an epoch are acknowledged.
    fn wait_delivered(&self, line: &Line, epoch: u64) -> Result<()> {
        let pause = Pause::default();
        loop {
            let done = line.producer.context().delivered(epoch);
            self.check(line)?;
            if done {
                return Ok(());
            }
            pause.sleep(LOOK_AGAIN);
        }
    }

    fn check(&self, line: &Line) -> Result<()> {
        match line.producer.context().failure().or_else(|| self.health.refusal()) {
            Some(error) => Err(self.or_expired(line.fatal().unwrap_or(error))),
            None => Ok(()),
        }
    }
}

/// Why the brokers take no more of a transaction that has been open for so long, if that is the reason.
fn expired(open: Duration, timeout: Duration) -> Option<Error> {
    let text = format!(
        "the sink's transaction expired: it was open for {:.1} s, and the brokers give one up after {:.1} s",
        open.as_secs_f64(),
        timeout.as_secs_f64()
    );
    (open >= timeout).then(|| {
        Error::outside(text).hint(
            "The process stood still or did not reach the cluster for so long. Nothing of the epoch can be seen; start the query \
             again, and it goes on exactly once. 'kafka.transaction.timeout.ms' says how long such a pause may be.",
        )
    })
}

/// Gives a transaction up; what fails then, the broker's timeout and the next run's fencing make good.
fn abort(line: &Line) {
    if let Err(cause) = line.producer.abort_transaction(Duration::from_secs(10)) {
        tracing::warn!("a Kafka transaction was not aborted: {cause}");
    }
}

fn transaction_error(doing: &str, cause: KafkaError) -> Error {
    let code = errors::code(&cause);
    let error = errors::error(doing, cause);
    match code {
        Some(RDKafkaErrorCode::InvalidTransactionTimeout) => {
            error.hint("Set 'kafka.transaction.timeout.ms' to at most the brokers' 'transaction.max.timeout.ms'.")
        }
        _ => error,
    }
}

/// One writer's way in.
pub(super) struct Sending {
    producers: Arc<Producers>,
    /// The epoch in progress.
    pub epoch: u64,
    /// The epoch whose transaction this writer knows to be open.
    begun: u64,
    pause: Pause,
}

impl Sending {
    /// For a writer that begins with epoch 0, unless told.
    pub(super) fn new(producers: Arc<Producers>) -> Sending {
        Sending { producers, epoch: 0, begun: NONE, pause: Pause::default() }
    }

    /// Hands records over; waits while the producer's buffer is full.
    pub(super) fn send(&mut self, records: &Records<'_>) -> Result<()> {
        let producers = Arc::clone(&self.producers);
        let line = producers.of_epoch(self.epoch)?;
        if producers.transactional() && self.begun != self.epoch && records.count > 0 {
            producers.begin(line, self.epoch)?;
            self.begun = self.epoch;
        }
        producers.check(line)?;
        for row in 0..records.count {
            if let Err(error) = self.send_one(&producers, line, records, row) {
                line.producer.context().sent(self.epoch, row as u64);
                return Err(producers.why(line, self.epoch, error));
            }
        }
        line.producer.context().sent(self.epoch, records.count as u64);
        Ok(())
    }

    fn send_one(&self, producers: &Producers, line: &Line, records: &Records<'_>, row: usize) -> Result<()> {
        let topic = records.topic(row)?;
        let mut record = BaseRecord::with_opaque_to(topic, Writing::mark(self.epoch));
        record.key = records.key(row);
        record.payload = records.value(row);
        record.partition = records.partition(row);
        record.headers = records.headers(row);
        loop {
            record = match line.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((cause, back)) if errors::code(&cause) == Some(RDKafkaErrorCode::QueueFull) => {
                    self.wait_for_room(producers, line)?;
                    back
                }
                Err((cause, _)) => {
                    return Err(errors::error("writing a record to Kafka", cause).at(format!("topic '{topic}'")));
                }
            };
        }
    }

    fn wait_for_room(&self, producers: &Producers, line: &Line) -> Result<()> {
        if producers.closed.load(Ordering::Acquire) {
            return Err(Error::outside("the query was stopped while Kafka took no records"));
        }
        producers.check(line)?;
        self.pause.sleep(LOOK_AGAIN);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n09_a_transaction_that_expired_is_told_from_one_that_was_taken_over() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(expired(second, minute).is_none());
        let error = expired(Duration::from_millis(61_500), minute).unwrap().to_string();
        for told in ["61.5 s", "60.0 s", "kafka.transaction.timeout.ms"] {
            assert!(error.contains(told), "{error}");
        }
        assert!(!error.contains("taken over"), "{error}");
    }
}
