//! Settings as the administrator's page changes them, and what an account prefers.

use sqlx::PgExecutor;
use uuid::Uuid;

/// Turns a setting on or off.
pub async fn set_switch<'e>(executor: impl PgExecutor<'e>, key: &str, on: bool, by: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO settings (key, value, updated_by) VALUES ($1, to_jsonb($2), $3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now(), updated_by = excluded.updated_by",
    )
    .bind(key)
    .bind(on)
    .bind(by)
    .execute(executor)
    .await?;
    Ok(())
}

/// Keeps what an account wants to see.
pub async fn set_preferences<'e>(executor: impl PgExecutor<'e>, account: Uuid, preferences: &serde_json::Value) -> sqlx::Result<()> {
    sqlx::query("UPDATE accounts SET preferences = preferences || $2 WHERE id = $1")
        .bind(account)
        .bind(sqlx::types::Json(preferences))
        .execute(executor)
        .await?;
    Ok(())
}
