//! Completeness: how much of the day or night was really seen.
//!
//! For whole-day totals three numbers suffice, fitted on real days with known wear: an offset, what the hours of the night
//! that were seen add (five count as a night), and what the hours with movement add. The curve aimed at is the loss that short wear
//! causes (Herrmann, PubMed 23036822: 13 h of wear miss 6–8 % of a day, 10 h miss 28–42 %), so there is no cliff at ten hours.
//! Resting heart rate hardly depends on wear and does not pay for it; a mean pays a little.

use super::arrange::Day;
use super::math;
use super::registry::{MetricRule, Needs};
use crate::model::{Coverage, Metric};

/// Log-odds that a day is whole with nothing seen: the offset.
const OFFSET: f64 = -1.6;
/// Log-odds an hour of night adds, for the first [`NIGHT_ENOUGH`] hours.
const PER_NIGHT_HOUR: f64 = 0.37;
/// Hours of night that say the device was on.
const NIGHT_ENOUGH: f64 = 5.0;
/// Log-odds a factor e of (movement + ten minutes), in hours, adds.
const PER_MOVEMENT: f64 = 1.71;
/// Hours without movement that still count.
const MOVEMENT_FLOOR: f64 = 1.0 / 6.0;
/// Seconds of movement a step stands for where only steps are known (median of real days: 1.8).
const SECONDS_A_STEP: f64 = 1.6;
/// Longest credible night, in hours, when it is read from what a day's seconds leave open.
const LONGEST_NIGHT: f64 = 12.0;
/// Hours of a night that no record tells of.
const USUAL_NIGHT: f64 = 8.0;
/// Hours of activity and night together from which a day counts as over: nights straddle midnight, so they never fit
/// exactly.
const WHOLE_DAY: f64 = 20.5;
/// Hours of wear at which a day's total is as likely good enough as not (Herrmann, PubMed 23036822).
const ENOUGH_HOURS: f64 = 12.5;
/// How much more sharply a total falls off with what was not seen than "worn twenty hours" does, which the curve was fitted
/// to: a day that was nearly seen whole has lost next to nothing.
const SHARPNESS: f64 = 1.5;
/// Share of a day's total that a short day misses (Herrmann: ten hours of wear miss 28–42 %).
const SHORT_LOSES: f64 = 0.35;
/// Share of the whole energy that depends on wear: the basal part is added for every hour, worn or not.
const MOVED: f64 = 0.8;
/// What means and extremes of a day and ratios lose, in tolerances.
const MEAN_LOSES: f64 = 0.3;
/// What a nightly mean of a few minutes is off by, in tolerances.
const FEW_HOURS_LOSE: f64 = 2.5;
/// What leaves less than this to a night is worth saying.
const FELT: f64 = 0.95;
/// Where nothing tells how much was seen: the share of days that are whole.
const UNKNOWN: f64 = 0.85;

/// What a question about "what if" changes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Assume {
    /// At least so many hours of night seen.
    pub night_hours: Option<f64>,
    /// At least so many hours of movement seen.
    pub movement_hours: Option<f64>,
    /// The device was worn day and night, and sampled as usual.
    pub worn_throughout: bool,
    /// The day was delivered after it was over.
    pub day_over: bool,
}

/// What takes from a night besides its length; each only where it costs something.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NightLimits {
    /// Samples behind the value.
    pub samples: Option<u32>,
    /// Hours the hypnogram spans.
    pub hypnogram_hours: Option<f64>,
    /// Hours in bed that could not be measured.
    pub unmeasured_hours: Option<f64>,
    /// Hours the night had run when it was delivered, if it was not over.
    pub cut_hours: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Completeness {
    /// Probability that the day or night was seen whole enough to leave the value as it is.
    pub keeps: f64,
    /// What a value has typically lost where it was not, in tolerances.
    pub lost: f64,
    /// Whether the payload said anything about it.
    pub known: bool,
    /// Hours of the night seen.
    pub night_hours: Option<f64>,
    /// Hours of movement seen; of days only.
    pub movement_hours: Option<f64>,
    /// Hours worn, where the durations count the rest and so say it directly.
    pub worn_hours: Option<f64>,
    /// Heart-rate samples as a share of the usual number.
    pub samples_share: Option<f64>,
    /// Hours the day had run when it was delivered, if it was not over and that matters to the metric.
    pub cut_hours: Option<f64>,
    /// What else takes from a night.
    pub limits: NightLimits,
}

/// Judges one value of a day. A night has a cut of its own: the day's summary, delivered at noon, says nothing of it.
pub fn judge(rule: &MetricRule, day: &Day, own: &Coverage, assume: Assume) -> Completeness {
    let night_hours = at_least(night_hours(day), assume.night_hours);
    let mut found = Completeness { keeps: 1.0, known: true, night_hours, ..Completeness::default() };
    match rule.needs {
        Needs::Nothing => {}
        Needs::WholeDay | Needs::PartOfDay => {
            let cut = own.cut_s.or(day.cut_s).map(|s| s / 3600.0).or_else(|| hours_run(day));
            found.cut_hours = cut.filter(|_| !assume.day_over);
            found.keeps = whole_day(day, assume, &mut found);
        }
        // How much was seen of the day is shown, but costs nothing.
        Needs::Rest => _ = whole_day(day, assume, &mut found),
        Needs::WholeNight => found.keeps = whole_night(own, assume, &mut found),
        Needs::PartOfNight => found.keeps = part_of_night(rule.metric, own, &mut found),
    }
    found.lost = lost(rule, found.keeps);
    found
}

/// What a day or night that was not seen whole has lost, in tolerances: of a total its share of the day, which is all of it where
/// next to nothing was seen; of the whole energy only what was moved; of a mean or a ratio little.
fn lost(rule: &MetricRule, keeps: f64) -> f64 {
    let grows = match rule.needs {
        Needs::WholeDay if rule.metric == Metric::TotalCalories => MOVED,
        Needs::WholeNight if rule.metric == Metric::SleepEfficiency => return MEAN_LOSES,
        Needs::WholeDay | Needs::WholeNight => 1.0,
        Needs::PartOfNight => return FEW_HOURS_LOSE,
        Needs::PartOfDay | Needs::Rest | Needs::Nothing => return MEAN_LOSES,
    };
    let share = SHORT_LOSES + (1.0 - SHORT_LOSES) * (1.0 - 2.0 * keeps).max(0.0);
    grows * share * rule.usual / rule.tolerance.at(rule.usual)
}

/// P(within the tolerance) of a value that lost so much by not being seen, where without that it were `p`: the device's
/// own error may make up for it. What is lost scatters by half.
pub fn lucky(p: f64, lost: f64) -> f64 {
    let own = math::sd_within_one(p);
    let sd = (own * own + lost * lost / 4.0).sqrt();
    (math::normal_cdf((1.0 + lost) / sd) - math::normal_cdf((lost - 1.0) / sd)).min(p)
}

fn at_least(seen: Option<f64>, assumed: Option<f64>) -> Option<f64> {
    match (seen, assumed) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// Hours in bed by the same source's night; else the part of the day its activity durations leave open (devices that
/// count a day's seconds leave out the sleep).
fn night_hours(day: &Day) -> Option<f64> {
    let bed = day.get(Metric::TimeInBed).or(day.get(Metric::SleepDuration)).filter(|s| *s > 0.0).map(|s| s / 3600.0);
    bed.or_else(|| {
        let open = (86_400.0 - day.accounted_s.filter(|_| !day.rest_counted)?) / 3600.0;
        Some(if (0.0..=LONGEST_NIGHT).contains(&open) { open } else { 0.0 })
    })
}

/// Hours a day had run when its seconds were added up, where they and the night fall well short of a day.
fn hours_run(day: &Day) -> Option<f64> {
    let counted = day.accounted_s.filter(|_| !day.rest_counted)? / 3600.0;
    if 24.0 - counted <= LONGEST_NIGHT {
        return None; // the rest may well have been slept, recorded or not
    }
    let bed = day.get(Metric::TimeInBed).or(day.get(Metric::SleepDuration)).map_or(USUAL_NIGHT, |s| s / 3600.0);
    let run = counted + bed.max(0.0);
    (run < WHOLE_DAY).then_some(run)
}

fn movement_hours(day: &Day) -> Option<f64> {
    let seconds = day.movement_s.or_else(|| day.get(Metric::Steps).map(|s| s * SECONDS_A_STEP));
    seconds.map(|s| s / 3600.0)
}

/// P(the day was seen whole enough). Durations that count the rest say directly how long the device was worn. Else there
/// are up to two witnesses, night with movement and the number of heart-rate samples against the usual; their log-odds
/// are averaged.
fn whole_day(day: &Day, assume: Assume, found: &mut Completeness) -> f64 {
    found.movement_hours = at_least(movement_hours(day), assume.movement_hours);
    let moved = match (found.night_hours, found.movement_hours) {
        (None, None) => None,
        (night, movement) => {
            let night = night.unwrap_or(NIGHT_ENOUGH / 2.0).min(NIGHT_ENOUGH);
            let movement = movement.unwrap_or(1.5);
            Some(OFFSET + PER_NIGHT_HOUR * night + PER_MOVEMENT * math::ln(movement + MOVEMENT_FLOOR))
        }
    };
    found.samples_share = match (day.heart_rate_samples, day.usual_samples) {
        (Some(n), Some(usual)) if usual > 0.0 => Some((f64::from(n) / usual).min(1.0)),
        _ => None,
    };
    found.worn_hours = day.accounted_s.filter(|_| day.rest_counted).map(|s| s / 3600.0);
    if assume.worn_throughout {
        found.samples_share = found.samples_share.map(|_| 1.0);
        found.worn_hours = found.worn_hours.map(|_| 24.0);
    }
    let beats = found.samples_share.map(|share| 24.0 * share - ENOUGH_HOURS);
    let direct = found.worn_hours.map(|h| h - ENOUGH_HOURS);
    let log_odds = match (direct, moved, beats) {
        (Some(direct), _, _) => direct,
        (None, Some(a), Some(b)) => (a + b) / 2.0,
        (None, Some(one), None) | (None, None, Some(one)) => one,
        (None, None, None) => {
            found.known = false;
            math::logit(UNKNOWN)
        }
    };
    // A day cut off at 21:30 has lost about a tenth.
    let sharp = if found.known { SHARPNESS * log_odds } else { log_odds };
    math::sigmoid(sharp) * found.cut_hours.map_or(1.0, |h| math::sigmoid((h - 21.5) / 0.8))
}

/// What is said of a limit that leaves so much: nothing where it hardly costs.
fn felt<T>(what: T, leaves: f64) -> Option<T> {
    (leaves < FELT).then_some(what)
}

/// A night is as whole as its hypnogram, its unmeasured seconds and its length say.
fn whole_night(own: &Coverage, assume: Assume, found: &mut Completeness) -> f64 {
    let Some(hours) = found.night_hours else {
        found.known = false;
        return UNKNOWN;
    };
    let mut keeps = math::sigmoid((hours - 3.0) / 0.6);
    if let Some(drawn) = own.hypnogram_s.map(|s| s / 3600.0) {
        // Of a night seen for longer the hypnogram is longer.
        let drawn = assume.night_hours.map_or(drawn, |assumed| drawn.max(assumed));
        let leaves = math::sigmoid((drawn - hours + 1.0) / 0.25);
        found.limits.hypnogram_hours = felt(drawn, leaves);
        keeps *= leaves;
    }
    if let Some(lost) = own.unmeasurable_s.map(|s| s / 3600.0) {
        let leaves = math::sigmoid((1.0 - lost) / 0.25);
        found.limits.unmeasured_hours = felt(lost, leaves);
        keeps *= leaves;
    }
    if let Some(cut) = own.cut_s.filter(|_| !assume.day_over) {
        found.limits.cut_hours = Some(cut / 3600.0);
        keeps *= 0.5;
    }
    keeps
}

/// The samples that a metric was made from, where the payload counts them and few of them say that little of the night was seen:
/// blood oxygen is also measured once, on purpose.
fn samples_of(metric: Metric, own: &Coverage) -> Option<u32> {
    match metric {
        Metric::HrvRmssd | Metric::HrvSdnn => own.samples,
        _ => None,
    }
}

/// A mean over the night needs some hours of it; a value from few samples of its own is worth less.
fn part_of_night(metric: Metric, own: &Coverage, found: &mut Completeness) -> f64 {
    let night = found.night_hours.map(|h| math::sigmoid((h - 1.5) / 0.4));
    let samples = samples_of(metric, own).map(|n| {
        let leaves = math::sigmoid((f64::from(n) - 3.0) / 1.5);
        found.limits.samples = felt(n, leaves);
        leaves
    });
    found.known = night.is_some() || samples.is_some();
    night.unwrap_or(if found.known { 1.0 } else { 0.95 }) * samples.unwrap_or(1.0)
}
