//! Tells workers that deliveries wait: one notification for all that was stored in the last moment.
//!
//! It comes after the commit and may be lost with the process; workers look by themselves as well.

use crate::store::deliveries;
use sqlx::{PgConnection, PgPool};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Stored deliveries of this moment share a notification.
const GATHER: Duration = Duration::from_millis(20);
/// A server that does not take the notification within this time is away.
const LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Wake {
    stored: Arc<Notify>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Wake {
    pub fn start(pool: PgPool) -> Self {
        let (stored, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let task = tokio::spawn(run(pool, stored.clone(), stop.clone()));
        Self { stored, stop, task: Mutex::new(Some(task)) }
    }

    /// There is work. Never waits.
    pub fn wake(&self) {
        self.stored.notify_one();
    }

    /// Ends after a last notification that was still owed.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await; // it cannot panic, and a lost notification costs a moment
        }
    }
}

async fn run(pool: PgPool, stored: Arc<Notify>, stop: CancellationToken) {
    let mut connection = None;
    loop {
        let last = tokio::select! {
            biased;
            () = stored.notified() => false,
            () = stop.cancelled() => true,
        };
        if last {
            return;
        }
        let told = tokio::time::timeout(LIMIT, notify(&pool, connection.take())).await;
        match told {
            Ok(Ok(conn)) => connection = Some(conn),
            Ok(Err(error)) => tracing::debug!(%error, "workers could not be notified; they will look by themselves"),
            Err(_) => tracing::debug!("workers could not be notified in time; they will look by themselves"),
        }
        tokio::time::sleep(GATHER).await;
    }
}

async fn notify(pool: &PgPool, connection: Option<PgConnection>) -> sqlx::Result<PgConnection> {
    let mut conn = match connection {
        Some(conn) => conn,
        None => deliveries::connect_to_notify(pool).await?,
    };
    deliveries::notify(&mut conn).await?;
    Ok(conn)
}
