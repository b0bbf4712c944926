//! Dead letters by group, as the administrator deals with them. The table may be missing: then there are none.

use super::{dead_letters::exists, jobs::into_history};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Groups are made of this many of the newest open letters.
pub const WINDOW: i64 = 100_000;

/// Open letters of one kind whose errors differ only in ids and numbers.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Group {
    /// The fingerprint of the error.
    pub fingerprint: String,
    /// The kind of job.
    pub kind: String,
    /// The newest error.
    pub error: Option<String>,
    /// exhausted, permanent or lost: of the newest.
    pub reason_class: String,
    /// How many.
    pub open: i64,
    /// The first death.
    pub first_at: DateTime<Utc>,
    /// The newest.
    pub last_at: DateTime<Utc>,
}

/// Groups of the open letters since a time, the biggest first, and how many letters they were made of.
///
/// # Errors
/// The database's.
pub async fn groups(conn: &mut PgConnection, since: Option<DateTime<Utc>>, kind: Option<&str>, limit: i64) -> sqlx::Result<Vec<Group>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT fingerprint, type AS kind, (array_agg(left(error, 400) ORDER BY failed_at DESC))[1] AS error,
                (array_agg(reason_class ORDER BY failed_at DESC))[1] AS reason_class,
                count(*) AS open, min(failed_at) AS first_at, max(failed_at) AS last_at
           FROM (SELECT fingerprint, type, error, reason_class, failed_at FROM background_jobs_dlq
                  WHERE retried = false AND discarded_at IS NULL AND ($1::timestamptz IS NULL OR failed_at >= $1) AND ($2::text IS NULL OR type = $2)
                  ORDER BY failed_at DESC LIMIT $3) l
          GROUP BY 1, 2 ORDER BY open DESC, last_at DESC LIMIT $4",
    )
    .persistent(false)
    .bind(since)
    .bind(kind)
    .bind(WINDOW)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// One open letter in a list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    /// The letter.
    pub id: Uuid,
    /// Its job; it may be gone.
    pub original_job_id: Uuid,
    /// The kind.
    pub kind: String,
    /// The beginning of the error.
    pub error: Option<String>,
    /// exhausted, permanent or lost.
    pub reason_class: String,
    /// Attempts made.
    pub attempts: i32,
    /// Whose data it worked on.
    pub user_id: Option<String>,
    /// When it died.
    pub failed_at: DateTime<Utc>,
}

/// The open letters of a group, newest first, after the given one.
///
/// # Errors
/// The database's.
pub async fn of_group(
    conn: &mut PgConnection,
    fingerprint: &str,
    kind: &str,
    since: Option<DateTime<Utc>>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT id, original_job_id, type AS kind, left(error, 400) AS error, reason_class, attempts, user_id, failed_at FROM background_jobs_dlq
          WHERE fingerprint = $1 AND type = $2 AND retried = false AND discarded_at IS NULL AND ($3::timestamptz IS NULL OR failed_at >= $3)
            AND ($4::timestamptz IS NULL OR (failed_at, id) < ($4, $5))
          ORDER BY failed_at DESC, id DESC LIMIT $6",
    )
    .persistent(false)
    .bind(fingerprint)
    .bind(kind)
    .bind(since)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// Marks the open letters of these jobs as thrown away; returns how many.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn discard_of_jobs(conn: &mut PgConnection, jobs: &[Uuid], note: &str) -> sqlx::Result<u64> {
    if jobs.is_empty() || !exists(conn).await? {
        return Ok(0);
    }
    let done = sqlx::query(
        "UPDATE background_jobs_dlq SET discarded_at = now(), note = $2 WHERE original_job_id = ANY ($1) AND retried = false AND discarded_at IS NULL",
    )
    .bind(jobs)
    .bind(note)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

const DISCARD: &str = concat!(
    "WITH letters AS (
       SELECT id, original_job_id FROM background_jobs_dlq
        WHERE fingerprint = $1 AND type = $2 AND retried = false AND discarded_at IS NULL AND failed_at <= $3 AND ($4::timestamptz IS NULL OR failed_at >= $4)
        ORDER BY failed_at DESC, id DESC LIMIT $5 FOR UPDATE SKIP LOCKED),
     marked AS (
       UPDATE background_jobs_dlq d SET discarded_at = now(), note = $6 FROM letters l WHERE d.id = l.id RETURNING d.id),
     gone AS (DELETE FROM background_jobs WHERE id IN (SELECT original_job_id FROM letters) AND status = 'failed' RETURNING *), ",
    into_history!("gone", "cancelled", "error"),
    " SELECT count(*) FROM marked"
);

/// Throws away at most `limit` open letters of a group that died until a time: marked with a note, and their dead jobs
/// closed as cancelled, so that no retry brings them back. Returns how many letters.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn discard_group(
    conn: &mut PgConnection,
    fingerprint: &str,
    kind: &str,
    until: DateTime<Utc>,
    since: Option<DateTime<Utc>>,
    limit: i64,
    note: &str,
) -> sqlx::Result<i64> {
    if !exists(conn).await? {
        return Ok(0);
    }
    sqlx::query_scalar(DISCARD).bind(fingerprint).bind(kind).bind(until).bind(since).bind(limit).bind(note).fetch_one(conn).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::{jobs::counts, testing};

    #[tokio::test]
    async fn a_group_is_thrown_away_with_its_jobs_and_the_others_stay() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs (type, status, payload, error, failed_at) SELECT 'a', 'processing', '{}', 'Row ' || n || ' is bad', NULL FROM generate_series(1, 5) n;
             INSERT INTO background_jobs (type, status, payload, error, failed_at) SELECT 'a', 'processing', '{}', 'Other', NULL FROM generate_series(1, 2) n;
             UPDATE background_jobs SET status = 'failed', failed_at = now();
             INSERT INTO job_count_deltas (type, status, delta) VALUES ('a', 'failed', 7), ('a', 'processing', -7)",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let groups_now = groups(&mut conn, None, None, 10).await.unwrap();
        assert_eq!(groups_now.iter().map(|g| g.open).collect::<Vec<_>>(), [5, 2]);
        assert!(groups(&mut conn, None, Some("b"), 10).await.unwrap().is_empty());
        let g = &groups_now[0];
        let first = of_group(&mut conn, &g.fingerprint, "a", None, None, 3).await.unwrap();
        let rest = of_group(&mut conn, &g.fingerprint, "a", None, first.last().map(|l| (l.failed_at, l.id)), 9).await.unwrap();
        assert_eq!((first.len(), rest.len()), (3, 2));
        let now = chrono::Utc::now() + chrono::TimeDelta::minutes(1);
        let mut thrown = Vec::new();
        for _ in 0..3 {
            thrown.push(discard_group(&mut conn, &g.fingerprint, "a", now, None, 3, "known").await.unwrap());
        }
        assert_eq!(thrown, [3, 2, 0]);
        assert_eq!(groups(&mut conn, None, None, 10).await.unwrap().len(), 1);
        let counts = counts::counts(&mut conn).await.unwrap();
        let of = |status: &str| counts.iter().filter(|c| c.status == status).map(|c| c.count).sum::<i64>();
        assert_eq!((of("failed"), of("cancelled")), (2, 5));
    }

    #[tokio::test]
    async fn without_the_table_there_are_no_letters_and_nothing_fails() {
        let t = testing::database().await;
        sqlx::raw_sql("DROP TABLE background_jobs_dlq CASCADE").execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        assert!(groups(&mut conn, None, None, 10).await.unwrap().is_empty());
        assert_eq!(discard_group(&mut conn, "f", "a", chrono::Utc::now(), None, 3, "").await.unwrap(), 0);
        assert_eq!(discard_of_jobs(&mut conn, &[Uuid::nil()], "").await.unwrap(), 0);
    }
}
