//! Adding up the scores, so that no page reads millions of them. For the leader; harmless twice and at any time.
//!
//! A roll-up is one statement over a window of measured days. It writes what differs, so that a quiet system writes
//! nothing, and it is skipped for ten minutes while no reading or score is written (silence grows by itself). It may take at most a twentieth
//! of the time: after one that took a second, the next begins twenty seconds later. What is kept for each person is added up for some
//! persons at a time, with a rest after each, so that a second of work does not take a processor from the deliveries for a second.

use sqlx::PgPool;
use std::time::{Duration, Instant};

/// How much is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last seven days, each person's average over them, and the providers' connections.
    Week,
    /// The ninety days that trends show.
    Quarter,
    /// In which order the clients stand; of all days, after the week.
    Roster,
}

impl Window {
    const fn name(self) -> &'static str {
        match self {
            Window::Week => "scores of a week",
            Window::Quarter => "scores of a quarter",
            Window::Roster => "order of clients",
        }
    }

    /// The tables it is made from.
    const fn sources(self) -> &'static [&'static str] {
        match self {
            Window::Week | Window::Quarter => &["public.unified_metrics", "public.metric_confidence_cache", "public.connections"],
            Window::Roster => &[
                "public.unified_metrics",
                "public.metric_confidence_cache",
                "public.connections",
                "public.source_choices",
                "public.score_advice",
                "public.person_scores",
            ],
        }
    }

    const fn days(self) -> i32 {
        match self {
            Window::Week | Window::Roster => 7,
            Window::Quarter => 90,
        }
    }

    /// Never more often than this.
    const fn at_most_every(self) -> Duration {
        match self {
            Window::Week | Window::Roster => Duration::from_secs(2),
            Window::Quarter => Duration::from_secs(60),
        }
    }
}

/// Rows ever written to some tables, as the server counts.
const WRITTEN: &str =
    "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_all_tables WHERE relid = ANY($1::text[]::regclass[])";

/// A value newer than its day (a clock of the future) is in no window; it counts when its day comes.
const DAYS: &str = "
  WITH fresh AS (
    SELECT m.measurement_date, m.metric_name, coalesce(sum(c.confidence_score), 0)::bigint AS points,
           count(*) FILTER (WHERE c.confidence_score >= 80) AS excellent,
           count(*) FILTER (WHERE c.confidence_score BETWEEN 60 AND 79) AS good,
           count(*) FILTER (WHERE c.confidence_score BETWEEN 40 AND 59) AS fair,
           count(*) FILTER (WHERE c.confidence_score < 40) AS poor,
           count(*) FILTER (WHERE c.confidence_score IS NULL) AS unknown,
           count(*) FILTER (WHERE c.updated_at < m.updated_at) AS stale, max(c.updated_at) AS newest
      FROM unified_metrics m LEFT JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date)
     WHERE m.measurement_date > current_date - $1 AND m.measurement_date <= current_date GROUP BY 1, 2),
  gone AS (
    DELETE FROM score_days s WHERE s.measurement_date > current_date - $1
       AND NOT EXISTS (SELECT FROM fresh f WHERE f.measurement_date = s.measurement_date AND f.metric_name = s.metric_name) RETURNING 1),
  written AS (
    INSERT INTO score_days AS s SELECT * FROM fresh ORDER BY 1, 2
    ON CONFLICT (measurement_date, metric_name) DO UPDATE
       SET (points, excellent, good, fair, poor, unknown, stale, newest)
         = (excluded.points, excluded.excellent, excluded.good, excluded.fair, excluded.poor, excluded.unknown, excluded.stale, excluded.newest)
     WHERE (s.points, s.excellent, s.good, s.fair, s.poor, s.unknown, s.stale, s.newest)
        IS DISTINCT FROM (excluded.points, excluded.excellent, excluded.good, excluded.fair, excluded.poor, excluded.unknown, excluded.stale, excluded.newest)
    RETURNING 1)
  SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM written)";

/// Of the persons after `$1`, up to `$2`.
const PERSONS: &str = "
  WITH newest AS (SELECT user_id, max(measurement_date) AS day FROM unified_metrics WHERE user_id > $1 AND user_id <= $2 AND measurement_date <= current_date GROUP BY user_id),
  fresh AS (
    SELECT n.user_id, n.day, avg(c.confidence_score)::float8 AS average,
           count(*) FILTER (WHERE c.confidence_score >= 80) AS excellent,
           count(*) FILTER (WHERE c.confidence_score BETWEEN 60 AND 79) AS good,
           count(*) FILTER (WHERE c.confidence_score BETWEEN 40 AND 59) AS fair,
           count(*) FILTER (WHERE c.confidence_score < 40) AS poor
      FROM newest n JOIN metric_confidence_cache c ON c.user_id = n.user_id AND c.measurement_date > n.day - $3 AND c.measurement_date <= n.day
     GROUP BY 1, 2),
  gone AS (DELETE FROM person_scores p WHERE user_id > $1 AND user_id <= $2 AND NOT EXISTS (SELECT FROM fresh f WHERE f.user_id = p.user_id) RETURNING 1),
  written AS (
    INSERT INTO person_scores AS p SELECT * FROM fresh ORDER BY 1
    ON CONFLICT (user_id) DO UPDATE SET (newest, average, excellent, good, fair, poor)
      = (excluded.newest, excluded.average, excluded.excellent, excluded.good, excluded.fair, excluded.poor)
     WHERE (p.newest, p.average, p.excellent, p.good, p.fair, p.poor)
        IS DISTINCT FROM (excluded.newest, excluded.average, excluded.excellent, excluded.good, excluded.fair, excluded.poor) RETURNING 1)
  SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM written)";

const PROVIDERS: &str = "
  WITH fresh AS (
    SELECT provider, count(*) FILTER (WHERE state IN ('active', 'reauthorised')) AS active,
           count(*) FILTER (WHERE state IN ('error', 'revoked')) AS broken,
           count(*) FILTER (WHERE state IN ('active', 'reauthorised') AND coalesce(last_data_at, created_at) < now() - interval '48 hours') AS silent,
           max(last_data_at) AS last_data_at
      FROM connections GROUP BY provider),
  gone AS (DELETE FROM provider_states p WHERE NOT EXISTS (SELECT FROM fresh f WHERE f.provider = p.provider) RETURNING 1),
  written AS (
    INSERT INTO provider_states AS p SELECT * FROM fresh ORDER BY 1
    ON CONFLICT (provider) DO UPDATE SET (active, broken, silent, last_data_at) = (excluded.active, excluded.broken, excluded.silent, excluded.last_data_at)
     WHERE (p.active, p.broken, p.silent, p.last_data_at) IS DISTINCT FROM (excluded.active, excluded.broken, excluded.silent, excluded.last_data_at)
    RETURNING 1)
  SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM written)";

/// Whether it is time: something was written, or the day changed, and the last one is long enough ago.
async fn due(pool: &PgPool, window: Window) -> sqlx::Result<Option<i64>> {
    let written: i64 = sqlx::query_scalar(WRITTEN).bind(window.sources()).fetch_one(pool).await?;
    let waits: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM rollups WHERE name = $1
           AND (written = $2 AND through = current_date AND taken_at > now() - interval '10 minutes' OR taken_at > now() - make_interval(secs => greatest($3, seconds * 20))))",
    )
    .bind(window.name())
    .bind(written)
    .bind(window.at_most_every().as_secs_f64())
    .fetch_one(pool)
    .await?;
    Ok((!waits).then_some(written))
}

/// Adds up if it is time; returns how many rows differed from what was known, `None` when it was not time.
///
/// # Errors
/// The database's; then what was not added up yet stays as it was, and the next round begins anew.
pub async fn roll_up_when_due(pool: &PgPool, window: Window) -> sqlx::Result<Option<i64>> {
    match due(pool, window).await? {
        Some(written) => roll_up(pool, window, written).await.map(Some),
        None => Ok(None),
    }
}

/// Persons that are added up in one statement: some milliseconds to a tenth of a second.
const SLICE: i64 = 200;

/// After a slice, so many times what it took is left to others.
const REST: u32 = 4;

/// Bounds of the slices, as in `user_id > a AND user_id <= b`, over everybody who has a reading or stands in a table of sums.
const BOUNDS: &str = "
  SELECT user_id FROM (SELECT user_id, row_number() OVER (ORDER BY user_id) AS n FROM persons) p WHERE n % $1 = 0
  UNION SELECT max(user_id) FROM unified_metrics UNION SELECT max(user_id) FROM persons UNION SELECT max(user_id) FROM person_scores UNION SELECT max(user_id) FROM roster
  ORDER BY 1 NULLS LAST";

/// What adding up did: how many rows differed, and how long it worked, without its rests.
#[derive(Default)]
struct Work {
    changed: i64,
    took: Duration,
}

impl Work {
    async fn add(&mut self, statement: impl Future<Output = sqlx::Result<i64>>) -> sqlx::Result<Duration> {
        let begun = Instant::now();
        self.changed += statement.await?;
        let took = begun.elapsed();
        self.took += took;
        Ok(took)
    }

    /// A statement over all persons, slice by slice, each a transaction of its own.
    async fn by_slices(&mut self, pool: &PgPool, sql: &'static str, days: Option<i32>, hurry: bool) -> sqlx::Result<()> {
        let bounds: Vec<Option<String>> = sqlx::query_scalar(BOUNDS).bind(SLICE).fetch_all(pool).await?;
        let mut after = String::new();
        for upto in bounds.into_iter().flatten() {
            let query = sqlx::query_scalar(sql).bind(&after).bind(&upto);
            let query = if let Some(days) = days { query.bind(days) } else { query };
            let took = self.add(query.fetch_one(pool)).await?;
            if !hurry && took > Duration::from_millis(5) {
                tokio::time::sleep(took * REST).await;
            }
            after = upto;
        }
        Ok(())
    }
}

/// Adds up now.
///
/// # Errors
/// The database's; then what was not added up yet stays as it was, and the next round begins anew.
pub async fn roll_up(pool: &PgPool, window: Window, written: i64) -> sqlx::Result<i64> {
    // Two at once would only do the same work twice. This transaction only holds the lock: it has no snapshot that others'
    // cleaning up would wait for.
    let mut lock = pool.begin().await?;
    let alone: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtext($1))").bind(window.name()).fetch_one(&mut *lock).await?;
    if !alone {
        return Ok(0);
    }
    // The first time there is nothing yet that a page could show.
    let hurry: bool =
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM rollups WHERE name = $1)").bind(window.name()).fetch_one(pool).await?;
    let days = window.days();
    let mut work = Work::default();
    match window {
        Window::Roster => work.by_slices(pool, super::roster::ROLL_UP, None, hurry).await?,
        Window::Week => {
            work.add(sqlx::query_scalar(DAYS).bind(days).fetch_one(pool)).await?;
            work.add(sqlx::query_scalar(PROVIDERS).fetch_one(pool)).await?;
            work.by_slices(pool, PERSONS, Some(days), hurry).await?;
        }
        Window::Quarter => {
            work.add(sqlx::query_scalar(DAYS).bind(days).fetch_one(pool)).await?;
            sqlx::query("DELETE FROM score_days WHERE measurement_date <= current_date - $1").bind(days).execute(pool).await?;
        }
    }
    sqlx::query(
        "INSERT INTO rollups (name, taken_at, seconds, written, through, persons)
         SELECT $1, now(), $2, $3, current_date, count(*) FROM person_scores WHERE newest > current_date - $4
         ON CONFLICT (name) DO UPDATE SET taken_at = excluded.taken_at, seconds = excluded.seconds, written = excluded.written,
           through = excluded.through, persons = excluded.persons",
    )
    .bind(window.name())
    .bind(work.took.as_secs_f64())
    .bind(written)
    .bind(window.days())
    .execute(pool)
    .await?;
    lock.rollback().await?;
    Ok(work.changed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::{dashboard, testing};

    const ADD: &str = "
      INSERT INTO persons (user_id) VALUES ('a'), ('b') ON CONFLICT DO NOTHING;
      INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
      SELECT u, 'steps', 'whoop', current_date - d, 1, '', 1, 't', now(), gen_random_uuid() FROM (VALUES ('a'), ('b')) AS p (u), generate_series(0, 40) AS d;
      INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
      SELECT user_id, metric_name, source, measurement_date, CASE user_id WHEN 'a' THEN 30 ELSE 90 END, 0.5, 0.4, 0.6, '{}', 1, 1 FROM unified_metrics;";

    #[tokio::test]
    async fn a_roll_up_says_what_the_rows_say_after_every_change() {
        let t = testing::database().await;
        let pool = t.db.service();
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(roll_up(pool, Window::Week, 0).await.unwrap(), 0);
        sqlx::raw_sql(ADD).execute(t.db.owner()).await.unwrap();
        assert_eq!(roll_up(pool, Window::Week, 0).await.unwrap(), 9, "seven days, two persons");
        assert_eq!(roll_up(pool, Window::Week, 0).await.unwrap(), 0, "nothing differs, nothing is written");
        assert_eq!(roll_up(pool, Window::Quarter, 0).await.unwrap(), 34);
        sqlx::raw_sql("UPDATE metric_confidence_cache SET confidence_score = 100 WHERE user_id = 'a' AND measurement_date = current_date;
                       DELETE FROM unified_metrics WHERE user_id = 'b' AND measurement_date = current_date - 1;
                       DELETE FROM metric_confidence_cache WHERE user_id = 'b' AND measurement_date = current_date - 1;
                       DELETE FROM unified_metrics WHERE measurement_date = current_date - 2; DELETE FROM metric_confidence_cache WHERE measurement_date = current_date - 2")
            .execute(t.db.owner()).await.unwrap();
        roll_up(pool, Window::Week, 0).await.unwrap();
        let q = dashboard::quality(&mut conn, 7).await.unwrap();
        assert_eq!((q.excellent, q.poor, q.scored, q.unknown, q.persons), (6, 5, 11, 0, 2));
        assert_eq!(dashboard::least_trusted(&mut conn, 1).await.unwrap(), ["a"]);
    }

    #[tokio::test]
    async fn everybody_is_in_one_slice_also_who_left_or_comes_last() {
        let t = testing::database().await;
        let pool = t.db.service();
        let persons = 2 * SLICE + 50;
        let sql = |text: String| sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(t.db.owner());
        sql(format!(
            "INSERT INTO persons (user_id) SELECT 'p' || lpad(n::text, 4, '0') FROM generate_series(1, {persons}) AS n;
             INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
             SELECT user_id, 'steps', 'whoop', current_date, 1, '', 1, 't', now(), gen_random_uuid() FROM persons;
             INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
             SELECT user_id, 'steps', 'whoop', current_date, 70, 0.7, 0.6, 0.8, '{{}}', 1, 1 FROM persons;"
        ))
        .await
        .unwrap();
        // One line of the day's sum, and one a person.
        assert_eq!(roll_up(pool, Window::Week, 0).await.unwrap(), 1 + persons);
        // One a person and metric; the person's own stood there already and is brought up to date.
        assert_eq!(roll_up(pool, Window::Roster, 0).await.unwrap(), 2 * persons);
        assert_eq!(roll_up(pool, Window::Roster, 0).await.unwrap(), 0);
        // The first and the last, those on both sides of a bound; and one loses all readings.
        let edges = [1, SLICE, SLICE + 1, 2 * SLICE, 2 * SLICE + 1, persons].map(|n| format!("'p{n:04}'")).join(", ");
        sql(format!(
            "UPDATE metric_confidence_cache SET confidence_score = 20 WHERE user_id IN ({edges});
             DELETE FROM unified_metrics WHERE user_id = 'p0007'; DELETE FROM metric_confidence_cache WHERE user_id = 'p0007';"
        ))
        .await
        .unwrap();
        assert_eq!(roll_up(pool, Window::Week, 0).await.unwrap(), 1 + 6 + 1);
        // Two rows of each that changed; of the one without readings one went and one says so.
        assert_eq!(roll_up(pool, Window::Roster, 0).await.unwrap(), 2 * 6 + 2);
        let mut conn = pool.acquire().await.unwrap();
        let mut worst = dashboard::least_trusted(&mut conn, 6).await.unwrap();
        worst.sort();
        assert_eq!(worst.iter().map(|u| format!("'{u}'")).collect::<Vec<_>>().join(", "), edges);
    }

    /// By the day that was measured: average and tiers, each score in the tier that its badge shows.
    #[tokio::test]
    async fn data_quality_trends_give_the_average_and_the_tiers_of_each_day_and_metric() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
             SELECT 'p' || score, 'steps', 'whoop', date '2026-03-01', score, score / 100.0, 0, 1, '{}'::jsonb, 1, 1 FROM unnest(ARRAY[0, 39, 40, 59, 60, 79, 80, 100]) AS score
             UNION ALL SELECT 'q', m, s, date '2026-03-02', 70, 0.7, 0, 1, '{}'::jsonb, 1, 1 FROM (VALUES ('steps', 'whoop'), ('steps', 'garmin'), ('weight', 'withings')) AS v (m, s)",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let rows: Vec<(String, String, f64, i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT date::text, metric_name, avg_confidence, metrics_count, excellent_count, good_count, fair_count, poor_count
               FROM data_quality_trends ORDER BY date, metric_name",
        )
        .fetch_all(t.db.service())
        .await
        .unwrap();
        let day =
            |date: &str, metric: &str, average, n: [i64; 5]| (date.to_owned(), metric.to_owned(), average, n[0], n[1], n[2], n[3], n[4]);
        assert_eq!(
            rows,
            [
                day("2026-03-01", "steps", (39 + 40 + 59 + 60 + 79 + 80 + 100) as f64 / 8.0, [8, 2, 2, 2, 2]),
                day("2026-03-02", "steps", 70.0, [2, 0, 2, 0, 0]),
                day("2026-03-02", "weight", 70.0, [1, 0, 1, 0, 0]),
            ]
        );
        let tiers = [0, 39, 40, 59, 60, 79, 80, 100].map(|s| crate::model::Badge::of(Some(s)).key());
        assert_eq!(tiers, ["poor", "poor", "fair", "fair", "good", "good", "excellent", "excellent"], "as the view has them");
    }

    #[tokio::test]
    async fn it_is_not_done_again_without_news_nor_too_often() {
        let t = testing::database().await;
        let pool = t.db.service();
        assert_eq!(roll_up_when_due(pool, Window::Week).await.unwrap(), Some(0), "the first is always due");
        assert_eq!(roll_up_when_due(pool, Window::Week).await.unwrap(), None);
        let age = |seconds: f64| {
            sqlx::query("UPDATE rollups SET taken_at = now() - interval '30 seconds', seconds = $1, written = -1")
                .bind(seconds)
                .execute(pool)
        };
        age(2.0).await.unwrap();
        assert_eq!(roll_up_when_due(pool, Window::Week).await.unwrap(), None, "two seconds of work earn forty of rest");
        age(1.0).await.unwrap();
        assert_eq!(roll_up_when_due(pool, Window::Week).await.unwrap(), Some(0));
        sqlx::raw_sql("UPDATE rollups SET taken_at = now() - interval '1 day', through = current_date - 1").execute(pool).await.unwrap();
        assert_eq!(roll_up_when_due(pool, Window::Week).await.unwrap(), Some(0), "a new day moves the window");
    }
}
