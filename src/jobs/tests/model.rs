//! A model of the queue: random interleavings of everything that can happen to a job, against a few lines of Rust.

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

struct Model {
    jobs: BTreeMap<Uuid, (Is, i32)>,
    /// Every batch ever claimed, also those that were lost since.
    batches: Vec<(i64, Vec<Uuid>)>,
    epoch: i64,
    done_twice: bool,
}

impl Model {
    fn ours(&self, epoch: i64, ids: &[Uuid]) -> Vec<Uuid> {
        ids.iter().copied().filter(|id| self.jobs[id].0 == Is::Processing(epoch)).collect()
    }

    async fn step(&mut self, conn: &mut PgConnection, rng: &mut StdRng) {
        match rng.random_range(0..10) {
            0 | 1 => {
                let jobs: Vec<NewJob> = (0..rng.random_range(1..6)).map(|n| ask("", n)).collect();
                for id in enqueue(conn, jobs).await.unwrap().ids {
                    self.jobs.insert(id, (Is::Pending, 0));
                }
            }
            2 | 3 => {
                self.epoch += 1;
                let rows = take(conn, "act", rng.random_range(1..6), self.epoch, Uuid::now_v7()).await;
                for row in &rows {
                    let job = self.jobs.get_mut(&row.id).unwrap();
                    assert_eq!(job.0, Is::Pending);
                    *job = (Is::Processing(self.epoch), job.1 + 1);
                    assert_eq!(row.attempt, job.1);
                }
                self.batches.push((self.epoch, rows.iter().map(|r| r.id).collect()));
            }
            // Some worker, perhaps a stale one, says that its batch is done, or takes the next in the same statement.
            4 | 5 if !self.batches.is_empty() => {
                let (epoch, ids) = self.batches[rng.random_range(0..self.batches.len())].clone();
                let ours = self.ours(epoch, &ids);
                let finished = claim::Finished { epoch, ids, results: vec![], last: true };
                assert_eq!(claim::finish(conn, &finished).await.unwrap(), ours.len() as i64);
                for id in ours {
                    let job = self.jobs.get_mut(&id).unwrap();
                    self.done_twice |= job.0 == Is::Completed;
                    job.0 = Is::Completed;
                }
            }
            6 if !self.batches.is_empty() => {
                let (epoch, ids) = self.batches[rng.random_range(0..self.batches.len())].clone();
                let back: Vec<Setback> = ids
                    .iter()
                    .map(|id| Setback { id: *id, error: Some("no".into()), class: Class::Error, again_at: None, refund: false })
                    .collect();
                set_back(conn, epoch, &back).await.unwrap();
                workers::release(conn, epoch).await.unwrap();
                for id in self.ours(epoch, &ids) {
                    let job = self.jobs.get_mut(&id).unwrap();
                    job.0 = if job.1 >= 2 { Is::Failed } else { Is::Pending };
                }
            }
            // No worker is registered in this test, so every batch counts as a dead worker's.
            7 => {
                workers::rescue(conn, &[], 100).await.unwrap();
                for (state, attempts) in self.jobs.values_mut() {
                    if let Is::Processing(_) = state {
                        *state = if *attempts >= 2 { Is::Failed } else { Is::Pending };
                    }
                }
            }
            8 => {
                let n = self.jobs.values().filter(|j| j.0 == Is::Failed).count();
                assert_eq!(retry(conn, &DeadFilter::default(), 1000).await.unwrap().retried, n as u64);
                for job in self.jobs.values_mut().filter(|j| j.0 == Is::Failed) {
                    *job = (Is::Pending, 0);
                }
            }
            9 => {
                let Some((id, job)) = self.jobs.iter_mut().nth(rng.random_range(0..40)) else { return };
                if matches!(job.0, Is::Pending | Is::Failed) {
                    cancel(conn, *id).await.unwrap();
                    job.0 = Is::Cancelled;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn random_interleavings_agree_with_the_model_and_with_the_counts() {
    let t = database().await;
    let seeds = std::env::var("ASSAY_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4_u64);
    for seed in 0..seeds {
        sqlx::raw_sql("TRUNCATE background_jobs, job_history, job_leases, job_counts, job_count_deltas, job_days")
            .execute(t.db.owner())
            .await
            .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut model = Model { jobs: BTreeMap::new(), batches: vec![], epoch: 0, done_twice: false };
        for step in 0..150 {
            model.step(&mut conn, &mut rng).await;
            if step % 50 == 49 {
                counts::fold(&mut conn).await.unwrap();
            }
        }
        assert!(!model.done_twice);
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT id, status FROM background_jobs UNION ALL SELECT id, status FROM job_history")
                .fetch_all(&mut *conn)
                .await
                .unwrap();
        assert_eq!(rows.len(), model.jobs.len(), "seed {seed}: every job is in exactly one place");
        for (id, status) in rows {
            let expected = match model.jobs[&id].0 {
                Is::Pending => "pending",
                Is::Processing(_) => "processing",
                Is::Failed => "failed",
                Is::Completed => "completed",
                Is::Cancelled => "cancelled",
            };
            assert_eq!(status, expected, "seed {seed}, job {id}");
        }
        let (kept, counted) = both_counts(&t).await;
        assert_eq!(kept, counted, "seed {seed}");
    }
}
