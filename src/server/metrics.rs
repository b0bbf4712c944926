//! `/metrics` for Prometheus, from memory: the health snapshot and the gateway's counters. Labels are words of ours,
//! never a person, a path or an address. Off loopback it asks for the service key.

use super::Services;
use crate::health::{Authorised, Health};
use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{fmt::Write, net::SocketAddr, sync::Arc};

#[derive(Clone)]
struct Scrape {
    services: Arc<Services>,
    authorised: Authorised,
}

/// The route.
pub fn router(services: Arc<Services>, authorised: Authorised) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Scrape { services, authorised })
}

async fn scrape(State(s): State<Scrape>, ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap) -> Response {
    // A forwarded request comes from a proxy on this machine, not from this machine.
    let local = peer.ip().is_loopback() && !headers.contains_key("x-forwarded-for");
    if !local && !(s.authorised)(&headers) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "The service key is needed.\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], render(&s.services)).into_response()
}

fn render(services: &Services) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, rows: &[(&str, f64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (label, value) in rows {
            let _ = writeln!(out, "{name}{label} {value}");
        }
    };
    if let Health::Fresh(s) | Health::Stale(Some(s)) = services.monitor.health() {
        let f = &s.figures;
        #[expect(clippy::cast_precision_loss, reason = "counts as floating-point samples")]
        let n = |count: i64| count as f64;
        gauge(
            "assay_jobs",
            "Jobs by state.",
            &[("{state=\"pending\"}", n(f.pending)), ("{state=\"processing\"}", n(f.processing)), ("{state=\"failed\"}", n(f.failed))],
        );
        gauge("assay_queue_lag_seconds", "Age of the oldest job that could run now.", &[("", f.oldest_ready_s.unwrap_or(0.0))]);
        gauge("assay_workers_alive", "Workers seen within 15 seconds.", &[("", n(f.workers_alive))]);
        gauge("assay_dead_letters_open", "Dead letters waiting for a decision.", &[("", n(f.dead_letters.unwrap_or(0)))]);
        gauge("assay_database_latency_seconds", "Round trip of the cheapest statement.", &[("", s.database_latency_ms / 1000.0)]);
        gauge("assay_health", "0 healthy, 1 degraded, 2 unhealthy.", &[("", f64::from(s.status() as u8))]);
    }
    gauge("assay_uptime_seconds", "Since when this process runs.", &[("", services.monitor.uptime().as_secs_f64())]);
    let _ =
        writeln!(out, "# HELP assay_gateway_answers_total Answers to deliveries, by outcome.\n# TYPE assay_gateway_answers_total counter");
    for (outcome, count) in services.gateway.totals() {
        let _ = writeln!(out, "assay_gateway_answers_total{{outcome=\"{}\"}} {count}", outcome.word());
    }
    out
}
