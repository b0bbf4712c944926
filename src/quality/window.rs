//! A sliding window over days that always knows its median and its median absolute deviation.
//!
//! What it says depends only on what lies in the window, never on how it got there: recomputing all of history
//! gives the same bits as adding one day.

use std::collections::VecDeque;

/// Median and spread of the days before, on the metric's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// Days that went in.
    pub n: u32,
    /// Their median.
    pub median: f64,
    /// 1.4826 × median absolute deviation, which is the standard deviation of a bell curve; never below the floor given.
    pub spread: f64,
}

/// Values of the last so-many days, oldest first and sorted.
#[derive(Debug)]
pub struct Rolling {
    days: i32,
    queue: VecDeque<(i32, f64)>,
    sorted: Vec<f64>,
}

impl Rolling {
    /// A window over the `days` days before the day asked about.
    pub fn new(days: i32) -> Self {
        Self { days, queue: VecDeque::new(), sorted: Vec::new() }
    }

    /// Empties it for another series with a window of its own.
    pub fn reset(&mut self, days: i32) {
        self.days = days;
        self.queue.clear();
        self.sorted.clear();
    }

    /// Adds the value of a day; days must not go backwards.
    pub fn push(&mut self, day: i32, value: f64) {
        self.queue.push_back((day, value));
        let at = self.sorted.partition_point(|x| x.total_cmp(&value).is_lt());
        self.sorted.insert(at, value);
    }

    /// Drops what lies more than the window's days before `day`.
    pub fn advance(&mut self, day: i32) {
        while let Some(&(first, value)) = self.queue.front() {
            if first >= day - self.days {
                break;
            }
            self.queue.pop_front();
            let at = self.sorted.partition_point(|x| x.total_cmp(&value).is_lt());
            self.sorted.remove(at);
        }
    }

    /// Days in it.
    pub fn len(&self) -> u32 {
        self.queue.len() as u32
    }

    /// How many of its values are at most `far` from zero.
    pub fn within(&self, far: f64) -> u32 {
        let below = self.sorted.partition_point(|x| *x < -far);
        (self.sorted.partition_point(|x| *x <= far) - below.min(self.sorted.len())) as u32
    }

    /// Median and spread, `None` when empty. A spread below `floor` (identical or rounded values) counts as the floor.
    pub fn baseline(&self, floor: f64) -> Option<Baseline> {
        let n = self.sorted.len();
        if n == 0 {
            return None;
        }
        let median = if n % 2 == 1 { self.sorted[n / 2] } else { (self.sorted[n / 2 - 1] + self.sorted[n / 2]) / 2.0 };
        Some(Baseline { n: n as u32, median, spread: (1.4826 * self.deviation(median)).max(floor) })
    }

    /// Median absolute deviation: the sorted values are walked outwards from the median from both sides.
    fn deviation(&self, median: f64) -> f64 {
        let n = self.sorted.len();
        let mut right = self.sorted.partition_point(|x| *x < median);
        let mut left = right;
        let (mut last, mut before) = (0.0, 0.0);
        for _ in 0..=n / 2 {
            before = last;
            let up = self.sorted.get(right).map_or(f64::INFINITY, |x| x - median);
            let down = if left > 0 { median - self.sorted[left - 1] } else { f64::INFINITY };
            if down < up {
                left -= 1;
                last = down;
            } else {
                right += 1;
                last = up;
            }
        }
        if n % 2 == 1 { last } else { (before + last) / 2.0 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::math;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(super::super::tests::support::always_the_same(256))]

        /// The window's figures are those of sorting from scratch, whatever went in and out before.
        #[test]
        fn says_what_sorting_says(values in proptest::collection::vec((0i32..5, -50i32..50), 1..80)) {
            let mut rolling = Rolling::new(28);
            let mut all: Vec<(i32, f64)> = Vec::new();
            let mut day = 0;
            for (step, v) in values {
                day += step;
                rolling.push(day, f64::from(v) / 4.0);
                all.push((day, f64::from(v) / 4.0));
                rolling.advance(day);
                let mut inside: Vec<f64> = all.iter().filter(|(d, _)| *d >= day - 28).map(|x| x.1).collect();
                let m = math::median(&mut inside).unwrap();
                let mut dev: Vec<f64> = inside.iter().map(|x| (x - m).abs()).collect();
                let mad = math::median(&mut dev).unwrap();
                let b = rolling.baseline(0.0).unwrap();
                prop_assert_eq!(b.n as usize, inside.len());
                prop_assert_eq!(b.median, m);
                prop_assert!((b.spread - 1.4826 * mad).abs() < 1e-12);
            }
        }
    }
}
