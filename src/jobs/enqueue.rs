//! Enqueues single jobs durably and together: while one commit is on its way to disk, the next callers gather.
//!
//! A caller is answered after the commit that holds its job. Nothing waits for a timer: an idle enqueuer commits at once.

use crate::store::jobs::{NewJob, enqueue};
use sqlx::{Connection, PgPool};
use tokio::sync::{mpsc, oneshot};

/// So many callers may wait before further ones are held back.
const WAITING: usize = 4096;
/// Jobs in one commit at most.
const TOGETHER: usize = 1000;

/// Why a job was not enqueued, for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("The job was not enqueued: {0}.")]
pub struct NotEnqueued(String);

type Asked = (NewJob, oneshot::Sender<Result<(), NotEnqueued>>);

/// The entrance of a process. Cheap to clone; ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Enqueuer(mpsc::Sender<Asked>);

impl Enqueuer {
    /// Starts it on a pool of the service.
    pub fn spawn(pool: PgPool) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(gather(pool, receiver));
        Self(sender)
    }

    /// Enqueues one job; `Ok` means that it is on disk.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn enqueue(&self, job: NewJob) -> Result<(), NotEnqueued> {
        let (answer, answered) = oneshot::channel();
        let closed = || NotEnqueued("the program is shutting down".into());
        self.0.send((job, answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

async fn gather(pool: PgPool, mut receiver: mpsc::Receiver<Asked>) {
    let mut asked: Vec<Asked> = Vec::with_capacity(TOGETHER);
    while receiver.recv_many(&mut asked, TOGETHER).await > 0 {
        let jobs: Vec<NewJob> = asked.iter().map(|(job, _)| job.clone()).collect();
        let together = flush(&pool, jobs).await;
        for (job, answer) in asked.drain(..) {
            let result = match &together {
                Ok(()) => Ok(()),
                // One bad job must not turn the others away.
                Err(e) if is_data_error(e) => flush(&pool, vec![job]).await.map_err(|e| NotEnqueued(e.to_string())),
                Err(e) => Err(NotEnqueued(e.to_string())),
            };
            let _ = answer.send(result); // the caller may have gone
        }
    }
}

async fn flush(pool: &PgPool, jobs: Vec<NewJob>) -> sqlx::Result<()> {
    let mut conn = pool.acquire().await?;
    if jobs.iter().all(|j| j.unique_key.is_none()) {
        enqueue(&mut conn, jobs).await?; // one statement is its own transaction
    } else {
        let mut tx = conn.begin().await?;
        enqueue(&mut tx, jobs).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Errors of what was given, as against errors of the server: SQLSTATE classes 22 and 23.
fn is_data_error(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::Database(d) if d.code().is_some_and(|c| c.starts_with("22") || c.starts_with("23")))
}
