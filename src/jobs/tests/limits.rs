//! Limits of a kind: kept by all nodes together, changed by a person, written down.

use super::*;
use crate::jobs::{
    Worker,
    limits::{self, Limits, NotSet},
};
use crate::store::audit::Actor;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use tokio_util::sync::CancellationToken;

/// Counts how many run at the same time, in all workers of this process.
#[derive(Clone, Default)]
struct Crowd(Arc<(AtomicI64, AtomicI64)>);
impl JobKind for Crowd {
    const NAME: &'static str = "crowd";
    const BATCH: i64 = 5;
    type Payload = Ask;
    async fn run_batch(&self, _: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        let n = jobs.len() as i64;
        let now = self.0.0.fetch_add(n, Ordering::SeqCst) + n;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(15)).await;
        self.0.0.fetch_sub(n, Ordering::SeqCst);
        Ok(vec![Outcome::Done; jobs.len()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_at_a_time_than_a_kind_may_on_any_number_of_nodes() {
    for (limit, reached) in [(None, false), (Some(3), true)] {
        let t = database().await;
        if limit.is_some() {
            sqlx::query("INSERT INTO job_kinds (type, max_running) VALUES ('crowd', $1)")
                .bind(limit)
                .execute(t.db.service())
                .await
                .unwrap();
        }
        put(&t, (0..60).map(|n| job::<Crowd>(&Ask { n, ..Ask::default() }).unwrap()).collect()).await;
        let (crowd, cancel) = (Crowd::default(), CancellationToken::new());
        let node = |_| {
            let settings = Settings { poll: Duration::from_millis(10), ..settings() };
            Worker::spawn(t.url.pools(1, 8), Kinds::default().with(crowd.clone()), settings, cancel.clone())
        };
        let nodes: Vec<_> = (0..3).map(node).collect();
        let waiting =
            async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM background_jobs").fetch_one(t.db.service()).await.unwrap();
        until("all done", Duration::from_secs(30), async || waiting().await == 0).await;
        let most = crowd.0.1.load(Ordering::SeqCst);
        // Without the limit the same work does crowd: the test can fail.
        assert_eq!(most <= 3, reached, "{most} at the same time with {limit:?}");
        cancel.cancel();
        futures::future::join_all(nodes.into_iter().map(crate::jobs::WorkerHandle::stopped)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_start_in_a_minute_than_a_kind_may_on_any_number_of_nodes() {
    for limit in [None, Some(60)] {
        let t = database().await;
        sqlx::query("INSERT INTO job_kinds (type, per_minute) VALUES ('crowd', $1)").bind(limit).execute(t.db.service()).await.unwrap();
        put(&t, (0..60).map(|n| job::<Crowd>(&Ask { n, ..Ask::default() }).unwrap()).collect()).await;
        let (begin, cancel) = (std::time::Instant::now(), CancellationToken::new());
        let node = |_| {
            let settings = Settings { poll: Duration::from_millis(10), ..settings() };
            Worker::spawn(t.url.pools(1, 8), Kinds::default().with(Crowd::default()), settings, cancel.clone())
        };
        let nodes: Vec<_> = (0..2).map(node).collect();
        let finished = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM job_history").fetch_one(t.db.service()).await.unwrap();
        if limit.is_some() {
            // Six seconds' worth at once, then one a second.
            until("they go on", Duration::from_secs(20), async || finished().await >= 9).await;
            let n = finished().await;
            assert!(n as f64 <= 6.0 + begin.elapsed().as_secs_f64(), "{n} after {:?}", begin.elapsed());
            assert!(begin.elapsed() > Duration::from_millis(2500), "{n} after {:?}", begin.elapsed());
        } else {
            // Without the limit they do not wait, with it the last would begin after 54 seconds: the test can fail.
            until("all done", Duration::from_secs(20), async || finished().await == 60).await;
        }
        cancel.cancel();
        futures::future::join_all(nodes.into_iter().map(crate::jobs::WorkerHandle::stopped)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_worker_takes_nothing_of_a_paused_kind_until_it_is_resumed() {
    let t = database().await;
    effects_table(&t).await;
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    let is_done = async |id| until("done", Duration::from_secs(5), async || status(&t, id).await == "completed").await;
    is_done(put(&t, vec![ask("", 0)]).await[0]).await;
    let pause = async |paused| {
        let mut conn = t.db.service().acquire().await.unwrap();
        assert!(crate::store::job_kinds::set_paused(&mut conn, &Actor::system(), "act", paused).await.unwrap());
    };
    pause(true).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // it hears of it
    let held = put(&t, (1..=5).map(|n| ask("", n)).collect()).await;
    is_done(put(&t, vec![job::<Effect>(&Ask { n: 6, ..Ask::default() }).unwrap()]).await[0]).await;
    tokio::time::sleep(Duration::from_millis(500)).await; // looks at least twice
    let untouched = "SELECT count(*) FROM background_jobs WHERE type = 'act' AND status = 'pending' AND attempts = 0";
    assert_eq!(sqlx::query_scalar::<_, i64>(untouched).fetch_one(t.db.service()).await.unwrap(), 5);
    pause(false).await;
    for id in held {
        is_done(id).await;
    }
    cancel.cancel();
    worker.stopped().await;
}

/// Keeps one slot busy, and notes in which order it was called.
#[derive(Clone, Default)]
struct Busy(Arc<std::sync::Mutex<Vec<i64>>>);
impl JobKind for Busy {
    const NAME: &'static str = "busy";
    const BATCH: i64 = 5;
    type Payload = Ask;
    async fn run_batch(&self, _: &Ctx, jobs: &[Claimed<Ask>]) -> Result<Vec<Outcome>, String> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.0.lock().unwrap().extend(jobs.iter().map(|j| j.payload.n));
        Ok(vec![Outcome::Done; jobs.len()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_jobs_go_first_but_one_that_has_waited_for_long_goes_before_a_flood_of_them() {
    let t = database().await;
    let of = |n: i64, priority: i16, waited: i64| NewJob {
        priority,
        scheduled_at: Some(chrono::Utc::now() - chrono::TimeDelta::seconds(waited)),
        ..job::<Busy>(&Ask { n, ..Ask::default() }).unwrap()
    };
    put(&t, vec![of(-1, 9, 300), of(-2, 8, 60)]).await;
    put(&t, (0..3000).map(|n| of(n, 1, 0)).collect()).await; // 0 would be a deadline, which goes before any age
    let (busy, cancel) = (Busy::default(), CancellationToken::new());
    let worker = Worker::spawn(t.url.pools(1, 8), Kinds::default().with(busy.clone()), Settings { slots: 1, ..settings() }, cancel.clone());
    until("some of it", Duration::from_secs(20), async || busy.0.lock().unwrap().len() > 100).await;
    cancel.cancel();
    worker.stopped().await;
    let order = busy.0.lock().unwrap().clone();
    assert!(order[..10].contains(&-1), "after five minutes a job of priority 9 is ahead of what just came: {:?}", &order[..10]);
    assert!(!order.contains(&-2), "after one minute it is not: {order:?}");
}

#[tokio::test]
async fn a_person_pauses_limits_and_resumes_a_kind_and_each_is_written_down() {
    let t = database().await;
    let me = Actor { name: "anna@example.com".into(), ..Actor::system() };
    put(&t, vec![ask("", 1)]).await;
    assert!(limits::set_paused(&t.db, &me, "act", true).await.unwrap());
    assert!(!limits::set_paused(&t.db, &me, "act", true).await.unwrap());
    limits::set(&t.db, &me, "act", Limits { max_running: Some(2), per_minute: Some(60) }).await.unwrap();
    let of = async |kind: &str| limits::list(&t.db).await.unwrap().into_iter().find(|k| k.kind == kind).unwrap();
    let act = of("act").await;
    assert_eq!((act.paused, act.max_running, act.per_minute, act.pending), (true, Some(2), Some(60), 1));
    assert!(!of("webhook_processing").await.paused, "kinds without jobs or limits are listed too");
    let due = async || {
        let ask = claim::Ask { kind: "act".into(), priority: 5, floor: None };
        claim::due_lanes(&mut t.db.service().acquire().await.unwrap(), &[ask]).await.unwrap().1
    };
    assert!(due().await[0].paused);
    assert!(limits::set_paused(&t.db, &me, "act", false).await.unwrap());
    assert!(due().await[0].limited);
    limits::set(&t.db, &me, "act", Limits::default()).await.unwrap();
    assert!(!due().await[0].limited, "no limits left, nothing to ask");
    for bad in [Limits { max_running: Some(0), per_minute: None }, Limits { max_running: None, per_minute: Some(-1) }] {
        assert!(matches!(limits::set(&t.db, &me, "act", bad).await, Err(NotSet::Invalid(_))));
    }
    assert!(matches!(limits::set_paused(&t.db, &me, "no such kind", true).await, Err(NotSet::Invalid(_))));
    let written: Vec<(String, String)> =
        sqlx::query_as("SELECT actor, action FROM audit_log ORDER BY id").fetch_all(t.db.owner()).await.unwrap();
    let said: Vec<&str> = written.iter().map(|(_, action)| action.as_str()).collect();
    assert_eq!(said, ["kind.pause", "kind.limit", "kind.resume", "kind.limit"]);
    assert!(written.iter().all(|(actor, _)| actor == "anna@example.com"));
}
