//! Who is limited, by what, and what they are told.

use super::*;
use crate::gateway::Networks;

#[tokio::test]
async fn the_checklists_test_body_gets_200_first_and_429_after_the_limit() {
    let b = Bench::with(hourly()).await;
    let test = || webhook(&[("content-type", "application/json")], r#"{"test": true}"#);
    for n in 0..100 {
        let a = b.send(test()).await;
        assert_eq!(a.status, 200, "request {n}");
        assert_eq!(a.body, serde_json::json!({ "received": true, "test": true }));
        let left = a.headers.get("ratelimit").unwrap().to_str().unwrap();
        assert!(left.starts_with("\"unsigned\";r="), "{left}");
    }
    let a = b.send(test()).await;
    assert_eq!(a.status, 429);
    assert_eq!(a.headers.get("ratelimit-policy").unwrap(), "\"unsigned\";q=100;w=360000");
    let wait: u32 = a.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "the true wait, not the window: {wait}");
    assert_eq!(a.body.get("violated-policies"), Some(&serde_json::json!(["unsigned"])));
    assert_eq!(b.count("terra_webhooks_raw").await + b.count("background_jobs").await, 0, "no effect");
    // TRUNCATE lets everybody in again, as soon as the node has heard of it. What the node had not written yet is its own.
    let full = "SELECT count(*) FROM rate_limits WHERE count >= 100";
    while sqlx::query_scalar::<_, i64>(full).fetch_one(b.t.db.owner()).await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    b.sql("TRUNCATE rate_limits").await;
    let mut answers = 0;
    while b.send(test()).await.status != 200 {
        answers += 1;
        assert!(answers < 1_000, "the table's word counts");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    b.gateway.shutdown().await;
    let counted: i64 =
        sqlx::query_scalar("SELECT sum(count)::int8 FROM gateway_counts WHERE outcome = 'test'").fetch_one(b.t.db.owner()).await.unwrap();
    assert_eq!(counted, 101);
}

#[tokio::test]
async fn badly_signed_deliveries_are_limited_after_they_were_read() {
    let b = Bench::with(hourly()).await;
    let fake = format!("t={},v1={}", Utc::now().timestamp(), "0".repeat(64));
    let mut seen = Vec::new();
    for _ in 0..130 {
        seen.push(b.send(webhook(&[("terra-signature", &fake)], "{}")).await.status.as_u16());
    }
    assert!(seen.iter().take(100).all(|s| *s == 401));
    assert!(seen.iter().skip(100).all(|s| *s == 429));
    // The dashboard counts them, and not whoever did not sign at all.
    b.send(webhook(&[], daily(1))).await;
    b.gateway.shutdown().await;
    let mut conn = b.t.db.service().acquire().await.unwrap();
    let mut counted =
        async |minutes| crate::store::deliveries::badly_signed(&mut conn, Utc::now() + chrono::TimeDelta::minutes(minutes)).await.unwrap();
    assert_eq!((counted(-60).await, counted(1).await), (100, 0));
}

/// A claim that looks well proves nothing as long as its body is not there.
#[tokio::test]
async fn bodies_that_never_come_to_their_end_are_limited_as_well() {
    let b = Bench::with(hourly()).await;
    let fake = format!("t={},v1={}", Utc::now().timestamp(), "0".repeat(64));
    for n in 0..120 {
        let (status, request) = match n % 2 {
            0 => (413, webhook(&[("terra-signature", &fake), ("content-length", "99999999")], "{}")),
            _ => {
                let mut broken = webhook(&[("terra-signature", &fake)], "");
                *broken.body_mut() = Body::from_stream(futures::stream::iter([Err::<String, _>(std::io::Error::other("gone"))]));
                (400, broken)
            }
        };
        let a = b.send(request).await;
        assert_eq!(a.status.as_u16(), if n < 100 { status } else { 429 }, "request {n}: {:?}", a.body);
        assert!(a.headers.contains_key("ratelimit"), "request {n}");
    }
    assert_eq!(b.deliver("signed", &daily(1)).await.status, 200, "whoever signs is not limited by it");
}

#[tokio::test]
async fn a_sender_has_a_limit_of_its_own() {
    let b = Bench::with(GatewaySettings { sender_rate: 5, ..settings() }).await;
    for n in 0..5 {
        assert_eq!(b.deliver(&format!("t{n}"), &daily(n)).await.status, 200);
    }
    let a = b.deliver("t6", &daily(6)).await;
    assert_eq!(a.status, 429);
    assert_eq!(a.headers.get("ratelimit-policy").unwrap(), "\"sender\";q=5;w=60");
    let wait: u32 = a.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
}

#[tokio::test]
async fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
    let b = Bench::with(GatewaySettings { trusted_proxies: Networks::parse("198.51.100.0/24").unwrap(), ..hourly() }).await;
    for n in 0..120 {
        let address = format!("203.0.113.{n}");
        assert_eq!(b.send(webhook(&[("x-forwarded-for", &address)], r#"{"test":true}"#)).await.status, 200);
    }
    let b = Bench::with(hourly()).await;
    let mut refused = 0;
    for n in 0..120 {
        let address = format!("203.0.113.{n}");
        refused += u32::from(b.send(webhook(&[("x-forwarded-for", &address)], r#"{"test":true}"#)).await.status == 429);
    }
    assert_eq!(refused, 20);
}

#[tokio::test]
async fn an_allow_list_keeps_other_addresses_out() {
    let b = Bench::with(GatewaySettings { allow_list: Networks::parse("18.133.218.210").unwrap(), ..settings() }).await;
    b.deliver("t1", &daily(1)).await.is(403, "reason", "address_not_allowed");
    let b = Bench::with(GatewaySettings { allow_list: Networks::parse("198.51.100.7").unwrap(), ..settings() }).await;
    b.deliver("t1", &daily(1)).await.is(200, "status", "accepted");
}

/// A few bytes that unpack to megabytes cost a stranger nothing and us much, signed or not.
#[tokio::test]
async fn nothing_is_unpacked_for_whoever_used_up_what_strangers_may_do() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let b = Bench::with(hourly()).await;
    let packed = |n: u32, sign_packed: bool| {
        let (content, packed) = (daily(n), gzip(&daily(n)));
        let s = signature(if sign_packed { &packed } else { content.as_bytes() });
        webhook(&[("terra-signature", &s), ("content-encoding", "gzip")], packed)
    };
    b.send(packed(1, false)).await.is(200, "status", "accepted");
    let fake = format!("t={},v1={}", Utc::now().timestamp(), "0".repeat(64));
    for _ in 0..100 {
        b.send(webhook(&[("terra-signature", &fake), ("content-encoding", "gzip")], gzip("{}"))).await;
    }
    // Only unpacking would show that this one is signed; that one is known as it comes.
    assert_eq!(b.send(packed(2, false)).await.status, 429);
    b.send(packed(3, true)).await.is(200, "status", "accepted");
}
