//! `/healthz`, `/readyz` and `/functions/v1/health-check`: all answered from memory.

use super::snapshot::{Health, Monitor, Snapshot};
use crate::model::HealthStatus;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Who may see numbers: given the request's headers, whether the bearer is the service key.
pub type Authorised = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

#[derive(Clone)]
struct Probes {
    monitor: Monitor,
    authorised: Authorised,
}

/// The probes' routes.
pub fn router(monitor: Monitor, authorised: Authorised) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/functions/v1/health-check", get(check))
        .with_state(Probes { monitor, authorised })
}

/// Ready means that a snapshot was taken within ten seconds: one slow answer of the database does not take every
/// node out of service at once.
async fn ready(State(probes): State<Probes>) -> Response {
    match probes.monitor.health() {
        Health::Fresh(_) => (StatusCode::OK, "ready\n").into_response(),
        Health::Stale(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], "the database does not answer\n").into_response()
        }
    }
}

async fn check(State(probes): State<Probes>, headers: HeaderMap) -> Response {
    let health = probes.monitor.health();
    let status = health.status();
    let code = if status == HealthStatus::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let all = (probes.authorised)(&headers);
    let (at, checks) = match &health {
        Health::Fresh(s) => (s.at, checks(s, all)),
        Health::Stale(_) => (chrono::Utc::now(), json!({"database": "error", "jobWorker": "error"})),
    };
    let mut body = json!({
        "status": status.word(),
        "timestamp": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "checks": checks,
        "version": env!("CARGO_PKG_VERSION"),
    });
    if all && let Some(map) = body.as_object_mut() {
        map.insert("uptimeSeconds".into(), json!(probes.monitor.uptime().as_secs()));
    }
    (code, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

/// A stranger sees the words; who holds the service key sees the numbers and notes too.
fn checks(s: &Snapshot, all: bool) -> Value {
    let mut map: serde_json::Map<String, Value> = s.checks.iter().map(|(name, c)| ((*name).to_owned(), json!(c.status))).collect();
    if all {
        let f = &s.figures;
        map.insert("database_latency_ms".into(), json!((s.database_latency_ms * 100.0).round() / 100.0));
        map.insert("pendingJobs".into(), json!(f.pending));
        map.insert("processingJobs".into(), json!(f.processing));
        map.insert("failedJobs".into(), json!(f.failed));
        map.insert("oldestReadySeconds".into(), json!(f.oldest_ready_s));
        map.insert("workersAlive".into(), json!(f.workers_alive));
        map.insert("deadLettersOpen".into(), json!(f.dead_letters));
        map.insert("webhooksCompleted24h".into(), json!(f.webhooks_completed));
        map.insert("webhooksFailed24h".into(), json!(f.webhooks_failed));
        map.insert("latestViewAgeSeconds".into(), json!(f.view_age_s));
        let notes: serde_json::Map<String, Value> =
            s.checks.iter().filter(|(_, c)| !c.note.is_empty()).map(|(n, c)| ((*n).to_owned(), json!(c.note))).collect();
        map.insert("notes".into(), notes.into());
    }
    map.into()
}
