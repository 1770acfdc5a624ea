//! The continuous driver: readers run for ever, each record flows the moment it arrives; every interval an epoch closes.
//!
//! ```text
//!  each interval: signals.epoch = e+1 ─► readers send Epoch(e+1) into their lanes and report their places
//!                 ─► all workers' sinks have e ─► state beside offsets/e, then commits/e (while e+1 already flows)
//!
//! State is written by a thread of its own; this one commits e as soon as that is done, at the latest before it closes e+1.
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::execution::{Batch, Execution};
use super::ingest::{Pump, Report, Running, Signals, Waiting};
use super::micro_batch;
use crate::clock::nanos_of;
use crate::sources::Offset;
use crate::{Error, Result, threads};

/// How long a reader waits for data before it looks at its signals: alone in its scan, or with others that it would hold up.
const WAIT_ALONE: Duration = Duration::from_millis(20);
const WAIT_TOGETHER: Duration = Duration::from_millis(5);
/// How long the driver sleeps at most while it waits for readers to find nothing; they wake it.
const AWAITED: Duration = Duration::from_millis(2);

/// Runs until the query is stopped or all its sources have ended.
pub(crate) fn run(execution: &mut Execution, interval: Duration) -> Result<()> {
    if let Some(batch) = execution.replay.take() {
        // What was promised before a restart is read again exactly; only then the readers run freely.
        execution.times.begin(&execution.setup.clock);
        micro_batch::process(execution, &batch)?;
    }
    let state = execution.state.clone();
    state.let_flow();
    let signals = Arc::new(Signals { news: Some(Arc::new(move || state.wake())), ..Signals::default() });
    signals.epoch.store(execution.epoch, Ordering::Release);
    let (sender, reports) = unbounded();
    let mut continuous = Continuous { signals: signals.clone(), readers: Vec::new(), counts: Vec::new(), reports };
    continuous.open(execution, &sender)?;
    execution.state.set_status("Processing new data", true, true);
    let ran = continuous.run(execution, interval);
    signals.stop.store(true, Ordering::Release);
    continuous.readers.iter_mut().flatten().for_each(Running::join);
    ran
}

struct Continuous {
    signals: Arc<Signals>,
    /// Per scan.
    readers: Vec<Vec<Running>>,
    counts: Vec<usize>,
    reports: Receiver<Report>,
}

impl Continuous {
    fn open(&mut self, execution: &mut Execution, sender: &crossbeam_channel::Sender<Report>) -> Result<()> {
        for scan in 0..execution.sources.len() {
            let from = execution.offsets[scan].clone();
            let opened = execution.sources[scan].read(from.as_ref(), None)?;
            let idle_timeout = execution.setup.event_time.idle_timeouts[scan];
            let lanes = execution.graph.take_lanes(scan);
            self.counts.push(opened.len());
            let single = execution.sources.len() == 1 && opened.len() == 1;
            let wait = if single { WAIT_ALONE } else { WAIT_TOGETHER };
            self.readers.push(Vec::new());
            for (n, (reader, lanes)) in opened.into_iter().zip(deal(lanes, self.counts[scan])).enumerate() {
                let clock = execution.setup.clock.clone();
                let (signals, sender) = (self.signals.clone(), sender.clone());
                let boards = reader.is_light() && execution.setup.workers == 1 && single;
                let busy_poll = if boards { execution.setup.busy_poll } else { Duration::ZERO };
                let waiting = Waiting { clock, wait, busy_poll, idle_timeout };
                let pump = Pump::new(reader, (scan, n), lanes, signals, sender, waiting);
                let running = if boards { Running::board(pump, &execution.graph) } else { Running::start(pump)? };
                self.readers[scan].push(running);
            }
        }
        Ok(())
    }

    fn run(&mut self, execution: &mut Execution, interval: Duration) -> Result<()> {
        loop {
            let ticket = execution.state.asked();
            let wakes = execution.state.wakes();
            let asked = ticket > execution.state.answered();
            let ended = execution.sources_ended();
            if asked || ended {
                execution.settle()?;
                self.wait_until_idle(execution)?;
            } else if !execution.stopping() {
                self.pause(execution, interval, wakes)?;
                if execution.state.asked() > execution.state.answered() {
                    // The epoch is to have all that is there when somebody asks.
                    continue;
                }
            }
            let last = ended || execution.stopping();
            self.close_epoch(execution)?;
            if asked || last {
                execution.settle()?;
            }
            execution.refresh_statics();
            if asked {
                execution.state.answer(ticket);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Sleeps until the interval is over, the query stops, someone waits for all available data, or something failed.
    fn pause(&self, execution: &mut Execution, interval: Duration, mut wakes: u64) -> Result<()> {
        let start = execution.setup.clock.nanos();
        let interval = nanos_of(interval);
        loop {
            self.check(execution)?;
            tell_status(execution);
            execution.settle_if_written()?;
            let passed = execution.setup.clock.nanos().saturating_sub(start);
            let asked = execution.state.asked() > execution.state.answered();
            if execution.stopping() || asked || passed >= interval || execution.sources_ended() {
                return Ok(());
            }
            let left = Duration::from_nanos(interval - passed).min(Duration::from_millis(50));
            execution.state.sleep(wakes, Some(left));
            wakes = execution.state.wakes();
        }
    }

    /// Until every reader has found nothing to read, twice since now: the first look may have begun before.
    fn wait_until_idle(&self, execution: &mut Execution) -> Result<()> {
        execution.sources.iter_mut().try_for_each(|source| source.mark())?;
        self.signals.awaited.store(true, Ordering::Release);
        let waited = self.wait_for_looks(execution);
        self.signals.awaited.store(false, Ordering::Release);
        waited
    }

    fn wait_for_looks(&self, execution: &mut Execution) -> Result<()> {
        let readers: Vec<&Running> = self.readers.iter().flatten().collect();
        let goals: Vec<u64> = readers.iter().map(|reader| reader.looks().saturating_add(2)).collect();
        loop {
            let wakes = execution.state.wakes();
            let behind = readers.iter().zip(&goals).filter(|(reader, goal)| reader.looks() < **goal);
            let missing = behind.map(|(reader, _)| reader.interrupt()).count();
            if missing == 0 || execution.stopping() {
                return Ok(());
            }
            self.check(execution)?;
            execution.state.sleep(wakes, Some(AWAITED));
        }
    }

    fn check(&self, execution: &mut Execution) -> Result<()> {
        if let Some(error) = execution.graph.failure() {
            return Err(error);
        }
        match self.reports.try_recv() {
            Ok(Report::Failed(error)) => Err(error),
            Ok(Report::Closed { reader, epoch, .. }) => {
                Err(Error::internal(format!("reader {reader:?} closed epoch {epoch} unasked")))
            }
            Err(_) => Ok(()),
        }
    }

    fn close_epoch(&mut self, execution: &mut Execution) -> Result<()> {
        execution.settle()?;
        execution.times.begin(&execution.setup.clock);
        let epoch = execution.epoch;
        self.signals.epoch.store(epoch + 1, Ordering::Release);
        self.readers.iter().flatten().for_each(Running::interrupt);
        let ends = self.collect_offsets(execution, epoch + 1)?;
        let result = execution.wait(epoch)?;
        let timestamp = execution.batch_timestamp();
        let batch = Batch { epoch, ends, watermark: execution.watermark, timestamp, recorded: false };
        execution.times.mark("runContinuous", &execution.setup.clock);
        execution.close(batch.clone(), result)?;
        // While its state is being written; both must be durable before it is committed.
        execution.record(&batch)
    }

    /// The places that all readers have reached, joined per source.
    fn collect_offsets(&self, execution: &mut Execution, epoch: u64) -> Result<Vec<Option<Offset>>> {
        let mut parts: Vec<Vec<Option<Offset>>> = self.counts.iter().map(|count| vec![None; *count]).collect();
        while parts.iter().flatten().any(Option::is_none) {
            match threads::receive(&self.reports, Some(Duration::from_millis(50))) {
                Ok(Report::Closed { reader: (scan, n), epoch: closed, offset }) if closed == epoch => {
                    parts[scan][n] = Some(offset);
                }
                Ok(Report::Closed { .. }) => {}
                Ok(Report::Failed(error)) => return Err(error),
                Err(_) => execution.graph.failure().map_or(Ok(()), Err)?,
            }
        }
        let joined = execution.sources.iter().zip(parts).zip(&execution.offsets).map(|((source, parts), before)| {
            if parts.is_empty() {
                return Ok(before.clone());
            }
            Ok(Some(source.join_offsets(parts.into_iter().flatten().collect())?).filter(|offset| !offset.is_null()))
        });
        joined.collect()
    }
}

/// What the query is doing, for those who ask.
fn tell_status(execution: &Execution) {
    match execution.reconnecting() {
        Some(message) => execution.state.set_status(&message, false, true),
        None => execution.state.set_status("Processing new data", true, true),
    }
}

/// Shares lanes out to readers; each reader has at least one, and every lane has a reader.
fn deal<T>(lanes: Vec<T>, readers: usize) -> Vec<Vec<T>> {
    let mut hands: Vec<Vec<T>> = (0..readers).map(|_| Vec::new()).collect();
    for (i, lane) in lanes.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(i % readers.max(1)) {
            hand.push(lane);
        }
    }
    hands
}
