//! Taking jobs, and finishing them. The two meet in one statement where that saves a commit.
//!
//! A lane is a kind and a priority. Within it the ready index gives the oldest first; a worker remembers how far
//! it came (the floor) and begins there, so that neither a million dead rows nor a pinned snapshot is walked again.

use super::into_history;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row, postgres::PgRow};
use std::time::Duration;
use uuid::Uuid;

/// Where a claim begins: after this row.
pub type Floor = (DateTime<Utc>, Uuid);

/// What to take.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The kind.
    pub kind: &'a str,
    /// The lane within it.
    pub priority: i16,
    /// Rows at or before it are skipped; `None`: from the beginning.
    pub floor: Option<Floor>,
    /// At most so many.
    pub limit: i64,
    /// The fencing token of this batch; never used before.
    pub epoch: i64,
    /// Who takes them.
    pub worker: Uuid,
    /// How long they are ours without a heartbeat.
    pub lease: Duration,
}

/// A claimed job as it lies in the table.
#[derive(Debug, Clone)]
pub struct ClaimedRow {
    /// The job.
    pub id: Uuid,
    /// JSON text.
    pub payload: String,
    /// This attempt's number, from 1.
    pub attempt: i32,
    /// The last attempt's number.
    pub max_attempts: i32,
    /// When it became due.
    pub scheduled_at: DateTime<Utc>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// Whose data it works on.
    pub user_id: Option<String>,
}

/// What a cycle did.
#[derive(Debug, Default)]
pub struct Cycle {
    /// How many of the jobs to be finished were still ours, and are finished.
    pub finished: i64,
    /// What was taken, oldest first.
    pub claimed: Vec<ClaimedRow>,
}

/// Jobs of one batch that are done.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Their batch.
    pub epoch: i64,
    /// The jobs.
    pub ids: Vec<Uuid>,
    /// Results worth keeping, JSON text, by job.
    pub results: Vec<(Uuid, String)>,
    /// Whether the batch is over, and its lease can go.
    pub last: bool,
}

// $1 kind, $2 priority, $3 and $4 floor, $5 limit, $6 epoch, $7 worker, $8 lease in seconds
macro_rules! claim_ctes {
    () => {
        "picked AS MATERIALIZED (
           SELECT ctid FROM background_jobs
            WHERE failed_at IS NULL AND type = $1 AND priority = $2 AND status = 'pending' AND scheduled_at <= now()
              AND (scheduled_at, id) > ($3, $4)
            ORDER BY scheduled_at, id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED),
         claimed AS (
           UPDATE background_jobs j SET status = 'processing', attempts = j.attempts + 1, epoch = $6, worker_id = $7, started_at = now(), pending_key = NULL
            WHERE j.ctid = ANY (ARRAY(SELECT ctid FROM picked))
           RETURNING j.id, j.payload::text AS payload, j.attempts, j.max_attempts, j.scheduled_at, j.created_at, j.user_id),
         leased AS (
           INSERT INTO job_leases (epoch, worker_id, type, lease_until, ids)
           SELECT $6, $7, $1, now() + make_interval(secs => $8), array_agg(id) FROM claimed HAVING count(*) > 0),
         moved AS (
           INSERT INTO job_count_deltas (type, status, delta)
           SELECT $1, s.status, s.sign * c.n FROM (SELECT count(*) AS n FROM claimed) c, (VALUES ('pending', -1), ('processing', 1)) s(status, sign) WHERE c.n > 0)"
    };
}

macro_rules! finish_ctes {
    ($ids:literal, $epoch:literal, $rids:literal, $rvals:literal, $last:literal) => {
        concat!(
            "taken AS (DELETE FROM background_jobs WHERE id = ANY (", $ids, ") AND epoch = ", $epoch, " AND status = 'processing'
               RETURNING id, type, status, priority, payload, attempts, created_at, scheduled_at, started_at, completed_at, user_id, error, errors),
             done AS (SELECT t.id, t.type, t.status, t.priority, t.payload, r.result::jsonb AS result, t.attempts, t.created_at, t.scheduled_at,
                             t.started_at, t.completed_at, t.user_id, t.error, t.errors
                        FROM taken t LEFT JOIN unnest(", $rids, "::uuid[], ", $rvals, "::text[]) AS r(id, result) ON r.id = t.id),
             unleased AS (DELETE FROM job_leases WHERE epoch = ", $epoch, " AND ", $last, "), ",
            into_history!("done", "completed", "NULL")
        )
    };
}

/// A lost claim is no loss: after a crash of the server the job is pending still, and the epoch that the claimer
/// holds fits nothing. So a claim that finishes nothing need not wait for the disk.
const CLAIM: &str = concat!(
    "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), ",
    claim_ctes!(),
    " SELECT 0::bigint AS finished, c.* FROM lazily LEFT JOIN claimed c ON true"
);
const FINISH: &str = concat!("WITH ", finish_ctes!("$1", "$2", "$3", "$4", "$5"), " SELECT count(*) FROM taken");
const CYCLE: &str = concat!(
    "WITH ",
    finish_ctes!("$9", "$10", "$11", "$12", "$13"),
    ", ",
    claim_ctes!(),
    " SELECT t.finished, c.* FROM (SELECT count(*) AS finished FROM taken) t LEFT JOIN claimed c ON true"
);

fn read(rows: Vec<PgRow>) -> sqlx::Result<Cycle> {
    let mut cycle = Cycle::default();
    if let Some(first) = rows.first() {
        cycle.finished = first.try_get(0)?;
    }
    for row in rows {
        let Some(id) = row.try_get::<Option<Uuid>, _>(1)? else { break };
        cycle.claimed.push(ClaimedRow {
            id,
            payload: row.try_get(2)?,
            attempt: row.try_get(3)?,
            max_attempts: row.try_get(4)?,
            scheduled_at: row.try_get(5)?,
            created_at: row.try_get(6)?,
            user_id: row.try_get(7)?,
        });
    }
    cycle.claimed.sort_unstable_by_key(|j| (j.scheduled_at, j.id));
    Ok(cycle)
}

macro_rules! bind_claim {
    ($query:expr, $claim:expr) => {{
        let (at, id) = $claim.floor.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()));
        $query
            .bind($claim.kind)
            .bind($claim.priority)
            .bind(at)
            .bind(id)
            .bind($claim.limit)
            .bind($claim.epoch)
            .bind($claim.worker)
            .bind($claim.lease.as_secs_f64())
    }};
}

/// Takes up to `limit` due jobs of a lane, oldest first, without waiting for rows that others hold.
pub async fn claim(conn: &mut PgConnection, claim: &Claim<'_>) -> sqlx::Result<Vec<ClaimedRow>> {
    Ok(read(bind_claim!(sqlx::query(CLAIM), claim).fetch_all(conn).await?)?.claimed)
}

/// Finishes jobs that are still ours; returns how many were. Within a transaction this is the fenced half of an
/// exactly-once effect: roll back when it is fewer than given.
pub async fn finish(conn: &mut PgConnection, done: &Finished) -> sqlx::Result<i64> {
    let (ids, values): (Vec<Uuid>, Vec<&str>) = done.results.iter().map(|(id, v)| (*id, v.as_str())).unzip();
    sqlx::query_scalar(FINISH).bind(&done.ids).bind(done.epoch).bind(ids).bind(values).bind(done.last).fetch_one(conn).await
}

/// The same in a handler's transaction, whose connection is like any other: see [`super::queue_pool`].
///
/// # Errors
/// The database's.
pub async fn finish_in(conn: &mut PgConnection, done: &Finished) -> sqlx::Result<i64> {
    sqlx::query("SELECT set_config('enable_seqscan', 'off', true)").execute(&mut *conn).await?;
    let finished = finish(conn, done).await?;
    sqlx::query("SELECT set_config('enable_seqscan', 'on', true)").execute(conn).await?;
    Ok(finished)
}

/// Finishes one batch and takes the next: one statement, one commit.
pub async fn cycle(conn: &mut PgConnection, done: &Finished, claim: &Claim<'_>) -> sqlx::Result<Cycle> {
    let (ids, values): (Vec<Uuid>, Vec<&str>) = done.results.iter().map(|(id, v)| (*id, v.as_str())).unzip();
    let query = bind_claim!(sqlx::query(CYCLE), claim).bind(&done.ids).bind(done.epoch).bind(ids).bind(values).bind(done.last);
    read(query.fetch_all(conn).await?)
}

/// Locks the jobs that are still ours until the transaction ends, and says which. Do the effects for these only,
/// then [`finish`] them in the same transaction.
pub async fn lock_ours(conn: &mut PgConnection, ids: &[Uuid], epoch: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT app.lock_jobs($1, $2)").bind(ids).bind(epoch).fetch_all(conn).await
}

/// How many jobs of a kind may be started now under its limits in `job_kinds`; locks that row until the
/// transaction ends, so that all nodes together keep the limit. `None`: the kind has no row.
pub async fn allowance(conn: &mut PgConnection, kind: &str) -> sqlx::Result<Option<i64>> {
    // The lock first, in a statement of its own: one statement would count the leases as they were before it waited.
    sqlx::query("SELECT FROM job_kinds WHERE type = $1 FOR UPDATE").bind(kind).execute(&mut *conn).await?;
    sqlx::query_scalar(
        "SELECT CASE WHEN paused THEN 0 ELSE greatest(0, least(
                  coalesce(max_running - (SELECT coalesce(sum(cardinality(ids)), 0) FROM job_leases l WHERE l.type = k.type), 1000000),
                  coalesce(floor(extract(epoch FROM now() - greatest(next_start, now() - make_interval(secs => greatest(6.0, 60.0 / per_minute)))) * per_minute / 60.0), 1000000)))
                END::bigint
           FROM job_kinds k WHERE type = $1",
    )
    .bind(kind)
    .fetch_optional(conn)
    .await
}

/// Notes that `n` jobs of a limited kind were started. In the transaction of [`allowance`]. Without a rate it notes when
/// all places were last taken, which is what [`super::counts::waiting`] asks.
pub async fn spend_allowance(conn: &mut PgConnection, kind: &str, n: i64) -> sqlx::Result<()> {
    if n == 0 {
        return Ok(());
    }
    sqlx::query(
        "UPDATE job_kinds k SET next_start = CASE WHEN per_minute IS NULL THEN now()
                ELSE greatest(next_start, now() - make_interval(secs => greatest(6.0, 60.0 / per_minute))) + make_interval(secs => $2 * 60.0 / per_minute) END
          WHERE type = $1 AND (per_minute IS NOT NULL
             OR max_running <= (SELECT coalesce(sum(cardinality(ids)), 0) FROM job_leases l WHERE l.type = k.type))",
    )
    .bind(kind)
    .bind(n as f64)
    .execute(conn)
    .await?;
    Ok(())
}

/// A lane to look into.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The kind.
    pub kind: String,
    /// The lane within it.
    pub priority: i16,
    /// Rows at or before it are skipped; `None`: from the beginning.
    pub floor: Option<Floor>,
}

/// What is known of a lane in which something is due, or whose kind is limited or paused.
#[derive(Debug, Clone)]
pub struct LaneHead {
    /// The kind.
    pub kind: String,
    /// The lane within it.
    pub priority: i16,
    /// When its oldest job became due; `None`: nothing is.
    pub head: Option<DateTime<Utc>>,
    /// Whether nothing of the kind may start.
    pub paused: bool,
    /// Whether the kind has limits, so that [`allowance`] must be asked.
    pub limited: bool,
}

/// Looks into lanes, beyond their floors. Also says when, by the server's clock.
pub async fn due_lanes(conn: &mut PgConnection, asks: &[Ask]) -> sqlx::Result<(DateTime<Utc>, Vec<LaneHead>)> {
    let kinds: Vec<&str> = asks.iter().map(|a| a.kind.as_str()).collect();
    let priorities: Vec<i16> = asks.iter().map(|a| a.priority).collect();
    let none = (DateTime::<Utc>::UNIX_EPOCH, Uuid::nil());
    let (times, ids): (Vec<DateTime<Utc>>, Vec<Uuid>) = asks.iter().map(|a| a.floor.unwrap_or(none)).unzip();
    let rows = sqlx::query(
        "SELECT now(), a.kind, a.priority, a.head, coalesce(a.paused, false), a.limited
           FROM (SELECT 1) one LEFT JOIN (
             SELECT k.kind, k.priority, h.head, l.paused, l.max_running IS NOT NULL OR l.per_minute IS NOT NULL AS limited
               FROM unnest($1::text[], $2::int2[], $3::timestamptz[], $4::uuid[]) AS k(kind, priority, at, id)
               LEFT JOIN LATERAL (
                 SELECT scheduled_at AS head FROM background_jobs
                  WHERE failed_at IS NULL AND type = k.kind AND priority = k.priority AND status = 'pending' AND scheduled_at <= now()
                    AND (scheduled_at, id) > (k.at, k.id)
                  ORDER BY scheduled_at, id LIMIT 1) h ON true
               LEFT JOIN job_kinds l ON l.type = k.kind
              WHERE h.head IS NOT NULL OR l.type IS NOT NULL) a ON true",
    )
    .bind(kinds)
    .bind(priorities)
    .bind(times)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let now = rows.first().map_or_else(|| Ok(DateTime::<Utc>::UNIX_EPOCH), |row| row.try_get(0))?;
    let mut heads = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(kind) = row.try_get::<Option<String>, _>(1)? else { break };
        heads.push(LaneHead {
            kind,
            priority: row.try_get(2)?,
            head: row.try_get(3)?,
            paused: row.try_get(4)?,
            limited: row.try_get::<Option<bool>, _>(5)?.unwrap_or(false),
        });
    }
    Ok((now, heads))
}
