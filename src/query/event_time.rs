//! Event time of a query: its rules from settings and options, its partitions, and how its watermarks stand.
//!
//! In: the plan, the session's settings, the sources' options. Out: what the readers, the graph and the reports need.

use std::sync::Arc;
use std::time::Duration;

use thalweg_operators::Pace;
use thalweg_operators::time::NO_WATERMARK;
use thalweg_operators::watermark::{ClockReport, EventClock};

use super::execution::Execution;
use super::progress::{WatermarkProgress, iso_millis};
use super::trigger::interval_of;
use crate::Result;
use crate::conf::Conf;
use crate::plan::dataflow::{DataflowPlan, Kind, Node};
use crate::sources::{IDLE_TIMEOUT, MAX_FUTURE_SKEW};

/// What holds where nothing is said, under the continuous driver. In micro-batches Spark's rules hold: neither is in force.
const DEFAULT_IDLE_TIMEOUT: &str = "1 minute";
const DEFAULT_FUTURE_SKEW: &str = "1 hour";

/// Rules of event time, fixed for a query.
#[derive(Clone)]
pub(crate) struct EventTimeRules {
    /// Per scan: after which time without rows a partition holds watermarks back no more.
    pub idle_timeouts: Vec<Option<Duration>>,
    /// Per `withWatermark`: how far ahead a row may be and still move it, in microseconds.
    pub skews: Vec<Option<i64>>,
}

impl EventTimeRules {
    /// The rules of a plan: options of its sources, then settings, then defaults.
    ///
    /// # Errors
    /// `CANNOT_PARSE_INTERVAL`.
    pub fn of(plan: &DataflowPlan, conf: &Conf, pace: Pace) -> Result<Self> {
        let eager = pace == Pace::Eager && !plan.watermarks.is_empty();
        let option = |scan: usize, name: &str, setting: &str, default: &str| -> Result<Option<Duration>> {
            let given = plan.scans[scan].table.source.options.get(name).or_else(|| conf.get(setting));
            given.or(eager.then_some(default)).map_or(Ok(None), time)
        };
        let scans = 0..plan.scans.len();
        let idle = scans.map(|scan| option(scan, IDLE_TIMEOUT, "thalweg.idleTimeout", DEFAULT_IDLE_TIMEOUT));
        let mut skews = vec![None; plan.watermarks.len()];
        for (clock, scans) in watermarks(plan) {
            for scan in scans {
                let skew = option(scan, MAX_FUTURE_SKEW, "thalweg.maxFutureSkew", DEFAULT_FUTURE_SKEW)?;
                let micros = skew.map(|skew| i64::try_from(skew.as_micros()).unwrap_or(i64::MAX));
                skews[clock] = [skews[clock], micros].into_iter().flatten().min();
            }
        }
        Ok(EventTimeRules { idle_timeouts: idle.collect::<Result<_>>()?, skews })
    }
}

/// A length of time; `off` and 0 for none.
fn time(text: &str) -> Result<Option<Duration>> {
    if ["off", "none", "0"].iter().any(|off| text.trim().eq_ignore_ascii_case(off)) {
        return Ok(None);
    }
    Ok(Some(interval_of(text)?).filter(|time| !time.is_zero()))
}

/// One clock for each `withWatermark`, of the partitions below it. `lanes`: per scan, the lanes and their workers.
pub(crate) fn clocks(plan: &DataflowPlan, lanes: &[Vec<(u32, usize)>]) -> Vec<Arc<EventClock>> {
    let mut partitions = vec![Vec::new(); plan.watermarks.len()];
    for (clock, scans) in watermarks(plan) {
        partitions[clock].extend(scans.into_iter().flat_map(|scan| lanes[scan].iter().map(|(lane, _)| *lane)));
    }
    let clocks: Vec<_> = partitions.iter().map(|partitions| Arc::new(EventClock::new(partitions))).collect();
    let delays = plan.watermarks.iter().copied();
    EventClock::introduce(&clocks.iter().cloned().zip(delays).collect::<Vec<_>>());
    clocks
}

/// The number of each `withWatermark`, and the scans below it.
fn watermarks(plan: &DataflowPlan) -> Vec<(usize, Vec<usize>)> {
    let of = |node: &&Node| match node.kind {
        Kind::Watermark { clock, .. } => Some((clock, scans(node))),
        _ => None,
    };
    plan.nodes().iter().filter_map(of).collect()
}

fn scans(node: &Node) -> Vec<usize> {
    match node.kind {
        Kind::Scan(scan) => vec![scan],
        _ => node.inputs.iter().flat_map(scans).collect(),
    }
}

/// Since when a watermark stands where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    watermark: i64,
    /// Microseconds since 1970.
    since: i64,
    ahead: u64,
}

/// How the watermarks stand after an epoch.
pub(crate) fn report(execution: &mut Execution) -> Vec<WatermarkProgress> {
    let delays = execution.setup.plan.watermarks.clone();
    let now = execution.setup.clock.wall_micros();
    let mut reports = Vec::new();
    for (n, delay) in delays.into_iter().enumerate() {
        let clock = execution.graph.shared().clocks[n].report(delay);
        let stands = standing(execution, n, &clock, now);
        reports.push(progress(execution, n, delay, &clock, stands));
    }
    reports
}

/// Notes what has changed since the last report, and warns of rows that are too far ahead.
fn standing(execution: &mut Execution, n: usize, clock: &ClockReport, now: i64) -> Standing {
    let watermark = execution.watermarks[n].unwrap_or(NO_WATERMARK);
    let before = execution.standing.get(n).copied();
    if clock.ahead > before.map_or(0, |before| before.ahead) {
        let first = clock.first_ahead.map(iso_millis).unwrap_or_default();
        tracing::warn!(
            rows = clock.ahead,
            first,
            "rows are so far ahead of the others that they do not move the watermark; see maxFutureSkew"
        );
    }
    let since = before.filter(|before| before.watermark == watermark).map_or(now, |before| before.since);
    let stands = Standing { watermark, since, ahead: clock.ahead };
    match execution.standing.get_mut(n) {
        Some(known) => *known = stands,
        None => execution.standing.push(stands),
    }
    stands
}

fn progress(execution: &Execution, n: usize, delay: i64, clock: &ClockReport, stands: Standing) -> WatermarkProgress {
    let shared = execution.graph.shared();
    let column = execution.setup.plan.nodes().iter().find_map(|node| match node.kind {
        Kind::Watermark { clock, column } if clock == n => Some(node.schema.field(column).name().clone()),
        _ => None,
    });
    let name = |lane: &u32| {
        let scan = shared.lanes.iter().position(|lanes| lanes.iter().any(|(number, _)| number == lane))?;
        let partition = shared.lanes[scan].iter().position(|(number, _)| number == lane)?;
        Some(format!("{}[{partition}]", execution.sources.get(scan)?.description()))
    };
    let eager = shared.pace == Pace::Eager;
    WatermarkProgress {
        column: column.unwrap_or_default(),
        delay_ms: delay / 1000,
        watermark: (stands.watermark != NO_WATERMARK).then(|| iso_millis(stands.watermark)),
        since: iso_millis(stands.since),
        held_by: clock.held_by.filter(|_| eager).as_ref().and_then(name),
        idle_partitions: clock.idle.iter().filter_map(name).collect(),
        num_rows_ahead: clock.ahead,
        first_row_ahead: clock.first_ahead.map(iso_millis),
        delay_ms_for_99_percent: clock.delay_for_99_percent,
    }
}
