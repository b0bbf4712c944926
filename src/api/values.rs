//! A person's newest values, with which source was taken and why, and their history.

use super::{
    Api,
    answer::{Form, Line, Page, text},
    cursor,
    gate::{Ask, Person, no_such_person},
    problem::{Problem, Refusals},
    types::{MetricKey, Value},
};
use crate::{
    model::Source,
    store::read_api::{self, Filter, Key, ValueRow},
};
use axum::{extract::State, response::Response};
use chrono::{NaiveDate, Utc};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// Why a source was taken among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// No other source ever gave this metric.
    OnlySource,
    /// The others' newest days are older.
    NewestDay,
    /// Somebody chose it for this person and metric.
    Chosen,
    /// Studies speak more for it than for the others of that day.
    Evidence,
    /// Studies do not tell them apart: by name.
    ByName,
}

impl Because {
    const fn word(self) -> &'static str {
        match self {
            Self::OnlySource => "only_source",
            Self::NewestDay => "newest_day",
            Self::Chosen => "chosen",
            Self::Evidence => "evidence",
            Self::ByName => "by_name",
        }
    }
}

/// The newest value of a metric, and those of other sources that were not taken.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Latest {
    /// The value that was taken.
    pub taken: Value,
    /// Why its source.
    #[schema(inline)]
    pub because: Because,
    /// The same in a sentence.
    pub explanation: String,
    /// The newest value of each other source: suppressed, not hidden.
    pub others: Vec<Value>,
}

impl Line for Latest {
    fn columns() -> Vec<&'static str> {
        [Value::columns(), vec!["because", "other_sources"]].concat()
    }

    fn fields(&self) -> Vec<String> {
        let mut fields = self.taken.fields();
        let others: Vec<&str> = self.others.iter().map(|v| v.reading.source.as_str()).collect();
        fields.extend([self.because.word().to_owned(), text(&others.join(" "))]);
        fields
    }
}

/// Why the first of a metric's rows was taken, and the sentence.
fn because(rows: &[ValueRow]) -> (Because, String) {
    let name = |r: &ValueRow| Source::from_provider(&r.source).name();
    let (Some(taken), Some(next)) = (rows.first(), rows.get(1)) else {
        return (Because::OnlySource, "No other source gives this metric.".to_owned());
    };
    let ours = name(taken);
    if next.measurement_date < taken.measurement_date {
        return (Because::NewestDay, format!("{ours} has the newest day; {} ends on {}.", name(next), next.measurement_date));
    }
    if taken.chosen {
        return (Because::Chosen, format!("{ours} was chosen for this person and metric."));
    }
    match (taken.rank, next.rank) {
        (Some(a), b) if b.is_none_or(|b| a < b) => {
            (Because::Evidence, format!("For this metric the studies of {ours} speak more for it than those of {} (rank {a}).", name(next)))
        }
        _ => (Because::ByName, format!("Nothing tells {ours} and {} apart: the first by name was taken.", name(next))),
    }
}

/// Filters of the newest values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LatestParams {
    /// Only these metrics.
    #[param(style = Form, explode = false, required = false, min_items = 1, max_items = 34)]
    #[expect(dead_code, reason = "for the description; read by name in query.rs")]
    metric: Vec<MetricKey>,
    /// The form of the answer; overrides `Accept`.
    #[param(inline, required = false)]
    #[expect(dead_code, reason = "as above")]
    format: Form,
}

/// The newest value of each metric
///
/// Always current. Of several sources with the newest day one is taken: the one chosen for the person, else the one
/// with the best evidence; the others' newest values stand beside it.
#[utoipa::path(
    get, path = "/clients/{user_id}/latest", tag = "values", operation_id = "list_latest",
    params(("user_id" = String, Path, description = "Whose, percent-encoded"), LatestParams),
    responses(
        (status = 200, description = "One entry a metric, by its key", headers(("ETag" = String, description = "Of this content")),
            content((Page<Latest> = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn list_latest(State(_): State<Api>, Person(user_id): Person, ask: Ask) -> Result<Response, Problem> {
    let (mut query, form) = ask.query()?;
    let metrics = query.metrics();
    query.done()?;
    let registry = ask.registry().await?;
    let mut tx = ask.read().await?;
    if !read_api::exists(&mut tx, &user_id).await.map_err(|e| ask.db(&e))? {
        return Err(no_such_person());
    }
    let rows = read_api::newest(&mut tx, &user_id, &metrics).await.map_err(|e| ask.db(&e))?;
    drop(tx);
    ask.note_reading(&user_id).await?;
    let now = Utc::now();
    let latest = rows
        .chunk_by(|a, b| a.metric_name == b.metric_name)
        .filter_map(|rows| {
            let (because, explanation) = because(rows);
            let mut values = rows.iter().map(|row| Value::new(&user_id, row, &registry, now));
            Some(Latest { taken: values.next()?, because, explanation, others: values.collect() })
        })
        .collect();
    Ok(ask.page(form, latest, None))
}

/// Filters and page of a history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "for the description; the fields are read by name in query.rs")]
pub struct HistoryParams {
    /// Only these metrics.
    #[param(style = Form, explode = false, required = false, min_items = 1, max_items = 34)]
    metric: Vec<MetricKey>,
    /// Only this provider, in lower case.
    #[param(pattern = "^[a-z0-9_-]{1,64}$", min_length = 1, max_length = 64, required = false)]
    source: String,
    /// First day.
    #[param(required = false, pattern = "^(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}$")]
    from: NaiveDate,
    /// Last day, included; not before `from`.
    #[param(required = false, pattern = "^(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}$")]
    to: NaiveDate,
    /// Rows a page; 100 where it is absent.
    #[param(minimum = 1, maximum = 1000, required = false)]
    limit: i64,
    /// `next` of the page before; the other parameters must be the same.
    #[param(required = false)]
    cursor: String,
    /// The form of the answer; overrides `Accept`.
    #[param(inline, required = false)]
    format: Form,
}

/// What a page of days was asked for.
pub(super) struct Days {
    pub(super) filter: Filter,
    pub(super) after: Option<Key>,
    pub(super) limit: i64,
    pub(super) question: String,
    pub(super) form: Form,
}

impl Days {
    /// From the parameters; `what` keeps the cursors of different paths apart.
    pub(super) fn read(ask: &Ask, what: &str, user_id: &str) -> Result<Self, Problem> {
        let (mut query, form) = ask.query()?;
        let (metrics, source, (from, to), limit) = (query.metrics(), query.source(), query.days(), query.limit());
        let question =
            cursor::question(&[what, user_id, &metrics.join(","), source.as_deref().unwrap_or("*"), &from.to_string(), &to.to_string()]);
        let after = query.cursor(&question);
        query.done()?;
        Ok(Self { filter: Filter { from, to, metrics, source }, after, limit, question, form })
    }

    /// Takes the row too many off and gives the cursor behind the last one.
    pub(super) fn turn<T>(&self, rows: &mut Vec<T>, key: impl Fn(&T) -> Key) -> Option<String> {
        let size = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return None;
        }
        rows.truncate(size);
        rows.last().map(|row| cursor::write(&self.question, &key(row)))
    }
}

/// Day values, oldest first
///
/// Every source's values, by day, metric and source.
#[utoipa::path(
    get, path = "/clients/{user_id}/history", tag = "values", operation_id = "list_history",
    params(("user_id" = String, Path, description = "Whose, percent-encoded"), HistoryParams),
    responses(
        (status = 200, description = "A page of values",
            headers(("ETag" = String, description = "Of this content"), ("Link" = String, description = "The next page (RFC 8288)")),
            content((Page<Value> = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["metrics:read"]))
)]
pub async fn list_history(State(_): State<Api>, Person(user_id): Person, ask: Ask) -> Result<Response, Problem> {
    let days = Days::read(&ask, "history", &user_id)?;
    let registry = ask.registry().await?;
    let mut tx = ask.read().await?;
    if !read_api::exists(&mut tx, &user_id).await.map_err(|e| ask.db(&e))? {
        return Err(no_such_person());
    }
    let found = read_api::history(&mut tx, &user_id, &days.filter, days.after.as_ref(), days.limit + 1).await;
    let mut rows = found.map_err(|e| ask.db(&e))?;
    drop(tx);
    ask.note_reading(&user_id).await?;
    let next = days.turn(&mut rows, |r| (r.measurement_date, r.metric_name.clone(), r.source.clone()));
    let now = Utc::now();
    let values = rows.iter().map(|row| Value::new(&user_id, row, &registry, now)).collect();
    Ok(ask.page(days.form, values, next))
}
