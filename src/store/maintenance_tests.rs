//! The view of newest values: refreshed when there is news, never twice at once, its age true, read by its index.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use super::*;
use crate::store::{health, schedules, testing};

async fn value(t: &testing::TestDb, sql: &'static str) -> Option<f64> {
    sqlx::query_scalar(sql).fetch_one(t.db.service()).await.unwrap()
}

#[tokio::test]
async fn the_view_is_made_anew_for_news_only_and_its_age_is_that_of_its_contents() {
    let t = testing::database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    let seed = schedules::Seed {
        name: "matview_refresh",
        job_type: "matview_refresh",
        payload: serde_json::json!({ "v": 1 }),
        every_s: 10,
        offset_s: 0,
    };
    schedules::seed(&mut conn, &[seed]).await.unwrap();
    let due = "UPDATE schedules SET next_run_at = now() - interval '1 second'";
    sqlx::query(due).execute(&mut *conn).await.unwrap();
    assert!(!skip_refresh_without_news(&mut conn).await.unwrap(), "it was never made");
    assert_eq!(
        health::figures(&mut t.db.service().acquire().await.unwrap(), std::time::Duration::ZERO).await.unwrap().view_age_s,
        None,
        "never made: no age"
    );
    refresh_latest(t.db.owner()).await.unwrap();
    sqlx::query(due).execute(&mut *conn).await.unwrap();
    assert!(skip_refresh_without_news(&mut conn).await.unwrap(), "nothing was written since");
    // News: counted by the server when the writer's transaction is over.
    sqlx::raw_sql(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
         VALUES ('anna', 'steps', 'garmin', current_date, 7, 'count', 1, 't', now(), gen_random_uuid())",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut *conn).await.unwrap();
    sqlx::query(due).execute(&mut *conn).await.unwrap();
    assert!(!skip_refresh_without_news(&mut conn).await.unwrap(), "something was written");
    assert_eq!(value(&t, "SELECT max(value) FROM latest_unified_metrics").await, None);
    // A refresh that fires but does not happen makes nothing younger.
    sqlx::query("UPDATE schedules SET payload = payload || jsonb_build_object('current_at', now() - interval '1 hour')")
        .execute(&mut *conn)
        .await
        .unwrap();
    schedules::fire_due(&mut conn).await.unwrap();
    let age = health::figures(&mut t.db.service().acquire().await.unwrap(), std::time::Duration::ZERO).await.unwrap().view_age_s.unwrap();
    assert!((3600.0..3700.0).contains(&age), "{age}");
    // Two at once: the second waits for the first.
    let (a, b) = futures::join!(refresh_latest(t.db.owner()), refresh_latest(t.db.owner()));
    assert!(a.unwrap().is_some() && b.unwrap().is_some());
    assert_eq!(value(&t, "SELECT max(value) FROM latest_unified_metrics").await, Some(7.0));
    assert!(
        health::figures(&mut t.db.service().acquire().await.unwrap(), std::time::Duration::ZERO).await.unwrap().view_age_s.unwrap() < 60.0
    );
    // The next one is put off.
    let wait = value(&t, "SELECT extract(epoch FROM next_run_at - now())::float8 FROM schedules").await.unwrap();
    assert!(wait > 0.0 && wait < 120.0, "{wait}");
    // While one runs, none is due: it would only wait for this one.
    let mut held = t.db.owner().begin().await.unwrap();
    sqlx::query("REFRESH MATERIALIZED VIEW latest_unified_metrics").execute(&mut *held).await.unwrap();
    sqlx::query(due).execute(&mut *conn).await.unwrap();
    let owner = t.db.owner().clone();
    let running = tokio::spawn(async move { refresh_latest(&owner).await });
    let far = "SELECT extract(epoch FROM next_run_at - now())::float8 FROM schedules";
    for _ in 0..100 {
        if value(&t, far).await.unwrap() > 600.0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(value(&t, far).await.unwrap() > 600.0 && !running.is_finished());
    held.rollback().await.unwrap();
    assert!(running.await.unwrap().unwrap().is_some());
    assert!(value(&t, far).await.unwrap() < 120.0);
}

#[test]
fn a_refresh_rests_twenty_nine_times_as_long_as_it_took_but_a_long_one_no_longer_than_health_bears() {
    for (took, rests) in [(0.1, 2.9), (1.0, 29.0), (10.0, 290.0), (20.0, 300.0), (33.0, 300.0), (60.0, 540.0)] {
        assert!((rest(took) - rests).abs() < 1e-9, "{took}: {}", rest(took));
    }
}

/// Lines of a function at noon, so many days ago.
async fn lines(t: &testing::TestDb, days_ago: i32, n: i32) {
    sqlx::query(
        "INSERT INTO edge_function_logs (timestamp, level, function_name, message, duration_ms)
         SELECT ((now() AT TIME ZONE 'UTC')::date - $1)::timestamp AT TIME ZONE 'UTC' + interval '12 hours', 'info', 'act', 'x', 10 FROM generate_series(1, $2)",
    )
    .bind(days_ago)
    .bind(n)
    .execute(t.db.owner())
    .await
    .unwrap();
}

/// Days ago and how many.
async fn sums(t: &testing::TestDb) -> Vec<(i32, i64)> {
    sqlx::query_as("SELECT (now() AT TIME ZONE 'UTC')::date - date, count FROM log_rollups ORDER BY date")
        .fetch_all(t.db.owner())
        .await
        .unwrap()
}

#[tokio::test]
async fn sums_of_the_log_survive_its_lines_and_days_on_which_nobody_summed_up_are_made_up_for() {
    let t = testing::database().await;
    let mut conn = t.db.service().acquire().await.unwrap();
    for days_ago in [5, 4, 1, 0] {
        lines(&t, days_ago, 3).await;
    }
    roll_up_logs(&mut conn).await.unwrap();
    assert_eq!(sums(&t).await, [(5, 3), (4, 3), (1, 3), (0, 3)], "no worker ran for days");
    // The first run of a day comes after retention has taken a part of yesterday: it does not believe what is left.
    for sql in [
        "DELETE FROM log_rollups WHERE date = (now() AT TIME ZONE 'UTC')::date",
        "DELETE FROM edge_function_logs WHERE id = (SELECT id FROM edge_function_logs WHERE (timestamp AT TIME ZONE 'UTC')::date = (now() AT TIME ZONE 'UTC')::date - 1 LIMIT 1)",
    ] {
        assert_eq!(sqlx::query(sql).execute(t.db.owner()).await.unwrap().rows_affected(), 1);
    }
    roll_up_logs(&mut conn).await.unwrap();
    assert_eq!(sums(&t).await, [(5, 3), (4, 3), (1, 3), (0, 3)]);
    // What came after the last sum of a day counts.
    lines(&t, 0, 2).await;
    roll_up_logs(&mut conn).await.unwrap();
    assert_eq!(sums(&t).await.last(), Some(&(0, 5)));
}

#[tokio::test]
async fn retention_takes_no_line_that_was_not_summed_up() {
    let t = testing::database().await;
    lines(&t, 20, 3).await;
    lines(&t, 1, 2).await;
    assert!(retention(t.db.owner()).await.unwrap().contains(&("edge_function_logs", 3)));
    assert_eq!(sums(&t).await, [(20, 3), (1, 2)]);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM edge_function_logs").fetch_one(t.db.owner()).await.unwrap();
    assert_eq!(left, 2);
}

#[tokio::test]
async fn a_day_that_somebody_reads_goes_in_the_same_run_once_they_have_ended() {
    let t = testing::database().await;
    sqlx::raw_sql(
        "SELECT app.make_job_history_partition(current_date - 40);
         INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, completed_at)
         VALUES (app.uuid_v7(), 'act', 'completed', 5, '{}', 1, now(), now(), now() - interval '40 days')",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    let mut reader = t.db.begin_service().await.unwrap();
    sqlx::query("SELECT count(*) FROM job_history").execute(&mut *reader).await.unwrap();
    let owner = t.db.owner().clone();
    let patience = Patience { pause: Duration::from_millis(100), whole: Duration::from_secs(60) };
    let running = tokio::spawn(async move { retention_with(&owner, patience).await });
    // It waits for the reader, and gives up for now.
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    let (begin, mut waits, mut given_up) = (Instant::now(), false, false);
    while !given_up {
        let now: i64 = sqlx::query_scalar(waiting).fetch_one(t.db.service()).await.unwrap();
        given_up = std::mem::replace(&mut waits, now > 0) && !waits;
        assert!(begin.elapsed() < Duration::from_secs(60) && !running.is_finished(), "the reader is not waited for");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reader.rollback().await.unwrap();
    assert!(running.await.unwrap().unwrap().contains(&("job_history", 1)));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM job_history").fetch_one(t.db.owner()).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn one_persons_newest_values_are_found_by_index() {
    let t = testing::database().await;
    sqlx::raw_sql(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
         SELECT 'person-' || p, 'metric_' || m, 'garmin', current_date, p, 'count', 1, 't', now(), gen_random_uuid()
           FROM generate_series(1, 1200) p, generate_series(1, 30) m",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    refresh_latest(t.db.owner()).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar("EXPLAIN SELECT * FROM latest_unified_metrics WHERE user_id = 'person-777'")
        .fetch_all(t.db.service())
        .await
        .unwrap();
    assert!(plan.iter().any(|l| l.contains("Index Scan") && l.contains("latest_unified_metrics_key")), "{plan:?}");
    for role in ["anon", "authenticated"] {
        let may: bool = sqlx::query_scalar("SELECT has_table_privilege($1, 'latest_unified_metrics', 'SELECT')")
            .bind(role)
            .fetch_one(t.db.service())
            .await
            .unwrap();
        assert!(!may, "{role}");
    }
}

#[test]
fn an_announcement_names_everybody_it_concerns_in_payloads_that_a_notification_can_hold() {
    for count in [0, 1, 50, 51, 200, NAMED] {
        let ids: Vec<String> = (0..count).map(|n| format!("person-{n}-{}", "é\"".repeat(20))).collect();
        let users: Vec<&str> = ids.iter().map(String::as_str).collect();
        let payloads = news("scores", &users, 7);
        assert!(payloads.iter().all(|p| p.len() < 8_000));
        let read: Vec<serde_json::Value> = payloads.iter().map(|p| serde_json::from_str(p).unwrap()).collect();
        let named: Vec<&str> = read.iter().flat_map(|p| p["users"].as_array().unwrap()).map(|u| u.as_str().unwrap()).collect();
        assert_eq!(named, users);
        assert_eq!(read.iter().map(|p| p["n"].as_i64().unwrap()).sum::<i64>(), 7);
        assert!(read.iter().all(|p| p["everybody"] == false));
    }
    let crowd = vec!["p"; NAMED + 1];
    assert_eq!(news("scores", &crowd, 7), [r#"{"everybody":true,"n":7,"topic":"scores","users":[]}"#]);
}
