//! Plausibility: is the number possible at all, is it usual for people, is it usual for this person?
//!
//! A value is weighed between two accounts of it: "sound, drawn from this person's days (or, before there are enough
//! of them, from people's)" and "a fault that could be anything possible". The bells have heavy tails, so the judgement is
//! graded, and the person's own days outvote the population: 34 bpm is fine for whoever has a median of 36.

use super::math;
use super::registry::MetricRule;
use super::window::Baseline;

/// How often a value is a gross fault before anything is known of it.
const FAULTS: f64 = 0.02;
/// Own days that halve the weight of the population.
const HALF_HISTORY: f64 = 2.0;
/// Own days at which their spread is believed as much as a broad one.
const KNOWN_SPREAD: f64 = 3.0;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plausibility {
    /// Probability that the value is not a gross fault.
    pub keeps: f64,
    /// Outside what is possible.
    pub impossible: bool,
    /// The person's own days, where there are any.
    pub baseline: Option<Baseline>,
    /// Distance from the own median in spreads; 0 without a baseline.
    pub z: f64,
}

/// The density of a sound value at `x` (on the metric's scale): the person's days and, the fewer there are, people's.
pub fn sound_density(rule: &MetricRule, x: f64, baseline: Option<Baseline>) -> f64 {
    let people = math::t4((x - rule.scaled(rule.usual)) / rule.usual_spread) / rule.usual_spread;
    let Some(b) = baseline else { return people };
    let others = libm::exp2(-f64::from(b.n) / HALF_HISTORY);
    (1.0 - others) * own_density(rule, x, b) + others * people
}

/// The density of the person's own days at `x`.
pub fn own_density(rule: &MetricRule, x: f64, b: Baseline) -> f64 {
    let spread = predictive_spread(rule, b);
    math::t7((x - b.median) / spread) / spread
}

/// The spread to expect of the next day: few days know their spread badly, so it is pulled towards a few floors.
pub(super) fn predictive_spread(rule: &MetricRule, b: Baseline) -> f64 {
    let n = f64::from(b.n);
    let broad = 2.0 * rule.floor;
    let spread = ((n * b.spread * b.spread + KNOWN_SPREAD * broad * broad) / (n + KNOWN_SPREAD)).sqrt();
    spread * (1.0 + 1.0 / n).sqrt()
}

/// Judges one value.
pub fn judge(rule: &MetricRule, value: f64, x: f64, baseline: Option<Baseline>) -> Plausibility {
    let z = baseline.map_or(0.0, |b| (x - b.median) / predictive_spread(rule, b));
    if !rule.possible(value) {
        return Plausibility { keeps: 0.0, impossible: true, baseline, z };
    }
    let sound = sound_density(rule, x, baseline);
    let fault = math::posterior(FAULTS, 1.0 / rule.width(), sound);
    Plausibility { keeps: 1.0 - fault, impossible: false, baseline, z }
}
