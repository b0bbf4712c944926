//! What the handlers of all kinds work with.

use super::watched::Watched;
use crate::store::{
    Db,
    jobs::claim::{self, Finished},
};
use sqlx::{PgConnection, Postgres, Transaction};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The server ends a statement so much later than we do: what we say is clearer.
const GRACE: Duration = Duration::from_millis(250);

/// What a handler may use.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The pools.
    pub db: Db,
    /// Set when the worker shuts down or a person cancelled the job: long work should come to an end.
    pub stop: CancellationToken,
    /// The token of the batch.
    pub(super) epoch: i64,
    /// How many jobs were claimed with it.
    pub(super) batch: usize,
    /// When the time of the kind is over.
    pub(super) end: Instant,
    /// Whether the handler let the lease of the batch go.
    pub(super) released: Arc<AtomicBool>,
    /// Who is being looked at.
    pub(super) watched: Arc<Watched>,
}

impl Ctx {
    /// A transaction for the work. The server ends its statements when the time of the kind is over, also when this process is
    /// gone: else the locks of whoever was stopped would stay, and the next attempt would wait for them.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.db.begin_service_within(self.end.saturating_duration_since(Instant::now()) + GRACE).await
    }

    /// Which of these persons somebody is looking at: what is to be done for them comes first.
    pub fn watched<'u, V>(&self, persons: &'u BTreeMap<String, V>) -> Vec<&'u str> {
        self.watched.among(persons.keys().map(String::as_str), Instant::now())
    }

    /// Locks the jobs that are still ours until the transaction ends, and says which. Only for these may effects be
    /// written; the others are [`super::Outcome::Lost`].
    ///
    /// # Errors
    /// The database's.
    pub async fn lock_ours(&self, conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<HashSet<Uuid>> {
        Ok(claim::lock_ours(conn, ids, self.epoch).await?.into_iter().collect())
    }

    /// Finishes jobs in the handler's own transaction, so that effect and completion are one commit. Returns how
    /// many were still ours: with fewer than given, roll back. The jobs' outcome is [`super::Outcome::Committed`].
    ///
    /// # Errors
    /// The database's.
    pub async fn complete_in(&self, conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<i64> {
        let last = ids.len() == self.batch;
        let finished = claim::finish_in(conn, &Finished { epoch: self.epoch, ids: ids.to_vec(), results: Vec::new(), last }).await?;
        self.released.fetch_or(last, Ordering::Relaxed);
        Ok(finished)
    }
}
