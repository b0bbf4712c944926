//! Logging in and out. Whoever asks learns only "yes" or "no": an unknown account, a wrong password and a disabled
//! account get the same sentence after the same work.

use super::{Access, fingerprint, password, session, totp};
use crate::{
    model::Role,
    store::{Db, Token, accounts, accounts::Credentials, audit, audit::Actor, sessions},
};
use serde_json::json;
use std::time::Duration;

/// Limit policy: attempts from one address. The key is the address; whoever limits counts the /64 of an IPv6 one.
pub const LIMIT_ADDRESS: &str = "login-address";
/// Limit policy: attempts on one account, known or not. The key is a fingerprint of the e-mail.
pub const LIMIT_ACCOUNT: &str = "login-account";

/// One attempt.
#[derive(Clone)]
pub struct Attempt<'a> {
    /// As typed.
    pub email: &'a str,
    /// As typed.
    pub password: &'a str,
    /// The second factor's digits, where given.
    pub code: Option<&'a str>,
    /// Where the request comes from, after trusted proxies.
    pub address: &'a str,
    /// The browser's name for itself.
    pub user_agent: Option<&'a str>,
    /// For the log.
    pub request_id: Option<&'a str>,
    /// The session that the browser brought along: it ends when this login succeeds.
    pub old_session: Option<Token>,
    /// Unix seconds.
    pub now: i64,
}

/// A login that succeeded.
#[derive(Debug)]
pub struct LoginOutcome {
    /// For the cookie, see [`session::cookie`].
    pub token: Token,
    /// Who it is.
    pub role: Role,
}

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// E-mail or password is wrong, or the account is disabled: 401.
    #[error("E-mail or password is wrong.")]
    Refused,
    /// The password is right; the account has a second factor, and no code was given: 401.
    #[error("Enter the six digits of your authenticator app too.")]
    CodeNeeded,
    /// The code is wrong or was used: 401.
    #[error("That code does not fit or was used already. Take the next one.")]
    CodeRefused,
    /// 429, with the time to wait.
    #[error("Too many attempts. Try again in {} seconds.", .0.as_secs().max(1))]
    TooMany(Duration),
    /// The second factor cannot be checked: `ASSAY_SECRET_KEY` is missing or another: 503.
    #[error("Your second factor cannot be checked on this server. Ask an administrator.")]
    NoVault,
    /// 503.
    #[error("The database does not answer just now. Try again in a moment.")]
    Database(#[from] sqlx::Error),
    /// 503.
    #[error(transparent)]
    Hash(#[from] password::HashError),
}

impl LoginError {
    /// The HTTP status that says the same.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Refused | Self::CodeNeeded | Self::CodeRefused => 401,
            Self::TooMany(_) => 429,
            Self::NoVault | Self::Database(_) | Self::Hash(_) => 503,
        }
    }
}

/// Tries to log somebody in. `limit(policy, key)` says `Ok`, or how long to wait.
///
/// # Errors
/// [`LoginError`]; nothing tells an unknown account from a wrong password.
pub async fn login<L, F>(access: &Access, limit: L, attempt: Attempt<'_>) -> Result<LoginOutcome, LoginError>
where
    L: Fn(&'static str, String) -> F,
    F: Future<Output = Result<(), Duration>>,
{
    let email = attempt.email.trim().to_lowercase();
    limit(LIMIT_ADDRESS, attempt.address.to_owned()).await.map_err(LoginError::TooMany)?;
    limit(LIMIT_ACCOUNT, fingerprint(&email)).await.map_err(LoginError::TooMany)?;
    let found = if plausible(&email) { accounts::by_email(access.db.service(), &email).await? } else { None };
    let hash = found.as_ref().filter(|a| !a.disabled).and_then(|a| a.password_hash.clone());
    let right = password::verify(attempt.password.to_owned(), hash).await?;
    let Some(account) = found.filter(|_| right) else {
        // Not the e-mail as typed: people type passwords into the wrong field.
        note_failure(&access.db, &attempt, "login.failed").await?;
        return Err(LoginError::Refused);
    };
    second_factor(access, &attempt, &account).await?;
    let actor = Actor {
        account_id: Some(account.id),
        name: account.email.clone(),
        address: Some(attempt.address.to_owned()),
        request_id: attempt.request_id.map(str::to_owned),
    };
    let mut tx = access.db.begin_service().await?;
    if let Some(old) = &attempt.old_session {
        sessions::end(&mut *tx, old).await?;
    }
    let token = session::begin(&mut *tx, account.id, Some(attempt.address), attempt.user_agent).await?;
    audit::write(&mut *tx, &actor, "login", Some(&account.id.to_string()), &json!({ "second_factor": account.totp_secret.is_some() }))
        .await?;
    tx.commit().await?;
    Ok(LoginOutcome { token, role: account.role })
}

async fn second_factor(access: &Access, attempt: &Attempt<'_>, account: &Credentials) -> Result<(), LoginError> {
    let Some(sealed) = &account.totp_secret else { return Ok(()) };
    let secret = access.vault.as_ref().and_then(|v| v.open(account.id, sealed)).ok_or(LoginError::NoVault)?;
    let given = attempt.code.map(str::trim).filter(|c| !c.is_empty()).ok_or(LoginError::CodeNeeded)?;
    let step = totp::matching_step(&secret, given, attempt.now);
    let used = match step {
        Some(step) => accounts::use_totp_step(access.db.service(), account.id, step).await?,
        None => false,
    };
    if used {
        return Ok(());
    }
    note_failure(&access.db, attempt, "login.code_failed").await?;
    Err(LoginError::CodeRefused)
}

/// Failures are logged under a fingerprint of what was typed: enough to see that one account is tried again and again.
async fn note_failure(db: &Db, attempt: &Attempt<'_>, action: &str) -> sqlx::Result<()> {
    let actor = Actor {
        account_id: None,
        name: "nobody".into(),
        address: Some(attempt.address.to_owned()),
        request_id: attempt.request_id.map(str::to_owned),
    };
    let tried = fingerprint(&attempt.email.trim().to_lowercase());
    audit::write(db.service(), &actor, action, None, &json!({ "account_fingerprint": tried })).await
}

/// Whether a text can be an account's e-mail at all: the column's own limits, and nothing PostgreSQL cannot hold.
fn plausible(email: &str) -> bool {
    email.len() <= 254 && email.contains('@') && !email.contains('\0')
}

/// Ends the session of a cookie. Harmless without one. `actor` is `None` where nobody is known behind it, as after its
/// end: it goes all the same, and there is nothing to note.
///
/// # Errors
/// Any of the database's; then the session may live on, and the page must say so.
pub async fn logout(access: &Access, token: &Token, actor: Option<&Actor>) -> sqlx::Result<()> {
    let mut tx = access.db.begin_service().await?;
    let ended = sessions::end(&mut *tx, token).await?;
    if let Some(actor) = actor.filter(|_| ended) {
        let subject = actor.account_id.map(|id| id.to_string());
        audit::write(&mut *tx, actor, "logout", subject.as_deref(), &json!({})).await?;
    }
    tx.commit().await
}
