//! Durable operations over many rows: one row says how far it came, who started it and whether it was cancelled.

use super::jobs::settle::{DeadFilter, cancel_chunks};
use chrono::{DateTime, Utc};
use sqlx::{Acquire, PgConnection, types::Json};
use uuid::Uuid;

/// An operation's row.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// 'recalculate_all', 'shadow', 'replay', 'redrive' or 'discard'.
    pub kind: String,
    /// running, completed, cancelled or failed.
    pub state: String,
    /// What it works on.
    pub filter: Json<serde_json::Value>,
    /// Units (persons, deliveries, dead letters) to do.
    pub total: i64,
    /// Units done.
    pub done: i64,
    /// Units whose work failed for good, or was cancelled.
    pub failed: i64,
    /// Who pressed the button.
    pub started_by: String,
    /// When.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Operation {
    /// Units a second since the start; `None` before the first is done.
    pub fn rate(&self, now: DateTime<Utc>) -> Option<f64> {
        let seconds = (self.finished_at.unwrap_or(now) - self.started_at).as_seconds_f64();
        (self.done > 0 && seconds > 0.0).then(|| self.done as f64 / seconds)
    }

    /// Seconds until it is done at the rate so far; `None` when nothing is known or it does not run.
    pub fn remaining_seconds(&self, now: DateTime<Utc>) -> Option<f64> {
        let left = (self.total - self.done - self.failed).max(0) as f64;
        (self.state == "running").then(|| self.rate(now).map(|r| left / r)).flatten()
    }
}

macro_rules! columns {
    () => {
        "id, kind, state, filter, total, done, failed, started_by, started_at, finished_at, error"
    };
}

/// The newest operations first.
pub async fn list(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Operation>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM operations ORDER BY started_at DESC, id DESC LIMIT $1"))
        .bind(limit)
        .fetch_all(conn)
        .await
}

/// One operation.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Operation>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM operations WHERE id = $1")).bind(id).fetch_optional(conn).await
}

const RECALCULATE_ALL: &str = "recalculate_all";

/// Starts Recalculate All, or joins the one that runs; see [`begin_scoring`]. Returns whether it began.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_recalculate_all(
    conn: &mut PgConnection,
    started_by: &str,
    persons: i32,
    priority: i16,
) -> sqlx::Result<(Operation, bool)> {
    let begun = begin_scoring(conn, RECALCULATE_ALL, &serde_json::json!({}), started_by, persons, priority).await?;
    match begun {
        Some(operation) => Ok((operation, true)),
        None => Ok((newest(conn, RECALCULATE_ALL).await?.ok_or(sqlx::Error::RowNotFound)?, false)),
    }
}

/// Starts Recalculate All from the first person on: one that runs is cancelled and not joined, because whom it has scored it
/// does not visit again. Returns what was cancelled, too. For the transaction that changes what scores are made with: both
/// are seen at once.
///
/// # Errors
/// The database's; then the caller's transaction is lost.
pub async fn restart_recalculate_all(
    conn: &mut PgConnection,
    started_by: &str,
    persons: i32,
    priority: i16,
) -> sqlx::Result<(Vec<Uuid>, Operation)> {
    let mut cancelled = Vec::new();
    loop {
        let running: Option<Uuid> = sqlx::query_scalar("SELECT id FROM operations WHERE kind = $1 AND state = 'running'")
            .bind(RECALCULATE_ALL)
            .fetch_optional(&mut *conn)
            .await?;
        if let Some(id) = running
            && cancel(conn, id).await?
        {
            cancelled.push(id);
        }
        // None: somebody pressed the button in between, and the start waited for that commit. Its chunks may already run.
        let begun = begin_scoring(conn, RECALCULATE_ALL, &serde_json::json!({}), started_by, persons, priority).await?;
        if let Some(operation) = begun {
            return Ok((cancelled, operation));
        }
    }
}

/// Starts an operation that scores everybody; `None`: one of this kind runs. The operation and all its chunk jobs, `persons`
/// persons each, come into being in one commit; with nobody to score it is complete at once.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn begin_scoring(
    conn: &mut PgConnection,
    kind: &str,
    filter: &serde_json::Value,
    started_by: &str,
    persons: i32,
    priority: i16,
) -> sqlx::Result<Option<Operation>> {
    let mut tx = conn.begin().await?;
    let started: Option<Uuid> =
        sqlx::query_scalar("INSERT INTO operations (kind, filter, started_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id")
            .bind(kind)
            .bind(Json(filter))
            .bind(started_by)
            .fetch_optional(&mut *tx)
            .await?;
    if let Some(id) = started {
        sqlx::query(
            "WITH RECURSIVE everybody AS (
               (SELECT user_id FROM unified_metrics ORDER BY user_id LIMIT 1)
               UNION ALL SELECT (SELECT m.user_id FROM unified_metrics m WHERE m.user_id > e.user_id ORDER BY m.user_id LIMIT 1) FROM everybody e WHERE e.user_id IS NOT NULL),
             chunks AS (
               SELECT jsonb_agg(user_id ORDER BY user_id) AS users, count(*) AS n
                 FROM (SELECT user_id, (row_number() OVER (ORDER BY user_id) - 1) / $2 AS chunk FROM everybody WHERE user_id IS NOT NULL) p GROUP BY chunk),
             jobs AS (
               INSERT INTO background_jobs (type, priority, payload, max_attempts)
               SELECT 'recalculation', $3, jsonb_build_object('v', 1, 'operation', $1, 'users', users), 3 FROM chunks)
             UPDATE operations SET total = t.persons, chunks_total = t.chunks,
                    state = CASE WHEN t.chunks = 0 THEN 'completed' ELSE 'running' END, finished_at = CASE WHEN t.chunks = 0 THEN now() END
               FROM (SELECT coalesce(sum(n), 0) AS persons, count(*) AS chunks FROM chunks) t WHERE id = $1",
        )
        .bind(id)
        .bind(i64::from(persons))
        .bind(priority)
        .execute(&mut *tx)
        .await?;
    }
    let operation = match started {
        Some(id) => find(&mut tx, id).await?,
        None => None,
    };
    tx.commit().await?;
    Ok(operation)
}

/// The operation of a kind that runs, or else the newest.
pub async fn newest(conn: &mut PgConnection, kind: &str) -> sqlx::Result<Option<Operation>> {
    // A transaction that took long starts an operation with the time of its own start.
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM operations WHERE kind = $1 ORDER BY (state = 'running') DESC, started_at DESC, id DESC LIMIT 1"
    ))
    .bind(kind)
    .fetch_optional(conn)
    .await
}

/// Starts a redrive of dead letters as an operation, or, as `discard`, throws them away with a note: counted first, then
/// worked off in chunks by one job.
///
/// # Errors
/// The database's; then nothing was started.
pub async fn start_on_letters(
    conn: &mut PgConnection,
    kind: &str,
    filter: &DeadFilter,
    note: &str,
    started_by: &str,
) -> sqlx::Result<Operation> {
    let total = super::dead_letters::count_open(&mut *conn, filter).await?;
    sqlx::query_as(concat!(
        "WITH o AS (INSERT INTO operations (kind, filter, total, chunks_total, started_by)
                    VALUES ($4, $1::jsonb || jsonb_build_object('note', $5::text), $2, 1, $3) RETURNING ", columns!(), "),
         job AS (INSERT INTO background_jobs (type, priority, payload) SELECT 'redrive', 4, jsonb_build_object('v', 1, 'operation', id) FROM o)
         SELECT * FROM o"
    ))
    .bind(Json(filter))
    .bind(total)
    .bind(started_by)
    .bind(kind)
    .bind(note)
    .fetch_one(conn)
    .await
}

/// Notes progress in the transaction that made it. The last chunk completes the operation.
pub async fn progress(conn: &mut PgConnection, id: Uuid, done: i64, failed: i64, chunks: i32) -> sqlx::Result<Option<Operation>> {
    sqlx::query_as(concat!(
        "UPDATE operations SET done = least(total, done + $2), failed = failed + $3, chunks_done = chunks_done + $4,
                state = CASE WHEN state = 'running' AND chunks_done + $4 >= chunks_total THEN 'completed' ELSE state END,
                finished_at = CASE WHEN state = 'running' AND chunks_done + $4 >= chunks_total THEN now() ELSE finished_at END
          WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(done)
    .bind(failed)
    .bind(chunks)
    .fetch_optional(conn)
    .await
}

/// Ends what runs but has no job left, because somebody deleted it by hand or with a person: else it would run for ever, and
/// every press of its button would join it. What was not done counts as failed. Returns how many those were.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn end_abandoned(conn: &mut PgConnection) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "UPDATE operations o SET state = 'failed', failed = greatest(failed, total - done), finished_at = now(),
                error = 'Its jobs are gone; somebody deleted them. Start it again.'
          WHERE state = 'running' AND started_at < now() - interval '1 minute'
            AND NOT EXISTS (SELECT FROM background_jobs j WHERE j.failed_at IS NULL AND j.type IN ('recalculation', 'replay', 'redrive')
                                AND j.payload ->> 'operation' = o.id::text)",
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Cancels a running operation and its waiting chunks; `false`: it does not run. A chunk in work is finished.
pub async fn cancel(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let mut tx = conn.begin().await?;
    // The chunks first: one in work holds its own row while it waits for the operation's.
    cancel_chunks(&mut tx, id).await?;
    let done = sqlx::query("UPDATE operations SET state = 'cancelled', finished_at = now() WHERE id = $1 AND state = 'running'")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(done.rows_affected() > 0)
}
