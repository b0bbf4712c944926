//! The session that says "this worker is here": it holds the worker's advisory lock and listens for new jobs.
//!
//! When it breaks, another one is opened with a new lock and the row is renewed. Until then the worker claims nothing,
//! because whatever it held may be given to others.

use super::backoff::Backoff;
use crate::store::workers;
use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

/// Where the wake-ups come from.
const CHANNEL: &str = "assay_jobs";

/// How a worker introduces itself.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub id: Uuid,
    pub node: String,
    pub role: String,
    pub detail: serde_json::Value,
}

/// The session. It has a connection of its own, outside the pool: a pooled one would go on living, and keep the lock,
/// after the worker is gone.
pub(super) struct Session {
    listener: PgListener,
    own: PgPool,
}

impl Session {
    /// Ends it, and with it the lock.
    pub async fn end(self) {
        drop(self.listener);
        self.own.close().await;
    }
}

/// Opens the session and registers the worker.
pub(super) async fn arrive(pool: &PgPool, me: &Identity) -> sqlx::Result<Session> {
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&own).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    workers::register(&mut listener, me.id, rand::random(), &me.node, &me.role, &me.detail).await?;
    Ok(Session { listener, own })
}

/// Keeps the session until `cancel`; says on `here` whether there is one, and hands each notification to `heard`.
pub(super) async fn keep(pool: PgPool, me: Identity, here: watch::Sender<bool>, cancel: CancellationToken, heard: impl Fn(&str) + Send) {
    let mut backoff = Backoff::default();
    while !cancel.is_cancelled() {
        match arrive(&pool, &me).await {
            Ok(mut session) => {
                backoff.reset();
                here.send_replace(true);
                heard(""); // whatever came while we did not listen
                stay(&mut session.listener, &cancel, &heard).await;
                let _ = tokio::time::timeout(Duration::from_secs(2), session.end()).await;
                here.send_replace(false);
                if !cancel.is_cancelled() {
                    info!("the worker's session ended; opening another one");
                }
            }
            Err(e) => warn!(error = %e, "the worker cannot reach the database yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = cancel.cancelled() => {}
        }
    }
}

async fn stay(listener: &mut PgListener, cancel: &CancellationToken, heard: &impl Fn(&str)) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            got = listener.try_recv() => match got {
                Ok(Some(n)) => heard(n.payload()),
                Ok(None) | Err(_) => return,
            },
            // A server that vanished without a word is noticed by asking.
            () = tokio::time::sleep(Duration::from_secs(5)) => {
                let asked = tokio::time::timeout(Duration::from_secs(5), sqlx::query("SELECT 1").execute(&mut *listener)).await;
                if !matches!(asked, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
