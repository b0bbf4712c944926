//! One job as people see it. Row-level security decides what the caller's transaction sees.

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

/// One job, wherever it lies.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(hot!(), " WHERE id = $1 UNION ALL (", finished!(), " WHERE id = $1 ORDER BY completed_at DESC LIMIT 1) LIMIT 1"))
        .bind(id)
        .fetch_optional(conn)
        .await
}
