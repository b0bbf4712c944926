//! Payloads behind links: from the event to values, by way of a server of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::super::rig::{Rig, daily};
use super::*;
use crate::jobs::kinds;
use crate::outbound::FetchRules;
use crate::store::{audit::Actor, replay};
use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server, and how often it was asked for the good payload.
async fn bucket() -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (good, flaky) = (asked.clone(), AtomicUsize::new(0));
    let payload = |person: &str| daily(&format!("t-{person}"), Some(person), "2026-07-01".parse().unwrap(), 4321).to_string();
    let (mine, other) = (payload("me"), payload("late"));
    let app = Router::new()
        .route(
            "/good",
            get(move || async move {
                good.fetch_add(1, Ordering::Relaxed);
                mine
            }),
        )
        .route(
            "/flaky",
            get({
                let flaky = Arc::new(flaky);
                move || async move {
                    if flaky.fetch_add(1, Ordering::Relaxed) == 0 {
                        StatusCode::SERVICE_UNAVAILABLE.into_response()
                    } else {
                        other.into_response()
                    }
                }
            }),
        )
        .route("/xml", get(|| async { "<Error><Code>AccessDenied</Code></Error>" }))
        .route("/link", get(|| async { json!({ "type": "s3_payload", "url": "http://localhost/x" }).to_string() }))
        .route("/odd", get(|| async { json!({ "type": "hormone" }).to_string() }))
        .route("/expired", get(|| async { StatusCode::FORBIDDEN }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (at, asked)
}

#[tokio::test]
async fn what_lies_behind_a_link_is_processed_like_any_delivery() {
    let (at, asked) = bucket().await;
    let rules = FetchRules { hosts: vec!["localhost".into()], ..FetchRules::default() };
    let mut rig = Rig::new(kinds::all().with(S3Fetch::with(Fetcher::for_test(rules)))).await;
    let ping = |path: &str| json!({ "type": "s3_payload", "status": "success", "url": format!("{at}{path}"), "expires_in": 300 });
    let good = rig.deliver("good", 77, &ping("/good")).await;
    for (path, ordering) in [("/flaky", 78), ("/xml", 79), ("/link", 80), ("/expired", 81), ("/odd", 82)] {
        rig.deliver(path.trim_start_matches('/'), ordering, &ping(path)).await;
    }
    rig.deliver("inside", 83, &json!({ "type": "s3_payload", "url": "https://169.254.169.254/latest" })).await;
    rig.deliver("no-link", 84, &json!({ "type": "s3_payload" })).await;
    rig.quiet(true).await;
    let rows = "SELECT concat_ws(' | ', trace_id, type, status, ordering_ms, user_id, error) FROM terra_webhooks_raw ORDER BY trace_id";
    let expected = [
        "expired | s3_payload | failed | 81 | The server behind the link answered 403: the link has probably expired. Ask Terra to send it again, or ask for the days anew.",
        "flaky | s3_payload | completed | 78 | late | Its payload was fetched and is a delivery of its own.",
        "flaky:s3 | daily | completed | 78 | late",
        "good | s3_payload | completed | 77 | me | Its payload was fetched and is a delivery of its own.",
        "good:s3 | daily | completed | 77 | me",
        "inside | s3_payload | failed | 83 | The link is not followed: it must begin with https. Ask Terra to send it again, or ask for the days anew.",
        "link | s3_payload | failed | 80 | What lies behind the link is another link; that is not followed.",
        "no-link | s3_payload | failed | 84 | The event names no link under which its payload lies.",
        "odd | s3_payload | completed | 82 | Its payload was fetched and is a delivery of its own.",
        "odd:s3 | hormone | ignored | 82 | Events of the type \"hormone\" are not used.",
        "xml | s3_payload | failed | 79 | What lies behind the link is no payload. The body is not JSON: expected value at line 1 column 1.",
    ];
    let found = rig.texts(rows).await;
    assert_eq!(found, expected);
    assert_eq!(rig.number("SELECT count(*) FROM unified_metrics WHERE metric_name = 'steps' AND value = 4321").await, 2);
    assert_eq!(rig.number("SELECT count(*) FROM background_jobs_dlq WHERE type = 's3_fetch' AND reason_class = 'permanent'").await, 5);
    // Once more: the payload is there, so nothing is fetched and nothing changes.
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    replay::one(&rig.t.db, &Actor::system(), good).await.unwrap().unwrap();
    rig.quiet(true).await;
    assert_eq!((asked.load(Ordering::Relaxed), rig.texts(rows).await), (1, found));
    rig.stop().await;
}
