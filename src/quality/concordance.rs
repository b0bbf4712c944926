//! Concordance: do the person's other sources say the same, after the usual offset between the two and in units of
//! their usual spread?
//!
//! A source that agrees never lowers a score; one that is missing adds nothing. A new second source needs
//! [`ENOUGH_DAYS`] common days before it counts. Agreement to the last digit where chance cannot explain it is the same
//! measurement come by two ways, and counts once.

use super::math;
use super::registry::MetricRule;
use super::window::Baseline;

/// Common days before a second source counts.
pub const ENOUGH_DAYS: u32 = 5;
/// Spreads within which two sources agree.
pub const AGREES: f64 = 1.5;
/// Log-odds that full agreement with a well-known second source adds.
const GAIN: f64 = 0.8;
/// Common days at which a second source has half its weight.
const HALF_DAYS: f64 = 7.0;
/// What is left to a value that two other sources, which agree, contradict.
const OUTVOTED: f64 = 0.4;
/// What is left where three sources say three things.
const SCATTERED: f64 = 0.7;
/// How often one of two sources is wrong on a day, before anything is known.
const FAULTS: f64 = 0.03;
/// Chance of a repeat below which two equal numbers are one number.
pub const NO_CHANCE: f64 = 0.02;

/// One other source's value of the same day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Other {
    /// Index of the source.
    pub source: usize,
    /// Its value.
    pub value: f64,
    /// Difference of the two, on the metric's scale (this minus other).
    pub difference: f64,
    /// The usual difference, from the days before.
    pub usual: Option<Baseline>,
    /// Its own distance from the person's median, in spreads.
    pub z: f64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Concordance {
    /// Log-odds added by agreement.
    pub gain: f64,
    /// Probability that disagreement leaves the value sound.
    pub keeps: f64,
    /// Other sources that said something of the day.
    pub others: u32,
    /// Of these: with enough common days, agreeing.
    pub agree: u32,
    /// Of these: with enough common days, disagreeing.
    pub disagree: u32,
    /// Of these: the same number to the last digit.
    pub copies: u32,
    /// Most common days with another source.
    pub days: u32,
    /// Of the other sources, where there are two or more without a common past: how many agree within √2 tolerances, of how many.
    pub voted: Option<(u32, u32)>,
    /// The judged source that is nearest: index, residual in spreads, its value.
    pub nearest: Option<(usize, f64, f64)>,
    /// The source whose disagreement takes the most: index, residual in spreads, its value.
    pub against: Option<(usize, f64, f64)>,
}

/// Judges one value against the other sources of its day. `z` is its own distance from the person's median in spreads,
/// `lost` what plausibility took (log-odds, zero or negative): two devices that both saw the unusual saw the truth.
pub fn judge(rule: &MetricRule, value: f64, z: f64, lost: f64, others: &[Other]) -> Concordance {
    let mut found = Concordance { keeps: 1.0, others: others.len() as u32, ..Concordance::default() };
    let mut suspicion: f64 = 0.0;
    for other in others {
        if rule.repeats <= NO_CHANCE && value == other.value && value != 0.0 {
            found.copies += 1;
            continue;
        }
        let Some(usual) = other.usual else { continue };
        found.days = found.days.max(usual.n);
        if usual.n < ENOUGH_DAYS {
            continue;
        }
        let n = f64::from(usual.n);
        let spread = usual.spread * (1.0 + 1.0 / n).sqrt();
        let r = (other.difference - usual.median) / spread;
        let weight = n / (n + HALF_DAYS);
        if r.abs() <= AGREES {
            found.agree += 1;
            let likelihood = math::ln(math::t4(r) / spread * rule.width()).max(0.0);
            let gain = weight * (GAIN * (1.0 - (r / AGREES) * (r / AGREES)) + likelihood.min(-lost));
            found.gain = found.gain.max(gain);
        } else {
            found.disagree += 1;
            let wrong = math::posterior(FAULTS, 1.0 / rule.width(), math::t4(r) / spread);
            let share = (1.0 + z * z) / (2.0 + z * z + other.z * other.z);
            if wrong * share > suspicion {
                suspicion = wrong * share;
                found.against = Some((other.source, r, other.value));
            }
        }
        let nearer = match found.nearest {
            None => true,
            Some((_, before, _)) => r.abs() < before.abs(),
        };
        if nearer {
            found.nearest = Some((other.source, r, other.value));
        }
    }
    if found.days < ENOUGH_DAYS {
        majority(rule, value, others, &mut found);
    }
    // One that agrees speaks for the value against those that do not.
    found.keeps *= 1.0 - suspicion / f64::from(1 + found.agree * 2);
    found
}

/// Three sources of one day need no common past: of three that measure the same, two that agree within √2 tolerances speak
/// against the third. (Two alone say nothing until their usual offset is known.)
fn majority(rule: &MetricRule, value: f64, others: &[Other], found: &mut Concordance) {
    let own = |o: &&Other| rule.repeats > NO_CHANCE || value != o.value || value == 0.0;
    let apart: Vec<f64> = others.iter().filter(own).map(|o| o.difference).collect();
    if apart.len() < 2 {
        return;
    }
    let within = std::f64::consts::SQRT_2 * rule.reach(value);
    let agree = apart.iter().filter(|d| d.abs() <= within).count();
    let far: Vec<f64> = apart.iter().copied().filter(|d| d.abs() > within).collect();
    let against = far.iter().enumerate().any(|(i, a)| far[..i].iter().any(|b| (a - b).abs() <= within));
    if agree > 0 {
        found.gain = found.gain.max(GAIN);
    } else if against {
        found.keeps = OUTVOTED;
    } else {
        found.keeps = SCATTERED;
    }
    found.voted = Some((agree as u32, apart.len() as u32));
}
