//! How far a batch reads: Spark's rules for shares of `maxOffsetsPerTrigger` and for waiting until enough has come.
//!
//! In: where the last batch ended and where the partitions end now. Out: where this batch ends. Nothing is asked here.

use std::time::Duration;

use super::offsets::{Partition, Positions};

/// Ends such that at most about `most` offsets are read, shared out in proportion to what each partition has. `begins` has every
/// partition of `ends`.
pub(super) fn shared_out(most: u64, begins: &Positions, ends: &Positions) -> Positions {
    let waiting = |partition: &Partition, end: &i64| end.saturating_sub(*begins.get(partition).unwrap_or(end)).max(0);
    let total: f64 = ends.iter().map(|(partition, end)| waiting(partition, end) as f64).sum();
    let share = |(partition, end): (&Partition, &i64)| {
        let waits = waiting(partition, end);
        if waits == 0 || total < 1.0 {
            return (partition.clone(), *end);
        }
        let share = most as f64 * (waits as f64 / total);
        // A small partition beside large ones must not starve.
        let share = if share < 1.0 { share.ceil() } else { share.floor() } as i64;
        (partition.clone(), (*end).min((end - waits).saturating_add(share)))
    };
    ends.iter().map(share).collect()
}

/// Whether enough has come for a batch.
#[derive(Debug)]
pub(super) struct Patience {
    least: u64,
    longest: Duration,
    /// When the last batch began (nanoseconds).
    last: Option<u64>,
}

impl Patience {
    /// A batch needs `least` records, or `longest` since the last one.
    pub(super) fn new(least: u64, longest: Duration) -> Patience {
        Patience { least, longest, last: None }
    }

    /// True if the batch should wait; otherwise it begins `now` (nanoseconds).
    pub(super) fn waits(&mut self, begins: &Positions, ends: &Positions, now: u64) -> bool {
        let long_ago = self.last.is_none_or(|last| u128::from(now.saturating_sub(last)) >= self.longest.as_nanos());
        let new: i64 = ends.iter().map(|(p, end)| end.saturating_sub(*begins.get(p).unwrap_or(&0)).max(0)).sum();
        if !long_ago && new.unsigned_abs() < self.least {
            return true;
        }
        self.last = Some(now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(places: &[i64]) -> Positions {
        places.iter().enumerate().map(|(n, place)| (("t".into(), n as i32), *place)).collect()
    }

    #[test]
    fn shares_follow_the_volume() {
        let (begins, ends) = (positions(&[0, 100, 7, 5]), positions(&[1000, 101, 7, 1005]));
        let shares = shared_out(100, &begins, &ends);
        assert_eq!(shares.into_values().collect::<Vec<_>>(), [49, 101, 7, 54]);
        assert_eq!(shared_out(5000, &begins, &ends), ends);
        assert_eq!(shared_out(10, &ends, &ends), ends);
    }

    #[test]
    fn a_batch_waits_for_enough_or_long_enough() {
        let mut patience = Patience::new(10, Duration::from_nanos(100));
        assert!(!patience.waits(&positions(&[0]), &positions(&[1]), 5), "the first one");
        assert!(patience.waits(&positions(&[1]), &positions(&[10]), 50));
        assert!(!patience.waits(&positions(&[1]), &positions(&[11]), 51));
        assert!(!patience.waits(&positions(&[11]), &positions(&[12]), 151));
    }
}
