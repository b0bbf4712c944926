//! The numbers behind the health snapshot, each from a counter, a catalogue row or a small index.

use crate::model::HealthStatus;
use serde_json::Value;
use sqlx::PgPool;
use std::time::{Duration, Instant};

/// What is measured each time.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct Figures {
    /// Jobs waiting.
    pub pending: i64,
    /// Jobs leased.
    pub processing: i64,
    /// Jobs failed for good and not retried.
    pub failed: i64,
    /// Age of the oldest job that could run now, in seconds.
    pub oldest_ready_s: Option<f64>,
    /// Workers seen within 15 seconds.
    pub workers_alive: i64,
    /// Dead letters neither retried nor discarded; `None`: the table was dropped.
    pub dead_letters: Option<i64>,
    /// Deliveries of the last 24 hours that were processed.
    pub webhooks_completed: i64,
    /// Deliveries of the last 24 hours that failed.
    pub webhooks_failed: i64,
    /// Whether latest_unified_metrics is there.
    pub view_exists: bool,
    /// Seconds since its last refresh.
    pub view_age_s: Option<f64>,
    /// Whether its refresh is overdue.
    pub view_behind: bool,
    /// Whether rate_limits is there.
    pub rate_limits_exists: bool,
    /// Whether the dead-letter trigger is there.
    pub trigger_exists: bool,
    /// Of the cheapest statement.
    #[sqlx(skip)]
    pub round_trip: Duration,
}

/// Reads them. Statements are kept apart where a table may have been dropped.
pub async fn figures(pool: &PgPool) -> sqlx::Result<Figures> {
    let mut conn = pool.acquire().await?;
    let begin = Instant::now();
    sqlx::query("SELECT 1").execute(&mut *conn).await?;
    let round_trip = begin.elapsed();
    let mut figures: Figures = sqlx::query_as(
        "WITH c AS (
           SELECT status, sum(n)::bigint AS n FROM (
             SELECT status, count AS n FROM job_counts UNION ALL SELECT status, delta FROM job_count_deltas) x
           GROUP BY status)
         SELECT coalesce((SELECT n FROM c WHERE status = 'pending'), 0) AS pending,
                coalesce((SELECT n FROM c WHERE status = 'processing'), 0) AS processing,
                coalesce((SELECT n FROM c WHERE status = 'failed'), 0) AS failed,
                NULL::float8 AS oldest_ready_s,
                (SELECT count(*) FROM workers WHERE seen_at > now() - interval '15 seconds') AS workers_alive,
                NULL::bigint AS dead_letters,
                (SELECT coalesce(sum(count), 0)::bigint FROM gateway_counts WHERE outcome = 'completed' AND minute > now() - interval '24 hours') AS webhooks_completed,
                (SELECT coalesce(sum(count), 0)::bigint FROM gateway_counts WHERE outcome = 'failed' AND minute > now() - interval '24 hours') AS webhooks_failed,
                to_regclass('public.latest_unified_metrics') IS NOT NULL AS view_exists,
                (SELECT extract(epoch FROM now() - (payload ->> 'current_at')::timestamptz)::float8 FROM schedules WHERE name = 'matview_refresh') AS view_age_s,
                coalesce((SELECT next_run_at < now() - interval '15 minutes' FROM schedules WHERE name = 'matview_refresh' AND NOT paused), false) AS view_behind,
                to_regclass('public.rate_limits') IS NOT NULL AS rate_limits_exists,
                EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded') AS trigger_exists",
    )
    .fetch_one(&mut *conn)
    .await?;
    figures.oldest_ready_s = super::jobs::counts::waiting(&mut conn).await?.into_iter().map(|(_, seconds)| seconds).reduce(f64::max);
    figures.dead_letters = sqlx::query_scalar("SELECT count(*) FROM background_jobs_dlq WHERE retried = false AND discarded_at IS NULL")
        .fetch_optional(&mut *conn)
        .await
        .ok()
        .flatten();
    figures.round_trip = round_trip;
    Ok(figures)
}

/// Keeps one snapshot a minute for the status page, whoever comes first; at once when the status changed.
pub async fn keep_history(pool: &PgPool, status: HealthStatus, checks: &Value) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO health_snapshots (at, status, checks)
         SELECT now(), $1, $2
          WHERE NOT EXISTS (SELECT 1 FROM health_snapshots WHERE at > now() - interval '1 minute' AND status = $1)
         ON CONFLICT DO NOTHING",
    )
    .bind(status.word())
    .bind(checks)
    .execute(pool)
    .await?;
    Ok(())
}
