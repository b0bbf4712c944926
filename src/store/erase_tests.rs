//! What comes while a person is erased, and afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::*;
use crate::gateway::admission::admit;
use crate::jobs::{Settings, Worker, WorkerHandle, kinds};
use crate::store::deliveries::{NewDelivery, Status};
use crate::store::rollups::{Window, roll_up};
use crate::store::{deliveries as gateway, maintenance, privacy_tests::mentions, testing};
use axum::http::{HeaderMap, HeaderValue};
use serde_json::Value;
use sqlx::Executor;
use std::time::{Duration, Instant};
use testing::TestDb;
use tokio_util::sync::CancellationToken;

fn daily(person: &str, steps: i64) -> Value {
    json!({ "type": "daily", "user": { "user_id": format!("terra-{person}"), "provider": "GARMIN", "reference_id": person }, "data": [{
        "metadata": { "start_time": "2026-07-01T00:00:00+01:00", "end_time": "2026-07-02T00:00:00+01:00", "upload_type": 1 },
        "distance_data": { "steps": steps } }] })
}

fn said(kind: &str, person: &str) -> Value {
    json!({ "type": kind, "status": "success", "user": { "user_id": format!("terra-{person}"), "provider": "GARMIN", "reference_id": person } })
}

fn delivery(trace: &str, body: &Value) -> NewDelivery {
    let mut headers = HeaderMap::new();
    headers.insert("x-terra-trace-id", HeaderValue::from_str(trace).unwrap());
    admit(body.to_string().into(), &headers, chrono::Utc::now()).delivery
}

/// Stores it by the gateway's statement.
async fn deliver(t: &TestDb, delivery: &NewDelivery) {
    let new = gateway::insert(&mut t.db.service().acquire().await.unwrap(), &[delivery]).await.unwrap();
    assert_eq!(new, [delivery.id]);
}

fn work(t: &TestDb) -> (WorkerHandle, CancellationToken) {
    let settings = Settings {
        slots: 1,
        slow_slots: 1,
        poll: Duration::from_millis(50),
        drain: Duration::from_secs(2),
        schedules: false,
        ..Settings::default()
    };
    let cancel = CancellationToken::new();
    (Worker::spawn(t.db.clone(), kinds::all(), settings, cancel.clone()), cancel)
}

async fn number(t: &TestDb, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(t.db.service()).await.unwrap()
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Works until no job is left.
async fn quiet(t: &TestDb, working: (WorkerHandle, CancellationToken)) {
    let left = "SELECT count(*) FROM background_jobs WHERE status IN ('pending', 'processing')";
    until("no job is left", async || number(t, left).await == 0).await;
    working.1.cancel();
    working.0.stopped().await;
}

async fn waits(t: &TestDb, n: i64) {
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    until("somebody waits for a lock", async || number(t, waiting).await >= n).await;
}

fn erase(t: &TestDb) -> tokio::task::JoinHandle<sqlx::Result<Report>> {
    let db = t.db.clone();
    tokio::spawn(async move { erase_person(&db, &Actor::system(), "erika").await })
}

/// A person with a delivery, its values and scores, and nobody at work.
async fn somebody() -> TestDb {
    let t = testing::database().await;
    deliver(&t, &delivery("before", &daily("erika", 900))).await;
    quiet(&t, work(&t)).await;
    assert!(mentions(&t, "erika").await.len() > 5, "the search itself finds things");
    t
}

/// Sums of persons that were being added up meanwhile are put right by the next round, which forgets who is gone.
async fn nowhere(t: &TestDb) {
    for window in [Window::Week, Window::Roster] {
        roll_up(t.db.service(), window, 0).await.unwrap();
    }
    assert_eq!(mentions(t, "erika").await, Vec::<String>::new());
    assert_eq!(mentions(t, "terra-erika").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_erasure_looks_around_goes_too() {
    let t = somebody().await;
    t.db.owner()
        .execute(
            "INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at)
             VALUES (app.uuid_v7(), 'recalculation', 'completed', 5, '{\"users\": [\"erika\", \"anna\"]}', 1, now(), now())",
        )
        .await
        .unwrap();
    // It has found the deliveries, and stops at a finished job that somebody holds.
    let mut holder = t.db.begin_service().await.unwrap();
    holder.execute("SELECT FROM job_history WHERE type = 'recalculation' FOR UPDATE").await.unwrap();
    let erasing = erase(&t);
    waits(&t, 1).await;
    deliver(&t, &delivery("processed", &daily("erika", 901))).await;
    quiet(&t, work(&t)).await;
    deliver(&t, &delivery("not-yet", &said("deauth", "erika"))).await;
    holder.rollback().await.unwrap();
    erasing.await.unwrap().unwrap();
    quiet(&t, work(&t)).await;
    nowhere(&t).await;
    assert_eq!(number(&t, "SELECT count(*) FROM terra_webhooks_raw WHERE status = 'pending'").await, 0, "none waits without a job");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_and_an_erasure_that_meet_do_not_wait_for_each_other() {
    let t = somebody().await;
    maintenance::write_log(t.db.service(), &[line("erika")]).await.unwrap();
    // It has the connections and the person, and stops at a line of the log that somebody holds.
    let mut holder = t.db.begin_service().await.unwrap();
    holder.execute("SELECT FROM edge_function_logs WHERE user_id = 'erika' FOR UPDATE").await.unwrap();
    let erasing = erase(&t);
    waits(&t, 1).await;
    deliver(&t, &delivery("late", &daily("erika", 902))).await;
    let working = work(&t);
    waits(&t, 2).await;
    holder.rollback().await.unwrap();
    erasing.await.unwrap().unwrap();
    quiet(&t, working).await;
    nowhere(&t).await;
    let late: (String, i32) = sqlx::query_as(
        "SELECT r.status, j.attempts FROM terra_webhooks_raw r JOIN delivery_keys k ON k.raw_id = r.id JOIN job_history j ON j.id = r.id WHERE r.trace_id = 'late'",
    )
    .fetch_one(t.db.service())
    .await
    .unwrap();
    assert_eq!(late, ("ignored".to_owned(), 1), "neither had to begin anew");
}

fn line(person: &str) -> maintenance::LogLine {
    maintenance::LogLine {
        level: "info",
        function: "webhook-terra",
        message: "answered".into(),
        metadata: "{}".into(),
        request_id: None,
        user_id: Some(person.into()),
        duration_ms: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_an_erasure_leaves_no_name_and_neighbours_keep_theirs() {
    let t = somebody().await;
    deliver(&t, &delivery("theirs", &daily("anna", 700))).await;
    quiet(&t, work(&t)).await;
    erase(&t).await.unwrap().unwrap();
    maintenance::write_log(t.db.service(), &[line("erika"), line("anna")]).await.unwrap();
    assert_eq!(number(&t, "SELECT count(*) FROM edge_function_logs WHERE message = 'answered'").await, 2);
    nowhere(&t).await;
    // A delivery with a job is emptied by its worker; those without one, daily.
    for (n, person) in ["erika", "anna"].into_iter().enumerate() {
        deliver(&t, &delivery(&format!("end-{n}"), &said("deauth", person))).await;
        deliver(&t, &delivery(&format!("new-{n}"), &said("hormone", person))).await;
        let mut clash = delivery(&format!("end-{n}"), &daily(person, 1));
        clash.key.push_str("#another");
        clash.status = Status::Conflict;
        deliver(&t, &clash).await;
    }
    quiet(&t, work(&t)).await;
    assert!(!mentions(&t, "erika").await.is_empty(), "nobody has looked at those without a job");
    maintenance::retention(t.db.owner()).await.unwrap();
    nowhere(&t).await;
    let kept = "SELECT count(*) FROM terra_webhooks_raw WHERE user_id = 'anna' AND terra_user_id = 'terra-anna' AND length(body) > 10";
    assert_eq!(number(&t, kept).await, 4);
    assert_eq!(number(&t, "SELECT count(*) FROM edge_function_logs WHERE user_id = 'anna' AND message = 'answered'").await, 1);
}
