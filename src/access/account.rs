//! What is done to accounts: passwords, roles, shutting out. Each change ends the sessions that began before it, in
//! the same transaction, and leaves an audit entry.

use super::{AccessError, password, session};
use crate::{
    model::Role,
    store::{Caller, Db, Token, accounts, audit, audit::Actor, browse, dashboard, sessions},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

const NO_ACCOUNT: AccessError = AccessError::NotFound("There is no such account.");
const LAST_ADMIN: AccessError = AccessError::Conflict("This is the last administrator who can log in. Make another one first.");

/// Refuses what cannot be an e-mail address.
///
/// # Errors
/// A sentence.
pub fn valid_email(email: &str) -> Result<String, AccessError> {
    let email = email.trim().to_lowercase();
    let fine = email.len() <= 254
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if fine { Ok(email) } else { Err(AccessError::invalid("email", "That is not an e-mail address.")) }
}

/// Changes the caller's own password after asking for the present one. All sessions end; the answer is the token of a
/// fresh one for this browser.
///
/// # Errors
/// A wrong or unacceptable password, or the database's.
pub async fn change_password(
    db: &Db,
    caller: &Caller,
    actor: &Actor,
    present: &str,
    fresh: &str,
    user_agent: Option<&str>,
) -> Result<Token, AccessError> {
    password::acceptable(fresh, &caller.email).map_err(|sentence| AccessError::invalid("fresh", sentence))?;
    confirm_password(db, caller, present).await?;
    let hash = password::hash(fresh.to_owned()).await?;
    let mut tx = db.begin_service().await?;
    accounts::set_password(&mut *tx, caller.account_id, &hash).await?;
    let ended = sessions::revoke_all(&mut *tx, caller.account_id).await?;
    let token = session::begin(&mut *tx, caller.account_id, actor.address.as_deref(), user_agent).await?;
    audit::write(&mut *tx, actor, "account.password", Some(&caller.account_id.to_string()), &json!({ "sessions_ended": ended })).await?;
    tx.commit().await?;
    Ok(token)
}

/// Asks for the password again, before something that a borrowed browser must not do. Limit it like a login.
///
/// # Errors
/// [`AccessError::Invalid`] when it is wrong, or the database's.
pub async fn confirm_password(db: &Db, caller: &Caller, present: &str) -> Result<(), AccessError> {
    let account = accounts::by_id(db.service(), caller.account_id).await?.ok_or(NO_ACCOUNT)?;
    if password::verify(present.to_owned(), account.password_hash).await? {
        Ok(())
    } else {
        Err(AccessError::invalid("present", "The present password is wrong."))
    }
}

/// Gives an account a generated password, returned for handing over once; its sessions end. For administrators and the
/// command line.
///
/// # Errors
/// No such account, or the database's.
pub async fn reset_password(db: &Db, actor: &Actor, account_id: Uuid) -> Result<String, AccessError> {
    let fresh = password::generate();
    let hash = password::hash(fresh.clone()).await?;
    let mut tx = db.begin_service().await?;
    if !accounts::set_password(&mut *tx, account_id, &hash).await? {
        return Err(NO_ACCOUNT);
    }
    let ended = sessions::revoke_all(&mut *tx, account_id).await?;
    audit::write(&mut *tx, actor, "account.password_reset", Some(&account_id.to_string()), &json!({ "sessions_ended": ended })).await?;
    tx.commit().await?;
    Ok(fresh)
}

/// Changes a role. The account's sessions end: nobody keeps a page that was rendered with more rights.
///
/// # Errors
/// No such account, the last administrator, or the database's.
pub async fn set_role(db: &Db, actor: &Actor, account_id: Uuid, role: Role) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    let before = accounts_before(&mut tx, account_id).await?;
    accounts::set_role(&mut *tx, account_id, role).await?;
    still_an_admin(&mut tx).await?;
    sessions::revoke_all(&mut *tx, account_id).await?;
    let detail = json!({ "before": before.role.word(), "after": role.word() });
    audit::write(&mut *tx, actor, "account.role", Some(&account_id.to_string()), &detail).await?;
    tx.commit().await?;
    Ok(())
}

/// Shuts an account out, or lets it in again. Its sessions end at once; its keys stop working while it is shut out.
///
/// # Errors
/// No such account, the last administrator, or the database's.
pub async fn set_disabled(db: &Db, actor: &Actor, account_id: Uuid, disabled: bool) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    let before = accounts_before(&mut tx, account_id).await?;
    accounts::set_disabled(&mut *tx, account_id, disabled).await?;
    still_an_admin(&mut tx).await?;
    sessions::revoke_all(&mut *tx, account_id).await?;
    let detail = json!({ "before": before.disabled, "after": disabled });
    audit::write(&mut *tx, actor, "account.disabled", Some(&account_id.to_string()), &detail).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends one of the caller's own sessions.
///
/// # Errors
/// No such session, or the database's.
pub async fn revoke_session(db: &Db, caller: &Caller, actor: &Actor, session_id: Uuid) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    if !sessions::revoke(&mut *tx, caller.account_id, session_id).await? {
        return Err(AccessError::NotFound("There is no such session, or it has ended already."));
    }
    audit::write(&mut *tx, actor, "session.revoke", Some(&session_id.to_string()), &json!({})).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends the caller's own sessions but the one that asks.
///
/// # Errors
/// Any of the database's.
pub async fn revoke_other_sessions(db: &Db, caller: &Caller, actor: &Actor) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    let ended = sessions::revoke_others(&mut *tx, caller).await?;
    audit::write(&mut *tx, actor, "session.revoke_others", Some(&caller.account_id.to_string()), &json!({ "sessions_ended": ended }))
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Ends all sessions of an account, for administrators: a lost telephone, a shared computer.
///
/// # Errors
/// No such account, or the database's.
pub async fn end_sessions(db: &Db, actor: &Actor, account_id: Uuid) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    accounts::by_id(&mut *tx, account_id).await?.ok_or(NO_ACCOUNT)?;
    let ended = sessions::revoke_all(&mut *tx, account_id).await?;
    audit::write(&mut *tx, actor, "account.sessions_ended", Some(&account_id.to_string()), &json!({ "sessions_ended": ended })).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether administrators must have a second factor.
///
/// # Errors
/// Any of the database's.
pub async fn second_factor_demanded(db: &Db) -> Result<bool, AccessError> {
    let mut conn = db.service().acquire().await?;
    Ok(dashboard::switch(&mut conn, sessions::SECOND_FACTOR_SETTING).await?.unwrap_or(false))
}

/// Demands a second factor of administrators, or leaves it to each.
///
/// # Errors
/// Any of the database's.
pub async fn demand_second_factor(db: &Db, caller: &Caller, actor: &Actor, on: bool) -> Result<(), AccessError> {
    let mut tx = db.begin_service().await?;
    let before = dashboard::switch(&mut tx, sessions::SECOND_FACTOR_SETTING).await?.unwrap_or(false);
    browse::set_switch(&mut *tx, sessions::SECOND_FACTOR_SETTING, on, caller.account_id).await?;
    let detail = json!({ "before": before, "after": on });
    audit::write(&mut *tx, actor, "settings.change", Some(sessions::SECOND_FACTOR_SETTING), &detail).await?;
    tx.commit().await?;
    Ok(())
}

/// Locks out other changes of administrators first, so that two at once cannot remove the last two.
async fn accounts_before(tx: &mut PgConnection, account_id: Uuid) -> Result<accounts::Credentials, AccessError> {
    accounts::lock_admins(tx).await?;
    accounts::by_id(tx, account_id).await?.ok_or(NO_ACCOUNT)
}

/// The caller's transaction is rolled back when this refuses.
async fn still_an_admin(tx: &mut PgConnection) -> Result<(), AccessError> {
    if accounts::has_admin(tx).await? { Ok(()) } else { Err(LAST_ADMIN) }
}
