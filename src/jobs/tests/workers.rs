//! Whole workers, and what happens when one dies.

use super::*;
use crate::jobs::{RouterState, Worker, router};
use crate::store::{
    dead_letters,
    job_lists::{cancel_many, run_now_many},
    jobs::settle::DeadFilter,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

async fn open_jobs(t: &TestDb) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM background_jobs").fetch_one(t.db.service()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_each_take_effect_once_though_a_worker_dies_in_the_middle() {
    let t = database().await;
    effects_table(&t).await;
    let jobs: Vec<NewJob> = (0..10_000).map(|n| job::<Effect>(&Ask { n, ..Ask::default() }).unwrap()).collect();
    put(&t, jobs).await;
    let cancel = CancellationToken::new();
    let one = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    let two = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    let effects = async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(t.db.service()).await.unwrap() };
    until("some of it", Duration::from_secs(20), async || effects().await > 2_000).await;
    one.kill();
    until("all of it", Duration::from_secs(60), async || open_jobs(&t).await == 0).await;
    let (n, distinct): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT n) FROM effects").fetch_one(t.db.service()).await.unwrap();
    assert_eq!((n, distinct), (10_000, 10_000));
    cancel.cancel();
    two.stopped().await;
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
    assert_eq!(kept[&("effect".into(), "completed".into())], 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_worker_held_is_given_back_within_five_seconds() {
    let t = database().await;
    let id = put(&t, vec![job::<Long>(&Ask { n: 60_000, ..Ask::default() }).unwrap()]).await[0];
    let cancel = CancellationToken::new();
    let mut one = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    one.arrived().await;
    until("it runs", Duration::from_secs(5), async || status(&t, id).await == "processing").await;
    // The dead one leads, so the other must take the lead first.
    let two = Worker::spawn(t.url.pools(1, 8), Kinds::default(), settings(), cancel.clone());
    tokio::time::sleep(Duration::from_millis(300)).await;
    one.kill();
    let took = until("given back", Duration::from_secs(8), async || status(&t, id).await == "pending").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    println!("given back after {took:?}");
    let job = crate::store::jobs::list::find(&mut t.db.service().acquire().await.unwrap(), id).await.unwrap().unwrap();
    assert!(job.error.unwrap().contains("stopped while it held"));
    cancel.cancel();
    two.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_goes_on_when_all_its_connections_are_terminated() {
    let t = database().await;
    let cancel = CancellationToken::new();
    let mut worker = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    worker.arrived().await;
    for round in 0..3 {
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'assay_worker' AND pid <> pg_backend_pid()")
            .execute(t.db.service()) // a role may end its own sessions
            .await
            .unwrap();
        let id = {
            let mut conn = t.db.owner().acquire().await.unwrap();
            enqueue(&mut conn, vec![ask("", round)]).await.unwrap().ids[0]
        };
        let state = async || -> i64 {
            sqlx::query_scalar("SELECT count(*) FROM job_history WHERE id = $1").bind(id).fetch_one(t.db.owner()).await.unwrap()
        };
        until("done", Duration::from_secs(10), async || state().await == 1).await;
    }
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_timeouts_and_bad_payloads_are_failures_of_the_guilty_job_alone() {
    let t = database().await;
    let mut jobs: Vec<NewJob> = (0..8).map(|n| ask("", n)).collect();
    jobs.extend([ask("panic", 1), ask("sleep", 2), ask("retry", 3), ask("dead", 4), ask("batch", 5), ask("snooze", 6)]);
    jobs.push(NewJob { payload: r#"{"v":1,"n":"seven"}"#.into(), ..ask("", 7) });
    jobs.push(NewJob { payload: r#"{"v":99}"#.into(), ..ask("", 8) });
    let ids = put(&t, jobs).await;
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    let failed = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM background_jobs WHERE status = 'failed'").fetch_one(t.db.service()).await.unwrap()
    };
    until("settled", Duration::from_secs(30), async || failed().await == 7 && open_jobs(&t).await == 7).await;
    for id in &ids[..8] {
        assert_eq!(status(&t, *id).await, "completed");
    }
    let mut conn = t.db.service().acquire().await.unwrap();
    let letters = dead_letters::list(&mut conn, &DeadFilter::default(), true, 100).await.unwrap();
    let of = |i: usize| {
        letters
            .iter()
            .find(|l| l.original_job_id == ids[i])
            .map(|l| (l.reason_class.clone(), l.attempts, l.error.clone().unwrap_or_default()))
            .unwrap()
    };
    assert_eq!(of(8), ("exhausted".into(), 2, "The handler panicked: the handler lost its nerve".into()));
    assert_eq!(of(9), ("exhausted".into(), 2, "It took longer than 0.7 s.".into()));
    assert_eq!(of(10), ("exhausted".into(), 2, "no luck with 3 on attempt 2".into()));
    assert_eq!(of(11), ("permanent".into(), 1, "never".into()));
    assert_eq!(of(12).2, "all of it");
    assert!(of(14).2.starts_with("The payload of this act job cannot be read"), "{}", of(14).2);
    assert!(of(15).2.contains("version 99"), "{}", of(15).2);
    let snoozed = crate::store::jobs::list::find(&mut conn, ids[13]).await.unwrap().unwrap();
    assert_eq!((snoozed.status.as_str(), snoozed.attempts), ("completed", 1), "a snooze is no attempt");
    drop(conn);
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_cancelled_and_a_drain_hands_back() {
    let t = database().await;
    let long = |ms| job::<Long>(&Ask { n: ms, ..Ask::default() }).unwrap();
    let id = put(&t, vec![long(60_000)]).await[0];
    let stop = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 8), kinds(), Settings { drain: Duration::from_millis(300), ..settings() }, stop.clone());
    until("it runs", Duration::from_secs(5), async || status(&t, id).await == "processing").await;
    assert_eq!(cancel_many(&mut t.db.service().acquire().await.unwrap(), &[id]).await.unwrap(), (0, 1));
    until("cancelled", Duration::from_secs(3), async || status(&t, id).await == "cancelled").await;
    let id = put(&t, vec![long(60_000)]).await[0];
    until("it runs", Duration::from_secs(5), async || status(&t, id).await == "processing").await;
    stop.cancel();
    let begin = std::time::Instant::now();
    worker.stopped().await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let job = crate::store::jobs::list::find(&mut t.db.service().acquire().await.unwrap(), id).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.attempts, job.error), ("pending", 0, None), "handed back, and it cost no attempt");
    let left: i64 = sqlx::query_scalar("SELECT (SELECT count(*) FROM workers) + (SELECT count(*) FROM job_leases)")
        .fetch_one(t.db.service())
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_worker_drains_what_is_due_for_whoever_has_the_key() {
    let t = database().await;
    put(&t, vec![ask("", 1), ask("", 2), ask("dead", 3)]).await;
    let app = router(RouterState { db: t.db.clone(), kinds: kinds(), service_key: Some("secret".into()) });
    let call = async |key: Option<&str>| {
        let mut request = axum::http::Request::post("/functions/v1/job-worker");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = app.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    assert_eq!(call(None).await.0, 401);
    assert_eq!(call(Some("secre")).await.0, 401);
    let (status, body) = call(Some("secret")).await;
    assert_eq!((status, &body["success"], &body["processed"], &body["failed"]), (200, &true.into(), &2.into(), &1.into()), "{body}");
    assert_eq!(body["results"].as_array().unwrap().len(), 3);
    assert!(body["results"][0]["jobId"].is_string());
    let (_, body) = call(Some("secret")).await;
    assert_eq!((&body["processed"], body["results"].as_array().unwrap().len()), (&0.into(), 0));
    let logged: Vec<(String, String)> =
        sqlx::query_as("SELECT level, message FROM edge_function_logs WHERE function_name = 'job-worker' ORDER BY level, message")
            .fetch_all(t.db.service())
            .await
            .unwrap();
    let lines: Vec<(&str, &str)> = logged.iter().map(|(l, m)| (l.as_str(), m.as_str())).collect();
    assert_eq!(lines, [("error", "never")]);
    let closed = router(RouterState { db: t.db.clone(), kinds: kinds(), service_key: None });
    let response =
        closed.oneshot(axum::http::Request::post("/functions/v1/job-worker").body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_commits_behind_what_was_taken_since_is_heard_of() {
    let t = database().await;
    let cancel = CancellationToken::new();
    // Nothing but the notification can find it: the worker looks by itself once a minute.
    let mut worker = Worker::spawn(t.url.pools(1, 8), kinds(), Settings { poll: Duration::from_secs(60), ..settings() }, cancel.clone());
    worker.arrived().await;
    let done = async |id| until("it is done", Duration::from_secs(5), async || status(&t, id).await == "completed").await;
    done(put(&t, vec![ask("", 0)]).await[0]).await;
    let mut late = t.db.begin_service().await.unwrap();
    let behind = enqueue(&mut late, vec![ask("", 1)]).await.unwrap().ids[0];
    for n in 0..3 {
        done(put(&t, vec![ask("", n)]).await[0]).await;
    }
    late.commit().await.unwrap();
    done(behind).await;
    // What waits for its retry's time is found by looking; what is brought forward is heard of.
    let later = put(&t, vec![NewJob { scheduled_at: Some(chrono::Utc::now() + chrono::TimeDelta::hours(1)), ..ask("", 9) }]).await[0];
    assert_eq!(run_now_many(&mut t.db.service().acquire().await.unwrap(), &[later]).await.unwrap(), 1);
    done(later).await;
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_is_in_the_log_and_in_the_performance_view() {
    let t = database().await;
    put(&t, (0..25).map(|n| ask("", n)).chain([ask("dead", 25)]).collect()).await;
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 8), kinds(), settings(), cancel.clone());
    until("all are done", Duration::from_secs(10), async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM background_jobs WHERE status <> 'failed'")
            .fetch_one(t.db.service())
            .await
            .unwrap()
            == 0
    })
    .await;
    cancel.cancel();
    worker.stopped().await;
    let (lines, jobs, calls): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), sum((metadata ->> 'jobs')::bigint)::bigint, sum((metadata ->> 'calls')::bigint)::bigint FROM edge_function_logs WHERE function_name = 'act'",
    )
    .fetch_one(t.db.service())
    .await
    .unwrap();
    assert_eq!(jobs, 26);
    assert!(lines <= 2 && calls >= 3, "{lines} lines for {calls} batches of at most ten");
    sqlx::query("INSERT INTO edge_function_logs (level, function_name, message, metadata, duration_ms) VALUES ('info', 'act', 'x', '{\"calls\": 1000, \"max_ms\": 70}', 50)")
        .execute(t.db.service())
        .await
        .unwrap();
    let seen: (i64, i32) = sqlx::query_as("SELECT invocations, max_duration_ms FROM edge_function_performance WHERE function_name = 'act'")
        .fetch_one(t.db.service())
        .await
        .unwrap();
    assert!(seen.0 == calls + 1000 && seen.1 >= 70, "{seen:?}");
    crate::store::maintenance::roll_up_logs(&mut t.db.service().acquire().await.unwrap()).await.unwrap();
    let rolled: i64 =
        sqlx::query_scalar("SELECT count FROM log_rollups WHERE function_name = 'act'").fetch_one(t.db.service()).await.unwrap();
    assert_eq!(rolled, calls + 1000);
}
