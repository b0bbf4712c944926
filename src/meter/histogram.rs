//! A histogram with fixed bounds that many threads add to at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// More bounds than this no histogram has.
const MOST: usize = 20;

/// Counts observations by upper bound. The sum is kept in millionths.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: [AtomicU64; MOST + 1],
    sum_millionths: AtomicU64,
}

/// What a histogram holds at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bound and how many were at or below it, rising.
    pub below: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    /// An empty one; `bounds` rise, at most twenty of them.
    pub const fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= MOST, "too many bounds");
        Self { bounds, counts: [const { AtomicU64::new(0) }; MOST + 1], sum_millionths: AtomicU64::new(0) }
    }

    /// Adds one observation.
    pub fn observe(&self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Adds a duration in seconds.
    pub fn took(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Adds the same observation several times.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "clamped to what fits")]
    pub fn observe_many(&self, value: f64, times: u64) {
        let value = if value.is_finite() { value.clamp(0.0, 1e9) } else { 0.0 };
        let slot = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(slot) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.sum_millionths.fetch_add((value * 1e6 * times as f64) as u64, Ordering::Relaxed);
    }

    /// What it holds now. Taken bucket by bucket, so the count is that of the buckets, whatever is added meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "a sum of millionths as a floating-point sample")]
    pub fn read(&self) -> Reading {
        let mut count = 0;
        let mut below = Vec::with_capacity(self.bounds.len());
        for (slot, bucket) in self.counts.iter().enumerate().take(self.bounds.len() + 1) {
            count += bucket.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds.get(slot) {
                below.push((*bound, count));
            }
        }
        Reading { below, count, sum: self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let h = Histogram::new(&[1.0, 2.0, 5.0]);
        for value in [0.5, 1.0, 1.5, 5.0, 7.0, f64::NAN] {
            h.observe(value);
        }
        h.observe_many(2.0, 3);
        let r = h.read();
        assert_eq!(r.below, [(1.0, 3), (2.0, 7), (5.0, 8)]);
        assert_eq!(r.count, 9);
        assert!((r.sum - 21.0).abs() < 1e-6, "{}", r.sum);
    }
}
