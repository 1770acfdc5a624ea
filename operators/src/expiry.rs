//! A queue of ids ordered by the event time at which they expire.
//!
//! In: ids with their times, in any order. Out: the ids whose time has passed. What always holds: expiring costs in
//! proportion to what expires, plus one bucket of a second.

use std::collections::BTreeMap;
use std::mem::size_of;

/// Width of a bucket in microseconds.
const WIDTH: i64 = 1_000_000;

/// Ids by the time at which they expire.
#[derive(Debug, Default)]
pub struct Expiry {
    buckets: BTreeMap<i64, Vec<(i64, u32)>>,
    len: usize,
}

impl Expiry {
    /// Adds ids with their times.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = (i64, u32)>) {
        let mut entries = entries.into_iter().peekable();
        while let Some((time, id)) = entries.next() {
            let key = time.div_euclid(WIDTH);
            let bucket = self.buckets.entry(key).or_default();
            bucket.push((time, id));
            self.len += 1;
            while let Some(entry) = entries.next_if(|(time, _)| time.div_euclid(WIDTH) == key) {
                bucket.push(entry);
                self.len += 1;
            }
        }
    }

    /// Moves the ids whose time is at or below `threshold` to `expired`.
    pub fn expire(&mut self, threshold: i64, expired: &mut Vec<u32>) {
        let edge = threshold.div_euclid(WIDTH);
        let before = expired.len();
        while let Some(entry) = self.buckets.first_entry() {
            if *entry.key() > edge {
                break;
            }
            let key = *entry.key();
            let (gone, kept): (Vec<_>, Vec<_>) = entry.remove().into_iter().partition(|(time, _)| *time <= threshold);
            expired.extend(gone.into_iter().map(|(_, id)| id));
            if !kept.is_empty() {
                self.buckets.insert(key, kept);
                break;
            }
        }
        self.len -= expired.len() - before;
    }

    /// Memory held, in bytes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.len * size_of::<(i64, u32)>() + self.buckets.len() * size_of::<(i64, Vec<u32>)>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn expires_exactly_what_is_due(times in prop::collection::vec(-3_000_000i64..9_000_000, 0..60), mut thresholds in prop::collection::vec(-3_000_000i64..9_000_000, 1..6)) {
            thresholds.sort();
            let mut expiry = Expiry::default();
            expiry.extend(times.iter().copied().zip(0..));
            let mut gone = Vec::new();
            for threshold in thresholds {
                expiry.expire(threshold, &mut gone);
                let mut seen = gone.clone();
                seen.sort();
                let due: Vec<u32> = (0..times.len() as u32).filter(|id| times[*id as usize] <= threshold).collect();
                prop_assert_eq!(seen, due);
                prop_assert_eq!(expiry.len, times.len() - gone.len());
            }
        }
    }
}
