//! Whether this node is ready, with hysteresis: one slow answer does not take it out of service, one lucky answer does
//! not bring it back.

use std::time::{Duration, Instant};

/// So long without a good look a node stays ready.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// So many good looks in a row bring it back.
const PROOFS: u32 = 3;

/// The gate of one node. Time is an argument.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    ready: bool,
    ever: bool,
    good: u32,
    last_good: Option<Instant>,
}

impl Gate {
    /// A look at the database went well or not.
    pub fn looked(&mut self, well: bool, now: Instant) {
        self.expire(now);
        if !well {
            self.good = 0;
            return;
        }
        self.good = self.good.saturating_add(1);
        self.last_good = Some(now);
        // At start the first good look is enough: nothing was doubtful yet.
        if !self.ever || self.good >= PROOFS {
            (self.ready, self.ever) = (true, true);
        }
    }

    /// Whether the node is ready now.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.ready && self.last_good.is_some_and(|at| now.saturating_duration_since(at) < PATIENCE)
    }

    fn expire(&mut self, now: Instant) {
        if self.ready && !self.is_ready(now) {
            (self.ready, self.good) = (false, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_good_look_opens_a_slow_moment_does_not_close_and_a_lucky_one_does_not_reopen() {
        let start = Instant::now();
        let mut gate = Gate::default();
        assert!(!gate.is_ready(start));
        gate.looked(false, start);
        gate.looked(true, after(start, 1));
        assert!(gate.is_ready(after(start, 1)));
        gate.looked(false, after(start, 3));
        gate.looked(false, after(start, 8));
        assert!(gate.is_ready(after(start, 10)), "one slow moment");
        assert!(!gate.is_ready(after(start, 11)), "ten seconds without a good look");
        gate.looked(true, after(start, 12));
        assert!(!gate.is_ready(after(start, 12)), "one lucky answer");
        gate.looked(true, after(start, 13));
        gate.looked(true, after(start, 14));
        assert!(gate.is_ready(after(start, 14)));
    }

    proptest! {
        #[test]
        fn it_is_never_ready_without_a_good_look_within_ten_seconds(looks in prop::collection::vec((any::<bool>(), 0_u64..15), 0..60)) {
            let start = Instant::now();
            let (mut gate, mut now, mut last_good, mut flips, mut was) = (Gate::default(), start, None, 0, false);
            for (well, wait) in &looks {
                now += Duration::from_secs(*wait);
                gate.looked(*well, now);
                if *well {
                    last_good = Some(now);
                }
                let is = gate.is_ready(now);
                prop_assert!(!is || last_good.is_some_and(|at| now - at < PATIENCE));
                flips += usize::from(is != was);
                was = is;
            }
            // It cannot flap with every look: to come back takes three good ones.
            prop_assert!(flips <= 2 + looks.len() / 2);
        }
    }
}
