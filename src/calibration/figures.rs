//! The figures a score is judged by. Each says what it measures and what would be perfect.
//!
//! A sample is sorted once; every figure walks it in that order and counts each case as often as its person was drawn
//! ([`super::bootstrap`]), so an interval of hundreds of draws costs as many walks and no more.

use super::bootstrap::Drawn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A forecast probability and whether it came true.
#[cfg(test)]
pub type Forecast = (f64, bool);

/// A forecast, what came of it, and the position of the person it is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case<T> {
    /// The forecast.
    pub forecast: f64,
    /// Whether it came true, or how far off it was.
    pub outcome: T,
    /// Whose.
    pub person: usize,
}

/// Cases, lowest forecasts first.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<T>(Vec<Case<T>>);

impl<T> Sample<T> {
    /// Sorts them.
    pub fn new(cases: impl IntoIterator<Item = Case<T>>) -> Self {
        let mut cases: Vec<Case<T>> = cases.into_iter().collect();
        cases.sort_by(|a, b| a.forecast.total_cmp(&b.forecast));
        Self(cases)
    }

    /// Of how many persons.
    pub fn persons(&self) -> usize {
        self.0.iter().map(|c| c.person).collect::<BTreeSet<usize>>().len()
    }

    /// All cases, each as often as drawn.
    fn count(&self, drawn: Drawn<'_>) -> u64 {
        self.0.iter().map(|c| times(c, drawn)).sum()
    }

    /// Parts the cases into so many equally full groups and hands each over with the times it falls into each group.
    /// Returns how many groups there are: no more than cases.
    fn grouped(&self, drawn: Drawn<'_>, groups: u64, mut each: impl FnMut(usize, &Case<T>, u64)) -> u64 {
        let all = self.count(drawn);
        let groups = groups.min(all);
        let (mut at, mut group) = (0, 0);
        for case in &self.0 {
            let mut left = times(case, drawn);
            while left > 0 {
                let end = (group + 1) * all / groups;
                let here = left.min(end - at);
                each(group as usize, case, here);
                at += here;
                left -= here;
                group += u64::from(at == end);
            }
        }
        groups
    }
}

impl Sample<bool> {
    /// Forecasts all of one person.
    #[cfg(test)]
    pub fn of_one(forecasts: &[Forecast]) -> Self {
        Self::new(forecasts.iter().map(|f| Case { forecast: f.0, outcome: f.1, person: 0 }))
    }

    /// How many did not come true.
    pub fn bad(&self, drawn: Drawn<'_>) -> u64 {
        self.0.iter().filter(|c| !c.outcome).map(|c| times(c, drawn)).sum()
    }

    /// Cases of equal forecast, with how many came true and how many there are.
    fn ties<'s>(&'s self, drawn: Drawn<'s>) -> impl Iterator<Item = (&'s [Case<bool>], u64, u64)> {
        self.0.chunk_by(|a, b| a.forecast == b.forecast).map(move |tie| {
            tie.iter().fold((tie, 0, 0), |(tie, good, all), c| {
                let n = times(c, drawn);
                (tie, good + if c.outcome { n } else { 0 }, all + n)
            })
        })
    }
}

fn times<T>(case: &Case<T>, drawn: Drawn<'_>) -> u64 {
    drawn.map_or(1, |d| u64::from(d[case.person]))
}

/// Area under the ROC curve: the chance that a good one scores above a bad one, ties counting half. 1 is perfect, 0.5
/// a coin. `None` without both kinds.
pub fn auroc(sample: &Sample<bool>, drawn: Drawn<'_>) -> Option<f64> {
    let (mut sum, mut good, mut all) = (0.0, 0, 0);
    for (_, here, n) in sample.ties(drawn) {
        // Ranks from 1; all of a tie share their middle rank.
        sum += (all as f64 + (n as f64 + 1.0) / 2.0) * here as f64;
        good += here;
        all += n;
    }
    let (g, b) = (good as f64, (all - good) as f64);
    (g > 0.0 && b > 0.0).then(|| (sum - g * (g + 1.0) / 2.0) / (g * b))
}

/// Area under the precision–recall curve of finding the bad ones (low score = suspected): average precision. 1 is
/// perfect, the share of bad ones is chance. `None` without bad ones.
pub fn auprc_of_bad(sample: &Sample<bool>, drawn: Drawn<'_>) -> Option<f64> {
    let (mut area, mut bad, mut all) = (0.0, 0, 0);
    for (_, good, n) in sample.ties(drawn) {
        bad += n - good;
        all += n;
        if n > good {
            area += (n - good) as f64 * bad as f64 / all as f64;
        }
    }
    (bad > 0).then(|| area / bad as f64)
}

/// The average of a figure within each of several samples, weighed by their bad cases; `None` where none has one.
pub fn within(samples: &[Sample<bool>], drawn: Drawn<'_>, figure: impl Fn(&Sample<bool>, Drawn<'_>) -> Option<f64>) -> Option<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for sample in samples {
        if let Some(value) = figure(sample, drawn) {
            let bad = sample.bad(drawn) as f64;
            sum += value * bad;
            weight += bad;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}

/// Of how many persons the good and the bad cases of some samples are, whichever is less: fewer than two leave nothing to
/// draw again.
pub fn persons_of_each(samples: &[Sample<bool>]) -> usize {
    let of = |good: bool| {
        let cases = samples.iter().flat_map(|s| &s.0).filter(|c| c.outcome == good);
        cases.map(|c| c.person).collect::<BTreeSet<usize>>().len()
    };
    of(true).min(of(false))
}

/// The Brier score and what it is made of (CORP, Dimitriadis, Gneiting & Jordan 2021): the score (0 is perfect) =
/// miscalibration (what recalibration would win back) − discrimination (what the forecast knows beyond the base rate) +
/// uncertainty (what the base rate alone leaves open). In this order; `None` when empty.
pub fn brier(sample: &Sample<bool>, drawn: Drawn<'_>) -> Option<[f64; 4]> {
    let (mut score, mut good, mut all) = (0.0, 0, 0);
    for (tie, here, n) in sample.ties(drawn) {
        let p = tie.first()?.forecast;
        score += here as f64 * (1.0 - p) * (1.0 - p) + (n - here) as f64 * p * p;
        good += here;
        all += n;
    }
    if all == 0 {
        return None;
    }
    let n = all as f64;
    let recalibrated = corp(sample, drawn).iter().map(|s| s.count as f64 * s.observed * (1.0 - s.observed)).sum::<f64>() / n;
    let base = good as f64 / n;
    let uncertainty = base * (1.0 - base);
    Some([score / n, score / n - recalibrated, uncertainty - recalibrated, uncertainty])
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
pub fn corp(sample: &Sample<bool>, drawn: Drawn<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (tie, good, n) in sample.ties(drawn) {
        let Some(p) = tie.first().map(|c| c.forecast).filter(|_| n > 0) else { continue };
        let mut step = Step { low: p, high: p, forecast: p, observed: good as f64 / n as f64, count: n };
        while let Some(last) = steps.pop_if(|last| last.observed >= step.observed) {
            let (a, b) = (last.count as f64, step.count as f64);
            step = Step {
                low: last.low,
                high: step.high,
                forecast: (last.forecast * a + step.forecast * b) / (a + b),
                observed: (last.observed * a + step.observed * b) / (a + b),
                count: last.count + step.count,
            };
        }
        steps.push(step);
    }
    steps
}

/// Groups of the expected calibration error.
const GROUPS: usize = 20;

/// Expected calibration error over twenty equally full groups: mean |forecast − observed|. 0 is perfect.
pub fn calibration_error(sample: &Sample<bool>, drawn: Drawn<'_>) -> Option<f64> {
    let mut off = [0.0; GROUPS];
    let mut all = 0;
    sample.grouped(drawn, GROUPS as u64, |group, case, n| {
        off[group] += n as f64 * (case.forecast - f64::from(u8::from(case.outcome)));
        all += n;
    });
    (all > 0).then(|| off.iter().map(|o| o.abs()).sum::<f64>() / all as f64)
}

/// How many cases there are, their mean forecast, and the share that came true; `None` when empty.
pub fn means(sample: &Sample<bool>) -> Option<(u64, f64, f64)> {
    let n = sample.0.len() as f64;
    let forecast = sample.0.iter().map(|c| c.forecast).sum::<f64>();
    (n > 0.0).then(|| (n as u64, forecast / n, (n - sample.bad(None) as f64) / n))
}

/// Forecasts with how far off each was, and the order of the latter.
#[derive(Debug, Clone)]
pub struct Errors {
    sample: Sample<f64>,
    by_error: Vec<usize>,
}

impl Errors {
    /// Sorts both ways.
    pub fn new(cases: impl IntoIterator<Item = Case<f64>>) -> Self {
        let sample = Sample::new(cases);
        let mut by_error: Vec<usize> = (0..sample.0.len()).collect();
        by_error.sort_by(|a, b| sample.0[*a].outcome.total_cmp(&sample.0[*b].outcome));
        Self { sample, by_error }
    }

    /// Spearman's rank correlation of forecast and error, ties sharing their middle rank: −1 is perfect. `None` with fewer
    /// than three cases or no variation.
    pub fn spearman(&self, drawn: Drawn<'_>) -> Option<f64> {
        let cases = &self.sample.0;
        let in_order: Vec<usize> = (0..cases.len()).collect();
        let a = self.ranks(&in_order, drawn, |c| c.forecast);
        let b = self.ranks(&self.by_error, drawn, |c| c.outcome);
        let all = self.sample.count(drawn);
        let middle = (all as f64 + 1.0) / 2.0;
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for ((case, x), y) in cases.iter().zip(&a).zip(&b) {
            let n = times(case, drawn) as f64;
            ab += n * (x - middle) * (y - middle);
            aa += n * (x - middle).powi(2);
            bb += n * (y - middle).powi(2);
        }
        (all >= 3 && aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
    }

    /// The rank of each case when they stand in an order of ascending keys.
    fn ranks(&self, order: &[usize], drawn: Drawn<'_>, key: impl Fn(&Case<f64>) -> f64) -> Vec<f64> {
        let cases = &self.sample.0;
        let mut ranks = vec![0.0; cases.len()];
        let mut before = 0;
        for tie in order.chunk_by(|a, b| key(&cases[*a]) == key(&cases[*b])) {
            let n: u64 = tie.iter().map(|i| times(&cases[*i], drawn)).sum();
            for i in tie {
                ranks[*i] = before as f64 + (n as f64 + 1.0) / 2.0;
            }
            before += n;
        }
        ranks
    }

    /// Mean error in each tenth of the forecasts, from the lowest to the highest: it should fall.
    pub fn by_decile(&self, drawn: Drawn<'_>) -> Vec<f64> {
        let (mut sum, mut all) = ([0.0; 10], [0; 10]);
        let groups = self.sample.grouped(drawn, 10, |group, case, n| {
            sum[group] += n as f64 * case.outcome;
            all[group] += n;
        });
        sum.iter().zip(all).take(groups as usize).map(|(s, n)| s / n as f64).collect()
    }

    /// Of how many persons.
    pub fn persons(&self) -> usize {
        self.sample.persons()
    }
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
