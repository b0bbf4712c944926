//! The first start: somebody must be able to log in. Ten nodes that start together make one administrator.

use super::{AccessError, account::valid_email, password};
use crate::{
    model::Role,
    store::{Db, accounts, audit, audit::Actor, persons},
};
use serde_json::json;
use std::fmt;

/// The administrator's e-mail when none is configured.
pub const DEFAULT_EMAIL: &str = "admin@example.com";
const DEMO_TRAINERS: usize = 4;

/// Logins that were just made, to be printed once by whoever called. Debug shows no password.
pub struct FirstLogins {
    /// The administrator.
    pub email: String,
    /// Its password, if it was generated here.
    pub password: Option<String>,
    /// The demonstration's trainers with their passwords.
    pub trainers: Vec<(String, String)>,
}

impl fmt::Debug for FirstLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstLogins({} trainers)", self.trainers.len())
    }
}

/// Makes the first administrator where there is none who can log in; `None`: there was one, or another node made it.
/// In the demonstration also the trainers `trainer1@example.com` to `trainer4@example.com`.
///
/// # Errors
/// An unusable e-mail or password, or the database's.
pub async fn ensure(db: &Db, email: Option<&str>, given: Option<&str>, demo: bool) -> Result<Option<FirstLogins>, AccessError> {
    if accounts::has_admin(db.service()).await? {
        return Ok(None);
    }
    let email = valid_email(email.unwrap_or(DEFAULT_EMAIL))?;
    let generated = given.is_none().then(password::generate);
    let secret = given.map(str::to_owned).or_else(|| generated.clone()).unwrap_or_default();
    password::acceptable(&secret, &email).map_err(|sentence| AccessError::invalid("password", sentence))?;
    // Hashing takes long; it is done before the lock.
    let admin_hash = password::hash(secret).await?;
    let mut trainers = Vec::new();
    for n in 1..=if demo { DEMO_TRAINERS } else { 0 } {
        let secret = password::generate();
        trainers.push((trainer_email(n), password::hash(secret.clone()).await?, secret));
    }
    let mut tx = db.begin_service().await?;
    accounts::lock_admins(&mut tx).await?;
    if accounts::has_admin(&mut *tx).await? {
        return Ok(None);
    }
    let id = match accounts::add(&mut *tx, &email, "", Role::Admin, Some(&admin_hash)).await? {
        Some(id) => id,
        None => {
            // The account is there, but is no administrator who can log in: the operator's word makes it one.
            let known = accounts::by_email(&mut *tx, &email).await?.ok_or(AccessError::NotFound("There is no such account."))?;
            accounts::set_password(&mut *tx, known.id, &admin_hash).await?;
            accounts::set_role(&mut *tx, known.id, Role::Admin).await?;
            accounts::set_disabled(&mut *tx, known.id, false).await?;
            known.id
        }
    };
    audit::write(
        &mut *tx,
        &Actor::system(),
        "account.first_admin",
        Some(&id.to_string()),
        &json!({ "generated_password": generated.is_some() }),
    )
    .await?;
    let mut printed = Vec::new();
    for (n, (email, hash, secret)) in trainers.into_iter().enumerate() {
        if accounts::add(&mut *tx, &email, &format!("Trainer {}", n + 1), Role::Trainer, Some(&hash)).await?.is_some() {
            printed.push((email, secret));
        }
    }
    tx.commit().await?;
    Ok(Some(FirstLogins { email, password: generated, trainers: printed }))
}

/// Spreads the simulated persons over the demonstration's trainers; how many assignments are new. Call it when simulated
/// persons were made; harmless when repeated.
///
/// # Errors
/// Any of the database's.
pub async fn assign_demo_clients(db: &Db) -> sqlx::Result<u64> {
    let mut ids = Vec::new();
    for n in 1..=DEMO_TRAINERS {
        if let Some(account) = accounts::by_email(db.service(), &trainer_email(n)).await? {
            ids.push(account.id);
        }
    }
    persons::assign_simulated(db, &ids).await
}

fn trainer_email(n: usize) -> String {
    format!("trainer{n}@example.com")
}
