//! Is this change real, and how far do two devices agree?
//!
//! The smallest detectable change is 1.96 · √2 · typical error for two single days, and shrinks with the days on each
//! side (Buchheit 2014 gives typical errors of 10 % for resting heart rate and 12 % for lnRMSSD; here the person's own
//! scatter is used). A day counts as much as its confidence: ten doubtful days are not ten days. Agreement of two
//! devices is that of Bland and Altman, with the person's own limits.

use super::registry::{MetricRule, Scale};
use super::{Registry, math};
use crate::model::Metric;
use serde::{Deserialize, Serialize};

/// A value with the probability that it is good enough.
pub type Weighed = (f64, f64);

/// Most days worth waiting for.
const PATIENCE: u32 = 28;

/// The verdict on a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeVerdict {
    /// Larger than noise explains.
    Real,
    /// No number of days in reach would tell it from noise.
    WithinNoise,
    /// So many more days like the last ones would decide.
    NeedsDays(u32),
}

/// A change and what is needed to believe it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The verdict.
    pub verdict: ChangeVerdict,
    /// The change: in the metric's unit, or in per cent of before where values scatter in proportion.
    pub difference: f64,
    /// The smallest change in this direction that these days can show, same unit and sign: where values scatter in
    /// proportion, a fall shows sooner than a rise. `None`: not even one to the end of what is possible.
    pub smallest: Option<f64>,
    /// Whether both are per cent.
    pub percent: bool,
}

/// Whether the days `after` differ from the days `before` by more than noise. `None` with fewer than three days before
/// or none after, or for metrics that are not scored.
pub fn change_is_real(registry: &Registry, metric: Metric, before: &[Weighed], after: &[Weighed]) -> Option<Change> {
    let rule = registry.rule(metric)?;
    let scale = |days: &[Weighed]| -> Vec<Weighed> { days.iter().map(|(v, p)| (rule.scaled(*v), p.clamp(0.01, 1.0))).collect() };
    let (before, after) = (scale(before), scale(after));
    if before.len() < 3 || after.is_empty() {
        return None;
    }
    let error = typical_error(rule, &before);
    let (mean_before, n_before) = weighed_mean(&before);
    let (mean_after, n_after) = weighed_mean(&after);
    let difference = mean_after - mean_before;
    let smallest = 1.96 * error * (1.0 / n_before + 1.0 / n_after).sqrt();
    let verdict = if difference.abs() >= smallest {
        ChangeVerdict::Real
    } else {
        // The days after that would be needed: error²·(1/before + 1/k) = (difference / 1.96)².
        let room = (difference / (1.96 * error)).powi(2) - 1.0 / n_before;
        let per_day = n_after / after.len() as f64;
        let more = if room > 0.0 { ((1.0 / room - n_after) / per_day).ceil() } else { f64::INFINITY };
        if more <= f64::from(PATIENCE) { ChangeVerdict::NeedsDays((more as u32).max(1)) } else { ChangeVerdict::WithinNoise }
    };
    // Said of the values themselves: a step on the scale is no per cent of them where the scale has an offset.
    let value = |scaled: f64| unscaled(rule, scaled);
    let from = value(mean_before);
    // Of next to nothing there is no share; what rounding leaves is that.
    let percent = matches!(rule.scale, Scale::Log(offset) if from > 0.01 * offset.max(1e-3));
    let shown = |to: f64| if percent { 100.0 * (to / from - 1.0) } else { to - from };
    let threshold = Some(value(mean_before + smallest.copysign(difference))).filter(|v| rule.possible(*v));
    Some(Change { verdict, difference: shown(value(mean_after)), smallest: threshold.map(shown), percent })
}

/// A value from where it lies on the metric's scale.
fn unscaled(rule: &MetricRule, scaled: f64) -> f64 {
    match rule.scale {
        Scale::Linear => scaled,
        Scale::Log(offset) => libm::exp(scaled) - offset,
    }
}

/// The person's own day-to-day scatter, robust, on the metric's scale.
fn typical_error(rule: &MetricRule, days: &[Weighed]) -> f64 {
    let mut values: Vec<f64> = days.iter().map(|d| d.0).collect();
    let median = math::median(&mut values).unwrap_or(0.0);
    let mut off: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
    (1.4826 * math::median(&mut off).unwrap_or(0.0)).max(rule.floor)
}

/// Mean weighed by confidence, and the days it is worth.
fn weighed_mean(days: &[Weighed]) -> (f64, f64) {
    let weight: f64 = days.iter().map(|d| d.1).sum();
    (days.iter().map(|d| d.0 * d.1).sum::<f64>() / weight, weight)
}

/// How two devices agree on common days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Common days.
    pub n: u32,
    /// Mean of first − second.
    pub bias: f64,
    /// Standard deviation of the differences.
    pub sd: f64,
    /// Limits of agreement: 95 of 100 differences lie between them.
    pub limits: (f64, f64),
    /// Change of the difference with a unit of the mean of both: proportional bias.
    pub slope: f64,
    /// Standard error of the slope.
    pub slope_error: f64,
    /// Lin's concordance correlation coefficient.
    pub ccc: f64,
}

impl Agreement {
    /// Whether the bias grows or shrinks with the value, beyond chance.
    pub fn proportional(&self) -> bool {
        self.slope.abs() > 1.96 * self.slope_error
    }
}

/// Bland–Altman of paired values, first against second. `None` with fewer than three pairs.
pub fn agreement(pairs: &[(f64, f64)]) -> Option<Agreement> {
    if pairs.len() < 3 {
        return None;
    }
    let n = pairs.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>() / n;
    let (ma, mb) = (mean(&|p| p.0), mean(&|p| p.1));
    let (bias, middle) = (ma - mb, (ma + mb) / 2.0);
    let dev_d = |p: &(f64, f64)| p.0 - p.1 - bias;
    let dev_m = |p: &(f64, f64)| (p.0 + p.1) / 2.0 - middle;
    let sd = (pairs.iter().map(|p| dev_d(p).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let spread_m: f64 = pairs.iter().map(|p| dev_m(p).powi(2)).sum();
    let slope = if spread_m > 0.0 { pairs.iter().map(|p| dev_d(p) * dev_m(p)).sum::<f64>() / spread_m } else { 0.0 };
    let rest: f64 = pairs.iter().map(|p| (dev_d(p) - slope * dev_m(p)).powi(2)).sum();
    let slope_error = if spread_m > 0.0 { (rest / (n - 2.0) / spread_m).sqrt() } else { f64::INFINITY };
    let (va, vb) = (mean(&|p| (p.0 - ma).powi(2)), mean(&|p| (p.1 - mb).powi(2)));
    let cov = mean(&|p| (p.0 - ma) * (p.1 - mb));
    let below = va + vb + bias * bias;
    let ccc = if below > 0.0 { 2.0 * cov / below } else { 1.0 };
    Some(Agreement { n: pairs.len() as u32, bias, sd, limits: (bias - 1.96 * sd, bias + 1.96 * sd), slope, slope_error, ccc })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn days(values: &[f64]) -> Vec<Weighed> {
        values.iter().map(|v| (*v, 0.9)).collect()
    }

    #[test]
    fn a_large_change_is_real_a_small_one_needs_days_a_tiny_one_is_noise() {
        let registry = Registry::built_in();
        let before = days(&[50.0, 52.0, 48.0, 51.0, 49.0, 50.0, 53.0, 47.0, 50.0, 51.0, 49.0, 52.0, 48.0, 50.0]);
        let judge = |after: &[f64]| change_is_real(registry, Metric::RestingHeartRate, &before, &days(after)).unwrap();
        assert_eq!(judge(&[60.0, 61.0]).verdict, ChangeVerdict::Real);
        assert!(matches!(judge(&[52.5]).verdict, ChangeVerdict::NeedsDays(_)));
        assert_eq!(judge(&[50.1]).verdict, ChangeVerdict::WithinNoise);
    }

    #[test]
    fn the_days_asked_for_suffice() {
        let registry = Registry::built_in();
        let before = days(&[50.0, 52.0, 48.0, 51.0, 49.0, 50.0, 53.0, 47.0, 50.0, 51.0, 49.0, 52.0, 48.0, 50.0]);
        let after = vec![52.6];
        let change = change_is_real(registry, Metric::RestingHeartRate, &before, &days(&after)).unwrap();
        let ChangeVerdict::NeedsDays(more) = change.verdict else { unreachable!("{change:?}") };
        let waited = vec![52.6; 1 + more as usize];
        assert_eq!(change_is_real(registry, Metric::RestingHeartRate, &before, &days(&waited)).unwrap().verdict, ChangeVerdict::Real);
        let impatient = vec![52.6; more as usize];
        assert_ne!(change_is_real(registry, Metric::RestingHeartRate, &before, &days(&impatient)).unwrap().verdict, ChangeVerdict::Real);
    }

    #[test]
    fn a_change_in_per_cent_is_that_of_the_value_and_no_smaller_than_what_it_proves() {
        let registry = Registry::built_in();
        let judge =
            |metric: Metric, before: f64, after: f64| change_is_real(registry, metric, &days(&[before; 20]), &days(&[after; 3])).unwrap();
        for (metric, before, after, percent) in [
            (Metric::Steps, 500.0, 1500.0, 200.0),
            (Metric::Steps, 10_000.0, 3_500.0, -65.0),
            (Metric::SleepDuration, 25_200.0, 18_000.0, -28.571),
        ] {
            let c = judge(metric, before, after);
            let smallest = c.smallest.unwrap();
            assert!(c.percent && (c.difference - percent).abs() < 0.01, "{metric:?}: {c:?}");
            assert_eq!(smallest < 0.0, percent < 0.0, "{metric:?}: {c:?}");
            assert_eq!(c.verdict == ChangeVerdict::Real, c.difference.abs() >= smallest.abs(), "{metric:?}: {c:?}");
        }
    }

    #[test]
    fn nothing_is_no_share_of_nothing_and_nothing_falls_by_more_than_all_of_it() {
        let registry = Registry::built_in();
        for metric in [Metric::Steps, Metric::ActiveMinutes, Metric::WaterIntake] {
            for draw in 0..200 {
                // Rounding leaves another residue with each set of weights.
                let weight = |n: u32| 0.3 + 0.6 * f64::from((n * 37 + draw * 101) % 97) / 97.0;
                let before: Vec<Weighed> = (0..20).map(|n| (0.0, weight(n))).collect();
                let c = change_is_real(registry, metric, &before, &[(800.0, 0.9)]).unwrap();
                assert!(!c.percent && (c.difference - 800.0).abs() < 1.0, "{metric:?}: {c:?}");
            }
        }
        // Minutes that scatter as much as these cannot show a fall on one day.
        let before: Vec<Weighed> = (0..20).map(|n| (5.0 + f64::from(n * 7 % 20) * 45.0 / 19.0, 0.9)).collect();
        let c = change_is_real(registry, Metric::ActiveMinutes, &before, &[(4.0, 0.9)]).unwrap();
        assert!(c.difference < 0.0 && c.smallest.is_none_or(|s| s >= -100.0), "{c:?}");
        let c = change_is_real(registry, Metric::ActiveMinutes, &before, &[(0.0, 0.02)]).unwrap();
        assert!(c.smallest.is_none() && c.verdict != ChangeVerdict::Real, "{c:?}");
    }

    #[test]
    fn doubtful_days_prove_less() {
        let registry = Registry::built_in();
        let before = days(&[50.0, 52.0, 48.0, 51.0, 49.0, 50.0, 53.0]);
        let sure = change_is_real(registry, Metric::RestingHeartRate, &before, &[(54.0, 0.95), (54.0, 0.95)]).unwrap();
        let unsure = change_is_real(registry, Metric::RestingHeartRate, &before, &[(54.0, 0.2), (54.0, 0.2)]).unwrap();
        assert!(unsure.smallest.unwrap() > sure.smallest.unwrap() && sure.smallest.unwrap() > 0.0);
    }

    #[test]
    fn agreement_finds_planted_bias_limits_and_slope() {
        let pairs: Vec<(f64, f64)> = (0..200)
            .map(|i| {
                let truth = 40.0 + f64::from(i % 20);
                let noise = f64::from(i % 7) - 3.0;
                (truth + 5.0 + noise, truth)
            })
            .collect();
        let a = agreement(&pairs).unwrap();
        assert!((a.bias - 5.0).abs() < 0.1 && (a.sd - 2.0).abs() < 0.1, "{a:?}");
        assert!((a.limits.1 - a.limits.0 - 3.92 * a.sd).abs() < 1e-9);
        let grown: Vec<(f64, f64)> = pairs.iter().map(|p| (p.1 * 1.2, p.1 + (p.0 - p.1 - 5.0) * 0.1)).collect();
        assert!(agreement(&grown).unwrap().proportional());
        assert!(agreement(&pairs[..2]).is_none());
    }
}
