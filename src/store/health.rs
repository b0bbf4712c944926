//! The numbers behind the health snapshot, each from a counter, a catalogue row or a small index; and the one row in
//! which all nodes read them.

use crate::model::HealthStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, types::Json};
use std::time::Duration;
use uuid::Uuid;

/// What the holder of the turn measures for all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
#[serde(default)]
pub struct Figures {
    /// Jobs waiting.
    pub pending: i64,
    /// Jobs leased.
    pub processing: i64,
    /// Jobs failed for good and not retried.
    pub failed: i64,
    /// Age of the oldest job that could run now, in seconds; jobs that a person holds back are none.
    pub oldest_ready_s: Option<f64>,
    /// The same by kind.
    #[sqlx(skip)]
    pub waiting: Vec<(String, f64)>,
    /// Kinds that a person paused.
    #[sqlx(skip)]
    pub paused: Vec<String>,
    /// Workers seen within 15 seconds.
    pub workers_alive: i64,
    /// Whether one of them leads: rescues, fires schedules, folds counts.
    pub leader: bool,
    /// Whether one of them has been here for so long that somebody should lead by now.
    pub workers_settled: bool,
    /// Schedules more than five minutes late.
    pub schedules_overdue: i64,
    /// Dead letters neither retried nor discarded; `None`: the table was dropped.
    pub dead_letters: Option<i64>,
    /// Deliveries accepted in the last 24 hours.
    pub webhooks_accepted: i64,
    /// Those of the last 24 hours that could not be used, counted up to 10,001.
    pub webhooks_failed: i64,
    /// Whether there are values at all.
    pub values_exist: bool,
    /// Whether anything is scored.
    pub cache_filled: bool,
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
    /// Measured once a minute; carried over in between.
    #[sqlx(skip)]
    pub slow: Slow,
}

/// What costs more, and changes slowly.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slow {
    /// When it was measured.
    pub at: Option<DateTime<Utc>>,
    /// Providers with active connections and the seconds since the last data of any of them.
    pub silence: Vec<(String, f64)>,
    /// Scores of the last seven days by badge: excellent, good, fair, poor, and values without one.
    pub badges: [i64; 5],
}

/// Reads them, with rests in between. Statements are kept apart where a table may have been dropped.
pub async fn figures(conn: &mut PgConnection, rest: Duration) -> sqlx::Result<Figures> {
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
                EXISTS (SELECT 1 FROM leases WHERE name = 'jobs' AND expires_at > now() - interval '5 seconds') AS leader,
                EXISTS (SELECT 1 FROM workers WHERE seen_at > now() - interval '15 seconds' AND started_at < now() - interval '15 seconds') AS workers_settled,
                (SELECT count(*) FROM schedules WHERE NOT paused AND next_run_at < now() - interval '5 minutes') AS schedules_overdue,
                NULL::bigint AS dead_letters,
                (SELECT coalesce(sum(count), 0)::bigint FROM gateway_counts WHERE outcome = 'accepted' AND minute > now() - interval '24 hours') AS webhooks_accepted,
                (SELECT count(*) FROM (SELECT 1 FROM terra_webhooks_raw WHERE status = 'failed' AND created_at > now() - interval '24 hours' LIMIT 10001) AS w) AS webhooks_failed,
                EXISTS (SELECT 1 FROM unified_metrics) AS values_exist,
                EXISTS (SELECT 1 FROM metric_confidence_cache) AS cache_filled,
                to_regclass('public.latest_unified_metrics') IS NOT NULL AS view_exists,
                (SELECT extract(epoch FROM now() - (payload ->> 'current_at')::timestamptz)::float8 FROM schedules WHERE name = 'matview_refresh') AS view_age_s,
                coalesce((SELECT next_run_at < now() - interval '15 minutes' FROM schedules WHERE name = 'matview_refresh' AND NOT paused), false) AS view_behind,
                to_regclass('public.rate_limits') IS NOT NULL AS rate_limits_exists,
                EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded' AND tgrelid = to_regclass('public.background_jobs')) AS trigger_exists",
    )
    .fetch_one(&mut *conn)
    .await?;
    tokio::time::sleep(rest).await;
    figures.waiting = super::jobs::counts::waiting(&mut *conn).await?;
    figures.oldest_ready_s = figures.waiting.iter().map(|(_, seconds)| *seconds).reduce(f64::max);
    tokio::time::sleep(rest).await;
    figures.paused = super::job_kinds::paused(&mut *conn).await?;
    figures.dead_letters = super::dashboard::open_dead_letters(conn).await?;
    Ok(figures)
}

/// Measures what costs more.
pub async fn slow(pool: &PgPool) -> sqlx::Result<Slow> {
    let silence = sqlx::query_as(
        "SELECT provider, extract(epoch FROM now() - max(coalesce(last_data_at, created_at)))::float8
           FROM connections WHERE state IN ('active', 'reauthorised') GROUP BY provider ORDER BY count(*) DESC, provider LIMIT 50",
    )
    .fetch_all(pool)
    .await?;
    let q = super::dashboard::quality(&mut *pool.acquire().await?, 7).await?;
    Ok(Slow { at: Some(Utc::now()), silence, badges: [q.excellent, q.good, q.fair, q.poor, q.unknown] })
}

/// The row that all nodes read.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Shared {
    /// Whose turn it is.
    pub holder: Uuid,
    /// Whether that turn has ended.
    pub free: bool,
    /// When the figures were measured, by the server's clock.
    pub taken_at: Option<DateTime<Utc>>,
    /// How long ago that was.
    pub age_s: Option<f64>,
    /// The figures.
    pub figures: Option<Json<Figures>>,
}

/// Reads it; `None` before the first measurement. Its round trip is the latency of the database.
pub async fn shared(conn: &mut PgConnection) -> sqlx::Result<Option<Shared>> {
    sqlx::query_as(
        "SELECT holder, until < now() AS free, taken_at, extract(epoch FROM now() - taken_at)::float8 AS age_s, figures FROM health_now",
    )
    .fetch_optional(conn)
    .await
}

/// Which schema the database has: another text after each change of it.
pub async fn schema(conn: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT obj_description(to_regnamespace('app'), 'pg_namespace')").fetch_one(conn).await
}

/// Takes or renews the turn, if it is ours or free; whether we have it.
pub async fn take_turn(conn: &mut PgConnection, me: Uuid, turn: Duration) -> sqlx::Result<bool> {
    let taken = sqlx::query(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         INSERT INTO health_now AS h (holder, until) SELECT $1, now() + make_interval(secs => $2) FROM lazily
         ON CONFLICT (one) DO UPDATE SET holder = $1, until = excluded.until WHERE h.holder = $1 OR h.until < now()",
    )
    .bind(me)
    .bind(turn.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// Publishes what was measured, while it is our turn; gives the time of it, by the server's clock.
pub async fn publish(conn: &mut PgConnection, me: Uuid, figures: &Figures) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         UPDATE health_now SET taken_at = now(), figures = $2 FROM lazily WHERE holder = $1 RETURNING taken_at",
    )
    .bind(me)
    .bind(Json(figures))
    .fetch_optional(conn)
    .await
}

/// Gives the turn up, so that the next node need not wait for its end.
pub async fn give_up_turn(conn: &mut PgConnection, me: Uuid) -> sqlx::Result<()> {
    sqlx::query("UPDATE health_now SET until = now() WHERE holder = $1").bind(me).execute(conn).await?;
    Ok(())
}

/// Keeps one snapshot a minute for the status page, and one at once when the status changed.
pub async fn keep_history(conn: &mut PgConnection, status: HealthStatus, checks: &Value) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "INSERT INTO health_snapshots (at, status, checks)
         SELECT now(), $1, $2
          WHERE NOT EXISTS (SELECT 1 FROM health_snapshots WHERE at > now() - interval '1 minute' AND status = $1
                               AND at = (SELECT max(at) FROM health_snapshots))
         ON CONFLICT DO NOTHING",
    )
    .bind(status.word())
    .bind(checks)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Writes down that the database was away: a row a minute, at most a day back, where none says so yet.
pub async fn keep_outage(conn: &mut PgConnection, away: Duration) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "INSERT INTO health_snapshots (at, status, checks)
         SELECT g, 'unhealthy', jsonb_build_object('database', jsonb_build_object('status', 'error', 'note', 'the database did not answer'))
           FROM generate_series(now() - make_interval(secs => least($1, 86400)), now(), interval '1 minute') AS g
          WHERE NOT EXISTS (SELECT 1 FROM health_snapshots s WHERE s.status = 'unhealthy' AND s.at BETWEEN g - interval '30 seconds' AND g + interval '30 seconds')
         ON CONFLICT DO NOTHING",
    )
    .bind(away.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::database;

    #[tokio::test]
    async fn one_node_measures_all_read_and_a_silent_holder_is_replaced() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(shared(&mut conn).await.unwrap().is_none());
        assert!(take_turn(&mut conn, a, Duration::from_secs(5)).await.unwrap());
        assert!(!take_turn(&mut conn, b, Duration::from_secs(5)).await.unwrap(), "it is a's turn");
        let measured = Figures { pending: 7, waiting: vec![("x".into(), 1.5)], ..figures(&mut conn, Duration::ZERO).await.unwrap() };
        assert!(publish(&mut conn, b, &measured).await.unwrap().is_none(), "b has no turn");
        assert!(publish(&mut conn, a, &measured).await.unwrap().is_some());
        let read = shared(&mut conn).await.unwrap().unwrap();
        assert_eq!((read.holder, read.free, read.figures.map(|f| f.0)), (a, false, Some(measured)));
        give_up_turn(&mut conn, a).await.unwrap();
        assert!(shared(&mut conn).await.unwrap().unwrap().free);
        assert!(take_turn(&mut conn, b, Duration::from_secs(5)).await.unwrap());
        assert!(!take_turn(&mut conn, a, Duration::from_secs(5)).await.unwrap());
    }

    #[tokio::test]
    async fn failed_deliveries_are_those_of_the_table_and_accepted_ones_those_the_gateway_counted() {
        let t = database().await;
        sqlx::raw_sql(
            "INSERT INTO gateway_counts (minute, outcome, node, count) VALUES (date_trunc('minute', now()), 'accepted', 'n', 40);
             INSERT INTO terra_webhooks_raw (id, trace_id, type, status, ordering_ms, body) SELECT app.uuid_v7(), n::text, 'daily', 'failed', 0, '' FROM generate_series(1, 3) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let f = figures(&mut t.db.service().acquire().await.unwrap(), Duration::ZERO).await.unwrap();
        assert_eq!((f.webhooks_accepted, f.webhooks_failed), (40, 3));
    }

    /// A due job of an hour is missed only where it could run.
    #[tokio::test]
    async fn what_a_person_holds_back_is_no_lag_of_the_queue() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        sqlx::query("INSERT INTO background_jobs (type, payload, scheduled_at) VALUES ('slow', '{}', now() - interval '1 hour')")
            .execute(t.db.owner())
            .await
            .unwrap();
        let leased = "INSERT INTO job_leases (epoch, worker_id, type, lease_until, ids) VALUES (1, gen_random_uuid(), 'slow', now(), ARRAY[gen_random_uuid()])";
        let free = "DELETE FROM job_leases";
        let kind = |values: &str| {
            format!(
                "DELETE FROM job_kinds; INSERT INTO job_kinds (type, paused, max_running, per_minute, next_start) VALUES ('slow', {values})"
            )
        };
        for (what, limits, lease, waits) in [
            ("paused", "true, NULL, NULL, '-infinity'", free, false),
            ("at its rate", "false, NULL, 1, now() - interval '100 seconds'", free, false),
            ("below its rate: nobody starts it", "false, NULL, 1, now() - interval '3 minutes'", free, true),
            ("all places taken", "false, 1, NULL, '-infinity'", leased, false),
            ("between two jobs", "false, 1, NULL, now() - interval '1 second'", free, false),
            ("with a free place that nobody takes", "false, 2, NULL, '-infinity'", leased, true),
        ] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{}; {free}; {lease}", kind(limits)))).execute(t.db.owner()).await.unwrap();
            let f = figures(&mut conn, Duration::ZERO).await.unwrap();
            assert_eq!(f.oldest_ready_s.is_some_and(|s| s > 3599.0), waits, "{what}: {f:?}");
            assert_eq!((f.waiting.len(), f.pending), (usize::from(waits), 1), "{what}: {f:?}");
            assert_eq!(f.paused, if what == "paused" { vec!["slow".to_owned()] } else { vec![] }, "{what}");
        }
    }

    #[tokio::test]
    async fn history_gets_a_row_a_minute_and_one_with_each_change_of_status() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let keep = async |conn: &mut PgConnection, status| keep_history(conn, status, &serde_json::json!({})).await.unwrap();
        assert!(keep(&mut conn, HealthStatus::Healthy).await);
        assert!(!keep(&mut conn, HealthStatus::Healthy).await, "within the minute");
        assert!(keep(&mut conn, HealthStatus::Degraded).await, "a change");
        assert!(keep(&mut conn, HealthStatus::Healthy).await, "and back");
        sqlx::query("UPDATE health_snapshots SET at = at - interval '61 seconds'").execute(t.db.owner()).await.unwrap();
        assert!(keep(&mut conn, HealthStatus::Healthy).await, "a minute later");
    }

    #[tokio::test]
    async fn an_outage_is_written_down_afterwards_where_nobody_kept_a_record() {
        let t = database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        assert_eq!(keep_outage(&mut conn, Duration::from_secs(600)).await.unwrap(), 11);
        assert_eq!(keep_outage(&mut conn, Duration::from_secs(600)).await.unwrap(), 0, "a second node adds nothing");
        let bad: i64 =
            sqlx::query_scalar("SELECT count(*) FROM health_snapshots WHERE status = 'unhealthy'").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(bad, 11);
    }
}
