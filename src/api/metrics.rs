//! The registry as programs read it: what is measured, in which unit, and what counts as good enough to act on.

use super::{
    Api,
    answer::{Line, Page, maybe, text},
    clients::FormParam,
    gate::Ask,
    problem::{Problem, Refusals},
    types::MetricKey,
};
use crate::{
    model::Metric,
    quality::{MetricRule, Registry, Tolerance},
};
use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

/// How far a value may be from the truth and still be good enough to act on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToleranceOut {
    /// In the metric's unit.
    Absolute(f64),
    /// As a fraction of the true value.
    Relative(f64),
}

/// What the scorer takes as given about a metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Rule {
    /// Good enough to act on.
    pub tolerance: ToleranceOut,
    /// Where the tolerance comes from.
    pub tolerance_source: String,
    /// The lowest possible value.
    pub lowest: f64,
    /// The highest possible value.
    pub highest: f64,
    /// Days between two values, ordinarily.
    pub cadence_days: f64,
    /// Hours after which a value counts half in `currency`.
    pub half_life_hours: f64,
}

impl From<&MetricRule> for Rule {
    fn from(rule: &MetricRule) -> Self {
        Self {
            tolerance: match rule.tolerance {
                Tolerance::Absolute(d) => ToleranceOut::Absolute(d),
                Tolerance::Relative(f) => ToleranceOut::Relative(f),
            },
            tolerance_source: rule.tolerance_source.clone(),
            lowest: rule.hard.0,
            highest: rule.hard.1,
            cadence_days: rule.cadence_days,
            half_life_hours: rule.half_life_hours,
        }
    }
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MetricOut {
    /// Its key, as in paths and filters.
    #[schema(value_type = MetricKey)]
    pub metric: String,
    /// What people call it.
    pub name: String,
    /// The unit of its values; empty for vendors' own scales.
    pub unit: String,
    /// What it is about.
    pub category: String,
    /// A vendor's own score: kept, never compared, its confidence always unknown.
    pub vendor_score: bool,
    /// What the scorer takes as given; null for vendor scores.
    pub rule: Option<Rule>,
    /// The registry these numbers are from.
    pub registry_version: i32,
}

impl MetricOut {
    fn of(metric: Metric, registry: &Registry) -> Self {
        let category = serde_json::to_value(metric.category()).ok().and_then(|c| c.as_str().map(str::to_owned));
        Self {
            metric: metric.key().to_owned(),
            name: metric.name().to_owned(),
            unit: metric.unit().to_owned(),
            category: category.unwrap_or_default(),
            vendor_score: metric.is_vendor_score(),
            rule: registry.rule(metric).map(Rule::from),
            registry_version: registry.version,
        }
    }
}

impl Line for MetricOut {
    fn columns() -> Vec<&'static str> {
        vec![
            "metric",
            "name",
            "unit",
            "category",
            "vendor_score",
            "tolerance_absolute",
            "tolerance_relative",
            "tolerance_source",
            "lowest",
            "highest",
            "cadence_days",
            "half_life_hours",
            "registry_version",
        ]
    }

    fn fields(&self) -> Vec<String> {
        let rule = self.rule.as_ref();
        let (absolute, relative) = match rule.map(|r| r.tolerance) {
            Some(ToleranceOut::Absolute(d)) => (Some(d), None),
            Some(ToleranceOut::Relative(f)) => (None, Some(f)),
            None => (None, None),
        };
        vec![
            text(&self.metric),
            text(&self.name),
            text(&self.unit),
            text(&self.category),
            self.vendor_score.to_string(),
            maybe(absolute),
            maybe(relative),
            rule.map(|r| text(&r.tolerance_source)).unwrap_or_default(),
            maybe(rule.map(|r| r.lowest)),
            maybe(rule.map(|r| r.highest)),
            maybe(rule.map(|r| r.cadence_days)),
            maybe(rule.map(|r| r.half_life_hours)),
            self.registry_version.to_string(),
        ]
    }
}

/// All metrics
///
/// With the tolerances in force, an administrator's changes included.
#[utoipa::path(
    get, path = "/metrics", tag = "metrics", operation_id = "list_metrics", params(FormParam),
    responses(
        (status = 200, description = "All metrics, in the order pages show them", headers(("ETag" = String, description = "Of this content")),
            content((Page<MetricOut> = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn list_metrics(State(_): State<Api>, ask: Ask) -> Result<Response, Problem> {
    let (query, form) = ask.query()?;
    query.done()?;
    let registry = ask.registry().await?;
    let all = Metric::ALL.iter().map(|m| MetricOut::of(*m, &registry)).collect();
    Ok(ask.page(form, all, None))
}
