//! A source's record with a person: on how many of the days before two sources said the same within what matters, against
//! how often studies let one expect it. Beta-Binomial, and slow: a day is worth a quarter of an observation (the days
//! of one person are alike), and what studies say weighs as much as a month of days.
//!
//! Two errors of equal size differ by √2 of it, so the two agree when their difference is within √2 tolerances, with no
//! offset taken off: a device that is always wrong by the same amount is wrong. Which of the two is right is not known, so
//! what is learned moves both by the same log-odds.

use super::math;
use super::registry::MetricRule;
use super::window::Rolling;
use std::f64::consts::SQRT_2;

/// Common days before a record counts.
pub const ENOUGH_DAYS: u32 = 7;
/// Observations a common day is worth.
const DAY: f64 = 0.25;
/// Observations that the expectation is worth.
const EXPECTATION: f64 = 7.0;

/// What the days before say of a source with this person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// Days on which the two agreed.
    pub agreed: u32,
    /// Days on which both said something.
    pub days: u32,
    /// Days on which they would agree by the studies of both.
    pub expected: f64,
    /// Log-odds that this adds to the prior; negative when they agree less often than expected.
    pub shift: f64,
    /// Observations gained.
    pub observations: f64,
}

/// The record of a source next to another one, from the differences of the days before, each in tolerances of its own day.
/// `own` and `other` are what studies say of the two.
pub fn judge(rule: &MetricRule, own: f64, other: f64, apart: &Rolling) -> Option<Record> {
    // Numbers equal to the last digit, where chance cannot do that, are one number come by two ways.
    let copies = if rule.repeats <= super::concordance::NO_CHANCE { apart.within(0.0) } else { 0 };
    let days = apart.len().saturating_sub(copies);
    if days < ENOUGH_DAYS {
        return None;
    }
    let agreed = apart.within(SQRT_2) - copies;
    let expected = agreeing(own, other);
    let observations = DAY * f64::from(days);
    let share = (EXPECTATION * expected + DAY * f64::from(agreed)) / (EXPECTATION + observations);
    let shift = math::logit(share) - math::logit(expected);
    Some(Record { agreed, days, expected: expected * f64::from(days), shift, observations })
}

/// P(two errors differ by at most √2 tolerances), where one is within a tolerance with probability `own`, the other with `other`.
fn agreeing(own: f64, other: f64) -> f64 {
    let (a, b) = (math::sd_within_one(own), math::sd_within_one(other));
    math::clamp_probability(2.0 * math::normal_cdf(SQRT_2 / (a * a + b * b).sqrt()) - 1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::model::Metric;
    use crate::quality::Registry;

    fn record(differences: &[f64]) -> Option<Record> {
        let mut window = Rolling::new(28);
        for (day, d) in differences.iter().enumerate() {
            window.push(day as i32, *d);
        }
        judge(Registry::built_in().rule(Metric::RestingHeartRate).unwrap(), 0.8, 0.6, &window)
    }

    #[test]
    fn it_waits_and_then_moves_slowly_towards_what_is_seen() {
        assert_eq!(record(&[0.5; 6]), None);
        let week = record(&[0.5; 7]).unwrap();
        let month = record(&[0.5; 28]).unwrap();
        assert_eq!((month.agreed, month.days), (28, 28));
        assert!(0.0 < week.shift && week.shift < month.shift && month.shift < 1.5, "{week:?} {month:?}");
        let apart = record(&[9.0; 28]).unwrap();
        assert!(apart.agreed == 0 && apart.shift < 0.0 && apart.shift > -1.5, "{apart:?}");
    }

    #[test]
    fn two_that_agree_as_often_as_their_errors_let_one_expect_learn_nothing() {
        // A precise device beside a poor one agrees with it about as often as the poor one is right.
        for (own, other, expected) in [(0.7, 0.7, 0.7), (0.95, 0.3, 0.407), (0.3, 0.95, 0.407)] {
            assert!((agreeing(own, other) - expected).abs() < 2e-3, "{own} {other}: {}", agreeing(own, other));
        }
        let often = (0..1000).map(|d| if f64::from(d) < 1000.0 * agreeing(0.8, 0.6) { 0.5 } else { 9.0 }).collect::<Vec<_>>();
        assert!(record(&often).unwrap().shift.abs() < 0.01);
    }
}
