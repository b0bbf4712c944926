//! The engine on a real PostgreSQL: what it promises, and what it does when parts of it are killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

mod batches;
mod bench;
mod calls;
mod drills;
mod limits;
mod model;
mod operations;
mod pipeline;
mod queue;
mod tidy;
mod unheard;
mod workers;

use super::{Claimed, Ctx, JobKind, Kinds, Outcome, Settings, job};
use crate::store::{
    jobs::{NewJob, claim, counts, enqueue},
    testing::{TestDb, database},
};
use sqlx::PgConnection;
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// What a test asks of its job.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Ask {
    n: i64,
    /// "", "retry", "dead", "panic", "sleep", "batch"
    act: String,
    key: Option<String>,
    since: Option<String>,
}

/// Writes `n` into the table `effects`, in the transaction that finishes the job.
struct Effect;
impl JobKind for Effect {
    const NAME: &'static str = "effect";
    const BATCH: i64 = 50;
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Payload = Ask;
    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        let ids: Vec<Uuid> = jobs.iter().map(|j| j.id).collect();
        let text = |e: sqlx::Error| e.to_string();
        let mut tx = ctx.begin().await.map_err(text)?;
        let ours = ctx.lock_ours(&mut tx, &ids).await.map_err(text)?;
        let n: Vec<i64> = jobs.iter().filter(|j| ours.contains(&j.id)).map(|j| j.payload.n).collect();
        sqlx::query("INSERT INTO effects SELECT * FROM unnest($1::bigint[])").bind(n).execute(&mut *tx).await.map_err(text)?;
        let ids: Vec<Uuid> = ours.iter().copied().collect();
        assert_eq!(ctx.complete_in(&mut tx, &ids).await.map_err(text)?, ids.len() as i64);
        tx.commit().await.map_err(text)?;
        Ok(jobs.iter().map(|j| if ours.contains(&j.id) { Outcome::Committed } else { Outcome::Lost }).collect())
    }
}

/// Does what it is asked, without effects.
struct Act;
impl JobKind for Act {
    const NAME: &'static str = "act";
    const BATCH: i64 = 10;
    const MAX_ATTEMPTS: i32 = 2;
    const TIMEOUT: Duration = Duration::from_millis(700);
    type Payload = Ask;
    fn unique_key(p: &Ask) -> Option<String> {
        p.key.clone()
    }
    fn backoff(_: i32, _: f64) -> Duration {
        Duration::from_millis(10)
    }
    async fn run_batch(&self, _: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        let mut said = Vec::new();
        for j in jobs {
            said.push(match j.payload.act.as_str() {
                "retry" => Outcome::Retry(format!("no luck with {} on attempt {}", j.payload.n, j.attempt)),
                "dead" => Outcome::Dead("never".into()),
                "panic" => panic!("the handler lost its nerve"),
                "sleep" => {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    Outcome::Done
                }
                "batch" => return Err("all of it".into()),
                "snooze" if j.scheduled_at - j.created_at < chrono::TimeDelta::milliseconds(10) => {
                    Outcome::Snooze(Duration::from_millis(50))
                }
                _ => Outcome::DoneWith(serde_json::json!({ "attempt": j.attempt })),
            });
        }
        Ok(said)
    }
}

/// One at a time, so that it can be cancelled while it runs.
struct Long;
impl JobKind for Long {
    const NAME: &'static str = "long";
    const SLOW: bool = true;
    type Payload = Ask;
    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        tokio::select! {
            () = ctx.stop.cancelled() => Ok(vec![Outcome::Snooze(Duration::ZERO); jobs.len()]),
            () = tokio::time::sleep(Duration::from_millis(jobs[0].payload.n as u64)) => Ok(vec![Outcome::Done; jobs.len()]),
        }
    }
}

fn kinds() -> Kinds {
    Kinds::default().with(Effect).with(Act).with(Long)
}

fn settings() -> Settings {
    Settings {
        slots: 2,
        slow_slots: 1,
        poll: Duration::from_millis(100),
        drain: Duration::from_secs(2),
        schedules: false,
        ..Settings::default()
    }
}

fn ask(act: &str, n: i64) -> NewJob {
    job::<Act>(&Ask { n, act: act.into(), ..Ask::default() }).unwrap()
}

async fn effects_table(t: &TestDb) {
    sqlx::raw_sql("CREATE TABLE effects (n bigint); GRANT ALL ON effects TO service_role").execute(t.db.owner()).await.unwrap();
}

async fn put(t: &TestDb, jobs: Vec<NewJob>) -> Vec<Uuid> {
    enqueue(&mut t.db.service().acquire().await.unwrap(), jobs).await.unwrap().ids
}

async fn status(t: &TestDb, id: Uuid) -> String {
    crate::store::jobs::list::find(&mut t.db.service().acquire().await.unwrap(), id)
        .await
        .unwrap()
        .map_or_else(|| "gone".into(), |j| j.status)
}

/// Claims by hand, as a worker would.
async fn take(conn: &mut PgConnection, kind: &str, limit: i64, epoch: i64, worker: Uuid) -> Vec<claim::ClaimedRow> {
    let claim = claim::Claim { kind, priority: 5, floor: None, limit, epoch, worker, lease: Duration::from_secs(30) };
    claim::claim(conn, &claim).await.unwrap()
}

fn done(epoch: i64, rows: &[claim::ClaimedRow]) -> claim::Finished {
    claim::Finished { epoch, ids: rows.iter().map(|r| r.id).collect(), results: vec![], last: true }
}

/// Waits until it is true; how long that took.
async fn until<F: AsyncFn() -> bool>(what: &str, most: Duration, is: F) -> Duration {
    let begin = std::time::Instant::now();
    while !is().await {
        assert!(begin.elapsed() < most, "still not after {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begin.elapsed()
}

/// The counts that the statements kept, and the same counted row by row.
async fn both_counts(t: &TestDb) -> (BTreeMap<(String, String), i64>, BTreeMap<(String, String), i64>) {
    let mut conn = t.db.service().acquire().await.unwrap();
    let kept = counts::counts(&mut conn).await.unwrap().into_iter().map(|c| ((c.kind, c.status), c.count)).collect();
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT type, status, count(*) FROM (SELECT type, status FROM background_jobs UNION ALL SELECT type, status FROM job_history) j GROUP BY 1, 2")
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    (kept, rows.into_iter().map(|(t, s, n)| ((t, s), n)).collect())
}
