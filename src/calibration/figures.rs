//! The figures a score is judged by. Plain functions of numbers; each says what it measures and what would be perfect.

use serde::{Deserialize, Serialize};

/// A forecast probability and whether it came true.
pub type Forecast = (f64, bool);

/// Area under the ROC curve: the chance that a good one scores above a bad one, ties counting half. 1 is perfect, 0.5
/// a coin. `None` without both kinds.
pub fn auroc(scores: &[Forecast]) -> Option<f64> {
    let (mut sum, mut good) = (0.0, 0u64);
    let mut sorted: Vec<&Forecast> = scores.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut i = 0;
    while i < sorted.len() {
        let end = i + sorted[i..].iter().take_while(|s| s.0 == sorted[i].0).count();
        // Ranks from 1; all of a tie share their middle rank.
        let rank = (i + end + 1) as f64 / 2.0;
        let here = sorted[i..end].iter().filter(|s| s.1).count() as u64;
        sum += rank * here as f64;
        good += here;
        i = end;
    }
    let bad = sorted.len() as u64 - good;
    if good == 0 || bad == 0 {
        return None;
    }
    let (g, b) = (good as f64, bad as f64);
    Some((sum - g * (g + 1.0) / 2.0) / (g * b))
}

/// Area under the precision–recall curve of finding the bad ones (low score = suspected): average precision. 1 is
/// perfect, the share of bad ones is chance. `None` without bad ones.
pub fn auprc_of_bad(scores: &[Forecast]) -> Option<f64> {
    let mut sorted: Vec<&Forecast> = scores.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bad = sorted.iter().filter(|s| !s.1).count();
    if bad == 0 {
        return None;
    }
    let (mut found, mut area, mut i) = (0usize, 0.0, 0);
    while i < sorted.len() {
        let end = i + sorted[i..].iter().take_while(|s| s.0 == sorted[i].0).count();
        let here = sorted[i..end].iter().filter(|s| !s.1).count();
        found += here;
        area += here as f64 * found as f64 / end as f64;
        i = end;
    }
    Some(area / bad as f64)
}

/// The Brier score and what it is made of (CORP, Dimitriadis, Gneiting & Jordan 2021): score = miscalibration −
/// discrimination + uncertainty. 0 is perfect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Brier {
    /// Mean squared difference of forecast and outcome.
    pub score: f64,
    /// What recalibration would win back.
    pub miscalibration: f64,
    /// What the forecast knows beyond the base rate.
    pub discrimination: f64,
    /// What the base rate alone leaves open.
    pub uncertainty: f64,
}

/// The Brier score with its decomposition; `None` when empty.
pub fn brier(forecasts: &[Forecast]) -> Option<Brier> {
    if forecasts.is_empty() {
        return None;
    }
    let n = forecasts.len() as f64;
    let squared = |p: f64, good: bool| (p - f64::from(u8::from(good))).powi(2);
    let score = forecasts.iter().map(|f| squared(f.0, f.1)).sum::<f64>() / n;
    let curve = corp(forecasts);
    let recalibrated = curve.iter().map(|s| s.count as f64 * s.observed * (1.0 - s.observed)).sum::<f64>() / n;
    let base = forecasts.iter().filter(|f| f.1).count() as f64 / n;
    let uncertainty = base * (1.0 - base);
    Some(Brier { score, miscalibration: score - recalibrated, discrimination: uncertainty - recalibrated, uncertainty })
}

/// A step of the reliability curve: forecasts from `low` to `high` came true in this share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Smallest forecast of the step.
    pub low: f64,
    /// Largest.
    pub high: f64,
    /// Mean forecast.
    pub forecast: f64,
    /// Share that came true.
    pub observed: f64,
    /// Forecasts in it.
    pub count: u64,
}

/// The CORP reliability curve: the isotonic regression of outcomes on forecasts by pooling adjacent violators. No bins
/// to choose.
pub fn corp(forecasts: &[Forecast]) -> Vec<Step> {
    let mut sorted: Vec<&Forecast> = forecasts.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut steps: Vec<Step> = Vec::new();
    for (p, good) in sorted {
        let outcome = f64::from(u8::from(*good));
        let mut step = Step { low: *p, high: *p, forecast: *p, observed: outcome, count: 1 };
        while let Some(last) = steps.last() {
            let tied = last.high == step.low;
            if last.observed < step.observed && !tied {
                break;
            }
            let (a, b) = (last.count as f64, step.count as f64);
            step = Step {
                low: last.low,
                high: step.high,
                forecast: (last.forecast * a + step.forecast * b) / (a + b),
                observed: (last.observed * a + step.observed * b) / (a + b),
                count: last.count + step.count,
            };
            steps.pop();
        }
        steps.push(step);
    }
    steps
}

/// Expected calibration error over twenty equally full groups: mean |forecast − observed|. 0 is perfect.
pub fn calibration_error(forecasts: &[Forecast]) -> Option<f64> {
    let mut sorted: Vec<&Forecast> = forecasts.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = sorted.len();
    if n == 0 {
        return None;
    }
    let groups = 20.min(n);
    let mut sum = 0.0;
    for g in 0..groups {
        let group = &sorted[g * n / groups..(g + 1) * n / groups];
        let forecast: f64 = group.iter().map(|f| f.0).sum();
        let observed = group.iter().filter(|f| f.1).count() as f64;
        sum += (forecast - observed).abs();
    }
    Some(sum / n as f64)
}

/// Spearman's rank correlation, ties sharing their middle rank. `None` with fewer than three pairs or no variation.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let a = ranks(pairs.iter().map(|p| p.0));
    let b = ranks(pairs.iter().map(|p| p.1));
    let middle = (pairs.len() as f64 + 1.0) / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        ab += (x - middle) * (y - middle);
        aa += (x - middle).powi(2);
        bb += (y - middle).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut i = 0;
    while i < order.len() {
        let end = i + order[i..].iter().take_while(|k| values[**k] == values[order[i]]).count();
        for k in &order[i..end] {
            ranks[*k] = (i + end + 1) as f64 / 2.0;
        }
        i = end;
    }
    ranks
}

/// Mean error in each tenth of the forecasts, from the lowest to the highest: it should fall.
pub fn error_by_decile(pairs: &[(f64, f64)]) -> Vec<f64> {
    let mut sorted: Vec<&(f64, f64)> = pairs.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = sorted.len();
    (0..10.min(n))
        .map(|d| {
            let group = &sorted[d * n / 10.min(n)..(d + 1) * n / 10.min(n)];
            group.iter().map(|p| p.1).sum::<f64>() / group.len().max(1) as f64
        })
        .collect()
}

/// A figure with the middle 90 % of what it would have been had other persons been drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// 5th percentile.
    pub low: f64,
    /// 95th percentile.
    pub high: f64,
    /// Values behind it.
    pub n: u64,
}

/// A figure with its interval: whole persons are drawn again with replacement, since days of one person are alike.
/// `None` where the figure itself is.
pub fn by_person<T: Clone>(persons: &[Vec<T>], draws: u32, seed: u64, figure: impl Fn(&[T]) -> Option<f64>) -> Option<Estimate> {
    let all: Vec<T> = persons.iter().flatten().cloned().collect();
    let value = figure(&all)?;
    let mut chance = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut found = Vec::new();
    for _ in 0..draws {
        let mut drawn = Vec::with_capacity(all.len());
        for _ in persons {
            drawn.extend_from_slice(&persons[(next(&mut chance) % persons.len() as u64) as usize]);
        }
        found.extend(figure(&drawn));
    }
    found.sort_by(f64::total_cmp);
    let at = |q: f64| found.get(((found.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(value);
    Some(Estimate { value, low: at(0.05), high: at(0.95), n: all.len() as u64 })
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn auroc_of_known_cases() {
        assert_eq!(auroc(&[(0.9, true), (0.1, false)]), Some(1.0));
        assert_eq!(auroc(&[(0.1, true), (0.9, false)]), Some(0.0));
        assert_eq!(auroc(&[(0.5, true), (0.5, false)]), Some(0.5));
        assert_eq!(auroc(&[(0.5, true)]), None);
        assert_eq!(auroc(&[(0.1, false), (0.4, true), (0.35, false), (0.8, true)]), Some(1.0));
        assert_eq!(auroc(&[(0.1, false), (0.35, true), (0.4, false), (0.8, true)]), Some(0.75));
    }

    #[test]
    fn average_precision_of_known_cases() {
        assert_eq!(auprc_of_bad(&[(0.1, false), (0.9, true)]), Some(1.0));
        assert_eq!(auprc_of_bad(&[(0.1, true), (0.9, false)]), Some(0.5));
    }

    #[test]
    fn calibrated_forecasts_have_no_calibration_error_and_shifted_ones_do() {
        let honest: Vec<Forecast> =
            (0..1000).map(|i| (if i % 2 == 0 { 0.2 } else { 0.8 }, (i / 2) % 10 < if i % 2 == 0 { 2 } else { 8 })).collect();
        assert!(calibration_error(&honest).unwrap() < 0.01);
        let b = brier(&honest).unwrap();
        assert!(b.miscalibration < 1e-9 && (b.score - 0.16).abs() < 1e-9, "{b:?}");
        assert!((b.miscalibration - b.discrimination + b.uncertainty - b.score).abs() < 1e-12);
        let vain: Vec<Forecast> = honest.iter().map(|f| (f.0 + 0.1, f.1)).collect();
        assert!(calibration_error(&vain).unwrap() > 0.09);
        assert!(brier(&vain).unwrap().miscalibration > 0.009);
    }

    #[test]
    fn the_reliability_curve_never_falls() {
        let forecasts: Vec<Forecast> = (0..500).map(|i| (f64::from(i % 50) / 50.0, (i * 7919) % 13 > 6)).collect();
        let curve = corp(&forecasts);
        assert!(curve.windows(2).all(|w| w[0].observed < w[1].observed && w[0].high < w[1].low));
        assert_eq!(curve.iter().map(|s| s.count).sum::<u64>(), 500);
    }

    #[test]
    fn rank_correlation_of_known_cases() {
        assert_eq!(spearman(&[(1.0, 10.0), (2.0, 20.0), (3.0, 90.0)]), Some(1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(spearman(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }

    #[test]
    fn intervals_hold_the_figure_and_are_the_same_for_the_same_seed() {
        let persons: Vec<Vec<f64>> = (0..20).map(|p| (0..5).map(|d| f64::from(p * 5 + d)).collect()).collect();
        let mean = |v: &[f64]| Some(v.iter().sum::<f64>() / v.len() as f64);
        let a = by_person(&persons, 200, 7, mean).unwrap();
        assert!(a.low < a.value && a.value < a.high);
        assert_eq!(Some(a), by_person(&persons, 200, 7, mean));
    }
}
