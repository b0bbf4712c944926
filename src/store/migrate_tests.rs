//! A repair beside a program that serves: nobody waits long for it.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use super::{MigrateError, repair};
use crate::store::testing::{TestDb, database};
use sqlx::Executor;
use std::time::{Duration, Instant};

/// A repair on a thread of its own: its future stays where it is made.
fn begin_repair(t: &TestDb) -> tokio::task::JoinHandle<Result<(), MigrateError>> {
    let (url, here) = (t.url.clone(), tokio::runtime::Handle::current());
    tokio::task::spawn_blocking(move || here.block_on(repair(&url)))
}

/// Whether somebody waits for a lock on this table, in this mode.
async fn is_waited_for(t: &TestDb, table: &str, mode: &str) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = to_regclass($1) AND mode = $2
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
    )
    .bind(table)
    .bind(mode)
    .fetch_one(t.db.service())
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_enqueued_while_the_view_is_built_anew() {
    let t = database().await;
    t.db.owner()
        .execute("DROP MATERIALIZED VIEW latest_unified_metrics; DROP TRIGGER on_max_retries_exceeded ON background_jobs")
        .await
        .unwrap();
    // Building takes as long as somebody holds a table that it reads.
    let mut holder = t.db.owner().begin().await.unwrap();
    holder.execute("LOCK TABLE source_ranks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let repairing = begin_repair(&t);
    let begin = Instant::now();
    while !is_waited_for(&t, "source_ranks", "AccessShareLock").await {
        assert!(begin.elapsed() < Duration::from_secs(30) && !repairing.is_finished(), "the view is not built");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut conn = t.db.service().acquire().await.unwrap();
    conn.execute("SET lock_timeout = '2s'; INSERT INTO background_jobs (type, payload) VALUES ('a', '{}')").await.unwrap();
    holder.rollback().await.unwrap();
    repairing.await.unwrap().unwrap();
    let back: bool = sqlx::query_scalar(
        "SELECT to_regclass('latest_unified_metrics') IS NOT NULL AND EXISTS (SELECT FROM pg_trigger WHERE tgname = 'on_max_retries_exceeded')
            AND has_table_privilege('service_role', 'latest_unified_metrics', 'SELECT')",
    )
    .fetch_one(t.db.owner())
    .await
    .unwrap();
    assert!(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_enqueued_while_a_repair_waits_for_a_reader() {
    let t = database().await;
    let mut reader = t.db.begin_service().await.unwrap();
    reader.execute("SELECT count(*) FROM unified_metrics").await.unwrap();
    let repairing = begin_repair(&t);
    let mut conn = t.db.service().acquire().await.unwrap();
    let (begin, mut longest, mut waits, mut given_up) = (Instant::now(), Duration::ZERO, false, false);
    while !given_up {
        let one = Instant::now();
        conn.execute("INSERT INTO background_jobs (type, payload) VALUES ('a', '{}')").await.unwrap();
        longest = longest.max(one.elapsed());
        let waited = std::mem::replace(&mut waits, is_waited_for(&t, "unified_metrics", "AccessExclusiveLock").await);
        given_up = waited && !waits;
        assert!(begin.elapsed() < Duration::from_secs(60) && !repairing.is_finished(), "the reader is not waited for");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reader.rollback().await.unwrap();
    repairing.await.unwrap().unwrap();
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// Conditions that are domains hold as a CHECK does, for whoever writes: the owner, too.
#[tokio::test]
async fn states_and_numbers_that_nobody_knows_are_refused() {
    let t = database().await;
    t.db.owner()
        .execute(
            "INSERT INTO background_jobs (type) VALUES ('a');
             INSERT INTO terra_webhooks_raw (id, trace_id, type, ordering_ms, body) VALUES (app.uuid_v7(), 't', 'daily', 1, '')",
        )
        .await
        .unwrap();
    for (sql, domain) in [
        ("INSERT INTO background_jobs (type, status) VALUES ('a', 'done')", "app.job_status"),
        ("UPDATE background_jobs SET status = 'parked'", "app.job_status"),
        ("UPDATE background_jobs SET priority = 10", "app.job_priority"),
        ("INSERT INTO background_jobs (type, priority) VALUES ('a', -1)", "app.job_priority"),
        ("UPDATE background_jobs SET max_attempts = 0", "app.job_attempts"),
        ("UPDATE terra_webhooks_raw SET status = 'cancelled'", "app.delivery_status"),
        (
            "INSERT INTO terra_webhooks_raw (id, trace_id, type, status, ordering_ms, body) VALUES (app.uuid_v7(), 'u', 'daily', '', 1, '')",
            "app.delivery_status",
        ),
    ] {
        let error = t.db.owner().execute(sql).await.unwrap_err();
        let refused = error.as_database_error().unwrap();
        assert_eq!(refused.code().as_deref(), Some("23514"), "{sql}: {refused}");
        assert!(refused.message().contains(domain.trim_start_matches("app.")), "{sql}: {refused}");
    }
}
