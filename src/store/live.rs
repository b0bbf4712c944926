//! Listening for live events, and whom an account may hear of.

use super::{Caller, Db};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::collections::HashSet;
use std::time::Duration;

/// The channel that commits announce on.
pub const CHANNEL: &str = "assay_live";

/// After so long a silence the server is asked whether it is there; a later answer is none.
const SILENCE: Duration = Duration::from_secs(5);

/// A session that listens. Its connection is outside the pools: one whose server vanished would keep a place in them until
/// the network gives up.
pub struct Listening {
    listener: PgListener,
    own: PgPool,
}

impl Listening {
    /// Listens from now on.
    pub async fn begin(db: &Db) -> sqlx::Result<Self> {
        let own = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with((*db.service.connect_options()).clone());
        let mut listener = PgListener::connect_with(&own).await?;
        // Whoever reconnects without a word loses what was announced meanwhile, and nobody knows.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(Self { listener, own })
    }

    /// Hands every payload to `heard` until the connection is lost.
    pub async fn hear(mut self, heard: impl Fn(&str)) {
        loop {
            tokio::select! {
                got = self.listener.try_recv() => match got {
                    Ok(Some(news)) => heard(news.payload()),
                    Ok(None) | Err(_) => break,
                },
                // A server that vanished without a word is noticed by asking.
                () = tokio::time::sleep(SILENCE) => {
                    let asked = tokio::time::timeout(SILENCE, sqlx::query("SELECT 1").execute(&mut self.listener)).await;
                    if !matches!(asked, Ok(Ok(_))) {
                        break;
                    }
                }
            }
        }
        drop(self.listener);
        let _ = tokio::time::timeout(Duration::from_secs(2), self.own.close()).await;
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
