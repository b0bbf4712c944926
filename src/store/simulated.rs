//! Simulated persons: marked before their first delivery, so that no page ever shows them as real.

use super::tombstones;
use sqlx::PgPool;

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
