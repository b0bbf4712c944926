//! The gateway as a whole, over its routes and a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

mod corpus;
mod durability;
mod fuzz;
mod limits;
mod requests;
mod trial;
mod weak_points;

use super::{Gateway, GatewaySettings, Outcome, Policy, Secrets, routes};
use crate::store::testing::{TestDb, database};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use chrono::Utc;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tower::ServiceExt;

const SECRET: &str = "a-signing-secret";
const WEBHOOK: &str = "/functions/v1/webhook-terra";

fn settings() -> GatewaySettings {
    GatewaySettings { secrets: Secrets::new([SECRET]), service_key: Some("the-service-key".into()), ..GatewaySettings::default() }
}

/// A limit of a hundred that is not refilled while a test runs, on however busy a machine.
fn hourly() -> GatewaySettings {
    GatewaySettings { unsigned: Policy { window: std::time::Duration::from_secs(100 * 3600), ..Policy::UNSIGNED }, ..settings() }
}

/// A gateway over a database of its own.
struct Bench {
    t: TestDb,
    gateway: Arc<Gateway>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: GatewaySettings) -> Self {
        let t = database().await;
        let gateway = Gateway::new(t.db.clone(), settings);
        Self { t, gateway }
    }

    async fn count(&self, from: &'static str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {from}"))).fetch_one(self.t.db.owner()).await.unwrap()
    }

    /// Answers with this outcome since the start.
    fn counted(&self, outcome: Outcome) -> u64 {
        self.gateway.totals().iter().find(|(o, _)| *o == outcome).map_or(0, |(_, n)| *n)
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.t.db.owner()).await.unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(routes().with_state(self.gateway.clone()).oneshot(request).await.unwrap()).await
    }

    /// A signed delivery with a trace id.
    async fn deliver(&self, trace_id: &str, body: &str) -> Answer {
        self.send(signed(trace_id, body)).await
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn word(&self, key: &str) -> &str {
        self.body.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn is(&self, status: u16, key: &str, word: &str) {
        assert_eq!((self.status.as_u16(), self.word(key)), (status, word), "{self:?}");
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let peer: SocketAddr = "198.51.100.7:4711".parse().unwrap();
    let builder = headers.iter().fold(Request::builder().method(method).uri(path), |b, (n, v)| b.header(*n, *v));
    builder.extension(ConnectInfo(peer)).body(body.into()).unwrap()
}

fn webhook(headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    request(Method::POST, WEBHOOK, headers, body)
}

fn signature(body: &[u8]) -> String {
    Secrets::new([SECRET]).sign(Utc::now().timestamp(), body).unwrap()
}

fn signed(trace_id: &str, body: &str) -> Request<Body> {
    webhook(
        &[("content-type", "application/json"), ("terra-signature", &signature(body.as_bytes())), ("x-terra-trace-id", trace_id)],
        body.to_owned(),
    )
}

fn daily(steps: u32) -> String {
    format!(
        r#"{{"type":"daily","version":"2022-03-16","user":{{"user_id":"5f1a3c9e-0000-4000-8000-000000000001","provider":"GARMIN","reference_id":"person-1"}},
           "data":[{{"metadata":{{"start_time":"2026-11-22T00:00:00+00:00","end_time":"2026-11-23T00:00:00+00:00","upload_type":1}},"distance_data":{{"steps":{steps}}}}}]}}"#
    )
}
