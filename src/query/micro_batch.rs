//! The micro-batch driver: epochs are Spark's batches.
//!
//! ```text
//!  what is new? ─► offsets/N ─► watermark of the epoch ─► read the ranges ─► close the epoch ─► wait ─► close, settle
//! ```
//!
//! When there is nothing to read but the watermark computed after the last batch is ahead of the one it used, and an operator
//! can use it, or when a timer in processing time is due, a batch without data runs (unless `spark.sql.streaming.noDataMicroBatches.enabled` is false).

use std::time::Duration;

use super::execution::{Batch, Execution, Setup};
use super::ingest::pump_all;
use super::trigger::Trigger;
use crate::clock::nanos_of;
use crate::render::Message;
use crate::sources::{Limit, Offset, Reader};
use crate::{Error, Result};

/// Runs batches until the query is stopped or its trigger has no more.
pub(crate) fn run(execution: &mut Execution) -> Result<()> {
    if execution.setup.trigger == Trigger::AvailableNow {
        execution.sources.iter_mut().try_for_each(|source| source.freeze())?;
    }
    let mut deadline = execution.setup.clock.nanos();
    loop {
        if execution.stopping() {
            return Ok(());
        }
        // Asked before what is there: a source that ends later is found to have ended the next time.
        let last = ends_when_idle(execution) || execution.sources_ended();
        let ticket = execution.state.asked();
        let wakes = execution.state.wakes();
        execution.times.begin(&execution.setup.clock);
        match next_batch(execution)? {
            Some(batch) => {
                run_batch(execution, batch)?;
                if execution.setup.trigger == Trigger::Once {
                    return Ok(());
                }
            }
            None if last => return Ok(()),
            None => {
                execution.state.answer(ticket);
                idle(execution, wakes)?;
                continue;
            }
        }
        wait_for_trigger(execution, &mut deadline);
    }
}

fn ends_when_idle(execution: &Execution) -> bool {
    matches!(execution.setup.trigger, Trigger::Once | Trigger::AvailableNow)
}

/// Waits until something may have changed.
fn idle(execution: &mut Execution, wakes: u64) -> Result<()> {
    match execution.reconnecting() {
        Some(message) => execution.state.set_status(&message, false, false),
        None => execution.state.set_status("Waiting for data to arrive", false, false),
    }
    tell_idle(execution)?;
    if let Some(error) = execution.graph.failure() {
        return Err(error);
    }
    let polls = execution.sources.iter().filter_map(|source| source.poll_interval());
    let timer = until_timer(execution).filter(|left| !left.is_zero());
    execution.state.sleep(wakes, polls.chain(timer).min());
    Ok(())
}

/// Listeners hear that the query is idle, but not more often than `spark.sql.streaming.noDataProgressEventInterval`.
fn tell_idle(execution: &mut Execution) -> Result<()> {
    let interval = execution.setup.conf.number("spark.sql.streaming.noDataProgressEventInterval", 10_000)?;
    let interval = u64::try_from(interval).unwrap_or(0).saturating_mul(1_000_000);
    let now = execution.setup.clock.nanos();
    if now.saturating_sub(execution.told_idle) >= interval {
        execution.told_idle = now;
        execution.setup.listeners.idle(&execution.setup);
    }
    Ok(())
}

/// Under a processing-time trigger, waits for the next interval.
fn wait_for_trigger(execution: &Execution, deadline: &mut u64) {
    let Trigger::ProcessingTime(interval) = execution.setup.trigger else { return };
    let interval = nanos_of(interval).max(1);
    let now = execution.setup.clock.nanos();
    // Intervals that were missed are skipped, as in Spark.
    *deadline += (now.saturating_sub(*deadline) / interval + 1).saturating_mul(interval);
    while !execution.stopping() && execution.setup.clock.nanos() < *deadline {
        let left = *deadline - execution.setup.clock.nanos().min(*deadline);
        let wakes = execution.state.wakes();
        execution.state.sleep(wakes, Some(Duration::from_nanos(left)));
    }
}

/// The batch to run now, if there is one.
fn next_batch(execution: &mut Execution) -> Result<Option<Batch>> {
    if let Some(batch) = execution.replay.take() {
        return Ok(Some(batch));
    }
    let limit = if execution.setup.trigger == Trigger::Once { Limit::Everything } else { Limit::Options };
    let mut news = false;
    let mut ends: Vec<Option<Offset>> = Vec::with_capacity(execution.sources.len());
    for (source, from) in execution.sources.iter_mut().zip(&execution.offsets) {
        let latest = source.latest(from.as_ref(), limit)?.filter(|latest| Some(latest) != from.as_ref());
        news |= latest.is_some();
        ends.push(latest.or_else(|| from.clone()));
    }
    execution.times.mark("latestOffset", &execution.setup.clock);
    let run = news || wants_no_data_batch(execution)?;
    let timestamp = execution.batch_timestamp();
    let batch = Batch { epoch: execution.epoch, ends, watermark: execution.watermark, timestamp, recorded: false };
    Ok(run.then_some(batch))
}

fn wants_no_data_batch(execution: &Execution) -> Result<bool> {
    let enabled = execution.setup.conf.flag("spark.sql.streaming.noDataMicroBatches.enabled", true)?;
    let moved = execution.watermark > execution.watermark_used && execution.setup.plan.wants_no_data_batches();
    let due = until_timer(execution).is_some_and(|left| left.is_zero());
    Ok(enabled && (moved || due))
}

/// How long it is until an operator wants a batch.
fn until_timer(execution: &Execution) -> Option<Duration> {
    let left = execution.wakes_at?.saturating_sub(execution.setup.clock.wall_micros());
    Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
}

fn run_batch(execution: &mut Execution, batch: Batch) -> Result<()> {
    check_watermarks(execution, &batch)?;
    execution.state.set_status("Processing new data", true, true);
    execution.told_idle = execution.setup.clock.nanos();
    execution.refresh_statics();
    execution.record(&batch)?;
    execution.times.mark("walCommit", &execution.setup.clock);
    execution.setup.batch_time.set(batch.timestamp.saturating_mul(1000));
    execution.graph.shared().clocks.iter().for_each(|clock| clock.assign(batch.watermark));
    execution.times.mark("queryPlanning", &execution.setup.clock);
    process(execution, &batch)
}

/// Spark finds a second `withWatermark` over the first when there is a watermark to be redefined.
fn check_watermarks(execution: &Execution, batch: &Batch) -> Result<()> {
    let Setup { single_watermark, plan, .. } = &execution.setup;
    if batch.watermark <= 0 || !single_watermark || !plan.redefines_watermark() {
        return Ok(());
    }
    Err(Error::query("_LEGACY_ERROR_TEMP_3076", "redefining a watermark is not allowed")
        .hint("Call with_watermark() once for each stream."))
}

/// Reads the batch's ranges, closes its epoch and commits it; what it reads has been recorded.
pub(super) fn process(execution: &mut Execution, batch: &Batch) -> Result<()> {
    feed(execution, batch)?;
    let next = batch.epoch + 1;
    execution.graph.broadcast(|| Message::Epoch(next));
    let result = execution.wait(batch.epoch)?;
    execution.times.mark("addBatch", &execution.setup.clock);
    execution.close(batch.clone(), result)?;
    execution.settle()
}

/// The number of a source, and the readers of its range.
type Range = (usize, Vec<Box<dyn Reader>>);

/// What every source that has a range has to read.
fn ranges(execution: &mut Execution, batch: &Batch) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for scan in 0..execution.sources.len() {
        let (from, to) = (&execution.offsets[scan], &batch.ends[scan]);
        let Some(to) = to.as_ref().filter(|to| Some(*to) != from.as_ref()) else { continue };
        ranges.push((scan, execution.sources[scan].read(from.as_ref(), Some(to))?));
    }
    execution.times.mark("getBatch", &execution.setup.clock);
    Ok(ranges)
}

/// Reads every source's range into its lanes.
fn feed(execution: &mut Execution, batch: &Batch) -> Result<()> {
    let spread = !execution.setup.keeps_partitions();
    for (scan, readers) in ranges(execution, batch)? {
        let lanes = &execution.graph.lanes[scan];
        let clock = &execution.setup.clock;
        let state = &execution.state;
        pump_all(readers, lanes, spread, clock, &|| state.aborting())
            .map_err(|error: Error| error.at(format!("source '{}'", execution.setup.plan.scans[scan].table.name)))?;
        if let Some(error) = execution.graph.failure() {
            return Err(error);
        }
        if execution.state.aborting() {
            return Err(super::execution::aborted());
        }
    }
    Ok(())
}
