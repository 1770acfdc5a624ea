//! The receiving side of the latency bench: which lines an answer covers, and how late it is.
//!
//! In: answers with the time they came. Out: quantiles from the due times. Each line that counts is answered once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use super::sender::{Schedule, Sent};

/// The answers to a schedule's lines.
pub(in super::super) struct Answers {
    schedule: Schedule,
    start: u64,
    /// When each line was handed over, where that counts and not when it was due.
    handed: Option<Arc<[AtomicU64]>>,
    /// key → (its lines, how many are answered); lines without an answer are left out.
    by_key: BTreeMap<u64, (Vec<u64>, usize)>,
    /// Nanoseconds; none only if memory ran out when it was made.
    histogram: Option<Histogram<u64>>,
    due: u64,
    /// Answers, also of lines that do not count.
    left: u64,
    /// What was sent, once that is known.
    pub sent: Sent,
}

impl Answers {
    /// `answered`: whether the line of this number gets an answer.
    pub(in super::super) fn new(schedule: Schedule, start: u64, answered: impl Fn(u64) -> bool) -> Self {
        let mut by_key: BTreeMap<u64, (Vec<u64>, usize)> = BTreeMap::new();
        let (mut due, mut left) = (0, 0);
        for number in (0..schedule.total).filter(|number| answered(*number)) {
            by_key.entry(Schedule::record(number).0).or_default().0.push(number);
            due += u64::from(number >= schedule.warm);
            left += 1;
        }
        let histogram = Histogram::new(3).ok();
        Answers { schedule, start, handed: None, by_key, histogram, due, left, sent: Sent::default() }
    }

    /// The same, but the time of a line begins when it was handed over, by these times of the clock.
    pub(in super::super) fn since_handed(self, handed: Arc<[AtomicU64]>) -> Self {
        Answers { handed: Some(handed), ..self }
    }

    /// When the time of a line begins.
    fn begin(&self, number: u64) -> u64 {
        let handed = self.handed.as_ref().and_then(|handed| handed.get(usize::try_from(number).ok()?));
        handed.map_or_else(|| self.start + self.schedule.due(number), |nanos| nanos.load(Ordering::Acquire))
    }

    /// The line of this number was answered at `now`.
    pub(in super::super) fn answer(&mut self, number: u64, now: u64) {
        self.left = self.left.saturating_sub(1);
        if number < self.schedule.warm {
            return;
        }
        let late = now.saturating_sub(self.begin(number));
        if let Some(histogram) = &mut self.histogram {
            // It grows as needed, and refuses nothing from 1 on.
            let _ = histogram.record(late.max(1));
        }
    }

    /// The first `count` lines of a key are answered.
    pub(in super::super) fn answer_key(&mut self, key: i64, count: i64, now: u64) {
        let (Ok(key), Ok(count)) = (u64::try_from(key), usize::try_from(count)) else { return };
        let Some((lines, seen)) = self.by_key.get_mut(&key) else { return };
        let fresh: Vec<u64> = lines.get(*seen..count.min(lines.len())).unwrap_or_default().to_vec();
        *seen += fresh.len();
        fresh.into_iter().for_each(|number| self.answer(number, now));
    }

    /// True if no answer is missing.
    pub(in super::super) fn complete(&self) -> bool {
        self.left == 0
    }

    /// A quantile in microseconds; none if nothing was answered.
    pub(in super::super) fn micros(&self, quantile: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(quantile) / 1000)
    }

    /// Lines that count.
    pub(in super::super) fn due(&self) -> u64 {
        self.due
    }

    /// Lines that count and were answered.
    pub(in super::super) fn answered(&self) -> u64 {
        self.histogram.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// What the engine took; below the rate if it pushed back.
    pub(in super::super) fn sent_per_second(&self) -> Option<u64> {
        let seconds = self.sent.nanos as f64 / 1e9;
        (seconds > 0.0).then(|| (self.sent.lines as f64 / seconds).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_answers_all_lines_up_to_its_count_once() {
        let schedule = Schedule::new(1000, 0, 1);
        let mut answers = Answers::new(schedule, 0, |_| true);
        let lines: Vec<u64> = (0..1000).filter(|number| Schedule::record(*number).0 == 7).collect();
        answers.answer_key(7, 2, schedule.due(lines[1]) + 5_000);
        answers.answer_key(7, 2, u64::MAX);
        assert_eq!(answers.answered(), 2);
        assert_eq!(answers.micros(0.0), Some(5));
        answers.answer_key(7, 1_000_000, schedule.due(999));
        assert_eq!(answers.answered(), lines.len() as u64);
        assert!(!answers.complete());
    }
}
