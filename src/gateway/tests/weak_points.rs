//! What the earlier system did wrong on its way in (reference: its weak points 1–16), each as a test here. Those of the
//! worker and of Terra's REST side (12, 13's second half, 14) are tested there.

use super::*;

/// 1: every signed webhook ended in 500, because the limiter asked for a column that did not exist. The limiter's
/// table may be missing altogether.
#[tokio::test]
async fn w01_a_signed_delivery_is_stored_even_without_the_limiters_table() {
    let b = Bench::new().await;
    b.sql("DROP TABLE rate_limits CASCADE").await;
    b.deliver("t1", &daily(1)).await.is(200, "status", "accepted");
    assert_eq!(b.count("terra_webhooks_raw WHERE status = 'pending' AND trace_id = 't1'").await, 1);
}

/// 2: the insert's result was ignored, so a lost payload was acknowledged.
#[tokio::test]
async fn w02_what_could_not_be_stored_is_not_acknowledged() {
    let b = Bench::new().await;
    b.sql("ALTER TABLE terra_webhooks_raw RENAME TO gone").await;
    let a = b.deliver("t1", &daily(1)).await;
    a.is(503, "reason", "unavailable");
    assert_eq!(a.headers.get("retry-after").unwrap(), "1");
    assert_eq!(b.count("delivery_keys").await + b.count("background_jobs").await, 0, "all or nothing");
}

/// 3: a NOT NULL uuid refused healthchecks and the project's own test ids.
#[tokio::test]
async fn w03_events_without_a_user_and_any_text_as_user_id_are_stored() {
    let b = Bench::new().await;
    b.deliver("t1", r#"{"type":"healthcheck","status":"healthy"}"#).await.is(200, "status", "accepted");
    b.deliver("t2", r#"{"type":"daily","user":{"user_id":"u","provider":"OURA","reference_id":"test-user-id"},"data":[]}"#)
        .await
        .is(200, "status", "accepted");
    assert_eq!(b.count("terra_webhooks_raw WHERE user_id IS NULL").await, 1);
    assert_eq!(b.count("terra_webhooks_raw WHERE user_id = 'test-user-id' AND provider = 'oura' AND terra_user_id = 'u'").await, 1);
}

/// 4: the person's own id served as the idempotency key, so a second device was a "duplicate"; and data had none.
#[tokio::test]
async fn w04_two_connections_of_one_person_are_two_deliveries_and_data_without_a_trace_id_is_known_by_its_bytes() {
    let b = Bench::new().await;
    for (trace, provider) in [("t1", "OURA"), ("t2", "WHOOP")] {
        let body = format!(
            r#"{{"type":"auth","status":"success","reference_id":"person-1","user":{{"user_id":"{provider}","provider":"{provider}","reference_id":"person-1"}}}}"#
        );
        b.deliver(trace, &body).await.is(200, "status", "accepted");
    }
    for expected in ["accepted", "duplicate"] {
        let body = daily(7);
        b.send(webhook(&[("terra-signature", &signature(body.as_bytes()))], body)).await.is(200, "status", expected);
    }
    // One reference for all chunks of a large request: never a key.
    for n in 0..3 {
        let (body, trace) = (daily(100 + n), format!("abc:chunk:{n}"));
        let headers = [("terra-signature", signature(body.as_bytes())), ("x-terra-trace-id", trace), ("terra-reference", "abc".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        b.send(webhook(&headers, body)).await.is(200, "status", "accepted");
    }
    assert_eq!(b.count("terra_webhooks_raw WHERE reference = 'abc'").await, 3);
}

/// 5: check, then store: two parallel deliveries both ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w05_parallel_duplicates_become_one_row_and_one_job() {
    let b = Arc::new(Bench::new().await);
    let sends: Vec<_> = (0..60)
        .map(|n| {
            let b = b.clone();
            tokio::spawn(async move { b.deliver(&format!("t{}", n % 3), &daily(n % 3)).await })
        })
        .collect();
    let mut words = std::collections::HashMap::new();
    for send in sends {
        let a = send.await.unwrap();
        assert_eq!(a.status, 200);
        *words.entry(a.word("status").to_owned()).or_insert(0) += 1;
    }
    assert_eq!((words.get("accepted"), words.get("duplicate")), (Some(&3), Some(&57)), "{words:?}");
    assert_eq!((b.count("terra_webhooks_raw").await, b.count("delivery_keys").await, b.count("background_jobs").await), (3, 3, 3));
}

/// 6: no tolerance, so a captured delivery could be replayed for ever.
#[tokio::test]
async fn w06_an_old_signature_and_one_from_the_future_are_refused() {
    let b = Bench::new().await;
    for offset in [-301, 301] {
        let body = daily(1);
        let old = Secrets::new([SECRET]).sign(Utc::now().timestamp() + offset, body.as_bytes()).unwrap();
        b.send(webhook(&[("terra-signature", &old)], body)).await.is(401, "reason", "signature_stale");
    }
    assert_eq!(b.count("terra_webhooks_raw").await, 0);
}

/// 7: a second signing form, without the dot, verified as well.
#[tokio::test]
async fn w07_only_the_documented_form_verifies() {
    use hmac::{Hmac, KeyInit, Mac};
    let b = Bench::new().await;
    let (body, now) = (daily(1), Utc::now().timestamp());
    for message in [format!("{now}{body}"), body.clone(), format!("{body}.{now}")] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(message.as_bytes());
        let header = format!("t={now},v1={}", hex::encode(mac.finalize().into_bytes()));
        b.send(webhook(&[("terra-signature", &header)], body.clone())).await.is(401, "reason", "signature_mismatch");
    }
}

/// 8: failures were remembered as results, so Terra's retry got the old error for an hour.
#[tokio::test]
async fn w08_a_failure_is_forgotten_when_its_cause_is() {
    let b = Bench::new().await;
    b.sql("ALTER TABLE terra_webhooks_raw RENAME TO gone").await;
    b.deliver("t1", &daily(1)).await.is(503, "reason", "unavailable");
    b.sql("ALTER TABLE gone RENAME TO terra_webhooks_raw").await;
    b.deliver("t1", &daily(1)).await.is(200, "status", "accepted");
}

/// 9: most event types were ignored, so dead connections looked healthy and big payloads vanished.
#[tokio::test]
async fn w09_every_event_type_is_stored_and_every_known_one_gets_a_job() {
    let b = Bench::new().await;
    let known = [
        "activity",
        "body",
        "daily",
        "sleep",
        "menstruation",
        "nutrition",
        "athlete",
        "auth",
        "auth_cancelled",
        "deauth",
        "user_reauth",
        "access_revoked",
        "connection_error",
        "permission_change",
        "large_request_processing",
        "large_request_sending",
        "s3_payload",
        "healthcheck",
        "rate_limit_hit",
        "processing",
        "google_no_datasource",
    ];
    for kind in known {
        b.deliver(kind, &format!(r#"{{"type":"{kind}"}}"#)).await.is(200, "status", "accepted");
    }
    assert_eq!(b.count("background_jobs WHERE type = 'webhook_processing' AND status = 'pending'").await, known.len() as i64);
    let a = b.deliver("new", r#"{"type":"something_new"}"#).await;
    a.is(200, "status", "ignored");
    assert_eq!(a.word("reason"), "unknown_type");
    assert_eq!(b.count("terra_webhooks_raw WHERE type = 'something_new' AND status = 'ignored' AND error IS NOT NULL").await, 1);
}

/// 10: Terra's own traffic was limited to 100 a minute, which Terra counts as failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w10_signed_deliveries_are_not_limited_by_address() {
    let b = Bench::new().await;
    let all = (0..400).map(|n| {
        let b = &b;
        async move { b.deliver(&format!("t{n}"), &daily(n)).await.status }
    });
    assert!(futures::future::join_all(all).await.iter().all(|s| *s == 200));
    assert_eq!(b.count("terra_webhooks_raw").await, 400);
}

/// 11: 401 came before the limiter, so a flood without signatures was never limited.
#[tokio::test]
async fn w11_a_flood_without_signatures_is_limited_before_its_body_is_read() {
    let b = Bench::with(hourly()).await;
    for _ in 0..100 {
        b.send(webhook(&[("content-type", "application/json")], "{}")).await.is(401, "reason", "signature_missing");
    }
    // This body never ends: whoever read it would hang.
    let endless = Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let a = tokio::time::timeout(std::time::Duration::from_secs(1), b.send(webhook(&[], endless))).await.unwrap();
    assert_eq!(a.status, 429);
    assert_eq!(a.headers.get("content-type").unwrap(), "application/problem+json");
    // And still, what is signed comes through from the same address.
    b.deliver("t1", &daily(1)).await.is(200, "status", "accepted");
}

/// 13: replays were sent with a made-up signature, refused, and reported as done.
#[tokio::test]
async fn w13_a_made_up_signature_is_refused_and_the_refusal_is_counted() {
    let b = Bench::new().await;
    let fake = format!("t={},v1=backfill-bypass", Utc::now().timestamp());
    b.send(webhook(&[("terra-signature", &fake)], daily(1))).await.is(401, "reason", "signature_malformed");
    let fake = format!("t={},v1={}", Utc::now().timestamp(), "0".repeat(64));
    b.send(webhook(&[("terra-signature", &fake)], daily(1))).await.is(401, "reason", "signature_mismatch");
    b.gateway.shutdown().await;
    assert_eq!(
        b.count("refused_deliveries WHERE reason IN ('signature_malformed', 'signature_mismatch') AND address = '198.51.100.7'").await,
        2
    );
}

/// 15: the test endpoint sent empty data for a made-up user, which proved nothing. See also `trial.rs`.
#[tokio::test]
async fn w15_the_test_endpoint_sends_data_that_gives_values() {
    let b = Bench::new().await;
    let order = request(
        Method::POST,
        "/functions/v1/terra-webhook-test",
        &[("authorization", "Bearer the-service-key")],
        r#"{"type":"body","provider":"WHOOP","dryRun":true}"#,
    );
    let a = b.send(order).await;
    let values = a.body.pointer("/normalised/records/0/values").and_then(Value::as_array).map_or(0, Vec::len);
    assert!(values > 0, "{a:?}");
}

/// 16: data that came before its auth event failed three times and was lost. Here it is stored with its ids at least.
#[tokio::test]
async fn w16_data_of_an_unknown_person_is_kept() {
    let b = Bench::new().await;
    let body = r#"{"type":"sleep","user":{"user_id":"nobody-yet","provider":"WHOOP"},"data":[]}"#;
    b.deliver("t1", body).await.is(200, "status", "accepted");
    assert_eq!(b.count("terra_webhooks_raw WHERE terra_user_id = 'nobody-yet' AND user_id IS NULL AND status = 'pending'").await, 1);
    let stored: Vec<u8> = sqlx::query_scalar("SELECT body FROM terra_webhooks_raw").fetch_one(b.t.db.owner()).await.unwrap();
    assert_eq!(stored, body.as_bytes());
}
