//! `metric_confidence_cache`: what the scorer found, one row a scored value; and what it needs to know for that.
//!
//! Reads for the scorer take the days to be scored whole and the days before them lean (value, time and number of
//! heart-rate samples), grouped by series. Writes are one statement, and touch only rows that differ, so scoring twice leaves no trace.

use super::readable::Readable;
use crate::model::{Coverage, DayValue, Finding, Instant, Metric, Model, Ordering, Origin, Source};
use crate::quality::registry::Overrides;
use crate::quality::{Parts, Registry, Reviews, Score, Verdict};
use crate::store::metrics::Provenance;
use chrono::{DateTime, NaiveDate};
use sqlx::PgConnection;
use sqlx::types::Json;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Whose scores, from which day to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The person.
    pub user_id: String,
    /// First day to be scored.
    pub since: NaiveDate,
    /// Last day to be scored.
    pub until: NaiveDate,
}

/// What the scorer needs of one person.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Values of the span, and lean ones of the days before it.
    pub values: Vec<DayValue>,
    /// What people said about values.
    pub reviews: Reviews,
}

/// How far back the scorer looks: days for metrics measured daily, days for the others, and which those are.
#[derive(Debug, Clone)]
pub struct Lookback<'a> {
    /// Days for metrics measured daily.
    pub daily: i32,
    /// Days for the slow ones.
    pub slow: i32,
    /// Keys of the slow ones.
    pub slow_metrics: &'a [&'a str],
}

#[derive(sqlx::FromRow)]
struct Lean {
    user_id: String,
    metric_name: String,
    source: String,
    dates: Vec<NaiveDate>,
    numbers: Vec<f64>,
    ends: Vec<Option<Instant>>,
    samples: Vec<Option<i64>>,
}

#[derive(sqlx::FromRow)]
struct Full {
    user_id: String,
    metric_name: String,
    source: String,
    measurement_date: NaiveDate,
    value: f64,
    measured_at: Option<Instant>,
    provenance: Readable<Provenance>,
    coverage: Readable<Coverage>,
    findings: Readable<Vec<Finding>>,
}

/// The first and last day of each of these persons that has a value, for scoring all of history; persons without values
/// are left out.
///
/// # Errors
/// The database's.
pub async fn extents(conn: &mut PgConnection, users: &[&str]) -> sqlx::Result<HashMap<String, (NaiveDate, NaiveDate)>> {
    let rows: Vec<(String, NaiveDate, NaiveDate)> = sqlx::query_as(
        "SELECT u.user_id, e.first, e.last
           FROM unnest($1::text[]) AS u (user_id)
           CROSS JOIN LATERAL (SELECT min(measurement_date) AS first, max(measurement_date) AS last
                                 FROM unified_metrics m WHERE m.user_id = u.user_id) e
          WHERE e.first IS NOT NULL",
    )
    .bind(users)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(user, first, last)| (user, (first, last))).collect())
}

/// What the scorer needs of each person; at most one span a person.
///
/// # Errors
/// The database's.
pub async fn contexts(conn: &mut PgConnection, spans: &[Span], lookback: &Lookback<'_>) -> sqlx::Result<BTreeMap<String, Context>> {
    let users: Vec<&str> = spans.iter().map(|s| s.user_id.as_str()).collect();
    let since: Vec<NaiveDate> = spans.iter().map(|s| s.since).collect();
    let until: Vec<NaiveDate> = spans.iter().map(|s| s.until).collect();
    let mut contexts: BTreeMap<String, Context> = BTreeMap::new();
    let lean: Vec<Lean> = sqlx::query_as(
        "SELECT m.user_id, m.metric_name, m.source, array_agg(m.measurement_date) AS dates, array_agg(m.value) AS numbers,
                array_agg(m.measured_at) AS ends,
                array_agg(CASE WHEN m.provenance ->> 'model' = 'daily' THEN (m.coverage ->> 'heart_rate_samples')::int8 END) AS samples
           FROM unnest($1::text[], $2::date[]) AS s (user_id, since)
           JOIN unified_metrics m ON m.user_id = s.user_id AND m.measurement_date < s.since AND m.measurement_date >= s.since - $4::int4
                AND (m.measurement_date >= s.since - $3::int4 OR m.metric_name = ANY($5))
          GROUP BY m.user_id, m.metric_name, m.source",
    )
    .bind(&users)
    .bind(&since)
    .bind(lookback.daily)
    .bind(lookback.slow)
    .bind(lookback.slow_metrics)
    .fetch_all(&mut *conn)
    .await?;
    for row in lean {
        let user = contexts.entry(row.user_id.clone()).or_default();
        row.read(&mut user.values);
    }
    let full: Vec<Full> = sqlx::query_as(
        "SELECT m.user_id, m.metric_name, m.source, m.measurement_date, m.value, m.measured_at, m.provenance, m.coverage, m.findings
           FROM unnest($1::text[], $2::date[], $3::date[]) AS s (user_id, since, until)
           JOIN unified_metrics m ON m.user_id = s.user_id AND m.measurement_date BETWEEN s.since AND s.until",
    )
    .bind(&users)
    .bind(&since)
    .bind(&until)
    .fetch_all(&mut *conn)
    .await?;
    let (rows, mut read) = (full.len(), 0);
    for row in full {
        let user = contexts.entry(row.user_id.clone()).or_default();
        let value = row.read();
        read += usize::from(value.is_some());
        user.values.extend(value);
    }
    if read < rows {
        tracing::warn!(values = rows - read, "values with a metric, provenance, coverage or findings that cannot be read are not scored");
    }
    read_reviews(conn, &users, &mut contexts).await?;
    Ok(contexts)
}

async fn read_reviews(conn: &mut PgConnection, users: &[&str], contexts: &mut BTreeMap<String, Context>) -> sqlx::Result<()> {
    let rows: Vec<(String, String, String, NaiveDate, String)> =
        sqlx::query_as("SELECT user_id, metric_name, source, measurement_date, verdict FROM finding_reviews WHERE user_id = ANY($1)")
            .bind(users)
            .fetch_all(conn)
            .await?;
    for (user, metric, source, date, verdict) in rows {
        let verdict = if verdict == "confirmed" { Verdict::Confirmed } else { Verdict::Dismissed };
        if let (Some(context), Some(metric)) = (contexts.get_mut(&user), Metric::from_key(&metric)) {
            context.reviews.add(metric, Source::from_provider(&source), date, verdict);
        }
    }
    Ok(())
}

/// Delivery and time of receipt play no part in a score; a stored value is the only one of its key.
fn value(metric: Metric, source: Source, date: NaiveDate, value: f64, measured_at: Option<Instant>) -> DayValue {
    DayValue {
        metric,
        source,
        date,
        value,
        model: Model::Daily,
        measured_at,
        ordering: Ordering { ms: 0, trace_id: String::new() },
        received_at: DateTime::UNIX_EPOCH,
        origin: Origin::default(),
        coverage: Coverage::default(),
        findings: Vec::new(),
    }
}

impl Lean {
    /// A metric that this version does not know gives nothing.
    fn read(self, into: &mut Vec<DayValue>) {
        let Some(metric) = Metric::from_key(&self.metric_name) else { return };
        let source = Source::from_provider(&self.source);
        for (((date, number), end), samples) in self.dates.into_iter().zip(self.numbers).zip(self.ends).zip(self.samples) {
            let mut value = value(metric, source.clone(), date, number, end);
            value.coverage.heart_rate_samples = samples.and_then(|n| u32::try_from(n).ok());
            into.push(value);
        }
    }
}

impl Full {
    /// `None` for what this version does not know or cannot read: one such row keeps nobody's other values from a score.
    fn read(self) -> Option<DayValue> {
        let metric = Metric::from_key(&self.metric_name)?;
        let Provenance { model, origin } = self.provenance.0?;
        Some(DayValue {
            model,
            origin,
            coverage: self.coverage.0?,
            findings: self.findings.0?,
            ..value(metric, Source::from_provider(&self.source), self.measurement_date, self.value, self.measured_at)
        })
    }
}

/// What an administrator changed in the registry, under the key `registry` of the settings; `None` when nothing.
/// Unreadable settings count as nothing, and the log says so.
///
/// # Errors
/// The database's.
pub async fn overrides(conn: &mut PgConnection) -> sqlx::Result<Option<Overrides>> {
    let value: Option<Json<serde_json::Value>> =
        sqlx::query_scalar("SELECT value FROM settings WHERE key = 'registry'").fetch_optional(conn).await?;
    Ok(value.and_then(|v| {
        let read = serde_json::from_value(v.0);
        if let Err(error) = &read {
            tracing::warn!(%error, "the setting `registry` cannot be read and is ignored; set the tolerances anew");
        }
        read.ok()
    }))
}

/// The registry in force: the built-in one, with an administrator's tolerances where there are any.
///
/// # Errors
/// The database's.
pub async fn registry(conn: &mut PgConnection) -> sqlx::Result<Cow<'static, Registry>> {
    Ok(match overrides(conn).await? {
        Some(overrides) => Cow::Owned(Registry::built_in().with(&overrides)),
        None => Cow::Borrowed(Registry::built_in()),
    })
}

/// Where scores are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// In force.
    Cache,
    /// Beside those in force, to be compared.
    Shadow,
}

/// One statement for both tables.
macro_rules! upsert {
    ($table:literal) => {
        concat!(
            "INSERT INTO ", $table, " (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high,
                                       factors, findings, scorer_version, registry_version)
             SELECT n.*
               FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::int4[], $6::float8[], $7::float8[], $8::float8[],
                           $9::jsonb[], $10::jsonb[], $11::int4[], $12::int4[])
                 AS n (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high,
                       factors, findings, scorer_version, registry_version)
               LEFT JOIN ", $table, " o USING (user_id, metric_name, source, measurement_date)
              WHERE (o.probability, o.low, o.high, o.factors, o.findings, o.scorer_version, o.registry_version) IS DISTINCT FROM
                    (n.probability, n.low, n.high, n.factors, n.findings, n.scorer_version, n.registry_version)
             ON CONFLICT (user_id, metric_name, source, measurement_date) DO UPDATE SET
               confidence_score = excluded.confidence_score, probability = excluded.probability, low = excluded.low, high = excluded.high,
               factors = excluded.factors, findings = excluded.findings, scorer_version = excluded.scorer_version,
               registry_version = excluded.registry_version, updated_at = now()"
        )
    };
}

/// Writes scores that are new or differ from those stored; returns how many.
///
/// # Errors
/// The database's.
pub async fn upsert_scores(conn: &mut PgConnection, target: Target, scores: &[(&str, Score)]) -> sqlx::Result<u64> {
    if scores.is_empty() {
        return Ok(0);
    }
    fn column<'s, T>(scores: &'s [(&str, Score)], take: impl Fn(&'s Score) -> T) -> Vec<T> {
        scores.iter().map(|(_, score)| take(score)).collect()
    }
    let done = sqlx::query(match target {
        Target::Cache => upsert!("metric_confidence_cache"),
        Target::Shadow => upsert!("confidence_shadow"),
    })
    .bind(scores.iter().map(|(user, _)| *user).collect::<Vec<_>>())
    .bind(column(scores, |s| s.metric.key()))
    .bind(column(scores, |s| s.source.as_str()))
    .bind(column(scores, |s| s.date))
    .bind(column(scores, |s| s.score))
    .bind(column(scores, |s| s.probability))
    .bind(column(scores, |s| s.low))
    .bind(column(scores, |s| s.high))
    .bind(column(scores, |s| Json(s.parts)))
    .bind(column(scores, |s| Json(&s.findings)))
    .bind(column(scores, |s| s.scorer_version))
    .bind(column(scores, |s| s.registry_version))
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Makes whoever else scores one of these persons wait until this transaction ends: of two scorings the later one has then read
/// what the earlier one read, or newer. Nobody who stores values waits.
///
/// # Errors
/// The database's.
pub async fn lock_scores(conn: &mut PgConnection, users: &[&str]) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended('assay.scores.' || u.id, 0)) FROM (SELECT DISTINCT id FROM unnest($1::text[]) AS v (id) ORDER BY id) u",
    )
    .bind(users)
    .execute(conn)
    .await
    .map(drop)
}

/// Deletes scores of these persons, each from a day on (`None`: of all days), whose value is gone, or whose metric is none of those
/// that are scored; returns how many.
///
/// # Errors
/// The database's.
pub async fn delete_orphans(conn: &mut PgConnection, persons: &[(String, Option<NaiveDate>)], scored: &[&str]) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "DELETE FROM metric_confidence_cache c USING unnest($1::text[], $2::date[]) AS p (user_id, since)
          WHERE c.user_id = p.user_id AND c.measurement_date >= coalesce(p.since, '-infinity')
            AND (c.metric_name <> ALL($3)
                 OR NOT EXISTS (SELECT FROM unified_metrics m
                                 WHERE (m.user_id, m.metric_name, m.source, m.measurement_date) = (c.user_id, c.metric_name, c.source, c.measurement_date)))",
    )
    .bind(persons.iter().map(|(user, _)| user.as_str()).collect::<Vec<_>>())
    .bind(persons.iter().map(|(_, since)| *since).collect::<Vec<_>>())
    .bind(scored)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// A stored score.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredScore {
    /// The score.
    pub score: Score,
    /// When it was last changed.
    pub updated_at: Instant,
}

#[derive(sqlx::FromRow)]
struct ScoreRow {
    metric_name: String,
    source: String,
    measurement_date: NaiveDate,
    confidence_score: i32,
    probability: f64,
    low: f64,
    high: f64,
    factors: Vec<f64>,
    findings: Json<Vec<Finding>>,
    scorer_version: i32,
    registry_version: i32,
    updated_at: Instant,
}

/// Names of the parts in `factors`. PostgreSQL turns their digits into the very same bits again; JSON readers may be off
/// by the last one.
const PARTS: [&str; 6] = ["evidence", "plausibility", "completeness", "concordance", "provenance", "consistency"];

impl ScoreRow {
    fn read(self) -> Option<StoredScore> {
        let [evidence, plausibility, completeness, concordance, provenance, consistency] = self.factors.try_into().ok()?;
        let score = Score {
            metric: Metric::from_key(&self.metric_name)?,
            source: Source::from_provider(&self.source),
            date: self.measurement_date,
            score: self.confidence_score,
            probability: self.probability,
            low: self.low,
            high: self.high,
            parts: Parts { evidence, plausibility, completeness, concordance, provenance, consistency },
            findings: self.findings.0,
            scorer_version: self.scorer_version,
            registry_version: self.registry_version,
        };
        Some(StoredScore { score, updated_at: self.updated_at })
    }
}

/// A person's scores from one day to another, both included; by day, metric and source.
///
/// # Errors
/// The database's.
pub async fn person_scores(conn: &mut PgConnection, user_id: &str, from: NaiveDate, to: NaiveDate) -> sqlx::Result<Vec<StoredScore>> {
    let rows: Vec<ScoreRow> = sqlx::query_as(
        "SELECT metric_name, source, measurement_date, confidence_score, probability, low, high, findings, scorer_version, registry_version,
                updated_at, ARRAY(SELECT (factors ->> part)::float8 FROM unnest($4::text[]) WITH ORDINALITY AS p (part, n) ORDER BY n) AS factors
           FROM metric_confidence_cache WHERE user_id = $1 AND measurement_date BETWEEN $2 AND $3
          ORDER BY measurement_date, metric_name, source",
    )
    .bind(user_id)
    .bind(from)
    .bind(to)
    .bind(PARTS)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(ScoreRow::read).collect())
}

/// The stored score of one value; `None` when it was not scored: unknown, which is not 50. Ask for values that are there:
/// it counts as a read of the cache.
///
/// # Errors
/// The database's.
pub async fn score_of(
    conn: &mut PgConnection,
    user_id: &str,
    metric: Metric,
    source: &Source,
    date: NaiveDate,
) -> sqlx::Result<Option<StoredScore>> {
    let row: Option<ScoreRow> = sqlx::query_as(
        "SELECT metric_name, source, measurement_date, confidence_score, probability, low, high, findings, scorer_version, registry_version,
                updated_at, ARRAY(SELECT (factors ->> part)::float8 FROM unnest($5::text[]) WITH ORDINALITY AS p (part, n) ORDER BY n) AS factors
           FROM metric_confidence_cache WHERE user_id = $1 AND metric_name = $2 AND source = $3 AND measurement_date = $4",
    )
    .bind(user_id)
    .bind(metric.key())
    .bind(source.as_str())
    .bind(date)
    .bind(PARTS)
    .fetch_optional(conn)
    .await?;
    super::clients::count_reads([(metric.key(), row.is_some())]);
    Ok(row.and_then(ScoreRow::read))
}
