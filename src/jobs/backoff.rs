//! How long to wait before trying again: for jobs, and for a database that is away.

use std::time::Duration;

/// 5 s, doubled each attempt, at most 1 hour; `jitter` in 0..1 spreads it by ±20 %, so that jobs that failed
/// together do not come back together.
pub fn exponential(attempt: i32, jitter: f64) -> Duration {
    let doublings = attempt.clamp(1, 20) - 1;
    let seconds = (5.0 * f64::from(1_u32 << doublings)).min(3600.0);
    Duration::from_secs_f64(seconds * (0.8 + 0.4 * jitter.clamp(0.0, 1.0)))
}

/// Waits between tries to reach the database: 50 ms, doubled, at most 2 s.
#[derive(Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        self.0 = (self.0 + 1).min(7);
        Duration::from_millis((25_u64 << self.0).min(2000))
    }

    /// It went well: begin anew.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_spread_and_bounded() {
        assert_eq!(exponential(1, 0.5), Duration::from_secs(5));
        assert_eq!(exponential(2, 0.5), Duration::from_secs(10));
        assert_eq!(exponential(1, 0.0), Duration::from_secs(4));
        assert_eq!(exponential(1, 1.0), Duration::from_secs(6));
        assert_eq!(exponential(i32::MAX, 0.5), Duration::from_secs(3600));
        assert_eq!(exponential(i32::MIN, 0.5), Duration::from_secs(5));
        let mut b = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| b.wait().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        b.reset();
        assert_eq!(b.wait().as_millis(), 50);
    }
}
