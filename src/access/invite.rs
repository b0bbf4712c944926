//! Invitations: an account without a password, and a link that sets one. No mail server is needed: the link is shown to
//! the administrator, who hands it over. The same link serves when somebody forgot the password.

use super::{AccessError, account::valid_email, password, random_token};
use crate::{
    model::Role,
    store::{Db, Token, accounts, audit, audit::Actor, sessions},
};
use serde_json::json;
use uuid::Uuid;

/// A link lives so many seconds: 3 days.
pub const VALID_SECONDS: i32 = 3 * 86_400;

const GONE: AccessError = AccessError::NotFound("This link was used already or has expired. Ask an administrator for a new one.");

/// A link to hand over; shown once. The path holds the secret: request logs name the route, not the path.
#[derive(Clone)]
pub struct Invitation {
    /// Whom it is for.
    pub account_id: Uuid,
    /// `/invite/…`
    pub path: String,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("account_id", &self.account_id).finish_non_exhaustive()
    }
}

/// Makes an account and its link.
///
/// # Errors
/// An unusable or taken e-mail, or the database's.
pub async fn invite(db: &Db, actor: &Actor, email: &str, display_name: &str, role: Role) -> Result<Invitation, AccessError> {
    let email = valid_email(email)?;
    if display_name.chars().count() > 120 {
        return Err(AccessError::invalid("name", "The name is too long: at most 120 characters."));
    }
    let mut tx = db.begin_service().await?;
    let account_id = accounts::add(&mut *tx, &email, display_name.trim(), role, None)
        .await?
        .ok_or(AccessError::Conflict("There is an account with this e-mail address already."))?;
    let token = random_token();
    accounts::add_invitation(&mut tx, token.hash(), account_id, actor.account_id, VALID_SECONDS).await?;
    let detail = json!({ "email": email, "role": role.word() });
    audit::write(&mut *tx, actor, "account.invite", Some(&account_id.to_string()), &detail).await?;
    tx.commit().await?;
    Ok(Invitation { account_id, path: format!("/invite/{}", token.expose()) })
}

/// A link with which the account's owner sets a new password; older links stop working. The present password stays
/// valid until then.
///
/// # Errors
/// No such account, or the database's.
pub async fn reset_link(db: &Db, actor: &Actor, account_id: Uuid) -> Result<Invitation, AccessError> {
    let mut tx = db.begin_service().await?;
    accounts::by_id(&mut *tx, account_id).await?.ok_or(AccessError::NotFound("There is no such account."))?;
    let token = random_token();
    accounts::add_invitation(&mut tx, token.hash(), account_id, actor.account_id, VALID_SECONDS).await?;
    audit::write(&mut *tx, actor, "account.reset_link", Some(&account_id.to_string()), &json!({})).await?;
    tx.commit().await?;
    Ok(Invitation { account_id, path: format!("/invite/{}", token.expose()) })
}

/// Whom an open link is for: the e-mail, for the page that asks for the password.
///
/// # Errors
/// The link is no longer good, or the database's.
pub async fn look_up(db: &Db, token: &str) -> Result<String, AccessError> {
    let token = Token::parse(token).ok_or(GONE)?;
    Ok(accounts::open_invitation(db.service(), token.hash()).await?.ok_or(GONE)?.email)
}

/// Sets the password and uses the link up. Sessions end; the owner logs in with the new password.
///
/// # Errors
/// The link is no longer good, the password unacceptable, or the database's.
pub async fn accept(db: &Db, token: &str, fresh: &str, address: Option<String>) -> Result<(), AccessError> {
    let token = Token::parse(token).ok_or(GONE)?;
    let account = accounts::open_invitation(db.service(), token.hash()).await?.ok_or(GONE)?;
    password::acceptable(fresh, &account.email).map_err(|sentence| AccessError::invalid("password", sentence))?;
    let hash = password::hash(fresh.to_owned()).await?;
    let mut tx = db.begin_service().await?;
    if !accounts::use_invitation(&mut *tx, token.hash()).await? {
        return Err(GONE);
    }
    accounts::set_password(&mut *tx, account.id, &hash).await?;
    sessions::revoke_all(&mut *tx, account.id).await?;
    let actor = Actor { account_id: Some(account.id), name: account.email, address, request_id: None };
    audit::write(&mut *tx, &actor, "account.invitation_accepted", Some(&account.id.to_string()), &json!({})).await?;
    tx.commit().await?;
    Ok(())
}
