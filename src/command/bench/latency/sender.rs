//! The sending side of the latency bench: which line is due when, and sending it then.
//!
//! In: a schedule and a connection. Out: lines on the wire. A line's due time depends on its number alone; the sender never
//! skips one. It gives up when it is hopelessly late, so that the bench ends.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use thalweg::clock::SharedClock;

use super::super::data::Random;

pub(super) const SECOND: u64 = 1_000_000_000;
/// Different keys.
pub(in super::super) const KEYS: u64 = 100;
/// Most lines of one write.
const BURST: u64 = 4096;

/// Lines at a fixed rate; those before `warm` are not counted.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Schedule {
    rate: u64,
    /// Number of the first line that counts.
    pub warm: u64,
    /// Number of lines.
    pub total: u64,
}

impl Schedule {
    /// `rate` lines a second for `warm + seconds` seconds.
    pub(in super::super) fn new(rate: u64, warm: u64, seconds: u64) -> Self {
        Schedule { rate, warm: rate * warm, total: rate * (warm + seconds) }
    }

    /// When a line is due, in nanoseconds from the start.
    pub(in super::super) fn due(&self, number: u64) -> u64 {
        (u128::from(number) * u128::from(SECOND) / u128::from(self.rate)) as u64
    }

    /// How many lines are due after so many nanoseconds.
    pub(super) fn due_by(&self, nanos: u64) -> u64 {
        let count = 1 + u128::from(nanos) * u128::from(self.rate) / u128::from(SECOND);
        u64::try_from(count).unwrap_or(u64::MAX).min(self.total)
    }

    /// Key and value of a line.
    pub(in super::super) fn record(number: u64) -> (u64, u64) {
        let mut random = Random::new(number);
        (random.below(KEYS), random.below(10))
    }
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Sent {
    /// Lines.
    pub lines: u64,
    /// Nanoseconds from the start to the end of the last write.
    pub nanos: u64,
}

/// Sends a schedule's lines.
pub(in super::super) struct Sender<'a> {
    schedule: Schedule,
    start: u64,
    clock: &'a SharedClock,
}

impl<'a> Sender<'a> {
    /// The first line is due at `start` of this clock.
    pub(in super::super) fn new(schedule: Schedule, start: u64, clock: &'a SharedClock) -> Self {
        Sender { schedule, start, clock }
    }

    fn passed(&self) -> u64 {
        self.clock.nanos().saturating_sub(self.start)
    }

    /// Sends all lines, or as many as the other end takes in twice the time they were planned for.
    pub(in super::super) fn send(&self, mut stream: &TcpStream) -> Sent {
        // Without a limit a peer that stopped reading would block for ever; if it cannot be set, the peer's end frees us.
        let _ = stream.set_write_timeout(Some(Duration::from_secs(2)));
        let mut lines = String::new();
        self.pace(|numbers| {
            lines.clear();
            numbers.for_each(|number| push_line(number, &mut lines));
            stream.write_all(lines.as_bytes()).is_ok()
        })
    }

    /// Hands the numbers of lines to `write` when they are due, until it says false or all hope to keep up is lost.
    pub(in super::super) fn pace(&self, mut write: impl FnMut(Range<u64>) -> bool) -> Sent {
        let give_up = self.schedule.due(self.schedule.total) * 2 + SECOND;
        let mut sent = Sent::default();
        while sent.lines < self.schedule.total && self.passed() < give_up {
            let end = self.wait_for(sent.lines);
            if !write(sent.lines..end) {
                break;
            }
            sent = Sent { lines: end, nanos: self.passed() };
        }
        sent
    }

    /// Waits until the line is due; gives the end of the lines that are due by then.
    fn wait_for(&self, number: u64) -> u64 {
        let due = self.start + self.schedule.due(number);
        loop {
            let now = self.clock.nanos();
            if now >= due {
                return self.schedule.due_by(now - self.start).min(number + BURST).max(number + 1);
            }
            std::thread::park_timeout(Duration::from_nanos((due - now).max(50_000)));
        }
    }
}

fn push_line(number: u64, lines: &mut String) {
    let (key, val) = Schedule::record(number);
    let _ = writeln!(lines, "{key},{val}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_due_evenly() {
        let schedule = Schedule::new(1000, 1, 2);
        assert_eq!((schedule.warm, schedule.total), (1000, 3000));
        assert_eq!([0, 1, 1500].map(|number| schedule.due(number)), [0, 1_000_000, 1_500_000_000]);
        assert_eq!([0, 999_999, 1_000_000, u64::MAX].map(|nanos| schedule.due_by(nanos)), [1, 1, 2, 3000]);
    }
}
