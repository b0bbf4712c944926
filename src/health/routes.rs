//! `/healthz`, `/readyz` and `/functions/v1/health-check`: all answered from memory.

use super::monitor::{Health, Monitor, Snapshot};
use crate::model::HealthStatus;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value, json};
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

/// Whether this node should get requests. A slow moment of the database does not take every node out of service at once.
async fn ready(State(probes): State<Probes>) -> Response {
    if probes.monitor.is_ready() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], "the database does not answer\n").into_response()
    }
}

async fn check(State(probes): State<Probes>, headers: HeaderMap) -> Response {
    let health = probes.monitor.health();
    let status = health.status();
    let code = if status == HealthStatus::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let all = (probes.authorised)(&headers);
    let (at, mut checks) = match &health {
        Health::Fresh(s) => (s.at, words(s)),
        Health::Stale(_) => (chrono::Utc::now(), without_database()),
    };
    match &health {
        Health::Fresh(s) if all => details(s, &mut checks),
        Health::Stale(_) if all => {
            let note =
                "it has not answered for ten seconds; whether workers are alive is not known. Deliveries are answered 503 and sent again";
            checks.insert("notes".into(), json!({ "database": note }));
        }
        _ => {}
    }
    let mut body = json!({
        "status": status.word(),
        "timestamp": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "checks": checks,
    });
    if all && let Some(map) = body.as_object_mut() {
        map.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        map.insert("uptimeSeconds".into(), json!(probes.monitor.uptime().as_secs()));
    }
    (code, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

fn without_database() -> Map<String, Value> {
    Map::from_iter([("database".to_owned(), json!("error")), ("jobWorker".to_owned(), json!("error"))])
}

/// What a stranger sees: words.
fn words(s: &Snapshot) -> Map<String, Value> {
    s.checks.iter().map(|(name, c)| ((*name).to_owned(), json!(c.status))).collect()
}

/// What who holds the service key sees beside them: numbers, and what to do.
fn details(s: &Snapshot, map: &mut Map<String, Value>) {
    let f = &s.figures;
    let numbers = [
        ("databaseLatencyMs", json!((s.local.database_latency_ms * 100.0).round() / 100.0)),
        ("workersAlive", json!(f.workers_alive)),
        ("oldestReadySeconds", json!(f.oldest_ready_s)),
        ("oldestReadySecondsByKind", f.waiting.iter().map(|(kind, s)| (kind.clone(), json!(s))).collect::<Map<_, _>>().into()),
        ("pendingJobs", json!(f.pending)),
        ("processingJobs", json!(f.processing)),
        ("failedJobs", json!(f.failed)),
        ("deadLettersOpen", json!(f.dead_letters)),
        ("schedulesOverdue", json!(f.schedules_overdue)),
        ("webhooksAccepted24h", json!(f.webhooks_accepted)),
        ("webhooksFailed24h", json!(f.webhooks_failed)),
        ("latestViewAgeSeconds", json!(f.view_age_s)),
        ("diskFreeBytes", json!(s.local.disk.map(|d| d.free))),
        ("providerSilenceSeconds", f.slow.silence.iter().map(|(p, s)| (p.clone(), json!(s))).collect::<Map<_, _>>().into()),
    ];
    map.extend(numbers.map(|(name, value)| (name.to_owned(), value)));
    let notes: Map<String, Value> =
        s.checks.iter().filter(|(_, c)| !c.note.is_empty()).map(|(n, c)| ((*n).to_owned(), json!(c.note))).collect();
    map.insert("notes".into(), notes.into());
}
