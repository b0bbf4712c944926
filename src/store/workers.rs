//! Who works: presence, leases of batches, leadership, and the rescue of what a dead worker held.
//!
//! A worker is present while its database session holds the advisory lock of its key. The server itself lets
//! go of that lock when the session ends, so a killed process is noticed without waiting for any clock.

use super::jobs::settle::{Class, SetBack, Setback, set_back};
use super::maintenance::is_lock_timeout;
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgExecutor, types::Json};
use std::time::Duration;
use uuid::Uuid;

/// A worker as the dashboard shows it.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow)]
pub struct WorkerRow {
    /// This run of the process.
    pub id: Uuid,
    /// Where it runs.
    pub node: String,
    /// all or worker.
    pub role: String,
    /// Since when.
    pub started_at: DateTime<Utc>,
    /// Its last heartbeat.
    pub seen_at: DateTime<Utc>,
    /// What else it says of itself.
    pub detail: Json<serde_json::Value>,
    /// Whether its session is there now.
    pub present: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Jobs it holds.
    pub holds: i64,
}

/// Takes the lock that says "here" and writes the worker's row, on the session that is to live as long as the worker.
/// The key must be new with each session: a former one may be held by a session that the server has not yet missed.
pub async fn register(
    conn: impl PgExecutor<'_>,
    id: Uuid,
    lock_key: i64,
    node: &str,
    role: &str,
    detail: &serde_json::Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH here AS MATERIALIZED (SELECT pg_advisory_lock($2))
         INSERT INTO workers (id, lock_key, node, role, detail) SELECT $1, $2, $3, $4, $5 FROM here
         ON CONFLICT (id) DO UPDATE SET lock_key = excluded.lock_key, seen_at = now(), detail = excluded.detail",
    )
    .bind(id)
    .bind(lock_key)
    .bind(node)
    .bind(role)
    .bind(Json(detail))
    .execute(conn)
    .await?;
    Ok(())
}

/// Signs a worker off. Its leases must be gone: what it held was finished or handed back.
pub async fn unregister(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM workers w WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM job_leases l WHERE l.worker_id = w.id)")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Renews the leases of a worker's batches that it knows of, by their epochs: a batch whose claim was committed while its answer
/// was lost must not live as long as the worker. A heartbeat that is lost with the server costs nothing, so it does not wait for
/// the disk.
pub async fn heartbeat(conn: &mut PgConnection, id: Uuid, lease: Duration, held: &[i64]) -> sqlx::Result<u64> {
    let renewed: i64 = sqlx::query_scalar(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
              seen AS (UPDATE workers SET seen_at = now() WHERE id = $1),
              held AS (UPDATE job_leases SET lease_until = now() + make_interval(secs => $2) WHERE worker_id = $1 AND epoch = ANY ($3) RETURNING 1)
         SELECT (SELECT count(*) FROM held) FROM lazily",
    )
    .bind(id)
    .bind(lease.as_secs_f64())
    .bind(held)
    .fetch_one(conn)
    .await?;
    Ok(renewed.unsigned_abs())
}

/// Releases the lease of a batch whose jobs were all given back.
pub async fn release(conn: &mut PgConnection, epoch: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM job_leases WHERE epoch = $1").bind(epoch).execute(conn).await?;
    Ok(())
}

/// All workers with what they hold.
pub async fn list(conn: &mut PgConnection) -> sqlx::Result<Vec<WorkerRow>> {
    sqlx::query_as(
        "SELECT w.id, w.node, w.role, w.started_at, w.seen_at, w.detail, app.worker_is_present(w.lock_key) AS present,
                EXISTS (SELECT 1 FROM leases l WHERE l.holder = w.id AND l.expires_at > now()) AS leads,
                (SELECT coalesce(sum(cardinality(l.ids)), 0)::bigint FROM job_leases l WHERE l.worker_id = w.id) AS holds
           FROM workers w ORDER BY w.started_at",
    )
    .fetch_all(conn)
    .await
}

/// Workers whose session is gone.
pub async fn absent(conn: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT id FROM workers WHERE NOT app.worker_is_present(lock_key)").fetch_all(conn).await
}

/// Takes or renews leadership. `Some(term)` when we lead until `ttl` from now. A leader whose session is gone is
/// replaced at once; another one when its time is over. Terms only grow.
pub async fn lead(conn: &mut PgConnection, name: &str, me: Uuid, ttl: Duration) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "INSERT INTO leases AS l (name, holder, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
         ON CONFLICT (name) DO UPDATE SET holder = $2, expires_at = excluded.expires_at,
                term = CASE WHEN l.holder = $2 AND l.expires_at >= now() THEN l.term ELSE l.term + 1 END
          WHERE l.holder = $2 OR l.expires_at < now()
             OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.holder AND app.worker_is_present(w.lock_key))
         RETURNING term",
    )
    .bind(name)
    .bind(me)
    .bind(ttl.as_secs_f64())
    .fetch_optional(conn)
    .await
}

/// Gives leadership up, so that another node need not wait for the end of the lease.
pub async fn resign(conn: &mut PgConnection, name: &str, me: Uuid) -> sqlx::Result<()> {
    sqlx::query("UPDATE leases SET expires_at = now() WHERE name = $1 AND holder = $2").bind(name).bind(me).execute(conn).await?;
    Ok(())
}

/// Gives back what is held by nobody: batches of the given absent workers, of unknown ones, and those whose lease is
/// over. Oldest first, at most `limit` batches a call, so that long-running ones cannot hide the rest. Jobs that their worker
/// still locks (its process is stopped, or its last statement runs on) are left to the next call: waiting for one would keep
/// the leader from all its duties.
///
/// # Errors
/// The database's; batches rescued before the failing one stay rescued.
pub async fn rescue(conn: &mut PgConnection, absent: &[Uuid], limit: i64) -> sqlx::Result<(i64, SetBack)> {
    let batches: Vec<(i64, Vec<Uuid>, bool)> = sqlx::query_as(
        "SELECT epoch, ids, lease_until >= now() FROM job_leases l
          WHERE lease_until < now() OR worker_id = ANY ($1) OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker_id)
          ORDER BY lease_until, epoch LIMIT $2",
    )
    .bind(absent)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    let (mut rescued, mut total) = (0, SetBack::default());
    for (epoch, ids, gone) in &batches {
        let why = if *gone { "The worker stopped while it held this job." } else { "The worker did not renew its lease on this job." };
        let jobs: Vec<Setback> =
            ids.iter().map(|id| Setback { id: *id, error: Some(why.into()), class: Class::Lost, again_at: None, refund: false }).collect();
        let mut tx = conn.begin().await?;
        sqlx::query("SELECT set_config('lock_timeout', '100ms', true)").execute(&mut *tx).await?;
        let one = match set_back(&mut tx, *epoch, &jobs).await {
            Ok(one) => one,
            Err(e) if is_lock_timeout(&e) => continue,
            Err(e) => return Err(e),
        };
        release(&mut tx, *epoch).await?;
        tx.commit().await?;
        rescued += 1;
        total.pending += one.pending;
        total.failed += one.failed;
        total.closed += one.closed;
    }
    if !absent.is_empty() {
        // A worker's row goes after its leases, never before.
        sqlx::query("DELETE FROM workers w WHERE id = ANY ($1) AND NOT EXISTS (SELECT 1 FROM job_leases l WHERE l.worker_id = w.id) AND NOT app.worker_is_present(lock_key)")
            .bind(absent)
            .execute(&mut *conn)
            .await?;
    }
    if rescued > 0 || !absent.is_empty() {
        // What a dead worker was just about to take, others passed by.
        sqlx::query("SELECT pg_notify('assay_jobs', '')").execute(conn).await?;
    }
    Ok((rescued, total))
}

/// Jobs that say 'processing' but belong to no batch: somebody wrote the status by hand. They become pending. Reads
/// the whole hot part, so it is for rare use.
pub async fn adopt_orphans(conn: &mut PgConnection) -> sqlx::Result<u64> {
    let orphans: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT id, epoch FROM background_jobs j WHERE status = 'processing'
            AND (started_at IS NULL OR started_at < now() - interval '1 minute') AND NOT EXISTS (SELECT 1 FROM job_leases l WHERE l.epoch = j.epoch)
          ORDER BY id LIMIT 10000",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut adopted = 0;
    let mut by_epoch: std::collections::BTreeMap<i64, Vec<Setback>> = std::collections::BTreeMap::new();
    for (id, epoch) in orphans {
        let why = Some("Marked as processing, but no worker held it.".to_owned());
        by_epoch.entry(epoch).or_default().push(Setback { id, error: why, class: Class::Lost, again_at: None, refund: true });
    }
    for (epoch, jobs) in by_epoch {
        adopted += set_back(conn, epoch, &jobs).await?.pending;
    }
    Ok(adopted)
}
