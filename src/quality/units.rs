//! Other readings of the same digits: pounds for kilograms, minutes for seconds, a fraction for a percentage.

use super::math;
use super::plausibility::sound_density;
use super::registry::MetricRule;
use super::window::Baseline;
use crate::model::{FindingKind, Metric};
use FindingKind::{FractionPercent, PoundsKilograms, SecondsMinutes, Thousandfold};

/// How often a unit is mixed up.
const MIXED_UP: f64 = 0.003;
/// Another reading must be so much more believable than the one given.
const FAR_BETTER: f64 = 30.0;

const POUND: f64 = 2.204_622_6;

/// A reading: multiply the digits by the factor.
type Factor = (f64, FindingKind);

const MASS: &[Factor] = &[(1.0 / POUND, PoundsKilograms), (POUND, PoundsKilograms), (0.001, Thousandfold), (1000.0, Thousandfold)];
const DURATION: &[Factor] = &[
    (60.0, SecondsMinutes),
    (1.0 / 60.0, SecondsMinutes),
    (3600.0, SecondsMinutes),
    (1.0 / 3600.0, SecondsMinutes),
    (0.001, Thousandfold),
    (1000.0, Thousandfold),
];
const THOUSAND: &[Factor] = &[(0.001, Thousandfold), (1000.0, Thousandfold)];
const PERCENT: &[Factor] = &[(100.0, FractionPercent), (0.01, FractionPercent)];

fn factors(metric: Metric) -> &'static [Factor] {
    match metric {
        Metric::Weight | Metric::MuscleMass => MASS,
        Metric::SleepDuration | Metric::SleepDeep | Metric::SleepLight | Metric::SleepRem | Metric::TimeInBed | Metric::ActiveMinutes => {
            DURATION
        }
        Metric::Distance
        | Metric::Steps
        | Metric::ActiveCalories
        | Metric::TotalCalories
        | Metric::HrvRmssd
        | Metric::HrvSdnn
        | Metric::WaterIntake => THOUSAND,
        Metric::Spo2 | Metric::BodyFat | Metric::SleepEfficiency => PERCENT,
        _ => &[],
    }
}

/// Another reading that explains a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The fault.
    pub kind: FindingKind,
    /// What the value would then be.
    pub proposed: f64,
    /// Probability that it is so.
    pub suspicion: f64,
}

/// The most believable other reading, where it is far more believable than the one given.
pub fn best(rule: &MetricRule, value: f64, x: f64, baseline: Option<Baseline>) -> Option<Reading> {
    if value == 0.0 {
        return None;
    }
    // An impossible value has no density of its own; the least that any possible value has stands in.
    let given = if rule.possible(value) { sound_density(rule, x, baseline) } else { 0.0 };
    let least = 0.2 / rule.width();
    let mut found: Option<(f64, Factor)> = None;
    for factor in factors(rule.metric) {
        let other = value * factor.0;
        if rule.possible(other) {
            let density = sound_density(rule, rule.scaled(other), baseline);
            if density > least && density > FAR_BETTER * given && found.is_none_or(|(d, _)| density > d) {
                found = Some((density, *factor));
            }
        }
    }
    let (density, (factor, kind)) = found?;
    Some(Reading { kind, proposed: value * factor, suspicion: math::posterior(MIXED_UP, density, given) })
}

impl Reading {
    /// The suspicion in words.
    pub fn words(&self, rule: &MetricRule) -> String {
        let what = match self.kind {
            PoundsKilograms => "pounds and kilograms mixed up",
            SecondsMinutes => "seconds, minutes or hours mixed up",
            Thousandfold => "off by a factor of 1,000",
            _ => "a fraction and a percentage mixed up",
        };
        format!("{what}? Read the other way it is {:.1} {}", self.proposed, rule.metric.unit())
    }
}
