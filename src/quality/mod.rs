//! The scorer: how far each number can be trusted, as a probability that can be checked.
//!
//! **confidence = 100 × P(|reported − true| ≤ tolerance)**. The probability starts with what studies say of the device
//! ([`registry`]), sharpened by the source's own record with the person ([`record`]), and passes through five parts, each of which takes what speaks against the value or adds what speaks
//! for it: [`plausibility`], [`completeness`], [`concordance`], [`provenance`], [`consistency`]. Each part's effect is
//! kept in log-odds, so the parts add up to the score exactly, and [`explain`] can show them as bars and answer what
//! would raise it. Age is not among them: validity does not age; [`currency`] is worked out when a page is read.
//!
//! Promises: a score is a pure function of the value, its context and the registry; the context is the
//! [`LOOKBACK_DAYS`] days before and the same day, never later; logarithms come from `libm`; so recomputing all of
//! history gives, bit for bit, what scoring day by day gave, on every machine.

mod arrange;
pub mod arrival;
mod assessed;
pub mod change;
mod completeness;
mod concordance;
mod consistency;
pub mod currency;
mod delivery;
pub mod explain;
mod links;
pub(crate) mod math;
mod plausibility;
mod provenance;
mod record;
pub mod registry;
mod repeats;
mod units;
mod walk;
mod window;

#[cfg(test)]
mod tests;

pub use registry::{Citation, EvidenceRow, MetricRule, REGISTRY_VERSION, Registry, Tolerance};

use crate::model::{DayValue, Finding, Metric, Source};
use arrange::{Arranged, day_number};
use chrono::NaiveDate;
use completeness::Assume;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// Version of the scorer. Raise it with every change that can move a score.
pub const SCORER_VERSION: i32 = 5;
/// Days before a range that its scores can depend on.
pub const LOOKBACK_DAYS: i64 = 90;
/// Days before a range that its scores can depend on, for metrics measured every day.
pub const DAILY_LOOKBACK_DAYS: i64 = 28;
/// Days after a value whose scores it can influence.
pub const LOOKAHEAD_DAYS: i64 = 90;
/// Days after a value of a daily metric whose scores it can influence.
pub const DAILY_LOOKAHEAD_DAYS: i64 = 28;
/// 90th percentile of a standard normal.
pub(crate) const Z90: f64 = 1.281_551_565_544_600_4;

/// What a person said about a doubted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is a fault: it is left out of later baselines.
    Confirmed,
    /// It is right, unusual as it may be.
    Dismissed,
}

/// Verdicts on values, by metric, source and day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reviews(HashMap<(Metric, Source, NaiveDate), Verdict>);

impl Reviews {
    /// No verdicts.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a verdict; a later one about the same value replaces it.
    pub fn add(&mut self, metric: Metric, source: Source, date: NaiveDate, verdict: Verdict) {
        self.0.insert((metric, source, date), verdict);
    }

    fn of(&self, metric: Metric, source: &Source, date: NaiveDate) -> Option<Verdict> {
        if self.0.is_empty() { None } else { self.0.get(&(metric, source.clone(), date)).copied() }
    }
}

impl FromIterator<(Metric, Source, NaiveDate, Verdict)> for Reviews {
    fn from_iter<I: IntoIterator<Item = (Metric, Source, NaiveDate, Verdict)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(m, s, d, v)| ((m, s, d), v)).collect())
    }
}

/// What each part does to the log-odds. Their sum is the log-odds of the probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// What studies say of the device: where the sum starts.
    pub evidence: f64,
    /// Possible, usual, usual for this person.
    pub plausibility: f64,
    /// How much of the day or night was seen.
    pub completeness: f64,
    /// Agreement with other sources.
    pub concordance: f64,
    /// How the number came to be.
    pub provenance: f64,
    /// Fit with its own delivery and past.
    pub consistency: f64,
}

impl Parts {
    /// In the order of the table.
    pub fn in_order(&self) -> [(Part, f64); 6] {
        [
            (Part::Evidence, self.evidence),
            (Part::Plausibility, self.plausibility),
            (Part::Completeness, self.completeness),
            (Part::Concordance, self.concordance),
            (Part::Provenance, self.provenance),
            (Part::Consistency, self.consistency),
        ]
    }
}

/// The parts of a score, in the order in which they are applied and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What studies say of the device.
    Evidence,
    /// Possible, usual, usual for this person.
    Plausibility,
    /// How much was seen.
    Completeness,
    /// Agreement with other sources.
    Concordance,
    /// How the number came to be.
    Provenance,
    /// Fit with its own delivery and past.
    Consistency,
}

impl Part {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Evidence => "Evidence for the device",
            Part::Plausibility => "Plausibility",
            Part::Completeness => "Completeness",
            Part::Concordance => "Agreement of sources",
            Part::Provenance => "Provenance",
            Part::Consistency => "Consistency",
        }
    }
}

/// How far one value can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Which metric.
    pub metric: Metric,
    /// Which provider.
    pub source: Source,
    /// The local day.
    pub date: NaiveDate,
    /// 0–100.
    pub score: i32,
    /// P(|reported − true| ≤ tolerance), before rounding.
    pub probability: f64,
    /// 10th percentile of that probability.
    pub low: f64,
    /// 90th percentile.
    pub high: f64,
    /// Log-odds by part.
    pub parts: Parts,
    /// What is suspicious, with proposed readings.
    pub findings: Vec<Finding>,
    /// The scorer that made it.
    pub scorer_version: i32,
    /// The registry it was made with.
    pub registry_version: i32,
}

/// Scores every value whose day lies in `range`, vendor scores excepted, by metric, source and day. `values` are one
/// person's: those of the range and of the [`LOOKBACK_DAYS`] days before it (of metrics measured every day, the
/// [`DAILY_LOOKBACK_DAYS`] days suffice); of values before the range only
/// metric, source, date, value, ordering, end of measuring and a day summary's number of heart-rate samples are read.
pub fn score_person(values: &[DayValue], reviews: &Reviews, registry: &Registry, range: RangeInclusive<NaiveDate>) -> Vec<Score> {
    let mut arranged = Arranged::new(values, reviews, registry);
    let days = (day_number(*range.start()), day_number(*range.end()));
    let mut scores = Vec::new();
    walk::walk(&mut arranged, registry, days, None, Assume::default(), |arranged, assessed| {
        let (low, high) = assessed.interval();
        scores.push(Score {
            metric: assessed.rule.metric,
            source: assessed.value.source.clone(),
            date: assessed.value.date,
            score: assessed.score(),
            probability: assessed.probability,
            low,
            high,
            parts: assessed.parts,
            findings: assessed.findings(&arranged.sources),
            scorer_version: SCORER_VERSION,
            registry_version: registry.version,
        });
    });
    scores
}
