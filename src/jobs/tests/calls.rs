//! `job-worker` where no worker runs: it does what they would, within its bounds.

use super::*;
use crate::jobs::router::{Bounds, drain_due};
use crate::jobs::{RouterState, router};
use std::time::Instant;
use tower::ServiceExt;

const BOUNDS: Bounds = Bounds { jobs: 100, claims: Duration::from_secs(10), runs: Duration::from_secs(20) };

async fn number(t: &TestDb, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(t.db.service()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_takes_over_what_a_killed_call_held_folds_the_counts_and_keeps_the_schedules() {
    let t = database().await;
    let ids = put(&t, vec![ask("", 1), ask("", 2)]).await;
    let killed = Uuid::now_v7();
    let mut conn = t.db.service().acquire().await.unwrap();
    sqlx::query("INSERT INTO workers (id, lock_key, node, role) VALUES ($1, 1, 'x', 'job-worker')")
        .bind(killed)
        .execute(&mut *conn)
        .await
        .unwrap();
    assert_eq!(take(&mut conn, "act", 1, 1, killed).await.len(), 1);
    drop(conn);
    let settled = drain_due(&t.db, &kinds(), BOUNDS).await.unwrap();
    assert_eq!(settled.len(), 2);
    for id in ids {
        assert_eq!(status(&t, id).await, "completed");
    }
    assert_eq!(number(&t, "SELECT count(*) FROM workers").await, 0, "neither the killed call nor this one");
    assert!(number(&t, "SELECT count(*) FROM job_counts").await > 0);
    assert!(number(&t, "SELECT count(*) FROM schedules").await > 0);
    let due = "UPDATE schedules SET next_run_at = now() - interval '1 second' WHERE name = 'retention'";
    sqlx::query(due).execute(t.db.service()).await.unwrap();
    drain_due(&t.db, &kinds(), BOUNDS).await.unwrap();
    assert_eq!(
        number(&t, "SELECT count(*) FROM background_jobs WHERE type = 'retention'").await,
        1,
        "it fired; these kinds do not know it"
    );
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_caller_hangs_up_finishes_what_it_began_and_signs_off() {
    let t = database().await;
    let id = put(&t, vec![job::<Long>(&Ask { n: 1500, ..Ask::default() }).unwrap()]).await[0];
    let app = router(RouterState { db: t.db.clone(), kinds: kinds(), service_key: Some("secret".into()) });
    let request = axum::http::Request::post("/functions/v1/job-worker").header("authorization", "Bearer secret");
    let call = app.oneshot(request.body(axum::body::Body::empty()).unwrap());
    let hung_up = async {
        until("it runs", Duration::from_secs(5), async || status(&t, id).await == "processing").await;
    };
    tokio::select! {
        answer = call => panic!("it was over too soon for this to say anything: {answer:?}"),
        () = hung_up => {}
    }
    until("done", Duration::from_secs(5), async || status(&t, id).await == "completed").await;
    let left = "SELECT (SELECT count(*) FROM workers) + (SELECT count(*) FROM job_leases)";
    until("signed off", Duration::from_secs(5), async || number(&t, left).await == 0).await;
}

/// Hears no one.
struct Stubborn;
impl JobKind for Stubborn {
    const NAME: &'static str = "stubborn";
    const PRIORITY: i16 = 0;
    const SLOW: bool = true;
    type Payload = Ask;
    async fn run_batch(&self, _: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(vec![Outcome::Done; jobs.len()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_in_time_does_the_quick_kinds_first_and_says_what_is_too_long_for_it() {
    let t = database().await;
    let slow = put(&t, vec![job::<Stubborn>(&Ask::default()).unwrap()]).await[0];
    let quick = put(&t, (0..30).map(|n| ask("", n)).collect()).await;
    let begin = Instant::now();
    let bounds = Bounds { runs: Duration::from_secs(4), ..BOUNDS };
    let settled = drain_due(&t.db, &kinds().with(Stubborn), bounds).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
    assert_eq!(settled.len(), 31);
    assert_eq!(settled[30].id, slow);
    assert!(matches!(&settled[30].outcome, Outcome::Retry(why) if why.contains("longer than a call")), "{:?}", settled[30]);
    let job = crate::store::jobs::list::find(&mut t.db.service().acquire().await.unwrap(), slow).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.attempts), ("pending", 1), "it is tried again, and ends as a dead letter if nobody has the time");
    assert!(job.scheduled_at > chrono::Utc::now());
    for id in quick {
        assert_eq!(status(&t, id).await, "completed");
    }
}
