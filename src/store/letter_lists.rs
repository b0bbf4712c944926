//! Dead letters by group, as the administrator deals with them. The table may be missing: then there are none.

use super::{
    dead_letters::exists,
    jobs::{into_history, settle::DeadFilter},
};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Groups are made of this many of the newest open letters.
pub const WINDOW: i64 = 100_000;

/// Which open letters. Empty fields do not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// That died at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// With this fingerprint.
    pub fingerprint: Option<&'a str>,
}

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
    /// How many groups there are, this page's and the others.
    pub groups: i64,
    /// How many letters are in all of them.
    pub letters: i64,
}

/// Groups of the open letters, the biggest first.
///
/// # Errors
/// The database's.
pub async fn groups(conn: &mut PgConnection, filter: &Filter<'_>, limit: i64, offset: i64) -> sqlx::Result<Vec<Group>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT fingerprint, type AS kind, (array_agg(left(error, 400) ORDER BY failed_at DESC))[1] AS error,
                (array_agg(reason_class ORDER BY failed_at DESC))[1] AS reason_class,
                count(*) AS open, min(failed_at) AS first_at, max(failed_at) AS last_at,
                count(*) OVER () AS groups, (sum(count(*)) OVER ())::int8 AS letters
           FROM (SELECT fingerprint, type, error, reason_class, failed_at FROM background_jobs_dlq
                  WHERE retried = false AND discarded_at IS NULL AND ($1::timestamptz IS NULL OR failed_at >= $1) AND ($2::text IS NULL OR type = $2)
                    AND ($3::text IS NULL OR fingerprint = $3)
                  ORDER BY failed_at DESC LIMIT $4) l
          GROUP BY 1, 2 ORDER BY open DESC, last_at DESC, fingerprint, type LIMIT $5 OFFSET $6",
    )
    .persistent(false)
    .bind(filter.since)
    .bind(filter.kind)
    .bind(filter.fingerprint)
    .bind(WINDOW)
    .bind(limit)
    .bind(offset)
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

/// A letter that somebody dealt with.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Dealt {
    /// The letter.
    pub id: Uuid,
    /// Its job; it may be gone.
    pub original_job_id: Uuid,
    /// The kind.
    pub kind: String,
    /// The beginning of the error.
    pub error: Option<String>,
    /// Thrown away; else brought back.
    pub discarded: bool,
    /// When.
    pub at: DateTime<Utc>,
    /// Why, in the words of whoever did it.
    pub note: String,
    /// Who, as the audit log names them; gone with its entry.
    #[sqlx(skip)]
    pub by: Option<String>,
}

/// Letters that were brought back or thrown away, the newest deed first, after the given one. A deed and its audit entry
/// are one commit, and so of one moment: that is how the entry is found.
///
/// # Errors
/// The database's.
pub async fn dealt_with(conn: &mut PgConnection, after: Option<(DateTime<Utc>, Uuid)>, limit: i64) -> sqlx::Result<Vec<Dealt>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    let mut letters: Vec<Dealt> = sqlx::query_as(
        "SELECT id, original_job_id, type AS kind, left(error, 400) AS error, discarded_at IS NOT NULL AS discarded,
                coalesce(discarded_at, retried_at) AS at, note
           FROM background_jobs_dlq
          WHERE coalesce(discarded_at, retried_at) IS NOT NULL
            AND ($1::timestamptz IS NULL OR (coalesce(discarded_at, retried_at), id) < ($1, $2))
          ORDER BY coalesce(discarded_at, retried_at) DESC, id DESC LIMIT $3",
    )
    .persistent(false)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    let entries: Vec<(DateTime<Utc>, String)> = sqlx::query_as(
        "SELECT at, actor FROM audit_log WHERE at = ANY ($1) AND (starts_with(action, 'jobs.') OR starts_with(action, 'dead_letters.'))",
    )
    .bind(letters.iter().map(|d| d.at).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let by: HashMap<DateTime<Utc>, String> = entries.into_iter().collect();
    for letter in &mut letters {
        letter.by = by.get(&letter.at).cloned();
    }
    Ok(letters)
}

/// Which of these jobs are still there, in the queue or in history: a letter lives longer than its job.
///
/// # Errors
/// The database's.
pub async fn jobs_there(conn: &mut PgConnection, jobs: &[Uuid]) -> sqlx::Result<HashSet<Uuid>> {
    let found: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM background_jobs WHERE id = ANY ($1)").persistent(false).bind(jobs).fetch_all(&mut *conn).await?;
    let mut there: HashSet<Uuid> = found.into_iter().collect();
    let others: Vec<Uuid> = jobs.iter().filter(|id| !there.contains(id)).copied().collect();
    if !others.is_empty() {
        let finished: Vec<Uuid> =
            // No job ended before it was made, and most ids say when that was: older days are not looked through.
            sqlx::query_scalar("SELECT id FROM job_history WHERE id = ANY ($1) AND completed_at >= $2")
                .persistent(false)
                .bind(&others)
                .bind(earliest(&others))
                .fetch_all(conn)
                .await?;
        there.extend(finished);
    }
    Ok(there)
}

/// A moment before which none of these jobs was made, to the minute; the beginning of time where an id does not say.
fn earliest(jobs: &[Uuid]) -> DateTime<Utc> {
    let made = |id: &Uuid| id.get_timestamp().and_then(|t| DateTime::from_timestamp(i64::try_from(t.to_unix().0).ok()? - 60, 0));
    jobs.iter().map(|id| made(id).unwrap_or(DateTime::UNIX_EPOCH)).min().unwrap_or(DateTime::UNIX_EPOCH)
}

/// When the letters of a job were dealt with.
///
/// # Errors
/// The database's.
pub async fn moments_of(conn: &mut PgConnection, job: Uuid) -> sqlx::Result<Vec<DateTime<Utc>>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "SELECT coalesce(discarded_at, retried_at) FROM background_jobs_dlq
          WHERE original_job_id = $1 AND coalesce(discarded_at, retried_at) IS NOT NULL ORDER BY 1 DESC LIMIT 20",
    )
    .persistent(false)
    .bind(job)
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
        WHERE retried = false AND discarded_at IS NULL AND ($1::text IS NULL OR fingerprint = $1) AND ($2::text IS NULL OR type = $2)
          AND ($3::timestamptz IS NULL OR failed_at < $3) AND ($4::timestamptz IS NULL OR failed_at >= $4)
          AND ($7::uuid[] IS NULL OR original_job_id = ANY ($7))
        ORDER BY failed_at DESC, id DESC LIMIT $5 FOR UPDATE SKIP LOCKED),
     marked AS (
       UPDATE background_jobs_dlq d SET discarded_at = now(), note = $6 FROM letters l WHERE d.id = l.id RETURNING d.id),
     gone AS (DELETE FROM background_jobs WHERE id IN (SELECT original_job_id FROM letters) AND status = 'failed' RETURNING *), ",
    into_history!("gone", "cancelled", "error"),
    " SELECT count(*) FROM marked"
);

/// Throws away at most `limit` open letters: marked with a note, and their dead jobs closed as cancelled, so that no retry
/// brings them back. Returns how many letters.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn discard(conn: &mut PgConnection, filter: &DeadFilter, limit: i64, note: &str) -> sqlx::Result<i64> {
    if !exists(conn).await? {
        return Ok(0);
    }
    sqlx::query_scalar(DISCARD)
        .persistent(false)
        .bind(&filter.fingerprint)
        .bind(&filter.kind)
        .bind(filter.until)
        .bind(filter.since)
        .bind(limit)
        .bind(note)
        .bind(&filter.ids)
        .fetch_one(conn)
        .await
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
        let all = Filter::default();
        let groups_now = groups(&mut conn, &all, 10, 0).await.unwrap();
        assert_eq!(groups_now.iter().map(|g| g.open).collect::<Vec<_>>(), [5, 2]);
        assert!(groups(&mut conn, &Filter { kind: Some("b"), ..all.clone() }, 10, 0).await.unwrap().is_empty());
        // A page of them still says how many there are.
        let second = groups(&mut conn, &all, 1, 1).await.unwrap();
        assert_eq!(second.iter().map(|g| (g.open, g.groups, g.letters)).collect::<Vec<_>>(), [(2, 2, 7)]);
        let one = groups(&mut conn, &Filter { fingerprint: Some(&second[0].fingerprint), ..all.clone() }, 1, 0).await.unwrap();
        assert_eq!(one.iter().map(|g| (g.open, g.fingerprint == second[0].fingerprint)).collect::<Vec<_>>(), [(2, true)]);
        let g = &groups_now[0];
        let first = of_group(&mut conn, &g.fingerprint, "a", None, None, 3).await.unwrap();
        let rest = of_group(&mut conn, &g.fingerprint, "a", None, first.last().map(|l| (l.failed_at, l.id)), 9).await.unwrap();
        assert_eq!((first.len(), rest.len()), (3, 2));
        let these = DeadFilter { kind: Some("a".into()), fingerprint: Some(g.fingerprint.clone()), ..DeadFilter::default() };
        let mut thrown = Vec::new();
        for _ in 0..3 {
            thrown.push(discard(&mut conn, &these, 3, "known").await.unwrap());
        }
        assert_eq!(thrown, [3, 2, 0]);
        assert_eq!(groups(&mut conn, &all, 10, 0).await.unwrap().len(), 1);
        let dealt = dealt_with(&mut conn, None, 3).await.unwrap();
        let rest = dealt_with(&mut conn, dealt.last().map(|d| (d.at, d.id)), 9).await.unwrap();
        assert_eq!((dealt.len(), rest.len()), (3, 2));
        assert!(dealt.iter().chain(&rest).all(|d| d.discarded && d.note == "known" && d.by.is_none()), "nobody wrote an entry");
        assert_eq!(moments_of(&mut conn, dealt[0].original_job_id).await.unwrap(), [dealt[0].at]);
        // Both in history now; one of the other group still in the queue, and one that nobody knows.
        let left = of_group(&mut conn, &groups_now[1].fingerprint, "a", None, None, 9).await.unwrap();
        let asked = [dealt[0].original_job_id, left[0].original_job_id, Uuid::nil()];
        assert_eq!(jobs_there(&mut conn, &asked).await.unwrap(), asked[..2].iter().copied().collect::<HashSet<_>>());
        let counts = counts::counts(&mut conn).await.unwrap();
        let of = |status: &str| counts.iter().filter(|c| c.status == status).map(|c| c.count).sum::<i64>();
        assert_eq!((of("failed"), of("cancelled")), (2, 5));
    }

    #[tokio::test]
    async fn without_the_table_there_are_no_letters_and_nothing_fails() {
        let t = testing::database().await;
        sqlx::raw_sql("DROP TABLE background_jobs_dlq CASCADE").execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        assert!(groups(&mut conn, &Filter::default(), 10, 0).await.unwrap().is_empty());
        assert!(dealt_with(&mut conn, None, 10).await.unwrap().is_empty());
        assert!(moments_of(&mut conn, Uuid::nil()).await.unwrap().is_empty());
        assert_eq!(discard(&mut conn, &DeadFilter::default(), 3, "").await.unwrap(), 0);
        assert_eq!(discard_of_jobs(&mut conn, &[Uuid::nil()], "").await.unwrap(), 0);
    }
}
