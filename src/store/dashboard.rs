//! What the administrator's dashboard reads: small statements with limits, as the caller. What is said of millions of
//! readings was added up by `rollups`.

use crate::model::Instant;
use chrono::NaiveDate;
use sqlx::{PgConnection, types::Json};

/// How far the values of the last days can be trusted, over all persons.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct Quality {
    /// Values that have a score.
    pub scored: i64,
    /// Their average score.
    pub average: Option<f64>,
    /// 80 and more.
    pub excellent: i64,
    /// 60 to 79.
    pub good: i64,
    /// 40 to 59.
    pub fair: i64,
    /// Below 40.
    pub poor: i64,
    /// Values without a score.
    pub unknown: i64,
    /// Values newer than their score.
    pub stale: i64,
    /// Persons behind them.
    pub persons: i64,
    /// When a score was last written.
    pub newest: Option<Instant>,
    /// When this was added up; absent: never yet.
    pub taken_at: Option<Instant>,
}

/// The values of the last `days` days by tier, as last added up.
pub async fn quality(conn: &mut PgConnection, days: i32) -> sqlx::Result<Quality> {
    sqlx::query_as(
        "SELECT coalesce(sum(excellent + good + fair + poor), 0)::bigint AS scored,
                sum(points)::float8 / nullif(sum(excellent + good + fair + poor), 0)::float8 AS average,
                coalesce(sum(excellent), 0)::bigint AS excellent, coalesce(sum(good), 0)::bigint AS good,
                coalesce(sum(fair), 0)::bigint AS fair, coalesce(sum(poor), 0)::bigint AS poor,
                coalesce(sum(unknown), 0)::bigint AS unknown, coalesce(sum(stale), 0)::bigint AS stale,
                coalesce((SELECT persons FROM rollups WHERE name = 'scores of a week'), 0) AS persons, max(newest) AS newest,
                (SELECT taken_at FROM rollups WHERE name = 'scores of a week') AS taken_at
           FROM score_days WHERE measurement_date > current_date - $1",
    )
    .bind(days)
    .fetch_one(conn)
    .await
}

/// One day of a trend; `average` is absent where nothing was measured.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct TrendDay {
    /// The measured day.
    pub day: NaiveDate,
    /// Average score.
    pub average: Option<f64>,
    /// How many values.
    pub values: i64,
}

/// Average confidence by measured day, oldest first, every day present, as last added up. An empty metric means all.
pub async fn trend(conn: &mut PgConnection, days: i32, metric: &str) -> sqlx::Result<Vec<TrendDay>> {
    sqlx::query_as(
        "SELECT d::date AS day, sum(s.points)::float8 / nullif(sum(s.excellent + s.good + s.fair + s.poor), 0)::float8 AS average,
                coalesce(sum(s.excellent + s.good + s.fair + s.poor), 0)::bigint AS values
           FROM generate_series(current_date - $1 + 1, current_date, interval '1 day') AS d
           LEFT JOIN score_days s ON s.measurement_date = d::date AND ($2 = '' OR s.metric_name = $2)
          GROUP BY 1 ORDER BY 1",
    )
    .bind(days)
    .bind(metric)
    .fetch_all(conn)
    .await
}

/// The connections of one provider.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Provider {
    /// In lower case.
    pub provider: String,
    /// Working connections.
    pub active: i64,
    /// Those in an error or revoked.
    pub broken: i64,
    /// Working, but without data for two days.
    pub silent: i64,
    /// The newest data of any.
    pub last_data_at: Option<Instant>,
}

/// All providers by name, as last added up.
pub async fn providers(conn: &mut PgConnection) -> sqlx::Result<Vec<Provider>> {
    sqlx::query_as("SELECT provider, active, broken, silent, last_data_at FROM provider_states ORDER BY provider LIMIT 100")
        .fetch_all(conn)
        .await
}

/// The persons with the lowest average of the last seven days, as last added up.
pub async fn least_trusted(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT user_id FROM person_scores WHERE newest > current_date - 7 ORDER BY average, user_id LIMIT $1")
        .bind(limit)
        .fetch_all(conn)
        .await
}

/// What the gateway answered in the last 24 hours: outcome and count.
pub async fn gateway_day(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as("SELECT outcome, sum(count)::int8 FROM gateway_counts WHERE minute > now() - interval '24 hours' GROUP BY outcome")
        .fetch_all(conn)
        .await
}

/// Accepted deliveries of each of the last 60 minutes, oldest first.
pub async fn arrivals(conn: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    let rows: Vec<(i32, i64)> = sqlx::query_as(
        "SELECT (extract(epoch FROM minute - date_trunc('minute', now())) / 60)::int4 + 59, sum(count)::int8 FROM gateway_counts
          WHERE outcome = 'accepted' AND minute BETWEEN date_trunc('minute', now()) - interval '59 minutes' AND now() GROUP BY minute",
    )
    .fetch_all(conn)
    .await?;
    let mut minutes = vec![0; 60];
    for (at, n) in rows {
        if let Some(minute) = usize::try_from(at).ok().and_then(|at| minutes.get_mut(at)) {
            *minute += n;
        }
    }
    Ok(minutes)
}

/// Deliveries of the last 24 hours that are not settled well: status and count. What still waits is counted with the jobs.
pub async fn unwell(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT status, count(*) FROM terra_webhooks_raw
          WHERE status IN ('failed', 'parked', 'conflict', 'invalid') AND created_at > now() - interval '24 hours'
          GROUP BY status",
    )
    .fetch_all(conn)
    .await
}

/// Dead letters nobody dealt with, counted up to 10,001; `None` when the table was dropped.
pub async fn open_dead_letters(conn: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('public.background_jobs_dlq') IS NOT NULL").fetch_one(&mut *conn).await?;
    if !there {
        return Ok(None);
    }
    sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM background_jobs_dlq WHERE retried = false AND discarded_at IS NULL LIMIT 10001) AS l",
    )
    .fetch_one(conn)
    .await
    .map(Some)
}

/// A setting that is on or off; `None`: the default.
pub async fn switch(conn: &mut PgConnection, key: &str) -> sqlx::Result<Option<bool>> {
    let value: Option<Json<serde_json::Value>> =
        sqlx::query_scalar("SELECT value FROM settings WHERE key = $1").bind(key).fetch_optional(conn).await?;
    Ok(value.and_then(|v| v.0.as_bool()))
}

/// So many made-up persons are counted at most, and one more.
pub const SIMULATED: i64 = 1000;

/// What exists at all: any value, and how many persons are made up, counted up to [`SIMULATED`] + 1.
pub async fn presence(conn: &mut PgConnection) -> sqlx::Result<(bool, i64)> {
    sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM unified_metrics) OR EXISTS (SELECT 1 FROM terra_webhooks_raw),
                (SELECT count(*) FROM (SELECT 1 FROM persons WHERE simulated LIMIT $1) AS p)",
    )
    .bind(SIMULATED + 1)
    .fetch_one(conn)
    .await
}

/// One slot of the status page: its number from the oldest, and the worst status in it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Slot {
    /// 0 is the oldest.
    pub slot: i32,
    /// 0 healthy, 1 degraded, 2 unhealthy.
    pub worst: i32,
}

/// The worst status of each slot of the past; slots without a record are absent. Readable without a login.
pub async fn uptime(conn: &mut PgConnection, slots: i32, slot_s: i32) -> sqlx::Result<Vec<Slot>> {
    sqlx::query_as(
        // One look into the index for each slot; what was not well is rare and has an index of its own.
        "SELECT s.slot, coalesce((SELECT max(CASE status WHEN 'degraded' THEN 1 ELSE 2 END) FROM health_snapshots
                                  WHERE status <> 'healthy' AND at > s.above AND at <= s.until), 0)::int4 AS worst
           FROM (SELECT n::int4 AS slot, now() - make_interval(secs => ($1 - n)::float8 * $2) AS above,
                        now() - make_interval(secs => ($1 - 1 - n)::float8 * $2) AS until
                   FROM generate_series(0, $1 - 1) AS n) s
          WHERE EXISTS (SELECT FROM health_snapshots h WHERE h.at > s.above AND h.at <= s.until) ORDER BY 1",
    )
    .bind(slots)
    .bind(slot_s)
    .fetch_all(conn)
    .await
}

/// The newest status and when it was recorded.
pub async fn latest_status(conn: &mut PgConnection) -> sqlx::Result<Option<(Instant, String)>> {
    sqlx::query_as("SELECT at, status FROM health_snapshots ORDER BY at DESC LIMIT 1").fetch_optional(conn).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::rollups::{Window, roll_up};

    const WORLD: &str = "
        INSERT INTO persons (user_id, simulated) VALUES ('a', true), ('b', false);
        INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
        SELECT u, m, 'whoop', current_date - d, 1, '', 1, 't', now(), gen_random_uuid()
          FROM (VALUES ('a'), ('b')) AS p (u), (VALUES ('steps'), ('recovery_score')) AS n (m), generate_series(0, 9) AS d WHERE d <> 2;
        INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
        SELECT user_id, metric_name, source, measurement_date, CASE user_id WHEN 'a' THEN 30 ELSE 90 END, 0.5, 0.4, 0.6, '{}', 1, 1
          FROM unified_metrics WHERE metric_name = 'steps';
        INSERT INTO connections (terra_user_id, user_id, provider, state, last_data_at) VALUES
          ('1', 'a', 'whoop', 'active', now() - interval '3 days'), ('2', 'b', 'whoop', 'active', now()), ('3', 'b', 'oura', 'error', NULL);
        INSERT INTO gateway_counts (minute, outcome, node, count) VALUES
          (date_trunc('minute', now()), 'accepted', 'n1', 5), (date_trunc('minute', now()), 'accepted', 'n2', 2),
          (date_trunc('minute', now()) - interval '25 hours', 'accepted', 'n1', 1000);
        INSERT INTO health_snapshots (at, status, checks) VALUES (now() - interval '20 minutes', 'unhealthy', '{}'), (now(), 'healthy', '{}');";

    #[tokio::test]
    async fn aggregates_count_unknown_apart_and_show_gaps() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        for window in [Window::Week, Window::Quarter] {
            roll_up(t.db.service(), window, 0).await.unwrap();
        }
        let mut conn = t.db.service().acquire().await.unwrap();
        let q = quality(&mut conn, 7).await.unwrap();
        assert_eq!((q.scored, q.excellent, q.good, q.fair, q.poor, q.unknown, q.persons), (12, 6, 0, 0, 6, 12, 2));
        assert_eq!(q.average.map(f64::round), Some(60.0));
        let days = trend(&mut conn, 7, "steps").await.unwrap();
        assert_eq!(days.len(), 7, "every day is there");
        assert_eq!(days.iter().map(|d| d.average.is_some()).collect::<Vec<_>>(), [true, true, true, true, false, true, true]);
        assert!(trend(&mut conn, 7, "recovery_score").await.unwrap().iter().all(|d| d.average.is_none() && d.values == 0));
        assert_eq!(least_trusted(&mut conn, 1).await.unwrap(), ["a"]);
        let p = providers(&mut conn).await.unwrap();
        assert_eq!(
            p.iter().map(|p| (p.provider.as_str(), p.active, p.broken, p.silent)).collect::<Vec<_>>(),
            [("oura", 0, 1, 0), ("whoop", 2, 0, 1)]
        );
    }

    #[tokio::test]
    async fn the_day_of_the_gateway_ends_after_24_hours_and_status_needs_no_login() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let mut tx = t.db.begin_service().await.unwrap();
        assert_eq!(gateway_day(&mut tx).await.unwrap(), [("accepted".to_owned(), 7)]);
        let minutes = arrivals(&mut tx).await.unwrap();
        assert_eq!((minutes.len(), minutes.iter().sum::<i64>()), (60, 7));
        assert!(minutes[58..].contains(&7), "of this minute, or of the one before if it ended just now: {minutes:?}");
        assert_eq!(presence(&mut tx).await.unwrap(), (true, 1));
        assert_eq!(switch(&mut tx, "advanced_metrics").await.unwrap(), None);
        let mut anon = t.db.begin_anonymous().await.unwrap();
        let slots = uptime(&mut anon, 4, 900).await.unwrap();
        assert_eq!(slots.iter().map(|s| (s.slot, s.worst)).collect::<Vec<_>>(), [(2, 2), (3, 0)]);
        assert_eq!(latest_status(&mut anon).await.unwrap().map(|(_, s)| s).as_deref(), Some("healthy"));
    }

    #[tokio::test]
    async fn dead_letters_are_counted_and_their_table_may_be_missing() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql("INSERT INTO background_jobs_dlq (original_job_id, type, payload, fingerprint) SELECT gen_random_uuid(), 'x', '{}', 'f' FROM generate_series(1, 3)")
            .execute(t.db.owner())
            .await
            .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let of = |fingerprint: &str| crate::store::jobs::settle::DeadFilter { fingerprint: Some(fingerprint.into()), ..Default::default() };
        assert_eq!(crate::store::letter_lists::discard(&mut conn, &of("other"), 10, "").await.unwrap(), 0);
        assert_eq!(open_dead_letters(&mut conn).await.unwrap(), Some(3));
        assert_eq!(crate::store::letter_lists::discard(&mut conn, &of("f"), 10, "").await.unwrap(), 3);
        assert_eq!(open_dead_letters(&mut conn).await.unwrap(), Some(0));
        sqlx::raw_sql("DROP TABLE background_jobs_dlq").execute(t.db.owner()).await.unwrap();
        assert_eq!(open_dead_letters(&mut conn).await.unwrap(), None);
    }
}
