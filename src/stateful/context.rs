//! What a call gets besides its key: its rows, the state of its key with the times and timers, and where results go.

use thalweg_operators::arbitrary::{States, TimeMode};

use crate::{Error, Result};

/// What is the same for all calls of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Which time timers are about.
    pub time: TimeMode,
    /// It is a query over static data: there are no timers.
    pub batch: bool,
    /// Whether the input has an event time with a watermark.
    pub watermark: bool,
}

/// The state, the timers and the times of a call. Handles of variables ([`super::ValueState`] and its siblings) read and write
/// through it. All times are milliseconds since 1970.
#[derive(Debug)]
pub struct Context<'a> {
    pub(super) states: &'a mut States,
    pub(super) facts: Facts,
}

impl Context<'_> {
    /// Processing time: that of the batch under the micro-batch driver, the clock's under the continuous one.
    pub fn current_processing_time_ms(&self) -> i64 {
        self.states.now()
    }

    /// Event time up to which everything has come; 0 before the first watermark and in a query over static data.
    pub fn current_watermark_ms(&self) -> i64 {
        self.states.watermark().unwrap_or(0)
    }

    /// Asks for a call of [`super::StatefulProcessor::handle_expired_timer`] for this key at this time. A time that is past
    /// already is due as soon as the calls for rows are done. In a query over static data nothing happens.
    ///
    /// # Errors
    /// `STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_TIME_MODE` without a time mode.
    pub fn register_timer(&mut self, at: i64) -> Result<()> {
        self.check("register_timer")?;
        if !self.facts.batch {
            self.states.register_timer(at);
        }
        Ok(())
    }

    /// Takes a timer of this key back; nothing happens if there is none for this time.
    ///
    /// # Errors
    /// As [`Context::register_timer`].
    pub fn delete_timer(&mut self, at: i64) -> Result<()> {
        self.check("delete_timer")?;
        self.states.delete_timer(at);
        Ok(())
    }

    /// The times of this key's timers, the earliest first.
    ///
    /// # Errors
    /// As [`Context::register_timer`].
    pub fn list_timers(&self) -> Result<Vec<i64>> {
        self.check("list_timers")?;
        Ok(self.states.timers().collect())
    }

    fn check(&self, operation: &str) -> Result<()> {
        if self.facts.time != TimeMode::None {
            return Ok(());
        }
        let condition = "STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_TIME_MODE";
        Err(Error::query(condition, format!("'{operation}' needs a time mode, and the query has none"))
            .hint("Use TimeMode::EventTime or TimeMode::ProcessingTime."))
    }
}

/// Where results go.
#[derive(Debug)]
pub struct Collector<T> {
    pub(super) rows: Vec<T>,
}

impl<T> Collector<T> {
    /// Gives a row to whatever follows.
    pub fn collect(&mut self, row: T) {
        self.rows.push(row);
    }
}

impl<T> Extend<T> for Collector<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, rows: I) {
        self.rows.extend(rows);
    }
}

/// The rows of a call, in the order in which they came from each source partition.
pub struct Rows<'a, T> {
    pub(super) items: &'a mut dyn Iterator<Item = T>,
}

impl<T> Iterator for Rows<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.items.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<T> std::fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({:?} left)", self.items.size_hint().0)
    }
}
