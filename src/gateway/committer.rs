//! The group committer: many deliveries, one statement, one commit; and only then the answers.
//!
//! Promises: a delivery reported as stored is durable. An idle committer flushes what is there at once, and while it
//! waits for the disk the next ones gather: one large statement costs far less than several small ones. A second flush
//! beside the first begins when its fair share of all that is in hand has gathered, or when the first takes longer than a
//! disk should. The queue is bounded in rows and, through the bytes each delivery holds, in memory; past the bound, or while
//! PostgreSQL is away, the answer is "unavailable", at once.
//! One row that the database refuses does not take others with it. Stopping stores what was accepted first.

use super::flush::{self, Committed, Pending};
use super::wake::Wake;
use crate::store::deliveries::{self, NewDelivery};
use sqlx::{Connection, PgConnection, PgPool};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// A server that does not let us in within this time is away.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A connection unused for this long is asked whether it still lives before a batch is trusted to it.
const STALE: Duration = Duration::from_secs(1);
/// Fewer waiting deliveries are not worth a statement of their own beside one that runs: it costs PostgreSQL, beyond its rows,
/// as much as several of them, and both are slower for it. What 8 and 32 came to is in docs/BENCHMARKS.md.
const WORTH_OVERLAPPING: usize = 32;
/// A flush that runs longer than this is not waited for: it may hang on a lock.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long to wait between two attempts to reach a server that is away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How much the committer takes on.
#[derive(Debug, Clone, Copy)]
pub struct CommitterSettings {
    /// Connections that store, each one statement at a time.
    pub flushers: usize,
    /// Deliveries that may wait.
    pub max_queue: usize,
    /// Deliveries in one statement.
    pub max_rows: usize,
    /// Bytes of bodies in one statement; a single larger body still goes alone.
    pub max_bytes: usize,
    /// A statement that takes longer is given up; its rows may be stored, and Terra's retry finds them as duplicates.
    pub flush_limit: Duration,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self { flushers: 3, max_queue: 10_000, max_rows: 512, max_bytes: 4 << 20, flush_limit: Duration::from_secs(5) }
    }
}

/// Not stored, as far as is known; sending it again is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the delivery could not be stored just now")]
pub struct Unavailable;

/// What was done so far, for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Statements that stored deliveries.
    pub flushes: u64,
    /// Deliveries in them.
    pub rows: u64,
    /// The most in one.
    pub largest: u64,
    /// Microseconds spent in them.
    pub busy_us: u64,
    /// Statements that failed.
    pub failures: u64,
    /// Deliveries waiting now.
    pub waiting: u64,
    /// Whether PostgreSQL is away.
    pub away: bool,
}

pub(super) struct Shared {
    pool: PgPool,
    settings: CommitterSettings,
    queue: Mutex<Queue>,
    more: Notify,
    away: AtomicBool,
    wake: Wake,
    /// Raised whenever PostgreSQL was found away: every connection made before is in doubt.
    losses: AtomicU64,
    flushes: AtomicU64,
    rows: AtomicU64,
    largest: AtomicU64,
    busy_us: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    /// Flushes that run now, and the deliveries in them.
    flushing: usize,
    in_flush: usize,
    /// Flushes that ever began.
    begun: u64,
    closed: bool,
}

/// Whether what waits deserves a flush beside those that run: a flusher's share of all that is in hand, so that each of them
/// has as much to do and none waits for the others.
fn is_worth_overlapping(waiting: usize, in_flush: usize, flushers: usize) -> bool {
    let share = (waiting + in_flush) / flushers.max(1);
    waiting >= share.max(WORTH_OVERLAPPING)
}

/// The committer of one process.
pub struct Committer {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Committer {
    /// Starts its flushers. They connect when they are first needed.
    pub fn start(pool: &PgPool, settings: CommitterSettings) -> Self {
        let shared = Arc::new(Shared {
            pool: pool.clone(),
            settings,
            queue: Mutex::default(),
            more: Notify::new(),
            away: AtomicBool::new(false),
            wake: Wake::start(pool.clone()),
            losses: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            largest: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        let tasks = (0..settings.flushers.max(1)).map(|_| tokio::spawn(run(shared.clone()))).collect();
        Self { shared, tasks: Mutex::new(tasks) }
    }

    /// Stores one delivery and says how it went, once it is durable.
    ///
    /// # Errors
    /// [`Unavailable`] when too many wait, PostgreSQL is away or refuses, the program stops, or `deadline` passed. In
    /// the last case it may still be stored later; nobody was told so.
    pub async fn commit(&self, delivery: NewDelivery, held: super::body::Held, deadline: Instant) -> Result<Committed, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Pending { delivery, held, reply })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        let s = &self.shared;
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let waiting = s.queue().waiting.len() as u64;
        Figures {
            flushes: get(&s.flushes),
            rows: get(&s.rows),
            largest: get(&s.largest),
            busy_us: get(&s.busy_us),
            failures: get(&s.failures),
            waiting,
            away: s.away.load(Ordering::Relaxed),
        }
    }

    /// Takes nothing more, stores what was taken, then ends.
    pub async fn shutdown(&self) {
        self.shared.queue().closed = true;
        self.shared.more.notify_waiters();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a flusher did not end in order");
            }
        }
        self.shared.wake.stop().await;
    }
}

/// A flush that runs; counted until it is dropped.
struct Flushing<'s> {
    shared: &'s Shared,
    rows: usize,
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.flushing -= 1;
        queue.in_flush -= self.rows;
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overlaps(&self, queue: &Queue) -> bool {
        is_worth_overlapping(queue.waiting.len(), queue.in_flush, self.settings.flushers)
    }

    fn push(&self, pending: Pending) -> Result<(), Unavailable> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Unavailable);
        }
        let mut queue = self.queue();
        if queue.closed || queue.waiting.len() >= self.settings.max_queue {
            return Err(Unavailable);
        }
        queue.waiting.push_back(pending);
        // Beside a running flush somebody has to look only for the first (to be patient for it) and when there are many.
        let wanted = queue.flushing == 0 || queue.waiting.len() == 1 || self.overlaps(&queue);
        drop(queue);
        if wanted {
            // Whoever stored last is called first: where one flusher is enough, its backend's caches should serve.
            self.more.notify_last();
        }
        Ok(())
    }

    /// The next batch; `None` when the committer is closed and nothing is left.
    async fn next(&self) -> Option<(Vec<Pending>, Flushing<'_>)> {
        let mut hanging = None; // the flush that was waited for long enough
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable(); // before looking, so that a close in between is not missed
            let held_back = {
                let mut queue = self.queue();
                let alone = queue.flushing == 0 || queue.closed || hanging == Some(queue.begun);
                if alone || self.overlaps(&queue) {
                    let batch = self.take(&mut queue);
                    if !batch.is_empty() {
                        let rows = batch.len();
                        queue.flushing += 1;
                        queue.in_flush += rows;
                        queue.begun += 1;
                        return Some((batch, Flushing { shared: self, rows }));
                    }
                    if queue.closed {
                        return None;
                    }
                }
                (!queue.waiting.is_empty()).then_some(queue.begun)
            };
            hanging = match held_back {
                Some(flush) => tokio::time::timeout(PATIENCE, more).await.is_err().then_some(flush),
                None => {
                    more.await;
                    None
                }
            };
        }
    }

    /// Takes from the front up to the bounds. Whoever stopped waiting was told nothing, so nothing is owed to them.
    fn take(&self, queue: &mut Queue) -> Vec<Pending> {
        let (mut batch, mut bytes) = (Vec::with_capacity(queue.waiting.len().min(self.settings.max_rows)), 0);
        while let Some(next) = queue.waiting.front() {
            bytes += next.delivery.body.len();
            if batch.len() >= self.settings.max_rows || (bytes > self.settings.max_bytes && !batch.is_empty()) {
                break;
            }
            batch.extend(queue.waiting.pop_front().filter(|p| !p.reply.is_closed()));
        }
        batch
    }

    /// PostgreSQL is away: everybody who waits is told so now.
    fn give_up(&self) {
        self.away.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut self.queue().waiting);
        flush::refuse(waiting);
    }

    fn is_closed(&self) -> bool {
        self.queue().closed
    }
}

/// One flusher: takes, stores, answers, until closed.
async fn run(shared: Arc<Shared>) {
    let (mut connection, mut used, mut losses) = (None, Instant::now(), 0);
    let mut caution = flush::Caution::default();
    while let Some((batch, flushing)) = shared.next().await {
        let doubtful = used.elapsed() > STALE || losses != shared.losses.load(Ordering::Relaxed);
        let mut conn = match living(connection.take(), doubtful).await {
            Some(conn) => conn,
            None => match connect(&shared.pool).await {
                Ok(conn) => conn,
                Err(error) => {
                    away(&shared, &error);
                    flush::refuse(batch);
                    drop(flushing);
                    connection = reconnect(&shared).await;
                    continue;
                }
            },
        };
        let started = Instant::now();
        let rows = batch.len() as u64;
        let result = match tokio::time::timeout(shared.settings.flush_limit, flush::flush(&mut conn, batch, &mut caution)).await {
            Ok(result) => result,
            // The futures of the batch were dropped with it: every waiter is told "unavailable".
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        };
        match result {
            Ok(new_work) => {
                shared.count(rows, started.elapsed());
                if new_work {
                    shared.wake.wake();
                }
                connection = Some(conn);
            }
            Err(error) => {
                away(&shared, &error);
                drop((conn, flushing));
                connection = reconnect(&shared).await;
            }
        }
        (used, losses) = (Instant::now(), shared.losses.load(Ordering::Relaxed));
    }
    if let Some(conn) = connection {
        let _ = conn.close().await; // it stored all it had; a lost goodbye costs nothing
    }
}

/// The connection, unless it died while nobody used it: a restart of PostgreSQL in a quiet moment costs no delivery.
async fn living(connection: Option<PgConnection>, doubtful: bool) -> Option<PgConnection> {
    let mut conn = connection?;
    if !doubtful {
        return Some(conn);
    }
    let alive = tokio::time::timeout(CONNECT_LIMIT, conn.ping()).await;
    alive.is_ok_and(|r| r.is_ok()).then_some(conn)
}

impl Shared {
    fn count(&self, rows: u64, took: Duration) {
        crate::meter::FLUSH_SECONDS.took(took);
        crate::meter::FLUSH_ROWS.observe(rows as f64);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.largest.fetch_max(rows, Ordering::Relaxed);
        self.busy_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }
}

fn away(shared: &Shared, error: &sqlx::Error) {
    shared.losses.fetch_add(1, Ordering::Relaxed);
    shared.failures.fetch_add(1, Ordering::Relaxed);
    if !shared.away.load(Ordering::Relaxed) {
        tracing::error!(%error, "deliveries cannot be stored: PostgreSQL is away; Terra is told to send them again");
    }
    shared.give_up();
}

async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    tokio::time::timeout(CONNECT_LIMIT, deliveries::connect(pool))
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Tries until PostgreSQL is back or the program stops.
async fn reconnect(shared: &Shared) -> Option<PgConnection> {
    loop {
        if shared.is_closed() {
            shared.give_up();
            return None;
        }
        if let Ok(conn) = connect(&shared.pool).await {
            if shared.away.swap(false, Ordering::Relaxed) {
                tracing::info!("PostgreSQL is back; deliveries are stored again");
            }
            return Some(conn);
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_beside_others_takes_a_fair_share_and_never_a_handful() {
        for (waiting, in_flush, worth) in [
            (0, 0, false),
            (31, 1, false),
            (32, 1, true),
            (32, 64, true),
            (32, 67, false),
            (43, 90, false),
            (44, 90, true),
            (512, 512, true),
        ] {
            assert_eq!(is_worth_overlapping(waiting, in_flush, 3), worth, "{waiting} beside {in_flush}");
        }
        assert!(is_worth_overlapping(32, 0, 0), "no flushers are counted as one");
    }
}
