//! The dead letters. The table may be missing (the checklist's rollback drops it): then there are none, and
//! nothing here fails for it.

use super::jobs::settle::{DeadFilter, Retried};
use super::jobs::taking_up;
use chrono::{DateTime, Utc};
use sqlx::{Acquire, PgConnection, types::Json};
use uuid::Uuid;

/// Whether the table is there. A statement that names a missing table cannot even be prepared, so one asks first.
pub async fn exists(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass('public.background_jobs_dlq') IS NOT NULL").fetch_one(conn).await
}

/// One dead letter.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub struct DeadLetter {
    /// The letter.
    pub id: Uuid,
    /// The job; it may be gone.
    pub original_job_id: Uuid,
    /// Its kind.
    pub kind: String,
    /// What it was asked to do.
    pub payload: Json<serde_json::Value>,
    /// The last error.
    pub error: Option<String>,
    /// exhausted, permanent or lost.
    pub reason_class: String,
    /// Equal for errors that differ only in ids and numbers.
    pub fingerprint: String,
    /// Attempts made.
    pub attempts: i32,
    /// Whose data it worked on.
    pub user_id: Option<String>,
    /// When it died.
    pub failed_at: DateTime<Utc>,
    /// Whether it was retried since.
    pub retried: bool,
    /// When.
    pub retried_at: Option<DateTime<Utc>>,
    /// When somebody threw it away.
    pub discarded_at: Option<DateTime<Utc>>,
    /// What people wrote about it.
    pub note: String,
}

/// Letters with one fingerprint.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub struct Group {
    /// The fingerprint.
    pub fingerprint: String,
    /// The kind.
    pub kind: String,
    /// One of the errors.
    pub error: Option<String>,
    /// How many are open.
    pub open: i64,
    /// The first of them.
    pub first_at: DateTime<Utc>,
    /// The newest of them.
    pub last_at: DateTime<Utc>,
}

/// Letters, newest first; `open` leaves out what was retried or discarded.
pub async fn list(conn: &mut PgConnection, filter: &DeadFilter, open: bool, limit: i64) -> sqlx::Result<Vec<DeadLetter>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT id, original_job_id, type AS kind, payload, error, reason_class, fingerprint, attempts, user_id, failed_at, retried, retried_at, discarded_at, note
           FROM background_jobs_dlq
          WHERE (NOT $1 OR (retried = false AND discarded_at IS NULL)) AND ($2::text IS NULL OR type = $2) AND ($3::text IS NULL OR fingerprint = $3)
            AND ($4::timestamptz IS NULL OR failed_at >= $4) AND ($5::timestamptz IS NULL OR failed_at < $5)
            AND ($6::uuid[] IS NULL OR original_job_id = ANY ($6))
          ORDER BY failed_at DESC, id DESC LIMIT $7",
    )
    .bind(open)
    .bind(&filter.kind)
    .bind(&filter.fingerprint)
    .bind(filter.since)
    .bind(filter.until)
    .bind(&filter.ids)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// Open letters by fingerprint, the biggest group first.
pub async fn groups(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Group>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT fingerprint, type AS kind, max(error) AS error, count(*) AS open, min(failed_at) AS first_at, max(failed_at) AS last_at
           FROM background_jobs_dlq WHERE retried = false AND discarded_at IS NULL GROUP BY 1, 2 ORDER BY open DESC, last_at DESC LIMIT $1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// How many open letters a redrive with this filter would touch.
pub async fn count_open(conn: &mut PgConnection, filter: &DeadFilter) -> sqlx::Result<i64> {
    if !exists(conn).await? {
        return Ok(0);
    }
    sqlx::query_scalar(
        "SELECT count(*) FROM background_jobs_dlq
          WHERE retried = false AND discarded_at IS NULL AND ($1::text IS NULL OR type = $1) AND ($2::text IS NULL OR fingerprint = $2)
            AND ($3::timestamptz IS NULL OR failed_at >= $3) AND ($4::timestamptz IS NULL OR failed_at < $4)
            AND ($5::uuid[] IS NULL OR original_job_id = ANY ($5))",
    )
    .bind(&filter.kind)
    .bind(&filter.fingerprint)
    .bind(filter.since)
    .bind(filter.until)
    .bind(&filter.ids)
    .fetch_one(conn)
    .await
}

/// Marks the open letters of these jobs as retried. A job that is still dead keeps its letter open: whoever had it locked brings it
/// back and marks the letter, or does not, and then it waits for a decision as before.
pub async fn mark_retried(conn: &mut PgConnection, jobs: &[Uuid]) -> sqlx::Result<u64> {
    if jobs.is_empty() || !exists(conn).await? {
        return Ok(0);
    }
    let done = sqlx::query(
        "UPDATE background_jobs_dlq d SET retried = true, retried_at = now()
          WHERE d.original_job_id = ANY ($1) AND d.retried = false
            AND NOT EXISTS (SELECT 1 FROM background_jobs j WHERE j.id = d.original_job_id AND j.status = 'failed')",
    )
    .bind(jobs)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Marks one letter as thrown away; `false`: there is no such open letter.
pub async fn discard(conn: &mut PgConnection, letter: Uuid, note: &str) -> sqlx::Result<bool> {
    if !exists(conn).await? {
        return Ok(false);
    }
    let done = sqlx::query(
        "UPDATE background_jobs_dlq SET discarded_at = now(), note = $2 WHERE id = $1 AND retried = false AND discarded_at IS NULL",
    )
    .bind(letter)
    .bind(note)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Redrives at most `limit` open letters of a filter in one transaction: jobs that are still there come back as
/// they are; for a job that is gone a new one is enqueued with its payload. The letters are marked, not deleted. What somebody else
/// has locked is passed over, and its letter stays open.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn redrive(conn: &mut PgConnection, filter: &DeadFilter, limit: i64) -> sqlx::Result<Retried> {
    let mut tx = conn.begin().await?;
    let letters = list(&mut tx, filter, true, limit).await?;
    let ids: Vec<Uuid> = letters.iter().map(|l| l.original_job_id).collect();
    if ids.is_empty() {
        return Ok(Retried::default());
    }
    let mut result = super::jobs::settle::retry(&mut tx, &DeadFilter { ids: Some(ids.clone()), ..DeadFilter::default() }, i64::MAX).await?;
    // What is still unmarked has no failed job any more, or one that somebody else has locked.
    result.recreated = sqlx::query(concat!(
        "WITH lost AS (
           UPDATE background_jobs_dlq d SET retried = true, retried_at = now()
            WHERE d.original_job_id = ANY ($1) AND d.retried = false AND d.discarded_at IS NULL
              AND NOT EXISTS (SELECT 1 FROM background_jobs j WHERE j.id = d.original_job_id)
           RETURNING original_job_id, type, payload, user_id),
         taken_up AS (SELECT DISTINCT ON (original_job_id) type, payload, user_id, NULL::text AS error FROM lost), ",
        taking_up!(),
        ", back AS (SELECT type, payload, user_id, CASE type WHEN 'webhook_processing' THEN 'delivery:' || app.as_uuid(payload ->> 'delivery_id') END AS key FROM taken_up)
         INSERT INTO background_jobs (type, payload, user_id, unique_key, pending_key) SELECT type, payload, user_id, key, key FROM back
         ON CONFLICT (pending_key) WHERE pending_key IS NOT NULL DO NOTHING"
    ))
    .bind(&ids)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    // A letter whose job lives (it was brought back by other means) is settled as well, else it would come up again and again.
    mark_retried(&mut tx, &ids).await?;
    tx.commit().await?;
    Ok(result)
}
