//! What operators say of themselves in progress reports.
//!
//! In: figures of one operator on one worker. Out: those of several times and several workers together. Counts of changes add up; what
//! is kept now is that of the latest look.

/// What a stateful operator keeps, for progress reports. Counts are of this worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateMetrics {
    /// Keys (or rows, for joins) held now.
    pub rows_total: u64,
    /// Keys touched since the last report.
    pub rows_updated: u64,
    /// Keys evicted since the last report.
    pub rows_removed: u64,
    /// Rows dropped as late since the last report.
    pub rows_dropped: u64,
    /// Bytes of memory held.
    pub memory_bytes: u64,
    /// How many of the keys (or rows) held are not in memory, but in a [`crate::cold::ColdStore`].
    pub cold_rows: u64,
    /// Bytes that these are there, keys and values.
    pub cold_bytes: u64,
    /// The processing time (microseconds since 1970) at which an epoch is wanted even if no row comes.
    pub wakes_at: Option<i64>,
}

impl StateMetrics {
    /// What was found later, with the changes of before added to its own.
    pub(super) fn followed_by(self, later: StateMetrics) -> StateMetrics {
        StateMetrics {
            rows_updated: self.rows_updated + later.rows_updated,
            rows_removed: self.rows_removed + later.rows_removed,
            rows_dropped: self.rows_dropped + later.rows_dropped,
            ..later
        }
    }
}

impl std::ops::AddAssign for StateMetrics {
    /// The figures of several workers together; the earliest wish for an epoch.
    fn add_assign(&mut self, more: StateMetrics) {
        self.rows_total += more.rows_total;
        self.rows_updated += more.rows_updated;
        self.rows_removed += more.rows_removed;
        self.rows_dropped += more.rows_dropped;
        self.memory_bytes += more.memory_bytes;
        self.cold_rows += more.cold_rows;
        self.cold_bytes += more.cold_bytes;
        self.wakes_at = [self.wakes_at, more.wakes_at].into_iter().flatten().min();
    }
}
