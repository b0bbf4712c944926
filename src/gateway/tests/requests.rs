//! What each kind of request is answered.

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_accepted_delivery_has_its_key_its_row_and_its_job() {
    let b = Bench::new().await;
    let body = daily(12_000);
    let headers = [
        ("content-type", "application/json"),
        ("x-terra-signature", &signature(body.as_bytes())),
        ("x-terra-trace-id", "trace-1"),
        ("terra-reference", "ref-1"),
        ("x-terra-ordering-timestamp", "1763800000000"),
        ("dev-id", "dev-1"),
    ];
    let a = b.send(webhook(&headers, body.clone())).await;
    a.is(200, "status", "accepted");
    assert_eq!(a.body.get("received"), Some(&Value::Bool(true)));
    let row: (String, String, String, String, String, i64, String, Vec<u8>, Value) = sqlx::query_as(
        "SELECT r.id::text, r.type, provider, r.user_id, r.status, ordering_ms, reference, body, headers FROM terra_webhooks_raw r
           JOIN delivery_keys k ON k.raw_id = r.id AND k.trace_id = 'trace-1' AND k.body_hash = sha256(r.body)
           JOIN background_jobs j ON (j.payload ->> 'delivery_id')::uuid = r.id AND (j.payload ->> 'created_at')::timestamptz = r.created_at
                                 AND j.type = 'webhook_processing' AND j.user_id = 'person-1'
          WHERE r.tableoid <> 'terra_webhooks_raw_default'::regclass",
    )
    .fetch_one(b.t.db.owner())
    .await
    .unwrap();
    assert_eq!(row.0, a.word("id"));
    assert_eq!(
        (row.1.as_str(), row.2.as_str(), row.3.as_str(), row.4.as_str(), row.5, row.6.as_str()),
        ("daily", "garmin", "person-1", "pending", 1_763_800_000_000, "ref-1")
    );
    assert_eq!(row.7, body.as_bytes());
    assert_eq!(row.8.get("dev-id").and_then(Value::as_str), Some("dev-1"));
    let key: Option<String> = sqlx::query_scalar("SELECT signed_by FROM terra_webhooks_raw").fetch_one(b.t.db.owner()).await.unwrap();
    assert_eq!(key.as_deref(), Some(Secrets::new([SECRET]).sender(0)), "which key signed it is kept");
    let pending: i64 =
        sqlx::query_scalar("SELECT sum(delta)::int8 FROM job_count_deltas WHERE type = 'webhook_processing' AND status = 'pending'")
            .fetch_one(b.t.db.owner())
            .await
            .unwrap();
    assert_eq!(pending, 1, "counted once");
}

#[tokio::test]
async fn one_trace_id_with_two_bodies_keeps_both_and_processes_one() {
    let b = Bench::new().await;
    b.deliver("t1", &daily(1)).await.is(200, "status", "accepted");
    b.deliver("t1", &daily(2)).await.is(200, "status", "conflict");
    b.deliver("t1", &daily(2)).await.is(200, "status", "conflict");
    b.deliver("t1", &daily(1)).await.is(200, "status", "duplicate");
    assert_eq!(b.count("terra_webhooks_raw WHERE trace_id = 't1' AND status = 'conflict' AND error IS NOT NULL").await, 1);
    assert_eq!((b.count("terra_webhooks_raw").await, b.count("background_jobs").await), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_conflicts_and_duplicates_settle_to_one_row_a_body() {
    let b = Bench::new().await;
    let all = (0..40).map(|n| {
        let b = &b;
        async move { b.deliver("t1", &daily(n % 4)).await }
    });
    let answers = futures::future::join_all(all).await;
    let of = |word: &str| answers.iter().filter(|a| a.word("status") == word).count();
    assert!(answers.iter().all(|a| a.status == 200));
    assert_eq!(of("accepted"), 1);
    assert_eq!((of("duplicate"), of("conflict")), (9, 30));
    assert_eq!(
        (
            b.count("terra_webhooks_raw").await,
            b.count("terra_webhooks_raw WHERE status = 'conflict'").await,
            b.count("background_jobs").await
        ),
        (4, 3, 1)
    );
}

#[tokio::test]
async fn signed_but_unusable_bodies_are_kept() {
    let b = Bench::new().await;
    for (trace, body, reason) in [
        ("t1", "not json", "not_json"),
        ("t2", "[1]", "not_an_object"),
        ("t3", "", "not_json"),
        ("t4", "{\"a\":\"\0\"}", "not_json"),
        ("t5", &format!("{}{}", "[".repeat(150), "]".repeat(150)), "too_deep"),
    ] {
        for _ in 0..2 {
            b.deliver(trace, body).await.is(400, "reason", reason);
        }
    }
    assert_eq!(b.count("terra_webhooks_raw WHERE status = 'invalid' AND error IS NOT NULL").await, 5);
    for (trace, body, reason) in
        [("t6", "{}", "no_type"), ("t7", r#"{"type":"x\u0000y"}"#, "unknown_type"), ("t8", r#"{"test":true}"#, "no_type")]
    {
        let a = b.deliver(trace, body).await;
        a.is(200, "status", "ignored");
        assert_eq!(a.word("reason"), reason);
    }
    assert_eq!((b.count("terra_webhooks_raw WHERE status = 'ignored'").await, b.count("background_jobs").await), (3, 0));
}

#[tokio::test]
async fn duplicated_keys_huge_numbers_and_long_ids_do_no_harm() {
    let b = Bench::new().await;
    b.deliver("t1", r#"{"type":"sleep","type":"daily","user":{"user_id":"a"},"user":{"user_id":"b"},"data":[]}"#)
        .await
        .is(200, "status", "accepted");
    b.deliver("t2", &format!(r#"{{"type":"daily","user":{{"user_id":"a"}},"data":[{}]}}"#, "9".repeat(10_000)))
        .await
        .is(200, "status", "accepted");
    b.deliver("t3", &format!(r#"{{"type":"daily","user":{{"reference_id":"{}"}}}}"#, "ü".repeat(512))).await.is(200, "status", "accepted");
    b.deliver("t4", &format!(r#"{{"type":"daily","user":{{"reference_id":"{}"}}}}"#, "x".repeat(513))).await.is(200, "status", "ignored");
    assert_eq!(b.count("terra_webhooks_raw WHERE type = 'daily' AND terra_user_id = 'b'").await, 1);
}

#[tokio::test]
async fn gzip_bodies_are_unpacked_whichever_bytes_were_signed() {
    let b = Bench::new().await;
    for (n, sign_packed) in [(1, true), (2, false)] {
        let (content, packed) = (daily(n), gzip(daily(n).as_bytes()));
        let s = signature(if sign_packed { &packed } else { content.as_bytes() });
        b.send(webhook(&[("terra-signature", &s), ("content-encoding", "gzip")], packed)).await.is(200, "status", "accepted");
        let stored: Vec<u8> =
            sqlx::query_scalar("SELECT body FROM terra_webhooks_raw ORDER BY id DESC LIMIT 1").fetch_one(b.t.db.owner()).await.unwrap();
        assert_eq!(stored, content.as_bytes());
    }
    let bomb = gzip(&vec![b' '; 20 << 20]);
    let s = signature(&bomb);
    b.send(webhook(&[("terra-signature", &s), ("content-encoding", "gzip")], bomb.clone())).await.is(413, "reason", "too_large");
    let unsigned = format!("t={},v1={}", Utc::now().timestamp(), "0".repeat(64));
    b.send(webhook(&[("terra-signature", &unsigned), ("content-encoding", "gzip")], bomb)).await.is(401, "reason", "signature_mismatch");
    let s = signature(b"{}");
    b.send(webhook(&[("terra-signature", &s), ("content-encoding", "gzip")], "{}")).await.is(400, "reason", "not_gzip");
    let a = b.send(webhook(&[("terra-signature", &s), ("content-encoding", "br")], "{}")).await;
    a.is(415, "reason", "unsupported_media_type");
    assert_eq!(a.headers.get("accept-encoding").unwrap(), "gzip");
    b.send(webhook(&[("terra-signature", &s), ("content-type", "text/html")], "{}")).await.is(415, "reason", "unsupported_media_type");
    assert_eq!(b.gateway.memory(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mebibytes_are_the_limit() {
    let b = Bench::new().await;
    let body = format!(r#"{{"type":"daily","user":{{"user_id":"a"}},"data":["{}"]}}"#, "x".repeat(10_000_000));
    b.deliver("t1", &body).await.is(200, "status", "accepted");
    let body = vec![b' '; (16 << 20) + 1];
    let s = signature(&body);
    b.send(webhook(&[("terra-signature", &s)], body.clone())).await.is(413, "reason", "too_large");
    // Without a length, too.
    let chunks: Vec<Result<axum::body::Bytes, std::io::Error>> =
        body.chunks(1 << 20).map(|c| Ok(axum::body::Bytes::copy_from_slice(c))).collect();
    b.send(webhook(&[("terra-signature", &s)], Body::from_stream(futures::stream::iter(chunks)))).await.is(413, "reason", "too_large");
    b.send(webhook(&[("content-length", "99999999")], Body::empty())).await.is(413, "reason", "too_large");
    assert_eq!(b.gateway.memory(), 0);
}

#[tokio::test]
async fn other_methods_are_told_what_works() {
    let b = Bench::new().await;
    assert_eq!(b.send(request(Method::GET, WEBHOOK, &[], "")).await.status, 200);
    let head = b.send(request(Method::HEAD, WEBHOOK, &[], "")).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, Some("")));
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let a = b.send(request(method, WEBHOOK, &[], "")).await;
        a.is(405, "reason", "method_not_allowed");
        assert_eq!(a.headers.get("allow").unwrap(), "GET, HEAD, POST");
    }
    let a = b.send(request(Method::GET, "/functions/v1/terra-webhook-test", &[], "")).await;
    assert_eq!((a.status.as_u16(), a.headers.get("allow").unwrap().to_str().unwrap()), (405, "POST"));
}

#[tokio::test]
async fn without_a_secret_nothing_is_open() {
    let b = Bench::with(GatewaySettings { secrets: Secrets::default(), ..settings() }).await;
    for headers in [vec![], vec![("terra-signature", signature(daily(1).as_bytes()))]] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let a = b.send(webhook(&headers, daily(1))).await;
        a.is(503, "reason", "no_signing_secret");
        assert!(a.headers.contains_key("retry-after"));
    }
    let a = b.send(webhook(&[], r#"{"test": true}"#)).await;
    assert_eq!((a.status.as_u16(), a.body), (200, serde_json::json!({ "received": true, "test": true })));
    assert_eq!(b.count("terra_webhooks_raw").await, 0);
    // Nothing was tried on the database, so nothing may count against it.
    assert_eq!((b.counted(Outcome::Refused), b.counted(Outcome::Unavailable)), (2, 0));
}

#[tokio::test]
async fn secrets_rotate_without_a_gap() {
    let b = Bench::with(GatewaySettings { secrets: Secrets::new(["new-secret", SECRET]), ..settings() }).await;
    b.deliver("old", &daily(1)).await.is(200, "status", "accepted");
    let body = daily(2);
    let s = Secrets::new(["new-secret"]).sign(Utc::now().timestamp(), body.as_bytes()).unwrap();
    b.send(webhook(&[("terra-signature", &s), ("x-terra-trace-id", "new")], body)).await.is(200, "status", "accepted");
}

#[tokio::test]
async fn workers_hear_of_a_delivery_after_its_commit() {
    let b = Bench::new().await;
    let mut listener = sqlx::postgres::PgListener::connect_with(b.t.db.service()).await.unwrap();
    listener.listen("assay_jobs").await.unwrap();
    b.deliver("t1", &daily(1)).await.is(200, "status", "accepted");
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), listener.recv()).await.unwrap().unwrap();
    assert_eq!(heard.payload(), "webhook_processing");
    b.deliver("t2", "{}").await.is(200, "status", "ignored");
    b.gateway.shutdown().await;
    let silent = tokio::time::timeout(std::time::Duration::from_millis(300), listener.recv()).await;
    assert!(silent.is_err(), "an ignored delivery is no work");
}
