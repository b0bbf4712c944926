//! Who was erased, as keyed hashes: so that what Terra sends afterwards does not make the person anew.
//!
//! A connection that was erased never comes back: Terra gives a new id when somebody connects again. A person comes back
//! by what was produced after the erasure and is more than the news of an end (see `ingest`).

use crate::model::Instant;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Why a delivery of an erased person is not used.
pub const REASON: &str = "It belongs to a person who was erased; its content was removed.";

/// Marks a person and Terra's ids of their connections as erased, now. A simulated one can be [`exhume`]d.
///
/// # Errors
/// The database's.
pub async fn bury(conn: &mut PgConnection, user_id: &str, terra_user_ids: &[String], simulated: bool) -> sqlx::Result<()> {
    sqlx::query(
        // Now, not when the erasure began: what was produced while it looked around was before it.
        "INSERT INTO tombstones (hash, erased_at, simulated_as)
         SELECT h, clock_timestamp(), CASE WHEN $3 THEN app.tombstone('person', $1) END
           FROM (SELECT app.tombstone('person', $1) UNION SELECT app.tombstone('connection', id) FROM unnest($2::text[]) AS c (id)) t (h)
         ON CONFLICT (hash) DO UPDATE SET erased_at = excluded.erased_at, simulated_as = excluded.simulated_as",
    )
    .bind(user_id)
    .bind(terra_user_ids)
    .bind(simulated)
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets that these persons were erased, of those who were simulated then: somebody simulates them anew.
///
/// # Errors
/// The database's.
pub async fn exhume(conn: &mut PgConnection, user_ids: &[String]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM tombstones WHERE simulated_as = ANY (SELECT app.tombstone('person', u) FROM unnest($1::text[]) AS t (u))")
        .bind(user_ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Those who were erased, of those that were asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Our user ids, and when.
    pub persons: BTreeMap<String, Instant>,
    /// Terra's ids.
    pub connections: BTreeSet<String>,
}

/// Who of these was erased. Costs nothing where nobody ever was.
///
/// # Errors
/// The database's.
pub async fn among(conn: &mut PgConnection, user_ids: &[&str], terra_user_ids: &[&str]) -> sqlx::Result<Erased> {
    let found: Vec<(bool, String, Instant)> = sqlx::query_as(
        "SELECT n.person, n.id, t.erased_at
           FROM (SELECT true, unnest($1::text[]) UNION ALL SELECT false, unnest($2::text[])) AS n (person, id)
           JOIN tombstones t ON t.hash = app.tombstone(CASE WHEN n.person THEN 'person' ELSE 'connection' END, n.id)
          WHERE EXISTS (SELECT FROM tombstones)",
    )
    .bind(user_ids)
    .bind(terra_user_ids)
    .fetch_all(conn)
    .await?;
    let mut erased = Erased::default();
    for (person, id, at) in found {
        if person {
            erased.persons.insert(id, at);
        } else {
            erased.connections.insert(id);
        }
    }
    Ok(erased)
}

/// Takes the content and every id out of deliveries of erased persons, and out of the jobs that process them. The row
/// and its key stay: the same delivery is known again.
///
/// # Errors
/// The database's.
pub async fn redact(conn: &mut PgConnection, deliveries: &[(Uuid, Instant)]) -> sqlx::Result<()> {
    let (ids, times): (Vec<Uuid>, Vec<Instant>) = deliveries.iter().copied().unzip();
    sqlx::query(
        "WITH d AS (SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS d (id, created_at)),
              jobs AS (UPDATE background_jobs j SET user_id = NULL FROM d
                        WHERE j.type = 'webhook_processing' AND j.user_id IS NOT NULL AND (j.id = d.id OR j.payload ->> 'delivery_id' = d.id::text))
         UPDATE terra_webhooks_raw r
            SET status = 'ignored', error = $3, user_id = NULL, terra_user_id = NULL, reference = NULL, headers = '{}', body = '{}',
                processed_count = 0, processed_at = now()
           FROM d WHERE r.id = d.id AND r.created_at = d.created_at",
    )
    .bind(ids)
    .bind(times)
    .bind(REASON)
    .execute(conn)
    .await?;
    Ok(())
}

/// Deliveries that are emptied in one statement.
const AT_ONCE: usize = 500;

/// Takes the identity out of what came after an erasure and passed the ingest by: deliveries of no use, which nobody processes,
/// and those that could not be read; log lines and dead letters that were on their way meanwhile. Daily; returns how many rows.
///
/// # Errors
/// The database's; what was done before stays done.
pub async fn sweep(conn: &mut PgConnection) -> sqlx::Result<i64> {
    let since: Option<Instant> =
        sqlx::query_scalar("SELECT min(erased_at) - interval '1 hour' FROM tombstones").fetch_one(&mut *conn).await?;
    let Some(since) = since else { return Ok(0) };
    let mut swept = 0;
    let letters = super::dead_letters::exists(conn).await?;
    for table in ["edge_function_logs", "background_jobs_dlq"].into_iter().take(1 + usize::from(letters)) {
        let sql = format!(
            "UPDATE {table} SET user_id = NULL
              WHERE user_id IN (SELECT user_id FROM (SELECT DISTINCT user_id FROM {table} WHERE user_id IS NOT NULL) u WHERE app.is_erased(user_id))"
        );
        swept += sqlx::query(AssertSqlSafe(sql)).execute(&mut *conn).await?.rows_affected() as i64;
    }
    // Each by its own index. What failed may be what a person who comes back began with: only what is older than the erasure goes.
    const OF_NO_USE: &str = "status IN ('ignored', 'conflict', 'invalid') AND created_at >= $1 AND (app.is_erased(user_id)";
    const FAILED: &str = "status = 'failed' AND created_at >= $1 AND (app.is_erased(user_id) AND ordering_ms <= (
        SELECT floor(extract(epoch FROM t.erased_at) * 1000) FROM tombstones t WHERE t.hash = app.tombstone('person', user_id))";
    for which in [OF_NO_USE, FAILED] {
        let sql = format!(
            "SELECT id, created_at FROM terra_webhooks_raw
              WHERE {which}
                     OR (terra_user_id IS NOT NULL AND EXISTS (SELECT FROM tombstones WHERE hash = app.tombstone('connection', terra_user_id))))
              LIMIT $2"
        );
        loop {
            let found: Vec<(Uuid, Instant)> =
                sqlx::query_as(AssertSqlSafe(sql.clone())).bind(since).bind(AT_ONCE as i64).fetch_all(&mut *conn).await?;
            redact(conn, &found).await?;
            swept += found.len() as i64;
            if found.len() < AT_ONCE {
                break;
            }
        }
    }
    // The comparison of a registry that was being worked out while a person it names was erased.
    Ok(swept + leave_out_of_comparisons(conn, None).await?)
}

/// Takes erased persons out of the comparisons of registries, which name those whose scores would change most; and one who is
/// being erased, also where nothing else was ever known of them. Returns how many comparisons named one.
///
/// # Errors
/// The database's.
pub async fn leave_out_of_comparisons(conn: &mut PgConnection, also: Option<&str>) -> sqlx::Result<i64> {
    let compared = sqlx::query(
        "UPDATE operations SET difference = jsonb_set(difference, '{top}',
                coalesce((SELECT jsonb_agg(t ORDER BY n) FROM jsonb_array_elements(difference -> 'top') WITH ORDINALITY AS e (t, n)
                           WHERE t ->> 0 IS DISTINCT FROM $1 AND NOT app.is_erased(t ->> 0)), '[]'))
          WHERE jsonb_typeof(difference -> 'top') = 'array'
            AND EXISTS (SELECT FROM jsonb_array_elements(difference -> 'top') AS e (t) WHERE t ->> 0 = $1 OR app.is_erased(t ->> 0))",
    )
    .bind(also)
    .execute(conn)
    .await?;
    Ok(compared.rows_affected() as i64)
}
