//! Batches that are torn, stuck or partly cancelled: nothing of them stays behind.

use super::*;
use crate::jobs::Worker;
use crate::store::{job_lists::cancel_many, workers};
use tokio_util::sync::CancellationToken;

/// Writes its effects and finishes its jobs in one transaction, and goes wrong on the way.
struct Wrong {
    /// Above so many jobs it fails as a whole.
    most: usize,
    /// So long it waits before it begins.
    wait: Duration,
}

const TIMEOUT: Duration = Duration::from_millis(700);

impl JobKind for Wrong {
    const NAME: &'static str = "wrong";
    const BATCH: i64 = 8;
    const MAX_ATTEMPTS: i32 = 1;
    const TIMEOUT: Duration = TIMEOUT;
    type Payload = Ask;
    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        let text = |e: sqlx::Error| e.to_string();
        tokio::time::sleep(self.wait).await;
        let ids: Vec<Uuid> = jobs.iter().map(|j| j.id).collect();
        let mut tx = ctx.begin().await.map_err(text)?;
        let ours = ctx.lock_ours(&mut tx, &ids).await.map_err(text)?;
        let n: Vec<i64> = jobs.iter().filter(|j| ours.contains(&j.id)).map(|j| j.payload.n).collect();
        sqlx::query("INSERT INTO effects SELECT * FROM unnest($1::bigint[])").bind(n).execute(&mut *tx).await.map_err(text)?;
        if jobs.iter().any(|j| j.payload.act == "stuck") {
            sqlx::query("SELECT pg_sleep(60)").execute(&mut *tx).await.map_err(text)?;
        }
        if jobs.len() > self.most {
            return Err("deadlock detected".into());
        }
        let done: Vec<Uuid> = ours.iter().copied().collect();
        assert_eq!(ctx.complete_in(&mut tx, &done).await.map_err(text)?, done.len() as i64);
        tx.commit().await.map_err(text)?;
        Ok(jobs.iter().map(|j| if ours.contains(&j.id) { Outcome::Committed } else { Outcome::Lost }).collect())
    }
}

fn wrong(act: &str, n: i64) -> NewJob {
    job::<Wrong>(&Ask { n, act: act.into(), ..Ask::default() }).unwrap()
}

async fn number(t: &TestDb, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(t.db.service()).await.unwrap()
}

const JOBS: &str = "SELECT count(*) FROM background_jobs";
const LEASES: &str = "SELECT count(*) FROM job_leases";
const EFFECTS: &str = "SELECT count(*) FROM effects";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_halved_leaves_no_lease_and_its_kind_keeps_its_room() {
    let t = database().await;
    effects_table(&t).await;
    sqlx::query("INSERT INTO job_kinds (type, max_running) VALUES ('wrong', 8)").execute(t.db.service()).await.unwrap();
    put(&t, (0..8).map(|n| wrong("", n)).collect()).await;
    let cancel = CancellationToken::new();
    let kinds = Kinds::default().with(Wrong { most: 2, wait: Duration::ZERO });
    let worker = Worker::spawn(t.url.pools(1, 8), kinds, settings(), cancel.clone());
    for round in 1..=2 {
        until("all are done", Duration::from_secs(10), async || number(&t, EFFECTS).await == round * 8).await;
        until("the lease is gone", Duration::from_secs(2), async || number(&t, LEASES).await == 0).await;
        assert_eq!(number(&t, JOBS).await, 0);
        if round == 1 {
            put(&t, (0..8).map(|n| wrong("", n)).collect()).await;
        }
    }
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_stuck_in_the_database_fails_in_time_alone_and_lets_its_locks_go() {
    let t = database().await;
    effects_table(&t).await;
    let mut jobs: Vec<NewJob> = (0..3).map(|n| wrong("", n)).collect();
    jobs.push(wrong("stuck", 3));
    let ids = put(&t, jobs).await;
    let cancel = CancellationToken::new();
    let kinds = Kinds::default().with(Wrong { most: 8, wait: Duration::ZERO });
    let worker = Worker::spawn(t.url.pools(1, 8), kinds, settings(), cancel.clone());
    let took = until("it failed", Duration::from_secs(20), async || status(&t, ids[3]).await == "failed").await;
    assert!(took > TIMEOUT && took < TIMEOUT * 10, "{took:?}");
    until("the others are done", Duration::from_secs(10), async || number(&t, JOBS).await == 1).await;
    assert_eq!(number(&t, EFFECTS).await, 3, "each once, and nothing of the stuck one");
    let job = crate::store::jobs::list::find(&mut t.db.service().acquire().await.unwrap(), ids[3]).await.unwrap().unwrap();
    assert_eq!(job.error.as_deref(), Some("It took longer than 0.7 s."));
    let asleep =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query = 'SELECT pg_sleep(60)'";
    until("the server works on nothing", Duration::from_secs(20), async || number(&t, asleep).await == 0).await;
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_before_its_batch_locks_it_is_closed_at_once() {
    let t = database().await;
    effects_table(&t).await;
    let ids = put(&t, (0..3).map(|n| wrong("", n)).collect()).await;
    let cancel = CancellationToken::new();
    let kinds = Kinds::default().with(Wrong { most: 8, wait: TIMEOUT / 2 });
    let worker = Worker::spawn(t.url.pools(1, 8), kinds, settings(), cancel.clone());
    until("they run", Duration::from_secs(5), async || status(&t, ids[1]).await == "processing").await;
    assert_eq!(cancel_many(&mut t.db.service().acquire().await.unwrap(), &ids[1..2]).await.unwrap(), (0, 1));
    until("it is closed", Duration::from_secs(10), async || status(&t, ids[1]).await == "cancelled").await;
    until("the others are done", Duration::from_secs(10), async || number(&t, JOBS).await == 0).await;
    until("the lease is gone", Duration::from_secs(10), async || number(&t, LEASES).await == 0).await;
    assert_eq!(number(&t, EFFECTS).await, 2);
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test]
async fn a_rescue_does_not_wait_for_whoever_is_stopped_with_its_jobs_locked() {
    let t = database().await;
    put(&t, (0..2).map(|n| ask("", n)).collect()).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let stopped = take(&mut conn, "act", 1, 1, Uuid::now_v7()).await;
    let killed = take(&mut conn, "act", 1, 2, Uuid::now_v7()).await;
    let mut held = t.db.begin_service().await.unwrap();
    assert_eq!(claim::lock_ours(&mut held, &[stopped[0].id], 1).await.unwrap().len(), 1);
    let begin = std::time::Instant::now();
    assert_eq!(workers::rescue(&mut conn, &[], 10).await.unwrap().0, 1, "the other batch is rescued");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!((status(&t, stopped[0].id).await.as_str(), status(&t, killed[0].id).await.as_str()), ("processing", "pending"));
    held.rollback().await.unwrap();
    assert_eq!(workers::rescue(&mut conn, &[], 10).await.unwrap().0, 1);
    assert_eq!(status(&t, stopped[0].id).await, "pending");
}
