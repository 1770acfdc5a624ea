//! What all workers' `withWatermark` operators of one place in the plan share with the query's driver.
//!
//! Everything here is a number that any thread may read; the only lock is taken to wake workers: once an epoch, and those that follow
//! others, which there are only while partitions are idle.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::compute::{max, min};
use timely::scheduling::SyncActivator;

use super::watermark_for;
use crate::time::NO_WATERMARK;

/// Classes of delays: four for each power of two of milliseconds.
const CLASSES: usize = 256;

/// Event times as all workers have seen them.
pub struct EventClock {
    seen: Seen,
    assigned: AtomicI64,
    /// The largest event time of all partitions that was not too far ahead.
    greatest: AtomicI64,
    ahead: AtomicU64,
    first_ahead: AtomicI64,
    partitions: Vec<Slot>,
    /// Rows by how far they were behind the largest event time of their partition.
    delays: Vec<AtomicU64>,
    /// The last epoch whose rows may move the watermark.
    open: AtomicU64,
    followers: AtomicUsize,
    wakers: Mutex<Vec<SyncActivator>>,
    /// The clocks of the query's other places, with their delays.
    others: OnceLock<Vec<(Weak<EventClock>, i64)>>,
}

/// Since the last report.
struct Seen {
    max: AtomicI64,
    min: AtomicI64,
    sum: AtomicI64,
    count: AtomicI64,
}

/// A source partition.
struct Slot {
    number: u32,
    now: Stand,
    /// As it was when the last epoch was complete: without what has come of the next one.
    closed: Stand,
}

/// How far a partition has come.
struct Stand {
    max: AtomicI64,
    idle: AtomicBool,
}

impl Stand {
    fn start() -> Self {
        Stand { max: AtomicI64::new(i64::MIN), idle: AtomicBool::new(false) }
    }

    fn set(&self, max: i64, idle: bool) {
        self.max.store(max, Ordering::SeqCst);
        self.idle.store(idle, Ordering::SeqCst);
    }

    fn max(&self) -> i64 {
        self.max.load(Ordering::SeqCst)
    }

    fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }
}

/// Event times seen, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimes {
    /// The largest.
    pub max: i64,
    /// The smallest.
    pub min: i64,
    /// Their mean, rounded towards the smaller.
    pub avg: i64,
}

/// How a watermark stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReport {
    /// What all partitions have reached, in microseconds; [`NO_WATERMARK`] while one has no rows yet.
    pub watermark: i64,
    /// The partition that holds it there: the one furthest behind of those that are not idle.
    pub held_by: Option<u32>,
    /// Partitions that are idle.
    pub idle: Vec<u32>,
    /// Rows so far that were too far ahead to move it.
    pub ahead: u64,
    /// Event time of the first of them, in microseconds.
    pub first_ahead: Option<i64>,
    /// The delay, in milliseconds, that would have kept 99 % of the rows; up to a quarter too large.
    pub delay_for_99_percent: Option<u64>,
}

impl EventClock {
    /// The clock of a place that rows of these source partitions reach.
    pub fn new(partitions: &[u32]) -> Self {
        let slot = |&number: &u32| Slot { number, now: Stand::start(), closed: Stand::start() };
        EventClock {
            seen: Seen {
                max: AtomicI64::new(i64::MIN),
                min: AtomicI64::new(i64::MAX),
                sum: AtomicI64::new(0),
                count: AtomicI64::new(0),
            },
            assigned: AtomicI64::new(NO_WATERMARK),
            greatest: AtomicI64::new(i64::MIN),
            ahead: AtomicU64::new(0),
            first_ahead: AtomicI64::new(i64::MIN),
            partitions: partitions.iter().map(slot).collect(),
            delays: (0..CLASSES).map(|_| AtomicU64::new(0)).collect(),
            open: AtomicU64::new(u64::MAX),
            followers: AtomicUsize::new(0),
            wakers: Mutex::default(),
            others: OnceLock::new(),
        }
    }

    /// Tells the clocks of a query, each with its delay, of each other: while all partitions of one are idle, it follows the others, so that
    /// a source that is silent as a whole holds nothing back either. It goes by what the others had reached when the last
    /// epoch was complete, so it is an epoch behind them.
    pub fn introduce(clocks: &[(Arc<EventClock>, i64)]) {
        for (clock, _) in clocks {
            let others = clocks.iter().filter(|(other, _)| !Arc::ptr_eq(clock, other));
            let others = others.map(|(other, delay)| (Arc::downgrade(other), *delay)).collect();
            // Those who are told twice know already.
            let _ = clock.others.set(others);
        }
    }

    /// Fixes the watermark for the next epoch (only used under [`crate::Pace::Epoch`]).
    pub fn assign(&self, watermark: i64) {
        self.assigned.store(watermark, Ordering::Release);
    }

    /// The watermark last assigned.
    pub fn assigned(&self) -> i64 {
        self.assigned.load(Ordering::Acquire)
    }

    /// From now on rows of an epoch after this one move the watermark only when [`EventClock::open`] was called for it.
    pub fn hold_after(&self, epoch: u64) {
        self.open.store(epoch, Ordering::SeqCst);
    }

    /// All epochs before this one are complete on all workers: its rows may move the watermark.
    pub fn open(&self, epoch: u64) {
        if self.open.fetch_max(epoch, Ordering::SeqCst) < epoch {
            self.wake_all();
        }
    }

    pub(super) fn is_open(&self, epoch: u64) -> bool {
        epoch <= self.open.load(Ordering::SeqCst)
    }

    /// Takes the event times seen since the last call; `None` without a row.
    pub fn take(&self) -> Option<EventTimes> {
        let count = self.seen.count.swap(0, Ordering::AcqRel);
        let sum = self.seen.sum.swap(0, Ordering::AcqRel);
        let times = EventTimes {
            max: self.seen.max.swap(i64::MIN, Ordering::AcqRel),
            min: self.seen.min.swap(i64::MAX, Ordering::AcqRel),
            avg: if count == 0 { 0 } else { sum.div_euclid(count).saturating_mul(1000) },
        };
        (count > 0).then_some(times)
    }

    /// The watermark that the partitions have reached together: the minimum over those that are not idle, or the maximum over
    /// all if all are.
    pub fn reached(&self, delay: i64) -> i64 {
        self.or_others(self.partitions.iter().map(|slot| &slot.now), delay)
    }

    /// As [`EventClock::reached`], by the rows up to the epoch that was completed last on all workers: a run that starts behind that epoch
    /// reads the others again, and none of them may be late because of those after it.
    pub fn closed(&self, delay: i64) -> i64 {
        self.or_others(self.partitions.iter().map(|slot| &slot.closed), delay)
    }

    /// The watermark of partitions that stand so; if all of them are idle, at least that of the other places.
    fn or_others<'a>(&self, stands: impl Iterator<Item = &'a Stand> + Clone, delay: i64) -> i64 {
        let own = together(stands.clone(), delay);
        if stands.clone().next().is_none() || stands.clone().any(|stand| !stand.is_idle()) {
            return own;
        }
        let others = self.others.get().into_iter().flatten();
        let others = others.filter_map(|(other, delay)| other.upgrade()?.active(*delay)).min();
        others.map_or(own, |others| own.max(others))
    }

    /// What the partitions that were not idle had reached when the last epoch was complete; `None` if all were.
    fn active(&self, delay: i64) -> Option<i64> {
        let stands = || self.partitions.iter().map(|slot| &slot.closed);
        stands().any(|stand| !stand.is_idle()).then(|| together(stands(), delay))
    }

    /// How the watermark stands.
    pub fn report(&self, delay: i64) -> ClockReport {
        let (idle, active): (Vec<&Slot>, Vec<&Slot>) = self.partitions.iter().partition(|slot| slot.now.is_idle());
        let behind = active.iter().min_by_key(|slot| slot.now.max());
        let first = self.first_ahead.load(Ordering::Acquire);
        ClockReport {
            watermark: self.reached(delay),
            held_by: behind.map(|slot| slot.number),
            idle: idle.iter().map(|slot| slot.number).collect(),
            ahead: self.ahead.load(Ordering::Acquire),
            first_ahead: (first != i64::MIN).then_some(first),
            delay_for_99_percent: self.delay_for_99_percent(),
        }
    }

    /// Whether an event time is more than `skew` ahead of all others, so that it has to be looked at.
    pub(super) fn is_ahead(&self, time: i64, skew: i64) -> bool {
        let greatest = self.greatest.load(Ordering::Acquire);
        greatest == i64::MIN || time > greatest.saturating_add(skew)
    }

    /// Notes event times of a partition whose largest was `before`; gives their largest. Sums are kept in milliseconds, so
    /// that they do not overflow.
    pub(super) fn note(&self, times: &TimestampMicrosecondArray, before: i64) -> Option<i64> {
        let (largest, smallest) = (max(times)?, min(times)?);
        self.greatest.fetch_max(largest, Ordering::AcqRel);
        self.seen.max.fetch_max(largest, Ordering::AcqRel);
        self.seen.min.fetch_min(smallest, Ordering::AcqRel);
        self.seen.sum.fetch_add(sum_of_millis(times), Ordering::AcqRel);
        let rows = times.len() - times.null_count();
        self.seen.count.fetch_add(rows as i64, Ordering::AcqRel);
        self.note_delays(times, rows, smallest, before);
        Some(largest)
    }

    /// As [`EventClock::note`], without the times that are ahead by more than `skew`, of those before and of `now`.
    pub(super) fn note_plausible(
        &self,
        times: &TimestampMicrosecondArray,
        skew: i64,
        now: i64,
        before: i64,
    ) -> Option<i64> {
        let mut greatest = self.greatest.load(Ordering::Acquire);
        let by_wall = now.saturating_add(skew);
        let mut plausible = Vec::with_capacity(times.len());
        for time in times.iter().flatten() {
            let by_others = if greatest == i64::MIN { i64::MIN } else { greatest.saturating_add(skew) };
            if time > by_wall.max(by_others) {
                self.note_ahead(time);
            } else {
                greatest = greatest.max(time);
                plausible.push(time);
            }
        }
        self.note(&TimestampMicrosecondArray::from(plausible), before)
    }

    fn note_ahead(&self, time: i64) {
        if self.ahead.fetch_add(1, Ordering::AcqRel) == 0 {
            self.first_ahead.store(time, Ordering::Release);
        }
    }

    /// Costs what others see once a chunk.
    fn note_delays(&self, times: &TimestampMicrosecondArray, rows: usize, smallest: i64, before: i64) {
        let mut counts = [0; CLASSES];
        counts[0] = rows as u64;
        if smallest < before {
            for time in times.iter().flatten().filter(|time| *time < before) {
                counts[class(before.saturating_sub(time))] += 1;
                counts[0] -= 1;
            }
        }
        for (delay, count) in self.delays.iter().zip(counts).filter(|(_, count)| *count > 0) {
            delay.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn delay_for_99_percent(&self) -> Option<u64> {
        let counts: Vec<u64> = self.delays.iter().map(|class| class.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let enough = all - all / 100;
        let mut kept = 0;
        let enough = |count: &u64| {
            kept += count;
            kept >= enough
        };
        (all > 0).then(|| counts.iter().position(enough).map(upper_bound)).flatten()
    }

    /// A partition's largest event time, and whether it rests.
    pub(super) fn set_partition(&self, number: u32, max: i64, idle: bool) {
        self.slot(number).inspect(|slot| slot.now.set(max, idle));
    }

    /// As [`EventClock::set_partition`], once all rows of an epoch have come.
    pub(super) fn close_partition(&self, number: u32, max: i64, idle: bool) {
        self.slot(number).inspect(|slot| slot.closed.set(max, idle));
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        self.partitions.iter().find(|slot| slot.number == number)
    }

    /// A worker begins to follow the others, or no longer does.
    pub(super) fn follow(&self, follows: bool) {
        if follows {
            self.followers.fetch_add(1, Ordering::SeqCst);
        } else {
            self.followers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(super) fn wake_followers(&self) {
        if self.followers.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A worker that has ended needs no waking.
            let _ = waker.activate();
        }
    }

    pub(super) fn add_waker(&self, activator: SyncActivator) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(activator);
    }
}

/// The watermark of partitions that stand so.
fn together<'a>(partitions: impl Iterator<Item = &'a Stand> + Clone, delay: i64) -> i64 {
    let active = partitions.clone().filter(|stand| !stand.is_idle()).map(Stand::max).min();
    watermark_for(active.or_else(|| partitions.map(Stand::max).max()).unwrap_or(i64::MIN), delay)
}

/// Whole milliseconds, summed.
fn sum_of_millis(times: &TimestampMicrosecondArray) -> i64 {
    let millis = |micros: &i64| micros.div_euclid(1000);
    let add = |sum: i64, millis: i64| sum.wrapping_add(millis);
    match times.null_count() {
        0 => times.values().iter().map(millis).fold(0, add),
        _ => times.iter().flatten().map(|micros| millis(&micros)).fold(0, add),
    }
}

/// The class of a delay in microseconds; class 0 is no delay.
fn class(delay: i64) -> usize {
    let millis = u64::try_from(delay).unwrap_or(0).div_ceil(1000).max(1);
    let power = 63 - millis.leading_zeros() as usize;
    let quarter = (millis << 2 >> power) as usize & 3;
    (1 + 4 * power + quarter).min(CLASSES - 1)
}

/// The largest delay of a class, in milliseconds.
fn upper_bound(class: usize) -> u64 {
    let Some(place) = class.checked_sub(1) else { return 0 };
    let (power, quarter) = (place / 4, place as u128 % 4);
    let above = ((5 + quarter) << power) / 4;
    u64::try_from(above.max(1)).unwrap_or(u64::MAX)
}
