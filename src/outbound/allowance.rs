//! How many days of data may still be asked for. Terra allows each of its users 6,000 requested days in a rolling
//! hour; asking more would be refused, so it is not even tried.
//!
//! Each process counts for itself; what several have asked together shows in Terra's answers, which are heard too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Terra's hour.
const HOUR: Duration = Duration::from_secs(3600);
/// Days that may be asked for in it, for each of Terra's users.
const DAYS: u32 = 6000;

/// What was asked for in the last hour, by Terra's user.
#[derive(Debug, Default)]
pub(super) struct Allowance(Mutex<HashMap<String, Asked>>);

#[derive(Debug, Default)]
struct Asked {
    requests: VecDeque<(Instant, u32)>,
    not_before: Option<Instant>,
}

impl Asked {
    fn forget(&mut self, now: Instant) {
        while self.requests.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= HOUR) {
            self.requests.pop_front();
        }
        self.not_before = self.not_before.filter(|until| *until > now);
    }

    /// How long until `days` more are allowed.
    fn wait(&self, days: u32, now: Instant) -> Duration {
        let told = self.not_before.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let mut free = DAYS.saturating_sub(self.requests.iter().map(|(_, days)| *days).sum());
        let mut wait = told;
        for (at, asked) in &self.requests {
            if free >= days {
                break;
            }
            free = free.saturating_add(*asked);
            wait = wait.max((*at + HOUR).saturating_duration_since(now));
        }
        wait
    }
}

impl Allowance {
    /// Notes a request of so many days.
    ///
    /// # Errors
    /// How long to wait, when the hour's days are used up; then nothing was noted.
    pub(super) fn take(&self, user: &str, days: u32, now: Instant) -> Result<(), Duration> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, asked| {
            asked.forget(now);
            !asked.requests.is_empty() || asked.not_before.is_some()
        });
        let asked = users.entry(user.to_owned()).or_default();
        let wait = asked.wait(days, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        asked.requests.push_back((now, days));
        Ok(())
    }

    /// Terra said to wait.
    pub(super) fn wait_until(&self, user: &str, until: Instant) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = users.entry(user.to_owned()).or_default();
        asked.not_before = asked.not_before.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_thousand_days_an_hour_and_no_more() {
        let (allowance, start) = (Allowance::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert_eq!(allowance.take("a", 4000, at(0)), Ok(()));
        assert_eq!(allowance.take("a", 2000, at(10)), Ok(()));
        assert_eq!(allowance.take("b", 6000, at(10)), Ok(()), "each user has an allowance of its own");
        assert_eq!(allowance.take("a", 1, at(20)), Err(Duration::from_secs(40 * 60)), "until the first request is an hour old");
        assert_eq!(allowance.take("a", 4000, at(60)), Ok(()));
        assert_eq!(allowance.take("a", 2001, at(60)), Err(Duration::from_secs(60 * 60)));
        assert_eq!(allowance.take("a", 2000, at(70)), Ok(()));
    }

    #[test]
    fn what_terra_says_is_heard() {
        let (allowance, start) = (Allowance::default(), Instant::now());
        allowance.wait_until("a", start + Duration::from_secs(90));
        assert_eq!(allowance.take("a", 1, start + Duration::from_secs(30)), Err(Duration::from_secs(60)));
        assert_eq!(allowance.take("a", 1, start + Duration::from_secs(90)), Ok(()));
    }
}
