//! How many jobs there are, without counting them.
//!
//! Every statement that moves jobs appends the difference to `job_count_deltas`; the leader folds them into
//! `job_counts` and `job_days`, and while there is none (no worker runs), whoever measures health does. A reader adds
//! the few that are not folded yet, so it is exact at any moment.

use crate::model::JobState;
use sqlx::PgConnection;

/// Jobs of a kind in a state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct Count {
    /// The kind.
    pub kind: String,
    /// The state's word.
    pub status: String,
    /// How many: now, for the hot states; still in history, for the finished ones.
    pub count: i64,
}

impl Count {
    /// The state, if the word is one of ours.
    pub fn state(&self) -> Option<JobState> {
        JobState::from_word(&self.status)
    }
}

/// All counts, exact, by kind and state.
pub async fn counts(conn: &mut PgConnection) -> sqlx::Result<Vec<Count>> {
    sqlx::query_as(
        "SELECT type AS kind, status, sum(n)::bigint AS count
           FROM (SELECT type, status, count AS n FROM job_counts UNION ALL SELECT type, status, delta FROM job_count_deltas) c
          GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2",
    )
    .fetch_all(conn)
    .await
}

/// The most that is folded at once, so that what gathered for long takes several short turns instead of a long one.
pub const A_TURN: u64 = 50_000;

/// Folds what the statements appended, at most so many of them (`None`: all). Two at the same time harm nothing.
pub async fn fold(conn: &mut PgConnection, most: Option<u64>) -> sqlx::Result<u64> {
    let n: i64 = sqlx::query_scalar(
        "WITH taken AS (DELETE FROM job_count_deltas WHERE ctid = ANY (ARRAY(SELECT ctid FROM job_count_deltas LIMIT $1))
                        RETURNING type, status, delta, day, seconds, max_seconds),
         folded AS (
           INSERT INTO job_counts AS c (type, status, count) SELECT type, status, sum(delta) FROM taken GROUP BY 1, 2 ORDER BY 1, 2
           ON CONFLICT (type, status) DO UPDATE SET count = c.count + excluded.count),
         days AS (
           INSERT INTO job_days AS d (day, type, status, count, seconds, max_seconds)
           SELECT day, type, status, sum(delta), sum(seconds), max(max_seconds) FROM taken WHERE day IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
           ON CONFLICT (day, type, status) DO UPDATE
              SET count = d.count + excluded.count, seconds = d.seconds + excluded.seconds, max_seconds = greatest(d.max_seconds, excluded.max_seconds))
         SELECT count(*) FROM taken",
    )
    .bind(most.map(u64::cast_signed))
    .fetch_one(conn)
    .await?;
    Ok(n.unsigned_abs())
}

/// Folds at most so many if no worker leads: where only deliveries are taken in, what they append would grow for as long,
/// and every look at the counts with it. The commit need not wait for the disk: what is lost with the server is folded again.
pub async fn fold_unled(conn: &mut PgConnection, most: u64) -> sqlx::Result<u64> {
    let unled: bool = sqlx::query_scalar(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         SELECT NOT EXISTS (SELECT FROM leases WHERE name = 'jobs' AND expires_at > now()) FROM lazily",
    )
    .fetch_one(&mut *conn)
    .await?;
    if unled { fold(conn, Some(most)).await } else { Ok(0) }
}

/// Counts the hot part anew and mends what hand-written SQL (a DELETE, an UPDATE of status) had moved past the
/// counts. One statement, one snapshot, so deltas that are not folded yet are not lost. For the leader.
pub async fn recount(conn: &mut PgConnection) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "WITH hot AS (SELECT type, status, count(*) AS n FROM background_jobs GROUP BY 1, 2),
              known AS (SELECT type, status, sum(n)::bigint AS n FROM (SELECT type, status, count AS n FROM job_counts
                          UNION ALL SELECT type, status, delta FROM job_count_deltas) c
                         WHERE status IN ('pending', 'processing', 'failed') GROUP BY 1, 2)
         INSERT INTO job_count_deltas (type, status, delta)
         SELECT coalesce(h.type, k.type), coalesce(h.status, k.status), coalesce(h.n, 0) - coalesce(k.n, 0)
           FROM hot h FULL JOIN known k ON k.type = h.type AND k.status = h.status
          WHERE coalesce(h.n, 0) <> coalesce(k.n, 0) AND coalesce(h.status, k.status) IN ('pending', 'processing', 'failed')",
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// How long the oldest job that could run now has waited, in seconds, by kind. Looks at the head of each lane only.
///
/// What a person holds back is left out, or a pause would look like missing workers: a paused kind, one whose places are
/// all taken, and one whose rate is being used. The rate counts as used for a minute and a step after a start, and places
/// as taken for a minute after they last were, so that the moment between two jobs is none. A limited kind of which
/// nothing starts any more does wait.
pub async fn waiting(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, f64)>> {
    let kinds: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT type FROM (SELECT type FROM job_counts WHERE status = 'pending' UNION ALL SELECT type FROM job_count_deltas WHERE status = 'pending') t
          WHERE type NOT IN (
            SELECT type FROM job_kinds k
             WHERE paused OR next_start > now() - make_interval(secs => 60 + coalesce(60.0 / per_minute, 0))
                OR max_running <= (SELECT coalesce(sum(cardinality(ids)), 0) FROM job_leases l WHERE l.type = k.type))",
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query_as(
        "SELECT k.kind, max(extract(epoch FROM now() - h.head))::double precision
           FROM unnest($1::text[]) AS k(kind)
           CROSS JOIN (SELECT n::int2 AS priority FROM generate_series(0, 9) AS n) p
           CROSS JOIN LATERAL (
             SELECT scheduled_at AS head FROM background_jobs
              WHERE failed_at IS NULL AND type = k.kind AND priority = p.priority AND status = 'pending' AND scheduled_at <= now()
              ORDER BY scheduled_at, id LIMIT 1) h
          GROUP BY 1 ORDER BY 2 DESC",
    )
    .bind(kinds)
    .fetch_all(conn)
    .await
}

/// Finished jobs of a kind on a day of creation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct DayStats {
    /// Day of creation, UTC.
    pub date: chrono::NaiveDate,
    /// The kind.
    pub job_type: String,
    /// The state's word.
    pub status: String,
    /// How many.
    pub count: i64,
    /// Mean duration in seconds, where they ran.
    pub avg_duration_seconds: Option<f64>,
    /// Longest duration in seconds.
    pub max_duration_seconds: Option<f64>,
}

/// The last seven days, newest first: the view `job_processing_stats`.
pub async fn days(conn: &mut PgConnection) -> sqlx::Result<Vec<DayStats>> {
    sqlx::query_as("SELECT date, job_type, status, count, avg_duration_seconds, max_duration_seconds FROM job_processing_stats ORDER BY date DESC, job_type, status")
        .fetch_all(conn)
        .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn what_is_folded_in_turns_counts_once_and_is_exact_in_between() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO job_count_deltas (type, status, delta, day, seconds, max_seconds)
               SELECT 'a', 'completed', n, current_date, n, n FROM generate_series(1, 5) AS n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        for taken in [2, 2, 1, 0] {
            assert_eq!(fold(&mut conn, Some(2)).await.unwrap(), taken);
            assert_eq!(counts(&mut conn).await.unwrap(), [Count { kind: "a".into(), status: "completed".into(), count: 15 }]);
        }
        let day: (i64, f64, f64) = sqlx::query_as("SELECT count, seconds, max_seconds FROM job_days").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(day, (15, 15.0, 5.0));
    }

    #[tokio::test]
    async fn the_mean_of_a_day_is_of_those_that_ran_and_the_longest_of_all() {
        let t = testing::database().await;
        // Folded, appended since, and in the queue; of some no duration is known.
        sqlx::raw_sql(
            "INSERT INTO job_days (day, type, status, count, seconds, max_seconds)
               SELECT (now() AT TIME ZONE 'UTC')::date - ago, 'a', 'completed', n, s, m FROM (VALUES (0, 3, 6, 4), (8, 9, 90, 90)) AS v (ago, n, s, m);
             INSERT INTO job_count_deltas (type, status, delta, day, seconds, max_seconds)
               SELECT type, status, n, (now() AT TIME ZONE 'UTC')::date, s, m
                 FROM (VALUES ('a', 'completed', 2, 14, 9), ('a', 'completed', 5, NULL, NULL), ('b', 'cancelled', 4, NULL, NULL)) AS v (type, status, n, s, m);
             INSERT INTO background_jobs (type, payload) VALUES ('a', '{}'), ('a', '{}')",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let days = days(&mut t.db.service().acquire().await.unwrap()).await.unwrap();
        let rows: Vec<_> = days
            .iter()
            .map(|d| (d.job_type.as_str(), d.status.as_str(), d.count, d.avg_duration_seconds, d.max_duration_seconds))
            .collect();
        assert_eq!(
            rows,
            [("a", "completed", 10, Some(4.0), Some(9.0)), ("a", "pending", 2, None, None), ("b", "cancelled", 4, None, None)]
        );
    }
}
