//! Erasing and exporting a person, with a neighbour who must not lose anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::{Caller, Token, accounts, audit::Actor, erase, export, persons, sessions, testing};
use crate::model::Role;
use sqlx::{AssertSqlSafe, Executor};

const PLANTED: &str = "
  INSERT INTO persons (user_id, label) VALUES ('erika', 'Erika M.'), ('anna', NULL);
  INSERT INTO connections (terra_user_id, user_id, provider) VALUES ('terra-e', 'erika', 'oura'), ('terra-a', 'anna', 'oura');
  INSERT INTO terra_webhooks_raw (id, trace_id, type, user_id, terra_user_id, ordering_ms, body) VALUES
    ('00000000-0000-7000-8000-000000000001', 't1', 'daily', 'erika', 'terra-e', 1, '{\"data\": 1}'),
    ('00000000-0000-7000-8000-000000000002', 't2', 'auth', NULL, 'terra-e', 1, '{\"user\": {}}'),
    ('00000000-0000-7000-8000-000000000003', 't3', 'auth', NULL, 'terra-new', 1, '{\"user\": {\"reference_id\": \"erika\"}}'),
    ('00000000-0000-7000-8000-000000000004', 't4', 'daily', 'erika', NULL, 1, '\\xff'),
    ('00000000-0000-7000-8000-00000000000a', 'ta', 'daily', 'anna', 'terra-a', 1, '{\"note\": \"erika says hello\"}'),
    ('00000000-0000-7000-8000-00000000000b', 'tb', 'auth', NULL, 'terra-b', 1, '{\"user\": {\"reference_id\": \"anna\"}}');
  INSERT INTO delivery_keys (trace_id, body_hash, raw_id) SELECT trace_id, '\\x00', id FROM terra_webhooks_raw;
  INSERT INTO background_jobs (type, payload, user_id) VALUES
    ('webhook_processing', '{\"delivery_id\": \"00000000-0000-7000-8000-000000000001\"}', 'erika'),
    ('webhook_processing', '{\"delivery_id\": \"00000000-0000-7000-8000-000000000003\"}', NULL),
    ('other', '{\"deep\": {\"user\": [\"erika\"]}}', NULL),
    ('recalculation', '{\"users\": [\"anna\", \"erika\", \"erika2\"]}', NULL),
    ('webhook_processing', '{\"delivery_id\": \"00000000-0000-7000-8000-00000000000a\"}', 'anna');
  UPDATE background_jobs SET status = 'failed', failed_at = now(), error = 'x' WHERE user_id IS NOT NULL OR type = 'recalculation';
  INSERT INTO job_history (id, type, status, priority, payload, attempts, created_at, scheduled_at, user_id)
    SELECT app.uuid_v7(), 'x', 'completed', 5, '{}', 1, now(), now(), u FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO records (user_id, source, model, key, measurement_date, ordering_ms, trace_id, received_at, delivery_id)
    SELECT u, 'oura', 'daily', 'k', current_date, 1, 't', now(), app.uuid_v7() FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
    SELECT u, 'steps', 'oura', '2026-01-02', 1234, 'count', 1, 't', now(), app.uuid_v7() FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
    SELECT u, 'steps', 'oura', '2026-01-02', 80, 0.8, 0.7, 0.9, '{}', 1, 1 FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO finding_reviews (user_id, metric_name, source, measurement_date, verdict)
    SELECT u, 'steps', 'oura', '2026-01-02', 'confirmed' FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO score_advice SELECT u, 'steps', 'oura', '2026-01-02', 9, 'wear it' FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO source_choices (user_id, metric_name, source) SELECT u, 'steps', 'oura' FROM unnest(ARRAY['erika', 'anna']) u;
  INSERT INTO edge_function_logs (level, function_name, message, user_id, metadata) VALUES
    ('info', 'f', 'm', 'erika', '{}'), ('info', 'f', 'm', NULL, '{\"person\": \"erika\"}'), ('info', 'f', 'm', 'anna', '{}');
  INSERT INTO operations (kind, started_by, filter) VALUES ('replay', 'a', '{\"user_id\": \"erika\"}'), ('replay', 'a', '{\"user_id\": \"anna\"}');
  INSERT INTO audit_log (actor, action, subject, detail) VALUES ('a', 'person.read', 'erika', '{}'), ('a', 'x', NULL, '{\"who\": [\"erika\"]}'), ('a', 'person.read', 'anna', '{}');
  REFRESH MATERIALIZED VIEW latest_unified_metrics;";

async fn somebody(t: &testing::TestDb, email: &str, role: Role, seed: u8) -> Caller {
    let id = accounts::add(t.db.service(), email, "", role, Some("x")).await.unwrap().unwrap();
    let token = Token::from_bytes([seed; 32]);
    sessions::add(t.db.service(), &token, id, 3600, 7200, None, None).await.unwrap();
    Caller::new(id, role, email.to_owned(), String::new(), token)
}

/// Every place in the database where a text occurs, whatever the column's type.
pub(super) async fn mentions(t: &testing::TestDb, text: &str) -> Vec<String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .fetch_all(t.db.owner())
    .await
    .unwrap();
    let mut found = Vec::new();
    for (table, column) in columns {
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE \"{column}\"::text ~ $1 OR (pg_typeof(\"{column}\") = 'bytea'::regtype AND encode(decode(substr(\"{column}\"::text, 3), 'hex'), 'escape') ~ $1)"
        );
        let n: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(format!("\\m{text}\\M")).fetch_one(t.db.owner()).await.unwrap();
        if n > 0 {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}

/// The export as a whole; `None`: the caller sees nothing of this person.
async fn exported(db: &super::Db, caller: &Caller, actor: &Actor, user_id: &str) -> Option<serde_json::Value> {
    if !export::begin(db, caller, actor, user_id).await.unwrap() {
        return None;
    }
    let mut whole = String::new();
    export::write(db, caller, user_id, |part: String| {
        whole.push_str(&part);
        std::future::ready(true)
    })
    .await
    .unwrap();
    Some(serde_json::from_str(&whole).unwrap())
}

#[tokio::test]
async fn an_erased_person_is_nowhere_and_the_neighbour_keeps_everything() {
    let t = testing::database().await;
    t.db.owner().execute(PLANTED).await.unwrap();
    let admin = somebody(&t, "admin@example.com", Role::Admin, 1).await;
    let trainer = somebody(&t, "t@example.com", Role::Trainer, 2).await;
    let actor = Actor::of(&admin, None, None);
    persons::assign(&t.db, &actor, &[(trainer.account_id, "erika".into()), (trainer.account_id, "anna".into())]).await.unwrap();
    let before = exported(&t.db, &admin, &actor, "anna").await.unwrap();
    assert!(mentions(&t, "erika").await.len() > 15, "the search itself finds things");

    let announced = erase::counts(&t.db, "erika").await.unwrap();
    let report = erase::erase_person(&t.db, &actor, "erika").await.unwrap();
    for ((table, announced), (gone, n)) in announced.rows.iter().zip(&report.rows) {
        // What only mentions the person is found by the erasure itself.
        let named = !["terra_webhooks_raw", "delivery_keys", "background_jobs", "edge_function_logs"].contains(&table.as_str());
        assert!(table == gone && announced <= n && (announced == n || !named), "{table}: {announced} announced, {n} went");
    }
    assert!(announced.total() > 10, "what the page announces is what goes, nearly: {announced:?}");
    let rows: std::collections::BTreeMap<_, _> = report.rows.iter().cloned().collect();
    assert_eq!((rows["terra_webhooks_raw"], rows["delivery_keys"], rows["background_jobs"], rows["background_jobs_dlq"]), (4, 4, 3, 1));
    assert_eq!(
        (rows["edge_function_logs"], rows["persons"], rows["connections"], rows["trainer_clients"], rows["job_history"]),
        (2, 1, 1, 1, 1)
    );
    // Left is only what the neighbour's own body says.
    assert_eq!(mentions(&t, "erika").await, ["terra_webhooks_raw.body"]);
    assert_eq!(mentions(&t, "terra-e").await, Vec::<String>::new());
    let after = exported(&t.db, &admin, &actor, "anna").await.unwrap();
    let strip = |mut v: serde_json::Value| {
        v.as_object_mut().unwrap().remove("exported_at");
        v
    };
    assert_eq!(strip(before), strip(after));
    let shared: serde_json::Value =
        sqlx::query_scalar("SELECT payload FROM background_jobs WHERE type = 'recalculation'").fetch_one(t.db.service()).await.unwrap();
    assert_eq!(shared, serde_json::json!({ "users": ["anna", "erika2"] }));
    // The kept counts go along: of five jobs two pending and one failed one went. (Setting the state by hand, above, counts nothing.)
    let counted: Vec<(String, i64)> = sqlx::query_as(
        "SELECT status, sum(delta)::bigint FROM job_count_deltas WHERE status IN ('failed', 'pending') GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(t.db.service())
    .await
    .unwrap();
    assert_eq!(counted, [("failed".to_owned(), -1), ("pending".to_owned(), 5 - 2)]);
    let entries: Vec<(Option<String>, serde_json::Value)> =
        sqlx::query_as("SELECT subject, detail FROM audit_log WHERE action = 'person.erase'").fetch_all(t.db.service()).await.unwrap();
    assert!(entries.len() == 1 && entries[0].0.is_none() && entries[0].1["total"] == report.total());
    assert!(exported(&t.db, &admin, &actor, "erika").await.is_none());
    // Once more finds nothing, and the rollback of the checklist does not stop it.
    t.db.owner().execute("DROP TABLE background_jobs_dlq; DROP MATERIALIZED VIEW latest_unified_metrics").await.unwrap();
    assert_eq!(erase::erase_person(&t.db, &actor, "erika").await.unwrap().total(), 0);
}

#[tokio::test]
async fn a_worker_in_the_middle_of_its_work_leaves_nothing_behind() {
    let t = testing::database().await;
    t.db.owner().execute(PLANTED).await.unwrap();
    // As the workers do it: lock the job, write the effect, finish, in one transaction.
    let mut worker = t.db.begin_service().await.unwrap();
    worker.execute("SELECT id FROM background_jobs WHERE user_id = 'erika' FOR UPDATE").await.unwrap();
    let db = t.db.clone();
    let erasing = tokio::spawn(async move { erase::erase_person(&db, &Actor::system(), "erika").await });
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(t.db.owner()).await.unwrap() == 0 {
        assert!(!erasing.is_finished(), "the erasure did not wait for the worker");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    worker
        .execute(
            "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
             VALUES ('erika', 'weight', 'oura', '2026-01-03', 70, 'kg', 1, 't', now(), app.uuid_v7())",
        )
        .await
        .unwrap();
    worker.commit().await.unwrap();
    erasing.await.unwrap().unwrap();
    assert_eq!(mentions(&t, "erika").await, ["terra_webhooks_raw.body"]);
}

#[tokio::test]
async fn an_export_has_everything_and_a_trainer_exports_own_clients_only() {
    let t = testing::database().await;
    t.db.owner().execute(PLANTED).await.unwrap();
    let trainer = somebody(&t, "t@example.com", Role::Trainer, 2).await;
    let actor = Actor::of(&trainer, None, None);
    assert!(exported(&t.db, &trainer, &actor, "erika").await.is_none());
    persons::assign(&t.db, &Actor::system(), &[(trainer.account_id, "erika".into())]).await.unwrap();
    let export = exported(&t.db, &trainer, &actor, "erika").await.unwrap();
    let lists: Vec<(&str, usize)> =
        export.as_object().unwrap().iter().filter_map(|(k, v)| v.as_array().map(|a| (k.as_str(), a.len()))).collect();
    assert_eq!(
        lists,
        [
            ("confidence", 1),
            ("confidence_shadow", 0),
            ("connections", 1),
            ("dead_letters", 1),
            ("deliveries", 2),
            ("finding_reviews", 1),
            ("job_history", 1),
            ("jobs", 1),
            ("logs", 1),
            ("metrics", 1),
            ("person_scores", 0),
            ("persons", 1),
            ("records", 1),
            ("roster", 1),
            ("score_advice", 1),
            ("source_choices", 1),
            ("trainers", 1)
        ]
    );
    let bodies: Vec<&serde_json::Value> = export["deliveries"].as_array().unwrap().iter().collect();
    assert!(bodies.iter().any(|d| d["body"] == serde_json::json!({ "data": 1 })) && bodies.iter().any(|d| d["body_base64"] == "/w=="));
    // More rows than are read at once and bodies that fill several parts; and after the checklist's rollback.
    t.db.owner()
        .execute(
            "INSERT INTO terra_webhooks_raw (id, trace_id, type, user_id, ordering_ms, body)
               SELECT app.uuid_v7(), 'long' || n, 'daily', 'erika', n, convert_to(jsonb_build_object('n', n, 'long', repeat('x', 9000))::text, 'UTF8') FROM generate_series(1, 45) n;
             DROP TABLE background_jobs_dlq",
        )
        .await
        .unwrap();
    let export = exported(&t.db, &trainer, &actor, "erika").await.unwrap();
    let mut numbers: Vec<i64> = export["deliveries"].as_array().unwrap().iter().filter_map(|d| d["body"]["n"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=45).collect::<Vec<_>>());
    assert_eq!(export["dead_letters"], serde_json::json!([]));
}

/// Whoever takes everything away has what an erasure would remove.
#[tokio::test]
async fn an_administrators_export_has_the_rows_of_every_table_that_an_erasure_knows() {
    let t = testing::database().await;
    t.db.owner().execute(PLANTED).await.unwrap();
    t.db.owner()
        .execute(
            "INSERT INTO confidence_shadow SELECT * FROM metric_confidence_cache;
             INSERT INTO person_scores SELECT user_id, '2026-01-02', 80, 1, 0, 0, 0 FROM persons;",
        )
        .await
        .unwrap();
    let admin = somebody(&t, "admin@example.com", Role::Admin, 1).await;
    let trainer = somebody(&t, "t@example.com", Role::Trainer, 2).await;
    persons::assign(&t.db, &Actor::system(), &[(trainer.account_id, "erika".into())]).await.unwrap();
    let known = erase::counts(&t.db, "erika").await.unwrap();
    let export = exported(&t.db, &admin, &Actor::of(&admin, None, None), "erika").await.unwrap();
    for (table, rows) in known.rows {
        let list = match table.as_str() {
            "delivery_keys" => continue, // fingerprints of the deliveries, which are there themselves
            "terra_webhooks_raw" => "deliveries",
            "unified_metrics" => "metrics",
            "metric_confidence_cache" => "confidence",
            "edge_function_logs" => "logs",
            "trainer_clients" => "trainers",
            "background_jobs" => "jobs",
            "background_jobs_dlq" => "dead_letters",
            same => same,
        };
        assert!(rows > 0, "{table}: plant a row, or this proves nothing");
        // Deliveries that only their body gives to the person are not counted beforehand.
        let there = export[list].as_array().map_or(0, |l| l.len() as i64);
        assert!(there >= rows, "{table}: {there} of {rows}");
    }
    let unnamed = export["deliveries"].as_array().unwrap().iter().filter(|d| d["user_id"].is_null()).count();
    assert_eq!(unnamed, 2, "by the connection, and parked with the name in the body");
}
