//! Doubts about values and what people decided about them. A doubt is read with the caller's eyes; a decision is written
//! by the service in one transaction with its audit entry, after the caller was seen to see the value.

use super::audit::{self, Actor};
use crate::model::{Finding, FindingKind, Instant, Metric, Source};
use crate::quality::Verdict;
use chrono::NaiveDate;
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;

/// Findings that state how a value came to be; nobody has to decide about them.
const PLAIN: [&str; 5] = ["manual", "provisional", "incomplete", "missing_part", "bad_field"];

/// Kinds that stay when a person says that the value is right: what nobody has to decide about, and what cannot be right.
pub(super) const STANDS: [&str; 7] = ["manual", "provisional", "incomplete", "missing_part", "bad_field", "impossible", "zero_for_missing"];

/// A doubted value, or one that somebody decided about.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Doubt {
    /// Which metric.
    pub metric_name: String,
    /// From which provider.
    pub source: String,
    /// Which day.
    pub measurement_date: NaiveDate,
    /// In the metric's unit.
    pub value: f64,
    /// Its score, if it has one.
    pub confidence_score: Option<i32>,
    /// The scorer's suspicions and the delivery's.
    pub findings: Json<Vec<Finding>>,
    /// `confirmed` or `dismissed`; absent: open.
    pub verdict: Option<String>,
    /// What was said about it.
    pub note: Option<String>,
    /// When it was decided.
    pub reviewed_at: Option<Instant>,
    /// By whom, where the caller may know that account.
    pub reviewed_by: Option<String>,
}

impl Doubt {
    /// Whether a person may say that the value is right. What is physically impossible, or a zero where nothing was measured,
    /// is a fault or undecided: no word would raise its score.
    pub fn can_be_right(&self) -> bool {
        let own = |f: &&Finding| f.metric.is_none_or(|m| m.key() == self.metric_name);
        !self.findings.0.iter().filter(own).any(|f| matches!(f.kind, FindingKind::Impossible | FindingKind::ZeroForMissing))
    }
}

/// The doubts of the last `days` days of a person's data, open ones first, then newest first; and how many of them are open.
///
/// # Errors
/// The database's.
pub async fn doubts(conn: &mut PgConnection, user_id: &str, days: i32, limit: i64) -> sqlx::Result<Vec<Doubt>> {
    let doubts: Vec<Doubt> = sqlx::query_as(
        "SELECT m.metric_name, m.source, m.measurement_date, m.value, c.confidence_score,
                coalesce(c.findings, '[]') || m.findings AS findings, r.verdict, r.note, r.reviewed_at, a.email AS reviewed_by
           FROM (SELECT max(measurement_date) AS day FROM unified_metrics WHERE user_id = $1) AS newest
           JOIN unified_metrics m ON m.user_id = $1 AND m.measurement_date > newest.day - $2
           LEFT JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN finding_reviews r USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN accounts a ON a.id = r.reviewed_by
          WHERE r.verdict IS NOT NULL
             OR EXISTS (SELECT FROM jsonb_array_elements(coalesce(c.findings, '[]') || m.findings) AS f
                         WHERE f ->> 'kind' IS NOT NULL AND f ->> 'kind' <> ALL($3))
          ORDER BY r.verdict IS NOT NULL, m.measurement_date DESC, m.metric_name, m.source LIMIT $4",
    )
    .bind(user_id)
    .bind(days)
    .bind(PLAIN)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    super::clients::count_reads(doubts.iter().map(|d| (d.metric_name.as_str(), d.confidence_score.is_some())));
    Ok(doubts)
}

/// Whether somebody has to decide about a finding of this kind.
pub fn is_doubt(finding: &Finding) -> bool {
    serde_json::to_value(finding.kind).ok().and_then(|k| k.as_str().map(|k| !PLAIN.contains(&k))).unwrap_or(true)
}

/// A value, named.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Whose.
    pub user_id: &'a str,
    /// Which metric.
    pub metric: Metric,
    /// From which provider.
    pub source: &'a Source,
    /// Which day.
    pub date: NaiveDate,
}

/// The doubt about one value, of whatever day; `None` where nothing is doubted and nobody decided.
///
/// # Errors
/// The database's.
pub async fn doubt(conn: &mut PgConnection, s: Subject<'_>) -> sqlx::Result<Option<Doubt>> {
    let doubt: Option<Doubt> = sqlx::query_as(
        "SELECT m.metric_name, m.source, m.measurement_date, m.value, c.confidence_score,
                coalesce(c.findings, '[]') || m.findings AS findings, r.verdict, r.note, r.reviewed_at, a.email AS reviewed_by
           FROM unified_metrics m
           LEFT JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN finding_reviews r USING (user_id, metric_name, source, measurement_date)
           LEFT JOIN accounts a ON a.id = r.reviewed_by
          WHERE m.user_id = $1 AND m.metric_name = $2 AND m.source = $3 AND m.measurement_date = $4
            AND (r.verdict IS NOT NULL
                 OR EXISTS (SELECT FROM jsonb_array_elements(coalesce(c.findings, '[]') || m.findings) AS f
                             WHERE f ->> 'kind' IS NOT NULL AND f ->> 'kind' <> ALL($5)))",
    )
    .bind(s.user_id)
    .bind(s.metric.key())
    .bind(s.source.as_str())
    .bind(s.date)
    .bind(PLAIN)
    .fetch_optional(conn)
    .await?;
    super::clients::count_reads(doubt.iter().map(|d| (d.metric_name.as_str(), d.confidence_score.is_some())));
    Ok(doubt)
}

/// Whether the value is there for whoever reads.
///
/// # Errors
/// The database's.
pub async fn sees(conn: &mut PgConnection, s: Subject<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM unified_metrics WHERE user_id = $1 AND metric_name = $2 AND source = $3 AND measurement_date = $4)",
    )
    .bind(s.user_id)
    .bind(s.metric.key())
    .bind(s.source.as_str())
    .bind(s.date)
    .fetch_one(conn)
    .await
}

/// Writes a decision, or takes it back (`None`), with its audit entry; a later decision replaces an earlier one. `false`:
/// there was nothing to take back. The caller asks for the person's scores from that day on, in the same transaction.
///
/// # Errors
/// The database's.
pub async fn decide(conn: &mut PgConnection, actor: &Actor, s: Subject<'_>, verdict: Option<Verdict>, note: &str) -> sqlx::Result<bool> {
    let before: Option<String> = sqlx::query_scalar(
        "SELECT verdict FROM finding_reviews WHERE user_id = $1 AND metric_name = $2 AND source = $3 AND measurement_date = $4 FOR UPDATE",
    )
    .bind(s.user_id)
    .bind(s.metric.key())
    .bind(s.source.as_str())
    .bind(s.date)
    .fetch_optional(&mut *conn)
    .await?;
    let word = match verdict {
        Some(Verdict::Confirmed) => Some("confirmed"),
        Some(Verdict::Dismissed) => Some("dismissed"),
        None => None,
    };
    match word {
        Some(word) => {
            sqlx::query(
                "INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict, note, reviewed_by)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (user_id, metric_name, source, measurement_date) DO UPDATE SET
                   verdict = excluded.verdict, note = excluded.note, reviewed_by = excluded.reviewed_by, reviewed_at = now()",
            )
            .bind(s.user_id)
            .bind(s.metric.key())
            .bind(s.source.as_str())
            .bind(s.date)
            .bind(word)
            .bind(note)
            .bind(actor.account_id)
            .execute(&mut *conn)
            .await?;
        }
        None if before.is_none() => return Ok(false),
        None => {
            sqlx::query("DELETE FROM finding_reviews WHERE user_id = $1 AND metric_name = $2 AND source = $3 AND measurement_date = $4")
                .bind(s.user_id)
                .bind(s.metric.key())
                .bind(s.source.as_str())
                .bind(s.date)
                .execute(&mut *conn)
                .await?;
        }
    }
    let detail = json!({ "metric": s.metric.key(), "source": s.source.as_str(), "date": s.date, "from": before, "to": word, "note": note });
    audit::write(conn, actor, "finding.decide", Some(s.user_id), &detail).await?;
    Ok(true)
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
