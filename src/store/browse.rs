//! Settings as the administrator's page changes them.

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
