//! `/metrics` for Prometheus, from memory: the health snapshot, what this process counted, its pools. Labels are words of
//! the program or providers that Terra names, never a person, a path or an address. Off loopback it asks for the service
//! key. The names are documented in docs/MONITORING.md; a test compares them with the dashboard and the alert rules.

mod text;

use super::Services;
use crate::health::{Authorised, Health, Snapshot};
use crate::meter;
use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use text::{Text, count};

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
    let local = is_local(peer.ip(), &headers);
    if !local && s.services.config.service_key.is_none() {
        let why = "No service key is configured here: set ASSAY_SERVICE_KEY. On this machine itself none is needed.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    if !local && !(s.authorised)(&headers) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "The service key is needed.\n").into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(&s.services)).into_response()
}

/// A forwarded request comes from a proxy on this machine, not from this machine. A socket for both families shows an IPv4
/// address written as IPv6.
fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
    peer.to_canonical().is_loopback() && !headers.contains_key("x-forwarded-for")
}

fn render(services: &Services) -> String {
    let mut out = Text::default();
    let health = services.monitor.health();
    out.gauge("assay_health", "0 healthy, 1 degraded, 2 unhealthy.", [f64::from(health.status() as u8)]);
    out.gauge("assay_ready", "1 while this node should get requests.", [f64::from(u8::from(services.monitor.is_ready()))]);
    out.gauge("assay_uptime_seconds", "Since when this process runs.", [services.monitor.uptime().as_secs_f64()]);
    if let Health::Fresh(s) | Health::Stale(Some(s)) = &health {
        snapshot(&mut out, s, &services.kinds.names(None));
    }
    gateway(&mut out, services);
    jobs(&mut out);
    scores(&mut out);
    pools(&mut out, services);
    out.finish()
}

/// What one node measured for all: the same on every node.
fn snapshot(out: &mut Text, s: &Snapshot, kinds: &[String]) {
    let f = &s.figures;
    let age = (chrono::Utc::now() - s.at).to_std().unwrap_or_default().as_secs_f64();
    out.gauge("assay_snapshot_age_seconds", "Age of the figures that one node measures for all.", [age]);
    let states = [("pending", f.pending), ("processing", f.processing), ("failed", f.failed)];
    out.gauge_by("assay_jobs", "Jobs by state.", "state", states.map(|(state, n)| (state, count(n))));
    out.gauge("assay_queue_lag_seconds", "Age of the oldest job that could run now.", [f.oldest_ready_s.unwrap_or(0.0)]);
    // Anybody may write a type into the table by hand; only the program's own are labels.
    let by_kind = kinds.iter().map(|kind| {
        let lag = f.waiting.iter().find(|(k, _)| k == kind).map_or(0.0, |(_, seconds)| *seconds);
        (kind.as_str(), lag)
    });
    out.gauge_by("assay_queue_lag_seconds_by_kind", "Age of the oldest job of a kind that could run now.", "kind", by_kind);
    out.gauge("assay_workers_alive", "Workers seen within 15 seconds.", [count(f.workers_alive)]);
    out.gauge("assay_leader", "1 while a worker leads.", [f64::from(u8::from(f.leader))]);
    out.gauge("assay_schedules_overdue", "Schedules more than five minutes late.", [count(f.schedules_overdue)]);
    out.gauge("assay_dead_letters_open", "Dead letters waiting for a decision, counted up to 10001.", [count(f.dead_letters.unwrap_or(0))]);
    out.gauge("assay_webhooks_failed_day", "Deliveries of the last 24 hours that could not be used.", [count(f.webhooks_failed)]);
    out.gauge("assay_latest_view_age_seconds", "Since the last refresh of latest_unified_metrics.", [f.view_age_s.unwrap_or(0.0)]);
    out.gauge("assay_database_latency_seconds", "Round trip of a small statement.", [s.local.database_latency_ms / 1000.0]);
    if let Some(disk) = s.local.disk {
        #[expect(clippy::cast_precision_loss, reason = "bytes as floating-point samples")]
        let [free, total] = [disk.free as f64, disk.total as f64];
        out.gauge("assay_disk_free_bytes", "Room on the disk of the data directory.", [free]);
        out.gauge("assay_disk_total_bytes", "Size of that disk.", [total]);
    }
    let silence = f.slow.silence.iter().map(|(provider, seconds)| (provider.as_str(), *seconds));
    out.gauge_by("assay_provider_silence_seconds", "Since the last data of any active connection of a provider.", "provider", silence);
    let badges = ["excellent", "good", "fair", "poor", "unknown"].into_iter().zip(f.slow.badges.map(count));
    out.gauge_by("assay_values_by_badge", "Values of the last seven days by badge.", "badge", badges);
}

fn gateway(out: &mut Text, services: &Services) {
    let totals = services.gateway.totals();
    out.counter_by("assay_gateway_answers", "Answers to deliveries, by outcome.", "outcome", totals.iter().map(|(o, n)| (o.word(), *n)));
    let refused = meter::REFUSED.all();
    out.counter_by("assay_gateway_refused", "Deliveries turned away, by reason.", "reason", refused.iter().map(|(r, n)| (*r, n.get())));
    let limited = meter::LIMITED.all();
    out.counter_by("assay_rate_limited", "Requests over a limit, by policy.", "policy", limited.iter().map(|(p, n)| (*p, n.get())));
    out.histogram("assay_ack_seconds", "From a delivery's request to its answer.", &meter::ACK_SECONDS);
    out.histogram("assay_flush_seconds", "A statement that stores deliveries: how long.", &meter::FLUSH_SECONDS);
    out.histogram("assay_flush_rows", "A statement that stores deliveries: how many.", &meter::FLUSH_ROWS);
    let c = services.gateway.committer();
    out.counter("assay_flush_failures", "Statements that did not store their deliveries.", c.failures + meter::FLUSH_REFUSED.get());
    #[expect(clippy::cast_precision_loss, reason = "counts as floating-point samples")]
    let [waiting, memory] = [c.waiting as f64, services.gateway.memory() as f64];
    out.gauge("assay_gateway_waiting", "Deliveries that wait to be stored.", [waiting]);
    out.gauge("assay_gateway_memory_bytes", "Bytes of bodies in memory.", [memory]);
    out.gauge("assay_database_away", "1 while deliveries cannot be stored.", [f64::from(u8::from(c.away))]);
}

fn jobs(out: &mut Text) {
    out.histogram("assay_claim_seconds", "A statement that takes jobs.", &meter::CLAIM_SECONDS);
    out.histograms("assay_run_seconds", "A batch in its handler's hands.", "kind", &meter::RUN_SECONDS.all());
    out.histograms("assay_job_age_seconds", "From a job's creation to its end.", "kind", &meter::JOB_AGE_SECONDS.all());
    let settled = meter::SETTLED.all();
    out.counter_by("assay_jobs_settled", "Jobs by what came of them.", "outcome", settled.iter().map(|(o, n)| (*o, n.get())));
    out.counter("assay_jobs_rescued", "Jobs taken back from workers that were gone.", meter::RESCUED.get());
    out.counter("assay_jobs_died", "Jobs that became dead letters.", meter::DIED.get());
    out.counter("assay_log_lines", "Lines written to edge_function_logs.", meter::LOG_LINES.get());
    out.counter("assay_log_lines_dropped", "Lines that could not be kept.", meter::LOG_LINES_DROPPED.get());
}

fn scores(out: &mut Text) {
    out.counter("assay_values_scored", "Values scored.", meter::SCORED.get());
    out.counter("assay_scores_changed", "Scores written or removed because they differed.", meter::RESCORED.get());
    out.histogram("assay_score", "The scores that were computed.", &meter::SCORES_COMPUTED);
    let (hits, misses) = crate::store::clients::cache_reads();
    let reads = [("hit", hits), ("miss", misses)].map(|(word, n)| (word, n.unsigned_abs()));
    out.counter_by("assay_confidence_reads", "Values shown with a stored score, and without one.", "result", reads);
}

fn pools(out: &mut Text, services: &Services) {
    let mut pools = services.db.connections().to_vec();
    pools.extend(services.jobs_db.as_ref().map(|db| db.service_as("jobs")));
    let rows = |pick: fn(&crate::store::PoolUse) -> u32| pools.iter().map(move |p| (p.name, f64::from(pick(p))));
    out.gauge_by("assay_pool_connections", "Open connections to PostgreSQL, by pool.", "pool", rows(|p| p.open));
    out.gauge_by("assay_pool_in_use", "Connections in use, by pool.", "pool", rows(|p| p.open.saturating_sub(p.idle)));
    out.gauge_by("assay_pool_limit", "The most connections a pool may open.", "pool", rows(|p| p.limit));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;

    #[test]
    fn this_machine_is_known_by_either_family_and_not_behind_a_proxy() {
        let none = HeaderMap::new();
        for (peer, local) in
            [("127.0.0.1", true), ("::1", true), ("::ffff:127.0.0.1", true), ("::ffff:192.0.2.1", false), ("2001:db8::1", false)]
        {
            assert_eq!(is_local(peer.parse().unwrap(), &none), local, "{peer}");
        }
        let forwarded =
            HeaderMap::from_iter([(header::HeaderName::from_static("x-forwarded-for"), header::HeaderValue::from_static("::1"))]);
        assert!(!is_local("::ffff:127.0.0.1".parse().unwrap(), &forwarded));
    }
}
