//! The test endpoint.

use super::*;
use crate::calibration::simulator::World;
use crate::gateway::trial::OrderedBy;
use crate::store::audit::Actor;
use crate::store::{connections, simulated};
use uuid::Uuid;

const PATH: &str = "/functions/v1/terra-webhook-test";

fn order(key: &str, body: &str) -> Request<Body> {
    request(Method::POST, PATH, &[("authorization", key), ("content-type", "application/json")], body.to_owned())
}

#[tokio::test]
async fn the_checklists_call_is_stored_like_any_delivery_and_its_person_marked() {
    let b = Bench::new().await;
    let a = b.send(order("Bearer the-service-key", r#"{"type":"body","provider":"WHOOP","dryRun":false}"#)).await;
    assert_eq!(a.status, 200, "{a:?}");
    assert_eq!(a.body.get("success"), Some(&Value::Bool(true)));
    assert_eq!(
        b.count("terra_webhooks_raw WHERE type = 'body' AND provider = 'whoop' AND user_id = 'test-user-id' AND status = 'pending'").await,
        1
    );
    assert_eq!(b.count("background_jobs WHERE type = 'webhook_processing'").await, 1);
    assert_eq!(b.count("persons WHERE user_id = 'test-user-id' AND simulated").await, 1);
}

#[tokio::test]
async fn the_audit_log_says_who_sent_a_test_event_and_a_dry_run_is_no_deed() {
    let by_session: crate::gateway::trial::Authorise = Arc::new(|headers| {
        let admin = headers.get("cookie").is_some_and(|c| c == "session=admin");
        Box::pin(async move { admin.then(|| Actor { name: "admin@example.com".into(), ..Actor::system() }) })
    });
    let b = Bench::with(GatewaySettings { authorise: Some(by_session), ..settings() }).await;
    let (sent, dry) = (r#"{"type":"daily","provider":"OURA"}"#, r#"{"type":"daily","provider":"OURA","dryRun":true}"#);
    let ids = [("authorization", "Bearer the-service-key"), ("cookie", "session=admin")];
    for (n, way) in ids.into_iter().enumerate() {
        for body in [dry, sent] {
            let a = b.send(request(Method::POST, PATH, &[way, ("x-request-id", &format!("request-{n}"))], body)).await;
            assert_eq!(a.status, 200, "{a:?}");
        }
    }
    // A page of this program that orders it needs no key: it knows the person.
    let mut by_page = order("", sent);
    by_page.extensions_mut().insert(OrderedBy(Actor { name: "page@example.com".into(), address: None, ..Actor::system() }));
    assert_eq!(b.send(by_page).await.status, 200);
    let entries: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', actor, action, subject, detail ->> 'type', detail ->> 'provider', address, request_id,
                (SELECT count(*) FROM terra_webhooks_raw r WHERE r.trace_id = a.detail ->> 'trace_id')) FROM audit_log a ORDER BY id",
    )
    .fetch_all(b.t.db.owner())
    .await
    .unwrap();
    assert_eq!(
        entries,
        [
            "service key test_event.send test-user-id daily OURA 198.51.100.7 request-0 1",
            "admin@example.com test_event.send test-user-id daily OURA 198.51.100.7 request-1 1",
            "page@example.com test_event.send test-user-id daily OURA 1",
        ]
    );
}

/// Works on all that is stored, once more on what was worked on before; who is simulated then.
async fn work(b: &Bench) -> Vec<String> {
    let mut tx = b.t.db.begin_service().await.unwrap();
    let all: Vec<(Uuid, chrono::DateTime<Utc>)> =
        sqlx::query_as("SELECT id, created_at FROM terra_webhooks_raw ORDER BY id").fetch_all(&mut *tx).await.unwrap();
    crate::ingest::process_stored(&mut tx, &all).await.unwrap();
    tx.commit().await.unwrap();
    simulated::all(b.t.db.service()).await.unwrap()
}

#[tokio::test]
async fn whoever_was_tested_before_they_came_is_real_once_they_come() {
    let b = Bench::new().await;
    let test = r#"{"type":"daily","user_id":"client-17"}"#;
    for _ in 0..2 {
        assert_eq!(b.send(order("Bearer the-service-key", test)).await.status, 200);
        assert_eq!(work(&b).await, ["client-17"]);
    }
    let mut conn = b.t.db.service().acquire().await.unwrap();
    let user = r#""user":{"user_id":"terra-17","provider":"GARMIN","reference_id":"client-17"}"#;
    // The news of an end, or a failed try, is not somebody who comes.
    for (trace, body) in [("t1", format!(r#"{{"type":"deauth",{user}}}"#)), ("t2", format!(r#"{{"type":"auth","status":"error",{user}}}"#))]
    {
        assert_eq!(b.deliver(trace, &body).await.status, 200);
    }
    assert_eq!(work(&b).await, ["client-17"]);
    assert!(connections::known(&mut conn, "", 10).await.unwrap().is_empty());
    assert_eq!(b.deliver("t3", &format!(r#"{{"type":"auth","status":"success",{user}}}"#)).await.status, 200);
    assert_eq!(work(&b).await, [""; 0]);
    let known = connections::known(&mut conn, "", 10).await.unwrap();
    assert!(known.iter().any(|c| c.terra_user_id == "terra-17"), "reconciled: {known:?}");
    assert!(connections::giving(&mut conn, "client-17").await.unwrap().contains(&"terra-17".to_owned()), "backfilled");
    assert!(connections::at_terra(&mut conn, "client-17").await.unwrap().contains(&"terra-17".to_owned()), "deauthenticated");
    b.send(order("Bearer the-service-key", test)).await.is(409, "reason", "real_person");
}

/// The states of a connection as an operator can try them: each by its event, on the connection that the events before it made,
/// under its present id. One that really belongs to the test user's provider is left alone.
#[tokio::test]
async fn news_of_a_connection_changes_the_tests_own_and_no_other() {
    let b = Bench::new().await;
    b.sql("INSERT INTO connections (terra_user_id, user_id, provider) VALUES ('really-theirs', 'test-user-id', 'garmin')").await;
    let first = crate::calibration::simulator::terra_id("test-user-id", "GARMIN");
    let steps = [
        ("auth", "active"),
        ("connection_error", "error"),
        ("permission_change", "active"),
        ("user_reauth", "reauthorised"),
        ("access_revoked", "revoked"),
        ("user_reauth", "reauthorised"),
        ("deauth", "deauthorised"),
        ("auth", "active"),
    ];
    let mut ids = vec![first];
    for (kind, state) in steps {
        let order_it = order("Bearer the-service-key", &format!(r#"{{"type":"{kind}","provider":"garmin"}}"#));
        let a = b.send(order_it).await;
        assert_eq!(a.status, 200, "{kind}: {a:?}");
        assert_eq!(work(&b).await, ["test-user-id"], "{kind}");
        let (id, found, scopes): (String, String, Option<String>) =
            sqlx::query_as("SELECT terra_user_id, state, scopes FROM connections WHERE terra_user_id <> 'really-theirs'")
                .fetch_one(b.t.db.service())
                .await
                .unwrap();
        assert_eq!((found.as_str(), ids.contains(&id)), (state, kind != "user_reauth"), "{kind}: {id} of {ids:?}");
        assert_eq!(ids.last() == Some(&id), kind != "user_reauth", "{kind}: {id} of {ids:?}");
        assert_eq!(scopes.is_some_and(|s| s.ends_with("BODY_EXPORT")), kind == "permission_change", "{kind}");
        if kind == "user_reauth" {
            ids.push(id);
        }
    }
    assert_eq!(b.count("connections WHERE terra_user_id = 'really-theirs' AND state = 'active'").await, 1);
    assert_eq!(b.count("terra_webhooks_raw WHERE status = 'completed'").await, steps.len() as i64);
}

#[tokio::test]
async fn data_make_a_tested_person_real_and_the_simulators_own_stay_simulated() {
    let b = Bench::new().await;
    assert_eq!(b.send(order("Bearer the-service-key", r#"{"type":"auth","user_id":"person-1"}"#)).await.status, 200);
    let world = World::new(7, 2, 2, "2026-11-22".parse().unwrap());
    let ids: Vec<String> = world.clients().into_iter().map(|client| client.user_id).collect();
    simulated::mark(b.t.db.service(), &ids, &ids).await.unwrap();
    for delivery in world.deliveries() {
        assert_eq!(b.deliver(&delivery.trace_id, &String::from_utf8(delivery.body).unwrap()).await.status, 200);
    }
    assert_eq!(work(&b).await, ["person-1", "sim-001", "sim-002"]);
    assert_eq!(b.deliver("t1", &daily(900)).await.status, 200);
    assert_eq!(work(&b).await, ["sim-001", "sim-002"]);
}

#[tokio::test]
async fn a_dry_run_shows_everything_and_stores_nothing() {
    let b = Bench::new().await;
    for kind in crate::calibration::simulator::TEST_KINDS {
        let a = b
            .send(order(
                "bearer the-service-key",
                &format!(r#"{{"type":"{kind}","provider":"garmin","dryRun":true,"user_id":"someone","date":"2025-03-04"}}"#),
            ))
            .await;
        assert_eq!(a.status, 200, "{a:?}");
        assert_eq!(a.body.pointer("/body/type").and_then(Value::as_str), Some(kind));
        let header = a.body.pointer("/headers/x-terra-signature").and_then(Value::as_str).unwrap();
        assert!(header.starts_with("t="));
    }
    assert_eq!(b.count("terra_webhooks_raw").await + b.count("persons").await + b.count("background_jobs").await, 0);
}

#[tokio::test]
async fn only_the_key_or_an_administrator_may_and_guessing_is_limited() {
    let b = Bench::new().await;
    let body = r#"{"type":"body","dryRun":true}"#;
    for key in ["", "Bearer", "Bearer wrong", "Basic the-service-key", "the-service-key", "Bearer the-service-key-and-more"] {
        let a = b.send(order(key, body)).await;
        a.is(401, "reason", "unauthorised");
        assert_eq!(a.headers.get("www-authenticate").unwrap(), "Bearer");
    }
    let mut limited = false;
    for _ in 0..110 {
        limited |= b.send(order("Bearer guess", body)).await.status == 429;
    }
    assert!(limited);
    assert_eq!(b.send(order("Bearer the-service-key", body)).await.status, 200);
    let none = Bench::with(GatewaySettings { service_key: None, ..settings() }).await;
    for key in ["", "Bearer ", "Bearer guess"] {
        none.send(order(key, body)).await.is(503, "reason", "no_service_key");
    }
    let by_session: crate::gateway::trial::Authorise = Arc::new(|headers| {
        let admin = headers.get("cookie").is_some_and(|c| c == "session=admin");
        Box::pin(async move { admin.then(Actor::system) })
    });
    let session = Bench::with(GatewaySettings { service_key: None, authorise: Some(by_session), ..settings() }).await;
    session.send(order("", body)).await.is(503, "reason", "no_service_key");
    assert_eq!(session.send(request(Method::POST, PATH, &[("cookie", "session=admin")], body)).await.status, 200);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_explained() {
    let b = Bench::new().await;
    for (body, status, reason) in [
        ("", 400, "not_an_order"),
        ("[]", 400, "not_an_order"),
        (r#"{"provider":"WHOOP"}"#, 400, "not_an_order"),
        (r#"{"type":"body","dryrun":true}"#, 400, "not_an_order"),
        (r#"{"type":"weather"}"#, 422, "type"),
        (r#"{"type":"body","provider":"<script>"}"#, 422, "provider"),
        (r#"{"type":"body","user_id":""}"#, 422, "user_id"),
        (r#"{"type":"body","date":"2999-01-01"}"#, 422, "date"),
    ] {
        b.send(order("Bearer the-service-key", body)).await.is(status, "reason", reason);
    }
    b.sql("INSERT INTO persons (user_id) VALUES ('a-real-one'), ('test-user-id')").await;
    b.send(order("Bearer the-service-key", r#"{"type":"body","user_id":"a-real-one"}"#)).await.is(409, "reason", "real_person");
    assert_eq!(b.send(order("Bearer the-service-key", r#"{"type":"body"}"#)).await.status, 200);
    assert_eq!(b.count("terra_webhooks_raw").await, 1);
    let none = Bench::with(GatewaySettings { secrets: Secrets::default(), ..settings() }).await;
    none.send(order("Bearer the-service-key", r#"{"type":"body"}"#)).await.is(503, "reason", "no_signing_secret");
}
