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

/// The record of a source next to another one, from the differences of the days before on the metric's scale. `own` and
/// `other` are what studies say of the two.
pub fn judge(rule: &MetricRule, value: f64, own: f64, other: f64, differences: &Rolling) -> Option<Record> {
    let within = std::f64::consts::SQRT_2 * rule.reach(value);
    // Numbers equal to the last digit, where chance cannot do that, are one number come by two ways.
    let copies = if rule.repeats <= super::concordance::NO_CHANCE { differences.within(0.0) } else { 0 };
    let days = differences.len().saturating_sub(copies);
    if days < ENOUGH_DAYS {
        return None;
    }
    let agreed = differences.within(within) - copies;
    let expected = math::clamp_probability((own + other) / 2.0);
    let observations = DAY * f64::from(days);
    let share = (EXPECTATION * expected + DAY * f64::from(agreed)) / (EXPECTATION + observations);
    let shift = math::logit(share) - math::logit(expected);
    Some(Record { agreed, days, expected: expected * f64::from(days), shift, observations })
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
        judge(Registry::built_in().rule(Metric::RestingHeartRate).unwrap(), 60.0, 0.8, 0.6, &window)
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
        let as_expected: Vec<f64> = (0..20).map(|d| if d % 10 < 7 { 1.0 } else { 9.0 }).collect();
        assert!(record(&as_expected).unwrap().shift.abs() < 1e-9);
    }
}
