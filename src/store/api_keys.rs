//! Keys of programs that read the API, by the hash of their token.

use super::{Caller, Db, Token};
use crate::model::Role;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;
use uuid::Uuid;

/// What a key proved.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key.
    pub key_id: Uuid,
    /// Its name, for the audit log.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// The account it acts for; its token is the key's.
    pub caller: Caller,
}

#[derive(sqlx::FromRow)]
struct Row {
    key_id: Uuid,
    name: String,
    scopes: Vec<String>,
    account_id: Uuid,
    email: String,
    display_name: String,
    role: String,
}

/// Looks a key up; notes its use at most once a minute.
///
/// # Errors
/// Any of the database's.
pub async fn find(db: &Db, token: &Token) -> sqlx::Result<Option<Found>> {
    let row: Option<Row> = sqlx::query_as(
        "WITH seen AS (
           UPDATE api_keys SET last_used_at = now() WHERE token_hash = $1 AND coalesce(last_used_at, '-infinity') < now() - interval '1 minute'
              AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
         SELECT k.id AS key_id, k.name, k.scopes, a.id AS account_id, a.email, a.display_name, a.role
           FROM api_keys k JOIN accounts a ON a.id = k.account_id
          WHERE k.token_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND a.disabled_at IS NULL",
    )
    .bind(token.hash())
    .fetch_optional(db.service())
    .await?;
    Ok(row.and_then(|r| {
        let role = Role::from_word(&r.role)?;
        let caller = Caller::new(r.account_id, role, r.email, r.display_name, token.clone());
        Some(Found { key_id: r.key_id, name: r.name, scopes: r.scopes, caller })
    }))
}

/// Adds a key.
///
/// # Errors
/// Any of the database's.
pub async fn add<'e>(
    executor: impl PgExecutor<'e>,
    token: &Token,
    account_id: Uuid,
    name: &str,
    scopes: &[String],
    expires_at: Option<DateTime<Utc>>,
) -> sqlx::Result<Uuid> {
    sqlx::query_scalar("INSERT INTO api_keys (token_hash, account_id, name, scopes, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING id")
        .bind(token.hash())
        .bind(account_id)
        .bind(name)
        .bind(scopes)
        .bind(expires_at)
        .fetch_one(executor)
        .await
}

/// One key in a list; the secret itself is shown only once, when it is made.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Listed {
    /// The key.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// Whom it acts for.
    pub email: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Last use, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// The caller's keys, newest first; an administrator's list has everybody's.
///
/// # Errors
/// Any of the database's.
pub async fn list(db: &Db, caller: &Caller) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "SELECT k.id, k.name, a.email, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.last_used_at
           FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE $2 OR k.account_id = $1 ORDER BY k.created_at DESC, k.id LIMIT 500",
    )
    .bind(caller.account_id)
    .bind(caller.role == Role::Admin)
    .fetch_all(db.service())
    .await
}

/// Revokes a key: one's own, or anybody's when `any` is set. Whether there was a live one.
///
/// # Errors
/// Any of the database's.
pub async fn revoke<'e>(executor: impl PgExecutor<'e>, key_id: Uuid, account_id: Uuid, any: bool) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND ($3 OR account_id = $2)")
        .bind(key_id)
        .bind(account_id)
        .bind(any)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}
