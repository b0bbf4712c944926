//! A person's scores with their factors, and one score explained.

use super::{
    Api,
    answer::{Line, Page, maybe, text},
    clients::FormParam,
    gate::{Ask, Person, no_such_person},
    problem::{Problem, Refusals},
    query,
    types::{MetricKey, ScoredValue, part_word},
    values::{Days, HistoryParams},
};
use crate::{
    model::{Metric, Source},
    quality::explain::{Advice, Bar, Explanation, Which, explain},
    rescore,
    store::read_api::{self, Filter},
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

/// Scores with their factors, oldest first
#[utoipa::path(
    get, path = "/clients/{user_id}/scores", tag = "scores", operation_id = "list_scores",
    params(("user_id" = String, Path, description = "Whose, percent-encoded"), HistoryParams),
    responses(
        (status = 200, description = "A page of scores",
            headers(("ETag" = String, description = "Of this content"), ("Link" = String, description = "The next page (RFC 8288)")),
            content((Page<ScoredValue> = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn list_scores(State(_): State<Api>, Person(user_id): Person, ask: Ask) -> Result<Response, Problem> {
    let days = Days::read(&ask, "scores", &user_id)?;
    let mut tx = ask.read().await?;
    if !read_api::exists(&mut tx, &user_id).await.map_err(|e| ask.db(&e))? {
        return Err(no_such_person());
    }
    let found = read_api::scores(&mut tx, &user_id, &days.filter, days.after.as_ref(), days.limit + 1).await;
    let mut rows = found.map_err(|e| ask.db(&e))?;
    drop(tx);
    ask.note_reading(&user_id).await?;
    let next = days.turn(&mut rows, |r| (r.measurement_date, r.metric_name.clone(), r.source.clone()));
    let scores = rows.into_iter().map(|row| ScoredValue::new(&user_id, row)).collect();
    Ok(ask.page(days.form, scores, next))
}

/// A study behind a bar.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Study {
    /// Authors, year, journal.
    pub study: String,
    /// The model that was studied.
    pub device: String,
    /// The figure as published.
    pub published: String,
    /// Participants, where known.
    pub n: Option<u32>,
    /// Who paid, where known.
    pub funder: Option<String>,
}

/// One bar of the waterfall.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BarOut {
    /// Which part.
    pub part: String,
    /// Points it gives or takes; all bars add up to the score.
    pub points: i32,
    /// The rule.
    pub rule: String,
    /// The numbers it was applied to.
    pub numbers: String,
    /// The study behind it, where one was read at its source.
    pub study: Option<Study>,
}

/// What would raise the score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AdviceOut {
    /// The part it works on.
    pub part: String,
    /// What to do.
    pub text: String,
    /// Points gained, worked out by scoring again with that one thing changed.
    pub points: i32,
}

/// A score with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Explained {
    /// The stored score.
    pub score: ScoredValue,
    /// Why it is what it is.
    pub bars: Vec<BarOut>,
    /// What would raise it, best first.
    pub advice: Vec<AdviceOut>,
    /// Whether a score worked out now, as the bars are, is the stored one; if not, it is about to be made anew.
    pub current: bool,
}

impl From<Bar> for BarOut {
    fn from(bar: Bar) -> Self {
        let study = bar.study.map(|c| Study { study: c.study, device: c.device, published: c.published, n: c.n, funder: c.funder });
        Self { part: part_word(bar.part), points: bar.points, rule: bar.rule, numbers: bar.numbers, study }
    }
}

impl From<Advice> for AdviceOut {
    fn from(advice: Advice) -> Self {
        Self { part: part_word(advice.part), text: advice.text, points: advice.points }
    }
}

impl Line for Explained {
    fn columns() -> Vec<&'static str> {
        [ScoredValue::columns(), vec!["best_advice", "best_advice_points"]].concat()
    }

    fn fields(&self) -> Vec<String> {
        let best = self.advice.first();
        let mut fields = self.score.fields();
        fields.extend([best.map(|a| text(&a.text)).unwrap_or_default(), maybe(best.map(|a| a.points))]);
        fields
    }
}

/// Why one score is what it is
///
/// Bars that add up to the score exactly, each with its rule, its numbers and its study, and what would raise it.
#[utoipa::path(
    get, path = "/clients/{user_id}/scores/{metric}/{source}/{date}", tag = "scores", operation_id = "explain_score",
    params(
        ("user_id" = String, Path, description = "Whose, percent-encoded"),
        ("metric" = MetricKey, Path, description = "The metric's key"),
        ("source" = String, Path, description = "The provider, in lower case"),
        ("date" = NaiveDate, Path, description = "The local day"),
        FormParam
    ),
    responses(
        (status = 200, description = "The score with its reasons", headers(("ETag" = String, description = "Of this content")),
            content((Explained = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn explain_score(
    State(_): State<Api>,
    Person(user_id): Person,
    Path((_, metric, source, date)): Path<(String, String, String, String)>,
    ask: Ask,
) -> Result<Response, Problem> {
    let (mut asked, form) = ask.query()?;
    let metric = Metric::from_key(&metric);
    if metric.is_none() {
        asked.refuse("metric", "There is no such metric; /api/v1/metrics lists them.");
    }
    if !query::is_source(&source) {
        asked.refuse("source", "A provider in lower case, such as garmin.");
    }
    let date = query::day(&date);
    if date.is_none() {
        asked.refuse("date", "A day as YYYY-MM-DD, from 1900-01-01 to 2199-12-31.");
    }
    asked.done()?;
    let (Some(metric), Some(date)) = (metric, date) else { return Err(no_such_score()) };
    let (score, explained) = explained(&ask, &user_id, metric, Source::from_provider(&source), date).await?;
    ask.note_reading(&user_id).await?;
    let current = explained.score.score == score.score;
    let bars = explained.waterfall.bars.into_iter().map(BarOut::from).collect();
    let advice = explained.advice.into_iter().map(AdviceOut::from).collect();
    Ok(ask.one(form, &Explained { score, bars, advice, current }))
}

async fn explained(
    ask: &Ask,
    user_id: &str,
    metric: Metric,
    source: Source,
    date: NaiveDate,
) -> Result<(ScoredValue, Explanation), Problem> {
    let registry = ask.registry().await?;
    let mut tx = ask.read().await?;
    let filter = Filter { from: date, to: date, metrics: vec![metric.key().to_owned()], source: Some(source.as_str().to_owned()) };
    let stored = read_api::scores(&mut tx, user_id, &filter, None, 1).await.map_err(|e| ask.db(&e))?;
    let Some(stored) = stored.into_iter().next() else {
        let values = read_api::history(&mut tx, user_id, &filter, None, 1).await.map_err(|e| ask.db(&e))?;
        return Err(if values.is_empty() { no_such_score() } else { not_scored() });
    };
    let context = rescore::context(&mut tx, &registry, user_id, date).await.map_err(|e| ask.db(&e))?;
    drop(tx);
    let which = Which { metric, source: &source, date };
    let explanation = explain(&context.values, &context.reviews, &registry, which).ok_or_else(no_such_score)?;
    Ok((ScoredValue::new(user_id, stored), explanation))
}

fn no_such_score() -> Problem {
    Problem::not_found("There is no score of this metric, source and day among those that the key's owner may see.")
}

fn not_scored() -> Problem {
    Problem::not_found("This value has no score: it is a vendor's own scale, or it is still to be scored.")
}
