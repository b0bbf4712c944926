//! What else can become of a job: given back, failed, cancelled, put off, retried.
//!
//! A job that goes back to pending may meet a newer wish under its key. Then the two are merged and the older is
//! closed as cancelled, instead of the whole statement failing on the unique key.

use super::{cancelled, giving_up, into_history, taking_up};
use chrono::{DateTime, Utc};
use sqlx::{Acquire, PgConnection};
use uuid::Uuid;

/// Why a job goes back.
#[derive(Debug, Clone)]
pub struct Setback {
    /// The job.
    pub id: Uuid,
    /// What went wrong, for people; `None`: nothing did (put off, handed back).
    pub error: Option<String>,
    /// How: error, panic, timeout, permanent, lost.
    pub class: Class,
    /// When it is to be tried again; `None`: at its old time.
    pub again_at: Option<DateTime<Utc>>,
    /// Whether this attempt does not count.
    pub refund: bool,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The handler said so.
    Error,
    /// The handler panicked.
    Panic,
    /// It took longer than its kind may.
    Timeout,
    /// Trying again cannot help; the job dies at once.
    Permanent,
    /// Its worker stopped.
    Lost,
}

impl Class {
    /// The word stored in `errors`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Permanent => "permanent",
            Self::Lost => "lost",
        }
    }
}

/// What became of jobs that went back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetBack {
    /// Pending again.
    pub pending: u64,
    /// Dead.
    pub failed: u64,
    /// Closed: cancelled on request, or merged into a newer job of the same key.
    pub closed: u64,
}

const CLOSE: &str = concat!(
    "WITH f AS (SELECT * FROM unnest($1::uuid[], $3::bool[], $4::bool[]) AS f(id, dead, refund)),
     back AS (
       SELECT j.id, j.unique_key, j.payload, j.scheduled_at, j.cancel_requested,
              NOT (f.dead OR (NOT f.refund AND j.attempts >= j.max_attempts)) AS returns
         FROM background_jobs j JOIN f USING (id) WHERE j.epoch = $2 AND j.status = 'processing'),
     twins AS (
       UPDATE background_jobs p SET payload = app.merge_payload(b.payload, p.payload), scheduled_at = least(p.scheduled_at, b.scheduled_at)
         FROM back b WHERE b.returns AND NOT b.cancel_requested AND b.unique_key IS NOT NULL AND p.pending_key = b.unique_key
       RETURNING b.id),
     gone AS (
       DELETE FROM background_jobs j USING back b WHERE j.id = b.id AND (b.cancel_requested OR b.id IN (SELECT id FROM twins))
       RETURNING j.*),
     given_up AS (SELECT type, payload, '",
    cancelled!(),
    "' AS error FROM gone WHERE cancel_requested), ",
    giving_up!(),
    ", ",
    into_history!(
        "gone",
        "cancelled",
        "CASE WHEN cancel_requested THEN 'cancelled while it ran' ELSE 'merged into a newer job with the same key' END"
    ),
    " SELECT count(*) FROM gone"
);

const BACK: &str = concat!(
    "WITH f AS (SELECT * FROM unnest($1::uuid[], $3::bool[], $4::bool[], $5::text[], $6::text[], $7::timestamptz[]) AS f(id, dead, refund, error, class, again_at)),
    moved AS (
      UPDATE background_jobs j SET
             status = CASE WHEN d.dead THEN 'failed' ELSE 'pending' END,
             attempts = j.attempts - CASE WHEN f.refund THEN 1 ELSE 0 END,
             scheduled_at = CASE WHEN d.dead THEN j.scheduled_at ELSE coalesce(f.again_at, j.scheduled_at) END,
             pending_key = CASE WHEN d.dead THEN NULL ELSE j.unique_key END,
             failed_at = CASE WHEN d.dead THEN now() END,
             completed_at = CASE WHEN d.dead THEN now() END,
             worker_id = NULL,
             error = coalesce(f.error, j.error),
             errors = CASE WHEN f.error IS NULL THEN j.errors ELSE
               (CASE WHEN jsonb_array_length(j.errors) >= 20 THEN j.errors - 0 ELSE j.errors END)
               || jsonb_build_array(jsonb_build_object('attempt', j.attempts, 'at', now(), 'error', f.error, 'class', f.class)) END
        FROM f JOIN background_jobs o ON o.id = f.id
        CROSS JOIN LATERAL (SELECT f.dead OR (NOT f.refund AND o.attempts >= o.max_attempts) AS dead) d
       WHERE j.id = o.id AND j.epoch = $2 AND j.status = 'processing'
      RETURNING j.id, j.type, j.status, j.payload, j.error, j.attempts, j.user_id, f.error AS said),
    counted AS (
      INSERT INTO job_count_deltas (type, status, delta)
      SELECT type, status, count(*) FROM moved GROUP BY 1, 2 UNION ALL SELECT type, 'processing', -count(*) FROM moved GROUP BY 1),
    given_up AS (SELECT type, payload, error FROM moved WHERE status = 'failed'), ", giving_up!(), ",
    logged AS (
      INSERT INTO edge_function_logs (level, function_name, message, metadata, request_id, user_id)
      SELECT CASE status WHEN 'failed' THEN 'error' ELSE 'warn' END, 'job-worker', said, jsonb_build_object('job_id', id, 'type', type, 'attempt', attempts),
             payload ->> 'request_id', CASE WHEN NOT app.is_erased(user_id) THEN user_id END
        FROM moved WHERE said IS NOT NULL)
    SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'failed') FROM moved"
);

/// Gives jobs of one batch back, if they are still ours: pending again, or dead when out of attempts or
/// permanent. Dead ones reach the dead letters by the table's trigger, in the same commit; what hangs on a dead or cancelled one
/// ends with it (`giving_up`), and each failure is a line in `edge_function_logs`.
///
/// # Errors
/// The database's; then nothing has changed.
pub async fn set_back(conn: &mut PgConnection, epoch: i64, jobs: &[Setback]) -> sqlx::Result<SetBack> {
    if jobs.is_empty() {
        return Ok(SetBack::default());
    }
    let mut tries = 0;
    loop {
        match try_set_back(conn, epoch, jobs).await {
            // Somebody enqueued a job of the same key between our two statements: the next try merges with it.
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() && tries < 5 => tries += 1,
            other => return other,
        }
    }
}

async fn try_set_back(conn: &mut PgConnection, epoch: i64, jobs: &[Setback]) -> sqlx::Result<SetBack> {
    let ids: Vec<Uuid> = jobs.iter().map(|j| j.id).collect();
    let dead: Vec<bool> = jobs.iter().map(|j| j.class == Class::Permanent).collect();
    let refund: Vec<bool> = jobs.iter().map(|j| j.refund).collect();
    let errors: Vec<Option<String>> = jobs.iter().map(|j| j.error.as_deref().map(storable)).collect();
    let classes: Vec<&str> = jobs.iter().map(|j| j.class.word()).collect();
    let again: Vec<Option<DateTime<Utc>>> = jobs.iter().map(|j| j.again_at).collect();
    let mut tx = conn.begin().await?;
    let closed: i64 = sqlx::query_scalar(CLOSE).bind(&ids).bind(epoch).bind(&dead).bind(&refund).fetch_one(&mut *tx).await?;
    let (pending, failed): (i64, i64) = sqlx::query_as(BACK)
        .bind(&ids)
        .bind(epoch)
        .bind(&dead)
        .bind(&refund)
        .bind(&errors)
        .bind(&classes)
        .bind(&again)
        .fetch_one(&mut *tx)
        .await?;
    if jobs.iter().any(|j| j.again_at.is_none() && j.class != Class::Permanent) {
        // They come back at their old time, before what workers have taken since: those must look there again.
        sqlx::query("SELECT pg_notify('assay_jobs', '')").execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(SetBack { pending: pending.unsigned_abs(), failed: failed.unsigned_abs(), closed: closed.unsigned_abs() })
}

/// PostgreSQL's text has no NUL; and an error is for reading, not for archiving.
fn storable(error: &str) -> String {
    error.chars().filter(|c| *c != '\0').take(2000).collect()
}

const CANCEL_CHUNKS: &str = concat!(
    "WITH gone AS (DELETE FROM background_jobs WHERE type IN ('recalculation', 'replay') AND failed_at IS NULL AND status = 'pending' AND payload ->> 'operation' = $1::text
       RETURNING *), ",
    into_history!("gone", "cancelled", "'its operation was cancelled'"),
    " SELECT count(*) FROM gone"
);

/// Cancels the waiting chunks of an operation; returns how many.
pub async fn cancel_chunks(conn: &mut PgConnection, operation: Uuid) -> sqlx::Result<u64> {
    let n: i64 = sqlx::query_scalar(CANCEL_CHUNKS).bind(operation).fetch_one(conn).await?;
    Ok(n.unsigned_abs())
}

/// Which dead jobs. An empty filter means all.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct DeadFilter {
    /// These jobs only.
    pub ids: Option<Vec<Uuid>>,
    /// Of this kind only.
    pub kind: Option<String>,
    /// Whose error has this fingerprint.
    pub fingerprint: Option<String>,
    /// That died at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// That died before this time.
    pub until: Option<DateTime<Utc>>,
}

/// What a retry came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Retried {
    /// Pending again, with all their attempts.
    pub retried: u64,
    /// Closed, because a newer job of the same key does their work.
    pub merged: u64,
    /// Enqueued anew from the dead letter, because the job itself was gone.
    pub recreated: u64,
}

impl Retried {
    /// All that were reached, whichever way their work goes on.
    pub const fn all(self) -> u64 {
        self.retried + self.merged + self.recreated
    }
}

/// $1 ids, $2 kind, $3 fingerprint, $4 since, $5 until, $6 limit
macro_rules! dead_jobs {
    () => {
        "SELECT id, unique_key, failed_at FROM background_jobs
          WHERE failed_at IS NOT NULL AND status = 'failed' AND ($1::uuid[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR type = $2)
            AND ($3::text IS NULL OR app.error_fingerprint(type, error) = $3)
            AND ($4::timestamptz IS NULL OR failed_at >= $4) AND ($5::timestamptz IS NULL OR failed_at < $5)
          ORDER BY failed_at DESC LIMIT $6 FOR UPDATE SKIP LOCKED"
    };
}

/// Of several dead jobs of one key the newest is kept, or the pending one where there is one; it takes over what the others were
/// to do, and what it is asked meanwhile stays. One that is claimed at this moment takes nothing over, and none is closed for it. Those
/// that are kept are locked in the order in which enqueueing locks them.
const RETRY_CLOSE: &str = concat!(
    "WITH dead AS MATERIALIZED (",
    dead_jobs!(),
    "),
     newest AS (SELECT DISTINCT ON (unique_key) unique_key, id FROM dead WHERE unique_key IS NOT NULL ORDER BY unique_key, failed_at DESC, id DESC),
     doubled AS (
       SELECT d.id, coalesce(p.id, n.id) AS keeper
         FROM dead d JOIN newest n USING (unique_key) LEFT JOIN background_jobs p ON p.pending_key = d.unique_key
        WHERE d.id <> coalesce(p.id, n.id)),
     locked AS MATERIALIZED (
       SELECT id FROM background_jobs WHERE id IN (SELECT keeper FROM doubled) AND status IN ('pending', 'failed')
        ORDER BY unique_key COLLATE \"C\" FOR UPDATE),
     wishes AS (
       SELECT d.keeper, app.merge_payloads(j.payload ORDER BY j.failed_at, j.id) AS payload
         FROM doubled d JOIN locked l ON l.id = d.keeper JOIN background_jobs j ON j.id = d.id GROUP BY 1),
     kept AS (
       UPDATE background_jobs k SET payload = app.merge_payload(w.payload, k.payload), scheduled_at = least(k.scheduled_at, now())
         FROM wishes w WHERE k.id = w.keeper AND k.status IN ('pending', 'failed') RETURNING k.id),
     gone AS (DELETE FROM background_jobs WHERE id IN (SELECT d.id FROM doubled d JOIN kept k ON k.id = d.keeper) RETURNING *), ",
    into_history!("gone", "cancelled", "'merged into a newer job with the same key'"),
    ", woken AS (SELECT count(pg_notify('assay_jobs', '')) FROM kept)
     SELECT (SELECT coalesce(array_agg(id), '{}') FROM gone) FROM woken"
);
const RETRY: &str = concat!(
    "WITH dead AS MATERIALIZED (", dead_jobs!(), "),
     back AS (
       UPDATE background_jobs j SET status = 'pending', attempts = 0, epoch = j.epoch + 1, scheduled_at = now(), failed_at = NULL, completed_at = NULL,
              started_at = NULL, error = NULL, worker_id = NULL, cancel_requested = false, pending_key = j.unique_key
        WHERE j.id IN (SELECT id FROM dead) RETURNING j.id, j.type, j.payload),
     taken_up AS (SELECT type, payload, NULL::text AS error FROM back), ", taking_up!(), ",
     counted AS (
       INSERT INTO job_count_deltas (type, status, delta)
       SELECT type, s, sign * count(*) FROM back, (VALUES ('pending', 1), ('failed', -1)) v(s, sign) GROUP BY type, s, sign),
     woken AS (SELECT count(pg_notify('assay_jobs', type)) FROM (SELECT DISTINCT type FROM back) t)
     SELECT coalesce(array_agg(id), '{}') FROM back, woken"
);

/// Brings dead jobs back: the same rows, all attempts, a new epoch, their dead letters marked. At most `limit`,
/// the newest first. Call it in a transaction.
///
/// # Errors
/// The database's; a unique violation means that a job of the same key was enqueued just now: try again.
pub async fn retry(conn: &mut PgConnection, filter: &DeadFilter, limit: i64) -> sqlx::Result<Retried> {
    macro_rules! run {
        ($sql:expr) => {
            sqlx::query_scalar::<_, Vec<Uuid>>($sql)
                .bind(&filter.ids)
                .bind(&filter.kind)
                .bind(&filter.fingerprint)
                .bind(filter.since)
                .bind(filter.until)
                .bind(limit)
                .fetch_one(&mut *conn)
                .await?
        };
    }
    let merged = run!(RETRY_CLOSE);
    let retried = run!(RETRY);
    let all: Vec<Uuid> = merged.iter().chain(&retried).copied().collect();
    crate::store::dead_letters::mark_retried(conn, &all).await?;
    Ok(Retried { retried: retried.len() as u64, merged: merged.len() as u64, recreated: 0 })
}
