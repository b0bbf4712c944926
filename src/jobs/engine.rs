//! One batch, from claim to settlement. The slots of a worker and `job-worker` both go through here.

use super::{
    Ctx, Settings,
    backoff::Backoff,
    board::{Board, Pick},
    kind::{AnyKind, Kinds, Outcome},
    tally::Tally,
    watched::Watched,
};
use crate::store::{
    Db,
    jobs::claim::{self, Claim, ClaimedRow, Cycle, Finished},
    jobs::queue_pool,
    jobs::settle::{Class, Setback, set_back},
    workers,
};
use chrono::Utc;
use sqlx::PgPool;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, warn};
use uuid::Uuid;

/// A batch in work.
pub(super) struct Batch {
    pub kind: Arc<dyn AnyKind>,
    pub hold: Hold,
    pub rows: Vec<ClaimedRow>,
    /// Whether its kind has limits: its end makes room.
    pub limited: bool,
}

/// The tokens of all batches that a worker knows of. Only their leases are renewed.
type Held = Arc<Mutex<HashSet<i64>>>;

/// A batch's token, held from before its claim is sent until the batch is settled, or its claim gave nothing or an error. A claim
/// that was committed though we never heard its answer is thus not held: its lease ends, and the rescue gives its jobs back.
pub(super) struct Hold {
    pub epoch: i64,
    held: Held,
}

impl Hold {
    fn new(epoch: i64, held: &Held) -> Self {
        held.lock().unwrap_or_else(PoisonError::into_inner).insert(epoch);
        Self { epoch, held: Arc::clone(held) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.epoch);
    }
}

/// What one batch came to, for `job-worker`'s answer.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub id: Uuid,
    pub outcome: Outcome,
}

/// What a handler said of its jobs.
#[derive(Default)]
struct Said {
    outcomes: Vec<(Uuid, Outcome)>,
    /// Whether the lease of the batch went in the handler's own transaction.
    released: bool,
}

/// A settlement that the database has not heard of yet.
struct Report {
    epoch: i64,
    done: Finished,
    back: Vec<Setback>,
    /// Whether anything is left to be written at all.
    needed: bool,
}

/// What all slots of a worker share.
pub(super) struct Engine {
    pub db: Db,
    /// For taking and finishing jobs.
    pub queue: PgPool,
    pub kinds: Kinds,
    pub settings: Settings,
    pub worker: Uuid,
    /// Ends running jobs: the drain is over.
    pub hard: CancellationToken,
    /// What becomes of a job that was asked to stop and did not say it itself.
    pub stopped: Outcome,
    running: Mutex<HashMap<Uuid, CancellationToken>>,
    last_epoch: AtomicI64,
    held: Held,
    /// What was run, for the log.
    pub tally: Tally,
    /// Who is being looked at.
    pub watched: Arc<Watched>,
}

impl Engine {
    pub fn new(db: Db, kinds: Kinds, settings: Settings, worker: Uuid) -> Self {
        let size = settings.slots + settings.slow_slots + 1;
        Self {
            queue: queue_pool(db.service(), size as u32),
            db,
            kinds,
            settings,
            worker,
            hard: CancellationToken::new(),
            stopped: Outcome::Snooze(Duration::ZERO),
            running: Mutex::default(),
            last_epoch: AtomicI64::new(0),
            held: Held::default(),
            tally: Tally::default(),
            watched: Arc::default(),
        }
    }

    /// A token no claim had before: microseconds and ten random bits, rising. It is not a sequence of the database,
    /// because a claim is not waited for on disk, and a sequence may repeat itself after a crash.
    fn epoch(&self) -> i64 {
        let fresh = (Utc::now().timestamp_micros() << 10) | i64::from(rand::random::<u16>() & 1023);
        self.last_epoch
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(fresh.max(last + 1)))
            .map_or(fresh, |last| fresh.max(last + 1))
    }

    /// A new token, held as long as what is returned lives.
    fn hold(&self) -> Hold {
        Hold::new(self.epoch(), &self.held)
    }

    /// The tokens of the batches that we know of: what a heartbeat renews.
    pub fn held(&self) -> Vec<i64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// A person cancelled a running job.
    pub fn cancel_running(&self, id: Uuid) {
        if let Some(token) = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            token.cancel();
        }
    }

    /// Takes a batch of the lane. `None`: it had nothing.
    pub async fn claim(&self, board: &Board, pick: &Pick) -> sqlx::Result<Option<Batch>> {
        let Some(kind) = self.kinds.get(&pick.kind).cloned() else { return Ok(None) };
        let hold = self.hold();
        let claim = self.wanted(pick, kind.spec().batch, hold.epoch);
        let rows = if pick.limited {
            let mut tx = self.queue.begin().await?;
            let allowed = claim::allowance(&mut tx, &pick.kind).await?.unwrap_or(claim.limit).min(claim.limit);
            let rows = if allowed > 0 { claim::claim(&mut tx, &Claim { limit: allowed, ..claim.clone() }).await? } else { Vec::new() };
            claim::spend_allowance(&mut tx, &pick.kind, rows.len() as i64).await?;
            tx.commit().await?;
            rows
        } else {
            let mut conn = self.queue.acquire().await?;
            let begin = std::time::Instant::now();
            let rows = claim::claim(&mut conn, &claim).await?;
            crate::meter::CLAIM_SECONDS.took(begin.elapsed());
            rows
        };
        Ok(self.note(board, pick, kind, hold, rows))
    }

    fn wanted<'a>(&self, pick: &'a Pick, batch: i64, epoch: i64) -> Claim<'a> {
        Claim {
            kind: &pick.kind,
            priority: pick.priority,
            floor: pick.floor,
            limit: batch,
            epoch,
            worker: self.worker,
            lease: self.settings.lease,
        }
    }

    fn note(&self, board: &Board, pick: &Pick, kind: Arc<dyn AnyKind>, hold: Hold, rows: Vec<ClaimedRow>) -> Option<Batch> {
        // A lane with limits is left until the next look, so that a limit that is reached is not asked in a loop.
        let more = rows.len() as i64 == kind.spec().batch && !pick.limited;
        board.claimed(pick, rows.last().map(|r| (r.scheduled_at, r.id)), more);
        (!rows.is_empty()).then_some(Batch { kind, hold, rows, limited: pick.limited })
    }

    /// Runs a batch to its end and settles it; where a next lane is given, takes the next batch in the same statement. Until all of
    /// it is settled, the batch is held.
    pub async fn work(&self, batch: Batch, board: &Board, next: Option<Pick>) -> (Vec<Settled>, Option<Batch>) {
        let begin = Instant::now();
        let Said { outcomes, released } = self.run(&batch.kind, batch.hold.epoch, batch.rows.clone()).await;
        self.tally.note(batch.kind.spec().name, begin.elapsed(), outcomes.iter().map(|(_, outcome)| outcome));
        super::notes::batch(batch.kind.spec().name, &batch.rows, &outcomes, begin.elapsed());
        let report = self.report(&batch, &outcomes, released);
        let next = self.settle(report, board, next).await;
        if batch.limited {
            board.room(batch.kind.spec().name);
        }
        (outcomes.into_iter().map(|(id, outcome)| Settled { id, outcome }).collect(), next)
    }

    /// Runs jobs together; where they fail together, halves them until the guilty one stands alone.
    async fn run(&self, kind: &Arc<dyn AnyKind>, epoch: i64, rows: Vec<ClaimedRow>) -> Said {
        let batch = rows.len();
        let mut whole = Said { outcomes: Vec::with_capacity(batch), released: false };
        let mut parts = vec![rows];
        while let Some(mut part) = parts.pop() {
            let ids: Vec<Uuid> = part.iter().map(|r| r.id).collect();
            match self.run_once(kind, epoch, batch, part.clone()).await {
                Ok(part) => {
                    whole.released |= part.released;
                    let mut said: HashMap<Uuid, Outcome> = part.outcomes.into_iter().collect();
                    whole.outcomes.extend(ids.into_iter().map(|id| {
                        let outcome = said.remove(&id).unwrap_or_else(|| Outcome::Retry("The handler said nothing about this job.".into()));
                        (id, outcome)
                    }));
                }
                Err(_) if part.len() > 1 && !self.hard.is_cancelled() => {
                    let half = part.split_off(part.len() / 2);
                    parts.push(half);
                    parts.push(part);
                }
                Err(outcome) => whole.outcomes.extend(ids.into_iter().map(|id| (id, outcome.clone()))),
            }
        }
        whole
    }

    /// One call of the handler in a task of its own, so that its panic is its own too.
    async fn run_once(&self, kind: &Arc<dyn AnyKind>, epoch: i64, batch: usize, rows: Vec<ClaimedRow>) -> Result<Said, Outcome> {
        let spec = kind.spec();
        let stop = self.hard.child_token();
        let single = (rows.len() == 1).then(|| rows.first().map(|r| r.id)).flatten();
        if let Some(id) = single {
            self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, stop.clone());
        }
        let released = Arc::new(AtomicBool::new(false));
        let end = Instant::now() + spec.timeout;
        let watched = Arc::clone(&self.watched);
        let ctx = Ctx { db: self.db.clone(), stop: stop.clone(), epoch, batch, end, released: Arc::clone(&released), watched };
        let span = super::notes::span(spec.name, &rows);
        let mut task = tokio::spawn(Arc::clone(kind).run(ctx, rows).instrument(span.clone()));
        let said = tokio::select! {
            joined = &mut task => match joined {
                Ok(Ok(outcomes)) => Ok(Said { outcomes, released: released.load(Ordering::Relaxed) }),
                Ok(Err(why)) => Err(Outcome::Retry(why)),
                Err(e) => Err(Outcome::Retry(format!("{PANIC}{}", panic_text(e)))),
            },
            () = tokio::time::sleep(spec.timeout) => Err(Outcome::Retry(format!("{TIMEOUT}{} s.", spec.timeout.as_secs_f64()))),
            () = stopped_for_long(&stop) => Err(self.stopped.clone()),
        };
        task.abort();
        debug!(parent: &span, well = said.is_ok(), "a batch was handled");
        if let Some(id) = single {
            self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
        said
    }

    fn report(&self, batch: &Batch, outcomes: &[(Uuid, Outcome)], released: bool) -> Report {
        let mut done = Finished { epoch: batch.hold.epoch, last: true, ..Finished::default() };
        let mut back = Vec::new();
        let attempts: HashMap<Uuid, i32> = batch.rows.iter().map(|r| (r.id, r.attempt)).collect();
        let backoff = batch.kind.spec().backoff;
        for (id, outcome) in outcomes {
            match outcome {
                Outcome::Done => done.ids.push(*id),
                Outcome::DoneWith(value) => {
                    done.ids.push(*id);
                    done.results.push((*id, value.to_string()));
                }
                Outcome::Committed => {}
                // Another one's by now, which this does not touch; or ours still, and cancelled: then it is closed.
                Outcome::Lost => back.push(Setback { id: *id, error: None, class: Class::Error, again_at: None, refund: true }),
                Outcome::Retry(why) => {
                    let wait = backoff(attempts.get(id).copied().unwrap_or(1), rand::random());
                    back.push(Setback {
                        id: *id,
                        error: Some(why.clone()),
                        class: class_of(why),
                        again_at: Some(Utc::now() + wait),
                        refund: false,
                    });
                }
                Outcome::Dead(why) => {
                    back.push(Setback { id: *id, error: Some(why.clone()), class: Class::Permanent, again_at: None, refund: false })
                }
                Outcome::Snooze(wait) => {
                    let again_at = (!wait.is_zero()).then(|| Utc::now() + *wait);
                    back.push(Setback { id: *id, error: None, class: Class::Error, again_at, refund: true });
                }
            }
        }
        let needed = !released || !done.ids.is_empty();
        Report { epoch: batch.hold.epoch, done, back, needed }
    }

    /// Tells the database, as long as it takes: through a restart of the server, until the drain is over. What it never
    /// heard, the rescue gives back.
    async fn settle(&self, mut report: Report, board: &Board, next: Option<Pick>) -> Option<Batch> {
        let mut backoff = Backoff::default();
        let kind = report.epoch;
        loop {
            match self.try_settle(&mut report, board, next.as_ref()).await {
                Ok(batch) => return batch,
                Err(e) => {
                    let wait = backoff.wait();
                    warn!(error = %e, batch = kind, wait_ms = wait.as_millis() as u64, "the result of a batch could not be stored yet");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.hard.cancelled() => {
                            error!(batch = kind, "shutting down without having stored the result of a batch; it will run again");
                            return None;
                        }
                    }
                }
            }
        }
    }

    async fn try_settle(&self, report: &mut Report, board: &Board, next: Option<&Pick>) -> sqlx::Result<Option<Batch>> {
        if !report.back.is_empty() {
            let settled = set_back(&mut *self.queue.acquire().await?, report.epoch, &report.back).await?;
            crate::meter::DIED.add(settled.failed);
            if settled.failed > 0 {
                warn!(
                    failed = settled.failed,
                    "jobs are out of attempts or cannot succeed; they wait for a decision among the failed ones"
                );
            }
            report.back.clear();
        }
        let next = next.and_then(|pick| Some((pick, self.kinds.get(&pick.kind).cloned()?)));
        let mut conn = self.queue.acquire().await?;
        match next {
            Some((pick, kind)) if report.needed && !pick.limited => {
                // Another token with each try: where a try was committed unheard, its claim is not known to be ours.
                let hold = self.hold();
                let claim = self.wanted(pick, kind.spec().batch, hold.epoch);
                let begin = std::time::Instant::now();
                let Cycle { finished, claimed } = claim::cycle(&mut conn, &report.done, &claim).await?;
                crate::meter::CLAIM_SECONDS.took(begin.elapsed());
                self.missed(report, finished);
                Ok(self.note(board, pick, kind, hold, claimed))
            }
            _ if report.needed && report.done.ids.is_empty() => workers::release(&mut conn, report.epoch).await.map(|()| None),
            _ if report.needed => {
                let finished = claim::finish(&mut conn, &report.done).await?;
                self.missed(report, finished);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn missed(&self, report: &Report, finished: i64) {
        let missed = report.done.ids.len() as i64 - finished;
        if missed > 0 {
            warn!(missed, "jobs were no longer ours when they were done; whoever has them now finishes them");
        }
    }
}

const PANIC: &str = "The handler panicked: ";
const TIMEOUT: &str = "It took longer than ";

fn class_of(why: &str) -> Class {
    if why.starts_with(PANIC) {
        Class::Panic
    } else if why.starts_with(TIMEOUT) {
        Class::Timeout
    } else {
        Class::Error
    }
}

/// A handler that was asked to stop has a moment to do so itself.
async fn stopped_for_long(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn panic_text(e: tokio::task::JoinError) -> String {
    match e.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "without a message".into(),
        },
        Err(_) => "its task was aborted".into(),
    }
}
