//! The API on a real database, asked through its own router: who sees what, what an answer carries, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod answers;
mod document;
mod pages;
mod refusals;

use super::{Api, router};
use crate::{
    access::{Visit, api_key::PREFIX},
    gateway::Limiter,
    rescore,
    store::{Token, api_keys, testing},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

/// Two trainers with a client each, an administrator, and forty days of three series, scored.
const WORLD: &str = "
    INSERT INTO accounts (email, role) VALUES ('admin@example.test', 'admin'), ('mine@example.test', 'trainer'), ('other@example.test', 'trainer');
    INSERT INTO persons (user_id, label) VALUES ('anna', '=cmd()'), ('bert/b', NULL), ('carl', NULL);
    INSERT INTO trainer_clients (trainer_id, user_id)
      SELECT id, u FROM accounts, (VALUES ('mine@example.test', 'anna'), ('mine@example.test', 'bert/b'), ('other@example.test', 'carl')) v (e, u)
       WHERE email = v.e;
    INSERT INTO connections (user_id, terra_user_id, provider, state) VALUES ('anna', 't-anna', 'garmin', 'active');
    INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, provider, user_id, status, error, ordering_ms, body, processed_count)
    SELECT gen_random_uuid(), '2026-06-01'::timestamptz + n * interval '1 hour', 'trace-' || n, 'daily', 'garmin', 'anna', 'completed', 'why', n, '{}', 4
      FROM generate_series(1, 3) n;
    INSERT INTO source_ranks VALUES ('steps', 'garmin', 1), ('steps', 'apple', 2);
    INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id, provenance)
    SELECT u, m, s, '2026-06-01'::date + d, v + d % 5, unit, 1, 't', '2026-06-02T08:00:00Z'::timestamptz + d * interval '1 day', gen_random_uuid(),
           '{\"model\": \"daily\", \"upload\": \"automatic\", \"device\": {\"manufacturer\": \"Garmin\", \"name\": \"Venu\"}}'
      FROM (VALUES ('anna'), ('carl')) p (u), generate_series(0, 39) d,
           (VALUES ('steps', 'garmin', 9000.0, 'count'), ('steps', 'apple', 9050.0, 'count'), ('resting_heart_rate', 'garmin', 52.0, 'bpm'),
                   ('sleep_score', 'garmin', 80.0, '')) n (m, s, v, unit)
     WHERE NOT (s = 'apple' AND d = 20);";

struct World {
    t: testing::TestDb,
    app: Router,
    admin: String,
    mine: String,
    other: String,
    scopeless: String,
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

async fn visited(mut request: Request, next: Next) -> axum::response::Response {
    request.extensions_mut().insert(Visit { address: Some("192.0.2.7".into()), request_id: Some("request-7".into()) });
    next.run(request).await
}

impl World {
    async fn new() -> Self {
        let t = testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let persons: Vec<_> = ["anna", "carl"].map(|u| (u.to_owned(), None)).into();
        rescore::rescore_persons(&mut t.db.service().acquire().await.unwrap(), &persons).await.unwrap();
        let app = router(Api { db: t.db.clone(), limiter: Limiter::alone() }).layer(from_fn(visited));
        let mut world = Self { t, app, admin: String::new(), mine: String::new(), other: String::new(), scopeless: String::new() };
        world.admin = world.key("admin@example.test", "metrics:read").await;
        world.mine = world.key("mine@example.test", "metrics:read").await;
        world.other = world.key("other@example.test", "metrics:read").await;
        world.scopeless = world.key("admin@example.test", "deliveries:read").await;
        world
    }

    async fn key(&self, email: &str, scope: &str) -> String {
        let account: Uuid =
            sqlx::query_scalar("SELECT id FROM accounts WHERE email = $1").bind(email).fetch_one(self.t.db.service()).await.unwrap();
        let token = Token::from_bytes(rand::random());
        api_keys::add(self.t.db.service(), &token, account, "test", &[scope.to_owned()], None).await.unwrap();
        format!("{PREFIX}{}", token.expose())
    }

    async fn ask(&self, key: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request) -> Answer {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn ok(&self, path: &str) -> Value {
        let answer = self.ask(&self.mine, path, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.json()
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.t.db.owner()).await.unwrap();
    }
}
