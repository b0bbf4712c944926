//! Listening for live events, and whom an account may hear of.

use super::{Caller, Db};
use sqlx::postgres::PgListener;
use std::collections::HashSet;

/// The channel that commits announce on.
pub const CHANNEL: &str = "assay_live";

/// Hands every payload to `heard` until the connection fails for good.
pub async fn listen(db: &Db, heard: impl Fn(&str)) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(&db.service).await?;
    listener.listen(CHANNEL).await?;
    loop {
        heard(listener.recv().await?.payload());
    }
}

/// Tells the workers that somebody is looking at these persons (jobs/watched.rs).
///
/// # Errors
/// The database's.
pub async fn watching(db: &Db, users: &[&str]) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_notify('assay_jobs', 'watched:' || user_id) FROM unnest($1::text[]) AS user_id")
        .bind(users)
        .execute(db.service())
        .await?;
    Ok(())
}

/// The persons assigned to the caller; `None` when the session has ended. Administrators get an empty set.
pub async fn clients_of(db: &Db, caller: &Caller) -> sqlx::Result<Option<HashSet<String>>> {
    let mut tx = db.begin_as(caller).await?;
    let role: Option<String> = sqlx::query_scalar("SELECT app.caller_role()").fetch_one(&mut *tx).await?;
    if role.is_none() {
        return Ok(None);
    }
    let clients: Vec<String> = sqlx::query_scalar("SELECT user_id FROM app.caller_clients() AS user_id").fetch_all(&mut *tx).await?;
    Ok(Some(clients.into_iter().collect()))
}
