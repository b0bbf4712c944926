//! Jobs as people see them. Row-level security decides what the caller's transaction sees.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// One job, hot or finished.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub struct JobRow {
    /// The job.
    pub id: Uuid,
    /// The kind.
    pub kind: String,
    /// The state's word.
    pub status: String,
    /// 0 first, 9 last.
    pub priority: i16,
    /// What it was asked to do.
    pub payload: Json<serde_json::Value>,
    /// What it answered.
    pub result: Option<Json<serde_json::Value>>,
    /// The newest error.
    pub error: Option<String>,
    /// All errors kept: `[{attempt, at, error, class}]`, newest last.
    pub errors: Json<serde_json::Value>,
    /// Attempts begun.
    pub attempts: i32,
    /// Attempts allowed; `None` for finished jobs.
    pub max_attempts: Option<i32>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it is or was due.
    pub scheduled_at: DateTime<Utc>,
    /// When the latest attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was finished or died.
    pub completed_at: Option<DateTime<Utc>>,
    /// Whose data it works on.
    pub user_id: Option<String>,
    /// Who holds it.
    pub worker_id: Option<Uuid>,
}

/// Which jobs.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this kind.
    pub kind: Option<String>,
    /// In this state.
    pub status: Option<String>,
    /// Of this person.
    pub user_id: Option<String>,
    /// Created (hot) or finished (history) before this time: the next page.
    pub before: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: i64,
}

macro_rules! hot {
    () => {
        "SELECT id, type AS kind, status, priority, payload, result, error, errors, attempts, max_attempts, created_at, scheduled_at, started_at,
                completed_at, user_id, worker_id FROM background_jobs"
    };
}
macro_rules! finished {
    () => {
        "SELECT id, type AS kind, status, priority, payload, result, error, errors, attempts, NULL::int4 AS max_attempts, created_at, scheduled_at,
                started_at, completed_at, user_id, NULL::uuid AS worker_id FROM job_history"
    };
}

/// The newest jobs first. The newest finished ones come from the index on their end, so history is never scanned.
pub async fn list(conn: &mut PgConnection, filter: &JobFilter) -> sqlx::Result<Vec<JobRow>> {
    sqlx::query_as(concat!(
        "SELECT * FROM ((",
        hot!(),
        " WHERE ($1::text IS NULL OR type = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR user_id = $3)
            AND ($4::timestamptz IS NULL OR created_at < $4) ORDER BY created_at DESC LIMIT $5)
          UNION ALL (",
        finished!(),
        " WHERE ($1::text IS NULL OR type = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR user_id = $3)
            AND ($4::timestamptz IS NULL OR completed_at < $4) ORDER BY completed_at DESC LIMIT $5)) j
          ORDER BY coalesce(completed_at, created_at) DESC, id DESC LIMIT $5"
    ))
    .bind(&filter.kind)
    .bind(&filter.status)
    .bind(&filter.user_id)
    .bind(filter.before)
    .bind(filter.limit)
    .fetch_all(conn)
    .await
}

/// One job, wherever it lies.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(hot!(), " WHERE id = $1 UNION ALL (", finished!(), " WHERE id = $1 ORDER BY completed_at DESC LIMIT 1) LIMIT 1"))
        .bind(id)
        .fetch_optional(conn)
        .await
}
