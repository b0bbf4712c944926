//! The generic cell rate algorithm: a leaky bucket kept as one number, the theoretical arrival time (TAT).
//!
//! Pure arithmetic over microseconds; no clock, no state. A quota of `q` requests in a window `w` admits `q` at once
//! and then one every `w / q`; over any span `s` it admits at most `q + s·q/w`.
//! Source: ITU-T I.371, annex A ("virtual scheduling").

/// What the arithmetic needs of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds one request costs.
    pub emission: u64,
    /// Requests admitted at once.
    pub burst: u32,
}

impl Quota {
    /// `requests` in `window_us` microseconds; both at least 1.
    pub const fn new(requests: u32, window_us: u64) -> Self {
        let burst = if requests == 0 { 1 } else { requests };
        let emission = window_us / burst as u64;
        Self { emission: if emission == 0 { 1 } else { emission }, burst }
    }

    /// How far the TAT may run ahead of the clock.
    pub const fn tolerance(self) -> u64 {
        self.emission.saturating_mul(self.burst as u64)
    }

    /// How many requests would be admitted now.
    pub const fn remaining(self, tat: u64, now: u64) -> u32 {
        let left = self.tolerance().saturating_sub(tat.saturating_sub(now)) / self.emission;
        if left > self.burst as u64 { self.burst } else { left as u32 }
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted; the TAT is from now on this.
    Admit(u64),
    /// Refused; it would be admitted after so many microseconds.
    Refuse(u64),
}

/// Decides one request at `now` against a TAT.
pub const fn decide(tat: u64, now: u64, quota: Quota) -> Verdict {
    let start = if tat > now { tat } else { now };
    let next = start.saturating_add(quota.emission);
    let latest = now.saturating_add(quota.tolerance());
    if next > latest { Verdict::Refuse(next - latest) } else { Verdict::Admit(next) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUOTA: Quota = Quota::new(100, 60_000_000);

    #[test]
    fn a_hundred_pass_at_once_and_then_one_each_six_tenths_of_a_second() {
        let mut tat = 0;
        for n in 0..100 {
            assert_eq!(QUOTA.remaining(tat, 1_000), 100 - n);
            match decide(tat, 1_000, QUOTA) {
                Verdict::Admit(next) => tat = next,
                Verdict::Refuse(_) => unreachable!("request {n}"),
            }
        }
        assert_eq!(decide(tat, 1_000, QUOTA), Verdict::Refuse(600_000));
        assert_eq!(decide(tat, 600_999, QUOTA), Verdict::Refuse(1));
        assert_eq!(decide(tat, 601_000, QUOTA), Verdict::Admit(tat + 600_000));
    }

    #[test]
    fn extremes_do_not_overflow() {
        for quota in [Quota::new(0, 0), Quota::new(u32::MAX, 1), Quota::new(1, u64::MAX), Quota::new(u32::MAX, u64::MAX)] {
            for tat in [0, 1, u64::MAX] {
                for now in [0, 1, u64::MAX] {
                    let _ = (decide(tat, now, quota), quota.remaining(tat, now));
                }
            }
        }
    }

    proptest! {
        /// Never more than burst + elapsed / emission, however the requests are spread.
        #[test]
        fn the_rate_holds_for_any_arrivals(requests in 1_u32..50, window in 1_000_u64..1_000_000, gaps in prop::collection::vec(0_u64..20_000, 1..300)) {
            let quota = Quota::new(requests, window);
            let (mut tat, mut now, mut admitted) = (0, 5_000_000, Vec::new());
            for gap in gaps {
                now += gap;
                if let Verdict::Admit(next) = decide(tat, now, quota) {
                    tat = next;
                    admitted.push(now);
                }
            }
            for (i, from) in admitted.iter().enumerate() {
                for (j, to) in admitted.iter().enumerate().skip(i) {
                    prop_assert!((j - i + 1) as u64 <= u64::from(quota.burst) + (to - from) / quota.emission);
                }
            }
        }

        /// The wait it names is true: a microsecond earlier is refused, at that moment admitted.
        #[test]
        fn the_wait_is_exact(requests in 1_u32..1000, window in 1_000_u64..100_000_000, ahead in 0_u64..400_000_000) {
            let (quota, now) = (Quota::new(requests, window), 7_000_000);
            if let Verdict::Refuse(wait) = decide(now + ahead, now, quota) {
                prop_assert!(wait > 0);
                prop_assert!(matches!(decide(now + ahead, now + wait - 1, quota), Verdict::Refuse(1)));
                prop_assert!(matches!(decide(now + ahead, now + wait, quota), Verdict::Admit(_)));
                prop_assert_eq!(quota.remaining(now + ahead, now), 0);
            } else {
                prop_assert!(quota.remaining(now + ahead, now) >= 1);
            }
        }
    }
}
