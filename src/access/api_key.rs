//! Keys for programs: named, for some purposes only, hashed, expiring, revocable. A key acts for the account that made
//! it, with that account's sight; the database resolves its token as it does a session's.

use super::{AccessError, random_token, service_key::bearer};
use crate::{
    model::Role,
    store::{Caller, Db, Token, api_keys, api_keys::Found, audit, audit::Actor},
};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

/// What a key can be for.
pub const SCOPES: &[(&str, &str)] = &[
    ("metrics:read", "Metrics, confidence and findings of the persons you may see"),
    ("deliveries:read", "Deliveries of the persons you may see, without their bodies"),
];
/// Begins every key, so that scanners of leaked secrets know it.
pub const PREFIX: &str = "assay_";

/// Makes a key that lives `days` (1–730); the text is shown once.
///
/// # Errors
/// An unusable name, scope or time, or the database's.
pub async fn create(
    db: &Db,
    caller: &Caller,
    actor: &Actor,
    name: &str,
    scopes: &[String],
    days: i32,
    now: DateTime<Utc>,
) -> Result<(Uuid, String), AccessError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(AccessError::invalid("name", "Give the key a name of at most 100 characters."));
    }
    if scopes.is_empty() || !scopes.iter().all(|s| SCOPES.iter().any(|(known, _)| s == known)) {
        return Err(AccessError::invalid("scope", "Choose what the key is for."));
    }
    if !(1..=730).contains(&days) {
        return Err(AccessError::invalid("days", "A key lives between 1 and 730 days."));
    }
    let token = random_token();
    let expires = now + chrono::Duration::days(i64::from(days));
    let mut tx = db.begin_service().await?;
    let id = api_keys::add(&mut *tx, &token, caller.account_id, name, scopes, Some(expires)).await?;
    let detail = json!({ "name": name, "scopes": scopes, "expires_at": expires });
    audit::write(&mut *tx, actor, "api_key.create", Some(&id.to_string()), &detail).await?;
    tx.commit().await?;
    Ok((id, format!("{PREFIX}{}", token.expose())))
}

/// Revokes a key: one's own, or anybody's for an administrator.
///
/// # Errors
/// No such live key, or the database's.
pub async fn revoke(db: &Db, caller: &Caller, actor: &Actor, key_id: Uuid) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    if !api_keys::revoke(&mut *tx, key_id, caller.account_id, caller.role == Role::Admin).await? {
        return Err(AccessError::NotFound("There is no such key, or it was revoked already."));
    }
    audit::write(&mut *tx, actor, "api_key.revoke", Some(&key_id.to_string()), &json!({})).await?;
    tx.commit().await?;
    Ok(())
}

/// Whom a request's bearer key proves. `Ok(None)`: no key, or none of ours that lives: 401.
///
/// # Errors
/// Any of the database's: 503.
pub async fn identify(db: &Db, headers: &HeaderMap) -> sqlx::Result<Option<Found>> {
    let Some(token) = bearer(headers).and_then(|b| b.strip_prefix(PREFIX)).and_then(Token::parse) else { return Ok(None) };
    api_keys::find(db, &token).await
}

/// Whether a key may be used for something.
pub fn allows(found: &Found, scope: &str) -> bool {
    found.scopes.iter().any(|s| s == scope)
}
