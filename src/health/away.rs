//! How long the database was away, remembered until it is written down. Pure; time is an argument.

use super::gate::PATIENCE;
use std::time::{Duration, Instant};

/// So long after its end an outage is still written down: later, the record would claim that it lasted until then.
const STILL: Duration = Duration::from_secs(60);

/// What the looks of one node say of it.
#[derive(Debug, Default)]
pub(super) struct Away {
    good: Option<Instant>,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// The last answer before it.
    good: Instant,
    /// The first look without one.
    bad: Instant,
    /// The first answer after it.
    back: Option<Instant>,
}

impl Away {
    /// A look that began then got no answer.
    pub(super) fn silent(&mut self, began: Instant) {
        let good = self.good.unwrap_or(began);
        self.outage.get_or_insert(Outage { good, bad: began, back: None }).back = None;
    }

    /// The database answered. What the node stayed ready through is no outage, and is forgotten.
    pub(super) fn answered(&mut self, now: Instant) {
        self.good = Some(now);
        let Some(outage) = &mut self.outage else { return };
        let back = *outage.back.get_or_insert(now);
        let short = back.saturating_duration_since(outage.good) < PATIENCE;
        if short || now.saturating_duration_since(back) > STILL {
            self.outage = None;
        }
    }

    /// How long ago the outage began that is to be written down.
    pub(super) fn owed(&self, now: Instant) -> Option<Duration> {
        self.outage.as_ref().filter(|outage| outage.back.is_some()).map(|outage| now.saturating_duration_since(outage.bad))
    }

    /// It was written down, or another node does that.
    pub(super) fn settle(&mut self) {
        self.outage = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn one_failed_look_is_no_outage_and_ten_seconds_without_an_answer_are_one() {
        let start = Instant::now();
        let mut away = Away::default();
        away.answered(start);
        away.silent(after(start, 2));
        assert_eq!(away.owed(after(start, 3)), None, "it is not over");
        away.answered(after(start, 7));
        assert_eq!(away.owed(after(start, 7)), None, "one failed look");
        away.silent(after(start, 9));
        away.silent(after(start, 15));
        away.answered(after(start, 17));
        assert_eq!(away.owed(after(start, 18)), Some(Duration::from_secs(9)), "from the first bad look");
        away.settle();
        away.answered(after(start, 19));
        away.silent(after(start, 21));
        away.answered(after(start, 22));
        assert_eq!(away.owed(after(start, 22)), None, "what was written down does not make the next one longer");
    }

    #[test]
    fn what_could_not_be_written_down_is_kept_for_a_minute_and_goes_on_where_the_database_goes_again() {
        let start = Instant::now();
        let mut away = Away::default();
        away.silent(start);
        away.answered(after(start, 20));
        away.silent(after(start, 22));
        assert_eq!(away.owed(after(start, 23)), None);
        away.answered(after(start, 24));
        away.answered(after(start, 84));
        assert_eq!(away.owed(after(start, 84)), Some(Duration::from_secs(84)));
        away.answered(after(start, 86));
        assert_eq!(away.owed(after(start, 86)), None);
    }
}
