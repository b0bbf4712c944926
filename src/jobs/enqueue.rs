//! The way to enqueue single jobs: durably and together. While one commit is on its way to disk the next callers gather,
//! so sixteen callers share a commit instead of queueing for sixteen.
//!
//! A caller is answered after the commit that holds its job. Nothing waits for a timer: an idle enqueuer commits at
//! once. Workers hear of the jobs after the commit, on a connection of its own, so that nobody's commit waits for the
//! lock that a NOTIFY takes; at most one notification is under way, and what comes meanwhile shares the next.

use crate::store::jobs::{self, NewJob, enqueue};
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, mpsc, oneshot};

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
        let bell = Arc::new(Bell::default());
        tokio::spawn(ring(pool.clone(), Arc::clone(&bell)));
        tokio::spawn(gather(pool, receiver, bell));
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

async fn gather(pool: PgPool, mut receiver: mpsc::Receiver<Asked>, bell: Arc<Bell>) {
    let mut entrance = Entrance { pool, conn: None };
    let mut asked: Vec<Asked> = Vec::with_capacity(TOGETHER);
    let mut last = 0;
    while receiver.recv_many(&mut asked, TOGETHER).await > 0 {
        // Callers that were just answered are about to come again: they get their turn first, or each second commit
        // would hold one job. This waits for no clock.
        for _ in 0..4 {
            if asked.len() >= last || asked.len() == TOGETHER {
                break;
            }
            tokio::task::yield_now().await;
            while asked.len() < TOGETHER {
                let Ok(more) = receiver.try_recv() else { break };
                asked.push(more);
            }
        }
        last = asked.len();
        let jobs: Vec<NewJob> = asked.iter().map(|(job, _)| job.clone()).collect();
        let together = entrance.flush(jobs).await;
        let mut lanes = Lanes::new();
        for (job, answer) in asked.drain(..) {
            let lane = (job.kind.clone(), job.priority);
            let due = job.scheduled_at;
            let result = match &together {
                Ok(at) => Ok(*at),
                // One bad job must not turn the others away.
                Err(e) if is_data_error(e) => entrance.flush(vec![job]).await.map_err(|e| NotEnqueued(e.to_string())),
                Err(e) => Err(NotEnqueued(e.to_string())),
            };
            if let Ok(now) = result {
                let at = due.map_or(now, |due| due.min(now));
                if due.is_none_or(|due| due <= now) {
                    lanes.entry(lane).and_modify(|t| *t = at.min(*t)).or_insert(at);
                }
            }
            let _ = answer.send(result.map(drop)); // the caller may have gone
        }
        bell.ring(lanes);
    }
    bell.close();
}

/// A connection of its own, opened when it is first needed, with its notifications put off.
struct Entrance {
    pool: PgPool,
    conn: Option<PgConnection>,
}

impl Entrance {
    async fn flush(&mut self, jobs: Vec<NewJob>) -> sqlx::Result<DateTime<Utc>> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => jobs::entrance(&self.pool).await?,
        };
        let done = store(&mut conn, jobs).await;
        // What the server said about the data leaves the connection as it was; anything else makes it suspect.
        if done.as_ref().err().is_none_or(is_data_error) {
            self.conn = Some(conn);
        }
        done
    }
}

async fn store(conn: &mut PgConnection, jobs: Vec<NewJob>) -> sqlx::Result<DateTime<Utc>> {
    let keyed = jobs.iter().filter(|j| j.unique_key.is_some()).count();
    if keyed == 0 || keyed == jobs.len() {
        return Ok(enqueue(conn, jobs).await?.at); // one statement is its own transaction
    }
    let mut tx = conn.begin().await?;
    let done = enqueue(&mut tx, jobs).await?;
    tx.commit().await?;
    Ok(done.at)
}

/// By kind and priority: when the oldest of the new jobs became due.
type Lanes = BTreeMap<(String, i16), DateTime<Utc>>;

/// What the workers have yet to hear.
#[derive(Default)]
struct Bell {
    owed: Mutex<(Lanes, bool)>,
    wake: Notify,
}

impl Bell {
    fn owed(&self) -> MutexGuard<'_, (Lanes, bool)> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, lanes: Lanes) {
        if !lanes.is_empty() {
            let mut owed = self.owed();
            for (lane, at) in lanes {
                owed.0.entry(lane).and_modify(|t| *t = at.min(*t)).or_insert(at);
            }
            drop(owed);
            self.wake.notify_one();
        }
    }

    fn close(&self) {
        self.owed().1 = true;
        self.wake.notify_one();
    }
}

/// A notification that is lost costs a moment: workers look by themselves as well.
async fn ring(pool: PgPool, bell: Arc<Bell>) {
    let mut conn = None;
    loop {
        bell.wake.notified().await;
        let (lanes, closed) = {
            let mut owed = bell.owed();
            (std::mem::take(&mut owed.0), owed.1)
        };
        if !lanes.is_empty() {
            let lanes: Vec<(String, i16, DateTime<Utc>)> = lanes.into_iter().map(|((kind, priority), at)| (kind, priority, at)).collect();
            conn = match tell(&pool, conn.take(), &lanes).await {
                Ok(conn) => Some(conn),
                Err(e) => {
                    tracing::debug!(error = %e, "workers could not be told of new jobs; they will look by themselves");
                    None
                }
            };
        }
        if closed {
            return;
        }
    }
}

async fn tell(pool: &PgPool, conn: Option<PgConnection>, lanes: &[(String, i16, DateTime<Utc>)]) -> sqlx::Result<PgConnection> {
    let mut conn = match conn {
        Some(conn) => conn,
        None => jobs::entrance(pool).await?,
    };
    jobs::notify(&mut conn, lanes).await?;
    Ok(conn)
}

/// Errors of what was given, as against errors of the server: SQLSTATE classes 22 and 23.
fn is_data_error(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::Database(d) if d.code().is_some_and(|c| c.starts_with("22") || c.starts_with("23")))
}
