//! What goes out, as programs read it. Rows of the database and words of the scorer are turned into these here.

use super::answer::{Line, maybe, moment, text};
use crate::{
    model::{Badge, Finding, Instant, Metric, UploadKind},
    quality::{Part, Parts, Registry, currency, explain},
    store::read_api::{ScoreRow, ValueRow},
};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};
use uuid::Uuid;

/// The key of a metric, as `/metrics` lists them.
pub struct MetricKey;

impl PartialSchema for MetricKey {
    fn schema() -> RefOr<Schema> {
        let keys = Metric::ALL.iter().map(|m| m.key()).collect::<Vec<_>>();
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(keys)).description(Some("The key of a metric")).build().into()
    }
}

impl ToSchema for MetricKey {}

/// What a score is called: 80 and more, 60, 40, less; or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadgeWord {
    /// 80 and more.
    Excellent,
    /// 60 to 79.
    Good,
    /// 40 to 59.
    Fair,
    /// Below 40.
    Poor,
    /// Not scored.
    Unknown,
}

impl BadgeWord {
    fn of(score: Option<i32>) -> Self {
        match Badge::of(score) {
            Badge::Excellent => Self::Excellent,
            Badge::Good => Self::Good,
            Badge::Fair => Self::Fair,
            Badge::Poor => Self::Poor,
            Badge::Unknown => Self::Unknown,
        }
    }

    /// The word.
    pub fn key(self) -> &'static str {
        match self {
            Self::Excellent => "excellent",
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
            Self::Unknown => "unknown",
        }
    }
}

/// Between the 10th and the 90th percentile of the probability, in points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Interval {
    /// 10th percentile.
    #[schema(minimum = 0, maximum = 100)]
    pub low: i32,
    /// 90th percentile.
    #[schema(minimum = 0, maximum = 100)]
    pub high: i32,
}

impl Interval {
    fn of(low: f64, high: f64) -> Self {
        let percent = |p: f64| (100.0 * p).round() as i32;
        Self { low: percent(low), high: percent(high) }
    }
}

/// What is suspicious about a value. It names a fault and may propose a reading; the value itself is never changed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Doubt {
    /// Which fault, e.g. `implausible` or `pounds_kilograms`.
    pub kind: String,
    /// What was seen.
    pub detail: String,
    /// What the value might have been, in the metric's unit.
    pub proposed: Option<f64>,
}

impl From<&Finding> for Doubt {
    fn from(finding: &Finding) -> Self {
        let kind = serde_json::to_value(finding.kind).ok().and_then(|k| k.as_str().map(str::to_owned)).unwrap_or_default();
        Self { kind, detail: finding.detail.clone(), proposed: finding.proposed }
    }
}

/// Each doubt once, in the order they came.
fn doubts<'f>(findings: impl Iterator<Item = &'f Finding>) -> Vec<Doubt> {
    let mut all: Vec<Doubt> = Vec::new();
    for doubt in findings.map(Doubt::from) {
        if !all.contains(&doubt) {
            all.push(doubt);
        }
    }
    all
}

/// How far a value can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Quality {
    /// 100 × the probability that the value is within the metric's tolerance of the truth; null: unknown, which is not 50.
    #[schema(minimum = 0, maximum = 100)]
    pub score: Option<i32>,
    /// What the score is called.
    #[schema(inline)]
    pub badge: BadgeWord,
    /// The probability before rounding.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub probability: Option<f64>,
    /// How sure the probability itself is.
    pub interval: Option<Interval>,
    /// How far the value still speaks for now, 1 fresh, halving with each half-life of its metric; to two decimals.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub currency: Option<f64>,
    /// Why there is no score.
    pub unknown_because: Option<String>,
    /// What is suspicious.
    pub findings: Vec<Doubt>,
}

const NO_TRUTH: &str = "A vendor's own scale: there is no truth to be near.";
const NOT_YET: &str = "Not scored yet.";

impl Quality {
    fn of(row: &ValueRow, registry: &Registry, now: Instant) -> Self {
        let metric = Metric::from_key(&row.metric_name);
        let found = row.score_findings.iter().flat_map(|f| f.0.iter());
        let hours = currency::age_hours(row.measured_at, row.measurement_date, row.received_at, now);
        Self {
            score: row.confidence_score,
            badge: BadgeWord::of(row.confidence_score),
            probability: row.probability,
            interval: row.low.zip(row.high).map(|(low, high)| Interval::of(low, high)),
            currency: metric.and_then(|m| currency::currency(registry, m, hours)).map(|c| (100.0 * c).round() / 100.0),
            unknown_because: match (row.confidence_score, metric) {
                (Some(_), _) => None,
                (None, Some(m)) if registry.rule(m).is_none() => Some(NO_TRUTH.to_owned()),
                (None, _) => Some(NOT_YET.to_owned()),
            },
            findings: doubts(row.findings.0.iter().chain(found)),
        }
    }
}

/// Which day value: whose, of what, from where.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Reading {
    /// Whose.
    pub user_id: String,
    /// What was measured.
    #[schema(value_type = MetricKey)]
    pub metric: String,
    /// The local day it belongs to; a night belongs to the day of waking.
    pub date: NaiveDate,
    /// The provider, in lower case.
    pub source: String,
    /// In `unit`. As it was delivered: suspect values are marked, never changed.
    pub value: f64,
    /// The metric's unit; empty for vendors' own scales.
    pub unit: String,
}

impl Line for Reading {
    fn columns() -> Vec<&'static str> {
        vec!["user_id", "metric", "date", "source", "value", "unit"]
    }

    fn fields(&self) -> Vec<String> {
        vec![text(&self.user_id), text(&self.metric), self.date.to_string(), text(&self.source), self.value.to_string(), text(&self.unit)]
    }
}

/// A day value with its quality.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Value {
    /// Which, and how much.
    #[serde(flatten)]
    pub reading: Reading,
    /// The device, where the payload names it.
    pub device: Option<String>,
    /// How it came to be: automatic, manual, update, pending, tentative, third_party, indeterminate, unknown.
    pub upload: String,
    /// When the measuring ended, where known.
    pub measured_at: Option<DateTime<Utc>>,
    /// When it reached us.
    pub received_at: DateTime<Utc>,
    /// The delivery it last came with.
    pub delivery_id: Uuid,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl Value {
    /// From a row.
    pub fn new(user_id: &str, row: &ValueRow, registry: &Registry, now: Instant) -> Self {
        let origin = row.origin();
        let device = origin
            .device
            .as_ref()
            // A name that begins with its maker's is not given it twice: "WHOOP 4.0" of WHOOP.
            .map(|d| {
                let maker = d.manufacturer.as_deref().filter(|m| !d.name.as_deref().is_some_and(|name| name.starts_with(*m)));
                [maker, d.name.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
            });
        Self {
            reading: Reading {
                user_id: user_id.to_owned(),
                metric: row.metric_name.clone(),
                date: row.measurement_date,
                source: row.source.clone(),
                value: row.value,
                unit: row.unit.clone(),
            },
            device: device.filter(|d| !d.is_empty()),
            upload: upload(origin.upload),
            measured_at: row.measured_at,
            received_at: row.received_at,
            delivery_id: row.delivery_id,
            quality: Quality::of(row, registry, now),
        }
    }
}

fn upload(kind: UploadKind) -> String {
    serde_json::to_value(kind).ok().and_then(|k| k.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Line for Value {
    fn columns() -> Vec<&'static str> {
        let more = [
            "score",
            "badge",
            "interval_low",
            "interval_high",
            "currency",
            "unknown_because",
            "findings",
            "device",
            "upload",
            "measured_at",
            "received_at",
            "delivery_id",
        ];
        [Reading::columns(), more.into()].concat()
    }

    fn fields(&self) -> Vec<String> {
        let quality = &self.quality;
        let kinds: Vec<&str> = quality.findings.iter().map(|d| d.kind.as_str()).collect();
        let more = [
            maybe(quality.score),
            quality.badge.key().to_owned(),
            maybe(quality.interval.map(|i| i.low)),
            maybe(quality.interval.map(|i| i.high)),
            maybe(quality.currency),
            quality.unknown_because.as_deref().map(text).unwrap_or_default(),
            text(&kinds.join(" ")),
            self.device.as_deref().map(text).unwrap_or_default(),
            self.upload.clone(),
            self.measured_at.map(moment).unwrap_or_default(),
            moment(self.received_at),
            self.delivery_id.to_string(),
        ];
        [self.reading.fields(), more.into()].concat()
    }
}

/// What one part of the scorer does to a score.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Factor {
    /// Which part: evidence, plausibility, completeness, concordance, provenance, consistency.
    pub part: String,
    /// What it does to the log-odds of the probability; all add up to them.
    pub log_odds: f64,
    /// The same in points; all add up to the score exactly.
    pub points: i32,
}

/// The word of a part.
pub fn part_word(part: Part) -> String {
    serde_json::to_value(part).ok().and_then(|p| p.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The parts of a score.
pub fn factors(parts: &Parts, score: i32) -> Vec<Factor> {
    explain::points(parts, score)
        .into_iter()
        .zip(parts.in_order())
        .map(|((part, points), (_, log_odds))| Factor { part: part_word(part), log_odds, points })
        .collect()
}

/// A score with its factors.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScoredValue {
    /// Which value was scored.
    #[serde(flatten)]
    pub reading: Reading,
    /// 0–100.
    #[schema(minimum = 0, maximum = 100)]
    pub score: i32,
    /// What the score is called.
    #[schema(inline)]
    pub badge: BadgeWord,
    /// Before rounding.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub probability: f64,
    /// How sure the probability itself is.
    pub interval: Interval,
    /// What each part does.
    pub factors: Vec<Factor>,
    /// What is suspicious.
    pub findings: Vec<Doubt>,
    /// The scorer that made it.
    pub scorer_version: i32,
    /// The registry of tolerances and studies it was made with.
    pub registry_version: i32,
    /// When it last changed.
    pub scored_at: DateTime<Utc>,
}

impl ScoredValue {
    /// From a row.
    pub fn new(user_id: &str, row: ScoreRow) -> Self {
        let [evidence, plausibility, completeness, concordance, provenance, consistency] = row.factors.try_into().unwrap_or([0.0; 6]);
        let parts = Parts { evidence, plausibility, completeness, concordance, provenance, consistency };
        Self {
            reading: Reading {
                user_id: user_id.to_owned(),
                metric: row.metric_name,
                date: row.measurement_date,
                source: row.source,
                value: row.value,
                unit: row.unit,
            },
            score: row.confidence_score,
            badge: BadgeWord::of(Some(row.confidence_score)),
            probability: row.probability,
            interval: Interval::of(row.low, row.high),
            factors: factors(&parts, row.confidence_score),
            findings: doubts(row.findings.0.iter()),
            scorer_version: row.scorer_version,
            registry_version: row.registry_version,
            scored_at: row.updated_at,
        }
    }
}

impl Line for ScoredValue {
    fn columns() -> Vec<&'static str> {
        let more = [
            "score",
            "badge",
            "interval_low",
            "interval_high",
            "points_evidence",
            "points_plausibility",
            "points_completeness",
            "points_concordance",
            "points_provenance",
            "points_consistency",
            "findings",
            "scorer_version",
            "registry_version",
            "scored_at",
        ];
        [Reading::columns(), more.into()].concat()
    }

    fn fields(&self) -> Vec<String> {
        let kinds: Vec<&str> = self.findings.iter().map(|d| d.kind.as_str()).collect();
        let mut fields = self.reading.fields();
        fields.extend([self.score.to_string(), self.badge.key().to_owned(), self.interval.low.to_string(), self.interval.high.to_string()]);
        fields.extend(self.factors.iter().map(|f| f.points.to_string()));
        fields.extend([text(&kinds.join(" ")), self.scorer_version.to_string(), self.registry_version.to_string(), moment(self.scored_at)]);
        fields
    }
}
