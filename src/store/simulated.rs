//! Simulated persons: marked before their first delivery, so that no page ever shows them as real; and real ones from the
//! first delivery on that comes from outside.

use super::tombstones;
use crate::model::Instant;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// `User-Agent` of what the test endpoint sends. It is kept with the delivery and tells it from those that came from outside.
pub const TRIAL_AGENT: &str = "assay-webhook-test";

/// Makes the persons where they are missing, with what the pages call them, marked as simulated; those who were erased may
/// come again. A person who exists and is not simulated stays as it is. Returns how many are new.
pub async fn mark(pool: &PgPool, user_ids: &[String], labels: &[String]) -> sqlx::Result<u64> {
    let mut tx = pool.begin().await?;
    tombstones::exhume(&mut tx, user_ids).await?;
    let done = sqlx::query(
        "INSERT INTO persons (user_id, label, simulated)
         SELECT u, l, true FROM unnest($1::text[], $2::text[]) AS t (u, l)
         ON CONFLICT (user_id) DO NOTHING",
    )
    .bind(user_ids)
    .bind(labels)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}

/// Makes those persons real of whose deliveries one came from outside; the others stay as they are. `deliveries` are stored
/// ones, by id and time of receipt, with whom they are about.
///
/// What tests gave such a person before stands: a value until a newer delivery of the same record, the test's connection until
/// the next comparison with Terra, which does not know it. `assay simulate --clear` leaves a real person alone, so whoever wants
/// the tests' values gone erases the person before they come.
///
/// # Errors
/// The database's.
pub async fn make_real(conn: &mut PgConnection, deliveries: &[(Uuid, Instant, String)]) -> sqlx::Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE persons SET simulated = false
          WHERE simulated AND user_id = ANY (ARRAY(
                SELECT d.user_id FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS d (id, created_at, user_id)
                  JOIN terra_webhooks_raw r ON r.id = d.id AND r.created_at = d.created_at
                 WHERE r.headers ->> 'user-agent' IS DISTINCT FROM $4))",
    )
    .bind(deliveries.iter().map(|(id, _, _)| *id).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|(_, at, _)| *at).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|(_, _, user_id)| user_id.as_str()).collect::<Vec<_>>())
    .bind(TRIAL_AGENT)
    .execute(conn)
    .await?;
    Ok(())
}

/// When the newest delivery of a simulated person was due (Unix ms): a demonstration that starts again goes on from there.
pub async fn newest_delivery(pool: &PgPool, prefix: &str) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT max(r.ordering_ms) FROM persons p
           JOIN LATERAL (SELECT ordering_ms FROM terra_webhooks_raw r WHERE r.user_id = p.user_id ORDER BY created_at DESC LIMIT 20) r ON true
          WHERE p.simulated AND starts_with(p.user_id, $1)",
    )
    .bind(prefix)
    .fetch_one(pool)
    .await
}

/// Everybody who is simulated.
pub async fn all(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT user_id FROM persons WHERE simulated ORDER BY user_id").fetch_all(pool).await
}
