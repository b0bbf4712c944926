//! From published figures to a prior: P(|error| ≤ tolerance) for a device and a metric, with how sure that is.
//!
//! Errors are taken as normal: σ = MAPE·√(π/2) where only a mean absolute percentage error was published (bias then
//! taken as zero), σ = (high − low)/3.92 from limits of agreement, and from a share of what was right the σ that leaves so much within
//! the tolerance this registry ships with. A study counts as many observations as it had
//! participants, 30 at most; half of that when it was read only in a page quoting it, a third when not checked. What
//! was never studied borrows the mean of its class with four observations, which is wide, and says so. What a standard
//! requires and what this registry assumes count in that arithmetic like a study, but are none and are never called one.

use super::evidence::ANY;
use super::{Basis, Citation, EvidenceRow, Figure, Key, MetricRule, Registry, Tolerance};
use crate::model::Metric;
use crate::quality::math;
use std::collections::BTreeMap;

/// Observations a borrowed class prior is worth.
const BORROWED: f64 = 4.0;
/// Most observations a prior may claim.
const MOST: f64 = 30.0;
/// Weight of a study of another model of the same brand.
const OTHER_MODEL: f64 = 0.4;
/// Participants assumed where the number was not read.
const FEW: f64 = 8.0;

/// Where the figures of a prior come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// Studies of this brand.
    Studied,
    /// What a standard requires: the row's index in [`Registry::evidence`].
    Required(usize),
    /// An assumption of this registry.
    Assumed,
    /// Studies of other devices.
    Borrowed,
    /// Several of these, none of them a study of this brand.
    Mixed,
}

/// What is known beforehand of a device's error.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    /// P(|error| ≤ tolerance).
    pub probability: f64,
    /// Observations it is worth.
    pub observations: f64,
    /// Whether a study of this brand and metric gives a probability.
    pub studied: bool,
    /// Where the figures come from.
    pub grounds: Grounds,
    /// The study that carries most of the weight and may be shown: its index in [`Registry::evidence`].
    pub shown: Option<usize>,
    /// Studies that went in.
    pub studies: u32,
}

impl Prior {
    /// Standard deviation of its log-odds (of a Beta distribution with that many observations).
    pub fn sd(&self) -> f64 {
        self.sd_with(0.0)
    }

    /// The same with observations of one's own.
    pub fn sd_with(&self, more: f64) -> f64 {
        let a = (self.probability * (self.observations + more)).max(0.25);
        let b = ((1.0 - self.probability) * (self.observations + more)).max(0.25);
        (1.0 / a + 1.0 / b).sqrt().min(1.5)
    }

    /// Its 90th percentile.
    pub fn high(&self) -> f64 {
        math::sigmoid(math::logit(self.probability) + super::super::Z90 * self.sd())
    }

    /// Its 10th percentile.
    pub fn low(&self) -> f64 {
        math::sigmoid(math::logit(self.probability) - super::super::Z90 * self.sd())
    }
}

impl Figure {
    /// P(|error| ≤ tolerance) under the figure; `None` where it gives none.
    pub fn within(self, rule: &MetricRule) -> Option<f64> {
        let (delta, bias, sd) = match (self, rule.tolerance) {
            (Figure::Right(share), t) if t == rule.studied => return Some(share),
            // A share says nothing of how far off the rest was: normal, as the others.
            (Figure::Right(share), t) => (t.at(rule.usual), 0.0, rule.studied.at(rule.usual) * math::sd_within_one(share)),
            (Figure::Words, _) => return None,
            (Figure::Mape(percent), Tolerance::Relative(f)) => (f, 0.0, percent / 100.0 * SQRT_HALF_PI),
            (Figure::Mape(percent), Tolerance::Absolute(d)) => (d, 0.0, percent / 100.0 * rule.usual * SQRT_HALF_PI),
            (Figure::BiasSd(bias, sd), t) => (t.at(rule.usual), bias, sd),
            (Figure::Limits(low, high), t) => (t.at(rule.usual), (low + high) / 2.0, (high - low) / 3.92),
        };
        Some(math::normal_cdf((delta - bias) / sd) - math::normal_cdf((-delta - bias) / sd))
    }
}

const SQRT_HALF_PI: f64 = 1.253_314_137_315_500_3;

impl EvidenceRow {
    /// The row as a citation; `None` unless it was read at its source.
    pub fn citation(&self) -> Option<Citation> {
        (self.key == Key::Seen).then(|| Citation {
            study: self.study.clone(),
            device: self.device.clone(),
            published: self.published.clone(),
            n: self.n,
            funder: self.funder.clone(),
        })
    }

    /// Name of the standard, of a row that is a requirement.
    pub fn standard(&self) -> &str {
        self.study.strip_suffix(" requirement").unwrap_or(&self.study)
    }

    fn weight(&self, device: Option<&str>) -> f64 {
        let n = self.n.map_or(FEW, |n| f64::from(n).min(MOST));
        let read = match self.key {
            Key::Seen => 1.0,
            Key::Secondary => 0.5,
            Key::Known => 1.0 / 3.0,
        };
        n * read * if self.is_of(device) { 1.0 } else { OTHER_MODEL }
    }

    /// Whether the study is of this very model: every word and number of the studied model's name is one of the device's.
    fn is_of(&self, device: Option<&str>) -> bool {
        let Some(device) = device else { return false };
        let of_device = words(device);
        words(&self.device).iter().all(|word| of_device.contains(word))
    }
}

/// The words and the numbers of a name, in lower case: "Watch5" is "watch" and "5"; "44mm" and "A3F2" are one word each.
fn words(name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let parts = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    parts
        .flat_map(|part| {
            let number = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (word, rest) = part.split_at(number);
            let numbered = !word.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
            if numbered { vec![word, rest] } else { vec![part] }
        })
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Registry {
    /// The prior of a source (and, where known, a device) for a metric.
    pub fn prior(&self, metric: Metric, source: &str, device: Option<&str>) -> Prior {
        let Some(at) = self.rules.iter().position(|r| r.metric == metric) else {
            return Prior { probability: 0.5, observations: 1.0, studied: false, grounds: Grounds::Assumed, shown: None, studies: 0 };
        };
        let (rule, class) = (&self.rules[at], self.class[at]);
        let (mut sum, mut weight, mut studies) = (class * BORROWED, BORROWED, 0);
        let mut shown: Option<(f64, usize)> = None;
        let mut stands_in: Option<Grounds> = None;
        for (i, row) in self.evidence().iter().enumerate() {
            let any = row.source == ANY;
            if row.metric != metric || (row.source != source && !any) {
                continue;
            }
            if any {
                // Already in the class prior; shown where the brand has nothing of its own.
                shown = shown.or((row.key == Key::Seen).then_some((0.0, i)));
                continue;
            }
            let w = row.weight(device);
            if let Some(p) = row.figure.within(rule) {
                sum += p * w;
                weight += w;
                match row.basis {
                    Basis::Study => studies += 1,
                    Basis::Requirement => stands_in = stands_in.or(Some(Grounds::Required(i))),
                    Basis::Assumed => stands_in = stands_in.or(Some(Grounds::Assumed)),
                }
            }
            let visible = if row.figure == Figure::Words { w * 0.1 } else { w };
            if row.key == Key::Seen && shown.is_none_or(|(best, _)| visible > best) {
                shown = Some((visible, i));
            }
        }
        let studied = studies > 0;
        let grounds = if studied { Grounds::Studied } else { stands_in.unwrap_or_else(|| self.class_grounds(rule)) };
        Prior { probability: sum / weight, observations: weight.min(MOST), studied, grounds, shown: shown.map(|s| s.1), studies }
    }

    /// The mean of what devices reach on the metric, each brand one voice, however many of its models were studied; else on the metric it borrows from; else on everything that was ever studied.
    pub(super) fn class_prior(&self, rule: &MetricRule) -> f64 {
        self.mean_of(|r| r.metric == rule.metric, rule)
            .or_else(|| {
                let other = rule.borrows.and_then(|m| self.rule(m))?;
                self.mean_of(|r| r.metric == other.metric, other)
            })
            .unwrap_or_else(|| self.mean_of_all())
    }

    /// Where the figures of a class prior come from; its rows are found as [`Registry::class_prior`] finds them.
    fn class_grounds(&self, rule: &MetricRule) -> Grounds {
        self.grounds_of(|r| r.metric == rule.metric)
            .or_else(|| {
                let other = rule.borrows?;
                self.grounds_of(|r| r.metric == other)
            })
            .or_else(|| self.grounds_of(|_| true))
            .unwrap_or(Grounds::Assumed)
    }

    fn grounds_of(&self, which: impl Fn(&EvidenceRow) -> bool) -> Option<Grounds> {
        let with_figure = self.evidence().iter().enumerate().filter(|(_, r)| r.figure != Figure::Words && which(r));
        let each = with_figure.map(|(i, row)| match row.basis {
            Basis::Study => Grounds::Borrowed,
            Basis::Requirement => Grounds::Required(i),
            Basis::Assumed => Grounds::Assumed,
        });
        each.reduce(|a, b| if std::mem::discriminant(&a) == std::mem::discriminant(&b) { a } else { Grounds::Mixed })
    }

    fn mean_of(&self, which: impl Fn(&EvidenceRow) -> bool, rule: &MetricRule) -> Option<f64> {
        let mut brands: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for row in self.evidence().iter().filter(|r| which(r)) {
            if let Some(p) = row.figure.within(rule) {
                let (sum, n) = brands.entry(&row.source).or_default();
                (*sum, *n) = (*sum + p, *n + 1.0);
            }
        }
        let sum: f64 = brands.values().map(|(sum, n)| sum / n).sum();
        (!brands.is_empty()).then(|| sum / brands.len() as f64)
    }

    fn mean_of_all(&self) -> f64 {
        let means: Vec<f64> = self.rules().iter().filter_map(|r| self.mean_of(|e| e.metric == r.metric, r)).collect();
        means.iter().sum::<f64>() / means.len().max(1) as f64
    }
}
