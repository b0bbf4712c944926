//! The program's own kinds, from a stored delivery to its scores.

use super::*;
use crate::jobs::{Worker, kinds, operations};
use crate::store::{dead_letters, jobs::settle::DeadFilter, maintenance, schedules};
use serde_json::json;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Stores deliveries and their jobs as the gateway does: one day of steps and pulse of each person.
async fn deliver(t: &TestDb, persons: i64, days: i64) {
    let bodies: Vec<String> = (0..persons * days)
        .map(|n| {
            let (person, day) = (n % persons, chrono::NaiveDate::from_ymd_opt(2026, 7, 1).unwrap() + chrono::Days::new((n / persons) as u64));
            json!({ "type": "daily", "user": { "user_id": format!("t{person}"), "provider": "GARMIN", "reference_id": format!("p{person}"), "scopes": "" },
                "data": [{ "metadata": { "start_time": format!("{day}T00:00:00+00:00"), "end_time": format!("{}T00:00:00+00:00", day + chrono::Days::new(1)), "upload_type": 1 },
                           "distance_data": { "steps": 5000 + n } }] })
            .to_string()
        })
        .collect();
    sqlx::query(
        "WITH d AS (SELECT app.uuid_v7() AS id, now() AS at, n, body FROM unnest($1::text[]) WITH ORDINALITY AS u(body, n)),
              raw AS (INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, ordering_ms, body, terra_user_id)
                      SELECT id, at, 'trace-' || n, 'daily', n, convert_to(body, 'UTF8'), body::jsonb #>> '{user,user_id}' FROM d)
         INSERT INTO background_jobs (id, type, payload) SELECT id, 'webhook_processing', jsonb_build_object('delivery_id', id, 'created_at', at) FROM d",
    )
    .bind(bodies)
    .execute(t.db.service())
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_reaches_its_score_and_recalculate_all_goes_through_everybody() {
    let t = database().await;
    let count = async |sql: &'static str| -> i64 { sqlx::query_scalar(sql).fetch_one(t.db.service()).await.unwrap() };
    let mut listener = sqlx::postgres::PgListener::connect_with(t.db.service()).await.unwrap();
    listener.listen("assay_live").await.unwrap();
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 10), kinds::all(), settings(), cancel.clone());
    deliver(&t, 60, 5).await;
    let open = "SELECT count(*) FROM background_jobs";
    until("scored", Duration::from_secs(60), async || count(open).await == 0).await;
    assert_eq!(count("SELECT count(*) FROM unified_metrics").await, 300);
    assert_eq!(count("SELECT count(*) FROM metric_confidence_cache").await, 300);
    assert_eq!(count("SELECT count(*) FROM terra_webhooks_raw WHERE status = 'completed'").await, 300);
    let asked = count("SELECT count(*) FROM job_history WHERE type = 'confidence_calculation'").await;
    assert!((60..300).contains(&asked), "coalesced: {asked} jobs for 300 values of 60 persons");

    let started = operations::start_recalculate_all(&t.db, &crate::store::audit::Actor::system()).await.unwrap().0;
    assert_eq!((started.total, started.state.as_str()), (60, "running"));
    let state = "SELECT count(*) FROM operations WHERE state = 'completed' AND done = 60 AND failed = 0";
    until("recalculated", Duration::from_secs(60), async || count(state).await == 1).await;
    let mut topics = BTreeSet::new();
    while let Ok(Ok(news)) = tokio::time::timeout(Duration::from_millis(300), listener.recv()).await {
        let news: serde_json::Value = serde_json::from_str(news.payload()).unwrap();
        topics.insert(news["topic"].as_str().unwrap().to_owned());
    }
    for topic in ["deliveries", "scores", "operation"] {
        assert!(topics.contains(topic), "{topics:?}");
    }
    cancel.cancel();
    worker.stopped().await;
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_does_not_wait_for_recalculate_all() {
    let t = database().await;
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
         SELECT 'q' || n, 'steps', 'garmin', current_date - d, 1000 + d, 'count', 1, 't', now(), app.uuid_v7(), '{\"model\": \"daily\", \"upload\": \"automatic\"}'
           FROM generate_series(1, 4000) n, generate_series(1, 5) d",
    )
    .execute(t.db.service())
    .await
    .unwrap();
    let cancel = CancellationToken::new();
    let mut worker = Worker::spawn(t.url.pools(1, 10), kinds::all(), Settings { slots: 1, slow_slots: 1, ..settings() }, cancel.clone());
    worker.arrived().await;
    let operation = operations::start_recalculate_all(&t.db, &crate::store::audit::Actor::system()).await.unwrap().0;
    let now = async || crate::store::operations::find(&mut t.db.service().acquire().await.unwrap(), operation.id).await.unwrap().unwrap();
    until("it has begun", Duration::from_secs(20), async || now().await.done > 0).await;
    for n in 1..=5_i64 {
        let processed = async || -> i64 {
            sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw WHERE status = 'completed'")
                .fetch_one(t.db.service())
                .await
                .unwrap()
        };
        sqlx::query("DELETE FROM terra_webhooks_raw").execute(t.db.owner()).await.unwrap();
        deliver(&t, 1, n).await;
        until("processed", Duration::from_secs(10), async || processed().await == n).await;
    }
    let then = now().await;
    assert_eq!(then.state, "running", "it was over too soon for this to say anything");
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_being_looked_at_is_scored_before_everybody_who_waits() {
    let t = database().await;
    let cancel = CancellationToken::new();
    let mut worker = Worker::spawn(t.url.pools(1, 10), kinds::all(), Settings { slots: 1, slow_slots: 1, ..settings() }, cancel.clone());
    worker.arrived().await;
    crate::store::live::watching(&t.db, &["p0"]).await.unwrap();
    // Two thousand wait to be scored, the one who is looked at last of all; then comes a delivery for that one.
    sqlx::query(
        "INSERT INTO background_jobs (type, priority, payload, unique_key, pending_key, user_id)
         SELECT 'confidence_calculation', 6, jsonb_build_object('user_id', u, 'since', '2026-06-01'), 'confidence:' || u, 'confidence:' || u, u
           FROM (SELECT 'p' || n AS u FROM generate_series(1999, 0, -1) n) people",
    )
    .execute(t.db.service())
    .await
    .unwrap();
    deliver(&t, 1, 1).await;
    let left = async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM background_jobs").fetch_one(t.db.service()).await.unwrap() };
    until("everybody is scored", Duration::from_secs(60), async || left().await == 0).await;
    let (priority, before): (i16, i64) = sqlx::query_as(
        "SELECT p.priority, (SELECT count(*) FROM job_history o WHERE o.type = p.type AND o.completed_at < p.completed_at)
           FROM job_history p WHERE p.type = 'confidence_calculation' AND p.user_id = 'p0' ORDER BY p.completed_at LIMIT 1",
    )
    .fetch_one(t.db.service())
    .await
    .unwrap();
    assert_eq!(priority, 1, "the job that waited already was moved ahead");
    assert!(before < 1_000, "{before} of 1,999 others were scored first");
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_whose_job_dies_is_marked_and_can_be_redriven_as_an_operation() {
    let t = database().await;
    deliver(&t, 1, 1).await;
    sqlx::query("INSERT INTO background_jobs (type, payload) VALUES ('webhook_processing', '{\"delivery_id\": \"nonsense\"}')")
        .execute(t.db.service())
        .await
        .unwrap();
    let mut conn = t.db.service().acquire().await.unwrap();
    let rows = take(&mut conn, "webhook_processing", 10, 1, Uuid::now_v7()).await;
    assert_eq!(rows.len(), 2);
    let dead = |r: &claim::ClaimedRow| crate::store::jobs::settle::Setback {
        id: r.id,
        error: Some("the handler was broken".into()),
        class: crate::store::jobs::settle::Class::Permanent,
        again_at: None,
        refund: false,
    };
    crate::store::jobs::settle::set_back(&mut conn, 1, &rows.iter().map(dead).collect::<Vec<_>>()).await.unwrap();
    let raw: (String, Option<String>) = sqlx::query_as("SELECT status, error FROM terra_webhooks_raw").fetch_one(&mut *conn).await.unwrap();
    assert_eq!((raw.0.as_str(), raw.1.as_deref()), ("failed", Some("the handler was broken")));
    drop(conn);
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 10), kinds::all(), settings(), cancel.clone());
    let operation = operations::start_redrive(
        &t.db,
        &DeadFilter { kind: Some("webhook_processing".into()), ..Default::default() },
        &crate::store::audit::Actor::system(),
    )
    .await
    .unwrap();
    assert_eq!(operation.total, 2);
    let done = async || -> (String, i64, i64, String) {
        sqlx::query_as("SELECT o.state, o.done, (SELECT count(*) FROM background_jobs WHERE status = 'failed'), r.status FROM operations o, terra_webhooks_raw r")
            .fetch_one(t.db.service())
            .await
            .unwrap()
    };
    until("redriven; the hopeless one is dead again", Duration::from_secs(20), async || {
        done().await == ("completed".into(), 2, 1, "completed".into())
    })
    .await;
    let open = dead_letters::list(&mut t.db.service().acquire().await.unwrap(), &DeadFilter::default(), true, 10).await.unwrap();
    assert_eq!(open.len(), 1);
    assert!(open[0].error.as_deref().unwrap().contains("cannot be read"));
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_schedule_of_the_program_runs_also_without_the_objects_of_the_rollback() {
    let t = database().await;
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 10), kinds::all(), Settings { schedules: true, ..settings() }, cancel.clone());
    let names = async || {
        schedules::list(&mut t.db.service().acquire().await.unwrap()).await.unwrap().into_iter().map(|s| s.name).collect::<Vec<_>>()
    };
    until("seeded", Duration::from_secs(5), async || names().await.len() == crate::jobs::schedule::seeds().len()).await;
    for round in 1..=2_i64 {
        for name in names().await {
            assert!(schedules::run_now(&mut t.db.service().acquire().await.unwrap(), &name).await.unwrap());
        }
        let ran = async || -> i64 {
            sqlx::query_scalar("SELECT count(DISTINCT (type, id)) FROM job_history WHERE status = 'completed'")
                .fetch_one(t.db.service())
                .await
                .unwrap()
        };
        until("all ran", Duration::from_secs(30), async || ran().await >= names().await.len() as i64 * round).await;
        sqlx::raw_sql("DROP TABLE IF EXISTS background_jobs_dlq CASCADE; DROP TABLE IF EXISTS rate_limits CASCADE; DROP MATERIALIZED VIEW IF EXISTS latest_unified_metrics CASCADE")
            .execute(t.db.owner())
            .await
            .unwrap();
    }
    let failed: i64 = sqlx::query_scalar("SELECT count(*) FROM background_jobs WHERE status = 'failed' OR error IS NOT NULL")
        .fetch_one(t.db.service())
        .await
        .unwrap();
    assert_eq!(failed, 0);
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_history_and_does_not_end_keeps_neither_jobs_from_being_finished_nor_housekeeping_for_long() {
    let t = database().await;
    sqlx::raw_sql(
        "SELECT app.make_job_history_partition(current_date - 40);
         INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at)
         VALUES (app.uuid_v7(), 'act', 'completed', 5, '{}', 1, now(), now(), now() - interval '40 days');
         DO $$ BEGIN EXECUTE 'DROP TABLE job_history_' || to_char((now() AT TIME ZONE 'UTC')::date + 7, 'YYYYMMDD'); END $$",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut reader = t.db.begin_service().await.unwrap();
    sqlx::query("SELECT count(*) FROM job_history").execute(&mut *reader).await.unwrap();
    let owner = t.db.owner().clone();
    let house = tokio::spawn(async move { (maintenance::make_partitions(&owner).await, maintenance::retention(&owner).await) });
    let mut conn = t.db.service().acquire().await.unwrap();
    let (mut epoch, mut longest) = (0, Duration::ZERO);
    let finishing = async {
        while !house.is_finished() {
            epoch += 1;
            enqueue(&mut conn, vec![ask("", epoch)]).await.unwrap();
            let rows = take(&mut conn, "act", 1, epoch, Uuid::now_v7()).await;
            let begin = std::time::Instant::now();
            assert_eq!(claim::finish(&mut conn, &done(epoch, &rows)).await.unwrap(), 1);
            longest = longest.max(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), finishing).await.expect("finishing waits for the reader");
    let (made, removed) = house.await.unwrap();
    assert!(maintenance::is_lock_timeout(&made.unwrap_err()), "the day could be made beside the reader: this test says nothing");
    assert!(!removed.unwrap().iter().any(|(table, _)| *table == "job_history"), "the old day is in use, and stays");
    // Whoever waited behind the housekeeping waited as long as that waits for its lock: two seconds.
    assert!(epoch > 50 && longest < Duration::from_millis(1900), "{epoch} jobs, the slowest in {longest:?}");
    reader.rollback().await.unwrap();
    maintenance::make_partitions(t.db.owner()).await.unwrap();
    assert_eq!(maintenance::retention(t.db.owner()).await.unwrap()[0], ("job_history", 1));
}

#[tokio::test]
async fn a_day_that_the_default_partition_had_to_take_gets_its_own() {
    let t = database().await;
    sqlx::raw_sql(
        "INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at)
         VALUES (app.uuid_v7(), 'act', 'completed', 5, '{}', 1, now(), now(), '2020-02-03 23:59:59Z');
         SELECT app.make_job_history_partition('2020-02-03'), app.make_job_history_partition('2020-02-03')",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let lies: Vec<String> = sqlx::query_scalar("SELECT tableoid::regclass::text FROM job_history").fetch_all(t.db.service()).await.unwrap();
    assert_eq!(lies, ["job_history_20200203"]);
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::regclass";
    let of = async |table: &str| -> i64 { sqlx::query_scalar(indexes).bind(table).fetch_one(t.db.owner()).await.unwrap() };
    assert_eq!(of("job_history_20200203").await, of("job_history").await);
}

#[tokio::test]
async fn retention_drops_days_and_takes_them_out_of_the_counts() {
    let t = database().await;
    put(&t, (0..10).map(|n| ask("", n)).collect()).await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let rows = take(&mut conn, "act", 10, 1, Uuid::now_v7()).await;
    claim::finish(&mut conn, &done(1, &rows)).await.unwrap();
    // Four of them were finished long ago: two in a day with a partition, two in one without.
    sqlx::raw_sql(
        "SELECT app.make_job_history_partition(current_date - 20);
         UPDATE job_history SET completed_at = now() - interval '20 days' WHERE id IN (SELECT id FROM job_history ORDER BY id LIMIT 2);
         UPDATE job_history SET completed_at = now() - interval '50 days' WHERE id IN (SELECT id FROM job_history WHERE completed_at > now() - interval '1 day' ORDER BY id LIMIT 2)",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let removed = crate::store::maintenance::retention(t.db.owner()).await.unwrap();
    assert_eq!(removed[0], ("job_history", 4));
    assert_eq!(crate::store::maintenance::retention(t.db.owner()).await.unwrap()[0], ("job_history", 0));
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
    assert_eq!(kept[&("act".into(), "completed".into())], 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_counts_first_shows_its_progress_keeps_to_its_filter_and_can_be_cancelled() {
    let t = database().await;
    // Two kinds of death: 1,200 of one (more than two chunks), 3 of another.
    sqlx::raw_sql(
        "INSERT INTO background_jobs (type, payload, max_attempts, error) SELECT 'act', '{\"v\": 1}', 1, CASE WHEN n > 3 THEN 'no answer from ' || n ELSE 'refused' END FROM generate_series(1, 1203) n;
         UPDATE background_jobs SET status = 'failed', failed_at = now(), attempts = 1",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let groups = dead_letters::groups(&mut t.db.service().acquire().await.unwrap(), 9).await.unwrap();
    assert_eq!(groups.iter().map(|g| g.open).collect::<Vec<_>>(), [1200, 3]);
    let of = |n: usize| DeadFilter { fingerprint: Some(groups[n].fingerprint.clone()), ..Default::default() };
    let actor = crate::store::audit::Actor::system();
    let cancelled = operations::start_redrive(&t.db, &of(1), &actor).await.unwrap();
    assert!(operations::cancel(&t.db, cancelled.id, &actor).await.unwrap());
    let running = operations::start_redrive(&t.db, &of(0), &actor).await.unwrap();
    assert_eq!((cancelled.total, running.total), (3, 1200), "counted before anything is done");
    let cancel = CancellationToken::new();
    let worker = Worker::spawn(t.url.pools(1, 10), kinds::all(), settings(), cancel.clone()); // it does not know `act`
    let find = async |id| crate::store::operations::find(&mut t.db.service().acquire().await.unwrap(), id).await.unwrap().unwrap();
    until("redriven", Duration::from_secs(20), async || find(running.id).await.state == "completed").await;
    assert_eq!(find(running.id).await.done, 1200);
    let left: Vec<(String, i64)> = sqlx::query_as("SELECT status, count(*) FROM background_jobs WHERE type = 'act' GROUP BY 1 ORDER BY 1")
        .fetch_all(t.db.service())
        .await
        .unwrap();
    assert_eq!(left, [("failed".into(), 3), ("pending".into(), 1200)], "a cancelled one does nothing, nor anything outside the filter");
    assert_eq!(find(cancelled.id).await.state, "cancelled");
    cancel.cancel();
    worker.stopped().await;
    // The UPDATE by hand went past the counts; the leader's sweep puts that right.
    counts::recount(&mut t.db.service().acquire().await.unwrap()).await.unwrap();
    let (kept, counted) = both_counts(&t).await;
    assert_eq!(kept, counted);
}
