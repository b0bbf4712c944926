//! Whether deliveries are stored, judged by what they were answered. A database that answers may still not store: its disk
//! is full, it became read-only, a table is locked. Pure; time is an argument.

use std::time::{Duration, Instant};

/// So long a refusal is news.
const NEWS: Duration = Duration::from_secs(60);

/// Deliveries answered since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answered {
    /// They are in the database.
    pub stored: u64,
    /// 503: they could not be stored.
    pub unavailable: u64,
    /// No signing secret is set, so each of them is answered 503.
    pub no_secret: bool,
}

/// What that says of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storing {
    /// None was turned away within a minute.
    #[default]
    Well,
    /// Some were, and others were stored after them.
    Doubtful,
    /// Some were, and none was stored since.
    Failing,
    /// All are: without a signing secret nobody knows whom they are from.
    NoSecret,
}

/// Looks at the counts from time to time.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Answered,
    refused: Option<Instant>,
    stored_since: bool,
}

impl Watch {
    pub(super) fn look(&mut self, now: Answered, at: Instant) -> Storing {
        let (stored, refused) = (now.stored > self.last.stored, now.unavailable > self.last.unavailable);
        self.last = now;
        if refused {
            // Both within one look: some are stored, so it is not all of them.
            (self.refused, self.stored_since) = (Some(at), stored);
        }
        self.stored_since |= stored;
        match self.refused {
            _ if now.no_secret => Storing::NoSecret,
            Some(when) if at.saturating_duration_since(when) < NEWS && self.stored_since => Storing::Doubtful,
            // Until one is stored nobody knows that it works again; without deliveries it is forgotten.
            Some(when) if at.saturating_duration_since(when) < NEWS => Storing::Failing,
            _ => Storing::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_fail_until_something_is_stored_again_and_are_forgotten_after_a_minute() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let count = |stored, unavailable| Answered { stored, unavailable, no_secret: false };
        let mut watch = Watch::default();
        assert_eq!(watch.look(count(10, 0), after(0)), Storing::Well);
        assert_eq!(watch.look(count(10, 3), after(2)), Storing::Failing);
        assert_eq!(watch.look(count(10, 3), after(30)), Storing::Failing, "nothing was stored since");
        assert_eq!(watch.look(count(11, 3), after(32)), Storing::Doubtful);
        assert_eq!(watch.look(count(12, 4), after(34)), Storing::Doubtful, "some are stored, some are not");
        assert_eq!(watch.look(count(12, 5), after(36)), Storing::Failing);
        assert_eq!(watch.look(count(12, 5), after(95)), Storing::Failing);
        assert_eq!(watch.look(count(12, 5), after(96)), Storing::Well);
        assert_eq!(watch.look(count(13, 5), after(98)), Storing::Well);
    }
}
