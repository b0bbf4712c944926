//! What runs by itself, and when. A schedule fires by moving its own `next_run_at`: whoever moves it enqueues the
//! job in the same statement, so two leaders cannot fire it twice.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// A schedule as people see it.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub struct ScheduleRow {
    /// Its name.
    pub name: String,
    /// The kind of the job it enqueues.
    pub job_type: String,
    /// Seconds between runs.
    pub every_s: i32,
    /// Whether it is paused.
    pub paused: bool,
    /// When it fired last.
    pub last_run_at: Option<DateTime<Utc>>,
    /// The job of that run.
    pub last_job_id: Option<Uuid>,
    /// When it fires next.
    pub next_run_at: DateTime<Utc>,
    /// How often it fired.
    pub runs: i64,
    /// Runs that were due while nobody led.
    pub missed: i64,
    /// Why the last try to fire failed; `None`: it did not.
    pub last_error: Option<String>,
}

/// What the program schedules.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Its name.
    pub name: &'static str,
    /// The kind of the job.
    pub job_type: &'static str,
    /// Its payload.
    pub payload: serde_json::Value,
    /// Seconds between runs.
    pub every_s: i32,
    /// Where in the interval it runs, in seconds from a multiple of it (in UTC): 3 o'clock is 10800 of a day.
    pub offset_s: i32,
}

/// Adds the schedules that are not there; leaves what an administrator changed.
pub async fn seed(conn: &mut PgConnection, seeds: &[Seed]) -> sqlx::Result<()> {
    let names: Vec<&str> = seeds.iter().map(|s| s.name).collect();
    let types: Vec<&str> = seeds.iter().map(|s| s.job_type).collect();
    let payloads: Vec<Json<&serde_json::Value>> = seeds.iter().map(|s| Json(&s.payload)).collect();
    let every: Vec<i32> = seeds.iter().map(|s| s.every_s).collect();
    let offset: Vec<i32> = seeds.iter().map(|s| s.offset_s).collect();
    sqlx::query(
        "INSERT INTO schedules (name, job_type, payload, every_s, next_run_at)
         SELECT name, job_type, payload, every_s, to_timestamp((floor((extract(epoch FROM now()) - offset_s) / every_s) + 1) * every_s + offset_s)
           FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::int4[], $5::int4[]) AS s(name, job_type, payload, every_s, offset_s)
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(names)
    .bind(types)
    .bind(payloads)
    .bind(every)
    .bind(offset)
    .execute(conn)
    .await?;
    Ok(())
}

/// Fires what is due: one job a schedule, however many runs were missed; the next run keeps to the old beat. A run
/// whose predecessor still waits is merged into it (the job's key is the schedule's name). Each is a commit of its own: one
/// that cannot be fired says why in its row, is tried again within a minute, and keeps no other from its run. Returns the
/// fired names.
///
/// # Errors
/// The database's, when it cannot be reached.
pub async fn fire_due(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let due: Vec<String> = sqlx::query_scalar("SELECT name FROM schedules WHERE NOT paused AND next_run_at <= now() ORDER BY name")
        .fetch_all(&mut *conn)
        .await?;
    let mut fired = Vec::with_capacity(due.len());
    for name in due {
        match fire(conn, &name, true).await {
            Ok(true) => fired.push(name),
            Ok(false) => {} // another leader was quicker
            Err(sqlx::Error::Database(e)) => put_off(conn, &name, e.message()).await?,
            Err(e) => return Err(e),
        }
    }
    Ok(fired)
}

async fn put_off(conn: &mut PgConnection, name: &str, why: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE schedules SET last_error = $2, next_run_at = now() + make_interval(secs => least(every_s, 60)) WHERE name = $1")
        .bind(name)
        .bind(why)
        .execute(conn)
        .await?;
    Ok(())
}

/// Fires one schedule now, paused or not; the beat stays. `false`: there is no such schedule.
///
/// # Errors
/// The database's; then it was not fired.
pub async fn run_now(conn: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    fire(conn, name, false).await
}

/// `due`: only if it is due, and then its next run follows.
async fn fire(conn: &mut PgConnection, name: &str, due: bool) -> sqlx::Result<bool> {
    let fired: Option<String> = sqlx::query_scalar(
        "WITH due AS (
           SELECT name, job_type, payload, every_s, next_run_at, app.uuid_v7() AS job FROM schedules
            WHERE name = $1 AND (NOT $2 OR (NOT paused AND next_run_at <= now())) FOR UPDATE SKIP LOCKED),
         jobs AS (
           INSERT INTO background_jobs AS j (id, type, priority, payload, max_attempts, unique_key, pending_key)
           SELECT job, job_type, 6, payload, 3, 'schedule:' || name, 'schedule:' || name FROM due
           ON CONFLICT (pending_key) WHERE pending_key IS NOT NULL DO UPDATE SET scheduled_at = least(j.scheduled_at, now())
           RETURNING j.id, j.unique_key)
         UPDATE schedules s SET last_run_at = now(), last_job_id = jobs.id, runs = s.runs + 1, last_error = NULL,
                missed = s.missed + CASE WHEN $2 THEN floor(extract(epoch FROM now() - d.next_run_at) / d.every_s)::bigint ELSE 0 END,
                next_run_at = CASE WHEN $2
                  THEN d.next_run_at + make_interval(secs => (floor(extract(epoch FROM now() - d.next_run_at) / d.every_s) + 1) * d.every_s)
                  ELSE s.next_run_at END
           FROM due d JOIN jobs ON jobs.unique_key = 'schedule:' || d.name
          WHERE s.name = d.name RETURNING s.name",
    )
    .bind(name)
    .bind(due)
    .fetch_optional(conn)
    .await?;
    Ok(fired.is_some())
}

/// Pauses or resumes; a resumed schedule keeps its beat and catches up at most one run. `false`: there is none.
pub async fn set_paused(conn: &mut PgConnection, name: &str, paused: bool) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE schedules SET paused = $2 WHERE name = $1").bind(name).bind(paused).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}

/// All schedules.
pub async fn list(conn: &mut PgConnection) -> sqlx::Result<Vec<ScheduleRow>> {
    sqlx::query_as("SELECT name, job_type, every_s, paused, last_run_at, last_job_id, next_run_at, runs, missed, last_error FROM schedules ORDER BY name")
        .fetch_all(conn)
        .await
}
