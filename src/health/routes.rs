//! `/healthz`, `/readyz` and `/functions/v1/health-check`: all answered from memory.

use super::answer;
use super::monitor::{Health, Monitor};
use crate::model::HealthStatus;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
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
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], "no good answer of the database for ten seconds, or none yet\n")
            .into_response()
    }
}

async fn check(State(probes): State<Probes>, headers: HeaderMap) -> Response {
    let health = probes.monitor.health();
    let code = if health.status() == HealthStatus::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let answers = match &health {
        Health::Fresh(s) => s.answers.clone(),
        Health::Stale(_) => answer::silent(probes.monitor.uptime()),
    };
    let body = if (probes.authorised)(&headers) { answers.all } else { answers.words };
    (code, [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")], body).into_response()
}
