//! The ingest on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod bench;
mod connecting;
mod erased;
mod orders;
mod recorded;

use super::*;
use crate::model::Metric;
use crate::store::testing::{TestDb, database};
use crate::store::{Db, metrics};
use serde_json::{Value, json};

/// A delivery that is stored as the gateway stores it, with an id and a time that depend only on `n`.
fn delivery(n: u32, ordering_ms: i64, body: &Value) -> RawDelivery {
    RawDelivery {
        id: Uuid::from_u128(u128::from(n) + 1),
        created_at: Instant::from_timestamp_millis(1_790_000_000_000 + i64::from(n)).unwrap(),
        trace_id: format!("trace-{n:06}"),
        kind: body["type"].as_str().unwrap_or_default().to_owned(),
        ordering_ms,
        body: body.to_string().into_bytes(),
    }
}

async fn store(db: &Db, deliveries: &[RawDelivery]) {
    sqlx::query(
        "INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, ordering_ms, body, terra_user_id)
         SELECT id, at, trace, type, ordering, body, coalesce(convert_from(body, 'UTF8')::jsonb #>> '{user,user_id}', convert_from(body, 'UTF8')::jsonb #>> '{new_user,user_id}')
           FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::int8[], $6::bytea[]) AS d (id, at, trace, type, ordering, body)",
    )
    .bind(deliveries.iter().map(|d| d.id).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|d| d.created_at).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|d| d.trace_id.as_str()).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|d| d.kind.as_str()).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|d| d.ordering_ms).collect::<Vec<_>>())
    .bind(deliveries.iter().map(|d| d.body.as_slice()).collect::<Vec<_>>())
    .execute(db.service())
    .await
    .unwrap();
}

async fn run(db: &Db, deliveries: &[RawDelivery]) -> Batch {
    let mut tx = db.begin_service().await.unwrap();
    let batch = process(&mut tx, deliveries).await.unwrap();
    tx.commit().await.unwrap();
    batch
}

/// Everything that deliveries leave behind, as text: equal texts are equal tables.
async fn tables(db: &Db) -> Vec<String> {
    let mut out = Vec::new();
    for sql in [
        "SELECT (to_jsonb(t) - 'created_at' - 'updated_at')::text FROM unified_metrics t ORDER BY user_id, metric_name, source, measurement_date",
        "SELECT to_jsonb(t)::text FROM records t ORDER BY user_id, source, model, key",
        // A state that no event has set yet dates from the making of the row.
        "SELECT (to_jsonb(t) - 'id' - 'created_at' - CASE WHEN state_ordering_ms = 0 THEN 'state_at' ELSE '' END)::text FROM connections t ORDER BY terra_user_id",
        "SELECT user_id FROM persons ORDER BY user_id",
        "SELECT concat_ws(' ', id, status, error, processed_count, user_id) FROM terra_webhooks_raw ORDER BY id",
    ] {
        out.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(db.service()).await.unwrap());
    }
    out
}

/// A small linear congruential generator: the tests' order is random and always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n as u64).unwrap()
    }
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn user(id: &str, reference: Option<&str>) -> Value {
    json!({"user_id": id, "provider": "GARMIN", "reference_id": reference, "scopes": "A,B"})
}

fn daily(id: &str, reference: Option<&str>, steps: impl Into<Value>) -> Value {
    json!({"type": "daily", "user": user(id, reference), "data": [{
        "metadata": {"start_time": "2026-07-01T00:00:00+01:00", "end_time": "2026-07-02T00:00:00+01:00", "upload_type": 1},
        "distance_data": {"steps": steps.into()}}]})
}

async fn steps(db: &Db, user_id: &str) -> Vec<f64> {
    let mut tx = db.begin_service().await.unwrap();
    let day = NaiveDate::from_ymd_opt(2026, 7, 1).unwrap();
    let values = metrics::person_values(&mut tx, user_id, day, day).await.unwrap();
    values.iter().filter(|value| value.metric == Metric::Steps).map(|value| value.value).collect()
}

#[tokio::test]
async fn a_delivery_becomes_values_and_a_replay_leaves_no_trace() {
    let t = database().await;
    let one = [delivery(1, 100, &daily("t1", Some("me"), 4200))];
    store(&t.db, &one).await;
    let first = run(&t.db, &one).await;
    assert_eq!(first.outcomes[0].status, Status::Completed { readings: 1, note: None });
    assert_eq!(first.changed.get("me").map(ToString::to_string).as_deref(), Some("2026-07-01"));
    let stamp = "SELECT string_agg(xmin::text || ctid::text || updated_at, ',') FROM unified_metrics";
    let before: String = sqlx::query_scalar(stamp).fetch_one(t.db.service()).await.unwrap();
    let again = run(&t.db, &[one[0].clone(), one[0].clone()]).await;
    assert!(again.changed.is_empty());
    assert_eq!(before, sqlx::query_scalar::<_, String>(stamp).fetch_one(t.db.service()).await.unwrap());
    // A null, and an older delivery, change nothing; a newer one does.
    run(&t.db, &[delivery(2, 101, &daily("t1", Some("me"), Value::Null)), delivery(3, 99, &daily("t1", Some("me"), 7))]).await;
    assert_eq!(steps(&t.db, "me").await, [4200.0]);
    run(&t.db, &[delivery(4, 102, &daily("t1", Some("me"), 0))]).await;
    assert_eq!(steps(&t.db, "me").await, [0.0]);
    let mut tx = t.db.begin_service().await.unwrap();
    let loaded = raw::load(&mut tx, &[(one[0].id, one[0].created_at)]).await.unwrap();
    assert_eq!(loaded, one);
    let latest = crate::store::read_api::newest(&mut tx, "me", &[]).await.unwrap();
    assert_eq!((latest.len(), latest[0].metric_name.as_str(), latest[0].value, latest[0].source.as_str()), (1, "steps", 0.0, "garmin"));
}

#[tokio::test]
async fn one_bad_delivery_costs_no_other() {
    let t = database().await;
    let batch = [
        delivery(1, 1, &daily("t1", Some("me"), 1)),
        delivery(2, 2, &json!({"type": "daily", "user": user("t1", Some("a\0b")), "data": []})),
        RawDelivery { body: b"{\"type\":".to_vec(), ..delivery(3, 3, &json!({})) },
        delivery(
            4,
            4,
            &json!({"type": "daily", "user": user("t1", Some("me")), "data": [{"metadata": {}, "distance_data": {"steps": 3}}]}),
        ),
        delivery(5, 5, &json!({"type": "hormone", "user": user("t1", Some("me"))})),
        delivery(6, 6, &json!({"type": "daily", "data": []})),
        // An id too long for the index does not cost the workout: start and end name it.
        delivery(
            7,
            7,
            &json!({"type": "activity", "user": user("t1", Some("me")), "data": [{"metadata": {"summary_id": "é".repeat(5000), "start_time": "2026-07-01T10:00:00Z"}, "distance_data": {"summary": {"steps": 5}}}]}),
        ),
        delivery(
            8,
            8,
            &json!({"type": "daily", "user": user("t1", Some("me")), "data": [{"metadata": {"start_time": "2026-07-01"}, "distance_data": {"steps": "x", "distance_meters": 5}}, 7]}),
        ),
    ];
    let out = run(&t.db, &batch).await;
    let words: Vec<&str> = out
        .outcomes
        .iter()
        .map(|o| match o.status {
            Status::Completed { .. } => "completed",
            Status::Failed(_) => "failed",
            Status::Parked(_) => "parked",
            Status::Linked(_) => "linked",
            Status::Ignored(_) => "ignored",
        })
        .collect();
    assert_eq!(words, ["completed", "ignored", "failed", "failed", "ignored", "failed", "completed", "completed"]);
    let Status::Completed { readings: 1, note: Some(note) } = &out.outcomes[7].status else { panic!("{:?}", out.outcomes[7]) };
    assert!(note.contains("element 2 was left out: it is not an object"), "{note}");
    // The last one has two more than the first: the element that is none, and the steps that are no number.
    let found: Vec<u32> = out.outcomes.iter().map(|o| o.findings).collect();
    assert_eq!((found[7], found[1]), (found[0] + 2, 0), "{found:?}");
    let Status::Failed(why) = &out.outcomes[3].status else { panic!() };
    assert!(why.contains("its day is unknown"), "{why}");
    assert_eq!(steps(&t.db, "me").await, [1.0]);
}

#[tokio::test]
async fn large_bodies_are_loaded_a_few_at_a_time() {
    let t = database().await;
    let big = |n: u32| {
        let mut body = daily("t1", Some("me"), n);
        body["padding"] = json!("x".repeat(7_000_000));
        delivery(n, i64::from(n), &body)
    };
    let mut batch: Vec<RawDelivery> = (1..=5).map(big).collect();
    batch.insert(2, delivery(9, 9, &daily("t1", Some("me"), 9)));
    store(&t.db, &batch).await;
    sqlx::query("UPDATE terra_webhooks_raw SET status = 'conflict' WHERE trace_id = 'trace-000001'").execute(t.db.service()).await.unwrap();
    let mut keys: Vec<(Uuid, Instant)> = batch.iter().map(|d| (d.id, d.created_at)).collect();
    keys.push((Uuid::nil(), Instant::UNIX_EPOCH));
    let mut tx = t.db.begin_service().await.unwrap();
    // Two of 7 MB and the small one between them fit into 16 MB; the conflict before them is passed over.
    let (some, taken) = raw::load_some(&mut tx, &keys).await.unwrap();
    assert_eq!((some.len(), taken), (3, 4));
    let done = process_stored(&mut tx, &keys).await.unwrap();
    tx.commit().await.unwrap();
    let order: Vec<Uuid> = done.outcomes.iter().map(|outcome| outcome.id).collect();
    assert_eq!(order, batch.iter().skip(1).map(|d| d.id).collect::<Vec<_>>());
    assert_eq!(steps(&t.db, "me").await, [9.0]);
}

#[tokio::test]
async fn what_the_database_refuses_fails_alone() {
    let t = database().await;
    // A rule of the table that this program does not know of: the ingest must find the delivery that breaks it.
    sqlx::query("ALTER TABLE unified_metrics ADD CONSTRAINT test_rule CHECK (value <> 13)").execute(t.db.owner()).await.unwrap();
    let batch = [
        delivery(1, 1, &daily("t1", Some("me"), 12)),
        delivery(2, 1, &daily("t2", Some("you"), 13)),
        delivery(3, 1, &daily("t3", Some("her"), 14)),
    ];
    store(&t.db, &batch).await;
    let out = run(&t.db, &batch).await;
    assert!(matches!(&out.outcomes[1].status, Status::Failed(why) if why.contains("test_rule")), "{out:?}");
    assert_eq!((steps(&t.db, "me").await, steps(&t.db, "you").await, steps(&t.db, "her").await), (vec![12.0], vec![], vec![14.0]));
    let status: String = sqlx::query_scalar("SELECT status FROM terra_webhooks_raw WHERE trace_id = 'trace-000002'")
        .fetch_one(t.db.service())
        .await
        .unwrap();
    assert_eq!(status, "failed");
}

#[tokio::test]
async fn a_session_that_moves_takes_its_value_along_and_a_deleted_day_goes() {
    let t = database().await;
    let night = |end: &str| {
        json!({"type": "sleep", "user": user("t1", Some("me")), "data": [{
        "metadata": {"summary_id": "n", "start_time": "2026-06-30T20:00:00Z", "end_time": end},
        "sleep_durations_data": {"asleep": {"duration_asleep_state_seconds": 9000}}}]})
    };
    run(&t.db, &[delivery(1, 1, &night("2026-06-30T23:50:00Z"))]).await;
    let moved = run(&t.db, &[delivery(2, 2, &night("2026-07-01T05:00:00Z"))]).await;
    assert_eq!(moved.changed["me"].to_string(), "2026-06-30");
    let days: Vec<String> =
        sqlx::query_scalar("SELECT measurement_date::text FROM unified_metrics").fetch_all(t.db.service()).await.unwrap();
    assert_eq!(days, ["2026-07-01"]);
    // A deleted day loses its value and its score.
    run(&t.db, &[delivery(3, 3, &daily("t1", Some("me"), 500))]).await;
    sqlx::query("INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
                 SELECT user_id, metric_name, source, measurement_date, 50, 0.5, 0.4, 0.6, '{}', 1, 1 FROM unified_metrics").execute(t.db.service()).await.unwrap();
    let mut deletion = daily("t1", Some("me"), 500);
    deletion["data"][0]["metadata"]["upload_type"] = json!(4);
    run(&t.db, &[delivery(4, 5, &deletion), delivery(5, 4, &daily("t1", Some("me"), 600))]).await;
    let left: Vec<String> =
        sqlx::query_scalar("SELECT metric_name FROM metric_confidence_cache UNION ALL SELECT metric_name FROM unified_metrics")
            .fetch_all(t.db.service())
            .await
            .unwrap();
    assert_eq!(left, ["sleep_duration", "sleep_duration"]);
}

#[tokio::test]
async fn two_workers_on_one_person_wait_for_each_other_and_lose_nothing() {
    let t: TestDb = database().await;
    let mut tasks = Vec::new();
    for worker in 0..2_u32 {
        let db = t.db.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..15_u32 {
                // Both write the same day; each round one field of it, in ever changing order.
                let n = round * 2 + worker;
                let mut body = daily("t1", Some("me"), if n % 3 == 0 { Value::Null } else { json!(n) });
                body["data"][0]["distance_data"]["distance_meters"] = if n % 3 == 0 { json!(n) } else { Value::Null };
                run(
                    &db,
                    &[
                        delivery(n, i64::from((n * 7) % 30), &body),
                        delivery(100 + n, i64::from(n), &daily(&format!("t{n}"), Some(&format!("p{}", n % 4)), n)),
                    ],
                )
                .await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut tx = t.db.begin_service().await.unwrap();
    let day = NaiveDate::from_ymd_opt(2026, 7, 1).unwrap();
    let found: Vec<f64> = metrics::person_values(&mut tx, "me", day, day).await.unwrap().iter().map(|v| v.value).collect();
    // The latest in the total order among those that had the field.
    let best = |with_steps: bool| (0..30_u32).filter(|n| (n % 3 != 0) == with_steps).max_by_key(|n| (n * 7) % 30).map(f64::from).unwrap();
    assert_eq!(found, [best(false), best(true)]);
}
