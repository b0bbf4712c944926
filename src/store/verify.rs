//! What a deployment consists of, read from the catalogue, for `assay verify`.

use super::Db;
use sqlx::Row;

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// `server_version_num`.
    pub server_version: i32,
    /// Tables, views and functions of the contract that are not there.
    pub missing_objects: Vec<String>,
    /// Whether the dead-letter trigger is there.
    pub trigger: bool,
    /// Tables of ours without forced row-level security.
    pub unforced_tables: Vec<String>,
    /// Policies named `…admin_trainer…`.
    pub policies: i64,
    /// Roles that are not there.
    pub missing_roles: Vec<String>,
    /// Whether the latest-metrics query is answered by its index.
    pub latest_uses_index: bool,
    /// Whether anything is scored.
    pub cache_rows: bool,
    /// Workers seen within 15 seconds.
    pub workers_alive: i64,
    /// Schedules more than five minutes late.
    pub schedules_overdue: i64,
    /// This machine's clock minus the database's, in seconds.
    pub clock_skew_s: f64,
}

/// Looks with the owner's eyes.
pub async fn look(db: &Db) -> sqlx::Result<Found> {
    let mut conn = db.owner().acquire().await?;
    let sent = chrono::Utc::now();
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int AS version,
                ARRAY(SELECT n FROM unnest(ARRAY['background_jobs', 'background_jobs_dlq', 'rate_limits', 'metric_confidence_cache', 'terra_webhooks_raw',
                        'edge_function_logs', 'unified_metrics', 'latest_unified_metrics', 'job_processing_stats', 'data_quality_trends',
                        'webhook_processing_stats', 'edge_function_performance']) n WHERE to_regclass('public.' || n) IS NULL
                      UNION ALL SELECT 'cleanup_rate_limits()' WHERE to_regprocedure('public.cleanup_rate_limits()') IS NULL) AS missing,
                EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded' AND tgrelid = to_regclass('public.background_jobs')) AS trigger,
                ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                        AND relname <> '_sqlx_migrations' AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1) AS unforced,
                (SELECT count(*) FROM pg_policies WHERE policyname LIKE '%admin\\_trainer%') AS policies,
                ARRAY(SELECT n FROM unnest(ARRAY['anon', 'authenticated', 'service_role', 'assay_web', 'assay_worker']) n
                       WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = n)) AS missing_roles,
                EXISTS (SELECT 1 FROM metric_confidence_cache) AS cache_rows,
                (SELECT count(*) FROM workers WHERE seen_at > now() - interval '15 seconds') AS workers,
                (SELECT count(*) FROM schedules WHERE NOT paused AND next_run_at < now() - interval '5 minutes') AS overdue,
                clock_timestamp() AS now",
    )
    .fetch_one(&mut *conn)
    .await?;
    let missing_objects: Vec<String> = row.try_get("missing")?;
    let latest_uses_index = if missing_objects.iter().any(|m| m == "latest_unified_metrics") {
        false
    } else {
        let plan: Vec<String> =
            sqlx::query_scalar("EXPLAIN SELECT * FROM latest_unified_metrics WHERE user_id = 'test-user-id'").fetch_all(&mut *conn).await?;
        plan.iter().any(|line| line.contains("Index"))
    };
    let theirs: chrono::DateTime<chrono::Utc> = row.try_get("now")?;
    let round_trip = chrono::Utc::now() - sent;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a clock difference")]
    let clock_skew_s = (sent + round_trip / 2 - theirs).num_milliseconds() as f64 / 1000.0;
    Ok(Found {
        server_version: row.try_get("version")?,
        missing_objects,
        trigger: row.try_get("trigger")?,
        unforced_tables: row.try_get("unforced")?,
        policies: row.try_get("policies")?,
        missing_roles: row.try_get("missing_roles")?,
        latest_uses_index,
        cache_rows: row.try_get("cache_rows")?,
        workers_alive: row.try_get("workers")?,
        schedules_overdue: row.try_get("overdue")?,
        clock_skew_s,
    })
}
