//! A database, a worker on it, and deliveries stored as the gateway stores them: for the tests of the kinds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use crate::gateway::admission::admit;
use crate::jobs::{Kinds, Settings, Worker, WorkerHandle};
use crate::store::deliveries;
use crate::store::testing::{TestDb, database};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue};
use chrono::Utc;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) struct Rig {
    pub t: TestDb,
    working: Option<(WorkerHandle, CancellationToken)>,
}

impl Rig {
    /// A database without a worker.
    pub async fn idle() -> Self {
        Self { t: database().await, working: None }
    }

    /// A database with a worker.
    pub async fn new(kinds: Kinds) -> Self {
        let mut rig = Self::idle().await;
        rig.work(kinds);
        rig
    }

    pub fn work(&mut self, kinds: Kinds) {
        let settings = Settings {
            slots: 1,
            slow_slots: 1,
            poll: Duration::from_millis(50),
            drain: Duration::from_secs(2),
            schedules: false,
            ..Settings::default()
        };
        let cancel = CancellationToken::new();
        self.working = Some((Worker::spawn(self.t.db.clone(), kinds, settings, cancel.clone()), cancel));
    }

    pub async fn stop(&mut self) {
        if let Some((worker, cancel)) = self.working.take() {
            cancel.cancel();
            worker.stopped().await;
        }
    }

    /// Stores a delivery by the gateway's statement; its row.
    pub async fn deliver(&self, trace_id: &str, ordering_ms: i64, body: &Value) -> Uuid {
        let mut headers = HeaderMap::new();
        headers.insert("x-terra-trace-id", HeaderValue::from_str(trace_id).unwrap());
        headers.insert("x-terra-ordering-timestamp", HeaderValue::from(ordering_ms));
        let delivery = admit(Bytes::from(body.to_string()), &headers, Utc::now()).delivery;
        let new = deliveries::insert(&mut self.t.db.service().acquire().await.unwrap(), &[&delivery]).await.unwrap();
        assert_eq!(new, [delivery.id], "{trace_id} was there before");
        delivery.id
    }

    /// Waits until no job waits or runs. `hurry`: jobs that were put off are due at once.
    pub async fn quiet(&self, hurry: bool) {
        let begin = Instant::now();
        loop {
            if hurry {
                self.run("UPDATE background_jobs SET scheduled_at = now() WHERE status = 'pending' AND scheduled_at > now()").await;
            }
            let all = "SELECT count(*) FROM background_jobs WHERE status IN ('pending', 'processing')";
            let due = "SELECT count(*) FROM background_jobs WHERE status = 'processing' OR (status = 'pending' AND scheduled_at <= now())";
            if self.number(if hurry { all } else { due }).await == 0 {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "jobs never end: {:?}",
                self.texts("SELECT j::text FROM background_jobs j LIMIT 5").await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn run(&self, sql: &'static str) -> u64 {
        sqlx::query(sql).execute(self.t.db.owner()).await.unwrap().rows_affected()
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.t.db.service()).await.unwrap()
    }

    pub async fn texts(&self, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(self.t.db.service()).await.unwrap()
    }
}

/// Terra's user object.
pub(super) fn user(id: &str, reference: Option<&str>) -> Value {
    json!({ "user_id": id, "provider": "GARMIN", "reference_id": reference, "scopes": "A,B" })
}

/// A day's summary with steps and a resting heart rate.
pub(super) fn daily(id: &str, reference: Option<&str>, day: chrono::NaiveDate, steps: i64) -> Value {
    let next = day.succ_opt().unwrap();
    json!({ "type": "daily", "user": user(id, reference), "data": [{
        "metadata": { "start_time": format!("{day}T00:00:00+01:00"), "end_time": format!("{next}T00:00:00+01:00"), "upload_type": 1 },
        "distance_data": { "steps": steps }, "heart_rate_data": { "summary": { "resting_hr_bpm": 50 + steps % 9 } } }] })
}
