//! Sessions by the hash of their token: made at login, looked up at each request, revoked.

use super::{Caller, Db, Token};
use crate::model::Role;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;
use uuid::Uuid;

/// What a session's cookie proved.
#[derive(Debug, Clone)]
pub struct Found {
    /// The account, with the token as its proof to the database.
    pub caller: Caller,
    /// The account must add its second factor before anything else (a setting demands it of administrators).
    pub must_enrol: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    account_id: Uuid,
    email: String,
    display_name: String,
    role: String,
    preferences: sqlx::types::Json<serde_json::Value>,
    must_enrol: bool,
}

/// The setting that demands a second factor of administrators: `true` or absent.
pub const SECOND_FACTOR_SETTING: &str = "access.second_factor_for_admins";

/// Looks a token up. A session in use moves its idle limit on, at most once a minute: reading costs no write.
///
/// # Errors
/// Any of the database's; then nothing is known about the caller.
pub async fn find(db: &Db, token: &Token, idle_seconds: i32) -> sqlx::Result<Option<Found>> {
    let row: Option<Row> = sqlx::query_as(
        "WITH seen AS (
           UPDATE login_sessions SET last_seen_at = now(), idle_until = least(now() + make_interval(secs => $2), expires_at)
            WHERE token_hash = $1 AND last_seen_at < now() - interval '1 minute' AND idle_until > now() AND expires_at > now())
         SELECT a.id AS account_id, a.email, a.display_name, a.role, a.preferences,
                a.role = 'admin' AND a.totp_secret IS NULL
                  AND EXISTS (SELECT 1 FROM settings WHERE key = $3 AND value = 'true') AS must_enrol
           FROM login_sessions s JOIN accounts a ON a.id = s.account_id
          WHERE s.token_hash = $1 AND s.idle_until > now() AND s.expires_at > now() AND a.disabled_at IS NULL",
    )
    .bind(token.hash())
    .bind(f64::from(idle_seconds))
    .bind(SECOND_FACTOR_SETTING)
    .fetch_optional(db.service())
    .await?;
    Ok(row.and_then(|r| {
        let role = Role::from_word(&r.role)?;
        let mut caller = Caller::new(r.account_id, role, r.email, r.display_name, token.clone());
        caller.preferences = r.preferences.0;
        Some(Found { caller, must_enrol: r.must_enrol })
    }))
}

/// Adds a session. Times are seconds from now.
///
/// # Errors
/// Any of the database's.
pub async fn add<'e>(
    executor: impl PgExecutor<'e>,
    token: &Token,
    account_id: Uuid,
    idle_seconds: i32,
    absolute_seconds: i32,
    address: Option<&str>,
    user_agent: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO login_sessions (token_hash, account_id, idle_until, expires_at, address, user_agent)
         VALUES ($1, $2, now() + make_interval(secs => $3), now() + make_interval(secs => $4), $5, $6)",
    )
    .bind(token.hash())
    .bind(account_id)
    .bind(f64::from(idle_seconds))
    .bind(f64::from(absolute_seconds))
    .bind(address)
    .bind(user_agent)
    .execute(executor)
    .await
    .map(drop)
}

/// Ends the session of a token; whether there was one.
///
/// # Errors
/// Any of the database's.
pub async fn end<'e>(executor: impl PgExecutor<'e>, token: &Token) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM login_sessions WHERE token_hash = $1").bind(token.hash()).execute(executor).await?;
    Ok(done.rows_affected() > 0)
}

/// Ends one session of an account by the id that the list shows; whether there was one.
///
/// # Errors
/// Any of the database's.
pub async fn revoke<'e>(executor: impl PgExecutor<'e>, account_id: Uuid, session_id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM login_sessions WHERE account_id = $1 AND id = $2")
        .bind(account_id)
        .bind(session_id)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends all sessions of an account; how many.
///
/// # Errors
/// Any of the database's.
pub async fn revoke_all<'e>(executor: impl PgExecutor<'e>, account_id: Uuid) -> sqlx::Result<u64> {
    let done = sqlx::query("DELETE FROM login_sessions WHERE account_id = $1").bind(account_id).execute(executor).await?;
    Ok(done.rows_affected())
}

/// Ends the caller's sessions but the one that asks; how many.
///
/// # Errors
/// Any of the database's.
pub async fn revoke_others<'e>(executor: impl PgExecutor<'e>, caller: &Caller) -> sqlx::Result<u64> {
    let done = sqlx::query("DELETE FROM login_sessions WHERE account_id = $1 AND token_hash <> $2")
        .bind(caller.account_id)
        .bind(caller.token().hash())
        .execute(executor)
        .await?;
    Ok(done.rows_affected())
}

/// Deletes what expired; how many. The daily clean-up calls it.
///
/// # Errors
/// Any of the database's.
pub async fn clean_up<'e>(executor: impl PgExecutor<'e>) -> sqlx::Result<u64> {
    let done = sqlx::query("DELETE FROM login_sessions WHERE idle_until < now() OR expires_at < now()").execute(executor).await?;
    Ok(done.rows_affected())
}

/// One session as its owner sees it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Listed {
    /// Names it for [`revoke`]; reveals nothing of the token.
    pub id: Uuid,
    /// Login.
    pub created_at: DateTime<Utc>,
    /// Last request, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// Ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// Where the login came from.
    pub address: Option<String>,
    /// The browser, in its own words.
    pub user_agent: Option<String>,
    /// The one that asks.
    pub current: bool,
}

/// The caller's own live sessions, newest use first.
///
/// # Errors
/// Any of the database's.
pub async fn list(db: &Db, caller: &Caller) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "SELECT id, created_at, last_seen_at, expires_at, address, user_agent, token_hash = $2 AS current FROM login_sessions
          WHERE account_id = $1 AND idle_until > now() AND expires_at > now() ORDER BY last_seen_at DESC, id LIMIT 200",
    )
    .bind(caller.account_id)
    .bind(caller.token().hash())
    .fetch_all(db.service())
    .await
}
