//! Who was erased, as keyed hashes: so that what Terra sends afterwards does not make the person anew.
//!
//! A connection that was erased never comes back: Terra gives a new id when somebody connects again. A person comes back
//! by what was produced after the erasure and is more than the news of an end (see `ingest`).

use crate::model::Instant;
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Why a delivery of an erased person is not used.
pub const REASON: &str = "It belongs to a person who was erased; its content was removed.";

/// Marks a person and Terra's ids of their connections as erased, now.
///
/// # Errors
/// The database's.
pub async fn bury(conn: &mut PgConnection, user_id: &str, terra_user_ids: &[String]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO tombstones (hash)
         SELECT app.tombstone('person', $1) UNION SELECT app.tombstone('connection', id) FROM unnest($2::text[]) AS c (id)
         ON CONFLICT (hash) DO UPDATE SET erased_at = now()",
    )
    .bind(user_id)
    .bind(terra_user_ids)
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
