//! The queue's statements: enqueue here; claim, settle, counts and lists in the files below.
//!
//! Each is set-based and moves the counts it changes in the same statement. A claimed job is known by
//! `(id, epoch)`: whoever lost it holds an old epoch, and nothing it says changes anything.

pub mod claim;
pub mod compact;
pub mod counts;
pub mod list;
pub mod settle;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A job to be enqueued. `payload` is JSON text.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Version 7, so that ids sort by time.
    pub id: Uuid,
    /// The kind's name.
    pub kind: String,
    /// 0 first, 9 last.
    pub priority: i16,
    /// JSON text.
    pub payload: String,
    /// After so many attempts it is dead.
    pub max_attempts: i32,
    /// Not before; `None`: now.
    pub scheduled_at: Option<DateTime<Utc>>,
    /// At most one pending job a key.
    pub unique_key: Option<String>,
    /// Whose data it works on.
    pub user_id: Option<String>,
}

/// What an enqueue did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// New rows.
    pub inserted: u64,
    /// Wishes merged into a job that was pending already (or into another of the same call).
    pub merged: u64,
    /// The ids of the jobs that will do the work, one a distinct wish.
    pub ids: Vec<Uuid>,
}

/// The bulk form has one array a column; jobs of a kind differ little, but kinds may be mixed.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    kinds: Vec<String>,
    priorities: Vec<i16>,
    payloads: Vec<String>,
    max_attempts: Vec<i32>,
    scheduled: Vec<Option<DateTime<Utc>>>,
    keys: Vec<Option<String>>,
    users: Vec<Option<String>>,
}

impl Columns {
    fn push(&mut self, job: NewJob) {
        self.ids.push(job.id);
        self.kinds.push(job.kind);
        self.priorities.push(job.priority);
        self.payloads.push(job.payload);
        self.max_attempts.push(job.max_attempts);
        self.scheduled.push(job.scheduled_at);
        self.keys.push(job.unique_key);
        self.users.push(job.user_id);
    }
}

// The arrays are taken apart in the target list: in FROM each would first be written down as a table of its own, which
// costs as much as the insert.
macro_rules! rows {
    ($more:literal) => {
        concat!(
            "(SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS type, unnest($3::int2[]) AS priority, unnest($4::text[]) AS payload,
                     unnest($5::int4[]) AS max_attempts, unnest($6::timestamptz[]) AS scheduled_at, unnest($7::text[]) AS user_id",
            $more,
            ") AS n"
        )
    };
}

const INSERT_PLAIN: &str = concat!(
    "INSERT INTO background_jobs (id, type, priority, payload, max_attempts, scheduled_at, user_id)
     SELECT id, type, priority, payload::jsonb, max_attempts, coalesce(scheduled_at, now()), user_id FROM ",
    rows!("")
);

const INSERT_KEYED: &str = concat!(
    "INSERT INTO background_jobs AS j (id, type, priority, payload, max_attempts, scheduled_at, user_id, unique_key, pending_key)
    SELECT id, type, priority, payload::jsonb, max_attempts, coalesce(scheduled_at, now()), user_id, key, key FROM ",
    rows!(", unnest($8::text[]) AS key"),
    " ON CONFLICT (pending_key) WHERE pending_key IS NOT NULL DO UPDATE
       SET payload = app.merge_payload(j.payload, excluded.payload),
           scheduled_at = least(j.scheduled_at, excluded.scheduled_at),
           priority = least(j.priority, excluded.priority)
    RETURNING id, xmax = 0"
);

/// Enqueues any number of jobs in at most two statements. Jobs with a key are merged into the pending job of
/// that key where there is one: the newer payload wins, `since` is the earlier of the two. Workers hear of
/// them when the transaction commits, once a kind.
///
/// # Errors
/// The database's; then nothing of the failing statement is stored.
pub async fn enqueue(conn: &mut PgConnection, jobs: Vec<NewJob>) -> sqlx::Result<Enqueued> {
    let asked = jobs.len() as u64;
    let mut plain = Columns::default();
    // Ordered by key, so that two callers lock the rows they share in the same order.
    let mut keyed: BTreeMap<String, NewJob> = BTreeMap::new();
    for job in jobs {
        match &job.unique_key {
            None => plain.push(job),
            Some(key) => match keyed.get_mut(key) {
                None => drop(keyed.insert(key.clone(), job)),
                Some(first) => {
                    first.payload = merge_payload(&first.payload, &job.payload);
                    first.priority = first.priority.min(job.priority);
                    first.scheduled_at = first.scheduled_at.min(job.scheduled_at);
                }
            },
        }
    }
    let mut result = Enqueued::default();
    if !plain.ids.is_empty() {
        sqlx::query(INSERT_PLAIN)
            .bind(&plain.ids)
            .bind(&plain.kinds)
            .bind(&plain.priorities)
            .bind(&plain.payloads)
            .bind(&plain.max_attempts)
            .bind(&plain.scheduled)
            .bind(&plain.users)
            .execute(&mut *conn)
            .await?;
        result.inserted = plain.ids.len() as u64;
        result.ids = plain.ids;
    }
    if !keyed.is_empty() {
        let mut columns = Columns::default();
        keyed.into_values().for_each(|job| columns.push(job));
        let rows: Vec<(Uuid, bool)> = sqlx::query_as(INSERT_KEYED)
            .bind(&columns.ids)
            .bind(&columns.kinds)
            .bind(&columns.priorities)
            .bind(&columns.payloads)
            .bind(&columns.max_attempts)
            .bind(&columns.scheduled)
            .bind(&columns.users)
            .bind(&columns.keys)
            .fetch_all(&mut *conn)
            .await?;
        result.inserted += rows.iter().filter(|(_, new)| *new).count() as u64;
        result.ids.extend(rows.into_iter().map(|(id, _)| id));
    }
    result.merged = asked - result.inserted;
    Ok(result)
}

/// Tells the workers of pending jobs that came into their lane by a change, which the insert's trigger does not see.
///
/// # Errors
/// The database's.
pub async fn lane_has(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT pg_notify('assay_jobs', type || '@' || (extract(epoch FROM oldest) * 1000000)::bigint || '@' || priority)
           FROM (SELECT type, priority, min(scheduled_at) AS oldest FROM background_jobs WHERE id = ANY($1) AND status = 'pending'
                  GROUP BY type, priority) lanes
          WHERE oldest <= clock_timestamp()",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// A worker's connections for taking and finishing jobs. Their plans are made once and never read the queue as a whole:
/// the planner would choose just that while the queue is empty, and keep to it when a hundred thousand jobs have come.
pub fn queue_pool(service: &PgPool, size: u32) -> PgPool {
    let options =
        service.connect_options().as_ref().clone().options([("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")]);
    service.options().clone().max_connections(size).connect_lazy_with(options)
}

/// The rule of `app.merge_payload`, for wishes of one call. What is not a JSON object is replaced by the newer.
pub fn merge_payload(old: &str, new: &str) -> String {
    use serde_json::{Map, Value};
    let parsed = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let (Some(old), Some(mut new)) = (parsed(old), parsed(new)) else { return new.to_owned() };
    let since = match (old.get("since").and_then(Value::as_str), new.get("since").and_then(Value::as_str)) {
        (Some(a), Some(b)) => Some(a.min(b).to_owned()),
        _ => None,
    };
    for (key, value) in old {
        new.entry(key).or_insert(value);
    }
    match since {
        Some(since) => drop(new.insert("since".to_owned(), Value::String(since))),
        None => drop(new.remove("since")),
    }
    Value::Object(new).to_string()
}

/// Appends finished jobs of the named rows to history and to the counts. The rows come from a CTE that deleted
/// them from background_jobs with all columns, their former status among them. Only one that ran until now began its last
/// attempt then; a dead one ran until it died, which may be days ago, and one that waited did not run.
macro_rules! into_history {
    ($gone:literal, $status:literal, $error:literal) => {
        concat!(
            "history AS (INSERT INTO job_history (id, type, status, priority, payload, result, error, attempts, created_at, scheduled_at,
                 started_at, completed_at, user_id, errors)
               SELECT id, type, '",
            $status,
            "', priority, payload, result, ",
            $error,
            ", attempts, created_at, scheduled_at, CASE status WHEN 'processing' THEN started_at END, now(),
                      user_id, errors FROM ",
            $gone,
            "),
             counted AS (INSERT INTO job_count_deltas (type, status, delta, day, seconds, max_seconds)
               SELECT type, '",
            $status,
            "', count(*), (created_at AT TIME ZONE 'UTC')::date, coalesce(sum(date_part('epoch', ran)), 0), coalesce(max(date_part('epoch', ran)), 0)
                 FROM (SELECT *, CASE status WHEN 'processing' THEN now() WHEN 'failed' THEN completed_at END - started_at AS ran FROM ",
            $gone,
            ") g GROUP BY 1, 4
               UNION ALL SELECT type, status, -count(*), NULL, NULL, NULL FROM ",
            $gone,
            " GROUP BY 1, 2)"
        )
    };
}
pub(crate) use into_history;

/// The CTE `chunks`: what the jobs of a CTE were to do for their operations.
macro_rules! chunks_of {
    ($jobs:literal) => {
        concat!(
            "chunks AS (
               SELECT app.as_uuid(payload ->> 'operation') AS operation, count(*) AS n, max(error) AS error, bool_or(type = 'redrive') AS alone,
                      sum(CASE WHEN jsonb_typeof(payload -> 'users') = 'array' THEN jsonb_array_length(payload -> 'users')
                               WHEN jsonb_typeof(payload -> 'deliveries') = 'number' THEN (payload ->> 'deliveries')::numeric::bigint ELSE 0 END) AS units
                 FROM ",
            $jobs,
            " WHERE type IN ('recalculation', 'replay', 'redrive') AND payload ? 'operation' GROUP BY 1)"
        )
    };
}
pub(crate) use chunks_of;

/// What is said of work whose job a person cancelled.
macro_rules! cancelled {
    () => {
        "Its job was cancelled. It can be started again."
    };
}
pub(crate) use cancelled;

/// What hangs on jobs that ended without having done their work, in the statement that ends them: a delivery is marked
/// failed, a chunk is over and its units failed. Dead letters are worked off by one job alone: its end is the operation's. The
/// jobs come from the CTE `given_up` (type, payload, error).
macro_rules! giving_up {
    () => {
        concat!(
            $crate::store::jobs::chunks_of!("given_up"),
            ", operation AS (
               UPDATE operations o SET failed = o.failed + c.units, chunks_done = o.chunks_done + c.n,
                      state = CASE WHEN o.state <> 'running' OR o.chunks_done + c.n < o.chunks_total THEN o.state
                                   WHEN c.alone THEN 'failed' ELSE 'completed' END,
                      finished_at = CASE WHEN o.state <> 'running' OR o.chunks_done + c.n < o.chunks_total THEN o.finished_at ELSE now() END,
                      error = CASE WHEN o.state = 'running' AND c.alone THEN c.error ELSE o.error END
                 FROM chunks c WHERE o.id = c.operation),
             deliveries AS (
               UPDATE terra_webhooks_raw r SET status = 'failed', error = g.error
                 FROM (SELECT app.as_uuid(payload ->> 'delivery_id') AS id, app.as_timestamptz(payload ->> 'created_at') AS at, error
                         FROM given_up WHERE type IN ('webhook_processing', 's3_fetch')) g
                WHERE r.id = g.id AND r.created_at = g.at AND r.status IN ('pending', 'processing'))"
        )
    };
}
pub(crate) use giving_up;

/// The reverse, for dead jobs that are to run again: their chunks are open, and their units not failed. Their deliveries stay
/// failed until they are processed. An operation that is over stays so: else a press of Recalculate All would join one that
/// does these few chunks. Only what one job does alone runs again with it. The jobs come from the CTE `taken_up`.
macro_rules! taking_up {
    () => {
        concat!(
            $crate::store::jobs::chunks_of!("taken_up"),
            ", operation AS (
               UPDATE operations o SET failed = greatest(0, o.failed - c.units), chunks_done = greatest(0, o.chunks_done - c.n),
                      state = CASE WHEN c.alone AND o.state = 'failed' THEN 'running' ELSE o.state END,
                      finished_at = CASE WHEN c.alone AND o.state = 'failed' THEN NULL ELSE o.finished_at END,
                      error = CASE WHEN c.alone AND o.state = 'failed' THEN NULL ELSE o.error END
                 FROM chunks c WHERE o.id = c.operation)"
        )
    };
}
pub(crate) use taking_up;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::merge_payload;
    use crate::store::{job_lists, jobs::settle::DeadFilter, letter_lists, testing};

    #[tokio::test]
    async fn a_dead_job_that_is_thrown_away_later_ran_until_it_died() {
        let t = testing::database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let ids: Vec<uuid::Uuid> = sqlx::query_scalar(
            "INSERT INTO background_jobs (type, status, payload, attempts, unique_key, created_at, scheduled_at, started_at)
             SELECT 'a' || n, 'processing', '{}', 5, CASE WHEN n > 2 THEN 'k' END, ago, ago, ago FROM (SELECT n, now() - interval '3 days' AS ago FROM generate_series(1, 4) n) v
             RETURNING id",
        )
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        sqlx::query("UPDATE background_jobs SET status = 'failed', error = 'e', completed_at = started_at + interval '5 seconds', failed_at = started_at + interval '5 seconds'")
            .execute(&mut *conn)
            .await
            .unwrap();
        // One is cancelled, one discarded, and of two under one key one is merged into the other.
        assert_eq!(job_lists::cancel_many(&mut conn, &ids[..1]).await.unwrap(), (1, 0));
        let second = DeadFilter { ids: Some(vec![ids[1]]), ..DeadFilter::default() };
        assert_eq!(letter_lists::discard(&mut conn, &second, 10, "").await.unwrap(), 1);
        let keyed = DeadFilter { ids: Some(ids[2..].to_vec()), ..DeadFilter::default() };
        let retried = super::settle::retry(&mut conn, &keyed, 10).await.unwrap();
        assert_eq!((retried.retried, retried.merged), (1, 1));
        let longest: Vec<f64> =
            sqlx::query_scalar("SELECT max_duration_seconds FROM job_processing_stats WHERE status = 'cancelled' ORDER BY job_type")
                .fetch_all(&mut *conn)
                .await
                .unwrap();
        assert!(longest.len() == 3 && longest.iter().all(|s| (s - 5.0).abs() < 0.01), "{longest:?}");
        let gone = job_lists::Filter { status: Some("cancelled".into()), ..job_lists::Filter::default() };
        let (rows, _) = job_lists::page(&mut conn, &gone, job_lists::Cursor::default(), 10).await.unwrap();
        assert_eq!(rows.iter().map(|r| r.ran(chrono::Utc::now())).collect::<Vec<_>>(), [None; 3], "not until it was thrown away");
    }

    #[test]
    fn merged_wishes_begin_at_the_earlier_date_and_no_date_means_everything() {
        let merged = |a, b| serde_json::from_str::<serde_json::Value>(&merge_payload(a, b)).ok();
        let json = |s| serde_json::from_str::<serde_json::Value>(s).ok();
        assert_eq!(merged(r#"{"u":1,"since":"2026-01-02"}"#, r#"{"u":1,"since":"2026-01-05"}"#), json(r#"{"u":1,"since":"2026-01-02"}"#));
        assert_eq!(merged(r#"{"u":1,"since":"2026-01-05"}"#, r#"{"u":2,"since":"2026-01-02"}"#), json(r#"{"u":2,"since":"2026-01-02"}"#));
        assert_eq!(merged(r#"{"u":1}"#, r#"{"u":1,"since":"2026-01-02"}"#), json(r#"{"u":1}"#));
        assert_eq!(merged(r#"{"u":1,"since":null}"#, r#"{"u":1,"since":"2026-01-02"}"#), json(r#"{"u":1}"#));
    }
}
