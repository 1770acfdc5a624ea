//! A sketch of a distribution with bounded error: Greenwald and Khanna's summary, as Spark's `percentile_approx` keeps it.
//!
//! In: doubles, one after the other. Out: a value whose rank differs from the one asked for by at most the relative error
//! times the count; exact while the count is below half the accuracy. What always holds: samples are sorted by value, and
//! for each the true rank lies between the sum of gaps up to it and that plus its uncertainty.

use std::mem::size_of;

/// One kept value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub value: f64,
    /// By how much its smallest possible rank exceeds that of the sample before.
    pub gap: i64,
    /// By how much its largest possible rank exceeds the smallest.
    pub uncertainty: i64,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Quantiles {
    samples: Vec<Sample>,
    count: i64,
    /// Values not yet among the samples.
    fresh: Vec<f64>,
}

/// Values are taken up in lots of this size.
const LOT: usize = 10_000;

impl Quantiles {
    /// A summary from its parts, as [`Quantiles::parts`] gave them.
    pub fn from_parts(count: i64, samples: Vec<Sample>) -> Self {
        Quantiles { samples, count, fresh: Vec::new() }
    }

    /// The number of values and the samples, with nothing fresh left.
    pub fn parts(&self, error: f64) -> (i64, Vec<Sample>) {
        let mut settled = self.clone();
        settled.settle(error);
        (settled.count, settled.samples)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.fresh.is_empty()
    }

    pub fn insert(&mut self, value: f64, error: f64) {
        self.fresh.push(value);
        if self.fresh.len() >= LOT {
            self.settle(error);
        }
    }

    /// Takes up the fresh values and drops samples that the error allows to drop.
    pub fn settle(&mut self, error: f64) {
        if self.fresh.is_empty() {
            return;
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_by(f64::total_cmp);
        let old = std::mem::take(&mut self.samples);
        let mut old = old.into_iter().peekable();
        self.samples.reserve(fresh.len());
        let last = fresh.len() - 1;
        for (position, value) in fresh.into_iter().enumerate() {
            while let Some(sample) = old.next_if(|sample| sample.value.total_cmp(&value).is_le()) {
                self.samples.push(sample);
            }
            self.count += 1;
            let is_end = self.samples.is_empty() || (position == last && old.peek().is_none());
            let uncertainty = if is_end { 0 } else { (2.0 * error * self.count as f64).floor() as i64 };
            self.samples.push(Sample { value, gap: 1, uncertainty });
        }
        self.samples.extend(old);
        self.compress(error);
    }

    /// Joins neighbours whose ranks are known more precisely than needed; the first and last value stay.
    fn compress(&mut self, error: f64) {
        let threshold = 2.0 * error * self.count as f64;
        let Some(mut head) = self.samples.pop() else { return };
        let mut kept = Vec::with_capacity(self.samples.len() + 1);
        for (position, sample) in self.samples.iter().enumerate().rev() {
            if position > 0 && ((sample.gap + head.gap + head.uncertainty) as f64) < threshold {
                head.gap += sample.gap;
            } else {
                kept.push(std::mem::replace(&mut head, *sample));
            }
        }
        kept.push(head);
        kept.reverse();
        self.samples = kept;
    }

    /// Adds what another summary with the same error has seen.
    pub fn merge(&mut self, mut other: Quantiles, error: f64) {
        self.settle(error);
        other.settle(error);
        if self.count == 0 {
            *self = other;
            return;
        }
        let grown =
            [(2.0 * error * other.count as f64).floor() as i64, (2.0 * error * self.count as f64).floor() as i64];
        self.count += other.count;
        let ours = std::mem::take(&mut self.samples);
        self.samples = interleave(ours, other.samples, grown);
        self.compress(error);
    }

    /// The value at this share of the count; `None` if there is no value.
    pub fn query(&self, percentage: f64, error: f64) -> Option<f64> {
        let (count, samples) = self.parts(error);
        let tolerance = samples.iter().map(|sample| sample.gap + sample.uncertainty).max()? as f64 / 2.0;
        if percentage <= error {
            return samples.first().map(|sample| sample.value);
        }
        let rank = (percentage * count as f64).ceil();
        let mut smallest = 0;
        for sample in samples.iter().take_while(|_| percentage < 1.0 - error) {
            smallest += sample.gap;
            let largest = smallest + sample.uncertainty;
            if largest as f64 - tolerance <= rank && rank <= smallest as f64 + tolerance {
                return Some(sample.value);
            }
        }
        samples.last().map(|sample| sample.value)
    }

    pub fn heap_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>() + self.fresh.capacity() * size_of::<f64>()
    }
}

/// Both lists in order; a sample gets more uncertain by what the other list may hide around it.
fn interleave(left: Vec<Sample>, right: Vec<Sample>, grown: [i64; 2]) -> Vec<Sample> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (Some(ours), Some(theirs)) => ours.value.total_cmp(&theirs.value).is_le(),
            (ours, None) => ours.is_some(),
            (None, Some(_)) => false,
        };
        let (next, other_ended) = match take_left {
            true => (left.next(), right.peek().is_none()),
            false => (right.next(), left.peek().is_none()),
        };
        let Some(mut sample) = next else { return merged };
        let alone = merged.is_empty() || other_ended;
        sample.uncertainty += if alone { 0 } else { grown[usize::from(!take_left)] };
        merged.push(sample);
    }
}
