//! The registry: everything the scorer takes as given, in one versioned place.
//!
//! Per metric: how close a number must be to act on it (the tolerance), what is possible, what is usual, how often it
//! comes and how fast it goes out of date ([`metrics`]). Per device and metric: what published studies found
//! ([`evidence`]). A score stores the version it was made with, so a change here is a new version, never a silent one.

mod evidence;
mod metrics;
mod prior;

pub use prior::{Grounds, Prior};

use crate::model::Metric;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Version of the built-in registry. Raise it with every change of a number in this folder.
pub const REGISTRY_VERSION: i32 = 4;

/// How far a reported value may be from the truth and still be good enough to act on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// In the metric's unit.
    Absolute(f64),
    /// As a fraction of the true value.
    Relative(f64),
}

impl Tolerance {
    /// The tolerance at a value, in the metric's unit.
    pub fn at(self, value: f64) -> f64 {
        match self {
            Tolerance::Absolute(d) => d,
            Tolerance::Relative(f) => f * value.abs(),
        }
    }
}

/// On which scale values of a metric scatter evenly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As they are.
    Linear,
    /// Logarithm of the value plus an offset (the offset keeps small counts from exploding).
    Log(f64),
}

/// What completeness of the day or night means for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// The whole day: what was not seen is missing from the total.
    WholeDay,
    /// Most of the day, less strictly: a mean or an extreme.
    PartOfDay,
    /// The whole night.
    WholeNight,
    /// Some hours of the night.
    PartOfNight,
    /// Hardly anything: taken from the quietest stretch.
    Rest,
    /// One measurement.
    Nothing,
}

/// Everything the scorer takes as given about one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// Which metric.
    pub metric: Metric,
    /// Good enough to act on.
    pub tolerance: Tolerance,
    /// Where the tolerance comes from.
    pub tolerance_source: String,
    /// The tolerance this registry ships with: what a study counted as right is taken to be within it.
    pub studied: Tolerance,
    /// Lowest and highest possible value; outside is a fault of the format or the device.
    pub hard: (f64, f64),
    /// Mean of the population, in the metric's unit.
    pub usual: f64,
    /// Standard deviation of the population, on the metric's scale.
    pub usual_spread: f64,
    /// The scale.
    pub scale: Scale,
    /// Smallest believable spread of one person's days, on the metric's scale (guards against a spread of zero).
    pub floor: f64,
    /// Days of the person's own past that make the baseline.
    pub baseline_days: i32,
    /// Days between two values, ordinarily.
    pub cadence_days: f64,
    /// Hours after which a value counts half in the live view.
    pub half_life_hours: f64,
    /// What completeness means.
    pub needs: Needs,
    /// How often two neighbouring days show exactly the same value by chance.
    pub repeats: f64,
    /// Probability that a value entered by hand is as good as a measured one.
    pub manual: f64,
    /// Whose studies stand in where there are none of its own.
    pub borrows: Option<Metric>,
}

impl MetricRule {
    /// A value on the metric's scale. Values at or below the logarithm's end are put just above it.
    pub fn scaled(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log(offset) => super::math::ln((value + offset).max(1e-3)),
        }
    }

    /// The tolerance at a value, on the metric's scale.
    pub fn reach(&self, value: f64) -> f64 {
        (self.scaled(value + self.tolerance.at(value)) - self.scaled(value)).abs()
    }

    /// Width of what is possible, on the metric's scale.
    pub fn width(&self) -> f64 {
        self.scaled(self.hard.1) - self.scaled(self.hard.0)
    }

    /// Whether a value is possible at all.
    pub fn possible(&self, value: f64) -> bool {
        value.is_finite() && value >= self.hard.0 && value <= self.hard.1
    }
}

/// Where an evidence row was read: only what was read at its source is shown as a citation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Read in the study itself.
    Seen,
    /// Read in a page quoting the study.
    Secondary,
    /// General knowledge; not checked.
    Known,
}

/// What a row of the evidence rests on. Only a study says how wrong a device is; the others stand in where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A published study.
    #[default]
    Study,
    /// What a standard requires of devices of this kind.
    Requirement,
    /// An assumption of this registry.
    Assumed,
}

/// What a study found, in the form it was published.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Mean absolute percentage error, %.
    Mape(f64),
    /// Bias and standard deviation of the error, in the metric's unit.
    BiasSd(f64, f64),
    /// Limits of agreement (95 %), in the metric's unit.
    Limits(f64, f64),
    /// Share of epochs or readings that were right.
    Right(f64),
    /// Published in a form that gives no probability.
    Words,
}

/// What is known of one device and one metric: one study, or what stands in for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceRow {
    /// Which metric.
    pub metric: Metric,
    /// Which source; `*`: every brand without a study of its own.
    pub source: String,
    /// The model studied, in words.
    pub device: String,
    /// What the study found.
    pub figure: Figure,
    /// The figure as published.
    pub published: String,
    /// Participants; `None`: pooled or not read.
    pub n: Option<u32>,
    /// Who they were.
    pub population: String,
    /// Who paid, where known.
    pub funder: Option<String>,
    /// Authors, year, journal.
    pub study: String,
    /// Year of publication.
    pub year: u16,
    /// How it was read.
    pub key: Key,
    /// Whether it is a study at all.
    #[serde(default)]
    pub basis: Basis,
}

/// A study as shown beside a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// Authors, year, journal.
    pub study: String,
    /// The model studied.
    pub device: String,
    /// The figure as published.
    pub published: String,
    /// Participants.
    pub n: Option<u32>,
    /// Who paid, where known.
    pub funder: Option<String>,
}

/// The registry at one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registry {
    /// Its version.
    pub version: i32,
    /// What an administrator changed.
    #[serde(default)]
    changes: Overrides,
    rules: Vec<MetricRule>,
    evidence: Vec<EvidenceRow>,
    /// What an unstudied device is given, by rule: worked out once.
    class: Vec<f64>,
}

/// What an administrator changed from the built-in registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// The version these changes make: 1,000 × [`REGISTRY_VERSION`] and counting, so that it never meets a built-in one.
    pub version: i32,
    /// Tolerances by metric.
    #[serde(default)]
    pub tolerances: BTreeMap<Metric, Tolerance>,
    /// What is possible, by metric.
    #[serde(default)]
    pub hard: BTreeMap<Metric, (f64, f64)>,
    /// Half-lives in hours, by metric.
    #[serde(default)]
    pub half_lives: BTreeMap<Metric, f64>,
}

impl Overrides {
    /// Whether anything differs from the built-in registry.
    pub fn is_empty(&self) -> bool {
        self.tolerances.is_empty() && self.hard.is_empty() && self.half_lives.is_empty()
    }

    /// What is wrong with one metric's changes; `None`: nothing.
    pub fn objection(&self, rule: &MetricRule) -> Option<String> {
        let (low, high) = self.hard.get(&rule.metric).copied().unwrap_or(rule.hard);
        if !(low.is_finite() && high.is_finite() && low < rule.usual && rule.usual < high) {
            return Some(format!("The possible range has to lie around what is usual, {}.", rule.usual));
        }
        match self.tolerances.get(&rule.metric) {
            Some(Tolerance::Relative(f)) if !(*f > 0.0 && *f <= 1.0) => {
                return Some("A relative tolerance lies above 0 and is at most 100 %.".to_owned());
            }
            Some(Tolerance::Absolute(d)) if !(*d > 0.0 && *d <= high - low) => {
                return Some("A tolerance lies above 0 and within the possible range.".to_owned());
            }
            _ => {}
        }
        let half = self.half_lives.get(&rule.metric).copied().unwrap_or(rule.half_life_hours);
        (!(1.0..=8_760.0).contains(&half)).then(|| "A half-life lies between an hour and a year.".to_owned())
    }
}

/// A change's version as this program counts: changes made upon an older program's registry are another registry now, and
/// scores say so.
const fn counted(version: i32) -> i32 {
    if version < 1000 { version } else { 1000 * REGISTRY_VERSION + version % 1000 }
}

static BUILT_IN: LazyLock<Registry> = LazyLock::new(|| Registry::new(REGISTRY_VERSION, metrics::rules(), evidence::rows()));

impl Registry {
    fn new(version: i32, rules: Vec<MetricRule>, evidence: Vec<EvidenceRow>) -> Self {
        let mut registry = Registry { version, changes: Overrides::default(), rules, evidence, class: Vec::new() };
        registry.class = registry.rules.iter().map(|rule| registry.class_prior(rule)).collect();
        registry
    }

    /// The registry the product ships with.
    pub fn built_in() -> &'static Registry {
        &BUILT_IN
    }

    /// The rule of a metric; `None` for vendor scores, which have no truth to be near.
    pub fn rule(&self, metric: Metric) -> Option<&MetricRule> {
        self.rules.iter().find(|r| r.metric == metric)
    }

    /// All rules.
    pub fn rules(&self) -> &[MetricRule] {
        &self.rules
    }

    /// All evidence rows.
    pub fn evidence(&self) -> &[EvidenceRow] {
        &self.evidence
    }

    /// A copy with an administrator's changes, under their version. Metrics without a rule are ignored.
    pub fn with(&self, overrides: &Overrides) -> Registry {
        let mut rules = self.rules.clone();
        for (metric, tolerance) in &overrides.tolerances {
            if let Some(rule) = rules.iter_mut().find(|r| r.metric == *metric) {
                rule.tolerance = *tolerance;
                rule.tolerance_source = "set by an administrator".to_owned();
            }
        }
        for rule in &mut rules {
            rule.hard = overrides.hard.get(&rule.metric).copied().unwrap_or(rule.hard);
            rule.half_life_hours = overrides.half_lives.get(&rule.metric).copied().unwrap_or(rule.half_life_hours);
        }
        Registry { changes: overrides.clone(), ..Registry::new(counted(overrides.version), rules, self.evidence.clone()) }
    }

    /// What an administrator changed from the built-in registry.
    pub fn overrides(&self) -> Overrides {
        self.changes.clone()
    }

    /// The version of the next change.
    pub fn next_version(&self) -> i32 {
        self.version_after(None)
    }

    /// The version of the next change, when `last` was the last one given, be it in force or not: none is given twice.
    pub fn version_after(&self, last: Option<i32>) -> i32 {
        (1000 * REGISTRY_VERSION).max(self.version).max(last.map_or(0, counted)) + 1
    }

    /// Sources of each metric in the order of their evidence, 1 best: by the 10th percentile of the probability, so
    /// that little evidence ranks below much. Sources with the same evidence share a rank.
    pub fn source_ranks(&self) -> Vec<(Metric, String, i32)> {
        let mut sources: Vec<&str> = self.evidence.iter().map(|r| r.source.as_str()).filter(|s| *s != evidence::ANY).collect();
        sources.extend(metrics::OTHER_SOURCES);
        sources.sort_unstable();
        sources.dedup();
        let mut ranks = Vec::new();
        for rule in &self.rules {
            let mut order: Vec<(f64, &str)> = sources.iter().map(|s| (self.prior(rule.metric, s, None).low(), *s)).collect();
            order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
            let mut rank = 0;
            let mut before = f64::NAN;
            for (i, (low, source)) in order.into_iter().enumerate() {
                if low != before {
                    rank = i as i32 + 1;
                    before = low;
                }
                ranks.push((rule.metric, source.to_owned(), rank));
            }
        }
        ranks
    }
}
