//! What a whole delivery says that no single number of it does: that it is somebody else's, or the day before's once more.
//!
//! One number of an ordinary size cannot be told from an unusual day. All numbers of a night together can: each is a
//! little nearer to other people than to this person, or equal to the day before's to the last digit.

use super::math;
use super::plausibility::own_density;
use super::registry::{MetricRule, Needs};
use super::window::Baseline;
use crate::model::Metric;

/// Days of one's own before a number says whose it is.
const ENOUGH_DAYS: u32 = 5;
/// What one number can say at most (log): a single glitch does not make a stranger.
const MOST: f64 = 6.0;
/// The numbers of a delivery move together, so what they say counts half.
const SHARED: f64 = 0.5;
/// How often a delivery is somebody else's.
const SOMEBODY_ELSE: f64 = 0.003;
/// How often a delivery is the day before's once more.
const COPIED: f64 = 0.0003;
/// How often a number of such a delivery is equal to the last digit.
const EQUAL: f64 = 0.7;
/// Of two equal days either may be the wrong one, the later a little more often.
const THE_LATER: f64 = 0.6;

/// How much more likely (log) the number is as anybody's than as this person's.
pub fn foreign(rule: &MetricRule, x: f64, baseline: Baseline) -> f64 {
    // A total of a day hardly worn is nobody's; it is short.
    if baseline.n < ENOUGH_DAYS || matches!(rule.needs, Needs::WholeDay | Needs::WholeNight) {
        return 0.0;
    }
    let people = math::t4((x - rule.scaled(rule.usual)) / rule.usual_spread) / rule.usual_spread;
    SHARED * math::ln(people / own_density(rule, x, baseline)).clamp(-MOST, MOST)
}

/// How much more likely (log) the number is as that of the day before once more than as a number of its own.
pub fn again(rule: &MetricRule, value: f64, before: f64) -> f64 {
    if rule.metric == Metric::TotalCalories {
        return 0.0; // two days without wear have the same basal energy
    }
    let chance = rule.repeats.clamp(0.002, 0.9);
    if value == before { math::ln(EQUAL / chance) } else { math::ln((1.0 - EQUAL) / (1.0 - chance)) }
}

/// Suspicion that the delivery is somebody else's, from the sum of [`foreign`].
pub fn somebody_else(log: f64) -> f64 {
    math::posterior(SOMEBODY_ELSE, libm::exp(log), 1.0)
}

/// Suspicion that the day is the one that is wrong of two equal ones, from the sum of [`again`].
pub fn copied(log: f64) -> f64 {
    THE_LATER * math::posterior(COPIED, libm::exp(log), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_is_suspected_of_an_ordinary_day() {
        assert!(somebody_else(0.0) < 0.01 && copied(0.0) < 0.01);
        assert!(somebody_else(9.0) > 0.9);
        assert!((copied(20.0) - 0.6).abs() < 1e-3);
    }
}
