//! A model of the queue: random interleavings of everything that can happen to a job, against a few lines of Rust. Every
//! step compares what the statement said, and the end compares every job, its attempts, its dead letters, who holds it,
//! and the counts. That the comparison can fail is shown with models that believe something false.

use super::*;
use crate::store::{
    dead_letters, job_lists,
    jobs::compact::{Compacted, Hot, compact},
    jobs::settle::{Class, DeadFilter, SetBack, Setback, retry, set_back},
    letter_lists, workers,
};
use chrono::{TimeDelta, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Pending,
    Processing(i64),
    Failed,
    Completed,
    Cancelled,
}

impl Is {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing(_) => "processing",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone)]
struct Job {
    is: Is,
    attempts: i32,
    key: Option<String>,
    due: bool,
    asked_to_stop: bool,
    /// In which settlement it died last, and how often it died.
    died: (usize, i64),
    /// Deaths that nobody has brought back yet.
    open: i64,
}

/// What a model may believe of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    Truth,
    /// That a worker which lost its batch can still finish it.
    NoFence,
    /// That a rescue does not count the attempt that was lost.
    FreeRescue,
    /// That dead jobs come back with the attempts they had.
    RetryKeepsAttempts,
    /// That a job which dies again is not written down again.
    DiesOnce,
    /// That the death of one worker gives back what the others hold.
    AllDie,
}

struct Model {
    belief: Belief,
    jobs: BTreeMap<Uuid, Job>,
    /// Every batch ever claimed, also those that were lost since: epoch, worker, jobs.
    batches: Vec<(i64, Uuid, Vec<Uuid>)>,
    workers: Vec<Uuid>,
    epoch: i64,
    step: usize,
    /// Settlements so far: later deaths have higher numbers.
    settled: usize,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, database: T, model: T) -> Result<(), String> {
    if database == model { Ok(()) } else { Err(format!("{what}: the database says {database:?}, the model {model:?}")) }
}

async fn employ(conn: &mut PgConnection) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO workers (id, lock_key, node, role) VALUES ($1, 1, 'model', 'worker')").bind(id).execute(conn).await.unwrap();
    id
}

/// Some of them, at random.
fn some<T: Copy>(rng: &mut StdRng, all: &[T]) -> Vec<T> {
    all.iter().copied().filter(|_| rng.random_bool(0.6)).collect()
}

impl Model {
    async fn new(belief: Belief, conn: &mut PgConnection) -> Self {
        let workers = vec![employ(conn).await, employ(conn).await, employ(conn).await];
        Self { belief, jobs: BTreeMap::new(), batches: vec![], workers, epoch: 0, step: 0, settled: 0 }
    }

    fn ours(&self, epoch: i64, ids: &[Uuid]) -> Vec<Uuid> {
        let unfenced = self.belief == Belief::NoFence;
        let is_ours = |is| is == Is::Processing(epoch) || (unfenced && matches!(is, Is::Processing(_)));
        ids.iter().copied().filter(|id| is_ours(self.jobs[id].is)).collect()
    }

    fn any_batch(&self, rng: &mut StdRng) -> Option<(i64, Uuid, Vec<Uuid>)> {
        if self.batches.is_empty() { None } else { Some(self.batches[rng.random_range(0..self.batches.len())].clone()) }
    }

    fn any_job(&self, rng: &mut StdRng) -> Option<Uuid> {
        self.jobs.keys().copied().nth(rng.random_range(0..self.jobs.len().max(1)))
    }

    fn pending_of(&self, key: &str) -> bool {
        self.jobs.values().any(|j| j.is == Is::Pending && j.key.as_deref() == Some(key))
    }

    fn claimed(&mut self, rows: &[claim::ClaimedRow], limit: i64, worker: Uuid) -> Result<(), String> {
        let due = self.jobs.values().filter(|j| j.is == Is::Pending && j.due).count();
        same("how many were claimed", rows.len(), due.min(limit as usize))?;
        for row in rows {
            let job = self.jobs.get_mut(&row.id).unwrap();
            same("a claimed job", (Is::Pending, true), (job.is, job.due))?;
            job.is = Is::Processing(self.epoch);
            job.attempts += 1;
            same("its attempt", row.attempt, job.attempts)?;
        }
        self.batches.push((self.epoch, worker, rows.iter().map(|r| r.id).collect()));
        Ok(())
    }

    fn complete(&mut self, ids: Vec<Uuid>) {
        for id in ids {
            self.jobs.get_mut(&id).unwrap().is = Is::Completed;
        }
    }

    /// A job goes back. `refund`: the attempt does not count; `dead`: it cannot succeed.
    fn back(&mut self, id: Uuid, refund: bool, dead: bool, later: bool) -> Is {
        let job = &self.jobs[&id];
        let returns = !(dead || (!refund && job.attempts >= 2));
        let key = job.key.clone();
        let twin = key.as_deref().is_some_and(|k| self.pending_of(k));
        if returns && twin && !job.asked_to_stop {
            // The one that waits does the work of both, and at the earlier of their times.
            let twins = self.jobs.values_mut().filter(|j| j.is == Is::Pending && j.key == key);
            twins.for_each(|j| j.due = true);
        }
        let settled = self.settled;
        let once = self.belief == Belief::DiesOnce;
        let job = self.jobs.get_mut(&id).unwrap();
        if job.asked_to_stop || (returns && twin) {
            job.is = Is::Cancelled;
        } else if returns {
            job.is = Is::Pending;
            job.due &= !later;
            job.attempts -= i32::from(refund);
        } else {
            job.is = Is::Failed;
            job.attempts -= i32::from(refund);
            let letter = i64::from(!once || job.died.1 == 0);
            job.died = (settled, job.died.1 + letter);
            job.open += letter;
        }
        job.is
    }

    /// What was held in these batches comes back as a failure, one batch after the other.
    fn rescued(&mut self, epochs: &[i64]) {
        let free = self.belief == Belief::FreeRescue;
        for epoch in epochs {
            self.settled += 1;
            let held: Vec<Uuid> = self.jobs.iter().filter(|(_, j)| j.is == Is::Processing(*epoch)).map(|(id, _)| *id).collect();
            for id in held {
                self.back(id, free, false, false);
            }
        }
    }

    /// Dead jobs come back: those whose work a waiting job or a later dead one does are closed instead.
    fn retried(&mut self, ids: &[Uuid]) -> (u64, u64) {
        let dead: Vec<Uuid> = ids.iter().copied().filter(|id| self.jobs[id].is == Is::Failed).collect();
        let doubled = |id: &&Uuid| {
            let one = &self.jobs[*id];
            one.key.as_ref().is_some_and(|k| {
                self.pending_of(k)
                    || dead.iter().any(|o| self.jobs[o].key.as_ref() == Some(k) && (self.jobs[o].died.0, *o) > (one.died.0, **id))
            })
        };
        let closed: Vec<Uuid> = dead.iter().filter(doubled).copied().collect();
        let keeps = self.belief == Belief::RetryKeepsAttempts;
        for id in &dead {
            let job = self.jobs.get_mut(id).unwrap();
            job.open = 0;
            if closed.contains(id) {
                job.is = Is::Cancelled;
            } else {
                (job.is, job.due, job.asked_to_stop) = (Is::Pending, true, false);
                job.attempts = if keeps { job.attempts } else { 0 };
            }
        }
        ((dead.len() - closed.len()) as u64, closed.len() as u64)
    }

    async fn enqueue(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        let key = rng.random_bool(0.3).then(|| format!("k{}", rng.random_range(0..3)));
        let n = if key.is_some() { 1 } else { rng.random_range(1..6) };
        let wish = |n| job::<Act>(&Ask { n, key: key.clone(), ..Ask::default() }).unwrap();
        let put = enqueue(conn, (0..n).map(wish).collect()).await.unwrap();
        let merges = key.as_deref().is_some_and(|k| self.pending_of(k));
        same("how many were merged", put.merged, u64::from(merges))?;
        for id in put.ids {
            let new = Job { is: Is::Pending, attempts: 0, key: key.clone(), due: true, asked_to_stop: false, died: (0, 0), open: 0 };
            // The wish makes the job that waits due at once.
            self.jobs.entry(id).and_modify(|j| j.due = true).or_insert(new);
        }
        Ok(())
    }

    async fn take(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        self.epoch += 1;
        let (limit, worker) = (rng.random_range(1..6), self.workers[rng.random_range(0..3)]);
        let rows = take(conn, "act", limit, self.epoch, worker).await;
        self.claimed(&rows, limit, worker)
    }

    /// Some worker, perhaps a stale one, says that all or some of its batch is done; perhaps it takes the next one in the
    /// same statement, perhaps it wrote its effects under a lock and rolls all of it back.
    async fn finish(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        let Some((epoch, worker, ids)) = self.any_batch(rng) else { return Ok(()) };
        let said = if rng.random_bool(0.5) { ids.clone() } else { some(rng, &ids) };
        let ours = self.ours(epoch, &said);
        let done = claim::Finished { epoch, last: said.len() == ids.len(), ids: said.clone(), results: vec![] };
        match rng.random_range(0..3) {
            0 => {
                same("finished", claim::finish(conn, &done).await.unwrap(), ours.len() as i64)?;
                self.complete(ours);
            }
            1 => {
                self.epoch += 1;
                let limit = rng.random_range(1..6);
                let lease = Duration::from_secs(30);
                let next = claim::Claim { kind: "act", priority: 5, floor: None, limit, epoch: self.epoch, worker, lease };
                let cycle = claim::cycle(conn, &done, &next).await.unwrap();
                same("finished in a cycle", cycle.finished, ours.len() as i64)?;
                self.complete(ours);
                self.claimed(&cycle.claimed, limit, worker)?;
            }
            _ => {
                let mut tx = sqlx::Acquire::begin(&mut *conn).await.unwrap();
                let mut locked = claim::lock_ours(&mut tx, &said, epoch).await.unwrap();
                locked.sort();
                let mut may: Vec<Uuid> = ours.iter().copied().filter(|id| !self.jobs[id].asked_to_stop).collect();
                may.sort();
                same("locked", &locked, &may)?;
                let done = claim::Finished { ids: locked, ..done };
                same("finished under a lock", claim::finish_in(&mut tx, &done).await.unwrap(), may.len() as i64)?;
                if done.last && may.len() < ids.len() || rng.random_bool(0.5) {
                    tx.rollback().await.unwrap(); // it crashed before its commit: nothing was done
                } else {
                    tx.commit().await.unwrap();
                    self.complete(may);
                }
            }
        }
        Ok(())
    }

    /// It says that its jobs failed, cannot succeed, or are to wait.
    async fn fail(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        let Some((epoch, _, ids)) = self.any_batch(rng) else { return Ok(()) };
        let (class, refund) = [(Class::Error, false), (Class::Permanent, false), (Class::Error, true)][rng.random_range(0..3)];
        let later = class == Class::Error && rng.random_bool(0.4);
        let again_at = later.then(|| Utc::now() + TimeDelta::hours(1));
        let error = (!refund).then(|| "no".to_owned());
        let back = |id: &Uuid| Setback { id: *id, error: error.clone(), class, again_at, refund };
        let settled = set_back(conn, epoch, &ids.iter().map(back).collect::<Vec<_>>()).await.unwrap();
        workers::release(conn, epoch).await.unwrap();
        self.settled += 1;
        let mut expected = SetBack::default();
        for id in self.ours(epoch, &ids) {
            match self.back(id, refund, class == Class::Permanent, later) {
                Is::Pending => expected.pending += 1,
                Is::Failed => expected.failed += 1,
                _ => expected.closed += 1,
            }
        }
        same("what went back", settled, expected)
    }

    /// A worker dies, or the lease of one batch ends. What a dead worker claimed after it was missed comes back as well.
    async fn crash(&mut self, conn: &mut PgConnection, rng: &mut StdRng) {
        let at = rng.random_range(0..3);
        let dead = rng.random_bool(0.5).then(|| self.workers[at]);
        let ended = if dead.is_none() { self.any_batch(rng).map(|b| b.0) } else { None };
        sqlx::query("UPDATE job_leases SET lease_until = now() - interval '1 second' WHERE epoch = $1")
            .bind(ended)
            .execute(&mut *conn)
            .await
            .unwrap();
        workers::rescue(conn, &Vec::from_iter(dead), 1000).await.unwrap();
        if dead.is_some() {
            self.workers[at] = employ(conn).await;
        }
        let all = self.belief == Belief::AllDie && dead.is_some();
        let lost = |(epoch, worker, _): &&(i64, Uuid, Vec<Uuid>)| all || Some(*epoch) == ended || !self.workers.contains(worker);
        let mut epochs: Vec<i64> = self.batches.iter().filter(lost).map(|b| b.0).collect();
        epochs.sort_by_key(|epoch| (Some(*epoch) != ended, *epoch));
        self.rescued(&epochs);
    }

    /// A person brings dead jobs back: all, some, or by their letters.
    async fn revive(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        let all: Vec<Uuid> = self.jobs.keys().copied().collect();
        let ids = if rng.random_bool(0.5) { all } else { some(rng, &all) };
        let filter = DeadFilter { ids: Some(ids.clone()), ..DeadFilter::default() };
        let said = if rng.random_bool(0.5) {
            retry(conn, &filter, 10_000).await.unwrap()
        } else {
            let open: i64 = ids.iter().map(|id| self.jobs[id].open).sum();
            same("open letters", dead_letters::count_open(conn, &filter).await.unwrap(), open)?;
            dead_letters::redrive(conn, &filter, 10_000).await.unwrap()
        };
        let (retried, merged) = self.retried(&ids);
        same("brought back, merged, made anew", (said.retried, said.merged, said.recreated), (retried, merged, 0))
    }

    /// A person cancels, puts off or brings forward one job.
    async fn meddle(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        let Some(id) = self.any_job(rng) else { return Ok(()) };
        let job = self.jobs.get_mut(&id).unwrap();
        let waits = job.is == Is::Pending;
        match rng.random_range(0..3) {
            0 => {
                let said = job_lists::cancel_many(conn, &[id]).await.unwrap();
                let letters = letter_lists::discard_of_jobs(conn, &[id], "cancelled").await.unwrap();
                let runs = matches!(job.is, Is::Processing(_));
                let gone = waits || job.is == Is::Failed;
                same("cancelled, asked, letters", (said.0, said.1, letters as i64), (i64::from(gone), i64::from(runs), job.open))?;
                job.open = 0;
                job.asked_to_stop |= runs;
                if gone {
                    job.is = Is::Cancelled;
                }
                Ok(())
            }
            1 => {
                job.due &= !waits;
                same("put off", job_lists::put_off_many(conn, &[id]).await.unwrap(), i64::from(waits))
            }
            _ => {
                let late = waits && !job.due;
                job.due |= waits;
                same("brought forward", job_lists::run_now_many(conn, &[id]).await.unwrap(), i64::from(late))
            }
        }
    }

    /// What the leader does changes nothing of any job.
    async fn keep_house(&self, t: &TestDb, conn: &mut PgConnection) -> Result<(), String> {
        counts::fold(conn, None).await.unwrap();
        same("counts that had to be mended", counts::recount(conn).await.unwrap(), 0)?;
        for table in Hot::ALL {
            let done = compact(t.db.owner(), table, 10_000, Duration::from_secs(2)).await.unwrap();
            same("compacted", matches!(done, Compacted::Kept(_)), true)?;
        }
        Ok(())
    }

    async fn one_step(&mut self, t: &TestDb, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        self.step += 1;
        match rng.random_range(0..16) {
            0 | 1 => self.enqueue(conn, rng).await,
            2..=4 => self.take(conn, rng).await,
            5..=7 => self.finish(conn, rng).await,
            8 | 9 => self.fail(conn, rng).await,
            10 => {
                self.crash(conn, rng).await;
                Ok(())
            }
            11 | 12 => self.revive(conn, rng).await,
            13 | 14 => self.meddle(conn, rng).await,
            _ if self.step.is_multiple_of(4) => self.keep_house(t, conn).await,
            _ => Ok(()),
        }
    }

    async fn compare(&self, t: &TestDb) -> Result<(), String> {
        let mut conn = t.db.service().acquire().await.unwrap();
        let rows: Vec<(Uuid, String, i32, i64, i64)> = sqlx::query_as(
            "SELECT j.id, j.status, j.attempts, (SELECT count(*) FROM background_jobs_dlq d WHERE d.original_job_id = j.id),
                    (SELECT count(*) FROM background_jobs_dlq d WHERE d.original_job_id = j.id AND NOT d.retried AND d.discarded_at IS NULL)
               FROM (SELECT id, status, attempts FROM background_jobs UNION ALL SELECT id, status, attempts FROM job_history) j ORDER BY 1",
        )
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        let model: Vec<_> = self.jobs.iter().map(|(id, j)| (*id, j.is.word().to_owned(), j.attempts, j.died.1, j.open)).collect();
        for (row, job) in rows.iter().zip(&model) {
            same("a job, its attempts, deaths and open letters", row, job)?;
        }
        same("how many jobs there are, each in one place", rows.len(), model.len())?;
        let held: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT j.id, l.epoch FROM background_jobs j LEFT JOIN job_leases l ON l.epoch = j.epoch AND j.id = ANY (l.ids) WHERE j.status = 'processing' ORDER BY 1",
        )
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        let holds: Vec<(Uuid, i64)> =
            self.jobs.iter().filter_map(|(id, j)| if let Is::Processing(epoch) = j.is { Some((*id, epoch)) } else { None }).collect();
        same("who holds what", held, holds)?;
        drop(conn);
        let (kept, counted) = both_counts(t).await;
        same("kept and counted", kept, counted)
    }
}

/// Runs a seed; the first disagreement, if any.
async fn run(t: &TestDb, seed: u64, belief: Belief) -> Result<(), String> {
    sqlx::raw_sql(
        "TRUNCATE background_jobs, job_history, job_leases, job_counts, job_count_deltas, job_days, background_jobs_dlq, workers",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let (mut rng, mut model) = (StdRng::seed_from_u64(seed), Model::new(belief, &mut conn).await);
    for step in 0..150 {
        model.one_step(t, &mut conn, &mut rng).await.map_err(|why| format!("step {step}: {why}"))?;
    }
    drop(conn);
    model.compare(t).await
}

#[tokio::test]
async fn random_interleavings_agree_with_the_model_and_with_the_counts() {
    let t = database().await;
    let seeds = std::env::var("ASSAY_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(6_u64);
    for seed in 0..seeds {
        if let Err(why) = run(&t, seed, Belief::Truth).await {
            panic!("seed {seed}: {why}");
        }
    }
}

#[tokio::test]
async fn a_model_that_believes_something_false_is_found_out() {
    let t = database().await;
    for belief in [Belief::NoFence, Belief::FreeRescue, Belief::RetryKeepsAttempts, Belief::DiesOnce, Belief::AllDie] {
        let mut found = false;
        for seed in 0..8 {
            found = found || run(&t, seed, belief).await.is_err();
        }
        assert!(found, "{belief:?} went unnoticed");
    }
}
