//! What this process counts about its own work: counters and histograms, read by `/metrics`.
//!
//! A leaf: it imports nothing, so every room may count. Counting is a few relaxed additions and never waits on
//! anything; labels are words of the program (`&'static str`), so that their number is bounded by the source code.

mod histogram;

pub use histogram::{Histogram, Reading};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Seconds from a millisecond to five minutes.
pub const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Rows in one statement.
const ROWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Scores, with the limits of the badges among them.
const SCORES: &[f64] = &[10.0, 20.0, 30.0, 39.0, 50.0, 59.0, 70.0, 79.0, 90.0, 100.0];

/// From the first byte of a delivery's request to its answer.
pub static ACK_SECONDS: Histogram = Histogram::new(SECONDS);
/// A statement that stored deliveries: how long it took.
pub static FLUSH_SECONDS: Histogram = Histogram::new(SECONDS);
/// A statement that stored deliveries: how many they were.
pub static FLUSH_ROWS: Histogram = Histogram::new(ROWS);
/// Requests of the gateway that were turned away, by reason.
pub static REFUSED: Family<Counter> = Family::new(Counter::new);
/// Requests over a limit (429), by policy.
pub static LIMITED: Family<Counter> = Family::new(Counter::new);

/// A statement that took jobs.
pub static CLAIM_SECONDS: Histogram = Histogram::new(SECONDS);
/// A batch in its handler's hands, by kind.
pub static RUN_SECONDS: Family<Histogram> = Family::new(seconds);
/// From a job's creation to its settlement, by kind: end to end.
pub static JOB_AGE_SECONDS: Family<Histogram> = Family::new(seconds);
/// Jobs settled, by what came of them.
pub static SETTLED: Family<Counter> = Family::new(Counter::new);
/// Statements by which deliveries were not stored, though the database answered.
pub static FLUSH_REFUSED: Counter = Counter::new();

/// Jobs taken back from workers that were gone.
pub static RESCUED: Counter = Counter::new();
/// Jobs that became dead letters.
pub static DIED: Counter = Counter::new();

/// Values scored.
pub static SCORED: Counter = Counter::new();
/// Scores written or removed because they differed.
pub static RESCORED: Counter = Counter::new();
/// The scores that were computed.
pub static SCORES_COMPUTED: Histogram = Histogram::new(SCORES);

/// Lines written to `edge_function_logs`.
pub static LOG_LINES: Counter = Counter::new();
/// Lines that could not be kept.
pub static LOG_LINES_DROPPED: Counter = Counter::new();

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of a kind for each label.
pub struct Family<T: 'static> {
    members: RwLock<BTreeMap<&'static str, Arc<T>>>,
    make: fn() -> T,
}

impl<T> Family<T> {
    /// None yet; `make` makes one when its label is first met.
    pub const fn new(make: fn() -> T) -> Self {
        Self { members: RwLock::new(BTreeMap::new()), make }
    }

    /// The one of a label.
    pub fn of(&self, label: &'static str) -> Arc<T> {
        if let Some(member) = self.members.read().unwrap_or_else(PoisonError::into_inner).get(label) {
            return Arc::clone(member);
        }
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(members.entry(label).or_insert_with(|| Arc::new((self.make)())))
    }

    /// All of them.
    pub fn all(&self) -> Vec<(&'static str, Arc<T>)> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).iter().map(|(l, m)| (*l, Arc::clone(m))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_gives_the_same_member_for_the_same_label() {
        static FAMILY: Family<Counter> = Family::new(Counter::new);
        FAMILY.of("a").add(2);
        FAMILY.of("a").add(3);
        FAMILY.of("b").add(1);
        assert_eq!(FAMILY.all().iter().map(|(l, c)| (*l, c.get())).collect::<Vec<_>>(), [("a", 5), ("b", 1)]);
    }
}
