//! Everything found about one value: what the score, its interval and its findings are read from.

use super::completeness::Completeness;
use super::concordance::Concordance;
use super::consistency::Consistency;
use super::plausibility::Plausibility;
use super::record::Record;
use super::registry::{MetricRule, Prior};
use super::{Parts, Verdict, Z90, math};
use crate::model::{DayValue, Finding, FindingKind, Metric, Source};

/// Everything found about one value.
#[derive(Debug)]
pub struct Assessed<'a> {
    /// The metric's rule.
    pub rule: &'a MetricRule,
    /// The value.
    pub value: &'a DayValue,
    /// What is known of the device.
    pub prior: &'a Prior,
    /// What the source's own days with this person add to it, next to another source.
    pub record: Option<Record>,
    /// Findings of each part.
    pub plausibility: Plausibility,
    /// How much was seen.
    pub completeness: Completeness,
    /// Other sources.
    pub concordance: Concordance,
    /// Fit with the rest of the delivery and the past.
    pub consistency: Consistency,
    /// What a person said.
    pub verdict: Option<Verdict>,
    /// Log-odds by part.
    pub parts: Parts,
    /// P(|reported − true| ≤ tolerance).
    pub probability: f64,
    /// Standard deviation of its log-odds.
    pub sd: f64,
}

impl Assessed<'_> {
    /// 10th and 90th percentile of the probability.
    pub fn interval(&self) -> (f64, f64) {
        let middle = math::logit(self.probability);
        (math::sigmoid(middle - Z90 * self.sd), math::sigmoid(middle + Z90 * self.sd))
    }

    /// The score, 0–100.
    pub fn score(&self) -> i32 {
        (100.0 * self.probability).round() as i32
    }

    /// All suspicions, in words.
    pub fn findings(&self, sources: &[&Source]) -> Vec<Finding> {
        let mut found = Vec::new();
        let metric = Some(self.rule.metric);
        let mut say = |kind, detail: String| found.push(Finding { kind, metric, detail, proposed: None });
        let unit = self.rule.metric.unit();
        if self.plausibility.impossible {
            let (low, high) = self.rule.hard;
            let kind = if self.value.value == 0.0 { FindingKind::ZeroForMissing } else { FindingKind::Impossible };
            say(kind, format!("{} {unit} is outside {low}–{high} {unit}", self.value.value));
        } else if self.plausibility.keeps < 0.5 && self.consistency.findings.is_empty() {
            let detail = match self.plausibility.baseline {
                Some(b) if b.n >= 3 => format!("{:.1} spreads from this person's own median of {} days", self.plausibility.z.abs(), b.n),
                _ => "far from what people show".to_owned(),
            };
            say(self.kind_of_outlier(), detail);
        }
        if self.completeness.keeps < 0.5 && (self.completeness.lost >= 1.0 || self.value.value == 0.0) {
            let kind = if self.value.value == 0.0 { FindingKind::ZeroForMissing } else { FindingKind::Incomplete };
            say(kind, super::explain::words::seen(&self.completeness));
        }
        if self.concordance.keeps < 0.7
            && let Some((source, r, other)) = self.concordance.against
        {
            let name = sources.get(source).map_or_else(String::new, |s| s.name());
            say(FindingKind::Disagreement, format!("{name} says {other:.1} {unit}: {:.1} usual spreads apart", r.abs()));
        }
        if self.concordance.copies > 0 {
            say(FindingKind::Copied, "the same number to the last digit as another source: counted once".to_owned());
        }
        found.extend(self.consistency.findings.iter().cloned());
        found
    }

    /// A body measurement far off, yet ordinary for people, is probably somebody else's.
    fn kind_of_outlier(&self) -> FindingKind {
        let body = matches!(self.rule.metric, Metric::Weight | Metric::BodyFat | Metric::MuscleMass | Metric::Bmi);
        let ordinary = ((self.rule.scaled(self.value.value) - self.rule.scaled(self.rule.usual)) / self.rule.usual_spread).abs() < 2.5;
        if body && ordinary { FindingKind::OtherPerson } else { FindingKind::Implausible }
    }
}
