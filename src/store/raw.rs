//! Working on stored deliveries: loading their bodies, settling them, waking parked ones.
//!
//! A row is found by id and time of receipt together: the time finds the partition.

use crate::model::Instant;
use sqlx::PgConnection;
use uuid::Uuid;

/// A stored delivery as the ingest needs it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct RawDelivery {
    /// Its row.
    pub id: Uuid,
    /// When it was received.
    pub created_at: Instant,
    /// `X-Terra-Trace-Id`, or `sha256:` and the body's hash.
    pub trace_id: String,
    /// The event's type as the gateway read it.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// `X-Terra-Ordering-Timestamp`; absent: the time of receipt.
    pub ordering_ms: i64,
    /// The exact bytes.
    pub body: Vec<u8>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<'a> {
    /// Its row.
    pub id: Uuid,
    /// When it was received.
    pub created_at: Instant,
    /// A word of the table's `status`.
    pub status: &'static str,
    /// Why, for people.
    pub error: Option<&'a str>,
    /// Values it gave.
    pub readings: i32,
    /// What was suspicious about it and its records.
    pub findings: i32,
    /// Whose it turned out to be.
    pub user_id: Option<&'a str>,
}

/// Loads deliveries by id and time of receipt. Conflicts and invalid ones are never given: they are not to be processed.
///
/// # Errors
/// The database's.
pub async fn load(conn: &mut PgConnection, deliveries: &[(Uuid, Instant)]) -> sqlx::Result<Vec<RawDelivery>> {
    let (ids, times): (Vec<Uuid>, Vec<Instant>) = deliveries.iter().copied().unzip();
    sqlx::query_as(
        "SELECT r.id, r.created_at, r.trace_id, r.type, r.ordering_ms, r.body
           FROM unnest($1::uuid[], $2::timestamptz[]) AS d (id, created_at) JOIN terra_webhooks_raw r USING (id, created_at)
          WHERE r.status NOT IN ('conflict', 'invalid')",
    )
    .bind(ids)
    .bind(times)
    .fetch_all(conn)
    .await
}

/// Bytes of bodies that are loaded at once; a single larger one is loaded alone.
const LOAD_BYTES: i64 = 16 * 1024 * 1024;

/// Loads as many deliveries from the front of `deliveries` as fit into some megabytes, at least one, and says how many of
/// the list are dealt with by that. As in [`load`], conflicts and invalid ones are not given.
///
/// # Errors
/// The database's.
pub async fn load_some(conn: &mut PgConnection, deliveries: &[(Uuid, Instant)]) -> sqlx::Result<(Vec<RawDelivery>, usize)> {
    #[derive(sqlx::FromRow)]
    struct Row {
        place: i64,
        #[sqlx(flatten)]
        delivery: RawDelivery,
    }
    let (ids, times): (Vec<Uuid>, Vec<Instant>) = deliveries.iter().copied().unzip();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT place, id, created_at, trace_id, type, ordering_ms, body
           FROM (SELECT d.place, r.id, r.created_at, r.trace_id, r.type, r.ordering_ms, r.body, octet_length(r.body) AS size,
                        sum(octet_length(r.body)) OVER (ORDER BY d.place) AS upto
                   FROM unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY AS d (id, created_at, place)
                   JOIN terra_webhooks_raw r USING (id, created_at)
                  WHERE r.status NOT IN ('conflict', 'invalid')) found
          WHERE upto <= $3 OR upto = size
          ORDER BY place",
    )
    .bind(ids)
    .bind(times)
    .bind(LOAD_BYTES)
    .fetch_all(conn)
    .await?;
    // Nothing found: the rest is not there, or not to be processed.
    let taken = rows.last().map_or(deliveries.len(), |row| usize::try_from(row.place).unwrap_or(deliveries.len()));
    Ok((rows.into_iter().map(|row| row.delivery).collect(), taken))
}

/// Writes what became of deliveries.
///
/// # Errors
/// The database's.
pub async fn settle(conn: &mut PgConnection, settled: &[Settled<'_>]) -> sqlx::Result<()> {
    sqlx::query(
        "WITH s AS (
           SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::int4[], $6::text[], $7::int4[])
             AS s (id, created_at, status, error, readings, user_id, findings)),
         -- Counted as it happens, so that no probe ever counts deliveries. One row a minute and backend: nobody waits.
         counted AS (
           INSERT INTO gateway_counts AS c (minute, outcome, node, count)
           SELECT date_trunc('minute', now()), status, 'backend ' || pg_backend_pid(), count(*) FROM s GROUP BY status
           ON CONFLICT (minute, outcome, node) DO UPDATE SET count = c.count + EXCLUDED.count)
         UPDATE terra_webhooks_raw r
            SET status = s.status, error = s.error, processed_count = s.readings, findings = s.findings, processed_at = now(), user_id = coalesce(s.user_id, r.user_id)
           FROM s
          WHERE r.id = s.id AND r.created_at = s.created_at",
    )
    .bind(settled.iter().map(|s| s.id).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.created_at).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.status).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.error).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.readings).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.user_id).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.findings).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives the deliveries of these connections that nobody owned yet to their person, and wakes the parked ones: pending
/// again, each with a new job, in one statement. `owners` are pairs of Terra's id and our user id. Returns how many woke.
///
/// # Errors
/// The database's.
pub async fn give_to(conn: &mut PgConnection, owners: &[(String, String)]) -> sqlx::Result<i64> {
    if owners.is_empty() {
        return Ok(0);
    }
    let woken: i64 = sqlx::query_scalar(
        "WITH found AS (
           SELECT r.id, r.created_at, r.status, o.user_id
             FROM unnest($1::text[], $2::text[]) AS o (terra_user_id, user_id)
             JOIN terra_webhooks_raw r ON r.terra_user_id = o.terra_user_id AND r.user_id IS NULL
              FOR UPDATE OF r
         ), given AS (
           UPDATE terra_webhooks_raw r
              SET user_id = f.user_id, status = CASE f.status WHEN 'parked' THEN 'pending' ELSE f.status END,
                  error = CASE f.status WHEN 'parked' THEN NULL ELSE r.error END
             FROM found f WHERE r.id = f.id AND r.created_at = f.created_at
           RETURNING r.id, r.created_at, r.user_id, f.status
         ), job AS (
           -- The key says that it is not the delivery's own job, which had its id (person_jobs).
           INSERT INTO background_jobs (type, payload, user_id, unique_key, pending_key)
           SELECT 'webhook_processing', jsonb_build_object('delivery_id', id, 'created_at', created_at), user_id, 'delivery:' || id, 'delivery:' || id
             FROM given WHERE status = 'parked'
           ON CONFLICT (pending_key) WHERE pending_key IS NOT NULL DO NOTHING
           RETURNING 1
         )
         SELECT count(*) FROM job",
    )
    .bind(owners.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
    .bind(owners.iter().map(|(_, user)| user.as_str()).collect::<Vec<_>>())
    .fetch_one(conn)
    .await?;
    Ok(woken)
}
