//! The worker: slots that work, a session that says it is here, a heartbeat, and a try for the lead.
//!
//! It outlives restarts of PostgreSQL. On cancellation it claims no more, lets running jobs end for a while, hands
//! the rest back, signs off, and is gone.

use super::{
    Kinds, Settings,
    backoff::Backoff,
    board::Board,
    engine::Engine,
    leader,
    presence::{self, Identity},
};
use crate::store::{Db, workers};
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

/// Starts workers.
#[derive(Debug)]
pub struct Worker;

/// A running worker.
pub struct WorkerHandle {
    /// This run of it, as in the table `workers`.
    pub id: Uuid,
    here: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl WorkerHandle {
    /// Whether it has its session, and so claims jobs.
    pub fn is_here(&self) -> bool {
        *self.here.borrow()
    }

    /// Waits until it has its session for the first time.
    pub async fn arrived(&mut self) {
        let _ = self.here.wait_for(|here| *here).await; // an error means that it ended
    }

    /// Waits until it ended, after its token was cancelled.
    pub async fn stopped(self) {
        if let Err(e) = self.task.await {
            error!(error = %e, "the worker ended by a fault");
        }
    }

    /// Kills it where it stands, as a crash of the process would.
    #[cfg(test)]
    pub fn kill(self) {
        self.task.abort();
    }
}

impl Worker {
    /// Starts a worker in the background. It works until `cancel`.
    pub fn spawn(db: Db, kinds: Kinds, settings: Settings, cancel: CancellationToken) -> WorkerHandle {
        let id = Uuid::now_v7();
        let (here, seen) = watch::channel(false);
        let task = tokio::spawn(run(db, kinds, settings, id, here, cancel));
        WorkerHandle { id, here: seen, task }
    }
}

async fn run(db: Db, kinds: Kinds, settings: Settings, id: Uuid, here: watch::Sender<bool>, cancel: CancellationToken) {
    let quick = Arc::new(Board::new(kinds.names(Some(false)), settings.poll));
    let slow = Arc::new(Board::new(kinds.names(Some(true)), settings.poll));
    let detail = serde_json::json!({ "slots": settings.slots, "slow_slots": settings.slow_slots, "kinds": kinds.names(None), "version": env!("CARGO_PKG_VERSION") });
    let identity = Identity { id, node: settings.node.clone(), role: settings.role.clone(), detail };
    let engine = Arc::new(Engine::new(db.clone(), kinds, settings.clone(), id));
    let seen = here.subscribe();
    // Presence and heartbeat outlive the slots: while a job is being finished, it is still ours.
    let background = CancellationToken::new();
    let _ends_with_us = background.clone().drop_guard();
    let mut others = JoinSet::new();
    let (wake_quick, wake_slow, told) = (Arc::clone(&quick), Arc::clone(&slow), Arc::clone(&engine));
    others.spawn(presence::keep(db.service().clone(), identity, here, background.clone(), move |word| {
        if let Some(job) = word.strip_prefix("cancel:") {
            if let Ok(id) = job.parse() {
                told.cancel_running(id);
            }
        } else if let Some(user_id) = word.strip_prefix("watched:") {
            told.watched.hear(user_id, std::time::Instant::now());
        } else {
            wake_quick.hear(word);
            wake_slow.hear(word);
        }
    }));
    others.spawn(heartbeats(Arc::clone(&engine), background.clone()));
    if settings.leads {
        others.spawn(leader::run(db.clone(), id, settings.schedules, cancel.clone(), seen.clone()));
    }
    let mut slots = JoinSet::new();
    for _ in 0..settings.slots {
        slots.spawn(slot(Arc::clone(&engine), Arc::clone(&quick), seen.clone(), cancel.clone()));
    }
    for _ in 0..settings.slow_slots {
        slots.spawn(slot(Arc::clone(&engine), Arc::clone(&slow), seen.clone(), cancel.clone()));
    }
    cancel.cancelled().await;
    if tokio::time::timeout(settings.drain, async { while slots.join_next().await.is_some() {} }).await.is_err() {
        warn!(running = slots.len(), "the drain is over; running jobs are handed back");
        engine.hard.cancel();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), async { while slots.join_next().await.is_some() {} }).await;
    }
    if let Err(e) = engine.tally.write(&db, &settings.node).await {
        warn!(error = %e, "what was run at last could not be logged");
    }
    let signed_off = async { workers::unregister(&mut *db.service().acquire().await?, id).await };
    if let Err(e) = signed_off.await {
        warn!(error = %e, "the worker could not sign off; the others will notice");
    }
    background.cancel();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), async { while others.join_next().await.is_some() {} }).await;
    info!("the worker has stopped");
}

/// One batch after the other; the next is claimed in the statement that finishes the one before.
async fn slot(engine: Arc<Engine>, board: Arc<Board>, mut here: watch::Receiver<bool>, cancel: CancellationToken) {
    let mut backoff = Backoff::default();
    let mut batch = None;
    loop {
        if let Some(now) = batch.take() {
            let next = if cancel.is_cancelled() || !*here.borrow() { None } else { board.ahead() };
            batch = engine.work(now, &board, next).await.1;
            continue;
        }
        let claimed = async {
            // The sender lives as long as the worker; when it is gone, so are we.
            if here.wait_for(|h| *h).await.is_err() {
                return std::future::pending().await;
            }
            let pick = board.next(&engine.queue).await?;
            engine.claim(&board, &pick).await
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            claimed = claimed => match claimed {
                Ok(claimed) => {
                    backoff.reset();
                    batch = claimed;
                }
                Err(e) => {
                    let wait = backoff.wait();
                    warn!(error = %e, wait_ms = wait.as_millis() as u64, "jobs cannot be claimed yet");
                    tokio::time::sleep(wait).await;
                }
            },
        }
    }
}

pub(super) async fn heartbeats(engine: Arc<Engine>, cancel: CancellationToken) {
    let every = engine.settings.lease / 5;
    while tokio::time::timeout(every, cancel.cancelled()).await.is_err() {
        let beat = async {
            let mut conn = engine.db.service().acquire().await?;
            // Asked for after the wait for a connection: what was claimed meanwhile is among them.
            workers::heartbeat(&mut conn, engine.worker, engine.settings.lease, &engine.held()).await
        };
        if let Err(e) = beat.await {
            warn!(error = %e, "a heartbeat was missed");
        }
        if let Err(e) = engine.tally.write(&engine.db, &engine.settings.node).await {
            warn!(error = %e, "what was run could not be logged yet");
        }
    }
}
