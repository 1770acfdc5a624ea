//! Time as a parameter: the only place that reads the clocks of the machine.
//!
//! Triggers, timeouts and latencies use the monotonic clock; event-time defaults and `current_timestamp` use the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. [`SystemClock`] in production, [`ManualClock`] in tests.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock: microseconds since 1970-01-01 UTC.
    fn wall_micros(&self) -> i64;
    /// Monotonic: nanoseconds since some fixed instant, never 0.
    fn nanos(&self) -> u64;
}

/// A clock shared by everything in a query.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic part starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
    pub fn shared() -> SharedClock {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Arc::new(SystemClock { start: *START.get_or_init(Instant::now) })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
    fn wall_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn nanos(&self) -> u64 {
        nanos_of(self.start.elapsed()).saturating_add(1)
    }
}

/// A time in nanoseconds; what is too long for 64 bits is as long as they tell.
pub(crate) fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall: AtomicI64,
    nanos: AtomicU64,
}

impl ManualClock {
    /// A clock at this wall time (microseconds since 1970).
    pub fn at(wall_micros: i64) -> Arc<Self> {
        Arc::new(ManualClock { wall: AtomicI64::new(wall_micros), nanos: AtomicU64::new(1) })
    }

    /// Moves both clocks.
    pub fn advance(&self, by: std::time::Duration) {
        self.wall.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::AcqRel);
        self.nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Sets the wall clock alone, as an operator of the machine or a time server may; the monotonic clock goes on.
    pub fn set_wall(&self, micros: i64) {
        self.wall.store(micros, Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn wall_micros(&self) -> i64 {
        self.wall.load(Ordering::Acquire)
    }

    fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Acquire)
    }
}
