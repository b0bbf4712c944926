//! What the read API asks. Every statement runs in the caller's transaction: row-level security decides what it sees.
//!
//! Pages go by key, not by number of rows, so that each costs the same however far in it lies.

use crate::model::{Finding, Instant, Origin};
use crate::store::clients::count_reads;
use crate::store::metrics::Provenance;
use chrono::NaiveDate;
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// A person, with how far the last seven days of data can be trusted.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ClientRow {
    /// Who.
    pub user_id: String,
    /// What pages call this person.
    pub label: Option<String>,
    /// Made up.
    pub simulated: bool,
    /// Since when known.
    pub created_at: Instant,
    /// The newest day with a value.
    pub newest: Option<NaiveDate>,
    /// Average score of the seven days up to it.
    pub average: Option<f64>,
    /// Scores among them.
    pub scored: i64,
    /// Scores below 40.
    pub poor: i64,
    /// Connections to providers.
    pub connections: Json<Vec<Connected>>,
}

/// A connection to a provider.
#[derive(Debug, Clone, Deserialize)]
pub struct Connected {
    /// In lower case.
    pub provider: String,
    /// Its state's word.
    pub state: String,
    /// When data last came.
    pub last_data_at: Option<Instant>,
}

/// Persons by id: those behind `after`, or the one named by `only`.
///
/// # Errors
/// The database's.
pub async fn clients(conn: &mut PgConnection, only: Option<&str>, after: Option<&str>, limit: i64) -> sqlx::Result<Vec<ClientRow>> {
    sqlx::query_as(
        "SELECT p.user_id, p.label, p.simulated, p.created_at, n.newest, r.average, r.scored, r.poor,
                (SELECT coalesce(jsonb_agg(jsonb_build_object('provider', c.provider, 'state', c.state, 'last_data_at', c.last_data_at)
                                           ORDER BY c.provider, c.id), '[]')
                   FROM connections c WHERE c.user_id = p.user_id) AS connections
           FROM (SELECT user_id, label, simulated, created_at FROM persons
                  WHERE ($1::text IS NULL OR user_id = $1) AND ($2::text IS NULL OR user_id > $2) ORDER BY user_id LIMIT $3) p
           CROSS JOIN LATERAL (SELECT max(m.measurement_date) AS newest FROM unified_metrics m WHERE m.user_id = p.user_id) n
           CROSS JOIN LATERAL (
             SELECT avg(s.confidence_score)::float8 AS average, count(*) AS scored, count(*) FILTER (WHERE s.confidence_score < 40) AS poor
               FROM metric_confidence_cache s WHERE s.user_id = p.user_id AND s.measurement_date > n.newest - 7) r
          ORDER BY p.user_id",
    )
    .bind(only)
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// Whether the caller may see this person.
///
/// # Errors
/// The database's.
pub async fn exists(conn: &mut PgConnection, user_id: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM persons WHERE user_id = $1)").bind(user_id).fetch_one(conn).await
}

/// A day value with its score, where it has one.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ValueRow {
    /// The metric's key.
    pub metric_name: String,
    /// The provider.
    pub source: String,
    /// The day.
    pub measurement_date: NaiveDate,
    /// In `unit`.
    pub value: f64,
    /// The metric's unit.
    pub unit: String,
    /// When the measuring ended, where known.
    pub measured_at: Option<Instant>,
    /// When the delivery came.
    pub received_at: Instant,
    /// Which delivery it was.
    pub delivery_id: Uuid,
    /// Device and kind of upload, as [`Provenance`] writes them; a row made by hand may say nothing.
    pub provenance: Json<serde_json::Value>,
    /// What was suspicious when it was read.
    pub findings: Json<Vec<Finding>>,
    /// 0–100.
    pub confidence_score: Option<i32>,
    /// Before rounding.
    pub probability: Option<f64>,
    /// 10th percentile.
    pub low: Option<f64>,
    /// 90th percentile.
    pub high: Option<f64>,
    /// What the scorer found.
    pub score_findings: Option<Json<Vec<Finding>>>,
    /// Whether somebody chose this source for the person and metric.
    pub chosen: bool,
    /// The source's rank for the metric by evidence, 1 best.
    pub rank: Option<i32>,
}

impl ValueRow {
    /// Where the value comes from, as far as the row says.
    pub fn origin(&self) -> Origin {
        serde_json::from_value::<Provenance>(self.provenance.0.clone()).map(|p| p.origin).unwrap_or_default()
    }
}

/// Which days, metrics and source; empty and `None` do not narrow.
#[derive(Debug, Clone)]
pub struct Filter {
    /// First day.
    pub from: NaiveDate,
    /// Last day.
    pub to: NaiveDate,
    /// Keys of metrics.
    pub metrics: Vec<String>,
    /// A provider.
    pub source: Option<String>,
}

/// The last row of the page before: day, metric, source.
pub type Key = (NaiveDate, String, String);

/// A person's values by day, metric and source, behind a key.
///
/// # Errors
/// The database's.
pub async fn history(
    conn: &mut PgConnection,
    user_id: &str,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> sqlx::Result<Vec<ValueRow>> {
    let rows: Vec<ValueRow> = sqlx::query_as(
        "SELECT m.metric_name, m.source, m.measurement_date, m.value, m.unit, m.measured_at, m.received_at, m.delivery_id, m.provenance,
                m.findings, c.confidence_score, c.probability, c.low, c.high, c.findings AS score_findings,
                s.source IS NOT NULL AS chosen, k.rank
           FROM unified_metrics m
           LEFT JOIN metric_confidence_cache c ON (c.user_id, c.metric_name, c.source, c.measurement_date)
                                                = (m.user_id, m.metric_name, m.source, m.measurement_date)
           LEFT JOIN source_choices s ON (s.user_id, s.metric_name, s.source) = (m.user_id, m.metric_name, m.source)
           LEFT JOIN source_ranks k ON (k.metric_name, k.source) = (m.metric_name, m.source)
          WHERE m.user_id = $1 AND m.measurement_date BETWEEN greatest($2, $6) AND $3
            AND (cardinality($4::text[]) = 0 OR m.metric_name = ANY($4)) AND ($5::text IS NULL OR m.source = $5)
            AND ($6::date IS NULL OR (m.measurement_date, m.metric_name, m.source) > ($6, $7::text, $8::text))
          ORDER BY m.measurement_date, m.metric_name, m.source LIMIT $9",
    )
    .bind(user_id)
    .bind(filter.from)
    .bind(filter.to)
    .bind(&filter.metrics)
    .bind(&filter.source)
    .bind(after.map(|k| k.0))
    .bind(after.map(|k| k.1.as_str()))
    .bind(after.map(|k| k.2.as_str()))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    count_reads(rows.iter().map(|r| (r.metric_name.as_str(), r.confidence_score.is_some())));
    Ok(rows)
}

/// The newest value of each metric and source of a person. Within a metric the one to be taken comes first: newest day,
/// then the chosen source, then the evidence's rank, then the name; that is the order of `latest_unified_metrics`.
/// It jumps along the primary key from series to series, so a long history costs nothing.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &mut PgConnection, user_id: &str, metrics: &[String]) -> sqlx::Result<Vec<ValueRow>> {
    let rows: Vec<ValueRow> = sqlx::query_as(
        "WITH RECURSIVE pairs AS (
           (SELECT metric_name, source FROM unified_metrics WHERE user_id = $1 ORDER BY metric_name, source LIMIT 1)
           UNION ALL
           SELECT n.metric_name, n.source FROM pairs p CROSS JOIN LATERAL (
             SELECT metric_name, source FROM unified_metrics
              WHERE user_id = $1 AND (metric_name, source) > (p.metric_name, p.source) ORDER BY metric_name, source LIMIT 1) n
         )
         SELECT p.metric_name, p.source, m.measurement_date, m.value, m.unit, m.measured_at, m.received_at, m.delivery_id, m.provenance,
                m.findings, c.confidence_score, c.probability, c.low, c.high, c.findings AS score_findings,
                s.source IS NOT NULL AS chosen, k.rank
           FROM pairs p
           CROSS JOIN LATERAL (
             SELECT * FROM unified_metrics u WHERE u.user_id = $1 AND u.metric_name = p.metric_name AND u.source = p.source
              ORDER BY u.measurement_date DESC LIMIT 1) m
           LEFT JOIN metric_confidence_cache c ON (c.user_id, c.metric_name, c.source, c.measurement_date)
                                                = (m.user_id, m.metric_name, m.source, m.measurement_date)
           LEFT JOIN source_choices s ON (s.user_id, s.metric_name, s.source) = ($1, p.metric_name, p.source)
           LEFT JOIN source_ranks k ON (k.metric_name, k.source) = (p.metric_name, p.source)
          WHERE cardinality($2::text[]) = 0 OR p.metric_name = ANY($2)
          ORDER BY p.metric_name, m.measurement_date DESC, (s.source IS NOT NULL) DESC, coalesce(k.rank, 1000), p.source",
    )
    .bind(user_id)
    .bind(metrics)
    .fetch_all(conn)
    .await?;
    count_reads(rows.iter().map(|r| (r.metric_name.as_str(), r.confidence_score.is_some())));
    Ok(rows)
}

/// A score with its parts.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ScoreRow {
    /// The metric's key.
    pub metric_name: String,
    /// The provider.
    pub source: String,
    /// The day.
    pub measurement_date: NaiveDate,
    /// The value that was scored.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// 0–100.
    pub confidence_score: i32,
    /// Before rounding.
    pub probability: f64,
    /// 10th percentile.
    pub low: f64,
    /// 90th percentile.
    pub high: f64,
    /// Log-odds by part, in the order of the parts.
    pub factors: Vec<f64>,
    /// What the scorer found.
    pub findings: Json<Vec<Finding>>,
    /// The scorer that made it.
    pub scorer_version: i32,
    /// The registry it was made with.
    pub registry_version: i32,
    /// When it last changed.
    pub updated_at: Instant,
}

/// A person's scores by day, metric and source, behind a key.
///
/// # Errors
/// The database's.
pub async fn scores(
    conn: &mut PgConnection,
    user_id: &str,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> sqlx::Result<Vec<ScoreRow>> {
    let rows: Vec<ScoreRow> = sqlx::query_as(
        "SELECT c.metric_name, c.source, c.measurement_date, m.value, m.unit, c.confidence_score, c.probability, c.low, c.high,
                ARRAY(SELECT coalesce((c.factors ->> part)::float8, 0)
                        FROM unnest(ARRAY['evidence', 'plausibility', 'completeness', 'concordance', 'provenance', 'consistency'])
                             WITH ORDINALITY AS p (part, n) ORDER BY n) AS factors,
                c.findings, c.scorer_version, c.registry_version, c.updated_at
           FROM metric_confidence_cache c
           JOIN unified_metrics m ON (m.user_id, m.metric_name, m.source, m.measurement_date)
                                   = (c.user_id, c.metric_name, c.source, c.measurement_date)
          WHERE c.user_id = $1 AND c.measurement_date BETWEEN greatest($2, $6) AND $3
            AND (cardinality($4::text[]) = 0 OR c.metric_name = ANY($4)) AND ($5::text IS NULL OR c.source = $5)
            AND ($6::date IS NULL OR (c.measurement_date, c.metric_name, c.source) > ($6, $7::text, $8::text))
          ORDER BY c.measurement_date, c.metric_name, c.source LIMIT $9",
    )
    .bind(user_id)
    .bind(filter.from)
    .bind(filter.to)
    .bind(&filter.metrics)
    .bind(&filter.source)
    .bind(after.map(|k| k.0))
    .bind(after.map(|k| k.1.as_str()))
    .bind(after.map(|k| k.2.as_str()))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    count_reads(rows.iter().map(|r| (r.metric_name.as_str(), true)));
    Ok(rows)
}

/// A delivery without its body.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeliveryRow {
    /// Its row.
    pub id: Uuid,
    /// When it came.
    pub created_at: Instant,
    /// Terra's trace id, or the body's hash.
    pub trace_id: String,
    /// Terra's type.
    pub kind: String,
    /// In lower case.
    pub provider: Option<String>,
    /// What became of it.
    pub status: String,
    /// Why, or what was left out.
    pub error: Option<String>,
    /// Readings it gave.
    pub processed_count: i32,
    /// When it was dealt with.
    pub processed_at: Option<Instant>,
}

/// A person's deliveries, newest first, older than a key.
///
/// # Errors
/// The database's.
pub async fn deliveries(
    conn: &mut PgConnection,
    user_id: &str,
    before: Option<(Instant, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<DeliveryRow>> {
    sqlx::query_as(
        "SELECT id, created_at, trace_id, type AS kind, provider, status, error, processed_count, processed_at
           FROM terra_webhooks_raw
          WHERE user_id = $1 AND ($2::timestamptz IS NULL OR (created_at <= $2 AND (created_at, id) < ($2, $3::uuid)))
          ORDER BY created_at DESC, id DESC LIMIT $4",
    )
    .bind(user_id)
    .bind(before.map(|b| b.0))
    .bind(before.map(|b| b.1))
    .bind(limit)
    .fetch_all(conn)
    .await
}
