//! Accounts and their invitations. Whoever changes a role, a password or a second factor ends the sessions too:
//! the functions of `access` do both in one transaction.

use super::{Caller, Db};
use crate::model::Role;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use std::fmt;
use uuid::Uuid;

/// What a login needs. Debug shows neither hash nor secret, and it cannot be serialised.
#[derive(Clone)]
pub struct Credentials {
    /// The account.
    pub id: Uuid,
    /// Lower case.
    pub email: String,
    /// May be empty.
    pub display_name: String,
    /// What it may do.
    pub role: Role,
    /// Argon2id in PHC form; `None` until an invitation was accepted.
    pub password_hash: Option<String>,
    /// May not log in.
    pub disabled: bool,
    /// Encrypted second-factor secret.
    pub totp_secret: Option<Vec<u8>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

#[derive(sqlx::FromRow)]
struct CredentialsRow {
    id: Uuid,
    email: String,
    display_name: String,
    role: String,
    password_hash: Option<String>,
    disabled: bool,
    totp_secret: Option<Vec<u8>>,
}

impl CredentialsRow {
    fn into_domain(self) -> sqlx::Result<Credentials> {
        let role = Role::from_word(&self.role).ok_or_else(|| sqlx::Error::Decode("unknown role".into()))?;
        let Self { id, email, display_name, password_hash, disabled, totp_secret, .. } = self;
        Ok(Credentials { id, email, display_name, role, password_hash, disabled, totp_secret })
    }
}

/// By e-mail, which is compared in lower case.
///
/// # Errors
/// Any of the database's.
pub async fn by_email<'e>(executor: impl PgExecutor<'e>, email: &str) -> sqlx::Result<Option<Credentials>> {
    let row: Option<CredentialsRow> = sqlx::query_as(
        "SELECT id, email, display_name, role, password_hash, disabled_at IS NOT NULL AS disabled, totp_secret FROM accounts WHERE email = lower($1)",
    )
    .bind(email)
    .fetch_optional(executor)
    .await?;
    row.map(CredentialsRow::into_domain).transpose()
}

/// By id.
///
/// # Errors
/// Any of the database's.
pub async fn by_id<'e>(executor: impl PgExecutor<'e>, id: Uuid) -> sqlx::Result<Option<Credentials>> {
    let row: Option<CredentialsRow> = sqlx::query_as(
        "SELECT id, email, display_name, role, password_hash, disabled_at IS NOT NULL AS disabled, totp_secret FROM accounts WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(executor)
    .await?;
    row.map(CredentialsRow::into_domain).transpose()
}

/// Adds an account; `None` when the e-mail is taken.
///
/// # Errors
/// Any of the database's.
pub async fn add<'e>(
    executor: impl PgExecutor<'e>,
    email: &str,
    display_name: &str,
    role: Role,
    password_hash: Option<&str>,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar(
        "INSERT INTO accounts (email, display_name, role, password_hash) VALUES (lower($1), $2, $3, $4)
         ON CONFLICT (email) DO NOTHING RETURNING id",
    )
    .bind(email)
    .bind(display_name)
    .bind(role.word())
    .bind(password_hash)
    .fetch_optional(executor)
    .await
}

/// An account as the administrator's list shows it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Listed {
    /// The account.
    pub id: Uuid,
    /// Lower case.
    pub email: String,
    /// May be empty.
    pub display_name: String,
    /// `admin` or `trainer`.
    pub role: String,
    /// Since when it may not log in.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// How many clients are assigned.
    pub clients: i64,
}

/// The accounts the caller may see, by e-mail: all for an administrator, its own for a trainer.
///
/// # Errors
/// Any of the database's.
pub async fn list(db: &Db, caller: &Caller) -> sqlx::Result<Vec<Listed>> {
    let mut tx = db.begin_as(caller).await?;
    let rows = listed(&mut *tx).await?;
    tx.commit().await?;
    Ok(rows)
}

/// All accounts, for the command line on the server itself.
///
/// # Errors
/// Any of the database's.
pub async fn list_all(db: &Db) -> sqlx::Result<Vec<Listed>> {
    listed(db.service()).await
}

async fn listed<'e>(executor: impl PgExecutor<'e>) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "SELECT id, email, display_name, role, disabled_at, created_at,
                (SELECT count(*) FROM trainer_clients tc WHERE tc.trainer_id = accounts.id) AS clients
           FROM accounts ORDER BY email",
    )
    .fetch_all(executor)
    .await
}

/// Whether some administrator can log in.
///
/// # Errors
/// Any of the database's.
pub async fn has_admin<'e>(executor: impl PgExecutor<'e>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE role = 'admin' AND disabled_at IS NULL AND password_hash IS NOT NULL)")
        .fetch_one(executor)
        .await
}

/// Takes the lock under which administrators are made and unmade, until the transaction ends: ten nodes that start
/// together make one first administrator, and two who demote each other leave one.
///
/// # Errors
/// Any of the database's.
pub async fn lock_admins(tx: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('assay.admins'))").execute(tx).await.map(drop)
}

/// Sets a password's hash.
///
/// # Errors
/// Any of the database's.
pub async fn set_password<'e>(executor: impl PgExecutor<'e>, id: Uuid, hash: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET password_hash = $2 WHERE id = $1").bind(id).bind(hash).execute(executor).await?;
    Ok(done.rows_affected() > 0)
}

/// Lets an account in or shuts it out.
///
/// # Errors
/// Any of the database's.
pub async fn set_disabled<'e>(executor: impl PgExecutor<'e>, id: Uuid, disabled: bool) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1")
        .bind(id)
        .bind(disabled)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Changes what an account may do.
///
/// # Errors
/// Any of the database's.
pub async fn set_role<'e>(executor: impl PgExecutor<'e>, id: Uuid, role: Role) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET role = $2 WHERE id = $1").bind(id).bind(role.word()).execute(executor).await?;
    Ok(done.rows_affected() > 0)
}

/// Sets the encrypted second-factor secret; `false` when one is set already. Two set-ups at once meet at the row's lock,
/// and the second finds it set.
///
/// # Errors
/// Any of the database's.
pub async fn set_totp<'e>(executor: impl PgExecutor<'e>, id: Uuid, sealed: &[u8], step: i64) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET totp_secret = $2, totp_last_step = $3 WHERE id = $1 AND totp_secret IS NULL")
        .bind(id)
        .bind(sealed)
        .bind(step)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Takes the second-factor secret away; whether there was one.
///
/// # Errors
/// Any of the database's.
pub async fn clear_totp<'e>(executor: impl PgExecutor<'e>, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET totp_secret = NULL, totp_last_step = NULL WHERE id = $1 AND totp_secret IS NOT NULL")
        .bind(id)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Uses up the code of a 30-second step: `false` when it, or a later one, was used before. Two logins with one code
/// meet at the row's lock, and the second finds it used.
///
/// # Errors
/// Any of the database's.
pub async fn use_totp_step<'e>(executor: impl PgExecutor<'e>, id: Uuid, step: i64) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET totp_last_step = $2 WHERE id = $1 AND coalesce(totp_last_step, -1) < $2")
        .bind(id)
        .bind(step)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Changes what people call the account.
///
/// # Errors
/// Any of the database's.
pub async fn set_display_name<'e>(executor: impl PgExecutor<'e>, id: Uuid, name: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE accounts SET display_name = left($2, 120) WHERE id = $1").bind(id).bind(name).execute(executor).await?;
    Ok(done.rows_affected() > 0)
}

/// Adds an invitation by its token's hash and voids the account's older ones.
///
/// # Errors
/// Any of the database's.
pub async fn add_invitation(
    tx: &mut PgConnection,
    hash: [u8; 32],
    account_id: Uuid,
    by: Option<Uuid>,
    valid_seconds: i32,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM invitations WHERE account_id = $1 AND used_at IS NULL").bind(account_id).execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO invitations (token_hash, account_id, created_by, expires_at) VALUES ($1, $2, $3, now() + make_interval(secs => $4))",
    )
    .bind(hash)
    .bind(account_id)
    .bind(by)
    .bind(f64::from(valid_seconds))
    .execute(tx)
    .await
    .map(drop)
}

/// The account an open invitation is for.
///
/// # Errors
/// Any of the database's.
pub async fn open_invitation<'e>(executor: impl PgExecutor<'e>, hash: [u8; 32]) -> sqlx::Result<Option<Credentials>> {
    let row: Option<CredentialsRow> = sqlx::query_as(
        "SELECT a.id, a.email, a.display_name, a.role, a.password_hash, false AS disabled, a.totp_secret
           FROM invitations i JOIN accounts a ON a.id = i.account_id
          WHERE i.token_hash = $1 AND i.used_at IS NULL AND i.expires_at > now() AND a.disabled_at IS NULL",
    )
    .bind(hash)
    .fetch_optional(executor)
    .await?;
    row.map(CredentialsRow::into_domain).transpose()
}

/// Uses an invitation up; `false` when it was used, has expired or never was.
///
/// # Errors
/// Any of the database's.
pub async fn use_invitation<'e>(executor: impl PgExecutor<'e>, hash: [u8; 32]) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE invitations SET used_at = now() WHERE token_hash = $1 AND used_at IS NULL AND expires_at > now()")
        .bind(hash)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes links that were used or have expired a month ago; how many. The daily clean-up calls it.
///
/// # Errors
/// Any of the database's.
pub async fn clean_up_invitations<'e>(executor: impl PgExecutor<'e>) -> sqlx::Result<u64> {
    let done = sqlx::query("DELETE FROM invitations WHERE expires_at < now() - interval '30 days'").execute(executor).await?;
    Ok(done.rows_affected())
}
