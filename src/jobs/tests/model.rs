//! A model of the queue: random interleavings of everything that can happen to a job, against a few lines of Rust. That
//! the comparison can fail is shown with models that believe something false.

use super::*;
use crate::store::{
    jobs::settle::{Class, DeadFilter, Setback, cancel, retry, set_back},
    workers,
};
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
}

struct Model {
    belief: Belief,
    jobs: BTreeMap<Uuid, (Is, i32)>,
    /// Every batch ever claimed, also those that were lost since.
    batches: Vec<(i64, Vec<Uuid>)>,
    epoch: i64,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, database: T, model: T) -> Result<(), String> {
    if database == model { Ok(()) } else { Err(format!("{what}: the database says {database:?}, the model {model:?}")) }
}

impl Model {
    fn new(belief: Belief) -> Self {
        Self { belief, jobs: BTreeMap::new(), batches: vec![], epoch: 0 }
    }

    fn ours(&self, epoch: i64, ids: &[Uuid]) -> Vec<Uuid> {
        let unfenced = self.belief == Belief::NoFence;
        let is_ours = |is| is == Is::Processing(epoch) || (unfenced && matches!(is, Is::Processing(_)));
        ids.iter().copied().filter(|id| is_ours(self.jobs[id].0)).collect()
    }

    fn any_batch(&self, rng: &mut StdRng) -> Option<(i64, Vec<Uuid>)> {
        if self.batches.is_empty() { None } else { Some(self.batches[rng.random_range(0..self.batches.len())].clone()) }
    }

    fn claimed(&mut self, rows: &[claim::ClaimedRow]) -> Result<(), String> {
        for row in rows {
            let job = self.jobs.get_mut(&row.id).unwrap();
            same("a claimed job", Is::Pending, job.0)?;
            *job = (Is::Processing(self.epoch), job.1 + 1);
            same("its attempt", row.attempt, job.1)?;
        }
        self.batches.push((self.epoch, rows.iter().map(|r| r.id).collect()));
        Ok(())
    }

    fn set(&mut self, ids: Vec<Uuid>, to: impl Fn(i32) -> Is) {
        for id in ids {
            let job = self.jobs.get_mut(&id).unwrap();
            job.0 = to(job.1);
        }
    }

    async fn step(&mut self, conn: &mut PgConnection, rng: &mut StdRng) -> Result<(), String> {
        let back = |attempts: i32| if attempts >= 2 { Is::Failed } else { Is::Pending };
        match rng.random_range(0..11) {
            0 | 1 => {
                let jobs: Vec<NewJob> = (0..rng.random_range(1..6)).map(|n| ask("", n)).collect();
                for id in enqueue(conn, jobs).await.unwrap().ids {
                    self.jobs.insert(id, (Is::Pending, 0));
                }
            }
            2 | 3 => {
                self.epoch += 1;
                let rows = take(conn, "act", rng.random_range(1..6), self.epoch, Uuid::now_v7()).await;
                self.claimed(&rows)?;
            }
            // Some worker, perhaps a stale one, says that its batch is done.
            4 => {
                let Some((epoch, ids)) = self.any_batch(rng) else { return Ok(()) };
                let ours = self.ours(epoch, &ids);
                let finished = claim::Finished { epoch, ids, results: vec![], last: true };
                same("finished", claim::finish(conn, &finished).await.unwrap(), ours.len() as i64)?;
                self.set(ours, |_| Is::Completed);
            }
            // It says so and takes the next batch in the same statement.
            5 => {
                let Some((epoch, ids)) = self.any_batch(rng) else { return Ok(()) };
                let ours = self.ours(epoch, &ids);
                self.epoch += 1;
                let finished = claim::Finished { epoch, ids, results: vec![], last: true };
                let next = claim::Claim {
                    kind: "act",
                    priority: 5,
                    floor: None,
                    limit: rng.random_range(1..6),
                    epoch: self.epoch,
                    worker: Uuid::now_v7(),
                    lease: Duration::from_secs(30),
                };
                let cycle = claim::cycle(conn, &finished, &next).await.unwrap();
                same("finished in a cycle", cycle.finished, ours.len() as i64)?;
                self.set(ours, |_| Is::Completed);
                self.claimed(&cycle.claimed)?;
            }
            6 => {
                let Some((epoch, ids)) = self.any_batch(rng) else { return Ok(()) };
                let no = |id: &Uuid| Setback { id: *id, error: Some("no".into()), class: Class::Error, again_at: None, refund: false };
                set_back(conn, epoch, &ids.iter().map(no).collect::<Vec<_>>()).await.unwrap();
                workers::release(conn, epoch).await.unwrap();
                let ours = self.ours(epoch, &ids);
                self.set(ours, back);
            }
            // Their workers died: no worker is registered in this test, so every batch counts as a dead one's.
            7 => {
                workers::rescue(conn, &[], 100).await.unwrap();
                let free = self.belief == Belief::FreeRescue;
                for job in self.jobs.values_mut().filter(|j| matches!(j.0, Is::Processing(_))) {
                    *job = if free { (Is::Pending, job.1 - 1) } else { (back(job.1), job.1) };
                }
            }
            8 | 9 => {
                let n = self.jobs.values().filter(|j| j.0 == Is::Failed).count() as u64;
                same("retried", retry(conn, &DeadFilter::default(), 1000).await.unwrap().retried, n)?;
                let keeps = self.belief == Belief::RetryKeepsAttempts;
                for job in self.jobs.values_mut().filter(|j| j.0 == Is::Failed) {
                    *job = (Is::Pending, if keeps { job.1 } else { 0 });
                }
            }
            _ => {
                let Some((id, job)) = self.jobs.iter_mut().nth(rng.random_range(0..40)) else { return Ok(()) };
                if matches!(job.0, Is::Pending | Is::Failed) {
                    cancel(conn, *id).await.unwrap();
                    job.0 = Is::Cancelled;
                }
            }
        }
        Ok(())
    }

    async fn compare(&self, t: &TestDb) -> Result<(), String> {
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT id, status FROM background_jobs UNION ALL SELECT id, status FROM job_history ORDER BY 1")
                .fetch_all(t.db.service())
                .await
                .unwrap();
        let model: Vec<(Uuid, String)> = self.jobs.iter().map(|(id, (is, _))| (*id, is.word().to_owned())).collect();
        same("every job, in one place", rows, model)?;
        let (kept, counted) = both_counts(t).await;
        same("kept and counted", kept, counted)
    }
}

/// Runs a seed; the first disagreement, if any.
async fn run(t: &TestDb, seed: u64, belief: Belief) -> Result<(), String> {
    sqlx::raw_sql("TRUNCATE background_jobs, job_history, job_leases, job_counts, job_count_deltas, job_days")
        .execute(t.db.owner())
        .await
        .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let (mut rng, mut model) = (StdRng::seed_from_u64(seed), Model::new(belief));
    for step in 0..150 {
        model.step(&mut conn, &mut rng).await?;
        if step % 50 == 49 {
            counts::fold(&mut conn).await.unwrap();
        }
    }
    model.compare(t).await
}

#[tokio::test]
async fn random_interleavings_agree_with_the_model_and_with_the_counts() {
    let t = database().await;
    let seeds = std::env::var("ASSAY_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4_u64);
    for seed in 0..seeds {
        if let Err(why) = run(&t, seed, Belief::Truth).await {
            panic!("seed {seed}: {why}");
        }
    }
}

#[tokio::test]
async fn a_model_that_believes_something_false_is_found_out() {
    let t = database().await;
    for belief in [Belief::NoFence, Belief::FreeRescue, Belief::RetryKeepsAttempts] {
        let mut found = false;
        for seed in 0..5 {
            found |= run(&t, seed, belief).await.is_err();
        }
        assert!(found, "{belief:?} went unnoticed");
    }
}
